"""Significance: p is uniform where there is no difference, intervals cover as often as they say."""

import itertools

import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from hybridlib.study.report import significance
from hybridlib.study.report.significance import holm, interval, non_inferior, permutation_test


def generator(seed=0):
    return np.random.default_rng(seed)


def crossed(rng, *, seeds, questions, shares):
    """Draw differences whose mean has mean 0 and variance 1: by seeds, questions and what is left, in these shares."""
    by_seed, by_question, left = np.sqrt(shares)
    return (
        by_seed * np.sqrt(seeds) * rng.normal(size=(seeds, 1))
        + by_question * np.sqrt(questions) * rng.normal(size=(1, questions))
        + left * np.sqrt(seeds * questions) * rng.normal(size=(seeds, questions))
    )


def enumerated(difference, alternative):
    """Compute p over all ways to swap, one after the other: the oracle."""
    means = difference.mean(axis=0)
    sums = [np.dot(signs, means) for signs in itertools.product((1, -1), repeat=len(means))]
    large = {
        "two-sided": [abs(value) >= abs(means.sum()) - 1e-9 for value in sums],
        "greater": [value >= means.sum() - 1e-9 for value in sums],
        "less": [value <= means.sum() + 1e-9 for value in sums],
    }
    return np.mean(large[alternative])


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


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_interval_of_equal_differences_is_a_point(seeds):
    assert interval(np.full((seeds, 20), 0.25), rng=generator()) == pytest.approx((0.25, 0.25))


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


# Errors


@pytest.mark.parametrize("function", [permutation_test, interval, lambda d, rng: non_inferior(d, 0.1, rng=rng)])
def test_differences_are_seeds_by_questions(function):
    for shape in ((5,), (3, 0)):
        with pytest.raises(ValueError, match=r"difference has the shape \(.*\); allowed: seeds by questions"):
            function(np.zeros(shape), rng=generator())
    with pytest.raises(ValueError, match="difference has 1 values that are not finite"):
        function(np.array([[0.1, np.nan]]), rng=generator())


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (permutation_test, {"alternative": "larger"}, "alternative is 'larger'; allowed: two-sided, greater, less"),
        (permutation_test, {"resamples": 0}, "resamples is 0; allowed: 1 or more"),
        (interval, {"resamples": 0}, "resamples is 0; allowed: 1 or more"),
        (interval, {"level": 2}, "level is 2; allowed: above 0 and below 1"),
        (interval, {"difference": np.ones((2, 1))}, "difference has 1 question; allowed: 2 or more"),
        (non_inferior, {"margin": 0.1, "resamples": 0}, "resamples is 0; allowed: 1 or more"),
        (non_inferior, {"margin": 0.1, "level": 0}, "level is 0; allowed: above 0 and below 1"),
    ],
)
def test_the_parts_check_their_own_arguments(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(**{"difference": np.ones((2, 5)), "rng": generator()} | arguments)
