"""Search: what a user would see. The passages of all languages are one pool, as in the multilingual setting.

The search is exact, and its ranks are those of `hybridlib.metric.ranks`: faiss finds the passages whose float32 score
could be among the best k, these are scored in float64, and of equal scores the earlier passage of the task comes first.
So neither threads nor the order in which faiss sums or keeps ties are seen in what is found.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer
from threadpoolctl import threadpool_limits

from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import embed_texts
from hybridlib.evaluation.evaluate import similarity_of
from hybridlib.metric.arguments import checked_array
from hybridlib.metric.bounds import error_bound
from hybridlib.metric.cpu_kernels import norms_of, pair_scores

Queries = str | Sequence[str] | pd.DataFrame | None

# Candidates beyond k that are asked for at first, and how many are held at a time, of all queries together.
_SPARE = 16
_MOST_CANDIDATES = 2**20


class Index:
    """The passages of a task, encoded once, to be searched for many queries.

    Memory is O(P D) for the passages, held twice, and while searching O(Q D) and O(Q k) for what is found.

    Args:
        encoder: any SentenceTransformer whose similarity is the cosine or the dot product; its own prompts are used.
        task: where to search.
        batch_tokens, precision: as of `hybridlib.encoder.embed.embed_texts`.
        progress: show progress bars while encoding.

    Raises:
        ValueError: the encoder's similarity is another one, or an embedding is not finite, `batch_tokens` is below 1,
            or there is no such precision.
    """

    def __init__(
        self,
        encoder: SentenceTransformer,
        task: RetrievalTask,
        *,
        batch_tokens: int | None = None,
        precision: str | None = None,
        progress: bool = False,
    ) -> None:
        import faiss  # brings a thread pool of its own, which only those who search should have

        self._cosine = similarity_of(encoder) == "cosine"
        self._encoder, self._task = encoder, task
        self._embed: dict[str, Any] = {"batch_tokens": batch_tokens, "precision": precision, "progress": progress}
        encoded = embed_texts(encoder, task.passages.text.tolist(), role="document", **self._embed)
        self._passages = checked_array(encoded, "passage_embeddings")  # (P, D)
        norms = norms_of(self._passages)
        self._scale = norms if self._cosine else np.ones(len(norms))
        # The error bound asks for norms of at most 1; for the dot product all passages are shrunk alike.
        shrink = norms if self._cosine else np.full(len(norms), norms.max())
        self._index = faiss.IndexFlatIP(self._passages.shape[1])
        self._index.add((self._passages / shrink[:, None]).astype(np.float32))

    def search(self, queries: Queries = None, *, k: int = 5) -> pd.DataFrame:
        """Find the k passages nearest to each query, as `search` does."""
        task = self._task
        texts, asked = _asked(task, queries, k)
        encoded = embed_texts(self._encoder, texts, role="query", **self._embed)
        scores, found = self._nearest(checked_array(encoded, "query_embeddings"), k)  # (Q, k), (Q, k)
        query, passage = np.repeat(np.arange(len(texts)), k), found.ravel()
        if asked is None:
            columns: dict[str, Any] = {"query": query}
        else:
            of_task = task.queries.iloc[asked[query]].reset_index(drop=True)
            columns = {"query_id": of_task.query_id, "query_language": of_task.language.astype("category")}
        columns |= {
            "rank": np.tile(np.arange(1, k + 1), len(texts)),
            "passage_id": task.passages.passage_id.to_numpy()[passage],
            "language": pd.Categorical.from_codes(task.passage_languages[passage], pd.Index(task.languages)),
            "score": scores.ravel(),
            "text": task.passages.text.to_numpy()[passage],
        }
        if asked is not None:
            pair, size = task.pairs, len(task.passages)
            columns["relevant"] = np.isin(asked[query] * size + passage, pair[:, 0] * size + pair[:, 1])
        return pd.DataFrame(columns)

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Exact scores and rows of the k nearest passages, best first. (Q, D) -> (Q, k), (Q, k)"""
        norms, passages = norms_of(queries), len(self._passages)
        units = (queries / norms[:, None]).astype(np.float32)
        scores, found = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
        waiting, depth = np.arange(len(queries)), min(k + _SPARE, passages)
        while len(waiting):
            settled = np.zeros(len(waiting), dtype=bool)
            step = max(1, _MOST_CANDIDATES // depth)
            for begin in range(0, len(waiting), step):
                rows = waiting[begin : begin + step]
                # As many threads as torch has, which a process among others may have limited.
                with threadpool_limits(torch.get_num_threads()):
                    near, candidates = self._index.search(units[rows], depth)  # (C, depth), (C, depth)
                # What was not found is surely worse than k that were, if the last is by twice the error of a score.
                enough = near[:, k - 1] - near[:, -1] > 2 * error_bound(queries.shape[1])
                enough |= depth == passages
                settled[begin : begin + step] = enough
                scores[rows[enough]], found[rows[enough]] = self._best(queries, rows[enough], candidates[enough], k)
            waiting, depth = waiting[~settled], min(4 * depth, passages)
        return scores / norms[:, None] if self._cosine else scores, found

    def _best(
        self, queries: np.ndarray, rows: np.ndarray, candidates: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of the candidates of some queries, the k best in float64, earlier passages first. (C, k), (C, k)"""
        row = np.repeat(rows, candidates.shape[1])
        scores = pair_scores(queries, self._passages, self._scale, row, candidates.ravel()).reshape(candidates.shape)
        order = np.lexsort((candidates, -scores))[:, :k]  # (C, k)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(candidates, order, axis=1)


def search(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    queries: Queries = None,
    *,
    k: int = 5,
    batch_tokens: int | None = None,
    precision: str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Find the k passages nearest to each query among the passages of all languages.

    To search again without encoding the passages again, keep an `Index`.

    Args:
        encoder: any SentenceTransformer whose similarity is the cosine or the dot product; its own prompts are used.
        task: where to search.
        queries: a text, several texts, or rows of `task.queries`; all of these unless given.
        k: passages to find, at most as many as there are.
        batch_tokens, precision: as of `hybridlib.encoder.embed.embed_texts`.
        progress: show progress bars while encoding.

    Returns:
        k rows for every query: `query` (its number, from 0), `rank` (from 1), `passage_id`, `language`, `score` (the
        encoder's similarity) and `text`. For queries of the task, `query_id` and `query_language` stand instead of
        `query`, and `relevant` says whether the passage is judged so.

    Raises:
        ValueError: the encoder's similarity is another one, `k` is out of range, there is no query or one of them is
            blank or not of the task, or an embedding is not finite.
    """
    _asked(task, queries, k)  # encoding takes long: a wrong argument is found before
    index = Index(encoder, task, batch_tokens=batch_tokens, precision=precision, progress=progress)
    return index.search(queries, k=k)


def language_shares(found: pd.DataFrame) -> pd.DataFrame:
    """Which languages the passages found are in, for the queries of each language.

    An encoder without language bias finds all languages alike, where each has as many relevant passages.

    Args:
        found: what a search for queries of a task has found, or some rows of it.

    Returns:
        A row for every query language in `found` and a column for every language of the task; rows sum to 1.

    Raises:
        ValueError: the queries were not those of a task.

    >>> languages = pd.Categorical(["en", "en", "de", "en"], categories=["de", "en", "sw"])
    >>> language_shares(pd.DataFrame({"query_language": ["en", "en", "sw", "sw"], "language": languages}))
    passage_language   de   en   sw
    query_language
    en                0.0  1.0  0.0
    sw                0.5  0.5  0.0
    """
    if "query_language" not in found:
        raise ValueError(f"found lacks the column 'query_language'; it has {list(found.columns)}")
    counts = found.groupby(["query_language", "language"], observed=False).size().unstack("language")
    counts = counts[counts.sum(axis=1) > 0]
    return counts.div(counts.sum(axis=1), axis=0).rename_axis(columns="passage_language")


def _asked(task: RetrievalTask, queries: Queries, k: int) -> tuple[list[str], np.ndarray | None]:
    """Texts of the queries, and their rows in the task if they are of it. (Q,)"""
    if not (isinstance(k, int | np.integer) and 1 <= k <= len(task.passages)):
        raise ValueError(f"k is {k}; allowed: whole numbers from 1 to {len(task.passages)}, the passages of the task")
    if queries is None:
        queries = task.queries
    if len(queries) == 0:
        raise ValueError("queries is empty; expected a text, several, or rows of task.queries")
    if isinstance(queries, pd.DataFrame):
        if "query_id" not in queries:
            raise ValueError(f"queries lacks the column 'query_id'; it has {list(queries.columns)}")
        rows = pd.Index(task.queries.query_id).get_indexer(pd.Index(queries.query_id))
        if (rows < 0).any():
            raise ValueError(f"queries: {queries.query_id.iloc[int(np.argmin(rows))]!r} is no query of the task")
        return task.queries.text.iloc[rows].tolist(), rows
    texts = [queries] if isinstance(queries, str) else list(queries)
    for number, text in enumerate(texts):
        if not (isinstance(text, str) and text.strip()):
            raise ValueError(f"queries: number {number} is {text!r}; expected a text")
    return texts, None
