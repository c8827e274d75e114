"""Bounds of how far a fast score can be off. Scores within a bound are settled in float64, so ranks stay exact.

All bounds are for two vectors q and p of norm at most 1, whose sum of |q_i p_i| is at most 1 by Cauchy and Schwarz. A
sum of n rounded terms is off by at most gamma(n, u) = n u / (1 - n u) of it, in any order (Higham, Accuracy and
Stability of Numerical Algorithms, 2002, section 3.1).
"""

from math import ceil
from typing import NamedTuple, TypeVar

import torch

Share = TypeVar("Share", float, torch.Tensor)


class TensorCores(NamedTuple):
    """The way in which the tensor cores of a chip add products of half-precision numbers in float32."""

    block: int  # products that they add at once to the sum so far
    bits: int  # after the point, to which they cut what they add


# The keys are compute capabilities. Khattak and Mikaitis compared these numbers bit by bit with an A100, A2, L40S, H100
# and H200, and Xie et al. found the same for the generation of each.
_TESTED = {
    (8, 0): TensorCores(8, 24),
    (8, 6): TensorCores(8, 24),
    (8, 9): TensorCores(8, 24),
    (9, 0): TensorCores(16, 25),
}
# The V100 has these numbers. Its tensor cores, the first of all, lose the most.
_OTHERS = TensorCores(4, 23)


def error_bound(dimensions: int) -> float:
    """Return the most a float32 score can differ from the float64 score.

    Rounding the two inputs to float32 costs a factor (1 + u) each, with u = 2^-24, and the sum of D products costs
    (1 + u)^D. One more u covers all the float64 operations, and the last term covers underflow.

    >>> round(error_bound(384), 7)
    2.31e-05
    """
    return _gamma(dimensions + 3, 2.0**-24) + dimensions * 2.0**-125


def tensor_core_bound(dimensions: int, *, products: int, capability: tuple[int, int] | None) -> float:
    """Return the most a score of tensor cores can differ from the float64 score of the same vectors.

    *The sum.* A product of two half-precision numbers is exact. Tensor cores add a block of k products and the sum so
    far. They cut each of these k + 1 numbers at 2^-f of a power of two, add what is left exactly, and cut the result to
    24 bits. The power of two is 2^e of the largest number, where e is the sum of the exponents of its two factors, and
    a factor that is subnormal has the least exponent of its type: -14 for float16 (Fasi et al., Numerical behavior of
    NVIDIA tensor cores, PeerJ Computer Science 7:e330, 2021; Khattak and Mikaitis, Accurate Models of NVIDIA Tensor
    Cores, arXiv 2512.07004; Xie et al., MMA-Sim, arXiv 2511.10909). So 2^e is at most the product of the two norms, if
    no norm is below 2^-14, or at most the sum so far. Let this sum be at most 1 + E, if E is the most that it is off.
    Then D products and ceil(D / k) sums lose at most 2^-f (1 + E) each, and ceil(D / k) results 2^-23 (1 + E). With
    A = (D + ceil(D / k)) 2^-f + ceil(D / k) 2^-23 that is E <= A (1 + E), or E <= A / (1 - A).

    The chips of one generation share k and f: 8 and 24 for capability 8, 16 and 25 for 9. The V100 has 4 and 23,
    with which A is about 1.5 D 2^-23. That is taken for chips that were not tested. It holds on a CPU too, which rounds
    each of D - 1 sums, in any order, and is off by gamma(D - 1, 2^-24) at most.

    *The inputs.* Half-precision embeddings are taken as they are, and one product is made. Wider numbers are multiplied
    by a power of two, so that the norm is between 2^14 and 2^15, and written as high + low, both float16.

    - One product, high times high, leaves out what `left_out_bound` bounds. It is not in the bound returned here.
    - Three products add low times high and high times low. High is off by 2^-11 at most, and high + low by 2^-22
      (rounding by way of float32 adds a 2^-12th of that). So three products are off by 3 * 2^-22: low times low, and
      what both leave out. One more 2^-22 covers rounding twice. Where they underflow, high + low are off by 2^-25, or
      2^-39 of the norm. The first two products are summed before the third and come to 2^-10 at most, so 2 D terms
      lose that share of what D terms lose.

    The high parts may have a norm 2^-10 above 1, and what is summed may come to 2^-8 above 1.

    *The rest.* The passages' norms are summed in float32 in D / 2^10 + 1 steps at most, and then in float64. So they
    are off by half of gamma(D / 2^10 + 2, 2^-24). One over a norm is rounded to float32, then its product with the sum,
    and the numbers with which that is compared. These three come to 3/4 of 2^-22 at most. The last quarter
    covers what float64 rounds, what underflows in float32, and the rounding of `left_out`, which float32 sums.

    Args:
        dimensions: D.
        products: 1 or 3.
        capability: compute capability of the chip, None for a CPU.

    >>> round(tensor_core_bound(384, products=1, capability=(9, 0)), 7)
    1.54e-05
    >>> round(tensor_core_bound(384, products=1, capability=(8, 6)), 7)
    3.19e-05
    >>> round(tensor_core_bound(384, products=1, capability=None), 7)
    6.92e-05
    >>> round(tensor_core_bound(384, products=3, capability=(9, 0)), 7)
    1.64e-05
    """
    cores = _TESTED.get(capability, _OTHERS) if capability else _OTHERS
    norms = _gamma(dimensions / 2**10 + 2, 2.0**-24) / 2
    bound = (_lost(dimensions, cores) + norms) * (1 + 2.0**-8) + 2.0**-22
    if products == 1:
        return bound
    return bound + _lost(2 * dimensions, cores) * 2.0**-9 + 2.0**-20 + dimensions * 2.0**-37


def left_out_bound(query: Share, passage: Share) -> Share:
    """Return the most that a score changes where a part of each vector is left out.

    If q = q_h + q_l and p = p_h + p_l, then q p - q_h p_h = q_l p + q_h p_l. By Cauchy and Schwarz that is at most
    |q_l| |p| + |q_h| |p_l|, and |q_h| is at most |q| + |q_l|.

    Args:
        query: norm of the part of the query that is left out, as a share of the query's.
        passage: the same of the passage.

    >>> left_out_bound(0.25, 0.5)
    0.875
    """
    return query + (1 + query) * passage


def _lost(products: int, cores: TensorCores) -> float:
    """Return the share by which the tensor cores' sum of so many products can be off."""
    sums = ceil(products / cores.block)
    lost = (products + sums) * 2.0**-cores.bits + sums * 2.0**-23
    return lost / (1 - lost)


def _gamma(terms: float, unit: float) -> float:
    """Return the share of the sum of magnitudes by which a rounded sum of so many terms can be off."""
    return terms * unit / (1 - terms * unit)
