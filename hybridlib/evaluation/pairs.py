"""The ranks of the relevant pairs of a task, which are all that an evaluation keeps, and what is read from them.

A *pair* is a query and a passage that is relevant to it. Its rank in its passage's language and its rank in the pool of
all languages say all there is to know: every value of every measure, in every setting, is computed from these two when
it is read. So a new measure needs no new evaluation. Results are the values query by query, and sums of them by article
are what statistics are made from, because the questions of an article are not independent.

The settings of a query in one language are:

- *monolingual*: it searches the passages of its own language;
- *cross-lingual*: it searches the passages of one other language, for each of them;
- *multilingual*: it searches the passages of all languages in one pool.

A query without a relevant passage in a pool takes no part in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hybridlib.arguments import Names, checked
from hybridlib.data.passages import rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.rankings import Group, group_pairs, parse_measures, values_of
from hybridlib.metric.measures import DEFAULT_MEASURES
from hybridlib.names import ALL_LANGUAGES, SETTINGS

if TYPE_CHECKING:  # what encodes and counts takes seconds to load, and kept ranks are read without it
    from hybridlib.metric.ranks import Ranks


@dataclass(frozen=True)
class Measured:
    """The relevant pairs of a task with the rank that an encoder gives each.

    A rank counts from 1. A rank of 0 says that the pair was not ranked there, and the pair takes no part: a task may
    have no pool of all languages, and BM25 ranks only within the question's language.

    Attributes:
        pairs: as returned by `pair_table`. (N rows)
        in_language: rank among the passages of the passage's language. (N,), int32
        in_pool: rank among the passages of all languages. (N,), int32
        settings: the settings that mean something for the task.

    Raises:
        ValueError: there are more or fewer ranks than pairs.
    """

    pairs: pd.DataFrame
    in_language: np.ndarray
    in_pool: np.ndarray
    settings: tuple[str, ...] = SETTINGS

    def __post_init__(self) -> None:
        for name, ranks in (("in_language", self.in_language), ("in_pool", self.in_pool)):
            if ranks.shape != (len(self.pairs),):
                raise ValueError(f"{name} has shape {ranks.shape}; expected ({len(self.pairs)},), a rank for each pair")

    def rankings(self) -> Iterator[tuple[str, Group]]:
        """Yield the rankings of each setting of the task that has any."""
        ranks = {"monolingual": self.in_language, "cross-lingual": self.in_language, "multilingual": self.in_pool}
        for setting in SETTINGS:
            group = group_pairs(self.pairs, ranks[setting], setting) if setting in self.settings else None
            if group is not None:
                yield setting, group


def measured_of(ranks: "Ranks", task: RetrievalTask) -> Measured:
    """Keep of the ranks of the pairs `task.ranked` what measures need."""
    pairs, above = pair_table(task), _without_identical(ranks.above, task)
    language = pairs.passage_language.cat.codes.to_numpy(dtype=np.int64)
    in_language = 1 + above[np.arange(len(language)), language]
    in_pool = 1 + above.sum(axis=1)
    return Measured(pairs, in_language.astype(np.int32), in_pool.astype(np.int32), task.settings)


def _without_identical(above: np.ndarray, task: RetrievalTask) -> np.ndarray:
    """Take the passage with the query's own id off the counts of the pairs that it ranks above. (N + I, L) -> (N, L)

    No two passages have the same place in the pool of all languages, so places tell which of two ranks above.
    """
    number, place = len(task.pairs), above.sum(axis=1)
    row = np.full(len(task.queries), -1)  # of each query's identical pair
    row[task.identical[:, 0]] = np.arange(number, len(above))
    rival = row[task.pairs[:, 0]]  # (N,)
    ahead = np.flatnonzero((rival >= 0) & (place[rival] < place[:number]))
    passages = task.identical[rival[ahead] - number, 1]
    languages = pd.Index(task.languages).get_indexer(pd.Index(rows_of(task.passages, passages).language))
    above = above[:number].copy()
    above[ahead, languages] -= 1
    return above


def pair_table(task: RetrievalTask) -> pd.DataFrame:
    """Return what measures and statistics need to know of the relevant pairs of a task besides ranks.

    Returns:
        A row for every pair of `task.pairs`, in that order: `query_id`, `question`, `query_language`, `passage_id`,
        `passage_language`, `relevance` (above 0) and `article`, the unit of statistics. All are categories but the
        relevance. The article is the question where the queries of the task have none.
    """
    query, passage = task.pairs.T
    relevant, row = np.unique(passage, return_inverse=True)
    passages = rows_of(task.passages, relevant)
    ids = {"query_id": task.queries.query_id, "question": task.queries.question}
    ids["article"] = task.queries.get("article", task.queries.question)
    of_query = {name: _categorical(values)[query] for name, values in ids.items()}
    return pd.DataFrame(
        {
            "query_id": of_query["query_id"],
            "question": of_query["question"],
            "query_language": pd.Categorical(task.queries.language)[query],
            "passage_id": _categorical(passages.passage_id)[row],
            "passage_language": pd.Categorical(passages.language, task.languages)[row],
            "relevance": task.gains,
            "article": of_query["article"],
        }
    )


def _categorical(values: pd.Series) -> pd.Categorical:
    """Return the values as categories, in the order in which these come first."""
    codes, categories = pd.factorize(values)
    return pd.Categorical.from_codes(codes, pd.Index(categories, tupleize_cols=False))


@checked
def results_of(measured: Measured, measures: Names = DEFAULT_MEASURES) -> pd.DataFrame:
    """Compute measures query by query.

    Returns:
        Results, as returned by `evaluate`.

    Raises:
        ValueError: there is no such measure, or none of them exists in the settings of the task.
    """
    names = pd.CategoricalDtype([*parse_measures(measures)])
    pools = pd.CategoricalDtype([*measured.pairs.passage_language.cat.categories, ALL_LANGUAGES])
    blocks = []
    for setting, group in measured.rankings():
        of_query = measured.pairs.iloc[group.first]
        keys = {name: of_query[name].array for name in ("query_id", "question", "query_language")}
        keys["setting"] = _constant(setting, len(group.first), pd.CategoricalDtype([*SETTINGS]))
        keys["passage_language"] = pd.Categorical.from_codes(group.pool, dtype=pools)
        for name, values in values_of(setting, group.rankings, parse_measures(measures)):
            named = _constant(name, len(values), names)
            blocks.append(pd.DataFrame({**keys, "measure": named, "value": values}))
    if not blocks:
        raise _nothing(measures, measured)
    return pd.concat(blocks, ignore_index=True)


@checked
def article_sums(measured: Measured, measures: Names = DEFAULT_MEASURES) -> pd.DataFrame:
    """Sum measures over the questions of each article, in each setting and pair of languages.

    All means and statistics are made from these sums. A value that is undefined (NaN) takes no part; where all of them
    are, the count is 0.

    Returns:
        `article`, `setting`, `measure`, `query_language`, `passage_language` (`all` in the multilingual setting),
        `total`, the sum of the values, and `count`, how many these are.

    Raises:
        ValueError: there is no such measure, or none of them exists in the settings of the task.
    """
    functions = parse_measures(measures)
    pairs, names = measured.pairs, pd.CategoricalDtype([*functions])
    pools = pd.CategoricalDtype([*pairs.passage_language.cat.categories, ALL_LANGUAGES])
    sizes = (len(pairs.article.cat.categories), len(pairs.query_language.cat.categories), len(pools.categories))
    blocks = []
    for setting, group in measured.rankings():
        article, language = (pairs[name].cat.codes.to_numpy()[group.first] for name in ("article", "query_language"))
        cell = np.ravel_multi_index((article.astype(np.int64), language, group.pool), sizes)  # (R,)
        cells, cell = np.unique(cell, return_inverse=True)
        codes = np.unravel_index(cells, sizes)
        keys = {"article": pd.Categorical.from_codes(codes[0], pairs.article.cat.categories)}
        keys["setting"] = _constant(setting, len(cells), pd.CategoricalDtype([*SETTINGS]))
        of_languages = {
            "query_language": pd.Categorical.from_codes(codes[1], pairs.query_language.cat.categories),
            "passage_language": pd.Categorical.from_codes(codes[2], dtype=pools),
        }
        for name, values in values_of(setting, group.rankings, functions):
            known = ~np.isnan(values)
            sums = {
                "total": np.bincount(cell, weights=np.where(known, values, 0.0), minlength=len(cells)),
                "count": np.bincount(cell[known], minlength=len(cells)),
            }
            named = {"measure": _constant(name, len(cells), names)}
            blocks.append(pd.DataFrame({**keys, **named, **of_languages, **sums}))
    if not blocks:
        raise _nothing(measures, measured)
    return pd.concat(blocks, ignore_index=True)


def _nothing(measures: Names, measured: Measured) -> ValueError:
    return ValueError(f"measures is {[*measures]}; no relevant pair has one in the settings {measured.settings}")


def _constant(value: str, length: int, dtype: pd.CategoricalDtype) -> pd.Categorical:
    """Repeat a value without making a string for every row."""
    return pd.Categorical.from_codes(np.full(length, dtype.categories.get_loc(value)), dtype=dtype)
