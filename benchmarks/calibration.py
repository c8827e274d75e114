"""How often intervals cover the truth, and whether p is uniform where there is no effect, in data that are clustered.

    python benchmarks/calibration.py

Data sets are drawn in which two strategies are equal, and the contrast of the two, and the mean of one, are computed
by `hybridlib.study.report.effects`. Questions of an article share an effect, in all languages and in each; a question
shares one in all languages; seeds move all articles of a run alike and each apart. Effects of articles are skewed.
Their sizes are real: articles of XQuAD-R have 8 to 74 questions, those of MLQA-R 1 to 20, in 2 to 4 languages each.

The naive interval beside it is what is common: the percentiles of a bootstrap of the articles, with the runs averaged.
The standard error of a share of 2,000 data sets is half a percent. It takes three minutes on one core, prints a table
and writes `benchmarks/calibration.json`.
"""

import logging
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from measuring import keep, show, take_no_arguments, versions
from scipy import stats

from hybridlib.study.report.clusters import SEED_SD
from hybridlib.study.report.effects import effects

# Questions of the articles of XQuAD-R, by fold; of its history; and how many articles of MLQA-R have how many.
FOLDS = (
    (25, 23, 8, 26, 25, 23, 21, 23, 25, 19, 74, 24),
    (21, 25, 17, 25, 24, 24, 30, 23, 20, 25, 25, 19, 23),
    (24, 24, 35, 21, 25, 25, 21, 24, 39, 22, 25),
    (23, 16, 24, 23, 25, 22, 18, 32, 24, 36, 21, 24),
)
HISTORY = ((25, 23, 8), (21, 25, 17), (24, 24), (23, 16, 24))
SMALL = {
    1: 300,
    2: 114,
    3: 37,
    4: 22,
    5: 9,
    6: 9,
    7: 7,
    8: 4,
    9: 4,
    10: 1,
    11: 3,
    12: 2,
    14: 2,
    15: 1,
    18: 2,
    19: 1,
    20: 2,
}
UNEQUAL = ((74, 8, 8, 21, 21, 21),)
# Few articles: of one size, and the first of a list in which the first is large.
EQUAL, FALLING = 24, (74, 8, 25, 19, 23, 35, 21, 12, 24, 30)
LANGUAGES = 4
# Standard deviations of what articles, articles in a language, questions, and questions in a language add, as of the
# difference between hybrid and x-x-mono in monolingual map.
ARTICLE, ARTICLE_IN_LANGUAGE, QUESTION, QUESTION_IN_LANGUAGE = 0.012, 0.01, 0.06, 0.15
# The same of what an article, and a question in a language, adds in one run alone.
IN_RUN, QUESTION_IN_RUN = 0.004, 0.08
PILOT = SEED_SD["map", "monolingual"]
NUMBER, AT_ONCE, DRAWS = 2000, 20, 1999


@dataclass(frozen=True)
class Design:
    """What is drawn.

    Attributes:
        sizes: questions of each article, by test.
        runs: runs of each test.
        seeds: standard deviation between seeds of one strategy.
        everywhere: whether each question exists in all languages, or in 2 of 4.
    """

    sizes: tuple[tuple[int, ...], ...]
    runs: int = 1
    seeds: float = PILOT
    everywhere: bool = True


DESIGNS = {
    "48 articles in 4 folds, a run each": Design(FOLDS),
    "11 articles of a topic in 4 folds, a run each": Design(HISTORY),
    "6 articles, one of them half of all": Design(UNEQUAL),
    "520 small articles, 4 runs": Design(
        (tuple(np.repeat(list(SMALL), list(SMALL.values())).tolist()),), 4, everywhere=False
    ),
    "48 articles, 3 seeds": Design((sum(FOLDS, ()),), 3),
    "48 articles, 3 seeds that differ much": Design((sum(FOLDS, ()),), 3, 0.01),
    "48 articles in 4 folds, 3 seeds each": Design(FOLDS, 3),
    **{f"{count} equal articles": Design(((EQUAL,) * count,)) for count in (2, 3, 5, 10)},
    **{f"{count} unequal articles": Design((FALLING[:count],)) for count in (2, 3, 5, 10)},
}


