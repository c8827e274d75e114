"""Processes that compute training runs: several side by side on a GPU, or else as many as the cores can serve.

A small encoder leaves most of a GPU idle: on an H200, 12 side by side did 170 runs of multilingual-e5-small in 800 s.
"""

import gc
import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from hybridlib.paths import evidence_path
from hybridlib.study.run import Run
from hybridlib.study.runs import store
from hybridlib.study.runs.keys import by_key

# A run of a small encoder is given so much of a GPU, in MiB: 12 run side by side on an H200.
_MEMORY = 11 * 1024


def may_compute(profile: str) -> bool:
    """Return whether missing runs of a profile are computed: if it has no evidence, or if that was asked for.

    `hybridlib reproduce --compute` asks for it, and so does the environment variable `HYBRIDLIB_COMPUTE=1`.
    """
    return not evidence_path(profile).is_dir() or os.environ.get("HYBRIDLIB_COMPUTE") == "1"


def gpus() -> list[str]:
    """Return the GPUs that may be used: those of CUDA_VISIBLE_DEVICES if it is set, otherwise all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu not in ("", "-1")]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def runs_per_gpu(gpu: str, *, small: bool) -> int:
    """Return how many runs a GPU computes side by side: `HYBRIDLIB_RUNS_PER_GPU`, or as many as its memory holds.

    Args:
        gpu: its number or id.
        small: whether the encoders are small; a large one has a GPU for itself.
    """
    told = os.environ.get("HYBRIDLIB_RUNS_PER_GPU")
    if told is not None:
        if not told.isdecimal() or int(told) < 1:
            raise ValueError(f"HYBRIDLIB_RUNS_PER_GPU is {told!r}; allowed: 1 or more")
        return int(told)
    return max(1, min(_memory(gpu) // _MEMORY, (os.cpu_count() or 1) // len(gpus()))) if small else 1


def new_pool(threads: int = 1, *, small: bool = True) -> ProcessPoolExecutor:
    """Return a pool of processes in which libraries are imported once.

    Args:
        threads: cores that a run takes, where there is no GPU.
        small: whether the encoders are small, so that several fit on a GPU.
    """
    # Processes are started afresh, not forked: a fork of a process whose libraries have threads can hang.
    context = multiprocessing.get_context("spawn")
    devices = context.SimpleQueue()
    places = [gpu for gpu in gpus() for _ in range(runs_per_gpu(gpu, small=small))]
    cores = os.cpu_count() or 1
    for gpu in places:
        devices.put((gpu, max(1, cores // len(places))))
    size = len(places) or max(1, cores // threads)
    return ProcessPoolExecutor(size, mp_context=context, initializer=_begin_work, initargs=(devices,))


def submit(pool: Executor, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
    """Hand work to a pool; a process that is started for it is not interrupted, with a traceback, while it imports."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a process inherits what is blocked
    try:
        return pool.submit(function, *arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def compute_runs(runs: Sequence[Run], profile: str) -> None:
    """Compute the runs that are not finished, several at a time, with a progress bar; each is kept as it ends.

    Args:
        runs: in any order; those that start from the same encoder are best side by side.
        profile: what they are of; where it has evidence, missing runs are left out unless asked for (`may_compute`).
    """
    known = [*by_key(runs).values()]
    missing = [run for run in known if not store.is_finished(run)]
    if not missing or not may_compute(profile):
        return
    store.sweep()
    bar = tqdm(total=len(known), initial=len(known) - len(missing), desc="training runs", unit="run", disable=None)
    threads, small = max(run.threads for run in missing), all(run.is_small for run in missing)
    with new_pool(threads, small=small) as pool, bar:
        pending = [submit(pool, store.compute, run) for run in missing]
        for future in as_completed(pending):
            try:
                future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            bar.update()


def _memory(gpu: str) -> int:
    """Return the memory of a GPU in MiB; 0 if nothing tells it."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits", "-i", gpu]
    try:
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return 0


def _begin_work(devices: Any) -> None:
    """Take a place on a GPU, if there are any, and end with the parent, instead of waiting for ever when it is killed.

    Those that share a machine's GPUs share its cores, too.
    """
    if not devices.empty():
        os.environ["CUDA_VISIBLE_DEVICES"], threads = devices.get()
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), str(threads)))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # it ends at once; the workflow says that it was interrupted
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    import hybridlib.training.fine_tune  # noqa: F401 (imported once, not in the first run)

    # The trainer collects garbage after every run, which takes a third of a second for what the libraries hold.
    gc.freeze()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
