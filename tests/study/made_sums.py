"""Sums by article that are made, so that means and their spread are known."""

import numpy as np
import pandas as pd

ARTICLES = 48


def made_sums(means, *, spread=0.0, setting="monolingual", measure="map", languages=("de", "en"), **labels):
    """Make sums of one run on 48 articles of 10 questions in each language.

    Args:
        means: of each strategy, or of each value of several labels, as tuples.
        spread: by how much articles differ from the mean, one up and one down; in the first strategy alone, so that it
            is the standard deviation of differences too.
        setting, measure, languages: those of all rows; a question finds passages of its own language, or of all.
        labels: further columns.
    """
    rows = []
    for place, (name, mean) in enumerate(means.items()):
        of = {"strategy": name} if isinstance(name, str) else dict(zip(("strategy", "data"), name, strict=True))
        for article in range(ARTICLES):
            value = mean + (spread * (-1) ** article if place == 0 else 0.0)
            for language in languages:
                where = {
                    "query_language": language,
                    "passage_language": "all" if setting == "multilingual" else language,
                }
                rows.append({**of, "article": f"a{article}", **where, "total": 10 * value, "count": 10})
    constant = {"setting": setting, "measure": measure, "fold": 0, "seed": 0, "test": "xquad-r-0", **labels}
    return pd.DataFrame(rows).assign(**constant)


def spread_for(t, difference):
    """Return the spread of articles at which a difference is so many standard errors from 0."""
    return abs(difference) / t * np.sqrt(ARTICLES - 1)
