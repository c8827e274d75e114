"""The paths of a project folder, all of which are built here, and files that are written whole."""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def project_root() -> Path:
    """Return the nearest folder from here up with `params/` and `notebooks/`, or else the working directory itself."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return here


def notebook_path(notebook: str) -> Path:
    return project_root() / "notebooks" / f"{notebook}.ipynb"


def params_path(profile: str, notebook: str) -> Path:
    return project_root() / "params" / profile / f"{notebook}.yaml"


def results_path(profile: str, notebook: str) -> Path:
    return project_root() / "results" / profile / f"{notebook}.parquet"


def executed_path(profile: str, notebook: str) -> Path:
    return project_root() / "results" / profile / f"{notebook}.ipynb"


def findings_path(profile: str, notebook: str) -> Path:
    return project_root() / "results" / profile / f"{notebook}.md"


def record_path(profile: str, notebook: str) -> Path:
    return project_root() / "results" / profile / f"{notebook}.json"


def runs_path() -> Path:
    return project_root() / "runs"


def evidence_path(profile: str) -> Path:
    return project_root() / "evidence" / profile


def evidence_folders() -> list[Path]:
    """Return the folders of runs that belong to the project, sorted."""
    return sorted(path for path in evidence_path("").glob("*") if path.is_dir())


def lock_path() -> Path:
    return runs_path() / ".lock"


def figure_path(profile: str, name: str) -> Path:
    return project_root() / "figures" / profile / f"{name}.svg"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write; the file is renamed to `path` when the block ends, or removed if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_record(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a folder that was made from something else.

    Args:
        path: the JSON file in the folder that says what the folder was made from; it need not exist.
        record: says what the folder is to be used for, in JSON's types.

    Raises:
        ValueError: the file records something else; the message says what differs.
    """
    if not path.exists():
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    different = [name for name in {**record, **there} if there.get(name) != record.get(name)]
    if different:
        said = "; ".join(f"{name} is {there.get(name)} there and {record.get(name)} here" for name in different)
        raise ValueError(f"{path.parent} was made from something else: {said}. Name another folder or delete this one")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write what a folder is made from, unless it is there already; see `check_record`."""
    if not path.exists():
        with replacing(path) as draft:
            draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
