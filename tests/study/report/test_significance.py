"""Significance: p is uniform where there is no difference, intervals cover as often as they say."""

import gc
import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from hybridlib.study.report import significance
from hybridlib.study.report.comparison import compare, intervals
from hybridlib.study.report.significance import holm, interval, non_inferior, permutation_test


@pytest.fixture(scope="module", autouse=True)
def little_garbage() -> Iterator[None]:
    """statsmodels collects garbage with every correction: of these tests only, or it takes longer than all the rest."""
    gc.freeze()
    yield
    gc.unfreeze()


def generator(seed=0):
    return np.random.default_rng(seed)


def crossed(rng, *, seeds, questions, shares):
    """Differences with mean 0, whose mean has variance 1: by seeds, questions and what is left, in these shares."""
    by_seed, by_question, left = np.sqrt(shares)
    return (
        by_seed * np.sqrt(seeds) * rng.normal(size=(seeds, 1))
        + by_question * np.sqrt(questions) * rng.normal(size=(1, questions))
        + left * np.sqrt(seeds * questions) * rng.normal(size=(seeds, questions))
    )


def enumerated(difference, alternative):
    """The oracle: p over all ways to swap, one after the other."""
    means = difference.mean(axis=0)
    sums = [np.dot(signs, means) for signs in itertools.product((1, -1), repeat=len(means))]
    large = {
        "two-sided": [abs(value) >= abs(means.sum()) - 1e-9 for value in sums],
        "greater": [value >= means.sum() - 1e-9 for value in sums],
        "less": [value <= means.sum() + 1e-9 for value in sums],
    }
    return np.mean(large[alternative])


def frame(sides, **columns):
    """Values from {strategy: (S, Q)}."""
    rows = [
        {"strategy": strategy, "seed": seed, "question": f"q{question}", "value": value, **columns}
        for strategy, table in sides.items()
        for (seed, question), value in np.ndenumerate(table)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def values():
    """`good` is 0.2 above `base`, `even` is not, with 3 seeds and 30 questions; in two groups."""
    rng = generator(1)
    base = rng.normal(size=(3, 30))
    sides = {"base": base, "good": base + 0.2 + 0.05 * rng.normal(size=(3, 30))}
    sides["even"] = base + rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(3, 30))
    return pd.concat([frame(sides, measure="map"), frame(sides, measure="recall@1")], ignore_index=True)


# The permutation test


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("questions", [1, 3, 9])
def test_p_is_that_of_all_swaps(questions, alternative):
    difference = generator(questions).normal(0.3, 1, (2, questions))
    p = permutation_test(difference, rng=generator(), resamples=40_000, alternative=alternative)
    # Four standard errors of a share of 40,000 draws, sqrt(0.25 / 40,000) = 0.0025.
    assert p == pytest.approx(enumerated(difference, alternative), abs=0.01)


def test_ties_are_counted_though_they_are_rounded():
    # 0.7 is 0.1 - 0.3 - 0.4 + 0.6 + 0.7, -0.1 + 0.3 + 0.4 - 0.6 + 0.7 and 0.1 + 0.3 + 0.4 + 0.6 - 0.7, and 7 of the 32
    # sums are larger; rounded, the other two look smaller.
    difference = np.array([[0.1, -0.3, -0.4, 0.6, 0.7]])
    assert enumerated(difference, "greater") == 10 / 32
    p = permutation_test(difference, rng=generator(), resamples=40_000, alternative="greater")
    assert p == pytest.approx(10 / 32, abs=0.01)


def test_p_agrees_with_that_of_scipy():
    difference = generator(3).normal(0.05, 0.5, (3, 37))
    theirs = stats.permutation_test(
        (difference.mean(axis=0),), np.mean, permutation_type="samples", n_resamples=20_000, rng=generator(4)
    )
    p = permutation_test(difference, rng=generator(), resamples=20_000)
    assert 0.05 < p < 0.95  # where they could differ
    assert p == pytest.approx(theirs.pvalue, abs=0.02)  # four standard errors of both, 4 * sqrt(2 * 0.25 / 20,000)


