"""Ranks against a slow count over the whole float64 score matrix."""

import itertools
import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_ranks import (
    KINDS,
    U,
    check_ranks,
    count_in_chunks,
    draw_case,
    draw_embeddings,
    draw_pairs,
    slow_above,
    slow_ranks,
    slow_scores,
)

from hybridlib.metric import cpu
from hybridlib.metric.ranks import RankCounter, relevant_ranks


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 7),
    passages=st.integers(1, 40),
    dimensions=st.integers(1, 13),
    languages=st.integers(1, 4),
    number_of_pairs=st.integers(0, 12),
    kind=st.sampled_from(KINDS),
    similarity=st.sampled_from(["cosine", "dot"]),
    dtypes=st.tuples(*[st.sampled_from([np.float32, np.float64])] * 2),
    tile=st.tuples(st.sampled_from([1, 2, 3, 512]), st.sampled_from([1, 2, 5, 2048])),
)
def test_ranks_of_any_shape_are_those_of_the_slow_count(
    seed, queries, passages, dimensions, languages, number_of_pairs, kind, similarity, dtypes, tile
):
    rng = np.random.default_rng(seed)
    q = draw_embeddings(rng, queries, dimensions, kind).astype(dtypes[0])
    p = draw_embeddings(rng, passages, dimensions, kind).astype(dtypes[1])
    pairs, language = draw_pairs(rng, queries, passages, number_of_pairs), rng.integers(0, languages, passages)
    with mock.patch.multiple(cpu, _TILE_QUERIES=tile[0], _TILE_PASSAGES=tile[1]):
        ranks = relevant_ranks(q, p, pairs, language, similarity=similarity)
    np.testing.assert_array_equal(ranks.above, slow_ranks(q, p, pairs, language, similarity))
    np.testing.assert_array_equal(np.column_stack([ranks.query, ranks.passage]), pairs)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS[:4]),
    similarity=st.sampled_from(["cosine", "dot"]),
    threads=st.integers(1, 5),
    tile=st.tuples(st.integers(1, 20), st.integers(1, 150)),
    cuts=st.lists(st.integers(0, 211), max_size=6),
)
def test_ranks_do_not_depend_on_chunks_threads_or_tiles(seed, kind, similarity, threads, tile, cuts):
    rng = np.random.default_rng(seed)
    q = draw_embeddings(rng, 17, 11, kind).astype(np.float32)
    p = draw_embeddings(rng, 211, 11, kind).astype(np.float32)
    pairs, language = draw_pairs(rng, 17, 211, 41), rng.integers(0, 3, 211)
    expected = relevant_ranks(q, p, pairs, language, similarity=similarity, threads=1).above
    edges = sorted([0, *cuts, 211])
    chunks = rng.permutation(list(itertools.pairwise(edges)))  # a cut drawn twice is an empty chunk
    with mock.patch.multiple(cpu, _TILE_QUERIES=tile[0], _TILE_PASSAGES=tile[1]):
        above = count_in_chunks(q, p, pairs, language, 3, chunks, similarity=similarity, threads=threads)
    np.testing.assert_array_equal(above, expected)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_several_uneven_tiles_of_full_size_are_counted_rightly(similarity):
    # 521 queries are a tile of 512 and one of 9; language 0 has more than a tile of 2048 passages; 67 % 4 == 3.
    rng = np.random.default_rng(0)
    q, p = rng.standard_normal((521, 67), dtype=np.float32), rng.standard_normal((2503, 67), dtype=np.float32)
    language = (rng.random(2503) < 0.15).astype(int)
    pairs = draw_pairs(rng, 521, 2503, 997)
    assert np.bincount(language)[0] > cpu._TILE_PASSAGES
    scores = slow_scores(q, p, similarity)
    threshold = scores[pairs[:, 0], pairs[:, 1]][:, None]
    ahead = scores[pairs[:, 0]] > threshold
    tied = (scores[pairs[:, 0]] == threshold).sum()
    assert tied == len(pairs)  # nothing is tied but with itself, so `ahead` is all there is to count
    expected = np.column_stack([ahead[:, language == 0].sum(axis=1), ahead[:, language == 1].sum(axis=1)])
    np.testing.assert_array_equal(relevant_ranks(q, p, pairs, language, similarity=similarity).above, expected)


