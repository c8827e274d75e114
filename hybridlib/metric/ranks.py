"""Exact ranks of the relevant passages, counted in one pass over all passages.

For every judged-relevant (query, passage) pair and every passage language, count the passages of that language that
rank above the relevant one. Nothing else is ever computed from scores: each setting's rank is one plus a sum of these
counts, and each measure is a function of ranks (`hybridlib.metric.measures`). Counts add over chunks of passages,
processes and machines, and the score matrix is never held.

*The score.* Embeddings are taken as they are given and compared in float64. Dimension d of the inner product is added
to partial sum d % 32, and neighbouring sums are added until one is left. For the cosine, it is divided by the norm of
the passage, whose square is summed in the same way; the norm of the query changes no rank. This fixes the last bit, so
ranks do not depend on device, tile size, chunks or the number of threads. A zero vector has score 0.

*Speed.* Scores are first computed quickly, a tile at a time: in float32 on a CPU (`hybridlib.metric.cpu`), on
tensor cores on a GPU (`hybridlib.metric.gpu`). Such a score differs from the float64 one by at most a proven bound
(`hybridlib.metric.bounds`). The scores within this bound of the relevant passage's score are its band. A passage
outside the band is settled by a comparison; the few inside are scored in float64.

*Ties.* Of equal scores, the earlier passage of the corpus ranks first. A relevant passage is never compared with
itself: it is excluded by its position, not by its score.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, SkipValidation

from hybridlib.arguments import Whole, checked
from hybridlib.metric.arguments import (
    MOST_LANGUAGES,
    Embeddings,
    check_numbers,
    checked_device,
    checked_integers,
    checked_pairs,
    checked_passage_languages,
    checked_positions,
    checked_tensor,
    number_of_languages,
)
from hybridlib.metric.counts import Counts, Coverage, RelevantPairs
from hybridlib.names import SIMILARITIES

# These have checks of their own, in `hybridlib.metric.arguments`.
_Embeddings = Annotated[Embeddings, SkipValidation]
_Numbers = Annotated[np.ndarray, SkipValidation]


@dataclass(frozen=True)
class Ranks:
    """The number of passages of each language that rank above each relevant passage.

    Attributes:
        query: row of the query of each pair. (N,)
        passage: corpus position of the relevant passage of each pair. (N,)
        above: passages of each language ranked above the relevant one. (N, L)
    """

    query: np.ndarray
    passage: np.ndarray
    above: np.ndarray


def relevant_ranks(
    query_embeddings: Embeddings,
    passage_embeddings: Embeddings,
    pairs: np.ndarray,
    passage_languages: np.ndarray,
    *,
    similarity: str = "cosine",
    threads: int | None = None,
    device: str | torch.device | None = None,
) -> Ranks:
    """Rank every relevant passage among the passages of each language.

    Args:
        query_embeddings: (Q, D), any floating type, on any device.
        passage_embeddings: (P, D), in the order of the corpus.
        pairs: row of the query and row of the passage of each relevant pair. (N, 2)
        passage_languages: language of each passage, numbered from 0. (P,)
        similarity: `cosine` or `dot`.
        threads: worker threads on a CPU; all cores unless given. The ranks do not depend on it.
        device: the device that counts; see `RankCounter`. The ranks do not depend on it.

    Returns:
        Ranks, in the order of `pairs`; memory O(N L + Q D + P D).

    Raises:
        ValueError: an argument has the wrong type, shape or range, an embedding is not finite, or there is no such
            device.

    >>> passages = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> ranks = relevant_ranks(np.array([[0.0, 2.0]]), passages, np.array([[0, 2]]), np.array([0, 0, 1]))
    >>> ranks.above  # passage 1, of language 0, is nearer to the query than the relevant passage 2
    array([[1, 0]])
    """
    passages = checked_tensor(passage_embeddings, "passage_embeddings")
    languages = checked_integers(passage_languages, "passage_languages")
    counter = _CorpusCounter(
        query_embeddings,
        passages,
        pairs,
        np.arange(len(passages)),
        languages=number_of_languages(languages),
        similarity=similarity,
        threads=threads,
        device=device,
    )
    counter.update(passages, languages)
    return counter.ranks()


class RankCounter:
    """A count, chunk by chunk, of the passages that rank above each relevant one.

    The relevant passages come first, because a count needs the score to beat. The corpus, which holds them again, may
    then be streamed in chunks of any size and order. The counts of counters with the same pairs, over different chunks,
    add up: `a.above + b.above`.

    Args:
        query_embeddings: (Q, D).
        relevant_embeddings: the passages judged relevant to any query; those of no pair are left out. (R, D)
        pairs: row of the query and row in `relevant_embeddings` of each relevant pair. (N, 2)
        relevant_positions: corpus position of each relevant passage. (R,)
        languages: how many passage languages there are.
        similarity: `cosine` or `dot`.
        threads: worker threads on a CPU, 1 to 1024; all cores unless given.
        device: the device that counts; that of the queries unless given. An NVIDIA GPU counts if it is of compute
            capability 8 or 9 (Ampere to Hopper) and Triton is installed. For any other device the CPU counts.

    Raises:
        ValueError: an argument has the wrong type, shape or range, an embedding is not finite, or there is no such
            device.

    >>> queries, corpus = np.eye(2), np.array([[0.8, 0.6], [0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
    >>> counter = RankCounter(queries, corpus[:2], np.array([[0, 0], [1, 1]]), np.array([0, 1]), languages=1)
    >>> for start in (0, 2):
    ...     counter.update(corpus[start : start + 2], np.zeros(2, dtype=int), start=start)
    >>> counter.above
    array([[1],
           [1]])
    """

    _relevant_name, _compared = "relevant_embeddings", True

    @checked
    def __init__(
        self,
        query_embeddings: _Embeddings,
        relevant_embeddings: _Embeddings,
        pairs: _Numbers,
        relevant_positions: _Numbers,
        *,
        languages: Annotated[int, Field(ge=1, le=MOST_LANGUAGES)],
        similarity: Literal[SIMILARITIES] = "cosine",  # type: ignore[valid-type]
        threads: Annotated[int, Field(ge=1, le=1024)] | None = None,
        device: Annotated[str | torch.device | None, SkipValidation] = None,
    ) -> None:
        queries = checked_tensor(query_embeddings, "query_embeddings")
        device = checked_device(device, queries.device)
        self._width, self._languages, cosine = queries.shape[1], languages, similarity == "cosine"
        relevant = checked_tensor(relevant_embeddings, self._relevant_name, width=self._width)
        self._pairs = checked_pairs(pairs, len(queries), len(relevant)).copy()  # the caller may change it
        self._positions = checked_positions(relevant_positions, len(relevant)).copy()
        used, row = _distinct(self._pairs[:, 1], len(relevant))  # (R,), (N,)
        if self._compared or len(used) < len(relevant):  # what is compared later is a copy: the caller may change it
            relevant = relevant[torch.from_numpy(used).to(relevant.device)]
        check_numbers(queries, "query_embeddings")
        check_numbers(relevant, self._relevant_name, used)
        self._coverage = Coverage(self._positions[used], relevant if self._compared else None, cosine=cosine)
        query, position = self._pairs[:, 0], self._positions[self._pairs[:, 1]]
        self._order = order = np.argsort(query, kind="stable")
        query, row, position = query[order], row[order], position[order]
        found = RelevantPairs(queries, relevant, query, row, position, languages, cosine=cosine)
        self._counts = _counts_on(device, found, threads)

    @property
    def above(self) -> np.ndarray:
        """Return how many passages counted so far rank above the relevant one, in the order of the pairs. (N, L)"""
        sorted_by_query = self._counts.above
        if (np.diff(self._order) > 0).all():
            return sorted_by_query
        above = np.empty_like(sorted_by_query)
        above[self._order] = sorted_by_query
        return above

    def ranks(self) -> Ranks:
        """Return the counts so far, with the query row and the corpus position of every pair.

        A warning says whether relevant passages were not counted yet: some of the corpus is missing then.
        """
        self._coverage.warn_of_uncounted()
        return Ranks(query=self._pairs[:, 0], passage=self._positions[self._pairs[:, 1]], above=self.above)

    @checked
    def update(self, passage_embeddings: _Embeddings, passage_languages: _Numbers, *, start: Whole = 0) -> None:
        """Count one chunk of consecutive passages of the corpus.

        Args:
            passage_embeddings: (C, D).
            passage_languages: language of each passage, from 0 to `languages - 1`. (C,)
            start: corpus position of the chunk's first passage.

        Raises:
            ValueError: an argument has the wrong type, shape or range, an embedding is not finite, one of the passages
                has been counted before, or one is relevant and another than that in `relevant_embeddings`. The counts
                are then as they were.
        """
        passages = checked_tensor(passage_embeddings, "passage_embeddings", width=self._width)
        languages = checked_passage_languages(passage_languages, len(passages), self._languages)
        if not len(passages):
            return
        self._coverage.check(passages, start)
        self._counts.add(passages, languages, start)
        self._coverage.add(start, start + len(passages))


class _CorpusCounter(RankCounter):
    """A counter whose relevant embeddings are the corpus: errors call them so, and they need not be compared."""

    _relevant_name, _compared = "passage_embeddings", False


def _distinct(values: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what `np.unique` does, of values below a limit, without a sort, which takes longer. (N,) -> (R,), (N,)"""
    occurs = np.zeros(limit, dtype=bool)
    occurs[values] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[values]


def _counts_on(device: torch.device, pairs: RelevantPairs, threads: int | None) -> Counts:
    """Return the counts of a device. Each import waits until it is needed: a machine may lack numba or Triton."""
    if has_kernels(device):
        from hybridlib.metric.gpu.counts import GpuCounts

        return GpuCounts(pairs, device=device)
    from hybridlib.metric.cpu.counts import CpuCounts

    return CpuCounts(pairs, threads=threads)


def has_kernels(device: torch.device) -> bool:
    """Return whether a device counts with the kernels, whose bound is that of NVIDIA's tensor cores."""
    if device.type != "cuda" or torch.version.cuda is None or find_spec("triton") is None:
        return False
    # From Ampere to Hopper. How later ones sum is not known, nor what Triton 3.7 makes of this kernel for them.
    return torch.cuda.is_available() and torch.cuda.get_device_capability(device)[0] in (8, 9)
