"""Effects: how far strategies are apart, how sure that is, and what may be said of it.

An effect is a contrast of means: one strategy less another, or any weighted sum of several. Its interval and its p come
from the same draws, so p is below .05 exactly where the 95 % interval excludes 0. A draw is how far off the value might
be:

- articles are resampled, the same for all sides of all contrasts, and what they add to the error is summed (see
  `clusters`). The sum is divided by the square root of a chi-squared over its degrees of freedom, which gives it the
  wider tails of Student's t, where articles are few or unequal;
- an error of the seeds is added, from Student's t.

Intervals reach as far up as down. All is counted in millionths, so what is printed decides what is said.
"""

import logging
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field
from scipy import stats

from hybridlib.arguments import Names, Positive, Seed, checked, told
from hybridlib.data.checks import check_columns, check_rows, numbers_of
from hybridlib.names import LOWER_IS_BETTER, SETTINGS
from hybridlib.study.report.claims import Contrasts, Labels
from hybridlib.study.report.clusters import Spread, combine, read_sides
from hybridlib.study.report.results import check_measure, check_sums

logger = logging.getLogger(__name__)

DRAWS = 9999
# How much worse a strategy may be and still be called not inferior; chosen before the results were seen.
MARGINS = {"map": 0.01, "ndcg@10": 0.01, "rank_distance": 0.1}
# For these measures the margin is a share of the mean of the negative side.
RELATIVE = ("rank_distance",)
_PARTS = 1e6
# Contrasts are drawn by so many at a time, whose draws take 10 MB.
BLOCK = 128
# With fewer articles this is told; see `effects`.
FEW = 5


@dataclass(frozen=True)
class Effect:
    """A contrast in a group: the columns that say where, how it varies, and the mean of its negative side."""

    where: dict[str, Hashable]
    measure: str
    spread: Spread
    reference: float


@checked
def effects(
    sums: pd.DataFrame,
    contrasts: Contrasts,
    *,
    label: Names = ("strategy",),
    by: Names = ("setting", "measure"),
    margin: Mapping[str, Positive] | None = None,
    without_seeds: Labels = (),
    seed: Seed = 0,
    draws: Annotated[int, Field(ge=20, le=1_000_000)] = DRAWS,
) -> pd.DataFrame:
    """Compute contrasts of macro means, with intervals over articles and seeds.

    Args:
        sums: as returned by `read_sums`, of one task. With a column `cell`, its values take the place of the pairs of
            query and passage language, and count alike.
        contrasts: by name, the weights of values of the label: `{"hybrid minus x-y": {"hybrid": 1, "x-y": -1}}`.
        label: the column of what is compared, or several, whose values make tuples.
        by: columns whose values are looked at apart. Others of the sums have one value, or are averaged over.
        margin: by measure, how much worse the positive side may be; see `MARGINS` and `RELATIVE`. The negative side's
            mean is taken as known.
        without_seeds: values of the label that no other seed would change, such as `untrained`.
        seed: seed of the draws; they do not depend on which rows are asked for.
        draws: their number.

    Returns:
        A row for every group and contrast all of whose sides it has: the columns of `by`, `contrast`, `value`, `lower`
        and `upper` (the 95 % interval), `p` of the hypothesis that the value is 0, and `sd`. With margins also
        `margin`, in the measure's unit, and `p_margin` of the hypothesis that the positive side is worse by it or more:
        it is below .05 exactly where no value in the interval is. They are NaN where there is no margin.

    In simulations the 95 % intervals of differences cover 94.9 to 97.7 % with 5 or 10 articles, 97.0 to 99.3 % with 3,
    and 95.2 % with 2 of equal size, but 93 % with 2 of 74 and 8 questions (`benchmarks/calibration.py`). With fewer
    than `FEW` articles a warning says so: the intervals are wide, and p takes few values above .2.

    Raises:
        ValueError: a contrast is empty, or names a value twice or one that the sums lack; a margin is not above 0, or
            of a measure that does not exist; sums lack a column, or hold what `check_sums` refuses; a group has several
            settings or measures; the label and `by` do not tell runs apart; or the sides of a contrast have other
            articles than each other, fewer than 2, or other runs of the same test.
    """
    sums = check_sums(sums, [*label, *by])
    for measure in set(margin or ()) - set(sums.measure):
        check_measure(measure, "margin")
    found = list(_each(sums, contrasts, label, by, without_seeds))
    if not found:
        raise ValueError("no group of the sums has all sides of a contrast; allowed: one or more")
    fewest = min(int(effect.spread.used.sum()) for effect in found)
    if fewest < FEW:
        logger.warning("some effects are over %d articles only, so their intervals are wide and p is coarse", fewest)
    deviations = _deviations([effect.spread for effect in found], seed, draws)
    rows = [effect.where | _judged(effect, off, margin) for effect, off in zip(found, deviations, strict=True)]
    return pd.DataFrame(rows).astype({name: sums[name].dtype for name in by})


