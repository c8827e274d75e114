"""The cost of drawing batches: pairs per second, the first batch in mid-epoch, and memory.

    python benchmarks/sampler.py

The corpus is random bits: each item exists in each of 14 languages with probability 115/128, 0.9. It has ten thousand,
one million and forty million items; the last is 560 million rows. The script runs on Linux only, in a minute. The table
has these columns:

- *build*: seconds to count the bits and make the sampler (peers: to make the sampler).
- *first batch*: milliseconds from a new sampler to the batch in the middle of its epoch. This is what resuming costs
  if the batch is asked for by its number. (The trainer iterates over the batches that it skips.) Peers have no way but
  iterating.
- *pairs/s*: pairs drawn per second from there on, the median of three windows; no text is read but by the peer that
  compares texts.
- *memory*: how far the peak resident memory of a process (one for our three, one for each peer) rises above what it
  was just before building, in MB (10^6 bytes), until the last batch was drawn. It holds the sampler's own copy of the
  bits. The random bits it is built from are generated before, stay alive, and are not counted; nor is the table of
  texts of the peers.

Before anything is timed, a batch that a new sampler is asked for must be the one that another comes to by iterating.

The peers are the default sampler of sentence-transformers and its `NoDuplicatesBatchSampler`, on a table of as many
ready-made pairs of short texts. They are not comparable in what they do: they know no languages, no items and no
missing rows, deal every pair once an epoch, and the second compares the texts of a batch, where ours compares items.
At forty million items they are left out: a table of pairs would have 40 million rows for one language pair of the 182.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from measuring import PeakMemory, draw_lines, in_own_process, keep, machine, show, take_no_arguments, versions
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler
from torch.utils.data import RandomSampler

from hybridlib.sampler.availability import Availability, Segment
from hybridlib.sampler.batches import HybridBatchSampler

LANGUAGES = tuple(["ar", "de", "el", "en", "es", "fi", "fr", "hi", "ru", "sw", "th", "tr", "vi", "zh"])
SIZES = (10_000, 1_000_000, 40_000_000)
STRATEGIES = ("x-x-mono", "x-y", "hybrid")
PEERS = ("default", "no-duplicates")
PAIRS = 128
WINDOWS, SECONDS_OF_WINDOW = 3, 0.3
SHARE = "1110011"  # 115/128 as a binary fraction
LARGEST_TABLE = 1_000_000  # rows of the peers' table
TITLES = {
    "pairs_per_s": "Pairs per second",
    "first_batch_ms": "First batch in mid-epoch (ms)",
    "memory_mb": "Memory (MB)",
}
MEMORY_LIMIT = 200  # MB, at forty million items


def random_bits(items: int, seed: int) -> np.ndarray:
    """Draw bits that are 1 with probability `SHARE`, language by language, without an array of booleans."""
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


def pairs_per_second(batches: Iterator[Any], pairs: int) -> float:
    """Return the median over windows; an epoch that ends within a window ends the measurement."""
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


def measure(items: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows of samplers of the same source; for a process of its own."""
    source = pair_table(items) if names[0] in PEERS else random_bits(items, seed=0)
    return [measure_one(items, name, source) for name in names]


def measure_one(items: int, name: str, source: Any) -> dict[str, Any]:
    begin_one = peer_sampler if name in PEERS else our_sampler
    with PeakMemory() as peak:
        begin = time.perf_counter()
        sampler = begin_one(name, items, source)
        build = time.perf_counter() - begin

        middle = len(sampler) // 2
        begin = time.perf_counter()
        if name in PEERS:
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
        "memory_mb": round(peak.megabytes, 1),
    }


def our_sampler(name: str, items: int, bits: np.ndarray) -> HybridBatchSampler:
    corpus = Availability(LANGUAGES, (Segment.from_bits("random", 0, items, bits),))
    return HybridBatchSampler(corpus, PAIRS, drop_last=True, strategy=name)


def peer_sampler(name: str, items: int, table: datasets.Dataset) -> DefaultBatchSampler | NoDuplicatesBatchSampler:
    generator = torch.Generator()
    given = {"batch_size": PAIRS, "drop_last": True, "generator": generator}
    if name == "default":
        return DefaultBatchSampler(RandomSampler(table, generator=generator), **given)
    return NoDuplicatesBatchSampler(table, **given)


def check(items: int) -> None:
    """Raise ArithmeticError unless a batch asked of a new sampler is the one that iterating comes to."""
    bits = random_bits(items, seed=0)
    for name in STRATEGIES:
        middle = len(our_sampler(name, items, bits)) // 2
        come_to = next(itertools.islice(our_sampler(name, items, bits), middle, None))
        if list(our_sampler(name, items, bits).batch(middle)) != list(come_to):
            raise ArithmeticError(f"{name}: batch {middle} is not the one that iterating comes to")


def main() -> None:
    take_no_arguments(__doc__)
    on, begin = machine(), time.perf_counter()
    check(SIZES[0])
    rows = []
    for items in SIZES:
        for names in [STRATEGIES, *((peer,) for peer in PEERS if items <= LARGEST_TABLE)]:
            rows += in_own_process(measure, items, names)
    columns = ["items", "sampler", "build s", "first batch ms", "pairs/s", "memory MB"]
    show(columns, [list(row.values()) for row in rows])
    most = max(row["memory_mb"] for row in rows if row["items"] == SIZES[-1])
    print(f"\nmost memory at {SIZES[-1]:,} items x {len(LANGUAGES)} languages: {most} MB; limit {MEMORY_LIMIT} MB")
    record = {
        "pairs_in_a_batch": PAIRS,
        "languages": len(LANGUAGES),
        "share_available": int(SHARE, 2) / 2 ** len(SHARE),
        "memory_limit_mb": MEMORY_LIMIT,
        "machine": on,
        "versions": versions("numpy", "sentence-transformers", "datasets"),
        "seconds": round(time.perf_counter() - begin),
        "rows": rows,
    }
    labels = {name: f"hybridlib: {name}" for name in STRATEGIES}
    labels |= {name: f"sentence-transformers: {name}" for name in PEERS}
    keep(__file__, record, draw_lines(rows, "items", TITLES, "sampler", labels, dashed=PEERS))


if __name__ == "__main__":
    main()
