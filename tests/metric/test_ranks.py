"""Ranks against a slow count over the whole float64 score matrix, on the CPU and with the kernels."""

import itertools
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_ranks import (
    DEVICE,
    DTYPES,
    HALVES,
    KINDS,
    check_ranks,
    count_in_chunks,
    draw_case,
    draw_pairs,
    draw_tensor,
    slow_above,
    slow_ranks,
    slow_scores,
)

from hybridlib.metric.cpu import counts as cpu
from hybridlib.metric.gpu import counts as gpu
from hybridlib.metric.ranks import RankCounter, relevant_ranks

pytestmark = pytest.mark.usefixtures("kernels")
of_any_similarity = pytest.mark.parametrize("similarity", ["cosine", "dot"])
of_any_type = pytest.mark.parametrize("dtype", DTYPES)
without_warning = pytest.mark.filterwarnings("error", "ignore::RuntimeWarning:triton")  # but those of the interpreter
# The last is wider than it is high, as the real one is.
TILES = [{"BLOCK_Q": q, "BLOCK_P": p, "BLOCK_K": k} for q, p, k in ((16, 16, 16), (32, 16, 32), (16, 64, 16))]
SIZES_OF_CPU = {"_TILE_QUERIES": [1, 2, 3, 512], "_TILE_PASSAGES": [1, 2, 5, 2048], "_FEW_QUERIES": [1, 256]}
SIZES_OF_GPU = {
    **{"TILE": TILES, "_WORTH": [400, 1 << 30]},  # with the larger, the second slice has three products
    **{"_SPLIT_NUMBERS": [600, 1 << 20], "_WHOLE_NUMBERS": [600, 1 << 20]},
    **{"_LISTED": [9, 64, 1 << 16], "_MOST_LISTED": [20, 100, 1 << 16]},
}


def any_of(sizes):
    return st.fixed_dictionaries({name: st.sampled_from(values) for name, values in sizes.items()})


def test_ranks_are_those_of_the_slow_count_however_the_work_is_cut(kernels):
    @settings(deadline=None, max_examples=60 if kernels else 200, derandomize=True)
    @given(
        shape=st.tuples(
            st.integers(0, 2**32 - 1),  # the seed
            st.integers(1, 18),  # queries
            st.integers(1, 40),  # passages
            st.sampled_from([1, 3, 13, 16, 17, 32, 33]),  # dimensions; the kernel takes whole blocks as they are
            st.integers(0, 12),  # pairs
            st.sampled_from(KINDS),
            st.tuples(*[st.sampled_from(DTYPES)] * 2) | st.sampled_from(HALVES).map(lambda half: (half, half)),
            st.integers(1, 4),  # languages
        ),
        similarity=st.sampled_from(["cosine", "dot"]),
        cuts=st.lists(st.integers(0, 40), max_size=2),
        threads=st.integers(1, 5),
        sizes_of_cpu=any_of(SIZES_OF_CPU),
        sizes_of_gpu=any_of(SIZES_OF_GPU),
    )
    def check(shape, similarity, cuts, threads, sizes_of_cpu, sizes_of_gpu):
        case = draw_case(*shape)
        edges = np.minimum([0, *sorted(cuts), 40], len(case[1])).tolist()
        # A cut drawn twice is an empty chunk.
        chunks = np.random.default_rng(shape[0]).permutation(list(itertools.pairwise(edges)))
        with mock.patch.multiple(cpu, **sizes_of_cpu), mock.patch.multiple(gpu, **sizes_of_gpu):
            above = count_in_chunks(*case, chunks, similarity=similarity, threads=threads)
        np.testing.assert_array_equal(above, slow_ranks(*case, similarity))

    check()


@of_any_similarity
@of_any_type
def test_near_ties_that_the_type_itself_gets_wrong_are_ranked_rightly(dtype, similarity):
    rng = np.random.default_rng(1)
    q, p = draw_tensor(rng, 15, 48, "normal", dtype), draw_tensor(rng, 40, 48, "near ties", dtype)
    if dtype == torch.float64:
        p *= 1 + torch.from_numpy(rng.integers(-2, 3, (40, 1)) * 2.0**-52)  # what its parts cannot hold
    pairs, language = np.column_stack([np.arange(15), rng.integers(0, 40, 15)]), np.arange(40) // 30
    fast = slow_scores(q.float(), p.float(), similarity).astype(np.float32)
    fast = fast.astype(np.float16) if dtype in HALVES else fast
    assert (slow_above(fast, pairs, language) != check_ranks(q, p, pairs, language, similarity)).any()


