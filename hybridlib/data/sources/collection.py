"""Passages of any number: the rows of any source become one table, in memory or mapped from disk.

A source comes in parts, which are files as a rule. Each part that is mapped becomes a table of the cache
(`hybridlib.data.table`) when it is first asked for. A conversion that was interrupted thus goes on with the part that
it was in. It takes the memory of some rows, and looking for ids that come twice takes 16 bytes a passage.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm.auto import tqdm

from hybridlib.arguments import told
from hybridlib.data.passages import Passages
from hybridlib.data.sources.records import place, read_lines
from hybridlib.data.table import cached_table
from hybridlib.files import Seen, check_is_file, checksum

_BATCH = 10_000  # rows in memory at a time
_LARGE = 100_000_000  # bytes
# A progress bar that shows where it is of use: not in a file, and not for what is read in a moment.
BAR: dict[str, Any] = {"unit_scale": True, "delay": 2, "disable": None}
_SCHEMA = pa.schema(
    [("passage_id", pa.string()), ("language", pa.string()), ("text", pa.string()), ("hash", pa.uint64())]
)


class Row(NamedTuple):
    """A passage or a query."""

    id: str
    language: str
    text: str


class Part(NamedTuple):
    """A part of a collection, such as a file.

    Attributes:
        name: what messages call it; the path of a file.
        made_from: all that its rows depend on, in JSON's types.
        rows: begins to read its rows, of which there is at least one; it takes a function that is called with how many
            bytes were read, as often as some were.
        size: in bytes; 0 where it is not known, or `rows` shows how far it is itself.
    """

    name: str
    made_from: Sequence[object]
    rows: Callable[[Seen], Iterator[Row]]
    size: int = 0


def part_of_file(path: Path, parse: Callable[[bytes], Row], way: Sequence[object], digest: str | None = None) -> Part:
    """Describe a file with a passage on each line, which may be compressed.

    Args:
        path: the file.
        parse: the function that makes a passage of a line, or raises a ValueError that says what is wrong with it.
        way: what the passages depend on besides the file, in JSON's types.
        digest: the checksum of the file, if it is known.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder.
    """
    check_is_file(path)
    made_from = [*way, digest or checksum(path)]

    def rows(seen: Seen) -> Iterator[Row]:
        return (row for _, row in read_lines(path, parse, seen=seen))

    return Part(str(path), made_from, rows, path.stat().st_size)


def collect(parts: Sequence[Part], *, mapped: bool | None = None) -> Passages:
    """Read the passages of all parts, in their order: `passage_id`, `language` and `text`.

    Args:
        parts: those of the collection.
        mapped: whether they are memory-mapped; unless given, they are from 100 MB of files on.

    Returns:
        A Dataset that is mapped from the cache, or a DataFrame.

    Raises:
        ValueError: a row cannot be read, or an id comes twice; the message names the part and the line.
    """
    size = sum(part.size for part in parts)
    mapped = size >= _LARGE if mapped is None else mapped
    tables, begin = [], 0
    with tqdm(total=size, unit="B", **BAR) as bar:
        for number, part in enumerate(parts, start=1):
            bar.set_description(f"reading part {number} of {len(parts)}")
            pieces = partial(_pieces, part, bar)
            if mapped:
                tables.append(cached_table(part.made_from, pieces))
            else:
                tables.append(datasets.Dataset(datasets.table.InMemoryTable(pa.concat_tables(pieces()))))
            begin += part.size
            bar.update(begin - bar.n if part.size else 0)  # nothing is read of one that is in the cache
    _refuse_twice(parts, tables)
    whole = datasets.concatenate_datasets([table.remove_columns("hash") for table in tables])
    return whole if mapped else whole.to_pandas()


def _pieces(part: Part, bar: Any) -> Iterator[pa.Table]:
    """Make the pieces of the table of a part."""
    rows = part.rows(bar.update)
    while batch := list(islice(rows, _BATCH)):
        ids, languages, texts = zip(*batch, strict=True)
        hashes = pd.util.hash_array(np.array(ids, dtype=object), categorize=False)
        columns = zip((ids, languages, texts, hashes), _SCHEMA.types, strict=True)
        yield pa.table([pa.array(column, kind) for column, kind in columns], _SCHEMA)


def _refuse_twice(parts: Sequence[Part], tables: Sequence[datasets.Dataset]) -> None:
    """Refuse an id that comes twice in the tables of the parts."""
    chunks = [chunk for table in tables for chunk in table.data.column("hash").chunks]
    hashes = np.sort(pa.chunked_array(chunks).to_numpy())  # (P,)
    suspects = hashes[1:][hashes[1:] == hashes[:-1]]
    # Different ids may have the same hash, so the ids themselves are compared.
    first: dict[str, str] = {}
    for part, table in zip(parts, tables, strict=True):
        column = table.data.column("hash").to_numpy() if len(suspects) else suspects
        for row in np.flatnonzero(np.isin(column, suspects)).tolist():
            name, where = table.data.column("passage_id")[row].as_py(), place(part.name, row + 1)
            if name in first:
                raise ValueError(f"{where}: passage {told(name)} comes twice; it is in {first[name]}")
            first[name] = where
