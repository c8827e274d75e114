"""Processes that compute training runs: one for each GPU, or else as many as the cores can serve."""

import gc
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from hybridlib.study import store
from hybridlib.study.run import Run


def gpus() -> list[str]:
    """Return the GPUs that may be used: those of CUDA_VISIBLE_DEVICES if it is set, otherwise all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu not in ("", "-1")]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def new_pool(threads: int = 1) -> ProcessPoolExecutor:
    """Return a pool of processes in which libraries are imported once.

    Args:
        threads: cores that a run takes, where there is no GPU.
    """
    # Processes are started afresh, not forked: a fork of a process whose libraries have threads can hang.
    context = multiprocessing.get_context("spawn")
    devices = context.SimpleQueue()
    for gpu in gpus():
        devices.put(gpu)
    size = len(gpus()) or max(1, (os.cpu_count() or 1) // threads)
    return ProcessPoolExecutor(size, mp_context=context, initializer=_begin_work, initargs=(devices,))


def compute_runs(runs: Sequence[Run]) -> None:
    """Compute the runs that are not finished, several at a time, with a progress bar.

    Args:
        runs: in any order; those that start from the same encoder are best side by side.
    """
    store.sweep()
    missing = [run for run in runs if not store.is_finished(run)]
    if not missing:
        return
    bar = tqdm(total=len(runs), initial=len(runs) - len(missing), desc="training runs", unit="run", disable=None)
    with new_pool(max(run.threads for run in missing)) as pool, bar:
        pending = [pool.submit(store.compute, run) for run in missing]
        for future in as_completed(pending):
            try:
                future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            bar.update()


def _begin_work(devices: Any) -> None:
    """Take a GPU, if there are any, and end with the parent, instead of waiting for ever when it is killed."""
    if not devices.empty():
        os.environ["CUDA_VISIBLE_DEVICES"] = devices.get()
    import hybridlib.training.fine_tune  # noqa: F401 (imported once, not in the first run)

    # The trainer collects garbage after every run, which takes a third of a second for what the libraries hold.
    gc.freeze()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
