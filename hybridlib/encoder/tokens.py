"""Texts are tokenised once, and padded little.

More than half of the tokens of a batch of texts of mixed length would be padding. What is in a batch is the sampler's
to say, so a batch is not changed: it is embedded in groups of similar length, and put back together for the loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

# Groups of a batch, and texts of a group at least, on average. More groups would pad little less and make products too
# small to fill the cores, of which a GPU has many more.
_GROUPS = 16
_GROUP_TEXTS = 8
_GROUP_TEXTS_OF_GPU = 100
# At how many places a batch may be cut, so that finding the best ones takes a millisecond however large it is.
_PLACES = 256


class TokenizedOnce:
    """Does what an encoder's `preprocess` does, but tokenises each text once in its life.

    What is kept are 4 bytes a token of every text seen. Encoders whose features are not rows padded on the right, such
    as static ones, are left to their own way.

    Args:
        encoder: whose `preprocess`, maximum length and padding token are used as they are now.
    """

    def __init__(self, encoder: SentenceTransformer) -> None:
        self._preprocess = encoder.preprocess
        self._padding = padding_of(encoder)
        self._rows: dict[tuple[Any, ...], dict[str, Tensor]] = {}
        self._common: dict[tuple[Any, ...], dict[str, Any]] = {}

    def __call__(self, inputs: Sequence[str], prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """Features of some texts, as of `preprocess`. `options` are its further arguments, such as `task`."""
        kind = (prompt, *sorted(options.items()))
        new = [text for text in dict.fromkeys(inputs) if (*kind, text) not in self._rows]
        if new:
            features = self._preprocess(new, prompt=prompt, **options)
            if not padded_right(features):
                return features if len(new) == len(inputs) else self._preprocess(inputs, prompt=prompt, **options)
            self._keep(features, kind, new)
        rows = [self._rows[(*kind, text)] for text in inputs]
        padded = {
            name: pad_sequence([row[name] for row in rows], batch_first=True, padding_value=self._padding.get(name, 0))
            for name in rows[0]
        }
        return {name: tensor.long() for name, tensor in padded.items()} | self._common[kind]

    def _keep(self, features: Mapping[str, Any], kind: tuple[Any, ...], texts: Sequence[str]) -> None:
        mask = features["attention_mask"]
        by_token = {name: value.int() for name, value in features.items() if is_by_token(value, mask)}
        self._common[kind] = {name: value for name, value in features.items() if name not in by_token}
        for row, (text, length) in enumerate(zip(texts, mask.sum(dim=1).tolist(), strict=True)):
            self._rows[(*kind, text)] = {name: value[row, :length].clone() for name, value in by_token.items()}


def embed(model: nn.Module, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
    """Embed the columns of a batch in groups of similar length, each of texts of any column.

    How many groups there are follows from the number of texts and the kind of device alone, since processes that train
    together must call the model equally often; where they end makes padding as little as it can be.

    Args:
        model: gives `sentence_embedding` of features.
        columns: features of as many texts each. Those of few texts, or that are not rows padded on the right, are
            embedded whole; those that differ in more than their rows, as in the length of a prompt, apart.

    Returns:
        The embeddings of each column, in the order of its texts. (B, D) each
    """
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
    """Whether the features are rows of tokens, a text each, with padding at their ends alone."""
    mask = features.get("attention_mask")
    return isinstance(mask, Tensor) and mask.ndim == 2 and not bool((mask.diff(dim=1) > 0).any())


def is_by_token(value: Any, mask: Tensor) -> bool:
    """Whether a feature has a value for every token of a batch, which has this attention mask."""
    return isinstance(value, Tensor) and value.shape == mask.shape


def padding_of(encoder: SentenceTransformer) -> dict[str, int]:
    """What stands in place of tokens that are not there, by the name of the feature; 0 in all others."""
    return {"input_ids": int(getattr(encoder.tokenizer, "pad_token_id", None) or 0)}


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
    features = _stacked(columns)
    mask = features["attention_mask"]  # (texts, T)
    lengths = mask.sum(dim=1).cpu().numpy()  # (texts,)
    order = np.argsort(lengths, kind="stable")
    parts = []
    for rows in np.split(order, _ends(lengths[order], groups)[:-1]):
        width, own = max(1, int(lengths[rows[-1]])), torch.from_numpy(rows).to(mask.device)
        group = {name: value[own, :width] if is_by_token(value, mask) else value for name, value in features.items()}
        parts.append(model(group)["sentence_embedding"])  # (texts of the group, D)
    back = torch.from_numpy(np.argsort(order)).to(mask.device)
    return list(torch.cat(parts)[back].split([len(column["attention_mask"]) for column in columns]))


def _stacked(columns: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows of all columns, as wide as the widest; its padding is 0, which the attention mask hides as any other."""
    first, width = columns[0], max(column["attention_mask"].shape[1] for column in columns)
    stacked = dict(first)
    for name, value in first.items():
        if is_by_token(value, first["attention_mask"]):
            stacked[name] = torch.cat([F.pad(column[name], (0, width - column[name].shape[1])) for column in columns])
    return stacked


def _ends(lengths: np.ndarray, groups: int) -> list[int]:
    """Where to cut texts that are sorted by length into so many groups that the fewest tokens are padding.

    By dynamic programming: the best cut into one group more ends in a best cut of the texts before its last group.

    >>> _ends(np.array([1, 1, 2, 9, 9, 10]), 2)  # 2 + 2 tokens are padding
    [3, 6]
    """
    places = np.linspace(0, len(lengths), min(len(lengths), max(groups, _PLACES)) + 1).astype(int)  # (P + 1,)
    size = places[1:] - places[:-1, None]  # texts of a group from each place but the last to each but the first (P, P)
    tokens = np.where(size > 0, size * np.maximum(1.0, lengths[places[1:] - 1]), np.inf)  # (P, P)
    least, begins = np.where(places == 0, 0.0, np.inf), []  # (P + 1,)
    for _ in range(groups):
        total = least[:-1, None] + tokens  # (P, P)
        begins.append(total.argmin(axis=0))
        least = np.concatenate([[np.inf], total.min(axis=0)])
    ends, end = [], len(places) - 1
    for begin in reversed(begins):
        ends.append(int(places[end]))
        end = begin[end - 1]
    return ends[::-1]
