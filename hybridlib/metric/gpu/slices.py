"""Slices of passages on a GPU, which come one by one, each with the order of its rows by language, cut into tiles.

Rows stay in the order of the corpus: what is sorted is their languages, on the device, which the CPU never waits for.
It waits only until pinned memory that passages go through may be written again.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

# Bytes of a slice that is brought to the device. At 55 GB/s it takes 5 ms, several times as long as Python needs.
# Smaller ones would be late; of larger ones, the first copy and the last count, beside which nothing runs, are long.
_BROUGHT = 1 << 28
# Slices brought ahead of the one the caller has, and the places for them: two more are those it has, and had before.
_AHEAD = 2
_PLACES = _AHEAD + 2
# Pinned buffers that passages go through, and bytes of each: 0.15 ms of copying, and few enough to stay in a cache.
_BUFFERS, _BUFFER = 4, 1 << 23


class Slice(NamedTuple):
    """Passages on the device, in the order of the corpus, with their places by language."""

    rows: torch.Tensor  # in the order of the corpus, (C, D)
    start: int  # corpus position of the first row
    order: torch.Tensor | None  # int32 row of each place, by language (stable); None where place == row. (C,)
    languages: torch.Tensor  # int32 language of each row, (C,)
    tiles: torch.Tensor  # first place, place after the last, language; the last tiles may be empty. (T, 3)


def slices_on(
    device: torch.device,
    passages: torch.Tensor,
    languages: np.ndarray,
    *,
    start: int,
    size: int,
    number: int,
    tile: int,
) -> Iterator[Slice]:
    """Yield passages slice by slice on the device.

    Passages that are elsewhere are brought there while the caller works on those before. Their memory is used again:
    all that reads a slice must be launched before the second slice after it is asked for. So there is time to settle a
    slice once the next is launched.

    Args:
        passages: on any device, C-ordered if on this one. (C, D)
        languages: of each passage, from 0 to `number - 1`. (C,)
        start: corpus position of the first passage.
        size: the most passages of a slice.
        number: how many languages there are.
        tile: the most passages of a tile.
    """
    elsewhere = passages.device != device
    if elsewhere:
        size = min(size, max(1, _BROUGHT // _row_bytes(passages)), len(passages))
    for rows, numbers, on_cpu in (_brought if elsewhere else _held)(device, passages, languages, size):
        order, by_language = None, numbers
        if (on_cpu[1:] < on_cpu[:-1]).any():
            by_language, places = torch.sort(numbers, stable=True)  # (C,), (C,)
            order = places.int()
        yield Slice(rows, start, order, numbers.int(), _tiles(by_language, number, tile))
        start += len(rows)


def to_device(table: np.ndarray, device: torch.device) -> torch.Tensor:
    """Bring a table of whole numbers to the device without waiting for the kernels that were launched there."""
    return _pinned(np.ascontiguousarray(table, dtype=np.int64), device).to(device, non_blocking=True)


def _pinned(table: np.ndarray, device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(table)
    return tensor.pin_memory() if device.type == "cuda" else tensor


def _tiles(languages: torch.Tensor, number: int, tile: int) -> torch.Tensor:
    """Cut places into tiles of one language each.

    Only the device knows how many there are, so there is room for as many as there may be, and what is left is empty.

    Args:
        languages: of each place, ascending. (C,)

    Returns:
        Tiles as in `Slice`, of which there are no more than places. (T, 3)
    """
    every = torch.arange(number, dtype=languages.dtype, device=languages.device)  # (L,)
    ends = torch.searchsorted(languages, every, right=True)  # (L,)
    sizes = ends.diff(prepend=ends.new_zeros(1))  # (L,)
    needed = (sizes + tile - 1) // tile  # (L,)
    through = needed.cumsum(0)  # the tile after the last of each language, (L,)
    most = (len(languages) + min(number, len(languages)) * (tile - 1)) // tile
    tiles = torch.arange(most, device=languages.device)  # (T,)
    language = torch.searchsorted(through, tiles, right=True).clamp(max=number - 1)  # (T,)
    # A language's first place, less the places of as many full tiles as lie before it.
    shift = ends - sizes - (through - needed) * tile  # (L,)
    stop = ends[language]  # (T,)
    first = torch.minimum(shift[language] + tiles * tile, stop)  # (T,)
    return torch.stack([first, torch.minimum(first + tile, stop), language], dim=1)


# Rows on the device, their languages there, and the same on the CPU; int16 holds `MOST_LANGUAGES`.
_Piece = tuple[torch.Tensor, torch.Tensor, np.ndarray]


def _held(device: torch.device, passages: torch.Tensor, languages: np.ndarray, size: int) -> Iterator[_Piece]:
    """Yield pieces of passages that are on the device already."""
    for first in range(0, len(passages), size):
        on_cpu = languages[first : first + size].astype(np.int16)
        yield passages[first : first + size], _pinned(on_cpu, device).to(device, non_blocking=True), on_cpu


def _brought(device: torch.device, passages: torch.Tensor, languages: np.ndarray, size: int) -> Iterator[_Piece]:
    """Yield pieces of passages that are brought to the device by a stream of their own."""
    copying, counting = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    pieces, copy = passages.split(size), _copier(passages)
    places = min(_PLACES, len(pieces))
    rows = torch.empty((places, size, passages.shape[1]), dtype=passages.dtype, device=device)
    numbers = torch.empty((places, size), dtype=torch.int16, device=device)
    ahead: deque[tuple[_Piece, torch.cuda.Event]] = deque()
    try:
        for turn in range(len(pieces) + _AHEAD):
            if turn < len(pieces):
                piece, on_cpu = pieces[turn], languages[turn * size : (turn + 1) * size].astype(np.int16)
                at = turn % places, slice(0, len(piece))
                # All that reads what is there has been launched, and must have ended before it is written over.
                copying.wait_stream(counting)
                with torch.cuda.stream(copying):
                    numbers[at].copy_(_pinned(on_cpu, device), non_blocking=True)
                    copy(rows[at], piece)
                    ahead.append(((rows[at], numbers[at], on_cpu), copying.record_event()))
            if turn >= _AHEAD:
                arrived, copied = ahead.popleft()
                counting.wait_event(copied)
                yield arrived
    finally:
        # Where the caller stops early, the memory may be given away, but not be used before the last copy has ended.
        counting.wait_stream(copying)


def _copier(passages: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], object]:
    """Return a function that copies rows of the passages to the device by the current stream."""
    if passages.is_cuda or (passages.is_pinned() and passages.is_contiguous()):
        return lambda target, rows: target.copy_(rows, non_blocking=True)
    return _Buffers(passages).copy


class _Buffers:
    """Pinned memory that other memory goes through: threads of the CPU fill a buffer while the bus empties others.

    The driver does so too where memory is not pinned, but at a tenth of the rate of the bus: 5.9 GB/s on an H200.
    """

    def __init__(self, passages: torch.Tensor) -> None:
        shape = max(1, min(len(passages), _BUFFER // _row_bytes(passages))), passages.shape[1]
        made = (torch.empty(shape, dtype=passages.dtype, pin_memory=True) for _ in range(_BUFFERS))
        self._rows, self._ring = shape[0], deque((buffer, torch.cuda.Event()) for buffer in made)

    def copy(self, target: torch.Tensor, rows: torch.Tensor) -> None:
        """Bring rows to the device by the current stream; wait only where every buffer is on its way there."""
        for part, given in zip(target.split(self._rows), rows.split(self._rows), strict=True):
            buffer, copied = self._ring[0]
            copied.synchronize()  # returns at once the first time
            part.copy_(buffer[: len(given)].copy_(given), non_blocking=True)
            copied.record()
            self._ring.rotate(-1)


def _row_bytes(passages: torch.Tensor) -> int:
    return max(1, passages.shape[1] * passages.element_size())
