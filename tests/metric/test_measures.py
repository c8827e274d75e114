"""Measures against hand-worked numbers, a slow walk down the ranked list, and trec_eval."""

import math
from dataclasses import replace

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridlib.metric.measures import (
    DEFAULT_MEASURES,
    Rankings,
    average_precision,
    is_multilingual,
    ndcg,
    parse_measure,
    recall,
    reciprocal_rank,
    why_undefined,
)


def together(lists):
    """Make rankings of several lists of {rank: gain}."""
    rows = [(number, rank, gain) for number, gains in enumerate(lists) for rank, gain in sorted(gains.items())]
    return Rankings(*np.array(rows).T)


def slow_measure(name, gains):
    """Walk down the list of gains by rank, as a reader of the definition would."""
    depth = max(gains)
    measure, _, k = name.partition("@")
    k = int(k or depth)
    ranked = [gains.get(rank, 0) for rank in range(1, depth + 1)]
    if measure == "map":
        precisions = [sum(g > 0 for g in ranked[: i + 1]) / (i + 1) for i in range(depth) if ranked[i] > 0]
        return sum(precisions) / len(gains)
    if measure == "ndcg":
        best = sorted(gains.values(), reverse=True)
        gained, ideal = (sum(g / math.log2(i + 2) for i, g in enumerate(list_[:k])) for list_ in (ranked, best))
        return gained / ideal
    if measure == "recall":
        return sum(g > 0 for g in ranked[:k]) / len(gains)
    if measure == "rr":
        return max((1 / (i + 1) for i, g in enumerate(ranked[:k]) if g > 0), default=0)
    assert measure == "rank_distance"
    return max(gains) - min(gains)


# The gain of the relevant passages by rank, in one to five lists.
GAINS = st.dictionaries(st.integers(1, 30), st.integers(1, 4), min_size=1, max_size=13)
LISTS = st.lists(GAINS, min_size=1, max_size=5)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    lists=LISTS,
    name=st.one_of(
        st.sampled_from(["map", "rank_distance"]),
        st.builds("{}@{}".format, st.sampled_from(["ndcg", "recall", "rr"]), st.integers(1, 15)),
    ),
)
def test_every_measure_is_what_a_walk_down_the_list_gives(lists, name):
    values = parse_measure(name)(together(lists))
    # Sums of at most 13 terms, in another order: some units of 1e-16.
    np.testing.assert_allclose(values, [slow_measure(name, gains) for gains in lists], rtol=1e-13)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(lists=LISTS, k=st.sampled_from([1, 3, 10, 100]))
def test_measures_are_those_of_trec_eval(lists, k):
    judged = {str(n): {f"d{rank}": gain for rank, gain in gains.items()} for n, gains in enumerate(lists)}
    run = {str(n): {f"d{rank}": float(-rank) for rank in range(1, 31)} for n in range(len(lists))}
    evaluator = pytrec_eval.RelevanceEvaluator(judged, {"map", f"ndcg_cut.{k}", f"recall.{k}", "recip_rank"})
    expected = [evaluator.evaluate(run)[str(n)] for n in range(len(lists))]
    rankings = together(lists)
    for values, theirs in (
        (average_precision(rankings), [row["map"] for row in expected]),
        (ndcg(rankings, k), [row[f"ndcg_cut_{k}"] for row in expected]),
        (recall(rankings, k), [row[f"recall_{k}"] for row in expected]),
        # trec_eval does not cut the reciprocal rank.
        (reciprocal_rank(rankings, k), [row["recip_rank"] * (row["recip_rank"] >= 1 / k) for row in expected]),
    ):
        np.testing.assert_allclose(values, theirs, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_ndcg_by_hand(dtype):
    # Gain 1 at rank 1, 3 at rank 2, 2 at rank 5, which is beyond the cut.
    rankings = Rankings(np.zeros(3, int), np.array([1, 2, 5]), np.array([1, 3, 2], dtype))
    gained = 1 / math.log2(2) + 3 / math.log2(3)
    # The best order is 3, 2, 1, of which a cut of 4 holds all and a cut of 2 holds 3 and 2.
    best = 3 / math.log2(2) + 2 / math.log2(3)
    assert ndcg(rankings, 4) == pytest.approx([gained / (best + 1 / math.log2(4))])
    assert ndcg(rankings, 2) == pytest.approx([gained / best])


def test_no_ranking_has_no_value():
    nothing = np.zeros(0, int)
    for name in (*DEFAULT_MEASURES, "peer", "peer@5", "preference", "lpr", "complete@5"):
        assert parse_measure(name)(Rankings(*[nothing] * 4, own=nothing == 1)).shape == (0,)


def test_the_default_measures_can_be_parsed():
    values = {name: parse_measure(name)(together([{3: 1, 20: 1}])).item() for name in DEFAULT_MEASURES}
    # There are two relevant passages, at 3 and 20. The first 10 hold one; the best discount sum is 1 + 1 / log2(3).
    expected = {"map": (1 / 3 + 2 / 20) / 2, "ndcg@10": 0.5 / (1 + 1 / math.log2(3)), "rank_distance": 17}
    expected |= {"recall@1": 0, "recall@10": 0.5, "recall@100": 1, "rr@10": 1 / 3}
    assert values == pytest.approx(expected)


NO_MEASURES = [
    "MAP",
    "map@10",
    "ndcg",
    "ndcg@",
    "ndcg@0",
    "ndcg@-1",
    "recall@1.5",
    "recall@05",
    "peer@0",
    "PEER",
    "complete",
    "lpr@5",
    "ndcg@1\u0663",  # an Arabic digit, by which 13 is meant
    "recall@" + "9" * 5000,
]


@pytest.mark.parametrize("name", ["", *NO_MEASURES, "rr@10 ", "rr@10\n"])
def test_unknown_measures_are_refused(name):
    with pytest.raises(ValueError, match="allowed: map, rank_distance, peer, preference, lpr, and ndcg@k, recall@k,"):
        parse_measure(name)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        *((name, "rr@10") for name in ("mrr@10", "MRR@10", "recip_rank", "RR_10")),
        *((name, "ndcg@10") for name in ("NDCG@10", "ndcg_cut_10", "ndcg_cut.10", "nDCG")),
        *((name, "map") for name in ("MAP", "AP", "average_precision", "map@10")),
        *((name, "recall@100") for name in ("R@100", "recall_100", "Recall@100")),
        *((name, "rr@1") for name in ("P@1", "precision@1", "success@1", "hits@1", "accuracy@1")),
        ("PEER@20", "peer@20"),
        ("peer@0", "peer"),
        *((name, None) for name in ("P@5", "hits@10", "loss", "", "ndcg@1\u0663")),
    ],
)
def test_who_uses_another_name_for_a_measure_is_told_ours(name, ours):
    with pytest.raises(ValueError, match=r"as in ndcg@10") as raised:
        parse_measure(name)
    assert str(raised.value).partition("as in ndcg@10")[2] == (f". Is {ours} meant?" if ours else "")
    assert ours is None or parse_measure(ours)


