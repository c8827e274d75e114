"""Batches are what they are said to be, for every strategy, and the same however they are asked for."""

import math
from collections import Counter
from itertools import combinations, pairwise, product

import numpy as np
import pandas as pd
import pytest
from corpora import LEAST_P, at_random, corpus_of, everywhere, nested
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from hybridlib.names import STRATEGIES
from hybridlib.sampler.availability import Availability
from hybridlib.sampler.batches import HybridBatchSampler
from hybridlib.sampler.strategies import STRATEGY_RECORDS
from hybridlib.sampler.streams import Draw


def batches(corpus: Availability, pairs: int, **options) -> list[Draw]:
    """Return the items, query languages and passage languages of every batch of the first epoch."""
    sampler = HybridBatchSampler(corpus, pairs, **options)
    return [sampler.draw(number) for number in range(len(sampler))]


def is_monolingual(batch: Draw) -> bool:
    _, a, b = batch
    return len({*a.tolist(), *b.tolist()}) == 1


def languages_of_pairs(batch: Draw, languages: int) -> np.ndarray:
    """Return how many pairs have each question language and passage language. (L, L)"""
    _, a, b = batch
    return np.bincount(a * languages + b, minlength=languages**2).reshape(languages, languages)


def largest_batch(grid: np.ndarray, strategy: str) -> int:
    """Return the most pairs that a batch of a dataset is allowed, 0 if there can be none: the oracle of the limits."""
    if strategy == "en-en":
        return int(grid[:, 0].sum())
    alone = grid.sum(axis=0)
    both = [int((grid[:, a] & grid[:, b]).sum()) for a, b in combinations(range(grid.shape[1]), 2)]
    of_one, of_two = min(alone[alone > 0], default=0), max(both, default=0)
    if strategy == "x-x-mono" or STRATEGY_RECORDS[strategy].one_passage_language:
        return int(of_one)
    if strategy == "hybrid":
        return int(min(of_one, of_two))
    # With `hybrid-pairs` it may be that all pairs of a batch are in two languages, or in one, for which there are more.
    return int(max(alone) if strategy in ("x-x", "mix-passages") else of_two)


# Every batch


def follows(strategy: str, batch: Draw) -> bool:
    """Return whether the languages of a batch are as the strategy says."""
    _, a, b = batch
    return {
        "en-en": not a.any() and not b.any(),
        "x-x": (a == b).all(),
        "x-x-mono": is_monolingual(batch),
        "x-y": (a != b).all(),
        "hybrid": (a != b).all() or is_monolingual(batch),
        "hybrid-pairs": True,
        "mix-passages": True,
    }.get(strategy, len(set(b.tolist())) == 1)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(data=st.data())
