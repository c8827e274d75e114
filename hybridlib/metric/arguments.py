"""Arguments of what counts ranks, checked: embeddings of any floating type and on any device, pairs and languages."""

import numpy as np
import torch

Embeddings = np.ndarray | torch.Tensor

# In float64 the square of a number outside these limits would overflow or vanish; every float32 is within them.
_SMALLEST, _LARGEST = 1e-140, 1e140


def as_matrix(embeddings: Embeddings, name: str) -> np.ndarray:
    """The embeddings as a C-ordered float32 or float64 array on the CPU; half precision becomes float32, exactly.

    Raises:
        ValueError: they are no matrix of floats, or hold numbers that are not finite or of no ordinary size.
    """
    tensor = as_tensor(embeddings, name)
    check_size(largest_of(tensor), name)
    return as_floats(tensor)


def as_floats(tensor: torch.Tensor) -> np.ndarray:
    """A matrix of floats as a float32 or float64 array on the CPU; half precision becomes float32, exactly."""
    tensor = tensor.cpu()
    return (tensor.float() if tensor.element_size() < 4 else tensor).numpy()


def as_tensor(embeddings: Embeddings, name: str) -> torch.Tensor:
    """The embeddings as a C-ordered tensor on the device where they are; 8 bits become float32, exactly. Numbers are
    not looked at.

    Raises:
        ValueError: they are no matrix of floats.
    """
    if not isinstance(embeddings, torch.Tensor):
        embeddings = np.asarray(embeddings)
        if embeddings.dtype.kind == "f" and embeddings.dtype.itemsize <= 8:
            # A tensor over memory that cannot be written, such as a memory map, makes torch warn; it is copied.
            embeddings = torch.from_numpy(np.require(embeddings, requirements=["C", "W"]))
    if embeddings.ndim != 2 or not isinstance(embeddings, torch.Tensor) or not embeddings.is_floating_point():
        dtype = str(embeddings.dtype).removeprefix("torch.")
        raise ValueError(f"{name} is {dtype} of shape {tuple(embeddings.shape)}; expected a floating-point matrix")
    embeddings = embeddings.detach().contiguous()
    return embeddings.float() if embeddings.element_size() < 2 else embeddings


def largest_of(embeddings: torch.Tensor) -> torch.Tensor:
    """The largest absolute number of each row, NaN where a row holds one. (R, D) -> (R,)"""
    if not embeddings.shape[1]:
        return embeddings.new_zeros(len(embeddings))
    return embeddings.abs().amax(dim=1)


def check_size(largest: torch.Tensor, name: str, rows: np.ndarray | None = None) -> None:
    """Refuse a row that holds NaN, infinity or numbers of no ordinary size.

    Args:
        largest: as of `largest_of`. (R,)
        name: of the argument.
        rows: numbers of the rows in it; from 0 on unless given. (R,)
    """
    sound = are_sound(largest)
    if not sound.all():
        place = int(sound.int().argmin())
        row = place if rows is None else rows[place]
        held = largest[place].item()
        raise ValueError(f"{name}: row {row} holds {held}; allowed are finite numbers of ordinary size")


def are_sound(largest: torch.Tensor) -> torch.Tensor:
    """Whether float64 can hold the squares of each row's numbers and what they sum to. (R,) -> (R,)"""
    largest = largest.double()
    return (largest == 0) | ((largest > _SMALLEST) & (largest < _LARGEST))


def as_integers(values: np.ndarray, name: str) -> np.ndarray:
    """Whole numbers as int64.

    Raises:
        ValueError: they are something else.
    """
    values = np.asarray(values)
    if values.size and values.dtype.kind not in "iu":
        raise ValueError(f"{name} is {values.dtype}; expected whole numbers")
    return values.astype(np.int64, copy=False)


def as_pairs(pairs: np.ndarray, queries: int, passages: int) -> np.ndarray:
    """Rows of queries and of passages. (N, 2)

    Raises:
        ValueError: they have another shape, or there are no such rows.
    """
    pairs = as_integers(pairs, "pairs")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs has shape {pairs.shape}; expected (N, 2)")
    for rows, name, size in ((pairs[:, 0], "query", queries), (pairs[:, 1], "passage", passages)):
        if len(rows) and not (rows.min() >= 0 and rows.max() < size):
            raise ValueError(f"pairs: {name} rows span {rows.min()} to {rows.max()}; there are {size} rows")
    return pairs


def as_languages(languages: np.ndarray, passages: int) -> np.ndarray:
    """The language of each passage, in a whole number. (P,)

    Raises:
        ValueError: they have another shape.
    """
    languages = as_integers(languages, "passage_languages")
    if languages.shape != (passages,):
        raise ValueError(f"passage_languages has shape {languages.shape}; expected ({passages},)")
    return languages


def check_languages(languages: np.ndarray, allowed: int | None = None) -> None:
    """Refuse a language below 0, or not below `allowed`."""
    if len(languages) and (languages.min() < 0 or (allowed is not None and languages.max() >= allowed)):
        limits = "from 0" if allowed is None else f"0 to {allowed - 1}"
        raise ValueError(f"passage_languages span {languages.min()} to {languages.max()}; allowed: {limits}")
