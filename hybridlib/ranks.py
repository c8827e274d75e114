"""Exact ranks of the relevant passages, counted in one pass over all passages.

For every judged-relevant (query, passage) pair and every passage language, count the passages of that language that
rank above the relevant one. Nothing else is ever computed from scores: each setting's rank is one plus a sum of these
counts, and each measure is a function of ranks (`hybridlib.measures`). Counts add over chunks of passages, processes
and machines, and the score matrix is never held.

Which score. Embeddings are taken as they are given and compared in float64: the inner product is summed in four
interleaved partial sums, and for the cosine divided by the norm of the passage, whose square is summed likewise (the
norm of the query changes no rank). This fixes the last bit, so ranks do not depend on tile size, chunking or the number
of threads. A zero vector has score 0.

How it is fast. Scores are computed in float32, a tile at a time, where they differ from the float64 score by at most
`error_bound`. A passage outside that band around the relevant one's score is settled by a comparison; the few inside
are scored in float64.

Ties. Of equal scores, the earlier passage of the corpus ranks first. A relevant passage is never compared with itself:
it is excluded by its position, not by its score.
"""

import os
from bisect import bisect
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from hybridlib.scores import Embeddings, as_matrix, count_tile, error_bound, norms_of, pair_scores

SIMILARITIES = ("cosine", "dot")

# A tile of scores and the embeddings it is made from stay in a core's cache.
_TILE_QUERIES = 512
_TILE_PASSAGES = 2048


