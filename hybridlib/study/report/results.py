"""Results: one tidy table, and the means that are derived from it.

A row of results is one value of a query in a setting, against the passages of a language, by a measure. Means are never
stored instead of it.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hybridlib.paths import replacing
from hybridlib.study.run import Run, Trial

# The columns of what `hybridlib.evaluation.evaluate` returns; further columns are labels of runs.
COLUMNS = ("query_id", "question", "query_language", "setting", "passage_language", "measure", "value")


def summarize(results: pd.DataFrame) -> pd.DataFrame:
    """Average results by setting and measure, macro-averaged as in the paper's Table 1.

    Queries are averaged first, within each pair of query and passage language; then the passage languages of each query
    language; then the query languages. So every language counts alike, however many queries it has. Further columns of
    the results (`alpha`, `seed`, ...) are kept apart, and one without a value loses no row. An undefined value (NaN)
    takes no part in a mean; the mean is NaN where all values are.

    Args:
        results: as returned by `evaluate` or by `by_language_pair`.

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
    """Average the queries of each pair of query and passage language: the finest means there are.

    Returns:
        The columns of the results without `query_id` and `question`.
    """
    keys = [column for column in results.columns if column not in ("query_id", "question", "value")]
    return results.groupby(keys, observed=True, dropna=False).value.mean().reset_index()


def read_means(trials: Sequence[Trial], measures: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the means of finished runs over the queries of each pair of languages, with the labels of their trials.

    Args:
        trials: their labels become columns; words become categories in the order in which they come first.
        measures: some of those the runs have; all of them unless given.
    """
    return _read(trials, lambda run: by_language_pair(run.results(measures)))


def read_questions(
    trials: Sequence[Trial], measures: Sequence[str], *, by: Sequence[str] = ("setting", "measure")
) -> pd.DataFrame:
    """Read the value of each question in finished runs, averaged over the languages it is asked and answered in.

    Statistics pair these values by question.

    Args:
        trials: their labels become columns.
        measures: some of those the runs have.
        by: columns of the results to keep apart, such as `query_language`.

    Returns:
        The labels, the columns of `by`, `question` and `value`.
    """
    keys = [*by, "question"]
    return _read(
        trials, lambda run: run.results(measures).groupby(keys, observed=True).value.mean().dropna().reset_index()
    )


def _read(trials: Sequence[Trial], summary: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
    """Concatenate the summaries of the trials' runs, with their labels; a run of several trials is read once."""
    tables: dict[Run, pd.DataFrame] = {}
    for trial in trials:
        if trial.run not in tables:
            tables[trial.run] = summary(trial.run)
    table = pd.concat([tables[trial.run].assign(**trial.labels) for trial in trials], ignore_index=True)
    for name in trials[0].labels:
        if table[name].dtype == object or isinstance(table[name].dtype, pd.StringDtype):
            table[name] = pd.Categorical(table[name], table[name].unique())
    return table


def write_results(path: Path, trials: Sequence[Trial]) -> None:
    """Write the results of finished runs, query by query and with their trials' labels, to one Parquet file.

    One trial is in memory at a time.
    """
    with replacing(path) as draft, contextlib.ExitStack() as stack:
        writer = None
        for trial in trials:
            table = pq.read_table(trial.run.folder / "results.parquet").replace_schema_metadata()
            for name, value in trial.labels.items():
                constant = pa.DictionaryArray.from_arrays(np.zeros(len(table), dtype=np.int8), pa.array([value]))
                table = table.append_column(name, constant)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(draft, table.schema, compression="zstd"))
            writer.write_table(table)
