"""Tests of findings: they say what follows from the results, and no more."""

from dataclasses import replace

import pandas as pd
import pytest
from made_sums import made_sums, spread_for

from hybridlib.paths import findings_path, params_path, results_path
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report.claims import Claim, change, half_of_the_gap, minus
from hybridlib.study.report.findings import answer, check_claims, sentence, tell, write

CLAIM = Claim("It is so", "main", "monolingual", "map", minus("hybrid", "x-y"), kind="primary")
SPARED = replace(CLAIM, asks="not inferior")


def check(means, claim=CLAIM, **given):
    return check_claims([claim], {"main": made_sums(means, **given)}).iloc[0]


# What holds


def test_a_claim_holds_where_the_interval_is_above_0():
    # Each article is .02 up or down, so the standard error is .02 / sqrt(47) = .003.
    row = check({"hybrid": 0.55, "x-y": 0.5}, spread=0.02)
    assert (row.verdict, row.holds) == ("better", "yes")
    assert row.difference == pytest.approx(0.05)
    assert 0.04 < row.lower < 0.05 < row.upper < 0.06 and row.p < 0.001


def test_a_claim_is_not_shown_where_the_interval_is_about_0():
    row = check({"hybrid": 0.501, "x-y": 0.5}, spread=0.2)
    assert (row.verdict, row.holds) == ("not told apart", "no")
    assert row.lower < 0 < row.upper and row.p > 0.05


def test_the_contrary_of_a_claim_is_told_where_the_interval_is_below_0():
    row = check({"hybrid": 0.45, "x-y": 0.5}, spread=0.02)
    assert (row.verdict, row.holds) == ("worse", "the contrary")


def test_a_lower_rank_distance_is_better():
    claim = replace(CLAIM, setting="multilingual", measure="rank_distance")
    row = check({"hybrid": 100.0, "x-y": 150.0}, claim, spread=5.0, setting="multilingual", measure="rank_distance")
    assert row.holds == "yes" and row.difference == pytest.approx(-50)


def test_half_of_a_gap_is_kept_where_the_mix_is_nearer_to_the_best():
    claim = replace(CLAIM, contrast=half_of_the_gap("hybrid", "x-x-mono", "x-y"))
    # Of the gap of .1, .07 are kept, which is .02 above the half; or .03, .02 below it.
    for mixed, holds in ((0.57, "yes"), (0.53, "the contrary")):
        row = check({"hybrid": mixed, "x-x-mono": 0.6, "x-y": 0.5}, claim, spread=0.01)
        assert row.holds == holds and abs(row.difference) == pytest.approx(0.02)


def test_a_difference_in_differences_is_of_strategies_and_data():
    claim = replace(CLAIM, contrast=change("hybrid", "x-y", "unequal", "balanced"))
    means = {
        ("hybrid", "unequal"): 0.6,
        ("x-y", "unequal"): 0.5,
        ("hybrid", "balanced"): 0.63,
        ("x-y", "balanced"): 0.6,
    }
    row = check(means, claim, spread=0.01)
    assert row.difference == pytest.approx((0.6 - 0.5) - (0.63 - 0.6)) and row.holds == "yes"


# Not inferior


def test_no_loss_of_the_margin_is_not_inferior_though_it_is_worse():
    # Articles hardly differ, and seeds have a standard deviation of .0013 on each side, .0018 together, so the interval
    # is about -.006 +- .004.
    row = check({"hybrid": 0.494, "x-y": 0.5}, SPARED, spread=0.0005)
    assert (row.verdict, row.holds) == ("worse", "yes")
    assert "yes, though worse by less than the margin" in sentence(SPARED, row)


# The interval about a loss of .01, the margin, holds it; that about .05 lies beyond it.
@pytest.mark.parametrize(
    ("hybrid", "holds", "said"), [(0.49, "no", "not shown, and worse"), (0.45, "the contrary", "no, worse")]
)
def test_a_loss_of_the_margin_or_more_is_not_spared(hybrid, holds, said):
    row = check({"hybrid": hybrid, "x-y": 0.5}, SPARED, spread=0.001)
    assert (row.verdict, row.holds) == ("worse", holds)
    assert f"**{said}**" in sentence(SPARED, row)


def test_what_is_better_is_not_inferior():
    assert check({"hybrid": 0.55, "x-y": 0.5}, SPARED, spread=0.02).holds == "yes"


@pytest.mark.parametrize(("untrained", "holds"), [(0.4, "yes"), (0.5, "not answered"), (0.6, "not answered")])
def test_nothing_is_spared_where_the_reference_is_not_better_than_the_untrained_encoder(untrained, holds):
    row = check({"hybrid": 0.5, "x-y": 0.5, "untrained": untrained}, SPARED, spread=0.01)
    assert row.holds == holds
    # What is claimed to be better needs no reference that is good.
    assert check({"hybrid": 0.55, "x-y": 0.5, "untrained": untrained}, CLAIM, spread=0.01).holds == "yes"


