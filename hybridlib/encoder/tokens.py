"""Texts as tokens, which are made once and padded little.

A tokenizer lays out a batch of texts in one of two ways. It makes rows that are padded on the right, one for each text;
or, for static encoders, it puts texts end to end and gives the offset of each. Tokens are kept here end to end.

More than half of the tokens of a batch of texts of mixed length would be padding. So texts are sorted by length and
embedded in groups (see `hybridlib.encoder.cuts`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from hybridlib.encoder.cuts import cut_into_groups

# The most groups of a batch, and the fewest texts of a group on average. More groups would pad little less, and their
# products would be too small to fill the cores, of which a GPU has many more.
_GROUPS = 16
_GROUP_TEXTS = 8
_GROUP_TEXTS_OF_GPU = 100
# The most texts whose tokens are kept, about 60 MB if they are short. Training sets come over and over, and fit. Of a
# corpus of millions few texts come twice, and no more need be kept.
_KEPT = 100_000


class Tokens(NamedTuple):
    """Tokens of texts, end to end."""

    values: dict[str, np.ndarray]  # by the name of the feature (tokens,) each
    lengths: np.ndarray  # (texts,)
    common: dict[str, Any]  # features that are not by token
    padded: bool  # whether the features were rows padded on the right


class TokenCache:
    """A stand-in for an encoder's `preprocess` that tokenises each text once in its life.

    The tokens of the first 100,000 texts are kept, 4 bytes a token. Features of any other layout than the two that this
    module knows are made anew each time. Copies of an encoder share its cache, as it holds facts about the tokenizer.

    Args:
        preprocess: the encoder's own, which is used as it is now.
        padding: the number that stands for padding, by the name of the feature; other features have 0.
    """

    def __init__(self, preprocess: Callable[..., dict[str, Any]], padding: Mapping[str, int] | None = None) -> None:
        self._preprocess, self._padding = preprocess, dict(padding or {})
        self._kept: dict[tuple[Any, ...], dict[str, dict[str, np.ndarray]]] = {}  # by prompt and options, then by text
        self._layouts: dict[tuple[Any, ...], tuple[dict[str, Any], bool]] = {}

    @classmethod
    def of_encoder(cls, encoder: SentenceTransformer) -> Callable[..., dict[str, Any]]:
        """Return the encoder's `preprocess`, with a cache unless its first module has one already."""
        has_one = isinstance(getattr(encoder[0], "preprocess", None), cls)
        return encoder.preprocess if has_one else cls(encoder.preprocess, padding_of(encoder))

    def __deepcopy__(self, memo: dict) -> Self:
        return self

    def __call__(self, inputs: Sequence[str], prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """Return the features of some texts, as `preprocess` does; `options` are its further arguments."""
        kind = (prompt, *sorted(options.items()))
        kept = self._kept.setdefault(kind, {})
        made: dict[str, dict[str, np.ndarray]] = {}
        if new := [text for text in dict.fromkeys(inputs) if text not in kept]:
            features = self._preprocess(new, prompt=prompt, **options)
            tokens = end_to_end(features)
            if tokens is None:
                return features if len(new) == len(inputs) else self._preprocess(inputs, prompt=prompt, **options)
            self._layouts[kind] = tokens.common, tokens.padded
            made = dict(zip(new, texts_of(tokens), strict=True))
            if sum(map(len, self._kept.values())) + len(made) <= _KEPT:
                kept |= made
        rows = [made[text] if text in made else kept[text] for text in inputs]
        common, padded = self._layouts[kind]
        values = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        lengths = np.array([len(row["input_ids"]) for row in rows])
        return (self._pad(values, lengths) if padded else _with_offsets(values, lengths)) | common

    def _pad(self, values: Mapping[str, np.ndarray], lengths: np.ndarray) -> dict[str, Any]:
        there = np.arange(lengths.max()) < lengths[:, None]  # (B, T)
        features = {"attention_mask": torch.from_numpy(there.astype(np.int64))}
        for name, value in values.items():
            rows = np.full(there.shape, self._padding.get(name, 0), dtype=np.int64)  # (B, T)
            rows[there] = value
            features[name] = torch.from_numpy(rows)
        return features


def end_to_end(features: Mapping[str, Any]) -> Tokens | None:
    """Return the tokens of features without their padding, or None if their layout is neither of the two."""
    if features.keys() == {"input_ids", "offsets"}:
        ids, offsets = features["input_ids"].numpy(), features["offsets"].numpy()
        return Tokens({"input_ids": ids.astype(np.int32)}, np.diff(offsets, append=len(ids)), {}, False)
    if not padded_right(features):
        return None
    mask = features["attention_mask"]  # (texts, T)
    by_token = {name: value for name, value in features.items() if is_by_token(value, mask)}
    common = {name: value for name, value in features.items() if name not in by_token}
    del by_token["attention_mask"]
    values = {name: value[mask.bool()].int().numpy() for name, value in by_token.items()}
    return Tokens(values, mask.sum(dim=1).numpy(), common, True)


def texts_of(tokens: Tokens) -> list[dict[str, np.ndarray]]:
    """Cut tokens into those of each text; copies, so that a text keeps no other's alive."""
    ends = np.cumsum(tokens.lengths).tolist()
    return [
        {name: value[begin:end].copy() for name, value in tokens.values.items()}
        for begin, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


def _with_offsets(values: Mapping[str, np.ndarray], lengths: np.ndarray) -> dict[str, Any]:
    ids = torch.from_numpy(values["input_ids"].astype(np.int64))
    return {"input_ids": ids, "offsets": torch.from_numpy(np.cumsum(lengths) - lengths)}


def embed(model: nn.Module, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
    """Embed the columns of a batch in groups of similar length, each of texts of any column.

    The sampler says what is in a batch, so a batch is not changed: its embeddings are put back together for the loss.
    The number of groups follows from the number of texts and the kind of device alone, because processes that train
    together must call the model equally often.

    Args:
        model: gives `sentence_embedding` for features.
        columns: features of as many texts each. Columns of few texts, or that are not rows padded on the right, are
            embedded whole. Columns that differ in more than their rows, as in the length of a prompt, are embedded
            apart. The collator says by `task` whether a column is of queries or of documents; columns of two tasks are
            apart only where a module goes by it, as sentence-transformers' `Router` does.

    Returns:
        The embeddings of each column, in the order of its texts. (B, D) each
    """
    tasks = any("task" in column for column in columns)
    if tasks and not any("task" in getattr(module, "forward_kwargs", ()) for module in model.modules()):
        columns = [{name: value for name, value in column.items() if name != "task"} for column in columns]
    alike: list[list[int]] = []  # columns that can be in one batch
    for number, column in enumerate(columns):
        for own in alike:
            if _differ_in_rows_alone(column, columns[own[0]]):
                own.append(number)
                break
        else:
            alike.append([number])
    embedded: dict[int, Tensor] = {}
    for own in alike:
        embedded |= zip(own, _embed_together(model, [columns[number] for number in own]), strict=True)
    return [embedded[number] for number in range(len(columns))]


def padded_right(features: Mapping[str, Any]) -> bool:
    """Return whether the features are rows of tokens, a text each, with padding at their ends alone."""
    mask = features.get("attention_mask")
    return isinstance(mask, Tensor) and mask.ndim == 2 and not bool((mask.diff(dim=1) > 0).any())


def is_by_token(value: Any, mask: Tensor) -> bool:
    """Return whether a feature has a value for every token of a batch, which has this attention mask."""
    return isinstance(value, Tensor) and value.shape == mask.shape


def padding_of(encoder: SentenceTransformer) -> dict[str, int]:
    """Return the number that stands for padding, by the name of the feature; other features have 0."""
    tokenizer = getattr(encoder[0], "tokenizer", None)
    return {"input_ids": int(getattr(tokenizer, "pad_token_id", None) or 0)}


def _differ_in_rows_alone(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one.keys() != other.keys() or not (padded_right(one) and padded_right(other)):
        return False
    masks = one["attention_mask"], other["attention_mask"]
    return all(
        (is_by_token(value, masks[0]) and is_by_token(other[name], masks[1])) or _equal(value, other[name])
        for name, value in one.items()
    )


def _equal(one: Any, other: Any) -> bool:
    both = isinstance(one, Tensor) and isinstance(other, Tensor)
    return torch.equal(one, other) if both else type(one) is type(other) and one == other


def _embed_together(model: nn.Module, columns: list[dict[str, Any]]) -> list[Tensor]:
    """Embed columns that differ in their rows alone, or one of any kind."""
    mask = columns[0].get("attention_mask", torch.empty(0))
    smallest = _GROUP_TEXTS if mask.device.type == "cpu" else _GROUP_TEXTS_OF_GPU
    groups = min(_GROUPS, len(columns) * len(mask) // smallest)
    if groups <= len(columns) or not padded_right(columns[0]):
        return [model(column)["sentence_embedding"] for column in columns]
    features = _stack(columns)
    mask = features["attention_mask"]  # (texts, T)
    lengths = mask.sum(dim=1).cpu().numpy()  # (texts,)
    order = np.argsort(lengths, kind="stable")
    parts = []
    for rows in np.split(order, cut_into_groups(lengths[order], groups)[:-1]):
        width, own = max(1, int(lengths[rows[-1]])), torch.from_numpy(rows).to(mask.device)
        group = {name: value[own, :width] if is_by_token(value, mask) else value for name, value in features.items()}
        parts.append(model(group)["sentence_embedding"])  # (texts of the group, D)
    back = torch.from_numpy(np.argsort(order)).to(mask.device)
    return list(torch.cat(parts)[back].split([len(column["attention_mask"]) for column in columns]))


def _stack(columns: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack the rows of all columns, as wide as the widest; the attention mask hides what is added."""
    first, width = columns[0], max(column["attention_mask"].shape[1] for column in columns)
    stacked = dict(first)
    for name, value in first.items():
        if is_by_token(value, first["attention_mask"]):
            stacked[name] = torch.cat([F.pad(column[name], (0, width - column[name].shape[1])) for column in columns])
    return stacked
