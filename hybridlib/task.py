"""Evaluation data: queries, passages and which is relevant to which."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from hybridlib.atlas import SPLITS, atlas_facts, atlas_paraphrases, atlas_texts
from hybridlib.corpus import check_split
from hybridlib.lareqa import LareqaData, read_xquad_r, split_articles
from hybridlib.names import BY_LANGUAGE, LANGUAGES, SETTINGS, TASKS
from hybridlib.sources import module_of

_COLUMNS = {
    "queries": ["query_id", "language", "text"],
    "passages": ["passage_id", "language", "text"],
    "qrels": ["query_id", "passage_id", "relevance"],
}


@dataclass(frozen=True)
class RetrievalTask:
    """A retrieval task as everywhere in the field: three tables.

    Attributes:
        queries: `query_id`, `language`, `text`, and `question`, which is the same for one question in several languages
            (anything that can be hashed; the `query_id` if the table has none).
        passages: `passage_id`, `language`, `text`; their order settles ties.
        qrels: `query_id`, `passage_id`, `relevance` above 0; what is not listed is not relevant.
        settings: those that apply.

    Raises:
        ValueError: a column or a question is missing, an id comes twice or is unknown, or no passage is relevant to
            anything.
    """

    queries: pd.DataFrame
    passages: pd.DataFrame
    qrels: pd.DataFrame
    settings: tuple[str, ...] = SETTINGS

    def __post_init__(self) -> None:
        for name, columns in _COLUMNS.items():
            table = getattr(self, name)
            missing = [column for column in columns if column not in table]
            if missing:
                raise ValueError(f"{name} lacks the column {missing[0]!r}; it has {list(table.columns)}")
            if name == "queries":
                table = table if "question" in table else table.assign(question=table.query_id)
                columns = [*columns, "question"]
            object.__setattr__(self, name, table[columns].reset_index(drop=True))
        nameless = self.queries.query_id[self.queries.question.isna()]
        if len(nameless):
            raise ValueError(f"queries: the question of {nameless.iloc[0]} is missing")
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
        return RetrievalTask(queries, passages, self.qrels[known], self.settings)


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
        name: `atlas`, `atlas-paraphrased`, `atlas-partial` (all embedded) or `xquad-r`. In the second every fact is
            told by one to three passages in each language, so that several are relevant to a query, as in MIRACL; in
            the third every fact exists in English and one to three other languages only, as in MLQA-R.
        split: for the embedded ones, `validation` or `test` (the default), or `train`; the pool holds the passages of
            all facts. For `xquad-r`, `test` takes the articles that `load_corpus("xquad-r")` leaves out; all articles
            unless given, which is the benchmark as published.
        languages: those to take; all of them unless given.
        paragraphs: for `xquad-r`, whether a passage is the sentence followed by its paragraph.
        seed: chooses the split, as in `load_corpus`.

    Raises:
        ValueError: an argument names something that does not exist; the message lists what does.
        FileNotFoundError: a data file is missing.

    >>> load_task("atlas", languages=["th", "en"]).languages
    ['en', 'th']
    """
    family, slash, language = name.partition("/")
    if family not in TASKS or (slash and family not in BY_LANGUAGE):
        raise ValueError(
            f"task is {name!r}; allowed: {', '.join(TASKS)}, and {'/<language>, '.join(BY_LANGUAGE)}/<language>"
        )
    if paragraphs and family not in ("xquad-r", "mlqa-r"):
        raise ValueError(
            f"paragraphs is True; allowed for xquad-r and mlqa-r, whose passages are sentences, not {name}"
        )
    if name.startswith("atlas"):
        task = _atlas(name, "test" if split is None else split, seed)
    elif family not in ("xquad-r", "mlqa-r"):
        if split is not None:
            raise ValueError(f"split is {split!r}; {name} has none: allowed is None")
        if slash and languages is not None:
            raise ValueError(f"languages is {list(languages)}; task {name!r} names its language already")
        return module_of(family).read_task(family, [language] if slash else languages)
    else:
        data = read_xquad_r(paragraphs=paragraphs)
        if split is not None:
            data = data.of_articles(split_articles(data, seed)[check_split(split, ("train", "test"))])
        task = task_from_lareqa(data)
    return task.restrict(languages) if languages is not None else task


def question_domains(name: str, *, seed: int = 0) -> pd.Series:
    """The domain of every test question of a task, by question.

    Raises:
        ValueError: the task has no domains.
    """
    if not name.startswith("atlas"):
        raise ValueError(f"task is {name!r}; allowed, as they have domains: {', '.join(TASKS[:3])}")
    facts = atlas_facts(seed)
    return facts[facts.split == "test"].set_index("fact").domain


def task_from_lareqa(data: LareqaData) -> RetrievalTask:
    """A task of files in LAReQA's format: every question of every language, to be answered in every language.

    Args:
        data: what `read_lareqa` has read.
    """
    return RetrievalTask(data.queries, data.passages, data.qrels)


def _atlas(name: str, split: str, seed: int) -> RetrievalTask:
    facts = atlas_facts(seed)
    texts = atlas_texts(facts, seed)
    if name == "atlas-partial":
        texts = texts[_partial(len(facts), seed)]
    told = atlas_paraphrases(facts, seed) if name == "atlas-paraphrased" else texts
    asked = texts.fact.isin(facts.fact[facts.split == check_split(split, SPLITS)])
    queries = texts[asked].sort_values("language", kind="stable").rename(columns={"query": "text"})
    queries["query_id"] = queries.language + ":" + queries.fact
    passages = told.sort_values("language", kind="stable").rename(columns={"passage": "text"})
    passages["passage_id"] = passages.language + ":" + passages.fact
    if name == "atlas-paraphrased":
        passages["passage_id"] += ":" + passages.number.astype(str)
    qrels = queries[["query_id", "fact"]].merge(passages[["passage_id", "fact"]], on="fact")
    return RetrievalTask(queries.rename(columns={"fact": "question"}), passages, qrels.assign(relevance=1))


def _partial(facts: int, seed: int) -> np.ndarray:
    """Which facts exist in which language: English and, drawn for each fact, one to three others. (facts * L,)"""
    rng = np.random.default_rng([seed, 3])
    order = np.argsort(rng.random((facts, len(LANGUAGES))), axis=1)
    exists = np.zeros((facts, len(LANGUAGES)), dtype=bool)
    english = LANGUAGES.index("en")
    for row, (languages, others) in enumerate(zip(order, rng.integers(1, 4, facts), strict=True)):
        exists[row, [english, *[code for code in languages if code != english][:others]]] = True
    return exists.ravel()
