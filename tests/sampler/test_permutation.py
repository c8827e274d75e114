"""Permutations are one to one, even, and unrelated from key to key."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from corpora import LEAST_P
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from hybridlib.sampler.permutation import mix, permute

WORD = 1 << 64
KEYS = st.integers(0, WORD - 1)


def slow_mix(value: int) -> int:
    z = (value + 0x9E3779B97F4A7C15) % WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def slow_permute(index: int, size: int, key: int) -> int:
    """Permute one index at a time, in integers of any length."""
    if size == 1:
        return 0
    side = max(4, math.isqrt(size - 1) + 1)
    while True:
        left, right = divmod(index, side)
        round_key = key
        for _ in range(8):
            round_key = slow_mix(round_key)
            left, right = right, (left + slow_mix(right ^ round_key)) % side
        index = left * side + right
        if index < size:
            return index


@given(size=st.integers(1, 3000), key=KEYS)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_every_index_is_hit_once_for_any_size_and_key(size, key):
    assert np.array_equal(np.sort(permute(np.arange(size), size, key)), np.arange(size))


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 400), KEYS).filter(lambda e: e[0] < e[1]), min_size=1),
)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_elements_with_sizes_and_keys_of_their_own_go_where_they_go_alone(elements):
    index, size, key = zip(*elements, strict=True)
    together = permute(np.array(index), np.array(size), np.array(key, dtype=np.uint64))
    assert together.tolist() == [slow_permute(*element) for element in elements]


def test_shapes_broadcast():
    key = np.arange(3, dtype=np.uint64)
    grid = permute(np.arange(7), 7, key[:, None])
    assert grid.shape == (3, 7) and grid.dtype == np.int64
    assert np.array_equal(grid[2], permute(np.arange(7), 7, 2))
    assert permute(3, 7, 2) == grid[2, 3]
    assert permute(np.arange(0), 5, 1).shape == (0,)


def test_it_is_one_to_one_where_a_hash_is_the_largest_64_bit_number():
    # The first round's key is mix(key). A right half of 0 is hashed to mix(0 ^ mix(key)), which is all ones for this
    # key. Added to a left half of 1 without reducing it, it would wrap around 2^64 to 0; but (2^64 - 1) % 5 is 0, too.
    key = 2295574122455614247
    assert slow_mix(slow_mix(key)) == WORD - 1
    moved = permute(np.arange(25), 25, np.uint64(key))
    assert moved.tolist() == [slow_permute(index, 25, key) for index in range(25)]
    assert len(set(moved.tolist())) == 25


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_all_permutations_of_a_small_range_come_equally_often(size):
    keys = np.arange(12_000, dtype=np.uint64)
    seen = Counter(map(tuple, permute(np.arange(size), size, keys[:, None]).tolist()))
    counts = [seen[order] for order in permutations(range(size))]
    assert sum(counts) == len(keys)
    assert chisquare(counts).pvalue > LEAST_P


@pytest.mark.parametrize("size", [11, 17, 97])
def test_an_index_goes_everywhere_and_its_neighbour_to_every_distance_from_it_equally_often(size):
    keys = np.arange(200 * size, dtype=np.uint64)
    for index in (0, 1, size - 1):
        assert chisquare(np.bincount(permute(index, size, keys), minlength=size)).pvalue > LEAST_P
    # An affine permutation fails here: it moves all neighbours apart by the same distance.
    distance = np.diff(permute(np.arange(size), size, keys[:100, None])) % size
    assert chisquare(np.bincount(distance.ravel(), minlength=size)[1:]).pvalue > LEAST_P


def test_permutations_of_keys_next_to_each_other_are_unrelated():
    keys = np.arange(10_000, dtype=np.uint64)
    cells = permute(0, 7, keys) * 7 + permute(0, 7, keys + np.uint64(1))
    assert chisquare(np.bincount(cells, minlength=49)).pvalue > LEAST_P


@pytest.mark.parametrize("size", [40_000_003, (2**26 - 1) ** 2 + 1, 2**52])
def test_large_ranges_are_not_left_and_no_two_indices_meet(size):
    index = np.concatenate([np.arange(500), np.arange(size - 500, size)])
    moved = permute(index, size, 5)
    assert len(np.unique(moved)) == 1000
    # 1,000 draws of a range are all in one half of it once in 2^999.
    assert 0 <= moved.min() < size / 2 < moved.max() < size


def test_mix_is_the_finaliser_of_splitmix64():
    # The first two outputs of the reference implementation for the seed 1234567 (rosettacode.org/wiki/
    # Pseudo-random_numbers/Splitmix64); its state advances by the constant that `mix` adds.
    assert int(mix(1234567)) == 6457827717110365317
    assert int(mix(1234567 + 0x9E3779B97F4A7C15)) == 3203168211198807973
    assert [int(mix(n)) for n in (0, 1, WORD - 1)] == [slow_mix(n) for n in (0, 1, WORD - 1)]
    assert mix(np.array([-1, 2])).tolist() == [slow_mix(WORD - 1), slow_mix(2)]


@pytest.mark.parametrize(
    ("index", "size", "message"),
    [
        (5, 5, "index is 5; allowed: 0 to size - 1 = 4"),
        ([2, -1], 5, "index is -1; allowed: 0 to size - 1 = 4"),
        ([3, 3], [9, 3], "index is 3; allowed: 0 to size - 1 = 2"),
        (0, 0, "index is 0; allowed: 0 to size - 1 = -1"),
        (0, 2**52 + 1, r"size is 4503599627370497; allowed: up to 2\^52"),  # beyond the integers of a float
    ],
)
def test_an_index_or_a_size_out_of_range_is_refused(index, size, message):
    with pytest.raises(ValueError, match=message):
        permute(np.array(index), np.array(size), 0)
