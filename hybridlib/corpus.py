"""Training data: items that exist, question and passage, in several languages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hybridlib.atlas import SPLITS, atlas_facts, atlas_names, atlas_texts
from hybridlib.availability import Availability
from hybridlib.grid import COLUMNS, NUMBERS, TEXTS, made, of_items, pieces_of, regrid, schema, with_column
from hybridlib.names import CORPORA
from hybridlib.permutation import permute
from hybridlib.sources import module_of
from hybridlib.sources.lareqa import connected_groups, read_xquad_r, split_articles


@dataclass(frozen=True)
class ParallelCorpus:
    """Parallel questions and passages: items by languages, an item may be missing in some.

    Attributes:
        table: a row for every item and language, item by item, languages in the same order for each; `query` and
            `passage` are empty where the item is missing. Columns `item`, `language`, `query`, `passage`,
            `passage_group` (items that share a passage in any language share a group), `domain`, `dataset`, and where
            there are hard negatives, `negative`, empty where there is none. Text stays in Arrow and may be
            memory-mapped; what is made of a mapped table is mapped as well.
    """

    table: datasets.Dataset

    @cached_property
    def availability(self) -> Availability:
        """Which items exist in which language."""
        return Availability.from_table(self.table)

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages, in the order of the grid."""
        return self.availability.languages

    def __len__(self) -> int:
        return self.availability.items

    def sizes(self) -> pd.Series:
        """How many items exist in each language: a count by language code."""
        number = np.arange(len(self.languages))
        counts = sum(segment.count(number, number) for segment in self.availability.segments)
        return pd.Series(counts, index=pd.Index(self.languages, name="language"), name="items")

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, languages: Sequence[str]) -> "ParallelCorpus":
        """Build the grid from a row for every item and language that exist.

        Args:
            frame: the columns of `table`; `item` may be of any type, its order of appearance is kept. What is the same
                in all languages (`passage_group`, `domain`, `dataset`) is taken from an item's first row.
            languages: the languages of the grid, in order; rows in others are left out.

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
            corpora: whose datasets have different names.
            languages: of the grid, in order. An item is missing in those that its corpus lacks; of others that a corpus
                has, nothing is kept.
        """
        columns = [*COLUMNS, *(["negative"] if any("negative" in one.table.column_names for one in corpora) else [])]

        def pieces() -> Iterator[pa.Table]:
            item = group = 0
            for one in corpora:
                for _, rows in pieces_of(one.table, len(one.languages)):
                    rows = regrid(rows, one.languages, languages, columns)
                    rows = with_column(rows, "item", pc.add(rows["item"], item))
                    yield with_column(rows, "passage_group", pc.add(rows["passage_group"], group))
                item += len(one)
                group += int(of_items(one.table, len(one.languages), "passage_group").max()) + 1

        return cls(made([one.table for one in corpora], ["joined", *languages], pieces))

    def thin(self, share: Mapping[str, float], seed: int = 0, *, others: float = 1.0) -> "ParallelCorpus":
        """Take items away from some languages, so that these become low-resource.

        The same items stay in all languages with the same share, and those of a smaller share are among those of a
        larger: as with data that is translated in one order, further in some languages than in others.

        Args:
            share: the share of the corpus, 0 to 1, that stays available in each language to thin; of n items
                ceil(share * n) stay, less those that were missing before.
            seed: another seed keeps other items.
            others: the share in the languages that `share` does not name.

        Raises:
            ValueError: a language is not of the corpus, or a share is not from 0 to 1.
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
            for begin, rows in pieces_of(self.table, len(kept)):
                items = np.arange(begin, begin + len(rows) // len(kept))
                stays = pa.array((permute(items, len(self), _key(seed))[:, None] < kept).ravel())  # (items * L,)
                for name in set(TEXTS) & set(rows.column_names):
                    rows = with_column(rows, name, pc.if_else(stays, rows[name], ""))
                yield rows

        return ParallelCorpus(made([self.table], ["thin", kept.tolist(), int(seed)], pieces))

    def compose(self, items: Mapping[str, int], seed: int = 0) -> "ParallelCorpus":
        """Keep so many items of each domain, and none of the others.

        The items kept of a domain are among those that a larger number would keep.

        Args:
            items: a number of items by domain.
            seed: another seed keeps other items.

        Raises:
            ValueError: a domain is not of the corpus, or has fewer items.
        """
        width = len(self.languages)
        domain = of_items(self.table, width, "domain")
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
        group[kept] = pd.factorize(of_items(self.table, width, "passage_group")[kept])[0]
        item = np.cumsum(kept) - 1

        def pieces() -> Iterator[pa.Table]:
            for begin, rows in pieces_of(self.table, width):
                stays = np.repeat(kept[begin : begin + len(rows) // width], width)
                old = begin + np.flatnonzero(stays) // width
                rows = with_column(rows.filter(pa.array(stays)), "item", pa.array(item[old]))
                yield with_column(rows, "passage_group", pa.array(group[old]))

        return ParallelCorpus(made([self.table], ["compose", dict(items), int(seed)], pieces))


def _key(seed: int) -> np.ndarray:
    return np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]


def load_corpus(
    name: str,
    split: str = "train",
    *,
    languages: Sequence[str] | None = None,
    items: Mapping[str, int] | None = None,
    available: Mapping[str, float] | None = None,
    others: float = 1.0,
    seed: int = 0,
) -> ParallelCorpus:
    """Load a training corpus.

    Args:
        name: `atlas` (embedded), `atlas-names` (its names alone, as translation pairs), `xquad-r`, `squad-translate`,
            `mmarco`, `squadshifts`, or several joined by `+`, as `squad-translate+mmarco`: their items one corpus after
            the other, missing in the languages that only another corpus has.
        split: `train`, or another split of the corpus: `validation` or `test` of `atlas`, `test` of `xquad-r` (a
            quarter of its articles), `validation` of `mmarco` and, all of it, of `squadshifts`.
        languages: those to take, in this order; all of them unless given.
        items: how many items of each domain to take (see `ParallelCorpus.compose`); all of them unless given.
        available: share of the items that stays available in a language (see `ParallelCorpus.thin`).
        others: the share in the languages that `available` does not name.
        seed: chooses the split, the sentence frames and the items that stay.

    Raises:
        ValueError: an argument names something that does not exist; the message lists what does.
        FileNotFoundError: a data file is missing.

    >>> corpus = load_corpus("atlas", languages=["en", "sw"], available={"sw": 0.1})
    >>> corpus.sizes().to_dict() == {"en": len(corpus), "sw": -(-len(corpus) // 10)}
    True
    """
    names = name.split("+")
    for one in names:
        if one not in CORPORA or names.count(one) > 1:
            raise ValueError(
                f"corpus is {name!r}; allowed: {', '.join(CORPORA)}, or several different ones joined by +"
            )
    corpus = _one(name, split, languages, seed) if len(names) == 1 else _several(names, split, languages, seed)
    corpus = corpus.compose(items, seed) if items else corpus
    return corpus.thin(available or {}, seed, others=others) if available or others != 1 else corpus


def _one(name: str, split: str, languages: Sequence[str] | None, seed: int) -> ParallelCorpus:
    if name not in _IN_MEMORY:
        return module_of(name).read_corpus(name, split, languages)
    frame = _IN_MEMORY[name](split, seed)
    chosen = check_languages(languages, sorted(frame.language.unique()), name)
    return ParallelCorpus.from_frame(frame.assign(dataset=name), chosen)


def _several(names: Sequence[str], split: str, languages: Sequence[str] | None, seed: int) -> ParallelCorpus:
    """Each in those of the languages that it has."""
    known: dict[str, Sequence[str]] = {}
    for name in names:
        small = name in _IN_MEMORY
        known[name] = _one(name, split, None, seed).languages if small else module_of(name).LANGUAGES
    every = list(dict.fromkeys(code for some in known.values() for code in some))
    chosen = check_languages(languages, every, "+".join(names))
    own = {name: [code for code in chosen if code in known[name]] for name in names}
    return ParallelCorpus.joined([_one(name, split, own[name], seed) for name in names if own[name]], chosen)


@lru_cache(maxsize=2)
def _atlas(split: str, seed: int) -> pd.DataFrame:
    check_split(split, SPLITS)
    facts = atlas_facts(seed)
    # Texts are made for all facts before the split is taken, since what a fact reads like must not depend on the split.
    frame = atlas_texts(facts, seed).merge(facts.loc[facts.split == split, ["fact", "domain"]], on="fact")
    return frame.rename(columns={"fact": "item"}).assign(passage_group=frame.fact)


def _atlas_names(split: str, seed: int) -> pd.DataFrame:
    """Names as question and passage alike: a cross-lingual pair of them is a translation pair."""
    check_split(split, ("train",))
    names = atlas_names().rename_axis("item").reset_index()
    frame = names.melt(id_vars="item", var_name="language", value_name="query")
    frame = frame.sort_values("item", kind="stable", ignore_index=True)
    # Arabic the language and Arabic the script, for one, are the same word in many languages.
    groups = connected_groups(frame["item"], frame.language + ":" + frame["query"].str.casefold())
    kind = frame["item"].str.partition(":")[0]
    return frame.assign(passage=frame["query"], passage_group=frame["item"].map(groups), domain=kind)


def _xquad_r(split: str, seed: int) -> pd.DataFrame:
    check_split(split, ("train", "test"))
    data = read_xquad_r()
    data = data.of_articles(split_articles(data, seed)[split])
    relevant = data.qrels.merge(data.queries, on="query_id").rename(columns={"question": "item", "text": "query"})
    own = relevant.merge(data.passages[["passage_id", "language", "text"]], on=["passage_id", "language"])
    relevant = own.drop_duplicates("query_id").rename(columns={"text": "passage"})
    groups = data.passage_groups()
    return relevant.assign(passage_group=relevant["item"].map(groups), domain="wikipedia")


# What fits into memory: read whole, from `split` and `seed`, and cut to the languages then.
_IN_MEMORY: dict[str, Callable[[str, int], pd.DataFrame]] = {
    "atlas": _atlas,
    "atlas-names": _atlas_names,
    "xquad-r": _xquad_r,
}


def check_split(split: str, allowed: Sequence[str]) -> str:
    """Refuse a split that does not exist."""
    if split not in allowed:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(allowed)}")
    return split


def check_languages(languages: Sequence[str] | None, allowed: Sequence[str], corpus: str) -> list[str]:
    """The languages to take, all that there are unless given; refuse those that are not in the corpus."""
    chosen = list(allowed if languages is None else languages)
    for language in chosen:
        if language not in allowed:
            raise ValueError(f"languages: {language!r} is not in {corpus}; allowed: {', '.join(allowed)}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"languages {chosen} names one twice")
    if not chosen:
        raise ValueError(f"{corpus} has no item in any of the languages []")
    return chosen
