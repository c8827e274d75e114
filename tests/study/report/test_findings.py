"""Tests of findings: they say what follows from the results."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hybridlib.study.questions import batch_ratio, domain_data, language_imbalance, mlqa_language_families
from hybridlib.study.report.claims import Claim
from hybridlib.study.report.findings import check_claims, gains_kept, tell, tell_non_inferiority, write_findings

CLAIM = Claim("It is so", "monolingual", "map", "hybrid", "x-y")


def rng():
    return np.random.default_rng(0)


def answers(shift, *, mean=0.5, spread=0.02, measure="map", seeds=3, questions=60, **labels):
    """Make values of two strategies for the same questions; the hybrid's are about `shift` higher."""
    draw = np.random.default_rng(1)
    rows = []
    for seed, question in itertools.product(range(seeds), range(questions)):
        value = mean * (1 + 0.2 * draw.standard_normal())
        of = {"setting": "monolingual", "measure": measure, "seed": seed, "question": f"q{question}", **labels}
        rows.append({**of, "strategy": "x-y", "value": value})
        rows.append({**of, "strategy": "hybrid", "value": value + shift + spread * draw.standard_normal()})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("claim", "mean", "shift", "difference", "verdict"),
    [
        ({}, 0.5, 0.1, 0.2, "holds"),
        ({}, 0.5, -0.1, -0.2, "does not hold"),
        ({}, 0.5, 0.0, 0.0, "not shown"),
        ({"strict": False}, 0.5, 0.1, 0.2, "holds"),
        ({"strict": False}, 0.5, 0.0, 0.0, "holds"),  # no loss is within a twentieth
        ({"strict": False}, 0.5, -0.024, -0.048, "not shown"),  # about a twentieth is neither shown nor refuted
        ({"strict": False}, 0.5, -0.1, -0.2, "does not hold"),
        pytest.param({"measure": "rank_distance"}, 500, -50, 0.1, "holds", id="a lower rank distance is better"),
        pytest.param({"measure": "cost", "relative": False}, 0, 0.1, 0.1, "holds", id="what may be 0 divides nothing"),
    ],
)
def test_better_needs_a_difference_and_as_good_that_no_twentieth_is_lost(claim, mean, shift, difference, verdict):
    claim, spread = replace(CLAIM, **claim), 5 if mean > 1 else 0.02
    values = answers(shift, mean=mean, spread=spread, measure=claim.measure)
    table = check_claims(values, [claim], rng=rng())
    assert table.verdict.item() == verdict
    assert table.other.item() == pytest.approx(values.value[values.strategy == "x-y"].mean())
    # The mean of 180 draws has a standard error of a thirteenth of their spread.
    assert table.value.item() - table.other.item() == pytest.approx(shift, abs=spread / 4)
    # The mean that the difference is divided by is drawn, too: it is 3 % below that which was asked for.
    assert table.difference.item() == pytest.approx(difference, abs=0.01)
    assert table.lower.item() < table.difference.item() < table.upper.item()


def test_groups_are_checked_apart_each_relative_to_its_own_mean():
    both = pd.concat([answers(0.1, encoder="a"), answers(-0.02, mean=0.1, encoder="b")])
    table = check_claims(both, [CLAIM], by=["encoder"], rng=rng()).set_index("encoder")
    assert table.verdict.to_dict() == {"a": "holds", "b": "does not hold"}
    assert table.difference.to_dict() == {"a": pytest.approx(0.2, abs=0.02), "b": pytest.approx(-0.2, abs=0.07)}


def test_p_is_corrected_for_how_many_claims_of_a_kind_are_checked_together():
    one = check_claims(answers(0.1), [CLAIM], rng=rng())
    three = check_claims(answers(0.1), [CLAIM] * 3, rng=rng())
    assert one.p.item() == pytest.approx(1 / 10_000)  # 9,999 permutations give no smaller p
    assert three.p.tolist() == pytest.approx([3 / 10_000] * 3)


