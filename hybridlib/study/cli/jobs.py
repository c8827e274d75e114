"""The jobs of the workflow, which `workflow/Snakefile` calls: each computes a training run or executes a notebook."""

import atexit
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache

from filelock import FileLock, Timeout

from hybridlib.paths import lock_path, params_path
from hybridlib.study import store
from hybridlib.study.cli.notebooks import Notebooks, relative, remove_outdated_record
from hybridlib.study.run import Run
from hybridlib.study.workers import new_pool


def all_runs(notebooks: Notebooks) -> dict[str, Run]:
    """Return the training runs of several notebooks by their keys, those that notebooks share once, in their order."""
    return {store.key_of(run): run for params in notebooks.values() for run in params.runs()}


def workflow_lock() -> FileLock:
    """Return the lock of this folder's workflow: the same object for all who hold it in this process."""
    lock_path().parent.mkdir(exist_ok=True)
    return FileLock(lock_path(), is_singleton=True)


def take_lock() -> FileLock:
    """Wait until no other workflow is at work in this folder, and keep others waiting while the lock is held.

    If this process is killed, the operating system lets the others go on.
    """
    lock = workflow_lock()
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("Another workflow is at work in this folder; waiting for it to end.", file=sys.stderr)
        lock.acquire()
    return lock


def remove_outdated_records(profile: str, notebooks: Notebooks, runs: Mapping[str, Run]) -> None:
    """Remove the records of runs and notebooks that are damaged or out of date, so that they are made again."""
    for run in runs.values():
        record = store.folder_of(run) / "run.json"
        if record.exists() and not store.is_finished(run):
            record.unlink(missing_ok=True)
    for notebook in notebooks:
        remove_outdated_record(notebook, profile, notebooks[notebook].runs())


def check_data(notebooks: Notebooks, runs: Mapping[str, Run]) -> None:
    """Load the data of the runs that are missing and make sure that every batch can be filled, before any starts.

    Raises:
        SystemExit: the data do not fit the parameters, which has been printed; the status is 2.
    """
    missing = {key for key, run in runs.items() if not store.is_finished(run)}
    due = {name: params for name, params in notebooks.items() if missing & {store.key_of(run) for run in params.runs()}}
    checks = {name: _workers().submit(params.check_data) for name, params in due.items()}
    problems = {name: check.exception() for name, check in checks.items()}
    for name, problem in problems.items():
        if isinstance(problem, (ValueError, OSError)):
            print(f"error: {relative(params_path(notebooks[name].profile, name))}: {problem}", file=sys.stderr)
        elif problem is not None:
            raise problem
    if any(problems.values()):
        raise SystemExit(2)


def compute_run(run: Run, *, in_worker: bool) -> None:
    """Compute a run, unless another process has computed it meanwhile.

    Args:
        run: the run to compute.
        in_worker: compute it in a process that waits for the next one, so that libraries are imported once.

    Raises:
        RuntimeError: the worker was killed.
    """
    if store.is_finished(run):
        return
    if not in_worker:
        store.compute(run)
        return
    try:
        _workers().submit(store.compute, run).result()
    except BrokenProcessPool as error:
        _workers.cache_clear()  # the next run finds new ones
        raise RuntimeError("a worker was killed from outside; often there is too little memory") from error


@cache
def _workers() -> ProcessPoolExecutor:
    pool = new_pool()
    atexit.register(pool.shutdown, cancel_futures=True)
    return pool
