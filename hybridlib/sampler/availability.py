"""A record of which items of a parallel corpus exist in which language, with one bit for each.

The sampler asks two questions only. How many items exist in both of two languages? And which is the k-th of them? The
bits answer both, together with a running count for each block of items (rank and select; Jacobson, 1989). 40 million
items in 14 languages take 70 MB for the bits and 16 MB for the counts.

A language has a number, its place among the languages of the corpus. `a` and `b` are such numbers, and may be equal. An
item has a number, too, its place in the corpus.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybridlib.arguments import told

_TABLE = "ParallelCorpus.from_frame makes such a table"
_BLOCK_BYTES = 512  # 4,096 items
_WORDS = _BLOCK_BYTES // 8  # words have 64 bits, and are counted eight times as fast as bytes
_ITEMS_AT_ONCE = 1 << 16  # a multiple of 8, so that each piece of a table fills whole bytes


@dataclass(frozen=True)
class Segment:
    """The items of one dataset, whose numbers are consecutive.

    Attributes:
        name: the dataset's name.
        start: number of the first item.
        items: how many items there are.
        bits: one bit for each item, lowest first; unused bits at the end are 0. (L, blocks, bytes of a block)
        before: for each unordered pair of languages, how many items before each block exist in both; at the end, how
            many items do so at all. (pairs, blocks + 1)
    """

    name: str
    start: int
    items: int
    bits: np.ndarray
    before: np.ndarray

    @classmethod
    def from_bits(cls, name: str, start: int, items: int, packed: np.ndarray) -> Self:
        """Build a segment with its running counts.

        Args:
            name, start, items: as in the attributes.
            packed: one bit for each item, as returned by `numpy.packbits(..., axis=1, bitorder="little")`. It is
                copied. (L, at least ceil(items / 8))

        Raises:
            ValueError: there are fewer bits than items.
        """
        used = -(-items // 8)
        if packed.shape[1] < used:
            raise ValueError(f"packed has {packed.shape[1]} bytes a language; {items} items need {used}")
        blocks = max(1, -(-used // _BLOCK_BYTES))
        flat = np.zeros((len(packed), blocks * _BLOCK_BYTES), dtype=np.uint8)
        flat[:, :used] = packed[:, :used]
        if items % 8:
            flat[:, used - 1] &= (1 << items % 8) - 1
        bits = flat.reshape(len(packed), blocks, _BLOCK_BYTES)
        before = np.zeros((len(packed) * (len(packed) + 1) // 2, blocks + 1), dtype=np.int64)
        for a in range(len(packed)):
            for b in range(a, len(packed)):
                np.cumsum(np.bitwise_count(bits[a] & bits[b]).sum(axis=1), out=before[_pair(a, b), 1:])
        return cls(name, start, items, bits, before)

    def count(self, a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
        """Return how many items exist in both languages."""
        return self.before[_pair(a, b), -1]

    def select(self, a: np.ndarray, b: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Return the k-th item that exists in both languages; memory is O(n * bytes of a block).

        Args:
            a, b: languages. (n,)
            k: 0 to count(a, b) - 1. (n,)

        Returns:
            Numbers of items, which ascend in k. (n,)

        Raises:
            ValueError: there is no such item.
        """
        missing = (k < 0) | (k >= self.count(a, b))
        if missing.any():
            n = np.flatnonzero(missing)[0]
            raise ValueError(f"k is {k[n]}; allowed: 0 to {self.count(a[n], b[n]) - 1} in dataset {self.name!r}")
        pair = _pair(a, b)
        # One search serves all pairs. Their running counts are lifted, so that each begins above the end of the last.
        lift = self.items + 1
        place = np.searchsorted(self._lifted, k + pair * lift, side="right") - 1
        block = place - pair * self.before.shape[1]
        left = k - self.before[pair, block]  # how many items of the block lie before
        words = self.bits.view(np.uint64)
        both = words[a, block] & words[b, block]  # (n, words)
        passed = np.cumsum(np.bitwise_count(both), axis=1, dtype=np.int64)
        word = (passed <= left[:, None]).sum(axis=1)
        row = np.arange(len(word))
        found = both[row, word][:, None]  # (n, 1)
        left -= passed[row, word] - np.bitwise_count(found[:, 0])
        # The word is read as bytes, which lie in the order of the items on every machine.
        ones = np.cumsum(np.unpackbits(found.view(np.uint8), axis=1, bitorder="little"), axis=1)
        bit = (ones <= left[:, None]).sum(axis=1)
        return self.start + (block * _WORDS + word) * 64 + bit

    def exists(self, item: np.ndarray, language: np.ndarray) -> np.ndarray:
        """Return whether each item exists in its language. (n,)"""
        byte, bit = np.divmod(item - self.start, 8)
        return (self.bits[language, byte // _BLOCK_BYTES, byte % _BLOCK_BYTES] >> bit & 1).astype(bool)

    @cached_property
    def _lifted(self) -> np.ndarray:
        return (self.before + np.arange(len(self.before))[:, None] * (self.items + 1)).ravel()


@dataclass(frozen=True)
class Availability:
    """A record of which items exist in which language, dataset by dataset.

    Attributes:
        languages: codes of the languages, in the order of their numbers.
        segments: the datasets, in the order of their items.
    """

    languages: tuple[str, ...]
    segments: tuple[Segment, ...]

    @property
    def items(self) -> int:
        """Return how many items the corpus has."""
        return sum(segment.items for segment in self.segments)

    @classmethod
    def of(cls, dataset: Any) -> "Availability":
        """Return the record of a corpus, of its table, or of itself.

        Raises:
            ValueError: it is something else.
        """
        found = getattr(dataset, "availability", dataset)
        if isinstance(found, datasets.Dataset):
            return cls.from_table(found)
        if not isinstance(found, Availability):
            allowed = "a ParallelCorpus, as made by load_corpus or ParallelCorpus.from_frame, or its table"
            raise ValueError(f"dataset is {told(dataset)}; allowed: {allowed}")
        return found

    @classmethod
    def from_table(cls, table: datasets.Dataset) -> Self:
        """Read a corpus table, in pieces that fit into memory.

        Args:
            table: one row for each item and language, item by item, with the languages always in the same order. A
                `passage`, or a `query` if there are queries, that is blank, empty or null says that the item does not
                exist in the language.

        Raises:
            ValueError: a column or a row is missing, or rows are in another order.
        """
        missing = {"item", "language", "dataset", "passage"} - set(table.column_names)
        if missing:
            raise ValueError(f"table lacks the columns {sorted(missing)}; it has {told(table.column_names)}; {_TABLE}")
        if not len(table):
            raise ValueError("table is empty; a corpus needs at least one item")
        texts = [name for name in ("query", "passage") if name in table.column_names]
        for name in ("language", *texts):
            kind = table.features.arrow_schema.field(name).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise ValueError(f"table: the column {name!r} is of the type {kind}; allowed: texts")
        table = table.select_columns(["item", "language", "dataset", *texts]).with_format("arrow")
        languages = _languages(table)
        segments = []
        for name, begin, end in _datasets(table, len(languages)):
            packed = np.empty((len(languages), -(-(end - begin) // 8)), dtype=np.uint8)
            for first in range(begin, end, _ITEMS_AT_ONCE):
                last = min(first + _ITEMS_AT_ONCE, end)
                present = _present(table, languages, first, last)
                piece = slice((first - begin) // 8, -(-(last - begin) // 8))
                packed[:, piece] = np.packbits(present, axis=0, bitorder="little").T
            segments.append(Segment.from_bits(name, begin, end - begin, packed))
        return cls(languages, tuple(segments))


def _languages(table: datasets.Dataset) -> tuple[str, ...]:
    """Return the languages of the first item, which every other item must have, too."""
    head = table[: min(len(table), 1000)].to_pydict()
    rows = zip(head["item"], head["language"], strict=True)
    languages = tuple(code for item, code in rows if item == head["item"][0])
    if len(set(languages)) != len(languages) or len(table) % len(languages):
        raise ValueError(
            f"table has {len(table)} rows and its first item the languages {told(languages)}; expected a row for every "
            f"item and language, item by item. If the table is shuffled, sort it by item and language; {_TABLE}"
        )
    return languages


def _datasets(table: datasets.Dataset, languages: int) -> list[tuple[str, int, int]]:
    """Return name, first item and end of each dataset of a table."""
    starts: dict[str, int] = {}
    step = _ITEMS_AT_ONCE * languages
    for begin in range(0, len(table), step):
        runs = pc.run_end_encode(table[begin : begin + step]["dataset"].combine_chunks())
        firsts = [begin, *(begin + end for end in runs.run_ends.to_pylist())]
        for name, first in zip(map(str, runs.values.to_pylist()), firsts, strict=False):
            if name == next(reversed(starts), None):
                continue  # the dataset goes on in the next piece
            if name in starts:
                raise ValueError(f"table: the items of dataset {name!r} are not consecutive")
            if first % languages:
                raise ValueError(f"table: row {first} changes the dataset to {name!r} in the middle of an item")
            starts[name] = first // languages
    ends = [*list(starts.values())[1:], len(table) // languages]
    return list(zip(starts, starts.values(), ends, strict=True))


def _present(table: datasets.Dataset, languages: tuple[str, ...], first: int, last: int) -> np.ndarray:
    """Return whether the items from `first` to `last` - 1 exist in each language. (items, L)"""
    rows = table[first * len(languages) : last * len(languages)]
    expected = pa.array(languages, rows["language"].type).take(
        pa.array(np.tile(np.arange(len(languages)), last - first))
    )
    in_order = pc.fill_null(pc.equal(rows["language"], expected), False).to_numpy()
    if not in_order.all():
        row = first * len(languages) + np.flatnonzero(~in_order)[0]
        raise ValueError(
            f"table: row {row} is in {told(rows['language'][int(row) - first * len(languages)].as_py())}; expected "
            f"{languages[row % len(languages)]!r}, as rows go item by item and each item has the languages "
            f"{told(languages)}, in this order. If the table is shuffled, sort it by item and language; {_TABLE}"
        )
    item = rows["item"].to_numpy().reshape(-1, len(languages))
    same = (item == item[:, :1]).all(axis=1)
    if not same.all():
        row = (first + np.flatnonzero(~same)[0]) * len(languages)
        raise ValueError(
            f"table: rows {row} to {row + len(languages) - 1} are not of one item, in the languages {told(languages)}. "
            f"If the table is shuffled, sort it by item and language; {_TABLE}"
        )
    exists = [has_text(rows[name]).to_numpy() for name in ("query", "passage") if name in rows.column_names]
    return np.all(exists, axis=0).reshape(-1, len(languages))


def has_text(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Tell which texts are not blank, empty or null. (N,)"""
    texts = pc.fill_null(texts, "")
    return pc.and_not(pc.not_equal(texts, ""), pc.utf8_is_space(texts))


def _pair(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    """Return the number of an unordered pair of languages."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    return high * (high + 1) // 2 + low
