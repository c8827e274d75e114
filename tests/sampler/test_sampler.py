"""Batches are what they are said to be, for every strategy, and the same however they are asked for."""

import math
from collections import Counter
from functools import partial
from itertools import pairwise

import datasets
import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard, prepare_data_loader
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch.utils.data import DataLoader

import hybridlib
from hybridlib.names import STRATEGIES
from hybridlib.sampler.availability import Availability, Segment
from hybridlib.sampler.batches import HybridBatchSampler, _Schedule, _uniform
from hybridlib.sampler.decks import Deck, tempered_weights
from hybridlib.sampler.permutation import mix, permute
from hybridlib.sampler.strategies import STRATEGY_RECORDS
from hybridlib.sampler.streams import Keys, fresh_item, item_at, places_of_whole_batch, repeats, replaced

CODES = ("en", "de", "sw", "ja", "fi")
# The seeds are fixed, so no test is flaky; even draws fall below this once in a thousand tests.
LEAST_P = 1e-3


def corpus_of(*grids: np.ndarray) -> Availability:
    """A corpus of a table of booleans for each dataset. (items, L) each"""
    starts = np.cumsum([0, *map(len, grids)])
    segments = [
        Segment.from_bits(f"set {n}", int(start), len(grid), np.packbits(grid.T, axis=1, bitorder="little"))
        for n, (start, grid) in enumerate(zip(starts, grids, strict=False))
    ]
    return Availability(CODES[: grids[0].shape[1]], tuple(segments))


def everywhere(items: int, languages: int) -> np.ndarray:
    return np.ones((items, languages), dtype=bool)


def nested(*sizes: int) -> np.ndarray:
    """A table where each language has the first so many items, so two of them share the smaller number."""
    return np.arange(max(sizes))[:, None] < np.array(sizes)


def at_random(items: int, languages: int, seed: int, share: float = 0.7) -> np.ndarray:
    return np.random.default_rng(seed).random((items, languages)) < share


