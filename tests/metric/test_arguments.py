"""Arguments of the counters: the forms that are taken, and the errors of wrong ones."""

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_ranks import check_ranks, draw_case

from hybridlib.metric.ranks import RankCounter, relevant_ranks

# Passages 1 and 3 are relevant: their numbers are checked first.
ARGUMENTS = {
    "query_embeddings": np.ones((2, 3)),
    "passage_embeddings": np.ones((4, 3)),
    "pairs": np.array([[0, 1], [1, 3]]),
    "passage_languages": np.array([0, 0, 1, 1]),
}
COUNTER_ARGUMENTS = {
    "query_embeddings": np.ones((2, 3)),
    "relevant_embeddings": np.ones((2, 3)),
    "pairs": [[0, 0], [1, 1]],
    "relevant_positions": [0, 1],
    "languages": 2,
}


FORMS = {
    "float16": lambda x: x.numpy().astype(np.float16),
    "half": torch.Tensor.half,
    "bfloat16": torch.Tensor.bfloat16,
    "float8": lambda x: x.to(torch.float8_e4m3fn),
    "float32": lambda x: x,
    "numpy": torch.Tensor.numpy,
    "float64": torch.Tensor.double,
    "parameter": torch.nn.Parameter,
    "transposed": lambda x: x.T.contiguous().T,
    "fortran": lambda x: np.asfortranarray(x.numpy()),
    "strided": lambda x: np.repeat(x.numpy(), 2, axis=1)[:, ::2],
    "lists": lambda x: x.tolist(),
}


@pytest.mark.parametrize("convert", FORMS.values(), ids=FORMS)
def test_embeddings_of_any_floating_type_and_layout_are_taken(convert):
    # Eighths between -2 and 2: exact in every one of these types.
    q, p = torch.randint(-16, 17, (34, 7), generator=torch.Generator().manual_seed(4)).div(8).split([3, 31])
    _, _, pairs, language = draw_case(4, 3, 31, 7, 19)
    expected = check_ranks(q, p, pairs, language)
    np.testing.assert_array_equal(relevant_ranks(convert(q), convert(p), pairs, language).above, expected)


def test_read_only_embeddings_of_a_memory_map_are_taken(tmp_path):
    q, p, pairs, language = draw_case(5, 4, 23, 3, 9)
    np.save(tmp_path / "passages.npy", p)
    ranks = relevant_ranks(q, np.load(tmp_path / "passages.npy", mmap_mode="r"), pairs, language)
    np.testing.assert_array_equal(ranks.above, check_ranks(q, p, pairs, language))


def test_neither_embeddings_nor_pairs_are_changed():
    given = draw_case(6, 3, 11, 5, 7)
    before = copy.deepcopy(given)
    relevant_ranks(*given)
    for now, then in zip(given, before, strict=True):
        np.testing.assert_array_equal(now, then)


