"""Decks deal in proportion, streams go through all items, and a repeated item is replaced as one would by hand."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
from corpora import LEAST_P, at_random, everywhere, nested, segment_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from hybridlib.sampler.decks import Deck, tempered_weights
from hybridlib.sampler.permutation import mix, permute
from hybridlib.sampler.streams import Keys, fresh_item, item_at, repeats, replaced

# Decks


@given(
    weights=st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=1, max_size=6).filter(any),
    key=st.integers(0, 2**64 - 1),
)
@settings(deadline=None, max_examples=30, derandomize=True)
def test_dealing_is_taking_cards_off_shuffled_decks_and_numbers_every_card_of_a_value_once(weights, key):
    deck = Deck.from_weights(np.arange(len(weights)) + 10, np.array(weights))
    decks = 3
    value, turn = deck.deal(np.arange(decks * len(deck.cards)), np.uint64(key))
    assert (np.sort(value.reshape(decks, -1)) == np.sort(deck.cards)).all()
    for v in set(deck.cards.tolist()):
        copies = int((deck.cards == v).sum())
        assert sorted(turn[value == v].tolist()) == list(range(decks * copies))
        assert (turn[value == v] // copies).tolist() == np.repeat(range(decks), copies).tolist()  # deck by deck
    assert set(value.tolist()) == {n + 10 for n, weight in enumerate(weights) if weight}


def test_orders_of_a_deck_come_equally_often():
    deck = Deck.from_weights(np.arange(3), np.ones(3))
    dealt = deck.deal(np.arange(3 * 3000), np.uint64(8))[0].reshape(-1, 3)
    orders = Counter(map(tuple, dealt.tolist()))
    assert len(orders) == 6 and chisquare(list(orders.values())).pvalue > LEAST_P


@pytest.mark.parametrize(
    ("weights", "copies"),
    [
        (np.full(3, 1e-12), [1, 1, 1]),  # only proportions count
        (np.array([1e-9, 3e-9]), [10, 30]),
        *[(tempered_weights(np.array([40_000_000, 1, 0]), least), [40, 1]) for least in (1e-300, 1e-3, 1.0)],
        (tempered_weights(np.array([40_000_000, 1, 0]), math.inf), [1, 1]),
    ],
)
def test_no_language_vanishes_and_no_number_overflows_at_any_weight_and_temperature(weights, copies):
    assert np.bincount(Deck.from_weights(np.arange(len(weights)), weights).cards).tolist() == copies


def test_every_purpose_dataset_epoch_and_seed_has_a_key_of_its_own():
    drawn = [Keys(*of) for of in product((0, 1, 2**32, 2**32 + 1), (0, 1), (0, 1))]
    keys = {int(one.of(purpose, kind)) for one in drawn for purpose in Keys.PURPOSES for kind in (0, 1)}
    assert len(keys) == 4 * 2 * 2 * 2 * len(Keys.PURPOSES)


# Streams of items


@pytest.mark.parametrize("grid", [everywhere(40, 3), at_random(97, 3, 8)], ids=["everywhere", "at random"])
def test_each_round_of_two_languages_holds_their_items_once_in_an_order_of_its_own(grid):
    orders = set()
    for a, b in product(range(3), repeat=2):
        items = np.flatnonzero(grid[:, a] & grid[:, b])
        place = np.arange(9 * len(items))
        stream = item_at(segment_of(grid), np.full(len(place), a), np.full(len(place), b), place, np.uint64(6))
        rounds = stream.reshape(9, -1)
        assert (np.sort(rounds) == items).all()
        orders |= set(map(tuple, rounds.tolist()))
    assert len(orders) == 9 * 9  # rounds and ordered pairs of languages


# Replacing what a batch cannot hold


@pytest.mark.parametrize(
    ("grid", "free"),
    [
        pytest.param(at_random(100, 2, 5), slice(3, 8), id="five of many"),
        pytest.param(everywhere(23, 1), slice(3, None), id="all but three"),  # more than are tried at first
        pytest.param(everywhere(30, 1), slice(17, 18), id="one"),
        pytest.param(everywhere(30, 1), slice(0), id="none"),
    ],
)
def test_a_fresh_item_is_any_that_is_left_equally_often(grid, free):
    items = np.flatnonzero(grid.all(axis=1)).tolist()
    taken, segment = set(items) - set(items[free]), segment_of(grid)
    keys = np.arange(1000, dtype=np.uint64)
    fresh = Counter(fresh_item(segment, 0, grid.shape[1] - 1, taken, key) for key in keys)
    assert set(fresh) == set(items[free] or [None])
    assert len(fresh) == 1 or chisquare(list(fresh.values())).pvalue > LEAST_P


def replaced_one_by_one(segment, item, a, b, vacant, cards, key):
    """Replace slowly: each vacant pair tries all items of its languages in their order, then the next languages."""
    item, a, b = item.tolist(), a.tolist(), b.tolist()
    taken = {one for one, gone in zip(item, vacant, strict=True) if not gone}
    spare = cards[permute(np.arange(len(cards)), len(cards), key)].tolist()
    dealt = 0
    for slot in np.flatnonzero(vacant):
        while True:
            size = int(segment.count(a[slot], b[slot]))
            order = permute(np.arange(size), size, mix(key ^ mix(slot)))
            stream = segment.select(np.full(size, a[slot]), np.full(size, b[slot]), order).tolist()
            free = [candidate for candidate in stream if candidate not in taken]
            if free:
                break
            a[slot], b[slot] = divmod(spare[dealt % len(spare)], len(segment.bits))
            dealt += 1
        item[slot] = free[0]
        taken.add(free[0])
    return [item, a, b]


@given(seed=st.integers(0, 999), pairs=st.sampled_from([1, 5, 23, 40]), key=st.integers(0, 2**64 - 1))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_what_is_replaced_at_once_is_what_is_replaced_one_by_one(seed, pairs, key):
    generator = np.random.default_rng(seed)
    # Two thin languages, which are used up; 3 items are fewer than are looked up at once; two pairs share no item.
    grid = np.concatenate([nested(40, 40, 11, 3), np.arange(40)[:, None] >= 30], axis=1)
    segment, cards, key = segment_of(grid), np.array([1, 5, 2, 10, 3, 18, 0]), np.uint64(key)
    a, b = np.divmod(generator.choice([*cards, 14, 22], pairs), 5)
    item = np.array([generator.choice(np.flatnonzero(grid[:, x])) for x in a])
    vacant = repeats(item) | ~grid[item, b] | (generator.random(pairs) < 0.3)
    drawn = item.copy(), a.copy(), b.copy()
    ours = [column.tolist() for column in replaced(segment, (item, a, b), vacant, cards, key)]
    assert ours == replaced_one_by_one(segment, *drawn, vacant, cards, key)
    assert np.array_equal(drawn, (item, a, b)), "what is given is not changed"