@dataclass(frozen=True)
class Ranks:
    """How many passages of each language rank above each relevant passage.

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
) -> Ranks:
    """Rank every relevant passage among the passages of each language.

    Args:
        query_embeddings: (Q, D), any floating type, on any device.
        passage_embeddings: (P, D), in the order of the corpus.
        pairs: row of the query and row of the passage of each relevant pair. (N, 2)
        passage_languages: language of each passage, numbered from 0. (P,)
        similarity: `cosine` or `dot`.
        threads: worker threads; all cores unless given. The ranks do not depend on it.

    Returns:
        The ranks, in the order of `pairs`; memory O(N L + Q D + P D).

    Raises:
        ValueError: an argument has the wrong shape or range, or an embedding is not finite.

    >>> passages = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    >>> ranks = relevant_ranks(np.array([[0.0, 2.0]]), passages, np.array([[0, 2]]), np.array([0, 0, 1]))
    >>> ranks.above  # passage 1, of language 0, is nearer to the query than the relevant passage 2
    array([[1, 0]])
    """
    queries = as_matrix(query_embeddings, "query_embeddings")
    passages = as_matrix(passage_embeddings, "passage_embeddings")
    pairs = _as_pairs(pairs, len(queries), len(passages))
    languages = _as_languages(passage_languages, len(passages))
    relevant, row = np.unique(pairs[:, 1], return_inverse=True)
    counter = RankCounter(
        queries,
        passages[relevant],
        np.column_stack([pairs[:, 0], row]),
        relevant,
        languages=int(languages.max(initial=0)) + 1,
        similarity=similarity,
        threads=threads,
    )
    counter.update(passages, languages)
    return counter.ranks()


class RankCounter:
    """Counts, chunk by chunk, the passages that rank above each relevant one.

    The relevant passages come first, because a count needs the score to beat; the corpus, which holds them again, may
    then be streamed in chunks of any size and order. Counters over different chunks with the same pairs add up:
    `a.above + b.above`.

    Args:
        query_embeddings: (Q, D).
        relevant_embeddings: the passages judged relevant to any query. (R, D)
        pairs: row of the query and row in `relevant_embeddings` of each relevant pair. (N, 2)
        relevant_positions: where in the corpus each relevant passage is. (R,)
        languages: how many passage languages there are.
        similarity: `cosine` or `dot`.
        threads: worker threads; all cores unless given.

    Raises:
        ValueError: an argument has the wrong shape or range, or an embedding is not finite.

    >>> queries, corpus = np.eye(2), np.array([[0.8, 0.6], [0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
    >>> counter = RankCounter(queries, corpus[:2], np.array([[0, 0], [1, 1]]), np.array([0, 1]), languages=1)
    >>> for start in (0, 2):
    ...     counter.update(corpus[start : start + 2], np.zeros(2, dtype=int), start=start)
    >>> counter.above
    array([[1],
           [1]])
    """

    def __init__(
        self,
        query_embeddings: Embeddings,
        relevant_embeddings: Embeddings,
        pairs: np.ndarray,
        relevant_positions: np.ndarray,
        *,
        languages: int,
        similarity: str = "cosine",
        threads: int | None = None,
    ) -> None:
        if similarity not in SIMILARITIES:
            raise ValueError(f"similarity is {similarity!r}; allowed: {', '.join(SIMILARITIES)}")
        queries = as_matrix(query_embeddings, "query_embeddings")
        relevant = as_matrix(relevant_embeddings, "relevant_embeddings")
        _check_width(relevant, queries, "relevant_embeddings")
        for name, number in (("languages", languages), ("threads", threads)):
            if number is not None and number < 1:
                raise ValueError(f"{name} is {number}; allowed: 1 or more")
        self._cosine = similarity == "cosine"
        self._threads = threads or os.cpu_count() or 1
        self._pairs = _as_pairs(pairs, len(queries), len(relevant))
        self._positions = _as_integers(relevant_positions, "relevant_positions")
        if self._positions.shape != (len(relevant),):
            raise ValueError(f"relevant_positions has shape {self._positions.shape}; expected ({len(relevant)},)")
        if self._positions.min(initial=0) < 0:
            raise ValueError(f"relevant_positions holds {self._positions.min()}; positions in the corpus count from 0")

        # The pairs of a query lie side by side in the kernel's tables: `_first` holds where each query's begin.
        self._order = np.argsort(self._pairs[:, 0], kind="stable")
        query, row = self._pairs[self._order].T
        self._first = np.searchsorted(query, np.arange(len(queries) + 1))  # (Q + 1,)
        self._relevant_position = self._positions[row]  # (N,)
        scale = norms_of(relevant) if self._cosine else np.ones(len(relevant))
        self._threshold = pair_scores(queries, relevant, scale, query, row)  # (N,)
        self._queries = queries
        self._query_norms = norms_of(queries)  # (Q,)
        self._unit_queries = (queries / self._query_norms[:, None]).astype(np.float32)  # (Q, D)
        self._counts = np.zeros((len(self._pairs), languages), dtype=np.int64)
        self._counted: list[tuple[int, int]] = []  # first and last + 1 position of every chunk so far, sorted

    @property
    def above(self) -> np.ndarray:
        """Passages counted so far that rank above each pair's relevant one, in the order of the pairs. (N, L)"""
        above = np.empty_like(self._counts)
        above[self._order] = self._counts
        return above

    def ranks(self) -> Ranks:
        """The counts so far, with the query row and the corpus position of every pair."""
        return Ranks(query=self._pairs[:, 0], passage=self._positions[self._pairs[:, 1]], above=self.above)

    def update(self, passage_embeddings: Embeddings, passage_languages: np.ndarray, *, start: int = 0) -> None:
        """Count one chunk of consecutive passages of the corpus.

        Args:
            passage_embeddings: (C, D).
            passage_languages: language of each, from 0 to `languages - 1`. (C,)
            start: corpus position of the chunk's first passage.

        Raises:
            ValueError: an argument has the wrong shape or range, an embedding is not finite, or one of the passages has
                been counted before. The counts are then as they were.
        """
        passages = as_matrix(passage_embeddings, "passage_embeddings")
        _check_width(passages, self._queries, "passage_embeddings")
        languages = _as_languages(passage_languages, len(passages), allowed=self._counts.shape[1])
        if start < 0:
            raise ValueError(f"start is {start}; positions in the corpus count from 0")
        if not len(passages):
            return
        self._claim(start, start + len(passages))
        norms = norms_of(passages)
        scale = norms if self._cosine else np.ones(len(passages))
        # Passages are shrunk to a norm of at most 1, which the error bound asks for: for the dot product all alike.
        shrink = norms if self._cosine else np.full(len(passages), norms.max())
        low, high = self._bands(1.0 if self._cosine else norms.max())
        by_language = np.argsort(languages, kind="stable")
        unit_passages = (passages / shrink[:, None]).astype(np.float32)[by_language]  # (C, D)
        tiles = _tiles(languages[by_language])
        place_of_row = np.empty(len(passages), dtype=np.int64)
        place_of_row[by_language] = np.arange(len(passages))
        row = self._relevant_position - start  # (N,)
        here = (row >= 0) & (row < len(passages))
        place = np.where(here, place_of_row[np.where(here, row, 0)], -1 - len(passages))  # far outside every tile

        def count(begin: int) -> None:
            stop = min(begin + _TILE_QUERIES, len(self._queries))
            for language, left, right in tiles:
                scores = self._unit_queries[begin:stop] @ unit_passages[left:right].T  # (tile Q, tile P)
                count_tile(
                    scores, begin, self._first, low, high, self._threshold, self._relevant_position, place, left,
                    self._queries, passages, scale, by_language[left:right], start, self._counts[:, language],
                )  # fmt: skip

        # One matrix product per thread at a time: one that itself spread over all cores would fight with the others.
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(count, range(0, len(self._queries), _TILE_QUERIES)):
                pass

    def _claim(self, start: int, stop: int) -> None:
        """Note that a chunk is counted; a passage counted twice would go unnoticed in the ranks."""
        at = bisect(self._counted, (start, stop))
        for first, last in self._counted[max(at - 1, 0) : at + 1]:  # chunks are disjoint: no other can overlap
            if start < last and first < stop:
                raise ValueError(f"passages {start} to {stop - 1} overlap {first} to {last - 1}, counted before")
        self._counted.insert(at, (start, stop))

    def _bands(self, largest_norm: float) -> tuple[np.ndarray, np.ndarray]:
        """For each pair, the float32 scores below and above which a passage is surely worse or better. (N,), (N,)"""
        query_of_pair = np.repeat(np.arange(len(self._queries)), np.diff(self._first))
        centre = self._threshold / (self._query_norms[query_of_pair] * largest_norm)
        centre = np.clip(centre, -2, 2)  # no score is out there, and float32 does not overflow
        bound = error_bound(self._queries.shape[1])
        low = np.nextafter((centre - bound).astype(np.float32), np.float32(-np.inf))
        high = np.nextafter((centre + bound).astype(np.float32), np.float32(np.inf))
        return low, high


def _tiles(sorted_languages: np.ndarray) -> list[tuple[int, int, int]]:
    """Cut passages sorted by language into (language, first, last + 1) of one language and at most a tile."""
    edges = np.flatnonzero(np.diff(sorted_languages)) + 1
    tiles = []
    for left, right in zip([0, *edges], [*edges, len(sorted_languages)], strict=True):
        for begin in range(left, right, _TILE_PASSAGES):
            tiles.append((int(sorted_languages[left]), begin, min(begin + _TILE_PASSAGES, right)))
    return tiles


def _check_width(embeddings: np.ndarray, queries: np.ndarray, name: str) -> None:
    if embeddings.shape[1] != queries.shape[1]:
        dimensions = f"{embeddings.shape[1]} dimensions, query_embeddings has {queries.shape[1]}"
        raise ValueError(f"{name} has {dimensions}; they must be equal")


def _as_integers(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.size and values.dtype.kind not in "iu":
        raise ValueError(f"{name} is {values.dtype}; expected whole numbers")
    return values.astype(np.int64)


def _as_pairs(pairs: np.ndarray, queries: int, passages: int) -> np.ndarray:
    pairs = _as_integers(pairs, "pairs")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs has shape {pairs.shape}; expected (N, 2)")
    for rows, name, size in ((pairs[:, 0], "query", queries), (pairs[:, 1], "passage", passages)):
        if len(rows) and not (rows.min() >= 0 and rows.max() < size):
            raise ValueError(f"pairs: {name} rows span {rows.min()} to {rows.max()}; there are {size} rows")
    return pairs


def _as_languages(languages: np.ndarray, passages: int, allowed: int | None = None) -> np.ndarray:
    languages = _as_integers(languages, "passage_languages")
    if languages.shape != (passages,):
        raise ValueError(f"passage_languages has shape {languages.shape}; expected ({passages},)")
    if passages and (languages.min() < 0 or (allowed is not None and languages.max() >= allowed)):
        limits = "from 0" if allowed is None else f"0 to {allowed - 1}"
        raise ValueError(f"passage_languages span {languages.min()} to {languages.max()}; allowed: {limits}")
    return languages
