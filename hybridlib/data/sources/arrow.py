"""Passages in gzipped JSON lines, as memory-mapped Arrow: a corpus of any size is never loaded into memory.

A file is converted once, line by line, into an Arrow file in the cache of `datasets` (`HF_DATASETS_CACHE`), whose name
holds the checksum of what it was made of, so that another content is converted again. It appears under that name when
it is whole: a conversion that was interrupted goes on with the file it was in. Every line is checked.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from tqdm.auto import tqdm

from hybridlib.paths import replacing

if TYPE_CHECKING:
    import datasets

# Part of the name of an Arrow file; to be raised when a conversion gives something else.
_VERSION = 1
# Lines in memory at a time.
_BATCH = 10_000
# Bytes, at most, that are decompressed at a time.
_CHUNK = 1 << 20
_SCHEMA = pa.schema(
    [("passage_id", pa.string()), ("language", pa.string()), ("text", pa.string()), ("hash", pa.uint64())]
)


def read_passages(files: Mapping[Path, str], language: str) -> "datasets.Dataset":
    """The passages of one language, memory-mapped.

    A line is `{"docid": ..., "title": ..., "text": ...}`, and a passage its title and text with a space between them.
    Memory is constant while a file is converted; looking for docids that come twice takes 8 bytes a passage.

    Args:
        files: gzipped JSON lines, with the checksum of each.
        language: its code.

    Returns:
        `passage_id` (`<language>:<docid>`), `language` and `text`, in the order of the files and their lines.

    Raises:
        ValueError: a line is no passage, or its docid comes twice; the message names the file and the line.
    """
    import datasets  # takes a second

    folder = Path(datasets.config.HF_DATASETS_CACHE) / "hybridlib-passages"
    tables = {
        path: folder / f"{language}-{checksum.replace(':', '-')}-{_VERSION}.arrow" for path, checksum in files.items()
    }
    absent = [path for path, table in tables.items() if not table.is_file()]
    size = sum(path.stat().st_size for path in absent)
    with tqdm(total=size, unit="B", unit_scale=True, desc=f"converting {language}", delay=2, disable=None) as bar:
        for path in absent:
            _convert(path, language, tables[path], bar)
    parts = {path: datasets.Dataset.from_file(str(table)) for path, table in tables.items()}
    _refuse_twice(parts)
    return datasets.concatenate_datasets([part.remove_columns("hash") for part in parts.values()])


def unknown_ids(passages: "datasets.Dataset", ids: Iterable[str]) -> set[str]:
    """Those of the ids that no passage has; only the column of the ids is read."""
    wanted = set(ids)
    column = passages.data.column("passage_id")
    return wanted - set(column.filter(pc.is_in(column, value_set=pa.array(sorted(wanted)))).to_pylist())


def _convert(path: Path, language: str, table: Path, bar: tqdm) -> None:
    rows = _rows(path, bar)
    with replacing(table) as draft, pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        empty = True
        while batch := list(islice(rows, _BATCH)):
            ids = np.array([f"{language}:{docid}" for docid, _ in batch], dtype=object)
            hashes = pd.util.hash_array(ids, categorize=False)
            columns = [ids, [language] * len(batch), [text for _, text in batch], hashes]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
            empty = False
        if empty:
            raise ValueError(f"{path} holds no passage")


def _rows(path: Path, bar: tqdm) -> Iterator[tuple[str, str]]:
    """Docid and text of every line."""
    for number, line in _lines(path, bar):
        try:
            yield _passage(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error


def _lines(path: Path, bar: tqdm) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; the bar counts the compressed bytes that were read."""
    number, rest, shown = 0, b"", bar.n
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
        try:
            # Reading by lines would lose those before the fault that are still in a buffer, and so the line's number.
            while chunk := stream.read1(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for number, line in enumerate(lines, number + 1):  # noqa: B020 (it goes on counting)
                    yield number, line
                bar.update(shown + raw.tell() - bar.n)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}, line {number + 1}: truncated or no gzip file: {error}") from error
    if rest:
        yield number + 1, rest


def _passage(line: bytes) -> tuple[str, str]:
    """Docid and text of a line, checked."""
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start + 1}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.colno}") from error
    record = record if isinstance(record, dict) else {}
    docid, title, text = (record.get(name) for name in ("docid", "title", "text"))
    if not (isinstance(docid, str) and isinstance(title, str) and isinstance(text, str)):
        raise ValueError(f"expected docid, title and text, which are strings, not {line.decode()[:80].strip()}")
    if docid.split() != [docid]:
        raise ValueError(f"docid {docid!r} is empty or holds white space")
    # As MTEB and the baselines of MIRACL join them; an empty text under a title is a passage there, too.
    passage = f"{title} {text}".strip()
    if not passage:
        raise ValueError(f"passage {docid!r} is empty")
    try:
        (docid + passage).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"passage {docid!r} holds half a surrogate pair, which is no text") from error
    return docid, passage


def _refuse_twice(parts: "Mapping[Path, datasets.Dataset]") -> None:
    hashes = np.empty(sum(len(part) for part in parts.values()), dtype=np.uint64)  # (P,)
    start = 0
    for part in parts.values():
        hashes[start : start + len(part)] = part.data.column("hash").to_numpy()
        start += len(part)
    hashes.sort()
    suspects = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(suspects):
        return
    # Different ids may have the same hash, so the ids themselves are compared.
    first: dict[str, str] = {}
    for path, part in parts.items():
        for row in _suspect_rows(part, suspects):
            name, place = part.data.column("passage_id")[row].as_py(), f"{path}, line {row + 1}"
            if name in first:
                raise ValueError(f"{place}: docid {name.partition(':')[2]!r} comes twice; it is in {first[name]}")
            first[name] = place


def _suspect_rows(part: "datasets.Dataset", suspects: np.ndarray) -> Sequence[int]:
    return np.flatnonzero(np.isin(part.data.column("hash").to_numpy(), suspects)).tolist()
