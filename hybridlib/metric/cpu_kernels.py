"""The score that ranks are made from, in float64, and the counting of ranks in a tile of scores, compiled by numba.

The policy is stated in `hybridlib.metric.ranks`.
"""

import numba
import numpy as np

# Partial sums of an inner product: four vectors of a CPU's widest registers.
PARTIAL_SUMS = 32
# So many scores of a query are compared at once; where some lie in the band, these are gone through by the smaller one.
_BLOCK, _SMALL_BLOCK = 512, 32
# Scores in the band that are settled together.
_LISTED = 16_384
# Rows whose numbers fill a line of the cache.
_LINE = 16


@numba.njit(nogil=True, cache=True)
def score(query, passage, scale, partial):  # type: ignore[no-untyped-def]
    """The score, in a fixed order of summation. `partial` is scratch. (D,), (D,), (), (PARTIAL_SUMS,)"""
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
    """The score of each pair of rows. (Q, D), (P, D), (P,), (n,), (n,) -> (n,)"""
    scores, partial = np.empty(len(query_rows)), np.empty(PARTIAL_SUMS)
    for n in range(len(query_rows)):
        row = passage_rows[n]
        scores[n] = score(queries[query_rows[n]], passages[row], scale[row], partial)
    return scores


@numba.njit(nogil=True, cache=True)
def count_tile(  # type: ignore[no-untyped-def]
    scores, first_query, first, low, high, threshold, relevant_position, place, tile,
    queries, passages, scale, rows, start, counts,
):  # fmt: skip
    """Add to `counts` how many of a tile's passages rank above each relevant passage of the tile's queries.

    The pairs of a query are sorted by threshold: where no score reaches one, none reaches the next. `tile` is where the
    tile begins among the passages sorted by language, and `place` where among them the relevant passage itself is, far
    outside if it is not there.
    """
    listed = np.empty((_LISTED, 3), dtype=np.int64)  # query, pair and passage of scores in the band
    number = 0
    for i in range(scores.shape[0]):
        query = first_query + i
        for left in range(0, scores.shape[1], _BLOCK):
            row = scores[i, left : left + _BLOCK]
            for n in range(first[query], first[query + 1]):
                itself = place[n] - tile - left
                present = 0 <= itself < row.shape[0]
                if present:  # below all others while its own pair is counted
                    own_score = row[itself]
                    row[itself] = -np.inf
                perhaps, surely = _beside(row, low[n], high[n])
                counts[n] += surely
                if perhaps > surely:
                    if number > _LISTED - _BLOCK:
                        _settle(listed[:number], queries, passages, scale, threshold, relevant_position, start, counts)
                        number = 0
                    for small in range(0, row.shape[0], _SMALL_BLOCK):
                        part = row[small : small + _SMALL_BLOCK]
                        perhaps_here, surely_here = _beside(part, low[n], high[n])
                        if perhaps_here > surely_here:
                            for j in range(part.shape[0]):
                                if low[n] <= part[j] <= high[n]:
                                    listed[number] = query, n, rows[left + small + j]
                                    number += 1
                if present:
                    row[itself] = own_score
                elif perhaps == 0:
                    break
    _settle(listed[:number], queries, passages, scale, threshold, relevant_position, start, counts)


@numba.njit(nogil=True, cache=True)
def _settle(  # type: ignore[no-untyped-def]
    listed, queries, passages, scale, threshold, relevant_position, start, counts
):  # fmt: skip
    """Count what was listed by its score in float64: one after the other, so that one's memory comes while another is
    scored."""
    partial = np.empty(PARTIAL_SUMS)
    for query, n, p in listed:
        exact = score(queries[query], passages[p], scale[p], partial)
        earlier = exact == threshold[n] and start + p < relevant_position[n]
        counts[n] += np.int32(exact > threshold[n] or earlier)


@numba.njit(nogil=True, cache=True)
def _beside(row, lowest, highest):  # type: ignore[no-untyped-def]
    """How many scores are `lowest` or more, and how many above `highest`.

    No branch, and sums that are made int32 again after each addition, which numba would take to int64: the compiler
    turns this loop, which takes nearly all the time, into the widest vectors.
    """
    perhaps = np.int32(0)
    surely = np.int32(0)
    for j in range(row.shape[0]):
        perhaps = np.int32(perhaps + np.int32(row[j] >= lowest))
        surely = np.int32(surely + np.int32(row[j] > highest))
    return perhaps, surely


@numba.njit(nogil=True, cache=True)
def order_within(first, values):  # type: ignore[no-untyped-def]
    """Order by value within each segment, whose edges are `first`. (S + 1,), (N,) -> (N,)"""
    order = np.empty(len(values), dtype=np.int64)
    for segment in range(len(first) - 1):
        left, right = first[segment], first[segment + 1]
        order[left:right] = left + np.argsort(values[left:right])
    return order


@numba.njit(nogil=True, cache=True)
def unit_columns(embeddings, norms, rows, begin, stop, columns):  # type: ignore[no-untyped-def]
    """Write some rows over their norms as float32 columns, which a product of matrices reads fastest.

    Args:
        embeddings: (R, D)
        norms: (R,)
        rows: row of each column. (C,)
        begin, stop: the columns to write, up to but not `stop`.
        columns: (D, C), written.
    """
    lines = np.empty((_LINE, embeddings.shape[1]), dtype=np.float32)
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
    """Euclidean norms in float64, `zero` for a zero vector: 1 unless given, so that one can divide by them. (R,)"""
    rows = np.arange(len(embeddings))
    norms = np.sqrt(pair_scores(embeddings, embeddings, np.ones(len(embeddings)), rows, rows))
    norms[norms == 0] = zero
    return norms
