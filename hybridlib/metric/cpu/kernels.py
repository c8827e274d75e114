"""Kernels of the CPU, compiled by numba: the float64 score that ranks are made from, and the count of a tile.

`hybridlib.metric.ranks` states the policy.
"""

from typing import NamedTuple

import numba
import numpy as np

from hybridlib.metric.cpu.vectors import BLOCK, compare, first_bit, prefetch

# Partial sums of an inner product: they fill four of a CPU's widest registers.
PARTIAL_SUMS = 32
# Scores in the band that are listed before they are settled together; more than a row of a tile may hold.
_LISTED = 16_384
# Rows written together, whose float32 numbers fill a line of the cache.
_LINE = 16
# The memory of a passage is asked for so many scores before it is scored, by lines of the cache of so many bytes.
_AHEAD, _LINE_BYTES = 4, 64


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
        if n + _AHEAD < len(query_rows):
            _ask_for(passages, passage_rows[n + _AHEAD])
        row = passage_rows[n]
        scores[n] = score(queries[query_rows[n]], passages[row], scale[row], partial)
    return scores


@numba.njit(nogil=True, cache=True)
def count_tile(scores, first_query, first_column, queries, pairs, chunk, counts):  # type: ignore[no-untyped-def]
    """Add to `counts` how many of a tile's passages rank above the relevant passage of each pair of its queries.

    The pairs of a query are sorted by threshold: where no score reaches one, none reaches the next.

    Args:
        scores: float32 scores of the tile, which are written to and put back; p is a multiple of `BLOCK`, and columns
            behind the last passage hold minus infinity. (q, p)
        first_query: the query of the first row.
        first_column: the place, among the chunk's passages by language, of the first column.
        queries: (Q, D)
        pairs: `Pairs`.
        chunk: `Chunk`.
        counts: of the tile's language, added to. (N,)
    """
    listed = np.empty((_LISTED, 3), dtype=np.int64)  # query, pair and passage of each score in the band
    rows = chunk.by_language[first_column : first_column + scores.shape[1]]
    number = 0
    for i in range(scores.shape[0]):
        query, row = first_query + i, scores[i]
        for n in range(pairs.first[query], pairs.first[query + 1]):
            if number + row.shape[0] > _LISTED:
                _settle(listed[:number], queries, pairs, chunk, counts)
                number = 0
            itself = pairs.place[n] - first_column
            present = 0 <= itself < row.shape[0]
            if present:  # below all others while its own pair is counted
                own_score = row[itself]
                row[itself] = -np.inf
            perhaps, inside = _count_row(row, pairs.low[n], pairs.high[n], rows, listed[number:])
            listed[number : number + inside, 0] = query
            listed[number : number + inside, 1] = n
            counts[n] += perhaps - inside
            number += inside
            if present:
                row[itself] = own_score
            elif perhaps == 0:
                break
    _settle(listed[:number], queries, pairs, chunk, counts)


@numba.njit(nogil=True, cache=True)
def _count_row(row, low, high, rows, listed):  # type: ignore[no-untyped-def]
    """Return how many scores are `low` or more, and how many of these lie in the band, whose passages are listed.

    Nearly all the time is spent here.
    """
    perhaps, inside = 0, 0
    for left in range(0, row.shape[0], BLOCK):
        reach, band = compare(row, left, low, high)
        perhaps += reach
        while band:
            listed[inside, 2] = rows[left + first_bit(band)]
            inside += 1
            band &= band - np.uint64(1)  # without the lowest bit
    return perhaps, inside


@numba.njit(nogil=True, cache=True)
def _settle(listed, queries, pairs, chunk, counts):  # type: ignore[no-untyped-def]
    """Count what was listed by its float64 score.

    Listed scores are settled together, so that the memory of one comes while another is scored.
    """
    partial = np.empty(PARTIAL_SUMS)
    for i in range(listed.shape[0]):
        if i + _AHEAD < listed.shape[0]:
            _ask_for(chunk.passages, listed[i + _AHEAD, 2])
        query, n, p = listed[i, 0], listed[i, 1], listed[i, 2]
        exact = score(queries[query], chunk.passages[p], chunk.scale[p], partial)
        earlier = exact == pairs.threshold[n] and chunk.start + p < pairs.position[n]
        counts[n] += np.int32(exact > pairs.threshold[n] or earlier)


@numba.njit(nogil=True, cache=True)
def _ask_for(matrix, row):  # type: ignore[no-untyped-def]
    """Ask for the memory of a row, which will be read soon. (R, D), ()"""
    for d in range(0, matrix.shape[1], _LINE_BYTES // matrix.itemsize):
        prefetch(matrix, row, d)


@numba.njit(nogil=True, cache=True)
def order_within(first, values, order):  # type: ignore[no-untyped-def]
    """Write the order by value within each segment; `first` holds the edges of the segments. (S + 1,), (N,), (N,)"""
    for segment in range(len(first) - 1):
        left, right = first[segment], first[segment + 1]
        order[left:right] = left + np.argsort(values[left:right])


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


@numba.njit(nogil=True, cache=True)
def unit_rows(embeddings, norms, part, out):  # type: ignore[no-untyped-def]
    """Write the rows from the first to the last + 1 of a part, divided by their norms. (R, D), (R,), (2,), (R, D)"""
    for row in range(part[0], part[1]):
        inverse = 1.0 / norms[row]
        for d in range(embeddings.shape[1]):
            out[row, d] = np.float64(embeddings[row, d]) * inverse


def norms_of(embeddings: np.ndarray, *, zero: float = 1.0) -> np.ndarray:
    """Return Euclidean norms in float64, and `zero` for a norm of 0: 1 unless given, so one can divide by them. (R,)"""
    rows = np.arange(len(embeddings))
    norms = np.sqrt(pair_scores(embeddings, embeddings, np.ones(len(embeddings)), rows, rows))
    norms[norms == 0] = zero
    return norms
