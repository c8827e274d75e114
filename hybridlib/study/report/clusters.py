"""Clusters: the mean of a strategy, what each article adds to it, and how it would vary with other articles and seeds.

Questions of an article share its difficulty, so articles count, not questions. Means are macro, as in the paper: the
questions of a pair of query and passage language are averaged first, then the passage languages of each query language,
then the query languages. To first order the error of such a mean is a sum over articles, and so is that of a contrast
of means. What an article adds to it is its *move*. A contrast varies in two ways:

- with the *articles*. They are few, and one that is large draws the mean to itself, so that moves are too small. Each
  is divided by the square root of 1 less its article's share (as in CR2, Bell and McCaffrey, 2002); with G equal
  articles this is the square root of G / (G - 1).
- with the *seeds*. Where tests have several runs, the spread of their contrasts tells how much. Where each has one, it
  is not known, and that of a pilot is taken: `SEED_SD` for each label and test. For other measures than the pilot's it
  is `SEEDS_OVER_ARTICLES` of the standard deviation between articles. The pilot's questions were of all topics and
  languages; a mean over some of them varies more between seeds, by how much is not known, and this is not added.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hybridlib.arguments import told
from hybridlib.study.report.results import RUN

# Standard deviations between seeds: three seeds of 13 settings, one split of XQuAD-R, so 26 degrees of freedom.
SEED_SD = {
    ("map", "monolingual"): 0.0013,
    ("map", "cross-lingual"): 0.0012,
    ("map", "multilingual"): 0.0018,
    ("rank_distance", "multilingual"): 1.6,
}
# Those of x-x, which is not trained to rank passages of several languages.
SEED_SD_OF_X_X = {"map": 0.007, "rank_distance": 14.0}
PILOT_FREEDOM = 26
# For other measures: the standard deviation between seeds over that between articles, which is .016 to .029 for map and
# rank distance, and .08 to .11 for those of x-x.
SEEDS_OVER_ARTICLES = 0.03
SEEDS_OVER_ARTICLES_OF_X_X = 0.11
SHARE_POWER = 1.5


@dataclass(frozen=True)
class Side:
    """The macro mean of one label, and what moves it.

    Attributes:
        mean: the mean; runs of the same test are averaged.
        moves: what each article of each run adds to the error, were the run the only one of its test. (R, A)
        shares: the weight of the same in the mean, 0 for an article of another test. (R, A)
        runs: number of each run, by test, fold and seed; rising. (R,)
        tests: number of the test of each run, from 0. (R,)
    """

    mean: float
    moves: np.ndarray
    shares: np.ndarray
    runs: np.ndarray
    tests: np.ndarray

    @property
    def replicates(self) -> np.ndarray:
        """Return how many runs the test of each run has. (R,)"""
        return np.bincount(self.tests)[self.tests]

    def by_article(self, values: np.ndarray) -> np.ndarray:
        """Average moves or shares over the runs of each test. (R, A) -> (A,)"""
        return (values / self.replicates[:, None]).sum(axis=0)


@dataclass(frozen=True)
class Spread:
    """The value of a contrast, and how it varies.

    Attributes:
        value: the contrast of the means.
        moves: what each article adds to the error, corrected for their number. (A,)
        used: whether an article takes part; the moves of others are 0. (A,)
        articles: degrees of freedom of the articles: how many of equal size would say as much, less 1.
        seeds: variance between seeds.
        runs: degrees of freedom of that variance.
    """

    value: float
    moves: np.ndarray
    used: np.ndarray
    articles: float
    seeds: float
    runs: float

    @property
    def variance(self) -> float:
        """Return the variance of the value, over articles and seeds."""
        return float((self.moves**2).sum()) + self.seeds

    @property
    def parts(self) -> tuple[float, float]:
        """Return the factor of the moves, and of a standard t of the seeds, in draws of the error of the value.

        The two errors in full, as Fisher has it, would give intervals at 95 % that cover 97 to 98 % where the seeds are
        few and have a fair share of the variance. With this power of their share they cover 95 to 97 % (`benchmarks`).
        """
        share = self.seeds / self.variance if self.variance else 0.0
        taken = share**SHARE_POWER
        return np.sqrt((1 - taken) / (1 - share)) if share < 1 else 0.0, np.sqrt(taken * self.variance)


def read_sides(
    sums: pd.DataFrame, by: Sequence[str], label: Sequence[str], wanted: Collection[tuple]
) -> dict[tuple, dict[tuple, Side]]:
    """Compute the macro mean of labels in every group, and what moves it.

    Args:
        sums: as returned by `check_sums`. Where it has a column `cell`, its values take the place of the pairs of
            languages, and count alike.
        by: columns whose values make a group.
        label: columns whose values make a label.
        wanted: the labels.

    Returns:
        Sides by label by group, in the order in which they come first.

    Raises:
        ValueError: there are no sums of a label, or of several settings or measures in a group, or two rows say the
            same of the same run: the labels do not tell runs apart.
    """
    key = [*by, *label]
    for column in ("setting", "measure"):
        if column not in key and sums[column].nunique() > 1:
            raise ValueError(f"by is {told(list(by))}; allowed: with {column!r}, of which the sums have several values")
    if sums.duplicated([*dict.fromkeys([*key, *RUN, "article", "query_language", "passage_language"])]).any():
        raise ValueError(f"sums have two runs of the same {', '.join([*key, *RUN])}; allowed: one")
    cell, row = (["cell"], ["cell"]) if "cell" in sums else (["query_language", "passage_language"], ["query_language"])
    named = {"key": key, "run": RUN, "test": ["test"], "cell": cell, "row": row}
    columns = {name: _numbers(sums, of) for name, of in named.items()}
    numbers, names = pd.factorize(sums.article)
    # In the order of their names, so that an article is drawn alike in whatever order the rows come.
    columns["article"] = np.argsort(np.argsort(np.asarray(names).astype(str)))[numbers]
    columns |= {name: sums[name].to_numpy() for name in ("total", "count")}
    sides: dict[tuple, dict[tuple, Side]] = {}
    order = np.argsort(columns["key"], kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(columns["key"][order])) + 1):
        first = [sums[name].iat[rows[0]] for name in key]
        group, name = tuple(first[: len(by)]), tuple(first[len(by) :])
        if name in wanted:
            side = _side({column: values[rows] for column, values in columns.items()}, len(names))
            sides.setdefault(group, {})[name] = side
    missing = sorted(set(wanted) - {name for of in sides.values() for name in of}, key=str)
    if missing:
        known = sums[list(label)].drop_duplicates().values.tolist()
        raise ValueError(f"sums have no {'/'.join(label)} {told(missing)}; allowed: {told(known)}")
    return sides


def combine(
    sides: Mapping[tuple, Side],
    weights: Mapping[tuple, float],
    *,
    without_seeds: Collection[tuple],
    measure: str,
    setting: str,
) -> Spread:
    """Combine the sides of a group into a contrast, and say how it varies.

    The spread of runs is partly that of single articles in single runs, which the spread of articles holds too; there
    it is taken off.

    Args:
        sides: by label.
        weights: of labels among them.
        without_seeds: labels that no other seed would change.
        measure, setting: what the sides are means of; the pilot's spread is looked up by them.

    Raises:
        ValueError: the sides have different articles, fewer than 2, or different runs of the same test.
    """
    label = " and ".join("/".join(map(str, name)) for name in weights)
    shares = np.array([sides[name].by_article(sides[name].shares) for name in weights])  # (L, A)
    used: np.ndarray = np.all(shares > 0, axis=0)
    if (np.any(shares > 0, axis=0) != used).any():
        raise ValueError(f"{label}: sums are of {(shares > 0).sum(axis=1).tolist()} articles; allowed: the same of all")
    if used.sum() < 2:
        raise ValueError(f"{label}: sums are of 1 article; allowed: 2 or more")
    share = shares.mean(axis=0)  # (A,)
    moves = sum(weight * sides[name].by_article(sides[name].moves) for name, weight in weights.items())
    moves = moves / np.sqrt(1 - share)  # (A,)
    seeded = {name: weight for name, weight in weights.items() if name not in without_seeds}
    seeds, freedom = 0.0, PILOT_FREEDOM
    if any(sides[name].replicates.max() > 1 for name in seeded):
        if len({sides[name].runs.tobytes() for name in seeded}) > 1:
            raise ValueError(f"{label} have not the same folds and seeds; allowed: the same, or to name those without")
        seeds, freedom, both = _between_runs([(sides[name], weight) for name, weight in seeded.items()])
        moves *= np.sqrt(max(0, 1 - both / max((moves**2).sum(), np.finfo(float).tiny)))
    else:
        for name, weight in seeded.items():
            seeds += weight**2 * _of_pilot(sides[name], "x-x" in name, measure, setting)
    value = sum(weight * sides[name].mean for name, weight in weights.items())
    return Spread(float(value), moves, used, max(1.0, 1 / (share**2).sum() - 1), seeds, freedom)


def _numbers(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Number the values of some columns together, from 0, in the order in which they come first. (N,)"""
    return table.groupby(list(columns), observed=True, dropna=False, sort=False).ngroup().to_numpy()


