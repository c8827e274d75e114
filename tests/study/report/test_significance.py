"""Tests of significance: p is uniform where there is no difference, and intervals cover as often as they say."""

import itertools
from functools import partial

import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from hybridlib.study.report import significance
from hybridlib.study.report.significance import holm, interval, non_inferior, permutation_test


def generator(seed=0):
    return np.random.default_rng(seed)


def crossed(rng, *, seeds, shares):
    """Draw differences by seed and 60 questions, whose mean has mean 0 and variance 1.

    The variance comes from seeds, from questions and from what is left, in these shares.
    """
    shapes = ((seeds, 1), (1, 60), (seeds, 60))
    return sum(
        np.sqrt(share * np.prod(shape)) * rng.normal(size=shape) for share, shape in zip(shares, shapes, strict=True)
    )


def enumerated(difference, alternative):
    """Compute p slowly, over all ways to swap."""
    means = difference.mean(axis=0)
    sums = [np.dot(signs, means) for signs in itertools.product((1, -1), repeat=len(means))]
    extreme = {"two-sided": np.abs, "greater": np.positive, "less": np.negative}[alternative]
    return np.mean(extreme(sums) >= extreme(means.sum()) - 1e-9)


# The permutation test


# The sum 0.7 is 0.1 - 0.3 - 0.4 + 0.6 + 0.7, -0.1 + 0.3 + 0.4 - 0.6 + 0.7 and 0.1 + 0.3 + 0.4 + 0.6 - 0.7, and 7 of the
# 32 sums are larger: "greater" has a p of 10 / 32. Rounded, the other two ways look smaller.
TIES = np.array([[0.1, -0.3, -0.4, 0.6, 0.7]])


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("difference", [*(generator(n).normal(0.3, 1, (2, n)) for n in (1, 3, 9)), TIES])
def test_p_is_that_of_all_swaps_and_ties_are_counted_though_they_are_rounded(difference, alternative):
    p = permutation_test(difference, rng=generator(), resamples=40_000, alternative=alternative)
    # The tolerance is four standard errors of a share of 40,000 draws, sqrt(0.25 / 40,000) = 0.0025.
    assert p == pytest.approx(enumerated(difference, alternative), abs=0.01)


def test_p_agrees_with_that_of_scipy():
    difference = generator(3).normal(0.05, 0.5, (3, 37))
    theirs = stats.permutation_test(
        (difference.mean(axis=0),), np.mean, permutation_type="samples", n_resamples=20_000, rng=generator(4)
    )
    p = permutation_test(difference, rng=generator(), resamples=20_000)
    assert 0.05 < p < 0.95  # elsewhere the two could hardly differ
    # The tolerance is four standard errors of both, 4 * sqrt(2 * 0.25 / 20,000).
    assert p == pytest.approx(theirs.pvalue, abs=0.02)


def test_p_is_uniform_where_there_is_no_difference():
    rng = generator(11)
    # Questions are skewed, but the two sides are exchangeable. Seeds share their questions' difference.
    data = (np.subtract(*rng.exponential(size=(2, 1, 25))) + 0.3 * rng.normal(size=(3, 25)) for _ in range(600))
    p = [permutation_test(difference, rng=rng, resamples=199) for difference in data]
    # p takes the values 1 / 200, 2 / 200 and so on. Each is spread evenly over the 1 / 200 below it.
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
    "shares", [(0, 1, 0), (0, 0, 1), (1, 0, 0), (0.5, 0.5, 0), (0.9, 0.1, 0), (0.2, 0.6, 0.2)], ids=str
)
# Long simulations cover 0.945 to 0.965 at 0.95. The shares of 1000 data sets have standard errors of 0.007 and 0.013.
@pytest.mark.parametrize(("level", "least", "most"), [(0.95, 0.93, 0.985), (0.8, 0.77, 0.86)])
def test_intervals_cover_questions_and_seeds_at_their_rate(level, least, most, shares, seeds):
    rng = generator(13)
    data = (crossed(rng, seeds=seeds, shares=shares) for _ in range(1000))
    ends = np.array([interval(difference, rng=rng, level=level, resamples=300) for difference in data])
    assert least <= np.mean((ends[:, 0] <= 0) & (ends[:, 1] >= 0)) <= most


def test_with_one_seed_the_interval_is_of_the_questions():
    difference = generator(15).exponential(size=(1, 400))
    theirs = stats.bootstrap(difference, np.mean, method="percentile", rng=generator()).confidence_interval
    # The mean's standard error is 1 / sqrt(400) = 0.05. With 2000 resamples an end is known to a twentieth of it.
    np.testing.assert_allclose(interval(difference, rng=generator()), theirs, atol=0.01)


