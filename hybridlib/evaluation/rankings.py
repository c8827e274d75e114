"""Rankings of the relevant pairs in a setting, and the values of measures in them.

A ranking is a query and the pool that it searches: the passages of one language, or of all.
"""

import logging
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from hybridlib.arguments import Names, checked
from hybridlib.metric.measures import Rankings, is_multilingual, parse_measure, why_undefined

logger = logging.getLogger(__name__)

Measures = dict[str, Callable[[Rankings], np.ndarray]]


class Group(NamedTuple):
    """The rankings of a setting.

    Attributes:
        first: row of the first pair of each ranking in the table of pairs. (R,)
        pool: number of the language that each ranking searches, L for all of them. (R,)
        rankings: the ranks of their relevant passages.
    """

    first: np.ndarray
    pool: np.ndarray
    rankings: Rankings


def group_pairs(pairs: pd.DataFrame, ranks: np.ndarray, setting: str) -> Group | None:
    """Group the relevant pairs of a setting into rankings, one for every query and pool, by query and then by pool.

    Args:
        pairs: as returned by `hybridlib.evaluation.pairs.pair_table`. (N rows)
        ranks: rank of each pair in its pool; a pair with a rank of 0 is left out. (N,)
        setting: `monolingual` and `cross-lingual` have only pairs within a language or across two.

    Returns:
        The rankings, or nothing if no pair is left.
    """
    languages = pairs.passage_language.cat.categories
    language = pairs.passage_language.cat.codes.to_numpy(dtype=np.int64)  # (N,)
    # A language that has queries only is numbered -1, and no passage is in it.
    number = languages.get_indexer(pairs.query_language.cat.categories)
    own = number[pairs.query_language.cat.codes] == language  # (N,)
    chosen = {"monolingual": own, "cross-lingual": ~own, "multilingual": True}[setting]
    rows = np.flatnonzero(chosen & (ranks > 0))
    if not len(rows):
        return None
    pool = np.full_like(language, len(languages)) if setting == "multilingual" else language
    ranking = pairs.query_id.cat.codes.to_numpy(dtype=np.int64)[rows] * (len(languages) + 1) + pool[rows]
    order = np.argsort((ranking << 32) + ranks[rows], kind="stable")
    rows, ranking = rows[order], ranking[order]
    new = np.diff(ranking, prepend=-1) > 0
    gain = pairs.relevance.to_numpy()[rows]
    rankings = Rankings(np.cumsum(new) - 1, ranks[rows], gain, language[rows], own[rows])
    return Group(rows[new], pool[rows[new]], rankings)


@checked
def parse_measures(names: Names) -> Measures:
    """Return the function of each measure.

    Raises:
        ValueError: there is no such measure, or no name at all.
    """
    if not len(names):
        raise ValueError("measures is empty; expected at least one")
    return {name: parse_measure(name) for name in names}


def values_of(setting: str, rankings: Rankings, measures: Measures) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the values of each measure that exists in the setting; say of one that has none why that is so. (R,)"""
    for name, function in measures.items():
        if setting == "multilingual" or not is_multilingual(name):
            values = function(rankings)
            if np.isnan(values).all():
                _warn_of_undefined(name)
            yield name, values


@cache  # to say it once in a process
def _warn_of_undefined(name: str) -> None:
    logger.warning("%s is undefined (NaN) for every question: %s", name, why_undefined(name))