@pytest.mark.parametrize(("untrained", "holds"), [(0.4, "yes"), (0.6, "not answered")])
def test_the_untrained_encoder_is_looked_up_with_the_same_data_as_the_reference(untrained, holds):
    claim = replace(SPARED, contrast=minus(("hybrid", "unequal"), ("x-y", "unequal")))
    means = {("hybrid", "unequal"): 0.5, ("x-y", "unequal"): 0.5, ("untrained", "unequal"): untrained}
    means |= {("untrained", "balanced"): 0.45}
    assert check(means, claim, spread=0.01).holds == holds


@pytest.mark.parametrize(
    ("mean", "holds"), [(0.489, "the contrary"), (0.49, "no"), (0.491, "yes"), (0.5, "yes"), (0.511, "yes")]
)
def test_a_loss_of_just_the_margin_is_not_spared_and_is_not_beyond_it_either(mean, holds):
    # These two have no seeds, and articles do not differ, so the interval is the difference alone; the margin is .01.
    claim = replace(SPARED, contrast=minus("untrained, centred", "bm25"))
    row = check({"untrained, centred": mean, "bm25": 0.5, "untrained": 0.4}, claim)
    assert row.lower == row.difference == row.upper == pytest.approx(mean - 0.5)
    assert row.holds == holds


@pytest.mark.parametrize(("p", "holds"), [(0.0499, "yes"), (0.05, "no")])
def test_a_p_of_just_5_percent_after_the_correction_shows_nothing(p, holds, monkeypatch):
    monkeypatch.setattr("hybridlib.study.report.findings.holm", lambda given: [p for _ in given])
    assert check({"hybrid": 0.55, "x-y": 0.5}, spread=0.01).holds == holds
    assert check({"hybrid": 0.45, "x-y": 0.5}, spread=0.01).holds == {"yes": "the contrary"}.get(holds, holds)


# Not computed


@pytest.mark.parametrize(
    "claim",
    [
        replace(CLAIM, on="another table"),
        replace(CLAIM, setting="multilingual"),
        replace(CLAIM, measure="recall@1"),
        replace(CLAIM, contrast=minus("hybrid", "x-x")),
    ],
)
def test_a_claim_without_results_is_not_computed(claim):
    row = check({"hybrid": 0.55, "x-y": 0.5}, claim, spread=0.02)
    assert (row.verdict, row.holds) == ("not computed", "not computed")
    assert tell([claim], pd.DataFrame([row])) == []


