"""Bounds of how far a fast score can be off. Scores within a bound are settled in float64, so ranks stay exact.

All bounds are for two vectors of norm at most 1, whose sum of |q_i p_i| is at most 1 by Cauchy and Schwarz. A sum of n
rounded terms is off by at most gamma(n, u) = n u / (1 - n u) of it, in any order (Higham, Accuracy and Stability of
Numerical Algorithms, 2002, section 3.1).
"""


def error_bound(dimensions: int) -> float:
    """Return the most a float32 score can differ from the float64 score.

    Rounding the two inputs to float32 costs a factor (1 + u) each, with u = 2^-24, and the sum of D products costs
    (1 + u)^D. One more u covers all the float64 operations, and the last term covers underflow.

    >>> round(error_bound(384), 7)
    2.31e-05
    """
    return _gamma(dimensions + 3, 2.0**-24) + dimensions * 2.0**-125


def tensor_core_bound(dimensions: int, *, products: int, rounded: bool) -> float:
    """Return the most a score of tensor cores can differ from the float64 score. Their inputs have 11 bits or less.

    *The sum.* Products of such inputs are exact. Tensor cores add a block of k products and the sum so far, where k is
    4, 8 or 16. They cut each of these k + 1 numbers, and then the result, at 2^-23 of the largest or below (Fasi et
    al., Numerical behavior of NVIDIA tensor cores, PeerJ Computer Science 7:e330, 2021). None is larger than the sum of
    |q_i p_i|. So a block costs at most (k + 2) 2^-23 of that sum, and D / k blocks cost less than 1.5 D 2^-23, which is
    less than gamma(D, u) with u = 2^-22.

    *The inputs.* Half-precision embeddings are taken as they are. Others are `rounded`: they are scaled by 2^15, so
    that nothing that matters underflows, and written as high + low, both float16. High is off by 2^-11 at most. The two
    together are off by 2^-22 (rounding by way of float32 adds a 2^-12th of that). Where they underflow, they are off by
    2^-40 of the vector's norm.

    - One product, high times high, is off by 2 * 2^-11 + 2^-22.
    - Three products add low times high and high times low. They are off by 3 * 2^-22: low times low, and what both
      leave out. The first two are summed before the third and come to 2^-10 at most, so their own 2 D sums cost
      gamma(2 D, u) of that.
    - One more 2^-22 each covers rounding twice.

    *The rest.* Norms by which passages are divided may be float32, half of gamma(D, 2^-24) off, and a division takes a
    few roundings. The term 2^-20 covers those and what float64 rounds.

    Args:
        dimensions: D.
        products: 1 or 3.
        rounded: the inputs are parts of wider numbers. Three products are only made of those.

    >>> round(tensor_core_bound(384, products=1, rounded=False), 6)
    0.000104
    >>> round(tensor_core_bound(384, products=1, rounded=True), 6)
    0.001081
    >>> round(tensor_core_bound(384, products=3, rounded=True), 6)
    0.000106
    """
    u = 2.0**-22
    # The parts of a rounded vector may have a norm 2^-10 above 1, and their product 2^-8 above 1.
    total = _gamma(dimensions, u) * (1 + 2.0**-8) + _gamma(dimensions, 2.0**-24) / 2 + 2.0**-20
    if not rounded:
        return total
    underflow = dimensions * 2.0**-38
    if products == 1:
        return total + 2.0**-10 + 2 * u + underflow
    return total + _gamma(2 * dimensions, u) * 2.0**-9 + 4 * u + underflow


def _gamma(terms: int, unit: float) -> float:
    """Return the share of the sum of magnitudes by which a rounded sum of so many terms can be off."""
    return terms * unit / (1 - terms * unit)
