"""Embeddings of texts, equal to those of `encode_query` and `encode_document` but made sooner.

Texts are tokenised a window at a time. A window is sorted by length in tokens and cut into batches of at most so many
tokens, padding included. So little of a batch is padding, and each batch is of the size that keeps the device busy,
whether its texts are long or short. Where the encoder is on a GPU, a thread tokenises the next windows meanwhile, as
tokenizers release Python's lock. Texts travel to the device and embeddings back a window at a time, and nothing waits
for a batch. On a CPU the encoder needs every core itself, so nothing is done ahead.

Nothing but the encoder's own is used: its prompts (see `prompt_of`), maximum length, modules and `truncate_dim`. In
float32 embeddings equal those of sentence-transformers but for rounding, and only rounding depends on the window. Some
encoders make no rows of tokens padded on the right, such as static ones. They are asked by their own methods.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate, islice
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
from hybridlib.encoder.cuts import cut_by_size
from hybridlib.encoder.reading import Precision, check_device, fit_length, listed_texts, precision_of, prompt_of
from hybridlib.encoder.reading import cut_share as cut_share
from hybridlib.encoder.tokens import Tokens, end_to_end, padded_right, padding_of, texts_of
from hybridlib.names import Role

# The most tokens of a batch, padding included. On a CPU they stay in the cache; a GPU is not done with them before
# Python has launched the next batch.
_BATCH_TOKENS, _BATCH_TOKENS_OF_GPU = 2048, 32_768
_WINDOW = 4096  # texts
_PIECE = 256  # texts tokenised in one call, whose padding is thrown away
_TOKENISED_AHEAD = {"cuda": 2}  # windows, by the kind of device
_LAUNCHED_AHEAD = {"cuda": 1}
_STOCK_BATCH = 512  # texts

Preprocess = Callable[[list[str]], dict[str, Any]]
Window = tuple[Tokens, np.ndarray]  # the longest text first, and where each was before it was sorted (texts,)


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
            it is 2,048 on a CPU and 32,768 on a GPU.
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
    windows = [texts[begin : begin + _WINDOW] for begin in range(0, len(texts), _WINDOW)]
    embedded = _embed(encoder, windows or [[]], role, batch_tokens, precision)
    whole = None
    with tqdm(total=len(texts), desc="encode", unit="text", unit_scale=True, disable=not progress) as bar:
        for number, rows in enumerate(embedded):
            whole = np.empty((len(texts), rows.shape[1]), dtype=np.float32) if whole is None else whole
            whole[number * _WINDOW : number * _WINDOW + len(rows)] = rows
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
    return _embed(encoder, listed, role, batch_tokens, precision)


def _embed(
    encoder: SentenceTransformer,
    chunks: Iterable[list[str]],
    role: Role,
    batch_tokens: int | None,
    precision: Precision | None,
) -> Iterator[np.ndarray]:
    """Yield the embeddings of each chunk. (texts of the chunk, D)"""
    check_device(encoder)
    fit_length(encoder)
    kind = encoder.device.type
    if batch_tokens is None:
        batch_tokens = _BATCH_TOKENS if kind == "cpu" else _BATCH_TOKENS_OF_GPU
    half = precision_of(encoder, precision) == "bfloat16"
    preprocess = partial(encoder.preprocess, prompt=prompt_of(encoder, role), task=role)
    if not _makes_rows(encoder, preprocess):
        return (_stock(encoder, texts, role) for texts in chunks)
    encoder.eval()
    numbers: deque[int] = deque()  # of the windows of each chunk that is under way
    windows = _tokenise_ahead(preprocess, _cut_into_windows(chunks, numbers), _TOKENISED_AHEAD.get(kind, 0))
    launches = (_launch(encoder, *window, role, batch_tokens, half) for window in windows)
    return _join_windows(_in_order(launches, _LAUNCHED_AHEAD.get(kind, 0)), numbers)


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


def _cut_into_windows(chunks: Iterable[Sequence[str]], numbers: deque[int]) -> Iterator[list[str]]:
    """Cut each chunk into windows, and note their number; an empty chunk gives one empty window."""
    for texts in chunks:
        begins = range(0, max(1, len(texts)), _WINDOW)
        numbers.append(len(begins))
        yield from (list(texts[begin : begin + _WINDOW]) for begin in begins)


def _join_windows(windows: Iterator[np.ndarray], numbers: deque[int]) -> Iterator[np.ndarray]:
    """Join the embeddings of windows to those of chunks."""
    for first in windows:
        others = [*islice(windows, numbers.popleft() - 1)]
        yield np.concatenate([first, *others]) if others else first


def _in_order(waits: Iterable[Callable[[], Any]], ahead: int) -> Iterator[Any]:
    """Yield results; taking a wait launches work, calling it waits for the result, and `ahead` are in flight."""
    waiting: deque[Callable[[], Any]] = deque()
    for wait in waits:
        waiting.append(wait)
        if len(waiting) > ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def _tokenise_ahead(preprocess: Preprocess, windows: Iterable[list[str]], ahead: int) -> Iterator[Window]:
    """Yield windows as tokens, while a thread tokenises so many ahead; 0 is no thread."""
    tokenise = partial(_tokenise, preprocess)
    with ThreadPoolExecutor(1) as thread:
        launches = (thread.submit(tokenise, texts).result if ahead else partial(tokenise, texts) for texts in windows)
        yield from _in_order(launches, ahead)


def _tokenise(preprocess: Preprocess, texts: list[str]) -> Window:
    by_characters = np.argsort([-len(text) for text in texts], kind="stable")  # so that little is padded here
    rows: list[dict[str, np.ndarray]] = []
    common: dict[str, Any] = {}
    for begin in range(0, len(texts), _PIECE):
        tokens = end_to_end(preprocess([texts[place] for place in by_characters[begin : begin + _PIECE]]))
        assert tokens is not None and tokens.padded
        rows += texts_of(tokens)
        common = tokens.common
    lengths = np.array([len(row["input_ids"]) for row in rows], dtype=np.int64)  # (texts,)
    order = np.argsort(-lengths, kind="stable")
    values = {name: np.concatenate([rows[place][name] for place in order]) for row in rows[:1] for name in row}
    return Tokens(values, lengths[order], common, True), by_characters[order]


def _launch(
    encoder: SentenceTransformer, tokens: Tokens, place: np.ndarray, role: Role, batch_tokens: int, half: bool
) -> Callable[[], np.ndarray]:
    """Let the device embed a window, and return a function that waits for the embeddings."""
    device, padding = encoder.device, padding_of(encoder)
    if not len(tokens.lengths):
        return partial(_stock, encoder, [], role)
    values = {name: _send(value, device) for name, value in tokens.values.items()}
    lengths, back = _send(tokens.lengths, device), _send(np.argsort(place), device)  # (texts,), (texts,)
    ends = [0, *accumulate(tokens.lengths.tolist())]  # where the tokens of each text begin and end
    parts = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for begin, end in cut_by_size(tokens.lengths, batch_tokens):
            width = max(1, int(tokens.lengths[begin]))
            there = torch.arange(width, device=device) < lengths[begin:end, None]  # (B, T)
            features: dict[str, Any] = {"attention_mask": there.long(), **tokens.common}
            for name, value in values.items():
                blank = torch.full(there.shape, padding.get(name, 0), device=device)  # (B, T)
                features[name] = blank.masked_scatter_(there, value[ends[begin] : ends[end]].long())
            embedded = encoder(features, task=role)["sentence_embedding"]  # (B, D)
            parts.append(truncate_embeddings(embedded, encoder.truncate_dim).float())
        rows = torch.cat(parts)[back]  # (texts, D)
        if device.type != "cuda":
            return rows.cpu().numpy
        copied = rows.to("cpu", non_blocking=True)  # into pinned memory
    copying = torch.cuda.current_stream(device).record_event()

    def wait() -> np.ndarray:
        copying.synchronize()
        return copied.numpy()

    return wait


def _send(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