@of_any_similarity
def test_a_zero_vector_has_score_zero(similarity):
    passages, queries = [[-1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]
    above = relevant_ranks(queries, passages, [[0, 1], [0, 4], [1, 3]], np.zeros(5, int), similarity=similarity).above
    # For (1, 0) the scores are -1, 0, 0, 1, 0: above passage 1 is only 3, above passage 4 are 3 and its ties 1 and 2.
    # For the zero query all are tied, and three come before passage 3.
    assert above[:, 0].tolist() == [1, 3, 3]


# Triton's interpreter misreads subnormal bfloat16, of less than 1.2e-38, which the compiled kernels read as any other.
SUBNORMAL = -34 if DEVICE.type == "cpu" else -39


@without_warning
@of_any_similarity
@pytest.mark.parametrize(
    ("dtype", "exponents"),
    [
        *((torch.float64, exponents) for exponents in ((-130, 131), (-139, -120), (120, 139), (-37, 38))),
        *((torch.float32, exponents) for exponents in ((-44, 38), (30, 38))),
        *((torch.bfloat16, exponents) for exponents in ((SUBNORMAL, -30), (17, 20), (30, 38))),
        (torch.float16, (-8, 5)),
    ],
)
def test_tiny_and_huge_norms_are_ranked_rightly(dtype, exponents, similarity):
    rng = np.random.default_rng(2)
    q, p = (rng.uniform(-1, 1, (n, 16)) * 10.0 ** rng.integers(*exponents, (n, 1)) for n in (7, 31))
    p = p[np.abs(p).max(axis=1).argsort()]
    given = (torch.from_numpy(q).to(dtype), torch.from_numpy(p).to(dtype), draw_pairs(rng, 7, 31, 9), np.arange(31) % 2)
    expected = check_ranks(*given, similarity)
    # A chunk in which all is tiny, one in which all is huge, and one passage alone.
    chunks = count_in_chunks(*given, [(0, 9), (10, 31), (9, 10)], similarity=similarity)
    np.testing.assert_array_equal(chunks, expected)


@without_warning
def test_float32_of_the_smallest_and_the_largest_size_is_ranked_rightly():
    passages = np.array([[1e-45, 0], [3e38, 3e38], [0, 1e-45], [-3e38, 1e-38]], dtype=np.float32)
    given = np.array([[1e-45, 0]], dtype=np.float32), passages, [[0, 0], [0, 1], [0, 2]], np.zeros(4, int)
    # Cosines 1, 0.71, 0, -1; products 2e-90, 4e-7, 0, -4e-7.
    assert relevant_ranks(*given).above[:, 0].tolist() == [0, 1, 2]
    assert relevant_ranks(*given, similarity="dot").above[:, 0].tolist() == [1, 0, 2]


@of_any_type
def test_one_query_one_passage_and_neither_are_counted(dtype):
    q, p = torch.ones(1, 16, dtype=dtype), torch.ones(1, 16, dtype=dtype)
    assert relevant_ranks(q, p, [[0, 0]], [0]).above.tolist() == [[0]]
    counter = RankCounter(q, p, [[0, 0]], [5], languages=1)
    read = counter.above
    counter.update(p, [0], start=4)
    counter.update(p[:0], [], start=2)
    counter.update(p, [0], start=6)
    assert counter.above.tolist() == [[1]]  # tied, and the earlier is above
    assert read.tolist() == [[0]]  # does not change later
    for queries in (q, q[:0]):
        assert relevant_ranks(queries, p, np.zeros((0, 2), int), [0]).above.shape == (0, 1)


def test_there_may_be_more_than_32_languages():
    q, p, pairs, _ = draw_case(3, 4, 131, 16, 9, dtypes=HALVES[:1] * 2)
    language = np.random.default_rng(3).permutation(np.arange(131) % 67)
    assert (check_ranks(q, p, pairs, language).sum(axis=0) > 0).sum() > 60


def test_a_query_may_have_hundreds_of_relevant_passages():
    q, p, _, language = draw_case(4, 3, 250, 16, 0, languages=1)
    pairs = np.column_stack([np.ones(250, int), np.random.default_rng(4).permutation(250)])
    with mock.patch.dict(gpu.TILE, BLOCK_P=256):
        above = check_ranks(q, p, np.concatenate([pairs, [[0, 5], [2, 6]]]), language)
    assert sorted(above[:250, 0]) == list(range(250))  # each passage has another rank


@of_any_similarity
@pytest.mark.parametrize("kind", ["normal", "few values", "duplicates", "near ties"])
@pytest.mark.parametrize("numbers", [[12], range(9)], ids=["one query", "nine queries"])
def test_pairs_of_a_query_may_have_equal_and_far_thresholds(numbers, kind, similarity):
    # One query has twelve pairs, or nine have from none to eight, in no order and some of them twice. Where no score
    # reaches a pair, none reaches one of the same query with a higher threshold, but some may reach the others.
    q, p, _, language = draw_case(14, len(numbers), 37, 7, 0, kind, languages=3)
    rng = np.random.default_rng(14)
    pairs = np.concatenate([np.column_stack([[n] * many, rng.integers(0, 37, many)]) for n, many in enumerate(numbers)])
    check_ranks(q, p, rng.permutation(pairs).astype(int), language, similarity)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("shards", [1, 2, 7])
def test_counts_of_any_number_of_shards_in_any_order_of_chunks_add_up(shards, dtype):
    rng, case = np.random.default_rng(shards), draw_case(shards, 9, 71, 16, 15, "duplicates", (dtype, dtype), 3)
    edges = np.sort(rng.choice(np.arange(1, 71), 2 * shards, replace=False))
    chunks = rng.permutation(list(itertools.pairwise([0, *edges.tolist(), 71]))).tolist()
    counts = [count_in_chunks(*case, chunks[n::shards]) for n in range(shards)]
    np.testing.assert_array_equal(sum(counts), slow_ranks(*case))
    assert all(count.any() for count in counts)


@of_any_type
@pytest.mark.parametrize("are_sorted", [True, False])
def test_a_chunk_that_is_refused_leaves_the_counter_as_it_was(dtype, are_sorted):
    q, p, pairs, language = draw_case(11, 5, 80, 16, 7, dtypes=(dtype, dtype))
    language, bad = np.sort(language) if are_sorted else language, p.clone()
    bad[50, 3] = torch.nan  # in the third slice of 20
    with mock.patch.multiple(gpu, _SPLIT_NUMBERS=320, _WHOLE_NUMBERS=320):
        counter = RankCounter(q, p, pairs, np.arange(80), languages=2)
        counter.update(p[:9], language[:9], start=80)
        before = counter.above
        with pytest.raises(ValueError, match="passage_embeddings: row 50 holds nan; allowed are finite numbers"):
            counter.update(bad, language)
        np.testing.assert_array_equal(counter.above, before)
        counter.update(p, language)
    corpus = torch.cat([p, p[:9]]), pairs, np.concatenate([language, language[:9]])
    np.testing.assert_array_equal(counter.above, slow_ranks(q, *corpus))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("score", [0.55, 0.5001, 0.5, 0.4999, 0.45])
def test_a_relevant_passage_is_excluded_by_its_position_and_not_by_its_score(score, dtype):
    # The chunk holds a vector of a few degrees beside that of the relevant passage, of language 1, as where a text is
    # encoded twice: it is not compared with itself. The
    # next passage has the vector of the relevant one, so it is tied and comes later; the one before is above both.
    relevant, own, better = torch.zeros(3, 1, 16)
    relevant[0, :2] = torch.tensor([0.5, 0.75**0.5])
    own[0, :2], better[0, 0] = torch.tensor([score, (1 - score**2) ** 0.5]), 1
    counter = RankCounter(better.to(dtype), relevant.to(dtype), [[0, 0]], [31], languages=2)
    counter.update(torch.cat([better, own, relevant, better]).to(dtype), [0, 1, 1, 0], start=30)
    assert counter.above.tolist() == [[2, 0]]


def test_a_passage_that_is_relevant_to_two_queries_may_be_given_twice():
    # Relevant embeddings that are gathered pair by pair hold it twice.
    q, p, pairs, language = draw_case(8, 5, 19, 3, 23, languages=1)
    counter = RankCounter(q, p[pairs[:, 1]], np.column_stack([pairs[:, 0], np.arange(23)]), pairs[:, 1], languages=1)
    counter.update(p, language)
    np.testing.assert_array_equal(counter.above, slow_ranks(q, p, pairs, language))
    np.testing.assert_array_equal(counter.ranks().passage, pairs[:, 1])