def _side(rows: Mapping[str, np.ndarray], articles: int) -> Side:
    """Compute a side from its rows; `row` numbers the query language of a cell, or is the cell."""
    runs, first, run = np.unique(rows["run"], return_index=True, return_inverse=True)  # (R,), (R,), (N,)
    tests = np.unique(rows["test"][first], return_inverse=True)[1]  # (R,)
    _, first, cell = np.unique(rows["cell"], return_index=True, return_inverse=True)  # (C,), (N,)
    row = np.unique(rows["row"][first], return_inverse=True)[1]  # (C,)
    weight = 1 / np.bincount(row)[row] / (row.max() + 1)  # (C,)
    part = 1 / np.bincount(tests)[tests][run]  # (N,)
    count = np.bincount(cell, weights=part * rows["count"])  # (C,)
    means = np.bincount(cell, weights=part * rows["total"]) / count  # (C,)
    scale = (weight / count)[cell]  # (N,)
    errors = scale * (rows["total"] - means[cell] * rows["count"])
    place = run * articles + rows["article"]  # (N,)
    moves = np.bincount(place, weights=errors, minlength=len(runs) * articles)
    shares = np.bincount(place, weights=scale * rows["count"], minlength=len(runs) * articles)
    return Side(float(weight @ means), moves.reshape(-1, articles), shares.reshape(-1, articles), runs, tests)


