"""Evaluation data: queries, passages, and the judgements which passage is relevant to which query."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.passages import (
    Passages,
    draw,
    languages_of,
    positions_in,
    positions_of,
    rows_of,
    select,
    select_columns,
)
from hybridlib.names import SETTINGS

_COLUMNS = {
    "queries": ["query_id", "language", "text", "question", "article"],
    "passages": ["passage_id", "language", "text"],
    "qrels": ["query_id", "passage_id", "relevance"],
}


@dataclass(frozen=True)
class RetrievalTask:
    """A retrieval task in the three tables that are usual in the field.

    Attributes:
        queries: `query_id`, `language`, `text`, `question`, which is the same for one question in several languages
            (anything that can be hashed; the `query_id` if the table has none), and `article`, which is the same for
            the questions that belong together (the `question` if the table has none): statistics draw articles anew.
        passages: `passage_id`, `language`, `text`; their order settles ties. A memory-mapped `datasets.Dataset` is
            never loaded as a whole; whoever builds it must see to it that no id comes twice.
        qrels: `query_id`, `passage_id`, `relevance`. A relevance above 0 is relevant. A relevance of 0 is judged and
            found not relevant, which counts for `with_pool` only. A pair that is not listed is not relevant.
        settings: the settings that mean something for the task; others are not evaluated.
        pool: says what is left out of the passages, and how that biases the values; empty if nothing is left out.

    Raises:
        ValueError: a column, a question or an article is missing, an id comes twice or is unknown, no passage is
            relevant to anything, or there is no such setting.
    """

    queries: pd.DataFrame
    passages: Passages
    qrels: pd.DataFrame
    settings: tuple[str, ...] = SETTINGS
    pool: str = ""

    def __post_init__(self) -> None:
        if not self.settings or not set(self.settings) <= set(SETTINGS):
            raise ValueError(f"settings is {self.settings}; allowed: one or more of {', '.join(SETTINGS)}")
        for column, other in (("question", "query_id"), ("article", "question")):
            if other in self.queries and column not in self.queries:
                object.__setattr__(self, "queries", self.queries.assign(**{column: self.queries[other]}))
        for name, columns in _COLUMNS.items():
            object.__setattr__(self, name, select_columns(getattr(self, name), name, columns))
        for column in ("question", "article"):
            nameless = self.queries.query_id[self.queries[column].isna()]
            if len(nameless):
                raise ValueError(f"queries: the {column} of {nameless.iloc[0]} is missing")
        for table, column in ((self.queries, "query_id"), (self.passages, "passage_id")):
            if isinstance(table, pd.DataFrame) and table[column].duplicated().any():
                raise ValueError(f"{column} {table[column][table[column].duplicated()].iloc[0]} comes twice")
        for column, rows in zip(("query_id", "passage_id"), self.judged.T, strict=True):
            if (rows < 0).any():
                name = self.qrels[column][rows < 0].iloc[0]
                raise ValueError(f"qrels names the {column} {name}, which does not exist")
        twice = self.qrels[self.qrels.duplicated(["query_id", "passage_id"])]
        if len(twice):
            raise ValueError(f"qrels judges a pair twice: {twice.iloc[0].to_dict()}")
        gain = self._relevance
        if not ((gain >= 0).all() and (gain > 0).any()):
            raise ValueError("qrels must hold at least one pair with a relevance above 0, and none below 0")

    @cached_property
    def languages(self) -> list[str]:
        """The languages of the passages, in the order of their codes."""
        return languages_of(self.passages)

    @cached_property
    def judged(self) -> np.ndarray:
        """The row of the query and the row of the passage of every judged pair, in the order of `qrels`. (J, 2)"""
        query = pd.Index(self.queries.query_id).get_indexer(pd.Index(self.qrels.query_id))
        return np.column_stack([query, positions_of(self.passages, self.qrels.passage_id)])

    @property
    def _relevance(self) -> np.ndarray:
        return self.qrels.relevance.to_numpy(dtype=float, na_value=np.nan)  # (J,)

    @cached_property
    def pairs(self) -> np.ndarray:
        """The row of the query and the row of the passage of every relevant pair, in the order of `qrels`. (N, 2)"""
        return self.judged[self._relevance > 0]

    @cached_property
    def gains(self) -> np.ndarray:
        """The relevance of every pair of `pairs`. (N,)"""
        return self._relevance[self._relevance > 0]

    @cached_property
    def passage_languages(self) -> np.ndarray:
        """The number in `languages` of every passage's language; in memory, whatever the passages are. (P,)"""
        passages = self.passages
        codes = passages.language if isinstance(passages, pd.DataFrame) else passages["language"][:]
        return pd.Index(self.languages).get_indexer(pd.Index(codes))

    def restrict(self, languages: Sequence[str]) -> "RetrievalTask":
        """Keep the queries and passages of some languages only.

        Raises:
            ValueError: a language has no passages, or no relevant pair is left.
        """
        unknown = sorted(set(languages) - set(self.languages))
        if unknown:
            raise ValueError(f"languages: {unknown[0]!r} is not in the task; allowed: {', '.join(self.languages)}")
        queries = self.queries[self.queries.language.isin(languages)]
        positions = positions_in(self.passages, list(languages))
        known = self.qrels.query_id.isin(queries.query_id) & np.isin(self.judged[:, 1], positions)
        pool = f"{self.pool} Of it, only what is in {', '.join(sorted(languages))}." if self.pool else ""
        passages = select(self.passages, positions)
        return replace(self, queries=queries, passages=passages, qrels=self.qrels[known], pool=pool)

    def with_pool(self, pool: str | int, seed: int = 0) -> "RetrievalTask":
        """Keep fewer passages of a corpus that is too large to encode; the `pool` of the task says what is left out.

        Args:
            pool: `judged` keeps the judged passages of all queries, whether found relevant or not. A number adds that
                many others of each language, drawn uniformly and without replacement, or all where there are no more.
                The draw in one language does not depend on the others, so a language has the same pool in all tasks.
            seed: another seed draws others.

        Returns:
            The task, in memory, its passages in the order of the corpus.

        Raises:
            ValueError: there is no such pool.
        """
        if pool != "judged" and not (type(pool) is int and pool >= 1):
            raise ValueError(f"pool is {pool!r}; allowed: judged, or how many others of each language, 1 or more")
        judged, whole = np.unique(self.judged[:, 1]), len(self.passages)
        kept, said = judged, self.pool
        if pool != "judged":
            drawn = [
                draw(np.setdiff1d(positions_in(self.passages, [code]), judged), int(pool), [seed, *code.encode()])
                for code in self.languages
            ]
            kept = np.sort(np.concatenate([judged, *drawn]))
        if len(kept) < whole:
            added = f"{len(kept) - len(judged):,} drawn (seed {seed}) from" if len(kept) > len(judged) else "none of"
            said += (" " if said else "") + (
                f"The pool holds the {len(judged):,} judged passages and {added} the other {whole - len(judged):,}: "
                f"ranks and rank distances are lower bounds of those among all {whole:,}, and so map, ndcg, recall and "
                "rr upper ones."
            )
        return replace(self, passages=rows_of(self.passages, kept), pool=said)


def task_from_corpus(corpus: ParallelCorpus) -> RetrievalTask:
    """Make a task of held-out training data; the passages of a question's group are relevant to it, in all languages.

    Args:
        corpus: the training data; it is read into memory.
    """
    frame = corpus.table.to_pandas()
    frame = frame[frame["query"] != ""].sort_values(["language", "item"], kind="stable")
    queries = frame.rename(columns={"query": "text", "item": "question"})
    queries["query_id"] = queries.language + ":" + queries.question.astype(str)
    passages = frame.drop_duplicates(["language", "passage_group", "passage"]).rename(columns={"passage": "text"})
    passages["passage_id"] = passages.language + ":" + passages["item"].astype(str)
    qrels = queries[["query_id", "passage_group"]].merge(passages[["passage_id", "passage_group"]], on="passage_group")
    return RetrievalTask(queries, passages, qrels.assign(relevance=1))
