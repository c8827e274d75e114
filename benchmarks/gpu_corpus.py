"""A corpus made on the device, and the time that `RankCounter.update` takes with it.

Its passages are independent normal vectors, whose cosines are spread by 1 / sqrt(D), less than those of a real encoder,
so that more of them lie within the bound and have to be settled. A relevant passage is its query mixed with noise such
that its rank is about log-uniform from 1 to `DEEPEST`.
"""

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from on_device import Part, elapsed, patched, random_rows

from hybridlib.metric import gpu as gpu_counts
from hybridlib.metric.ranks import RankCounter

QUERIES, WIDTH = 1024, 768
DEEPEST = 3000


class Corpus(NamedTuple):
    queries: torch.Tensor  # (Q, D)
    passages: torch.Tensor  # (P, D)
    pairs: np.ndarray  # row of the query, and row in `positions`; (N, 2)
    positions: np.ndarray  # (N,)

    def counter(self, languages: int, products: int | None = None) -> RankCounter:
        relevant = self.passages[torch.from_numpy(self.positions).to(self.passages.device)]
        made = RankCounter(
            self.queries, relevant, self.pairs, self.positions, languages=languages, device=self.queries.device
        )
        made._counts.products = products  # type: ignore[attr-defined]
        return made


def corpus_of(part: Part, passages: int, dtype: torch.dtype, relevant: int = 1) -> Corpus:
    """`relevant` passages a query, at random places of the corpus."""
    number, width = part.pick((QUERIES, WIDTH), (QUERIES, WIDTH), (4, 64))
    made = random_rows(passages, width, dtype, part.device, seed=1)
    queries = random_rows(number, width, dtype, part.device, seed=2)
    rng = np.random.default_rng(3)
    positions = rng.choice(passages, number * relevant, replace=False)
    rank = np.exp(rng.uniform(0, math.log(min(DEEPEST, passages / 4)), len(positions)))
    deviations = torch.special.ndtri(torch.from_numpy(1 - rank / passages))  # of the normal distribution of cosines
    cosine = (deviations / math.sqrt(width)).clamp(max=0.99).to(part.device)[:, None]  # (N, 1)
    query = np.repeat(np.arange(number), relevant)
    toward = torch.nn.functional.normalize(queries[torch.from_numpy(query).to(part.device)].double(), dim=1)
    noise = torch.nn.functional.normalize(random_rows(len(positions), width, torch.float64, part.device, 4), dim=1)
    mixed = (cosine * toward + (1 - cosine**2).sqrt() * noise) * math.sqrt(width)
    made[torch.from_numpy(positions).to(part.device)] = mixed.to(dtype)
    return Corpus(queries, made, np.column_stack([query, np.arange(len(query))]), positions)


def languages_of(passages: int, languages: int) -> np.ndarray:
    """As many of each, in order. (P,)"""
    return np.arange(passages, dtype=np.int64) * languages // passages


def timed(
    part: Part,
    name: str,
    corpus: Corpus,
    languages: np.ndarray,
    rate: float,
    *,
    products: int | None = None,
    passages: torch.Tensor | None = None,
) -> dict[str, Any]:
    """Time `RankCounter.update` and print a row; the counts are of the first update, which does not count.

    The same passages come again and again, as further ones of the corpus.

    Args:
        rate: of a matrix product, in operations a second.
        passages: those of the corpus, if they are somewhere else.
    """
    passages = corpus.passages if passages is None else passages
    counter = corpus.counter(int(languages.max()) + 1, products)
    counter.update(passages, languages)
    above, seen, seconds = counter.above, [], []
    for number in range(part.pick(5, 3, 1)):
        with watched(part.device) as one:
            start = (number + 1) * len(passages)
            seconds.append(elapsed(part.device, partial(counter.update, passages, languages, start=start)))
        seen.append(one)
    took = statistics.median(seconds)
    needed = 2 * math.prod(corpus.queries.shape) * len(passages)
    found = {
        "seconds": took,
        "spread": (max(seconds) - min(seconds)) / took,
        "tflops": needed / took / 1e12,
        "of_product": needed / took / rate,
        "kernel": statistics.median(one.kernel_seconds() for one in seen) if part.device.type == "cuda" else None,
        "listed": seen[-1].listed,
    }
    part.row(name, **found)
    return found | {"above": above}


@dataclass
class Watched:
    """What `GpuCounts` has launched and settled."""

    spans: list[tuple[Any, Any]] = field(default_factory=list)
    listed: int = 0

    def kernel_seconds(self) -> float:
        return sum(begin.elapsed_time(end) for begin, end in self.spans) / 1000


@contextmanager
def watched(device: torch.device) -> Iterator[Watched]:
    seen = Watched()
    launch, settled = gpu_counts.GpuCounts._launch, gpu_counts.GpuCounts._settled

    def event() -> Any:
        made = torch.cuda.Event(enable_timing=True)
        made.record()
        return made

    def watch_launch(*given: Any) -> Any:
        if device.type != "cuda":
            return launch(*given)
        begin = event()
        launched = launch(*given)
        seen.spans.append((begin, event()))
        return launched

    def watch_settled(counts: Any, one: Any, inputs: Any, listed: Any, start: int) -> Any:
        made = settled(counts, one, inputs, listed, start)
        number, sound = listed.found.tolist()
        seen.listed += number if sound and number <= len(listed.pair) else 0  # else it is launched again
        return made

    with patched(gpu_counts.GpuCounts, _launch=watch_launch, _settled=watch_settled):
        yield seen
