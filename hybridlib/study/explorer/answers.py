"""Answers of encoders: all passages of all languages ranked for one question, exactly.

The ranking is that of `hybridlib.evaluation.search` and `hybridlib.metric.ranks`: scores are computed in float64, and
of equal ones the earlier passage of the task comes first. Texts that are equal are embedded once, so they are tied.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer

from hybridlib.arguments import Count, FilePath, Name, Text, checked, told
from hybridlib.data.passages import rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import embed_texts
from hybridlib.encoder.reading import precision_of
from hybridlib.evaluation.checkpoint import DAMAGED, records_of_folders
from hybridlib.evaluation.streaming import similarity_of
from hybridlib.files import replacing
from hybridlib.metric.cpu.kernels import norms_of, pair_scores
from hybridlib.names import Role

logger = logging.getLogger(__name__)


class Asked(NamedTuple):
    """A question that is asked.

    Attributes:
        language: in which it is asked; empty where that is not known.
        text: what is asked.
        row: that of the question in the task, or -1 where it is none of the task.
        english: the same question in English, for those who do not read the language; empty where there is none.
    """

    language: str
    text: str
    row: int = -1
    english: str = ""


@dataclass(frozen=True, eq=False)
class Ranking:
    """All passages of a task, ranked for a question.

    Attributes:
        order: rows of the passages, the nearest first. (P,)
        scores: of the passages, by the encoder's similarity, in the order of the task. (P,)
    """

    order: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Shelf:
    """A task as an encoder sees it: the embeddings of its queries and passages.

    Attributes:
        encoder: it embeds further questions.
        task: what was embedded.
        queries, passages: the embeddings, float32. (Q, D), (P, D)
    """

    encoder: SentenceTransformer
    task: RetrievalTask
    queries: np.ndarray
    passages: np.ndarray
    _typed: dict[str, np.ndarray] = field(default_factory=dict)
    _scale: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        cosine = similarity_of(self.encoder) == "cosine"
        object.__setattr__(self, "_scale", norms_of(self.passages) if cosine else np.ones(len(self.passages)))

    @classmethod
    def embed(
        cls, encoder: SentenceTransformer, task: RetrievalTask, folder: Path | None = None, *, progress: bool = False
    ) -> Self:
        """Embed a task, or read the embeddings that a folder keeps of it.

        Args:
            encoder: any SentenceTransformer whose similarity is the cosine or the dot product.
            task: what to embed.
            folder: keeps the embeddings of any number of encoders and tasks, a file for each.
            progress: show progress bars.

        Raises:
            ValueError: the encoder's similarity is another one.
        """
        similarity_of(encoder)  # embedding takes long, so a wrong one is found before
        path = folder and folder / f"{_digest(encoder, task)}.npz"
        if path and (kept := _kept(path)):
            return cls(encoder, task, *kept)
        role_of_queries, role_of_passages = task.roles
        queries = _embed(encoder, task.queries.text, role_of_queries, progress)
        passages = _embed(encoder, rows_of(task.passages, slice(None)).text, role_of_passages, progress)
        if path:
            with replacing(path) as draft:
                np.savez(draft, queries=queries, passages=passages)
        return cls(encoder, task, queries, passages)

    def rank(self, asked: Asked) -> Ranking:
        """Rank all passages for a question; one that is none of the task is embedded when it is first asked."""
        query = self.queries[asked.row] if asked.row >= 0 else self._embedding_of(asked.text)
        rows = np.arange(len(self.passages))
        scores = pair_scores(query[None], self.passages, self._scale, np.zeros_like(rows), rows)
        order = np.argsort(-scores, kind="stable")
        # Dividing by the norm of the query could make two scores equal, so it is done when they are ranked.
        norm = norms_of(query[None])[0] if similarity_of(self.encoder) == "cosine" else 1.0
        return Ranking(order, scores / norm)

    def _embedding_of(self, text: str) -> np.ndarray:
        if text not in self._typed:
            self._typed[text] = embed_texts(self.encoder, [text], role=self.task.roles[0])[0]
        return self._typed[text]


@checked
def embed_all(
    encoders: Mapping[str, SentenceTransformer],
    task: RetrievalTask,
    folder: FilePath | None = None,
    *,
    progress: bool = False,
) -> dict[str, Shelf]:
    """Embed a task with several encoders, or read what a folder keeps of it; see `Shelf.embed`."""
    place = None if folder is None else Path(folder)
    return {label: Shelf.embed(one, task, place, progress=progress) for label, one in encoders.items()}


@checked
def ask(task: RetrievalTask, language: Name, question: Text = "") -> Asked:
    """Return a question of a task as it is asked in a language.

    Args:
        task: it has the question.
        language: that in which it is asked.
        question: a `question` of the task, which is the same in all languages; the first one if empty.

    Raises:
        ValueError: the task has no such question in that language.
    """
    rows = np.flatnonzero(task.queries.language == language)
    if not len(rows):
        raise ValueError(f"language is {told(language)}; allowed: {', '.join(sorted(set(task.queries.language)))}")
    names = task.queries.question.iloc[rows]
    rows = rows[(names == (question or names.iloc[0])).to_numpy()]
    if not len(rows):
        raise ValueError(f"question is {told(question)}; allowed in {language}: {told(names.tolist())}")
    row = int(rows[0])
    same = (task.queries.question == task.queries.question.iloc[row]) & (task.queries.language == "en")
    english = "" if language == "en" else "".join(task.queries.text[same][:1])
    return Asked(language, str(task.queries.text.iloc[row]), row, english)


def texts_of(task: RetrievalTask, questions: Iterable[str], language: str) -> dict[str, str]:
    """Return the texts of questions in a language, by name; where they are not asked in it, in another one.

    Args:
        task: it has the questions.
        questions: their names, the `question` of the task.
        language: the one to take if possible.
    """
    rows = task.queries[task.queries.question.isin(set(questions))]
    rows = rows.assign(other=rows.language != language).sort_values("other", kind="stable").drop_duplicates("question")
    return dict(zip(rows.question, rows.text, strict=True))


@checked
def relevant_to(task: RetrievalTask, asked: Asked) -> np.ndarray:
    """Return the rows of the passages that are relevant to a question; none are known where it is not of the task."""
    return task.pairs[task.pairs[:, 0] == asked.row, 1] if asked.row >= 0 else np.empty(0, dtype=np.int64)


@checked
def first_passages(task: RetrievalTask, ranking: Ranking, asked: Asked, k: Count = 10) -> pd.DataFrame:
    """List the first passages of a ranking.

    Returns:
        k rows, or as many as there are passages: `rank` (from 1), `passage_id`, `language`, `score`, `relevant` and
        `text`.
    """
    rows = ranking.order[:k]
    found = rows_of(task.passages, rows)
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(rows) + 1),
            "passage_id": found.passage_id,
            "language": pd.Categorical(found.language, task.languages),
            "score": ranking.scores[rows],
            "relevant": np.isin(rows, relevant_to(task, asked)),
            "text": found.text,
        }
    )


@checked
def language_ranks(task: RetrievalTask, ranking: Ranking, asked: Asked) -> pd.Series:
    """Return the rank of the best relevant passage of each language, from 1, in the order of their codes.

    A language without a relevant passage is left out.
    """
    places = np.empty(len(ranking.order), dtype=np.int64)
    places[ranking.order] = np.arange(1, len(places) + 1)
    rows = relevant_to(task, asked)
    languages = np.array(task.languages)[task.passage_languages[rows]]
    return pd.Series(places[rows], name="rank").groupby(languages).min().rename_axis("language")


def _kept(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the embeddings of queries and passages from a file; nothing where it is not there or was damaged."""
    if not path.exists():
        return None
    try:
        with np.load(path) as kept:
            return kept["queries"], kept["passages"]
    except DAMAGED as error:
        logger.warning("%s cannot be read (%s), and is made again", path, str(error)[:200])
        return None


def _embed(encoder: SentenceTransformer, texts: pd.Series, role: Role, progress: bool) -> np.ndarray:
    """Embed texts, equal ones once. (texts, D)"""
    numbers, distinct = pd.factorize(texts)
    return embed_texts(encoder, list(distinct), role=role, progress=progress)[numbers]


def _digest(encoder: SentenceTransformer, task: RetrievalTask) -> str:
    """Return a digest of all that the embeddings of a task depend on."""
    place = Path("counts")  # nothing is written there
    records = records_of_folders(encoder, task, 1, precision_of(encoder, None), checkpoint=place, embeddings=None)
    return hashlib.sha256(json.dumps([*records.values()], sort_keys=True).encode()).hexdigest()[:20]
