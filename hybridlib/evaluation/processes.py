"""The processes that share an evaluation: one alone, or those that torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist

# The time that processes wait for the slowest of them.
_PATIENCE = timedelta(days=7)


class Processes:
    """The processes of one evaluation, as one of them sees them.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
        threads: this process's share of the machine's cores.
    """

    def __init__(self, group: "dist.ProcessGroup | None") -> None:
        self._group = group
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if group else (0, 1)
        on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if group else 1
        self.threads = max(1, (os.cpu_count() or 1) // on_this_machine)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self._group:
            dist.barrier(self._group)

    def sum(self, counts: np.ndarray) -> np.ndarray:
        """Add up the counts of all processes; each of them gets the sum."""
        if not self._group:
            return counts
        total = torch.from_numpy(counts)
        dist.all_reduce(total, group=self._group)
        return total.numpy()


@contextmanager
def connected_processes() -> Iterator[Processes]:
    """Connect the processes of torchrun for the length of the block, or stay alone if there are none."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo", timeout=_PATIENCE)
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        yield Processes(None)
        return
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)  # counts are in main memory, even if GPUs embed
    try:
        yield Processes(group)
    finally:
        dist.destroy_process_group(group)
