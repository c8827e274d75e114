"""Parts `metric` and `host` of `benchmarks/gpu.py`: exact ranks beside the product of matrices that they need.

Only the product that is needed counts, 2 Q P D operations, whatever else is done: norms, thresholds, what is listed and
settled in float64, copies. `of_product` is this rate over that of a bare half-precision product of square matrices.
`kernel` is the seconds of the kernel that counts, and `listed` how many scores it leaves to float64, where these can be
seen. Passages are independent normal vectors, whose cosines are spread by 1 / sqrt(D), less than those of a real
encoder, so that more of them have to be settled. The rank of a relevant passage is about log-uniform from 1 to 3,000.
"""

import importlib
import itertools
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from gpu_agreement import inner_products
from gpu_part import Part, patched, profiled

from hybridlib.metric import ranks

QUERIES, WIDTH, DEEPEST = 1024, 768, 3000
RELEVANT = 10  # passages a query, in one contender
CHUNKS = (8_192, 32_768, 131_072)  # passages; the scores of the first stay in a cache of 50 MB
# Queries, passages and dimensions of a tile, warps and stages.
TILES = ((128, 256, 64, 8, 3), (128, 256, 64, 8, 4), (128, 256, 32, 8, 4), (256, 128, 64, 8, 3), (128, 128, 64, 8, 4))


class Corpus(NamedTuple):
    """Queries, passages, and which are relevant to which."""

    queries: torch.Tensor  # (Q, D)
    passages: torch.Tensor  # (P, D)
    query: np.ndarray  # row of each pair's query, (N,)
    own: np.ndarray  # corpus position of each pair's passage, (N,)


def corpus_of(part: Part, size: int, dtype: torch.dtype = torch.float16, relevant: int = 1) -> Corpus:
    """Draw `size` passages, and plant `relevant` ones of each query at random places among them."""
    number, width = part.pick((QUERIES, WIDTH), (4, 64))
    normal = partial(torch.randn, generator=torch.Generator(part.device).manual_seed(1), device=part.device)
    passages = torch.empty(size, width, dtype=dtype, device=part.device)
    for piece in passages.split(1 << 18):
        piece.copy_(normal(piece.shape))
    queries, rng = normal((number, width)).to(dtype), np.random.default_rng(2)
    query = np.repeat(np.arange(number), relevant)
    own = rng.choice(size, len(query), replace=False)
    rank = np.exp(rng.uniform(0, math.log(min(DEEPEST, size / 4)), len(own)))
    deviations = torch.special.ndtri(torch.from_numpy(1 - rank / size))  # of the normal distribution of cosines
    cosine = (deviations / math.sqrt(width)).clamp(max=0.99).to(part.device)[:, None]  # (N, 1)
    toward = torch.nn.functional.normalize(queries[torch.from_numpy(query).to(part.device)].double(), dim=1)
    noise = torch.nn.functional.normalize(normal((len(own), width)).double(), dim=1)
    planted = (cosine * toward + (1 - cosine**2).sqrt() * noise) * math.sqrt(width)  # (N, D)
    passages[torch.from_numpy(own).to(part.device)] = planted.to(dtype)
    return Corpus(queries, passages, query, own)


def in_order(size: int, languages: int) -> np.ndarray:
    """Return as many passages of each language, in order. (P,)"""
    return np.arange(size, dtype=np.int64) * languages // size


