"""Windows of texts as tokens: sorted by length, without padding, made ahead of what works on them.

A window is what is sorted and sent to a device at once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hybridlib.encoder.tokens import Tokens, end_to_end, texts_of

_PIECE = 256  # texts tokenised in one call, whose padding is thrown away

Preprocess = Callable[[list[str]], dict[str, Any]]
Result = TypeVar("Result")


class Window(NamedTuple):
    """Texts as tokens, the longest text first."""

    tokens: Tokens
    place: np.ndarray  # where each text was before it was sorted (texts,)


def tokenise_ahead(preprocess: Preprocess, windows: Iterable[list[str]], ahead: int) -> Iterator[Window]:
    """Yield windows of texts as tokens.

    Args:
        preprocess: makes rows of tokens that are padded on the right.
        windows: texts; taken as many windows before they are asked for as `ahead` says.
        ahead: windows that a thread tokenises while the caller works on one; 0 is no thread.
    """
    if not ahead:
        yield from (_tokenise(preprocess, texts) for texts in windows)
        return
    with ThreadPoolExecutor(1) as thread:
        yield from in_order((thread.submit(_tokenise, preprocess, texts).result for texts in windows), ahead)


def in_order(waits: Iterable[Callable[[], Result]], ahead: int) -> Iterator[Result]:
    """Yield results in launch order, keeping `ahead` launches in flight.

    Args:
        waits: taking one launches work, and calling it waits for the result.
        ahead: launches.
    """
    waiting: deque[Callable[[], Result]] = deque()
    for wait in waits:
        waiting.append(wait)
        if len(waiting) > ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def _tokenise(preprocess: Preprocess, texts: list[str]) -> Window:
    if not texts:
        return Window(Tokens({}, np.empty(0, dtype=np.int64), {}, True), np.empty(0, dtype=np.int64))
    # Sorted by characters first, so that little is padded here.
    by_characters = np.argsort([-len(text) for text in texts], kind="stable")
    rows: list[dict[str, np.ndarray]] = []
    common: dict[str, Any] = {}
    for begin in range(0, len(texts), _PIECE):
        tokens = end_to_end(preprocess([texts[place] for place in by_characters[begin : begin + _PIECE]]))
        assert tokens is not None and tokens.padded
        rows += texts_of(tokens)
        common = tokens.common
    lengths = np.array([len(row["input_ids"]) for row in rows])  # (texts,)
    order = np.argsort(-lengths, kind="stable")
    values = {name: np.concatenate([rows[place][name] for place in order]) for name in rows[0]}
    return Window(Tokens(values, lengths[order], common, True), by_characters[order])
