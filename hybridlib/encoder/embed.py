"""Texts become embeddings: those of `encode_query` and `encode_document`, sooner.

Texts are tokenised a window at a time, in worker processes where the encoder is on a GPU, which computes meanwhile. A
window is sorted by length in tokens and cut into batches of at most so many tokens, padding included: so little of a
batch is padding, and each is of the size that keeps the device busy, be its texts long or short. Texts travel to the
device and embeddings back a window at a time, and nothing waits for a batch.

Nothing but the encoder's own is used: its prompts, maximum length, modules and `truncate_dim`. In float32 embeddings
equal those of sentence-transformers but for rounding; they depend on the window only as far as rounding does, and on
nothing else, such as workers. Encoders whose features are not rows of tokens padded on the right, such as static ones,
are asked to encode as ever.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, TypedDict

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import truncate_embeddings
from torch import Tensor
from tqdm.auto import tqdm

from hybridlib.encoder.tokens import padded_right, padding_of
from hybridlib.encoder.windows import Window, tokenise

ROLES = ("query", "document")
PRECISIONS = ("float32", "bfloat16")

# Padded tokens of a batch: as many as stay in a processor's cache, and more than a GPU is done with before Python has
# launched the next batch.
_BATCH_TOKENS, _BATCH_TOKENS_OF_GPU = 2048, 32_768
_WINDOW = 4096  # texts
_WORKERS = 8  # at most
_STOCK_BATCH = 512  # texts


class EmbedOptions(TypedDict, total=False):
    """How an encoder is asked to embed; see `embed_texts`."""

    batch_tokens: int | None
    precision: str | None


def embed_texts(
    encoder: SentenceTransformer,
    texts: Sequence[str],
    *,
    role: str = "document",
    batch_tokens: int | None = None,
    precision: str | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> np.ndarray:
    """Embed texts.

    Args:
        encoder: any SentenceTransformer; it is put in evaluation mode, as by its own `encode`.
        texts: of any length, in any order.
        role: `query` or `document`: of which method of the encoder the embeddings are.
        batch_tokens: of a batch, padding included; a longer text is a batch of its own. Unless given, 2,048 on a CPU
            and 32,768 on a GPU.
        precision: of the matrix products, `float32` (or whatever the encoder's weights are) or `bfloat16`. Unless
            given, bfloat16 on a CUDA device that has it, if the weights are float32.
        workers: processes that tokenise beside this one. Unless given, several for many texts on CUDA, else none, as
            cores are busy with the encoder.
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
    made = None
    workers = workers_for(encoder, len(texts)) if workers is None else workers
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "precision": precision, "workers": workers}
    embedded = embed_chunks(encoder, windows or [[]], role=role, **options)
    with tqdm(total=len(texts), desc="encode", unit="text", unit_scale=True, disable=not progress) as bar:
        for number, rows in enumerate(embedded):
            made = np.empty((len(texts), rows.shape[1]), dtype=np.float32) if made is None else made
            made[number * _WINDOW : number * _WINDOW + len(rows)] = rows
            bar.update(len(rows))
    assert made is not None
    return made


def embed_chunks(
    encoder: SentenceTransformer,
    chunks: Iterable[Sequence[str]],
    *,
    role: str = "document",
    batch_tokens: int | None = None,
    precision: str | None = None,
    workers: int = 0,
) -> Iterator[np.ndarray]:
    """Embed chunks of texts one after the other, as `embed_texts` would embed each.

    With workers, chunks are taken from `chunks` some windows before they are embedded, so that what follows is
    tokenised while the encoder computes; on CUDA, it computes the next window while the caller works on a chunk. Memory
    is that of some windows and of a chunk.

    Args:
        encoder, role, batch_tokens, precision: as of `embed_texts`.
        chunks: texts, any number in each.
        workers: processes that tokenise.

    Returns:
        The embeddings of each chunk. (texts of the chunk, D)
    """
    if role not in ROLES:
        raise ValueError(f"role is {role!r}; allowed: {', '.join(ROLES)}")
    if batch_tokens is None:
        batch_tokens = _BATCH_TOKENS if encoder.device.type == "cpu" else _BATCH_TOKENS_OF_GPU
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}; allowed: 1 or more")
    if workers < 0:
        raise ValueError(f"workers is {workers}; allowed: 0 or more")
    half = precision_of(encoder, precision) == "bfloat16"
    asked = {"prompt": _prompt(encoder, role), "task": role}
    if not _has_rows(encoder, asked):
        return (_stock(encoder, texts, role) for texts in chunks)
    encoder.eval()
    ends: deque[bool] = deque()  # of the windows that are under way, whether each is the last of its chunk
    windows = tokenise(encoder, _cut(chunks, ends), workers, **asked)
    launched = (_launch(encoder, window, role, batch_tokens, half) for window in windows)
    return _put_together(_in_flight(launched, 1 if encoder.device.type == "cuda" else 0), ends)


