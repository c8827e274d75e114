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

from hybridlib.encoder.cuts import cut_into_groups, number_of_groups
from hybridlib.encoder.lookup import one_lookup

# The most texts whose tokens are kept, about 60 MB if they are short. The texts of a training set come over and over,
# and fit. In a corpus of millions few texts come twice, so no more need be kept.
_KEPT = 100_000
# The packages whose modules use a prompt's length only where a pooling leaves the prompt out.
_KNOWN = ("sentence_transformers", "transformers", "torch")


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
    Processes that train together must call the model equally often. So with several, the number of groups follows from
    the number of texts and the kind of device alone. Python waits for a GPU only where it cuts many texts into groups.

    Args:
        model: gives `sentence_embedding` for features.
        columns: features of as many texts each. On a CPU, columns of few texts are embedded whole; on a GPU, they go
            through it in one pass. Columns that are not rows padded on the right are embedded whole. Columns that
            differ in more than their rows are embedded apart, except where no module uses what differs: `task`, which
            sentence-transformers' `Router` uses, or `prompt_length`, which a pooling without the prompt uses.

    Returns:
        The embeddings of each column, in the order of its texts. (B, D) each
    """
    columns = _without_what_no_module_reads(model, columns)
    alike: list[list[int]] = []  # columns that can be in one batch
    for number, column in enumerate(columns):
        for own in alike:
            if _differ_in_rows_alone(column, columns[own[0]]):
                own.append(number)
                break
        else:
            alike.append([number])
    cuts = [_cut([columns[number] for number in own]) for own in alike]
    embedded: dict[int, Tensor] = {}
    with one_lookup(model, [group for groups, _ in cuts for group in groups]):
        for own, (groups, put_back) in zip(alike, cuts, strict=True):
            parts = [model(group)["sentence_embedding"] for group in groups]  # (texts of the group, D) each
            embedded |= zip(own, put_back(parts), strict=True)
    return [embedded[number] for number in range(len(columns))]


def padded_right(features: Mapping[str, Any]) -> bool:
    """Return whether the features are rows of tokens, a text each, with padding at their ends alone."""
    mask = _mask_of(features)
    return mask is not None and not bool((mask.diff(dim=1) > 0).any())


def is_by_token(value: Any, mask: Tensor) -> bool:
    """Return whether a feature has a value for every token of a batch, which has this attention mask."""
    return isinstance(value, Tensor) and value.shape == mask.shape


def padding_of(encoder: SentenceTransformer) -> dict[str, int]:
    """Return the number that stands for padding, by the name of the feature; other features have 0."""
    tokenizer = getattr(encoder[0], "tokenizer", None)
    return {"input_ids": int(getattr(tokenizer, "pad_token_id", None) or 0)}


def _without_what_no_module_reads(model: nn.Module, columns: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Drop the features that no module of the model uses, so that columns do not differ in them."""
    unread = set()
    tasks = any("task" in column for column in columns)
    if tasks and not any("task" in getattr(module, "forward_kwargs", ()) for module in model.modules()):
        unread.add("task")
    encoder = getattr(model, "module", model)  # it may be wrapped for several processes
    if any("prompt_length" in column for column in columns) and isinstance(encoder, SentenceTransformer):
        known = all(type(module).__module__.split(".")[0] in _KNOWN for module in encoder.modules())
        if known and all(getattr(module, "include_prompt", True) for module in encoder.modules()):
            unread.add("prompt_length")
    return [{name: value for name, value in column.items() if name not in unread} for column in columns]


def _mask_of(features: Mapping[str, Any]) -> Tensor | None:
    """Return the attention mask of features that are rows of tokens, a text each. (B, T)"""
    mask = features.get("attention_mask")
    return mask if isinstance(mask, Tensor) and mask.ndim == 2 else None


def _differ_in_rows_alone(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    mask, others = _mask_of(one), _mask_of(other)
    if one.keys() != other.keys() or mask is None or others is None:
        return False
    return all(
        (is_by_token(value, mask) and is_by_token(other[name], others)) or _equal(value, other[name])
        for name, value in one.items()
    )


def _equal(one: Any, other: Any) -> bool:
    both = isinstance(one, Tensor) and isinstance(other, Tensor)
    return torch.equal(one, other) if both else type(one) is type(other) and one == other


def _cut(columns: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Callable[[list[Tensor]], Sequence[Tensor]]]:
    """Cut columns that differ in their rows alone into groups.

    Returns:
        The groups, and what makes the embeddings of the columns from those of the groups.
    """
    masks = [mask for column in columns if (mask := _mask_of(column)) is not None]
    groups = number_of_groups(masks) if masks else 0
    if not groups:
        return columns, list
    texts = [len(mask) for mask in masks]
    features = _stack(columns)
    if groups == 1:
        return [features], lambda parts: parts[0].split(texts)
    mask = features["attention_mask"]  # (texts, T)
    lengths = mask.sum(dim=1)  # (texts,)
    order = lengths.argsort(stable=True)
    # This makes Python wait for a GPU, and nothing else here does.
    *ordered, right = torch.cat([lengths[order], (mask.diff(dim=1) <= 0).all()[None]]).tolist()
    if not right:
        return columns, list
    by_token = {name: value[order] for name, value in features.items() if is_by_token(value, mask)}  # (texts, T) each
    parts, begin = [], 0
    for end in cut_into_groups(np.array(ordered), groups):
        width = max(1, ordered[end - 1])
        rows = {name: value[begin:end, :width].contiguous() for name, value in by_token.items()}
        parts.append(features | rows)
        begin = end
    return parts, lambda made: torch.cat(made)[order.argsort()].split(texts)


def _stack(columns: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack the rows of all columns, as wide as the widest; the attention mask hides what is added."""
    first, width = columns[0], max(column["attention_mask"].shape[1] for column in columns)
    stacked = dict(first)
    for name, value in first.items():
        if is_by_token(value, first["attention_mask"]):
            stacked[name] = torch.cat([F.pad(column[name], (0, width - column[name].shape[1])) for column in columns])
    return stacked
