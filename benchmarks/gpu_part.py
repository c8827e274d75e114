"""What the parts of `benchmarks/gpu.py` share: contenders within a limit, their rows, and profiles of launches.

`seconds` is the median of five calls after a warm-up, of more where they are short, and of fewer, or the first call
alone, where they are long. `times` is that over the seconds of the part's first contender at this size, and `memory_mb`
how far allocated memory rose in the last call, when libraries have their workspaces. The GPU is this script's alone, so
contenders do not take turns.
"""

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
from torch.autograd import DeviceType

LIMIT, CALLS = 30, 5  # seconds of a contender at a size, and its calls
LEAST = 0.3  # seconds of its calls; the clock of a GPU that was idle takes a while to rise
AGAIN = 5  # seconds after which a contender is stopped again, if it went on
SIDE = 8192  # of the matrices of a bare product
Size = TypeVar("Size")


class Overrun(BaseException):
    """A contender has taken longer than its limit; no `except Exception` of a library keeps it from ending."""


class Part:
    """One subject, whose contenders run on the GPU, or at toy sizes on the CPU.

    Args:
        name: the rows carry it.
        path: the file, which exists and may have rows already.
        small: run on the CPU.
        encoder: a folder with multilingual-e5-small, if there is one.
    """

    def __init__(self, name: str, path: Path, small: bool, encoder: str | None = None) -> None:
        self.name, self.path, self.small, self.encoder = name, path, small, encoder
        self.limit = LIMIT * (10 if small else 1)  # the interpreter is slow
        self.device = torch.device("cpu" if small else "cuda")
        self._before: dict[str, tuple[int, float]] = {}  # the last size of each contender, and its seconds there
        self._first: dict[int, float | None] = {}  # seconds of the first contender at each size

    def pick(self, full: Size, small: Size) -> Size:
        return small if self.small else full

    def timed(self, function: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
        """Return the seconds and the memory of a call, and the result of the first call."""
        wait = self.pick(torch.cuda.synchronize, lambda: None)

        def call() -> tuple[float, int, Any]:
            wait()
            self.pick(torch.cuda.reset_peak_memory_stats, lambda: None)()
            before = torch.cuda.memory_allocated()  # 0 on the CPU
            begin = time.perf_counter()
            made = function()
            wait()
            return time.perf_counter() - begin, torch.cuda.max_memory_allocated() - before, made

        warm_up, memory, made = call()
        (calls, least), seconds = self.pick((CALLS, LEAST), (1, 0)), []
        while (len(seconds) < calls or sum(seconds) < least) and warm_up + sum(seconds) < self.limit / 8:
            one, memory = call()[:2]
            seconds.append(one)
        median = statistics.median(seconds or [warm_up])
        return {"seconds": median, "calls": 1 + len(seconds), "memory_mb": memory / 1e6}, made

    def contend(self, contender: str, size: int, measure: Callable[[], Mapping[str, Any]], growth: int = 1) -> None:
        """Run a contender within the limit, and keep its row whatever comes of it.

        Python stops it between two of its own steps, so that no call of the driver that hangs is cut short. The limit
        of the part ends that: its process is killed.

        Args:
            contender, size: the names of the row.
            measure: gives the figures of the row.
            growth: the power of the size that the time grows with.
        """
        row: dict[str, Any] = {"part": self.name, "contender": contender, "size": size}
        add_row(self.path, row | {"skipped": "its part ended before it did"})
        gc.collect()
        signal.signal(signal.SIGALRM, self._stop)
        try:
            self._check_time(contender, size, growth)
            signal.setitimer(signal.ITIMER_REAL, self.limit, AGAIN)
            row |= measure()
        except Overrun as overrun:
            row["skipped"] = str(overrun)
        except Exception as error:
            row |= reason(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        ended = not {"skipped", "error"} & row.keys()
        self._before[contender] = (size, row.get("seconds", 0.0) if ended else math.inf)
        first = self._first.setdefault(size, row.get("seconds"))
        if first and "seconds" in row:
            row["times"] = row["seconds"] / first
        add_row(self.path, row, in_place=True)
        print(json.dumps(row), flush=True)

    def product(self, dtype: str) -> float:
        """Time a bare product of square matrices, keep its row, and return its floating-point operations a second."""
        side, seconds = self.pick(SIDE, 64), [math.inf]
        generator = torch.Generator(self.device).manual_seed(0)
        drawn = [torch.randn(side, side, generator=generator, device=self.device) for _ in range(2)]
        left, right = (matrix.to(getattr(torch, dtype)) for matrix in drawn)

        def measure() -> dict[str, Any]:
            figures = self.timed(lambda: left @ right.T)[0]
            seconds[0] = figures["seconds"]
            return figures | {"tflops": 2 * side**3 / seconds[0] / 1e12}

        self.contend(f"product, {dtype}", side, measure)
        return 2 * side**3 / seconds[0]

    def _stop(self, *_: Any) -> None:
        raise Overrun(f"it took more than {self.limit:g} s")

    def _check_time(self, contender: str, size: int, growth: int) -> None:
        smaller, seconds = self._before.get(contender, (size, 0.0))
        if seconds == math.inf:
            raise Overrun(f"it did not end well at {smaller:,}")
        if seconds * (size / smaller) ** growth > self.limit:
            raise Overrun(f"it would take some {seconds * (size / smaller) ** growth:,.0f} s")


def add_row(path: Path, row: Mapping[str, Any], *, in_place: bool = False) -> None:
    """Write a row to a file of rows, in place of the last one if asked for."""
    record = json.loads(path.read_text(encoding="utf-8"))
    record["rows"] = [*(record["rows"][:-1] if in_place else record["rows"]), row]
    write_json(path, record)


def reason(error: Exception) -> dict[str, str]:
    """Return what a row says of an error: that a package is lacking, or what it is."""
    if isinstance(error, ModuleNotFoundError):
        return {"skipped": f"{error.name} is not installed"}
    return {"error": f"{type(error).__name__}: {error}"}


def profiled(function: Callable[[], Any], *, cuda: bool) -> dict[str, Any]:
    """Return what one call asks of the GPU, as `asked` does; nothing on a CPU.

    An error of the profiler, which a driver may refuse, is kept in place of that, so that the times are not lost.
    """
    function()  # warm up
    if not cuda:
        return {}
    try:
        with profiler() as profile:
            function()
            torch.cuda.synchronize()
        return asked(profile)
    except Exception as error:
        return reason(error)


def profiler() -> torch.profiler.profile:
    """Return torch's profiler of CPU and GPU, once the GPU has nothing to do."""
    torch.cuda.synchronize()
    kinds = torch.profiler.ProfilerActivity
    return torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA])


