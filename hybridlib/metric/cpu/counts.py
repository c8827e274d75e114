"""Counts of ranks on the CPU: float32 matrix products, a tile of queries and passages at a time, on every core."""

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from hybridlib.metric.arguments import check_magnitudes, float_array, largest_magnitudes
from hybridlib.metric.bounds import error_bound
from hybridlib.metric.counts import Counts, RelevantPairs
from hybridlib.metric.cpu.kernels import (
    Chunk,
    Pairs,
    count_tile,
    norms_of,
    order_within,
    pair_scores,
    unit_columns,
    unit_rows,
)
from hybridlib.metric.cpu.vectors import BLOCK

# The most queries and passages of a tile. Fewer make a slower product, and more leave the cache.
_TILE_QUERIES = 512
_TILE_PASSAGES = 2048
# Threads share the passages rather than the queries where each would have fewer queries than this.
_FEW_QUERIES = 256
# Norms between these, and none else, show by themselves that a row's numbers are finite and of ordinary size.
_ORDINARY = (1e-130, 1e130)


class CpuCounts(Counts):
    """The `Counts` of a CPU, made by `threads` worker threads; one for each core unless given."""

    def __init__(self, pairs: RelevantPairs, *, threads: int | None = None) -> None:
        self._threads, self._cosine = threads or os.cpu_count() or 1, pairs.cosine
        self._queries, relevant = float_array(pairs.queries), float_array(pairs.relevant)
        self._query_norms = norms_of(self._queries)  # (Q,)
        scale = norms_of(relevant) if self._cosine else np.ones(len(relevant))  # (R,)
        self._first = np.searchsorted(pairs.query, np.arange(len(self._queries) + 1))  # (Q + 1,)
        self._unit_queries = np.empty(self._queries.shape, dtype=np.float32)  # (Q, D)
        threshold, self._order = self._prepare(relevant, scale, pairs)
        self._query, self._position, self._threshold = pairs.query, pairs.position[self._order], threshold[self._order]
        self._counts = np.zeros((len(self._query), pairs.languages), dtype=np.int64)
        # Tiles of scores, one a thread, and unit vectors are written to the same memory again: new pages are dear.
        # Rows are a whole number of blocks.
        size = _TILE_QUERIES * _whole_blocks(_TILE_PASSAGES)
        self._tiles = [np.empty(size, dtype=np.float32) for _ in range(self._threads)]
        self._columns = np.empty(0, dtype=np.float32)

    @property
    def above(self) -> np.ndarray:
        above = np.empty_like(self._counts)
        above[self._order] = self._counts
        return above

    def add(self, embeddings: torch.Tensor, languages: np.ndarray, start: int) -> None:
        passages = float_array(embeddings)
        norms = _sound_norms(passages)  # (C,)
        # The error bound asks for a norm of at most 1: each passage by its own, or for the dot product all alike.
        shrink = norms if self._cosine else np.full(len(passages), norms.max())
        by_language = np.argsort(languages, kind="stable")
        chunk = Chunk(passages, norms if self._cosine else np.ones(len(passages)), by_language, start)
        low, high = self._bands(1.0 if self._cosine else norms.max())
        pairs = Pairs(self._first, self._threshold, self._position, self._places_in(chunk), low, high)
        # One matrix product per thread at a time: one that itself spread over all cores would fight with the others.
        with _libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(self._threads) as pool:
            columns = self._unit_columns(pool, chunk, shrink)
            self._count(pool, columns, pairs, chunk, _tiles(languages[by_language]))

    def _prepare(self, relevant: np.ndarray, scale: np.ndarray, pairs: RelevantPairs) -> tuple[np.ndarray, np.ndarray]:
        """Return the score of each pair and the order by score in each query; write the unit queries. (N,), (N,)"""
        threshold, order = np.empty(len(pairs.query)), np.empty(len(pairs.query), dtype=np.int64)

        def prepare(part: tuple[int, int]) -> None:
            begin, stop = part
            own = slice(self._first[begin], self._first[stop])
            threshold[own] = pair_scores(self._queries, relevant, scale, pairs.query[own], pairs.row[own])
            order_within(self._first[begin : stop + 1], threshold, order)
            unit_rows(self._queries, self._query_norms, part, self._unit_queries)

        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(prepare, _evenly(len(self._queries), _TILE_QUERIES, self._threads)))
        return threshold, order

    def _bands(self, largest_norm: float) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each pair, the float32 scores below and above which a passage is surely worse or better.

        Args:
            largest_norm: the largest norm of a passage, in the units of the thresholds.

        Returns:
            Lower and upper ends of the bands. (N,), (N,)
        """
        centre = self._threshold / (self._query_norms[self._query] * largest_norm)
        centre = np.clip(centre, -2, 2)  # no score is out there, and float32 does not overflow
        bound = error_bound(self._queries.shape[1])
        low = np.nextafter((centre - bound).astype(np.float32), np.float32(-np.inf))
        high = np.nextafter((centre + bound).astype(np.float32), np.float32(np.inf))
        return low, high

    def _places_in(self, chunk: Chunk) -> np.ndarray:
        """Return `Pairs.place` for a chunk. (N,)"""
        size = len(chunk.passages)
        place = np.empty(size, dtype=np.int64)
        place[chunk.by_language] = np.arange(size)
        row = self._position - chunk.start
        here = (row >= 0) & (row < size)
        return np.where(here, place[np.where(here, row, 0)], -1 - size)

    def _unit_columns(self, pool: ThreadPoolExecutor, chunk: Chunk, shrink: np.ndarray) -> np.ndarray:
        """Return the passages by language, divided by `shrink`, as columns. (D, C)"""
        passages = chunk.passages
        if self._columns.size < passages.size:
            self._columns = np.empty(passages.size, dtype=np.float32)
        columns = self._columns[: passages.size].reshape(passages.shape[::-1])

        def write(part: tuple[int, int]) -> None:
            unit_columns(passages, shrink, chunk.by_language, part, columns)

        list(pool.map(write, _evenly(len(passages), len(passages), self._threads)))
        return columns

    def _count(
        self,
        pool: ThreadPoolExecutor,
        columns: np.ndarray,
        pairs: Pairs,
        chunk: Chunk,
        tiles: list[tuple[int, int, int]],
    ) -> None:
        """Count all tiles. The threads share the queries, and where these are few, the passages too."""
        parts = _evenly(len(self._queries), _TILE_QUERIES, min(self._threads, 1 + len(self._queries) // _FEW_QUERIES))
        groups = -(-self._threads // max(1, len(parts)))  # of passages
        # No two threads write to the same counts: those of another group of passages are added up at the end.
        counts = [self._counts, *(np.zeros_like(self._counts) for _ in range(groups - 1))]

        def count(task: tuple[tuple[int, int], int]) -> None:
            (begin, stop), group = task
            scores = self._tiles.pop()
            for language, left, right in tiles[group::groups]:
                width = _whole_blocks(right - left)
                tile = scores[: (stop - begin) * width].reshape(stop - begin, width)
                np.matmul(self._unit_queries[begin:stop], columns[:, left:right], out=tile[:, : right - left])
                tile[:, right - left :] = -np.inf
                count_tile(tile, begin, left, self._queries, pairs, chunk, counts[group][:, language])
            self._tiles.append(scores)

        list(pool.map(count, itertools.product(parts, range(groups))))
        for counted in counts[1:]:
            self._counts += counted


@functools.cache
def _libraries() -> ThreadpoolController:
    """Return what limits the threads of the libraries loaded; it takes milliseconds to find them."""
    return ThreadpoolController()


def _sound_norms(passages: np.ndarray) -> np.ndarray:
    """Return norms as `norms_of` does, and look at the numbers only where a norm leaves room for doubt. (C,)

    Raises:
        ValueError: a number is not finite or of no ordinary size.
    """
    norms = norms_of(passages, zero=0.0)
    low, high = _ORDINARY
    if not ((norms > low) & (norms < high)).all():
        check_magnitudes(largest_magnitudes(torch.from_numpy(passages)), "passage_embeddings")
    norms[norms == 0] = 1.0
    return norms


def _whole_blocks(number: int) -> int:
    """Return the least multiple of `BLOCK` that is not below a number."""
    return -(-number // BLOCK) * BLOCK


def _evenly(rows: int, most: int, threads: int) -> list[tuple[int, int]]:
    """Cut rows into parts of nearly one size, at most `most`, as many for each thread: (first, last + 1) rows."""
    parts = threads * -(-rows // (threads * most))
    edges = np.linspace(0, rows, min(parts, rows) + 1).astype(int).tolist()
    return list(itertools.pairwise(edges))


def _tiles(sorted_languages: np.ndarray) -> list[tuple[int, int, int]]:
    """Cut passages sorted by language into tiles of one language: (language, first, last + 1) of each."""
    edges = [0, *(np.flatnonzero(np.diff(sorted_languages)) + 1).tolist(), len(sorted_languages)]
    tiles = []
    for left, right in itertools.pairwise(edges):
        for begin, stop in _evenly(right - left, _TILE_PASSAGES, 1):
            tiles.append((int(sorted_languages[left]), left + begin, left + stop))
    return tiles
