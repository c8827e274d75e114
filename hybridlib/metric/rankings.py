"""The ranks of the relevant passages of many queries, which all measures are functions of."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Rankings:
    """The ranks of the relevant passages of many rankings.

    Attributes:
        ranking: number of the ranking of each relevant passage, from 0, not decreasing, none left out. (N,)
        rank: place among all passages of the pool, from 1, increasing within a ranking. (N,)
        gain: judged relevance, above 0. (N,)
        language: number of the language of each relevant passage, from 0; `peer` and `complete` need it. (N,)
        own: whether that is the language of the question; `preference` and `lpr` need it. (N,)
    """

    ranking: np.ndarray
    rank: np.ndarray
    gain: np.ndarray
    language: np.ndarray | None = None
    own: np.ndarray | None = None

    @cached_property
    def relevant(self) -> np.ndarray:
        """Return the number of relevant passages in each ranking. (R,)"""
        return np.bincount(self.ranking)

    @cached_property
    def place(self) -> np.ndarray:
        """Return the place of each relevant passage among the relevant ones of its ranking, from 1. (N,)"""
        first = np.cumsum(self.relevant) - self.relevant
        return np.arange(len(self.ranking)) - first[self.ranking] + 1

    def total(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over the relevant passages of each ranking. (N,) -> (R,)"""
        return np.bincount(self.ranking, weights=values, minlength=len(self.relevant))