def skewed(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Draw from a gamma distribution with mean 0, standard deviation 1 and skewness 1."""
    return (rng.gamma(4, size=shape) - 4) / 2


def draw(design: Design, number: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw data sets of two strategies that are equal, as `read_sums` returns them, with a column `data`."""
    tables = []
    for test, sizes in enumerate(design.sizes):
        shape = (number, len(sizes), LANGUAGES)  # (N, A, L)
        of_all, of_article = (*shape[:2], 1), (*shape[:1], 1, 1)
        size = np.broadcast_to(np.array(sizes)[:, None], shape)
        count = size if design.everywhere else rng.binomial(size, 0.5)
        for strategy in ("one", "other"):
            effect = ARTICLE * skewed(rng, *of_all) + ARTICLE_IN_LANGUAGE * skewed(rng, *shape)
            question = QUESTION * rng.normal(size=of_all) / np.sqrt(size)
            lasting = count * (effect + question) + QUESTION_IN_LANGUAGE * np.sqrt(count) * rng.normal(size=shape)
            for seed in range(design.runs):
                shift = design.seeds * rng.normal(size=of_article) + IN_RUN * rng.normal(size=of_all)
                total = lasting + count * shift + QUESTION_IN_RUN * np.sqrt(count) * rng.normal(size=shape)
                tables.append(_table(total, count, strategy=strategy, test=test, seed=seed))
    return pd.concat(tables, ignore_index=True)


def _table(total: np.ndarray, count: np.ndarray, *, strategy: str, test: int, seed: int) -> pd.DataFrame:
    data, article, language = np.indices(count.shape).reshape(3, -1)
    columns = {"data": data, "article": article + 1000 * test, "total": total.ravel(), "count": count.ravel()}
    columns |= {"query_language": language, "passage_language": language, "test": test, "fold": test, "seed": seed}
    return pd.DataFrame(columns | {"strategy": strategy, "setting": "monolingual", "measure": "map"})


def naive(sums: pd.DataFrame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentiles of a bootstrap of the articles, with runs averaged. (N,), (N,)"""
    keys = ["strategy", "article", "data", "query_language"]
    sides = sums.groupby(keys)[["total", "count"]].mean()
    size = [len(sides.index.unique(key)) for key in keys]
    total, count = (sides[name].to_numpy().reshape(*size[:2], -1) for name in ("total", "count"))  # (2, A, N L)
    weights = rng.multinomial(size[1], np.full(size[1], 1 / size[1]), size=DRAWS).astype(float)  # (B, A)
    values = (weights @ (total[0] - total[1])) / (weights @ count[0])
    lower, upper = np.quantile(values.reshape(DRAWS, *size[2:]).mean(axis=2), [0.025, 0.975], axis=0)
    return lower, upper


def simulate(design: Design, number: int, seed: int = 0) -> pd.DataFrame:
    """Draw data sets, and return the effect in each, and whether its intervals and that of a mean cover 0."""
    rows = []
    contrasts = {"difference": {"one": 1, "other": -1}, "mean": {"one": 1}}
    for rng in map(np.random.default_rng, np.random.SeedSequence(seed).spawn(-(-number // AT_ONCE))):
        sums = draw(design, AT_ONCE, rng)
        found = effects(
            sums, contrasts, by=("data", "setting", "measure"), seed=int(rng.integers(1 << 30)), draws=DRAWS
        )
        found["covers"] = (found.lower <= 0) & (found.upper >= 0)
        table, means = (found[found.contrast == name].reset_index(drop=True) for name in contrasts)
        lower, upper = naive(sums, rng)
        rows.append(table.assign(mean_covers=means.covers, naive=(lower <= 0) & (upper >= 0)))
    return pd.concat(rows, ignore_index=True)


def main() -> None:
    take_no_arguments(__doc__)
    logging.getLogger("hybridlib").setLevel(logging.ERROR)  # that articles are few is what is looked at
    begin, rows = time.perf_counter(), []
    for name, design in DESIGNS.items():
        found = simulate(design, NUMBER)
        uniform = stats.kstest(found.p, "uniform")
        row = {"design": name, "covers": float(found.covers.mean()), "of a mean": float(found.mean_covers.mean())}
        row |= {"naive": float(found.naive.mean())}
        row |= {"p below .01": float((found.p < 0.01).mean()), "p below .2": float((found.p < 0.2).mean())}
        rows.append({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
        rows[-1] |= {"distance of p": round(float(uniform.statistic), 4)}
    show(list(rows[0]), [list(row.values()) for row in rows])
    record = {"versions": versions("numpy", "pandas", "scipy"), "data_sets": NUMBER, "draws": DRAWS, "rows": rows}
    keep(__file__, record | {"seconds": round(time.perf_counter() - begin)})


if __name__ == "__main__":
    main()
