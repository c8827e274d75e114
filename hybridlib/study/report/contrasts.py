"""Contrasts that the notebooks tell of: differences between strategies, and what was gained by pair of languages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hybridlib.names import FAMILIES, INDO_EUROPEAN, script
from hybridlib.study.report.claims import change
from hybridlib.study.report.effects import MARGINS, effects, verdicts
from hybridlib.study.report.findings import UNTRAINED, WITHOUT_SEEDS, seedless


def means_of(sums: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the contrasts that are the means of every strategy, in the order of the sums."""
    return {name: {name: 1.0} for name in dict.fromkeys(sums.strategy)}


def differences(
    sums: pd.DataFrame,
    contrasts: Mapping[str, Mapping[Any, float]],
    *,
    label: str | list[str] = "strategy",
    by: Sequence[str] = ("setting", "measure"),
    measures: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Compute the contrasts whose labels are all there, with intervals and verdicts; a figure draws them, too.

    Args:
        sums: as returned by `read_sums`; it may have no rows.
        contrasts: by name, as `effects` takes them.
        label, by: as `effects` takes them.
        measures: some of those the sums have; all unless given.
    """
    if sums.empty:
        return sums
    chosen = sums if measures is None else sums[sums.measure.isin(measures)]
    columns = [label] if isinstance(label, str) else label
    there = set(chosen[columns].drop_duplicates().itertuples(index=False, name=None))
    known = {name: c for name, c in contrasts.items() if {k if isinstance(k, tuple) else (k,) for k in c} <= there}
    if not known:
        return sums[:0]
    sides = seedless(name for contrast in known.values() for name in contrast)
    return verdicts(effects(chosen, known, label=label, by=by, without_seeds=sides, margin=MARGINS))


def side_by_side(
    parts: Mapping[str, pd.DataFrame],
    contrasts: Mapping[str, Mapping[Any, float]],
    *,
    measures: Sequence[str] = ("map",),
) -> pd.DataFrame:
    """Compute the same contrasts for several parts of the results, whose names are put before those of contrasts."""
    found = [differences(sums, contrasts, measures=measures).assign(part=name) for name, sums in parts.items()]
    table = pd.concat(found, ignore_index=True)
    table["contrast"] = table.part + ": " + table.contrast
    return table.sort_values(
        "contrast", key=lambda names: names.str.partition(": ")[2], kind="stable", ignore_index=True
    )


def by_place(sums: pd.DataFrame) -> pd.DataFrame:
    """Compute the map in the pool by data, and by the place of the question's language in the order of sizes."""
    chosen = sums[(sums.measure == "map") & (sums.setting == "multilingual")].assign(place=sums.cell + 1)
    return effects(chosen, means_of(chosen), by=("data", "place"), without_seeds=WITHOUT_SEEDS)


def imbalance_changes(sums: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compute what hybrid gains over each end with unequal and balanced data, and the change, for rare and rich."""
    contrasts: dict[str, Mapping[Any, float]] = {}
    for other in ("x-x-mono", "x-y"):
        for data in ("unequal", "balanced"):
            contrasts[f"hybrid minus {other}, {data}"] = {("hybrid", data): 1.0, (other, data): -1.0}
        contrasts[f"hybrid minus {other}, change"] = change("hybrid", other, "unequal", "balanced")
    found = [
        differences(sums[group], contrasts, label=["strategy", "data"], measures=["map"]).assign(part=group)
        for group in ("rare", "rich")
    ]
    table = pd.concat(found, ignore_index=True)
    return table.assign(contrast=table.part + ": " + table.contrast)


def pair_gains(sums: pd.DataFrame, first: str, other: str) -> pd.DataFrame:
    """Return the gain in map of one strategy over another, and the untrained map, by pair of languages."""
    chosen = sums[(sums.measure == "map") & (sums.setting != "multilingual")]
    keys = ["strategy", "query_language", "passage_language"]
    totals = chosen.groupby(keys, observed=True)[["total", "count"]].sum()
    means = (totals["total"] / totals["count"]).unstack("strategy")
    table = pd.DataFrame({"gain": means[first] - means[other], "untrained": means.get(UNTRAINED)}).reset_index()
    table = table.astype({"query_language": str, "passage_language": str})
    sides = [table[name] for name in ("query_language", "passage_language")]
    table["indo_european"] = sum(side.map(FAMILIES).isin(INDO_EUROPEAN).astype(int) for side in sides)
    table["same_script"] = sides[0].map(script) == sides[1].map(script)
    return table


def gains_by_kind(gains: pd.DataFrame) -> pd.DataFrame:
    """Average gains over pairs of different languages, by kind of pair, with an interval over languages.

    The languages are drawn anew together, both as that of the question and as that of the passages, and a pair of the
    same language drawn twice counts as none.
    """
    gains = gains[gains.query_language != gains.passage_language]
    languages = sorted(set(gains.query_language))
    kinds = {
        "both Indo-European": gains.indo_european == 2,
        "one Indo-European": gains.indo_european == 1,
        "neither": gains.indo_european == 0,
        "same script": gains.same_script,
        "other script": ~gains.same_script,
    }
    drawn = np.random.default_rng(0).multinomial(len(languages), np.full(len(languages), 1 / len(languages)), 9999)
    place = {code: number for number, code in enumerate(languages)}
    weight = drawn[:, gains.query_language.map(place)] * drawn[:, gains.passage_language.map(place)]  # (B, N)
    rows = []
    for kind, mask in kinds.items():
        some = weight[:, mask.to_numpy()]
        total = some.sum(axis=1)
        draws = (some @ gains.gain[mask].to_numpy())[total > 0] / total[total > 0]
        lower, upper = np.quantile(draws, [0.025, 0.975]) if mask.any() else (np.nan, np.nan)
        row = {
            "pairs": kind,
            "number": int(mask.sum()),
            "gain": gains.gain[mask].mean(),
            "lower": lower,
            "upper": upper,
        }
        rows.append(row)
    return pd.DataFrame(rows).set_index("pairs").round(4)
