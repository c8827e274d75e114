"""Runs that take a second or nothing, and ranks that were never computed, for tests of what is done with them."""

import numpy as np
import pandas as pd

from hybridlib.evaluation.pairs import Measured
from hybridlib.study.run import Run, Test
from hybridlib.study.runs import store

TEST = Test(task="atlas", languages=("de", "en"))
FURTHER = Test(task="atlas-partial", languages=("de", "en"))
RUN = Run(
    tests=(TEST,),
    corpus="atlas",
    available={"sw": 0.2},
    encoder="static:scratch",
    strategy="hybrid",
    alpha=0.5,
    batch_size=20,
    steps=3,
    temperature=0.05,
    learning_rate=0.01,
    seed=0,
    data_seed=0,
)
NAME, FURTHER_NAME = RUN.test_name(TEST), RUN.test_name(FURTHER)


def changed(run, **settings):
    return run.model_copy(update=settings)


def ranked(first=1, pairs=6):
    """Return ranks of made pairs: a question in two languages, each with passages in both; the first rank is given."""
    languages = np.resize(["de", "en"], pairs)
    table = pd.DataFrame(
        {
            "query_id": [f"{code}:{row // 4}" for row, code in enumerate(np.repeat(languages[:2], pairs // 2))],
            "question": [str(row // 4) for row in range(pairs)],
            "query_language": np.repeat(languages[:2], pairs // 2),
            "passage_id": [f"{code}:{row}" for row, code in enumerate(languages)],
            "passage_language": languages,
        }
    ).astype("category")
    table["relevance"], table["article"] = 1.0, table.question
    ranks = np.arange(first, first + pairs, dtype=np.int32)
    return Measured(table, ranks, 2 * ranks)


def keep(run, *tests, first=1):
    """Keep made ranks of tests of a run, or of all of them."""
    store.keep(run, {run.test_name(test): ranked(first) for test in tests or run.tests}, None, 1.5)


def same(one, other):
    """Tell whether two measurements have the same pairs and ranks."""
    texts = [measured.pairs.astype(str).reset_index(drop=True) for measured in (one, other)]
    ranks = [np.stack([measured.in_language, measured.in_pool]) for measured in (one, other)]
    return texts[0].equals(texts[1]) and np.array_equal(*ranks) and one.settings == other.settings