def test_seeds_widen_the_interval_by_student_t():
    # Questions are all alike, so this is the textbook's interval of three seeds with a standard error of 0.1 / 3^0.5.
    difference = np.repeat([[0.1], [0.2], [0.3]], 50, axis=1)
    expected = stats.t(2, loc=0.2, scale=0.1 / 3**0.5).interval(0.95)
    np.testing.assert_allclose(interval(difference, rng=generator()), expected, atol=0.01)


def test_the_variance_is_that_of_the_two_way_table():
    # The means by seed are 1 and 3, those by question 1 and 3, and that of all is 2. Each value is 0.5 off their sum.
    difference = np.array([[0.5, 1.5], [1.5, 4.5]])
    seeds, questions = significance._variances(difference)
    # Var(1, 3) / 2 = 1; residual mean square 4 * 0.5^2 / 1 = 1, over 4 values 0.25; Var(1, 3) / 2 - 0.25 = 0.75.
    assert (seeds, questions) == pytest.approx((1, 0.75))


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_interval_of_equal_differences_is_a_point(seeds):
    assert interval(np.full((seeds, 20), 0.25), rng=generator()) == pytest.approx((0.25, 0.25))


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


@pytest.mark.parametrize(
    ("seeds", "shares", "mean", "margin", "least", "most"),
    [
        # The level is 5 % with a standard error of 1 %; the bound is cautious by up to 1 %.
        pytest.param(3, (0, 1, 0), -2, 2, 0.015, 0.075, id="worse by the margin, questions differ"),
        pytest.param(3, (0.5, 0.4, 0.1), -2, 2, 0.015, 0.075, id="worse by the margin, all differ"),
        # Half of the variance of 1 is that of questions, so the bound is about 2 below the mean, and the margin is 4.
        pytest.param(5, (0.2, 0.5, 0.3), 0, 4, 0.9, 1, id="as good"),
    ],
)
def test_what_is_worse_by_the_margin_is_rarely_called_as_good_and_what_is_as_good_is(
    seeds, shares, mean, margin, least, most
):
    rng = generator(17)
    data = (crossed(rng, seeds=seeds, shares=shares) + mean for _ in range(500))
    verdicts = [non_inferior(difference, margin, rng=rng, resamples=199).verdict for difference in data]
    assert least <= np.mean(verdicts) <= most


def test_non_inferiority_tells_its_bound_and_p():
    difference = generator(19).normal(0, 0.1, (3, 50))
    result = non_inferior(difference, 0.1, rng=generator())
    # The lower end of a two-sided interval at 90 % is the one-sided bound at 95 %.
    assert result.lower == pytest.approx(interval(difference, rng=generator(), level=0.9)[0])
    assert result.verdict and result.p == 1e-4 and result.margin == 0.1
    assert not non_inferior(difference - 0.2, 0.1, rng=generator()).verdict


# Errors

FUNCTIONS = (permutation_test, interval, partial(non_inferior, margin=0.1))


@pytest.mark.parametrize(
    ("functions", "arguments", "message"),
    [
        (FUNCTIONS, {"difference": np.zeros(5)}, r"difference has the shape \(5,\); allowed: seeds by questions"),
        (
            FUNCTIONS,
            {"difference": np.zeros((3, 0))},
            r"difference has the shape \(3, 0\); allowed: seeds by questions",
        ),
        (FUNCTIONS, {"difference": [[0.1, np.nan]]}, "difference has 1 values that are not finite"),
        (FUNCTIONS, {"resamples": 0}, "resamples is 0; allowed: 1 or more"),
        (FUNCTIONS[:1], {"alternative": "larger"}, "alternative is 'larger'; allowed: two-sided, greater, less"),
        (FUNCTIONS[1:], {"difference": np.ones((2, 1))}, "difference has 1 question; allowed: 2 or more"),
        (FUNCTIONS[1:], {"level": 2}, "level is 2; allowed: above 0 and below 1"),
        (FUNCTIONS[1:], {"level": 0}, "level is 0; allowed: above 0 and below 1"),
    ],
)
def test_wrong_arguments_are_refused(functions, arguments, message):
    for function in functions:
        with pytest.raises(ValueError, match=message):
            function(**{"difference": np.ones((2, 5)), "rng": generator()} | arguments)