def test_p_is_uniform_where_there_is_no_difference():
    rng = generator(11)
    # Questions are skewed, but the two sides are exchangeable. Seeds share their questions' difference.
    p = [
        permutation_test(
            np.subtract(*rng.exponential(size=(2, 1, 25))) + 0.3 * rng.normal(size=(3, 25)), rng=rng, resamples=199
        )
        for _ in range(600)
    ]
    # p takes the values 1 / 200, 2 / 200 and so on; spread evenly below, they are uniform.
    assert stats.kstest(np.array(p) - rng.random(600) / 200, "uniform").pvalue > 0.01


def test_p_is_never_zero_and_one_where_all_are_equal():
    assert permutation_test(np.ones((2, 50)), rng=generator(), resamples=199) == 1 / 200
    assert permutation_test(np.zeros((2, 50)), rng=generator(), resamples=199) == 1


def test_seeds_of_a_question_are_swapped_together():
    # The same differences ten times over are no more evidence than once.
    difference = generator(5).normal(0.2, 1, (1, 40))
    once, often = (permutation_test(np.repeat(difference, n, axis=0), rng=generator(6)) for n in (1, 10))
    assert once == often


def test_p_is_the_same_for_the_same_seed_whatever_the_threads_and_in_blocks(monkeypatch):
    difference = generator(7).integers(-1, 2, (3, 2000)) * 0.1
    many = permutation_test(difference, rng=generator(8), resamples=1001)
    with threadpool_limits(1):
        assert permutation_test(difference, rng=generator(8), resamples=1001) == many
    monkeypatch.setattr(significance, "_BLOCK", 2000 * 100)  # ten whole blocks, and one of one
    assert permutation_test(difference, rng=generator(8), resamples=1001) == pytest.approx(many, abs=0.06)
    assert permutation_test(difference, rng=generator(9), resamples=1001) != many


# The interval


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(
    "shares",
    [(0, 1, 0), (0, 0, 1), (1, 0, 0), (0.5, 0.5, 0), (0.9, 0.1, 0), (0.2, 0.6, 0.2)],
    ids=lambda shares: "seeds {}, questions {}, left {}".format(*shares),
)
def test_intervals_cover_questions_and_seeds_at_their_rate(seeds, shares):
    rng = generator(13)
    ends = np.array(
        [interval(crossed(rng, seeds=seeds, questions=60, shares=shares), rng=rng, resamples=300) for _ in range(1000)]
    )
    covered = np.mean((ends[:, 0] <= 0) & (ends[:, 1] >= 0))
    # 0.945 to 0.965 in long simulations; 1000 data sets have a standard error of 0.007.
    assert 0.93 <= covered <= 0.985


def test_intervals_cover_at_another_level():
    rng = generator(14)
    data = (crossed(rng, seeds=3, questions=60, shares=(0.3, 0.6, 0.1)) for _ in range(500))
    ends = np.array([interval(difference, rng=rng, level=0.8, resamples=300) for difference in data])
    assert 0.77 <= np.mean((ends[:, 0] <= 0) & (ends[:, 1] >= 0)) <= 0.86


def test_with_one_seed_the_interval_is_of_the_questions():
    difference = generator(15).exponential(size=(1, 400))
    theirs = stats.bootstrap(difference, np.mean, method="percentile", rng=generator()).confidence_interval
    # The mean's standard error is 1 / sqrt(400) = 0.05, and an end of 2000 resamples is known to a twentieth of it.
    np.testing.assert_allclose(interval(difference, rng=generator()), theirs, atol=0.01)


def test_seeds_widen_the_interval_by_student_t():
    # Questions are all alike: what is left is the textbook's interval of three seeds, standard error 0.1 / 3^0.5.
    difference = np.repeat([[0.1], [0.2], [0.3]], 50, axis=1)
    expected = stats.t(2, loc=0.2, scale=0.1 / 3**0.5).interval(0.95)
    np.testing.assert_allclose(interval(difference, rng=generator()), expected, atol=0.01)


def test_the_variance_is_that_of_the_two_way_table():
    # Two seeds, two questions: means by seed 1 and 3, by question 1 and 3, of all 2; 0.5 is left of each, up or down.
    difference = np.array([[0.5, 1.5], [1.5, 4.5]])
    seeds, questions = significance._variances(difference)
    # Var(1, 3) / 2 = 1; residual mean square 4 * 0.5^2 / 1 = 1, over 4 values 0.25; Var(1, 3) / 2 - 0.25 = 0.75.
    assert (seeds, questions) == pytest.approx((1, 0.75))


