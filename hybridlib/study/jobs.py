"""The jobs of the workflow, which `workflow/Snakefile` calls: to compute a training run, and to execute a notebook,
which finds its runs done.

What a notebook made is recorded with its checksums and with a checksum of all it was made from, so a second call has
nothing to do.
"""

import atexit
import gc
import hashlib
import json
import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from hybridlib.paths import (
    checksum,
    executed_path,
    figure_path,
    findings_path,
    lock_path,
    notebook_path,
    params_path,
    project_root,
    record_path,
    replacing,
    results_path,
)
from hybridlib.study.code import code_hash
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.run import Run

# The models of parameters differ from notebook to notebook; all have `profile`, `runs()` and `check_data()`.
Notebooks = Mapping[str, Any]
# Held by this process while it is at work.
LOCKS: list[FileLock] = []


def read_profile(profile: str) -> dict[str, Any]:
    """The checked parameters of every notebook of a profile.

    Raises:
        FileNotFoundError: the profile has no parameter files.
        ValueError: a parameter is wrong, or a file is named after no notebook.
    """
    folder = params_path(profile, "").parent
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


def all_runs(notebooks: Notebooks) -> dict[str, Run]:
    """The training runs of several notebooks by their keys, those that notebooks share once, in their order."""
    return {run.key(): run for params in notebooks.values() for run in params.runs()}


def take_turns() -> None:
    """Wait until no other workflow is at work in this folder, and keep others waiting until this one ends; if it is
    killed, the operating system lets them go on."""
    path = lock_path()
    path.parent.mkdir(exist_ok=True)
    lock = FileLock(path, is_singleton=True)  # one for each file, so that it lives as long as the process
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("Another workflow is at work in this folder; waiting for it to end.", file=sys.stderr)
        lock.acquire()
    LOCKS.append(lock)


def forget_what_is_not_true(profile: str, notebooks: Notebooks, runs: Mapping[str, Run]) -> None:
    """Remove the records of runs and notebooks that are damaged or out of date, so that they are made again."""
    for run in runs.values():
        record = run.folder / "run.json"
        if record.exists() and not run.finished():
            record.unlink(missing_ok=True)
    for notebook in notebooks:
        record = record_path(profile, notebook)
        if record.exists() and not _is_true(record, _origin(notebook, profile, notebooks[notebook].runs())):
            record.unlink(missing_ok=True)


def check_data(notebooks: Notebooks, runs: Mapping[str, Run]) -> None:
    """Load the data of the runs that are missing and make sure that every batch can be filled, before any starts.

    Raises:
        SystemExit: the data do not fit the parameters, which has been said; the status is 2.
    """
    missing = {key for key, run in runs.items() if not run.finished()}
    due = {name: params for name, params in notebooks.items() if any(run.key() in missing for run in params.runs())}
    checks = {name: _workers().submit(params.check_data) for name, params in due.items()}
    problems = {name: check.exception() for name, check in checks.items()}
    for name, problem in problems.items():
        if isinstance(problem, (ValueError, OSError)):
            print(f"error: {shown(params_path(notebooks[name].profile, name))}: {problem}", file=sys.stderr)
        elif problem is not None:
            raise problem
    if any(problems.values()):
        raise SystemExit(2)


def compute_run(run: Run, *, in_worker: bool) -> None:
    """Compute a run unless it has been, meanwhile, by another process.

    Args:
        run: what to compute.
        in_worker: in a process that waits for the next one, so that libraries are imported once.

    Raises:
        RuntimeError: the worker was killed.
    """
    if run.finished():
        return
    if not in_worker:
        run.compute()
        return
    try:
        _workers().submit(run.compute).result()
    except BrokenProcessPool as error:
        _workers.cache_clear()  # the next run finds new ones
        raise RuntimeError("a worker was killed from outside; often there is too little memory") from error


