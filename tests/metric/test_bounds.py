"""Fast scores against exact ones, on vectors that are made to be scored wrongly."""

import itertools
import math

import numpy as np
import pytest
import torch

from hybridlib.metric.bounds import error_bound, left_out_bound, tensor_core_bound

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


# How many products tensor cores of each capability add at once, and to how many bits after the point they cut what they
# add; and the same of a V100, whose tensor cores lose the most.
CORES = {None: (4, 23), (8, 0): (8, 24), (8, 6): (8, 24), (8, 9): (8, 24), (9, 0): (16, 25)}
GENERATIONS = [None, (8, 0), (9, 0)]
LEAST_EXPONENT = {torch.float16: -14, torch.bfloat16: -126}


def cut(numbers, exponent, bits):
    """Cut numbers toward zero, at 2^-bits of 2^exponent."""
    return np.trunc(np.ldexp(numbers, bits - exponent)) * np.ldexp(1.0, exponent - bits)


def exponent_of(numbers):
    return np.frexp(numbers)[1] - 1


def slow_tensor_cores(q, p, cores, total, dtype=torch.float16):
    """Sum as tensor cores do: a block of products and the sum so far are cut like the largest, added, and cut.

    The products of half-precision numbers and the sum of so few cut ones are exact in float64. The largest is that with
    the largest sum of its factors' exponents; of a subnormal factor, that is the least of its type.
    """
    (block, bits), least = cores, LEAST_EXPONENT[dtype]
    q, p = q.astype(float), p.astype(float)
    exponents = np.maximum(exponent_of(q), least) + np.maximum(exponent_of(p), least)  # (D,)
    for left in range(0, len(q), block):
        numbers = np.append((q * p)[left : left + block], total)
        their = np.append(exponents[left : left + block], exponent_of(total))[numbers != 0]
        total = cut(numbers, their.max(initial=-200), bits).sum()
        total = cut(total, exponent_of(total), 23)
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
        *(lost, lost[::-1], lost * (-1.0) ** np.arange(dimensions), lost / [1, *[2] * (dimensions - 1)]),
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


def shortest(vectors):
    """Return float16 vectors with a norm of 2^-14, which is the least that is taken as it is, or a little more."""
    scaled = [vector / np.linalg.norm(vector) * 2.0**-14 for vector in vectors]
    return [np.copysign(np.ceil(np.abs(vector) * 2.0**24) / 2.0**24, vector) for vector in scaled]


def errors_of_halves(dimensions, dtype, capability):
    """Return by how much the scores of half-precision vectors are off, as shares of the bound."""
    bound = tensor_core_bound(dimensions, products=1, capability=capability)
    vectors = in_half(adversarial_vectors(dimensions, dtype, np.random.default_rng(dimensions)), dtype)
    if dtype == torch.float16:
        vectors += shortest(vectors)
    errors = []
    for q, p in itertools.product(vectors, vectors):
        # The norm of the passage as the kernel is given it: in float32, inverted, and multiplied by.
        inverse = 1 / np.linalg.norm(p).astype(np.float32)
        score = float(np.float32(slow_tensor_cores(q, p, CORES[capability], 0.0, dtype)) * inverse)
        errors.append(abs(score - math.fsum(q * p) / np.linalg.norm(p)) / np.linalg.norm(q))
    return np.array(errors) / bound


def parts_of(vector):
    """Split a vector as `hybridlib.metric.gpu.parts.split` does; it has its own test."""
    scaled = vector * 2.0 ** (14 - exponent_of(np.linalg.norm(vector)))
    high = scaled.astype(np.float32).astype(np.float16)
    rest = scaled - high.astype(float)
    return high, rest.astype(np.float32).astype(np.float16), scaled, np.linalg.norm(rest) / np.linalg.norm(scaled)


def errors_of_parts(dimensions, products, capability):
    """Return by how much the scores of parts are off, as shares of the bound."""
    bound = tensor_core_bound(dimensions, products=products, capability=capability)
    vectors = adversarial_vectors(dimensions, torch.float16, np.random.default_rng(dimensions))
    cores, errors = CORES[capability], []
    for q, p in itertools.product(map(parts_of, vectors), map(parts_of, vectors)):
        (q_high, q_low, q_scaled, q_left), (p_high, p_low, p_scaled, p_left), total = q, p, 0.0
        if products == 3:
            total = slow_tensor_cores(q_low, p_high, cores, total)
            total = slow_tensor_cores(q_high, p_low, cores, total)
        total = slow_tensor_cores(q_high, p_high, cores, total)
        error = abs(total - math.fsum(q_scaled * p_scaled)) / np.linalg.norm(q_scaled) / np.linalg.norm(p_scaled)
        errors.append(error / (bound + (left_out_bound(q_left, p_left) if products == 1 else 0)))
    return np.array(errors)


@pytest.mark.parametrize("capability", GENERATIONS)
@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        (errors_of_halves, torch.float16),
        (errors_of_halves, torch.bfloat16),
        (errors_of_parts, 1),
        (errors_of_parts, 3),
    ],
)
@pytest.mark.parametrize("dimensions", [1, 2, 5, 31, 384])
def test_no_score_of_tensor_cores_is_further_from_the_true_one_than_the_bound(dimensions, errors, kind, capability):
    assert errors(dimensions, kind, capability).max() <= 1


def test_chips_that_were_not_tested_have_the_widest_bound():
    bounds = {capability: tensor_core_bound(384, products=1, capability=capability) for capability in CORES}
    by_cores = {cores: {bounds[chip] for chip in CORES if CORES[chip] == cores} for cores in CORES.values()}
    assert [len(same) for same in by_cores.values()] == [1, 1, 1]
    assert bounds[None] > bounds[8, 0] > bounds[9, 0]
    for capability in ((7, 0), (7, 5), (8, 7), (10, 3), (12, 0), (15, 1)):
        assert tensor_core_bound(384, products=1, capability=capability) == bounds[None]


@pytest.mark.parametrize("dimensions", [384, 1021])
@pytest.mark.parametrize("capability", GENERATIONS)
def test_the_bounds_are_no_more_than_a_few_times_what_tensor_cores_can_do(dimensions, capability):
    # The sum: what is cut from each product is nearly all that the bound allows, and more than half of all.
    assert errors_of_halves(dimensions, torch.float16, capability).max() > 0.6
    # The inputs: two components rounded down are off by nearly 2^-11 each, and so is their product by 2^-10.
    assert errors_of_parts(dimensions, 1, capability).max() > 0.8
    # As the first; the vector's norm, and with it what is lost, fits no power of two.
    assert errors_of_parts(dimensions, 3, capability).max() > 0.3


@pytest.mark.parametrize("dimensions", [1, 7, 384])
def test_a_score_changes_by_no_more_than_the_bound_where_parts_are_left_out(dimensions):
    rng = np.random.default_rng(dimensions)
    for share in (0.0, 1e-4, 0.5, 3.0):
        q, p = rng.standard_normal((2, dimensions)) / dimensions**0.5
        # The parts that are left out point to where they change the score most: along the other vector.
        q_low, p_low = share * p / np.linalg.norm(p) * np.linalg.norm(q), share * q / np.linalg.norm(q)
        change = abs(q @ p - (q - q_low) @ (p - p_low)) / np.linalg.norm(q) / np.linalg.norm(p)
        bound = left_out_bound(share, np.linalg.norm(p_low) / np.linalg.norm(p))
        assert change <= bound * (1 + 1e-9)