def _between_runs(sides: Sequence[tuple[Side, float]]) -> tuple[float, int, float]:
    """Return the variance between runs, its degrees of freedom, and what of it the variance of articles holds too."""
    first = sides[0][0]
    tests, count = first.tests, first.replicates[:, None]  # (R,), (R, 1)
    moves = np.sum([weight * side.moves for side, weight in sides], axis=0)  # (R, A)
    same = (tests[:, None] == tests) / count  # (R, R), averages the runs of a test
    moves = moves - same @ moves
    share = first.shares.sum(axis=1, keepdims=True)  # (R, 1), of the test
    shifts = moves.sum(axis=1, keepdims=True) / share  # (R, 1), of all articles alike
    freedom = int(np.sum(1 - 1 / count))
    seeds = float((shifts**2).sum() / freedom * (share**2 / count**2).sum())
    left = (moves - shifts * first.shares) ** 2 / np.maximum(1 - first.shares / share, np.finfo(float).eps)
    left /= count * np.maximum(count - 1, 1)
    return seeds, freedom, float(left.sum())


def _of_pilot(side: Side, x_x: bool, measure: str, setting: str) -> float:
    """Return the variance between seeds of a side with one run for each test, as a pilot has it."""
    if x_x and measure in SEED_SD_OF_X_X:
        sd = SEED_SD_OF_X_X[measure]
    elif (measure, setting) in SEED_SD:
        sd = SEED_SD[measure, setting]
    else:
        between = (side.by_article(side.moves) ** 2).sum() / (side.by_article(side.shares) ** 2).sum()
        sd = (SEEDS_OVER_ARTICLES_OF_X_X if x_x else SEEDS_OVER_ARTICLES) * float(np.sqrt(between))
    return sd**2 * float((side.shares.sum(axis=1) ** 2).sum())
