"""Counting and finding items by bits, against looking at every item."""

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridlib.sampler import availability
from hybridlib.sampler.availability import Availability, Segment

# Around a byte, a block of 4,096 items, and several blocks; odd and prime.
SIZES = [1, 7, 8, 9, 4095, 4096, 4097, 8191, 12289]


def segment_of(grid: np.ndarray, start: int = 0) -> Segment:
    """A segment of a table of booleans. (items, L)"""
    return Segment.from_bits("x", start, len(grid), np.packbits(grid.T, axis=1, bitorder="little"))


def items_in(grid: np.ndarray, a: int, b: int) -> np.ndarray:
    """The oracle: the items that exist in both languages, by looking at each."""
    return np.array([item for item, row in enumerate(grid) if row[a] and row[b]], dtype=np.int64)


@pytest.mark.parametrize("size", SIZES)
@given(
    languages=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.001, 0.1, 0.5, 0.9, 1.0]),
    start=st.integers(0, 10**8),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=8, derandomize=True)
def test_count_and_select_find_what_looking_at_every_item_finds(size, languages, share, start, seed):
    grid = np.random.default_rng(seed).random((size, languages)) < share
    segment = segment_of(grid, start)
    a, b, k, expected = [], [], [], []
    for x in range(languages):
        for y in range(languages):
            found = items_in(grid, x, y)
            assert segment.count(x, y) == len(found)
            a += [x] * len(found)
            b += [y] * len(found)
            k += range(len(found))
            expected += (found + start).tolist()
    order = np.random.default_rng(seed).permutation(len(a))[:3000]  # all pairs of languages in one call, in any order
    arrays = (np.array(column, dtype=np.int64)[order] for column in (a, b, k))
    assert segment.select(*arrays).tolist() == np.array(expected, dtype=np.int64)[order].tolist()


def test_items_that_exist_in_one_of_many_blocks_are_found_past_the_empty_ones():
    grid = np.zeros((5 * 4096, 2), dtype=bool)
    grid[[3 * 4096 - 1, 3 * 4096, 5 * 4096 - 1]] = True
    segment = segment_of(grid)
    both = np.zeros(3, dtype=np.int64), np.ones(3, dtype=np.int64)
    assert segment.select(*both, np.arange(3)).tolist() == [3 * 4096 - 1, 3 * 4096, 5 * 4096 - 1]


@given(size=st.sampled_from(SIZES), start=st.integers(0, 10**8), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20, derandomize=True)
def test_whether_an_item_exists_is_what_the_table_says(size, start, seed):
    grid = np.random.default_rng(seed).random((size, 3)) < 0.5
    item, language = (n.ravel() for n in np.indices(grid.shape))
    assert np.array_equal(segment_of(grid, start).exists(item + start, language), grid.ravel())


def test_bits_beyond_the_last_item_are_not_counted():
    segment = Segment.from_bits("x", 0, 11, np.full((1, 40), 255, dtype=np.uint8))
    assert segment.count(0, 0) == 11
    assert segment.bits.sum() == 255 + 0b111


def test_the_bits_given_are_copied_not_changed():
    packed = np.full((1, 1), 255, dtype=np.uint8)
    Segment.from_bits("x", 0, 3, packed)
    assert packed.tolist() == [[255]]


def test_counts_are_of_each_segment_and_items_are_numbered_through_the_corpus():
    first, second = np.array([[1, 1], [0, 1]], dtype=bool), np.array([[0, 1], [1, 0], [1, 1]], dtype=bool)
    corpus = Availability(("en", "sw"), (segment_of(first), segment_of(second, start=2)))
    assert corpus.items == 5
    assert [int(segment.count(0, 0)) for segment in corpus.segments] == [1, 2]
    zero, one = np.array([0]), np.array([1])
    assert corpus.segments[1].select(zero, one, zero) == [4]  # the third item of the second dataset


def test_too_few_bits_are_refused():
    with pytest.raises(ValueError, match="packed has 2 bytes a language; 17 items need 3"):
        Segment.from_bits("x", 0, 17, np.zeros((1, 2), dtype=np.uint8))


@pytest.mark.parametrize("k", [-1, 2, 3])
def test_selecting_an_item_that_is_not_there_is_refused(k):
    segment = segment_of(np.array([[1], [0], [1]], dtype=bool))
    with pytest.raises(ValueError, match=f"k is {k}; allowed: 0 to 1 in dataset 'x'"):
        segment.select(np.array([0, 0]), np.array([0, 0]), np.array([0, k]))