@settings(deadline=None, max_examples=60, derandomize=True)
def test_batches_of_any_corpus_are_what_the_strategy_says_up_to_the_largest_batch_there_can_be(strategy, data):
    languages, shares = data.draw(st.integers(1, 5)), st.sampled_from([0.05, 0.3, 0.7, 0.95, 1.0])
    grid_of_any_kind = st.builds(at_random, st.integers(1, 60), st.just(languages), st.integers(0, 999), shares)
    grids = data.draw(st.lists(grid_of_any_kind, min_size=1, max_size=3))
    corpus, largest = corpus_of(*grids), min(largest_batch(grid, strategy) for grid in grids)
    options = {"strategy": strategy, "language_temperature": data.draw(st.sampled_from([math.inf, 3.0, 1.0, 0.2]))}
    too_large = rf"batch_size is {largest + 1}, but .*allowed: at most {largest}\b"
    with pytest.raises(ValueError, match=too_large if largest else f"strategy '{strategy}' needs items .* has none"):
        HybridBatchSampler(corpus, largest + 1, **options)
    if not largest:
        return
    pairs = data.draw(st.sampled_from([largest, 1, largest // 2 + 1]))
    sampler = HybridBatchSampler(corpus, pairs, seed=data.draw(st.integers(0, 99)), **options)
    table, dataset = np.concatenate(grids), np.repeat(range(len(grids)), list(map(len, grids)))
    for number in range(min(len(sampler), 8)):
        item, a, b = sampler.draw(number)
        assert len(item) == len(a) == len(b) == pairs
        assert len(set(item.tolist())) == pairs, "no item twice, in any language"
        assert len(set(dataset[item].tolist())) == 1, "all of one dataset"
        assert table[item, a].all() and table[item, b].all(), "every row exists"
        assert follows(strategy, (item, a, b))
        rows = np.stack([item * languages + a, item * languages + b], axis=1)
        assert sampler.batch(number) == rows.ravel().tolist()


# Shares of languages, modes and datasets


@pytest.mark.parametrize(
    ("strategy", "grid", "pairs", "temperature", "expected"),
    [
        ("x-x", everywhere(500, 5), 25, math.inf, 5 * np.eye(5)),
        # 4 languages make 12 ordered pairs, which are a deck; 24 pairs a batch are two whole decks.
        ("x-y", everywhere(500, 4), 24, math.inf, 2 - 2 * np.eye(4)),
        # Here, these are two decks of 6. Nearly all items are in every batch, but every repeat is replaced in its
        # languages, as these have more items than the batch has pairs.
        ("x-y", everywhere(13, 3), 12, math.inf, 2 - 2 * np.eye(3)),
        # English shares items with German and with Swahili. These two share none, so they are never paired.
        ("x-y", np.array([[1, 1, 0], [1, 0, 1]] * 30, bool), 8, math.inf, [[0, 2, 2], [2, 0, 0], [2, 0, 0]]),
        # The weights 1, 1/2, 1/4 have the products 1/2, 1/4, 1/8, each in two directions; their sum is 7/4. There are
        # 20 cards for each of 6 ordered pairs, so 120. 2/7 of them are 34.3 cards, 1/7 are 17.1, and 1/14 are 8.6.
        # Rounded and in two directions they are 2 * (34 + 17 + 9) = 120 cards.
        ("x-y", nested(4000, 2000, 1000), 120, 1.0, [[0, 34, 17], [34, 0, 9], [17, 9, 0]]),
        # 3 languages make 9 ordered pairs with those of one language twice; 18 pairs a batch are two whole decks.
        ("mix-passages", everywhere(500, 3), 18, math.inf, np.full((3, 3), 2)),
        # The weights 1, 1/2 have the products 1, 1/2, 1/2, 1/4, whose sum is 9/4. There are 20 cards for each of 4
        # pairs, so 80. They get 35.6, 17.8, 17.8 and 8.9 of them, which make 81 when rounded.
        ("mix-passages", nested(2000, 1000), 81, 1.0, [[36, 18], [18, 9]]),
    ],
)
def test_the_pairs_of_a_batch_take_their_languages_in_proportion_to_the_products_of_weights(
    strategy, grid, pairs, temperature, expected
):
    for batch in batches(corpus_of(grid), pairs, strategy=strategy, language_temperature=temperature):
        assert np.array_equal(languages_of_pairs(batch, len(expected)), expected)


@pytest.mark.parametrize(
    ("strategy", "sizes", "pairs", "temperature", "copies"),
    [
        ("x-x-mono", (400, 200, 100, 9), 9, math.inf, (1, 1, 1, 1)),
        ("x-x-mono", (900, 100), 5, math.inf, (1, 1)),
        ("x-x-mono", (600, 200), 5, 1.0, (30, 10)),  # 3 : 1 of 20 cards for each of the two
        ("x-x-mono", (900, 100), 5, 2.0, (30, 10)),  # sqrt(9) : 1
        ("x-x-mono", (1600, 200), 5, 3.0, (27, 13)),  # cbrt(8) : 1 of 40 is 26.7 : 13.3
        ("x-x-mono", (900, 100), 5, 0.01, (40, 1)),  # 9^100 : 1 is all for the larger, but the smaller keeps one card
        ("mix-entries", (320, 320, 320, 320), 8, math.inf, (1, 1, 1, 1)),
        ("mix-entries", (600, 200), 5, 1.0, (30, 10)),
        ("round-robin-entries", (1200, 400), 40, 1.0, (1, 1)),  # each language once a round, whatever its size
    ],
)
def test_whole_batches_take_their_language_off_decks_in_proportion_to_size_to_the_power_of_1_over_temperature(
    strategy, sizes, pairs, temperature, copies
):
    drawn = batches(corpus_of(nested(*sizes)), pairs, seed=2, strategy=strategy, language_temperature=temperature)
    languages = [int(b[0]) for _, _, b in drawn]
    deck = sum(copies)
    decks = [tuple(languages[n : n + deck]) for n in range(0, len(languages) - deck + 1, deck)]
    assert all(np.bincount(one).tolist() == list(copies) for one in decks)
    assert len(set(decks)) > 1  # each shuffled by itself


def test_questions_of_a_mixed_entry_are_in_all_languages_equally_often():
    # 4 languages; 8 pairs a batch are two whole decks of question languages.
    drawn = batches(corpus_of(everywhere(320, 4)), 8, strategy="mix-entries")
    assert all(Counter(a.tolist()) == dict.fromkeys(range(4), 2) for _, a, _ in drawn)
    # Each language deals the questions' languages by itself: were they dealt alike, there were 10 orders. Two of 40 are
    # the same by chance, as there are 24 * 24.
    assert len(drawn) == 40 and len({tuple(a.tolist()) for _, a, _ in drawn}) >= 37


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_share_of_monolingual_batches_is_alpha(alpha):
    drawn = batches(corpus_of(everywhere(1600, 3)), 2, strategy="hybrid", alpha=alpha, seed=5)
    share = np.mean([is_monolingual(batch) for batch in drawn])
    # 800 batches: within three standard deviations of a share, sqrt(alpha (1 - alpha) / 800); exact at 0 and 1.
    assert abs(share - alpha) <= 3 * math.sqrt(alpha * (1 - alpha) / 800)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_share_of_pairs_in_one_language_is_alpha_where_pairs_are_flipped(alpha):
    drawn = batches(corpus_of(everywhere(4000, 3)), 20, strategy="hybrid-pairs", alpha=alpha, seed=5)
    same = np.array([a == b for _, a, b in drawn])  # (batches, B)
    # 4,000 pairs: within three standard deviations of a share; exact at 0 and 1.
    assert abs(same.mean() - alpha) <= 3 * math.sqrt(alpha * (1 - alpha) / 4000)
    # Each pair is flipped by itself: what a batch has of them is binomial, of the variance 20 alpha (1 - alpha). In 200
    # batches a variance is off by a tenth of itself, as is its standard deviation, sqrt(2 / 199).
    assert abs(same.sum(axis=1).var() - 20 * alpha * (1 - alpha)) <= 0.35 * 20 * alpha * (1 - alpha)


@pytest.mark.parametrize("alpha", [0.2, 0.5])
def test_flipped_pairs_take_their_languages_off_a_deck_for_one_language_and_a_deck_for_two(alpha):
    drawn = batches(corpus_of(everywhere(900, 3), everywhere(900, 3)), 7, strategy="hybrid-pairs", alpha=alpha, seed=1)
    for dataset in range(2):
        _, a, b = np.concatenate([batch for batch in drawn if (batch[0][0] >= 900) == dataset], axis=1)
        for some, deck in ((a == b, 3), (a != b, 6)):
            cards = (a * 3 + b)[some]
            decks = cards[: len(cards) // deck * deck].reshape(-1, deck)
            assert len(decks) > 10 and (np.sort(decks) == np.unique(cards)).all()  # each card once


def test_a_pair_that_is_replaced_stays_in_one_language_or_in_two():
    # Of 40 pairs, about 20 are in two languages, two thirds of these with Swahili, and 7 in Swahili alone. Where it has
    # 3 items, most of them go to other languages; where it has 300, none does.
    thin, rich = (
        HybridBatchSampler(corpus_of(nested(40 * n, 40 * n, 3 * n)), 40, strategy="hybrid-pairs") for n in (1, 100)
    )
    for epoch in range(20):
        for sampler in (thin, rich):
            sampler.set_epoch(epoch)
        (_, a, b), (_, c, d) = thin.draw(0), rich.draw(0)
        assert np.array_equal(a == b, c == d)
        assert ((a == 2) | (b == 2)).sum() <= 3 < ((c == 2) | (d == 2)).sum()


def test_alpha_does_not_change_what_the_pairs_in_one_language_and_in_two_hold():
    # No batch at this seed repeats an item, so no pair is replaced.
    samplers = {
        alpha: HybridBatchSampler(corpus_of(everywhere(20_000, 3)), 7, strategy="hybrid-pairs", alpha=alpha, seed=1)
        for alpha in (0.0, 0.3, 0.7, 1.0)
    }
    drawn = {alpha: np.concatenate([one.draw(n) for n in range(100)], axis=1) for alpha, one in samplers.items()}
    for alpha in (0.3, 0.7):
        same = drawn[alpha][1] == drawn[alpha][2]
        for some, alone in ((same, 1.0), (~same, 0.0)):
            ours = drawn[alpha][:, some]
            assert 150 < ours.shape[1] < 550 and np.array_equal(ours, drawn[alone][:, : ours.shape[1]])


@pytest.mark.parametrize(
    ("sizes", "temperature", "share"),
    [((600, 200), 1.0, 1 / 4), ((900, 100), 2.0, 1 / 4), ((700, 100), math.inf, 1 / 2)],  # 3 : 1, sqrt(9) : 1, 1 : 1
)
def test_datasets_are_drawn_in_proportion_to_their_size_to_the_power_of_1_over_temperature(sizes, temperature, share):
    corpus = corpus_of(*(everywhere(size, 2) for size in sizes))
    drawn = [item[0] >= sizes[0] for item, _, _ in batches(corpus, 5, dataset_temperature=temperature)]
    decks = drawn[: len(drawn) // 40 * 40]  # whole ones of 40 or 2 cards, so the share is exact
    assert np.mean(decks) == share


def test_modes_datasets_and_languages_are_drawn_independently():
    drawn = batches(corpus_of(everywhere(600, 2), everywhere(600, 2)), 2, strategy="hybrid", seed=1)
    cells = Counter((is_monolingual(batch), bool(batch[0][0] >= 600), int(batch[1][0])) for batch in drawn)
    # 600 batches in 8 cells of equal probability.
    assert len(cells) == 8 and chisquare(list(cells.values())).pvalue > LEAST_P


def test_pairs_of_thin_languages_that_are_used_up_go_to_the_other_languages_evenly():
    # Four of the six ordered pairs of languages hold Swahili, which has 3 items. About 27 of 40 pairs in a batch are
    # dealt them, and at most 3 can have them. The others must be English and German, as many in either direction.
    for batch in batches(corpus_of(nested(60, 60, 3)), 40, strategy="x-y", seed=1):
        drawn = languages_of_pairs(batch, 3)
        assert drawn[2].sum() + drawn[:, 2].sum() <= 3
        # The first deal is uneven by at most a begun deck at either end, and the replacement by one card.
        assert abs(drawn[0, 1] - drawn[1, 0]) <= 3


# Rounds of items


def test_a_language_deals_each_item_once_before_any_comes_again():
    # Batches of 5 in a round: 50 of the 250 items in English, 5 of 25, 2 of 13 (3 are left out), and 1 of 6.
    drawn = batches(corpus_of(nested(250, 25, 13, 6)), 5, strategy="x-x-mono", seed=4)
    for language, in_round in ((0, 50), (1, 5), (2, 2), (3, 1)):
        dealt = np.array([item for item, a, _ in drawn if a[0] == language])
        assert len(dealt) >= 12
        rounds = dealt[: len(dealt) // in_round * in_round].reshape(-1, 5 * in_round).tolist()
        assert all(len(set(one)) == 5 * in_round for one in rounds)
        assert all(one != other for one, other in pairwise(rounds))


@pytest.mark.parametrize("strategy", [strategy for strategy in STRATEGIES if strategy != "x-y"])
def test_every_dataset_deals_each_item_once_in_an_epoch_in_an_order_of_its_own(strategy):
    corpus = corpus_of(everywhere(60, 1), everywhere(60, 1))
    dealt = np.concatenate([item for item, _, _ in batches(corpus, 6, strategy=strategy, alpha=1.0)])
    first, second = dealt[dealt < 60], dealt[dealt >= 60] - 60
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(60))
    assert (first == second).mean() < 0.2  # equal by chance in one place of 60


@pytest.mark.parametrize(
    ("grids", "pairs", "temperature", "copies", "gives_way"),
    [
        # Pairs are whole decks of languages.
        ([everywhere(320, 4)], 8, math.inf, [2, 2, 2, 2], False),
        ([everywhere(60, 3), everywhere(90, 3)], 6, math.inf, [2, 2, 2], False),
        # About 2 of the 12 questions of a round exist in Swahili, whose 20 items are enough for all to keep theirs.
        ([nested(200, 200, 20)], 12, math.inf, [4, 4, 4], True),
        ([nested(1200, 400)], 40, 1.0, [30, 10], True),  # 3 : 1; the passages' languages take turns all the same
    ],
)
def test_the_same_questions_come_back_until_each_language_was_that_of_the_passages(
    grids, pairs, temperature, copies, gives_way
):
    table, width = np.concatenate(grids), len(copies)
    options = {"strategy": "round-robin-entries", "language_temperature": temperature, "seed": 2}
    drawn = batches(corpus_of(*grids), pairs, **options)
    gave_way = 0
    for dataset in range(len(grids)):
        ours = [batch for batch in drawn if (batch[0][0] >= len(grids[0])) == dataset]
        rounds = [ours[n : n + width] for n in range(0, len(ours) - width + 1, width)]
        questions, orders = set(), set()
        for one in rounds:
            of_language = {int(b[0]): (item, a) for item, a, b in one}
            assert sorted(of_language) == list(range(width))
            item, a = of_language[0]  # all items exist in the first language
            assert np.bincount(a).tolist() == copies
            for b, (other_item, other_a) in of_language.items():
                exists = table[item, b]
                assert np.array_equal(other_a, a) and np.array_equal(other_item[exists], item[exists])
                gave_way += int((~exists).sum())
            questions.add(tuple(item.tolist()))
            orders.add(tuple(of_language))
        assert len(questions) == len(rounds) > 1 < len(orders)
    assert gives_way == (gave_way > 20)


def test_alpha_does_not_change_what_the_batches_of_a_kind_hold():
    # Three languages are so thin that pairs are replaced in nearly every batch.
    corpus = corpus_of(nested(300, 13, 12, 11), nested(250, 18, 14, 13))
    alone = {True: batches(corpus, 10, strategy="x-x-mono", seed=9), False: batches(corpus, 10, strategy="x-y", seed=9)}
    for alpha in (0.3, 0.6):
        hybrid = batches(corpus, 10, strategy="hybrid", alpha=alpha, seed=9)
        for monolingual, dataset in product((True, False), (range(300), range(300, 550))):
            ours = [batch for batch in hybrid if is_monolingual(batch) == monolingual and batch[0][0] in dataset]
            theirs = [batch for batch in alone[monolingual] if batch[0][0] in dataset]
            assert 3 <= len(ours) <= len(theirs)
            assert np.array_equal(ours, theirs[: len(ours)])


# The same batches, however they are asked for


def sampler_at_random(strategy: str = "hybrid", seed: int = 3, epoch: int = 0) -> HybridBatchSampler:
    sampler = HybridBatchSampler(corpus_of(at_random(101, 4, 1), at_random(67, 4, 2)), 6, seed=seed, strategy=strategy)
    sampler.set_epoch(epoch)
    return sampler


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(order=st.permutations(range(28)))
@settings(deadline=None, max_examples=5, derandomize=True)
def test_a_batch_asked_for_is_that_of_iteration_in_whatever_order(strategy, order):
    expected = list(sampler_at_random(strategy))
    assert len(expected) == 28
    asked = sampler_at_random(strategy)
    assert [asked.batch(number) for number in order] == [expected[number] for number in order]
    assert sampler_at_random(strategy).batch(order[0]) == expected[order[0]]


@pytest.mark.parametrize("strategy", ["hybrid", "hybrid-pairs"])
def test_an_epoch_drawn_in_pieces_has_the_schedule_of_one_drawn_at_once(monkeypatch, strategy):
    expected = list(sampler_at_random(strategy))
    monkeypatch.setattr("hybridlib.sampler.batches._BATCHES_AT_ONCE", 5)
    monkeypatch.setattr("hybridlib.sampler.streams._FLIPS_AT_ONCE", 20)  # 3 batches of 6 pairs
    assert list(sampler_at_random(strategy)) == expected


def test_an_epoch_is_the_same_again_and_another_seed_or_epoch_is_another():
    samplers = [sampler_at_random(epoch=epoch, seed=seed) for epoch in (0, 1, 2) for seed in (3, 4, 3 + 2**32)]
    for one, other in combinations(map(list, samplers), 2):
        assert not any(x == y for x, y in zip(one, other, strict=True))
    modes = {tuple(is_monolingual(one.draw(number)) for number in range(28)) for one in samplers}
    assert len(modes) == len(samplers)
    again = sampler_at_random()
    for epoch in (1, 0):
        again.set_epoch(epoch)
        assert list(again) == list(samplers[3 * epoch])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("items", "whole", "begun"), [(98, 14, 14), (101, 14, 15), (105, 15, 15)])
def test_len_is_what_is_yielded_and_every_batch_is_full(strategy, items, whole, begun):
    corpus = corpus_of(everywhere(items, 2))
    dropping, keeping = (HybridBatchSampler(corpus, 7, drop_last, strategy=strategy) for drop_last in (True, False))
    yielded = list(keeping)
    assert len(yielded) == len(keeping) == begun and len(dropping) == whole
    assert list(dropping) == yielded[:whole]
    assert {len(batch) for batch in yielded} == {14} == {keeping.batch_size}  # rows of 7 pairs


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "y-x"}, "strategy is 'y-x'; allowed: 'en-en', 'x-x', 'x-x-mono', 'x-y', 'hybrid', 'hybrid-pairs"),
        ({"strategy": None}, "strategy is None; allowed: 'en-en', "),
        ({"alpha": -0.1}, "alpha is -0.1; allowed: greater than or equal to 0"),
        ({"alpha": 1.5}, "alpha is 1.5; allowed: less than or equal to 1"),
        ({"alpha": math.nan}, "alpha is nan; allowed: less than or equal to 1"),
        ({"alpha": "0.5"}, "alpha is '0.5'; allowed: a number"),
        ({"alpha": True}, "alpha is True; allowed: a number"),
        ({"language_temperature": 0}, "language_temperature is 0; allowed: greater than 0"),
        ({"dataset_temperature": -1.0}, "dataset_temperature is -1.0; allowed: greater than 0"),
        ({"dataset_temperature": math.nan}, "dataset_temperature is nan; allowed: greater than 0"),
        ({"batch_size": 0}, "batch_size is 0; allowed: greater than or equal to 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5; allowed: a whole number"),
        ({"drop_last": "no"}, "drop_last is 'no'; allowed: True or False"),
        ({"seed": -1}, "seed is -1; allowed: greater than or equal to 0"),
        (
            {"dataset": pd.DataFrame({"item": [0]})},
            r"dataset is a table of shape \(1, 1\); allowed: a ParallelCorpus, as",
        ),
    ],
)
def test_an_argument_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HybridBatchSampler(**({"dataset": corpus_of(everywhere(9, 2)), "batch_size": 2} | options))


