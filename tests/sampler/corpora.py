"""Small corpora, each made of a table that says which item exists in which language. (items, L)"""

import numpy as np

from hybridlib.sampler.availability import Availability, Segment

CODES = ("en", "de", "sw", "ja", "fi")
# The seeds and keys of the tests are fixed, so no test is flaky. Even draws fall below this once in a thousand tests.
LEAST_P = 1e-3


def segment_of(grid: np.ndarray, start: int = 0, name: str = "set 0") -> Segment:
    """Return the dataset of a table."""
    return Segment.from_bits(name, start, len(grid), np.packbits(grid.T, axis=1, bitorder="little"))


def corpus_of(*grids: np.ndarray) -> Availability:
    """Return a corpus with a dataset for each table."""
    starts = np.cumsum([0, *map(len, grids[:-1])]).tolist()
    segments = [segment_of(grid, starts[n], f"set {n}") for n, grid in enumerate(grids)]
    return Availability(CODES[: grids[0].shape[1]], tuple(segments))


def everywhere(items: int, languages: int) -> np.ndarray:
    """Return a table where every item exists in every language."""
    return np.ones((items, languages), dtype=bool)


def nested(*sizes: int) -> np.ndarray:
    """Return a table where each language has the first so many items; so two of them share the smaller number."""
    return np.arange(max(sizes))[:, None] < np.array(sizes)


def at_random(items: int, languages: int, seed: int, share: float = 0.7) -> np.ndarray:
    """Return a table where this share of the items, drawn at random, exists in each language."""
    return np.random.default_rng(seed).random((items, languages)) < share


def table_of(grid: np.ndarray, names: list[str]) -> dict[str, list]:
    """Return the columns of a corpus table, with the name of each item's dataset."""
    items, width = grid.shape
    return {
        "item": np.repeat(np.arange(items), width).tolist(),
        "language": [*CODES[:width]] * items,
        "dataset": np.repeat(names, width).tolist(),
        "passage": ["text" if there else "" for there in grid.ravel()],
    }
