"""Training data: items in several languages, each a question and its passage."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hybridlib.arguments import Names, Seed, Share, Whole, checked, listed, told
from hybridlib.data.checks import check_languages, check_rows, texts_wrong
from hybridlib.data.grid import item_values, regrid, table_of_frame, with_column
from hybridlib.data.table import (
    COLUMNS,
    NAMED,
    NEGATIVES,
    check_items,
    check_table,
    derived_table,
    item_batches,
    without_negatives,
)
from hybridlib.sampler.availability import Availability
from hybridlib.sampler.permutation import permute

_LEAST = "allowed: what leaves at least one item in one language"


@dataclass(frozen=True, repr=False)
class ParallelCorpus:
    """Parallel questions and passages: a grid of items by languages; an item may be missing in some languages.

    Attributes:
        table: a row for every item and language, item by item; the languages have the same order in each. Columns are
            `item`, `language`, `query` and `passage` (both empty where the item is missing), `passage_group` (items
            that share a passage in any language share a group; one whose group is null or -1 gets its own), `domain`
            and `dataset`. A corpus with hard negatives also has `negative` (empty where there is none) and
            `negative_group`. Text stays in Arrow and may be memory-mapped, as is a table made of a mapped one.

    Raises:
        ValueError: the table lacks a column, has one of another type, or a group below -1; or, when rows are first
            needed, a query or a passage is blank or alone, a name is blank, languages come in another order, or an
            item's group or domain differs between languages.
    """

    table: datasets.Dataset

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", check_table(self.table))

    def __repr__(self) -> str:
        sizes = dict(zip(self.languages, self.sizes(), strict=True))
        whole = set(sizes.values()) == {len(self)}
        languages = ", ".join(self.languages if whole else [f"{code} {size:,}" for code, size in sizes.items()])
        parts = ", ".join(f"{one.name} {one.items:,}" for one in self.availability.segments)
        return f"<ParallelCorpus of {len(self):,} items; languages: {languages}; datasets: {parts}>"

    @cached_property
    def availability(self) -> Availability:
        """The items that exist in each language."""
        found = Availability.from_table(self.table)
        width, names = len(found.languages), [segment.name for segment in found.segments]
        check_rows(texts_wrong(found.languages), found.languages, "table.language", NAMED)
        check_rows(texts_wrong(names), names, "table.dataset", NAMED, [width * one.start for one in found.segments])
        check_items(self.table, width)
        return found

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
    @checked
    def from_frame(cls, frame: pd.DataFrame | datasets.Dataset, languages: Names) -> "ParallelCorpus":
        """Build the grid from a row for every item and language that exist.

        A row whose query or passage is null, empty or blank counts as if it were not there; a warning tells of rows
        that have only one of the two.

        Args:
            frame: the columns of `table`. `item` and `passage_group` may be texts, numbers or dates. Items keep their
                order of appearance, dataset by dataset; the index is of no meaning. A `passage_group` that is null or
                -1 gives the item a group of its own. With a column `negative`, `negative_group` names the group of the
                negative where it is that of an item.
            languages: the languages of the grid, in order; rows in other languages are left out.

        Raises:
            ValueError: a column is missing or there twice; a language is none of the frame; no item exists, or one
                comes twice in a language; `passage_group`, `domain` or `dataset` differ between the languages of an
                item; or a value is wrong, such as a text that is a number or holds a lone surrogate. The message names
                column and rows, by their places from 0.
        """
        return cls(table_of_frame(frame if isinstance(frame, pd.DataFrame) else frame.to_pandas(), languages))

    @classmethod
    @checked
    def joined(
        cls, corpora: Annotated[Sequence["ParallelCorpus"], BeforeValidator(listed)], languages: Names
    ) -> "ParallelCorpus":
        """Put corpora one after the other; items and passage groups stay apart.

        Args:
            corpora: at least one; their datasets have different names.
            languages: the languages of the grid, in order. An item is missing in those that its corpus lacks. Other
                languages of a corpus are left out.

        Raises:
            ValueError: there is no corpus, two have datasets of the same name, or a language is in none of them, is
                named twice, or none is named; or nothing is left.
        """
        if not corpora:
            raise ValueError("corpora names none; allowed: at least one")
        names = [segment.name for one in corpora for segment in one.availability.segments]
        if len(set(names)) < len(names):
            raise ValueError(f"corpora: the datasets are {', '.join(names)}; allowed: each name once")
        every = dict.fromkeys(code for one in corpora for code in one.languages)
        chosen = check_languages(languages, list(every), "the corpora")
        columns = [*COLUMNS, *(NEGATIVES if any("negative" in one.table.column_names for one in corpora) else ())]

        def pieces() -> Iterator[pa.Table]:
            item = group = 0
            for one in corpora:
                for begin, rows in item_batches(one.table, len(one.languages)):
                    rows = regrid(rows, one.languages, chosen, columns)
                    new = np.repeat(np.arange(len(rows) // len(chosen)) + item + begin, len(chosen))
                    rows = with_column(rows, "item", pa.array(new))
                    for name in {"passage_group", "negative_group"} & set(columns):
                        moved = pc.if_else(pc.less(rows[name], 0), rows[name], pc.add(rows[name], group))
                        rows = with_column(rows, name, moved)
                    yield rows
                item += len(one)
                group += int(item_values(one.table, len(one.languages), "passage_group").max()) + 1

        made = cls(derived_table([one.table for one in corpora], ["joined", *chosen], pieces))
        return made._not_empty(f"languages is {chosen}")

    @checked
    def thin(self, available: Mapping[str, Share], seed: Seed = 0, *, others: Share = 1.0) -> "ParallelCorpus":
        """Take items away from some languages, so that these become low-resource.

        Languages with the same share keep the same items. A language with a smaller share keeps some of those that one
        with a larger share keeps. Data that is translated in one order, and further into some languages than into
        others, looks like this. Hard negatives are left out, for they may be passages that were taken away.

        Args:
            available: the share of the corpus, 0 to 1, that stays available in each language to thin: ceil(share * n)
                of n items, less those that were missing before.
            seed: another seed keeps other items.
            others: the share of the languages that `available` does not name.

        Raises:
            ValueError: the corpus lacks a language, a share is not from 0 to 1, or no item stays in any language.
        """
        unknown = sorted(set(available) - set(self.languages))
        if unknown:
            raise ValueError(
                f"available: unknown language {told(unknown[0])}; the corpus has {', '.join(self.languages)}"
            )
        # Without the factor, 7 % of 100 items would be 8: 0.07 * 100 is a little above 7 in floating point.
        shares = np.array([available.get(code, others) for code in self.languages])
        kept = np.ceil(shares * len(self) * (1 - 1e-12))  # (L,)
        table = without_negatives(self.table)

        def pieces() -> Iterator[pa.Table]:
            for begin, rows in item_batches(table, len(kept)):
                items = np.arange(begin, begin + len(rows) // len(kept))
                stays = pa.array((permute(items, len(self), _key(seed))[:, None] < kept).ravel())  # (items * L,)
                for name in ("query", "passage"):
                    rows = with_column(rows, name, pc.if_else(stays, rows[name], ""))
                yield rows

        made = ParallelCorpus(derived_table([table], ["thin", kept.tolist(), seed], pieces))
        return made._not_empty(f"available is {told(dict(available))} and others is {others}")

    @checked
    def compose(self, items: Mapping[str, Whole], seed: Seed = 0) -> "ParallelCorpus":
        """Keep a number of items of each domain that is named, and no item of the others.

        A smaller number of a domain keeps some of the items that a larger number keeps. Hard negatives are left out,
        for they may be passages of items that are not kept.

        Args:
            items: the number of items to keep, by domain.
            seed: another seed keeps other items.

        Raises:
            ValueError: the corpus lacks a domain, or has fewer items of it.
        """
        width, table = len(self.languages), without_negatives(self.table)
        domain = item_values(self.table, width, "domain")
        order = permute(np.arange(len(self)), len(self), _key(seed))
        kept = np.zeros(len(self), dtype=bool)
        for name, number in items.items():
            of_domain = np.flatnonzero(domain == name)
            if not (len(of_domain) and number <= len(of_domain)):
                sizes = ", ".join(f"{code} ({n})" for code, n in pd.Series(domain).value_counts()[:9].items())
                raise ValueError(f"items: {told(name)} is {number}; allowed: 0 to what there is: {sizes}")
            kept[of_domain[np.argsort(order[of_domain])[:number]]] = True
        if not kept.any():
            raise ValueError(f"items is {told(dict(items))}; {_LEAST}")
        group = np.zeros(len(self), dtype=np.int64)
        group[kept] = pd.factorize(item_values(self.table, width, "passage_group")[kept])[0]
        item = np.cumsum(kept) - 1

        def pieces() -> Iterator[pa.Table]:
            for begin, rows in item_batches(table, width):
                stays = np.repeat(kept[begin : begin + len(rows) // width], width)
                old = begin + np.flatnonzero(stays) // width
                rows = with_column(rows.filter(pa.array(stays)), "item", pa.array(item[old]))
                yield with_column(rows, "passage_group", pa.array(group[old]))

        made = ParallelCorpus(derived_table([table], ["compose", items, seed], pieces))
        return made._not_empty(f"items is {told(dict(items))}")

    def _not_empty(self, said: str) -> "ParallelCorpus":
        if not self.sizes().any():
            raise ValueError(f"{said}; {_LEAST}")
        return self


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