def test_numbers_of_numpy_are_numbers():
    given = {"batch_size": 4, "seed": 7, "alpha": 0.5, "language_temperature": 2.0, "drop_last": True}
    numpys = {name: {int: np.int64, float: np.float32, bool: np.bool_}[type(one)](one) for name, one in given.items()}
    corpus = corpus_of(at_random(90, 3, 5))
    assert list(HybridBatchSampler(corpus, **numpys)) == list(HybridBatchSampler(corpus, **given))


def test_an_argument_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="HybridBatchSampler has no argument alhpa, size"):
        HybridBatchSampler(corpus_of(everywhere(9, 2)), 2, size=3, alhpa=0.5, generator=None)


TOO_FEW = r"cannot be filled in sw \(4\), ja \(3\); allowed: at most 3, or a corpus without these languages"
GERMAN = Availability(("de", "sw"), corpus_of(everywhere(4, 2)).segments)


# The limit of each strategy is tested above; here, the messages are.
@pytest.mark.parametrize(
    ("corpus", "pairs", "strategy", "message"),
    [
        (nested(9, 9, 4, 3, 0), 5, "x-x-mono", f"5, but a monolingual batch of dataset 'set 0' {TOO_FEW}"),
        (
            nested(9, 9, 4, 3, 0),
            5,
            "mix-entries",
            f"but a batch of passages in one language of dataset 'set 0' {TOO_FEW}",
        ),
        (nested(9, 4, 3), 5, "x-y", "no two languages share more than 4 items of dataset 'set 0'; a batch never holds"),
        (nested(4, 4, 3), 5, "x-x", "5, but no language has more than 4 items of dataset 'set 0'; a batch never holds"),
        (corpus_of(everywhere(20, 2), everywhere(3, 2)), 5, "x-y", "share more than 3 items of dataset 'set 1'; .* 3"),
        (np.eye(4, dtype=bool), 1, "x-y", "'x-y' needs items that exist in two languages; dataset 'set 0' has none"),
        (
            nested(9, 4, 3),
            5,
            "hybrid-pairs",
            "no two languages share more than 4 items of dataset 'set 0'; a batch nev",
        ),
        (
            GERMAN,
            1,
            "en-en",
            r"needs items in English \(en\); dataset 'set 0' has none \(languages of the corpus: de, sw\)",
        ),
        (np.zeros((4, 2), dtype=bool), 1, "x-x", "'x-x' needs items in any language; dataset 'set 0' has none"),
    ],
)
def test_a_batch_that_could_not_be_filled_is_refused(corpus, pairs, strategy, message):
    with pytest.raises(ValueError, match=message):
        HybridBatchSampler(corpus if isinstance(corpus, Availability) else corpus_of(corpus), pairs, strategy=strategy)