def test_an_interval_of_equal_differences_is_a_point():
    assert interval(np.full((3, 20), 0.25), rng=generator()) == pytest.approx((0.25, 0.25))
    assert interval(np.full((1, 20), 0.25), rng=generator()) == pytest.approx((0.25, 0.25))


def test_an_interval_is_the_same_for_the_same_seed():
    difference = generator().normal(size=(3, 50))
    assert interval(difference, rng=generator(1)) == interval(difference, rng=generator(1))
    assert interval(difference, rng=generator(1)) != interval(difference, rng=generator(2))


# Holm


def test_holm_is_as_by_hand():
    # In order 0.005, 0.01, 0.03, 0.04: 4 * 0.005 = 0.02, 3 * 0.01 = 0.03, 2 * 0.03 = 0.06, max(0.04, 0.06) = 0.06.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.7, 0.6]), [1, 1])  # 2 * 0.6 is above 1


@pytest.mark.parametrize("p", [[], [0.1, np.nan], [1.1], [-0.1]])
def test_holm_takes_p_values_only(p):
    with pytest.raises(ValueError, match=r"p is .*; allowed: one or more values from 0 to 1"):
        holm(p)


# Non-inferiority


@pytest.mark.parametrize("shares", [(0, 1, 0), (0.5, 0.4, 0.1)], ids=["questions", "mixed"])
def test_what_is_worse_by_the_margin_is_rarely_called_as_good(shares):
    rng = generator(17)
    data = (crossed(rng, seeds=3, questions=60, shares=shares) - 2 for _ in range(500))
    verdicts = [non_inferior(difference, 2, rng=rng, resamples=199).verdict for difference in data]
    # 5 % with a standard error of 1 %; the bound is cautious by up to 1 %.
    assert 0.015 <= np.mean(verdicts) <= 0.075


def test_what_is_as_good_is_called_so():
    rng = generator(18)
    # Half of the variance of 1 is of questions: the bound is about 2 below, the margin 4.
    data = (crossed(rng, seeds=5, questions=60, shares=(0.2, 0.5, 0.3)) for _ in range(200))
    verdicts = [non_inferior(difference, 4, rng=rng, resamples=199).verdict for difference in data]
    assert np.mean(verdicts) > 0.9


def test_non_inferiority_tells_its_bound_and_p():
    difference = generator(19).normal(0, 0.1, (3, 50))
    result = non_inferior(difference, 0.1, rng=generator())
    # The lower end of a two-sided interval at 90 % is the one-sided bound at 95 %.
    assert result.lower == pytest.approx(interval(difference, rng=generator(), level=0.9)[0])
    assert result.verdict and result.p == 1e-4 and result.margin == 0.1
    assert not non_inferior(difference - 0.2, 0.1, rng=generator()).verdict


# Comparisons

PAIRS = [("good", "base"), ("even", "base"), ("base", "good")]


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
    # Every question differs by 1, 2 or -0.5, which the seeds do not agree on.
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
    # `base` is 0.2 below `good`, twice the margin; the seeds of `even` are apart by more than that.
    assert table.verdict.tolist() == ["non-inferior", "not shown", "inferior"] * 2
    assert ((table.lower < table.bound) & (table.bound < table.difference)).all()
    np.testing.assert_allclose(table.p_holm, holm(table.p))
    wide = compare(values, PAIRS[2:], by=["measure"], rng=generator(), margin=0.5)
    assert wide.verdict.tolist() == ["non-inferior"] * 2


def test_order_and_type_of_rows_do_not_matter(values):
    table = compare(values, PAIRS, by=["measure"], rng=generator())
    mixed = values.sample(frac=1, random_state=1).astype({"strategy": "category", "question": "category"})
    pd.testing.assert_frame_equal(compare(mixed, PAIRS, by=["measure"], rng=generator()), table)
    other = compare(values, PAIRS, by=["measure"], rng=generator(1))
    assert (other[["lower", "upper"]] != table[["lower", "upper"]]).all(axis=None)


def test_every_comparison_has_draws_of_its_own(values):
    # The two groups hold the same values, as do the repeated pairs: only the draws can make a difference.
    table = compare(values, [PAIRS[1], PAIRS[1]], by=["measure"], rng=generator())
    assert table.lower.nunique() == 4


