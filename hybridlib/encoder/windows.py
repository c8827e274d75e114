"""Windows of texts as the tokens of batches, made by the encoder's own tokenizer.

The encoder's `preprocess` takes longer to make lists and tensors of tokens than its tokenizer takes to find them, and
holds Python's lock. So the tokenizer is called directly, through a copy that shares its model alone, where that gives
the same tokens for some texts that are hard to tokenise. An encoder with a `preprocess` of its own, such as one that
keeps tokens, is always asked through it.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from tokenizers import Tokenizer

from hybridlib.encoder.cuts import cut_by_size
from hybridlib.encoder.reading import limit_of, prompt_of
from hybridlib.encoder.tokens import Tokens, end_to_end, padding_of, texts_of
from hybridlib.names import Role

# The most tokens of a batch, padding included, and what a batch costs however small it is, in tokens. On a CPU tokens
# stay in the cache, and a pass of all-MiniLM-L6-v2 costs 15 to 30 tokens on one core besides its own.
_BATCH_TOKENS, _OVERHEAD = 2048, 64
# The same on a GPU, times the width of the Transformer, as a token takes the longer the wider it is. This is reckoned,
# not measured. Python launches a pass of 12 layers in some 3 ms. At half the speed of its products, an H200 takes 1.5
# million tokens of XLM-R base a second, 768 wide: 4,500 tokens in that time. Batches must be larger, as the device
# waits otherwise. Where they are, one more costs what 300 kernels take to begin and to end, some 1.4 ms.
_BATCH_NUMBERS_OF_GPU, _OVERHEAD_OF_GPU = 32_768 * 768, 2048 * 768
_PIECE = 256  # texts given to `preprocess` in one call, whose padding is thrown away
_LONGEST = 10_000  # words of a text that is to be cut
_HARD = (
    *("", " ", "  two  spaces ", "\t\n", "line\r\nline", "a", "Is Oslo in Norway?", "don't  STOP-now... (3.14%)"),
    *("naïve café ﬁ Ⅳ", "e\u0301 \u200b\u00a0\ufeff", "Ελληνικά и кириллица", "هل هذا نص عربي؟", "क्या यह हिन्दी है?"),
    *("这是中文吗？", "日本語のテキスト", "ข้อความภาษาไทย", "한국어 텍스트", "👩‍👩‍👧 🏳️‍🌈 😀", "x" * 300),
    *("[CLS] a [SEP] b [PAD] [MASK] [UNK]", "<s> a </s> <pad> <mask> <unk>", "<|endoftext|> <bos><eos>"),
    *("##a ▁b Ġc", "https://a.org/b?c=d&e=%20#f"),
)
# The names that a tokenizer gives to what an encoder calls by these.
_NAMES = {"input_ids": "ids", "token_type_ids": "type_ids"}

Preprocess = Callable[[list[str]], dict[str, Any]]
Tokenise = Callable[[Sequence[str]], Tokens]


class Window(NamedTuple):
    """Tokens of the batches of a window, each padded to the length of its longest text."""

    features: dict[str, np.ndarray]  # by the name of the feature, batch after batch (padded tokens,) each
    shapes: list[tuple[int, int]]  # texts and tokens of a text, of each batch
    common: dict[str, Any]  # features that are not by token
    rows: np.ndarray  # row of each text among those of all batches (texts,)


class Reader:
    """Makes windows of texts for an encoder.

    Args:
        encoder: one whose `preprocess` makes rows of tokens, padded on the right.
        preprocess: the encoder's own, with the prompt and the task of `role`.
        role: `query` or `document`.
        batch_tokens: the most tokens of a batch, padding included; that of `batch_size_of` unless given.
    """

    def __init__(
        self, encoder: SentenceTransformer, preprocess: Preprocess, role: Role, batch_tokens: int | None = None
    ) -> None:
        self._encoder, self._preprocess, self._role = encoder, preprocess, role
        most, self._overhead = batch_size_of(encoder)
        self._most = batch_tokens or most
        self._tokenise: Tokenise | None = None

    def __call__(self, texts: Sequence[str]) -> Window:
        """Return a window; its batches begin with the longest texts."""
        tokens = self._tokens_of(texts)
        order = np.argsort(-tokens.lengths, kind="stable")
        shapes, widths = [], np.empty_like(order)  # widths: of the rows, in their order (texts,)
        for begin, end in cut_by_size(tokens.lengths[order], self._most, self._overhead):
            widths[begin:end] = max(1, int(tokens.lengths[order[begin]]))
            shapes.append((end - begin, int(widths[begin])))
        rows = np.empty_like(order)
        rows[order] = np.arange(len(order))
        starts = (np.cumsum(widths) - widths)[rows]  # of the row of each text (texts,)
        moved = starts - (np.cumsum(tokens.lengths) - tokens.lengths)  # (texts,)
        place = np.arange(tokens.lengths.sum()) + np.repeat(moved, tokens.lengths)  # (tokens,)
        values = {"attention_mask": np.ones(len(place)), **tokens.values}
        padding, features = padding_of(self._encoder), {}
        for name, value in values.items():
            features[name] = np.full(widths.sum(), padding.get(name, 0))  # (padded tokens,)
            features[name][place] = value
        return Window(features, shapes, tokens.common, rows)

    def _tokens_of(self, texts: Sequence[str]) -> Tokens:
        if len(texts) <= _PIECE:  # the comparison takes as long as they do
            return self._in_pieces(texts)
        if self._tokenise is None:
            self._tokenise = _quick_way(self._encoder, self._preprocess, self._role) or self._in_pieces
        return self._tokenise(texts)

    def _in_pieces(self, texts: Sequence[str]) -> Tokens:
        """Return tokens as `preprocess` makes them."""
        by_characters = np.argsort([-len(text) for text in texts], kind="stable")  # so that little is padded here
        rows: list[dict[str, np.ndarray]] = []
        common: dict[str, Any] = {}
        for begin in range(0, len(texts), _PIECE):
            tokens = end_to_end(self._preprocess([texts[place] for place in by_characters[begin : begin + _PIECE]]))
            assert tokens is not None and tokens.padded
            rows += texts_of(tokens)
            common = tokens.common
        ordered = [rows[row] for row in np.argsort(by_characters)]
        values = {name: np.concatenate([row[name] for row in ordered]) for row in rows[:1] for name in row}
        return Tokens(values, np.array([len(row["input_ids"]) for row in ordered], dtype=np.int64), common, True)


def batch_size_of(encoder: SentenceTransformer) -> tuple[int, int]:
    """Return the most tokens of a batch, unless the caller gives them, and what a batch costs besides, in tokens."""
    if encoder.device.type == "cpu":
        return _BATCH_TOKENS, _OVERHEAD
    widths = [module.get_embedding_dimension() for module in encoder.modules() if isinstance(module, Transformer)]
    width = max(widths, default=768)
    return _BATCH_NUMBERS_OF_GPU // width, _OVERHEAD_OF_GPU // width


def _quick_way(encoder: SentenceTransformer, preprocess: Preprocess, role: Role) -> Tokenise | None:
    """Return a function that makes the tokens of `preprocess` sooner, or None if it cannot."""
    module, prompt = encoder[0], prompt_of(encoder, role) or ""
    known = type(encoder).preprocess is SentenceTransformer.preprocess and type(module) is Transformer
    backend = getattr(getattr(module, "tokenizer", None), "backend_tokenizer", None)
    if not known or "preprocess" in vars(encoder) | vars(module) or not isinstance(backend, Tokenizer):
        return None
    texts = [*_HARD, "7 " * int(min(limit_of(encoder, role), _LONGEST))]  # the last is cut, if any is
    expected = end_to_end(preprocess(texts))
    tokenizer = _copy_of(backend)  # as `preprocess` has left it
    if expected is None or not expected.values.keys() <= _NAMES.keys():
        return None

    def tokenise(texts: Sequence[str]) -> Tokens:
        made = tokenizer.encode_batch_fast([prompt + text for text in texts])
        lengths = np.array([len(one) for one in made], dtype=np.int64)
        values = {}
        for name in expected.values:
            numbers = chain.from_iterable(getattr(one, _NAMES[name]) for one in made)
            values[name] = np.fromiter(numbers, np.int32, count=lengths.sum())
        return Tokens(values, lengths, expected.common, True)

    found = tokenise(texts)
    same = np.array_equal(found.lengths, expected.lengths) and all(
        np.array_equal(found.values[name], value) for name, value in expected.values.items()
    )
    return tokenise if same else None


def _copy_of(backend: Tokenizer) -> Tokenizer:
    """Copy a tokenizer but for its model, which they share, without padding."""
    twin = Tokenizer(backend.model)
    for name in ("normalizer", "pre_tokenizer", "post_processor", "encode_special_tokens"):
        setattr(twin, name, getattr(backend, name))
    for _, token in sorted(backend.get_added_tokens_decoder().items()):
        (twin.add_special_tokens if token.special else twin.add_tokens)([token])
    if backend.truncation is not None:
        twin.enable_truncation(**backend.truncation)
    return twin
