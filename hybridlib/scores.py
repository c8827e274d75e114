"""Scores of queries and passages: the exact float64 one that ranks are made from, and how far a float32 one can be off.

The policy is stated in `hybridlib.ranks`.
"""

import numba
import numpy as np
import torch

Embeddings = np.ndarray | torch.Tensor

# So many scores of a query are compared at once; where some lie in the band, these are gone through once more.
_BLOCK = 128


def error_bound(dimensions: int) -> float:
    """The most a float32 score of two vectors of norm at most 1 can differ from their float64 score.

    Rounding the two inputs to float32 costs a factor (1 + u) each, u = 2^-24, and a float32 sum of D products, in any
    order, (1 + u)^D (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), of the sum of
    |q_i p_i|, which is at most 1 by Cauchy and Schwarz. One more u covers all the float64 operations, and the last term
    underflow.

    >>> round(error_bound(384), 7)
    2.31e-05
    """
    n_u = (dimensions + 3) * 2.0**-24
    return n_u / (1 - n_u) + dimensions * 2.0**-125


@numba.njit(nogil=True, cache=True)
def score(query, passage, scale):  # type: ignore[no-untyped-def]
    """The score that ranks are made from, in float64 and in a fixed order of summation."""
    s0 = s1 = s2 = s3 = 0.0
    whole = query.shape[0] // 4 * 4
    for d in range(0, whole, 4):
        s0 += np.float64(query[d]) * np.float64(passage[d])
        s1 += np.float64(query[d + 1]) * np.float64(passage[d + 1])
        s2 += np.float64(query[d + 2]) * np.float64(passage[d + 2])
        s3 += np.float64(query[d + 3]) * np.float64(passage[d + 3])
    for d in range(whole, query.shape[0]):
        s0 += np.float64(query[d]) * np.float64(passage[d])
    return (s0 + s1 + s2 + s3) / scale


@numba.njit(nogil=True, cache=True)
def pair_scores(queries, passages, scale, query_rows, passage_rows):  # type: ignore[no-untyped-def]
    scores = np.empty(len(query_rows))
    for n in range(len(query_rows)):
        scores[n] = score(queries[query_rows[n]], passages[passage_rows[n]], scale[passage_rows[n]])
    return scores


@numba.njit(nogil=True, cache=True)
def count_tile(  # type: ignore[no-untyped-def]
    scores, first_query, first, low, high, threshold, relevant_position, place, tile,
    queries, passages, scale, rows, start, counts,
):  # fmt: skip
    """Add to `counts` how many of a tile's passages rank above each relevant passage of the tile's queries.

    `tile` is where the tile begins among the passages sorted by language, and `place` where among them the relevant
    passage itself is, far outside if it is not there.
    """
    for i in range(scores.shape[0]):
        for n in range(first[first_query + i], first[first_query + i + 1]):
            lowest = low[n]
            highest = high[n]
            itself = place[n] - tile
            present = 0 <= itself < scores.shape[1]
            if present:  # below all others while its own pair is counted
                own_score = scores[i, itself]
                scores[i, itself] = -np.inf
            for left in range(0, scores.shape[1], _BLOCK):
                row = scores[i, left : left + _BLOCK]
                # int32 sums, and no branch: the compiler turns this loop, which takes nearly all the time, to vectors.
                surely = np.int32(0)
                perhaps = np.int32(0)
                for j in range(row.shape[0]):
                    surely += np.int32(row[j] > highest)
                    perhaps += np.int32(row[j] >= lowest)
                counts[n] += surely
                if perhaps > surely:
                    for j in range(row.shape[0]):
                        if lowest <= row[j] <= highest:
                            p = rows[left + j]
                            exact = score(queries[first_query + i], passages[p], scale[p])
                            earlier = exact == threshold[n] and start + p < relevant_position[n]
                            counts[n] += np.int32(exact > threshold[n] or earlier)
            if present:
                scores[i, itself] = own_score


def norms_of(embeddings: np.ndarray) -> np.ndarray:
    """Euclidean norms in float64, 1 for a zero vector, so that one can divide by them. (R,)"""
    rows = np.arange(len(embeddings))
    norms = np.sqrt(pair_scores(embeddings, embeddings, np.ones(len(embeddings)), rows, rows))
    norms[norms == 0] = 1.0
    return norms


def as_matrix(embeddings: Embeddings, name: str) -> np.ndarray:
    """The embeddings as a C-ordered float32 or float64 array on the CPU; half precision becomes float32, exactly."""
    if isinstance(embeddings, torch.Tensor):
        embeddings = embeddings.detach().cpu()
        half = embeddings.is_floating_point() and embeddings.element_size() < 4
        embeddings = (embeddings.float() if half else embeddings).numpy()
    embeddings = np.asarray(embeddings)
    if embeddings.dtype == np.float16:
        embeddings = embeddings.astype(np.float32)
    if embeddings.ndim != 2 or embeddings.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} is {embeddings.dtype} of shape {embeddings.shape}; expected a floating-point matrix")
    largest = np.abs(embeddings).max(axis=1, initial=0).astype(np.float64)  # NaN where a row holds one
    # In float64 the square of a number outside these limits would overflow or vanish; every float32 is within them.
    sound = (largest == 0) | ((largest > 1e-140) & (largest < 1e140))
    if not sound.all():
        row = int(np.flatnonzero(~sound)[0])
        raise ValueError(f"{name}: row {row} holds {largest[row]}; allowed are finite numbers of ordinary size")
    return np.ascontiguousarray(embeddings)
