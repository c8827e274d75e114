"""Counts of ranks on a GPU: scores are made and counted on tensor cores, and never leave them.

A slice of passages at a time is brought to the device while the slice before is counted. Half-precision embeddings go
to the tensor cores as they are. Wider ones are split into float16 parts, and one product is made of them or three,
whichever is faster: three list fewer scores to settle. The ranks do not depend on it.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import triton

from hybridlib.metric.arguments import check_magnitudes, largest_magnitudes
from hybridlib.metric.bounds import tensor_core_bound
from hybridlib.metric.counts import Counts, RelevantPairs
from hybridlib.metric.gpu.inputs import Inputs, are_ordinary, float16_parts, float64_norms, inner_products, score_band
from hybridlib.metric.gpu.kernels import count_above
from hybridlib.metric.gpu.slices import Slice, slices_on, sort_by_language, to_device

_INTERPRETED = not isinstance(count_above, triton.JITFunction)
_HALF = (torch.float16, torch.bfloat16)
# Tile of a program: queries, passages, dimensions at a time; and how it is compiled.
TILE = {"BLOCK_Q": 128, "BLOCK_P": 256, "BLOCK_K": 64}
_COMPILED = {"num_warps": 8, "num_stages": 3}
# Numbers in a slice of passages that are split, which takes 4 bytes each, and of those that go as they are.
_SPLIT_NUMBERS = 1 << 28
_WHOLE_NUMBERS = 1 << 30
# Scores that may be listed, 16 bytes each. Where more are, the list grows, and beyond the most the slice is halved.
_LISTED, _MOST_LISTED = 1 << 22, 1 << 27
# Scores that are settled in float64 at a time.
_SETTLED = 1 << 24
# To settle a score takes as long as so many scores of one product: with more of them listed, three products are faster.
_WORTH = 400
# Split numbers are multiplied by it, so that their low parts do not underflow.
_SCALE = 2.0**15


class Listed(NamedTuple):
    """The counts of a launched kernel, and the scores that it lists to be settled."""

    above: torch.Tensor  # (N, L)
    pair: torch.Tensor  # (capacity,)
    row: torch.Tensor  # (capacity,)
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
        self._query = to_device(pairs.query, device)  # (N,)
        self._position_on_cpu, self._position = pairs.position, to_device(pairs.position, device)  # (N,)
        first = np.searchsorted(pairs.query, np.arange(len(pairs.queries) + 1))
        blocks = np.arange(0, len(pairs.queries), TILE["BLOCK_Q"])
        most = np.maximum.reduceat(np.diff(first), blocks) if len(blocks) else blocks
        self._first, self._most = to_device(first, device), to_device(most, device)  # (Q + 1,), (query blocks,)
        self._above = torch.zeros((len(pairs.query), pairs.languages), dtype=torch.int64, device=device)
        with _current(device):
            norms = float64_norms(self._queries)
            self._parts_scale = _SCALE / norms  # (Q,)
            self._query_norm = norms[self._query]  # of each pair, (N,)
            self._whole = self._queries.dtype in _HALF and bool(are_ordinary(norms))
            row = to_device(pairs.row, device)
            self._threshold = self._scores(self._query, pairs.relevant.to(device), row)  # (N,)

    @property
    def above(self) -> np.ndarray:
        return self._above.cpu().numpy()

    def add(self, embeddings: torch.Tensor, languages: np.ndarray, start: int) -> None:
        total = torch.zeros_like(self._above)
        before: tuple[Slice, Inputs, Listed] | None = None
        with _current(self._device):
            numbers = _WHOLE_NUMBERS if self._goes_whole(embeddings) else _SPLIT_NUMBERS
            for rows, begin in slices_on(self._device, embeddings, max(1, numbers // max(1, embeddings.shape[1]))):
                own = languages[begin : begin + len(rows)]
                passages = sort_by_language(rows, own, start + begin, self._languages, TILE["BLOCK_P"])
                inputs = self._whole_inputs(passages) if self._goes_whole(rows) else self._split_inputs(passages)
                self._take_off_own(total, rows, own, start + begin)
                now = (passages, inputs, self._launch(passages, inputs, _LISTED))
                if before:  # is settled while the next is counted
                    total += self._settled(*before, start)
                before = now
            if before:
                total += self._settled(*before, start)
        self._above += total

    def _take_off_own(self, counts: torch.Tensor, rows: torch.Tensor, languages: np.ndarray, first: int) -> None:
        """Take each pair's own passage off its count, which holds it if it scores higher here than as a relevant one.

        It may do so where a chunk holds another vector than was given before, for example of a text encoded twice.
        """
        row = self._position_on_cpu - first  # (N,)
        pair = np.flatnonzero((row >= 0) & (row < len(rows)))
        place, language = to_device(pair, self._device), to_device(languages[row[pair]], self._device)
        higher = self._scores(self._query[place], rows, to_device(row[pair], self._device)) > self._threshold[place]
        counts.view(-1).index_add_(0, place * self._languages + language, -higher.long())

    def _goes_whole(self, rows: torch.Tensor) -> bool:
        return self._whole and rows.dtype == self._queries.dtype and not rows.shape[1] % TILE["BLOCK_K"]

    def _whole_inputs(self, passages: Slice) -> Inputs:
        norms = torch.linalg.vector_norm(passages.rows, dim=1, dtype=torch.float32)  # (C,)
        unit = self._query_norm if self._cosine else self._query_norm * norms.max().double()  # (N,)
        bound = tensor_core_bound(passages.rows.shape[1], products=1, rounded=False)
        low, high = score_band(self._threshold, unit, unit, bound)
        inverse = 1 / norms if self._cosine else None
        return Inputs(self._queries, passages.rows, inverse, 1, low, high, are_ordinary(norms))

    def _split_inputs(self, passages: Slice, *, ordinary: bool = True) -> Inputs:
        """Return float16 parts of the rows. If `ordinary`, float32 norms are tried, and `sound` tells if they do."""
        rows = passages.rows
        if ordinary:
            norms = torch.linalg.vector_norm(rows, dim=1, dtype=torch.promote_types(rows.dtype, torch.float32))  # (C,)
            sound, norms = are_ordinary(norms), norms.double()
        else:
            norms = float64_norms(rows)
            sound = torch.ones((), dtype=torch.bool, device=self._device)
        shrink = norms if self._cosine else norms.max().expand(len(norms))
        parts = float16_parts(rows, _SCALE / shrink, TILE["BLOCK_K"])
        products = self.products or (3 if self._many_listed else 1)
        unit = self._query_norm if self._cosine else self._query_norm * norms.max()  # (N,)
        bound = tensor_core_bound(rows.shape[1], products=products, rounded=True)
        low, high = score_band(self._threshold, unit, torch.full_like(unit, _SCALE**2), bound)
        return Inputs(self._query_parts, parts, None, products, low, high, sound)

    @cached_property
    def _query_parts(self) -> torch.Tensor:
        return float16_parts(self._queries, self._parts_scale, TILE["BLOCK_K"])

    def _launch(self, passages: Slice, inputs: Inputs, capacity: int) -> Listed:
        """Start the kernel on a slice, with a list of so many scores."""
        above = torch.zeros_like(self._above)
        pair, row = (torch.empty(capacity, dtype=torch.int64, device=self._device) for _ in range(2))
        number = torch.zeros(1, dtype=torch.int64, device=self._device)
        blocks, stride = len(self._most), inputs.queries.shape[1]
        if blocks and len(passages.tiles):
            count_above[(len(passages.tiles) * blocks,)](
                inputs.queries, inputs.passages,
                inputs.queries if inputs.inverse_norms is None else inputs.inverse_norms,
                passages.tiles, self._first, self._most, inputs.low, inputs.high, above, pair, row, number,
                len(self._queries), blocks, stride if inputs.queries is self._queries else stride // 2, stride,
                self._languages, capacity,
                SCALED=inputs.inverse_norms is not None, PRODUCTS=inputs.products, WIDENED=_INTERPRETED,
                **TILE, **_COMPILED,
            )  # fmt: skip
        found = torch.cat([number, inputs.sound.long()[None]])
        if self._device.type != "cuda":
            return Listed(above, pair, row, found, None)
        on_cpu = torch.empty(2, dtype=torch.int64, pin_memory=True).copy_(found, non_blocking=True)
        return Listed(above, pair, row, on_cpu, torch.cuda.current_stream().record_event())

    def _settled(self, passages: Slice, inputs: Inputs, listed: Listed, start: int) -> torch.Tensor:
        """Return the counts of a slice, once what is listed is scored in float64. (N, L)"""
        if listed.copied:
            listed.copied.synchronize()  # waits for this slice, and not for the next, which is launched already
        number, sound = listed.found.tolist()
        if not sound:
            return self._count_unordinary(passages, start)
        is_split = inputs.queries is not self._queries
        self._many_listed |= is_split and number * _WORTH > len(self._queries) * len(passages.rows)
        if number > len(listed.pair):
            return self._count_with_room(passages, inputs, number, start)
        for pair, row in zip(listed.pair[:number].split(_SETTLED), listed.row[:number].split(_SETTLED), strict=True):
            score, position = self._scores(self._query[pair], passages.rows, row), passages.positions[row]
            threshold = self._threshold[pair]
            higher = (score > threshold) | ((score == threshold) & (position < self._position[pair]))
            language = torch.bucketize(row, passages.ends, right=True)
            listed.above.view(-1).index_add_(0, pair * self._languages + language, higher.long())
        return listed.above

    def _count_unordinary(self, passages: Slice, start: int) -> torch.Tensor:
        """Count a slice whose norms are not ordinary; refuse it if that is because of its numbers."""
        rows = (passages.positions - start).cpu().numpy()  # in the argument
        check_magnitudes(largest_magnitudes(passages.rows), "passage_embeddings", rows)
        inputs = self._split_inputs(passages, ordinary=False)
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
        scores = inner_products(self._queries, passages, query, row)
        if self._cosine:
            squares = inner_products(passages, passages, row, row)
            # On a CPU, where tests run the kernels, torch rounds one square root in seventy wrongly.
            norms = squares.sqrt() if squares.is_cuda else torch.from_numpy(np.sqrt(squares.numpy()))
            scores /= torch.where(norms == 0, 1.0, norms)
        return scores


def _current(device: torch.device) -> AbstractContextManager:
    """Make a GPU the current device, on which kernels are launched."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
