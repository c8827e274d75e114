"""The evaluation of an encoder on a task, which gives one tidy table of results for all settings at once.

The settings are those of `hybridlib.evaluation.pairs`.
"""

import logging
from pathlib import Path
from typing import Annotated, Unpack

import numpy as np
import pandas as pd
from pydantic import SkipValidation
from sentence_transformers import SentenceTransformer

from hybridlib.arguments import Count, FilePath, Names, checked
from hybridlib.data.passages import rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import EmbedOptions
from hybridlib.encoder.reading import cut_share, fit_length, limit_of, prompt_of
from hybridlib.evaluation.centred import Means
from hybridlib.evaluation.pairs import Measured, measured_of, results_of
from hybridlib.evaluation.rankings import parse_measures
from hybridlib.evaluation.streaming import similarity_of, stream_ranks
from hybridlib.metric.arguments import checked_tensor
from hybridlib.metric.measures import DEFAULT_MEASURES
from hybridlib.metric.ranks import Embeddings, relevant_ranks

logger = logging.getLogger(__name__)

_SAMPLE = 1000  # passages
_CUT = 0.01  # more than this share of texts that are cut is a warning


@checked
def evaluate(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    *,
    measures: Names = DEFAULT_MEASURES,
    progress: bool | None = None,
    chunk_size: Count = 16_384,
    checkpoint: FilePath | None = None,
    embeddings: FilePath | None = None,
    **options: Unpack[EmbedOptions],
) -> pd.DataFrame:
    """Evaluate an encoder on a task, in every setting that the task has.

    The encoder's own prompts, for the roles of the task, and its own similarity are used, and nothing is added. The log
    says which prompts these are, at the level INFO.

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
            of the task, an embedding is not finite, an argument is out of range, or a folder is of another evaluation
            or cannot be read.
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


@checked
def measure(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    *,
    means: Means | None = None,
    progress: bool | None = None,
    chunk_size: Count = 16_384,
    checkpoint: FilePath | None = None,
    embeddings: FilePath | None = None,
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
    fit_length(encoder)
    _tell_of_reading(encoder, task)
    ranks = stream_ranks(
        encoder,
        task,
        chunk_size=chunk_size,
        progress=progress,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        embeddings=None if embeddings is None else Path(embeddings),
        means=means,
        **options,
    )
    return measured_of(ranks, task)


def prompts_in_force(encoder: SentenceTransformer, task: RetrievalTask) -> dict[str, str]:
    """Return what an encoder puts before the `queries` and the `passages` of a task; an empty text is no prompt."""
    return {
        side: prompt_of(encoder, role) or "" for side, role in zip(("queries", "passages"), task.roles, strict=True)
    }


def _tell_of_reading(encoder: SentenceTransformer, task: RetrievalTask) -> None:
    """Log what stands before texts and what share of them is cut, as told by some passages at even distances."""
    prompts = prompts_in_force(encoder, task)
    some = np.unique(np.linspace(0, len(task.passages) - 1, _SAMPLE, dtype=np.int64))
    for side, texts, role in zip(
        prompts, (task.queries.text, rows_of(task.passages, some).text), task.roles, strict=True
    ):
        cut, most = cut_share(encoder, texts.tolist(), role=role), limit_of(encoder, role)
        level = logging.WARNING if cut > _CUT else logging.INFO
        told = "%s: the prompt is %r; %.1f %% of the texts have more than %s tokens and are cut"
        logger.log(level, told, side, prompts[side], 100 * cut, most)


@checked
def evaluate_embeddings(
    query_embeddings: Annotated[Embeddings, SkipValidation],
    passage_embeddings: Annotated[Embeddings, SkipValidation],
    task: RetrievalTask,
    *,
    similarity: str = "cosine",
    measures: Names = DEFAULT_MEASURES,
    threads: Count | None = None,
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
    queries = checked_tensor(query_embeddings, "query_embeddings")
    passages = checked_tensor(passage_embeddings, "passage_embeddings")
    for name, rows, table in (
        ("query_embeddings", queries, task.queries),
        ("passage_embeddings", passages, task.passages),
    ):
        if len(rows) != len(table):
            raise ValueError(f"{name} has {len(rows)} rows; the task has {len(table)}")
    ranks = relevant_ranks(
        queries, passages, task.ranked, task.passage_languages, similarity=similarity, threads=threads
    )
    return results_of(measured_of(ranks, task), measures)
