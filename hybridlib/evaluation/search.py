"""Exact search for the passages nearest to a query, in one pool of all languages, as in the multilingual setting.

It ranks as `hybridlib.metric.ranks` does: faiss finds the passages whose float32 score could be among the best k, these
are scored in float64, and of equal scores the earlier passage of the task comes first.
"""

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer

from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import EmbedOptions, embed_texts
from hybridlib.evaluation.streaming import similarity_of
from hybridlib.metric.arguments import checked_array
from hybridlib.metric.bounds import error_bound
from hybridlib.metric.cpu_kernels import norms_of, pair_scores

Queries = str | Sequence[str] | pd.DataFrame


def search(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    queries: Queries | None = None,
    *,
    k: int = 5,
    progress: bool = False,
    **options: Unpack[EmbedOptions],
) -> pd.DataFrame:
    """Find the k passages nearest to each query among the passages of all languages.

    Args:
        encoder: any SentenceTransformer whose similarity is the cosine or the dot product; its own prompts are used.
        task: where to search.
        queries: a text, several texts, or rows of `task.queries`; all of these unless given.
        k: passages to find, at most as many as there are.
        progress: show progress bars while encoding.
        options: `batch_tokens` and `precision`; see `hybridlib.encoder.embed.embed_texts`.

    Returns:
        k rows for every query: `query` (its number, from 0), `rank` (from 1), `passage_id`, `language`, `score` (the
        encoder's similarity) and `text`. For queries of the task, `query_id` and `query_language` stand instead of
        `query`, and `relevant` says whether the passage is judged relevant.

    Raises:
        ValueError: the encoder's similarity is another one, `k` is out of range, there is no query or one of them is
            blank or not of the task, or an embedding is not finite.
    """
    cosine = similarity_of(encoder) == "cosine"  # encoding takes long, so a wrong argument is found before
    if not (isinstance(k, int | np.integer) and 1 <= k <= len(task.passages)):
        raise ValueError(f"k is {k}; allowed: whole numbers from 1 to {len(task.passages)}, the passages of the task")
    texts, asked = _texts_and_rows(task, task.queries if queries is None else queries)
    passages = embed_texts(encoder, task.passages.text.tolist(), progress=progress, **options)  # (P, D)
    embedded = embed_texts(encoder, texts, role="query", progress=progress, **options)  # (Q, D)
    passages, embedded = checked_array(passages, "passage_embeddings"), checked_array(embedded, "query_embeddings")
    scores, passage = _nearest(embedded, passages, k, cosine)  # (Q k,), (Q k,)
    query = np.repeat(np.arange(len(texts)), k)
    found = {
        "rank": np.tile(np.arange(1, k + 1), len(texts)),
        "passage_id": task.passages.passage_id.to_numpy()[passage],
        "language": pd.Categorical.from_codes(task.passage_languages[passage], pd.Index(task.languages)),
        "score": scores,
        "text": task.passages.text.to_numpy()[passage],
    }
    if asked is None:
        return pd.DataFrame({"query": query, **found})
    of_task = task.queries.iloc[asked[query]].reset_index(drop=True)
    keys = {"query_id": of_task.query_id, "query_language": of_task.language.astype("category")}
    a_pair = np.array([len(task.passages), 1])  # makes one number of a query's and a passage's row
    relevant = np.isin(np.column_stack([asked[query], passage]) @ a_pair, task.pairs @ a_pair)
    return pd.DataFrame({**keys, **found, "relevant": relevant})


def _texts_and_rows(task: RetrievalTask, queries: Queries) -> tuple[list[str], np.ndarray | None]:
    """Return the texts of the queries, and their rows in the task if they are of it. (Q,)"""
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


def _nearest(queries: np.ndarray, passages: np.ndarray, k: int, cosine: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact scores and the rows of the k nearest passages of each query. (Q, D), (P, D) -> (Q k,), (Q k,)"""
    import faiss  # brings a thread pool of its own, which only those who search should have

    norms, lengths = norms_of(queries), norms_of(passages)
    scale = lengths if cosine else np.ones(len(lengths))
    units = (queries / norms[:, None]).astype(np.float32)
    index = faiss.IndexFlatIP(passages.shape[1])
    # The error bound asks for norms of at most 1; for the dot product all passages are shrunk alike.
    index.add((passages / (lengths[:, None] if cosine else lengths.max())).astype(np.float32))
    # What is worse than the k-th by more than both scores can be wrong is not among the best k.
    lowest = index.search(units, k)[0][:, -1] - 2 * error_bound(passages.shape[1])  # (Q,)
    scores, found = [], []
    for row in range(len(queries)):
        _, _, near = index.range_search(units[row : row + 1], np.nextafter(lowest[row], np.float32(-np.inf)))
        exact = pair_scores(queries, passages, scale, np.full(len(near), row), near)
        best = np.lexsort((near, -exact))[:k]
        scores.append(exact[best] / (norms[row] if cosine else 1.0))
        found.append(near[best])
    return np.concatenate(scores), np.concatenate(found)


def language_shares(found: pd.DataFrame) -> pd.DataFrame:
    """Return the share of each language among the passages found, for the queries of each language.

    Where each language has as many relevant passages, an encoder without language bias finds all languages alike.

    Args:
        found: some rows that `search` returned for queries of a task, or all of them.

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