def table_of(grid: np.ndarray, languages: tuple[str, ...], names: list[str], **columns: list) -> datasets.Dataset:
    """A corpus table of a table of booleans (items, L), with the name of each item's dataset."""
    items, width = grid.shape
    rows = {
        "item": np.repeat(np.arange(items), width).tolist(),
        "language": list(languages) * items,
        "dataset": np.repeat(names, width).tolist(),
        "passage": ["text" if there else "" for there in grid.ravel()],
    }
    return datasets.Dataset.from_dict(rows | columns)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    languages=st.integers(1, 3),
    seed=st.integers(0, 99),
    at_once=st.sampled_from([8, 16, 1 << 16]),
)
@settings(deadline=None, max_examples=30, derandomize=True)
def test_a_table_read_in_pieces_gives_the_bits_of_every_dataset(sizes, languages, seed, at_once):
    grid = np.random.default_rng(seed).random((sum(sizes), languages)) < 0.6
    names = np.repeat([f"set {n}" for n in range(len(sizes))], sizes).tolist()
    codes = ("en", "de", "sw")[:languages]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(availability, "_ITEMS_AT_ONCE", at_once)
        corpus = Availability.from_table(table_of(grid, codes, names))
    assert corpus.languages == codes
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for n, segment in enumerate(corpus.segments):
        expected = segment_of(grid[starts[n] : starts[n + 1]])
        assert (segment.name, segment.start, segment.items) == (f"set {n}", starts[n], sizes[n])
        assert np.array_equal(segment.bits, expected.bits)
        assert np.array_equal(segment.before, expected.before)
    assert len(corpus.segments) == len(sizes)


def test_a_null_passage_is_missing_like_an_empty_one():
    table = table_of(np.ones((2, 2), dtype=bool), ("en", "sw"), ["x", "x"], passage=["text", None, "", "text"])
    segment = Availability.from_table(table).segments[0]
    assert [int(segment.count(n, n)) for n in (0, 1)] == [1, 1]
    assert segment.count(0, 1) == 0


def test_a_table_that_was_shuffled_by_items_is_read_through_its_indices():
    grid = np.array([[1, 0], [0, 1], [1, 1]], dtype=bool)
    table = table_of(grid, ("en", "sw"), ["x"] * 3).select([4, 5, 0, 1, 2, 3])
    segment = Availability.from_table(table).segments[0]
    assert segment.select(np.zeros(2, int), np.zeros(2, int), np.arange(2)).tolist() == [0, 1]


FULL = np.ones((4, 2), dtype=bool)


def test_a_table_that_lacks_columns_is_refused():
    with pytest.raises(ValueError, match=r"table lacks the columns \['dataset', 'item'\]; it has \['language', 'pass"):
        Availability.from_table(datasets.Dataset.from_dict({"language": ["en"], "passage": ["text"]}))


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="table is empty; a corpus needs at least one item"):
        Availability.from_table(table_of(FULL[:0], ("en", "sw"), []))


def test_a_table_with_a_row_missing_is_refused():
    table = table_of(FULL, ("en", "sw"), ["x"] * 4)
    with pytest.raises(ValueError, match=r"table has 7 rows and its first item the languages \('en', 'sw'\); expected"):
        Availability.from_table(table.select(range(7)))


def test_a_table_whose_first_item_has_a_language_twice_is_refused():
    with pytest.raises(ValueError, match=r"its first item the languages \('en', 'en'\); expected a row for every"):
        Availability.from_table(table_of(FULL, ("en", "en"), ["x"] * 4))


@pytest.mark.parametrize("wrong", [["sw", "en"], ["en", "de"], [None, "sw"]])
def test_a_table_with_other_languages_in_the_middle_is_refused(wrong):
    languages = ["en", "sw", *wrong, "en", "sw", "en", "sw"]
    row = 2 if wrong[0] != "en" else 3
    with pytest.raises(ValueError, match=rf"table: the language of row {row} is not in the order \('en', 'sw'\)"):
        Availability.from_table(table_of(FULL, ("en", "sw"), ["x"] * 4, language=languages))


def test_a_table_whose_rows_mix_items_is_refused():
    with pytest.raises(ValueError, match=r"table: rows 2 to 3 are not of one item, in \('en', 'sw'\)"):
        Availability.from_table(table_of(FULL, ("en", "sw"), ["x"] * 4, item=[0, 0, 1, 2, 2, 1, 3, 3]))


@pytest.mark.parametrize("at_once", [2, 1 << 16])  # the datasets in one piece of the table, and in two
def test_a_dataset_in_two_places_is_refused(at_once, monkeypatch):
    monkeypatch.setattr(availability, "_ITEMS_AT_ONCE", at_once)
    with pytest.raises(ValueError, match="table: the items of dataset 'x' are not consecutive"):
        Availability.from_table(table_of(FULL, ("en", "sw"), ["x", "y", "y", "x"]))


def test_an_item_in_two_datasets_is_refused():
    table = table_of(FULL, ("en", "sw"), ["x"] * 4, dataset=["x", "x", "x", "y", "y", "y", "y", "y"])
    with pytest.raises(ValueError, match="table: row 3 changes the dataset to 'y' in the middle of an item"):
        Availability.from_table(table)