class Counted:
    """Counts of one corpus, of several kinds, all of which must agree."""

    def __init__(self, part: Part, corpus: Corpus, rate: float) -> None:
        self.part, self.corpus, self.rate = part, corpus, rate
        self._expected: np.ndarray | None = None

    def count(
        self,
        *,
        languages: np.ndarray | None = None,
        products: int | None = None,
        passages: torch.Tensor | None = None,
        tile: tuple[int, ...] | None = None,
    ) -> dict[str, Any]:
        """Time `RankCounter.update`; the same passages come again and again, as further ones of the corpus.

        Args:
            languages: of the passages; one, unless given. (P,)
            products: of the split numbers of float32, 1 or 3.
            passages: those of the corpus, if they are somewhere else.
            tile: of the kernel; see `TILES`.
        """
        passages = self.corpus.passages if passages is None else passages
        languages = in_order(len(passages), 1) if languages is None else languages
        with ExitStack() as stack:
            if tile:
                stack.enter_context(with_tile(tile))
            counter = self._counter(int(languages.max()) + 1)
            if products:
                counter._counts.products = products
            starts = itertools.count(0, len(passages))

            def update() -> np.ndarray:
                counter.update(passages, languages, start=next(starts))
                return counter.above

            figures, above = self.part.timed(update)
            with noted() as found:
                seen = profiled(update, cuda=not self.part.small)
        kernels = [ms for name, ms in seen.get("longest", {}).items() if "count" in name]
        tflops = 2 * math.prod(self.corpus.queries.shape) * len(passages) / figures["seconds"] / 1e12
        figures |= {"tflops": tflops, "of_product": tflops * 1e12 / self.rate}
        figures |= {"kernel": sum(kernels) / 1000 if kernels else None}
        # Both calls of `profiled` are noted on a GPU.
        figures |= {"listed": sum(found) // self.part.pick(2, 1) if found else None}
        return figures | {"profile": seen, "agrees": self.agrees(above)}

    def agrees(self, above: np.ndarray) -> bool:
        """Return whether counts (N, L), summed over languages, are those of the first contender."""
        total = above.sum(axis=1)
        self._expected = total if self._expected is None else self._expected
        return bool((total == self._expected).all())

    def _counter(self, languages: int) -> Any:
        queries, passages, query, own = self.corpus
        relevant = passages[torch.from_numpy(own).to(passages.device)]  # (N, D)
        pairs = np.column_stack([query, np.arange(len(own))])
        return ranks.RankCounter(queries, relevant, pairs, own, languages=languages, device=self.part.device)


@contextmanager
def with_tile(tile: tuple[int, ...]) -> Iterator[None]:
    """Let the kernel take another tile; what the library does not name any longer is an error of the row."""
    counts = importlib.import_module("hybridlib.metric.gpu.counts")
    shape = dict(zip(("BLOCK_Q", "BLOCK_P", "BLOCK_K"), tile, strict=False))
    compiled = {"num_warps": tile[3], "num_stages": tile[4]}
    with patched(counts, TILE=counts.TILE | shape, _COMPILED=counts._COMPILED | compiled):
        yield


@contextmanager
def noted() -> Iterator[list[int]]:
    """Note how many scores are listed. Nothing is noted where the library no longer settles lists in this way."""
    counts, found = importlib.import_module("hybridlib.metric.gpu.counts"), []
    settled = getattr(counts.GpuCounts, "_settled", None)

    def note(*given: Any, **named: Any) -> Any:
        made = settled(*given, **named)
        found.extend(int(one.found[0]) for one in given if hasattr(one, "found"))
        return made

    with ExitStack() as stack:
        if settled:
            stack.enter_context(patched(counts.GpuCounts, _settled=note))
        yield found


def metric(part: Part, size: int) -> None:
    """Time the count of a corpus in device memory: of each type, of languages, and with many relevant passages."""
    rates = {dtype: part.product(str(dtype).removeprefix("torch.")) for dtype in (torch.float16, torch.bfloat16)}
    rate = rates[torch.float16]
    half, mixed = Counted(part, corpus_of(part, size), rate), np.random.default_rng(0).integers(0, 16, size)
    part.contend("float16", size, half.count)
    part.contend("float16, 16 languages in order", size, partial(half.count, languages=in_order(size, 16)))
    part.contend("float16, 16 languages mixed", size, partial(half.count, languages=mixed))
    del half
    several = Counted(part, corpus_of(part, size, relevant=RELEVANT), rate)
    part.contend(f"float16, {RELEVANT} relevant a query", size, several.count)
    del several
    wide = Counted(part, corpus_of(part, size // 2, torch.float32), rate)
    for name, products in (("one product", 1), ("three products", 3), ("as chosen", None)):
        part.contend(f"float32, {name}", size // 2, partial(wide.count, products=products))
    del wide
    part.contend("bfloat16", size, Counted(part, corpus_of(part, size, torch.bfloat16), rates[torch.bfloat16]).count)
    beside_unfused(part, part.pick(1 << 20, 20), rate)
    counted = Counted(part, corpus_of(part, size // 4), rate)
    for tile in TILES[: part.pick(None, 1)]:
        name = "tile {} x {} x {}, {} warps, {} stages".format(*tile)
        part.contend(name, size // 4, partial(counted.count, tile=tile))


def beside_unfused(part: Part, size: int, rate: float) -> None:
    """Time the count beside torch's, whose scores go to memory."""
    corpus = corpus_of(part, size)
    counted = Counted(part, corpus, rate)

    def one(chunk: int) -> dict[str, Any]:
        figures, above = part.timed(partial(unfused, corpus, chunk))
        return figures | {"agrees": counted.agrees(above[:, None])}

    part.contend("float16", size, counted.count)
    for chunk in CHUNKS[:: part.pick(1, 3)]:
        part.contend(f"unfused torch, chunks of {chunk:,}", size, partial(one, chunk))


def unfused(corpus: Corpus, chunk: int) -> np.ndarray:
    """Count by torch alone, in one language: scores of tensor cores, and float64 where they do not decide. (N,)"""
    query, own = (torch.from_numpy(rows).to(corpus.queries.device) for rows in (corpus.query, corpus.own))
    queries, passages = corpus.queries[query], corpus.passages
    threshold = exact(queries, passages[own])  # (N,)
    off = 2.0**-22 * queries.shape[1] * torch.linalg.vector_norm(queries.double(), dim=1)  # (N,)
    low, high = ((threshold + side * off).float()[:, None] for side in (-1.01, 1.01))  # (N, 1)
    above = torch.zeros(len(query), dtype=torch.int64, device=queries.device)
    for begin in range(0, len(passages), chunk):
        rows = passages[begin : begin + chunk]
        inverse = 1 / torch.linalg.vector_norm(rows, dim=1, dtype=torch.float32)  # (C,)
        wide = {"out_dtype": torch.float32} if rows.is_cuda else {}
        scores = (torch.mm(queries, rows.T, **wide) if wide else queries.float() @ rows.float().T) * inverse  # (N, C)
        surely = scores > high
        above += surely.sum(dim=1)
        pair, row = ((scores >= low) ^ surely).nonzero(as_tuple=True)
        score, position = exact(queries[pair], rows[row]), begin + row
        higher = (score > threshold[pair]) | ((score == threshold[pair]) & (position < own[pair]))
        above.index_add_(0, pair, higher.long())  # a passage's own score is the threshold, to the last bit
    return above.cpu().numpy()


def exact(queries: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
    """Return the float64 scores of pairs of rows. (n, D), (n, D) -> (n,)"""
    queries, passages = queries.double(), passages.double()
    squares = inner_products(passages, passages)
    norms = squares.sqrt() if squares.is_cuda else torch.from_numpy(np.sqrt(squares.numpy()))
    return inner_products(queries, passages) / norms


def host(part: Part, size: int) -> None:
    """Time the count of a corpus in the host's memory, pinned or not, beside a bare copy of it to the device."""
    rate = part.product("float16")
    for dtype, pinned in ((torch.float16, True), (torch.float32, True), (torch.float16, False)):
        from_host(part, size, dtype, pinned, rate)


def from_host(part: Part, size: int, dtype: torch.dtype, pinned: bool, rate: float) -> None:
    """Time a copy and a count, whose counts must be those of the same passages on the device."""
    kind = f"{str(dtype).removeprefix('torch.')}, {'pinned' if pinned else 'not pinned'}"
    corpus = corpus_of(part, size, dtype)
    there = corpus.passages
    here = torch.empty(there.shape, dtype=dtype, pin_memory=pinned and not part.small).copy_(there)
    moved, counted = here.numel() * here.element_size(), Counted(part, corpus, rate)
    copied: list[float] = []  # the seconds of the copy, if it ends well

    def copy() -> dict[str, Any]:
        figures = part.timed(partial(there.copy_, here, non_blocking=True))[0]
        copied.append(figures["seconds"])
        return figures | {"gb_per_s": moved / copied[0] / 1e9}

    def count() -> dict[str, Any]:
        figures = counted.count(passages=here)
        seconds = figures["seconds"]
        return figures | {"gb_per_s": moved / seconds / 1e9, "of_copy": copied[0] / seconds if copied else None}

    part.contend(f"copy, {kind}", size, copy)
    part.contend(f"in device memory, {kind}", size, counted.count)
    part.contend(f"from the host, {kind}", size, count)
