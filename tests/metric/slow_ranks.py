"""Ranks by a slow count over the whole float64 score matrix, and embeddings that make counting hard; for tests."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch

from hybridlib.metric import ranks
from hybridlib.metric.cpu.counts import CpuCounts
from hybridlib.metric.gpu import counts as gpu
from hybridlib.metric.gpu.counts import GpuCounts
from hybridlib.metric.ranks import RankCounter, relevant_ranks

KINDS = ["normal", "few values", "duplicates", "near ties", "any norm"]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
HALVES = DTYPES[:2]
# Half the distance from 1 to the next larger number, and the power of ten that norms may reach.
LIMITS = dict(zip(DTYPES, [(2.0**-11, 4), (2.0**-8, 30), (2.0**-24, 30), (2.0**-40, 130)], strict=True))


@contextmanager
def counting(*, kernels):
    """Count with the kernels, compiled where there is a GPU and else by Triton's interpreter; or count on the CPU."""

    def counts_on(device, pairs, threads):
        return GpuCounts(pairs, device=DEVICE) if kernels else CpuCounts(pairs, threads=threads)

    small = {"BLOCK_Q": 16, "BLOCK_P": 16, "BLOCK_K": 16}  # which the interpreter is quick with
    with mock.patch.object(ranks, "_counts_on", counts_on), mock.patch.object(gpu, "TILE", small):
        yield


def slow_sums(products):
    """Sum in the documented order: d is added to partial sum d % 32, then neighbours to each other. (n, D) -> (n,)"""
    partial = np.zeros((32, len(products)))
    for d in range(products.shape[1]):
        partial[d % 32] += products[:, d]
    while len(partial) > 1:
        partial = partial[0::2] + partial[1::2]
    return partial[0]


def slow_scores(queries, passages, similarity):
    queries, passages = (np.asarray(embeddings, dtype=np.float64) for embeddings in (queries, passages))
    scores = np.array([slow_sums(query * passages) for query in queries])  # (Q, P)
    norms = np.sqrt(slow_sums(passages * passages))
    return scores if similarity == "dot" else scores / np.where(norms == 0, 1, norms)


def slow_above(scores, pairs, languages):
    """Compare every passage with the relevant one: of equal scores, the earlier is above."""
    above = np.zeros((len(pairs), max(languages, default=0) + 1), dtype=int)
    for n, (query, relevant) in enumerate(pairs):
        own, threshold = scores[query], scores[query, relevant]
        better = (own > threshold) | ((own == threshold) & (np.arange(len(own)) < relevant))
        above[n] = np.bincount(languages[better], minlength=above.shape[1])
    return above


def slow_ranks(queries, passages, pairs, languages, similarity="cosine"):
    return slow_above(slow_scores(queries.double(), passages.double(), similarity), pairs, languages)


def check_ranks(queries, passages, pairs, languages, similarity="cosine"):
    """Compare ranks with those of the slow count, and return them."""
    ranks = relevant_ranks(queries, passages, pairs, languages, similarity=similarity)
    np.testing.assert_array_equal(ranks.above, slow_ranks(queries, passages, pairs, languages, similarity))
    np.testing.assert_array_equal(np.column_stack([ranks.query, ranks.passage]), pairs)
    return ranks.above


def count_in_chunks(queries, passages, pairs, languages, edges, **options):
    """Count by a counter, one chunk for every two edges, in the order in which they come."""
    number = int(max(languages)) + 1
    counter = RankCounter(queries, passages, pairs, np.arange(len(passages)), languages=number, **options)
    for left, right in edges:
        counter.update(passages[left:right], languages[left:right], start=left)
    return counter.above


def draw_tensor(rng, rows, dimensions, kind, dtype):
    """Draw embeddings with norms that the type can hold, and near ties that are a few of its own steps apart."""
    step, exponent = LIMITS[dtype]
    embeddings = rng.standard_normal((rows, dimensions))
    if kind == "few values":  # most scores are tied
        embeddings = rng.integers(-1, 2, (rows, dimensions)) / 1.0
    if kind == "duplicates":
        embeddings = embeddings[rng.integers(0, 1 + rows // 3, rows)]
    if kind == "near ties":
        embeddings = embeddings[0] * (1 + rng.integers(-3, 4, (rows, dimensions)) * step)
    if kind == "any norm":  # the norm 0 among them
        embeddings *= 10.0 ** rng.integers(-exponent, exponent + 1, (rows, 1))
        embeddings[rng.random(rows) < 0.2] = 0
    return torch.from_numpy(embeddings).to(dtype)


def draw_pairs(rng, queries, passages, number):
    return np.column_stack([rng.integers(0, queries, number), rng.integers(0, passages, number)])


def draw_case(seed, queries, passages, dimensions, pairs, kind="normal", dtypes=(torch.float32,) * 2, languages=2):
    """Draw queries, passages, pairs and the languages of the passages."""
    rng = np.random.default_rng(seed)
    q, p = (draw_tensor(rng, n, dimensions, kind, dtype) for n, dtype in zip((queries, passages), dtypes, strict=True))
    return q, p, draw_pairs(rng, queries, passages, pairs), rng.integers(0, languages, passages)
