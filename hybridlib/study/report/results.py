"""Results: one tidy table, and the means and sums that are derived from it.

A row of results is one value: of a query, in a setting, against the passages of a language, by a measure. Means are
never stored instead of it. A study keeps ranks, from which results are computed when they are read; its statistics need
the sums over the questions of each article only.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from hybridlib.arguments import FilePath, Name, Names, checked
from hybridlib.data.checks import check_columns, check_rows, numbers_of, unhashable
from hybridlib.data.sources.lareqa import SHARED_ARTICLES
from hybridlib.evaluation.pairs import article_sums
from hybridlib.files import replacing
from hybridlib.metric.measures import parse_measure
from hybridlib.names import LOWER_IS_BETTER, SETTINGS
from hybridlib.study.run import Trial
from hybridlib.study.runs import store

_WORDS = ("article", "setting", "measure", "query_language", "passage_language")
# By these labels runs of one setting differ.
REPLICATES = ("fold", "seed", "order", "trained_on")
COLUMNS = ("query_id", "question", "query_language", "setting", "passage_language", "measure", "value")
_NEEDED = ("query_language", "setting", "passage_language", "measure", "value")
# The columns of sums by which runs, and the cells of their means, are known.
RUN = ["test", "fold", "seed"]
_KEYS = ("setting", "measure", "article", "query_language", "passage_language")


@checked
def summarize(results: pd.DataFrame) -> pd.DataFrame:
    """Average results by setting and measure, macro-averaged as in the paper's Table 1.

    Queries are averaged first, within each pair of query and passage language; then the passage languages of each query
    language; then the query languages. So every language counts alike, however many queries it has. Further columns of
    the results (`alpha`, `seed`, ...) are kept apart, those without a value too. A query whose measure is undefined
    (NaN) takes no part in its means; of undefined values only, the mean is NaN.

    Args:
        results: as returned by `evaluate` or `by_language_pair`.

    Returns:
        A row for every setting (and value of the further columns), a column for every measure.

    Raises:
        ValueError: a column of results is missing, a language, a setting or a measure is, a value is no number or
            infinite, or two rows are of the same query, or of the same pair of languages: results of several runs need
            a further column that tells them apart.
    """
    further = [column for column in results.columns if column not in COLUMNS]
    keys = [*further, "setting", "measure"]
    means = by_language_pair(results)
    by_query_language = means.groupby([*keys, "query_language"], observed=True, dropna=False).value.mean()
    table = by_query_language.groupby(keys, observed=True, dropna=False).mean().unstack("measure")
    return table.rename_axis(columns=None)


@checked
def by_language_pair(results: pd.DataFrame) -> pd.DataFrame:
    """Average results over the queries of each pair of query and passage language; no means are finer.

    Returns:
        The columns of the results but `query_id` and `question`.

    Raises:
        ValueError: as in `summarize`.
    """
    check_columns(f"results (with {', '.join(_NEEDED)}, as returned by `evaluate`)", list(results.columns), _NEEDED)
    keys = [column for column in results.columns if column not in ("query_id", "question", "value")]
    one = [*keys, "query_id"] if "query_id" in results else keys
    for name in one:
        wrong = unhashable(results[name]) | (results[name].isna().to_numpy() & (name in _NEEDED))
        check_rows(wrong, results[name], f"results.{name}", "a text" if name in _NEEDED else "a text or a number")
    check_rows(results.duplicated(one), results[one[-1]], f"results.{one[-1]}", f"one row for each of {', '.join(one)}")
    results = results.assign(value=numbers_of(results.value, "results.value", missing=True))
    return results.groupby(keys, observed=True, dropna=False).value.mean().reset_index()


@checked
def read_sums(trials: list[Trial], measures: Names, *, task: Name, whole: bool = True) -> pd.DataFrame:
    """Read what statistics are made from: values summed over the questions of each article, for every trial.

    Trials whose runs are not there are left out; see `waiting`. So are the questions of MLQA-R on articles that runs on
    XQuAD-R have been trained on.

    Args:
        trials: their labels become columns; words keep the order in which they come first.
        measures: see `hybridlib.metric.measures.parse_measure`.
        task: the name of the task; a trial that is not tested on it is left out.
        whole: leave out a setting of which one run is missing, since its mean would be over other questions than that
            of others. Trials are of one setting if they differ in `REPLICATES` alone.

    Returns:
        The labels, `test` (names the questions: `xquad-r-2`), and the columns of `article_sums`. It has no rows if
        nothing is there.
    """
    for measure in measures:
        parse_measure(measure)  # refuses what does not exist, also where no run is there
    asked = [(trial, test) for trial in trials for test in trial.run.tests if test.task == task]
    there = [trial.run.test_name(test) in store.record_of(trial.run)["tests"] for trial, test in asked]
    lacking = {_setting(trial) for (trial, _), kept in zip(asked, there, strict=True) if whole and not kept}
    parts, labels = [], []
    for (trial, test), kept in zip(asked, there, strict=True):
        if kept and _setting(trial) not in lacking:
            sums = article_sums(store.read(trial.run, test), measures)
            if task == "mlqa-r" and trial.run.corpus == "xquad-r":
                sums = sums[~sums.article.isin(SHARED_ARTICLES)]
            parts.append(sums)
            labels.append({**trial.labels, "test": trial.run.test_name(test)})
    return _stacked(parts, labels) if parts else pd.DataFrame()


def _setting(trial: Trial) -> tuple[Any, ...]:
    return tuple(value for name, value in trial.labels.items() if name not in REPLICATES)


def _stacked(parts: Sequence[pd.DataFrame], labels: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Put tables one below the other, each with its labels; words become categories, in the order they come in."""
    columns: dict[str, Any] = {}
    for name in parts[0].columns:
        arrays = [part[name].array for part in parts]
        columns[name] = union_categoricals(arrays) if name in _WORDS else np.concatenate(arrays)
    sizes = [len(part) for part in parts]
    for name, value in labels[0].items():
        values = pd.Series([of[name] for of in labels])
        if isinstance(value, str):
            codes, words = pd.factorize(values)
            columns[name] = pd.Categorical.from_codes(np.repeat(codes, sizes), words)
        else:
            columns[name] = np.repeat(values.to_numpy(), sizes)
    return pd.DataFrame(columns)


