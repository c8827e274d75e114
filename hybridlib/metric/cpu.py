"""Counting ranks on the CPU: `hybridlib.metric.ranks` with a float32 product of matrices, a tile at a time."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from hybridlib.metric.arguments import as_floats, check_languages, check_size, largest_of
from hybridlib.metric.bounds import error_bound
from hybridlib.metric.cpu_kernels import count_tile, norms_of, order_within, pair_scores, unit_columns

# The most queries and passages of a tile. Fewer make a slower product, and more leave the cache.
_TILE_QUERIES = 512
_TILE_PASSAGES = 2048
# Threads share the passages rather than the queries where each would have fewer queries than this.
_FEW_QUERIES = 256
# Norms that no vector has whose numbers are not sound.
_ORDINARY = (1e-130, 1e130)


class CpuCounts:
    """How many passages rank above each pair's relevant one, of those added so far.

    Args:
        queries: (Q, D)
        relevant: passages. (R, D)
        query: row of the query of each pair, ascending. (N,)
        row: row of the relevant passage of each pair. (N,)
        position: where in the corpus that is. (N,)
        languages: how many there are, L.
        cosine: rather than the dot product.
        threads: worker threads; all cores unless given.

    Raises:
        ValueError: a number is not finite or of no ordinary size.
    """

    def __init__(
        self,
        queries: torch.Tensor,
        relevant: torch.Tensor,
        query: np.ndarray,
        row: np.ndarray,
        position: np.ndarray,
        *,
        languages: int,
        cosine: bool,
        threads: int | None = None,
    ) -> None:
        self._threads, self._cosine = threads or os.cpu_count() or 1, cosine
        self._queries, passages = as_floats(queries), as_floats(relevant)
        self._query_norms = _norms(self._queries, "query_embeddings")  # (Q,)
        norms = _norms(passages, "relevant_embeddings")
        scale = norms if cosine else np.ones(len(passages))
        threshold = self._pair_scores(passages, scale, query, row)
        # The pairs of a query lie side by side, by threshold: `_first` holds where each query's begin.
        self._first = np.searchsorted(query, np.arange(len(self._queries) + 1))  # (Q + 1,)
        self._order = order_within(self._first, threshold)  # (N,)
        self._query, self._position, self._threshold = query, position[self._order], threshold[self._order]
        self._unit_queries = np.empty(self._queries.shape, dtype=np.float32)  # (Q, D)
        np.divide(self._queries, self._query_norms[:, None], out=self._unit_queries, casting="same_kind")
        self._counts = np.zeros((len(query), languages), dtype=np.int64)
        self._blas = ThreadpoolController()
        # Tiles of scores, one a thread, and unit vectors are written to the same memory again: new pages are dear.
        self._idle = [np.empty(_TILE_QUERIES * _TILE_PASSAGES, dtype=np.float32) for _ in range(self._threads)]
        self._columns = np.empty(0, dtype=np.float32)

    @property
    def above(self) -> np.ndarray:
        """The counts, in the order of the pairs. (N, L)"""
        above = np.empty_like(self._counts)
        above[self._order] = self._counts
        return above

    def add(self, embeddings: torch.Tensor, languages: np.ndarray, start: int) -> None:
        """Count consecutive passages of the corpus, the first of which is at `start`.

        Raises:
            ValueError: a number is not finite or of no ordinary size, or a language is out of range. The counts are
                then as they were.
        """
        passages = as_floats(embeddings)
        norms = _norms(passages, "passage_embeddings")
        check_languages(languages, self._counts.shape[1])
        scale = norms if self._cosine else np.ones(len(passages))
        # Passages are shrunk to a norm of at most 1, which the error bound asks for: for the dot product all alike.
        shrink = norms if self._cosine else np.full(len(passages), norms.max())
        low, high = self._bands(1.0 if self._cosine else norms.max())
        by_language = np.argsort(languages, kind="stable")
        if self._columns.size < passages.size:
            self._columns = np.empty(passages.size, dtype=np.float32)
        columns = self._columns[: passages.size].reshape(passages.shape[::-1])  # (D, C)
        tiles = _tiles(languages[by_language])
        place_of_row = np.empty(len(passages), dtype=np.int64)
        place_of_row[by_language] = np.arange(len(passages))
        row = self._position - start  # (N,)
        here = (row >= 0) & (row < len(passages))
        place = np.where(here, place_of_row[np.where(here, row, 0)], -1 - len(passages))  # far outside every tile
        parts = _evenly(len(self._queries), _TILE_QUERIES, min(self._threads, 1 + len(self._queries) // _FEW_QUERIES))
        groups = -(-self._threads // max(1, len(parts)))  # of passages
        counts = [self._counts, *(np.zeros_like(self._counts) for _ in range(groups - 1))]

        def make(part: tuple[int, int]) -> None:
            unit_columns(passages, shrink, by_language, *part, columns)

        def count(task: tuple[tuple[int, int], int]) -> None:
            (begin, stop), group = task
            scores = self._idle.pop()
            for language, left, right in tiles[group::groups]:
                tile = scores[: (stop - begin) * (right - left)].reshape(stop - begin, right - left)
                np.matmul(self._unit_queries[begin:stop], columns[:, left:right], out=tile)
                count_tile(
                    tile, begin, self._first, low, high, self._threshold, self._position, place, left,
                    self._queries, passages, scale, by_language[left:right], start, counts[group][:, language],
                )  # fmt: skip
            self._idle.append(scores)

        # One matrix product per thread at a time: one that itself spread over all cores would fight with the others.
        with self._blas.limit(limits=1, user_api="blas"), ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(make, _evenly(len(passages), len(passages), self._threads)))
            list(pool.map(count, itertools.product(parts, range(groups))))
        for counted in counts[1:]:
            self._counts += counted

    def _pair_scores(self, passages: np.ndarray, scale: np.ndarray, query: np.ndarray, row: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor(self._threads) as pool:
            scores = pool.map(
                lambda part: pair_scores(self._queries, passages, scale, query[slice(*part)], row[slice(*part)]),
                _evenly(len(query), max(1, len(query)), self._threads),
            )
            return np.concatenate([np.empty(0), *scores])

    def _bands(self, largest_norm: float) -> tuple[np.ndarray, np.ndarray]:
        """For each pair, the float32 scores below and above which a passage is surely worse or better. (N,), (N,)"""
        centre = self._threshold / (self._query_norms[self._query] * largest_norm)
        centre = np.clip(centre, -2, 2)  # no score is out there, and float32 does not overflow
        bound = error_bound(self._queries.shape[1])
        low = np.nextafter((centre - bound).astype(np.float32), np.float32(-np.inf))
        high = np.nextafter((centre + bound).astype(np.float32), np.float32(np.inf))
        return low, high


def _norms(embeddings: np.ndarray, name: str) -> np.ndarray:
    """As `norms_of`; refuses numbers that are not sound, which are looked for only where the norms are not. (R,)"""
    norms = norms_of(embeddings, zero=0.0)
    low, high = _ORDINARY
    if not ((norms > low) & (norms < high)).all():
        check_size(largest_of(torch.from_numpy(embeddings)), name)
    norms[norms == 0] = 1.0
    return norms


def _evenly(rows: int, most: int, threads: int) -> list[tuple[int, int]]:
    """First and last + 1 rows of parts of at most `most` rows, as many for each thread, and all of nearly one size."""
    parts = threads * -(-rows // (threads * most))
    edges = np.linspace(0, rows, min(parts, rows) + 1).astype(int).tolist()
    return list(itertools.pairwise(edges))


def _tiles(sorted_languages: np.ndarray) -> list[tuple[int, int, int]]:
    """Cut passages sorted by language into (language, first, last + 1) of one language and at most a tile."""
    edges = [0, *(np.flatnonzero(np.diff(sorted_languages)) + 1).tolist(), len(sorted_languages)]
    tiles = []
    for left, right in itertools.pairwise(edges):
        for begin, stop in _evenly(right - left, _TILE_PASSAGES, 1):
            tiles.append((int(sorted_languages[left]), left + begin, left + stop))
    return tiles