def test_other_labels_and_columns_may_be_compared(values):
    alphas = values.assign(alpha=values.strategy.map({"base": 0.0, "good": 0.5, "even": 1.0})).drop(columns="strategy")
    table = compare(alphas, [(0.5, 0.0)], by=["measure"], label="alpha", rng=generator())
    assert table.verdict.tolist() == ["better"] * 2
    # A third label that lacks questions is of no concern to the other two.
    partial = values[(values.strategy != "even") | (values.question == "q0")]
    assert compare(partial, PAIRS[:1], by=["measure"], rng=generator()).verdict.tolist() == ["better"] * 2


# Errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.drop(columns="seed"), "values lacks the column 'seed'; needed: measure, strategy, seed, question"),
        (lambda v: v.assign(value=v.value.where(v.index != 3)), "values has 1 values that are not finite"),
        (
            lambda v: v[(v.strategy != "good") | (v.seed != 1)],
            "values of measure map lacks 'good' with seed 1 for question 'q0'",
        ),
        (
            lambda v: v.drop(index=v.index[(v.strategy == "base") & (v.seed == 2) & (v.question == "q7")]),
            "values of measure map lacks 'base' with seed 2 for question 'q7'",
        ),
        (
            lambda v: v[(v.strategy != "good") | (v.measure == "map")],
            "values of measure recall@1 lacks 'good' with seed 0 for question 'q0'",
        ),
        (
            lambda v: v[(v.seed != 0) | (v.question != "q5")],  # both sides alike, and yet not all of them
            "values of measure map lacks 'good' with seed 0 for question 'q5'",
        ),
        (
            lambda v: pd.concat([v, v.iloc[[0]]]),
            "values has twice: measure map, strategy base, seed 0, question q0",
        ),
    ],
)
def test_values_that_cannot_be_compared_are_refused(values, change, message):
    with pytest.raises(ValueError, match=message):
        compare(change(values), [("good", "base")], by=["measure"], rng=generator())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pairs": [("good", "bad")]}, "pairs names the strategy 'bad'; there are: 'base', 'even', 'good'"),
        ({"pairs": []}, "pairs is empty"),
        ({"by": ["language"]}, "values lacks the column 'language'"),
        ({"margin": 0}, "margin is 0; allowed: above 0"),
        ({"margin": -0.1}, "margin is -0.1; allowed: above 0"),
        ({"margin": float("nan")}, "margin is nan; allowed: above 0"),
        ({"level": 1}, "level is 1; allowed: above 0 and below 1"),
        ({"level": 0}, "level is 0; allowed: above 0 and below 1"),
    ],
)
def test_arguments_that_are_not_allowed_are_refused(values, arguments, message):
    arguments = {"pairs": [("good", "base")], "by": ["measure"]} | arguments
    with pytest.raises(ValueError, match=message):
        compare(values, arguments.pop("pairs"), rng=generator(), **arguments)


@pytest.mark.parametrize("function", [permutation_test, interval, lambda d, rng: non_inferior(d, 0.1, rng=rng)])
def test_differences_are_seeds_by_questions(function):
    with pytest.raises(ValueError, match=r"difference has the shape \(5,\); allowed: seeds by questions"):
        function(np.zeros(5), rng=generator())
    with pytest.raises(ValueError, match=r"difference has the shape \(3, 0\)"):
        function(np.zeros((3, 0)), rng=generator())
    with pytest.raises(ValueError, match="difference has 1 values that are not finite"):
        function(np.array([[0.1, np.nan]]), rng=generator())


def test_the_parts_check_their_own_arguments():
    difference = np.ones((2, 5))
    with pytest.raises(ValueError, match="alternative is 'larger'; allowed: two-sided, greater, less"):
        permutation_test(difference, rng=generator(), alternative="larger")
    with pytest.raises(ValueError, match="level is 2"):
        interval(difference, rng=generator(), level=2)
    with pytest.raises(ValueError, match="level is 0"):
        non_inferior(difference, 0.1, rng=generator(), level=0)
    for function in (permutation_test, interval, lambda d, **given: non_inferior(d, 0.1, **given)):
        with pytest.raises(ValueError, match="resamples is 0; allowed: 1 or more"):
            function(difference, rng=generator(), resamples=0)
    with pytest.raises(ValueError, match="difference has 1 question; allowed: 2 or more"):
        interval(difference[:, :1], rng=generator())


