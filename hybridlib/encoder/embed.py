"""Texts to embeddings: those of `encode_query` and `encode_document`, sooner.

Texts are tokenised a window at a time. A window is sorted by length in tokens and cut into batches of at most so many
tokens, padding included: so little of a batch is padding, and each is of the size that keeps the device busy, be its
texts long or short. Where the encoder is on a GPU, a thread tokenises the next windows meanwhile, as tokenizers release
Python's lock; texts travel to the device and embeddings back a window at a time, and nothing waits for a batch. On a
CPU the encoder needs every core itself, so nothing is done ahead.

Nothing but the encoder's own is used: its prompts, maximum length, modules and `truncate_dim`. In float32 embeddings
equal those of sentence-transformers but for rounding, and only rounding depends on the window. Encoders whose features
are not rows of tokens padded on the right, such as static ones, are asked to encode as ever.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, TypedDict

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import truncate_embeddings
from torch import Tensor
from tqdm.auto import tqdm

from hybridlib.encoder.tokens import cut_by_size, padded_right, padding_of
from hybridlib.encoder.windows import Window, in_order, tokenise_ahead

ROLES = ("query", "document")
PRECISIONS = ("float32", "bfloat16")

# Padded tokens of a batch: as many as stay in a processor's cache, and more than a GPU is done with before Python has
# launched the next batch.
_BATCH_TOKENS, _BATCH_TOKENS_OF_GPU = 2048, 32_768
_WINDOW = 4096  # texts
_TOKENISED_AHEAD = {"cuda": 2}  # windows, by the kind of device
_LAUNCHED_AHEAD = {"cuda": 1}
_STOCK_BATCH = 512  # texts


class EmbedOptions(TypedDict, total=False):
    """The options of `embed_texts` that its callers hand on."""

    batch_tokens: int | None
    precision: str | None


def embed_texts(
    encoder: SentenceTransformer,
    texts: Sequence[str],
    *,
    role: str = "document",
    batch_tokens: int | None = None,
    precision: str | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Embed texts.

    Args:
        encoder: any SentenceTransformer; it is put in evaluation mode, as by its own `encode`.
        texts: of any length, in any order.
        role: `query` or `document`, which says which prompt and method of the encoder to use.
        batch_tokens: at most so many tokens in a batch, padding included; a longer text is a batch of its own. Unless
            given, 2,048 on a CPU and 32,768 on a GPU.
        precision: of the matrix products, `float32` (or whatever the encoder's weights are) or `bfloat16`. Unless
            given, bfloat16 on a CUDA device that has it, if the weights are float32.
        progress: show a progress bar.

    Returns:
        The embeddings, float32. (texts, D)

    Raises:
        ValueError: an argument is out of range.

    >>> from hybridlib.training.starts import load_encoder
    >>> embed_texts(load_encoder("static"), ["Is Oslo in Norway?", "It is."], role="query").shape
    (2, 128)
    """
    windows = [texts[begin : begin + _WINDOW] for begin in range(0, len(texts), _WINDOW)]
    embedded = embed_chunks(encoder, windows or [[]], role=role, batch_tokens=batch_tokens, precision=precision)
    whole = None
    with tqdm(total=len(texts), desc="encode", unit="text", unit_scale=True, disable=not progress) as bar:
        for number, rows in enumerate(embedded):
            whole = np.empty((len(texts), rows.shape[1]), dtype=np.float32) if whole is None else whole
            whole[number * _WINDOW : number * _WINDOW + len(rows)] = rows
            bar.update(len(rows))
    assert whole is not None
    return whole


