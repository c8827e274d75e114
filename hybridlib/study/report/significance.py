"""Significance: whether one strategy differs from another, by the questions and by the seeds.

Two strategies are compared on the same questions with the same seeds, so everything is about their paired differences.
A difference may be an accident in two ways, and a verdict needs both answers:

- *p* says whether these trained models would differ with other questions too (paired permutation of the questions);
- the *interval* says whether models trained anew with other seeds would differ too, on other questions.

A difference is shown only if p, corrected for the number of comparisons, is small and the interval excludes zero. Where
no difference is shown, there may still be one. The test of non-inferiority shows that a loss is small; its margin must
be chosen before looking at the results. Differences are absolute, in the unit of the measure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

Alternative = Literal["two-sided", "greater", "less"]
ALTERNATIVES = ("two-sided", "greater", "less")
# The ends of an interval are quantiles, which need fewer resamples than the smallest p of a test.
RESAMPLES = 2000
# So many numbers are drawn at a time; their 8 MiB stay in cache.
_BLOCK = 1 << 20
# The share of seeds in the variance is raised to this power, see `interval`.
_SHARE_POWER = 1.5
# Sums of resampled differences are taken over whole numbers that add up to this: exact in any order.
_WHOLE = 2.0**52


@dataclass(frozen=True)
class NonInferiority:
    """The answer to whether a difference is above -margin.

    Attributes:
        margin: the largest loss that counts as none, above 0.
        lower: one-sided lower confidence bound of the mean difference, over questions and seeds.
        p: p value of the hypothesis that the mean difference is -margin or less, over questions.
        verdict: whether both say that the first side is not inferior.
    """

    margin: float
    lower: float
    p: float
    verdict: bool


def permutation_test(
    difference: np.ndarray,
    *,
    rng: np.random.Generator,
    resamples: int = 9999,
    alternative: Alternative = "two-sided",
) -> float:
    """Return the p value of a mean difference: how often swapping the sides of random questions gives as large a one.

    All seeds of a question are swapped together. Ties count as large. The same generator gives the same p whatever the
    number of threads: differences are rounded to whole numbers, whose sums are exact in any order.
    (`scipy.stats.permutation_test` is the same test, over ten times as slow for 200 questions.) O(resamples * Q) time,
    O(1) memory.

    Args:
        difference: seeds by questions. (S, Q)
        rng: draws the swaps.
        resamples: their number, at least 1; p is never below 1 / (resamples + 1).
        alternative: `two-sided`, `greater` or `less`.

    Raises:
        ValueError: the difference is not a finite (S, Q), or another argument is not allowed.

    Source: Fisher's randomisation test, with p as in Phipson and Smyth (2010, equation 2).

    >>> permutation_test(np.full((1, 20), 0.1), rng=np.random.default_rng(0), resamples=99)
    0.01
    """
    means = _checked(difference).mean(axis=0)  # (Q,)
    _check_resamples(resamples)
    if alternative not in ALTERNATIVES:
        raise ValueError(f"alternative is {alternative!r}; allowed: {', '.join(ALTERNATIVES)}")
    if not means.any():
        return 1.0
    whole = np.rint(means / np.abs(means).sum() * _WHOLE)
    slack = 1e-10 * _WHOLE  # sums that differ by rounding only are ties
    extreme = 0
    for rows in _blocks(resamples, len(whole)):
        swapped = np.unpackbits(rng.integers(256, size=(rows, -(-len(whole) // 8)), dtype=np.uint8), axis=1)  # (R, 8n)
        sums = whole.sum() - 2 * (swapped[:, : len(whole)].astype(float) @ whole)  # (R,)
        extreme += int(np.sum(_extremeness(sums, alternative) >= _extremeness(whole.sum(), alternative) - slack))
    return (extreme + 1) / (resamples + 1)


def interval(
    difference: np.ndarray, *, rng: np.random.Generator, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the confidence interval of a mean difference, were both questions and seeds drawn anew.

    Differences vary by seed, by question and by what is left: a two-way table with random effects. Its mean squares
    give the two parts of the mean's variance (Searle, Casella and McCulloch, 1992, chapter 4): `seeds` with S - 1
    degrees of freedom and `questions` with many. Resampled means deviate by the sum of a bootstrap of the questions and
    a Student t of the seeds, which are too few to be resampled.

    The quantiles of that sum are the Behrens-Fisher problem; let w be the share of seeds in the variance. Simulated
    with normal differences, 3 seeds, 100 and 1000 questions, intervals at 95 % cover

    - 94.8 to 97.7 % with Fisher's solution, which is too wide for medium w;
    - 92.1 to 96.1 % with Welch and Satterthwaite's, which is too narrow;
    - about 75 to 98 % with a percentile bootstrap of seeds and questions (Owen, 2007);
    - 94.6 to 96.5 % with Fisher's and w^1.5 for w, which is used here (94.5 to 95.7 % with 5 seeds, 93.9 to 97.4 % with
      2).

    With a single seed, the interval is over questions only; it says nothing about other seeds.

    Args:
        difference: seeds by questions, at least 2 questions. (S, Q)
        rng: draws the resamples.
        level: above 0 and below 1.
        resamples: their number, at least 1.

    Returns:
        The lower and upper end.

    Raises:
        ValueError: the difference is not a finite (S, Q), or another argument is not allowed.
    """
    check_level(level)
    deviations = _deviations(difference, rng=rng, resamples=resamples)
    lower, upper = np.mean(difference) + np.quantile(deviations, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust p values for their number, so that a single false finding among them is as rare as asked (Holm, 1979).

    statsmodels collects garbage in every call: call it with a whole table, not in a loop.

    Args:
        p: from 0 to 1. (N,)

    Returns:
        Adjusted p values, in the same order. (N,)

    Raises:
        ValueError: there is none, or one is not from 0 to 1.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()  # 3 * 0.01, then 2 * 0.03, and never less than the one before
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=float)
    if p.ndim != 1 or not len(p) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p is {p.tolist()}; allowed: one or more values from 0 to 1")
    return multipletests(p, method="holm")[1]


