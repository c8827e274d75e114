"""Random permutations that need no memory: where an index goes is computed, not stored.

A Feistel network (Luby and Rackoff, 1988) over the smallest square that holds the range, with indices that fall outside
the range sent through again until they fall inside (Black and Rogaway, 2002). Everything is vectorised, each element
with its own range and key.
"""

import numpy as np

# With four rounds, the textbook's number, ranges below a hundred are visibly not shuffled evenly; with eight a
# chi-square test is content.
_ROUNDS = 8
# The additive constant of SplitMix64, and the shift and factor of each of its steps; made once, as they are used often.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_STEPS = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_LAST_SHIFT = np.uint64(31)
# A network over a smaller square has too few different permutations to look random.
_SMALLEST_SIDE = 4


def mix(value: np.ndarray | int) -> np.ndarray:
    """Scramble 64-bit integers one to one (the finaliser of SplitMix64, Steele et al. 2014).

    >>> int(mix(1)) == int(mix(1)), int(mix(1)) == int(mix(2))
    (True, False)
    """
    z = np.asarray(value).astype(np.uint64)
    return _scramble(z.reshape(-1)).reshape(z.shape)


def permute(index: np.ndarray | int, size: np.ndarray | int, key: np.ndarray | int) -> np.ndarray:
    """Where a random permutation of range(size), chosen by `key`, sends `index`.

    Args:
        index: from 0 to size - 1; any shape that broadcasts with the other two.
        size: length of the permuted range, up to 2^52.
        key: 64-bit integer; another key is another permutation.

    Returns:
        int64, of the broadcast shape.

    Raises:
        ValueError: an index or a size is out of range.

    >>> permute(np.arange(5), 5, key=7).tolist()
    [0, 4, 2, 3, 1]
    """
    shape = np.broadcast_shapes(*map(np.shape, (index, size, key)))
    keys = _round_keys(np.asarray(key).astype(np.uint64), shape or (1,))
    index, size = (np.broadcast_to(given, shape or (1,)) for given in (index, size))
    outside = (index < 0) | (index >= size)
    if outside.any():
        raise ValueError(f"index is {index[outside][0]}; allowed: 0 to size - 1 = {size[outside][0] - 1}")
    if (size > 1 << 52).any():  # where a float64, of which the root is taken, no longer holds every integer
        raise ValueError(f"size is {size.max()}; allowed: up to 2^52")
    side = np.maximum(_SMALLEST_SIDE, np.ceil(np.sqrt(size))).astype(np.uint64)
    value = _feistel(index.astype(np.uint64), side, keys)
    value[size == 1] = 0  # there is but one permutation of a single index
    while (outside := value >= size).any():
        value[outside] = _feistel(value[outside], side[outside], keys[:, outside])
    return value.astype(np.int64).reshape(shape)


def _round_keys(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Each round's key: the hash of that of the round before. (rounds, *shape)"""
    keys = np.empty((_ROUNDS, *np.atleast_1d(key).shape), dtype=np.uint64)
    for n in range(_ROUNDS):  # before a key is repeated for all indices that share it
        keys[n] = key = mix(key)
    missing = len(shape) + 1 - keys.ndim
    return np.broadcast_to(keys.reshape(_ROUNDS, *[1] * missing, *keys.shape[1:]), (_ROUNDS, *shape))


def _feistel(value: np.ndarray, side: np.ndarray, keys: np.ndarray) -> np.ndarray:
    left, right = np.divmod(value, side)
    for key in keys:
        # The hash is reduced before it is added: a sum that overflowed 2^64 would not be one to one.
        left, right = right, (left + _scramble(right ^ key) % side) % side
    return left * side + right


def _scramble(z: np.ndarray) -> np.ndarray:
    """`mix` in place, of at least one dimension: arithmetic of arrays is modulo 2^64, that of numbers warns."""
    z += _GOLDEN
    for shift, factor in _STEPS:
        z ^= z >> shift
        z *= factor
    z ^= z >> _LAST_SHIFT
    return z
