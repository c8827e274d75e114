"""Inputs of the counting kernel on a GPU: float16 parts, norms and bands of scores."""

from functools import cached_property
from typing import NamedTuple

import torch
import triton

from hybridlib.metric.bounds import left_out_bound, tensor_core_bound
from hybridlib.metric.gpu import parts

# Numbers that a program splits at a time, of one row or of some short ones. With two warps, no register is spilled.
_SPLIT_BLOCK, _SPLIT_WARPS = 1 << 10, 2
_HALF = (torch.float16, torch.bfloat16)
# Norms whose squares and products float32 holds easily, and of which no subnormal float16 number is a large part.
_ORDINARY = (2.0**-14, 2.0**40)


class Inputs(NamedTuple):
    """Matrices that the kernel multiplies, and the scores that settle a pair."""

    queries: torch.Tensor  # (Q, stride)
    passages: torch.Tensor  # in the order of the corpus, (C, stride)
    inverse_norms: torch.Tensor | None  # by which a passage's scores are multiplied, (C,)
    products: int  # 1 or 3
    low: torch.Tensor  # scores below it are surely worse, (N,)
    high: torch.Tensor  # scores above it are surely better, (N,)
    sound: torch.Tensor  # whether all norms are such that the bound holds, ()


class Parts(NamedTuple):
    """Rows, each multiplied by a power of two and rounded to float16 or split into two float16 parts."""

    parts: torch.Tensor  # (R, stride)
    norms: torch.Tensor  # float64 norms of the rows, (R,)
    shrink: torch.Tensor  # float64, 1 over the power of two. (R,)
    left_out: torch.Tensor  # float64 norm of what the high part leaves out, as a share of the row's norm. (R,)