# Intervals of groups


@pytest.fixture
def grouped():
    """Three strategies with 3 seeds and 30 questions, the same by two measures. Seeds and questions differ."""
    rng = generator(1)
    sides = {name: crossed(rng, seeds=3, questions=30, shares=(0.3, 0.6, 0.1)) for name in ("base", "good", "even")}
    return pd.concat([frame(sides, measure="map"), frame(sides, measure="recall@1")], ignore_index=True)


def test_the_interval_of_every_group_is_that_of_its_seeds_by_questions(grouped):
    table = intervals(grouped, by=["measure", "strategy"], rng=generator(5), level=0.9)
    assert list(table.columns) == ["measure", "strategy", "value", "lower", "upper"]
    expected = []
    for stream, (measure, strategy) in zip(
        generator(5).spawn(6), itertools.product(["map", "recall@1"], ["base", "even", "good"]), strict=True
    ):
        group = grouped[(grouped.measure == measure) & (grouped.strategy == strategy)]
        grid = np.array(
            [[group[(group.seed == s) & (group.question == f"q{q}")].value.item() for q in range(30)] for s in range(3)]
        )
        # The resampled sums take the questions in the order of their names, as text: q0, q1, q10, ...
        grid = grid[:, sorted(range(30), key=str)]
        expected.append([measure, strategy, grid.mean(), *interval(grid, rng=stream, level=0.9)])
    assert table.to_numpy().tolist() == [[*row[:2], *map(pytest.approx, row[2:])] for row in expected]
    assert ((table.lower < table.value) & (table.value < table.upper)).all()
    wide = intervals(grouped, by=["measure", "strategy"], rng=generator(5), level=0.99)
    assert (wide.upper - wide.lower > table.upper - table.lower).all()


def test_the_order_of_rows_is_of_no_matter_to_intervals_and_another_generator_is(grouped):
    table = intervals(grouped[grouped.measure == "map"], by=["strategy"], rng=generator())
    mixed = grouped[grouped.measure == "map"].sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(intervals(mixed, by=["strategy"], rng=generator()), table)
    other = intervals(mixed, by=["strategy"], rng=generator(1))
    assert other.value.tolist() == table.value.tolist() and (other.lower != table.lower).all()


def test_every_group_has_draws_of_its_own(grouped):
    # The two measures hold the same values: only the draws can make a difference.
    table = intervals(grouped, by=["strategy", "measure"], rng=generator())
    assert table.lower.nunique() == 6 and table.value.nunique() == 3


def test_categories_keep_their_order_in_intervals_and_those_that_do_not_occur_make_no_rows(grouped):
    order = ["good", "none", "even", "base"]
    table = intervals(
        grouped.assign(strategy=pd.Categorical(grouped.strategy, order)), by=["strategy", "measure"], rng=generator()
    )
    assert table.strategy.tolist() == ["good", "good", "even", "even", "base", "base"]
    assert list(table.strategy.cat.categories) == order
    assert not isinstance(table.measure.dtype, pd.CategoricalDtype)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.drop(columns="seed"), "values lacks the column 'seed'; it has"),
        (lambda v: v.drop(columns="measure"), "values lacks the column 'measure'; it has"),
        (
            lambda v: pd.concat([v, v.iloc[[0]]]),
            "values has a question of a seed twice where {'measure': 'map', 'strategy': 'base'}",
        ),
        (
            lambda v: v.drop(index=3),
            "values lacks a question with one of the seeds where {'measure'",
        ),  # a question of one seed only
        (
            lambda v: v.assign(value=v.value.where(v.index != 3)),
            "values lacks a question with one of the seeds where {'measure'",
        ),
    ],
)
def test_values_without_an_interval_are_refused(grouped, change, message):
    with pytest.raises(ValueError, match=message):
        intervals(change(grouped), by=["measure", "strategy"], rng=generator())


def test_the_level_of_intervals_is_a_probability(grouped):
    with pytest.raises(ValueError, match="level is 1; allowed: above 0 and below 1"):
        intervals(grouped, by=["measure", "strategy"], rng=generator(), level=1)
