"""Embeddings of texts, equal to those of `encode_query` and `encode_document` but made sooner.

Texts are tokenised a window at a time, by the tokenizer itself where that gives the tokens of `preprocess` (see
`hybridlib.encoder.windows`). A window is sorted by length in tokens and cut into batches which cost the least: padded
tokens, and what a batch costs however small it is. Where the encoder is on a GPU, a thread tokenises the next windows
meanwhile, as tokenizers release Python's lock, and the first windows are small so that the device begins at once.
Tokens travel to the device and embeddings back a window at a time. Nothing here waits for a batch; transformers' own
code asks the device once a batch whether any token is padding. On a CPU the encoder needs every core itself, so nothing
is done ahead.

Nothing but the encoder's own is used: its prompts (see `prompt_of`), maximum length, modules and `truncate_dim`. In
float32 embeddings equal those of sentence-transformers but for rounding, and only rounding depends on the window. In
bfloat16 matrices are cast once for a call (see `hybridlib.encoder.halved`). Some encoders make no rows of tokens padded
on the right, such as static ones, or those that need no padding because of flash attention. They embed by their own
methods.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice, repeat
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import ConfigDict, SkipValidation, with_config
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import truncate_embeddings
from torch import Tensor
from tqdm.auto import tqdm
from typing_extensions import TypedDict

from hybridlib.arguments import Count, checked
from hybridlib.encoder.halved import halved
from hybridlib.encoder.reading import Precision, check_device, fit_length, listed_texts, precision_of, prompt_of
from hybridlib.encoder.tokens import padded_right
from hybridlib.encoder.windows import Preprocess, Reader, Window
from hybridlib.names import Role

_WINDOW = 4096  # texts
_FIRST_WINDOWS = {"cuda": (1024, 2048)}  # texts, by the kind of device
_TOKENISED_AHEAD = {"cuda": 2}  # windows, by the kind of device
_LAUNCHED_AHEAD = {"cuda": 1}
_STOCK_BATCH = 512  # texts


@with_config(ConfigDict(extra="forbid", strict=True))
class EmbedOptions(TypedDict, total=False):
    """The options of `embed_texts` that its callers hand on."""

    batch_tokens: Count | None
    precision: Precision | None


@checked
def embed_texts(
    encoder: SentenceTransformer,
    texts: Annotated[Sequence[str] | str, SkipValidation],
    *,
    role: Role = "document",
    batch_tokens: Count | None = None,
    precision: Precision | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Embed texts.

    Args:
        encoder: any SentenceTransformer; it is put in evaluation mode, as by its own `encode`.
        texts: of any length, in any order; a text alone is one.
        role: `query` or `document`, which says which prompt and method of the encoder to use.
        batch_tokens: the most tokens in a batch, padding included; a longer text is a batch of its own. Unless given,
            it is 2,048 on a CPU. On a GPU it is 32,768 if the encoder is 768 wide, and more the narrower it is.
        precision: the type of the matrix products, `float32` (or whatever the encoder's weights are) or `bfloat16`.
            Unless given, it is bfloat16 on a CUDA device that has it, if the weights are float32.
        progress: show a progress bar.

    Returns:
        The embeddings, float32. (texts, D)

    Raises:
        ValueError: an argument is of the wrong type or out of range, or a text is none; the message names its row.

    >>> from hybridlib.training.starts import load_encoder
    >>> embed_texts(load_encoder("static"), ["Is Oslo in Norway?", "It is."], role="query").shape
    (2, 128)
    """
    texts = listed_texts(texts, "texts")
    embedded = _embed(encoder, _cut(texts, _sizes(encoder)), role, batch_tokens, precision)
    whole, begin = None, 0
    with tqdm(total=len(texts), desc="encode", unit="text", unit_scale=True, disable=not progress) as bar:
        for rows in embedded:
            whole = np.empty((len(texts), rows.shape[1]), dtype=np.float32) if whole is None else whole
            whole[begin : begin + len(rows)] = rows
            begin += len(rows)
            bar.update(len(rows))
    assert whole is not None
    return whole


@checked
def embed_chunks(
    encoder: SentenceTransformer,
    chunks: Annotated[Iterable[Sequence[str]], SkipValidation],
    *,
    role: Role = "document",
    batch_tokens: Count | None = None,
    precision: Precision | None = None,
) -> Iterator[np.ndarray]:
    """Embed chunks of texts one after the other, each as `embed_texts` does.

    On a GPU, chunks are taken from `chunks` some windows before they are embedded, and the device embeds the next
    window while the caller works on a chunk. So the caller must not tokenise with the encoder meanwhile. Memory holds
    some windows and a chunk.

    Args:
        encoder, role, batch_tokens, precision: see `embed_texts`.
        chunks: texts, any number in each.

    Returns:
        The embeddings of each chunk. (texts of the chunk, D)

    Raises:
        ValueError: an argument is of the wrong type or out of range, or a text is none; the message names its row.
    """
    listed = (listed_texts(texts, f"chunk {number} of texts") for number, texts in enumerate(chunks))
    sizes, numbers = _sizes(encoder), deque[int]()  # numbers: of the windows of each chunk that is under way

    def windows() -> Iterator[list[str]]:
        for texts in listed:
            own = [*_cut(texts, sizes)]
            numbers.append(len(own))
            yield from own

    return _join_windows(_embed(encoder, windows(), role, batch_tokens, precision), numbers)


