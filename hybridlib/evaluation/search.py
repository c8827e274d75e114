"""Exact search for the passages nearest to a query, in one pool of all languages, as in the multilingual setting.

It ranks as `hybridlib.metric.ranks` does: faiss finds the passages whose float32 score could be among the best k, these
are scored in float64, and of equal scores the earlier passage of the task comes first.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias, Unpack

import datasets
import numpy as np
import pandas as pd
from pydantic import SkipValidation
from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from hybridlib.arguments import Count, checked, listed, told
from hybridlib.data.checks import check_columns, check_rows, texts_wrong
from hybridlib.data.passages import checked_frame, columns_of, rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import EmbedOptions, embed_chunks, embed_texts
from hybridlib.evaluation.streaming import similarity_of
from hybridlib.metric.arguments import check_magnitudes, checked_array, checked_tensor, float_array, largest_magnitudes
from hybridlib.metric.bounds import error_bound
from hybridlib.metric.cpu.kernels import norms_of, pair_scores

Queries: TypeAlias = str | Iterable[str] | Mapping[str, Any] | pd.DataFrame

_CHUNK = 16_384  # passages that are embedded and searched at a time


@checked
def search(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    queries: Annotated[Queries | None, SkipValidation] = None,
    *,
    k: Count = 5,
    progress: bool = False,
    **options: Unpack[EmbedOptions],
) -> pd.DataFrame:
    """Find the k passages nearest to each query among the passages of all languages.

    Passages are embedded and searched a chunk at a time, so memory is O((Q + C) D + Q k) for chunks of C passages,
    however large the corpus is, as long as its passages are memory-mapped.

    Args:
        encoder: any SentenceTransformer whose similarity is the cosine or the dot product; its own prompts are used,
            for the roles of the task.
        task: where to search.
        queries: a text, several texts, or rows of `task.queries`, or one of these rows; all of them unless given. Rows
            are known by `query_id`; to search for another text than the task's, give the text alone.
        k: passages to find, at most as many as there are (less one if the task ignores identical ids).
        progress: show progress bars while encoding.
        options: `batch_tokens` and `precision`; see `hybridlib.encoder.embed.embed_texts`.

    Returns:
        k rows for every query: `query` (its number, from 0), `rank` (from 1), `passage_id`, `language`, `score` (the
        encoder's similarity) and `text`. For queries of the task, `query_id` and `query_language` stand instead of
        `query`, and `relevant` says whether the passage is judged relevant.

    Raises:
        ValueError: the encoder's similarity is another one, `k` is out of range, there is no query or one of them is
            blank, not of the task, or has another text or language there, or an embedding is not finite.
    """
    cosine = similarity_of(encoder) == "cosine"  # encoding takes long, so a wrong argument is found before
    texts, asked = _texts_and_rows(task, task.queries if queries is None else queries)
    most = len(task.passages) - (task.ignore_identical_ids and asked is not None)
    if k > most:
        raise ValueError(f"k is {k}; allowed: 1 to {most}, the passages of the task")
    embedded = embed_texts(encoder, texts, role=task.roles[0], progress=progress, **options)  # (Q, D)
    embedded = checked_array(embedded, "query_embeddings")
    query, passage, scores = _nearest(encoder, task, embedded, k + len(task.passages) - most, cosine, progress, options)
    found = rows_of(task.passages, passage)  # (Q (k + 1),)
    if task.ignore_identical_ids and asked is not None:
        other = found.passage_id.to_numpy() != task.queries.query_id.to_numpy()[asked[query]]
        kept = np.flatnonzero(other)
        kept = kept[pd.Series(query[kept]).groupby(query[kept]).cumcount() < k]
        query, passage, scores, found = (
            query[kept],
            passage[kept],
            scores[kept],
            found.iloc[kept].reset_index(drop=True),
        )
    columns = {
        "rank": np.tile(np.arange(1, k + 1), len(texts)),
        "passage_id": found.passage_id,
        "language": pd.Categorical(found.language, task.languages),
        "score": scores / norms_of(embedded)[query] if cosine else scores,
        "text": found.text,
    }
    if asked is None:
        return pd.DataFrame({"query": query, **columns})
    of_task = task.queries.iloc[asked[query]].reset_index(drop=True)
    keys = {"query_id": of_task.query_id, "query_language": of_task.language.astype("category")}
    a_pair = np.array([len(task.passages), 1])  # makes one number of a query's and a passage's row
    relevant = np.isin(np.column_stack([asked[query], passage]) @ a_pair, task.pairs @ a_pair)
    return pd.DataFrame({**keys, **columns, "relevant": relevant})


def _texts_and_rows(task: RetrievalTask, queries: Any) -> tuple[list[str], np.ndarray | None]:
    """Return the texts of the queries, and their rows in the task if they are of it. (Q,)"""
    if isinstance(queries, tuple) and hasattr(queries, "_asdict"):  # a row by itertuples
        queries = queries._asdict()
    if isinstance(queries, Mapping) or (isinstance(queries, pd.Series) and {"query_id", "text"} & {*queries.index}):
        queries = pd.DataFrame([dict(queries)])  # a row, whose cells are no queries
    in_table = isinstance(queries, pd.DataFrame | datasets.Dataset)
    texts = queries if in_table else listed(queries)
    if not in_table and not isinstance(texts, list):
        raise ValueError(f"queries is {told(queries)}; allowed: a text, several, or rows of task.queries")
    if not len(texts):
        raise ValueError("queries is empty; allowed: a text, several, or rows of task.queries")
    if not in_table:
        check_rows(texts_wrong(texts), texts, "queries", "a text that is not empty")
        return texts, None
    known = [column for column in ("text", "language") if column in columns_of(texts)]
    given = checked_frame(texts, "queries", ["query_id", *known])
    rows = pd.Index(task.queries.query_id).get_indexer(pd.Index(given.query_id))
    check_rows(rows < 0, given.query_id, "queries.query_id", "that of a query of the task")
    asked = task.queries.iloc[rows]
    for column in known:
        allowed = f"the {column} of this query in the task; to search for another text, give the text alone"
        check_rows(given[column].to_numpy() != asked[column].to_numpy(), given[column], f"queries.{column}", allowed)
    return asked.text.tolist(), rows


def _nearest(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    queries: np.ndarray,
    k: int,
    cosine: bool,
    progress: bool,
    options: EmbedOptions,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the query, the row and the exact score of the k nearest passages of each query, the nearest first. (Q k,)

    The scores are not divided by the norm of the query, which could make two of them equal.
    """
    starts = range(0, len(task.passages), _CHUNK)
    chunks = (rows_of(task.passages, slice(start, start + _CHUNK)).text.tolist() for start in starts)
    query, best, scores = (np.empty(0, dtype=kind) for kind in (np.int64, np.int64, np.float64))
    with tqdm(total=len(task.passages), desc="search", unit="passage", disable=not progress) as bar:
        for start, rows in zip(starts, embed_chunks(encoder, chunks, role=task.roles[1], **options), strict=True):
            passages = checked_tensor(rows, "passage_embeddings")
            check_magnitudes(largest_magnitudes(passages), "passage_embeddings", np.arange(start, start + len(rows)))
            of_query, near, exact = _nearest_of_chunk(queries, float_array(passages), k, cosine)
            query, best = np.concatenate([query, of_query]), np.concatenate([best, start + near])
            scores = np.concatenate([scores, exact])
            order = np.lexsort((best, -scores, query))
            order = order[pd.Series(query[order]).groupby(query[order]).cumcount() < k]
            query, best, scores = query[order], best[order], scores[order]
            bar.update(len(rows))
    return query, best, scores


def _nearest_of_chunk(
    queries: np.ndarray, passages: np.ndarray, k: int, cosine: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return at least the k nearest of some passages, (Q, D), (C, D) -> (N,), (N,), (N,)."""
    import faiss  # brings a thread pool of its own, which only those who search should have

    norms, lengths = norms_of(queries), norms_of(passages)
    units = (queries / norms[:, None]).astype(np.float32)
    index = faiss.IndexFlatIP(passages.shape[1])
    # The error bound asks for norms of at most 1; for the dot product all passages are shrunk alike.
    index.add((passages / (lengths[:, None] if cosine else lengths.max())).astype(np.float32))
    # What is worse than the k-th by more than both scores can be wrong is not among the best k.
    lowest = index.search(units, min(k, len(passages)))[0][:, -1] - 2 * error_bound(passages.shape[1])  # (Q,)
    found = []
    for row in range(len(queries)):
        _, _, near = index.range_search(units[row : row + 1], np.nextafter(lowest[row], np.float32(-np.inf)))
        found.append(near)
    query, near = np.repeat(np.arange(len(queries)), [*map(len, found)]), np.concatenate(found)
    scale = lengths if cosine else np.ones(len(lengths))
    return query, near, pair_scores(queries, passages, scale, query, near)


@checked
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
    check_columns("found", [*found.columns], ["query_language", "language"])
    counts = found.groupby(["query_language", "language"], observed=False).size().unstack("language")
    counts = counts[counts.sum(axis=1) > 0]
    return counts.div(counts.sum(axis=1), axis=0).rename_axis(columns="passage_language")
