"""The columns of the table of a corpus, and the one cache of tables: each is made once, in pieces, and then mapped.

The table of a corpus has a row for every item and language. An item exists in a language where it has a query and a
passage, both of them texts that are not blank. Where it does not exist, both are empty.

A table lies in the cache of `datasets` (`HF_DATASETS_CACHE`), in the folder `hybridlib`. Its name depends on all that
it is made from: another checksum, for one, makes another table. Making a table takes the memory of one piece, and
reading it takes the memory of the rows that are read. One process at a time makes a table. A table gets its name when
it is whole, so a failure leaves nothing behind.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from hybridlib.arguments import told
from hybridlib.data.checks import check_columns, check_rows, texts_wrong
from hybridlib.files import replacing
from hybridlib.sampler.availability import has_text

COLUMNS = ("item", "language", "query", "passage", "passage_group", "domain", "dataset")
# Some tables have these, too: a passage that does not answer the query, and its group, which is -1 if no item has it.
NEGATIVES = ("negative", "negative_group")
NUMBERS = ("item", "passage_group", "negative_group")
TEXTS = ("query", "passage", "negative")
NAMED = "a text that is not empty"
ROWS_AT_ONCE = 1 << 14
# This is a part of every name. Raise it when a table is to be made in another way from the same things.
_VERSION = 3


def schema(columns: Sequence[str]) -> pa.Schema:
    """Return the types of the columns of a table."""
    return pa.schema([(name, pa.int64() if name in NUMBERS else pa.string()) for name in columns])


def item_batches(table: datasets.Dataset, languages: int) -> Iterator[tuple[int, pa.Table]]:
    """Read a table in pieces of whole items; each comes with the number of its first item."""
    step = max(1, ROWS_AT_ONCE // languages) * languages
    table = table.with_format("arrow")
    for begin in range(0, len(table), step):
        yield begin // languages, table[begin : begin + step]


def without_negatives(table: datasets.Dataset) -> datasets.Dataset:
    """Return a table without the columns of hard negatives, where it has them."""
    there = [name for name in NEGATIVES if name in table.column_names]
    return table.remove_columns(there) if there else table


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


def cached_table(made_from: Sequence[object], pieces: Callable[[], Iterator[pa.Table]]) -> datasets.Dataset:
    """Map a table from the cache; make it first if it is not there.

    Args:
        made_from: all that the table depends on, in JSON's types, such as checksums of files and fingerprints of other
            tables.
        pieces: makes the pieces of the table, at least one; it is called only if the table is not in the cache.
    """
    key = fingerprint(made_from)
    path = Path(datasets.config.HF_DATASETS_CACHE) / "hybridlib" / f"{key}.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with replacing(path) as draft:
                _write(draft, pieces())
    return datasets.Dataset(datasets.table.MemoryMappedTable.from_file(str(path)), fingerprint=key)


def fingerprint(made_from: Sequence[object]) -> str:
    """Return the name of a table that is made from these things, in JSON's types."""
    return hashlib.sha256(json.dumps([_VERSION, *made_from]).encode()).hexdigest()[:32]


def _write(path: Path, pieces: Iterator[pa.Table]) -> None:
    first = next(pieces)
    with pa.ipc.new_stream(str(path), first.schema) as writer:
        writer.write_table(first, max_chunksize=ROWS_AT_ONCE)
        for piece in pieces:
            writer.write_table(piece, max_chunksize=ROWS_AT_ONCE)


def check_table(table: Any) -> datasets.Dataset:
    """Return the table of a corpus, whose columns are there and of their types; `check_items` looks at its rows.

    Each item whose passage group is null or -1 gets a group of its own.

    Raises:
        ValueError: it is no table, has no row or has a transform, or a column is missing, of another type, or null
            where it must not be, or a group is below -1.
    """
    if not isinstance(table, datasets.Dataset):
        raise ValueError(
            f"table is {told(table)}; allowed: a datasets.Dataset with a row for every item and language, as "
            "load_corpus and ParallelCorpus.from_frame make it"
        )
    if table.format["type"] == "custom":
        raise ValueError("table has a transform, which only whole rows would get; apply it by `map` instead")
    if table.format["type"] or table.format["columns"] != table.column_names:
        table = table.with_format(None)  # rows are read as Python has them
    columns = [*COLUMNS, *(NEGATIVES if set(NEGATIVES) & set(table.column_names) else ())]
    check_columns("table", table.column_names, columns)
    if not len(table):
        raise ValueError("table is empty; a corpus needs at least one item")
    for name in columns:
        column = table.data.column(name)
        kind, allowed = column.type, "whole numbers" if name in NUMBERS else "texts"
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        number = pa.types.is_integer(kind) or (name == "passage_group" and pa.types.is_null(kind))
        if not (number if name in NUMBERS else text):
            raise ValueError(f"table.{name} is of the type {kind}; allowed: {allowed}")
        if name in ("item", "language", "domain", "dataset") and column.null_count:
            values = table.with_format("arrow")[:][name]
            check_rows(values.is_null(), values, f"table.{name}", allowed)
        if name.endswith("_group") and (pc.min(column).as_py() or 0) < -1:
            values = table.with_format("arrow")[:][name]
            check_rows(pc.fill_null(pc.less(values, -1), False), values, f"table.{name}", "null, or -1 and above")
    group = table.data.column("passage_group")
    return _own_groups(table) if group.null_count or pc.min(group).as_py() < 0 else table


def _own_groups(table: datasets.Dataset) -> datasets.Dataset:
    """Give each item whose passage group is null or -1 a group of its own."""
    names, rows = table.column_names, table.select_columns(["item", "passage_group"]).with_format("arrow")[:]
    group = pc.fill_null(rows["passage_group"].cast(pa.int64()), -1).to_numpy()
    own = group.max() + 1 + pd.factorize(rows["item"].to_numpy())[0]
    group = np.where(group == -1, own, group)
    table = table.remove_columns("passage_group")
    return table.add_column("passage_group", group, feature=datasets.Value("int64")).select_columns(names)


def check_items(table: datasets.Dataset, languages: int) -> None:
    """Look at every row of the table of a corpus, in pieces that fit into memory.

    Raises:
        ValueError: a row has a query or a passage alone, or a blank text that is not empty; passage group or domain
            differ between the languages of an item; or a domain is blank. The message names the column and the rows.
    """
    columns = table.select_columns(["query", "passage", "passage_group", "domain"])
    for begin, rows in item_batches(columns, languages):
        number = np.arange(len(rows)) + begin * languages
        there = {name: has_text(rows[name]).to_numpy() for name in ("query", "passage")}
        for name in there:
            empty = pc.fill_null(pc.equal(rows[name], ""), True).to_numpy()
            wrong = ~there[name] & ~(empty & ~there["query"] & ~there["passage"])
            allowed = "a text that is not blank, or no query and no passage where the item is missing"
            check_rows(wrong, rows[name], f"table.{name}", allowed, number)
        for name in ("passage_group", "domain"):
            encoded = rows[name].combine_chunks().dictionary_encode()
            codes = encoded.indices.to_numpy()
            wrong = codes != np.repeat(codes[::languages], languages)
            check_rows(wrong, rows[name], f"table.{name}", "the value of the item's first row", number)
            if name == "domain":
                wrong = texts_wrong(encoded.dictionary.to_pylist())[codes]
                check_rows(wrong, rows[name], f"table.{name}", NAMED, number)
