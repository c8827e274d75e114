"""The interface of the counters on the CPU and GPU, the pairs that they are made from, and what they have counted."""

import logging
from bisect import bisect, insort
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.nn import functional as F

logger = logging.getLogger(__name__)

# A passage may differ by so much of its length from the same one in another precision, or in a batch of other texts.
_ALIKE = 0.1
# So many passages are compared at a time.
_AT_ONCE = 1 << 12


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


class Coverage:
    """The chunks of a corpus that have been counted.

    Args:
        positions: corpus position of each relevant passage. (R,)
        relevant: the relevant passages as they were given; None if they are known to be those of the corpus. (R, D)
        cosine: whether only their directions matter.
    """

    def __init__(self, positions: np.ndarray, relevant: torch.Tensor | None, *, cosine: bool) -> None:
        self._positions, self._relevant, self._cosine = positions, relevant, cosine
        self._counted: list[tuple[int, int]] = []  # first and last + 1 position of every chunk, sorted

    def add(self, start: int, stop: int) -> None:
        """Take note of a chunk that has been counted."""
        insort(self._counted, (start, stop))

    def check(self, passages: torch.Tensor, start: int) -> None:
        """Refuse a chunk with passages that were counted before, or that are others than the relevant ones given.

        Args:
            passages: the chunk, of one passage or more. (C, D)
            start: corpus position of the first.

        Raises:
            ValueError: there is such a passage.
        """
        stop = start + len(passages)
        at = bisect(self._counted, (start, stop))
        for first, last in self._counted[max(at - 1, 0) : at + 1]:  # chunks are disjoint: no other can overlap
            if start < last and first < stop:
                raise ValueError(f"passages {start} to {stop - 1} overlap {first} to {last - 1}, counted before")
        rows = np.flatnonzero((self._positions >= start) & (self._positions < stop))
        if self._relevant is not None and len(rows):
            self._compare(self._relevant, passages, rows, start)

    def warn_of_uncounted(self) -> None:
        """Say how many relevant passages no chunk has held, if any."""
        firsts, lasts = np.array([(-1, -1), *self._counted]).T
        chunk = np.searchsorted(firsts, self._positions, side="right") - 1  # (R,)
        uncounted = self._positions[self._positions >= lasts[chunk]]
        if len(uncounted):
            where = f"{len(uncounted)} of {len(chunk)} relevant passages, the first at position {uncounted.min()}"
            logger.warning("%s, were not counted: the corpus is incomplete, or has other positions", where)

    def _compare(self, relevant: torch.Tensor, passages: torch.Tensor, rows: np.ndarray, start: int) -> None:
        """Compare some relevant passages with those at their positions. (R, D), (C, D), (n,)"""
        given_rows = torch.from_numpy(rows).to(relevant.device).split(_AT_ONCE)
        found_rows = torch.from_numpy(self._positions[rows] - start).to(passages.device).split(_AT_ONCE)
        pieces = []
        for given_row, found_row in zip(given_rows, found_rows, strict=True):
            given, found = relevant[given_row].to(passages.device).float(), passages[found_row].float()  # (n, D)
            if self._cosine:
                given, found = F.normalize(given), F.normalize(found)
            lengths = torch.linalg.vector_norm(given, dim=1)  # (n,)
            pieces.append(torch.linalg.vector_norm(found - given, dim=1) > _ALIKE * lengths)
        far = torch.cat(pieces).cpu().numpy()  # waits for the device once
        if far.any():
            raise ValueError(
                f"passage_embeddings: {far.sum()} of {len(rows)} relevant passages, the first at position "
                f"{self._positions[rows[far.argmax()]]}, are others than in relevant_embeddings; are "
                "relevant_positions those of this corpus?"
            )
