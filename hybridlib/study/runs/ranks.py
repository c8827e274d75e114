"""The files of kept ranks: one of a run, one of the relevant pairs that its ranks belong to, and lists of checksums.

A run's file `<key>.parquet` has a row for every test and relevant pair: `test`, `in_language`, `in_pool`. Its record is
JSON in the metadata of the Parquet schema. It says what the run is (`run`, `data`), and of each test (`tests`) what it
is and by what it was computed. Digests are of contents, not of files, so that equal ranks are known to be equal
whichever versions have written them. A table of pairs is kept once, in `pairs/<test>.parquet`, for all runs.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from hybridlib.arguments import explain, told
from hybridlib.files import checksum, parse_json, read_text, replacing

Record = dict[str, Any]
Ranks = tuple[np.ndarray, np.ndarray]  # in the language, and in the pool. (N,) each

SUMS = "SHA256SUMS"
ADDING = ".adding"  # what is being added to a folder with a list, until all of it is in its place
_RANKS = ("in_language", "in_pool")
# Ranks are small numbers: their upper bytes, put side by side, take no room.
_COMPACT: Mapping[str, Any] = {
    "compression": "zstd",
    "compression_level": 19,
    "use_dictionary": ["test"],
    "column_encoding": dict.fromkeys(_RANKS, "BYTE_STREAM_SPLIT"),
    "write_statistics": False,
}


class _Shape(BaseModel):
    """The parts that every record has; there may be more."""

    model_config = ConfigDict(strict=True)


class _TestShape(_Shape):
    test: dict[str, Any]
    revision: str
    settings: list[str]
    ranks: str
    pairs: str
    computed: dict[str, Any]


class _RecordShape(_Shape):
    run: dict[str, Any]
    data: dict[str, str]
    tests: dict[str, _TestShape]
    sha256: str


def digest_of_ranks(ranks: Ranks) -> str:
    """Return the SHA-256 of ranks, as little-endian integers of four bytes."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(part, dtype="<i4").tobytes() for part in ranks)).hexdigest()


def digest_of_pairs(pairs: pd.DataFrame) -> str:
    """Return the SHA-256 of a table of pairs: of the values of each column, and of where each of them comes."""
    digest = hashlib.sha256()
    for name, column in pairs.items():
        codes, values = pd.factorize(np.asarray(column))
        digest.update(json.dumps([name, [str(value) for value in values]], ensure_ascii=False).encode())
        digest.update(codes.astype("<i4").tobytes())
    return digest.hexdigest()


def digest_of_record(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a record without its own digest."""
    told = {name: value for name, value in record.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def write_ranks(path: Path, record: Record, ranks: Mapping[str, Ranks]) -> None:
    """Write a run's file whole.

    Args:
        path: the file.
        record: what the run is; digests of the ranks and of the record are added to it here.
        ranks: by the names of tests.
    """
    tests = {name: {**record["tests"][name], "ranks": digest_of_ranks(ranks[name])} for name in sorted(ranks)}
    record = {**record, "tests": tests}
    record["sha256"] = digest_of_record(record)
    sizes = [len(ranks[name][0]) for name in tests]
    test = pa.DictionaryArray.from_arrays(np.repeat(np.arange(len(tests), dtype=np.int8), sizes), pa.array([*tests]))
    columns = [np.concatenate([ranks[name][part] for name in tests]).astype(np.int32) for part in range(2)]
    table = pa.table({"test": test, **dict(zip(_RANKS, columns, strict=True))})
    metadata = {"hybridlib": json.dumps(record, sort_keys=True)}
    with replacing(path) as draft:
        pq.write_table(table.replace_schema_metadata(metadata), draft, **_COMPACT)


def read_record(path: Path) -> Record:
    """Return the record of a run's file, as it is there.

    Raises:
        ValueError: there is no record in it, or it is not as it was written.
    """
    with _named(path):
        text = (pq.read_schema(path).metadata or {}).get(b"hybridlib", b"{}").decode()
    record = parse_json(text, f"the record of {path}")
    if not isinstance(record, dict):
        raise ValueError(f"the record of {path} is {told(record)}; expected names and values")
    try:
        _RecordShape.model_validate(record)
    except ValidationError as error:
        raise ValueError(explain(error, record, {}, where=f"the record of {path}")) from None
    if record["sha256"] != digest_of_record(record):
        raise ValueError(f"the record of {path} is not as it was written")
    return record


def read_ranks(path: Path) -> dict[str, Ranks]:
    """Return the ranks of a run's file, by the names of tests.

    Raises:
        ValueError: it is no such file, or is not whole.
    """
    with _named(path):
        parts = pq.read_table(path).to_pandas().groupby("test", observed=True)
        return {str(name): (part.in_language.to_numpy(), part.in_pool.to_numpy()) for name, part in parts}


def write_pairs(path: Path, pairs: pd.DataFrame) -> None:
    """Write a table of pairs, as returned by `pair_table`."""
    with replacing(path) as draft:
        table = pa.table({name: np.asarray(column) for name, column in pairs.items()})
        pq.write_table(table, draft, compression="zstd", compression_level=19, write_statistics=False)


def read_pairs(path: Path) -> pd.DataFrame:
    """Return a table of pairs as it was written; categories in the order of the pairs, languages by code.

    Raises:
        ValueError: it is no such file, or is not whole.
    """
    with _named(path):
        pairs = pq.read_table(path).to_pandas()
        for name in pairs.columns.drop("relevance"):
            values = pd.Index(pairs[name].unique(), tupleize_cols=False)
            pairs[name] = pd.Categorical(pairs[name], values.sort_values() if "language" in name else values)
        return pairs


def read_sums(folder: Path) -> dict[str, str]:
    """Return the checksums of the files of a folder by their names, as `sha256sum` writes them.

    Raises:
        FileNotFoundError: the folder has no list.
        ValueError: a line is not a checksum and a name.
    """
    path, listed = folder / SUMS, {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        found = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
        if not found:
            raise ValueError(f"{path}, line {number} is {told(line)}; expected a checksum, two blanks and a name")
        listed[found[2]] = found[1]
    return listed


def write_sums(folder: Path, further: Mapping[str, str] | None = None) -> None:
    """Write the checksums of all files of a folder, sorted by name.

    Args:
        folder: the list is written into it.
        further: checksums of files that are not in the folder, by their names.
    """
    files = [path for path in folder.rglob("[!.]*") if path.is_file() and path.name != SUMS]
    sums = {**(further or {}), **{path.relative_to(folder).as_posix(): checksum(path) for path in files}}
    with replacing(folder / SUMS) as draft:
        lines = [f"{sums[name]}  {name}\n" for name in sorted(sums, key=PurePosixPath)]
        draft.write_text("".join(lines), encoding="utf-8")


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say which file is not what it should be; what the operating system refuses is no fault of the file."""
    try:
        if path.is_dir():
            raise ValueError("it is a folder")
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is not as it was written: {said}") from error
