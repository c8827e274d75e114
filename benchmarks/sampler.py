"""What drawing batches costs: pairs per second, the first batch in mid-epoch, and memory.

    python benchmarks/sampler.py

A corpus of random bits (each item exists in each of 14 languages with probability 115/128, 0.9) at ten thousand, one
million and forty million items; the last is 560 million rows. Linux only; about two minutes on one core. It prints a
table and writes `benchmarks/sampler.json`. Columns:

- *build*: seconds to count the bits and make the sampler (peers: to make the sampler).
- *first batch*: milliseconds from a new sampler to the batch in the middle of its epoch. This is what resuming costs
  if the batch is asked for by its number. (The trainer iterates over the batches that it skips.) Peers have no way but
  iterating.
- *pairs/s*: pairs drawn per second from there on, the median of five windows; no text is read but by the peer that
  compares texts.
- *memory*: how far the peak resident memory of a process of its own rises above what it was just before building, in
  MB (10^6 bytes), until the last batch was drawn. It holds the sampler's own copy of the bits. The random bits it is
  built from are generated before, stay alive, and are not counted; nor is the table of texts of the peers.

The peers are the default sampler of sentence-transformers and its `NoDuplicatesBatchSampler`, on a table of as many
ready-made pairs of short texts. They are not comparable in what they do: they know no languages, no items and no
missing rows, deal every pair once an epoch, and the second compares the texts of a batch, where ours compares items.
At forty million items they are left out: a table of pairs would have 40 million rows for one language pair of the 182.
"""

import itertools
import json
import os
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import datasets
import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler
from torch.utils.data import RandomSampler

from hybridlib.availability import Availability, Segment
from hybridlib.sampler import HybridBatchSampler

LANGUAGES = tuple(["ar", "de", "el", "en", "es", "fi", "fr", "hi", "ru", "sw", "th", "tr", "vi", "zh"])
SIZES = (10_000, 1_000_000, 40_000_000)
STRATEGIES = ("x-x-mono", "x-y", "hybrid")
PEERS = ("default", "no-duplicates")
PAIRS = 128
WINDOWS, SECONDS_OF_WINDOW = 5, 0.3
SHARE = "1110011"  # 115/128 as a binary fraction
MEMORY_LIMIT = 200  # MB, at forty million items


def random_bits(items: int, seed: int) -> np.ndarray:
    """Bits that are 1 with probability `SHARE`, language by language, without an array of booleans."""
    generator = np.random.default_rng(seed)
    packed = np.zeros((len(LANGUAGES), -(-items // 8)), dtype=np.uint8)
    for row in packed:
        for digit in reversed(SHARE):
            half = np.frombuffer(generator.bytes(len(row)), dtype=np.uint8)
            (np.bitwise_or if digit == "1" else np.bitwise_and)(row, half, out=row)
    return packed


def pair_table(pairs: int) -> datasets.Dataset:
    columns = {name: [f"{name} {number}" for number in range(pairs)] for name in ("query", "passage")}
    return datasets.Dataset.from_dict(columns)


def resident(field: str) -> int:
    """`VmRSS`, or its peak `VmHWM`, in bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def pairs_per_second(batches, pairs: int) -> float:
    """Median over windows; an epoch that ends within a window ends the measurement."""
    rates = []
    for _ in range(WINDOWS):
        begin, drawn = time.perf_counter(), 0
        for _ in batches:
            drawn += pairs
            if time.perf_counter() - begin > SECONDS_OF_WINDOW:
                break
        if drawn:
            rates.append(drawn / (time.perf_counter() - begin))
    return statistics.median(rates)


def measure(items: int, name: str) -> dict:
    """One row of the table; run in a process of its own, whose peak of memory has not been raised by another row."""
    peer = name in PEERS
    source = pair_table(items) if peer else random_bits(items, seed=0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before = resident("VmRSS")

    begin = time.perf_counter()
    if peer:
        generator = torch.Generator()
        given = {"batch_size": PAIRS, "drop_last": True, "generator": generator}
        if name == "default":
            sampler = DefaultBatchSampler(RandomSampler(source, generator=generator), **given)
        else:
            sampler = NoDuplicatesBatchSampler(source, **given)
    else:
        corpus = Availability(LANGUAGES, (Segment.from_bits("random", 0, items, source),))
        sampler = HybridBatchSampler(corpus, PAIRS, drop_last=True, strategy=name)
    build = time.perf_counter() - begin

    middle = len(sampler) // 2
    begin = time.perf_counter()
    if peer:
        batches = itertools.islice(iter(sampler), middle, None)
        next(batches)
    else:
        sampler.batch(middle)
        # An epoch that is short is gone through again.
        batches = (sampler.batch(number % len(sampler)) for number in itertools.count(middle + 1))
    first = time.perf_counter() - begin
    rate = pairs_per_second(batches, PAIRS)
    return {
        "items": items,
        "sampler": name,
        "build_s": round(build, 3),
        "first_batch_ms": round(first * 1e3, 1),
        "pairs_per_s": round(rate, -3),
        "memory_mb": round((resident("VmHWM") - before) / 1e6, 1),
    }


def main() -> None:
    cases = [(items, name) for items in SIZES for name in STRATEGIES + (PEERS if items <= 1_000_000 else ())]
    load = os.getloadavg()
    begin = time.perf_counter()
    rows = []
    print(f"{'items':>12}  {'sampler':14}{'build s':>9}{'first batch ms':>16}{'pairs/s':>12}{'memory MB':>11}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for items, name in cases:
            row = pool.submit(measure, items, name).result()
            rows.append(row)
            print(
                f"{items:12,}  {name:14}{row['build_s']:9.3f}{row['first_batch_ms']:16.1f}{row['pairs_per_s']:12,.0f}"
                f"{row['memory_mb']:11.1f}",
                flush=True,
            )
    most = max(row["memory_mb"] for row in rows if row["items"] == SIZES[-1])
    print(f"\nmost memory at {SIZES[-1]:,} items x {len(LANGUAGES)} languages: {most} MB; limit {MEMORY_LIMIT} MB")
    report = {
        "pairs_in_a_batch": PAIRS,
        "languages": len(LANGUAGES),
        "share_available": int(SHARE, 2) / 2 ** len(SHARE),
        "memory_limit_mb": MEMORY_LIMIT,
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine(), "load_before": round(load[0], 2)},
        "versions": {name: version(name) for name in ("numpy", "sentence-transformers", "datasets")},
        "seconds": round(time.perf_counter() - begin),
        "rows": rows,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