def passages_with(value, row):
    embeddings = np.ones((4, 3))
    embeddings[row, 2] = value
    return embeddings


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("query_embeddings", np.ones((2, 2)), r"passage_embeddings has 3 dimensions, query_embeddings has 2; they mus"),
        ("query_embeddings", np.ones(3), r"query_embeddings is float64 of shape \(3,\); expected a floating-point mat"),
        ("query_embeddings", np.float32(1), r"query_embeddings is float32 of shape \(\); expected a floating-point m"),
        ("query_embeddings", np.ones((2, 3), int), r"query_embeddings is int64 of shape \(2, 3\)"),
        ("query_embeddings", torch.ones(2, 3, dtype=torch.int8), r"query_embeddings is int8 of shape \(2, 3\)"),
        ("query_embeddings", [["a"]], r"query_embeddings is <U1 of shape \(1, 1\)"),
        ("query_embeddings", np.array([[1, 2, 3], [1, np.nan, 3]]), r"query_embeddings: row 1 holds nan; allowed are"),
        ("query_embeddings", torch.full((2, 3), -torch.inf).bfloat16(), r"query_embeddings: row 0 holds inf; allowed"),
        ("passage_embeddings", np.ones((1, 4, 3)), r"passage_embeddings is float64 of shape \(1, 4, 3\)"),
        ("passage_embeddings", passages_with(np.inf, 1), r"passage_embeddings: row 1 holds inf; allowed are finite nu"),
        ("passage_embeddings", passages_with(1e200, 3), r"passage_embeddings: row 3 holds 1e\+200"),
        ("passage_embeddings", passages_with(-np.inf, 2), r"passage_embeddings: row 2 holds inf"),
        ("passage_embeddings", passages_with(np.nan, 0), r"passage_embeddings: row 0 holds nan"),
        ("passage_embeddings", [[1, 1, 1], [1, 1, 1], [1e-200] * 3, [1, 1, 1]], r"_embeddings: row 2 holds 1e-200"),
        ("passage_embeddings", np.full((4, 3), 1e-200), r"passage_embeddings: row 1 holds 1e-200"),
        ("passage_embeddings", np.full((4, 3), np.float16(np.nan)), r"passage_embeddings: row 1 holds nan"),
        ("pairs", [0, 1], r"pairs has shape \(2,\); expected \(N, 2\)"),
        ("pairs", [[0, 1, 2]], r"pairs has shape \(1, 3\); expected \(N, 2\)"),
        ("pairs", [[0.0, 1.5]], r"pairs is float64; expected whole numbers"),
        ("pairs", [[2, 0]], r"pairs: query rows span 2 to 2; there are 2 rows"),
        ("pairs", [[0, 1], [-1, 0]], r"pairs: query rows span -1 to 0; there are 2 rows"),
        ("pairs", [[0, 4]], r"pairs: passage rows span 4 to 4; there are 4 rows"),
        ("pairs", [[0, -1]], r"pairs: passage rows span -1 to -1; there are 4 rows"),
        ("passage_languages", [0, 0, 1], r"passage_languages has shape \(3,\); expected \(4,\)"),
        ("passage_languages", [0, 0, 1, -1], r"passage_languages span -1 to 1; allowed: 0 to 1"),
        ("passage_languages", ["en", "en", "de", "de"], r"passage_languages is <U2; expected whole numbers"),
        ("similarity", "euclidean", r"similarity is 'euclidean'; allowed: cosine, dot"),
        ("threads", 0, r"threads is 0; allowed: 1 or more"),
        ("threads", -2, r"threads is -2; allowed: 1 or more"),
    ],
)
def test_wrong_arguments_are_refused(argument, value, message):
    relevant_ranks(**ARGUMENTS)
    with pytest.raises(ValueError, match=message):
        relevant_ranks(**{**ARGUMENTS, argument: value})


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("relevant_embeddings", np.ones((2, 4)), r"relevant_embeddings has 4 dimensions, query_embeddings has 3"),
        ("relevant_embeddings", np.full((2, 3), np.nan), r"relevant_embeddings: row 0 holds nan"),
        ("relevant_positions", [0], r"relevant_positions has shape \(1,\); expected \(2,\)"),
        ("relevant_positions", [0, -1], r"relevant_positions holds -1; positions in the corpus count from 0"),
        ("relevant_positions", [0.5, 1], r"relevant_positions is float64; expected whole numbers"),
        ("languages", 0, r"languages is 0; allowed: 1 or more"),
    ],
)
def test_a_counter_refuses_wrong_arguments(argument, value, message):
    RankCounter(**COUNTER_ARGUMENTS)
    with pytest.raises(ValueError, match=message):
        RankCounter(**{**COUNTER_ARGUMENTS, argument: value})


def test_relevant_passages_of_no_pair_are_left_out():
    # The second is neither checked nor counted: it would be refused.
    counter = RankCounter(np.ones((1, 2)), [[1.0, 1.0], [np.nan, 0.0], [0.0, 1.0]], [[0, 2]], [7, 8, 9], languages=1)
    counter.update([[1.0, 1.0]], [0])
    assert counter.above.tolist() == [[1]]
    assert counter.ranks().passage.tolist() == [9]


@pytest.mark.parametrize(
    ("passages", "languages", "start", "message"),
    [
        (np.ones((2, 4)), [0, 0], 0, r"passage_embeddings has 4 dimensions, query_embeddings has 3; they must"),
        (np.full((2, 3), np.inf), [0, 0], 0, r"passage_embeddings: row 0 holds inf"),
        (np.ones((2, 3)), [0], 0, r"passage_languages has shape \(1,\); expected \(2,\)"),
        (np.ones((2, 3)), [0, 2], 0, r"passage_languages span 0 to 2; allowed: 0 to 1"),
        (np.ones((2, 3)), [0, 0], -1, r"start is -1; positions in the corpus count from 0"),
    ],
)
def test_a_chunk_that_is_refused_leaves_the_counter_as_it_was(passages, languages, start, message):
    counter = RankCounter(np.ones((2, 3)), np.ones((1, 3)), [[0, 0]], [9], languages=2)
    with pytest.raises(ValueError, match=message):
        counter.update(passages, languages, start=start)
    assert counter.above.tolist() == [[0, 0]]
    counter.update(np.ones((2, 3)), [0, 1])
    assert counter.above.tolist() == [[1, 1]]


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=12))
def test_exactly_the_chunks_that_hold_a_counted_passage_are_refused(chunks):
    counter, counted = RankCounter(np.ones((1, 1)), np.ones((1, 1)), [[0, 0]], [99], languages=1), set()
    for start, rows in chunks:
        chunk = set(range(start, start + rows))
        overlap = rf"passages {start} to {start + rows - 1} overlap \d+ to \d+, counted before"
        with pytest.raises(ValueError, match=overlap) if chunk & counted else nullcontext():
            counter.update(np.ones((rows, 1)), np.zeros(rows, int), start=start)
            counted |= chunk
    assert counter.above.tolist() == [[len(counted)]]  # all are tied with the relevant passage and earlier
