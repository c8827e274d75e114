"""The notebooks of a profile: their parameters, their execution, and records of what they made.

A record holds the checksums of what a notebook made, and of what it was made from. So a second call has nothing to do.
Runs that have gone since are no reason to do anything: what was made from them is still true.
"""

import hashlib
import json
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hybridlib import paths
from hybridlib.files import checksum, replacing
from hybridlib.study import store
from hybridlib.study.code import code_hash
from hybridlib.study.keys import by_key
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.run import Run
from hybridlib.study.workers import may_compute

# The models of parameters differ from notebook to notebook; all have `profile`, `runs()` and `check_data()`.
Notebooks = Mapping[str, Any]


def read_profile(profile: str) -> dict[str, Any]:
    """Return the checked parameters of every notebook of a profile.

    Raises:
        FileNotFoundError: the profile has no parameter files.
        ValueError: a parameter is wrong, or a file is named after no notebook.
    """
    folder = paths.params_path(profile, "").parent
    files = sorted(folder.glob("*.yaml"))
    if not files:
        profiles = sorted({path.parent.name for path in folder.parent.glob("*/*.yaml")})
        raise FileNotFoundError(f"{folder}/*.yaml does not exist; profiles: {', '.join(profiles)}")
    notebooks = {}
    for path in files:
        if path.stem not in QUESTIONS:
            raise ValueError(f"{path} is named after no notebook; allowed: {', '.join(QUESTIONS)}")
        params = notebooks[path.stem] = QUESTIONS[path.stem].from_yaml(path)
        if params.profile != profile:
            raise ValueError(f"{path}: profile is {params.profile!r}; it must be the name of its folder, {profile!r}")
    return notebooks


def execute(notebook: str, profile: str) -> None:
    """Execute a notebook with the parameters of a profile, and record what it made.

    Raises:
        papermill.PapermillExecutionError: a cell failed; the notebook is kept as far as it came.
    """
    import papermill

    output = paths.executed_path(profile, notebook)
    output.parent.mkdir(parents=True, exist_ok=True)
    source = paths.params_path(profile, notebook)
    runs = QUESTIONS[notebook].from_yaml(source).runs()
    with warnings.catch_warnings():
        # papermill's libraries warn about each other; an error in a cell is an exception.
        warnings.simplefilter("ignore")
        papermill.execute_notebook(
            str(paths.notebook_path(notebook)),
            str(output),
            yaml.safe_load(source.read_text(encoding="utf-8")),
            cwd=str(paths.project_root()),
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            progress_bar=False,
            # A kernel that is asked to end by itself sometimes reports the interrupt that comes with the request.
            shutdown_kernel="immediate",
        )
    _drop_silent_cells(output)
    made = {relative(path): checksum(path) for path in _products(notebook, profile)}
    record = {"origin": _origin(notebook, profile), "ranks": _ranks(runs), "made": made}
    with replacing(paths.record_path(profile, notebook)) as draft:
        draft.write_text(json.dumps(record, indent=1), encoding="utf-8")


def _drop_silent_cells(path: Path) -> None:
    """Drop the optional cells of an executed notebook that had nothing to show, each with the text before it."""
    import nbformat

    executed = nbformat.read(path, as_version=4)
    kept: list[Any] = []
    for cell in executed.cells:
        optional = "optional" in cell.metadata.get("tags", ())
        if cell.cell_type == "code" and optional and not cell.outputs:
            if kept and kept[-1].cell_type == "markdown" and "optional" in kept[-1].metadata.get("tags", ()):
                kept.pop()
            continue
        kept.append(cell)
    executed.cells = kept
    with replacing(path) as draft:
        nbformat.write(executed, draft)


def remove_outdated_record(notebook: str, profile: str, runs: Iterable[Run]) -> None:
    """Remove the record of a notebook whose origin or products have changed, so that it is executed again."""
    record = paths.record_path(profile, notebook)
    if record.exists() and not _holds(record, _origin(notebook, profile), _ranks(runs), complete=may_compute(profile)):
        record.unlink(missing_ok=True)


def report_failed_cells(profile: str, notebooks: Iterable[str]) -> None:
    """Print which cell of which notebook failed, and where to see it as it was executed."""
    import nbformat

    for notebook in notebooks:
        executed = paths.executed_path(profile, notebook)
        if paths.record_path(profile, notebook).exists() or not executed.exists():
            continue
        for cell in nbformat.read(executed, as_version=4).cells:
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    print(
                        f"error: cell {cell.execution_count} of {relative(paths.notebook_path(notebook))} failed; "
                        f"see {relative(executed)}\n{output.ename}: {output.evalue}",
                        file=sys.stderr,
                    )


def figures_of(notebook: str, profile: str) -> list[Path]:
    """Return the figures that a notebook has drawn."""
    return sorted(paths.figure_path(profile, notebook).parent.glob(f"{notebook}-*.svg"))


def relative(path: Path) -> str:
    """Return a path as a user sees it: relative to the project's folder."""
    return str(path.relative_to(paths.project_root()))


def _products(notebook: str, profile: str) -> list[Path]:
    return [
        paths.executed_path(profile, notebook),
        paths.results_path(profile, notebook),
        paths.findings_path(profile, notebook),
        *figures_of(notebook, profile),
    ]


def _origin(notebook: str, profile: str) -> str:
    """Return a checksum of what results are made from besides ranks: parameters, the notebook's cells, the library."""
    cells = json.loads(paths.notebook_path(notebook).read_text(encoding="utf-8"))["cells"]
    text = json.dumps(
        [
            paths.params_path(profile, notebook).read_text(encoding="utf-8"),
            ["".join(cell["source"]) for cell in cells],
            code_hash(computing=False),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()


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
        known = json.loads(record.read_text(encoding="utf-8"))
        made = {paths.project_root() / name: digest for name, digest in known["made"].items()}
        there = {(key, name): digest for key, tests in ranks.items() for name, digest in tests.items()}
        used = {(key, name): digest for key, tests in known["ranks"].items() for name, digest in tests.items()}
        return (
            known["origin"] == origin
            and there.keys() == used.keys()
            and all(digest in (None, used[name]) for name, digest in there.items())
            and not (complete and None in used.values())
            and all(checksum(path) == digest for path, digest in made.items())
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return False
