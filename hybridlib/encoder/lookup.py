"""One lookup in the embedding of tokens for all groups of a batch, whose gradient is then made once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


@contextmanager
def one_lookup(model: Callable[..., Any], groups: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Look up the tokens of all groups at once, and let the model's embedding give each group its rows in the block.

    The gradient of an embedding is as large as its weights, 384 MB for 250,000 words of 384 dimensions. Each lookup
    would make one of its own, and all would be added. With one lookup there is one. Tokens that are not the very tensor
    of a group are looked up as usual. Nothing changes for a model that is not surely one with a plain embedding.

    Args:
        model: an encoder, which may be wrapped for several processes.
        groups: features, as the model is given them in the block.
    """
    embedding = _embedding_of(model) if len(groups) > 1 and torch.is_grad_enabled() else None
    tokens = [ids for group in groups if isinstance(ids := group.get("input_ids"), Tensor)]
    if embedding is None or not tokens:
        yield
        return
    look_up = embedding.forward  # without hooks, which are called for each group
    rows = look_up(torch.cat([ids.flatten() for ids in tokens]))  # (tokens of all groups, D)
    # A model may change its part in place, as the other parts do not share its memory in the eyes of autograd.
    parts = torch.unsafe_split_with_sizes(rows, [ids.numel() for ids in tokens])  # (tokens of the group, D) each

    def forward(ids: Tensor) -> Tensor:
        # Gradient checkpointing would look up anew in the backward pass, after the block.
        if torch._C._autograd._top_saved_tensors_default_hooks(True) is None:
            for own, part in zip(tokens, parts, strict=True):
                if ids is own:
                    return part.view(*ids.shape, -1)  # (texts, T, D)
        return look_up(ids)

    embedding.forward = forward  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del embedding.forward


def _embedding_of(model: Callable[..., Any]) -> nn.Embedding | None:
    """Return the only embedding of a model's tokens, if it is a plain one that is trained."""
    found: set[Any] = set()
    for module in model.modules() if isinstance(model, nn.Module) else ():
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
            return None  # it would be compiled anew for each batch
        if isinstance(module, PreTrainedModel):
            with suppress(NotImplementedError):
                found.add(module.get_input_embeddings())
    (one,) = found if len(found) == 1 else (None,)
    if type(one) is not nn.Embedding or "forward" in vars(one) or one.max_norm is not None or one.scale_grad_by_freq:
        return None
    # Weights that are spread over processes have another type, or another shape between passes.
    plain = type(one.weight) is nn.Parameter and one.weight.shape == (one.num_embeddings, one.embedding_dim)
    return one if plain and one.weight.requires_grad else None
