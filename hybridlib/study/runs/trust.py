"""Trust in files that others may have cut or altered: those of `runs/` by digests, of `evidence/` by a list.

A file of `runs/` is checked when it is first read, and again when it has changed since; a folder of `evidence/` as a
whole, when anything in it is first looked for, and again when any of its files has changed since.
"""

import logging
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd

from hybridlib.files import checksum
from hybridlib.paths import evidence_folders, project_root
from hybridlib.study.runs.keys import key_of_identity
from hybridlib.study.runs.ranks import (
    ADDING,
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


def trusted_record(path: Path) -> Record | None:
    """Return the record of a run's file, once it and the ranks are known to be as they were written.

    Returns:
        The record, not to be changed; None if there is no such file, or a damaged one in `runs/`.

    Raises:
        ValueError: a file of `evidence/` is not as it was published; the message names it.
        FileNotFoundError: `evidence/` lacks a file that was published, or a list of checksums.
    """
    if path.parent in evidence_folders():
        check_folder(path.parent)
    return _record(path, *_state(path)) if path.exists() else None


def trusted_pairs(folder: Path, name: str, digest: str) -> pd.DataFrame | None:
    """Return a table of pairs, not to be changed; None if `runs/` has it not, or not as it was.

    Args:
        folder: where the run is.
        name: of the test.
        digest: of the pairs that the run was tested on.

    Raises:
        ValueError: a file of `evidence/` is not as it was published; the message names it.
        FileNotFoundError: `evidence/` lacks it, or another file that was published.
    """
    path, published = folder / "pairs" / f"{name}.parquet", folder in evidence_folders()
    if published:
        check_folder(folder)
    elif not path.exists():
        return None
    pairs, there = _pairs(path, *_state(path))
    if published and there != digest:
        raise ValueError(f"{path} is refused: the runs beside it were tested on other pairs")
    return pairs if there == digest else None


def check_folder(folder: Path) -> None:
    """Refuse a folder whose files are not as its list of checksums says; one without runs needs no list.

    Raises:
        ValueError: a file has another checksum than the list says, a Parquet file is not in the list, or runs are being
            added.
        FileNotFoundError: there is no list, or no file that it names.
    """
    if (folder / ADDING).exists():
        raise ValueError(f"{folder} is refused: adding runs to it has not ended; if it was interrupted, add them again")
    _check(folder, tuple(sorted(_states(folder))))


def problem_of(path: Path, record: Record) -> str:
    """Return what is wrong with a run's file by its own digests, or an empty text."""
    if key_of_identity(record) != path.stem:
        return "its settings are those of another run"
    digests = {name: digest_of_ranks(ranks) for name, ranks in read_ranks(path).items()}
    if digests != {name: test["ranks"] for name, test in record["tests"].items()}:
        return "its ranks are not as they were written"
    return ""


def problem_of_tests(path: Path, record: Record) -> str:
    """Return what is wrong with a run's ranks by the pairs of its tests, which are beside it, or an empty text."""
    for name, (in_language, in_pool) in read_ranks(path).items():
        pairs = read_pairs(path.parent / "pairs" / f"{name}.parquet")
        if digest_of_pairs(pairs) != record["tests"][name]["pairs"]:
            return f"the pairs of {name} are not those that it was tested on"
        if len(pairs) != len(in_language):
            return f"it has {len(in_language)} ranks of {name}, which has {len(pairs)} pairs"
        if any(ranks.dtype.kind != "i" or (ranks < 0).any() for ranks in (in_language, in_pool)):
            return f"ranks of {name} are no whole numbers from 0 (not ranked) up"
    return ""


def _state(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size


def _states(folder: Path, within: str = "") -> Iterator[tuple[str, int, int]]:
    """Yield the files of a folder, hidden ones left out: the name, when it was modified, and the size of each."""
    with os.scandir(folder / within) as entries:
        for entry in entries:
            name = f"{within}{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _states(folder, f"{name}/")
            else:
                state = entry.stat()
                yield name, state.st_mtime_ns, state.st_size


@cache
def _check(folder: Path, states: tuple[tuple[str, int, int], ...]) -> None:
    there = {name for name, _, _ in states}
    sums, tables = folder / SUMS, sorted(name for name in there if name.endswith(".parquet"))
    root = project_root()
    again = (
        f"get it again, as by `git checkout -- {folder.relative_to(root) if folder.is_relative_to(root) else folder}`"
    )
    if SUMS not in there:
        if tables:
            raise FileNotFoundError(f"{sums} is missing, and nothing beside it is trusted without it; {again}")
        return
    try:
        listed = read_sums(folder)
    except ValueError as error:
        raise ValueError(f"{error}; {again}") from None
    for name, expected in listed.items():
        if name not in there:
            raise FileNotFoundError(f"{folder / name} is missing, which {sums} lists; {again}")
        if expected != checksum(folder / name):
            raise ValueError(
                f"{folder / name} is refused: it was cut or altered, since its checksum is not that of {sums}; {again}"
            )
    for name in tables:
        if name not in listed:
            raise ValueError(
                f"{folder / name} is refused: {sums} does not list it; delete it or, if the list was altered, {again}"
            )


@cache
def _record(path: Path, modified: int, size: int) -> Record | None:
    if path.parent in evidence_folders():
        record = read_record(path)
        if key_of_identity(record) != path.stem:
            raise ValueError(f"{path} is refused: by its settings, its name is {key_of_identity(record)}")
        return record
    try:
        record = read_record(path)
        problem = problem_of(path, record)
    except ValueError as error:
        problem = str(error).removeprefix(f"{path} is not as it was written: ")
    if problem:
        logger.warning("%s was cut or altered, so its run is computed again: %s", path, problem)
        return None
    return record


@cache
def _pairs(path: Path, modified: int, size: int) -> tuple[pd.DataFrame, str]:
    try:
        pairs = read_pairs(path)
        return pairs, digest_of_pairs(pairs)
    except ValueError as error:
        logger.warning("%s; it was cut or altered, and is not read", error)
        return pd.DataFrame(), ""
