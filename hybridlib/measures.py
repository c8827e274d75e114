"""Measures of retrieval quality, each a function of the ranks of the relevant passages of a query.

A *ranking* is a query in one setting and pool. Its relevant passages come as rows of (ranking, rank, gain), sorted by
ranking and then by rank; what is not among them is not relevant, so that ranks are all there is to know. A ranking
without a relevant passage does not appear and takes no part in any mean. Definitions are those of trec_eval (average
precision, nDCG with gains as judged, reciprocal rank cut at k).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

DEFAULT_MEASURES = ("map", "ndcg@10", "recall@1", "recall@10", "recall@100", "rr@10", "rank_distance")


@dataclass(frozen=True)
class Rankings:
    """The ranks of the relevant passages of many rankings.

    Attributes:
        ranking: number of the ranking of each relevant passage, from 0, not decreasing, none left out. (N,)
        rank: place among all passages of the pool, from 1, increasing within a ranking. (N,)
        gain: judged relevance, above 0. (N,)
    """

    ranking: np.ndarray
    rank: np.ndarray
    gain: np.ndarray

    @cached_property
    def relevant(self) -> np.ndarray:
        """Relevant passages in each ranking. (R,)"""
        return np.bincount(self.ranking)

    @cached_property
    def place(self) -> np.ndarray:
        """Place of each relevant passage among the relevant ones of its ranking, from 1. (N,)"""
        first = np.cumsum(self.relevant) - self.relevant
        return np.arange(len(self.ranking)) - first[self.ranking] + 1

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum over the relevant passages of each ranking. (N,) -> (R,)"""
        return np.bincount(self.ranking, weights=values, minlength=len(self.relevant))


def average_precision(rankings: Rankings) -> np.ndarray:
    """Mean over the relevant passages of the precision at their rank. (R,)

    >>> average_precision(Rankings(np.array([0, 0]), np.array([1, 4]), np.array([1, 1])))  # (1/1 + 2/4) / 2
    array([0.75])
    """
    return rankings.total(rankings.place / rankings.rank) / rankings.relevant


def ndcg(rankings: Rankings, k: int) -> np.ndarray:
    """Discounted gain of the first k passages, over the best possible (Järvelin and Kekäläinen, 2002). (R,)

    >>> ndcg(Rankings(np.array([0]), np.array([3]), np.array([1])), k=10)  # 1 / log2(1 + 3)
    array([0.5])
    """
    gained = rankings.total(np.where(rankings.rank <= k, rankings.gain / np.log2(rankings.rank + 1), 0))
    by_gain = np.lexsort((-rankings.gain, rankings.ranking))
    ideal = rankings.total(np.where(rankings.place <= k, rankings.gain[by_gain] / np.log2(rankings.place + 1), 0))
    return gained / ideal


def recall(rankings: Rankings, k: int) -> np.ndarray:
    """Share of the relevant passages that are among the first k. (R,)"""
    return rankings.total(rankings.rank <= k) / rankings.relevant


def reciprocal_rank(rankings: Rankings, k: int) -> np.ndarray:
    """1 / rank of the first relevant passage, 0 if it is not among the first k. (R,)"""
    best = rankings.rank[rankings.place == 1]
    return np.where(best <= k, 1 / best, 0.0)


def rank_distance(rankings: Rankings) -> np.ndarray:
    """Ranks between the first and the last relevant passage. (R,)

    The paper's measure of language bias (arXiv 2408.10536, section 4.4): in a pool of all languages an encoder without
    language bias ranks the same passage alike in each, so the distance is small.

    >>> rank_distance(Rankings(np.array([0, 0, 0]), np.array([2, 3, 9]), np.array([1, 1, 1])))
    array([7.])
    """
    last = np.cumsum(rankings.relevant) - 1
    return (rankings.rank[last] - rankings.rank[rankings.place == 1]).astype(float)


_CUT = {"ndcg": ndcg, "recall": recall, "rr": reciprocal_rank}


def parse_measure(name: str) -> Callable[[Rankings], np.ndarray]:
    """The function a measure's name stands for: `map`, `rank_distance`, `ndcg@k`, `recall@k` or `rr@k`.

    Raises:
        ValueError: there is no such measure.
    """
    if name == "map":
        return average_precision
    if name == "rank_distance":
        return rank_distance
    match = re.fullmatch(r"(ndcg|recall|rr)@([1-9]\d*)", name)
    if match is None:
        allowed = "map, rank_distance, and ndcg@k, recall@k, rr@k for a whole number k"
        raise ValueError(f"measure is {name!r}; allowed: {allowed}")
    cut, k = _CUT[match[1]], int(match[2])
    return lambda rankings: cut(rankings, k)
