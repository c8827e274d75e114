"""The paths of a project folder, all of which are built here, and folders that say what they were made from."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybridlib.arguments import told
from hybridlib.files import checksum, read_json, replacing


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


def figures_of(profile: str, notebook: str) -> list[Path]:
    """Return the figures that a notebook has drawn."""
    return sorted(figure_path(profile, notebook).parent.glob(f"{notebook}-*.svg"))


def nearest_folder(path: Path, name: str) -> Path:
    """Return a folder or, as it need not exist, the nearest one above that does.

    Args:
        path: of the folder.
        name: of the argument, for messages.

    Raises:
        ValueError: a file stands in its place or above it.
    """
    nearest = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not nearest.is_dir():
        raise ValueError(f"{name} is {path}, but {nearest} is a file; allowed: the path of a folder")
    return nearest


def folder_digest(folder: Path, without: Sequence[str] = ()) -> str:
    """Return the SHA-256 of the names and contents of all files below a folder, hidden ones and some left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = {name: path for path in files if (name := path.relative_to(folder).as_posix()) not in without}
    seen = {name: checksum(path) for name, path in told.items() if not any(p.startswith(".") for p in name.split("/"))}
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def check_record(
    path: Path, record: Mapping[str, Any], *, beside: Sequence[str] = (), unchecked: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Refuse a folder that was made from something else, or that holds files of which nobody knows what they are of.

    Args:
        path: the JSON file in the folder that says what the folder was made from; it need not exist.
        record: says what the folder is to be used for, in JSON's types.
        beside: patterns of the names of files that may be there without this record, since they have one of their own.
        unchecked: names of the record that may be anything.

    Returns:
        What is recorded; nothing if there is no file.

    Raises:
        ValueError: the file records something else, and the message says what differs; or there is none, and the folder
            is a file or holds something.
    """
    folder = path.parent
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; allowed: the path of a folder, which need not exist")
    if not path.exists():
        names = sorted(one.name for one in folder.glob("[!.]*") if not any(map(one.match, beside)))
        if names:
            raise ValueError(
                f"{folder} holds {told(names[0])} but no {path.name}, which would say what it was made from. Name "
                "another folder or delete this one"
            )
        return {}
    anew = "Delete the folder to make it anew"
    try:
        there = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}. {anew}") from None
    if not isinstance(there, dict):
        raise ValueError(f"{path} holds {told(there)}; expected names and values. {anew}")
    different = [name for name in {**record, **there} if name not in unchecked and there.get(name) != record.get(name)]
    if different:
        said = "; ".join(_differing(name, there.get(name), record.get(name)) for name in different[:3])
        said += f"; {len(different) - 3} more differ" if len(different) > 3 else ""
        raise ValueError(f"{folder} was made from something else: {said}. Name another folder or delete this one")
    return there


def _differing(name: str, there: Any, here: Any) -> str:
    if all(re.fullmatch("[0-9a-f]{40,}", str(value)) for value in (there, here)):
        return f"{name} is another"  # two digests tell nobody anything
    return f"{name} is {str(there)[:40] or '(none)'} there and {str(here)[:40] or '(none)'} here"


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write what a folder is made from, unless it is there already; see `check_record`."""
    if not path.exists():
        with replacing(path) as draft:
            draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
