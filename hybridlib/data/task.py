"""Evaluation data: queries, passages, and the judgements which passage is relevant to which query."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, SkipValidation

from hybridlib.arguments import Count, Names, Seed, checked, listed
from hybridlib.data.checks import check_languages
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.passages import (
    Passages,
    checked_frame,
    checked_passages,
    columns_of,
    draw,
    language_numbers,
    languages_of,
    positions_in,
    positions_of,
    rows_of,
    select,
)
from hybridlib.names import SETTINGS, Role


def _both(roles: Any) -> tuple[Any, Any]:
    found = listed(roles)
    if not isinstance(found, list) or len(found) != 2:
        raise ValueError("allowed: two, that of the queries and that of the passages")
    return found[0], found[1]


Roles = Annotated[tuple[Role, Role], BeforeValidator(_both)]
Setting = Literal["monolingual", "cross-lingual", "multilingual"]
Settings = Annotated[
    tuple[Setting, ...],
    BeforeValidator(lambda values: tuple(found) if isinstance(found := listed(values), list) else found),
]
_QUERIES = ("query_id", "language", "text", "question", "article")
_PASSAGES = ("passage_id", "language", "text")
_QRELS = ("query_id", "passage_id", "relevance")


@dataclass(frozen=True, repr=False, eq=False)
class RetrievalTask:
    """A retrieval task in the three tables that are usual in the field.

    Ids, questions and articles are texts; whole numbers become texts. Queries and judgements may be given as a
    `datasets.Dataset`, which is read into memory.

    Attributes:
        queries: `query_id`, `language`, `text`, `question`, which is the same for one question in several languages
            (the `query_id` if the table has none), and `article`, which is the same for the questions that belong
            together (the `question` if the table has none): statistics draw articles anew.
        passages: `passage_id`, `language`, `text`; their order settles ties. A memory-mapped `datasets.Dataset` is
            never loaded as a whole; whoever builds it must see to it that no id is empty or comes twice.
        qrels: `query_id`, `passage_id`, `relevance`. A relevance above 0 is relevant. One of 0 or below is judged and
            found not relevant, which counts for `with_pool` only. A pair that is not listed is not relevant.
        settings: the settings that mean something for the task; others are not evaluated.
        pool: says what is left out of the passages, and how that biases the values; empty if nothing is left out.
        roles: those in which queries and passages are embedded, which say what prompt each of them gets. Where both
            sides are alike, as in translation, both are queries.
        ignore_identical_ids: whether a passage with the id of a query is left out of the ranking of this query, where
            it is neither relevant nor a rival. In Quora and ArguAna, the queries are among the passages.

    Raises:
        ValueError: a column is missing, a value is not of its kind, an id comes twice or is unknown, no passage is
            relevant to anything, or there is no such setting or role.
    """

    queries: Annotated[pd.DataFrame, SkipValidation]
    passages: Annotated[Passages, SkipValidation]
    qrels: Annotated[pd.DataFrame, SkipValidation]
    settings: Settings = ("monolingual", "cross-lingual", "multilingual")
    pool: str = ""
    roles: Roles = ("query", "document")
    ignore_identical_ids: bool = False

    def __post_init__(self) -> None:
        if not self.settings:
            raise ValueError(f"settings is (); allowed: one or more of {', '.join(SETTINGS)}")
        known = [column for column in _QUERIES if column in _QUERIES[:3] or column in columns_of(self.queries)]
        queries = checked_frame(self.queries, "queries", known)
        for column, other in (("question", "query_id"), ("article", "question")):
            queries = queries if column in queries else queries.assign(**{column: queries[other]})
        object.__setattr__(self, "queries", queries[[*_QUERIES]])
        object.__setattr__(self, "passages", checked_passages(self.passages, _PASSAGES))
        object.__setattr__(self, "qrels", checked_frame(self.qrels, "qrels", _QRELS))
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
        if not self._relevant.any():
            raise ValueError("qrels must hold at least one pair with a relevance above 0")

    def __repr__(self) -> str:
        names = f"{', '.join(self.languages[:12])}{', ...' if len(self.languages) > 12 else ''}"
        return (
            f"RetrievalTask({len(self.queries):,} queries, {len(self.passages):,} passages in {names}; "
            f"{len(self.qrels):,} judgements, {len(self.pairs):,} of them relevant; {', '.join(self.settings)}"
            f"{'; ' if self.pool else ''}{self.pool})"
        )

    @cached_property
    def languages(self) -> list[str]:
        """The languages of the passages, in the order of their codes."""
        return languages_of(self.passages)

    @cached_property
    def judged(self) -> np.ndarray:
        """The row of the query and the row of the passage of every judged pair, in the order of `qrels`. (J, 2)"""
        query = pd.Index(self.queries.query_id).get_indexer(pd.Index(self.qrels.query_id))
        return np.column_stack([query, positions_of(self.passages, self.qrels.passage_id)])

    @cached_property
    def _relevant(self) -> np.ndarray:
        same = (self.qrels.query_id == self.qrels.passage_id).to_numpy()
        return (self.qrels.relevance > 0).to_numpy() & ~(same & self.ignore_identical_ids)  # (J,)

    @cached_property
    def pairs(self) -> np.ndarray:
        """The row of the query and the row of the passage of every relevant pair, in the order of `qrels`. (N, 2)"""
        return self.judged[self._relevant]

    @cached_property
    def gains(self) -> np.ndarray:
        """The relevance of every pair of `pairs`. (N,)"""
        return self.qrels.relevance.to_numpy(dtype=float)[self._relevant]

    @cached_property
    def identical(self) -> np.ndarray:
        """The row of each query of `pairs` and of the passage with its id, if such pairs are to be ignored. (I, 2)"""
        if not self.ignore_identical_ids:
            return np.empty((0, 2), dtype=np.int64)
        queries = np.unique(self.pairs[:, 0])
        passages = positions_of(self.passages, self.queries.query_id.iloc[queries])
        return np.column_stack([queries, passages])[passages >= 0]

    @cached_property
    def ranked(self) -> np.ndarray:
        """The pairs whose ranks are counted: those of `pairs`, and then of `identical`. (N + I, 2)"""
        return np.concatenate([self.pairs, self.identical])

    @cached_property
    def passage_languages(self) -> np.ndarray:
        """The number in `languages` of every passage's language; in memory, whatever the passages are. (P,)"""
        return language_numbers(self.passages, self.languages)

    @checked
    def restrict(self, languages: Names) -> "RetrievalTask":
        """Keep the queries and passages of some languages only.

        Raises:
            ValueError: a language has no passages or is named twice, none is named, or no relevant pair is left.
        """
        languages = check_languages(languages, self.languages, "the task")
        queries = self.queries[self.queries.language.isin(languages)]
        positions = positions_in(self.passages, languages)
        known = self.qrels.query_id.isin(queries.query_id) & np.isin(self.judged[:, 1], positions)
        pool = f"{self.pool} Of it, only what is in {', '.join(sorted(languages))}." if self.pool else ""
        passages = select(self.passages, positions)
        return replace(self, queries=queries, passages=passages, qrels=self.qrels[known], pool=pool)

    @checked
    def with_pool(self, pool: Literal["judged"] | Count, seed: Seed = 0) -> "RetrievalTask":
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


