"""Rows of a JSON file, each written as soon as its contender has ended, so that nothing that was measured is lost."""

import gc
import json
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from measuring import write_json

LIMIT = 60  # seconds of a contender at a size
CALLS = 5
Size = TypeVar("Size")


class Overrun(Exception):
    """A contender has taken longer than its limit, or would take longer."""


class Part:
    """One subject, whose contenders run on the GPU, or at toy sizes on the CPU.

    Args:
        name: the rows carry it.
        path: of the file, which exists and may have rows already.
        small: run on the CPU.
    """

    def __init__(self, name: str, path: Path, small: bool) -> None:
        self.name, self.path, self.small, self.limit = name, path, small, LIMIT
        self.device = torch.device("cpu" if small else "cuda")
        self._before: dict[str, tuple[int, float]] = {}  # the last size of each contender, and its seconds there
        self._first: dict[int, float | None] = {}  # seconds of the first contender at each size

    def pick(self, full: Size, small: Size) -> Size:
        return small if self.small else full

    def timed(self, function: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
        """Return the seconds and the memory of a call, and what the first call gave."""
        before = 0 if self.small else torch.cuda.memory_allocated()
        if not self.small:
            torch.cuda.reset_peak_memory_stats()
        warm_up, made = self._call(function)
        figures = {} if self.small else {"memory_mb": (torch.cuda.max_memory_allocated() - before) / 1e6}
        seconds: list[float] = []
        while len(seconds) < CALLS and warm_up + sum(seconds) < self.limit / 4:
            seconds.append(self._call(function)[0])
        return {"seconds": statistics.median(seconds or [warm_up]), "calls": 1 + len(seconds), **figures}, made

    def _call(self, function: Callable[[], Any]) -> tuple[float, Any]:
        self._wait()
        begin = time.perf_counter()
        made = function()
        self._wait()
        return time.perf_counter() - begin, made

    def _wait(self) -> None:
        if not self.small:
            torch.cuda.synchronize()

    def contend(self, contender: str, size: int, measure: Callable[[], Mapping[str, Any]], growth: int = 1) -> None:
        """Run a contender within the limit, and keep its row whatever comes of it.

        Args:
            contender, size: what the row is called by.
            measure: gives the figures of the row.
            growth: the power of the size that the time grows with.
        """
        row: dict[str, Any] = {"part": self.name, "contender": contender, "size": size}
        add_row(self.path, row | {"skipped": "its part ended before it did"})
        gc.collect()
        try:
            self._check_time(contender, size, growth)
            with time_limit(self.limit):
                row |= measure()
        except Overrun as overrun:
            row["skipped"] = str(overrun)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"
        ended = not {"skipped", "error"} & row.keys()
        self._before[contender] = (size, row.get("seconds", 0.0) if ended else math.inf)
        first = self._first.setdefault(size, row.get("seconds"))
        if first and "seconds" in row:
            row["times"] = row["seconds"] / first
        add_row(self.path, row, in_place=True)
        shown = (f"{value:.4g}" if isinstance(value, float) else value for value in row.values())
        print("  ".join(f"{name} {value}" for name, value in zip(row, shown, strict=True)), flush=True)

    def _check_time(self, contender: str, size: int, growth: int) -> None:
        smaller, seconds = self._before.get(contender, (size, 0.0))
        if seconds == math.inf:
            raise Overrun(f"it did not end well at {smaller:,}")
        if seconds * (size / smaller) ** growth > self.limit:
            raise Overrun(f"it would take some {seconds * (size / smaller) ** growth:,.0f} s")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Overrun in what runs inside once it has taken so long, as soon as Python is in control."""

    def stop(*_: Any) -> None:
        raise Overrun(f"it took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def add_row(path: Path, row: Mapping[str, Any], *, in_place: bool = False) -> None:
    """Write a row to a file of rows, in place of the last one if asked for."""
    record = json.loads(path.read_text(encoding="utf-8"))
    record["rows"] = [*(record["rows"][:-1] if in_place else record["rows"]), row]
    write_json(path, record)
