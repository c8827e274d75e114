"""Ranks counted by the kernels: in Triton's interpreter on the CPU, and compiled where there is a GPU."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_ranks import draw_embeddings, draw_pairs, slow_above, slow_scores

from hybridlib import gpu_counts, ranks
from hybridlib.gpu_counts import GpuCounts
from hybridlib.ranks import RankCounter, relevant_ranks

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
HALVES = DTYPES[:2]
# Half the distance from 1 to the next larger number, and the power of ten that norms may reach.
LIMITS = dict(zip(DTYPES, [(2.0**-11, 4), (2.0**-8, 30), (2.0**-24, 30), (2.0**-40, 130)], strict=True))
# Two kinds of small tiles, which the interpreter is quick with; the last is wider than it is high, as the real one is.
TILES = [{"BLOCK_Q": q, "BLOCK_P": p, "BLOCK_K": k} for q, p, k in ((16, 16, 16), (32, 16, 32), (16, 64, 16))]


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    with mock.patch.object(gpu_counts, "TILE", TILES[2]):
        yield


@contextmanager
def counting(with_kernels):
    with mock.patch.object(ranks, "has_kernels", lambda device: with_kernels):
        yield


def on_gpu(*arguments, **options):
    with counting(with_kernels=True):
        return relevant_ranks(*arguments, device=DEVICE, **options).above


def on_cpu(*arguments, **options):
    with counting(with_kernels=False):
        return relevant_ranks(*arguments, **options).above


def gpu_counter(*arguments, **options):
    with counting(with_kernels=True):
        return RankCounter(*arguments, device=DEVICE, **options)


@contextmanager
def spying(name):
    """On a method of GpuCounts, or on a function of its module."""
    owner = GpuCounts if hasattr(GpuCounts, name) else gpu_counts
    with mock.patch.object(owner, name, autospec=True, side_effect=getattr(owner, name)) as spy:
        yield spy


def draw_tensor(rng, rows, dimensions, kind, dtype):
    """No norm but those that the type can hold; near ties that are a few of its own steps apart."""
    step, exponent = LIMITS[dtype]
    return torch.from_numpy(draw_embeddings(rng, rows, dimensions, kind, step=step, exponent=exponent)).to(dtype)


def slow_ranks(q, p, pairs, language, similarity="cosine"):
    return slow_above(slow_scores(q.double(), p.double(), similarity), pairs, language, language.max() + 1)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 18),
    passages=st.integers(1, 40),
    dimensions=st.sampled_from([1, 3, 16, 17, 32, 33]),  # the kernel takes whole blocks as they are, others split
    languages=st.integers(1, 3),
    number_of_pairs=st.integers(0, 8),
    kind=st.sampled_from(["normal", "few values", "duplicates", "near ties", "any norm"]),
    similarity=st.sampled_from(["cosine", "dot"]),
    dtypes=st.tuples(*[st.sampled_from(DTYPES)] * 2) | st.sampled_from(HALVES).map(lambda half: (half, half)),
    tile=st.sampled_from(TILES),
    sliced=st.sampled_from([17, 100]),
    listed=st.sampled_from([(1, 9), (16, 64), (1 << 16, 1 << 16)]),
    products=st.sampled_from([None, 1, 3]),
)
def test_ranks_of_any_shape_are_those_of_the_slow_count(
    seed, queries, passages, dimensions, languages, number_of_pairs, kind, similarity, dtypes, tile, sliced, listed,
    products,
):  # fmt: skip
    rng = np.random.default_rng(seed)
    q, p = (draw_tensor(rng, n, dimensions, kind, dtype) for n, dtype in zip((queries, passages), dtypes, strict=True))
    pairs, language = draw_pairs(rng, queries, passages, number_of_pairs), rng.integers(0, languages, passages)
    numbers, (few, most) = sliced * dimensions, listed
    with mock.patch.multiple(
        gpu_counts, TILE=tile, _SPLIT_NUMBERS=numbers, _WHOLE_NUMBERS=numbers, _LISTED=few, _MOST_LISTED=most
    ):
        counter = gpu_counter(q, p, pairs, np.arange(passages), languages=languages, similarity=similarity)
        counter._counts.products = products
        counter.update(p, language)
    expected = slow_above(slow_scores(q.double(), p.double(), similarity), pairs, language, languages)
    np.testing.assert_array_equal(counter.above, expected)
