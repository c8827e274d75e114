"""Texts are cut into batches that cost the least."""

import numpy as np
import pytest

from hybridlib.encoder.cuts import cut_by_size


def draw_lengths(number, longest, seed):
    drawn = np.random.default_rng(seed).integers(0, longest + 1, number)
    return -np.sort(-np.append(drawn, longest)[-number:]) if number else drawn


def cost_of(groups, lengths, overhead):
    return sum(max(1, lengths[begin]) * (end - begin) + overhead for begin, end in groups)


def least_cost(lengths, most, overhead):
    """The least cost over all ways to cut."""
    least = [0]  # of the last texts, none, one, two, ...
    for begin in reversed(range(len(lengths))):
        width = max(1, int(lengths[begin]))
        sizes = [1, *range(2, min(len(lengths) - begin, most // width) + 1)]
        least.append(min(size * width + overhead + least[-size] for size in sizes))
    return least[-1]


@pytest.mark.parametrize("most", [1, 8, 40, 140])  # of 16 times the longest text and more, not every text begins one
@pytest.mark.parametrize("overhead", [0, 3, 30])
@pytest.mark.parametrize("seed", range(4))
def test_no_other_cut_costs_less(most, overhead, seed):
    lengths = draw_lengths(31, 9, seed)
    assert cost_of(cut_by_size(lengths, most, overhead), lengths, overhead) == least_cost(lengths, most, overhead)


@pytest.mark.parametrize("number", [0, 1, 2, 997])
@pytest.mark.parametrize("most", [1, 5, 200, 4099, 10**9])
@pytest.mark.parametrize("overhead", [0, 64])
def test_every_text_is_in_one_group_and_only_a_text_alone_is_larger_than_allowed(number, most, overhead):
    lengths = draw_lengths(number, 30, seed=number)
    groups = cut_by_size(lengths, most, overhead)
    assert [place for begin, end in groups for place in range(begin, end)] == [*range(number)]
    assert all(end - begin == 1 or (end - begin) * max(1, lengths[begin]) <= most for begin, end in groups)


@pytest.mark.parametrize("overhead", [10, 100, 1000])
def test_a_cut_at_some_texts_only_costs_little_more_than_the_least(overhead):
    lengths = draw_lengths(300, 30, seed=0)
    most = 1500  # a sixth text may begin a group
    assert cost_of(cut_by_size(lengths, most, overhead), lengths, overhead) <= 1.05 * least_cost(
        lengths, most, overhead
    )