# What dataclass writes has the annotations of the fields.
RetrievalTask.__init__ = checked(RetrievalTask.__init__)  # type: ignore[method-assign]


@checked
def task_from_corpus(corpus: ParallelCorpus) -> RetrievalTask:
    """Make a task of held-out training data; the passages of a question's group are relevant to it, in all languages.

    Args:
        corpus: the training data; it is read into memory.
    """
    frame = corpus.table.to_pandas()
    return task_from_pairs(frame[frame["query"].fillna("") != ""])


def task_from_pairs(pairs: pd.DataFrame) -> RetrievalTask:
    """Make a task of a row for each item in a language; see `task_from_corpus`.

    Args:
        pairs: `item`, `language`, `query`, `passage` and `passage_group`. Ids are `<language>:<item>`.
    """
    pairs = pairs.sort_values("language", kind="stable")
    queries = pairs.rename(columns={"query": "text", "item": "question"})
    queries["query_id"] = queries.language + ":" + queries.question.astype(str)
    passages = pairs.drop_duplicates(["language", "passage_group", "passage"]).rename(columns={"passage": "text"})
    passages["passage_id"] = passages.language + ":" + passages["item"].astype(str)
    qrels = queries[["query_id", "passage_group"]].merge(passages[["passage_id", "passage_group"]], on="passage_group")
    return RetrievalTask(queries, passages, qrels.assign(relevance=1))
