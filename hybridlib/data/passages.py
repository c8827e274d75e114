"""Functions that read the passages of a task: a table in memory, or a memory-mapped one of millions of rows.

A `datasets.Dataset` is read by batches of rows and by single columns, so it takes O(batch) memory at any size.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Passages: TypeAlias = pd.DataFrame | datasets.Dataset

_BATCH = 100_000


def select_columns(table: Passages, name: str, columns: list[str]) -> Passages:
    """Keep only some columns of a table, in the order given.

    Raises:
        ValueError: a column is missing; the message says the name of the table.
    """
    there = table.column_names if isinstance(table, datasets.Dataset) else list(table.columns)
    missing = [column for column in columns if column not in there]
    if missing:
        raise ValueError(f"{name} lacks the column {missing[0]!r}; it has {there}")
    if isinstance(table, datasets.Dataset):
        return table.select_columns(columns)
    return table[columns].reset_index(drop=True)


def languages_of(passages: Passages) -> list[str]:
    """List the languages of the passages, in the order of their codes."""
    if isinstance(passages, pd.DataFrame):
        return sorted(passages.language.unique())
    return sorted({code for batch in _batches(passages, "language") for code in pc.unique(batch).to_pylist()})


def positions_of(passages: Passages, ids: pd.Series) -> np.ndarray:
    """Find the row of the passage of each id, or -1 where there is none; an id may be asked for several times. (N,)

    Raises:
        ValueError: two passages of a Dataset have an id that is asked for.
    """
    if isinstance(passages, pd.DataFrame):
        return pd.Index(passages.passage_id).get_indexer(pd.Index(ids))
    codes, names = pd.factorize(ids)
    found = np.full(len(names), -1, dtype=np.int64)
    wanted = pa.array(names, type=passages.data.schema.field("passage_id").type)
    start = 0
    for batch in _batches(passages, "passage_id"):
        name = pc.fill_null(pc.index_in(batch, wanted), -1).to_numpy()  # (batch,)
        here = np.flatnonzero(name >= 0)
        again = here[found[name[here]] >= 0]
        found[name[here]] = start + here
        again = again if len(again) else here[found[name[here]] != start + here]
        if len(again):
            raise ValueError(f"passage_id {names[name[again[0]]]} comes twice")
        start += len(batch)
    return found[codes]


def positions_in(passages: Passages, languages: list[str]) -> np.ndarray:
    """Find the rows of the passages of some languages, in ascending order."""
    if isinstance(passages, pd.DataFrame):
        return np.flatnonzero(passages.language.isin(languages))
    wanted = pa.array(languages, type=passages.data.schema.field("language").type)
    return np.flatnonzero(
        np.concatenate([pc.is_in(batch, wanted).to_numpy() for batch in _batches(passages, "language")])
    )


def rows_of(passages: Passages, rows: slice | np.ndarray) -> pd.DataFrame:
    """Read some rows into memory, numbered from 0."""
    if isinstance(passages, pd.DataFrame):
        return passages.iloc[rows].reset_index(drop=True)
    chosen: Any = passages.with_format("pandas")[rows]
    return chosen.reset_index(drop=True)


def select(passages: Passages, positions: np.ndarray) -> Passages:
    """Keep the passages at some positions, in a table of the same kind."""
    return passages.iloc[positions] if isinstance(passages, pd.DataFrame) else passages.select(positions)


def draw(positions: np.ndarray, number: int, seed: Sequence[int]) -> np.ndarray:
    """Draw a number of positions, uniformly and without replacement; take all of them if there are no more."""
    if number >= len(positions):
        return positions
    return np.random.default_rng([4, *seed]).choice(positions, number, replace=False)


def _batches(passages: datasets.Dataset, column: str) -> Iterator[pa.ChunkedArray]:
    for table in passages.select_columns([column]).with_format("arrow").iter(_BATCH):
        yield table.column(0)
