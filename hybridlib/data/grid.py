"""The table of a parallel corpus, which is read and made in pieces. It has a row for every item and language."""

from collections.abc import Callable, Iterator, Sequence

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybridlib.data.table import ROWS_AT_ONCE, cached_table, fingerprint

COLUMNS = ("item", "language", "query", "passage", "passage_group", "domain", "dataset")
NUMBERS = ("item", "passage_group")
# These are empty where an item is missing. `negative` is a column of some tables: a passage that does not answer the
# query.
TEXTS = ("query", "passage", "negative")


def schema(columns: Sequence[str]) -> pa.Schema:
    """Return the types of the columns of a table."""
    return pa.schema([(name, pa.int64() if name in NUMBERS else pa.string()) for name in columns])


def derived_table(
    tables: Sequence[datasets.Dataset], change: Sequence[object], pieces: Callable[[], Iterator[pa.Table]]
) -> datasets.Dataset:
    """Make a table from others; it is mapped if one of them is mapped, and in memory otherwise.

    Args:
        tables: the tables that the new one is made from.
        change: a description of what is done to them, in JSON's types.
        pieces: makes the pieces of the new table.
    """
    made_from = [*(table._fingerprint for table in tables), *change]
    if any(table.cache_files for table in tables):
        return cached_table(made_from, pieces)
    table = datasets.table.InMemoryTable(pa.concat_tables(pieces()).combine_chunks())
    return datasets.Dataset(table, fingerprint=fingerprint(made_from))


def item_batches(table: datasets.Dataset, languages: int) -> Iterator[tuple[int, pa.Table]]:
    """Read a table in pieces of whole items; each comes with the number of its first item."""
    step = max(1, ROWS_AT_ONCE // languages) * languages
    table = table.with_format("arrow")
    for begin in range(0, len(table), step):
        yield begin // languages, table[begin : begin + step]


def item_values(table: datasets.Dataset, languages: int, column: str) -> np.ndarray:
    """Read a column that is the same in all languages, in 8 bytes an item. (items,)"""
    found = []
    for _, rows in item_batches(table.select_columns([column]), languages):
        values = rows[column].combine_chunks().take(pa.array(np.arange(0, len(rows), languages)))
        # A column has few different values, so equal strings are one object.
        codes = values.dictionary_encode()
        found.append(codes.dictionary.to_numpy(zero_copy_only=False)[codes.indices.to_numpy()])
    return np.concatenate(found)


def with_column(rows: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Replace a column."""
    return rows.set_column(rows.column_names.index(name), rows.schema.field(name), values)


def regrid(rows: pa.Table, own: Sequence[str], languages: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Bring the rows of whole items into another grid.

    Args:
        rows: whole items.
        own: the languages of `rows`.
        languages, columns: the languages and columns of the new rows, in order; texts are empty where `rows` has none.
    """
    start = np.arange(0, len(rows), len(own))[:, None]  # (items, 1)
    place = np.array([own.index(code) if code in own else -1 for code in languages])  # (L,)
    first = rows.take(pa.array(np.repeat(start, len(place))))
    source = pa.array((start + place).ravel(), mask=np.tile(place < 0, len(start)))
    new = {name: first[name] for name in COLUMNS}
    new["language"] = pa.array(np.tile(np.array(languages, dtype=object), len(start)))
    for name in set(TEXTS) & set(columns):
        there = name in rows.column_names
        new[name] = pc.fill_null(rows[name].take(source), "") if there else pa.array([""] * len(first))
    return pa.table({name: new[name] for name in columns}, schema=schema(columns))