def check_sums(sums: pd.DataFrame, further: Iterable[str]) -> pd.DataFrame:
    """Return the sums that count something, with totals and counts in float64.

    Args:
        sums: as returned by `read_sums`.
        further: columns that are needed besides.

    Raises:
        ValueError: a column is missing, or the name of an article, a setting, a measure or a language; there is no such
            setting or measure; a count is no whole number; a total is not finite where something is counted, or not 0
            where nothing is; or nothing is counted at all.
    """
    check_columns("sums (as returned by `read_sums`)", list(sums.columns), [*_KEYS, *RUN, "total", "count", *further])
    for name in dict.fromkeys([*_KEYS, *RUN, *further]):
        wrong = unhashable(sums[name]) | (sums[name].isna().to_numpy() & (name in _KEYS))
        check_rows(wrong, sums[name], f"sums.{name}", "a name")
    check_rows(~sums.setting.isin(SETTINGS), sums.setting, "sums.setting", ", ".join(SETTINGS))
    for measure in sums.measure.unique():
        check_measure(measure, "sums.measure")
    count = numbers_of(sums["count"], "sums.count")
    check_rows((count < 0) | (count % 1 > 0), sums["count"], "sums.count", "a whole number, 0 or more")
    total = numbers_of(sums.total, "sums.total", missing=True)
    check_rows((count > 0) & np.isnan(total), sums.total, "sums.total", "a finite number where the count is above 0")
    if not count.any():
        raise ValueError("sums have no row with a count; allowed: one or more")
    check_rows((count == 0) & (np.abs(total) > 0), sums.total, "sums.total", "0 or none where the count is 0")
    return sums.assign(total=total, count=count)[count > 0]


def check_measure(name: str, where: str) -> None:
    """Refuse a measure that does not exist, since it is not known whether more of it is better.

    Args:
        name: the measure.
        where: what names it, for the message.
    """
    if name not in LOWER_IS_BETTER:
        try:
            parse_measure(str(name))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def check_panels(
    panels: Mapping[str, pd.DataFrame], made_by: str, words: Sequence[str], numbers: Sequence[str]
) -> None:
    """Refuse tables by title of which there is none, or of which one cannot be shown; see `check_table`."""
    if not panels:
        raise ValueError("panels are {}; allowed: one table or more, by title")
    for title, table in panels.items():
        check_table(table, f"panels[{title!r}]", made_by, words, numbers)


def check_table(
    table: pd.DataFrame, name: str, made_by: str, words: Sequence[str], numbers: Sequence[str] = ()
) -> None:
    """Refuse a table that cannot be shown: without rows, or a column, or a value where one is shown.

    Args:
        table: what is to be shown.
        name: its name, for messages.
        made_by: what returns such tables, for messages.
        words: columns that are needed, in which no value is missing.
        numbers: columns that are needed, of finite numbers. The lower end of an interval is at most the upper one.
    """
    check_columns(f"{name} (as returned by `{made_by}`)", list(table.columns), [*words, *numbers])
    if not len(table):
        raise ValueError(f"{name} has no rows; allowed: one or more")
    for column in words:
        wrong = unhashable(table[column]) | table[column].isna().to_numpy()
        check_rows(wrong, table[column], f"{name}.{column}", "a value")
    for column in numbers:
        numbers_of(table[column], f"{name}.{column}")
    if {"lower", "upper"} <= {*table.columns}:
        lower, upper = (numbers_of(table[end], f"{name}.{end}", missing=True) for end in ("lower", "upper"))
        check_rows(lower > upper, table.lower, f"{name}.lower", "at most the upper end")


@checked
def apart(sums: pd.DataFrame, label: Name) -> pd.DataFrame:
    """Put a label into the names of the tests, where each of its values has runs of its own; means are over them.

    A value of the label, with a test and a seed, at which a strategy is missing is left out for all of them.

    Args:
        sums: as returned by `read_sums`; without rows it stays as it is.
        label: the column.
    """
    if sums.empty:
        return sums
    check_columns("sums (as returned by `read_sums`)", list(sums.columns), [label, "test", "seed", "strategy"])
    strategies = sums.groupby([label, "test", "seed"], observed=True).strategy.transform("nunique")
    sums = sums[strategies == sums.strategy.nunique()]
    return sums.assign(test=sums.test.astype(str) + "/" + sums[label].astype(str))


@checked
def waiting(trials: list[Trial]) -> list[Trial]:
    """Return the trials whose runs, or a test of them, have not been computed."""
    return [trial for trial in trials if not store.is_finished(trial.run)]


@checked
def write_sums(path: FilePath, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write the tables of a notebook into one Parquet file; the column `part` has their names."""
    if not tables:
        raise ValueError("tables are {}; allowed: one or more, by name")
    for name, table in tables.items():
        check_columns(f"tables[{name!r}]", list(table.columns), ["article"])
    whole = pd.concat({name: table.astype({"article": str}) for name, table in tables.items()}, names=["part"])
    whole = whole.reset_index("part").reset_index(drop=True)
    mixed = whole.select_dtypes(exclude="number").columns
    with replacing(Path(path)) as draft:
        whole.astype(dict.fromkeys(mixed, "string")).to_parquet(draft, compression="zstd", index=False)