def _embed(
    encoder: SentenceTransformer,
    windows: Iterable[list[str]],
    role: Role,
    batch_tokens: int | None,
    precision: Precision | None,
) -> Iterator[np.ndarray]:
    """Yield the embeddings of each window. (texts of the window, D)"""
    check_device(encoder)
    fit_length(encoder)
    kind = encoder.device.type
    preprocess = partial(encoder.preprocess, prompt=prompt_of(encoder, role), task=role)
    if not _makes_rows(encoder, preprocess):
        return (_stock(encoder, texts, role) for texts in windows)
    encoder.eval()
    reader = Reader(encoder, preprocess, role, batch_tokens)
    half = precision_of(encoder, precision) == "bfloat16"
    model = halved(encoder) if half else encoder
    read = _read_ahead(reader, windows, _TOKENISED_AHEAD.get(kind, 0))
    launches = (_launch(model, window, role, half) for window in read)
    return _in_order(launches, _LAUNCHED_AHEAD.get(kind, 0))


def _makes_rows(encoder: SentenceTransformer, preprocess: Preprocess) -> bool:
    tokenizer = getattr(encoder[0], "tokenizer", None)
    return padded_right(preprocess(["a"])) and getattr(tokenizer, "padding_side", "right") == "right"


def _stock(encoder: SentenceTransformer, texts: Sequence[str], role: Role) -> np.ndarray:
    """Embed texts by the encoder's own method. (texts, D)"""
    if not len(texts):
        return np.empty((0, encoder.get_embedding_dimension() or 0), dtype=np.float32)
    encode = encoder.encode_query if role == "query" else encoder.encode_document
    options: dict[str, Any] = {"batch_size": _STOCK_BATCH, "show_progress_bar": False, "convert_to_numpy": True}
    rows: Any = encode(list(texts), prompt=prompt_of(encoder, role), **options)
    return np.asarray(rows, dtype=np.float32)


def _sizes(encoder: SentenceTransformer) -> Iterator[int]:
    """Yield the number of texts of each window; on a GPU the first are small, so that it begins at once."""
    return chain((min(size, _WINDOW) for size in _FIRST_WINDOWS.get(encoder.device.type, ())), repeat(_WINDOW))


def _cut(texts: list[str], sizes: Iterator[int]) -> Iterator[list[str]]:
    """Cut texts into windows; no text gives one empty window."""
    begin = 0
    while begin < max(1, len(texts)):
        size = next(sizes)
        yield texts[begin : begin + size]
        begin += size


def _join_windows(windows: Iterator[np.ndarray], numbers: deque[int]) -> Iterator[np.ndarray]:
    """Join the embeddings of windows to those of chunks."""
    for first in windows:
        others = [*islice(windows, numbers.popleft() - 1)]
        yield np.concatenate([first, *others]) if others else first


def _in_order(waits: Iterable[Callable[[], Any]], ahead: int) -> Iterator[Any]:
    """Yield the results of work, of which so many pieces are launched ahead.

    Args:
        waits: functions that wait for a result. The work is launched when its function is taken from here.
        ahead: how many results are not yet waited for when the next work is launched.
    """
    waiting: deque[Callable[[], Any]] = deque()
    for wait in waits:
        waiting.append(wait)
        if len(waiting) > ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def _read_ahead(reader: Reader, windows: Iterable[list[str]], ahead: int) -> Iterator[Window]:
    """Yield windows as tokens, while a thread tokenises so many ahead; 0 is no thread."""
    with ThreadPoolExecutor(1) as thread:
        launches = (thread.submit(reader, texts).result if ahead else partial(reader, texts) for texts in windows)
        yield from _in_order(launches, ahead)


def _launch(encoder: SentenceTransformer, window: Window, role: Role, half: bool) -> Callable[[], np.ndarray]:
    """Let the device embed a window, and return a function that waits for the embeddings."""
    device = encoder.device
    if not window.shapes:
        return partial(_stock, encoder, [], role)
    values = {name: _send(value, device) for name, value in window.features.items()}  # (padded tokens,) each
    back = _send(window.rows, device)  # (texts,)
    parts, begin = [], 0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for texts, width in window.shapes:
            own = slice(begin, begin + texts * width)
            features: dict[str, Any] = {name: value[own].view(texts, width) for name, value in values.items()}  # (B, T)
            embedded = encoder(features | window.common, task=role)["sentence_embedding"]  # (B, D)
            parts.append(truncate_embeddings(embedded, encoder.truncate_dim).float())
            begin = own.stop
        rows = on_its_way(torch.cat(parts)[back])  # (texts, D)
    return lambda: rows().cpu().numpy()


def on_its_way(values: Tensor) -> Callable[[], Tensor]:
    """Send values of a GPU to the CPU, and return a function that waits for them, but not for what is launched later.

    Values of any other device stay there.
    """
    if values.device.type != "cuda":
        return lambda: values
    copied = values.to("cpu", non_blocking=True)  # into pinned memory
    copying = torch.cuda.current_stream(values.device).record_event()

    def wait() -> Tensor:
        copying.synchronize()
        return copied

    return wait


def _send(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
