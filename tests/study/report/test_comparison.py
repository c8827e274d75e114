"""Tests of comparisons and intervals of tables: verdicts, corrections, groups, and the values that are refused."""

import itertools

import numpy as np
import pandas as pd
import pytest

from hybridlib.study.report.comparison import compare, intervals
from hybridlib.study.report.significance import holm, interval

PAIRS = [("good", "base"), ("even", "base"), ("base", "good")]


def generator(seed=0):
    return np.random.default_rng(seed)


def frame(sides, **columns):
    """Put {strategy: (S, Q)} into a table of values."""
    rows = [
        {"strategy": strategy, "seed": seed, "question": f"q{question}", "value": value, **columns}
        for strategy, table in sides.items()
        for (seed, question), value in np.ndenumerate(table)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def values():
    """Draw 3 seeds by 30 questions, the same by two measures; `good` is 0.2 above `base`, `even` is not."""
    rng = generator(1)
    base = rng.normal(size=(3, 30)) + 2 * generator(2).normal(size=(1, 30))
    sides = {"base": base, "good": base + 0.2 + 0.05 * rng.normal(size=(3, 30))}
    sides["even"] = base + rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(3, 30))
    return pd.concat([frame(sides, measure="map"), frame(sides, measure="recall@1")], ignore_index=True)


def test_a_comparison_tells_the_effect_before_p(values):
    table = compare(values, PAIRS, by=["measure"], rng=generator())
    expected = "measure first other first_value other_value difference lower upper p p_holm verdict"
    assert table.columns.tolist() == expected.split()
    assert list(zip(table["first"], table.other, strict=True)) == PAIRS * 2
    assert table.measure.tolist() == ["map"] * 3 + ["recall@1"] * 3
    assert table.verdict.tolist() == ["better", "not shown", "worse"] * 2
    row, sides = table.iloc[0], values[values.measure == "map"].groupby("strategy").value.mean()
    assert (row.first_value, row.other_value) == pytest.approx((sides["good"], sides["base"]))
    assert row.difference == pytest.approx(sides["good"] - sides["base"])
    assert row.lower < row.difference < row.upper
    np.testing.assert_allclose(table.p_holm, holm(table.p))
    assert (table.p_holm > table.p).any()


def test_a_difference_that_only_these_models_have_is_not_shown():
    # Every question differs by 1, by 2 or by -0.5: the seeds do not agree.
    base = generator(20).normal(size=(3, 40))
    values = frame({"base": base, "new": base + np.array([[1], [2], [-0.5]])})
    row = compare(values, [("new", "base")], rng=generator()).iloc[0]
    assert row.p_holm < 0.001 and row.lower < 0 < row.upper
    assert row.verdict == "not shown"


def test_a_difference_that_is_one_of_many_is_not_shown():
    rng = generator(21)
    base = rng.normal(size=(1, 60))
    values = frame({"base": base, "new": base + 0.3 + rng.normal(size=(1, 60))})
    alone = compare(values, [("new", "base")], rng=generator())
    among = compare(values, [("new", "base")] * 9, rng=generator())
    assert alone.verdict.tolist() == ["better"]
    assert among.verdict.tolist() == ["not shown"] * 9 and (among.lower > 0).all()


def test_a_margin_asks_for_non_inferiority(values):
    table = compare(values, PAIRS, by=["measure"], rng=generator(), margin=0.1)
    assert table.columns.tolist()[-4:] == ["bound", "p", "p_holm", "verdict"]
    # `base` is 0.2 below `good`, which is twice the margin; the seeds of `even` are further apart than that.
    assert table.verdict.tolist() == ["non-inferior", "not shown", "inferior"] * 2
    assert ((table.lower < table.bound) & (table.bound < table.difference)).all()
    np.testing.assert_allclose(table.p_holm, holm(table.p))
    wide = compare(values, PAIRS[2:], by=["measure"], rng=generator(), margin=0.5)
    assert wide.verdict.tolist() == ["non-inferior"] * 2


def test_every_comparison_has_draws_of_its_own_whatever_the_order_and_type_of_the_rows(values):
    table = compare(values, PAIRS, by=["measure"], rng=generator())
    mixed = values.sample(frac=1, random_state=1).astype({"strategy": "category", "question": "category"})
    pd.testing.assert_frame_equal(compare(mixed, PAIRS, by=["measure"], rng=generator()), table)
    other = compare(values, PAIRS, by=["measure"], rng=generator(1))
    assert (other[["lower", "upper"]] != table[["lower", "upper"]]).all(axis=None)
    # Groups hold the same values, as do repeated pairs: only draws of their own can make a difference.
    assert compare(values, [PAIRS[1], PAIRS[1]], by=["measure"], rng=generator()).lower.nunique() == 4