@pytest.mark.parametrize("name", [None, 3, ["map"], b"map"])
def test_a_measure_that_is_no_text_is_refused(name):
    with pytest.raises(ValueError, match=r"^name is .*; allowed: a text"):
        parse_measure(name)


def test_it_is_said_why_a_measure_may_have_no_value_whatever_its_cutoff():
    # In XQuAD-R a question has one relevant sentence in each language.
    rankings = Rankings(np.zeros(3, int), np.array([2, 50, 700]), np.ones(3), np.arange(3))
    for name in ("peer", "peer@100"):
        assert np.isnan(parse_measure(name)(rankings)).all()
        assert why_undefined(name).startswith("in a parallel task each language has one relevant passage")
    assert why_undefined("ndcg@10") == ""


def test_measures_of_language_bias_are_of_the_multilingual_setting():
    bias = ["rank_distance", "peer", "peer@20", "preference", "lpr", "complete@11"]
    assert [name for name in ("map", "ndcg@10", *bias, "rr@1", "recall@5") if is_multilingual(name)] == bias


# The language of the relevant passages by rank, in one to five lists, each with the language of its question.
IN_LANGUAGES = st.tuples(st.integers(0, 3), st.dictionaries(st.integers(1, 30), st.integers(0, 3), min_size=1))


@settings(deadline=None, max_examples=150, derandomize=True)
@given(lists=st.lists(IN_LANGUAGES, min_size=1, max_size=5), k=st.integers(1, 30))
def test_measures_of_preference_are_what_comparing_every_two_passages_gives(lists, k):
    rows = [
        (n, rank, 1, code, code == own) for n, (own, codes) in enumerate(lists) for rank, code in sorted(codes.items())
    ]
    rankings = Rankings(*np.array(rows, dtype=int).T[:4], own=np.array([row[4] for row in rows]))
    preferred, first, complete = [], [], []
    for own, codes in lists:
        inner = [rank for rank, code in codes.items() if code == own]
        outer = [rank for rank, code in codes.items() if code != own]
        compared = [i < o for i in inner for o in outer]
        preferred.append(np.mean(compared) if compared else np.nan)
        first.append(float(min(inner) < min(outer)) if compared else np.nan)
        complete.append(float({code for rank, code in codes.items() if rank <= k} == {*codes.values()}))
    # Both are a whole number divided by a whole number, so that they are equal to the bit.
    np.testing.assert_array_equal(parse_measure("preference")(rankings), preferred)
    np.testing.assert_array_equal(parse_measure("lpr")(rankings), first)
    np.testing.assert_array_equal(parse_measure(f"complete@{k}")(rankings), complete)


def test_preference_and_completeness_by_hand():
    # Passages of the question's language at 1 and 6, of two others at 4 and 9: above are 1 < 4, 1 < 9 and 6 < 9, not
    # 6 < 4, so 3 of 4. The first is of its language. The third language is reached at rank 9.
    rankings = Rankings(np.zeros(4, int), np.array([1, 4, 6, 9]), np.ones(4), np.array([2, 0, 2, 1]))
    rankings = replace(rankings, own=rankings.language == 2)
    names = ("preference", "lpr", "complete@8", "complete@9")
    assert [parse_measure(name)(rankings).item() for name in names] == [0.75, 1, 0, 1]


@pytest.mark.parametrize("name", ["preference", "lpr", "complete@3", "peer"])
def test_a_measure_of_language_bias_refuses_rankings_without_languages(name):
    lacking = "language" if "@" in name or name == "peer" else "own"
    with pytest.raises(ValueError, match=f"rankings have no {lacking}; {name.partition('@')[0]} needs that of each"):
        parse_measure(name)(together([{3: 1}]))
