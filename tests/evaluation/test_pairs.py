"""The pairs of a task and their ranks, and the sums by article against a plain loop over the results."""

import logging

import numpy as np
import pandas as pd
import pytest
from word_encoder import draw_task, word_encoder

from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate, measure
from hybridlib.evaluation.pairs import Measured, article_sums, pair_table, results_of
from hybridlib.evaluation.rankings import _warn_of_undefined

MEASURES = ("map", "recall@1", "rank_distance", "peer", "preference", "complete@100")


def small_task(**columns):
    """Make a task of three questions, two of them asked in two languages, over three languages."""
    queries = pd.DataFrame({"query_id": ["e1", "d1", "e2", "s3"], "language": ["en", "de", "en", "sw"], "text": "a"})
    passages = pd.DataFrame({"passage_id": [f"p{n}" for n in range(6)], "language": ["en", "de"] * 3, "text": "a"})
    judged = [
        ("e1", "p0", 1),
        ("d1", "p0", 2),
        ("e1", "p1", 1),
        ("d1", "p1", 1),
        ("e2", "p2", 0),
        ("e2", "p4", 1),
        ("s3", "p5", 3),
    ]
    qrels = pd.DataFrame(judged, columns=["query_id", "passage_id", "relevance"])
    return RetrievalTask(queries.assign(question=["q1", "q1", "q2", "q3"], **columns), passages, qrels)


def draw_measured(seed, articles=7, unranked=0.0):
    """Draw ranks of a task of 61 queries, and put its questions into articles."""
    rng = np.random.default_rng(seed)
    task = draw_task(seed, 61, 307)
    pairs = pair_table(task)
    numbers = rng.integers(articles, size=len(pairs.question.cat.categories))
    names = np.array([f"article {number}" for number in range(articles)])
    pairs["article"] = pd.Categorical(names[numbers[pairs.question.cat.codes]])
    ranks = []
    for keys in (["query_id", "passage_language"], ["query_id"]):
        rank = pairs.groupby(keys, observed=True).cumcount() + 1  # of no two passages in one list the same
        ranks.append((rank * 3).where(rng.random(len(pairs)) >= unranked, 0).to_numpy(dtype=np.int32))
    return Measured(pairs, *ranks)


def test_a_row_of_the_table_tells_query_passage_and_article_of_a_relevant_pair():
    pairs = pair_table(small_task())
    expected = [  # the relevant ones of the judgements, in their order
        ("e1", "q1", "en", "p0", "en", 1.0, "q1"),
        ("d1", "q1", "de", "p0", "en", 2.0, "q1"),
        ("e1", "q1", "en", "p1", "de", 1.0, "q1"),
        ("d1", "q1", "de", "p1", "de", 1.0, "q1"),
        ("e2", "q2", "en", "p4", "en", 1.0, "q2"),
        ("s3", "q3", "sw", "p5", "de", 3.0, "q3"),
    ]
    names = ["query_id", "question", "query_language", "passage_id", "passage_language", "relevance", "article"]
    assert pairs.columns.tolist() == names
    assert list(pairs.itertuples(index=False, name=None)) == expected
    assert all(isinstance(pairs[name].dtype, pd.CategoricalDtype) for name in names if name != "relevance")


def test_an_encoder_gives_the_ranks_that_its_results_are_made_from():
    encoder, task = word_encoder(), draw_task(1, 11, 29)
    measured = measure(encoder, task)
    assert measured.in_language.dtype == measured.in_pool.dtype == np.int32
    assert (measured.in_language >= 1).all() and (measured.in_pool >= measured.in_language).all()
    pd.testing.assert_frame_equal(results_of(measured), evaluate(encoder, task))


@pytest.mark.parametrize("unranked", [0, 0.3])
@pytest.mark.parametrize("seed", [0, 1])
def test_sums_by_article_are_those_of_a_loop_over_the_results(seed, unranked):
    measured = draw_measured(seed, unranked=unranked)
    article = dict(zip(measured.pairs.query_id, measured.pairs.article, strict=True))
    expected = {}
    for row in results_of(measured, MEASURES).itertuples():
        key = (article[row.query_id], row.setting, row.measure, row.query_language, row.passage_language)
        total, count = expected.get(key, (0.0, 0))
        expected[key] = (total, count) if np.isnan(row.value) else (total + row.value, count + 1)
    sums = article_sums(measured, MEASURES)
    found = {tuple(row[:5]): tuple(row[5:]) for row in sums.itertuples(index=False)}
    assert len(found) == len(sums) and found.keys() == expected.keys()
    assert all(found[key][1] == expected[key][1] for key in expected)
    # Sums of at most 61 values in another order.
    assert all(found[key][0] == pytest.approx(expected[key][0], rel=1e-12) for key in expected)
    assert (sums["count"] == 0).any()  # of undefined values only


def test_a_pair_that_was_not_ranked_takes_no_part():
    # As BM25 ranks: only e1 with p0, d1 with p1 and e2 with p4 are of one language, at ranks 1, 2 and 4.
    ranks = np.array([1, 0, 0, 2, 4, 0], dtype=np.int32)
    results = results_of(Measured(pair_table(small_task()), ranks, np.zeros(6, np.int32)), ["map"])
    assert results.setting.eq("monolingual").all()
    assert list(zip(results.query_id, results.value, strict=True)) == [("e1", 1.0), ("d1", 0.5), ("e2", 0.25)]


def test_settings_that_mean_nothing_for_a_task_have_no_sums():
    measured = Measured(pair_table(small_task()), np.arange(1, 7), np.arange(1, 7), ("cross-lingual",))
    assert article_sums(measured).setting.unique().tolist() == ["cross-lingual"]
    with pytest.raises(ValueError, match=r"measures is \['lpr'\]; no relevant pair has one in the settings"):
        article_sums(measured, ["lpr"])


def test_ranks_that_do_not_fit_the_pairs_are_refused():
    with pytest.raises(ValueError, match=r"in_pool has shape \(5,\); expected \(6,\), a rank for each pair"):
        Measured(pair_table(small_task()), np.ones(6, np.int32), np.ones(5, np.int32))


def test_a_measure_that_is_undefined_throughout_says_so_once_and_has_no_value(caplog):
    # Each question has one passage in each of two languages, which is what makes a task parallel.
    task = small_task()
    parallel = task.qrels[task.qrels.query_id.isin(["e1", "d1"])].assign(relevance=1)
    task = RetrievalTask(task.queries, task.passages, parallel)
    measured = Measured(pair_table(task), np.ones(4, np.int32), np.array([1, 2, 3, 4], dtype=np.int32))
    _warn_of_undefined.cache_clear()
    with caplog.at_level(logging.WARNING):
        sums, results = article_sums(measured, ["peer", "map"]), results_of(measured, ["peer"])
    (message,) = caplog.messages
    assert message.startswith("peer is undefined (NaN) for every question: in a parallel task each language has one")
    assert results.value.isna().all() and len(results) == 2
    assert sums[sums.measure == "peer"]["count"].tolist() == [0, 0]
