"""An encoder whose matrices are in bfloat16, beside the one that it is made from.

Autocast casts each matrix for each batch. Here this is done once for a call, and autocast gives the same embeddings, to
the last bit. The norms and what is added between products stay float32: with all weights in bfloat16, the cosines of
all-MiniLM-L6-v2's embeddings with those in float32 fall to 0.99985, and with the matrices alone to 0.99994.
"""

import copy
from typing import Any, TypeVar

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def halved(module: Module) -> Module:
    """Return an encoder for use under autocast, whose Transformers have matrices in bfloat16.

    It shares everything else with the one given: other weights, settings and tokenizers. Weights that are not float32
    stay as they are.

    Args:
        module: an encoder, or a module of one.

    >>> from hybridlib.training.starts import load_encoder
    >>> static = load_encoder("static")
    >>> halved(static)[0].embedding.weight is static[0].embedding.weight
    True
    """
    twin = copy.copy(module)  # whose attributes are those of the module, but for the modules within
    if isinstance(module, Transformer):
        # A copy takes a weight that it finds in the memo, so none is copied in float32.
        memo: dict[int, Any] = {id(weight): weight for weight in module.parameters()}
        for inner in module.modules():
            if isinstance(inner, nn.Linear):
                memo |= {id(weight): _half(weight) for weight in inner.parameters(recurse=False)}
        twin._modules = {name: copy.deepcopy(inner, memo) for name, inner in module._modules.items()}
    else:
        twin._modules = {name: inner and halved(inner) for name, inner in module._modules.items()}
    return twin


def _half(weight: nn.Parameter) -> nn.Parameter:
    if weight.dtype != torch.float32:
        return weight
    return nn.Parameter(weight.detach().bfloat16(), requires_grad=False)
