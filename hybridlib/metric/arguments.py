"""Checks of the arguments of `hybridlib.metric.ranks`. Each returns what it checked in the one form used behind it."""

from typing import Any

import numpy as np
import torch

from hybridlib.arguments import told

Embeddings = np.ndarray | torch.Tensor

# In float64 the square of a number outside these limits would overflow or vanish. Every float32 lies within them.
_SMALLEST, _LARGEST = 1e-140, 1e140
# A sum of squares between these, and none else, shows by itself that numbers are finite and of ordinary size.
_ORDINARY_SQUARES = (1e-30, 1e30)
# There are fewer languages in the world. Counts have a column for each number.
MOST_LANGUAGES = 10_000


def checked_tensor(embeddings: Embeddings, name: str, *, width: int | None = None) -> torch.Tensor:
    """Return embeddings as a C-ordered tensor on their own device; 8-bit floats become float32, exactly.

    The numbers themselves are checked by `check_magnitudes`.

    Args:
        embeddings: (R, D)
        name: the argument's name, for errors.
        width: the dimensions of the queries, which D must equal. Unless given, D may be any number.

    Raises:
        ValueError: they are no matrix of floats, or have another width.
    """
    given, allowed = embeddings, "a matrix of floats of 8 to 64 bits"
    if not isinstance(embeddings, torch.Tensor):
        found = _array(embeddings, name, allowed)
        if found.dtype.kind == "f" and found.dtype.itemsize <= 8:
            # A tensor over memory that cannot be written, such as a memory map, makes torch warn, so it is copied.
            embeddings = torch.from_numpy(np.require(found, found.dtype.newbyteorder("="), ["C", "W"]))
    # Sparse, quantised, nested and masked tensors, and those without numbers, have no layout of rows in memory.
    if not isinstance(embeddings, torch.Tensor) or _own_class(embeddings) or embeddings.layout != torch.strided:
        raise ValueError(f"{name} is {_told(given)}; allowed: {allowed}")
    if embeddings.ndim != 2 or not embeddings.is_floating_point() or embeddings.is_meta:
        raise ValueError(f"{name} is {_told(given)}; allowed: {allowed}")
    if width is not None and embeddings.shape[1] != width:
        dimensions = f"{embeddings.shape[1]} dimensions, query_embeddings has {width}"
        raise ValueError(f"{name} has {dimensions}; they must be equal")
    embeddings = embeddings.detach().contiguous()
    return embeddings.float() if embeddings.element_size() < 2 else embeddings


def _array(values: Any, name: str, allowed: str) -> np.ndarray:
    """Return values as an array on the CPU; refuse masked ones, and lists whose rows differ in length."""
    try:
        if not isinstance(values, np.ma.MaskedArray):
            return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    except (ValueError, TypeError, RuntimeError, NotImplementedError):
        pass
    raise ValueError(f"{name} is {_told(values)}; allowed: {allowed}")


def _told(values: Any) -> str:
    """Describe values as `told` does, and tensors and what else has a shape with what they are besides."""
    if not isinstance(values, torch.Tensor):
        return (
            told(values) if type(values) is np.ndarray or not hasattr(values, "shape") else f"a {type(values).__name__}"
        )
    if _own_class(values):
        return "a nested tensor" if values.is_nested else f"a {type(values).__name__}"
    kind = "" if values.layout == torch.strided else f"{values.layout} ".removeprefix("torch.")
    return f"a {kind}tensor of {values.dtype} of shape {tuple(values.shape)} on {values.device}"


