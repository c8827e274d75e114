"""Tests of robustness: each number is set against a slow or hand-derived one."""

import numpy as np
import pandas as pd
import pytest

from hybridlib.study.report.robustness import (
    average_over,
    domain_effects,
    family_gains,
    gain,
    size_slopes,
    stable_range,
    worst_language,
)


def test_averaging_over_languages_counts_every_language_alike():
    table = pd.DataFrame(
        {"seed": 0, "question": ["a", "a", "b"], "query_language": ["en", "sw", "en"], "value": [0.2, 0.6, 0.5]}
    )
    averaged = average_over(table, "query_language")
    assert list(averaged.columns) == ["seed", "question", "value"]
    assert averaged.set_index("question").value.to_dict() == {"a": pytest.approx(0.4), "b": 0.5}


def test_a_gain_is_taken_question_by_question():
    table = pd.DataFrame(
        {"seed": 0, "share": [0.0, 0.5, 0.5, 0.0], "question": ["a", "a", "b", "b"], "value": [0.1, 0.4, 0.3, 0.5]}
    )
    gained = gain(table, label="share", first=0.5, other=0.0)
    assert gained.set_index("question").value.to_dict() == {"a": pytest.approx(0.3), "b": pytest.approx(-0.2)}
    assert "share" not in gained


def test_the_worst_language_is_that_of_the_query_averaged_over_passage_languages():
    values = {("en", "sw"): 0.1, ("en", "fr"): 0.9, ("sw", "en"): 0.3, ("sw", "fr"): 0.4}  # means 0.5 and 0.35
    means = pd.DataFrame(
        {"seed": seed, "setting": "cross-lingual", "measure": "map", "query_language": q, "passage_language": p,
         "value": value + seed}
        for (q, p), value in values.items()
        for seed in (0, 1)
    )  # fmt: skip
    worst = worst_language(means).set_index("seed")
    assert worst.language.tolist() == ["sw", "sw"]
    assert worst.value.tolist() == pytest.approx([0.35, 1.35])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0], (0, 1)),
        ([0.5, 1.0, 0.5], (0.5, 0.5)),
        ([0.95, 0.94, 1.0], (1, 1)),  # another stretch begins behind a dip
        ([0.2, 0.96, 1.0], (0.5, 1)),
    ],
)
def test_the_stable_range_is_the_stretch_around_the_best_within_a_twentieth_of_it(values, expected):
    assert stable_range(pd.Series(values, index=[0, 0.5, 1])) == expected


def test_a_slope_is_the_least_squares_fit_of_the_mean_difference_from_balanced_training():
    languages = ["ar", "en", "sw", "zh"]
    cells = pd.MultiIndex.from_product(
        [(0.0, 1.5), languages, range(5)], names=["exponent", "query_language", "question"]
    )
    table = cells.to_frame(index=False).assign(sampling="uniform", strategy="hybrid", seed=0, setting="monolingual")
    table["value"] = np.random.default_rng(0).random(len(table))
    shares = pd.DataFrame(
        {"exponent": exponent, "seed": 0, "language": code, "share": (place + 1.0) ** -exponent}
        for exponent in (0.0, 1.5)
        for place, code in enumerate(languages)
    )
    slopes = size_slopes(table, shares)
    assert set(slopes.exponent) == {1.5} and set(slopes.measure) == {"slope"} and len(slopes) == 5
    means = table.groupby(["exponent", "query_language"]).value.mean()
    size = shares[shares.exponent == 1.5].set_index("language").share
    expected = np.polyfit(np.log2(size), (means.loc[1.5] - means.loc[0.0]).loc[size.index], 1)[0]
    assert slopes.value.mean() == pytest.approx(expected)


def test_a_question_is_inside_where_its_domain_was_added():
    table = pd.DataFrame({"added": ["money", "money", "places"], "question": ["a", "b", "b"], "value": 1.0})
    effects = domain_effects(table, pd.Series({"a": "money", "b": "places"}))
    assert effects.measure.tolist() == ["inside", "outside", "inside"]
    assert effects.domain.tolist() == ["money", "places", "places"]


def test_family_gains_average_over_pairs_of_languages_and_leave_the_multilingual_pool_out():
    # de and en are Germanic, fr is Romance.
    gains = {("de", "de"): 0.1, ("de", "en"): 0.2, ("de", "fr"): 0.3, ("en", "de"): 0.5, ("en", "en"): 0.4,
             ("en", "fr"): 0.6, ("fr", "de"): -0.1, ("fr", "en"): -0.3, ("fr", "fr"): 0.7}  # fmt: skip
    rows = [
        {"strategy": strategy, "seed": 0, "setting": "monolingual" if q == p else "cross-lingual", "measure": "map",
         "query_language": q, "passage_language": p, "value": 0.2 + (value if strategy == "hybrid" else 0)}
        for (q, p), value in gains.items()
        for strategy in ("hybrid", "x-x")
    ]  # fmt: skip
    pool = {**rows[0], "setting": "multilingual", "passage_language": "all", "value": 9.0}
    table = family_gains(pd.DataFrame([*rows, pool]), first="hybrid", other="x-x")
    assert table.loc["Germanic", "Germanic"] == pytest.approx((0.1 + 0.2 + 0.5 + 0.4) / 4)
    assert table.loc["Germanic", "Romance"] == pytest.approx(0.45)
    assert table.loc["Romance", "Germanic"] == pytest.approx(-0.2)
    assert table.loc["Romance", "Romance"] == pytest.approx(0.7)
    across = family_gains(pd.DataFrame(rows), first="hybrid", other="x-x", setting="cross-lingual")
    assert across.loc["Germanic", "Germanic"] == pytest.approx(0.35)
    assert np.isnan(across.loc["Romance", "Romance"])
