"""The table of a parallel corpus, made in pieces: a row for every item and language, item by item.

A table that may be larger than memory is written to the cache of `datasets` (`HF_DATASETS_CACHE`), under a name that
tells what it is made of, and mapped from then on: making it takes the memory of a piece and a few integers an item,
reading it takes that of what is read. It is made once, by one process at a time.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from hybridlib.paths import replacing

COLUMNS = ("item", "language", "query", "passage", "passage_group", "domain", "dataset")
NUMBERS = ("item", "passage_group")
# Empty where an item is missing. `negative`, a passage that does not answer the query, is a column of some tables.
TEXTS = ("query", "passage", "negative")
ROWS_AT_ONCE = 1 << 14
# Of the names of the tables in the cache; another number makes them all anew.
_VERSION = 1


def schema(columns: Sequence[str]) -> pa.Schema:
    """The types of the columns of a table."""
    return pa.schema([(name, pa.int64() if name in NUMBERS else pa.string()) for name in columns])


def mapped(made_of: Sequence[object], pieces: Callable[[], Iterator[pa.Table]]) -> datasets.Dataset:
    """The table of which these are the pieces, memory-mapped.

    Args:
        made_of: all that the table depends on, in JSON's types: checksums of files, fingerprints of other tables.
        pieces: called only if the table is not in the cache.
    """
    key = _fingerprint(made_of)
    path = Path(datasets.config.HF_DATASETS_CACHE) / "hybridlib" / f"{key}.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with replacing(path) as draft:
                _write(draft, pieces())
    return datasets.Dataset(datasets.table.MemoryMappedTable.from_file(str(path)), fingerprint=key)


def made(
    of: Sequence[datasets.Dataset], how: Sequence[object], pieces: Callable[[], Iterator[pa.Table]]
) -> datasets.Dataset:
    """A table made of others: mapped if one of them is, otherwise in memory.

    Args:
        of: the tables.
        how: what is done to them, in JSON's types.
        pieces: of the new table.
    """
    made_of = [*(table._fingerprint for table in of), *how]
    if any(table.cache_files for table in of):
        return mapped(made_of, pieces)
    table = datasets.table.InMemoryTable(pa.concat_tables(pieces()).combine_chunks())
    return datasets.Dataset(table, fingerprint=_fingerprint(made_of))


def pieces_of(table: datasets.Dataset, languages: int) -> Iterator[tuple[int, pa.Table]]:
    """The first item and the rows of each piece of a table, in whole items; in one piece what is in memory anyway."""
    step = max(1, ROWS_AT_ONCE // languages) * languages if table.cache_files else len(table)
    table = table.with_format("arrow")
    for begin in range(0, len(table), step):
        yield begin // languages, table[begin : begin + step]


def of_items(table: datasets.Dataset, languages: int, column: str) -> np.ndarray:
    """What a column that is the same in all languages holds for each item, 8 bytes an item. (items,)"""
    found = []
    for _, rows in pieces_of(table.select_columns([column]), languages):
        values = rows[column].combine_chunks().take(pa.array(np.arange(0, len(rows), languages)))
        # Through its few different values, so that there are no million equal strings.
        codes = values.dictionary_encode()
        found.append(codes.dictionary.to_numpy(zero_copy_only=False)[codes.indices.to_numpy()])
    return np.concatenate(found)


def with_column(rows: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows with a column replaced."""
    return rows.set_column(rows.column_names.index(name), rows.schema.field(name), values)


def regrid(rows: pa.Table, own: Sequence[str], languages: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """The rows of another grid: of these languages, in this order, with these columns.

    Args:
        rows: of whole items.
        own: the languages they are in.
        languages, columns: of the new rows; texts are empty in languages and columns that were not there.
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


def _fingerprint(made_of: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps([_VERSION, *made_of]).encode()).hexdigest()[:32]


def _write(path: Path, pieces: Iterator[pa.Table]) -> None:
    first = next(pieces)
    with pa.ipc.new_stream(str(path), first.schema) as writer:
        writer.write_table(first, max_chunksize=ROWS_AT_ONCE)
        for piece in pieces:
            writer.write_table(piece, max_chunksize=ROWS_AT_ONCE)