def precision_of(encoder: SentenceTransformer, precision: str | None) -> str:
    """The precision of an encoder's matrix products, if `precision` is asked for.

    Raises:
        ValueError: there is no such precision.
    """
    if precision is not None and precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; allowed: {', '.join(PRECISIONS)}")
    if precision is not None:
        return precision
    able = encoder.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if able and all(weight.dtype == torch.float32 for weight in encoder.parameters()) else "float32"


def workers_for(encoder: SentenceTransformer, texts: int) -> int:
    """How many processes are to tokenise so many texts."""
    if encoder.device.type != "cuda" or texts <= _WINDOW:
        return 0
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes that torchrun has started on this machine
    return min(_WORKERS, -(-texts // _WINDOW), max(1, (os.cpu_count() or 1) // beside - 1))


def _prompt(encoder: SentenceTransformer, role: str) -> str | None:
    """As `encode_query` and `encode_document` choose it."""
    names = ("query",) if role == "query" else ("document", "passage", "corpus")
    known = [name for name in (*names, encoder.default_prompt_name) if name in encoder.prompts]
    return encoder.prompts[known[0]] if known else None


def _has_rows(encoder: SentenceTransformer, asked: dict[str, Any]) -> bool:
    features = encoder.preprocess(["a"], **asked)
    return padded_right(features) and getattr(encoder.tokenizer, "padding_side", "right") == "right"


def _stock(encoder: SentenceTransformer, texts: Sequence[str], role: str) -> np.ndarray:
    """The embeddings that the encoder's own method gives. (texts, D)"""
    if not len(texts):
        return _nothing(encoder)
    encode = encoder.encode_query if role == "query" else encoder.encode_document
    made = encode(list(texts), batch_size=_STOCK_BATCH, show_progress_bar=False, convert_to_numpy=True)
    return np.asarray(made, dtype=np.float32)


def _nothing(encoder: SentenceTransformer) -> np.ndarray:
    return np.empty((0, encoder.get_embedding_dimension() or 0), dtype=np.float32)


def _cut(chunks: Iterable[Sequence[str]], ends: deque[bool]) -> Iterator[list[str]]:
    """The windows of every chunk, one of no text for a chunk of none."""
    for texts in chunks:
        for begin in range(0, max(1, len(texts)), _WINDOW):
            ends.append(begin + _WINDOW >= len(texts))
            yield list(texts[begin : begin + _WINDOW])


def _put_together(windows: Iterable[np.ndarray], ends: deque[bool]) -> Iterator[np.ndarray]:
    """The embeddings of windows, chunk by chunk."""
    rows = []
    for window in windows:
        rows.append(window)
        if ends.popleft():
            yield rows[0] if len(rows) == 1 else np.concatenate(rows)
            rows = []


def _launch(
    encoder: SentenceTransformer, window: Window, role: str, batch_tokens: int, half: bool
) -> Callable[[], np.ndarray]:
    """Let the device embed a window, and return what waits for the embeddings."""
    if not len(window.lengths):
        return lambda: _nothing(encoder)
    device, padding = encoder.device, padding_of(encoder)
    values = {name: _send(value, device) for name, value in window.values.items()}
    lengths, back = _send(window.lengths, device), _send(np.argsort(window.place), device)  # (texts,), (texts,)
    ends = [0, *accumulate(window.lengths.tolist())]  # where the tokens of each text begin and end
    parts = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for begin, end in _batches(window.lengths, batch_tokens):
            there = torch.arange(max(1, int(window.lengths[begin])), device=device) < lengths[begin:end, None]  # (B, T)
            features: dict[str, Any] = {"attention_mask": there.long(), **window.common}
            for name, value in values.items():
                blank = torch.full(there.shape, padding.get(name, 0), device=device)  # (B, T)
                features[name] = blank.masked_scatter_(there, value[ends[begin] : ends[end]].long())
            embedded = encoder(features, task=role)["sentence_embedding"]  # (B, D)
            parts.append(truncate_embeddings(embedded, encoder.truncate_dim).float())
        made = torch.cat(parts)[back]  # (texts, D)
        if device.type != "cuda":
            return made.cpu().numpy
        here = made.to("cpu", non_blocking=True)  # into pinned memory
    event = torch.cuda.current_stream(device).record_event()
    return lambda: (event.synchronize(), here.numpy())[1]


def _send(array: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[tuple[int, int]]:
    """Where batches of at most so many tokens begin and end, of texts that are sorted, the longest first.

    >>> list(_batches(np.array([9, 4, 4, 3, 1, 0]), 8))
    [(0, 1), (1, 3), (3, 5), (5, 6)]
    """
    begin = 0
    while begin < len(lengths):
        end = min(len(lengths), begin + max(1, batch_tokens // max(1, int(lengths[begin]))))
        yield begin, end
        begin = end


def _in_flight(launched: Iterable[Callable[[], np.ndarray]], ahead: int) -> Iterator[np.ndarray]:
    """What was launched, when so many more have been."""
    waiting: deque[Callable[[], np.ndarray]] = deque()
    for one in launched:
        waiting.append(one)
        if len(waiting) > ahead:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()
