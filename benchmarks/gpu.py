"""The library beside its peers on one GPU: ranks that agree, their speed, encoding, training and the loss.

    PYTHONPATH=. python benchmarks/gpu.py --output FILE.json [--only PART ...] [--encoder FOLDER] [--commit C] [--small]
    PYTHONPATH=. python benchmarks/gpu.py --draw benchmarks/gpu.json

These are the parts, which take eight minutes at most:

- *agreement* compares ranks with float64's, to the last one (`gpu_agreement.py`);
- *metric* and *host* time exact ranks beside a bare product, and from the host's memory (`gpu_metric.py`);
- *encoding* and *loss* time `embed_texts` and `InfoNCE` beside sentence-transformers' (`gpu_encoder.py`);
- *training* times a step in a plain loop and in `fine_tune` (`gpu_training.py`).

Each contender at each size is a row of the output, written as soon as it is timed. What overruns its limit, or would
by the size before, is skipped with its larger sizes, and its row says so. An error is kept in the row, and the next
contender goes on. A part is a process of its own: if it crashes or hangs, the others run. At the end, the goals of
`gpu_goals.py` are judged. A row's `profile` says how often the GPU is asked, and for what share of the time it works.

It needs torch, triton, numpy, pydantic and lazy-loader; loss, encoding and training need transformers and
sentence-transformers too, and `fine_tune` pandas and datasets. What is not installed is skipped. It needs no data and
no network. `--encoder` names a folder with multilingual-e5-small, which `fine_tune` then trains too. The exit code is 1
if ranks, gradients, embeddings or losses do not agree, and 2 if there is no CUDA device. `--small` rehearses everything
on a CPU in one process, with the kernels in Triton's interpreter. `--draw` draws a record, and needs matplotlib, but no
GPU.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from gpu_goals import judged, told
from gpu_part import Part, add_row, reason
from measuring import keep, machine, show, versions, write_json

LIMIT_OF_ALL = 480  # seconds
PACKAGES = ("torch", "triton", "numpy", "transformers", "sentence-transformers", "datasets")


class Work(NamedTuple):
    """A part: its module, its seconds at most, and its sizes (passages, pairs or texts) on a GPU and in a rehearsal."""

    module: str
    limit: float
    sizes: tuple[int, ...]
    toys: tuple[int, ...]


PARTS = {
    "agreement": Work("gpu_agreement", 75, (20_000,), (12,)),
    "encoding": Work("gpu_encoder", 115, (1_000, 6_000), (12,)),
    "training": Work("gpu_training", 95, (100,), (4,)),
    "metric": Work("gpu_metric", 85, (8_000_000,), (160,)),
    "host": Work("gpu_metric", 50, (2_000_000,), (80,)),
    "loss": Work("gpu_encoder", 55, (1_024, 8_192, 32_768), (64, 128)),
}


def run_parts(names: Sequence[str], path: Path, small: bool, encoder: str | None) -> None:
    """Run parts at growing sizes; for a process of its own."""
    if small:
        torch.set_num_threads(1)
        with suppress(ModuleNotFoundError):  # which the parts that need it tell
            importlib.import_module("hybridlib.metric.ranks").has_kernels = lambda device: True  # in the interpreter
    for name in names:
        part, work = Part(name, path, small, encoder), PARTS[name]
        try:
            run = getattr(importlib.import_module(work.module), name)
            for size in part.pick(work.sizes, work.toys):
                run(part, size)
        except Exception as error:  # of what is made for all contenders of a size, such as a corpus
            add_row(path, {"part": name, "contender": "the part itself", "size": 0, **reason(error)})


def run_all(groups: Sequence[Sequence[str]], path: Path, small: bool, encoder: str | None) -> list[dict[str, Any]]:
    """Run each group of parts in a process, which ends when its time is over, and return all rows."""
    end = time.monotonic() + LIMIT_OF_ALL
    for names in groups:
        process = get_context("spawn").Process(target=run_parts, args=(names, path, small, encoder), daemon=True)
        process.start()
        seconds = max(1.0, min(sum(PARTS[name].limit for name in names), end - time.monotonic()))
        process.join(seconds)
        ended = f"ended with exit code {process.exitcode}" if process.exitcode else ""
        if process.is_alive():
            process.kill()
            process.join(20)  # it leaves once the driver lets it
            ended = f"ended after {seconds:.0f} s"
        if ended:
            add_row(path, {"part": ", ".join(names), "contender": "the part itself", "size": 0, "error": ended})
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def commit() -> str:
    """Return the commit of the code, with a + if it was changed since."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        # What is measured lies in these folders; the record itself may be new.
        changed = [*git, "status", "--porcelain", "--", "*.py", "../hybridlib"]
        status = subprocess.run(changed, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if status.stdout.strip() else "")


def device(small: bool) -> dict[str, Any]:
    """Return the name of the device and what is known of it."""
    if small:
        return {"device": "CPU"}
    found = torch.cuda.get_device_properties(0)
    known = {"multiprocessors": found.multi_processor_count, "memory_gb": round(found.total_memory / 1e9, 1)}
    return {"device": found.name, "gpu": known | {"cuda": torch.version.cuda}}


def draw(path: Path) -> None:
    """Draw a record beside it, as a picture of its name."""
    from gpu_figure import figure

    record = json.loads(path.read_text(encoding="utf-8"))
    keep(str(path), record, figure(record))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="the JSON file to write")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="the parts to run")
    parser.add_argument("--encoder", help="a folder with multilingual-e5-small")
    parser.add_argument("--commit", help="of the code, where it is not in its repository")
    parser.add_argument("--small", action="store_true", help="rehearse on a CPU")
    parser.add_argument("--draw", type=Path, help="draw a JSON file, and measure nothing")
    given = parser.parse_args(arguments)
    if given.draw:
        draw(given.draw)
        return 0
    if not given.output:
        parser.error("the following arguments are required: --output")
    if not given.small and not torch.cuda.is_available():
        print("no CUDA device: there is nothing to measure; --small rehearses on a CPU")
        return 2
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing waits for a network that may not be there
    if given.small:
        os.environ["TRITON_INTERPRET"] = "1"
    begin = time.monotonic()
    known = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": given.commit or commit(), **device(given.small)}
    write_json(given.output, {**known, "machine": machine(), "versions": versions(*PACKAGES), "rows": []})
    groups = [given.only] if given.small else [[name] for name in given.only]
    return report(given.output, run_all(groups, given.output, given.small, given.encoder), time.monotonic() - begin)


def report(path: Path, rows: list[dict[str, Any]], seconds: float) -> int:
    """Print the rows and the goals, add the goals to the record, and return the exit code."""
    goals = judged(rows)
    record = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, record | {"seconds": round(seconds), "goals": goals})
    columns = ("part", "contender", "size", "seconds", "times")
    if timed := [[row[column] for column in columns] for row in rows if "seconds" in row]:
        show(columns, timed)
    show(("goal", "reached", "wanted", ""), [(*told(goal), goal["said"]) for goal in goals])
    # Ranks that are not compared because of an error are not known to agree.
    wrong = [row for row in rows if not row.get("agrees", row["part"] != "agreement" or "skipped" in row)]
    for row in wrong:
        print("DISAGREES: {part}, {contender}, {size}".format(**row))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
