"""Embeddings with the mean of their language taken off, which needs no training.

Much of what an encoder says of a text is its language: in a pool of several, a question then finds what is in its own
language. The mean embedding of some texts of a language is what they have in common, mostly the language. Taken off
all embeddings of that language, it leaves what tells them apart. The cosine takes care of their lengths. SHIFT (arXiv
2606.18801) is much the same: it takes off passages the difference between the means of their language and another.
"""

from collections.abc import Mapping
from typing import TypeAlias, Unpack

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer

from hybridlib.arguments import Count, checked, told
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.task import Roles
from hybridlib.encoder.embed import EmbedOptions, embed_texts
from hybridlib.sampler.availability import Segment

Means: TypeAlias = Mapping[str, np.ndarray]


@checked
def language_means(
    encoder: SentenceTransformer,
    corpus: ParallelCorpus,
    *,
    items: Count = 180,
    roles: Roles = ("query", "document"),
    **options: Unpack[EmbedOptions],
) -> Means:
    """Return the mean embedding of each language: of the questions and the passages of its first items, all alike.

    Args:
        encoder: embeds questions and passages with its own prompts.
        corpus: training data, with some items in each language.
        items: how many to take of each language, at most as many as there are: the first of those that exist in it.
        roles: those of questions and passages; those of the task whose embeddings are to be centred.
        options: `batch_tokens` and `precision`; see `hybridlib.encoder.embed.embed_texts`.

    Returns:
        The mean of each language that has an item. (D,)
    """
    means = {}
    for number, language in enumerate(corpus.languages):
        first = np.concatenate([_first_items(segment, number, items) for segment in corpus.availability.segments])
        texts = corpus.table[first[:items] * len(corpus.languages) + number]
        if texts["query"]:
            rows = [
                embed_texts(encoder, texts[column], role=role, **options)
                for column, role in zip(("query", "passage"), roles, strict=True)
            ]
            means[language] = np.concatenate(rows).mean(axis=0, dtype=np.float64).astype(np.float32)
    return means


def _first_items(segment: Segment, language: int, items: int) -> np.ndarray:
    """Return the numbers of the first items of a dataset that exist in a language."""
    k = np.arange(min(items, int(segment.count(language, language))))
    return segment.select(np.full_like(k, language), np.full_like(k, language), k)


def centre(embeddings: np.ndarray, languages: pd.Series, means: Means | None) -> np.ndarray:
    """Take the mean of its language off every embedding; without means, return them as they are.

    Args:
        embeddings: (N, D).
        languages: that of each embedding. (N,)
        means: as returned by `language_means`.

    Raises:
        ValueError: a language has no mean, or a mean is not finite or has not the dimensions of the embeddings.
    """
    if means is None:
        return embeddings
    missing = sorted(set(languages) - set(means))
    if missing:
        raise ValueError(f"means: {missing[0]!r} has none; there are those of {', '.join(means)}")
    for language, mean in means.items():
        if mean.shape != embeddings.shape[1:] or mean.dtype.kind != "f" or not np.isfinite(mean).all():
            allowed = f"finite floating-point numbers of shape {embeddings.shape[1:]}"
            raise ValueError(f"means: that of {language!r} is {told(mean)}; allowed: {allowed}")
    names = [*means]
    return embeddings - np.stack([*means.values()])[pd.Index(names).get_indexer(pd.Index(languages))]