SUMS = {"main": made_sums({"hybrid": 0.55, "x-y": 0.5})}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_claims([], SUMS), r"claims are \[\]; allowed: one or more"),
        (lambda: check_claims(["It is so"], SUMS), "claims.0 is 'It is so'; allowed: an instance of Claim"),
        (lambda: check_claims([CLAIM], SUMS["main"]), "tables is a table of shape .*; allowed: a name and a value for"),
        (lambda: tell([CLAIM], SUMS["main"]), r"checked \(as returned by `check_claims`\) lacks the column 'claim'; i"),
        (lambda: tell([SPARED] * 2, check_claims([CLAIM], SUMS)), "checked has 1 rows; allowed: one of each of 2 clai"),
        (lambda: answer(None, check_claims([CLAIM], SUMS)), "params is None; allowed: "),
    ],
)
def test_claims_and_what_was_found_are_told_from_other_things(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


# Several claims


def test_p_of_primary_claims_is_corrected_for_their_number_and_that_of_others_is_not():
    # A difference of .05 at 2.15 standard errors has a p of about .04; twice that is above .05.
    sums = {"main": made_sums({"hybrid": 0.55, "x-y": 0.5}, spread=spread_for(2.15, 0.05))}
    alone = check_claims([CLAIM], sums).iloc[0]
    assert 0.026 < alone.p < 0.045 and alone.holds == "yes"
    secondary = replace(CLAIM, kind="secondary")
    both = check_claims([CLAIM, CLAIM, secondary], sums)
    assert both.p.tolist() == pytest.approx([2 * alone.p, 2 * alone.p, alone.p])
    assert both.holds.tolist() == ["no", "no", "yes"]
    assert "**not shown**" in sentence(CLAIM, both.iloc[0])
    # A claim that was not computed is not counted.
    absent = replace(CLAIM, on="another table")
    assert check_claims([CLAIM, absent], sums).p.iloc[0] == alone.p


def test_the_contrary_of_a_primary_claim_needs_the_corrected_p_too():
    sums = {"main": made_sums({"hybrid": 0.45, "x-y": 0.5}, spread=spread_for(2.15, 0.05))}
    assert check_claims([CLAIM], sums).holds.tolist() == ["the contrary"]
    assert check_claims([CLAIM, CLAIM], sums).holds.tolist() == ["no", "no"]


@pytest.mark.parametrize(("hybrid", "kind"), [(0.55, "secondary"), (0.5, "exploratory")])
def test_a_secondary_claim_is_exploratory_unless_the_primary_ones_hold(hybrid, kind):
    claims = [CLAIM, replace(CLAIM, kind="secondary")]
    table = check_claims(claims, {"main": made_sums({"hybrid": hybrid, "x-y": 0.5}, spread=0.02)})
    assert table.kind.tolist() == ["primary", kind]
    assert tell(claims, table)[1].startswith(f"({kind}) ")


def test_the_papers_figures_stand_beside_where_it_has_them():
    claim = replace(CLAIM, paper=("xquad-r", "hybrid", "x-y"))
    told = sentence(claim, check({"hybrid": 0.55, "x-y": 0.5}, claim, spread=0.02))
    # Tables 3 and 5 have .7977 and .7548, .8167 and .8006.
    assert told.endswith("Paper: XLM-R 0.798 against 0.755, LaBSE 0.817 against 0.801.")
    assert told.startswith("It is so: **yes**, +0.0500 map [+0.04")


# What is told


def params_of(profile, *claims):
    """Return the parameters of a profile, with other claims."""

    class Asked(QUESTIONS["batch_ratio"]):
        pass

    Asked.claims = claims
    return Asked.from_yaml(params_path(profile, "batch_ratio"))


@pytest.mark.parametrize(
    ("hybrid", "word"),
    [(0.55, "Yes"), (0.45, "No"), (0.5, "Not shown")],
)
def test_the_answer_begins_with_a_word_that_follows_from_the_primary_claim(hybrid, word):
    params = params_of("e5", CLAIM)
    checked = check_claims([CLAIM], {"main": made_sums({"hybrid": hybrid, "x-y": 0.5}, spread=0.05)})
    assert answer(params, checked).startswith(f"**{params.question} {word}.**\n\n- It is so: ")


@pytest.mark.parametrize(
    ("means", "claims", "word"),
    [
        ({"hybrid": 0.55, "x-y": 0.5, "x-x": 0.7}, (CLAIM, replace(CLAIM, contrast=minus("hybrid", "x-x"))), "In part"),
        ({"hybrid": 0.5, "x-y": 0.5, "untrained": 0.7}, (SPARED,), "These runs cannot answer"),
        ({"hybrid": 0.5}, (CLAIM,), "These runs cannot answer"),
    ],
)
def test_the_answer_says_so_where_only_some_claims_hold_or_none_can_be_judged(means, claims, word):
    params = params_of("e5", *claims)
    checked = check_claims(claims, {"main": made_sums(means, spread=0.02)})
    assert answer(params, checked).startswith(f"**{params.question} {word}.**")


def test_the_answer_tells_of_primary_claims_and_of_those_marked_alone():
    claims = (
        CLAIM,
        replace(CLAIM, text="Aside", kind="secondary"),
        replace(CLAIM, text="Also", kind="exploratory", in_answer=True),
    )
    checked = check_claims(claims, {"main": made_sums({"hybrid": 0.55, "x-y": 0.5}, spread=0.02)})
    told = answer(params_of("e5", *claims), checked)
    assert "It is so" in told and "Also" in told and "Aside" not in told
    kinds = [line.partition(" ")[0] for line in tell(claims, checked)]
    assert kinds == ["(primary)", "(secondary)", "(exploratory)"]


def test_a_demonstration_has_figures_and_no_verdict():
    params = params_of("embedded", CLAIM)
    checked = check_claims([CLAIM], {"main": made_sums({"hybrid": 0.55, "x-y": 0.5}, spread=0.02)})
    told = answer(params, checked)
    assert told.startswith("**This is a demonstration.**") and "+0.0500 map" in told
    for line in (told, *tell([CLAIM], checked, demonstration=True)):
        assert not any(word in line.lower() for word in ("yes", "better", "worse", "not shown", "primary"))


def test_what_a_notebook_has_found_is_written(tmp_path, monkeypatch):
    params = params_of("e5", CLAIM)
    sums = {"main": made_sums({"hybrid": 0.55, "x-y": 0.5}, spread=0.02)}
    checked = check_claims([CLAIM], sums)
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    write(params, sums, checked)
    text = findings_path("e5", "batch_ratio").read_text(encoding="utf-8")
    assert text == f"{answer(params, checked)}\nAll findings:\n\n- (primary) {sentence(CLAIM, checked.iloc[0])}\n"
    kept = pd.read_parquet(results_path("e5", "batch_ratio"))
    assert set(kept.part) == {"main"} and kept.total.sum() == pytest.approx(sums["main"].total.sum())
