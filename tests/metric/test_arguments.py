"""Arguments of the counters: the forms that are taken, and the errors of wrong ones."""

import copy
import logging
import warnings
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from slow_ranks import check_ranks, draw_case

from hybridlib.metric.ranks import RankCounter, relevant_ranks

MATRIX = "allowed: a matrix of floats of 8 to 64 bits"
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
    "big-endian": lambda x: x.numpy().astype(">f4"),
    "reversed": lambda x: x.numpy()[::-1, ::-1].copy()[::-1, ::-1],
    "frame": lambda x: pd.DataFrame(x.numpy()),
}
NUMBERS = {
    "uint8": lambda x: x.astype(np.uint8),
    "big-endian": lambda x: x.astype(">i8"),
    "tensor": torch.from_numpy,
    "lists": np.ndarray.tolist,
    "series": lambda x: pd.Series(x) if x.ndim == 1 else pd.DataFrame(x),
}


@pytest.mark.parametrize("convert", FORMS.values(), ids=FORMS)
def test_embeddings_of_any_floating_type_and_layout_are_taken(convert):
    # Eighths between -2 and 2: exact in every one of these types.
    q, p = torch.randint(-16, 17, (34, 7), generator=torch.Generator().manual_seed(4)).div(8).split([3, 31])
    _, _, pairs, language = draw_case(4, 3, 31, 7, 19)
    expected = check_ranks(q, p, pairs, language)
    np.testing.assert_array_equal(relevant_ranks(convert(q), convert(p), pairs, language).above, expected)


@pytest.mark.parametrize("convert", NUMBERS.values(), ids=NUMBERS)
def test_whole_numbers_of_any_type_are_taken(convert):
    q, p, pairs, language = draw_case(4, 3, 31, 7, 19)
    expected = check_ranks(q, p, pairs, language)
    np.testing.assert_array_equal(relevant_ranks(q, p, convert(pairs), convert(language)).above, expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device exists")
def test_a_device_that_is_not_there_is_not_replaced_by_the_cpu():
    with pytest.raises(ValueError, match=r"^device is 'cuda'; allowed here: cpu$"):
        relevant_ranks(**ARGUMENTS, device="cuda")


def test_numbers_of_numpy_are_numbers():
    counter = RankCounter(**COUNTER_ARGUMENTS | {"languages": np.int64(2), "threads": np.int32(1)})
    counter.update(np.ones((2, 3)), [0, 1], start=np.int64(0))
    assert counter.above.tolist() == [[0, 0], [1, 0]]


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


def nested_tensor():
    with warnings.catch_warnings(action="ignore"):  # that its interface may change
        return torch.nested.nested_tensor([torch.ones(3), torch.ones(2)])


def masked_tensor():
    with warnings.catch_warnings(action="ignore"):  # that its interface may change
        return torch.masked.masked_tensor(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool))


