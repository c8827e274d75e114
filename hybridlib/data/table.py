"""The one cache of tables: each is made once, in pieces, and memory-mapped from then on.

A table lies in the cache of `datasets` (`HF_DATASETS_CACHE`), in the folder `hybridlib`. Its name depends on all that
it is made from: another checksum, for one, makes another table. Making a table takes the memory of one piece, and
reading it takes the memory of the rows that are read. One process at a time makes a table. A table gets its name when
it is whole, so a failure leaves nothing behind.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import datasets
import pyarrow as pa
from filelock import FileLock

from hybridlib.files import replacing

ROWS_AT_ONCE = 1 << 14
# This is a part of every name. Raise it when a table is to be made in another way from the same things.
_VERSION = 2


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
