"""The evaluation of an encoder on a task, which gives one tidy table of results for all settings at once.

The settings of a query in one language are:

- *monolingual*: it searches the passages of its own language;
- *cross-lingual*: it searches the passages of one other language, for each of them;
- *multilingual*: it searches the passages of all languages in one pool.

A query without a relevant passage in a pool takes no part in it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer

from hybridlib.data.passages import rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import EmbedOptions
from hybridlib.evaluation.streaming import stream_ranks
from hybridlib.metric.measures import DEFAULT_MEASURES, Rankings, is_multilingual, parse_measure
from hybridlib.metric.ranks import SIMILARITIES, Embeddings, Ranks, relevant_ranks
from hybridlib.names import SETTINGS

ALL_LANGUAGES = "all"

Measures = dict[str, Callable[[Rankings], np.ndarray]]


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
        `hybridlib.study.report.results.COLUMNS`. The passage language of the multilingual setting is `all`;
        `rank_distance` and `peer` exist in that setting only, and `peer` is NaN where it is undefined.

    Raises:
        ValueError: the encoder's similarity is another one, there is no such measure, no measure exists in the settings
            of the task, an embedding is not finite, `batch_tokens` or `chunk_size` is below 1, there is no such
            precision, or a folder is of another evaluation.
    """
    similarity_of(encoder)
    parsed = _parse_measures(measures)  # encoding takes long, so a wrong name is found before
    ranks = stream_ranks(
        encoder,
        task,
        chunk_size=chunk_size,
        progress=progress,
        checkpoint=Path(checkpoint) if checkpoint is not None else None,
        embeddings=Path(embeddings) if embeddings is not None else None,
        **options,
    )
    return _results(ranks, task, parsed)


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
    parsed = _parse_measures(measures)
    for name, rows, expected in (
        ("query_embeddings", len(query_embeddings), len(task.queries)),
        ("passage_embeddings", len(passage_embeddings), len(task.passages)),
    ):
        if rows != expected:
            raise ValueError(f"{name} has {rows} rows; the task has {expected}")
    ranks = relevant_ranks(
        query_embeddings, passage_embeddings, task.pairs, task.passage_languages, similarity=similarity, threads=threads
    )
    return _results(ranks, task, parsed)


def similarity_of(encoder: SentenceTransformer) -> str:
    """Return the encoder's own similarity, `cosine` or `dot`.

    Raises:
        ValueError: it is another one.
    """
    similarity = str(encoder.similarity_fn_name)
    if similarity not in SIMILARITIES:
        raise ValueError(f"the encoder's similarity is {similarity!r}; allowed: {', '.join(SIMILARITIES)}")
    return similarity


def _parse_measures(names: Sequence[str]) -> Measures:
    if not len(names):
        raise ValueError("measures is empty; expected at least one")
    return {name: parse_measure(name) for name in names}


class _Pairs(NamedTuple):
    """The relevant pairs of a setting, each with its rank in the pool that its query searches there."""

    query: np.ndarray  # row of the query. (N,)
    pool: np.ndarray  # number of the pool's language, L for all languages. (N,)
    rank: np.ndarray  # from 1. (N,)
    gain: np.ndarray  # (N,)
    language: np.ndarray  # number of the passage's language. (N,)


def _results(ranks: Ranks, task: RetrievalTask, measures: Measures) -> pd.DataFrame:
    """Compute every measure in every setting that has it."""
    pools = pd.CategoricalDtype([*task.languages, ALL_LANGUAGES])
    names, settings = pd.CategoricalDtype([*measures]), pd.CategoricalDtype([*SETTINGS])
    columns_of_queries = _columns_of_queries(task)
    blocks = []
    for setting, pairs in _pairs_by_setting(ranks, task):
        query, pool, rankings = _rankings(pairs)
        keys = {name: column[query] for name, column in columns_of_queries.items()}
        keys["setting"] = _constant(setting, len(query), settings)
        keys["passage_language"] = pd.Categorical.from_codes(pool, dtype=pools)
        for name, measure in measures.items():
            if setting == "multilingual" or not is_multilingual(name):
                named = _constant(name, len(query), names)
                blocks.append(pd.DataFrame({**keys, "measure": named, "value": measure(rankings)}))
    if not blocks:
        raise ValueError(f"measures is {[*measures]}; no relevant pair has one in the settings {task.settings}")
    return pd.concat(blocks, ignore_index=True)


def _columns_of_queries(task: RetrievalTask) -> dict[str, pd.Categorical]:
    """Return the columns that tell queries apart, with a row for every query of the task. (Q,)"""
    ids, (question, questions) = pd.Index(task.queries.query_id), pd.factorize(task.queries.question)
    return {
        "query_id": pd.Categorical.from_codes(np.arange(len(ids)), ids),
        "question": pd.Categorical.from_codes(question, pd.Index(questions, tupleize_cols=False)),
        "query_language": pd.Categorical(task.queries.language),
    }


def _constant(value: str, length: int, dtype: pd.CategoricalDtype) -> pd.Categorical:
    """Repeat a value without making a string for every row."""
    return pd.Categorical.from_codes(np.full(length, dtype.categories.get_loc(value)), dtype=dtype)


def _pairs_by_setting(ranks: Ranks, task: RetrievalTask) -> Iterator[tuple[str, _Pairs]]:
    """Yield the relevant pairs of each setting of the task that has any."""
    languages = pd.Index(task.languages)
    relevant, row = np.unique(ranks.passage, return_inverse=True)
    language = languages.get_indexer(pd.Index(rows_of(task.passages, relevant).language))[row]  # (N,)
    # A language that has queries only is numbered -1, and no passage is in it.
    own = languages.get_indexer(pd.Index(task.queries.language))[ranks.query] == language  # (N,)
    in_language = 1 + ranks.above[np.arange(len(language)), language]
    one_language = _Pairs(ranks.query, language, in_language, task.gains, language)
    all_languages = one_language._replace(pool=np.full(len(language), len(languages)), rank=1 + ranks.above.sum(axis=1))
    for setting, pairs, chosen in (
        ("monolingual", one_language, own),
        ("cross-lingual", one_language, ~own),
        ("multilingual", all_languages, np.ones(len(own), dtype=bool)),
    ):
        if setting in task.settings and chosen.any():
            yield setting, _Pairs(*(values[chosen] for values in pairs))


def _rankings(pairs: _Pairs) -> tuple[np.ndarray, np.ndarray, Rankings]:
    """Sort relevant pairs into rankings, one for every query and pool; return the query and the pool of each first."""
    order = np.lexsort((pairs.rank, pairs.pool, pairs.query))
    query, pool, rank, gain, language = (values[order] for values in pairs)
    new = np.ones(len(order), dtype=bool)
    new[1:] = (query[1:] != query[:-1]) | (pool[1:] != pool[:-1])
    return query[new], pool[new], Rankings(np.cumsum(new) - 1, rank, gain, language)