def batches(sampler: HybridBatchSampler) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Items, query languages and passage languages of every batch of the epoch, read off the rows."""
    width = len(sampler.availability.languages)
    rows = [np.array(batch).reshape(-1, 2) for batch in sampler]
    assert all((pair[:, 0] // width == pair[:, 1] // width).all() for pair in rows)  # question and passage of one item
    return [(pair[:, 0] // width, pair[:, 0] % width, pair[:, 1] % width) for pair in rows]


def is_monolingual(batch: tuple[np.ndarray, np.ndarray, np.ndarray]) -> bool:
    _, a, b = batch
    return len({*a.tolist(), *b.tolist()}) == 1


def largest_batch(grid: np.ndarray, strategy: str, alpha: float = 0.5) -> int:
    """The oracle of the limits: the most pairs that a batch of a dataset is allowed, 0 if there can be none."""
    if strategy == "en-en":
        return int(grid[:, 0].sum())
    alone = grid.sum(axis=0)
    both = [int((grid[:, a] & grid[:, b]).sum()) for a in range(grid.shape[1]) for b in range(a)]
    of_one, of_two = min(alone[alone > 0], default=0), max(both, default=0)
    if STRATEGY_RECORDS[strategy].one_passage_language:
        return int(of_one)
    if strategy == "hybrid" and 0 < alpha < 1:
        return int(min(of_one, of_two))
    monolingual = strategy == "x-x-mono" or (strategy == "hybrid" and alpha == 1)
    return int(of_one if monolingual else max(alone) if strategy in ("x-x", "mix-passages") else of_two)


# What every batch must be


GRIDS = st.builds(
    at_random,
    st.integers(1, 60),
    st.integers(1, 5),
    st.integers(0, 999),
    st.sampled_from([0.05, 0.3, 0.7, 0.95, 1.0]),
)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(data=st.data())
@settings(deadline=None, max_examples=40, derandomize=True)
def test_batches_of_any_corpus_are_what_the_strategy_says_up_to_the_largest_batch_there_can_be(strategy, data):
    grid = data.draw(GRIDS)
    largest = largest_batch(grid, strategy)
    assume(largest > 0)
    pairs = data.draw(st.sampled_from([largest, 1, largest // 2 + 1]))
    options = {"strategy": strategy, "language_temperature": data.draw(st.sampled_from([math.inf, 3.0, 1.0, 0.2]))}
    with pytest.raises(ValueError, match=rf"batch_size is {largest + 1}, but .*allowed: at most {largest}"):
        HybridBatchSampler(corpus_of(grid), largest + 1, **options)
    sampler = HybridBatchSampler(corpus_of(grid), pairs, seed=data.draw(st.integers(0, 99)), **options)
    for number in range(min(len(sampler), 8)):
        item, a, b = sampler.draw(number)
        assert len(item) == len(a) == len(b) == pairs
        assert len(set(item.tolist())) == pairs, "no item twice, in any language"
        assert grid[item, a].all() and grid[item, b].all(), "every row exists"
        if strategy in ("en-en", "x-x-mono"):
            assert is_monolingual((item, a, b))
        if strategy == "en-en":
            assert (a == 0).all()
        if strategy == "x-x":
            assert (a == b).all()
        if strategy == "x-y":
            assert (a != b).all()
        if strategy == "hybrid":
            assert (a != b).all() or is_monolingual((item, a, b))
        if STRATEGY_RECORDS[strategy].one_passage_language:
            assert len(set(b.tolist())) == 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_row_of_several_datasets_is_missing_and_a_batch_holds_one_dataset(strategy):
    grids = [at_random(211, 4, seed) for seed in (1, 2)] + [everywhere(37, 4)]
    sampler = HybridBatchSampler(corpus_of(*grids), 7, strategy=strategy)
    table = np.concatenate(grids)
    dataset = np.repeat([0, 1, 2], [211, 211, 37])
    seen = set()
    for item, a, b in batches(sampler):
        assert table[item, a].all() and table[item, b].all()
        assert len(set(item.tolist())) == 7
        (only,) = set(dataset[item].tolist())
        seen.add(only)
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("strategy", ["x-x", "x-x-mono", "en-en", "hybrid"])
def test_a_corpus_of_one_item_in_one_language_gives_batches_of_it(strategy):
    sampler = HybridBatchSampler(corpus_of(everywhere(1, 1)), 1, strategy=strategy, alpha=1.0)
    assert list(sampler) == [[0, 0]]


@pytest.mark.parametrize("strategy", ["x-y", "hybrid"])
def test_one_item_in_two_languages_gives_a_cross_lingual_batch(strategy):
    sampler = HybridBatchSampler(corpus_of(everywhere(1, 2)), 1, strategy=strategy)
    seen = set()
    for epoch in range(30):
        sampler.set_epoch(epoch)
        assert len(sampler) == 1
        seen.add(tuple(sampler.batch(0)))
    assert seen == ({(0, 1), (1, 0)} if strategy == "x-y" else {(0, 1), (1, 0), (0, 0), (1, 1)})


def test_rows_are_those_of_the_corpus_table():
    table = tiny_table(23)
    sampler = HybridBatchSampler(table, 5, strategy="x-y", seed=3)
    for batch in sampler:
        rows = table[batch]
        assert rows["item"][0::2] == rows["item"][1::2]
        assert all(q != p for q, p in zip(rows["language"][0::2], rows["language"][1::2], strict=True))
        assert all(rows["passage"])


# Thin languages


def test_pairs_of_thin_languages_that_are_used_up_go_to_the_other_languages_evenly():
    # Of six ordered pairs of languages, four hold Swahili, which has 3 items: of 40 pairs in a batch about 27 are dealt
    # such languages, and at most 3 can have them. The others must be English and German, as many in either direction.
    sampler = HybridBatchSampler(corpus_of(nested(60, 60, 3)), 40, strategy="x-y", seed=1)
    for number in range(len(sampler)):
        _, a, b = sampler.draw(number)
        assert ((a == 2) | (b == 2)).sum() <= 3
        # What is dealt first is uneven by at most a begun deck at either end, what replaces it by one card.
        assert abs(int(((a == 0) & (b == 1)).sum()) - int(((a == 1) & (b == 0)).sum())) <= 3


def test_a_repeat_is_replaced_within_its_languages_while_these_have_items_left():
    # Every pair of languages has more items than a batch has pairs, so languages stay as dealt: with 6 pairs of
    # languages and 12 pairs in a batch, each twice in every batch.
    sampler = HybridBatchSampler(corpus_of(everywhere(13, 3)), 12, strategy="x-y")
    for item, a, b in batches(sampler):
        assert sorted(Counter(zip(a.tolist(), b.tolist(), strict=True)).values()) == [2] * 6
        assert len(set(item.tolist())) == 12


def test_what_does_not_repeat_is_left_as_it_is():
    segment = corpus_of(everywhere(50, 3)).segments[0]
    item, a, b = np.array([5, 7, 5, 9, 7]), np.array([0, 0, 1, 2, 1]), np.array([1, 2, 0, 1, 2])
    new, new_a, new_b = replaced(segment, (item, a, b), repeats(item), np.array([1, 2]), np.uint64(3))
    assert new[[0, 1, 3]].tolist() == [5, 7, 9]  # the first of each item stays
    assert len(set(new.tolist())) == 5
    assert np.array_equal(a, new_a) and np.array_equal(b, new_b)
    assert item.tolist() == [5, 7, 5, 9, 7]


def test_afresh_item_is_any_that_is_left_equally_often():
    segment = corpus_of(at_random(100, 2, 5)).segments[0]
    items = segment.select(*(np.full(20, n) for n in (0, 1)), np.arange(20)).tolist()
    size = int(segment.count(0, 1))
    taken = set(segment.select(*(np.full(size, n) for n in (0, 1)), np.arange(size)).tolist()) - set(items[3:8])
    keys = np.arange(500, dtype=np.uint64)
    fresh = Counter(fresh_item(segment, 0, 1, taken, key) for key in keys)
    assert set(fresh) == set(items[3:8])
    assert chisquare(list(fresh.values())).pvalue > LEAST_P


def test_afresh_item_is_not_sought_among_the_first_items_only():
    segment = corpus_of(everywhere(23, 1)).segments[0]
    keys = np.arange(1000, dtype=np.uint64)
    fresh = Counter(fresh_item(segment, 0, 0, {4, 0, 11}, key) for key in keys)
    assert set(fresh) == set(range(23)) - {4, 0, 11}
    assert chisquare(list(fresh.values())).pvalue > LEAST_P


def test_there_is_nofresh_item_when_all_are_taken():
    segment = corpus_of(everywhere(30, 1)).segments[0]
    assert fresh_item(segment, 0, 0, set(range(30)), np.uint64(1)) is None
    assert fresh_item(segment, 0, 0, set(range(30)) - {17}, np.uint64(1)) == 17


def replaced_one_by_one(segment, item, a, b, vacant, cards, key):
    """The oracle: every vacant pair tries all items of its languages in their order, then the next languages."""
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
    return item, a, b


@given(seed=st.integers(0, 999), pairs=st.sampled_from([1, 5, 23, 40]), key=st.integers(0, 2**64 - 1))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_what_is_replaced_at_once_is_what_is_replaced_one_by_one(seed, pairs, key):
    generator = np.random.default_rng(seed)
    # Two thin languages, which are used up; 3 items are fewer than are looked up at once; two pairs share no item.
    grid = np.concatenate([nested(40, 40, 11, 3), np.arange(40)[:, None] >= 30], axis=1)
    segment = corpus_of(grid).segments[0]
    cards = np.array([1, 5, 2, 10, 3, 18, 0])
    a, b = np.divmod(generator.choice([*cards, 14, 22], pairs), 5)
    item = np.array([generator.choice(np.flatnonzero(grid[:, x])) for x in a])
    vacant = repeats(item) | ~grid[item, b] | (generator.random(pairs) < 0.3)
    ours = replaced(segment, (item, a, b), vacant, cards, np.uint64(key))
    assert [column.tolist() for column in ours] == list(
        replaced_one_by_one(segment, item, a, b, vacant, cards, np.uint64(key))
    )


# The batches of Multilingual Translate-Distill


def test_mixed_passages_take_every_pair_of_languages_equally_often_the_same_twice_too():
    # 3 languages make 9 ordered pairs; 18 pairs a batch are two whole decks.
    sampler = HybridBatchSampler(corpus_of(everywhere(500, 3)), 18, strategy="mix-passages")
    for _, a, b in batches(sampler):
        assert Counter(zip(a.tolist(), b.tolist(), strict=True)) == {(x, y): 2 for x in range(3) for y in range(3)}


def test_the_languages_of_mixed_passages_are_drawn_in_proportion_to_the_product_of_their_weights():
    # Weights 1, 1/2: products 1, 1/2, 1/2, 1/4 of 9/4. Of 20 cards for each of the 4 pairs, 80 in all: 35.6, 17.8, 8.9.
    corpus = corpus_of(nested(2000, 1000))
    sampler = HybridBatchSampler(corpus, 81, strategy="mix-passages", language_temperature=1.0)
    for _, a, b in batches(sampler):
        drawn = Counter(zip(a.tolist(), b.tolist(), strict=True))
        assert drawn == {(0, 0): 36, (0, 1): 18, (1, 0): 18, (1, 1): 9}


def test_a_mixed_entry_has_passages_of_one_language_in_turn_and_questions_of_all_equally_often():
    # 4 languages; 8 pairs a batch are two whole decks of question languages.
    sampler = HybridBatchSampler(corpus_of(everywhere(320, 4)), 8, strategy="mix-entries")
    drawn = batches(sampler)
    for _, a, b in drawn:
        assert Counter(a.tolist()) == dict.fromkeys(range(4), 2) and len(set(b.tolist())) == 1
    languages = [int(b[0]) for _, _, b in drawn]
    assert len(languages) == 40
    decks = [tuple(languages[n : n + 4]) for n in range(0, 40, 4)]
    assert all(sorted(deck) == [0, 1, 2, 3] for deck in decks) and len(set(decks)) > 1
    orders = {tuple(a.tolist()) for _, a, _ in drawn}
    # Each language deals the questions' languages by itself: were they dealt alike, there were 10 orders. Two of 40 are
    # the same by chance, as there are 24 * 24.
    assert len(orders) >= 37


def test_passages_of_mixed_entries_are_drawn_in_proportion_to_their_language():
    sampler = HybridBatchSampler(corpus_of(nested(300, 100)), 5, strategy="mix-entries", language_temperature=1.0)
    languages = [int(sampler.draw(number)[2][0]) for number in range(40)]
    assert np.bincount(languages).tolist() == [30, 10]  # a deck of 40 cards, 3 : 1


def test_items_of_a_mixed_entry_come_once_each_round():
    # One language: a mixed entry's stream is that of the pair (0, 0), of 30 items, 6 batches of 5.
    sampler = HybridBatchSampler(corpus_of(everywhere(30, 1)), 5, strategy="mix-entries")
    assert sorted(np.concatenate([item for item, _, _ in batches(sampler)]).tolist()) == list(range(30))


def test_the_same_questions_come_back_until_each_language_was_that_of_the_passages():
    sampler = HybridBatchSampler(corpus_of(everywhere(240, 4)), 6, strategy="round-robin-entries")
    drawn = batches(sampler)
    assert len(drawn) == 40
    rounds, orders = [], []
    for begin in range(0, 40, 4):
        (item, a, _), *others = drawn[begin : begin + 4]
        for other_item, other_a, _ in others:
            assert np.array_equal(item, other_item) and np.array_equal(a, other_a)
        orders.append([int(b[0]) for _, _, b in drawn[begin : begin + 4]])
        assert sorted(orders[-1]) == [0, 1, 2, 3]
        rounds.append(tuple(item.tolist()))
    assert len(set(rounds)) == 10 and len(set(map(tuple, orders))) > 1


def test_an_item_that_does_not_exist_in_the_passages_language_gives_way_and_comes_back():
    # Swahili has the first 20 of 200 items: about 2 of the 12 questions of a round exist in it.
    grid = nested(200, 200, 20)
    sampler = HybridBatchSampler(corpus_of(grid), 12, strategy="round-robin-entries", seed=2)
    drawn = batches(sampler)
    given_way = 0
    for begin in range(0, len(drawn) // 3 * 3, 3):
        of_language = {int(b[0]): (item, a) for item, a, b in drawn[begin : begin + 3]}
        item, a = of_language[0]
        assert np.array_equal(item, of_language[1][0]) and np.array_equal(a, of_language[1][1])
        thin_item, thin_a = of_language[2]
        exists = grid[item, 2]
        assert np.array_equal(thin_item[exists], item[exists])
        assert grid[thin_item, 2].all() and grid[thin_item, thin_a].all()
        assert np.array_equal(thin_a, a)  # 20 items are enough for every question to keep its language
        given_way += int((~exists).sum())
    assert given_way > 20


def test_the_languages_of_questions_that_come_back_follow_the_temperature_those_of_passages_do_not():
    # 3 : 1, so 40 questions are a deck of 30 and 10; the passages' languages take turns all the same.
    options = {"strategy": "round-robin-entries", "language_temperature": 1.0}
    drawn = batches(HybridBatchSampler(corpus_of(nested(1200, 400)), 40, **options))
    assert len(drawn) == 30
    for (_, a, b), (_, other_a, other_b) in zip(drawn[0::2], drawn[1::2], strict=True):
        assert sorted((int(b[0]), int(other_b[0]))) == [0, 1]
        assert Counter(a.tolist()) == Counter(other_a.tolist()) == {0: 30, 1: 10}


def test_rounds_of_several_datasets_do_not_disturb_each_other():
    corpus = corpus_of(everywhere(60, 3), everywhere(90, 3))
    drawn = batches(HybridBatchSampler(corpus, 5, strategy="round-robin-entries"))
    for dataset in (range(60), range(60, 150)):
        ours = [(item, b) for item, _, b in drawn if item[0] in dataset]
        assert len(ours) >= 12
        for begin in range(0, len(ours) // 3 * 3, 3):
            assert len({tuple(item.tolist()) for item, _ in ours[begin : begin + 3]}) == 1
            assert sorted(int(b[0]) for _, b in ours[begin : begin + 3]) == [0, 1, 2]


# Shares of languages, modes and datasets


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_monolingual_batches_is_alpha(alpha):
    sampler = HybridBatchSampler(corpus_of(everywhere(1600, 3)), 2, strategy="hybrid", alpha=alpha, seed=5)
    share = np.mean([is_monolingual(sampler.draw(number)) for number in range(len(sampler))])
    # 800 batches: within three standard deviations of a share, sqrt(alpha (1 - alpha) / 800); exact at 0 and 1.
    assert abs(share - alpha) <= 3 * math.sqrt(alpha * (1 - alpha) / 800)


def test_uniform_numbers_are_uniform_and_below_1():
    numbers = np.array([_uniform(np.arange(2000), np.uint64(key)) for key in (0, 1, 2**64 - 1)])
    assert (numbers >= 0).all() and (numbers < 1).all()
    assert all(kstest(row, "uniform").pvalue > LEAST_P for row in numbers)
    assert abs(np.corrcoef(numbers)[np.triu_indices(3, 1)]).max() < 4 / math.sqrt(2000)  # unrelated from key to key


def test_monolingual_batches_take_languages_in_turn_of_a_deck_whatever_their_size():
    # With an infinite temperature a deck holds each of the 4 languages once, so any 4 batches of a deck hold all.
    sampler = HybridBatchSampler(corpus_of(nested(400, 200, 100, 9)), 9, strategy="x-x-mono")
    languages = [int(a[0]) for _, a, _ in batches(sampler)]
    assert len(languages) == 45
    decks = [tuple(languages[n : n + 4]) for n in range(0, 44, 4)]
    assert all(sorted(deck) == [0, 1, 2, 3] for deck in decks)
    assert len(set(decks)) > 1  # each shuffled by itself


def test_cross_lingual_pairs_take_every_pair_of_languages_equally_often():
    # 4 languages make 12 ordered pairs; 24 pairs a batch are two whole decks.
    sampler = HybridBatchSampler(corpus_of(everywhere(500, 4)), 24, strategy="x-y")
    for _, a, b in batches(sampler):
        assert Counter(zip(a.tolist(), b.tolist(), strict=True)) == {
            (x, y): 2 for x in range(4) for y in range(4) if x != y
        }


def test_mixed_pairs_take_every_language_equally_often():
    sampler = HybridBatchSampler(corpus_of(everywhere(500, 5)), 25, strategy="x-x")
    assert all(Counter(a.tolist()) == dict.fromkeys(range(5), 5) for _, a, _ in batches(sampler))


@pytest.mark.parametrize(
    ("sizes", "temperature", "copies"),
    [
        ((300, 100), 1.0, (30, 10)),  # 3 : 1 of 20 cards for each of the two
        ((900, 100), 2.0, (30, 10)),  # sqrt(9) : 1
        ((900, 100), math.inf, (1, 1)),
        ((1600, 200), 3.0, (27, 13)),  # cbrt(8) : 1 of 40 is 26.7 : 13.3
        ((900, 100), 0.01, (40, 1)),  # 9^100 : 1 is all for the larger, but the smaller keeps one card
    ],
)
def test_languages_are_drawn_in_proportion_to_their_size_to_the_power_of_1_over_temperature(sizes, temperature, copies):
    sampler = HybridBatchSampler(
        corpus_of(nested(*sizes)), 5, strategy="x-x-mono", language_temperature=temperature, seed=2
    )
    deck = sum(copies)
    languages = [int(sampler.draw(number)[1][0]) for number in range(len(sampler) // deck * deck)]
    assert np.bincount(languages).tolist() == [n * len(languages) // deck for n in copies]


def test_pairs_of_languages_are_drawn_in_proportion_to_the_product_of_their_weights():
    # Weights 1, 1/2, 1/4: products 1/2, 1/4, 1/8, each in two directions, together 7/4. Of 20 cards for each of the 6
    # ordered pairs, 120 in all: 2/7 are 34.3 cards, 1/7 17.1, 1/14 8.6; so 34, 17 and 9, twice: a deck of 120.
    corpus = corpus_of(nested(4000, 2000, 1000))
    sampler = HybridBatchSampler(corpus, 120, strategy="x-y", language_temperature=1.0)
    for _, a, b in batches(sampler):
        drawn = Counter(zip(a.tolist(), b.tolist(), strict=True))
        assert drawn == {(0, 1): 34, (1, 0): 34, (0, 2): 17, (2, 0): 17, (1, 2): 9, (2, 1): 9}


def test_no_language_vanishes_and_no_number_overflows_at_any_temperature():
    items = np.array([40_000_000, 1, 0])
    for temperature in (1e-300, 1e-3, 1.0, math.inf):
        weights = tempered_weights(items, temperature)
        assert weights[0] == 1 and 0 < weights[1] <= 1 and weights[2] == 0
        cards = np.bincount(Deck.from_weights(np.arange(3), weights).cards, minlength=3)
        assert cards.tolist() == ([1, 1, 0] if temperature == math.inf else [40, 1, 0])


def test_languages_that_share_no_item_are_never_paired():
    # English shares items with German and with Swahili, these two share none.
    grid = np.array([[1, 1, 0], [1, 0, 1]] * 30, dtype=bool)
    sampler = HybridBatchSampler(corpus_of(grid), 8, strategy="x-y")
    seen = {pair for _, a, b in batches(sampler) for pair in zip(a.tolist(), b.tolist(), strict=True)}
    assert seen == {(0, 1), (1, 0), (0, 2), (2, 0)}


@pytest.mark.parametrize(
    ("sizes", "temperature", "shares"),
    [
        ((600, 200), 1.0, (3 / 4, 1 / 4)),
        ((900, 100), 2.0, (3 / 4, 1 / 4)),  # sqrt(9) : 1
        ((700, 100), math.inf, (1 / 2, 1 / 2)),
    ],
)
def test_datasets_are_drawn_in_proportion_to_their_size_to_the_power_of_1_over_temperature(sizes, temperature, shares):
    corpus = corpus_of(*(everywhere(size, 2) for size in sizes))
    sampler = HybridBatchSampler(corpus, 5, dataset_temperature=temperature)
    drawn = [int(sampler.draw(number)[0][0] >= sizes[0]) for number in range(len(sampler) // 40 * 40)]
    assert (np.bincount(drawn) / len(drawn)).tolist() == list(shares)  # exact: over whole decks of 40 or 2 cards


# Decks and schedules


@given(
    weights=st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=1, max_size=6).filter(any),
    key=st.integers(0, 2**64 - 1),
)
@settings(deadline=None, max_examples=30, derandomize=True)
def test_dealing_is_taking_cards_off_shuffled_decks_and_numbers_every_card_of_a_value_once(weights, key):
    deck = Deck.from_weights(np.arange(len(weights)) + 10, np.array(weights))
    decks = 3
    value, turn = deck.deal(np.arange(decks * len(deck.cards)), np.uint64(key))
    for n in range(decks):
        assert sorted(value[n * len(deck.cards) : (n + 1) * len(deck.cards)].tolist()) == sorted(deck.cards.tolist())
    for v in set(deck.cards.tolist()):
        copies = int((deck.cards == v).sum())
        assert sorted(turn[value == v].tolist()) == list(range(decks * copies))
        assert (turn[value == v] // copies).tolist() == np.repeat(range(decks), copies).tolist()  # deck by deck
    assert set(value.tolist()) == {n + 10 for n, weight in enumerate(weights) if weight}


def test_weights_that_are_equal_make_the_smallest_deck_however_small_they_are():
    assert len(Deck.from_weights(np.arange(3), np.array([1e-12, 1e-12, 1e-12])).cards) == 3
    assert len(Deck.from_weights(np.arange(2), np.array([1e-9, 3e-9])).cards) == 40


def test_orders_of_a_deck_come_equally_often():
    deck = Deck.from_weights(np.arange(3), np.ones(3))
    dealt = deck.deal(np.arange(3 * 3000), np.uint64(8))[0].reshape(-1, 3)
    assert chisquare(list(Counter(map(tuple, dealt.tolist())).values())).pvalue > LEAST_P
    assert len(np.unique(dealt, axis=0)) == 6


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=50))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_a_schedule_counts_the_batches_alike_before_each(kinds):
    dataset = np.array([d for d, _ in kinds], dtype=np.int64)
    monolingual = np.array([m for _, m in kinds], dtype=bool)
    schedule = _Schedule.count(dataset, monolingual)
    assert schedule.turn.tolist() == [kinds[:n].count(kind) for n, kind in enumerate(kinds)]
    assert schedule.dataset.tolist() == dataset.tolist() and schedule.monolingual.tolist() == monolingual.tolist()


def test_an_epoch_drawn_in_pieces_has_the_schedule_of_one_drawn_at_once(monkeypatch):
    expected = list(sampler_at_random())
    monkeypatch.setattr("hybridlib.sampler.batches._BATCHES_AT_ONCE", 5)
    assert list(sampler_at_random()) == expected


# Items


@pytest.mark.parametrize("pairs", [1, 4, 7, 29, 31])
def test_a_language_deals_each_item_once_before_any_comes_again(pairs):
    # 31 items in either language: 31 // pairs batches are a round, and none of its items comes twice.
    sampler = HybridBatchSampler(corpus_of(everywhere(31, 2)), pairs, strategy="en-en")
    numbers = [int(place) for turn in range(93) for place in places_of_whole_batch(31, pairs, turn)]
    a_round = 31 // pairs * pairs
    for begin in range(0, len(numbers) - a_round + 1, a_round):
        one_round = numbers[begin : begin + a_round]
        assert one_round == list(range(one_round[0], one_round[0] + a_round)) and one_round[0] % 31 == 0
    dealt = np.concatenate([item for item, _, _ in batches(sampler)])
    for begin in range(0, len(dealt), a_round):
        assert len(set(dealt[begin : begin + a_round].tolist())) == len(dealt[begin : begin + a_round])


def test_rounds_of_an_unequal_language_hold_each_item_once():
    # Swahili has 10 items, so two batches of 5 are a round of it, German 25, English 200.
    sampler = HybridBatchSampler(corpus_of(nested(200, 25, 10)), 5, strategy="x-x-mono", seed=4)
    for language, a_round, size in ((0, 40, 200), (1, 5, 25), (2, 2, 10)):
        dealt = [item for item, a, _ in batches(sampler) if a[0] == language]
        assert len(dealt) >= 13
        for begin in range(0, len(dealt) - a_round + 1, a_round):
            assert sorted(np.concatenate(dealt[begin : begin + a_round]).tolist()) == list(range(size))
        rounds = [np.concatenate(dealt[n : n + a_round]).tolist() for n in range(0, len(dealt) - a_round + 1, a_round)]
        assert all(one != other for one, other in pairwise(rounds))


def test_items_of_a_cross_lingual_stream_come_once_each_round():
    segment = corpus_of(at_random(97, 3, 8)).segments[0]
    for a, b in ((0, 1), (1, 0), (2, 2)):
        size = int(segment.count(a, b))
        place = np.arange(3 * size)
        stream = item_at(segment, np.full(len(place), a), np.full(len(place), b), place, np.uint64(1)).reshape(3, size)
        assert all(len(set(one.tolist())) == size for one in stream)


def test_no_two_languages_and_no_two_rounds_have_the_same_order():
    segment = corpus_of(everywhere(40, 3)).segments[0]
    a, b, rounds = (grid.ravel() for grid in np.meshgrid(range(3), range(3), range(9), indexing="ij"))
    orders = {
        tuple(item_at(segment, np.full(40, x), np.full(40, y), n * 40 + np.arange(40), np.uint64(6)).tolist())
        for x, y, n in zip(a, b, rounds, strict=True)
    }
    assert len(orders) == 81


def test_datasets_of_equal_size_do_not_get_the_same_order():
    sampler = HybridBatchSampler(corpus_of(everywhere(60, 1), everywhere(60, 1)), 6, strategy="x-x-mono")
    dealt = np.concatenate([item for item, _, _ in batches(sampler)])
    first, second = dealt[dealt < 60], dealt[dealt >= 60] - 60
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(60))
    assert (first == second).mean() < 0.2  # equal by chance in one place of 60


@pytest.mark.parametrize(("alone", "wanted"), [("x-x-mono", True), ("x-y", False)])
def test_alpha_does_not_change_what_the_batches_of_a_kind_hold(alone, wanted):
    # Three languages are so thin that pairs are replaced in nearly every batch.
    corpus = corpus_of(nested(300, 13, 12, 11), nested(250, 18, 14, 13))
    expected = batches(HybridBatchSampler(corpus, 10, strategy=alone, seed=9))
    for alpha in (0.3, 0.6):
        hybrid = batches(HybridBatchSampler(corpus, 10, strategy="hybrid", alpha=alpha, seed=9))
        for dataset in (range(300), range(300, 550)):
            kept = [batch for batch in hybrid if is_monolingual(batch) == wanted and batch[0][0] in dataset]
            alike = [one for one in expected if one[0][0] in dataset]
            assert 3 <= len(kept) <= len(alike)
            for ours, theirs in zip(kept, alike, strict=False):
                assert np.array_equal(ours, theirs)


def test_every_purpose_dataset_epoch_and_seed_has_a_key_of_its_own():
    purposes = [(purpose, kind) for purpose in Keys.PURPOSES for kind in (0, 1)]
    keys = {
        int(Keys(seed, epoch, dataset).of(*purpose))
        for seed in (0, 1, 2**32, 2**32 + 1)
        for epoch in (0, 1)
        for dataset in (0, 1)
        for purpose in purposes
    }
    assert len(keys) == 4 * 2 * 2 * len(purposes)


def test_modes_datasets_and_languages_are_drawn_independently():
    corpus = corpus_of(everywhere(600, 2), everywhere(600, 2))
    sampler = HybridBatchSampler(corpus, 2, strategy="hybrid", seed=1)
    cells = Counter()
    for item, a, b in batches(sampler):
        cells[is_monolingual((item, a, b)), bool(item[0] >= 600), int(a[0])] += 1
    # 600 batches in 8 cells of equal probability.
    assert chisquare([cells[m, d, a] for m in (True, False) for d in (True, False) for a in (0, 1)]).pvalue > LEAST_P


# The same batches, however they are asked for


def sampler_at_random(strategy: str = "hybrid", seed: int = 3, **options) -> HybridBatchSampler:
    corpus = corpus_of(at_random(101, 4, 1), at_random(67, 4, 2))
    return HybridBatchSampler(corpus, 6, seed=seed, strategy=strategy, **options)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(order=st.permutations(range(28)))
@settings(deadline=None, max_examples=5, derandomize=True)
def test_a_batch_asked_for_is_that_of_iteration_in_whatever_order(strategy, order):
    expected = list(sampler_at_random(strategy))
    assert len(expected) == 28
    asked = sampler_at_random(strategy)
    assert [asked.batch(number) for number in order] == [expected[number] for number in order]
    assert sampler_at_random(strategy).batch(order[0]) == expected[order[0]]


def test_an_epoch_is_the_same_again_and_another_seed_or_epoch_is_another():
    first = sampler_at_random()
    epoch_0 = list(first)
    first.set_epoch(1)
    epoch_1 = list(first)
    first.set_epoch(0)
    assert list(first) == epoch_0
    fresh = sampler_at_random()
    fresh.set_epoch(1)
    assert list(fresh) == epoch_1
    others = [epoch_0, epoch_1, list(sampler_at_random(seed=4)), list(sampler_at_random(seed=3 + 2**32))]
    for n, one in enumerate(others):
        for other in others[:n]:
            assert sum(x == y for x, y in zip(one, other, strict=True)) == 0


def test_modes_differ_from_epoch_to_epoch():
    sampler = sampler_at_random("hybrid")
    modes = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        modes.append(tuple(is_monolingual(batch) for batch in batches(sampler)))
    assert len(set(modes)) == 4


@pytest.mark.parametrize(("drop_last", "expected"), [(True, 14), (False, 15)])
def test_len_is_what_is_yielded_and_every_batch_is_full(drop_last, expected):
    # 101 items, 7 pairs a batch: 14.4 batches.
    for strategy in STRATEGIES:
        sampler = HybridBatchSampler(corpus_of(everywhere(101, 2)), 7, drop_last, strategy=strategy)
        yielded = list(sampler)
        assert len(yielded) == len(sampler) == expected
        assert {len(batch) for batch in yielded} == {14} == {sampler.batch_size}


@pytest.mark.parametrize("items", [98, 105])
def test_drop_last_changes_nothing_where_batches_come_out_even(items):
    corpus = corpus_of(everywhere(items, 2))
    assert list(HybridBatchSampler(corpus, 7, True)) == list(HybridBatchSampler(corpus, 7, False))


# Several processes


@pytest.mark.parametrize("processes", [2, 4])
def test_the_parts_of_several_processes_are_the_whole_batch_and_pairs_stay_whole(processes):
    sampler = HybridBatchSampler(corpus_of(at_random(90, 3, 1)), 8, strategy="hybrid")
    shards = [BatchSamplerShard(sampler, processes, n, split_batches=True) for n in range(processes)]
    assert [len(shard) for shard in shards] == [len(sampler)] * processes
    for whole, *parts in zip(sampler, *shards, strict=True):
        assert [row for part in parts for row in part] == whole
        assert {len(part) for part in parts} == {16 // processes}
        for part in parts:
            assert all(q // 3 == p // 3 for q, p in zip(part[0::2], part[1::2], strict=True))


def test_a_batch_that_does_not_split_into_rows_for_each_process_is_refused_by_accelerate():
    sampler = HybridBatchSampler(corpus_of(everywhere(90, 3)), 5)
    with pytest.raises(ValueError, match=r"the batch size \(10\) needs to be a round multiple of the number of proc"):
        BatchSamplerShard(sampler, 4, 0, split_batches=True)


def test_the_epoch_reaches_the_sampler_behind_the_shard_of_a_process():
    table = tiny_table(24)
    sampler = HybridBatchSampler(table, 4)
    loader = prepare_data_loader(
        DataLoader(table, batch_sampler=sampler, collate_fn=lambda rows: [(r["item"], r["language"]) for r in rows]),
        num_processes=2,
        process_index=1,
        split_batches=True,
        put_on_device=False,
    )
    epochs = []
    for epoch in (0, 1):
        # The two lines of transformers.Trainer._run_epoch: accelerate alone stops at its own BatchSamplerShard.
        loader.set_epoch(epoch)
        loader.batch_sampler.batch_sampler.set_epoch(epoch)
        epochs.append(list(loader))
    expected = HybridBatchSampler(table, 4)
    for epoch in (0, 1):
        expected.set_epoch(epoch)
        whole = [[(table[row]["item"], table[row]["language"]) for row in batch] for batch in expected]
        assert epochs[epoch] == [batch[4:] for batch in whole]
    assert epochs[0] != epochs[1]


# In the trainer


def tiny_table(items: int) -> datasets.Dataset:
    rows = [
        {
            "item": item,
            "language": code,
            "query": f"{code} question {item}",
            "passage": f"{code} answer {item}",
            "passage_group": item // 2,
            "domain": "none",
            "dataset": "tiny",
        }
        for item in range(items)
        for code in CODES[:3]
    ]
    return datasets.Dataset.from_list(rows)


class _Recorder(hybridlib.ParallelCollator):
    """The collator, which keeps the rows that it was given."""

    def __call__(self, features):
        self.seen.append([(row["query"], row["passage"]) for row in features])
        return super().__call__(features)


def train(folder, table: datasets.Dataset, resume: str | None = None, **arguments):
    """The stock trainer over the sampler; returns the rows of each batch that was collated, and the trainer."""
    words = sorted({word for column in ("query", "passage") for text in table[column] for word in text.split()})
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0} | {word: n for n, word in enumerate(words, 1)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = torch.randn(len(words) + 1, 8, generator=torch.Generator().manual_seed(0))
    encoder = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    collator = _Recorder(encoder.preprocess)
    collator.seen = []
    trainer = SentenceTransformerTrainer(
        model=encoder,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=4,
            batch_sampler=partial(HybridBatchSampler, strategy="hybrid", alpha=0.5),
            accelerator_config={"split_batches": True},
            seed=7,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            **arguments,
        ),
        train_dataset=table,
        loss=hybridlib.InfoNCE(encoder),
        data_collator=collator,
    )
    trainer.train(resume_from_checkpoint=resume)
    return collator.seen, trainer


def rows_of(table: datasets.Dataset, epoch: int, pairs: int = 4) -> list:
    sampler = HybridBatchSampler(table, pairs, seed=7, strategy="hybrid", alpha=0.5)
    sampler.set_epoch(epoch)
    texts = list(zip(table["query"], table["passage"], strict=True))
    return [[texts[row] for row in batch] for batch in sampler]


def test_the_stock_trainer_takes_the_sampler_as_it_is(tmp_path):
    table = tiny_table(24)
    seen, trainer = train(tmp_path, table, max_steps=3, save_strategy="no")
    assert trainer.state.global_step == 3
    assert isinstance(trainer.get_train_dataloader().batch_sampler, HybridBatchSampler)
    assert math.isfinite(trainer.state.log_history[-1]["train_loss"])
    assert seen[:3] == rows_of(table, 0)[:3]  # accelerate collates one ahead


def test_the_trainer_advances_the_epoch_and_resumes_in_the_middle_of_one(tmp_path):
    table = tiny_table(12)  # 3 batches an epoch
    seen, _ = train(tmp_path, table, num_train_epochs=2, save_steps=4)
    assert seen == rows_of(table, 0) + rows_of(table, 1)
    assert rows_of(table, 0) != rows_of(table, 1)
    resumed, trainer = train(tmp_path / "again", table, str(tmp_path / "checkpoint-4"), num_train_epochs=2)
    assert trainer.state.global_step == 6
    assert resumed == rows_of(table, 1)[1:]


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "y-x"}, "strategy is 'y-x'; allowed: en-en, x-x, x-x-mono, x-y, hybrid, mix-pass"),
        ({"alpha": -0.1}, "alpha is -0.1; allowed: 0 to 1"),
        ({"alpha": 1.5}, "alpha is 1.5; allowed: 0 to 1"),
        ({"alpha": math.nan}, "alpha is nan; allowed: 0 to 1"),
        ({"language_temperature": 0}, "language_temperature is 0; allowed: above 0, up to infinity"),
        ({"dataset_temperature": -1.0}, "dataset_temperature is -1.0; allowed: above 0, up to infinity"),
        ({"dataset_temperature": math.nan}, "dataset_temperature is nan; allowed: above 0, up to infinity"),
        ({"batch_size": 0}, "batch_size is 0; allowed: 1 or more"),
        ({"seed": -1}, "seed is -1; allowed: 0 or more"),
    ],
)
def test_an_argument_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HybridBatchSampler(corpus_of(everywhere(9, 2)), **({"batch_size": 2} | options))


@pytest.mark.parametrize(
    ("grid", "pairs", "strategy", "message"),
    [
        (
            nested(9, 9, 4, 3, 0),
            5,
            "x-x-mono",
            r"batch_size is 5, but a monolingual batch of dataset 'set 0' cannot be filled in sw \(4\), ja \(3\); "
            "allowed: at most 3, or a corpus without these languages",
        ),
        (nested(9, 4), 5, "hybrid", r"a monolingual batch of dataset 'set 0' cannot be filled in de \(4\)"),
        (nested(3, 9), 5, "en-en", r"a monolingual batch of dataset 'set 0' cannot be filled in en \(3\)"),
        (
            nested(9, 4, 3),
            5,
            "x-y",
            "batch_size is 5, but no two languages share more than 4 items of dataset 'set 0'; "
            "a batch never holds an item twice; allowed: at most 4",
        ),
        (
            nested(9, 9, 4, 3, 0),
            5,
            "mix-entries",
            r"batch_size is 5, but a batch of passages in one language of dataset 'set 0' cannot be filled in "
            r"sw \(4\), ja \(3\); allowed: at most 3, or a corpus without these languages",
        ),
        (nested(9, 4), 5, "round-robin-entries", r"of passages in one language of dataset 'set 0' .* in de \(4\)"),
        (nested(4, 4, 3), 5, "mix-passages", "batch_size is 5, but no language has more than 4 items of dataset"),
        (nested(4, 4, 3), 5, "x-x", "batch_size is 5, but no language has more than 4 items of dataset 'set 0'"),
        (
            np.eye(4, dtype=bool),
            1,
            "x-y",
            "strategy 'x-y' needs items that exist in two languages; dataset 'set 0' has",
        ),
        (everywhere(4, 1), 1, "hybrid", "strategy 'hybrid' needs items that exist in two languages; dataset 'set 0'"),
        (nested(0, 9), 1, "en-en", r"strategy 'en-en' needs items in English \(en\); dataset 'set 0' has none"),
        (
            np.zeros((4, 2), dtype=bool),
            1,
            "x-x",
            "strategy 'x-x' needs items in any language; dataset 'set 0' has none",
        ),
        (
            np.zeros((4, 2), dtype=bool),
            1,
            "x-x-mono",
            "strategy 'x-x-mono' needs items in any language; dataset 'set 0'",
        ),
    ],
)
def test_a_batch_that_could_not_be_filled_is_refused(grid, pairs, strategy, message):
    with pytest.raises(ValueError, match=message):
        HybridBatchSampler(corpus_of(grid), pairs, strategy=strategy)


def test_english_is_needed_for_english_pairs():
    corpus = corpus_of(everywhere(4, 2))
    corpus = Availability(("de", "sw"), corpus.segments)
    with pytest.raises(ValueError, match=r"needs items in English \(en\); .* \(languages of the corpus: de, sw\)"):
        HybridBatchSampler(corpus, 1, strategy="en-en")


def test_every_dataset_must_fill_a_batch():
    corpus = corpus_of(everywhere(20, 2), everywhere(3, 2))
    with pytest.raises(ValueError, match="no two languages share more than 3 items of dataset 'set 1'"):
        HybridBatchSampler(corpus, 5, strategy="x-y")


@pytest.mark.parametrize("number", [-1, 15])
def test_a_batch_beyond_the_epoch_is_refused(number):
    sampler = HybridBatchSampler(corpus_of(everywhere(101, 2)), 7)
    with pytest.raises(IndexError, match=f"batch is {number}; allowed: 0 to 14"):
        sampler.batch(number)