class QueryInputs:
    """The queries as the counting kernel takes them."""

    def __init__(self, queries: torch.Tensor, query: torch.Tensor, *, cosine: bool, block: int) -> None:
        """Take the queries to a device.

        Args:
            queries: floats, on the device. (Q, D)
            query: the query of each pair. (N,)
            cosine: scores are cosines, not inner products.
            block: dimensions that the counting kernel takes at a time.
        """
        self._queries, self._query, self._cosine, self._block = queries, query, cosine, block
        self._capability = torch.cuda.get_device_capability(queries.device) if queries.is_cuda else None
        norms = norms_of(queries, wide=True)
        self._norm = norms[query]  # (N,)
        self._whole = queries.dtype in _HALF and bool(are_ordinary(norms))

    def go_whole(self, rows: torch.Tensor) -> bool:
        """Return whether the kernel takes the queries and such passages as they are: in half precision, unsplit."""
        return self._whole and rows.dtype == self._queries.dtype and not rows.shape[1] % self._block

    def with_passages(self, rows: torch.Tensor, threshold: torch.Tensor, *, products: int) -> Inputs:
        """Return the inputs of a slice of passages. They hold if `sound` says so, of which the CPU knows nothing yet.

        Args:
            rows: floats, on the device. (C, D)
            threshold: float64 score of the relevant passage of each pair. (N,)
            products: how many products are made where rows are split, 1 or 3.
        """
        if not self.go_whole(rows):
            return self._of_parts(rows, threshold, products, wide=False)
        norms = norms_of(rows)  # (C,)
        unit = self._norm if self._cosine else self._norm * norms.max()  # (N,)
        bound = tensor_core_bound(rows.shape[1], products=1, capability=self._capability)
        low, high = score_band(threshold, unit, unit, bound)  # (N,), (N,)
        inverse = (1 / norms).float() if self._cosine else None  # (C,)
        return Inputs(self._queries, rows, inverse, 1, low, high, are_ordinary(norms))

    def with_any_passages(self, rows: torch.Tensor, threshold: torch.Tensor, *, products: int) -> Inputs:
        """Return the inputs of passages with norms of any size, which are split in float64."""
        return self._of_parts(rows, threshold, products, wide=True)

    def _of_parts(self, rows: torch.Tensor, threshold: torch.Tensor, products: int, *, wide: bool) -> Inputs:
        passages = float16_parts(rows, products, self._block, wide=wide)
        own, gain, left_out = self._parts
        bound: float | torch.Tensor = tensor_core_bound(rows.shape[1], products=products, capability=self._capability)
        if products == 1:
            own = self._high_parts
            bound += left_out_bound(left_out, passages.left_out.max())  # (N,)
        # With `inverse` the kernel takes the scale of the passage from a score, and for a cosine its norm. The scale of
        # an inner product may not fit in float32, so that of the largest norm is left to the thresholds.
        unit, inverse = self._norm, passages.shrink / passages.norms  # (N,), (C,)
        if not self._cosine:
            largest, scale = passages.norms.max(), passages.shrink.max()
            unit, gain, inverse = unit * largest, gain * (largest / scale), passages.shrink / scale
        low, high = score_band(threshold, unit, gain, bound)  # (N,), (N,)
        sound = torch.ones((), dtype=torch.bool, device=rows.device) if wide else are_ordinary(passages.norms)
        return Inputs(own, passages.parts, inverse.float(), products, low, high, sound)

    @cached_property
    def _parts(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the parts of the queries and, of each pair, the scaled norm of its query and what that leaves out."""
        queries = float16_parts(self._queries, 3, self._block, wide=True)
        return queries.parts, self._norm / queries.shrink[self._query], queries.left_out[self._query]

    @cached_property
    def _high_parts(self) -> torch.Tensor:
        return self._parts[0].chunk(2, dim=1)[0].contiguous()


def score_band(
    threshold: torch.Tensor, unit: torch.Tensor, gain: torch.Tensor, bound: float | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, for each pair, the float32 scores below and above which a passage is surely worse or better.

    Args:
        threshold: float64 score of the relevant passage. (N,)
        unit: the number by which the threshold is divided to be a score of unit vectors. (N,)
        gain: the number by which the kernel multiplies a score of unit vectors. (N,)
        bound: the most a score of unit vectors is off, with the rounding of these ends; for all pairs or for each. (N,)

    Returns:
        Lower and upper ends of the bands. (N,), (N,)
    """
    centre = (threshold / unit).clamp(-2, 2)  # no score is out there; (N,)
    return ((centre - bound) * gain).float(), ((centre + bound) * gain).float()


def float16_parts(rows: torch.Tensor, products: int, block: int, *, wide: bool) -> Parts:
    """Return the part of each row that one product needs or the two that three need, filled up to whole blocks.

    Args:
        rows: floats. (R, D)
        products: 1, for the high part, or 3, for the high and then the low part.
        block: dimensions that the counting kernel takes at a time, to a multiple of which a part has columns.
        wide: compute in float64, for norms of any size. The norm of a zero row counts as 1 then.
    """
    padded = max(1, triton.cdiv(rows.shape[1], block)) * block
    made = torch.empty((len(rows), padded if products == 1 else 2 * padded), dtype=torch.float16, device=rows.device)
    return Parts(made, *_split(rows, made, padded, wide))


def norms_of(rows: torch.Tensor, *, wide: bool = False) -> torch.Tensor:
    """Return Euclidean norms; if `wide`, they are computed in float64, and that of a zero row counts as 1. (R,)"""
    return _split(rows, None, max(1, rows.shape[1]), wide)[0]


def _split(rows: torch.Tensor, made: torch.Tensor | None, padded: int, wide: bool) -> list[torch.Tensor]:
    """Write parts of rows to a tensor, if one is given, and return norms, shrink and left_out, as in `Parts`."""
    written = [torch.empty(len(rows), dtype=torch.float64, device=rows.device) for _ in range(3)]
    columns = min(_SPLIT_BLOCK, triton.next_power_of_2(padded))
    if len(rows):
        options = {
            "PARTS": 0 if made is None else made.shape[1] // padded,
            "WIDE": wide or rows.dtype == torch.float64,
            "BLOCK_R": _SPLIT_BLOCK // columns,
            "BLOCK_D": columns,
            "num_warps": _SPLIT_WARPS,
        }
        grid = (triton.cdiv(len(rows), options["BLOCK_R"]),)
        parts.split[grid](rows, made, *written, len(rows), rows.shape[1], padded, **options)
    if wide:
        written[0].masked_fill_(written[0] == 0, 1.0)
    return written


def are_ordinary(norms: torch.Tensor) -> torch.Tensor:
    """Return whether all norms are such that float32 and half precision hold what matters easily. (R,) -> ()"""
    return ((norms > _ORDINARY[0]) & (norms < _ORDINARY[1])).all()
