"""Fast scores against exact ones, on vectors that are made to be scored wrongly."""

import itertools
import math

import numpy as np
import pytest
import torch

from hybridlib.metric.bounds import error_bound, tensor_core_bound

U = 2.0**-24  # half the distance from 1 to the next larger float32


@pytest.mark.parametrize("dimensions", [1, 2, 3, 7, 31, 128, 384, 1021, 4099])
def test_no_float32_score_is_further_from_the_true_one_than_the_bound(dimensions):
    rng = np.random.default_rng(dimensions)
    bound = error_bound(dimensions)
    equal = np.full(dimensions, dimensions**-0.5)
    # One large product swallows many that are just too small to be added to it; and the same with alternating signs.
    swallowed = np.r_[1.0, np.full(dimensions - 1, math.sqrt(0.99 * U / 2))]
    alternating = swallowed * (-1.0) ** np.arange(dimensions)
    # Every component lies just below the middle between two float32 numbers, and all are rounded down.
    middles = (np.float32(dimensions**-0.5) * (1 + rng.integers(0, 99, dimensions) * 2 * U)) * (1 + 0.99 * U)
    vectors = [equal, swallowed, alternating, middles, rng.standard_normal(dimensions), rng.standard_cauchy(dimensions)]
    vectors = np.array([vector / np.linalg.norm(vector) for vector in vectors])
    for q, p in itertools.product(vectors, vectors):
        q32, p32 = q.astype(np.float32), p.astype(np.float32)
        products, in_torch = q32 * p32, torch.from_numpy(q32) @ torch.from_numpy(p32)
        in_order, backwards = (np.add.accumulate(some)[-1] for some in (products, products[::-1]))  # the worst orders
        for score in (in_order, backwards, products.sum(), q32 @ p32, in_torch):
            assert abs(float(score) - math.fsum(q * p)) <= bound


def test_the_bound_is_no_more_than_about_twice_what_can_happen():
    # 4098 products of 0.99 u / 2 each are lost on a first one of nearly 1: 4098 * 0.495 u, of a bound of 4102 u.
    vector = np.r_[1.0, np.full(4098, math.sqrt(0.99 * U / 2))]
    vector /= np.linalg.norm(vector)
    single = vector.astype(np.float32)
    error = abs(np.add.accumulate(single * single)[-1] - math.fsum(vector * vector))
    assert 0.45 * error_bound(4099) < error < error_bound(4099)


def cut(numbers, exponent):
    """Cut numbers toward zero, at 2^-23 of 2^exponent."""
    return np.trunc(np.ldexp(numbers, 23 - exponent)) * np.ldexp(1.0, exponent - 23)


def exponent_of(numbers):
    return np.frexp(numbers)[1] - 1


def slow_tensor_cores(q, p, block, total):
    """Sum as tensor cores do: `block` products and the sum so far are cut like the largest, added, and cut.

    The products of half-precision numbers and the sum of so few cut ones are exact in float64.
    """
    products = q.astype(float) * p.astype(float)  # (D,)
    for left in range(0, len(products), block):
        numbers = np.append(products[left : left + block], total)
        total = cut(numbers, exponent_of(np.abs(numbers).max())).sum()
        total = cut(total, exponent_of(total))
    return total


def swallowed(dimensions, dtype):
    """Make a vector with one large product, on which all others, each just below 2^-23 of it, are lost."""
    small = torch.tensor(2.0**-11.5 * (1 - 2.0**-12)).to(dtype).item()
    small = small if small**2 < 2.0**-23 else small * (1 - 2.0**-7)
    return np.r_[1.0, np.full(dimensions - 1, small)]


def rounded_down(dimensions):
    """Make a vector of norm 1 at most, whose numbers are rounded down by 2^-11: the most that float16 can."""
    small = 2.0 ** -math.ceil(math.log2(1.01 * dimensions) / 2)
    twice = min(dimensions, int((0.998 / small**2 - dimensions) / 3))  # so many may be twice as large
    return np.r_[np.full(twice, 2 * small), np.full(dimensions - twice, small)] * (1 + 0.999 * 2.0**-11)


