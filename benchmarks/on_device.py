"""What the parts of `benchmarks/gpu.py` have in common: times by the device's clock, and a record kept as it grows."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

Size = TypeVar("Size")


@dataclass
class Part:
    """One subject of the benchmark: where it runs, how large, for how long, and what it has found.

    Attributes:
        device: where it runs. On a CPU it is as small as a test.
        path: of its record, written whenever there is more.
        seconds: that it may take.
        small: for a quick look.
        record: what it has found: `rows` as printed, `shares` of floors and their goals, and more by name.
        begin: when it began, by `time.monotonic`.
    """

    device: torch.device
    path: Path
    seconds: float
    small: bool = False
    record: dict[str, Any] = field(default_factory=dict)
    begin: float = field(default_factory=time.monotonic)

    def pick(self, full: Size, small: Size, toy: Size) -> Size:
        return toy if self.device.type == "cpu" else small if self.small else full

    def left(self) -> float:
        """Seconds."""
        return self.seconds - (time.monotonic() - self.begin)

    def keep(self, **values: Any) -> None:
        self.record |= values
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps(self.record), encoding="utf-8")
        draft.rename(self.path)

    def row(self, name: str, **values: Any) -> None:
        """Print and keep a row of the part's table."""
        cells = "  ".join(f"{column} {_shown(value)}" for column, value in values.items())
        print(f"  {name:<44} {cells}", flush=True)
        self.keep(rows=[*self.record.get("rows", []), {"name": name, **values}])

    def share(self, name: str, value: float, goal: float | None = None) -> None:
        """Keep what was achieved over its floor, or over a peer."""
        self.keep(shares={**self.record.get("shares", {}), name: {"value": value, "goal": goal}})

    def attempt(self, name: str, function: Callable[..., Any], *arguments: Any, needs: float = 5.0) -> Any:
        """What a function gives; None, and a line in the record, if it fails or `needs` more seconds than are left."""
        if self.left() < needs:
            self.row(name, left_out=f"{self.left():.0f} s were left")
            return None
        try:
            return function(*arguments)
        except (Exception, SystemExit) as error:
            if isinstance(error, torch.AcceleratorError):
                raise  # the device does nothing more in this process
            self.row(name, failed=f"{type(error).__name__}: {error}")
            self.keep(failures=[*self.record.get("failures", []), name])
            return None


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)[:300]


def elapsed(device: torch.device, function: Callable[[], Any], repeats: int = 1) -> float:
    """Seconds of a call, from an idle device until all of its work is done."""
    if device.type != "cuda":
        before = time.perf_counter()
        for _ in range(repeats):
            function()
        return (time.perf_counter() - before) / repeats
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin.record()
    for _ in range(repeats):
        function()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / repeats


def in_turn_on(
    device: torch.device, contenders: Mapping[str, Callable[[], Any]], rounds: int, *, repeats: int = 1
) -> dict[str, float]:
    """Median seconds of each contender, after a round that does not count; in every round each of them runs once."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            taken = elapsed(device, contender, repeats)
            if number:
                seconds[name].append(taken)
    return {name: statistics.median(times) for name, times in seconds.items()}


def random_rows(rows: int, width: int, dtype: torch.dtype, device: torch.device, seed: int) -> torch.Tensor:
    """Standard normal numbers, made a piece at a time; never zeros, on which a device is faster. (rows, width)"""
    generator = torch.Generator(device).manual_seed(seed)
    made = torch.empty(rows, width, dtype=dtype, device=device)
    for piece in made.split(1 << 18):
        piece.copy_(torch.randn(piece.shape, generator=generator, device=device))
    return made


def product_rate(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int], rounds: int = 5) -> float:
    """Floating-point operations a second of a matrix product, (m, k) times (k, n) in the order m, k, n, whose second
    factor is transposed, as that of passages is."""
    m, k, n = shape
    left, right = random_rows(m, k, dtype, device, 0), random_rows(n, k, dtype, device, 1)
    made = torch.empty(m, n, dtype=dtype, device=device)
    seconds = in_turn_on(device, {"product": lambda: torch.mm(left, right.T, out=made)}, rounds, repeats=4)
    return 2 * m * k * n / seconds["product"]


def peak_memory(device: torch.device, function: Callable[[], Any]) -> tuple[Any, float | None]:
    """What a call gives, and how far allocated memory rises above what it was, in MB (10^6 bytes); None on a CPU."""
    if device.type != "cuda":
        return function(), None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    given = function()
    torch.cuda.synchronize(device)
    return given, (torch.cuda.max_memory_allocated(device) - before) / 1e6


@contextmanager
def patched(owner: Any, **values: Any) -> Iterator[None]:
    """Other values of what a module or a class holds."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
