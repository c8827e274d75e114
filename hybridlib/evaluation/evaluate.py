"""Evaluation: an encoder and a task become one tidy table of results, for all settings at once.

Settings, for a query in one language:

- *monolingual*: the passages of its own language;
- *cross-lingual*: the passages of one other language, for each;
- *multilingual*: the passages of all languages in one pool.

A query without a relevant passage in a pool takes no part in it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer

from hybridlib.data.passages import rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.streaming import stream_ranks
from hybridlib.metric.measures import DEFAULT_MEASURES, Rankings, is_multilingual, parse_measure
from hybridlib.metric.ranks import SIMILARITIES, Embeddings, Ranks, relevant_ranks
from hybridlib.names import SETTINGS

ALL_LANGUAGES = "all"


def evaluate(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    batch_tokens: int | None = None,
    precision: str | None = None,
    progress: bool | None = None,
    chunk_size: int = 16_384,
    checkpoint: str | Path | None = None,
    embeddings: str | Path | None = None,
) -> pd.DataFrame:
    """Evaluate an encoder on a task, in every setting that the task has.

    The encoder's own prompts and similarity are used, and nothing is added.

    Passages are embedded a chunk at a time, counted and forgotten: memory is O(N L + (Q + R + C) D) for Q queries, R
    distinct relevant passages, N relevant pairs, L languages and chunks of C passages, whatever the size of the corpus,
    if its passages are memory-mapped.

    Under torchrun, every process calls this with the same arguments and an encoder on its own device. Chunks are dealt
    to the processes in turn, and all return the same results: those of one process, if the encoder gives the same
    embeddings, which may take the same kind of device and number of threads.

    Args:
        encoder: any SentenceTransformer whose similarity is the cosine or the dot product.
        task: what to retrieve.
        measures: see `hybridlib.metric.measures.parse_measure`.
        batch_tokens: of the texts encoded at a time, padding included; as the device likes it unless given.
        precision: of the encoder's matrix products, `float32` or `bfloat16`; the latter on a GPU that has it unless
            given. See `hybridlib.encoder.embed.embed_texts`.
        progress: show passages per second and the time left. Unless given, on a terminal, after two seconds.
        chunk_size: passages embedded and counted at a time, C.
        checkpoint: a folder for the counts so far. The same evaluation, with any number of processes and any measures,
            goes on from there; what a kill costs is a chunk and ten seconds.
        embeddings: a folder to keep the embeddings of passages in, O(P D) on disk; those in it are not made again,
            whatever the queries.

    Returns:
        Results: a row for every (query, setting, passage language, measure), with the columns of
        `hybridlib.study.report.results.COLUMNS`. The passage language of the multilingual setting is `all`;
        `rank_distance` and `peer` exist in that setting only, and `peer` is NaN where it is undefined.

    Raises:
        ValueError: the encoder's similarity is another one, there is no such measure, or none in the settings of the
            task, an embedding is not finite, `batch_tokens` or `chunk_size` is below 1, there is no such precision, or
            a folder is of another evaluation.
    """
    similarity_of(encoder)
    functions = _functions(measures)  # encoding takes long: a wrong name is found before
    ranks = stream_ranks(
        encoder,
        task,
        batch_tokens=batch_tokens,
        precision=precision,
        chunk_size=chunk_size,
        progress=progress,
        checkpoint=Path(checkpoint) if checkpoint is not None else None,
        embeddings=Path(embeddings) if embeddings is not None else None,
    )
    return _results(ranks, task, functions)


def evaluate_embeddings(
    query_embeddings: Embeddings,
    passage_embeddings: Embeddings,
    task: RetrievalTask,
    *,
    similarity: str = "cosine",
    measures: Sequence[str] = DEFAULT_MEASURES,
    threads: int | None = None,
) -> pd.DataFrame:
    """Evaluate embeddings made elsewhere.

    Args:
        query_embeddings: rows in the order of `task.queries`. (Q, D)
        passage_embeddings: rows in the order of `task.passages`. (P, D)
        task: what to retrieve.
        similarity: `cosine` or `dot`.
        measures: see `hybridlib.metric.measures.parse_measure`.
        threads: worker threads; all cores unless given. Results do not depend on it.

    Returns:
        Results, as of `evaluate`.

    Raises:
        ValueError: the embeddings do not fit the task or each other or are not finite, or there is no such similarity
            or measure.
    """
    functions = _functions(measures)
    for name, rows, expected in (
        ("query_embeddings", len(query_embeddings), len(task.queries)),
        ("passage_embeddings", len(passage_embeddings), len(task.passages)),
    ):
        if rows != expected:
            raise ValueError(f"{name} has {rows} rows; the task has {expected}")
    ranks = relevant_ranks(
        query_embeddings, passage_embeddings, task.pairs, task.passage_languages, similarity=similarity, threads=threads
    )
    return _results(ranks, task, functions)


def similarity_of(encoder: SentenceTransformer) -> str:
    """The encoder's own similarity, `cosine` or `dot`.

    Raises:
        ValueError: it is another one.
    """
    similarity = str(encoder.similarity_fn_name)
    if similarity not in SIMILARITIES:
        raise ValueError(f"the encoder's similarity is {similarity!r}; allowed: {', '.join(SIMILARITIES)}")
    return similarity


def _functions(measures: Sequence[str]) -> dict[str, Callable[[Rankings], np.ndarray]]:
    if not len(measures):
        raise ValueError("measures is empty; expected at least one")
    return {name: parse_measure(name) for name in measures}


def _results(ranks: Ranks, task: RetrievalTask, functions: dict[str, Callable[[Rankings], np.ndarray]]) -> pd.DataFrame:
    codes = pd.Index([*task.languages, ALL_LANGUAGES])
    language = pd.Index(task.queries.language)
    query_codes = language.unique().sort_values()
    query_language = query_codes.get_indexer(language)  # (Q,)
    question, questions = pd.factorize(task.queries.question)  # (Q,)
    relevant, row = np.unique(ranks.passage, return_inverse=True)
    passage_language = codes.get_indexer(pd.Index(rows_of(task.passages, relevant).language))[row]  # (N,)
    # A language that has queries only is at -1, and no passage is in it.
    own = codes.get_indexer(language)[ranks.query] == passage_language
    in_language = 1 + ranks.above[np.arange(len(passage_language)), passage_language]
    in_all = 1 + ranks.above.sum(axis=1)
    gain = task.gains  # (N,)
    everyone = np.ones(len(own), dtype=bool)
    blocks = []
    for setting, rows, rank, pool in (
        ("monolingual", own, in_language, passage_language),
        ("cross-lingual", ~own, in_language, passage_language),
        ("multilingual", everyone, in_all, np.full(len(own), len(codes) - 1)),
    ):
        if setting not in task.settings or not rows.any():
            continue
        query, pool, rankings = _rankings(ranks.query[rows], pool[rows], rank[rows], gain[rows], passage_language[rows])
        for name, function in functions.items():
            if setting == "multilingual" or not is_multilingual(name):
                blocks.append((setting, name, query, pool, function(rankings)))
    if not blocks:
        raise ValueError(f"measures is {[*functions]}; no relevant pair has one in the settings {task.settings}")
    lengths = [len(block[2]) for block in blocks]
    query = np.concatenate([block[2] for block in blocks])
    return pd.DataFrame(
        {
            "query_id": pd.Categorical.from_codes(query, pd.Index(task.queries.query_id)),
            "question": pd.Categorical.from_codes(question[query], pd.Index(questions, tupleize_cols=False)),
            "query_language": pd.Categorical.from_codes(query_language[query], query_codes),
            "setting": _repeated([block[0] for block in blocks], lengths, SETTINGS),
            "passage_language": pd.Categorical.from_codes(np.concatenate([block[3] for block in blocks]), codes),
            "measure": _repeated([block[1] for block in blocks], lengths, list(functions)),
            "value": np.concatenate([block[4] for block in blocks]),
        }
    )


def _repeated(values: list[str], lengths: list[int], categories: Sequence[str]) -> Any:
    """Each value as often as its length says, without making a string for every row."""
    codes = pd.Index(categories).get_indexer(pd.Index(values))
    return pd.Categorical.from_codes(np.repeat(codes, lengths), pd.Index(categories))


def _rankings(
    query: np.ndarray, pool: np.ndarray, rank: np.ndarray, gain: np.ndarray, language: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Rankings]:
    """Sort relevant passages into rankings, one for every query and pool; the query and the pool of each come first."""
    order = np.lexsort((rank, pool, query))
    query, pool = query[order], pool[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (query[1:] != query[:-1]) | (pool[1:] != pool[:-1])
    return query[new], pool[new], Rankings(np.cumsum(new) - 1, rank[order], gain[order], language[order])
