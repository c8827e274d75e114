"""The way an encoder reads texts: after which prompt, how many tokens of each, and with what precision."""

import logging
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import tokenizers
import torch
from pydantic import SkipValidation
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn
from transformers import PreTrainedTokenizerBase

from hybridlib.arguments import checked, told
from hybridlib.data.checks import check_rows, texts_wrong
from hybridlib.names import Role

logger = logging.getLogger(__name__)

Precision: TypeAlias = Literal["float32", "bfloat16"]

_SAMPLE = 1000  # texts


def prompt_of(encoder: SentenceTransformer, role: str) -> str | None:
    """Return the prompt that stands before texts, in training and evaluation; None if there is none.

    For documents it is the first of the encoder's prompts `document`, `passage` and `corpus` that is not empty.
    `encode_document` of sentence-transformers takes the first that there is, and since it gives every encoder an empty
    `document`, it ignores the `passage` of those which have that alone, such as E5. Where an encoder has none of these
    names, its default prompt is taken.

    Args:
        encoder: any SentenceTransformer.
        role: `query` or `document`.
    """
    names = ("query",) if role == "query" else ("document", "passage", "corpus")
    known = [encoder.prompts[name] for name in names if name in encoder.prompts]
    if not known:
        return encoder.prompts.get(str(encoder.default_prompt_name))
    return next((prompt for prompt in known if prompt), "")


def listed_texts(texts: Any, where: str) -> list[str]:
    """Return texts as a list; `where` names them in the message that refuses what is none."""
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, bytes | AbstractSet | Mapping) or hasattr(texts, "columns") or not hasattr(texts, "__iter__"):
        raise ValueError(f"{where} is {told(texts)}; allowed: a list of texts, or a column of a table")
    values = list(texts)
    check_rows(texts_wrong(values, empty=True), values, where, "a text without lone surrogates")
    return values


@checked
def precision_of(encoder: SentenceTransformer, precision: Precision | None) -> Precision:
    """Return the precision of an encoder's matrix products, if `precision` is asked for.

    Raises:
        ValueError: there is no such precision.
    """
    if precision is not None:
        return precision
    able = encoder.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if able and all(weight.dtype == torch.float32 for weight in encoder.parameters()) else "float32"


def check_device(encoder: SentenceTransformer) -> None:
    """Refuse an encoder whose weights have no values."""
    if encoder.device.type == "meta":
        raise ValueError("encoder is on the device 'meta', where weights have no values; load it onto another")


def fit_length(encoder: SentenceTransformer) -> None:
    """Bring the maximum length of an encoder down to what its positions allow, and warn where that is less.

    XLM-R and RoBERTa have 514 positions, of which the first two are padding's. So they read 512 tokens, although their
    tokenizers may allow more.
    """
    for module in encoder.modules():
        if not isinstance(module, Transformer):
            continue
        most, own = min(map(_positions, module.modules())), module.max_seq_length
        if most < math.inf and (own is None or own > most):
            module.max_seq_length = int(most)
            said = "max_seq_length of the encoder is %s; it is now %d, as it has positions for no more"
            logger.warning(said, own, most)


def _positions(module: nn.Module) -> float:
    """Return how many tokens have a position by this module; infinity if it gives none."""
    positions, padding = getattr(module, "position_embeddings", None), getattr(module, "padding_idx", None)
    if not isinstance(positions, nn.Embedding):
        return math.inf
    return positions.num_embeddings - (padding + 1 if isinstance(padding, int) else 0)


def settle(encoder: SentenceTransformer) -> None:
    """Make an encoder's maximum length fit, and its `document` prompt that in force, by which it is saved, too."""
    fit_length(encoder)
    encoder.prompts = {**encoder.prompts, "document": prompt_of(encoder, "document") or ""}


def limit_of(encoder: SentenceTransformer, role: Role) -> float:
    """Return how many tokens of a text of a role are read, the prompt's included; infinity if all or unknown."""
    module = _reads(encoder, role)
    tokenizer = getattr(module, "tokenizer", None)
    if isinstance(tokenizer, tokenizers.Tokenizer):
        return math.inf if tokenizer.truncation is None else tokenizer.truncation["max_length"]
    most = getattr(module, "max_seq_length", None)
    return math.inf if most is None or not isinstance(tokenizer, PreTrainedTokenizerBase) else most


@checked
def cut_share(encoder: SentenceTransformer, texts: Annotated[Sequence[str], SkipValidation], *, role: Role) -> float:
    """Return the share of texts that are longer than the encoder's maximum length, the prompt included.

    It is exact for 1,000 texts or fewer, and else that of 1,000 which are drawn, the same each time. It is 0 for no
    texts, and for encoders that read texts of any length.

    Args:
        encoder: one with a tokenizer of `transformers` or `tokenizers`; 0 is returned for others.
        texts: of any number; few of a longer sequence are looked at.
        role: `query` or `document`.
    """
    limit = limit_of(encoder, role)
    if limit == math.inf or not len(texts):
        return 0.0
    drawn = np.sort(np.random.default_rng(5).choice(len(texts), min(len(texts), _SAMPLE), replace=False))
    prompt, at = prompt_of(encoder, role) or "", texts.iloc if isinstance(texts, pd.Series) else texts
    sample = [prompt + at[row] for row in drawn.tolist()]
    tokenizer: Any = _reads(encoder, role).tokenizer
    if isinstance(tokenizer, tokenizers.Tokenizer):
        return float(np.mean([bool(one.overflowing) for one in tokenizer.encode_batch(sample)]))
    lengths = [len(ids) for ids in tokenizer(sample, truncation=False, padding=False, verbose=False)["input_ids"]]
    return float(np.mean(np.array(lengths) > limit))


def _reads(encoder: SentenceTransformer, role: str) -> Any:
    """Return the module that tokenises texts of a role; a `Router` has one for each."""
    routes = getattr(encoder[0], "sub_modules", {})
    return routes[role][0] if role in routes else encoder[0]