def asked(profile: torch.profiler.profile) -> dict[str, Any]:
    """Return what was asked of the GPU while it was profiled, which makes everything slower.

    Returns:
        `kernels`, how many kernels and copies ran; `launches` and `waits`, how often the CPU called the driver to
        launch one or to wait; `busy`, the share of the time from the first kernel to the end of the last during which
        one ran; and `longest`, the milliseconds of the kernels that took longest, by name.
    """
    events = profile.events() or []
    called = [event.name for event in events if event.device_type == DeviceType.CPU]
    spans = [
        (event.time_range.start, event.time_range.end, event.name)
        for event in events
        # Names given to stretches of time stand among the kernels.
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    ]
    return counted(spans) | {
        "launches": sum("LaunchKernel" in name or "GraphLaunch" in name for name in called),
        "waits": sum("Synchronize" in name for name in called) - 1,  # the last is that of the profile's end
    }


def counted(spans: list[tuple[float, float, str]]) -> dict[str, Any]:
    """Sum up what ran on a GPU: begin, end (microseconds) and name of each kernel; they may overlap."""
    busy, until, longest = 0.0, -math.inf, {}
    for begin, end, name in sorted(spans):
        busy += max(0.0, end - max(begin, until))
        until = max(until, end)
        longest[name[:60]] = longest.get(name[:60], 0.0) + (end - begin) / 1000
    span = until - min(begin for begin, _, _ in spans) if spans else math.inf
    most = sorted(longest.items(), key=lambda one: -one[1])[:8]
    return {"kernels": len(spans), "busy": busy / span, "longest": {name: round(ms, 3) for name, ms in most}}


@contextmanager
def patched(owner: Any, **values: Any) -> Iterator[None]:
    """Give names of a module or a class other values for a while.

    Raises:
        AttributeError: it has no such name.
    """
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
