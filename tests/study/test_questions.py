"""Tests of the five questions: what each compares, and that nothing else differs between what it compares."""

from collections import Counter

import numpy as np
import pytest
import yaml

from hybridlib.paths import params_path
from hybridlib.study.questions import QUESTIONS

FILES = {name: yaml.safe_load(params_path("embedded", name).read_text(encoding="utf-8")) for name in QUESTIONS}


def params(name, **changes):
    return QUESTIONS[name](**{**FILES[name], **changes})


def differing(trials):
    """Return the fields that runs of trials differ in."""
    runs = [trial.run.model_dump() for trial in trials]
    return {field for field in runs[0] if len({str(run[field]) for run in runs}) > 1}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_three_seeds_three_sizes_and_labels_that_tell_its_trials_apart(name):
    trials = params(name).trials()
    assert len({trial.labels["seed"] for trial in trials}) >= 3
    assert len({trial.labels["size"] for trial in trials}) == 3
    labels = Counter((*trial.labels.values(), trial.run.languages) for trial in trials)
    assert max(labels.values()) == 1
    assert len({tuple(trial.labels) for trial in trials}) == 1
    assert all(trial.run.seed == trial.labels["seed"] for trial in trials)


@pytest.mark.parametrize("name", ["language_imbalance", "domain_data", "mlqa_language_families"])
def test_strategies_are_compared_with_everything_else_equal(name):
    groups: dict = {}
    for trial in params(name).trials():
        others = tuple(value for label, value in trial.labels.items() if label != "strategy")
        groups.setdefault(others, []).append(trial)
    for trials in groups.values():
        assert len(trials) >= 3
        assert differing(trials) <= {"strategy", "alpha", "code_switched"}


def test_alphas_are_compared_with_everything_else_equal():
    trials = params("batch_ratio").trials()
    chosen = {"encoder": "static:aligned", "seed": 1, "size": 1.0}
    group = [trial for trial in trials if chosen.items() <= trial.labels.items()]
    assert differing(group) == {"alpha"}
    names = ["x-y", "hybrid, α = 0.25", "hybrid", "hybrid, α = 0.75", "x-x-mono"]
    assert [trial.labels["strategy"] for trial in group] == names


def test_with_less_data_low_resource_languages_keep_what_they_have():
    small = next(t for t in params("batch_ratio").trials() if t.labels["size"] == 0.25)
    assert small.run.others == 0.25
    corpus = small.run.load_corpus().sizes()
    assert corpus[["sw", "el", "en"]].tolist() == [152, 0, 190]  # a fifth, none and a quarter of 758, rounded up


def test_imbalance_changes_shares_and_not_their_mean_and_seeds_give_them_to_other_languages():
    shares = params("language_imbalance").training_shares()
    full = shares[shares["size"] == 1]
    by_run = full.groupby(["exponent", "seed"]).share
    np.testing.assert_allclose(by_run.mean(), 0.23, atol=1e-5)
    # Of eight languages the largest has 8 ^ 1.5 = 22.6 times the share of the smallest at an exponent of 1.5.
    spread = (by_run.max() / by_run.min()).groupby("exponent").first()
    np.testing.assert_allclose(spread, [1, 8**0.75, 8**1.5], rtol=1e-3)
    largest = full[full.exponent == 1.5].sort_values("share").groupby("seed").language.last()
    assert largest.nunique() > 1


def test_where_data_is_balanced_all_ways_to_draw_languages_are_one_run():
    balanced = [t for t in params("language_imbalance").trials() if t.labels["exponent"] == 0]
    assert len({trial.run for trial in balanced}) * 3 == len(balanced)


def test_domain_data_replaces_general_data_at_an_equal_number_of_items():
    for trial in params("domain_data").trials():
        items = dict(trial.run.items)
        added = items.pop(trial.labels["added"], 0)
        assert added == round(trial.labels["share"] * 240 * trial.labels["size"])
        assert added + sum(items.values()) == round(240 * trial.labels["size"])
        assert max(items.values()) - min(items.values()) <= 1


def test_the_two_budgets_of_the_hybrid_are_those_of_the_specialised_models_each_and_together():
    trials = [t for t in params("miracl_high_resource").trials() if (t.labels["seed"], t.labels["size"]) == (0, 1.0)]
    specialised = [t.run for t in trials if t.labels["strategy"] == "specialised"]
    hybrid = {t.labels["strategy"]: t.run for t in trials if t.labels["strategy"] != "specialised"}
    assert [run.languages for run in specialised] == [(code,) for code in FILES["miracl_high_resource"]["languages"]]
    assert all(run.task_languages == run.languages and run.strategy == "x-x-mono" for run in specialised)
    assert hybrid["hybrid, equal budget per language"].steps == sum(run.steps for run in specialised)
    assert hybrid["hybrid, equal total budget"].steps == specialised[0].steps


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("language_imbalance", {"mean_share": 0.5}, r"mean_share is 0\.5; at exponent 1\.5 allowed: 0\.24"),
        ("domain_data", {"shares": [0.25, 0.5]}, "it must include 0.0"),
        ("domain_data", {"always": ["money"]}, "expected two or more, each once"),
        ("mlqa_language_families", {"strategies": ["x-y", "hybrid"]}, "'x-x' is not among strategies: x-y, hybrid"),
        ("mlqa_language_families", {"strategies": ["x-z", "x-x"]}, r"strategy 'x-z'; allowed: en-en, .*code-switch"),
    ],
)
def test_what_cannot_be_compared_is_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        params(name, **changes)


def test_data_that_cannot_fill_a_batch_is_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match=r"batch_size is 64, but a monolingual batch .* cannot be filled"):
        params("language_imbalance", batch_size=64).check_data()