def test_of_whole_numbers_the_ranks_are_exact():
    # Products and sums of small whole numbers are exact in any order: int64 knows the scores, and nearly all are tied.
    q, p, pairs, language = draw_case(1, 13, 401, 31, 89, "few values")
    scores = q.long() @ p.long().T
    assert len(np.unique(scores)) < 100
    above = relevant_ranks(q, p, pairs, language, similarity="dot").above
    np.testing.assert_array_equal(above, slow_above(scores.numpy(), pairs, language, 2))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_of_passages_that_are_all_the_same_the_earlier_ranks_first(similarity):
    passages = np.tile([0.1, 0.2, 0.3], (1300, 1))  # more than two blocks of 512
    pairs = np.array([[0, 0], [0, 7], [0, 512], [0, 1299]])
    above = relevant_ranks([[0.3, 0.5, 0.7]], passages, pairs, np.zeros(1300, int), similarity=similarity).above
    assert above[:, 0].tolist() == [0, 7, 512, 1299]


def test_a_tie_is_settled_by_the_position_in_the_corpus_and_not_in_the_chunk():
    passages, languages = np.ones((6, 2)), np.zeros(6, int)
    chunks = [(4, 6), (0, 1), (1, 4)]
    above = count_in_chunks(np.ones((1, 2)), passages, np.array([[0, 4], [0, 1]]), languages, 1, chunks)
    assert above[:, 0].tolist() == [4, 1]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_near_ties_that_float32_gets_wrong_are_ranked_rightly(similarity, dtype):
    # 127 passages that differ by a few units in the last place of float32, or in float64 by a thousandth of one.
    rng = np.random.default_rng(2)
    step = U if dtype == np.float32 else U / 1000
    q = rng.standard_normal((5, 61)).astype(dtype)
    p = (rng.standard_normal(61) * (1 + rng.integers(-4, 5, (127, 61)) * step)).astype(dtype)
    pairs, language = draw_pairs(rng, 5, 127, 37), np.zeros(127, int)
    expected = check_ranks(q, p, pairs, language, similarity)
    in_float32 = q.astype(np.float32) @ p.astype(np.float32).T
    assert (slow_above(in_float32, pairs, language, 1) != expected).any()


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("dimensions", [8, 9, 10, 11])
def test_passages_tied_but_for_rounding_rank_by_the_documented_order_of_summation(dimensions, similarity):
    # With a constant query, passages with the same components in another order have the same score but for a bit.
    rng = np.random.default_rng(dimensions)
    q, p = np.full((1, dimensions), 0.7), rng.permuted(np.tile(rng.standard_normal(dimensions), (59, 1)), axis=1)
    pairs, language = np.column_stack([np.zeros(59, int), np.arange(59)]), np.zeros(59, int)
    expected = check_ranks(q, p, pairs, language, similarity)
    one_by_one = np.add.accumulate(q * p, axis=1)[:, -1]
    assert (slow_above(one_by_one[None], pairs, language, 1) != expected).any()


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_zero_vector_has_score_zero(similarity):
    passages, queries = [[-1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]
    above = relevant_ranks(queries, passages, [[0, 1], [0, 4], [1, 3]], np.zeros(5, int), similarity=similarity).above
    # For (1, 0) the scores are -1, 0, 0, 1, 0: above passage 1 is only 3, above passage 4 are 3 and its ties 1 and 2.
    # For the zero query all are tied, and three come before passage 3.
    assert above[:, 0].tolist() == [1, 3, 3]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("exponents", [(-130, 131), (-139, -120), (120, 139), (-37, 38)])
def test_tiny_and_huge_norms_are_ranked_rightly(similarity, exponents):
    rng = np.random.default_rng(3)
    q = rng.standard_normal((7, 5)) * 10.0 ** rng.integers(*exponents, (7, 1))
    p = rng.standard_normal((53, 5)) * 10.0 ** rng.integers(*exponents, (53, 1))
    pairs, language = draw_pairs(rng, 7, 53, 29), rng.integers(0, 2, 53)
    # Single passages as chunks: a huge relevant one is compared where nothing is as large.
    edges = [(i, i + 1) for i in range(53)]
    above = count_in_chunks(q, p, pairs, language, 2, edges, similarity=similarity, threads=1)
    np.testing.assert_array_equal(above, check_ranks(q, p, pairs, language, similarity))


@pytest.mark.filterwarnings("error")
def test_float32_of_the_smallest_and_the_largest_size_is_ranked_rightly():
    passages = np.array([[1e-45, 0], [3e38, 3e38], [0, 1e-45], [-3e38, 1e-38]], dtype=np.float32)
    given = np.array([[1e-45, 0]], dtype=np.float32), passages, [[0, 0], [0, 1], [0, 2]], np.zeros(4, int)
    # Cosines 1, 0.71, 0, -1; products 2e-90, 4e-7, 0, -4e-7.
    assert relevant_ranks(*given).above[:, 0].tolist() == [0, 1, 2]
    assert relevant_ranks(*given, similarity="dot").above[:, 0].tolist() == [1, 0, 2]


def test_ranks_come_in_the_order_of_the_pairs():
    q, p, pairs, language = draw_case(7, 9, 37, 5, 31, languages=3)
    order = np.random.default_rng(7).permutation(31)
    straight, shuffled = relevant_ranks(q, p, pairs, language), relevant_ranks(q, p, pairs[order], language)
    np.testing.assert_array_equal(shuffled.above, straight.above[order])
    np.testing.assert_array_equal(shuffled.passage, straight.passage[order])


@pytest.mark.parametrize("score", [1.0, 0.5000001, 0.5, -1.0])
def test_a_relevant_passage_is_excluded_by_its_position_and_not_by_its_score(score):
    # The chunk holds another vector where the relevant passage is: whatever its score, it is not compared with itself.
    # Passage 1 has the vector of the relevant one, so it is tied with it and comes later; passage 2 is above both.
    relevant = np.array([[0.5, math.sqrt(0.75)]])
    other = [score, math.sqrt(1 - score**2)]
    counter = RankCounter(np.array([[1.0, 0.0]]), relevant, [[0, 0]], [0], languages=1)
    counter.update(np.array([other, relevant[0], [0.9, 0.1]]), [0, 0, 0])
    assert counter.above.tolist() == [[1]]


def test_a_passage_that_is_relevant_to_two_queries_may_be_given_twice():
    # As it is where relevant embeddings are gathered pair by pair.
    q, p, pairs, language = draw_case(8, 5, 19, 3, 23, languages=1)
    counter = RankCounter(q, p[pairs[:, 1]], np.column_stack([pairs[:, 0], np.arange(23)]), pairs[:, 1], languages=1)
    counter.update(p, language)
    np.testing.assert_array_equal(counter.above, relevant_ranks(q, p, pairs, language).above)
    np.testing.assert_array_equal(counter.ranks().passage, pairs[:, 1])


def test_counters_over_different_chunks_add_up():
    q, p, pairs, language = draw_case(9, 5, 83, 6, 29, "few values", languages=3)
    parts = [count_in_chunks(q, p, pairs, language, 3, [edge]) for edge in ((0, 31), (31, 32), (32, 83))]
    np.testing.assert_array_equal(sum(parts), relevant_ranks(q, p, pairs, language).above)
    assert all(part.any() for part in parts)


def test_counts_that_were_read_do_not_change_later():
    counter = RankCounter(np.ones((1, 1)), np.ones((1, 1)), [[0, 0]], [1], languages=1)
    read = counter.above
    counter.update(np.ones((1, 1)), [0])
    assert (read.tolist(), counter.above.tolist()) == ([[0]], [[1]])


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=12))
def test_exactly_the_chunks_that_hold_a_counted_passage_are_refused(chunks):
    counter, counted = RankCounter(np.ones((1, 1)), np.ones((1, 1)), [[0, 0]], [99], languages=1), set()
    for start, rows in chunks:
        chunk = set(range(start, start + rows))
        if chunk & counted:
            overlap = rf"passages {start} to {start + rows - 1} overlap \d+ to \d+, counted before"
            with pytest.raises(ValueError, match=overlap):
                counter.update(np.ones((rows, 1)), np.zeros(rows, int), start=start)
        else:
            counter.update(np.ones((rows, 1)), np.zeros(rows, int), start=start)
            counted |= chunk
    assert counter.above.tolist() == [[len(counted)]]  # all are tied with the relevant passage and earlier
