"""Windows of texts as tokens: sorted by length, without padding, made ahead of what works on them.

A window is what is sorted and sent at once. It is made in worker processes, if there are any, which are forked, so that
they have the encoder's tokenizer without its being sent to them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch.utils.data import DataLoader, Dataset

from hybridlib.encoder.tokens import is_by_token, padded_right

_PIECE = 256  # texts tokenised in one call, whose padding is thrown away


class Window(NamedTuple):
    """Texts as tokens end to end, the longest text first. Arrays and not tensors, which would reach this process in
    shared memory, of which containers have little.
    """

    values: dict[str, np.ndarray]  # (tokens,) each
    lengths: np.ndarray  # (texts,)
    place: np.ndarray  # where each text was before it was sorted (texts,)
    common: dict[str, Any]  # what is not by token


def tokenise(
    encoder: SentenceTransformer, windows: Iterator[list[str]], workers: int, **asked: Any
) -> Iterator[Window]:
    """Tokenise windows of texts as an encoder does that pads on the right.

    Args:
        encoder: its `preprocess` is used.
        windows: texts; taken two windows a worker ahead of what is asked for.
        workers: processes that tokenise; 0 is this one.
        asked: further arguments of `preprocess`.

    Returns:
        The windows in their order. Nothing is taken from `windows` before the first is asked for.
    """
    loader = DataLoader(
        _Tokenizing(encoder, asked),
        sampler=windows,
        batch_size=None,
        num_workers=workers,
        collate_fn=_unchanged,  # type: ignore[arg-type]
        multiprocessing_context="fork" if workers else None,  # the encoder is there, and is not sent
        generator=torch.Generator(),  # else it draws a seed from the global one
    )
    with _serial_tokenizers():
        loaded = iter(loader)
    yield from loaded


class _Tokenizing(Dataset):
    """Tokenises windows; what is asked for is not a number of one but its texts."""

    def __init__(self, encoder: SentenceTransformer, asked: dict[str, Any]) -> None:
        self._preprocess, self._asked = encoder.preprocess, asked

    def __getitem__(self, texts: list[str]) -> Window:
        if not texts:
            return Window({}, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), {})
        # Sorted by characters first, so that little is padded here.
        by_characters = np.argsort([-len(text) for text in texts], kind="stable")
        pieces: list[dict[str, np.ndarray]] = []
        for begin in range(0, len(texts), _PIECE):
            piece = [texts[place] for place in by_characters[begin : begin + _PIECE]]
            features = self._preprocess(piece, **self._asked)
            mask = features["attention_mask"]  # (piece, T)
            assert padded_right(features)
            by_token = {name: value for name, value in features.items() if is_by_token(value, mask)}
            pieces.append({name: value[mask.bool()].int().numpy() for name, value in by_token.items()})
            pieces[-1]["attention_mask"] = mask.sum(dim=1).numpy()
        values = {name: np.concatenate([one[name] for one in pieces]) for name in pieces[0]}
        lengths = values.pop("attention_mask")  # (texts,)
        order = np.argsort(-lengths, kind="stable")
        taken = _ranges(np.cumsum(lengths) - lengths, lengths, order)
        common = {name: value for name, value in features.items() if name not in by_token}
        values = {name: value[taken] for name, value in values.items()}
        return Window(values, lengths[order], by_characters[order], common)


def _ranges(starts: np.ndarray, lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The numbers from each start on, as many as its length says, in another order of the starts.

    >>> _ranges(np.array([0, 2]), np.array([2, 3]), np.array([1, 0]))
    array([2, 3, 4, 0, 1])
    """
    lengths = lengths[order]
    return np.repeat(starts[order] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())


def _unchanged(window: Window) -> Window:
    return window


@contextmanager
def _serial_tokenizers() -> Iterator[None]:
    """Processes that are started here tokenise with a thread each, of which the tokenizers would else warn."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
