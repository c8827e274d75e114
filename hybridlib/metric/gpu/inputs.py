"""Inputs of the counting kernel on a GPU: float16 parts, norms, float64 inner products and bands of scores."""

from typing import NamedTuple

import torch
import triton

from hybridlib.metric.gpu import kernels

# Rows, or pairs of rows, and columns of a program of these kernels.
_BLOCK, _SPLIT_BLOCK = 16, 128
# Norms whose squares and products float32 holds easily.
_ORDINARY = (2.0**-40, 2.0**40)


class Inputs(NamedTuple):
    """Matrices that the kernel multiplies, and the scores that settle a pair."""

    queries: torch.Tensor  # (Q, stride)
    passages: torch.Tensor  # (C, stride)
    inverse_norms: torch.Tensor | None  # by which a passage's scores are multiplied, (C,)
    products: int  # 1 or 3
    low: torch.Tensor  # scores below it are surely worse, (N,)
    high: torch.Tensor  # scores above it are surely better, (N,)
    sound: torch.Tensor  # whether all norms are such that the bound holds, ()


def score_band(
    threshold: torch.Tensor, unit: torch.Tensor, gain: torch.Tensor, bound: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, for each pair, the float32 scores below and above which a passage is surely worse or better.

    Args:
        threshold: float64 score of the relevant passage. (N,)
        unit: the number by which the threshold is divided to be a score of unit vectors. (N,)
        gain: the number by which the kernel multiplies a score of unit vectors. (N,)
        bound: the most a score of unit vectors is off.

    Returns:
        Lower and upper ends of the bands. (N,), (N,)
    """
    centre = (threshold / unit).clamp(-2, 2)  # no score is out there
    low, high = ((centre - bound) * gain).float(), ((centre + bound) * gain).float()
    infinity = torch.full_like(low, torch.inf)
    return torch.nextafter(low, -infinity), torch.nextafter(high, infinity)


def inner_products(
    left: torch.Tensor, right: torch.Tensor, left_row: torch.Tensor, right_row: torch.Tensor
) -> torch.Tensor:
    """Return the float64 inner products of pairs of rows, to the last bit those of the CPU. (n,)"""
    products = torch.empty(len(left_row), dtype=torch.float64, device=left.device)
    if number := len(products):
        grid, options = (triton.cdiv(number, _BLOCK),), {"BLOCK": _BLOCK, "enable_fp_fusion": False}
        kernels.inner_products[grid](left, right, left_row, right_row, products, number, left.shape[1], **options)
    return products


def float16_parts(rows: torch.Tensor, scales: torch.Tensor, block: int) -> torch.Tensor:
    """Return high and low parts of rows times their scales, each filled up with zeros to a multiple of `block` columns.

    Args:
        rows: (R, D)
        scales: float64. (R,)
        block: dimensions that the counting kernel takes at a time.

    Returns:
        The high and then the low parts. (R, 2 * padded)
    """
    padded = max(1, triton.cdiv(rows.shape[1], block)) * block
    parts = torch.empty((len(rows), 2 * padded), dtype=torch.float16, device=rows.device)
    if len(rows):
        grid = (triton.cdiv(len(rows), _BLOCK), triton.cdiv(padded, _SPLIT_BLOCK))
        options = {"BLOCK_R": _BLOCK, "BLOCK_D": _SPLIT_BLOCK}
        kernels.split[grid](rows, scales, parts, len(rows), rows.shape[1], padded, **options)
    return parts


def float64_norms(rows: torch.Tensor) -> torch.Tensor:
    """Return Euclidean norms, 1 for a zero vector; their last bits are not those of the CPU. (R, D) -> (R,)"""
    norms = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
    return torch.where(norms == 0, 1.0, norms)


def are_ordinary(norms: torch.Tensor) -> torch.Tensor:
    """Return whether float32 holds the squares and products of all norms easily. (R,) -> ()"""
    return ((norms > _ORDINARY[0]) & (norms < _ORDINARY[1])).all()