def test_the_same_generator_gives_the_same_table_in_the_order_of_the_claims():
    claims = [CLAIM, replace(CLAIM, text="As good", strict=False), CLAIM]
    first, again = (check_claims(answers(0.01), claims, rng=rng()) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert first.claim.tolist() == ["It is so", "As good", "It is so"]


def test_a_claim_without_results_is_named():
    message = "nothing to check 'It is so' with: no map in the monolingual setting for both"
    with pytest.raises(ValueError, match=message):
        check_claims(answers(0.1).replace("x-y", "x-x"), [CLAIM], rng=rng())


def test_the_papers_claims_come_with_its_figures_and_the_others_without():
    reported = replace(CLAIM, in_paper=True)
    figures = check_claims(answers(0.1), [reported, CLAIM], rng=rng()).paper
    assert figures.tolist() == ["XLM-R 0.798 against 0.755, LaBSE 0.817 against 0.801", ""]


@pytest.mark.parametrize("question", [batch_ratio, language_imbalance, domain_data, mlqa_language_families])
def test_bias_is_claimed_of_the_multilingual_setting_only_and_no_claim_comes_twice(question):
    claims = [*question.CLAIMS, *getattr(question, "COST_CLAIMS", ())]
    for claim in claims:
        assert claim.setting == "multilingual" or claim.measure not in ("rank_distance", "peer@100")
    assert len({claim.text for claim in claims}) == len(claims)


def test_gains_kept_are_shares_of_the_way_between_the_ends():
    # From 0.2 to 0.6 (monolingual) the mix is three quarters of the way at 0.5, from 0.1 to 0.5 it is half way at 0.3.
    values = {0.0: (0.2, 0.5), 0.5: (0.5, 0.3), 1.0: (0.6, 0.1)}
    frame = pd.DataFrame(
        {"query_language": "en", "passage_language": "en", "measure": "map", "encoder": "e", "alpha": alpha,
         "setting": setting, "value": value}
        for alpha, pair in values.items()
        for setting, value in zip(("monolingual", "cross-lingual"), pair, strict=True)
    )  # fmt: skip
    assert gains_kept(frame).loc["e"].to_dict() == pytest.approx(
        {"monolingual": 0.75, "cross-lingual": 0.5, "sum": 1.25}
    )


def test_a_finding_is_told_effect_first_with_the_papers_figures_last(tmp_path):
    table = pd.DataFrame(
        [{"claim": "It is so", "paper": "0.8 against 0.7", "strategy": "a", "value": 0.55, "other": 1234.0,
          "difference": 0.1, "lower": 0.02, "upper": 0.18, "relative": True, "p": 0.0004, "verdict": "holds"}]
    )  # fmt: skip
    told = [
        "It is so. Found: a: holds (0.550 against 1,234; +10.0% [+2.0%, +18.0%], p = 0.0004). Paper: 0.8 against 0.7."
    ]
    assert tell(table, by=["strategy"]) == told
    assert tell(table.assign(paper=""))[0].endswith("p = 0.0004).")
    assert "; +0.100 [+0.020, +0.180]," in tell(table.assign(relative=False))[0]
    write_findings(tmp_path / "deep" / "x.md", told)
    assert (tmp_path / "deep" / "x.md").read_text() == f"- {told[0]}\n"


def test_non_inferiority_is_told_by_language_and_over_all():
    rows = [("en", "non-inferior"), ("fr", "not shown"), ("ru", "non-inferior"), ("all", "not shown")]
    table = pd.DataFrame(
        {"query_language": code, "verdict": verdict, "first": "hybrid", "other": "specialised", "difference": -0.012,
         "lower": -0.03, "upper": 0.006, "p_holm": 0.25}
        for code, verdict in rows
    )  # fmt: skip
    assert tell_non_inferiority(table, margin=0.02, measure="ndcg@10") == [
        "Hybrid against specialised (ndcg@10, margin 0.02): non-inferior in 2, not shown in 1 of 3 languages; over all "
        "of them not shown (-0.012 [-0.030, +0.006], p = 0.25)."
    ]
