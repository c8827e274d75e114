"""Findings: what is said follows from the results."""

import numpy as np
import pandas as pd
import pytest

from hybridlib.findings import (
    BATCH_RATIO_CLAIMS,
    Claim,
    best_alphas,
    check_claims,
    compare,
    gains_kept,
    judge,
    tell,
    write_findings,
)


def results(values, measure="map"):
    """Results of one query each from {(encoder, alpha, seed, setting): value}."""
    rows = [
        {
            "query_id": "q", "query_language": "en", "setting": setting, "passage_language": "en", "measure": measure,
            "value": value, "encoder": encoder, "alpha": alpha, "seed": seed,
        }
        for (encoder, alpha, seed, setting), value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("difference", "strict", "verdict"),
    [
        ([0.06, 0.20], True, "holds"),
        ([0.06, 0.04], True, "unclear"),
        ([0.04, -0.20], True, "does not hold"),
        ([0.04, -0.04], False, "holds"),
        ([0.20, -0.06], False, "unclear"),
        ([-0.06, -0.20], False, "does not hold"),
    ],
)
def test_a_claim_is_judged_by_a_margin_of_a_twentieth_with_every_seed(difference, strict, verdict):
    assert judge(np.array(difference), strict=strict) == verdict


def test_less_rank_distance_is_better():
    np.testing.assert_allclose(
        compare(np.array([90.0, 80.0]), np.array([100.0, 100.0]), measure="rank_distance"), [0.1, 0.2]
    )
    np.testing.assert_allclose(compare(np.array([90.0, 80.0]), np.array([100.0, 100.0]), measure="map"), [-0.1, -0.2])


@pytest.mark.parametrize(
    ("hybrid", "strict", "verdict"),
    [
        (0.6, True, "holds"),
        (0.6, False, "holds"),
        (0.5, True, "does not hold"),
        (0.5, False, "holds"),
        (0.4, False, "does not hold"),
    ],
)
def test_equal_is_enough_for_as_good_as_and_not_for_better(hybrid, strict, verdict):
    claim = Claim("It is so", "monolingual", "map", None, 1, strict, "as published")
    frame = results(
        {("e", alpha, seed, "monolingual"): value for alpha, value in ((0.5, hybrid), (1.0, 0.5)) for seed in (0, 1)}
    )
    table = check_claims(frame, claims=[claim])
    assert table.verdict.tolist() == [verdict]
    assert tell(table) == [f"It is so. Found: e: {verdict} ({hybrid:.3f} against 0.500). Paper: as published."]


def test_seeds_that_disagree_leave_a_claim_unclear():
    claim = Claim("It is so", "monolingual", "map", None, 1, False, "as published")
    frame = results(
        {
            ("e", 0.5, 0, "monolingual"): 0.6,
            ("e", 0.5, 1, "monolingual"): 0.4,
            ("e", 1.0, 0, "monolingual"): 0.5,
            ("e", 1.0, 1, "monolingual"): 0.5,
        }
    )
    assert check_claims(frame, claims=[claim]).verdict.tolist() == ["unclear"]


def test_the_hybrid_is_the_alpha_nearest_to_the_one_asked_for():
    claim = Claim("It is so", "monolingual", "map", None, 1, False, "")
    frame = results({("e", alpha, 0, "monolingual"): alpha for alpha in (0.0, 0.4, 0.7, 1.0)})
    assert check_claims(frame, claims=[claim]).value.tolist() == [0.4]


def test_rank_distance_is_claimed_of_the_multilingual_setting_only():
    for claim in BATCH_RATIO_CLAIMS:
        assert claim.setting == "multilingual" or claim.measure != "rank_distance"


def test_gains_kept_are_shares_of_the_way_between_the_ends():
    # Monolingual 0.2 -> 0.6, the mix at 0.5: three quarters. Cross-lingual 0.1 -> 0.5, the mix at 0.3: a half.
    values = {("e", 0.0): (0.2, 0.5), ("e", 0.5): (0.5, 0.3), ("e", 1.0): (0.6, 0.1)}
    frame = results(
        {
            (e, a, 0, setting): pair[n]
            for (e, a), pair in values.items()
            for n, setting in enumerate(("monolingual", "cross-lingual"))
        }
    )
    kept = gains_kept(frame).loc["e"]
    assert kept.to_dict() == pytest.approx({"monolingual": 0.75, "cross-lingual": 0.5, "sum": 1.25})
    assert best_alphas(frame).loc["e"].to_dict() == {"monolingual": 1.0, "cross-lingual": 0.0}


def test_findings_are_written_as_a_list(tmp_path):
    frame = results({("e", alpha, 0, "monolingual"): alpha for alpha in (0.5, 1.0)})
    table = check_claims(frame, claims=[Claim("It is so", "monolingual", "map", None, 1, False, "as published")])
    write_findings(tmp_path / "deep" / "x.md", table)
    assert (
        tmp_path / "deep" / "x.md"
    ).read_text() == "- It is so. Found: e: does not hold (0.500 against 1.000). Paper: as published.\n"
