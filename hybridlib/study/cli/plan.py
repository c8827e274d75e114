"""What a profile takes, before anything starts: `hybridlib plan --profile paper --gpu h200`.

Hours are counts by speed: a GPU's peak from its data sheet, times the share of it that a step of training reaches,
which is measured on some machine (`benchmarks/throughput.py`). Nothing is downloaded or computed to plan, and data that
is here is looked for but not read.
"""

import argparse
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hybridlib.data.sources.source import readable
from hybridlib.paths import project_root
from hybridlib.study.cli.footprint import disk, downloads, gpu_memory, host_memory
from hybridlib.study.cli.workload import Work, shape_of, work
from hybridlib.study.run import Run


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet: dense bfloat16 products with float32 sums in TFLOP/s, and memory in GB."""

    title: str
    tflops: float
    memory: int


# NVIDIA's data sheets, which give twice as much for sparse matrices; the RTX 4090's from the Ada architecture's white
# paper, appendix A. H100 and H200 are those with SXM sockets.
GPUS = {
    "a100-80gb": Gpu("A100 80GB", 312, 80),
    "a100-40gb": Gpu("A100 40GB", 312, 40),
    "h100": Gpu("H100", 989, 80),
    "h200": Gpu("H200", 989, 141),
    "l40s": Gpu("L40S", 362, 48),
    "l4": Gpu("L4", 121, 24),
    "a10": Gpu("A10", 125, 24),
    "rtx-4090": Gpu("RTX 4090", 165, 24),
}
# XQuAD-R's ranks, counted on two cores: 13,090 questions, 13,014 sentences, 384 dimensions.
_COUNTED, _COUNTING_CORES = 2 * 13_090 * 13_014 * 384, 2
_EARLY = " Steps and hours are the most: training stops early."
_COLUMNS = ("notebook", "runs", "steps", "training", "validation", "mining", "evaluation", "GPU hours", "core hours")


def plan(profile: str, gpu: str = "a100-80gb") -> str:
    """Estimate what a profile takes, and say how.

    Args:
        profile: the folder of `params/`.
        gpu: one of `GPUS`; the default is the paper's.

    Raises:
        ValueError: there is no such GPU, a parameter is wrong, or nothing is known of an encoder, corpus or task.
        FileNotFoundError: there is no such profile, or the speed has not been measured.
    """
    if gpu not in GPUS:
        raise ValueError(f"gpu is {gpu!r}; allowed: {', '.join(GPUS)}")
    from hybridlib.study.jobs import read_profile

    by_notebook = {notebook: params.runs() for notebook, params in read_profile(profile).items()}
    every = list(dict.fromkeys(run for runs in by_notebook.values() for run in runs))  # shared ones once
    large = [run for run in every if shape_of(run) is not None]
    measured = _measured()
    speeds = (GPUS[gpu].tflops * 1e12 * measured["utilisation"], measured["counting"])
    table = _table([*by_notebook.items(), ("in all", every)], speeds if large else None)
    if not large:
        encoders = ", ".join(dict.fromkeys(run.encoder for run in every))
        return f"{table}\n\n{encoders}: trained on a CPU in seconds to minutes a run, with no GPU."
    return "\n\n".join(
        [
            f"Profile {profile} on one {GPUS[gpu].title}, in hours",
            table,
            _needs(large, GPUS[gpu]),
            _how(large, GPUS[gpu], measured),
        ]
    )


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `plan` to a command line, as `hybridlib.study.cli.data` does."""
    command = commands.add_parser("plan", help="estimate hours, downloads, disk and memory before anything starts")
    command.add_argument("--profile", default="embedded", help="the folder of params/ to take (default: %(default)s)")
    command.add_argument("--gpu", default="a100-80gb", help=f"one of {', '.join(GPUS)} (default: %(default)s)")
    command.set_defaults(run=lambda chosen: print(plan(chosen.profile, chosen.gpu)))


