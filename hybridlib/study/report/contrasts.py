"""Contrasts that the notebooks tell of: differences between strategies, and what was gained by pair of languages."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hybridlib.arguments import Name, Names, checked
from hybridlib.data.checks import check_columns, check_rows
from hybridlib.evaluation.pairs import ALL_LANGUAGES
from hybridlib.names import FAMILIES, INDO_EUROPEAN, same_script
from hybridlib.study.report.claims import Contrasts, change
from hybridlib.study.report.effects import MARGINS, effects, verdicts
from hybridlib.study.report.findings import UNTRAINED, WITHOUT_SEEDS, seedless
from hybridlib.study.report.results import check_measure, check_sums, check_table


@checked
def means_of(sums: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return the contrasts that are the means of every strategy, in the order of the sums."""
    check_columns("sums (as returned by `read_sums`)", list(sums.columns), ["strategy"])
    return {name: {name: 1.0} for name in dict.fromkeys(sums.strategy)}


@checked
def differences(
    sums: pd.DataFrame,
    contrasts: Contrasts,
    *,
    label: Names = ("strategy",),
    by: Names = ("setting", "measure"),
    measures: Names | None = None,
) -> pd.DataFrame:
    """Compute the contrasts whose labels are all there, with intervals and verdicts; a figure draws them, too.

    Args:
        sums: as returned by `read_sums`; it may have no rows.
        contrasts: by name, as `effects` takes them.
        label, by: as `effects` takes them.
        measures: some of those the sums have; all unless given.

    Raises:
        ValueError: as in `effects`; or there is no such measure.
    """
    if sums.empty:
        return sums
    check_columns("sums (as returned by `read_sums`)", list(sums.columns), [*label, *by, "measure"])
    for measure in measures or ():
        check_measure(measure, "measures")
    chosen = sums if measures is None else sums[sums.measure.isin(measures)]
    there = set(chosen[list(label)].drop_duplicates().itertuples(index=False, name=None))
    known = {name: c for name, c in contrasts.items() if {k if isinstance(k, tuple) else (k,) for k in c} <= there}
    if not known:
        return sums[:0]
    sides = seedless(name for contrast in known.values() for name in contrast)
    return verdicts(effects(chosen, known, label=label, by=by, without_seeds=sides, margin=MARGINS))


@checked
def side_by_side(
    parts: Mapping[str, pd.DataFrame],
    contrasts: Contrasts,
    *,
    measures: Names = ("map",),
) -> pd.DataFrame:
    """Compute the same contrasts for several parts of the results, whose names are put before those of contrasts."""
    if not parts:
        raise ValueError("parts are {}; allowed: one table or more, by name")
    found = [differences(sums, contrasts, measures=measures).assign(part=name) for name, sums in parts.items()]
    table = pd.concat(found, ignore_index=True)
    if table.empty:
        return table
    table["contrast"] = table.part + ": " + table.contrast
    return table.sort_values(
        "contrast", key=lambda names: names.str.partition(": ")[2], kind="stable", ignore_index=True
    )


@checked
def by_place(sums: pd.DataFrame) -> pd.DataFrame:
    """Compute the map in the pool by data, and by the place of the question's language in the order of sizes."""
    check_columns("sums (as returned by `read_sums`)", list(sums.columns), ["measure", "setting", "cell", "data"])
    chosen = sums[(sums.measure == "map") & (sums.setting == "multilingual")].assign(place=sums.cell + 1)
    return effects(chosen, means_of(chosen), by=("data", "place"), without_seeds=WITHOUT_SEEDS)


@checked
def imbalance_changes(sums: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compute what hybrid gains over each end with unequal and balanced data, and the change, for rare and rich."""
    check_columns("sums", list(sums), ["rare", "rich"])
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
    return table if table.empty else table.assign(contrast=table.part + ": " + table.contrast)


@checked
def pair_gains(sums: pd.DataFrame, first: Name, other: Name) -> pd.DataFrame:
    """Return the gain in map of one strategy over another, and the untrained map, by pair of languages.

    Raises:
        ValueError: the sums are refused by `check_sums`, lack map of one of the strategies, or have a language whose
            family is not known.
    """
    sums = check_sums(sums, ["strategy"])
    for column in ("query_language", "passage_language"):
        unknown = ~sums[column].isin([*FAMILIES, ALL_LANGUAGES])
        check_rows(unknown, sums[column], f"sums.{column}", ", ".join(FAMILIES))
    chosen = sums[(sums.measure == "map") & (sums.setting != "multilingual")]
    keys = ["strategy", "query_language", "passage_language"]
    totals = chosen.groupby(keys, observed=True)[["total", "count"]].sum()
    means = (totals["total"] / totals["count"]).unstack("strategy")
    for name in (first, other):
        if name not in means:
            raise ValueError(f"sums have no map of {name!r} by pair of languages; allowed: {', '.join(means.columns)}")
    table = pd.DataFrame({"gain": means[first] - means[other], "untrained": means.get(UNTRAINED)}).reset_index()
    table = table.astype({"query_language": str, "passage_language": str})
    sides = [table[name] for name in ("query_language", "passage_language")]
    table["indo_european"] = sum(side.map(FAMILIES).isin(INDO_EUROPEAN).astype(int) for side in sides)
    table["same_script"] = [same_script(*pair) for pair in zip(*sides, strict=True)]
    return table


@checked
def gains_by_kind(gains: pd.DataFrame) -> pd.DataFrame:
    """Average gains over pairs of different languages, by kind of pair, with an interval over languages.

    The languages are drawn anew together, both as that of the question and as that of the passages, and a pair of the
    same language drawn twice counts as none.

    Raises:
        ValueError: the table lacks a column or a gain, or has no pair of different languages.
    """
    kept = ["query_language", "passage_language", "indo_european", "same_script"]
    check_table(gains, "gains", "pair_gains", kept, ["gain"])
    gains = gains[gains.query_language != gains.passage_language]
    languages = sorted({*gains.query_language, *gains.passage_language})
    if gains.empty:
        raise ValueError("gains are of pairs of one language; allowed: of pairs of different ones too")
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
