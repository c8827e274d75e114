"""Comparisons: tables of results tested for significance, a row for every pair that is compared.

All rows of a table are one family: their p values are corrected together. Every comparison has random numbers of its
own, so the order of the rows of the results does not matter. A higher value is better; negate the values of a measure
for which a lower one is.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from hybridlib.study.report.significance import (
    check_finite,
    check_level,
    holm,
    interval,
    non_inferior,
    permutation_test,
)


def compare(
    values: pd.DataFrame,
    pairs: Sequence[tuple[object, object]],
    *,
    by: Sequence[str] = (),
    label: str = "strategy",
    rng: np.random.Generator,
    margin: float | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare strategies in pairs, in every group: one table, and one family for Holm's correction.

    Args:
        values: a row for every value, in any order, with the columns `label`, `seed`, `question`, `value` and those of
            `by`. The two sides of a comparison have the same questions with the same seeds, all of them.
        pairs: labels to compare, each with another.
        by: columns of the groups.
        label: column of what is compared.
        rng: every comparison has a stream of its own, spawned from this.
        margin: if given, the test is of non-inferiority by this margin, absolute and above 0.
        level: the level of the intervals, between 0 and 1; the tests have the level 1 - level.

    Returns:
        A row for every group, in order, and pair: the columns of `by`, `first`, `other`, the means `first_value` and
        `other_value`, their `difference`, its interval `lower` and `upper`, `p`, `p_holm`, and the `verdict`. It is
        `better` or `worse` where p_holm is below 1 - level and the interval excludes 0, else `not shown`.

        With a margin, p is of non-inferiority, and a column `bound` before it is the difference's one-sided confidence
        bound. The verdict is `non-inferior` where p_holm is below 1 - level and the bound is within the margin,
        `inferior` where the whole interval is beyond it, else `not shown`.

    Raises:
        ValueError: a column, a label, or a question of a seed is missing or is there twice; a value is not finite; or
            another argument is not allowed.
    """
    _check_values(values, pairs, columns=[*by, label, "seed", "question", "value"], label=label)
    check_level(level)
    rows = []
    for where, group in _groups(values, by):
        table = group.set_index([label, "seed", "question"]).value
        for first, other in pairs:
            sides = _paired(table, first, other, where=where)
            row = _compare_pair(*sides, rng=rng.spawn(1)[0], margin=margin, level=level)
            rows.append({**where, "first": first, "other": other, **row})
    result = pd.DataFrame(rows)
    result["p_holm"] = holm(result.p.to_numpy())
    return result.assign(verdict=_verdicts(result, margin, error=1 - level))


def intervals(
    values: pd.DataFrame, *, by: Sequence[str], rng: np.random.Generator, level: float = 0.95
) -> pd.DataFrame:
    """Compute the mean of every group for a figure, with its confidence interval over questions and seeds.

    Args:
        values: a row for every value, with the columns `seed`, `question`, `value` and those of `by`; in a group, every
            seed has the same questions.
        by: columns of the groups.
        rng: every group has a stream of its own, spawned from this.
        level: the level of the intervals, between 0 and 1.

    Returns:
        A row for every group: the columns of `by`, `value`, `lower` and `upper`. Categories keep their order.

    Raises:
        ValueError: a column is missing, a question of a seed is missing or is there twice, or a value is not finite.
    """
    missing = [column for column in (*by, "seed", "question", "value") if column not in values]
    if missing:
        raise ValueError(f"values lacks the column {missing[0]!r}; it has {list(values.columns)}")
    rows = []
    for where, group in _groups(values, by):
        if group.duplicated(["seed", "question"]).any():
            raise ValueError(f"values has a question of a seed twice where {where}")
        table = group.pivot(index="seed", columns="question", values="value").to_numpy()  # (S, Q)
        if np.isnan(table).any():
            raise ValueError(f"values lacks a question with one of the seeds where {where}; allowed: all with each")
        lower, upper = interval(table, rng=rng.spawn(1)[0], level=level)
        rows.append({**where, "value": table.mean(), "lower": lower, "upper": upper})
    result = pd.DataFrame(rows)
    for column in by:
        if isinstance(values[column].dtype, pd.CategoricalDtype):
            result[column] = pd.Categorical(result[column], values[column].cat.categories)
    return result


