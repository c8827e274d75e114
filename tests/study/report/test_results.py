"""Tests of means by hand: over queries, then passage languages, then query languages."""

import numpy as np
import pandas as pd
import pytest

from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate_embeddings
from hybridlib.names import SETTINGS
from hybridlib.study.report.results import COLUMNS, by_language_pair, summarize


def draw_results(measures):
    """Draw 40 queries in three languages, 120 passages in two of them, and two relevant passages a query."""
    rng = np.random.default_rng(4)
    queries = pd.DataFrame({"query_id": range(40), "language": rng.choice(["de", "en", "sw"], 40), "text": ""})
    passages = pd.DataFrame({"passage_id": range(120), "language": rng.choice(["de", "en"], 120), "text": ""})
    drawn = np.concatenate([rng.choice(120, 2, replace=False) for _ in range(40)])
    qrels = pd.DataFrame({"query_id": np.repeat(range(40), 2), "passage_id": drawn, "relevance": 1})
    task = RetrievalTask(queries, passages, qrels)
    return evaluate_embeddings(rng.standard_normal((40, 5)), rng.standard_normal((120, 5)), task, measures=measures)


# There are three German and two English queries; German ones have passages in English, one of them also in Swahili.
_ROWS = """
    g1 de monolingual   de  map 0.1
    g2 de monolingual   de  map 0.2
    g3 de monolingual   de  map 0.6
    e1 en monolingual   en  map 0.5
    g1 de cross-lingual en  map 0.2
    g2 de cross-lingual en  map 0.4
    g1 de cross-lingual sw  map 0.9
    e1 en cross-lingual de  map 0.0
    e2 en cross-lingual de  map 0.2
    g1 de multilingual  all map 0.4
    e1 en multilingual  all map 0.6
    g1 de multilingual  all rank_distance 7
    e1 en multilingual  all rank_distance 2
"""
RESULTS = pd.DataFrame(
    [[row.split()[0], row.split()[0][1], *row.split()[1:]] for row in _ROWS.strip().splitlines()], columns=COLUMNS
).astype({"value": float})  # g1 and e1 ask question 1


def test_the_summary_averages_over_queries_then_passage_languages_then_query_languages():
    summary = summarize(RESULTS)
    # Monolingual: German (0.1 + 0.2 + 0.6) / 3 = 0.3, English 0.5, together 0.4 (the mean of four queries is 0.35).
    assert summary.loc["monolingual", "map"] == pytest.approx(0.4)
    # Cross-lingual: German ((0.2 + 0.4) / 2 + 0.9) / 2 = 0.6, English 0.1, together 0.35 (the mean of pairs is 0.433).
    assert summary.loc["cross-lingual", "map"] == pytest.approx(0.35)
    assert summary.loc["multilingual", "map"] == pytest.approx(0.5)
    assert summary.loc["multilingual", "rank_distance"] == pytest.approx(4.5)
    assert summary.rank_distance.isna().sum() == 2
    assert sorted(summary.columns) == ["map", "rank_distance"]
    assert summary.columns.name is None


def test_further_columns_are_kept_apart_in_the_summary_even_without_a_value():
    # An alpha of None (NaN) is a strategy that has none; pandas would drop its rows in silence.
    both = pd.concat([RESULTS.assign(alpha=0.5), RESULTS.assign(alpha=np.nan, value=RESULTS.value / 2)])
    summary = summarize(both)
    assert summary.index.names == ["alpha", "setting"]
    assert summary["map"].xs("monolingual", level="setting").tolist() == pytest.approx([0.4, 0.2])
    assert len(by_language_pair(both)) == 2 * len(by_language_pair(RESULTS))


def test_a_summary_keeps_the_order_of_settings_and_measures_and_can_be_made_of_the_means_by_language_pair():
    measures = ["recall@10", "map", "rank_distance", "ndcg@10"]
    results = draw_results(measures)
    summary, means = summarize(results), by_language_pair(results)
    assert summary.index.tolist() == list(SETTINGS)
    assert summary.columns.tolist() == measures
    assert list(means.columns) == [column for column in COLUMNS if column not in ("query_id", "question")]
    pd.testing.assert_frame_equal(summarize(means), summary)


def test_of_undefined_values_only_the_mean_is_undefined():
    summary = summarize(RESULTS.assign(value=RESULTS.value.where(RESULTS.measure == "map")))
    assert np.isnan(summary.loc["multilingual", "rank_distance"])
    assert not summary["map"].isna().any()


def test_the_means_by_language_pair_average_over_queries_only():
    means = by_language_pair(RESULTS).set_index(["query_language", "passage_language", "measure"]).value
    assert means["de", "de", "map"] == pytest.approx(0.3)
    assert means["de", "en", "map"] == pytest.approx(0.3)
    assert means["de", "sw", "map"] == pytest.approx(0.9)
    assert len(means) == 9
