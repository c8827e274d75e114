"""The notebooks of a profile: their parameters, and records of what they made.

A record holds the checksums of what a notebook made, and of what it was made from. So a second call has nothing to do.
Runs that have gone since are no reason to do anything: what was made from them is still true.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hybridlib import paths
from hybridlib.arguments import told
from hybridlib.files import checksum, read_json, replacing
from hybridlib.study.code import code_hash
from hybridlib.study.explorer.params import ExplorerParams
from hybridlib.study.params import Params
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.run import Run
from hybridlib.study.runs import store
from hybridlib.study.runs.keys import by_key
from hybridlib.study.workers import may_compute

logger = logging.getLogger(__name__)

# The models of parameters of all notebooks. Those that are no questions have neither results nor findings.
MODELS: dict[str, type[Params]] = {**QUESTIONS, ExplorerParams.notebook: ExplorerParams}
# The models of parameters differ from notebook to notebook; all have `profile`, `runs()` and `check_data()`.
Notebooks = Mapping[str, Any]


def read_profile(profile: str) -> dict[str, Any]:
    """Return the checked parameters of every notebook of a profile.

    Raises:
        FileNotFoundError: the profile has no parameter files.
        ValueError: a parameter is wrong, or a file is named after no notebook.
    """
    folder = paths.params_path(profile, "").parent
    profiles = sorted({path.parent.name for path in (paths.project_root() / "params").glob("*/*.yaml")})
    if not re.fullmatch(r"[\w-]{1,100}", profile):
        raise ValueError(f"profile is {told(profile)}; allowed: {', '.join(profiles)}")
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise FileNotFoundError(f"{folder}/*.yaml does not exist; profiles: {', '.join(profiles)}")
    notebooks = {}
    for path in files:
        if path.stem not in MODELS:
            raise ValueError(f"{path} is named after no notebook; allowed: {', '.join(MODELS)}")
        params = notebooks[path.stem] = MODELS[path.stem].from_yaml(path)
        if params.profile != profile:
            raise ValueError(f"{path}: profile is {params.profile!r}; it must be the name of its folder, {profile!r}")
    return notebooks


def write_record(notebook: str, profile: str, runs: Iterable[Run]) -> None:
    """Record what a notebook made, and what it was made from: parameters, cells, library, and the ranks of runs."""
    made = {relative(path): checksum(path) for path in _products(notebook, profile)}
    record = {"origin": _origin(notebook, profile), "ranks": _ranks(runs), "made": made}
    with replacing(paths.record_path(profile, notebook)) as draft:
        draft.write_text(json.dumps(record, indent=1), encoding="utf-8")


def is_outdated(notebook: str, profile: str, runs: Iterable[Run]) -> bool:
    """Return whether a notebook has a record, and its origin or products have changed since.

    Raises:
        ValueError: a folder has the name of the record or of what the notebook makes, or the notebook is damaged.
        FileNotFoundError: there is no such notebook.
    """
    record = paths.record_path(profile, notebook)
    for path in (record, *_products(notebook, profile)):
        if path.is_dir():
            raise ValueError(f"{path} is a folder; allowed: a file, so remove it")
    origin = _origin(notebook, profile)
    return record.exists() and not _holds(record, origin, _ranks(runs), complete=may_compute(profile))


def left_out(notebook: str, profile: str) -> set[str]:
    """Return the keys of the runs that a notebook did without, wholly or in part, as its record says."""
    used = read_json(paths.record_path(profile, notebook))["ranks"]
    return {key for key, tests in used.items() if None in tests.values()}


def relative(path: Path) -> str:
    """Return a path as a user sees it: relative to the project's folder."""
    return str(path.relative_to(paths.project_root()))


def _products(notebook: str, profile: str) -> list[Path]:
    found = [paths.results_path(profile, notebook), paths.findings_path(profile, notebook)]
    of_question = found if notebook in QUESTIONS else []
    return [paths.executed_path(profile, notebook), *of_question, *paths.figures_of(profile, notebook)]


def _origin(notebook: str, profile: str) -> str:
    """Return a checksum of what results are made from besides ranks: parameters, the notebook's cells, the library."""
    text = json.dumps(
        [
            paths.params_path(profile, notebook).read_text(encoding="utf-8"),
            _cells(notebook),
            code_hash(computing=False),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _cells(notebook: str) -> list[str]:
    """Return the sources of a notebook's cells.

    Raises:
        ValueError: the file is damaged.
        FileNotFoundError: there is none.
    """
    path = paths.notebook_path(notebook)
    try:
        return ["".join(cell["source"]) for cell in read_json(path)["cells"]]
    except (TypeError, LookupError):
        raise ValueError(f"{path} is damaged: it is no notebook with cells") from None


def _ranks(runs: Iterable[Run]) -> dict[str, dict[str, str | None]]:
    """Return the digests of the ranks of each test of runs, by key and name; None where there are none."""
    digests: dict[str, dict[str, str | None]] = {}
    for key, run in by_key(runs).items():
        kept = store.record_of(run)["tests"]
        names = sorted({run.test_name(test) for test in run.tests})
        digests[key] = {name: kept[name]["ranks"] if name in kept else None for name in names}
    return digests


def _holds(record: Path, origin: str, ranks: Mapping[str, Mapping[str, str | None]], *, complete: bool) -> bool:
    """Return whether a record tells of this origin, of the ranks that are there, and of products that are unaltered.

    A notebook that left out runs is made again where it is to be complete.
    """
    try:
        known = read_json(record)
        made = {paths.project_root() / name: digest for name, digest in known["made"].items()}
        there = {(key, name): digest for key, tests in ranks.items() for name, digest in tests.items()}
        used = {(key, name): digest for key, tests in known["ranks"].items() for name, digest in tests.items()}
        if known["origin"] != origin or there.keys() != used.keys():
            return False
        if any(digest not in (None, used[name]) for name, digest in there.items()):
            return False
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        logger.warning("%s is not read, and its notebook is executed again: it was cut or altered (%s)", record, error)
        return False
    altered = [path for path, digest in made.items() if not path.is_file() or checksum(path) != digest]
    for path in altered:
        if path.exists():
            logger.warning("%s was altered, and is made again", path)
    return not altered and not (complete and None in used.values())
