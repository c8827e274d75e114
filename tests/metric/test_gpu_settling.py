"""Inputs that the kernels take as they are or split, and the list of scores that are settled in float64."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from slow_ranks import HALVES, check_ranks, counting, draw_case, draw_tensor, slow_ranks
from torch.utils._python_dispatch import TorchDispatchMode

from hybridlib.metric.gpu import counts as gpu
from hybridlib.metric.gpu import inputs
from hybridlib.metric.gpu.counts import GpuCounts
from hybridlib.metric.ranks import RankCounter


@pytest.fixture(autouse=True, scope="module")
def kernels():
    with counting(kernels=True):
        yield


@contextmanager
def spying(name):
    """Watch the calls of a method of GpuCounts, or of a function of its module or of that of the inputs."""
    owner = next(owner for owner in (GpuCounts, gpu, inputs) if hasattr(owner, name))
    with mock.patch.object(owner, name, autospec=True, side_effect=getattr(owner, name)) as spy:
        yield spy


def crowded():
    """Draw scores of which many are tied with a relevant one's: about 170 are listed, in 4 tiles of each language."""
    q, p, pairs, _ = draw_case(5, 16, 120, 5, 16, "few values")
    pairs[:, 0] = np.random.default_rng(5).permutation(16)
    return q, p, pairs, np.arange(120) % 2


def launches(spy):
    """Return how many tiles of each launch are not empty, and its capacity; launches with none are left out."""
    calls = [(call.args[1].tiles, call.args[3]) for call in spy.call_args_list]
    made = [(int((tiles[:, 0] < tiles[:, 1]).sum()), capacity) for tiles, capacity in calls]
    return [(tiles, capacity) for tiles, capacity in made if tiles]


def test_a_list_that_overflows_grows():
    with mock.patch.object(gpu, "_LISTED", 100), spying("_launch") as launched:
        check_ranks(*crowded())
    *first, (tiles, capacity) = launches(launched)  # zero vectors make it begin anew, with float64 norms
    assert {*first, (tiles, 100)} == {(8, 100)}
    assert capacity > 150


def test_no_launch_has_more_programs_than_a_gpu_takes():
    q, p, pairs, language = draw_case(6, 40, 120, 5, 30)  # three blocks of queries, and ten tiles
    with mock.patch.object(gpu, "_PROGRAMS", 15), spying("_launch") as launched:
        check_ranks(q, p, pairs, language)
    assert max(3 * len(call.args[1].tiles) for call in launched.call_args_list) <= 15


def test_a_list_that_would_grow_too_large_is_made_in_halves_down_to_one_tile():
    with mock.patch.multiple(gpu, _LISTED=10, _MOST_LISTED=20), spying("_launch") as launched:
        check_ranks(*crowded())
    made = launches(launched)
    assert {tiles for tiles, _ in made} == {8, 4, 2, 1}
    assert any(tiles == 1 and capacity > 20 for tiles, capacity in made)  # cannot be halved, so it grows all the same
    assert all(capacity <= 20 for tiles, capacity in made if tiles > 1)


def test_what_is_settled_for_a_list_that_was_too_short_is_not_counted_twice():
    # Half of what is listed is settled before it is known that the list was too short.
    with mock.patch.object(gpu, "_LISTED", 85), spying("_settle") as settled:
        check_ranks(*crowded())
    *_, short, whole = (call.args[2] for call in settled.call_args_list)
    assert (whole >= short).all()
    assert (whole > short).any()


class Operators(TorchDispatchMode):
    """Counts the operators of torch."""

    number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += 1
        return function(*args, **(kwargs or {}))


def test_torch_has_no_more_to_do_for_a_slice_of_which_more_is_listed():
    made = {}
    for tied in (False, True):
        q, p, pairs, language = draw_case(7, 16, 40, 16, 16, dtypes=HALVES[:1] * 2)
        p = p[:1].expand(40, -1).contiguous() if tied else p
        counter = RankCounter(q, p, pairs, np.arange(40), languages=2)
        with spying("_settled") as settled, Operators() as operators:
            counter.update(p, language)
        made[tied] = operators.number, settled.call_args.args[3].found[0].item()
        np.testing.assert_array_equal(counter.above, slow_ranks(q, p, pairs, language))
    assert made[True][0] == made[False][0]
    assert made[True][1] > 10 * made[False][1] > 0  # masks that are listed


