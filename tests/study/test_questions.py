"""Tests of the five questions: what each compares, and that nothing else differs between what it compares."""

from collections import Counter, defaultdict

import numpy as np
import pytest
import yaml

from hybridlib.data.folds import read_folds
from hybridlib.paths import params_path
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report.claims import change
from hybridlib.study.report.effects import MARGINS
from hybridlib.study.report.paper import paper_mean

PROFILES = ("e5", "embedded", "paper")
FILES = {
    (profile, name): yaml.safe_load(params_path(profile, name).read_text(encoding="utf-8"))
    for profile in PROFILES
    for name in QUESTIONS
}


def params(name, profile="embedded", **changes):
    return QUESTIONS[name](**{**FILES[profile, name], **changes})


def differing(trials):
    """Return the fields that runs of trials differ in."""
    runs = [trial.run.model_dump() for trial in trials]
    return {field for field in runs[0] if len({str(run[field]) for run in runs}) > 1}


# All questions


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("profile", PROFILES)
def test_labels_tell_trials_apart_and_say_the_fold_and_the_seed(profile, name):
    trials = params(name, profile).trials()
    labels = Counter(tuple(sorted(trial.labels.items())) for trial in trials)
    assert max(labels.values()) == 1
    for trial in trials:
        assert trial.labels["fold"] == (-1 if trial.run.fold is None else trial.run.fold)
        assert trial.labels["seed"] == trial.run.seed
    assert {trial.labels["fold"] for trial in trials} == set(FILES[profile, name]["folds"] or [-1])


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("profile", PROFILES)
def test_all_trials_of_a_question_are_tested_on_the_same(profile, name):
    by_task = defaultdict(set)
    for trial in params(name, profile).trials():
        for test in trial.run.tests:
            by_task[test.task].add(test)
    assert {task: len(tests) for task, tests in by_task.items()} == dict.fromkeys(by_task, 1)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_the_untrained_encoder_as_a_row(name):
    for profile in PROFILES:
        trials = params(name, profile).trials()
        untrained = [trial for trial in trials if trial.labels["strategy"] == "untrained"]
        assert untrained and all(trial.run.steps == 0 for trial in untrained)


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("profile", PROFILES)
def test_claims_are_of_labels_that_there_are_and_of_measures_with_a_margin(profile, name):
    question = params(name, profile)
    labels = {trial.labels["strategy"] for trial in question.trials()}
    assert len({claim.text for claim in question.claims}) == len(question.claims)
    assert any(claim.kind == "primary" for claim in question.claims)
    for claim in question.claims:
        assert sum(claim.contrast.values()) == 0
        assert claim.setting == "multilingual" or claim.measure != "rank_distance"
        if claim.asks == "not inferior":
            assert claim.measure in MARGINS
        if claim.kind == "primary":
            assert {one if isinstance(one, str) else one[0] for one in claim.contrast} <= labels


