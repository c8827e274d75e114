"""Ranks by a slow count over the whole float64 score matrix, and embeddings that make counting hard; for tests."""

import math

import numpy as np
import torch

from hybridlib.metric.ranks import RankCounter, relevant_ranks

U = 2.0**-24  # half the distance from 1 to the next larger float32
KINDS = ["normal", "few values", "duplicates", "near ties", "any norm"]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
# Half the distance from 1 to the next larger number, and the power of ten that norms may reach.
LIMITS = dict(zip(DTYPES, [(2.0**-11, 4), (2.0**-8, 30), (2.0**-24, 30), (2.0**-40, 130)], strict=True))


def slow_inner_products(queries, passages):
    """Sum in float64 and in the documented order: d is added to partial sum d % 32, then neighbours to each other."""
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


def slow_ranks(queries, passages, pairs, languages, similarity="cosine"):
    queries, passages = (e.double().numpy() if isinstance(e, torch.Tensor) else e for e in (queries, passages))
    return slow_above(slow_scores(queries, passages, similarity), pairs, languages, max(languages, default=0) + 1)


def check_ranks(queries, passages, pairs, languages, similarity="cosine", **options):
    """Compare ranks with those of the slow count, and return them."""
    above = relevant_ranks(queries, passages, pairs, languages, similarity=similarity, **options).above
    np.testing.assert_array_equal(above, slow_ranks(queries, passages, pairs, languages, similarity))
    return above


def draw_embeddings(rng, rows, dimensions, kind, *, step=U, exponent=30):
    """Draw near ties that are a few times `step` apart, and norms from 10^-exponent to its inverse."""
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


def draw_tensor(rng, rows, dimensions, kind, dtype):
    """Draw embeddings with norms that the type can hold, and near ties that are a few of its own steps apart."""
    step, exponent = LIMITS[dtype]
    return torch.from_numpy(draw_embeddings(rng, rows, dimensions, kind, step=step, exponent=exponent)).to(dtype)


def draw_pairs(rng, queries, passages, number):
    return np.column_stack([rng.integers(0, queries, number), rng.integers(0, passages, number)])


def count_in_chunks(queries, passages, pairs, languages, number_of_languages, edges, **options):
    """Count by a counter, one chunk for every two edges, in the order in which they come."""
    counter = RankCounter(queries, passages, pairs, np.arange(len(passages)), languages=number_of_languages, **options)
    for left, right in edges:
        counter.update(passages[left:right], languages[left:right], start=left)
    return counter.above


def draw_case(seed, queries, passages, dimensions, pairs, kind="normal", dtype=torch.float32, languages=2):
    """Draw queries, passages, pairs and the languages of the passages."""
    rng = np.random.default_rng(seed)
    q, p = (draw_tensor(rng, rows, dimensions, kind, dtype) for rows in (queries, passages))
    return q, p, draw_pairs(rng, queries, passages, pairs), rng.integers(0, languages, passages)