@checked
def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Say what the intervals of effects show; measures of which less is better are turned round.

    Args:
        table: as returned by `effects`, with `measure` among the columns.

    Returns:
        The table and a column `verdict`: `better` or `worse`, where the interval excludes 0; else `not inferior`, where
        it has nothing as bad as the margin; else `not told apart`. With margins there is a column `not_inferior` too,
        which says the same of every row, since what is worse may be so by less than the margin; it is false where there
        is no margin.

    Raises:
        ValueError: a column is missing, a measure does not exist, so that it is not known which direction is better, or
            an end of an interval is missing or the lower is above the upper.
    """
    check_columns("table (as returned by `effects`)", list(table.columns), ["measure", "lower", "upper"])
    for measure in table.measure.unique():
        check_measure(measure, "table.measure")
    lower, upper = (numbers_of(table[end], f"table.{end}") for end in ("lower", "upper"))
    check_rows(lower > upper, table.lower, "table.lower", "at most the upper end")
    turned = table.measure.isin(LOWER_IS_BETTER)
    least = np.where(turned, -upper, lower)  # (N,)
    most = np.where(turned, -lower, upper)  # (N,)
    margin = numbers_of(table.get("margin", np.full(len(table), np.nan)), "table.margin", missing=True)
    check_rows(margin <= 0, margin, "table.margin", "above 0")
    spared = least > -margin
    said = np.select([least > 0, most < 0, spared], ["better", "worse", "not inferior"], "not told apart")
    return table.assign(verdict=said, **({"not_inferior": spared} if "margin" in table else {}))


@checked
def joint(
    sums: pd.DataFrame,
    contrasts: Contrasts,
    *,
    settings: Names = ("monolingual", "multilingual"),
    label: Names = ("strategy",),
    by: Names = ("measure",),
    without_seeds: Labels = (),
) -> pd.DataFrame:
    """Compute contrasts in two settings, and how the two vary together over articles; seeds move each by itself.

    Args:
        sums: as returned by `read_sums`, of one task.
        contrasts: by name, the weights of values of the label; `{"hybrid": {"hybrid": 1}}` is a mean.
        settings: the two.
        label, by, without_seeds: as in `effects`.

    Returns:
        A row for every group and contrast: the columns of `by`, `contrast`, `x` and `y` (the values in the two
        settings), `variance_x`, `variance_y`, `covariance`, and `radius`: the ellipse of the points whose Mahalanobis
        distance from (x, y) is the radius covers both true values together at 95 % (Hotelling's T squared).

    Raises:
        ValueError: as in `effects`, or the settings are not two of those there are.
    """
    if len(settings) != 2 or len({*settings} & {*SETTINGS}) != 2:
        raise ValueError(f"settings are {settings}; allowed: two of {', '.join(SETTINGS)}")
    sums = check_sums(sums, [*label, *by])
    both = sums[sums.setting.isin(settings)]
    found: dict[tuple, dict[str, Spread]] = {}
    for effect in _each(both, contrasts, label, [*by, "setting"], without_seeds):
        key = tuple(effect.where[name] for name in (*by, "contrast"))
        found.setdefault(key, {})[str(effect.where["setting"])] = effect.spread
    rows = []
    for key, spreads in found.items():
        if len(spreads) == len(settings):
            x, y = (spreads[setting] for setting in settings)
            free = max(2.0, min(x.articles, y.articles))
            radius = np.sqrt(2 * free / (free - 1) * stats.f.ppf(0.95, 2, free - 1))
            rows.append([*key, x.value, y.value, x.variance, y.variance, float(x.moves @ y.moves), radius])
    if not rows:
        raise ValueError(f"no group of the sums has all sides of a contrast in {' and '.join(settings)}")
    columns = [*by, "contrast", "x", "y", "variance_x", "variance_y", "covariance", "radius"]
    table = pd.DataFrame(rows, columns=columns).astype({name: sums[name].dtype for name in by})
    return table.round({"x": 6, "y": 6, "radius": 6} | dict.fromkeys(columns[-4:-1], 12))


def _each(
    sums: pd.DataFrame, contrasts: Contrasts, label: Sequence[str], by: Sequence[str], without_seeds: Sequence[Any]
) -> Iterator[Effect]:
    """Combine the contrasts in each group that has all their sides."""
    weights = {name: {_key(value): weight for value, weight in of.items()} for name, of in contrasts.items()}
    if not (weights and all(len(of) == len(contrasts[name]) > 0 for name, of in weights.items())):
        allowed = "each with the weight of one label or more, and of none twice"
        raise ValueError(f"contrasts are {told(dict(contrasts))}; allowed: {allowed}")
    fixed = {_key(value) for value in without_seeds}
    groups = read_sides(sums, by, label, {value for of in weights.values() for value in of})
    for group, sides in groups.items():
        where = dict(zip(by, group, strict=True))
        measure, setting = (str(where.get(name, sums[name].iat[0])) for name in ("measure", "setting"))
        for name, of in weights.items():
            if of.keys() <= sides.keys():
                spread = combine(sides, of, without_seeds=fixed, measure=measure, setting=setting)
                negative = {value: weight for value, weight in of.items() if weight < 0}
                total = sum(weight * sides[value].mean for value, weight in negative.items())
                reference = total / sum(negative.values()) if negative else np.nan
                yield Effect(where | {"contrast": name}, measure, spread, reference)


def _key(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _deviations(spreads: Sequence[Spread], seed: int, draws: int) -> Iterator[np.ndarray]:
    """Draw how far off each value might be: without signs, in whole millionths, rising. (B,) each"""
    weights: dict[int, np.ndarray] = {}  # by the number of articles, (B, G)
    for start in range(0, len(spreads), BLOCK):
        block = spreads[start : start + BLOCK]
        sizes = np.array([spread.used.sum() for spread in block])
        by_articles = np.empty((len(block), draws))
        for size in np.unique(sizes).tolist():
            if size not in weights:
                rng = np.random.default_rng([seed, size])
                drawn = rng.integers(size, size=(draws, size)) + size * np.arange(draws)[:, None]
                weights[size] = np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, size) - 1.0
            moves = np.array([spread.moves[spread.used] for spread in np.array(block, dtype=object)[sizes == size]])
            by_articles[sizes == size] = moves @ weights[size].T
        for spread, error in zip(block, by_articles, strict=True):
            rng = np.random.default_rng(seed)
            of_articles, of_seeds = spread.parts
            # Turned with the value, so that a contrast the other way round is its mirror image.
            error *= np.copysign(of_articles, spread.value) / np.sqrt(
                rng.chisquare(spread.articles, draws) / spread.articles
            )
            error += of_seeds * rng.standard_t(spread.runs, draws)
            yield np.sort(np.abs(np.rint(error * _PARTS)))


def _judged(effect: Effect, off: np.ndarray, margin: Mapping[str, float] | None) -> dict[str, float]:
    """Return the columns of an effect, from its deviations."""
    value = np.rint(effect.spread.value * _PARTS)
    # The end is the farthest draw at which p, which counts the value too, would not be below .05.
    half = off[len(off) + 1 - -(-(len(off) + 1) // 20)]
    columns = {"value": value / _PARTS, "lower": (value - half) / _PARTS, "upper": (value + half) / _PARTS}
    columns |= {"p": _p(off, abs(value)), "sd": round(effect.spread.variance**0.5, 6)}
    if margin is not None:
        unit = effect.reference if effect.measure in RELATIVE else effect.reference * 0 + 1  # NaN without a reference
        most = np.rint(margin.get(effect.measure, np.nan) * unit * _PARTS)
        spared = most + (-value if effect.measure in LOWER_IS_BETTER else value)
        columns |= {"margin": most / _PARTS, "p_margin": np.nan if np.isnan(spared) else _p(off, max(spared, 0))}
    return columns


def _p(off: np.ndarray, distance: float) -> float:
    """Return the share of draws as far off as a distance, which counts as one of them."""
    return round((1 + len(off) - int(np.searchsorted(off, distance))) / (1 + len(off)), 6)
