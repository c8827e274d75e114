"""Everything that is claimed of a GPU, measured in one call of under ten minutes: rates achieved, over their floors.

    PYTHONPATH=. python benchmarks/gpu.py [--parts 1,3] [--small] [--out FOLDER]

Needs torch, triton, transformers and sentence-transformers alone, and no data. Parts, each a process of its own with a
limit of time, so that what fails or hangs costs no other:

1. *floors*: rates of matrix products, of a copy on the device and of one from the host;
2. *agreement*: ranks on the device against float64 in the documented order of summation, to the last one
   (`gpu_agreement.py`);
3. *metric*: exact ranks of 1,024 queries in 8 million passages of 768 dimensions in device memory, of each input type,
   with other shapes of tiles, and beside the same count by unfused torch (`gpu_metric.py`);
4. *host*: the same from the host's memory, beside a bare copy;
5. *encoding*: `embed_texts` beside stock `SentenceTransformer.encode`, an encoder of XLM-R base's shape
   (`gpu_encoder.py`, as are the next two);
6. *training*: a step with batches of 100 x 2 x 64 tokens in bfloat16, beside the stock loss, and the stock trainer
   where accelerate and datasets are installed;
7. *loss*: time and memory of `benchmarks/loss.py`'s contenders.

Results are compared before any time counts. Times are by CUDA events, medians of several after a warm-up; contenders
take turns; the floor of a part is measured in its process, on random numbers. It prints the rows and, last, a table of
what was achieved, and writes `gpu.json` after each part, with `gpu.png` where matplotlib is installed. The exit code is
1 if anything failed, which the record names, and 2 where there is no CUDA.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import COLOURS, STYLE, keep, machine, show, versions
from on_device import Part, in_turn_on, product_rate, random_rows

# The module and the function of each part, and the seconds that it may take.
PARTS = {
    "floors": ("gpu", 40),
    "agreement": ("gpu_agreement", 120),
    "metric": ("gpu_metric", 150),
    "host": ("gpu_metric", 45),
    "encoding": ("gpu_encoder", 75),
    "training": ("gpu_encoder", 55),
    "loss": ("gpu_encoder", 45),
}
TOTAL = 560  # seconds
GRACE = 8  # seconds over its limit, until a part is killed
PACKAGES = ("torch", "triton", "numpy", "transformers", "sentence-transformers")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="names or numbers from 1, with commas between")
    parser.add_argument("--small", action="store_true", help="smaller sizes, for a quick look")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the record")
    parser.add_argument("--alone", type=float, help=argparse.SUPPRESS)  # seconds of the one part, in this process
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no CUDA device: there is nothing to measure")
        return 2
    names = [named(part) for part in given.parts.split(",")]
    given.out.mkdir(parents=True, exist_ok=True)
    if given.alone:
        part = Part(torch.device("cuda", 0), given.out / f"{names[0]}.json", given.alone, given.small)
        return alone(names[0], part)
    return run_all(names, given.out, given.small)


def named(part: str) -> str:
    name = list(PARTS)[int(part) - 1] if part.isdigit() and 1 <= int(part) <= len(PARTS) else part
    if name not in PARTS:
        raise SystemExit(f"--parts has {part!r}; allowed: {', '.join(PARTS)}, or 1 to {len(PARTS)}")
    return name


def run_all(names: Sequence[str], folder: Path, small: bool) -> int:
    """Run parts one after the other, each in a process, and keep the record after each."""
    begin = time.monotonic()
    parts: dict[str, Any] = {}
    record: dict[str, Any] = {
        "device": device_of(),
        "machine": machine(),
        "versions": installed(),
        "small": small,
        "parts": parts,
    }
    with tempfile.TemporaryDirectory() as drafts:
        for name in names:
            left = TOTAL - GRACE - (time.monotonic() - begin)
            parts[name] = in_process(name, Path(drafts), min(left, PARTS[name][1]), small)
            record["seconds"] = round(time.monotonic() - begin)
            keep(str(folder / "gpu.py"), record)
    summary(parts)
    if importlib.util.find_spec("matplotlib") and shares_of(parts):
        keep(str(folder / "gpu.py"), record, figure(parts, record["device"]))
    failures = failures_of(parts)
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


def installed() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found |= versions(package)
    return found


def in_process(name: str, folder: Path, seconds: float, small: bool) -> dict[str, Any]:
    """The record of a part: whatever it had found when it ended, or had to be ended."""
    print(f"\n{name}", flush=True)
    if seconds < 10:
        return {"failed": f"left out: {seconds:.0f} s were left"}
    begin, path = time.monotonic(), folder / f"{name}.json"
    command = [sys.executable, __file__, "--parts", name, "--alone", f"{seconds:.1f}", "--out", str(folder)]
    try:
        code = subprocess.run([*command, *["--small"] * small], timeout=seconds + GRACE, check=False).returncode
        failed = f"ended with exit code {code}" if code else None
    except subprocess.TimeoutExpired:
        failed = f"killed after {seconds + GRACE:.0f} s"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if failed and not found.get("failures"):
        found.setdefault("failed", failed)
    return found | {"seconds_of_part": round(time.monotonic() - begin, 1)}


def alone(name: str, part: Part) -> int:
    """Run a part in this process; its record says so if it fails."""
    try:
        # As `floors` is in a module that runs under another name here, it is imported once more.
        getattr(importlib.import_module(PARTS[name][0]), name)(part)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        part.keep(failed=f"{type(error).__name__}: {error}")
        return 1
    return 1 if part.record.get("failures") else 0


def floors(part: Part) -> None:
    """What the machine can do at most: products, copies on the device, copies from the host."""
    side, passages = part.pick(8192, 8192, 64), part.pick(262_144, 262_144, 256)
    shapes = {
        "square": (side, side, side),
        "of the metric": (part.pick(1024, 1024, 8), part.pick(768, 768, 16), passages),
    }
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for name, shape in shapes.items():
            label = "product {}, {}, {} x {} x {}".format(str(dtype).removeprefix("torch."), name, *shape)
            rate = part.attempt(label, product_rate, part.device, dtype, shape)
            if rate:
                part.row(label, tflops=rate / 1e12)
    rows = part.pick(4_000_000, 1_000_000, 100)
    source = random_rows(rows, 512, torch.float16, part.device, seed=0)  # 4 GB
    target = torch.empty_like(source)
    size = source.numel() * source.element_size()
    seconds = in_turn_on(part.device, {"copy": lambda: target.copy_(source)}, part.pick(9, 5, 1))["copy"]
    part.row("copy on the device, read and written", tb_per_s=2 * size / seconds / 1e12)
    here = torch.empty(source.shape, dtype=source.dtype, pin_memory=part.device.type == "cuda").copy_(source)
    there_and_back = {
        "from pinned memory": lambda: target.copy_(here, non_blocking=True),
        "to pinned memory": lambda: here.copy_(source, non_blocking=True),
    }
    for name, seconds in in_turn_on(part.device, there_and_back, part.pick(5, 3, 1)).items():
        part.row(f"copy {name}", gb_per_s=size / seconds / 1e9)


def device_of() -> dict[str, Any]:
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name,
        "multiprocessors": found.multi_processor_count,
        "memory_gb": round(found.total_memory / 1e9, 1),
        "cuda": torch.version.cuda,
        "processors": os.cpu_count(),
    }


def shares_of(parts: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    return {name: share for part in parts.values() for name, share in part.get("shares", {}).items()}


def failures_of(parts: Mapping[str, Any]) -> list[str]:
    whole = [f"{name}: {part['failed']}" for name, part in parts.items() if "failed" in part]
    return whole + [f"{name}: {row}" for name, part in parts.items() for row in part.get("failures", [])]


def summary(parts: Mapping[str, Any]) -> None:
    """What was achieved over its floor or its peer, beside the goal."""
    rows: list[tuple[str, str, str, str]] = []
    for name, share in shares_of(parts).items():
        value, goal = share["value"], share["goal"]
        assert value is not None
        judged = "" if goal is None else "met" if value >= goal else "missed"
        rows.append((name, f"{value:.3g}", "" if goal is None else f"{goal:.3g}", judged))
    if rows:
        print()
        show(("", "achieved", "goal", ""), rows)


def figure(parts: Mapping[str, Any], device: Mapping[str, Any]) -> Any:
    """Bars of shares of floors, and of how many times a peer; a goal is a line."""
    import matplotlib.pyplot as plt

    groups: dict[str, Callable[[str], bool]] = {
        "share of the floor": lambda name: ", of a" in name,
        "times a peer": lambda name: ", of a" not in name,
    }
    shares = shares_of(parts)
    chosen = {title: {n: s for n, s in shares.items() if belongs(n)} for title, belongs in groups.items()}
    chosen = {title: found for title, found in chosen.items() if found}
    heights = [len(found) + 0.8 for found in chosen.values()]
    with plt.rc_context(STYLE):
        drawn, axes = plt.subplots(
            len(chosen), figsize=(8, 0.42 * sum(heights) + 1.2), height_ratios=heights, squeeze=False
        )
        for axis, (title, found) in zip(axes[:, 0], chosen.items(), strict=True):
            for place, share in enumerate(found.values()):
                axis.barh(place, share["value"], color=COLOURS[0], height=0.6)
                axis.text(share["value"], place, f" {share['value']:.2f}", va="center", fontsize=9)
                if share["goal"] is not None:
                    axis.plot([share["goal"]] * 2, [place - 0.42, place + 0.42], color=COLOURS[1], linewidth=2)
            axis.set_yticks(range(len(found)), list(found))
            axis.invert_yaxis()
            axis.margins(x=0.15)
            if title == "times a peer":
                axis.set_xscale("log")
                axis.xaxis.set_major_formatter("{x:g}")
                axis.set_xlim(left=min(0.5, *(share["value"] / 2 for share in found.values())))
            axis.grid(axis="y", visible=False)
            axis.set_xlabel(f"{title} (lines: goals)")
        axes[0, 0].set_title(str(device["name"]))
    return drawn


if __name__ == "__main__":
    sys.exit(main())