# These were fixed before the results were seen: what is claimed of which table, in which setting.
PRIMARY = {
    "batch_ratio": [
        ("main", "monolingual", "not inferior", {"hybrid": 1, "x-x-mono": -1}),
        ("main", "multilingual", "better", {"hybrid": 1, "x-x-mono": -1}),
    ],
    "language_imbalance": [("rare", "multilingual", "better", change("hybrid", "x-x-mono", "unequal", "balanced"))],
    "domain_data": [("inside", "cross-lingual", "better", {"general + domain": 1, "general": -1})],
    "miracl_high_resource": [
        ("main", "monolingual", "better", {"specialised": 1, "untrained": -1}),
        ("main", "monolingual", "not inferior", {"hybrid": 1, "specialised": -1}),
    ],
    "mlqa_language_families": [("main", "multilingual", "better", {"hybrid": 1, "x-x": -1})],
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_primary_claims_are_those_that_were_fixed_beforehand(name):
    primary = [claim for claim in params(name, "e5").claims if claim.kind == "primary"]
    assert [(claim.on, claim.setting, claim.asks, claim.contrast) for claim in primary] == PRIMARY[name]
    assert {claim.measure for claim in primary} == {"map"}


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_paper_reports_what_claims_say_that_it_reports(name):
    for claim in params(name).claims:
        if claim.paper:
            task, *strategies = claim.paper
            assert all(paper_mean(task, "labse", claim.measure, claim.setting, one) > 0 for one in strategies)
            assert strategies == list(claim.contrast)


# Batch ratio


def test_alphas_are_compared_with_everything_else_equal():
    question = params("batch_ratio", "e5")
    group = [t for t in question.main() if t.labels["strategy"] in question.alpha_of and t.labels["fold"] == 1]
    assert differing(group) == {"strategy", "alpha", "tests"}  # the ends have names of their own, and more tests
    assert {t.labels["strategy"]: t.run.alpha for t in group} == {
        "x-y": 0.0, "hybrid, α = 0.25": 0.25, "hybrid": 0.5, "hybrid, α = 0.75": 0.75, "x-x-mono": 1.0,
    }  # fmt: skip


def test_rows_that_take_means_off_or_the_mask_differ_from_their_own_in_that_alone():
    trials = {(t.labels["strategy"], t.labels["fold"]): t for t in params("batch_ratio", "e5").main()}
    pairs = {"untrained, centred": "centred", "x-x-mono, centred": "centred", "hybrid, no mask": "mask"}
    for name, field in pairs.items():
        plain = trials[name.partition(",")[0], 2]
        assert differing([plain, trials[name, 2]]) - {"tests"} == {field}
        assert [test.task for test in trials[name, 2].run.tests] == ["xquad-r"]


def test_other_tasks_are_for_the_strategies_that_are_named_and_for_all_where_none_is():
    transfer = {"mlqa-r": [], "tatoeba": ["x-y"]}
    trials = params("batch_ratio", "e5", transfer=transfer, folds=[0]).main()
    tested = {t.labels["strategy"]: [test.task for test in t.run.tests] for t in trials}
    assert tested["x-y"] == tested["untrained"] == ["xquad-r", "mlqa-r", "tatoeba"]
    assert tested["hybrid"] == tested["bm25"] == ["xquad-r", "mlqa-r"]  # Tatoeba has no monolingual setting
    assert tested["x-x-mono, centred"] == tested["hybrid, no mask"] == ["xquad-r"]


def test_low_resource_languages_keep_what_they_have_and_others_have_all():
    trial = params("batch_ratio").low()[0]
    corpus = trial.run.load_corpus().sizes()
    assert corpus[["sw", "el", "en"]].tolist() == [152, 0, 758]  # a fifth of 758, rounded up, none, and all


# Language imbalance


@pytest.mark.parametrize("profile", PROFILES)
def test_orders_give_the_same_shares_to_other_languages(profile):
    question = params("language_imbalance", profile)
    shares = [question.shares(place) for place in range(len(question.orders))]
    for one in shares:
        # Shares of .04 and more are rounded to four digits, so they are off by an eight hundredth at most.
        assert max(one.values()) / min(one.values()) == pytest.approx(question.ratio, rel=1 / 800)
        assert sorted(one.values()) == sorted(shares[0].values())
    # A language is rare in one order and rich in another, so what is said of the rare is not of certain languages.
    size = len(question.orders[0])
    rare = [set(order[size - min(5, size // 2) :]) for order in question.orders]
    assert set.union(*rare) == set(question.orders[0]) and set.intersection(*rare) == set()
    # No language has the same place in all orders. In those of `e5` four have one twice, so it is no Latin square.
    places = {code: [order.index(code) for order in question.orders] for code in question.orders[0]}
    assert all(len(set(of)) > 1 for of in places.values())


def test_shares_fall_by_a_power_and_balanced_data_have_their_mean():
    question = params("language_imbalance", "e5")
    # The n-th of 11 has n ^ -(ln 25 / ln 11), so the last has 1 / 25, and the mean is .2052.
    power = np.log(25) / np.log(11)
    assert list(question.shares(0).values()) == pytest.approx([n**-power for n in range(1, 12)], abs=5e-5)
    for trial in question.trials():
        if trial.labels["strategy"] != "untrained":
            balanced = trial.labels["data"] == "balanced"
            assert trial.run.others == (0.2052 if balanced else 1.0)
            assert trial.run.available == ({} if balanced else question.shares(trial.labels["order"]))
            assert (trial.run.language_temperature == 1.0) != balanced  # unequal data are drawn in proportion
    assert np.mean(list(question.shares(3).values())) == pytest.approx(0.2052, abs=5e-5)


@pytest.mark.parametrize("name", ["language_imbalance", "mlqa_language_families"])
def test_strategies_are_compared_with_everything_else_equal(name):
    groups: dict = {}
    for trial in params(name).trials():
        if trial.run.steps:
            others = tuple(value for label, value in trial.labels.items() if label != "strategy")
            groups.setdefault(others, []).append(trial)
    for trials in groups.values():
        assert len(trials) >= 3
        assert differing(trials) <= {"strategy", "alpha", "code_switched"}


# Domain data


@pytest.mark.parametrize("profile", PROFILES)
def test_a_domain_is_added_to_the_others_or_takes_their_place_at_an_equal_number_of_items(profile):
    question = params("domain_data", profile)
    given = FILES[profile, "domain_data"]
    assert given["fewer"] + given["added"] == given["general"]
    for trial in question.trials():
        if trial.labels["strategy"] == "untrained":
            continue
        items = dict(trial.run.items)
        added = items.pop(trial.labels["added"], 0)
        arm = trial.labels["strategy"]
        assert added == (given["added"] if arm.endswith("+ domain") else 0)
        assert sum(items.values()) == (given["fewer"] if arm.startswith("fewer") else given["general"])
        assert set(items) == {*given["domains"], *given["always"]} - {trial.labels["added"]}


def test_general_items_are_shared_out_by_what_the_training_articles_have():
    trial = next(t for t in params("domain_data", "e5").trials() if t.labels["strategy"] == "general")
    folds = read_folds()
    there = folds[(folds.fold != 0) & (folds.domain != "history")].groupby("domain").questions.sum()
    expected = 450 * there / there.sum()
    for topic, number in expected.items():
        assert abs(trial.run.items[topic] - number) <= 2  # rounded down, and the first has the rest


# High-resource languages


def test_specialised_encoders_have_one_language_and_joint_ones_all_with_the_same_steps():
    trials = [t for t in params("miracl_high_resource", "e5").trials() if t.labels["fold"] == 0]
    specialised = [t for t in trials if t.labels["strategy"] == "specialised"]
    assert [t.run.languages for t in specialised] == [("en",), ("es",), ("ru",), ("zh",)]
    assert all(t.run.strategy == "x-x-mono" and t.labels["trained_on"] == t.run.languages[0] for t in specialised)
    joint = {t.labels["strategy"]: t.run for t in trials if t.labels["trained_on"] == "all"}
    assert joint["hybrid"].languages == () and joint["hybrid"].steps == specialised[0].run.steps == 100
    assert joint["hybrid, high-resource"].languages == ("en", "es", "ru", "zh")
    assert joint["x-x-mono, high-resource, 400 steps"].steps == sum(t.run.steps for t in specialised)


# Errors


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "language_imbalance",
            {"orders": [["ar", "en"]]},
            r"orders has \['ar', 'en'\]; allowed: each of \['ar', 'en', 'es",
        ),
        ("language_imbalance", {"orders": []}, "orders is .*at least 1"),
        ("language_imbalance", {"orders": [["en"]], "languages": ["en"]}, r"orders\.0 is \['en'\]; .*at least 2"),
        (
            "language_imbalance",
            {"orders": [["en", "en"]], "languages": []},
            r"orders has \['en', 'en'\]; allowed: each of",
        ),
        ("language_imbalance", {"languages": []}, r"orders has \[.*\]; allowed: each of \['ar', 'bn', "),
        ("language_imbalance", {"ratio": 1}, "ratio is 1; .*greater than 1"),
        ("language_imbalance", {"ratio": float("inf")}, "ratio is inf; .*finite"),
        ("language_imbalance", {"ratio": 1e6}, r"ratio is 1000000\.0; allowed: less, as the smallest language would"),
        ("miracl_high_resource", {"measure": "recall@1"}, "measure is 'recall@1'; allowed: 'map' or 'ndcg@10'"),
        ("miracl_high_resource", {"longer": [0]}, r"longer\.0 is 0; "),
        ("miracl_high_resource", {"tested": ["xx"]}, r"tested is \['xx'\]; unknown language 'xx'; known are "),
        ("domain_data", {"always": [""]}, r"always\.0 is ''; allowed: a text that is not empty"),
        ("domain_data", {"always": ["money"]}, "expected two or more, each once"),
        ("domain_data", {"domains": ["money"], "always": []}, "expected two or more, each once"),
        ("miracl_high_resource", {"languages": ["en"]}, "languages is .*at least 2"),
        (
            "mlqa_language_families",
            {"strategies": ["x-y", "hybrid"]},
            r"baseline is 'x-x', not among strategies: \['x-y', 'hybrid'\]",
        ),
        ("mlqa_language_families", {"strategies": ["x-z", "x-x"]}, r"strategy 'x-z'; allowed: en-en, .*code-switch"),
    ],
)
def test_what_cannot_be_compared_is_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        params(name, **changes)


def test_data_that_cannot_fill_a_batch_is_refused_before_anything_is_trained():
    training = {**FILES["embedded", "language_imbalance"]["training"], "batch_size": 64}
    with pytest.raises(ValueError, match=r"batch_size is 64, but a monolingual batch .* cannot be filled"):
        params("language_imbalance", training=training).check_data()
