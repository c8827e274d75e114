"""Items are counted and found by bits, and as they are by looking at every item."""

from itertools import product

import datasets
import numpy as np
import pandas as pd
import pytest
from corpora import CODES, at_random, segment_of, table_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.sampler import availability
from hybridlib.sampler.availability import Availability, Segment

# The sizes lie around a byte, a block of 4,096 items, and several blocks. In the largest, a share of 0.0002 leaves
# blocks empty.
SIZES = [1, 7, 8, 9, 4095, 4096, 4097, 8191, 20483]


def items_in(grid: np.ndarray, a: int, b: int) -> list[int]:
    """Return the items that exist in both languages by looking at each: the oracle."""
    return [item for item, row in enumerate(grid) if row[a] and row[b]]


@pytest.mark.parametrize("size", SIZES)
@given(
    languages=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.0002, 0.1, 0.5, 0.9, 1.0]),
    start=st.integers(0, 10**8),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=8, derandomize=True)
def test_items_are_counted_and_found_as_by_looking_at_every_item(size, languages, share, start, seed):
    grid = at_random(size, languages, seed, share)
    segment = segment_of(grid, start)
    wanted = []
    for a, b in product(range(languages), repeat=2):
        found = items_in(grid, a, b)
        assert segment.count(a, b) == len(found)
        wanted += [(a, b, k, start + item) for k, item in enumerate(found)]
    # All pairs of languages are in one call, in any order.
    some = np.random.default_rng(seed).permutation(np.array(wanted, dtype=np.int64).reshape(-1, 4))[:3000]
    assert np.array_equal(segment.select(*some.T[:3]), some[:, 3])
    item, language = (number.ravel() for number in np.indices(grid.shape))
    assert np.array_equal(segment.exists(item + start, language), grid.ravel())


def test_bits_beyond_the_last_item_are_not_counted_and_those_given_are_not_changed():
    packed = np.full((1, 40), 255, dtype=np.uint8)
    segment = Segment.from_bits("x", 0, 11, packed)
    assert segment.count(0, 0) == 11
    assert segment.bits.sum() == 255 + 0b111
    assert (packed == 255).all()


def test_too_few_bits_are_refused():
    with pytest.raises(ValueError, match="packed has 2 bytes a language; 17 items need 3"):
        Segment.from_bits("x", 0, 17, np.zeros((1, 2), dtype=np.uint8))


@pytest.mark.parametrize("k", [-1, 2, 3])
def test_selecting_an_item_that_is_not_there_is_refused(k):
    segment = segment_of(np.array([[1], [0], [1]], dtype=bool))
    with pytest.raises(ValueError, match=f"k is {k}; allowed: 0 to 1 in dataset 'set 0'"):
        segment.select(np.array([0, 0]), np.array([0, 0]), np.array([0, k]))


# Tables


def read(columns: dict[str, list]) -> Availability:
    return Availability.from_table(datasets.Dataset.from_dict(columns))


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    languages=st.integers(1, 3),
    seed=st.integers(0, 99),
    at_once=st.sampled_from([8, 16, 1 << 16]),
)
@settings(deadline=None, max_examples=30, derandomize=True)
def test_a_table_read_in_pieces_gives_the_bits_of_every_dataset(sizes, languages, seed, at_once):
    grid = at_random(sum(sizes), languages, seed, 0.6)
    names = np.repeat([f"set {n}" for n in range(len(sizes))], sizes).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(availability, "_ITEMS_AT_ONCE", at_once)
        corpus = read(table_of(grid, names))
    assert corpus.languages == CODES[:languages] and corpus.items == sum(sizes)
    starts = np.cumsum([0, *sizes])
    for n, segment in enumerate(corpus.segments):
        expected = segment_of(grid[starts[n] : starts[n + 1]])
        assert (segment.name, segment.start, segment.items) == (f"set {n}", starts[n], sizes[n])
        assert np.array_equal(segment.bits, expected.bits)
        assert np.array_equal(segment.before, expected.before)
    assert len(corpus.segments) == len(sizes)


ROWS = table_of(np.ones((4, 2), dtype=bool), ["x"] * 4)


