"""Random permutations that need no memory: the new place of an index is computed, not stored.

An index is written as two digits, its row and its column in the smallest square that holds the range. A Feistel network
scrambles them (Luby and Rackoff, 1988). An index that falls outside the range goes through the network again until it
falls inside (Black and Rogaway, 2002). All functions take arrays, and each element may have its own range and key.
"""

import numpy as np

# Textbooks have four rounds, but these shuffle ranges below a hundred unevenly. Eight pass a chi-square test.
_ROUNDS = 8
# SplitMix64 adds a constant; then each of its steps has a shift and a factor.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_STEPS = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_LAST_SHIFT = np.uint64(31)
# The side of the smallest square. The network of a smaller one has too few permutations to look random.
_SMALLEST_SIDE = 4


def mix(value: np.ndarray | int) -> np.ndarray:
    """Scramble 64-bit integers one to one (the finaliser of SplitMix64, Steele et al. 2014).

    >>> int(mix(1)) == int(mix(1)), int(mix(1)) == int(mix(2))
    (True, False)
    """
    z = np.asarray(value).astype(np.uint64)
    return _scramble(z.reshape(-1)).reshape(z.shape)


def uniform(number: np.ndarray, key: np.uint64) -> np.ndarray:
    """Return a random number in [0, 1) for each number, made of the 53 high bits of its hash, in its shape."""
    return (mix(mix(number) ^ key) >> np.uint64(11)) * 2.0**-53


def permute(index: np.ndarray | int, size: np.ndarray | int, key: np.ndarray | int) -> np.ndarray:
    """Return the new place of each index in a random permutation of range(size).

    Args:
        index: 0 to size - 1; its shape broadcasts with those of the other two.
        size: length of the range, up to 2^52.
        key: 64-bit integer that chooses the permutation.

    Returns:
        Places, 0 to size - 1, in the broadcast shape.

    Raises:
        ValueError: an index or a size is out of range.

    >>> permute(np.arange(5), 5, key=7).tolist()
    [0, 4, 2, 3, 1]
    """
    shape = np.broadcast_shapes(*map(np.shape, (index, size, key)))
    key = np.array(key, ndmin=max(1, len(shape)))
    keys = np.empty((_ROUNDS, *key.shape), dtype=np.uint64)
    for n in range(_ROUNDS):
        keys[n] = key = mix(key)  # a key that several indices share is hashed once, and then repeated for them
    index, size = (np.broadcast_to(given, shape or (1,)) for given in (index, size))
    keys = np.broadcast_to(keys, (_ROUNDS, *index.shape))
    outside = (index < 0) | (index >= size)
    if outside.any():
        raise ValueError(f"index is {index[outside][0]}; allowed: 0 to size - 1 = {size[outside][0] - 1}")
    if (size > 1 << 52).any():  # the root is taken of a float64, which holds every integer up to here
        raise ValueError(f"size is {size.max()}; allowed: up to 2^52")
    side = np.maximum(_SMALLEST_SIDE, np.ceil(np.sqrt(size))).astype(np.uint64)
    value = _feistel(index.astype(np.uint64), side, keys)
    value[size == 1] = 0  # a single index has one permutation only, and needs no search
    while (again := value >= size).any():
        value[again] = _feistel(value[again], side[again], keys[:, again])
    return value.astype(np.int64).reshape(shape)


def _feistel(value: np.ndarray, side: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Send values below side^2 once through the network, which is one to one."""
    left, right = np.divmod(value, side)
    for key in keys:
        # The hash is reduced before it is added, as a sum that overflowed 2^64 would not be one to one.
        left, right = right, (left + _scramble(right ^ key) % side) % side
    return left * side + right


def _scramble(z: np.ndarray) -> np.ndarray:
    """Do what `mix` does, in place. The array must have a dimension: numpy warns where a single number overflows."""
    z += _GOLDEN
    for shift, factor in _STEPS:
        z ^= z >> shift
        z *= factor
    z ^= z >> _LAST_SHIFT
    return z
