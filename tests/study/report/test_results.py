"""Tests of means by hand, over queries, then passage languages, then query languages; and of sums by article."""

import numpy as np
import pandas as pd
import pytest
from made_sums import made_sums
from small_runs import FURTHER, RUN, TEST, changed, keep

from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate_embeddings
from hybridlib.evaluation.pairs import article_sums
from hybridlib.names import SETTINGS
from hybridlib.study.report.results import (
    COLUMNS,
    apart,
    by_language_pair,
    read_sums,
    summarize,
    waiting,
    write_sums,
)
from hybridlib.study.run import Trial
from hybridlib.study.runs import store


def draw_results(measures):
    """Draw 40 queries in three languages, 120 passages in two of them, and two relevant passages a query."""
    rng = np.random.default_rng(4)
    queries = pd.DataFrame({"query_id": range(40), "language": rng.choice(["de", "en", "sw"], 40), "text": "t"})
    passages = pd.DataFrame({"passage_id": range(120), "language": rng.choice(["de", "en"], 120), "text": "t"})
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


@pytest.mark.parametrize("dtype", ["float16", "float32", "Float32", "Float64", "object", "float64[pyarrow]"])
def test_means_are_made_in_float64_whatever_type_the_values_have(dtype):
    # In float32 the mean would be off in the eighth digit, in float16 in the fourth.
    near = 1000 if dtype == "float16" else 1_000_000
    results = pd.concat([RESULTS.iloc[:1]] * 999).assign(query_id=range(999), value=near + np.arange(999.0) % 2)
    found = summarize(results.assign(value=results.value.astype(dtype)))
    assert found["map"].dtype == np.float64
    assert found["map"].item() == pytest.approx(near + 499 / 999, rel=1e-14)


@pytest.mark.parametrize("dtype", ["float64", "Float64", "object"])
def test_a_value_that_is_missing_takes_no_part_in_whatever_type_it_is(dtype):
    values = RESULTS.value.where(RESULTS.query_id != "g3").astype(dtype)
    summary = summarize(RESULTS.assign(value=values))
    assert summary.loc["monolingual", "map"] == pytest.approx(((0.1 + 0.2) / 2 + 0.5) / 2)


QRELS = pd.DataFrame({"query_id": ["q"], "passage_id": ["p"], "relevance": [1]})
NEEDED = (
    r"results \(with query_language, setting, passage_language, measure, value, as returned by `evaluate`\) lacks the"
)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (None, "results is None; allowed: an instance of DataFrame"),
        (RESULTS.to_dict("records")[:1], r"results is \[{.*; allowed: an instance of DataFrame"),
        (QRELS, f"{NEEDED} column 'query_language'; it has "),
        (made_sums({"hybrid": 0.5}), f"{NEEDED} column 'value'; it has "),
        (pd.DataFrame(), rf"{NEEDED} column 'query_language'; it has \[\]"),
        (RESULTS.assign(measure=None), "results.measure: row 0 is None, row 1 is None, .*; allowed: a text"),
        (RESULTS.assign(value="0.5"), "results.value: row 0 is '0.5', .*; allowed: a finite number or none"),
        (RESULTS.assign(value=np.inf), "results.value: row 0 is inf, .*; allowed: a finite number or none"),
        (RESULTS.assign(value=1j), "results.value: row 0 is 1j, .*; allowed: a finite number or none"),
        (RESULTS.assign(value=True), "results.value: row 0 is True, .*; allowed: a finite number or none"),
        (RESULTS.assign(alpha=[[1]] * len(RESULTS)), r"results.alpha: row 0 is \[1\], .*; allowed: a text or a number"),
        (RESULTS.assign(setting=[["a"]] * len(RESULTS)), r"results.setting: row 0 is \['a'\], .*; allowed: a text"),
        (pd.concat([RESULTS] * 2), r"results.query_id: row 13 is 'g1', .* \(13 rows are wrong\); allowed: one row for"),
        (
            pd.concat([by_language_pair(RESULTS)] * 2),
            "results.measure: row 9 is .*; allowed: one row for each of query_language, setting, passage_language, me",
        ),
    ],
)
def test_what_is_not_results_is_told_what_it_lacks(results, message):
    for function in (summarize, by_language_pair):
        with pytest.raises(ValueError, match=f"^{message}") as raised:
            function(results)
        assert len(str(raised.value)) < 500


def test_results_without_rows_have_a_summary_without_rows():
    assert summarize(RESULTS[:0]).empty and by_language_pair(RESULTS[:0]).empty


# Sums by article


@pytest.fixture
def in_a_project(tmp_path, monkeypatch):
    """Go to an empty project, where no runs are."""
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)


# Nothing loads its data, so these tests need no encoder and no text.
UNTRAINED = changed(RUN, steps=0, tests=(TEST,))
TRIALS = [
    Trial({"strategy": "hybrid", "fold": -1, "seed": 0}, RUN),
    Trial({"strategy": "untrained", "fold": -1, "seed": 0}, UNTRAINED),
]


def test_sums_are_read_for_every_trial_with_its_labels_and_the_name_of_its_test(in_a_project):
    keep(RUN)
    keep(UNTRAINED, first=2)
    sums = read_sums(TRIALS, ("map", "rank_distance"), task="atlas")
    assert {"strategy", "fold", "seed", "test"} < set(sums.columns)
    assert list(sums.strategy.cat.categories) == ["hybrid", "untrained"]  # in the order of the trials
    assert set(sums.test) == {RUN.test_name(TEST)}
    for trial in TRIALS:
        of_one = sums[sums.strategy == trial.labels["strategy"]]
        expected = article_sums(store.read(trial.run, TEST), ("map", "rank_distance"))
        columns = ["article", "setting", "measure", "query_language", "passage_language"]
        pd.testing.assert_frame_equal(
            of_one[columns].astype(str).reset_index(drop=True), expected[columns].astype(str), check_dtype=False
        )
        assert of_one.total.tolist() == expected.total.tolist()
        assert of_one["count"].tolist() == expected["count"].tolist()