def adversarial_vectors(dimensions, dtype, rng):
    lost = swallowed(dimensions, dtype)
    vectors = [
        *(lost, lost[::-1], lost * (-1.0) ** np.arange(dimensions)),
        *(np.sqrt(np.arange(1.0, dimensions + 1)), np.ones(dimensions)),
        rng.standard_normal(dimensions),
        rng.standard_cauchy(dimensions),
        10.0 ** rng.uniform(-30, 0, dimensions),  # of which the low parts, or all, underflow
    ]
    return [rounded_down(dimensions), *(vector / np.linalg.norm(vector) for vector in vectors)]


def in_half(vectors, dtype):
    """Round vectors to half precision, with a power of 2 as the largest number, as `swallowed` is made."""
    scaled = [torch.from_numpy(vector / np.abs(vector).max()).to(dtype).double().numpy() for vector in vectors]
    return [vector for vector in scaled if vector.any()]


def worst_error_of_halves(dimensions, dtype, block):
    vectors = in_half(adversarial_vectors(dimensions, dtype, np.random.default_rng(dimensions)), dtype)
    worst = 0.0
    for q, p in itertools.product(vectors, vectors):
        # The norm of the passage as the kernel is given it: in float32, inverted, and multiplied by.
        inverse = 1 / np.linalg.norm(p).astype(np.float32)
        score = float(np.float32(slow_tensor_cores(q, p, block, 0.0)) * inverse)
        worst = max(worst, abs(score - math.fsum(q * p) / np.linalg.norm(p)) / np.linalg.norm(q))
    return worst


def parts_of(vector):
    """Split a vector as `hybridlib.metric.gpu.kernels.split` does; it has its own test."""
    scaled = vector * 2.0**15
    high = scaled.astype(np.float32).astype(np.float16)
    return high, (scaled - high.astype(float)).astype(np.float32).astype(np.float16)


def worst_error_of_parts(dimensions, products, block):
    worst = 0.0
    vectors = adversarial_vectors(dimensions, torch.float16, np.random.default_rng(dimensions))
    for q, p in itertools.product(vectors, vectors):
        (q_high, q_low), (p_high, p_low), total = parts_of(q), parts_of(p), 0.0
        if products == 3:
            total = slow_tensor_cores(q_low, p_high, block, total)
            total = slow_tensor_cores(q_high, p_low, block, total)
        total = slow_tensor_cores(q_high, p_high, block, total)
        worst = max(worst, abs(total / 2.0**30 - math.fsum(q * p)))
    return worst


@pytest.mark.parametrize("block", [4, 8, 16])  # products that tensor cores of different generations add at once
@pytest.mark.parametrize(
    ("worst_error", "kind", "bound"),
    [
        (worst_error_of_halves, torch.float16, {"products": 1, "rounded": False}),
        (worst_error_of_halves, torch.bfloat16, {"products": 1, "rounded": False}),
        (worst_error_of_parts, 1, {"products": 1, "rounded": True}),
        (worst_error_of_parts, 3, {"products": 3, "rounded": True}),
    ],
)
@pytest.mark.parametrize("dimensions", [1, 2, 5, 31, 384])
def test_no_score_of_tensor_cores_is_further_from_the_true_one_than_the_bound(
    dimensions, worst_error, kind, bound, block
):
    assert worst_error(dimensions, kind, block) <= tensor_core_bound(dimensions, **bound)


@pytest.mark.parametrize("dimensions", [384, 1021])
def test_the_bounds_are_no_more_than_a_few_times_what_tensor_cores_can_do(dimensions):
    # The sum: 2 D units of 2^-23 are allowed and nearly D are lost on a large first product, and the norms take D / 8.
    whole = tensor_core_bound(dimensions, products=1, rounded=False)
    assert whole < 2.5 * worst_error_of_halves(dimensions, torch.float16, 4)
    # The inputs: two components rounded down are off by nearly 2^-11 each, and so is their product by 2^-10.
    one = tensor_core_bound(dimensions, products=1, rounded=True)
    assert one < 1.3 * worst_error_of_parts(dimensions, 1, 4)
    # As the first; the vector's norm, and with it what is lost, fits no power of two.
    three = tensor_core_bound(dimensions, products=3, rounded=True)
    assert three < 5 * worst_error_of_parts(dimensions, 3, 4)
