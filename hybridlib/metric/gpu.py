"""Counting ranks on a GPU: `hybridlib.metric.ranks` with scores on tensor cores, which never leave them.

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

from hybridlib.metric.arguments import check_languages, check_size, largest_of
from hybridlib.metric.bounds import tensor_core_bound
from hybridlib.metric.gpu_kernels import count_above, inner_products, split
from hybridlib.metric.gpu_slices import Slice, by_language, moved, slices_on

_INTERPRETED = not isinstance(count_above, triton.JITFunction)
_HALF = (torch.float16, torch.bfloat16)
# Tile of a program: queries, passages, dimensions at a time; and how it is compiled.
TILE = {"BLOCK_Q": 128, "BLOCK_P": 256, "BLOCK_K": 64}
_COMPILED = {"num_warps": 8, "num_stages": 3}
# Rows, or pairs of rows, and columns of a program of the other kernels.
_BLOCK, _SPLIT_BLOCK = 16, 128
# Numbers in a slice of passages that are split, which takes 4 bytes each, and of those that go as they are.
_SPLIT_NUMBERS = 1 << 28
_WHOLE_NUMBERS = 1 << 30
# Scores that may be listed, 16 bytes each. Where more are, the list grows, and beyond the most the slice is halved.
_LISTED, _MOST_LISTED = 1 << 22, 1 << 27
# Scored in float64 at a time.
_SETTLED = 1 << 24
# To settle a score takes as long as so many scores of one product: with more of them listed, three products are faster.
_WORTH = 400
# Norms whose squares and products float32 holds easily.
_ORDINARY = (2.0**-40, 2.0**40)
# Split numbers are multiplied by it, so that their low parts do not underflow.
_SCALE = 2.0**15


class _Inputs(NamedTuple):
    """What the kernel multiplies, and from where on a score settles a pair."""

    queries: torch.Tensor  # (Q, stride)
    passages: torch.Tensor  # (C, stride)
    inverse_norms: torch.Tensor | None  # (C,)
    products: int
    low: torch.Tensor  # (N,)
    high: torch.Tensor  # (N,)
    sound: torch.Tensor  # whether all numbers are such that this may be done, ()


class _Listed(NamedTuple):
    """What a launched kernel counts and lists."""

    above: torch.Tensor  # (N, L)
    pair: torch.Tensor  # (capacity,)
    row: torch.Tensor  # (capacity,)
    found: torch.Tensor  # how many were listed, or would have been, and whether the inputs were sound; (2,)
    copied: torch.cuda.Event | None  # when `found` is on the CPU


class GpuCounts:
    """How many passages rank above each pair's relevant one, of those added so far.

    Args:
        queries: as of `as_tensor`, on any device. (Q, D)
        relevant: passages. (R, D)
        query: row of the query of each pair, ascending. (N,)
        row: row of the relevant passage of each pair. (N,)
        position: where in the corpus that is. (N,)
        languages: how many there are, L.
        cosine: rather than the dot product.
        device: where it is counted.

    Raises:
        ValueError: a number is not finite or of no ordinary size.
    """

    def __init__(
        self,
        queries: torch.Tensor,
        relevant: torch.Tensor,
        query: np.ndarray,
        row: np.ndarray,
        position: np.ndarray,
        *,
        languages: int,
        cosine: bool,
        device: torch.device,
    ) -> None:
        check_size(largest_of(queries), "query_embeddings")
        check_size(largest_of(relevant), "relevant_embeddings")
        self.products: int | None = None  # made of parts: 1 or 3; None for whichever is faster
        self._many_listed = False
        self._queries = queries.to(device)
        device = self._queries.device  # with its number
        self._device, self._cosine, self._languages = device, cosine, languages
        self._query = moved(query, self._device)
        self._positions = position  # of each pair's own passage, (N,)
        self._position = moved(position, self._device)
        first = np.searchsorted(query, np.arange(len(queries) + 1))
        blocks = np.arange(0, len(queries), TILE["BLOCK_Q"])
        self._first = moved(first, self._device)  # (Q + 1,)
        self._most = moved(np.maximum.reduceat(np.diff(first), blocks) if len(blocks) else blocks, self._device)
        self._above = torch.zeros((len(query), languages), dtype=torch.int64, device=device)
        with _on(device):
            norms = _norms(self._queries)
            self._parts_scale = _SCALE / norms  # (Q,)
            self._query_norm = norms[self._query]  # of each pair, (N,)
            self._whole = self._queries.dtype in _HALF and bool(_are_ordinary(norms))
            self._threshold = self._scores(self._query, relevant.to(device), moved(row, self._device))  # (N,)

    @property
    def above(self) -> np.ndarray:
        """The counts, in the order of the pairs. (N, L)"""
        return self._above.cpu().numpy()

    def add(self, passages: torch.Tensor, languages: np.ndarray, start: int) -> None:
        """Count consecutive passages of the corpus, the first of which is at `start`.

        Raises:
            ValueError: a number is not finite or of no ordinary size. The counts are then as they were.
        """
        total = torch.zeros_like(self._above)
        before: tuple[Slice, _Inputs, _Listed] | None = None
        with _on(self._device):
            numbers = _WHOLE_NUMBERS if self._goes_whole(passages) else _SPLIT_NUMBERS
            for rows, begin in slices_on(self._device, passages, max(1, numbers // max(1, passages.shape[1]))):
                own = languages[begin : begin + len(rows)]
                check_languages(own, self._languages)
                one = by_language(rows, own, start + begin, self._languages, TILE["BLOCK_P"])
                inputs = self._whole_inputs(one) if self._goes_whole(rows) else self._split_inputs(one)
                self._take_off_own(total, rows, own, start + begin)
                now = (one, inputs, self._launch(one, inputs, _LISTED))
                if before:  # is settled while the next is counted
                    total += self._settled(*before, start)
                before = now
            if before:
                total += self._settled(*before, start)
        self._above += total

    def _take_off_own(self, counts: torch.Tensor, rows: torch.Tensor, languages: np.ndarray, first: int) -> None:
        """Take each pair's own passage off its count, in which it is if it scores higher here than as a relevant one.

        That may be where a chunk holds another vector than was given before, as of texts that were encoded twice.
        """
        row = self._positions - first  # (N,)
        pair = np.flatnonzero((row >= 0) & (row < len(rows)))
        place, language = moved(pair, self._device), moved(languages[row[pair]], self._device)
        higher = self._scores(self._query[place], rows, moved(row[pair], self._device)) > self._threshold[place]
        counts.view(-1).index_add_(0, place * self._languages + language, -higher.long())

    def _goes_whole(self, rows: torch.Tensor) -> bool:
        return self._whole and rows.dtype == self._queries.dtype and not rows.shape[1] % TILE["BLOCK_K"]

    def _whole_inputs(self, one: Slice) -> _Inputs:
        norms = torch.linalg.vector_norm(one.rows, dim=1, dtype=torch.float32)  # (C,)
        unit = self._query_norm if self._cosine else self._query_norm * norms.max().double()  # (N,)
        bound = tensor_core_bound(one.rows.shape[1], products=1, rounded=False)
        inverse = 1 / norms if self._cosine else None
        return _Inputs(self._queries, one.rows, inverse, 1, *self._band(unit, unit, bound), _are_ordinary(norms))

    def _split_inputs(self, one: Slice, *, ordinary: bool = True) -> _Inputs:
        """Parts of the rows, whose norms float32 can hold if they are `ordinary`, which is found out."""
        if ordinary:
            wide = torch.promote_types(one.rows.dtype, torch.float32)
            norms = torch.linalg.vector_norm(one.rows, dim=1, dtype=wide)  # (C,)
            sound, norms = _are_ordinary(norms), norms.double()
        else:
            norms = _norms(one.rows)
            sound = torch.ones((), dtype=torch.bool, device=self._device)
        shrink = norms if self._cosine else norms.max().expand(len(norms))
        products = self.products or (3 if self._many_listed else 1)
        unit = self._query_norm if self._cosine else self._query_norm * norms.max()  # (N,)
        bound = tensor_core_bound(one.rows.shape[1], products=products, rounded=True)
        low, high = self._band(unit, torch.full_like(unit, _SCALE**2), bound)
        return _Inputs(self._query_parts, _split(one.rows, _SCALE / shrink), None, products, low, high, sound)

    @cached_property
    def _query_parts(self) -> torch.Tensor:
        return _split(self._queries, self._parts_scale)

    def _band(self, unit: torch.Tensor, gain: torch.Tensor, bound: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Where scores begin and end that do not settle a pair: `bound` is of unit vectors, which `unit` makes of the
        threshold, and `gain` the kernel's scores of those. (N,), (N,)"""
        centre = (self._threshold / unit).clamp(-2, 2)  # no score is out there
        low, high = ((centre - bound) * gain).float(), ((centre + bound) * gain).float()
        return torch.nextafter(low, torch.full_like(low, -torch.inf)), torch.nextafter(
            high, torch.full_like(high, torch.inf)
        )

    def _launch(self, one: Slice, inputs: _Inputs, capacity: int) -> _Listed:
        above = torch.zeros_like(self._above)
        pair, row = (torch.empty(capacity, dtype=torch.int64, device=self._device) for _ in range(2))
        number = torch.zeros(1, dtype=torch.int64, device=self._device)
        blocks, stride = len(self._most), inputs.queries.shape[1]
        if blocks and len(one.tiles):
            count_above[(len(one.tiles) * blocks,)](
                inputs.queries, inputs.passages,
                inputs.queries if inputs.inverse_norms is None else inputs.inverse_norms,
                one.tiles, self._first, self._most, inputs.low, inputs.high, above, pair, row, number,
                len(self._queries), blocks, stride if inputs.queries is self._queries else stride // 2, stride,
                self._languages, capacity,
                SCALED=inputs.inverse_norms is not None, PRODUCTS=inputs.products, WIDENED=_INTERPRETED,
                **TILE, **_COMPILED,
            )  # fmt: skip
        found = torch.cat([number, inputs.sound.long()[None]])
        if self._device.type != "cuda":
            return _Listed(above, pair, row, found, None)
        on_cpu = torch.empty(2, dtype=torch.int64, pin_memory=True).copy_(found, non_blocking=True)
        return _Listed(above, pair, row, on_cpu, torch.cuda.current_stream().record_event())

    def _settled(self, one: Slice, inputs: _Inputs, listed: _Listed, start: int) -> torch.Tensor:
        """The counts of a slice, once what is listed is scored in float64. (N, L)"""
        if listed.copied:
            listed.copied.synchronize()  # waits for this slice, and not for the next, which is launched already
        number, sound = listed.found.tolist()
        if not sound:
            return self._careful(one, start)
        is_split = inputs.queries is not self._queries
        self._many_listed |= is_split and number * _WORTH > len(self._queries) * len(one.rows)
        if number > len(listed.pair):
            return self._again(one, inputs, number, start)
        for pair, row in zip(listed.pair[:number].split(_SETTLED), listed.row[:number].split(_SETTLED), strict=True):
            score, position = self._scores(self._query[pair], one.rows, row), one.positions[row]
            threshold = self._threshold[pair]
            higher = (score > threshold) | ((score == threshold) & (position < self._position[pair]))
            language = torch.bucketize(row, one.ends, right=True)
            listed.above.view(-1).index_add_(0, pair * self._languages + language, higher.long())
        return listed.above

    def _careful(self, one: Slice, start: int) -> torch.Tensor:
        """Count a slice whose norms are not ordinary; refuse it if that is because of its numbers."""
        rows = (one.positions - start).cpu().numpy()  # in the argument
        check_size(largest_of(one.rows), "passage_embeddings", rows)
        inputs = self._split_inputs(one, ordinary=False)
        return self._settled(one, inputs, self._launch(one, inputs, _LISTED), start)

    def _again(self, one: Slice, inputs: _Inputs, number: int, start: int) -> torch.Tensor:
        """Count a slice again whose list was too short: with a longer one, or in two halves."""
        tiles, half = one.tiles, len(one.tiles) // 2
        if number <= _MOST_LISTED or not half:
            return self._settled(one, inputs, self._launch(one, inputs, number), start)
        parts = [one._replace(tiles=part) for part in (tiles[:half], tiles[half:])]
        first, second = (self._settled(part, inputs, self._launch(part, inputs, _LISTED), start) for part in parts)
        return first + second

    def _scores(self, query: torch.Tensor, passages: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """The scores of `hybridlib.metric.cpu_kernels.score`, to the last bit. (n,), (C, D), (n,) -> (n,)"""
        scores = _inner_products(self._queries, passages, query, row)
        if self._cosine:
            norms = _inner_products(passages, passages, row, row).sqrt()
            scores /= torch.where(norms == 0, 1.0, norms)
        return scores


def _inner_products(
    left: torch.Tensor, right: torch.Tensor, left_row: torch.Tensor, right_row: torch.Tensor
) -> torch.Tensor:
    products = torch.empty(len(left_row), dtype=torch.float64, device=left.device)
    if len(products):
        inner_products[(triton.cdiv(len(products), _BLOCK),)](
            left,
            right,
            left_row,
            right_row,
            products,
            len(products),
            left.shape[1],
            BLOCK=_BLOCK,
            enable_fp_fusion=False,
        )
    return products


def _split(rows: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """High and low parts of rows times their scales, each filled up to whole blocks of the kernel. (R, 2 padded)"""
    padded = max(1, triton.cdiv(rows.shape[1], TILE["BLOCK_K"])) * TILE["BLOCK_K"]
    parts = torch.empty((len(rows), 2 * padded), dtype=torch.float16, device=rows.device)
    if len(rows):
        grid = (triton.cdiv(len(rows), _BLOCK), triton.cdiv(padded, _SPLIT_BLOCK))
        split[grid](rows, scales, parts, len(rows), rows.shape[1], padded, BLOCK_R=_BLOCK, BLOCK_D=_SPLIT_BLOCK)
    return parts


def _norms(rows: torch.Tensor) -> torch.Tensor:
    """Euclidean norms, 1 for a zero vector; not to the last bit. (R, D) -> (R,)"""
    norms = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return torch.where(norms == 0, 1.0, norms)


def _are_ordinary(norms: torch.Tensor) -> torch.Tensor:
    return ((norms > _ORDINARY[0]) & (norms < _ORDINARY[1])).all()


def _on(device: torch.device) -> AbstractContextManager:
    """Kernels are launched on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
