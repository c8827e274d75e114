"""Packs of runs: computed on one machine, read on another.

A pack is a tar file of runs and the relevant pairs that these were tested on, with their checksums. It has the same
bytes each time it is made of the same runs. Nothing in it is executed, and nothing is written but files whose names are
those of runs and pairs and whose contents are as they were written.
"""

import io
import re
import tarfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from filelock import FileLock

from hybridlib.paths import evidence_folders, replacing, runs_path
from hybridlib.study.ranks import (
    SUMS,
    Record,
    digest_of_pairs,
    read_pairs,
    read_ranks,
    read_record,
    write_ranks,
    write_sums,
)
from hybridlib.study.trust import problem_of, trusted_pairs, trusted_record

_NAMES = re.compile(rf"[0-9a-f]{{20}}\.parquet|pairs/\w[\w.+-]*\.parquet|{SUMS}")


class Added(NamedTuple):
    """What adding a pack has done: the records of the runs that are new, gained tests, or were there already."""

    new: list[Record]
    joined: list[Record]
    known: list[Record]


def pack_runs(output: Path, folders: Sequence[Path]) -> int:
    """Pack the runs of some folders; of a run that several of them have, each test is packed from the first.

    Args:
        output: the tar file to write.
        folders: `runs/`, and folders of `evidence/`.

    Returns:
        The number of runs.

    Raises:
        ValueError: there are none, or a file was cut or altered, or folders differ in the pairs of a test.
    """
    files: dict[str, bytes] = {}
    with TemporaryDirectory() as name:
        draft, digests = Path(name), dict[str, str]()
        for path in [path for folder in folders for path in sorted(folder.glob("[!.]*.parquet"))]:
            record = trusted_record(path)
            if record is None:
                raise ValueError(f"{path} was cut or altered; delete it")
            for test, of_test in record["tests"].items():
                pairs = path.parent / "pairs" / f"{test}.parquet"
                if trusted_pairs(path.parent, test, of_test["pairs"]) is None:
                    raise ValueError(f"{pairs} was cut or altered, or is of other data than {path}; delete it")
                if digests.setdefault(test, of_test["pairs"]) != of_test["pairs"]:
                    raise ValueError(f"{pairs} has other pairs than the same test in another folder")
                files.setdefault(f"pairs/{test}.parquet", pairs.read_bytes())
            _join(path, draft / path.name)
            files[path.name] = (draft / path.name).read_bytes()
    if not files:
        raise ValueError(f"there are no runs in {', '.join(map(str, folders))}")
    files[SUMS] = "".join(f"{sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()
    with replacing(output) as draft, tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    return sum("/" not in name for name in files) - 1


def add_runs(pack: Path, folder: Path) -> Added:
    """Add the runs of a pack to a folder; all of them, or none if something is wrong.

    Args:
        pack: the tar file.
        folder: `runs/`, or another one, which gets a list of checksums.

    Raises:
        ValueError: the pack is not whole, was altered or holds something else; or a run is there with other ranks, or
            a test with other pairs. The message names it.
        OSError: a file could not be read or written.
    """
    with TemporaryDirectory() as name:
        draft = Path(name)
        _unpack(pack, draft)
        records = {path.name: _checked(pack, path) for path in sorted(draft.glob("*.parquet"))}
        is_runs = folder.resolve() == runs_path().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".keep.lock"):
            places = [folder, *(evidence_folders() if is_runs else ())]
            known = {name: _known(name, record, places) for name, record in records.items()}
            _refuse_other_pairs(draft, folder)
            for path in sorted(draft.glob("pairs/*")):
                _write(folder / "pairs" / path.name, path.read_bytes())
            for name, record in records.items():
                if set(record["tests"]) - known[name]:
                    _join(draft / name, folder / name)
        if not is_runs:
            (folder / ".keep.lock").unlink(missing_ok=True)
            write_sums(folder)
    added = Added([], [], [])
    for name, record in records.items():
        lacked = set(record["tests"]) - known[name]
        (added.known if not lacked else added.joined if known[name] else added.new).append(record)
    return added


def described(test: Mapping[str, Any]) -> str:
    """Return by what a test of a run was computed, in a few words."""
    computed = test["computed"]
    code = computed["commit"][:7] or computed["code"][:7] or "unknown code"
    return f"{computed['device']}, torch {computed['packages']['torch']}, {code}, {computed['date']}"


def _unpack(pack: Path, draft: Path) -> None:
    """Write the files of a pack to an empty folder, once their names and checksums are known to be right."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(pack, "r:") as tar:
            for member in tar:
                if not (member.isreg() and _NAMES.fullmatch(member.name)) or member.name in files:
                    raise ValueError(f"{pack} is refused: it holds {member.name!r}, which is no file of a run")
                stream = tar.extractfile(member)
                files[member.name] = stream.read() if stream else b""
    except tarfile.TarError as error:
        raise ValueError(f"{pack} is refused: it is no whole tar file ({error})") from error
    lines = files.pop(SUMS, b"").decode(errors="replace").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sorted({*listed, *files}):
        if name not in files or listed.get(name) != sha256(files[name]).hexdigest():
            raise ValueError(f"{pack} is refused: it was cut or altered; {name} in it is not as its {SUMS} says")
    if not files:
        raise ValueError(f"{pack} is refused: it has no {SUMS}, or no runs")
    for name, content in files.items():
        _write(draft / name, content)


def _checked(pack: Path, path: Path) -> Record:
    """Return the record of a run of a pack, which must be what it says by its own digests, and have its pairs."""
    try:
        record = read_record(path)
        problem = problem_of(path, record)
        for name, test in record["tests"].items():
            if digest_of_pairs(read_pairs(path.parent / "pairs" / f"{name}.parquet")) != test["pairs"]:
                problem = f"the pairs of {name} are not those that it was tested on"
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = str(error)
    if problem:
        raise ValueError(f"{pack} is refused: run {path.stem} in it is not whole: {problem}")
    return record


def _known(name: str, record: Record, places: Sequence[Path]) -> set[str]:
    """Return the tests of a run that are there already; refuse those that are there with other ranks."""
    known: set[str] = set()
    for place in places:
        there = trusted_record(place / name) or {"tests": {}}
        for test in set(record["tests"]) & set(there["tests"]):
            if record["tests"][test]["ranks"] != there["tests"][test]["ranks"]:
                raise ValueError(
                    f"run {Path(name).stem} is refused, and nothing is added: {place / name} has the same settings and "
                    f"other ranks of {test}. That was computed by {described(there['tests'][test])}; the one in the "
                    f"pack by {described(record['tests'][test])}"
                )
        known |= set(there["tests"])
    return known


def _refuse_other_pairs(draft: Path, folder: Path) -> None:
    """Refuse pairs of a test that is there with others."""
    for path in sorted(draft.glob("pairs/*")):
        there = folder / "pairs" / path.name
        if there.exists() and digest_of_pairs(read_pairs(there)) != digest_of_pairs(read_pairs(path)):
            raise ValueError(f"the pairs of {path.stem} are refused, and nothing is added: {there} has others")


def _join(new: Path, there: Path) -> None:
    """Bring a run's file, or its tests to the file that is there."""
    known = trusted_record(there)
    if known is None:
        _write(there, new.read_bytes())
        return
    record = {**known, "tests": {**read_record(new)["tests"], **known["tests"]}}
    write_ranks(there, record, {**read_ranks(new), **read_ranks(there)})


def _write(path: Path, content: bytes) -> None:
    if not (path.exists() and path.read_bytes() == content):
        with replacing(path) as draft:
            draft.write_bytes(content)