def test_one_product_or_three_give_the_same_ranks_and_three_list_fewer():
    # Cosines differ by about 2e-3: more than the bound of one product for some, and more than that of three for most.
    q, p, _, _ = draw_case(10, 16, 60, 5, 0)
    p, pairs, language = p[:1] + 2e-3 * p, np.column_stack([np.arange(16), np.arange(16)]), np.arange(60) % 2
    listed = {}
    for products in (1, 3):
        counter = RankCounter(q, p, pairs, np.arange(60), languages=2)
        counter._counts.products = products
        with spying("_settled") as settled:
            counter.update(p, language)
        listed[products] = sum(int(call.args[3].found[0]) for call in settled.call_args_list)
        np.testing.assert_array_equal(counter.above, slow_ranks(q, p, pairs, language))
    assert listed[1] > 5 * listed[3] > 0


@pytest.mark.parametrize(("spread", "expected"), [(1.0, [1, 1, 1, 1, 1, 1]), (0.0, [1, 1, 3, 3, 3, 3])])
def test_three_products_are_made_once_many_scores_are_listed(spread, expected):
    # The first slice is settled when the second is counted already. The relevant passage is the query itself. Without
    # ties, it alone is listed: 8 of 8 * 12 scores in a slice at most. With ties, 12 of each query are.
    q, others, _, _ = draw_case(6, 8, 64, 17, 0)
    p = torch.cat([q, q[:1] * (1 - spread) + spread * others])
    pairs = np.repeat(np.arange(8), 2).reshape(8, 2)
    with mock.patch.multiple(gpu, _SPLIT_NUMBERS=12 * 17, _WORTH=10), spying("_launch") as launched:
        check_ranks(q, p, pairs, np.zeros(72, int))
    assert [call.args[2].products for call in launched.call_args_list] == expected


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize(
    ("dtype", "other", "dimensions", "factor", "splits"),
    [
        *((half, half, 32, 1.0, 0) for half in HALVES),
        (torch.float16, torch.float16, 32, 0.0, 2),  # once the queries, and once the slice that holds the passage
        *((torch.bfloat16, torch.bfloat16, 32, factor, 2) for factor in (0.0, 1e-30, 1e30)),
        (torch.float16, torch.float16, 33, 1.0, 4),  # once the queries, and each of three slices
        (torch.float16, torch.bfloat16, 32, 1.0, 4),
        (torch.bfloat16, torch.float32, 32, 1.0, 4),
    ],
)
def test_half_precision_is_split_only_where_the_kernel_cannot_take_it(
    dtype, other, dimensions, factor, splits, similarity
):
    q, _, pairs, language = draw_case(8, 9, 70, dimensions, 23, dtypes=(dtype, dtype))
    p = draw_tensor(np.random.default_rng(8), 70, dimensions, "normal", other)
    p[40] *= factor
    pairs[3] = 1, 40
    numbers = {"_SPLIT_NUMBERS": 30 * dimensions, "_WHOLE_NUMBERS": 30 * dimensions}
    with (
        mock.patch.multiple(gpu, **numbers),
        spying("float16_parts") as split,
        spying("_count_unordinary") as unordinary,
    ):
        check_ranks(q, p, pairs, language, similarity)
    assert (split.call_count, unordinary.call_count) == (splits, int(factor != 1))


def test_queries_of_no_ordinary_norm_are_split():
    q, p, pairs, language = draw_case(9, 5, 30, 16, 23, dtypes=HALVES[1:] * 2)
    q[2] *= 1e-25
    q[3] = 0  # whose norm counts as 1
    with spying("float16_parts") as split:
        check_ranks(q, p, pairs, language)
    assert split.call_count == 2