def _measured() -> dict[str, Any]:
    """Utilisation of a step, and floating-point operations a second of a core that counts ranks."""
    folder = project_root() / "benchmarks"
    path = folder / "throughput.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; python benchmarks/throughput.py makes it")
    step = json.loads(path.read_text(encoding="utf-8"))
    seconds = json.loads((folder / "metric.json").read_text(encoding="utf-8"))["seconds"]
    return step | {"counting": _COUNTED / _COUNTING_CORES / seconds["exact ranks (relevant_ranks)"]}


def _table(rows: Sequence[tuple[str, Sequence[Run]]], speeds: tuple[float, float] | None) -> str:
    """A line for every notebook and all of them; without speeds, runs and steps alone."""
    cells = [_COLUMNS if speeds else _COLUMNS[:3]]
    for name, runs in rows:
        together = sum(map(work, runs), Work())
        cells.append((name, f"{len(runs):,}", f"{together.steps:,}", *(_hours(together, *speeds) if speeds else ())))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in cells]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]


def _hours(together: Work, speed: float, counting: float) -> list[str]:
    on_gpu = (together.training, together.validation, together.mining, together.evaluation, together.encoder)
    return [f"{operations / speed / 3600:,.1f}" for operations in on_gpu] + [
        f"{together.search / counting / 3600:,.1f}"
    ]


def _needs(runs: Sequence[Run], gpu: Gpu) -> str:
    """Downloads, disk and memory, each with its parts."""
    wanted, written, host = downloads(runs), disk(runs), host_memory(runs)
    here = sum(present for _, present in wanted.values())
    missing = sum(size for size, _ in wanted.values()) - here
    mean, worst = gpu_memory(runs)
    fits = "fits" if worst <= gpu.memory * 1e9 else "does not fit, so set mini_batch_size"
    return "\n".join(
        [
            *_listed("Download", missing, {name: size for name, (size, _) in wanted.items()}),
            f"  less what is here  {readable(here)}",
            *_listed("Disk", missing + sum(written.values()), {"downloads": missing} | written),
            *_listed("GPU memory", mean, {}),
            f"  {readable(worst)} if every text had max_length, which {fits}: {gpu.title} has {gpu.memory} GB",
            *_listed("RAM", sum(host.values()), host),
        ]
    )


def _listed(name: str, total: float, parts: Mapping[str, float]) -> list[str]:
    width = max(map(len, parts), default=0)
    return [f"{name:12}{readable(total)}", *(f"  {part:{width}}  {readable(size)}" for part, size in parts.items())]


def _how(runs: Iterable[Run], gpu: Gpu, measured: Mapping[str, Any]) -> str:
    early = any(dict(run.training).get("validation") for run in runs)
    said = [
        "Hours on the GPU: floating-point operations, 6 a token and parameter (embeddings apart) for every question, "
        "passage and negative of a batch, 2 where nothing is learnt. Texts have the mean length of XQuAD-R's "
        "(questions 19 tokens, sentences 51) or mMARCO's (10 and 97).",
        f"Speed: {gpu.tflops:g} TFLOP/s in bfloat16 by the data sheet, of which a step of training reaches "
        f"{measured['utilisation']:.0%}, as measured against a bare matrix product on {measured['machine']}. "
        "`python benchmarks/throughput.py` measures it on yours; a GPU with short texts may reach less.",
        "Core hours: nearest passages, to mine negatives and to count ranks, are found on the CPU at the speed in "
        "benchmarks/metric.json; divide by your cores.",
        "Memory: 16 bytes a parameter for weights, gradients and AdamW, and 34 bytes a token, layer and dimension.",
        f"All this is no better than a factor of about two.{_EARLY if early else ''}",
    ]
    filled = [textwrap.fill(text, 116, initial_indent="  ", subsequent_indent="  ") for text in said]
    return "\n".join(["How", *filled])