def test_with_all_pairs_in_one_language_flipping_needs_what_pairs_in_one_language_need():
    assert len(batches(corpus_of(np.eye(3, dtype=bool)), 1, strategy="hybrid-pairs", alpha=1.0)) == 3
    with pytest.raises(ValueError, match="batch_size is 2, but no language has more than 1 items of dataset 'set 0'"):
        HybridBatchSampler(corpus_of(np.eye(3, dtype=bool)), 2, strategy="hybrid-pairs", alpha=1.0)


@pytest.mark.parametrize("number", [1.5, "1", True, None])
def test_a_batch_or_an_epoch_that_is_no_whole_number_is_refused(number):
    sampler = HybridBatchSampler(corpus_of(everywhere(101, 2)), 7)
    for name, call in (("number", sampler.batch), ("number", sampler.draw), ("epoch", sampler.set_epoch)):
        with pytest.raises(ValueError, match=f"^{name} is {number!r}; allowed: a whole number"):
            call(number)
    with pytest.raises(ValueError, match=r"^epoch is -1; allowed: greater than or equal to 0"):
        sampler.set_epoch(-1)
    assert sampler.batch(np.int64(3)) == sampler.batch(3)
    sampler.set_epoch(np.int64(2))
    assert sampler.epoch == 2


@pytest.mark.parametrize("number", [-1, 15])
def test_a_batch_beyond_the_epoch_is_refused(number):
    sampler = HybridBatchSampler(corpus_of(everywhere(101, 2)), 7)
    with pytest.raises(IndexError, match=f"batch is {number}; allowed: 0 to 14"):
        sampler.batch(number)
