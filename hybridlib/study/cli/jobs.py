"""The jobs of the workflow, which `workflow/Snakefile` calls: each computes a training run or executes a notebook."""

import atexit
import sys
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache

from filelock import FileLock, Timeout

from hybridlib.paths import lock_path, params_path, runs_path
from hybridlib.study import store
from hybridlib.study.cli.notebooks import Notebooks, relative, remove_outdated_record
from hybridlib.study.keys import by_key
from hybridlib.study.run import Run
from hybridlib.study.trust import trusted_record
from hybridlib.study.workers import may_compute, new_pool


def all_runs(notebooks: Notebooks) -> dict[str, Run]:
    """Return the training runs of several notebooks by their keys, those that notebooks share once, in their order."""
    return by_key(run for params in notebooks.values() for run in params.runs())


def due_files(runs: Mapping[str, Run], profile: str) -> dict[str, str]:
    """Return what is to be made of the runs that are not finished, by their keys, where computing them is allowed.

    That is their files, or for those that are there and lack tests, marks; see `workflow/Snakefile`.
    """
    due = [key for key, run in runs.items() if not store.is_finished(run)] if may_compute(profile) else []
    return {key: f"runs/.{key}.tested" if store.path_of(runs[key]).exists() else f"runs/{key}.parquet" for key in due}


def waited_for(runs: Iterable[Run], due: Mapping[str, str]) -> list[str]:
    """Return those of `due_files` that make runs complete; another notebook may ask for more tests of the same runs."""
    known = by_key(runs)
    return [due[key] for key, run in known.items() if key in due and not store.is_finished(run)]


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


def remove_outdated(profile: str, notebooks: Notebooks, runs: Mapping[str, Run]) -> None:
    """Remove damaged runs, and records of notebooks that are damaged or out of date, so that they are made again.

    Marks that a killed workflow has left go, too.
    """
    for mark in runs_path().glob(".*.tested"):
        mark.unlink(missing_ok=True)
    for run in runs.values():
        path = store.path_of(run)
        if path.exists() and trusted_record(path) is None:
            path.unlink(missing_ok=True)
    for notebook in notebooks:
        remove_outdated_record(notebook, profile, notebooks[notebook].runs())


def check_data(notebooks: Notebooks, due: Collection[str]) -> None:
    """Load the data of the runs that are due and make sure that every batch can be filled, before any starts.

    Args:
        notebooks: the parameters of each.
        due: the keys of the runs that are due.

    Raises:
        SystemExit: the data do not fit the parameters, which has been printed; the status is 2.
    """
    asking = {name: params for name, params in notebooks.items() if set(due) & set(by_key(params.runs()))}
    checks = {name: _workers().submit(params.check_data) for name, params in asking.items()}
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
        _workers(small=run.is_small).submit(store.compute, run).result()
    except BrokenProcessPool as error:
        _workers.cache_clear()  # the next run finds new ones
        raise RuntimeError("a worker was killed from outside; often there is too little memory") from error


@cache
def _workers(*, small: bool = True) -> ProcessPoolExecutor:
    pool = new_pool(small=small)
    atexit.register(pool.shutdown, cancel_futures=True)
    return pool
