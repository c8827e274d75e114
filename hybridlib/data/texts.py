"""A store of texts by number, which is filled language by language and makes the table of a corpus item by item.

The published files hold one language each, and passages in an order of their own. The table goes through the items and
holds all languages of each. All texts together may be larger than memory, so they lie in files meanwhile.
"""

import copy
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa

from hybridlib.arguments import told
from hybridlib.data.grid import group_numbers
from hybridlib.data.table import COLUMNS, ROWS_AT_ONCE, schema

_LENGTH = 4  # bytes


class Texts:
    """Numbered texts in a file, which are put in any order. Memory holds where each begins, 8 bytes a text.

    Args:
        path: the file to make.
        size: how many numbers there are; a higher one that is put makes them more.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, Texts(Path(folder) / "texts", 3) as texts:
    ...     texts.put(2, "two")
    ...     texts.get(np.array([2, 0]))
    ['two', '']
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._file = path.open("w+b")
        self._begin = np.full(size, -1, dtype=np.int64)
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, number: int, text: str) -> None:
        """Keep a text under a number; it replaces an earlier one. A blank text is none.

        Raises:
            ValueError: it holds a lone surrogate.
        """
        try:
            content = text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"text {number} is {told(text)}; allowed: a text without lone surrogates") from None
        if number >= len(self._begin):
            more = np.full(number + 1, -1, dtype=np.int64)  # it at least doubles, so few texts make it grow
            self._begin = np.concatenate([self._begin, more])
        if not text.strip():
            self._begin[number] = -1
            return
        self._file.write(len(content).to_bytes(_LENGTH, "little") + content)
        self._begin[number] = self._end
        self._end += _LENGTH + len(content)

    def renumbered(self, old: np.ndarray) -> Self:
        """Return the same texts under other numbers, for reading.

        Args:
            old: the number that each text has here; -1 for none. (size,)
        """
        other = copy.copy(self)
        other._begin = np.where(old >= 0, self._begin[old], -1)
        return other

    def has(self, number: np.ndarray | int) -> np.ndarray:
        """Tell whether a text was put under each number."""
        return self._begin[number] >= 0

    def get(self, number: np.ndarray) -> list[str]:
        """Return the texts of some numbers; a text that was never put is empty."""
        self._file.flush()
        if not self._end:  # an empty file cannot be mapped
            return [""] * len(number)
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return [_text(content, begin) if begin >= 0 else "" for begin in self._begin[number].tolist()]


def _text(content: mmap.mmap, begin: int) -> str:
    start = begin + _LENGTH
    return content[start : start + int.from_bytes(content[begin:start], "little")].decode()


def interleave(items: pd.DataFrame, texts: Mapping[str, tuple[Texts, Texts]]) -> Iterator[pa.Table]:
    """Make the pieces of a table of items whose texts were put away language by language.

    Args:
        items: a row for each item: `query` and `passage` (the numbers of its texts, the same in all languages),
            `passage_group`, `domain`, `dataset`.
        texts: the texts of queries and the texts of passages, by language, in the order of the grid. An item exists in
            a language that has both; an item that exists in no language is left out.

    Raises:
        ValueError: no item exists in any language.
    """
    query, passage = items["query"].to_numpy(), items["passage"].to_numpy()
    exists = np.stack([q.has(query) & p.has(passage) for q, p in texts.values()], axis=1)  # (items, L)
    somewhere = np.flatnonzero(exists.any(axis=1))
    items, exists = items.iloc[somewhere], exists[somewhere]
    if items.empty:
        raise ValueError(f"the corpus has no item in any of the languages {list(texts)}")
    items = items.assign(item=np.arange(len(items)), passage_group=group_numbers(items.passage_group))
    step = max(1, ROWS_AT_ONCE // len(texts))
    for begin in range(0, len(items), step):
        some = items.iloc[begin : begin + step]
        grid = {name: np.repeat(some[name].to_numpy(), len(texts)) for name in COLUMNS if name in some}
        grid["language"] = np.tile(np.array(list(texts), dtype=object), len(some))
        for place, name in enumerate(("query", "passage")):
            found = np.empty((len(some), len(texts)), dtype=object)
            for number, pair in enumerate(texts.values()):
                found[:, number] = pair[place].get(some[name].to_numpy())
            found[~exists[begin : begin + step]] = ""
            grid[name] = found.ravel()
        yield pa.table({name: pa.array(grid[name]) for name in COLUMNS}, schema=schema(COLUMNS))
