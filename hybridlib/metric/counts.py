"""The interface of the counters on the CPU and GPU, and the checked pairs that they are made from."""

from typing import NamedTuple, Protocol

import numpy as np
import torch


class RelevantPairs(NamedTuple):
    """Queries, their relevant passages and the pairs of them, sorted by query; each value is checked already."""

    queries: torch.Tensor  # (Q, D)
    relevant: torch.Tensor  # (R, D)
    query: np.ndarray  # row in `queries` of each pair, ascending; (N,)
    row: np.ndarray  # row in `relevant` of each pair, (N,)
    position: np.ndarray  # corpus position of each pair's relevant passage, (N,)
    languages: int  # how many passage languages there are, L
    cosine: bool  # the score is the cosine; else it is the dot product


class Counts(Protocol):
    """A count of the passages, added chunk by chunk, that rank above the relevant passage of each pair."""

    @property
    def above(self) -> np.ndarray:
        """Return the counts so far, in the order of the pairs, as a copy that does not change later. (N, L)"""

    def add(self, embeddings: torch.Tensor, languages: np.ndarray, start: int) -> None:
        """Count consecutive passages of the corpus.

        Args:
            embeddings: as returned by `hybridlib.metric.arguments.checked_tensor`; at least one row. (C, D)
            languages: of each passage, from 0 to L - 1. (C,)
            start: corpus position of the first.

        Raises:
            ValueError: a number is not finite or of no ordinary size. The counts are then as they were.
        """
