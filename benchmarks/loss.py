"""The cost of the loss of a large batch: seconds, memory, and the error of its gradients against double precision.

    python benchmarks/loss.py

A pass goes forward and backward, to the gradients by the embeddings; there is no encoder. It is given B pairs of random
embeddings, with D = 384 dimensions as MiniLM has. A pair is two views z + a n and z + a n' of normal vectors. Their
cosine is about c = 1 / (1 + a^2); that of rivals is normal with variance 1/D. At a temperature t the loss is so about
log(1 + (B - 1) exp(1 / (2 D t^2) - c / t)). This is solved for c, and hence a, to give the loss that is wanted: 0.002,
as late in training, or 1. These are the contenders, at t = 0.05:

- *plain*: `F.cross_entropy(F.normalize(q) @ F.normalize(p).T / t, arange)`, what everybody writes;
- *st*: `MultipleNegativesRankingLoss` of sentence-transformers, by its `compute_loss_from_embeddings`;
- *st cached*: its `CachedMultipleNegativesRankingLoss`, by its `calculate_loss`, in its own mini batches of 32;
- *ours*: `hybridlib.loss.InfoNCE`, and *ours cached* with the same mini batches of 32.

The table has these columns:

- *seconds*: the median of the rounds at both losses, in which all take turns, and of the run whose memory is measured;
  at B = 32,768 the time of that run alone.
- *memory*: how far the resident memory of a process of its own rises above what it was with the embeddings, in MB
  (10^6 bytes). It holds the gradients.
- *error*: the norm of the difference from float64's gradients over their norm. At B = 32,768 it is taken of 1,024
  queries only, at the loss of 0.002 only.

At the largest batch, a contender is expected to take 16 times what it took at a quarter of it. If this is more memory
than there is, or more than a minute, it is left out and the record says so. Losses and gradients are compared before
any time counts. It runs on Linux only, takes about five minutes on two quiet cores, and *plain* needs 18 GB at the
largest batch. It prints a table and writes `benchmarks/loss.json` and `benchmarks/loss.png`.
"""

import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from measuring import PeakMemory, draw_lines, in_own_process, in_turn, keep, machine, memory_bytes, show, versions
from sentence_transformers.sentence_transformer import losses
from torch import Tensor
from torch.nn import functional as F

from hybridlib.loss import InfoNCE

SIZES = (1_024, 8_192, 32_768)
ROUNDS = {1_024: 3, 8_192: 1}  # at each loss
DIMENSIONS, TEMPERATURE, MINI_BATCH = 384, 0.05, 32
SMALL, USUAL = 0.002, 1.0
SAMPLE, GOAL_OF_ERROR = 1_024, 2e-6
TITLES = {
    "seconds": "Seconds, forward and backward",
    "memory_mb": "Memory above the embeddings, MB",
    "error": f"Error of the gradients, loss {SMALL} (dotted: the goal)",
}
LIMIT_OF_SECONDS = 60
NO_MODEL = torch.nn.Sequential(torch.nn.Identity())
# A rival has 0.002 / B, which a sum near 1 in single precision rounds at 2^-24.
LIMIT_OF_DISAGREEMENT = 5e-2

Parts = list[Tensor]


def plain(queries: Parts, passages: Parts) -> Tensor:
    scores = F.normalize(queries[0]) @ F.normalize(passages[0]).T / TEMPERATURE
    loss = F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
    loss.backward()
    return loss


def st(queries: Parts, passages: Parts) -> Tensor:
    loss = losses.MultipleNegativesRankingLoss(NO_MODEL, scale=1 / TEMPERATURE)
    value = loss.compute_loss_from_embeddings([queries[0], passages[0]], None)
    value.backward()
    return value


def st_cached(queries: Parts, passages: Parts) -> Tensor:
    loss = losses.CachedMultipleNegativesRankingLoss(NO_MODEL, scale=1 / TEMPERATURE)
    return loss.calculate_loss([queries, passages], with_backward=True)


