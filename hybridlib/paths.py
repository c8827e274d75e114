"""Where things are kept; every path of a project folder is built here."""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def project_root() -> Path:
    """The folder with `params/` and `notebooks/` that is nearest above the working directory, or else the working
    directory itself."""
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


def lock_path() -> Path:
    return project_root() / "runs" / ".lock"


def figure_path(profile: str, name: str) -> Path:
    return project_root() / "figures" / profile / f"{name}.png"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under; it is renamed to `path` when the block ends, and removed if the block
    fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