def passages_with(value, row):
    embeddings = np.ones((4, 3))
    embeddings[row, 2] = value
    return embeddings


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("query_embeddings", np.ones((2, 2)), r"passage_embeddings has 3 dimensions, query_embeddings has 2; they mus"),
        ("query_embeddings", np.ones(3), rf"query_embeddings is an array of float64 of shape \(3,\); {MATRIX}"),
        (
            "query_embeddings",
            np.ones((2, 3), int),
            rf"query_embeddings is an array of int64 of shape \(2, 3\); {MATRIX}",
        ),
        ("query_embeddings", np.ones((2, 3), complex), rf"query_embeddings is an array of complex128 .*; {MATRIX}"),
        (
            "query_embeddings",
            torch.ones(2, 3, dtype=torch.int8),
            r"embeddings is a tensor of torch.int8 of shape \(2, 3",
        ),
        (
            "query_embeddings",
            torch.ones(2, 3).to_sparse(),
            r"is a sparse_coo tensor of torch.float32 of shape \(2, 3\)",
        ),
        (
            "query_embeddings",
            torch.ones(2, 3, device="meta"),
            rf"is a tensor of .* of shape \(2, 3\) on meta; {MATRIX}",
        ),
        ("query_embeddings", nested_tensor(), f"query_embeddings is a nested tensor; {MATRIX}"),
        ("query_embeddings", masked_tensor(), f"query_embeddings is a MaskedTensor; {MATRIX}"),
        ("query_embeddings", np.ma.masked_equal(np.ones((2, 3)), 7), f"query_embeddings is a MaskedArray; {MATRIX}"),
        ("query_embeddings", csr_array(np.ones((2, 3))), f"query_embeddings is a csr_array; {MATRIX}"),
        ("query_embeddings", [["a"]], rf"query_embeddings is \[\['a'\]\]; {MATRIX}"),
        ("query_embeddings", [[1.0, 2.0], [3.0]], rf"query_embeddings is \[\[1.0, 2.0\], \[3.0\]\]; {MATRIX}"),
        ("query_embeddings", None, f"query_embeddings is None; {MATRIX}"),
        ("query_embeddings", "abc", f"query_embeddings is 'abc'; {MATRIX}"),
        ("passage_embeddings", None, f"passage_embeddings is None; {MATRIX}"),
        ("query_embeddings", np.array([[1, 2, 3], [1, np.nan, 3]]), r"query_embeddings: row 1 holds nan; allowed are"),
        ("query_embeddings", torch.full((2, 3), -torch.inf).bfloat16(), r"query_embeddings: row 0 holds inf; allowed"),
        ("passage_embeddings", np.ones((1, 4, 3)), r"passage_embeddings is an array of float64 of shape \(1, 4, 3\)"),
        ("passage_embeddings", passages_with(np.inf, 1), r"passage_embeddings: row 1 holds inf; allowed are finite nu"),
        ("passage_embeddings", passages_with(1e200, 3), r"passage_embeddings: row 3 holds 1e\+200"),
        ("passage_embeddings", passages_with(-np.inf, 2), r"passage_embeddings: row 2 holds inf"),
        ("passage_embeddings", passages_with(np.nan, 0), r"passage_embeddings: row 0 holds nan"),
        ("passage_embeddings", [[1, 1, 1], [1, 1, 1], [1e-200] * 3, [1, 1, 1]], r"_embeddings: row 2 holds 1e-200"),
        ("passage_embeddings", np.full((4, 3), 1e-200), r"passage_embeddings: row 1 holds 1e-200"),
        ("passage_embeddings", np.full((4, 3), np.float16(np.nan)), r"passage_embeddings: row 1 holds nan"),
        ("pairs", [0, 1], r"pairs has shape \(2,\); allowed: \(N, 2\)"),
        ("pairs", [[0, 1, 2]], r"pairs has shape \(1, 3\); allowed: \(N, 2\)"),
        ("pairs", [[0.0, 1.5]], r"pairs is \[\[0.0, 1.5\]\]; allowed: whole numbers"),
        ("pairs", [[0, 1], [1]], r"pairs is \[\[0, 1\], \[1\]\]; allowed: whole numbers"),
        ("pairs", None, "pairs is None; allowed: whole numbers"),
        ("pairs", [[2, 0]], r"pairs: query rows span 2 to 2; there are 2 rows"),
        ("pairs", [[0, 1], [-1, 0]], r"pairs: query rows span -1 to 0; there are 2 rows"),
        ("pairs", [[0, 4]], r"pairs: passage rows span 4 to 4; there are 4 rows"),
        ("pairs", [[0, -1]], r"pairs: passage rows span -1 to -1; there are 4 rows"),
        ("passage_languages", [0, 0, 1], r"passage_languages has shape \(3,\); expected \(4,\)"),
        ("passage_languages", [0, 0, 1, -1], r"passage_languages span -1 to 1; allowed: 0 to 1"),
        ("passage_languages", ["en", "en", "de", "de"], r"passage_languages is \['en', .*\]; allowed: whole numbers"),
        ("passage_languages", [0, 0, 1, 10**9], "passage_languages holds 1000000000; allowed: 0 to 9999, a number for"),
        ("similarity", "euclidean", r"similarity is 'euclidean'; allowed: 'cosine' or 'dot'"),
        ("threads", 0, r"threads is 0; allowed: greater than or equal to 1"),
        ("threads", 10**6, r"threads is 1000000; allowed: less than or equal to 1024"),
        ("threads", 1.5, r"threads is 1.5; allowed: a whole number"),
        ("device", "nope", "device is 'nope'; allowed here: cpu"),
        ("device", "cuda:70", "device is 'cuda:70'; allowed here: cpu"),
        ("device", "meta", "device is 'meta'; allowed here: cpu"),
        ("device", 1.5, r"device is '1\.5'; allowed here: cpu"),
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
        ("relevant_positions", [0.5, 1], r"relevant_positions is \[0.5, 1\]; allowed: whole numbers"),
        ("languages", 0, r"languages is 0; allowed: greater than or equal to 1"),
        ("languages", 10**9, r"languages is 1000000000; allowed: less than or equal to 10000"),
        ("languages", "en", r"languages is 'en'; allowed: a whole number"),
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
        (np.ones((2, 3)), [0, 0], -1, r"start is -1; allowed: greater than or equal to 0"),
        (np.ones((2, 3)), [0, 0], 1 << 63, r"start is 9223372036854775808; allowed: less than 4611686018427387904"),
        (np.ones((2, 3)), [0, 0], 0.5, r"start is 0.5; allowed: a whole number"),
        (
            -np.ones((2, 3)),
            [0, 0],
            8,
            r"1 of 1 relevant passages, the first at position 9, are others than in relevant_",
        ),
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


