"""The jobs of the workflow, which `workflow/Snakefile` calls: each computes a training run or executes a notebook."""

import atexit
import errno
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from hybridlib.paths import (
    evidence_folders,
    figure_path,
    lock_path,
    params_path,
    project_root,
    record_path,
    results_path,
    runs_path,
)
from hybridlib.study.cli.execution import sweep
from hybridlib.study.cli.notebooks import Notebooks, is_outdated, relative
from hybridlib.study.pages.report import REPORT, is_report_outdated
from hybridlib.study.run import Run
from hybridlib.study.runs import store
from hybridlib.study.runs.keys import by_key
from hybridlib.study.runs.trust import check_folder, trusted_record
from hybridlib.study.workers import may_compute, new_pool, submit

_ROOM = 1 << 20  # bytes that must be free where something is to be made
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def all_runs(notebooks: Notebooks) -> dict[str, Run]:
    """Return the training runs of several notebooks by their keys, those that notebooks share once, in their order."""
    return by_key(run for params in notebooks.values() for run in params.runs())


def due_files(runs: Mapping[str, Run], profile: str) -> dict[str, str]:
    """Return what is to be made of the runs that are not finished, by their keys, where computing them is allowed.

    That is their files, or for those that are there and lack tests, marks; see `workflow/Snakefile`.
    """
    due = [key for key, run in runs.items() if not store.is_finished(run)] if may_compute(profile) else []
    whole = {key for key in due if trusted_record(store.path_of(runs[key])) is not None}
    return {key: f"runs/.{key}.tested" if key in whole else f"runs/{key}.parquet" for key in due}


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


def check_evidence() -> None:
    """Refuse evidence that is not as it was published, whether or not it is asked for.

    Raises:
        ValueError, FileNotFoundError: a file of `evidence/` was altered or is missing; the message names it.
    """
    for folder in evidence_folders():
        check_folder(folder)


def made_again(profile: str, notebooks: Notebooks, due: Mapping[str, str]) -> set[str]:
    """Return the files that are there and must be made again: records that are out of date, and damaged runs.

    The report is made again with any of its notebooks.

    Args:
        profile: the folder of `params/`.
        notebooks: the parameters of each.
        due: the `due_files`.

    Raises:
        ValueError: a folder has the name of a file that is to be made, or a notebook is damaged.
    """
    for file in due.values():
        if (project_root() / file).is_dir():
            raise ValueError(f"{project_root() / file} is a folder; allowed: a file, so remove it")
    outdated = [name for name, params in notebooks.items() if is_outdated(name, profile, params.runs())]
    there = {file for file in due.values() if (project_root() / file).exists()}
    again = there | {relative(record_path(profile, name)) for name in outdated}
    report, records = record_path(profile, REPORT), [record_path(profile, name) for name in notebooks]
    whole = not outdated and all(path.exists() for path in records)
    if report.exists() and not (whole and not is_report_outdated(profile, notebooks)):
        again.add(relative(report))
    return again


def remove_left(profile: str) -> None:
    """Remove what killed workflows have left: marks, and files that are half-written."""
    for mark in runs_path().glob(".*.tested"):
        mark.unlink(missing_ok=True)
    store.sweep()
    sweep(profile)


def check_start(profile: str, notebooks: Notebooks, due: Collection[str]) -> None:
    """Make sure that what the jobs make can be written, and that they have the data they need, before any starts.

    Raises:
        SystemExit: that is not so, which has been printed; the status is 2.
    """
    for folder in (runs_path(), results_path(profile, "").parent, figure_path(profile, "").parent):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder) as trial:
                trial.write(bytes(_ROOM))
        except OSError as error:
            print(f"error: {relative(folder)}/ cannot be written: {error.strerror}", file=sys.stderr)
            raise SystemExit(2) from error
    check_data(notebooks, due)


def check_data(notebooks: Notebooks, due: Collection[str]) -> None:
    """Load the data of the runs that are due and make sure that every batch can be filled, before any starts.

    Args:
        notebooks: the parameters of each.
        due: the keys of the runs that are due.

    Raises:
        SystemExit: the data do not fit the parameters, which has been printed; the status is 2.
    """
    asking = {name: params for name, params in notebooks.items() if set(due) & set(by_key(params.runs()))}
    checks = {name: submit(_workers(), params.check_data) for name, params in asking.items()}
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
        OSError: the run could not be written.
    """
    if store.is_finished(run):
        return
    if not in_worker:
        store.compute(run)
        return
    try:
        submit(_workers(small=run.is_small), store.compute, run).result()
    except BrokenProcessPool as error:
        _workers.cache_clear()  # the next run finds new ones
        raise RuntimeError("a worker was killed from outside; often there is too little memory") from error


@contextmanager
def last_if_full(stop: Callable[[], object]) -> Iterator[None]:
    """Let no further job start where the disk is full, since it would only fail."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            print("error: the disk is full, so no further job is started", file=sys.stderr)
            stop()
        raise


@contextmanager
def saying() -> Iterator[None]:
    """Print in a line what is wrong with a file; Snakemake would say it with the way there."""
    try:
        yield
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise


@cache
def _workers(*, small: bool = True) -> ProcessPoolExecutor:
    pool = new_pool(small=small)
    atexit.register(pool.shutdown, cancel_futures=True)
    return pool