def test_a_null_passage_is_missing_like_an_empty_one():
    (segment,) = read(ROWS | {"passage": ["text", None, "", "text"] * 2}).segments
    assert [int(segment.count(*pair)) for pair in ((0, 0), (1, 1), (0, 1))] == [2, 2, 0]


def test_a_record_is_that_of_a_corpus_or_of_its_table():
    table = datasets.Dataset.from_dict(ROWS | {"query": ["text"] * 8, "passage_group": [0] * 8, "domain": ["x"] * 8})
    corpus = ParallelCorpus(table)
    assert Availability.of(corpus) is corpus.availability is Availability.of(corpus.availability)
    assert Availability.of(table).items == 4


@pytest.mark.parametrize("given", [None, "atlas", table_of(np.ones((1, 1)), ["x"]), pd.DataFrame(ROWS), [1], object()])
def test_what_is_no_corpus_is_refused_with_what_makes_one(given):
    with pytest.raises(ValueError, match=r"^dataset is .*; allowed: a ParallelCorpus, as made by load_corpus or Pa"):
        Availability.of(given)


@pytest.mark.parametrize("nothing", [None, "", " \u3000"])
def test_an_item_without_a_question_is_missing_though_its_passage_is_there(nothing):
    (segment,) = read(ROWS | {"query": ["text", nothing, nothing, "text"] * 2}).segments
    assert [int(segment.count(*pair)) for pair in ((0, 0), (1, 1), (0, 1))] == [2, 2, 0]


def test_a_table_that_was_shuffled_by_items_is_read_through_its_indices():
    table = datasets.Dataset.from_dict(table_of(np.array([[1, 0], [0, 1], [1, 1]], dtype=bool), ["x"] * 3))
    (segment,) = Availability.from_table(table.select([4, 5, 0, 1, 2, 3])).segments
    assert segment.select(np.zeros(2, int), np.zeros(2, int), np.arange(2)).tolist() == [0, 1]


@pytest.mark.parametrize("at_once", [2, 1 << 16])  # the datasets are in one piece of the table, or in two
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"language": [], "passage": []}, r"table lacks the columns \['dataset', 'item'\]; it has \['language', 'pass"),
        ({name: [] for name in ROWS}, "table is empty; a corpus needs at least one item"),
        (
            {name: ROWS[name][:7] for name in ROWS},
            r"table has 7 rows and its first item .* \('en', 'de'\); expected a row",
        ),
        (ROWS | {"language": ["en"] * 8}, r"its first item the languages \('en', 'en'\); expected a row for every"),
        (
            ROWS | {"language": ["en", "de", "de", "en"] * 2},
            r"table: row 2 is in 'de'; expected 'en', as rows go item by item and each item has the languages \('en', "
            r"'de'\), in this order. If the table is shuffled, sort it by item and language; ParallelCorpus.from_fra",
        ),
        (ROWS | {"language": ["en", "de", "en", "sw"] * 2}, r"table: row 3 is in 'sw'; expected 'de', as rows go item"),
        (
            ROWS | {"language": ["en", "de", None, "de"] * 2},
            "table: row 2 is in None; expected 'en', as rows go item by",
        ),
        (
            ROWS | {"item": [0, 0, 1, 2, 2, 1, 3, 3]},
            r"table: rows 2 to 3 are not of one item, in .*shuffled, sort it by",
        ),
        (ROWS | {"passage": list(range(8))}, "table: the column 'passage' is of the type int64; allowed: texts"),
        (ROWS | {"language": [0, 1] * 4}, "table: the column 'language' is of the type int64; allowed: texts"),
        (ROWS | {"dataset": [*"xxyyyyxx"]}, "table: the items of dataset 'x' are not consecutive"),
        (ROWS | {"dataset": [*"xxxyyyyy"]}, "table: row 3 changes the dataset to 'y' in the middle of an item"),
    ],
)
def test_a_table_that_is_no_grid_of_items_by_languages_is_refused(columns, message, at_once, monkeypatch):
    monkeypatch.setattr(availability, "_ITEMS_AT_ONCE", at_once)
    with pytest.raises(ValueError, match=message):
        read(columns)
