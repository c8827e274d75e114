"""Kernels of the CPU, compiled by numba: the float64 score that ranks are made from, and the count of a tile.

`hybridlib.metric.ranks` states the policy.
"""

from typing import NamedTuple

import numba
import numpy as np

# Partial sums of an inner product: they fill four of a CPU's widest registers.
PARTIAL_SUMS = 32
# Scores of a query that are compared at once, and, where some lie in the band, those among which they are looked for.
_BLOCK, _SMALL_BLOCK = 512, 32
# Scores in the band that are listed before they are settled together.
_LISTED = 16_384
# Rows written together, whose float32 numbers fill a line of the cache.
_LINE = 16


class Pairs(NamedTuple):
    """Pairs of a query and a relevant passage, sorted by query and then by threshold."""

    first: np.ndarray  # place of each query's first pair, and N, (Q + 1,)
    threshold: np.ndarray  # float64 score of the relevant passage, (N,)
    position: np.ndarray  # in the corpus, (N,)
    place: np.ndarray  # among the passages of the chunk by language, outside of every tile if not there; (N,)
    low: np.ndarray  # float32 score below which a passage is surely worse, (N,)
    high: np.ndarray  # float32 score above which a passage is surely better, (N,)


class Chunk(NamedTuple):
    """Consecutive passages of the corpus."""

    passages: np.ndarray  # (C, D)
    scale: np.ndarray  # by which their scores are divided, (C,)
    by_language: np.ndarray  # their rows, sorted by language, (C,)
    start: int  # corpus position of the first


@numba.njit(nogil=True, cache=True)
def score(query, passage, scale, partial):  # type: ignore[no-untyped-def]
    """Return the score, summed in the documented order; `partial` is scratch. (D,), (D,), (), (PARTIAL_SUMS,) -> ()"""
    partial[:] = 0.0
    whole = query.shape[0] // PARTIAL_SUMS * PARTIAL_SUMS
    for d in range(0, whole, PARTIAL_SUMS):
        for lane in range(PARTIAL_SUMS):
            partial[lane] += np.float64(query[d + lane]) * np.float64(passage[d + lane])
    for lane in range(query.shape[0] - whole):
        partial[lane] += np.float64(query[whole + lane]) * np.float64(passage[whole + lane])
    left = PARTIAL_SUMS // 2
    while left:
        for lane in range(left):
            partial[lane] = partial[2 * lane] + partial[2 * lane + 1]
        left //= 2
    return partial[0] / scale


@numba.njit(nogil=True, cache=True)
def pair_scores(queries, passages, scale, query_rows, passage_rows):  # type: ignore[no-untyped-def]
    """Return the score of each pair of rows. (Q, D), (P, D), (P,), (n,), (n,) -> (n,)"""
    scores, partial = np.empty(len(query_rows)), np.empty(PARTIAL_SUMS)
    for n in range(len(query_rows)):
        row = passage_rows[n]
        scores[n] = score(queries[query_rows[n]], passages[row], scale[row], partial)
    return scores


@numba.njit(nogil=True, cache=True)
def count_tile(scores, first_query, first_column, queries, pairs, chunk, counts):  # type: ignore[no-untyped-def]
    """Add to `counts` how many of a tile's passages rank above the relevant passage of each pair of its queries.

    The pairs of a query are sorted by threshold: where no score reaches one, none reaches the next.

    Args:
        scores: float32 scores of the tile, which are written to and put back. (q, p)
        first_query: the query of the first row.
        first_column: the place, among the chunk's passages by language, of the first column.
        queries: (Q, D)
        pairs: `Pairs`.
        chunk: `Chunk`.
        counts: of the tile's language, added to. (N,)
    """
    listed = np.empty((_LISTED, 3), dtype=np.int64)  # query, pair and passage of each score in the band
    number = 0
    for i in range(scores.shape[0]):
        query = first_query + i
        for left in range(0, scores.shape[1], _BLOCK):
            block = scores[i, left : left + _BLOCK]
            for n in range(pairs.first[query], pairs.first[query + 1]):
                itself = pairs.place[n] - first_column - left
                present = 0 <= itself < block.shape[0]
                if present:  # below all others while its own pair is counted
                    own_score = block[itself]
                    block[itself] = -np.inf
                perhaps, surely = _count_beyond(block, pairs.low[n], pairs.high[n])
                counts[n] += surely
                if perhaps > surely:
                    if number > _LISTED - _BLOCK:
                        _settle(listed[:number], queries, pairs, chunk, counts)
                        number = 0
                    rows = chunk.by_language[first_column + left : first_column + left + _BLOCK]
                    number = _list_between(block, query, n, pairs.low[n], pairs.high[n], rows, listed, number)
                if present:
                    block[itself] = own_score
                elif perhaps == 0:
                    break
    _settle(listed[:number], queries, pairs, chunk, counts)


