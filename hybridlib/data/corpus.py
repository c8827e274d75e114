"""Training data: items in several languages, each a question and its passage."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hybridlib.data.grid import (
    COLUMNS,
    NUMBERS,
    TEXTS,
    derived_table,
    item_batches,
    item_values,
    regrid,
    schema,
    with_column,
)
from hybridlib.sampler.availability import Availability
from hybridlib.sampler.permutation import permute


@dataclass(frozen=True)
class ParallelCorpus:
    """Parallel questions and passages: a grid of items by languages; an item may be missing in some languages.

    Attributes:
        table: a row for every item and language, item by item; the languages have the same order in each. Columns are
            `item`, `language`, `query` and `passage` (empty where the item is missing), `passage_group` (items that
            share a passage in any language share a group), `domain` and `dataset`. A corpus with hard negatives also
            has `negative` (empty where there is none). Text stays in Arrow and may be memory-mapped. A table that is
            made of a mapped one is mapped as well.
    """

    table: datasets.Dataset

    @cached_property
    def availability(self) -> Availability:
        """The items that exist in each language."""
        return Availability.from_table(self.table)

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages, in the order of the grid."""
        return self.availability.languages

    def __len__(self) -> int:
        return self.availability.items

    def sizes(self) -> pd.Series:
        """Count the items that exist in each language, by language code."""
        number = np.arange(len(self.languages))
        counts = sum(segment.count(number, number) for segment in self.availability.segments)
        return pd.Series(counts, index=pd.Index(self.languages, name="language"), name="items")

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, languages: Sequence[str]) -> "ParallelCorpus":
        """Build the grid from a row for every item and language that exist.

        Args:
            frame: the columns of `table`. `item` may be of any type; its order of appearance is kept. The columns that
                are the same in all languages (`passage_group`, `domain`, `dataset`) are taken from an item's first row.
            languages: the languages of the grid, in order; rows in other languages are left out.

        Raises:
            ValueError: a column is missing, a language comes twice, no item exists, or one comes twice in a language.
        """
        missing = [column for column in COLUMNS if column not in frame]
        if missing:
            raise ValueError(f"frame lacks the column {missing[0]!r}; it has {list(frame.columns)}")
        if len(set(languages)) < len(languages):
            raise ValueError(f"languages {list(languages)} names one twice")
        frame = frame[frame.language.isin(languages)]
        if frame.empty:
            raise ValueError(f"the corpus has no item in any of the languages {list(languages)}")
        twice = frame[frame.duplicated(["item", "language"])]
        if len(twice):
            raise ValueError(f"item {twice.iloc[0]['item']} comes twice in language {twice.iloc[0].language}")
        items = frame.drop_duplicates("item")[["item", "passage_group", "domain", "dataset"]]
        grid = items.merge(pd.Series(list(languages), name="language"), how="cross")
        texts = [name for name in TEXTS if name in frame]
        grid = grid.merge(frame[["item", "language", *texts]], on=["item", "language"], how="left", validate="1:1")
        grid = grid.fillna(dict.fromkeys(texts, ""))
        for name in NUMBERS:
            grid[name] = pd.factorize(grid[name])[0]
        columns = list(dict.fromkeys([*COLUMNS, *texts]))
        features = datasets.Features.from_arrow_schema(schema(columns))
        return cls(datasets.Dataset.from_pandas(grid[columns], features=features, preserve_index=False))

    @classmethod
    def joined(cls, corpora: Sequence["ParallelCorpus"], languages: Sequence[str]) -> "ParallelCorpus":
        """Put corpora one after the other; items and passage groups stay apart.

        Args:
            corpora: corpora whose datasets have different names.
            languages: the languages of the grid, in order. An item is missing in those that its corpus lacks. Other
                languages of a corpus are left out.
        """
        columns = [*COLUMNS, *(["negative"] if any("negative" in one.table.column_names for one in corpora) else [])]

        def pieces() -> Iterator[pa.Table]:
            item = group = 0
            for one in corpora:
                for _, rows in item_batches(one.table, len(one.languages)):
                    rows = regrid(rows, one.languages, languages, columns)
                    rows = with_column(rows, "item", pc.add(rows["item"], item))
                    yield with_column(rows, "passage_group", pc.add(rows["passage_group"], group))
                item += len(one)
                group += int(item_values(one.table, len(one.languages), "passage_group").max()) + 1

        return cls(derived_table([one.table for one in corpora], ["joined", *languages], pieces))

    def thin(self, share: Mapping[str, float], seed: int = 0, *, others: float = 1.0) -> "ParallelCorpus":
        """Take items away from some languages, so that these become low-resource.

        Languages with the same share keep the same items. A language with a smaller share keeps some of those that one
        with a larger share keeps. Data that is translated in one order, and further into some languages than into
        others, looks like this.

        Args:
            share: the share of the corpus, 0 to 1, that stays available in each language to thin: ceil(share * n) of n
                items, less those that were missing before.
            seed: another seed keeps other items.
            others: the share of the languages that `share` does not name.

        Raises:
            ValueError: the corpus lacks a language, or a share is not from 0 to 1.
        """
        unknown = sorted(set(share) - set(self.languages))
        if unknown:
            raise ValueError(f"available: unknown language {unknown[0]!r}; the corpus has {', '.join(self.languages)}")
        for language, value in share.items():
            if not 0 <= value <= 1:
                raise ValueError(f"available: {language} is {value}; allowed: 0 to 1")
        if not 0 <= others <= 1:
            raise ValueError(f"others is {others}; allowed: 0 to 1")
        # Without the factor, 7 % of 100 items would be 8: 0.07 * 100 is a little above 7 in floating point.
        kept = np.ceil(np.array([share.get(code, others) for code in self.languages]) * len(self) * (1 - 1e-12))  # (L,)

        def pieces() -> Iterator[pa.Table]:
            for begin, rows in item_batches(self.table, len(kept)):
                items = np.arange(begin, begin + len(rows) // len(kept))
                stays = pa.array((permute(items, len(self), _key(seed))[:, None] < kept).ravel())  # (items * L,)
                for name in set(TEXTS) & set(rows.column_names):
                    rows = with_column(rows, name, pc.if_else(stays, rows[name], ""))
                yield rows

        return ParallelCorpus(derived_table([self.table], ["thin", kept.tolist(), int(seed)], pieces))

    def compose(self, items: Mapping[str, int], seed: int = 0) -> "ParallelCorpus":
        """Keep a number of items of each domain that is named, and no item of the others.

        A smaller number of a domain keeps some of the items that a larger number keeps.

        Args:
            items: the number of items to keep, by domain.
            seed: another seed keeps other items.

        Raises:
            ValueError: the corpus lacks a domain, or has fewer items of it.
        """
        width = len(self.languages)
        domain = item_values(self.table, width, "domain")
        order = permute(np.arange(len(self)), len(self), _key(seed))
        kept = np.zeros(len(self), dtype=bool)
        for name, number in items.items():
            of_domain = np.flatnonzero(domain == name)
            if not (len(of_domain) and 0 <= number <= len(of_domain)):
                sizes = ", ".join(f"{code} ({n})" for code, n in pd.Series(domain).value_counts().items())
                raise ValueError(f"items: {name!r} is {number}; allowed: 0 to what there is: {sizes}")
            kept[of_domain[np.argsort(order[of_domain])[:number]]] = True
        if not kept.any():
            raise ValueError(f"items is {dict(items)}; it must keep at least one item")
        group = np.zeros(len(self), dtype=np.int64)
        group[kept] = pd.factorize(item_values(self.table, width, "passage_group")[kept])[0]
        item = np.cumsum(kept) - 1

        def pieces() -> Iterator[pa.Table]:
            for begin, rows in item_batches(self.table, width):
                stays = np.repeat(kept[begin : begin + len(rows) // width], width)
                old = begin + np.flatnonzero(stays) // width
                rows = with_column(rows.filter(pa.array(stays)), "item", pa.array(item[old]))
                yield with_column(rows, "passage_group", pa.array(group[old]))

        return ParallelCorpus(derived_table([self.table], ["compose", dict(items), int(seed)], pieces))


def _key(seed: int) -> np.ndarray:
    """Return the key of the permutation that belongs to a seed."""
    return np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]


def connected_groups(items: pd.Series, shared: pd.Series) -> pd.Series:
    """Group the items that share something, directly or through others.

    Args:
        items, shared: in each row an item, and something that this item has. (N,)

    Returns:
        A number for each group, by item.

    >>> connected_groups(pd.Series([*"abbcd"]), pd.Series([1, 1, 2, 2, 3])).to_dict()
    {'a': 0, 'b': 0, 'c': 0, 'd': 1}
    """
    item, names = pd.factorize(items)
    thing, things = pd.factorize(shared)
    size = len(names) + len(things)
    links = coo_array((np.ones(len(item)), (item, thing + len(names))), shape=(size, size))
    _, group = connected_components(links, directed=False)
    return pd.Series(group[: len(names)], index=names)
