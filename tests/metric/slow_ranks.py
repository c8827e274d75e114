"""Ranks by a slow count over the whole float64 score matrix, and embeddings that make counting hard; for tests."""

import math

import numpy as np

from hybridlib.metric.ranks import RankCounter

U = 2.0**-24  # half the distance from 1 to the next larger float32


def slow_inner_products(queries, passages):
    """In float64, in the documented order: d is added to partial sum d % 32, then neighbours to each other."""
    queries, passages = np.asarray(queries, dtype=np.float64), np.asarray(passages, dtype=np.float64)
    partial = np.zeros((32, len(queries), len(passages)))
    for d in range(queries.shape[1]):
        partial[d % 32] += queries[:, [d]] * passages[:, d]
    while len(partial) > 1:
        partial = partial[0::2] + partial[1::2]
    return partial[0]  # (Q, P)


def slow_scores(queries, passages, similarity):
    scores = slow_inner_products(queries, passages)
    if similarity == "dot":
        return scores
    norms = np.array([math.sqrt(slow_inner_products(row[None], row[None])[0, 0]) for row in np.asarray(passages)])
    return scores / np.where(norms == 0, 1, norms)


def slow_above(scores, pairs, languages, number_of_languages):
    """Sort nothing, skip nothing: compare every passage with the relevant one."""
    above = np.zeros((len(pairs), number_of_languages), dtype=int)
    for n, (query, relevant) in enumerate(pairs):
        for passage in range(scores.shape[1]):
            if passage == relevant:
                continue
            score, threshold = scores[query, passage], scores[query, relevant]
            if score > threshold or (score == threshold and passage < relevant):
                above[n, languages[passage]] += 1
    return above


def draw_embeddings(rng, rows, dimensions, kind, *, step=U, exponent=30):
    """Near ties are a few times `step` apart, and norms go from 10^-exponent to its inverse."""
    if kind == "few values":  # most scores are tied
        return rng.integers(-1, 2, (rows, dimensions)).astype(float)
    embeddings = rng.standard_normal((rows, dimensions))
    if kind == "duplicates":
        embeddings = embeddings[rng.integers(0, 1 + rows // 3, rows)]
    if kind == "near ties":
        embeddings = embeddings[0] * (1 + rng.integers(-3, 4, (rows, dimensions)) * step)
    if kind == "any norm":
        embeddings *= 10.0 ** rng.integers(-exponent, exponent + 1, (rows, 1))
        embeddings[rng.random(rows) < 0.2] = 0
    return embeddings


def draw_pairs(rng, queries, passages, number):
    return np.column_stack([rng.integers(0, queries, number), rng.integers(0, passages, number)])


def count_in_chunks(queries, passages, pairs, languages, number_of_languages, edges, **options):
    """The same through a counter, one chunk between every two edges, in the order in which the edges come."""
    counter = RankCounter(queries, passages, pairs, np.arange(len(passages)), languages=number_of_languages, **options)
    for left, right in edges:
        counter.update(passages[left:right], languages[left:right], start=left)
    return counter.above
