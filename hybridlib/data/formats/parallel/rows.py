"""Rows of tables that people bring, one by one: CSV, TSV, JSON lines, Parquet, a `datasets.Dataset` or a DataFrame.

Memory holds a few thousand rows. Every row comes with its number, by which messages tell its place. In CSV, TSV and
JSON lines, that is the line where the row begins, counted from 1; else it is the row, counted from 0.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hybridlib.arguments import told
from hybridlib.data.checks import check_columns
from hybridlib.data.sources.records import LONGEST, place, read_lines
from hybridlib.files import check_is_file, kind_of, parse_json, reading

# A row by the names of its columns, with its number.
Row: TypeAlias = tuple[int, dict[str, Any]]

_BATCH = 4096  # rows


def read_rows(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """Read the rows of a file, whose name tells its format: `.csv`, `.tsv`, `.jsonl` or `.parquet`.

    A CSV or TSV file has a header, and quotes as spreadsheets and pandas write them. All but Parquet may be compressed
    (`.gz`, `.zst`). Lines that are empty are left out.

    Args:
        path: the file, in UTF-8.
        needed: columns that every row must have.
        optional: columns that it may have; others need not be read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its name tells no format, a needed column is missing or there twice, a line cannot be read, or a
            row of CSV has another number of fields than the header. The message names the file and the place.
    """
    return _READERS[format_of(path)](path, needed, optional)


def format_of(path: Path) -> str:
    """Return the format that the name of a file tells.

    >>> format_of(Path("pairs/en.jsonl.gz"))
    '.jsonl'
    """
    if kind_of(path) not in _READERS:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; allowed: files, or a pattern such as {path / '*.jsonl'}")
        raise ValueError(f"{path}: its name tells no format; allowed: names that end in {', '.join(_READERS)}")
    return kind_of(path)


def place_of(path: Path, number: int) -> str:
    """Name the row of a file, as every message does."""
    return f"{path}, row {number}" if format_of(path) == ".parquet" else place(path, number)


def table_of(source: pd.DataFrame | datasets.Dataset, columns: Sequence[str], name: str) -> datasets.Dataset:
    """Return some columns of a table as a Dataset, those that it has.

    Raises:
        ValueError: the table has a transform, or a column holds values of several kinds, which no file could hold.
    """
    if isinstance(source, datasets.Dataset):
        if source.format["type"] == "custom":
            raise ValueError(
                f"{name} has a transform, which is not applied to single columns; apply it by `map` instead"
            )
        return source.with_format(None).select_columns([column for column in columns if column in source.column_names])
    check_columns(name, list(source.columns), [column for column in columns if column in source.columns])
    made = {}
    for column in columns:
        if column in source.columns:
            try:
                made[column] = pa.array(source[column], from_pandas=True)
            except (pa.ArrowException, UnicodeEncodeError, TypeError) as error:
                said = " ".join(str(error).split())[:200]
                raise ValueError(f"{name}.{column} holds values that are not of one kind: {said}") from None
    return datasets.Dataset(datasets.table.InMemoryTable(pa.table(made)))


def rows_of_table(table: datasets.Dataset, name: str, needed: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a Dataset; see `read_rows`."""
    check_columns(name, table.column_names, needed)
    number = 0
    for batch in table.with_format("arrow").iter(_BATCH):
        for record in batch.to_pylist():
            yield number, record
            number += 1


def _delimited(path: Path, needed: Sequence[str], optional: Sequence[str], *, delimiter: str) -> Iterator[Row]:
    # The parser of Python tells lines; it gets each with its end, for a quoted text may hold several.
    lines = (line + "\n" for _, line in read_lines(path, bytes.decode))
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST))  # it would refuse a passage of 131,073 characters
    reader, header = csv.reader(lines, delimiter=delimiter, strict=True), list[str]()
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{place(path, number)}: it is not CSV: {error}") from None
        if fields and header and len(fields) != len(header):
            raise ValueError(f"{place(path, number)}: {len(fields)} fields; expected {len(header)}, as in the header")
        if fields and header:
            yield number, dict(zip(header, fields, strict=True))
        elif fields or (fields is None and not header):
            header = fields or []
            check_columns(str(path), header, [*needed, *(name for name in optional if name in header)])
        if fields is None:
            return


def _json_lines(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    for number, record in read_lines(path, _record):
        if record is not None:
            if any(name not in record for name in needed):
                check_columns(place(path, number), list(record), needed)
            yield number, record


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.strip():
        return None
    record = parse_json(line.decode(), "the line")
    if not isinstance(record, dict):
        raise ValueError(f'the line is {told(record)}; allowed: names and values, as {{"item": 1, ...}}')
    return record


def _parquet(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Iterator[Row]:
    check_is_file(path)
    number = 0
    with reading(path), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        there = [*needed, *(name for name in optional if name in names)]
        check_columns(str(path), names, there)
        for batch in file.iter_batches(_BATCH, columns=there):
            for record in batch.to_pylist():
                yield number, record
                number += 1


_READERS: dict[str, Callable[..., Iterator[Row]]] = {
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