def ours(queries: Parts, passages: Parts, mini_batch_size: int | None = None) -> Tensor:
    loss = InfoNCE(NO_MODEL, TEMPERATURE, mini_batch_size=mini_batch_size)
    return loss.calculate_loss([queries, passages], with_backward=True)


CONTENDERS: dict[str, Callable[[Parts, Parts], Tensor]] = {
    "plain": plain,
    "st": st,
    "st cached": st_cached,
    "ours": ours,
    "ours cached": partial(ours, mini_batch_size=MINI_BATCH),
}


def embeddings(pairs: int, loss: float) -> tuple[Tensor, Tensor]:
    """Draw two views, whose loss is about the one wanted. (B, D) each"""
    spread = 1 / (2 * DIMENSIONS * TEMPERATURE**2)
    cosine = TEMPERATURE * (math.log(pairs - 1) + spread - math.log(math.expm1(loss)))
    generator = torch.Generator().manual_seed(pairs)
    common, *noises = (torch.randn(pairs, DIMENSIONS, generator=generator) for _ in range(3))
    queries, passages = (noise.mul_(math.sqrt(1 / cosine - 1)).add_(common) for noise in noises)
    return queries, passages


def run(name: str, *views: Tensor) -> tuple[Tensor, list[Parts]]:
    """Return the loss, and the parts that have the gradients."""
    size = MINI_BATCH if name.endswith("cached") else len(views[0])
    columns = [[part.requires_grad_() for part in view.split(size)] for view in views]
    return CONTENDERS[name](*columns).detach(), columns


def keep_run(found: dict[str, tuple[Tensor, list[Parts]]], name: str, *views: Tensor) -> None:
    found[name] = run(name, *views)


def gradients(columns: list[Parts], rows: int | None = None) -> Tensor:
    """Return the gradients of queries and passages, or of the first queries."""
    queries, passages = (torch.cat([part.grad for part in parts]) for parts in columns)
    return torch.cat([queries, passages]) if rows is None else queries[:rows].clone()


def in_double(queries: Tensor, passages: Tensor, rows: int | None = None) -> tuple[float, Tensor]:
    """Return the mean loss and the gradients in float64, a tile at a time, or those of the first queries alone."""
    leaves = [view.double().requires_grad_() for view in (queries, passages)]
    units = [F.normalize(leaf) for leaf in leaves]
    q, p = (unit.detach() for unit in units)
    slopes, total, pairs = [torch.zeros_like(q), torch.zeros_like(p)], 0.0, len(q)
    for tile in torch.arange(rows or pairs).split(256):
        scores = q[tile] @ p.T / TEMPERATURE  # (T, B)
        own = (torch.arange(len(tile)), tile)
        rivals = (scores - scores[own][:, None]).exp_()
        rivals[own] = 0
        sums = rivals.sum(dim=1)
        total += float(torch.log1p(sums).sum()) / (rows or pairs)
        weights = rivals / (1 + sums[:, None])
        weights[own] = -weights.sum(dim=1)
        slopes[0][tile] = weights @ p / TEMPERATURE / pairs
        if rows is None:
            slopes[1] += weights.T @ q[tile] / TEMPERATURE / pairs
    torch.autograd.backward(units, slopes)
    return total, gradients([[leaf] for leaf in leaves], rows)


def error_of(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


def checked(name: str, loss: float, found: Tensor, expected: tuple[float, Tensor]) -> float:
    """Return the error of the gradients, if they and the loss agree with float64's."""
    error = error_of(found, expected[1])
    if not (error < LIMIT_OF_DISAGREEMENT and abs(loss / expected[0] - 1) < LIMIT_OF_DISAGREEMENT):
        raise SystemExit(f"{name}: loss {loss}, not {expected[0]}; its gradients are off by {error:.1e}")
    return error


def alone(name: str, pairs: int) -> dict[str, Any]:
    """Measure seconds and memory of one run; for a process of its own."""
    run(name, *embeddings(64, SMALL))  # loads what a first call loads, which is not counted
    views = embeddings(pairs, SMALL)
    with PeakMemory() as peak:
        begin = time.perf_counter()
        loss, columns = run(name, *views)
        seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "memory_mb": peak.megabytes,
        "loss": float(loss),
        "gradients": gradients(columns, SAMPLE).numpy(),
    }