def execute(notebook: str, profile: str) -> None:
    """Execute a notebook with the parameters of a profile, and record what it made.

    Raises:
        papermill.PapermillExecutionError: a cell failed; the notebook is kept as far as it came.
    """
    import papermill

    output = executed_path(profile, notebook)
    output.parent.mkdir(parents=True, exist_ok=True)
    source = params_path(profile, notebook)
    origin = _origin(notebook, profile, QUESTIONS[notebook].from_yaml(source).runs())
    with warnings.catch_warnings():
        # Of papermill's libraries about each other; an error in a cell is an exception.
        warnings.simplefilter("ignore")
        papermill.execute_notebook(
            str(notebook_path(notebook)),
            str(output),
            yaml.safe_load(source.read_text(encoding="utf-8")),
            cwd=str(project_root()),
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            progress_bar=False,
            # Asked to end by itself, a kernel now and then reports the interrupt that comes with the request.
            shutdown_kernel="immediate",
        )
    made = {shown(path): checksum(path) for path in _made(notebook, profile)}
    with replacing(record_path(profile, notebook)) as draft:
        draft.write_text(json.dumps({"origin": origin, "made": made}, indent=1), encoding="utf-8")


def name_failed_cells(profile: str, notebooks: Iterable[str]) -> None:
    """Say which cell of which notebook failed, and where to see it as it was executed."""
    import nbformat

    for notebook in notebooks:
        executed = executed_path(profile, notebook)
        if record_path(profile, notebook).exists() or not executed.exists():
            continue
        for cell in nbformat.read(executed, as_version=4).cells:
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    print(
                        f"error: cell {cell.execution_count} of {shown(notebook_path(notebook))} failed; "
                        f"see {shown(executed)}\n{output.ename}: {output.evalue}",
                        file=sys.stderr,
                    )


def gpus() -> list[str]:
    """The GPUs that may be used: those of CUDA_VISIBLE_DEVICES if it is set, otherwise all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu not in ("", "-1")]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


@cache
def _workers() -> ProcessPoolExecutor:
    """Processes for training runs, made when the first is needed: one for each GPU, or else for each core."""
    # Started afresh, not forked: a fork of a process whose libraries have threads can hang.
    context = multiprocessing.get_context("spawn")
    devices = context.SimpleQueue()
    for gpu in gpus():
        devices.put(gpu)
    pool = ProcessPoolExecutor(
        len(gpus()) or os.cpu_count(), mp_context=context, initializer=_begin_work, initargs=(devices,)
    )
    atexit.register(pool.shutdown, cancel_futures=True)
    return pool


def _begin_work(devices: Any) -> None:
    """In a worker: take a GPU, if there are any, and end when the parent is killed, instead of waiting for ever."""
    if not devices.empty():
        os.environ["CUDA_VISIBLE_DEVICES"] = devices.get()
    import hybridlib.training.fine_tune  # noqa: F401 (imported once, not in the first run)

    # The trainer collects garbage after every run, which takes a third of a second for what the libraries hold.
    gc.freeze()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def figures_of(notebook: str, profile: str) -> list[Path]:
    return sorted(figure_path(profile, notebook).parent.glob(f"{notebook}-*.png"))


def _made(notebook: str, profile: str) -> list[Path]:
    return [
        executed_path(profile, notebook),
        results_path(profile, notebook),
        findings_path(profile, notebook),
        *figures_of(notebook, profile),
    ]


def _origin(notebook: str, profile: str, runs: Iterable[Run]) -> str:
    """A checksum of all that the results are made from: parameters, the notebook's cells, the runs, the library."""
    cells = json.loads(notebook_path(notebook).read_text(encoding="utf-8"))["cells"]
    text = json.dumps(
        [
            params_path(profile, notebook).read_text(encoding="utf-8"),
            ["".join(cell["source"]) for cell in cells],
            [run.key() for run in runs],
            code_hash(computing=False),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _is_true(record: Path, origin: str) -> bool:
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        return known["origin"] == origin and all(
            checksum(project_root() / name) == digest for name, digest in known["made"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def shown(path: Path) -> str:
    return str(path.relative_to(project_root()))
