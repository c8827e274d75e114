"""An encoder of given vectors: a text is the mean of the vectors of its words, exactly the same in any batch."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

AXES = {"a": (1, 0), "b": (0, 1), "ask:": (4, 0), "tell:": (0, 4)}


def word_encoder(vectors: Mapping[str, Iterable[float]] = AXES, **options: Any) -> SentenceTransformer:
    """A word without a vector has zeros."""
    names = ["[UNK]", *vectors]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    values = np.array(list(vectors.values()), dtype=np.float32)
    weights = torch.tensor(np.vstack([np.zeros_like(values[:1]), values]))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu", **options)
