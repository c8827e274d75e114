"""Which items of a parallel corpus exist in which language, in a bit each.

The sampler asks two things only: how many items exist in both of two languages, and which is the k-th of them. Both are answered
from a bit per item and language plus a running count per block of items (rank and select, Jacobson 1989): 40 million items in 14
languages take 70 MB for the bits and 8 MB for the counts.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import datasets
import numpy as np
import pyarrow.compute as pc

_BLOCK_BYTES = 512  # 4,096 items
_ROWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Segment:
    """The items of one dataset: consecutive in the corpus, with bits of their own.

    Attributes:
        name: the dataset's name.
        start: the first item's number in the corpus.
        items: how many there are.
        bits: a bit per item, lowest first; unused bits at the end are 0. (L, blocks, bytes per block)
        before: for every unordered pair of languages, the items that exist in both before each block, and in all. (pairs, blocks + 1)
    """

    name: str
    start: int
    items: int
    bits: np.ndarray
    before: np.ndarray

    @classmethod
    def from_bits(cls, name: str, start: int, items: int, packed: np.ndarray) -> Self:
        """Build the running counts. `packed`: (L, at least ceil(items / 8)) as of `numpy.packbits(..., bitorder="little")`."""
        blocks = max(1, -(-items // (8 * _BLOCK_BYTES)))
        bits = np.zeros((len(packed), blocks * _BLOCK_BYTES), dtype=np.uint8)
        used = -(-items // 8)
        bits[:, :used] = packed[:, :used]
        if items % 8:
            bits[:, used - 1] &= (1 << items % 8) - 1
        bits = bits.reshape(len(packed), blocks, _BLOCK_BYTES)
        before = np.zeros((len(packed) * (len(packed) + 1) // 2, blocks + 1), dtype=np.int64)
        for a in range(len(packed)):
            for b in range(a, len(packed)):
                np.cumsum(np.bitwise_count(bits[a] & bits[b]).sum(axis=1), out=before[_pair(a, b), 1:])
        return cls(name, start, items, bits, before)

    def count(self, a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
        """How many items exist in both languages; `a` and `b` may be the same."""
        return self.before[_pair(a, b), -1]

    def select(self, a: np.ndarray, b: np.ndarray, k: np.ndarray) -> np.ndarray:
        """The corpus number of the k-th item, from 0, that exists in both languages.

        Args:
            a, b: language numbers. (n,)
            k: from 0 to count(a, b) - 1. (n,)
        """
        pair = _pair(a, b)
        # One search serves all pairs: their running counts, lifted so that each begins above the end of the one before.
        lift = self.items + 1
        place = np.searchsorted(self._lifted, k + pair * lift, side="right") - 1
        block = place - pair * self.before.shape[1]
        left = k - self.before[pair, block]  # items still to pass within the block
        both = self.bits[a, block] & self.bits[b, block]  # (n, bytes)
        passed = np.cumsum(np.bitwise_count(both), axis=1, dtype=np.int64)
        byte = (passed <= left[:, None]).sum(axis=1)
        row = np.arange(len(byte))
        left -= passed[row, byte] - np.bitwise_count(both[row, byte])
        ones = np.cumsum(np.unpackbits(both[row, byte][:, None], axis=1, bitorder="little"), axis=1)
        bit = (ones <= left[:, None]).sum(axis=1)
        return self.start + (block * _BLOCK_BYTES + byte) * 8 + bit

    @cached_property
    def _lifted(self) -> np.ndarray:
        return (self.before + np.arange(len(self.before))[:, None] * (self.items + 1)).ravel()


@dataclass(frozen=True)
class Availability:
    """Which items exist in which language, dataset by dataset.

    Attributes:
        languages: their codes; a language's number is its place here.
        segments: the datasets, in the order of their items.
    """

    languages: tuple[str, ...]
    segments: tuple[Segment, ...]

    @property
    def items(self) -> int:
        return sum(segment.items for segment in self.segments)

    @classmethod
    def from_table(cls, table: datasets.Dataset) -> Self:
        """Read it off a corpus table: a row per (item, language), item by item, `passage` empty where it is missing.

        Raises:
            ValueError: columns are missing, or the rows are not a grid of items by languages.
        """
        missing = {"item", "language", "dataset", "passage"} - set(table.column_names)
        if missing:
            raise ValueError(f"table lacks the columns {sorted(missing)}; it has {table.column_names}")
        if not len(table):
            raise ValueError("table is empty; a corpus needs at least one item")
        head = table[: min(len(table), 1000)]
        languages = tuple(code for item, code in zip(head["item"], head["language"], strict=True) if item == head["item"][0])
        if len(set(languages)) != len(languages) or len(table) % len(languages):
            raise ValueError(f"table has {len(table)} rows and its first item the languages {languages}; expected a row for every item and language")
        columns = table.select_columns(["language", "dataset", "passage"]).with_format("arrow")
        names: list[str] = []
        present: list[list[np.ndarray]] = []  # for each dataset, pieces of packed bits
        step = max(1, _ROWS_AT_ONCE // len(languages)) * len(languages)
        for begin in range(0, len(table), step):
            piece = columns[begin : begin + step]
            if tuple(piece["language"][-len(languages) :].to_pylist()) != languages:
                raise ValueError(f"table: the languages of row {begin + len(piece) - 1} are not in the order {languages} of the first item")
            valid = pc.greater(pc.binary_length(piece["passage"]), 0).to_numpy(zero_copy_only=False).reshape(-1, len(languages))
            for name, rows in _runs(piece["dataset"].to_numpy(zero_copy_only=False)[:: len(languages)]):
                if not names or names[-1] != name:
                    if name in names:
                        raise ValueError(f"table: the items of dataset {name!r} are not consecutive")
                    names.append(name)
                    present.append([])
                present[-1].append(valid[rows].T)
        segments, start = [], 0
        for name, pieces in zip(names, present, strict=True):
            grid = np.concatenate(pieces, axis=1)  # (L, items)
            segments.append(Segment.from_bits(name, start, grid.shape[1], np.packbits(grid, axis=1, bitorder="little")))
            start += grid.shape[1]
        return cls(languages, tuple(segments))


def _pair(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    """The number of an unordered pair of languages."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    return high * (high + 1) // 2 + low


def _runs(names: np.ndarray) -> list[tuple[str, slice]]:
    """Consecutive equal names, each with where it stands."""
    edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1), len(names)]
    return [(str(names[left]), slice(left, right)) for left, right in zip(edges[:-1], edges[1:], strict=True)]
