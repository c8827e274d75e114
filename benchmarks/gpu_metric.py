"""Parts `metric` and `host` of `benchmarks/gpu.py`: exact ranks beside the matrix product they need.

Only the product that is needed counts, 2 Q P D operations, whatever else is done: norms, thresholds, what is listed and
scored in float64, copies. *kernel* is the time of the kernel that counts and lists, out of the whole; *listed* is how
many scores it leaves to float64.
"""

import gc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gpu_corpus import Corpus, corpus_of, languages_of, timed
from on_device import Part, in_turn_on, patched, product_rate

from hybridlib.metric import gpu as gpu_counts
from hybridlib.metric.gpu_slices import Slice

GOAL, GOAL_FROM_HOST, GOAL_OF_FUSING = 0.6, 0.8, 3.0
# Queries, passages and dimensions of a tile, warps and stages; what is compiled otherwise comes first.
TILES = (
    (128, 256, 64, 8, 3), (128, 256, 64, 8, 4), (128, 128, 64, 4, 4), (128, 128, 64, 8, 4), (64, 256, 64, 8, 4),
    (64, 256, 64, 4, 4), (256, 128, 64, 8, 3), (128, 256, 32, 8, 4), (128, 128, 64, 8, 3), (128, 256, 128, 8, 2),
)  # fmt: skip
UNFUSED_STEPS = (8_192, 32_768, 131_072)  # passages; the scores of the first stay in a cache of 50 MB


