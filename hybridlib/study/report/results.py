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

from hybridlib.data.sources.lareqa import SHARED_ARTICLES
from hybridlib.evaluation.pairs import article_sums
from hybridlib.files import replacing
from hybridlib.study import store
from hybridlib.study.run import Trial

_WORDS = ("article", "setting", "measure", "query_language", "passage_language")
# By these labels runs of one setting differ.
REPLICATES = ("fold", "seed", "order", "trained_on")
COLUMNS = ("query_id", "question", "query_language", "setting", "passage_language", "measure", "value")


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
    """
    further = [column for column in results.columns if column not in COLUMNS]
    keys = [*further, "setting", "measure"]
    means = by_language_pair(results)
    by_query_language = means.groupby([*keys, "query_language"], observed=True, dropna=False).value.mean()
    table = by_query_language.groupby(keys, observed=True, dropna=False).mean().unstack("measure")
    return table.rename_axis(columns=None)


def by_language_pair(results: pd.DataFrame) -> pd.DataFrame:
    """Average results over the queries of each pair of query and passage language; no means are finer.

    Returns:
        The columns of the results but `query_id` and `question`.
    """
    keys = [column for column in results.columns if column not in ("query_id", "question", "value")]
    return results.groupby(keys, observed=True, dropna=False).value.mean().reset_index()


def read_sums(trials: Sequence[Trial], measures: Sequence[str], *, task: str, whole: bool = True) -> pd.DataFrame:
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


def apart(sums: pd.DataFrame, label: str) -> pd.DataFrame:
    """Put a label into the names of the tests, where each of its values has runs of its own; means are over them.

    A value of the label, with a test and a seed, at which a strategy is missing is left out for all of them.

    Args:
        sums: as returned by `read_sums`; without rows it stays as it is.
        label: the column.
    """
    if sums.empty:
        return sums
    strategies = sums.groupby([label, "test", "seed"], observed=True).strategy.transform("nunique")
    sums = sums[strategies == sums.strategy.nunique()]
    return sums.assign(test=sums.test.astype(str) + "/" + sums[label].astype(str))


def waiting(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials whose runs, or a test of them, have not been computed."""
    return [trial for trial in trials if not store.is_finished(trial.run)]


def write_sums(path: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write the tables of a notebook into one Parquet file; the column `part` has their names."""
    whole = pd.concat({name: table.astype({"article": str}) for name, table in tables.items()}, names=["part"])
    whole = whole.reset_index("part").reset_index(drop=True)
    mixed = whole.select_dtypes(exclude="number").columns
    with replacing(path) as draft:
        whole.astype(dict.fromkeys(mixed, "string")).to_parquet(draft, compression="zstd", index=False)
