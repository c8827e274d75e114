"""Texts are tokenised once, and padded little.

More than half of the tokens of a batch of texts of mixed length would be padding. What is in a batch is the sampler's
to say, so a batch is not changed: it is embedded in groups of similar length, and put back together for the loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

# Of a column. More would make products too small to fill the cores, and pad little less.
_GROUPS = 4
_GROUP_TEXTS = 8


class TokenizedOnce:
    """Does what an encoder's `preprocess` does, but tokenises each text once in its life.

    What is kept are 4 bytes a token of every text seen. Encoders whose features are not rows padded on the right, such
    as static ones, are left to their own way.

    Args:
        encoder: whose `preprocess`, maximum length and padding token are used as they are now.
    """

    def __init__(self, encoder: SentenceTransformer) -> None:
        self._preprocess = encoder.preprocess
        self._padding = {"input_ids": int(getattr(encoder.tokenizer, "pad_token_id", None) or 0)}
        self._rows: dict[tuple[Any, ...], dict[str, Tensor]] = {}
        self._common: dict[tuple[Any, ...], dict[str, Any]] = {}

    def __call__(self, inputs: Sequence[str], prompt: str | None = None, **options: Any) -> dict[str, Any]:
        """Features of some texts, as of `preprocess`. `options` are its further arguments, such as `task`."""
        kind = (prompt, *sorted(options.items()))
        new = [text for text in dict.fromkeys(inputs) if (*kind, text) not in self._rows]
        if new:
            features = self._preprocess(new, prompt=prompt, **options)
            if not _padded_right(features):
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
        by_token = {name: value.int() for name, value in features.items() if _is_by_token(value, mask)}
        self._common[kind] = {name: value for name, value in features.items() if name not in by_token}
        for row, (text, length) in enumerate(zip(texts, mask.sum(dim=1).tolist(), strict=True)):
            self._rows[(*kind, text)] = {name: value[row, :length].clone() for name, value in by_token.items()}


def embed(model: nn.Module, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
    """Embed the columns of a batch, each in groups of similar length.

    Args:
        model: gives `sentence_embedding` of features.
        columns: features of as many texts each; those that are not rows padded on the right are embedded whole.

    Returns:
        The embeddings of each column, in the order of its texts. (B, D) each
    """
    return [_embed_column(model, column) for column in columns]


def _embed_column(model: nn.Module, features: dict[str, Any]) -> Tensor:
    groups = min(_GROUPS, len(features.get("attention_mask", ())) // _GROUP_TEXTS)
    if groups < 2 or not _padded_right(features):
        return model(features)["sentence_embedding"]
    mask = features["attention_mask"]  # (B, T)
    order = mask.sum(dim=1).argsort(stable=True)
    parts = []
    for rows in order.tensor_split(groups):
        width = int(mask[rows].sum(dim=1).max())
        group = {name: value[rows, :width] if _is_by_token(value, mask) else value for name, value in features.items()}
        parts.append(model(group)["sentence_embedding"])  # (B / groups, D)
    return torch.cat(parts)[order.argsort()]


def _padded_right(features: Mapping[str, Any]) -> bool:
    mask = features.get("attention_mask")
    return isinstance(mask, Tensor) and mask.ndim == 2 and bool(mask[:, 0].all())


def _is_by_token(value: Any, mask: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == mask.shape