def _groups(values: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Yield each group with its value in every column of `by`; without columns, all values are one group."""
    if not by:
        yield {}, values
        return
    for key, group in values.groupby(list(by), observed=True, dropna=False):
        yield dict(zip(by, key, strict=True)), group


def _compare_pair(
    first: np.ndarray, other: np.ndarray, *, rng: np.random.Generator, margin: float | None, level: float
) -> dict[str, float]:
    """Return the means of two sides, their difference, its interval and p, without a verdict. (S, Q), (S, Q)"""
    difference = first - other
    lower, upper = interval(difference, rng=rng, level=level)
    row = {"first_value": first.mean(), "other_value": other.mean(), "difference": difference.mean()}
    row |= {"lower": lower, "upper": upper}
    if margin is None:
        return row | {"p": permutation_test(difference, rng=rng)}
    test = non_inferior(difference, margin, rng=rng, level=level)
    return row | {"bound": test.lower, "p": test.p}


def _verdicts(result: pd.DataFrame, margin: float | None, *, error: float) -> np.ndarray:
    """Judge every row by its interval and its corrected p; `error` is the level of the tests."""
    significant = result.p_holm < error
    if margin is None:
        shown = significant & ((result.lower > 0) | (result.upper < 0))
        return np.where(shown, np.where(result.difference > 0, "better", "worse"), "not shown")
    fine = significant & (result.bound > -margin)
    return np.where(fine, "non-inferior", np.where(result.upper < -margin, "inferior", "not shown"))


def _paired(
    table: pd.Series, first: object, other: object, *, where: dict[str, object]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of two labels, seeds by questions, both in the same order. (S, Q), (S, Q)"""
    sides = [table[table.index.get_level_values(0) == side].droplevel(0) for side in (first, other)]
    rows = sides[0].index.union(sides[1].index)
    grid = pd.MultiIndex.from_product([sorted(rows.unique(0)), sorted(rows.unique(1))])
    place = f" of {', '.join(f'{column} {value}' for column, value in where.items())}" if where else ""
    for name, side in zip((first, other), sides, strict=True):
        missing = grid[~grid.isin(side.index)]
        if len(missing):
            raise ValueError(
                f"values{place} lacks {name!r} with seed {missing[0][0]} for question {missing[0][1]!r}; "
                f"allowed: the same seeds and questions for {first!r} and {other!r}, all of them"
            )
    shape = (len(grid.unique(0)), -1)
    return sides[0].reindex(grid).to_numpy(float).reshape(shape), sides[1].reindex(grid).to_numpy(float).reshape(shape)


def _check_values(
    values: pd.DataFrame, pairs: Sequence[tuple[object, object]], *, columns: list[str], label: str
) -> None:
    missing = [column for column in columns if column not in values]
    if missing:
        raise ValueError(f"values lacks the column {missing[0]!r}; needed: {', '.join(columns)}")
    if not len(pairs):
        raise ValueError("pairs is empty; allowed: one or more pairs of labels")
    known = values[label].unique().tolist()
    for name in (side for pair in pairs for side in pair):
        if name not in known:
            raise ValueError(f"pairs names the {label} {name!r}; there are: {', '.join(sorted(map(repr, known)))}")
    check_finite("values", values["value"].to_numpy(float))
    twice = values.duplicated([column for column in columns if column != "value"])
    if twice.any():
        row = values.loc[twice, columns[:-1]].iloc[0]
        raise ValueError(f"values has twice: {', '.join(f'{column} {value}' for column, value in row.items())}")
