"""The paper's published figures, and results set beside them.

`printed.csv` holds every figure of tables 3 to 8, 12 and 13 of arXiv 2408.10536, as printed: for XQuAD-R, MLQA-R and
the development set of MIRACL, by language, and the mean over languages at the foot of each column (for MIRACL also the
median). Rank distances are in ranks; all other values are shares between 0 and 1. As in `summarize`, the language is
the query's, and the cross-lingual setting is averaged over the passage languages. For XQuAD-R and MLQA-R, recall is
recall@10 in the multilingual setting and recall@1 in the others.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from hybridlib.arguments import Names, Positive, checked
from hybridlib.data.checks import check_columns, check_languages
from hybridlib.study.report.results import COLUMNS, by_language_pair, summarize

# Prose has these names of the encoders, in the paper's order.
ENCODERS = MappingProxyType({"xlm-r": "XLM-R", "labse": "LaBSE"})

# It is a share of the paper's value, because rank distances are in ranks and grow with the pool.
RANK_DISTANCE_TOLERANCE = 0.1
_AGGREGATES = ("mean", "median")
# A value at the tolerance is within it, although 0.8 - 0.79 > 0.01 in binary. The tables have four decimals.
_ROUNDING = 1e-9


def paper_figures() -> pd.DataFrame:
    """Return the figures by language, as printed.

    Returns:
        A row for every `table` (its number), `task`, `encoder` (`xlm-r` or `labse`), `measure`, `setting`, `language`
        of the query and `strategy`, with the `value`; 936 in all. It is a copy, which may be altered.

    >>> paper_figures().groupby("task", sort=False).language.nunique().to_dict()
    {'xquad-r': 11, 'mlqa-r': 7, 'miracl': 15}
    """
    rows = _printed()
    return rows[~rows.language.isin(_AGGREGATES)].reset_index(drop=True)


@checked
def paper_mean(task: str, encoder: str, measure: str, setting: str, strategy: str) -> float:
    """Return the mean over languages, as printed.

    Args:
        task, encoder, measure, setting, strategy: as in `paper_figures`.

    Raises:
        ValueError: the paper does not report it; the message says which argument is at fault and what is reported for
            those before it.

    >>> paper_mean("xquad-r", "labse", "map", "cross-lingual", "hybrid")
    0.7672
    """
    rows = _printed()
    means = _choose(
        rows[rows.language == "mean"], task=task, encoder=encoder, measure=measure, setting=setting, strategy=strategy
    )
    return float(means.value.item())


@checked
def claim_figures(setting: str, measure: str, first: str, other: str, *, task: str = "xquad-r") -> str:
    """Put the paper's means for two strategies, one against the other, for both encoders, into words.

    Args:
        setting, measure, task: as in `paper_figures`. A measure other than map is named.
        first, other: the strategies.

    Raises:
        ValueError: the paper does not report it, see `paper_mean`.

    >>> claim_figures("monolingual", "map", "hybrid", "x-x-mono")
    'XLM-R 0.798 against 0.792, LaBSE 0.817 against 0.808'
    """
    sides = [
        f"{name} " + " against ".join(number(paper_mean(task, encoder, measure, setting, s)) for s in (first, other))
        for encoder, name in ENCODERS.items()
    ]
    return ", ".join([*([] if measure == "map" else [measure.replace("_", " ")]), *sides])


@checked
def beside(
    results: pd.DataFrame,
    *,
    task: str,
    encoder: str,
    tolerance: Annotated[float, Field(ge=0)] = 0.01,
    by_language: bool = False,
) -> pd.DataFrame:
    """Set results beside the paper's figures.

    The results must be on the whole task, as published: in a smaller pool everything ranks higher. Strategies are
    compared by name; the paper's `hybrid` has an alpha of 0.5.

    Args:
        results: as returned by `evaluate` or `by_language_pair`, with a column `strategy`. They are averaged over the
            column `seed`, if there is one; other further columns are kept apart.
        task, encoder: choose the paper's figures.
        tolerance: the difference up to which a value is as published, in the measure's own unit. For `rank_distance` it
            is `RANK_DISTANCE_TOLERANCE`, a share of the paper's value, instead.
        by_language: whether every language of the queries has a row, instead of their mean.

    Returns:
        A row for every `measure`, `setting`, `strategy` (and `language`) that both have, in the paper's order, with
        `value` (of the results), `paper`, `difference` (value - paper) and `verdict`: `as published`, `higher` or
        `lower`. A lower rank distance is better.

    Raises:
        ValueError: a column is missing, the paper does not report such a task or encoder, the two have nothing in
            common, the languages differ (but for the monolingual setting by language), or the tolerance is negative.
    """
    check_columns("results", list(results.columns), ["strategy"])
    printed = _choose(_printed(), task=task, encoder=encoder)
    means = by_language_pair(results)
    _check_languages(means, printed, by_language=by_language)
    keys = ["measure", "setting", "strategy", *(["language"] if by_language else [])]
    paper = printed[~printed.language.isin(_AGGREGATES) if by_language else printed.language == "mean"]
    values = _values(means, keys)
    table = paper[[*keys, "value"]].rename(columns={"value": "paper"}).merge(values, on=keys)
    if table.empty:
        has, reports = (
            ", ".join(map(" ".join, frame[keys[:3]].drop_duplicates().to_numpy())) for frame in (values, paper)
        )
        raise ValueError(f"results has nothing that the paper reports: it has {has or 'no rows'}; allowed: {reports}")
    table["difference"] = table.value - table.paper
    table["verdict"] = _verdicts(table, tolerance)
    further = [column for column in values.columns if column not in (*keys, "value")]
    return table[[*further, *keys, "value", "paper", "difference", "verdict"]]


@checked
def hybrid_gains(groups: Mapping[str, Names]) -> pd.DataFrame:
    """Return what `hybrid` gains over `x-x-mono` in the pool of XQuAD-R's languages (map), by group of languages.

    >>> hybrid_gains({"th and tr": ["th", "tr"]}).round(3).loc["th and tr"].to_dict()
    {'XLM-R': 0.045, 'LaBSE': 0.03}
    """
    rows = paper_figures()
    rows = rows[(rows.task == "xquad-r") & (rows.measure == "map") & (rows.setting == "multilingual")]
    values = rows.pivot(index="language", columns=["encoder", "strategy"], values="value")
    for group, languages in groups.items():
        check_languages(languages, list(values.index), f"the paper's table, as {group!r} says")
    return pd.DataFrame(
        {
            title: {
                group: (values[encoder].hybrid - values[encoder]["x-x-mono"]).loc[list(languages)].mean()
                for group, languages in groups.items()
            }
            for encoder, title in ENCODERS.items()
        }
    )


@checked
def hybrid_losses(limit: Positive = 0.02) -> pd.DataFrame:
    """Return what `hybrid` loses against `x-x-mono` on MIRACL (ndcg@10), with the language as the unit.

    Args:
        limit: a language that loses it or more, as printed, is counted.

    >>> hybrid_losses().round(4).to_dict("index")["XLM-R"]
    {'difference': -0.0094, 't': -2.0153, 'languages': 15, 'lose 0.02 or more': 4}
    """
    rows = paper_figures()
    rows = rows[(rows.task == "miracl") & (rows.measure == "ndcg@10")]
    values = rows.pivot(index="language", columns=["encoder", "strategy"], values="value")
    table = {}
    for encoder, title in ENCODERS.items():
        change = values[encoder].hybrid - values[encoder]["x-x-mono"]
        t = change.mean() / change.sem()
        lost = (change <= -limit + _ROUNDING).sum()
        of = {"difference": change.mean(), "t": t, "languages": len(change), f"lose {limit:g} or more": lost}
        table[title] = of
    return pd.DataFrame(table).T.convert_dtypes()


@cache
def _printed() -> pd.DataFrame:
    """Read all rows of the tables, those of means and medians too."""
    return pd.read_csv(Path(__file__).with_name("printed.csv"))


def _choose(rows: pd.DataFrame, **chosen: str) -> pd.DataFrame:
    """Return the rows that have the chosen values, one column after the other."""
    given: list[str] = []
    for column, value in chosen.items():
        allowed = rows[column].unique().tolist()
        if value not in allowed:
            where = f" for {', '.join(given)}" if given else ""
            raise ValueError(f"{column} is {value!r}; allowed{where}: {', '.join(allowed)}")
        rows = rows[rows[column] == value]
        given.append(value)
    return rows


def _check_languages(means: pd.DataFrame, printed: pd.DataFrame, *, by_language: bool) -> None:
    """Refuse means over other languages than the paper's, and pools of other languages."""
    apart = [column for column in means.columns if column not in COLUMNS]
    for (measure, setting, *_), rows in means.groupby(["measure", "setting", *apart], observed=True, dropna=False):
        published = printed[(printed.measure == measure) & (printed.setting == setting)].language
        expected = set(published) - set(_AGGREGATES)
        languages = set(rows.query_language)
        if expected and languages != expected and not (by_language and setting == "monolingual"):
            raise ValueError(
                f"results has queries in {', '.join(sorted(languages))} for {measure} in the {setting} setting; "
                f"the paper's figures are of {', '.join(sorted(expected))}"
            )


def _values(means: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Average as `summarize` does, then over seeds: a row for every value of the keys and the columns kept apart."""
    if "language" in keys:  # `summarize` keeps it apart, so that its mean is over one language of queries
        means = means.assign(language=means.query_language)
    table = summarize(means)
    long = table.melt(var_name="measure", ignore_index=False).dropna(subset="value").reset_index()
    long = long.astype({key: str for key in keys})
    kept = [column for column in long.columns if column not in ("seed", "value")]
    return long.groupby(kept, observed=True, dropna=False, sort=False).value.mean().reset_index()


def _verdicts(table: pd.DataFrame, tolerance: float) -> np.ndarray[Any, Any]:
    """Judge each difference by the tolerance of its measure."""
    allowed = np.where(table.measure == "rank_distance", RANK_DISTANCE_TOLERANCE * table.paper, tolerance)
    within = table.difference.abs() <= allowed + _ROUNDING
    return np.where(within, "as published", np.where(table.difference > 0, "higher", "lower"))


@checked
def number(value: float) -> str:
    """Return a figure in the form of printed tables: with three decimals, or in whole ranks."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
