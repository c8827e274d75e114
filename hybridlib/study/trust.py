"""What is trusted of files that others may have cut or altered: those of `runs/` by digests, of `evidence/` by a list.

A file is checked when it is first read, and again when it has changed since.
"""

import logging
from functools import cache
from pathlib import Path

import pandas as pd

from hybridlib.paths import checksum, evidence_folders
from hybridlib.study.keys import key_of_identity
from hybridlib.study.ranks import (
    SUMS,
    Record,
    digest_of_pairs,
    digest_of_ranks,
    read_pairs,
    read_ranks,
    read_record,
    read_sums,
)

logger = logging.getLogger(__name__)

# Reading a file that is not what it should be may raise any of these.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)


def trusted_record(path: Path) -> Record | None:
    """Return the record of a run's file, once it and the ranks are known to be as they were written.

    Returns:
        The record, not to be changed; None if there is no such file, or a damaged one in `runs/`.

    Raises:
        ValueError: a file of `evidence/` is not as it was published; the message names it.
        FileNotFoundError: a folder of `evidence/` has no list of checksums.
    """
    return _record(path, *_state(path)) if path.exists() else None


def trusted_pairs(folder: Path, name: str, digest: str) -> pd.DataFrame | None:
    """Return a table of pairs, not to be changed; None if `runs/` has it not, or not as it was.

    Args:
        folder: where the run is.
        name: of the test.
        digest: of the pairs that the run was tested on.

    Raises:
        ValueError: a file of `evidence/` is not as it was published; the message names it.
        FileNotFoundError: `evidence/` lacks it.
    """
    path, published = folder / "pairs" / f"{name}.parquet", folder in evidence_folders()
    if not published and not path.exists():
        return None
    pairs, there = _pairs(path, *_state(path))
    if published and there != digest:
        raise ValueError(f"{path} is refused: the runs beside it were tested on other pairs")
    return pairs if there == digest else None


def check_file(path: Path, folder: Path) -> None:
    """Refuse a file of a folder that is not as the folder's list of checksums says.

    Raises:
        ValueError: the list has another checksum, or none.
    """
    name = path.relative_to(folder).as_posix()
    expected = read_sums(folder).get(name)
    if expected is None:
        raise ValueError(f"{path} is refused: {folder / SUMS} does not list it; delete it")
    if expected != checksum(path):
        raise ValueError(
            f"{path} is refused: it was cut or altered, since its checksum is not that of {folder / SUMS}; get it again"
        )


def problem_of(path: Path, record: Record) -> str:
    """Return what is wrong with a run's file by its own digests, or an empty text."""
    if key_of_identity(record) != path.stem:
        return "its settings are those of another run"
    digests = {name: digest_of_ranks(ranks) for name, ranks in read_ranks(path).items()}
    if digests != {name: test["ranks"] for name, test in record["tests"].items()}:
        return "its ranks are not as they were written"
    return ""


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@cache
def _record(path: Path, modified: int, size: int) -> Record | None:
    if path.parent in evidence_folders():
        check_file(path, path.parent)
        record = read_record(path)
        if key_of_identity(record) != path.stem:
            raise ValueError(f"{path} is refused: by its settings, its name is {key_of_identity(record)}")
        return record
    try:
        record = read_record(path)
        problem = problem_of(path, record)
    except _DAMAGED as error:
        problem = str(error)
    if problem:
        logger.warning("%s is not read: it was cut or altered (%s)", path, problem)
        return None
    return record


@cache
def _pairs(path: Path, modified: int, size: int) -> tuple[pd.DataFrame, str]:
    if path.parent.parent in evidence_folders():
        check_file(path, path.parent.parent)
    try:
        pairs = read_pairs(path)
        return pairs, digest_of_pairs(pairs)
    except _DAMAGED:
        return pd.DataFrame(), ""
