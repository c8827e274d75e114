"""The execution of a notebook: alone with its kernel, kept whole, and the same bytes each time."""

import hashlib
import logging
import os
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hybridlib import paths
from hybridlib.files import read_yaml, replacing
from hybridlib.study.cli.notebooks import MODELS, relative, write_record

if TYPE_CHECKING:
    from traitlets.config import Config

_LONGEST = 80  # letters of a folder for sockets, whose paths have at most 103
# A file that is written under another name first; one that is being written now is younger than so many seconds.
_DRAFT = re.compile(r"\.[0-9a-f]{32}\.\w+")
_STALE = 60
_WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(notebook: str, profile: str) -> None:
    """Execute a notebook with the parameters of a profile, and record what it made.

    Raises:
        papermill.PapermillExecutionError: a cell failed; the notebook is kept as far as it came.
    """
    import papermill

    output, source = paths.executed_path(profile, notebook), paths.params_path(profile, notebook)
    runs = MODELS[notebook].from_yaml(source).runs()
    draft = output.with_name(f".{output.name}")  # papermill writes it after every cell, not always whole
    draft.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").addFilter(_is_told)
    with warnings.catch_warnings(), _connection(notebook, profile) as config:
        # papermill's libraries warn about each other; an error in a cell is an exception.
        warnings.simplefilter("ignore")
        try:
            papermill.execute_notebook(
                str(paths.notebook_path(notebook)),
                str(draft),
                read_yaml(source),
                cwd=str(paths.project_root()),
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
                progress_bar=False,
                coalesce_streams=True,
                start_timeout=600,  # seconds; on a crowded machine a kernel needs more than a minute
                config=config,
                # A kernel that is asked to end by itself sometimes reports the interrupt that comes with the request.
                shutdown_kernel="immediate",
            )
        except papermill.PapermillExecutionError:
            draft.replace(output)
            raise
    _write_executed(draft, output)
    write_record(notebook, profile, runs)


def _is_told(record: logging.LogRecord) -> bool:
    """Return whether a message of papermill is for the user; that of a parameter which a cell lacks is not.

    Parameters are checked already, and those that have defaults need not be in a notebook.
    """
    return not record.getMessage().startswith("Passed unknown parameter")


@contextmanager
def _connection(notebook: str, profile: str) -> Iterator["Config"]:
    """Yield settings of a kernel by which it is spoken to through files, if their paths are short enough.

    So it needs no network, takes no ports, and nobody else can speak to it. What a killed kernel has left is removed.
    """
    from traitlets.config import Config

    name = hashlib.sha256(str(paths.executed_path(profile, notebook)).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"hybridlib-{name}"
    if os.name != "posix" or len(str(folder)) > _LONGEST:
        yield Config()
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield Config(KernelManager={"transport": "ipc", "connection_file": str(folder / "k.json")})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_executed(draft: Path, output: Path) -> None:
    """Write an executed notebook as it is to be kept: settled, and without optional cells that have nothing to show.

    Such a cell is dropped with the text before it.
    """
    import nbformat

    executed, _ = settle(nbformat.read(draft, as_version=4), None)
    kept: list[Any] = []
    for cell in executed.cells:
        optional = "optional" in cell.metadata.get("tags", ())
        if cell.cell_type == "code" and optional and not cell.outputs:
            if kept and kept[-1].cell_type == "markdown" and "optional" in kept[-1].metadata.get("tags", ()):
                kept.pop()
            continue
        kept.append(cell)
    executed.cells = kept
    with replacing(output) as whole:
        nbformat.write(executed, whole)
    draft.unlink()


def settle(notebook: Any, resources: Any) -> tuple[Any, Any]:
    """Make an executed notebook the same bytes each time; it is a preprocessor of nbconvert, too.

    Times are dropped, and so are widgets, whose names are drawn and which show nothing without a kernel. The names that
    pandas draws for its tables, the ids of cells, and addresses of objects are replaced.
    """
    import nbformat

    for drawn in ("papermill", "widgets"):
        notebook.metadata.pop(drawn, None)
    for number, cell in enumerate(notebook.cells):
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell.id = f"injected-{number}"
        for times in ("papermill", "execution"):
            cell.metadata.pop(times, None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _WIDGET not in output.get("data", ())]
    text = re.sub(r"(?<= at )0x[0-9a-f]{6,}(?=>)", "0x0", nbformat.writes(notebook))
    for number, name in enumerate(dict.fromkeys(re.findall(r'<table id=\\"(T_[0-9a-f]{5})\\"', text))):
        text = text.replace(name, f"T_{number}")
    return nbformat.reads(text, as_version=4), resources


def sweep(profile: str) -> None:
    """Remove what killed notebooks of a profile have left half-written."""
    for folder in (paths.results_path(profile, "").parent, paths.figure_path(profile, "").parent):
        for path in folder.glob(".*"):
            with suppress(FileNotFoundError):
                if _DRAFT.fullmatch(path.name) and path.stat().st_mtime < time.time() - _STALE:
                    path.unlink()


def states(profile: str, notebooks: Iterable[str]) -> dict[str, tuple[int, int] | None]:
    """Return what changes when a notebook is executed, by its name."""
    executed = {notebook: paths.executed_path(profile, notebook) for notebook in notebooks}
    there = {notebook: path.stat() if path.exists() else None for notebook, path in executed.items()}
    return {notebook: state and (state.st_ino, state.st_mtime_ns) for notebook, state in there.items()}


def report_failed_cells(profile: str, before: Mapping[str, tuple[int, int] | None]) -> None:
    """Print which cell of which notebook failed, and where to see it as it was executed.

    Args:
        profile: the folder of `params/`.
        before: the `states` when the workflow began; those that have not been executed since are left out.
    """
    import nbformat

    for notebook, state in states(profile, before).items():
        executed = paths.executed_path(profile, notebook)
        if state == before[notebook] or state is None:
            continue
        try:
            cells = nbformat.read(executed, as_version=4).cells
        except (OSError, ValueError, AttributeError, TypeError) as error:
            print(f"error: {relative(executed)} is not whole: {' '.join(str(error).split())[:200]}", file=sys.stderr)
            continue
        for cell in cells:
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    print(
                        f"error: cell {cell.execution_count} of {relative(paths.notebook_path(notebook))} failed; "
                        f"see {relative(executed)}\n{output.ename}: {output.evalue}",
                        file=sys.stderr,
                    )
