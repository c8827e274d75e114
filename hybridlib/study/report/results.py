"""Results: one tidy table, and the means that are derived from it.

A row of results is one value: of a query, in a setting, against the passages of a language, by a measure. Means are
never stored instead of it.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hybridlib.paths import replacing
from hybridlib.study import store
from hybridlib.study.run import Run, Trial

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


def read_means(trials: Sequence[Trial], measures: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the means of finished runs over the queries of each pair of languages, with the labels of their trials.

    Args:
        trials: their labels become columns; words keep the order in which they come first.
        measures: some of those the runs have; all of them unless given.
    """
    return _read(trials, lambda run: by_language_pair(store.read(run, measures)))


def read_questions(
    trials: Sequence[Trial], measures: Sequence[str], *, by: Sequence[str] = ("setting", "measure")
) -> pd.DataFrame:
    """Read the value of each question in finished runs, averaged over the languages it is asked and answered in.

    Statistics are paired by these values.

    Args:
        trials: their labels become columns.
        measures: some of those the runs have.
        by: columns of the results to keep apart, as `query_language`.

    Returns:
        The labels, the columns of `by`, `question` and `value`.
    """
    keys = [*by, "question"]
    return _read(
        trials, lambda run: store.read(run, measures).groupby(keys, observed=True).value.mean().dropna().reset_index()
    )


def write_results(path: Path, trials: Sequence[Trial]) -> None:
    """Write the results of finished runs into one Parquet file, query by query, with their trials' labels.

    One trial at a time is in memory.
    """
    with replacing(path) as draft, contextlib.ExitStack() as stack:
        writer = None
        for trial in trials:
            table = pq.read_table(store.folder_of(trial.run) / "results.parquet").replace_schema_metadata()
            for name, value in trial.labels.items():
                constant = pa.DictionaryArray.from_arrays(np.zeros(len(table), dtype=np.int8), pa.array([value]))
                table = table.append_column(name, constant)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(draft, table.schema, compression="zstd"))
            writer.write_table(table)


def _read(trials: Sequence[Trial], summary: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
    tables: dict[Run, pd.DataFrame] = {}
    for trial in trials:
        if trial.run not in tables:
            tables[trial.run] = summary(trial.run)
    table = pd.concat([tables[trial.run].assign(**trial.labels) for trial in trials], ignore_index=True)
    for name in trials[0].labels:
        if table[name].dtype == object or isinstance(table[name].dtype, pd.StringDtype):
            table[name] = pd.Categorical(table[name], table[name].unique())
    return table
