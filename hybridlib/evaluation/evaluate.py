"""The evaluation of an encoder on a task, which gives one tidy table of results for all settings at once.

The settings are those of `hybridlib.evaluation.pairs`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import pandas as pd
from sentence_transformers import SentenceTransformer

from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import EmbedOptions
from hybridlib.evaluation.centred import Means
from hybridlib.evaluation.pairs import Measured, measured_of, results_of
from hybridlib.evaluation.rankings import parse_measures
from hybridlib.evaluation.streaming import similarity_of, stream_ranks
from hybridlib.metric.measures import DEFAULT_MEASURES
from hybridlib.metric.ranks import Embeddings, relevant_ranks


def evaluate(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    progress: bool | None = None,
    chunk_size: int = 16_384,
    checkpoint: str | Path | None = None,
    embeddings: str | Path | None = None,
    **options: Unpack[EmbedOptions],
) -> pd.DataFrame:
    """Evaluate an encoder on a task, in every setting that the task has.

    The encoder's own prompts and similarity are used, and nothing is added.

    Passages are embedded a chunk at a time, counted and forgotten. So memory is O(N L + (Q + R + C) D) for Q queries, R
    distinct relevant passages, N relevant pairs, L languages and chunks of C passages, however large the corpus is, as
    long as its passages are memory-mapped.

    Under torchrun, every process calls this with the same arguments and an encoder on its own device. The processes
    take chunks in turn, and all return the same results. These are the results of one process if the encoder gives the
    same embeddings, which may need the same kind of device and the same number of threads.

    Args:
        encoder: any SentenceTransformer whose similarity is the cosine or the dot product.
        task: what to retrieve.
        measures: see `hybridlib.metric.measures.parse_measure`.
        progress: show passages per second and the time left. Unless given, a terminal shows them after two seconds.
        chunk_size: passages embedded and counted at a time, C.
        checkpoint: a folder for the counts so far. The same evaluation, with any number of processes and any measures,
            goes on from there; a kill costs a chunk and ten seconds.
        embeddings: a folder to keep the embeddings of passages in, O(P D) on disk. An evaluation with any queries takes
            those that it finds there.
        options: `batch_tokens` and `precision`; see `hybridlib.encoder.embed.embed_texts`.

    Returns:
        Results: a row for every (query, setting, passage language, measure), with the columns of
        `hybridlib.study.report.results.COLUMNS`. The passage language of the multilingual setting is `all`.
        Measures of language bias exist in that setting only, and are NaN where they are undefined.

    Raises:
        ValueError: the encoder's similarity is another one, there is no such measure, no measure exists in the settings
            of the task, an embedding is not finite, `batch_tokens` or `chunk_size` is below 1, there is no such
            precision, or a folder is of another evaluation.
    """
    parse_measures(measures)  # encoding takes long, so a wrong name is found before
    measured = measure(
        encoder,
        task,
        progress=progress,
        chunk_size=chunk_size,
        checkpoint=checkpoint,
        embeddings=embeddings,
        **options,
    )
    return results_of(measured, measures)


def measure(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    *,
    means: Means | None = None,
    progress: bool | None = None,
    chunk_size: int = 16_384,
    checkpoint: str | Path | None = None,
    embeddings: str | Path | None = None,
    **options: Unpack[EmbedOptions],
) -> Measured:
    """Rank the relevant pairs of a task by an encoder.

    Args:
        encoder, task, progress, chunk_size, checkpoint, embeddings, options: see `evaluate`.
        means: taken off the embeddings of each language, if they are given; see `hybridlib.evaluation.centred`.

    Raises:
        ValueError: as `evaluate`, but for measures, or a language has no mean.
    """
    similarity_of(encoder)  # encoding takes long, so a wrong argument is found before
    ranks = stream_ranks(
        encoder,
        task,
        chunk_size=chunk_size,
        progress=progress,
        checkpoint=Path(checkpoint) if checkpoint is not None else None,
        embeddings=Path(embeddings) if embeddings is not None else None,
        means=means,
        **options,
    )
    return measured_of(ranks, task)


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
        Results, as returned by `evaluate`.

    Raises:
        ValueError: the embeddings do not fit the task or each other or are not finite, or there is no such similarity
            or measure.
    """
    parse_measures(measures)
    for name, rows, expected in (
        ("query_embeddings", len(query_embeddings), len(task.queries)),
        ("passage_embeddings", len(passage_embeddings), len(task.passages)),
    ):
        if rows != expected:
            raise ValueError(f"{name} has {rows} rows; the task has {expected}")
    ranks = relevant_ranks(
        query_embeddings, passage_embeddings, task.pairs, task.passage_languages, similarity=similarity, threads=threads
    )
    return results_of(measured_of(ranks, task), measures)