def small_batches(pairs: int) -> list[dict[str, Any]]:
    """Return the rows of a size at which everything fits and all take turns."""
    rows: dict[str, dict[str, Any]] = {name: {"pairs": pairs, "contender": name} for name in CONTENDERS}
    times = []
    for column, wanted in (("error", SMALL), ("error_at_usual_loss", USUAL)):
        views = embeddings(pairs, wanted)
        expected = in_double(*views)
        found: dict[str, tuple[Tensor, list[Parts]]] = {}
        times.append(in_turn({name: partial(keep_run, found, name, *views) for name in CONTENDERS}, ROUNDS[pairs]))
        for name, (loss, columns) in found.items():
            rows[name][column] = checked(name, float(loss), gradients(columns), expected)
    for name, row in rows.items():
        by_itself = in_own_process(alone, name, pairs)
        seconds = statistics.median([by_itself["seconds"], *(turn[name] for turn in times)])
        row |= {"seconds": seconds, "memory_mb": by_itself["memory_mb"], "loss": by_itself["loss"]}
    return list(rows.values())


def large_batch(pairs: int, before: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the rows of the largest size, and the contenders that do not fit, with the reason."""
    _, exact = in_double(*embeddings(pairs, SMALL), rows=SAMPLE)
    rows: list[dict[str, Any]] = []
    left_out = {}
    for row in before:
        name, growth = row["contender"], (pairs / row["pairs"]) ** 2
        memory, seconds = growth * row["memory_mb"], growth * row["seconds"]
        if not name.endswith("cached") and memory > 0.95 * memory_bytes("MemAvailable", "/proc/meminfo") / 1e6:
            left_out[name] = f"would need some {memory:,.0f} MB"
        if seconds > LIMIT_OF_SECONDS:
            left_out[name] = f"would take some {seconds:,.0f} s"
        if name in left_out:
            continue
        found = in_own_process(alone, name, pairs)
        expected = (rows[0]["loss"] if rows else found["loss"], exact)  # float64 has the loss of a sample alone
        error = checked(name, found["loss"], torch.from_numpy(found.pop("gradients")), expected)
        rows.append({"pairs": pairs, "contender": name, "error": error} | found)
    return rows, left_out


def main() -> None:
    begin = time.perf_counter()
    record: dict[str, Any] = {
        "machine": machine(),
        "versions": versions("torch", "sentence-transformers"),
        "dimensions": DIMENSIONS,
        "temperature": TEMPERATURE,
        "mini_batch": MINI_BATCH,
    }
    rows = [row for pairs in SIZES[:-1] for row in small_batches(pairs)]
    largest, left_out = large_batch(SIZES[-1], rows[-len(CONTENDERS) :])
    rows += largest
    columns = ("pairs", "contender", "seconds", "memory_mb", "error", "error_at_usual_loss")
    show(columns, [[f"{row['pairs']:,}", *(row.get(column, "-") for column in columns[1:])] for row in rows])
    for name, reason in left_out.items():
        print(f"left out at {SIZES[-1]:,}: {name}, which {reason}")
    of = {row["contender"]: row for row in largest}
    if "plain" in of:
        record["at_the_largest"] = {
            "seconds_of_plain": of["ours cached"]["seconds"] / of["plain"]["seconds"],
            "memory_of_plain": of["ours cached"]["memory_mb"] / of["plain"]["memory_mb"],
        }
        beside = "{seconds_of_plain:.2f} of its seconds, {memory_of_plain:.3f} of its memory"
        print("ours cached over plain: " + beside.format(**record["at_the_largest"]))
    record |= {"seconds": round(time.perf_counter() - begin), "left_out_at_the_largest": left_out, "rows": rows}
    figure = draw_lines(rows, "pairs", TITLES, "contender", {name: name for name in CONTENDERS})
    figure.axes[-1].axhline(GOAL_OF_ERROR, color="0.5", linestyle=":")
    keep(__file__, record, figure)


if __name__ == "__main__":
    main()
