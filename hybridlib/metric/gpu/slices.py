"""Slices of passages on a GPU, which come one by one, sorted by language and cut into tiles."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch


class Slice(NamedTuple):
    """Passages on the device, sorted by language."""

    rows: torch.Tensor  # (C, D)
    ends: torch.Tensor  # row after the last of each language, (L,)
    tiles: torch.Tensor  # first row, row after the last, and language; (T, 3)
    positions: torch.Tensor  # of each row in the corpus, (C,)


def slices_on(device: torch.device, passages: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield slices of `size` passages on the device, each with the number of its first row.

    Slices that are elsewhere are brought there by a stream of their own, each while the caller works on the one
    before. From pinned memory they come at the full rate of the bus.
    """
    slices = passages.split(size)
    starts = range(0, len(passages), size)
    if passages.device == device:
        yield from zip(slices, starts, strict=True)
        return
    copying, counting = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    ahead: list[tuple[torch.Tensor, int, torch.cuda.Event]] = []
    for rows, start in [*zip(slices, starts, strict=True), (None, 0)]:
        if rows is not None:
            with torch.cuda.stream(copying):
                ahead.append((rows.to(device, non_blocking=True), start, copying.record_event()))
        if len(ahead) == 2 or rows is None:
            arrived, first, copied = ahead.pop(0)
            counting.wait_event(copied)
            arrived.record_stream(counting)  # so that its memory is not given away while it is counted
            yield arrived, first


def sort_by_language(rows: torch.Tensor, languages: np.ndarray, first: int, number: int, tile: int) -> Slice:
    """Sort passages by language, which costs nothing where they are sorted, and cut them into tiles of one language.

    Args:
        rows: passages. (C, D)
        languages: of each passage, from 0 to `number - 1`. (C,)
        first: corpus position of the first passage.
        number: how many languages there are, L.
        tile: the most passages of a tile.
    """
    positions = torch.arange(first, first + len(rows), device=rows.device)
    if (languages[1:] < languages[:-1]).any():
        order = np.argsort(languages, kind="stable")
        languages, taken = languages[order], to_device(order, rows.device)
        rows, positions = rows[taken], positions[taken]
    ends = np.searchsorted(languages, np.arange(number), side="right")
    begins = [np.arange(left, right, tile) for left, right in itertools.pairwise([0, *ends])]
    language = np.repeat(np.arange(number), [len(part) for part in begins])
    tiles = np.column_stack([np.concatenate(begins), ends[language], language])
    return Slice(rows, to_device(ends, rows.device), to_device(tiles, rows.device), positions)


def to_device(table: np.ndarray, device: torch.device) -> torch.Tensor:
    """Bring a table of whole numbers to the device without waiting for the kernels that were launched there."""
    tensor = torch.from_numpy(np.ascontiguousarray(table, dtype=np.int64))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