def embed_chunks(
    encoder: SentenceTransformer,
    chunks: Iterable[Sequence[str]],
    *,
    role: str = "document",
    batch_tokens: int | None = None,
    precision: str | None = None,
) -> Iterator[np.ndarray]:
    """Embed chunks of texts one after the other, each as `embed_texts` does.

    On a GPU, chunks are taken from `chunks` some windows before they are embedded, and the device embeds the next
    window while the caller works on a chunk; so the caller must not tokenise with the encoder meanwhile. Memory is that
    of some windows and of a chunk.

    Args:
        encoder, role, batch_tokens, precision: see `embed_texts`.
        chunks: texts, any number in each.

    Returns:
        The embeddings of each chunk. (texts of the chunk, D)

    Raises:
        ValueError: an argument is out of range.
    """
    if role not in ROLES:
        raise ValueError(f"role is {role!r}; allowed: {', '.join(ROLES)}")
    if batch_tokens is None:
        batch_tokens = _BATCH_TOKENS if encoder.device.type == "cpu" else _BATCH_TOKENS_OF_GPU
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}; allowed: 1 or more")
    half = precision_of(encoder, precision) == "bfloat16"
    preprocess = partial(encoder.preprocess, prompt=_prompt(encoder, role), task=role)
    if not _makes_rows(encoder, preprocess):
        return (_stock(encoder, texts, role) for texts in chunks)
    encoder.eval()
    lasts: deque[bool] = deque()  # of the windows that are under way, whether each is the last of its chunk
    windows = tokenise_ahead(preprocess, _cut_into_windows(chunks, lasts), _TOKENISED_AHEAD.get(encoder.device.type, 0))
    launches = (_launch(encoder, window, role, batch_tokens, half) for window in windows)
    return _join_windows(in_order(launches, _LAUNCHED_AHEAD.get(encoder.device.type, 0)), lasts)


def precision_of(encoder: SentenceTransformer, precision: str | None) -> str:
    """Return the precision of an encoder's matrix products, if `precision` is asked for.

    Raises:
        ValueError: there is no such precision.
    """
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}")
    if precision is not None:
        return precision
    able = encoder.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if able and all(weight.dtype == torch.float32 for weight in encoder.parameters()) else "float32"


def _prompt(encoder: SentenceTransformer, role: str) -> str | None:
    """Return the prompt that `encode_query` or `encode_document` chooses."""
    names = ("query",) if role == "query" else ("document", "passage", "corpus")
    known = [name for name in (*names, encoder.default_prompt_name) if name in encoder.prompts]
    return encoder.prompts[known[0]] if known else None


def _makes_rows(encoder: SentenceTransformer, preprocess: Callable[[list[str]], dict[str, Any]]) -> bool:
    return padded_right(preprocess(["a"])) and getattr(encoder.tokenizer, "padding_side", "right") == "right"


def _stock(encoder: SentenceTransformer, texts: Sequence[str], role: str) -> np.ndarray:
    """Embed texts by the encoder's own method. (texts, D)"""
    if not len(texts):
        return _no_embeddings(encoder)
    encode = encoder.encode_query if role == "query" else encoder.encode_document
    rows = encode(list(texts), batch_size=_STOCK_BATCH, show_progress_bar=False, convert_to_numpy=True)
    return np.asarray(rows, dtype=np.float32)


def _no_embeddings(encoder: SentenceTransformer) -> np.ndarray:
    return np.empty((0, encoder.get_embedding_dimension() or 0), dtype=np.float32)


def _cut_into_windows(chunks: Iterable[Sequence[str]], lasts: deque[bool]) -> Iterator[list[str]]:
    """Cut each chunk into windows; an empty chunk gives one empty window."""
    for texts in chunks:
        for begin in range(0, max(1, len(texts)), _WINDOW):
            lasts.append(begin + _WINDOW >= len(texts))
            yield list(texts[begin : begin + _WINDOW])


def _join_windows(windows: Iterable[np.ndarray], lasts: deque[bool]) -> Iterator[np.ndarray]:
    """Join the embeddings of windows to those of chunks."""
    rows = []
    for window in windows:
        rows.append(window)
        if lasts.popleft():
            yield rows[0] if len(rows) == 1 else np.concatenate(rows)
            rows = []


def _launch(
    encoder: SentenceTransformer, window: Window, role: str, batch_tokens: int, half: bool
) -> Callable[[], np.ndarray]:
    """Let the device embed a window, and return a function that waits for the embeddings."""
    tokens, device, padding = window.tokens, encoder.device, padding_of(encoder)
    if not len(tokens.lengths):
        return partial(_no_embeddings, encoder)
    values = {name: _send(value, device) for name, value in tokens.values.items()}
    lengths, back = _send(tokens.lengths, device), _send(np.argsort(window.place), device)  # (texts,), (texts,)
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