def _own_class(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is nested, or of a class that computes in a way of its own, such as masked ones."""
    return tensor.is_nested or type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__


def checked_device(device: str | torch.device | None, default: torch.device) -> torch.device:
    """Return a device, or the default where none is given.

    Raises:
        ValueError: there is no such device here.
    """
    try:
        found = default if device is None else torch.device(device)
        if found.type != "meta":
            torch.empty(0, device=found)
            return found
    except (RuntimeError, TypeError, AssertionError, NotImplementedError):  # as torch has it without such a device
        pass
    there = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    raise ValueError(f"device is {str(device)!r}; allowed here: {', '.join(['cpu', *there])}")


def checked_array(embeddings: Embeddings, name: str) -> np.ndarray:
    """Return embeddings as `float_array` does, with their numbers checked too. (R, D) -> (R, D)

    Raises:
        ValueError: they are no matrix of floats, or hold numbers that are not finite or of no ordinary size.
    """
    tensor = checked_tensor(embeddings, name)
    check_numbers(tensor, name)
    return float_array(tensor)


def float_array(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor of floats as a float32 or float64 array on the CPU; half precision becomes float32, exactly."""
    tensor = tensor.cpu()
    return (tensor.float() if tensor.element_size() < 4 else tensor).numpy()


def largest_magnitudes(embeddings: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute number of each row, NaN where a row holds one. (R, D) -> (R,)"""
    if not embeddings.shape[1]:
        return embeddings.new_zeros(len(embeddings))
    return embeddings.abs().amax(dim=1)


def check_numbers(embeddings: torch.Tensor, name: str, numbers: np.ndarray | None = None) -> None:
    """Check the largest magnitudes; on a CPU only where the norms, which are found sooner, leave room for doubt.

    Args:
        embeddings: (R, D)
        name: as `check_magnitudes` takes it.
        numbers: as `check_magnitudes` takes them. (R,)

    Raises:
        ValueError: a row holds what `check_magnitudes` refuses.
    """
    if embeddings.device.type == "cpu":
        rows, (low, high) = float_array(embeddings), _ORDINARY_SQUARES
        squares = np.einsum("rd,rd->r", rows, rows)
        if ((squares > low) & (squares < high)).all():
            return
    check_magnitudes(largest_magnitudes(embeddings), name, numbers)


def check_magnitudes(largest: torch.Tensor, name: str, numbers: np.ndarray | None = None) -> None:
    """Refuse a row that holds NaN, infinity or numbers whose squares float64 cannot hold.

    Args:
        largest: as returned by `largest_magnitudes`. (R,)
        name: the argument's name, for errors.
        numbers: the number of each row in the argument. Unless given, rows count from 0. (R,)

    Raises:
        ValueError: there is such a row.
    """
    magnitudes = largest.double()
    sound = (magnitudes == 0) | ((magnitudes > _SMALLEST) & (magnitudes < _LARGEST))
    if not sound.all():
        place = int(sound.int().argmin())
        row = place if numbers is None else numbers[place]
        raise ValueError(
            f"{name}: row {row} holds {largest[place].item()}; allowed are finite numbers of ordinary size"
        )


def checked_integers(values: np.ndarray, name: str) -> np.ndarray:
    """Return whole numbers as int64.

    Raises:
        ValueError: they are of another type.
    """
    found = _array(values, name, "whole numbers")
    if found.size and found.dtype.kind not in "iu":
        raise ValueError(f"{name} is {told(values)}; allowed: whole numbers")
    return found.astype(np.int64, copy=False)


def checked_pairs(pairs: np.ndarray, queries: int, passages: int) -> np.ndarray:
    """Return pairs of a query's row and a passage's row as int64. (N, 2)

    Raises:
        ValueError: they have another shape or type, or there is no such row.
    """
    pairs = checked_integers(pairs, "pairs")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs has shape {pairs.shape}; allowed: (N, 2)")
    for rows, name, size in ((pairs[:, 0], "query", queries), (pairs[:, 1], "passage", passages)):
        if len(rows) and not (rows.min() >= 0 and rows.max() < size):
            raise ValueError(f"pairs: {name} rows span {rows.min()} to {rows.max()}; there are {size} rows")
    return pairs


def checked_positions(positions: np.ndarray, passages: int) -> np.ndarray:
    """Return positions in the corpus, one for each relevant passage, as int64. (R,)

    Raises:
        ValueError: they have another shape or type, or one is below 0.
    """
    positions = checked_integers(positions, "relevant_positions")
    if positions.shape != (passages,):
        raise ValueError(f"relevant_positions has shape {positions.shape}; expected ({passages},)")
    if positions.min(initial=0) < 0:
        raise ValueError(f"relevant_positions holds {positions.min()}; positions in the corpus count from 0")
    return positions


def number_of_languages(languages: np.ndarray) -> int:
    """Return how many passage languages there are, of which each passage has the number of one. (P,)

    Raises:
        ValueError: there would be more than exist.
    """
    most = int(languages.max(initial=0))
    if most >= MOST_LANGUAGES:
        raise ValueError(
            f"passage_languages holds {most}; allowed: 0 to {MOST_LANGUAGES - 1}, a number for each language"
        )
    return most + 1


def checked_passage_languages(languages: np.ndarray, passages: int, number: int) -> np.ndarray:
    """Return the language of each passage, from 0 to `number - 1`, as int64. (P,)

    Raises:
        ValueError: they have another shape or type, or there is no such language.
    """
    languages = checked_integers(languages, "passage_languages")
    if languages.shape != (passages,):
        raise ValueError(f"passage_languages has shape {languages.shape}; expected ({passages},)")
    if passages and not (languages.min() >= 0 and languages.max() < number):
        raise ValueError(f"passage_languages span {languages.min()} to {languages.max()}; allowed: 0 to {number - 1}")
    return languages
