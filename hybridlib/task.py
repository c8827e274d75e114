"""Evaluation data: queries, passages and which is relevant to which."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from hybridlib.atlas import SPLITS, atlas_facts, atlas_texts
from hybridlib.corpus import check_split
from hybridlib.lareqa import LareqaData, read_xquad_r, split_articles

TASKS = ("atlas", "xquad-r")
_COLUMNS = {
    "queries": ["query_id", "language", "text"],
    "passages": ["passage_id", "language", "text"],
    "qrels": ["query_id", "passage_id", "relevance"],
}


@dataclass(frozen=True)
class RetrievalTask:
    """A retrieval task as everywhere in the field: three tables.

    Attributes:
        queries: `query_id`, `language`, `text`.
        passages: `passage_id`, `language`, `text`; their order settles ties.
        qrels: `query_id`, `passage_id`, `relevance` above 0; what is not listed is not relevant.

    Raises:
        ValueError: a column is missing, an id comes twice or is unknown, or no passage is relevant to anything.
    """

    queries: pd.DataFrame
    passages: pd.DataFrame
    qrels: pd.DataFrame

    def __post_init__(self) -> None:
        for name, columns in _COLUMNS.items():
            table = getattr(self, name)
            missing = [column for column in columns if column not in table]
            if missing:
                raise ValueError(f"{name} lacks the column {missing[0]!r}; it has {list(table.columns)}")
            object.__setattr__(self, name, table[columns].reset_index(drop=True))
        for table, column in ((self.queries, "query_id"), (self.passages, "passage_id")):
            if table[column].duplicated().any():
                raise ValueError(f"{column} {table[column][table[column].duplicated()].iloc[0]} comes twice")
            unknown = ~self.qrels[column].isin(table[column])
            if unknown.any():
                name = self.qrels[column][unknown].iloc[0]
                raise ValueError(f"qrels names the {column} {name}, which does not exist")
        twice = self.qrels[self.qrels.duplicated(["query_id", "passage_id"])]
        if len(twice):
            raise ValueError(f"qrels judges a pair twice: {twice.iloc[0].to_dict()}")
        if self.qrels.empty or not (self.qrels.relevance > 0).all():
            raise ValueError("qrels must hold at least one pair, each with a relevance above 0")

    @property
    def languages(self) -> list[str]:
        """The languages of the passages, in the order of their codes."""
        return sorted(self.passages.language.unique())

    @cached_property
    def pairs(self) -> np.ndarray:
        """Row of the query and row of the passage of every judged pair, in the order of `qrels`. (N, 2)"""
        query = pd.Index(self.queries.query_id).get_indexer(pd.Index(self.qrels.query_id))
        passage = pd.Index(self.passages.passage_id).get_indexer(pd.Index(self.qrels.passage_id))
        return np.column_stack([query, passage])

    @cached_property
    def passage_languages(self) -> np.ndarray:
        """Number in `languages` of the language of every passage. (P,)"""
        return pd.Index(self.languages).get_indexer(pd.Index(self.passages.language))

    def restrict(self, languages: Sequence[str]) -> "RetrievalTask":
        """The task with the queries and passages of some languages only.

        Raises:
            ValueError: a language has no passages, or no judged pair is left.
        """
        unknown = sorted(set(languages) - set(self.languages))
        if unknown:
            raise ValueError(f"languages: {unknown[0]!r} is not in the task; allowed: {', '.join(self.languages)}")
        queries = self.queries[self.queries.language.isin(languages)]
        passages = self.passages[self.passages.language.isin(languages)]
        known = self.qrels.query_id.isin(queries.query_id) & self.qrels.passage_id.isin(passages.passage_id)
        return RetrievalTask(queries, passages, self.qrels[known])


def load_task(
    name: str,
    split: str | None = None,
    *,
    languages: Sequence[str] | None = None,
    paragraphs: bool = False,
    seed: int = 0,
) -> RetrievalTask:
    """Load an evaluation task.

    Args:
        name: `atlas` (embedded) or `xquad-r`.
        split: for `atlas`, `validation` or `test` (the default), or `train`; the pool holds the passages of all facts.
            For `xquad-r`, `test` takes the articles that `load_corpus("xquad-r")` leaves out; all articles unless
            given, which is the benchmark as published.
        languages: those to take; all of them unless given.
        paragraphs: for `xquad-r`, whether a passage is the sentence followed by its paragraph.
        seed: chooses the split, as in `load_corpus`.

    Raises:
        ValueError: an argument names something that does not exist; the message lists what does.
        FileNotFoundError: a data file is missing.

    >>> load_task("atlas", languages=["th", "en"]).languages
    ['en', 'th']
    """
    if name not in TASKS:
        raise ValueError(f"task is {name!r}; allowed: {', '.join(TASKS)}")
    if name == "atlas":
        if paragraphs:
            raise ValueError("paragraphs is True; the passages of atlas are sentences without a paragraph")
        task = _atlas("test" if split is None else split, seed)
    else:
        data = read_xquad_r(paragraphs=paragraphs)
        if split is not None:
            data = data.of_articles(split_articles(data, seed)[check_split(split, ("train", "test"))])
        task = task_from_lareqa(data)
    return task.restrict(languages) if languages is not None else task


def task_from_lareqa(data: LareqaData) -> RetrievalTask:
    """A task of files in LAReQA's format: every question of every language, to be answered in every language.

    Args:
        data: what `read_lareqa` has read.
    """
    return RetrievalTask(data.queries, data.passages, data.qrels)


def _atlas(split: str, seed: int) -> RetrievalTask:
    facts = atlas_facts(seed)
    texts = atlas_texts(facts, seed).sort_values("language", kind="stable")
    texts["id"] = texts.language + ":" + texts.fact
    asked = texts.fact.isin(facts.fact[facts.split == check_split(split, SPLITS)])
    queries = texts[asked].rename(columns={"id": "query_id", "query": "text"})
    passages = texts.rename(columns={"id": "passage_id", "passage": "text"}).drop(columns="query")
    qrels = queries[["query_id", "fact"]].merge(passages[["passage_id", "fact"]], on="fact")
    return RetrievalTask(queries.drop(columns="passage"), passages, qrels.assign(relevance=1))