def test_trials_that_are_not_there_are_left_out_and_wait(in_a_project):
    assert read_sums(TRIALS, ("map",), task="atlas").empty
    assert waiting(TRIALS) == TRIALS
    keep(RUN)
    assert set(read_sums(TRIALS, ("map",), task="atlas").strategy) == {"hybrid"}
    assert waiting(TRIALS) == TRIALS[1:]


def test_a_trial_waits_until_all_of_its_tests_are_there(in_a_project):
    both = Trial({"strategy": "hybrid", "fold": -1, "seed": 0}, changed(RUN, tests=(TEST, FURTHER)))
    keep(both.run, TEST)
    assert waiting([both]) == [both]
    assert len(read_sums([both], ("map",), task="atlas")) > 0
    assert read_sums([both], ("map",), task="atlas-partial").empty
    keep(both.run, FURTHER)
    assert waiting([both]) == []
    assert len(read_sums([both], ("map",), task="atlas-partial")) > 0


def test_a_setting_of_which_a_run_is_missing_is_left_out_unless_parts_are_asked_for(in_a_project):
    # Its mean would be over other runs than that of others, so it would not compare.
    trials = [
        Trial({"strategy": strategy, "fold": -1, "seed": seed}, changed(RUN, strategy=strategy, alpha=alpha, seed=seed))
        for strategy, alpha in (("hybrid", 0.5), ("x-y", 0.0))
        for seed in (0, 1)
    ]
    for trial in trials[:3]:  # x-y lacks its second seed
        keep(trial.run)
    whole = read_sums(trials, ("map",), task="atlas")
    assert set(whole.strategy) == {"hybrid"} and set(whole.seed) == {0, 1}
    part = read_sums(trials, ("map",), task="atlas", whole=False)
    assert set(zip(part.strategy, part.seed, strict=True)) == {("hybrid", 0), ("hybrid", 1), ("x-y", 0)}
    keep(trials[3].run)
    assert set(read_sums(trials, ("map",), task="atlas").strategy) == {"hybrid", "x-y"}


def test_a_label_put_into_the_names_of_tests_keeps_runs_apart():
    sums = made_sums({"hybrid": 0.5, "x-y": 0.4}).assign(rotation=1)
    assert set(apart(sums, "rotation").test) == {"xquad-r-0/1"} and set(sums.test) == {"xquad-r-0"}
    assert apart(sums[:0], "rotation").empty and apart(pd.DataFrame(), "rotation").empty


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: read_sums(None, "map", task="atlas"), "trials is None; allowed: a list"),
        (lambda: read_sums(["hybrid"], "map", task="atlas"), "trials.0 is 'hybrid'; allowed: an instance of Trial"),
        (lambda: read_sums([], ["mapp"], task="atlas"), "measure is 'mapp'; allowed: map, rank_distance, "),
        (lambda: read_sums([], "map", task=""), "task is ''; allowed: a text that is not empty"),
        (lambda: read_sums([], "map", task="atlas", whole="no"), "whole is 'no'; allowed: True or False"),
        (lambda: waiting(["hybrid"]), "trials.0 is 'hybrid'; allowed: an instance of Trial"),
        (lambda: apart(made_sums({"hybrid": 0.5}), "rotation"), r"sums .* lacks the column 'rotation'; it has "),
        (lambda: apart(None, "rotation"), "sums is None; allowed: an instance of DataFrame"),
        (lambda: write_sums("", {"main": made_sums({"hybrid": 0.5})}), "path is ''; allowed: the path of a file"),
        (lambda: write_sums("x.parquet", {}), "tables are {}; allowed: one or more, by name"),
        (lambda: write_sums("x.parquet", {"main": QRELS}), r"tables\['main'\] lacks the column 'article'; it has "),
    ],
)
def test_arguments_are_checked_before_anything_is_read_or_written(call, message, in_a_project):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_where_one_strategy_is_missing_the_others_are_left_out_too():
    full = made_sums({"hybrid": 0.5, "x-y": 0.4}).assign(rotation=0)
    lacking = made_sums({"hybrid": 0.9}).assign(rotation=1)
    assert set(apart(pd.concat([full, lacking]), "rotation").test) == {"xquad-r-0/0"}
    other_fold = lacking.assign(test="xquad-r-1", rotation=0)
    assert set(apart(pd.concat([full, other_fold]), "rotation").test) == {"xquad-r-0/0"}


def test_sums_of_all_parts_of_a_notebook_are_in_one_file(tmp_path):
    tables = {"main": made_sums({"hybrid": 0.5}), "low": made_sums({"hybrid": 0.4}, rotation=1, cell=1)}
    tables["main"]["article"] = pd.Categorical(tables["main"].article)
    write_sums(tmp_path / "deep" / "x.parquet", tables)
    kept = pd.read_parquet(tmp_path / "deep" / "x.parquet")
    assert kept.part.unique().tolist() == ["main", "low"]
    assert kept.total.sum() == pytest.approx(tables["main"].total.sum() + tables["low"].total.sum())
    assert kept[kept.part == "main"].rotation.isna().all() and len(list(tmp_path.rglob("*.parquet"))) == 1