def non_inferior(
    difference: np.ndarray,
    margin: float,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 9999,
) -> NonInferiority:
    """Test whether the first side is as good as the other, up to a margin chosen beforehand.

    The bound is computed as in `interval`, over questions and seeds. p is computed by `permutation_test` on the
    difference plus the margin; this assumes that the differences are symmetric about their mean, or many.

    Args:
        difference: seeds by questions, at least 2 questions; positive is better. (S, Q)
        margin: by how much it may be worse, above 0.
        rng: draws the resamples.
        level: the level of the one-sided bound; the test has the level 1 - level.
        resamples: their number in the test, at least 1.

    Raises:
        ValueError: the difference is not a finite (S, Q), or another argument is not allowed.
    """
    if not (0 < margin < np.inf):
        raise ValueError(f"margin is {margin}; allowed: above 0, the largest loss that still counts as none")
    check_level(level)
    difference = _checked(difference)
    lower = float(difference.mean() + np.quantile(_deviations(difference, rng=rng, resamples=RESAMPLES), 1 - level))
    p = permutation_test(difference + margin, rng=rng, resamples=resamples, alternative="greater")
    return NonInferiority(margin, lower, p, verdict=bool(lower > -margin and p < 1 - level))


def _deviations(difference: np.ndarray, *, rng: np.random.Generator, resamples: int) -> np.ndarray:
    """Draw deviations of resampled means from the mean, by questions and seeds, see `interval`. (S, Q) -> (R,)"""
    difference = _checked(difference)
    _check_resamples(resamples)
    n_questions = difference.shape[1]
    if n_questions < 2:
        raise ValueError("difference has 1 question; allowed: 2 or more")
    means = difference.mean(axis=0) - difference.mean()  # (Q,)
    indices = (rng.integers(n_questions, size=(rows, n_questions)) for rows in _blocks(resamples, n_questions))
    by_questions = np.concatenate([means[index].mean(axis=1) for index in indices])  # (R,)
    if len(difference) == 1:
        return by_questions
    seeds, questions = _variances(difference)
    share = (seeds / (seeds + questions)) ** _SHARE_POWER if seeds + questions > 0 else 0.0
    # Every quantile of Student's t is taken once: the ends of the interval are in its tails, where chance is large.
    by_seeds = stats.t.ppf((rng.permutation(resamples) + 0.5) / resamples, len(difference) - 1)  # (R,)
    spread = means.std() / np.sqrt(n_questions)
    standard = by_questions / spread if spread > 0 else by_questions
    return np.sqrt(seeds + questions) * (np.sqrt(1 - share) * standard + np.sqrt(share) * by_seeds)


def _variances(difference: np.ndarray) -> tuple[float, float]:
    """Return the variance of the mean by seeds (with what is left), and what questions add to it. (S, Q)"""
    n_seeds, n_questions = difference.shape
    by_seed = difference.mean(axis=1, keepdims=True)
    by_question = difference.mean(axis=0, keepdims=True)
    left = difference - by_seed - by_question + difference.mean()
    residual = float((left**2).sum()) / ((n_seeds - 1) * (n_questions - 1))
    seeds = float(by_seed.var(ddof=1)) / n_seeds
    questions = float(by_question.var(ddof=1)) / n_questions
    return seeds, max(0.0, questions - residual / (n_seeds * n_questions))


def _blocks(resamples: int, n_questions: int) -> list[int]:
    """Split the resamples into blocks; return their sizes."""
    rows = max(1, _BLOCK // n_questions)
    return [min(rows, resamples - start) for start in range(0, resamples, rows)]


def _extremeness(sums: np.ndarray, alternative: Alternative) -> np.ndarray:
    return np.abs(sums) if alternative == "two-sided" else sums if alternative == "greater" else -sums


def _checked(difference: np.ndarray) -> np.ndarray:
    difference = np.asarray(difference, dtype=float)
    if difference.ndim != 2 or not difference.size:
        raise ValueError(f"difference has the shape {difference.shape}; allowed: seeds by questions")
    check_finite("difference", difference)
    return difference


def check_finite(name: str, numbers: np.ndarray) -> None:
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} has {np.sum(~np.isfinite(numbers))} values that are not finite; allowed: numbers")


def check_level(level: float) -> None:
    if not (0 < level < 1):
        raise ValueError(f"level is {level}; allowed: above 0 and below 1")


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; allowed: 1 or more")
