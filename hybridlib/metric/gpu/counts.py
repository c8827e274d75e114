"""Counts of ranks on a GPU: scores are made and counted on tensor cores, and never leave them.

A slice of passages at a time is brought to the device while the slice before is counted. Half-precision embeddings go
to the tensor cores as they are, where `QueryInputs.go_whole` says so. Others are split into float16 parts, and one
product is made of them or three, whichever is faster: three list fewer scores to settle. The ranks do not depend on it.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
import triton

from hybridlib.metric.arguments import check_magnitudes, largest_magnitudes
from hybridlib.metric.counts import Counts, RelevantPairs
from hybridlib.metric.gpu.inputs import Inputs, QueryInputs
from hybridlib.metric.gpu.kernels import count_above, score_pairs, settle, take_off_own
from hybridlib.metric.gpu.slices import Slice, slices_on, to_device

_INTERPRETED = not isinstance(count_above, triton.JITFunction)
# Tile of a program: queries, passages, dimensions at a time; and how it is compiled.
TILE = {"BLOCK_Q": 128, "BLOCK_P": 256, "BLOCK_K": 64}
_COMPILED = {"num_warps": 8, "num_stages": 3}
# Pairs that a program scores at a time, and how such a program is compiled: see `hybridlib.metric.gpu.kernels`.
_SCORED = {"BLOCK": 16, "enable_fp_fusion": False}
# Programs that settle, for each multiprocessor: as many as it runs at a time.
_SETTLING = 8
# The most numbers in a slice: of passages that are split, to which 2 bytes a number or, for three products, 4 are
# written, and of passages that go as they are.
_SPLIT_NUMBERS = 1 << 28
_WHOLE_NUMBERS = 1 << 30
# The most programs of a launch, a program for each tile and block of queries.
_PROGRAMS = 2**31 - 1
# Masks of scores that may be listed, 16 bytes each. Where more are, the list grows, and beyond the most the slice is
# halved.
_LISTED, _MOST_LISTED = 1 << 22, 1 << 27
# To settle a mask, nearly always of one score, takes as long as so many scores of one product: with more masks listed,
# three products are faster.
_WORTH = 400


class Listed(NamedTuple):
    """The counts of a slice, which are right if its scores could all be listed and its inputs were sound."""

    above: torch.Tensor  # (N, L)
    capacity: int  # of the list
    found: torch.Tensor  # how many were listed, or would have been, and whether the inputs were sound; (2,)
    copied: torch.cuda.Event | None  # after which `found` is on the CPU


class GpuCounts(Counts):
    """`Counts` on a device, with kernels.

    Attributes:
        products: how many products are made of split numbers, 1 or 3; None, as at first, for whichever is faster.
    """

    def __init__(self, pairs: RelevantPairs, *, device: torch.device) -> None:
        self.products: int | None = None
        self._many_listed = False
        self._cosine, self._languages = pairs.cosine, pairs.languages
        self._queries = pairs.queries.to(device)
        self._device = device = self._queries.device  # with its number
        first = np.searchsorted(pairs.query, np.arange(len(pairs.queries) + 1))
        blocks = np.arange(0, len(pairs.queries), TILE["BLOCK_Q"])
        most = np.maximum.reduceat(np.diff(first), blocks) if len(blocks) else blocks
        self._first, self._most = to_device(first, device), to_device(most, device)  # (Q + 1,), (query blocks,)
        self._above = torch.zeros((len(pairs.query), pairs.languages), dtype=torch.int64, device=device)
        query, position, row = (to_device(table, device) for table in (pairs.query, pairs.position, pairs.row))
        with _current(device):
            threshold = self._scores(query, pairs.relevant.to(device), row)  # (N,)
            # The kernel takes the pairs of a query by threshold, and passes over those that no score reaches.
            order = torch.argsort(threshold, stable=True)
            self._order = order = order[torch.argsort(query[order], stable=True)]  # (N,)
            self._query, self._position, self._threshold = query[order], position[order], threshold[order]
            self._inputs = QueryInputs(self._queries, self._query, cosine=self._cosine, block=TILE["BLOCK_K"])

    @property
    def above(self) -> np.ndarray:
        above = torch.empty_like(self._above)
        above[self._order] = self._above
        return above.cpu().numpy()

    def add(self, embeddings: torch.Tensor, languages: np.ndarray, start: int) -> None:
        total = torch.zeros_like(self._above)
        before: tuple[Slice, Inputs, Listed] | None = None
        with _current(self._device):
            numbers = _WHOLE_NUMBERS if self._inputs.go_whole(embeddings) else _SPLIT_NUMBERS
            tiles = _PROGRAMS // max(1, len(self._most)) - self._languages  # at most one tile a language is not full
            size = max(1, min(numbers // max(1, embeddings.shape[1]), tiles * TILE["BLOCK_P"]))
            cuts = {"start": start, "size": size, "number": self._languages, "tile": TILE["BLOCK_P"]}
            for passages in slices_on(self._device, embeddings, languages, **cuts):
                inputs = self._inputs.with_passages(passages.rows, self._threshold, products=self._products)
                self._take_off_own(total, passages)
                now = (passages, inputs, self._launch(passages, inputs, _LISTED))
                if before:  # it is looked at while this slice is counted
                    total += self._settled(*before, start)
                before = now
            if before:
                total += self._settled(*before, start)
        self._above += total

    @property
    def _products(self) -> int:
        return self.products or (3 if self._many_listed else 1)

    def _launch(self, passages: Slice, inputs: Inputs, capacity: int) -> Listed:
        """Start the kernels that count a slice, list so many masks of scores at most, and settle them."""
        above = torch.zeros_like(self._above)
        found = torch.zeros(2, dtype=torch.int64, device=self._device)
        found[1] = inputs.sound
        if len(self._query):
            listed = torch.empty((capacity, 2), dtype=torch.int64, device=self._device)
            self._count(passages, inputs, above, listed, found)
            self._settle(passages, above, listed, found)
        if self._device.type != "cuda":
            return Listed(above, capacity, found, None)
        on_cpu = torch.empty(2, dtype=torch.int64, pin_memory=True).copy_(found, non_blocking=True)
        return Listed(above, capacity, on_cpu, torch.cuda.current_stream().record_event())

    def _count(
        self, passages: Slice, inputs: Inputs, above: torch.Tensor, listed: torch.Tensor, found: torch.Tensor
    ) -> None:
        """Count the scores outside the pairs' bands, and list those inside."""
        blocks, stride = len(self._most), inputs.queries.shape[1]
        count_above[(len(passages.tiles) * blocks,)](
            inputs.queries, inputs.passages, inputs.inverse_norms, passages.order, passages.tiles,
            self._first, self._most, inputs.low, inputs.high, above, listed, found,
            len(self._queries), blocks, stride if inputs.products == 1 else stride // 2, stride,
            self._languages, len(listed),
            PRODUCTS=inputs.products, WIDENED=_INTERPRETED, **TILE, **_COMPILED,
        )  # fmt: skip

    def _settle(self, passages: Slice, above: torch.Tensor, listed: torch.Tensor, found: torch.Tensor) -> None:
        """Count what is listed, however much it is: the number stays on the device."""
        programs = 1
        if self._device.type == "cuda":
            programs = _SETTLING * torch.cuda.get_device_properties(self._device).multi_processor_count
        settle[(programs,)](
            self._queries, passages.rows, passages.order, passages.languages,
            self._query, self._threshold, self._position, listed, found, above,
            passages.start, self._queries.shape[1], self._languages, len(listed), COSINE=self._cosine, **_SCORED,
        )  # fmt: skip

    def _take_off_own(self, above: torch.Tensor, passages: Slice) -> None:
        """Take each pair's own passage off its count, where it scores higher than it did as a relevant one."""
        if pairs := len(self._query):
            take_off_own[(triton.cdiv(pairs, _SCORED["BLOCK"]),)](
                self._queries, passages.rows, passages.languages,
                self._query, self._threshold, self._position, above,
                passages.start, pairs, len(passages.rows), self._queries.shape[1], self._languages,
                COSINE=self._cosine, **_SCORED,
            )  # fmt: skip

    def _settled(self, passages: Slice, inputs: Inputs, listed: Listed, start: int) -> torch.Tensor:
        """Return the counts of a slice, once it is known that they are right. (N, L)"""
        if listed.copied:
            listed.copied.synchronize()  # waits for this slice, and not for the next, which is launched already
        number, sound = listed.found.tolist()
        if not sound:
            return self._count_unordinary(passages, start)
        is_split = inputs.queries is not self._queries
        self._many_listed |= is_split and number * _WORTH > len(self._queries) * len(passages.rows)
        if number > listed.capacity:
            return self._count_with_room(passages, inputs, number, start)
        return listed.above

    def _count_unordinary(self, passages: Slice, start: int) -> torch.Tensor:
        """Count a slice whose norms are not ordinary; refuse it if that is because of its numbers."""
        rows = np.arange(len(passages.rows)) + passages.start - start  # in the argument
        check_magnitudes(largest_magnitudes(passages.rows), "passage_embeddings", rows)
        inputs = self._inputs.with_any_passages(passages.rows, self._threshold, products=self._products)
        return self._settled(passages, inputs, self._launch(passages, inputs, _LISTED), start)

    def _count_with_room(self, passages: Slice, inputs: Inputs, number: int, start: int) -> torch.Tensor:
        """Count a slice, whose list was too short, with a list of `number` or, if those are too many, in halves."""
        tiles, half = passages.tiles, len(passages.tiles) // 2
        if number <= _MOST_LISTED or not half:
            return self._settled(passages, inputs, self._launch(passages, inputs, number), start)
        parts = [passages._replace(tiles=part) for part in (tiles[:half], tiles[half:])]
        first, second = (self._settled(part, inputs, self._launch(part, inputs, _LISTED), start) for part in parts)
        return first + second

    def _scores(self, query: torch.Tensor, passages: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """Return the scores of `hybridlib.metric.cpu.kernels.score`, to the last bit. (n,), (C, D), (n,) -> (n,)"""
        scores = torch.empty(len(query), dtype=torch.float64, device=self._device)
        if number := len(scores):
            score_pairs[(triton.cdiv(number, _SCORED["BLOCK"]),)](
                self._queries, passages, query, row, scores, number, passages.shape[1], COSINE=self._cosine, **_SCORED
            )
        return scores


def _current(device: torch.device) -> AbstractContextManager:
    """Make a GPU the current device, on which kernels are launched."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