def test_other_labels_and_columns_may_be_compared(values):
    alphas = values.assign(alpha=values.strategy.map({"base": 0.0, "good": 0.5, "even": 1.0})).drop(columns="strategy")
    table = compare(alphas, [(0.5, 0.0)], by=["measure"], label="alpha", rng=generator())
    assert table.verdict.tolist() == ["better"] * 2
    # A third label that lacks questions is of no concern to the other two.
    partial = values[(values.strategy != "even") | (values.question == "q0")]
    assert compare(partial, PAIRS[:1], by=["measure"], rng=generator()).verdict.tolist() == ["better"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            lambda v: {"values": v.drop(columns="seed")},
            "values lacks the column 'seed'; needed: measure, strategy, seed, question",
        ),
        (lambda v: {"values": v.assign(value=v.value.where(v.index != 3))}, "values has 1 values that are not finite"),
        (
            lambda v: {"values": v[(v.strategy != "good") | (v.seed != 1)]},
            "values of measure map lacks 'good' with seed 1 for question 'q0'",
        ),
        (
            lambda v: {"values": v[(v.strategy != "base") | (v.seed != 2) | (v.question != "q7")]},
            "values of measure map lacks 'base' with seed 2 for question 'q7'",
        ),
        (
            lambda v: {"values": v[(v.seed != 0) | (v.question != "q5")]},  # both sides lack it
            "values of measure map lacks 'good' with seed 0 for question 'q5'",
        ),
        (
            lambda v: {"values": pd.concat([v, v.iloc[[0]]])},
            "values has twice: measure map, strategy base, seed 0, question q0",
        ),
        (
            lambda v: {"pairs": [("good", "bad")]},
            "pairs names the strategy 'bad'; there are: 'base', 'even', 'good'",
        ),
        (lambda v: {"pairs": []}, "pairs is empty"),
        (lambda v: {"by": ["language"]}, "values lacks the column 'language'"),
        (lambda v: {"margin": 0}, "margin is 0; allowed: above 0"),
        (lambda v: {"margin": float("nan")}, "margin is nan; allowed: above 0"),
        (lambda v: {"level": 1}, "level is 1; allowed: above 0 and below 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(values, arguments, message):
    sound = {"values": values, "pairs": PAIRS[:1], "by": ["measure"], "rng": generator()}
    with pytest.raises(ValueError, match=message):
        compare(**sound | arguments(values))


# Intervals of groups


def test_the_interval_of_every_group_is_that_of_its_seeds_by_questions_with_draws_of_its_own(values):
    mixed = values.sample(frac=1, random_state=1)
    table = intervals(mixed, by=["measure", "strategy"], rng=generator(5), level=0.9)
    assert list(table.columns) == ["measure", "strategy", "value", "lower", "upper"]
    expected = []
    groups = itertools.product(["map", "recall@1"], ["base", "even", "good"])
    for stream, (measure, strategy) in zip(generator(5).spawn(6), groups, strict=True):
        group = values[(values.measure == measure) & (values.strategy == strategy)]
        # The resampled sums take the questions in the order of their names, as text: q0, q1, q10, ...
        grid = group.sort_values(["seed", "question"]).value.to_numpy().reshape(3, 30)
        expected.append([measure, strategy, grid.mean(), *interval(grid, rng=stream, level=0.9)])
    assert table.to_numpy().tolist() == [[*row[:2], *map(pytest.approx, row[2:])] for row in expected]
    assert ((table.lower < table.value) & (table.value < table.upper)).all()


def test_categories_keep_their_order_in_intervals_and_those_that_do_not_occur_make_no_rows(values):
    order = ["good", "none", "even", "base"]
    table = intervals(
        values.assign(strategy=pd.Categorical(values.strategy, order)), by=["strategy", "measure"], rng=generator()
    )
    assert table.strategy.tolist() == ["good", "good", "even", "even", "base", "base"]
    assert list(table.strategy.cat.categories) == order
    assert not isinstance(table.measure.dtype, pd.CategoricalDtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.drop(columns="seed"), "values lacks the column 'seed'; it has"),
        (
            lambda v: pd.concat([v, v.iloc[[0]]]),
            "values has a question of a seed twice where {'measure': 'map', 'strategy': 'base'}",
        ),
        (lambda v: v.drop(index=3), "values lacks a question with one of the seeds where {'measure'"),
        (
            lambda v: v.assign(value=v.value.where(v.index != 3)),
            "values lacks a question with one of the seeds where {'measure'",
        ),
    ],
)
def test_values_without_an_interval_are_refused(values, change, message):
    with pytest.raises(ValueError, match=message):
        intervals(change(values), by=["measure", "strategy"], rng=generator())
