"""Sums that figures and statistics are tried on, made up."""

import itertools

import numpy as np
import pandas as pd

from hybridlib.names import SETTINGS

LANGUAGES = ("de", "en", "ru")


def made_sums(strategies: list[str], *, articles: int = 9, seed: int = 0) -> pd.DataFrame:
    """Draw sums by article as `read_sums` returns them: one run of each strategy on each of three folds.

    Every cell of an article has ten questions. Articles differ in how hard they are, strategies in how good.
    """
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.1, articles)
    rows = []
    for place, strategy in enumerate(strategies):
        for number, setting, query in itertools.product(range(articles), SETTINGS, LANGUAGES):
            others = {"monolingual": [query], "multilingual": ["all"]}.get(
                setting, [c for c in LANGUAGES if c != query]
            )
            for passage in others:
                mean = 0.5 + hard[number] + 0.03 * place * (1 + SETTINGS.index(setting)) + rng.normal(0, 0.01)
                fold = number % 3
                rows.append(
                    (f"article {number}", setting, "map", query, passage, 10 * mean, 10, strategy, fold, 0, fold)
                )
    columns = ["article", "setting", "measure", "query_language", "passage_language", "total", "count"]
    table = pd.DataFrame(rows, columns=[*columns, "strategy", "fold", "seed", "test"])
    return table.assign(test="made-" + table.test.astype(str))
