"""Packs of runs: computed on one machine, read on another.

A pack is a tar file of runs and the relevant pairs that these were tested on, with their checksums; of the same runs it
has the same bytes. Nothing in it is executed, and nothing is written but runs and pairs as they were written.
"""

import io
import re
import shutil
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from filelock import FileLock

from hybridlib.files import replacing
from hybridlib.paths import evidence_folders, runs_path
from hybridlib.study.runs.ranks import (
    ADDING,
    SUMS,
    Record,
    digest_of_pairs,
    read_pairs,
    read_ranks,
    read_record,
    read_sums,
    write_ranks,
    write_sums,
)
from hybridlib.study.runs.trust import check_folder, problem_of, problem_of_tests, trusted_pairs, trusted_record

_NAMES = re.compile(rf"[0-9a-f]{{20}}\.parquet|pairs/\w[\w.+-]*\.parquet|{SUMS}")


class Added(NamedTuple):
    """The outcome of adding a pack: the records of the runs that are new, gained tests, or were there already."""

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
        FileNotFoundError: `evidence/` lacks a file that was published.
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
        further = [] if len(folders) > 1 else [f"--profile {path.name}" for path in evidence_folders()]
        hint = f"; `{'`, `'.join(further)}` or `--all` packs those of evidence/" if further else ""
        raise ValueError(f"there are no runs in {', '.join(map(str, folders))}{hint}")
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
        folder: `runs/`, or another one, which has a list of checksums; only the lines of files that are added change.

    Raises:
        ValueError: the pack is not whole, was altered or holds something else; a run is in the folder, in `runs/` or in
            `evidence/` with other ranks, or a test in the folder with other pairs; or a file of the folder or of
            `evidence/` is not as its list says. The message names it.
        OSError: a file is missing, or could not be read or written.
    """
    folder, added = folder.resolve(), Added([], [], [])
    is_runs = folder == runs_path().resolve()
    with TemporaryDirectory() as name:
        draft = Path(name)
        _unpack(pack, draft)
        records = {path.name: _checked(pack, path) for path in sorted(draft.glob("*.parquet"))}
        with _locked(folder, keep=is_runs):
            if not is_runs:
                _place(folder)
                check_folder(folder)
            everywhere = dict.fromkeys([folder, runs_path(), *evidence_folders()])
            known = {name: _known(name, record, everywhere) for name, record in records.items()}
            _refuse_other_pairs(draft, folder)
            lacking: dict[str, set[str]] = {}
            for name, record in records.items():
                there = set[str]().union(*(known[name][place] for place in (everywhere if is_runs else [folder])))
                lacked = set(record["tests"]) - there
                (added.known if not lacked else added.joined if there else added.new).append(record)
                lacking |= {name: lacked} if lacked else {}
            if is_runs:
                _bring(draft, folder, lacking)
            elif lacking:
                _bring_listed(draft, folder, lacking)
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
        problem = problem_of(path, record) or problem_of_tests(path, record)
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = str(error)
    if problem:
        raise ValueError(f"{pack} is refused: run {path.stem} in it is not whole: {problem}")
    return record


@contextmanager
def _locked(folder: Path, *, keep: bool) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be; unless it is kept, no lock and no empty folder stays."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".keep.lock"):
            yield
    finally:
        if not keep:
            (folder / ".keep.lock").unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()


def _known(name: str, record: Record, places: Collection[Path]) -> dict[Path, set[str]]:
    """Return the tests of a run that each place has; refuse those that are anywhere with other ranks."""
    known: dict[Path, set[str]] = {}
    for place in places:
        there = trusted_record(place / name) or {"tests": {}}
        for test in set(record["tests"]) & set(there["tests"]):
            if record["tests"][test]["ranks"] != there["tests"][test]["ranks"]:
                raise ValueError(
                    f"run {Path(name).stem} is refused, and nothing is added: {place / name} has the same settings and "
                    f"other ranks of {test}. That was computed by {described(there['tests'][test])}; the one in the "
                    f"pack by {described(record['tests'][test])}"
                )
        known[place] = set(there["tests"])
    return known


def _refuse_other_pairs(draft: Path, folder: Path) -> None:
    """Refuse pairs of a test that is there with others."""
    for path in sorted(draft.glob("pairs/*")):
        there = folder / "pairs" / path.name
        if there.exists() and digest_of_pairs(read_pairs(there)) != digest_of_pairs(read_pairs(path)):
            raise ValueError(f"the pairs of {path.stem} are refused, and nothing is added: {there} has others")


def _bring(draft: Path, folder: Path, lacking: Mapping[str, Collection[str]]) -> None:
    """Bring runs of a draft to a folder, by their names, and the pairs of the tests that they lack there."""
    for test in sorted({f"pairs/{test}.parquet" for tests in lacking.values() for test in tests}):
        if not (folder / test).exists():
            _write(folder / test, (draft / test).read_bytes())
    for name in lacking:
        _join(draft / name, folder / name)


def _bring_listed(draft: Path, folder: Path, lacking: Mapping[str, Collection[str]]) -> None:
    """Bring runs of a draft to a folder with a list of checksums; killed on the way, the next call goes on.

    The files and the list are made in `.adding-draft`, which is renamed to `.adding` when it is whole.
    """
    unfinished = folder / f"{ADDING}-draft"
    shutil.rmtree(unfinished, ignore_errors=True)
    listed = read_sums(folder) if (folder / SUMS).exists() else {}
    for name in listed:
        if name in lacking or name.startswith("pairs/"):
            _write(unfinished / name, (folder / name).read_bytes())
    _bring(draft, unfinished, lacking)
    write_sums(unfinished, listed)
    unfinished.rename(folder / ADDING)
    _place(folder)


def _place(folder: Path) -> None:
    """Move the files of `.adding`, if there are any, to where they belong."""
    adding = folder / ADDING
    for path in [path for path in adding.rglob("*") if path.is_file()]:
        there = folder / path.relative_to(adding)
        there.parent.mkdir(exist_ok=True)
        path.replace(there)
    shutil.rmtree(adding, ignore_errors=True)


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