# The corpus that is counted must be that of the relevant embeddings.


@pytest.mark.parametrize("at_once", [1, 2, 5, 1 << 12])
def test_all_other_passages_of_a_chunk_are_counted_however_many_are_compared_at_once(at_once, monkeypatch):
    # Passages 3 and 4 are turned around, and 9 lies in no chunk.
    monkeypatch.setattr("hybridlib.metric.counts._AT_ONCE", at_once)
    positions = np.array([4, 0, 9, 3, 2, 1])
    pairs = np.column_stack([np.zeros(6, int), np.arange(6)])
    counter = RankCounter(np.ones((1, 3)), np.ones((6, 3)), pairs, positions, languages=1)
    corpus = np.ones((5, 3))
    corpus[3:] *= -1
    message = "2 of 5 relevant passages, the first at position 4, are others than"
    with pytest.raises(ValueError, match=message):
        counter.update(corpus, np.zeros(5, int))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda p: p, ""),
        (lambda p: p.half(), ""),
        (lambda p: p.bfloat16(), ""),
        (lambda p: p + 0.01 * p.roll(1, 0), ""),  # a text that was encoded twice, in batches of other texts
        (lambda p: 3 * p, "dot"),  # the cosine does not ask for lengths
        (lambda p: p.roll(1, 0), "both"),  # positions that are off by one
        (lambda p: -p, "both"),
        (lambda p: 0 * p, "both"),
    ],
)
def test_a_corpus_that_holds_other_passages_than_the_relevant_ones_given_is_refused(similarity, change, wrong):
    q, p, pairs, language = draw_case(7, 5, 31, 7, 11)
    relevant = np.unique(pairs[:, 1])
    rows = np.column_stack([pairs[:, 0], np.searchsorted(relevant, pairs[:, 1])])
    counter = RankCounter(q, p[relevant], rows, relevant, languages=language.max() + 1, similarity=similarity)
    message = rf"{len(relevant)} of {len(relevant)} relevant passages, the first at position {relevant[0]}, are others"
    refused = wrong in ("both", similarity)
    with pytest.raises(ValueError, match=message) if refused else nullcontext():
        counter.update(change(p), language)
    assert counter.above.any() != refused


def test_relevant_passages_that_no_chunk_held_are_told_at_the_end(caplog):
    q, p, pairs, language = draw_case(7, 5, 31, 7, 11)
    relevant = np.unique(pairs[:, 1])
    rows = np.column_stack([pairs[:, 0], np.searchsorted(relevant, pairs[:, 1])])
    counter = RankCounter(q, p[relevant], rows, relevant, languages=language.max() + 1)
    for begin, end, missing in ((20, 31, relevant[relevant < 20]), (0, 9, relevant[(relevant >= 9) & (relevant < 20)])):
        counter.update(p[begin:end], language[begin:end], start=begin)
        counter.ranks()
        assert caplog.records.pop().getMessage() == (
            f"{len(missing)} of {len(relevant)} relevant passages, the first at position {missing[0]}, were not counted"
            ": the corpus is incomplete, or has other positions"
        )
    counter.update(p[9:20], language[9:20], start=9)
    with caplog.at_level(logging.DEBUG, "hybridlib"):
        assert counter.ranks().above.tolist() == relevant_ranks(q, p, pairs, language).above.tolist()
    assert not caplog.records