@numba.njit(nogil=True, cache=True)
def _list_between(block, query, n, low, high, rows, listed, number):  # type: ignore[no-untyped-def]
    """List the passages of a block whose scores lie in a pair's band; return how many are listed then."""
    for left in range(0, block.shape[0], _SMALL_BLOCK):
        part = block[left : left + _SMALL_BLOCK]
        perhaps, surely = _count_beyond(part, low, high)
        if perhaps > surely:
            for j in range(part.shape[0]):
                if low <= part[j] <= high:
                    listed[number] = query, n, rows[left + j]
                    number += 1
    return number


@numba.njit(nogil=True, cache=True)
def _settle(listed, queries, pairs, chunk, counts):  # type: ignore[no-untyped-def]
    """Count what was listed by its float64 score.

    Listed scores are settled together, so that the memory of one comes while another is scored.
    """
    partial = np.empty(PARTIAL_SUMS)
    for query, n, p in listed:
        exact = score(queries[query], chunk.passages[p], chunk.scale[p], partial)
        earlier = exact == pairs.threshold[n] and chunk.start + p < pairs.position[n]
        counts[n] += np.int32(exact > pairs.threshold[n] or earlier)


@numba.njit(nogil=True, cache=True)
def _count_beyond(row, lowest, highest):  # type: ignore[no-untyped-def]
    """Count the scores that are `lowest` or more, and those above `highest`.

    Nearly all the time is spent here. The loop has no branch, and its sums are made int32 again after each addition,
    where numba would widen them to int64, so the compiler turns it into the widest vectors.
    """
    perhaps = np.int32(0)
    surely = np.int32(0)
    for j in range(row.shape[0]):
        perhaps = np.int32(perhaps + np.int32(row[j] >= lowest))
        surely = np.int32(surely + np.int32(row[j] > highest))
    return perhaps, surely


@numba.njit(nogil=True, cache=True)
def order_within(first, values):  # type: ignore[no-untyped-def]
    """Return the order by value within each segment; `first` holds the edges. (S + 1,), (N,) -> (N,)"""
    order = np.empty(len(values), dtype=np.int64)
    for segment in range(len(first) - 1):
        left, right = first[segment], first[segment + 1]
        order[left:right] = left + np.argsort(values[left:right])
    return order


@numba.njit(nogil=True, cache=True)
def unit_columns(embeddings, norms, rows, part, columns):  # type: ignore[no-untyped-def]
    """Write rows, divided by their norms, as float32 columns, which a matrix product reads fastest.

    Args:
        embeddings: (R, D)
        norms: (R,)
        rows: row of each column. (C,)
        part: the first and the last + 1 column to write.
        columns: (D, C), written.
    """
    lines = np.empty((_LINE, embeddings.shape[1]), dtype=np.float32)
    begin, stop = part
    for left in range(begin, stop, _LINE):
        held = min(_LINE, stop - left)
        for line in range(held):
            row = rows[left + line]
            inverse = 1.0 / norms[row]
            for d in range(embeddings.shape[1]):
                lines[line, d] = np.float64(embeddings[row, d]) * inverse
        for d in range(embeddings.shape[1]):
            for line in range(held):
                columns[d, left + line] = lines[line, d]


def norms_of(embeddings: np.ndarray, *, zero: float = 1.0) -> np.ndarray:
    """Return Euclidean norms in float64, and `zero` for a norm of 0: 1 unless given, so one can divide by them. (R,)"""
    rows = np.arange(len(embeddings))
    norms = np.sqrt(pair_scores(embeddings, embeddings, np.ones(len(embeddings)), rows, rows))
    norms[norms == 0] = zero
    return norms