def metric(part: Part) -> None:
    """Time the count of a corpus in device memory."""
    passages = part.pick(8_000_000, 1_000_000, 500)
    rates = rates_of(part)
    part.keep(product_tflops={name: rate / 1e12 for name, rate in rates.items()})
    part.attempt("float16", on_half_precision, part, passages, rates, needs=30)
    gc.collect()
    part.attempt("float32", on_float32, part, passages // 2, rates, needs=20)
    gc.collect()
    part.attempt("bfloat16", on_bfloat16, part, passages, rates, needs=10)
    gc.collect()
    part.attempt("tiles", try_tiles, part, passages // 4, rates, needs=20)


def rates_of(part: Part) -> dict[str, float]:
    side, dtypes = part.pick(8192, 8192, 64), (torch.float16, torch.bfloat16)
    return {str(dtype).removeprefix("torch."): product_rate(part.device, dtype, (side,) * 3) for dtype in dtypes}


def on_half_precision(part: Part, passages: int, rates: Mapping[str, float]) -> None:
    corpus, rate = corpus_of(part, passages, torch.float16), rates["float16"]
    found = timed(part, "float16", corpus, languages_of(passages, 1), rate)
    part.share("metric, float16, of a product", found["of_product"], GOAL)
    rank = 1 + found["above"].sum(axis=1)
    part.keep(ranks={str(share): float(np.quantile(rank, share)) for share in (0, 0.25, 0.5, 0.75, 1)})
    part.attempt("torch, unfused", beside_unfused, part, corpus, found["above"], needs=15)
    part.attempt("float16, 16 languages in order", timed, part, "float16, 16 languages in order", corpus,
                 languages_of(passages, 16), rate)  # fmt: skip
    mixed = np.random.default_rng(0).integers(0, 16, passages)
    part.attempt("float16, 16 languages mixed", timed, part, "float16, 16 languages mixed", corpus, mixed, rate)
    del corpus
    several = part.attempt("float16, 10 relevant", corpus_of, part, passages, torch.float16, 10)
    if several is not None:
        name = "float16, 10 relevant a query"
        part.attempt(name, timed, part, name, several, languages_of(passages, 1), rate)


def on_float32(part: Part, passages: int, rates: Mapping[str, float]) -> None:
    """One product or three, which have to count the same; and what is chosen unless asked for."""
    corpus, above = corpus_of(part, passages, torch.float32), []
    for products in (1, 3, None):
        name = f"float32, {products} products" if products else "float32, as chosen"
        found = timed(part, name, corpus, languages_of(passages, 1), rates["float16"], products=products)
        above.append(found["above"])
    if not all((other == above[0]).all() for other in above):
        raise ArithmeticError("one product and three count differently")
    part.share("metric, float32, of a half-precision product", found["of_product"])


def on_bfloat16(part: Part, passages: int, rates: Mapping[str, float]) -> None:
    corpus = corpus_of(part, passages, torch.bfloat16)
    timed(part, "bfloat16", corpus, languages_of(passages, 1), rates["bfloat16"])


def try_tiles(part: Part, passages: int, rates: Mapping[str, float]) -> None:
    corpus, above = corpus_of(part, passages, torch.float16), None
    for tile in TILES[: part.pick(None, 4, 1)]:
        name = "tile {} x {} x {}, {} warps, {} stages".format(*tile)
        found = part.attempt(name, with_tile, part, name, tile, corpus, rates["float16"], needs=15)
        if found is None:
            continue
        above = found["above"] if above is None else above
        if not (found["above"] == above).all():
            raise ArithmeticError(f"{name} counts differently")


def with_tile(part: Part, name: str, tile: tuple[int, ...], corpus: Corpus, rate: float) -> dict[str, Any]:
    shape = dict(zip(("BLOCK_Q", "BLOCK_P", "BLOCK_K"), tile, strict=False))
    compiled = {"num_warps": tile[3], "num_stages": tile[4]}
    with patched(gpu_counts, TILE=shape, _COMPILED=compiled):
        return timed(part, name, corpus, languages_of(len(corpus.passages), 1), rate)


def beside_unfused(part: Part, corpus: Corpus, above: np.ndarray) -> None:
    """The same count by torch alone, whose scores go to memory, in the best of some chunk sizes.

    Checked on the whole corpus, timed on the first million passages, in turn with the fused count of these.
    """
    unfused_above = unfused(corpus, corpus.passages, UNFUSED_STEPS[-1])()
    if not (unfused_above == above[:, 0]).all():
        raise ArithmeticError(f"unfused: {(unfused_above != above[:, 0]).sum()} counts of {len(above)} differ")
    first = corpus.passages[: part.pick(1 << 20, 1 << 20, 200)]
    counter, starts = corpus.counter(1), iter(range(0, 1 << 40, len(first)))
    languages = languages_of(len(first), 1)
    contenders: dict[str, Callable[[], Any]] = {
        f"torch, unfused, {step:,} passages": unfused(corpus, first, step) for step in UNFUSED_STEPS
    }
    contenders["fused"] = lambda: counter.update(first, languages, start=next(starts))
    seconds = in_turn_on(part.device, contenders, part.pick(5, 3, 1))
    fused = seconds.pop("fused")
    for name, taken in seconds.items():
        part.row(name, seconds=taken, fused=fused, times_fused=taken / fused)
    part.share("unfused torch, times as long", min(seconds.values()) / fused, GOAL_OF_FUSING)


def unfused(corpus: Corpus, passages: torch.Tensor, step: int) -> Callable[[], np.ndarray]:
    """What counts one relevant passage a query, in one language, the bound and float64 as in the fused count. (Q,)"""
    counts: Any = corpus.counter(1)._counts
    half = corpus.queries.is_cuda

    def count() -> np.ndarray:
        above = torch.zeros(len(corpus.queries), dtype=torch.int64, device=corpus.queries.device)
        inputs = counts._whole_inputs(Slice(passages, *[passages] * 3))  # takes but the rows
        low, high = inputs.low[:, None], inputs.high[:, None]
        for begin in range(0, len(passages), step):
            rows = passages[begin : begin + step]
            if half:
                scores = torch.mm(corpus.queries, rows.T, out_dtype=torch.float32)  # (Q, C)
            else:
                scores = corpus.queries.float() @ rows.float().T
            scores *= inputs.inverse_norms[begin : begin + step]
            surely = scores > high
            above += surely.sum(dim=1)
            pair, row = ((scores >= low) ^ surely).nonzero(as_tuple=True)
            score, threshold = counts._scores(pair, rows, row), counts._threshold[pair]
            position, own = begin + row, counts._position[pair]
            higher = (score > threshold) | ((score == threshold) & (position < own))
            above.index_add_(0, pair, (higher & (position != own)).long())
        return above.cpu().numpy()

    return count


def host(part: Part) -> None:
    """Time the count of a corpus in the host's memory, beside a copy of it to the device."""
    passages = part.pick(2_000_000, 500_000, 300)
    rate = product_rate(part.device, torch.float16, (part.pick(8192, 8192, 64),) * 3)
    for dtype in (torch.float16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        part.attempt(f"{name} from pinned memory", from_host, part, name, corpus_of(part, passages, dtype), rate, True)
        gc.collect()
    name = "float16, not pinned"
    few = corpus_of(part, passages // 4, torch.float16)
    part.attempt(name, from_host, part, name, few, rate, False)


def from_host(part: Part, name: str, corpus: Corpus, rate: float, pinned: bool) -> None:
    here = torch.empty(
        corpus.passages.shape, dtype=corpus.passages.dtype, pin_memory=pinned and part.device.type == "cuda"
    )
    here.copy_(corpus.passages)
    there = torch.empty_like(corpus.passages)
    languages = languages_of(len(here), 1)
    copied = in_turn_on(part.device, {"copy": lambda: there.copy_(here, non_blocking=True)}, part.pick(5, 3, 1))["copy"]
    on_device = timed(part, f"{name}, in device memory", corpus, languages, rate)
    found = timed(part, f"{name}, from the host", corpus, languages, rate, passages=here)
    if not (found["above"] == on_device["above"]).all():
        raise ArithmeticError(f"{name}: counts from the host's memory differ")
    size = here.numel() * here.element_size()
    part.row(f"{name}, copied alone", seconds=copied, gb_per_s=size / copied / 1e9, of_copy=copied / found["seconds"])
    if pinned or part.device.type == "cpu":
        part.share(f"metric from the host, {name}, of a copy", copied / found["seconds"], GOAL_FROM_HOST)
