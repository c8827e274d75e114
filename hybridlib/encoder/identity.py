"""The identity of an encoder: a record of all that its embeddings depend on, by which a folder knows whose it is."""

import hashlib
import json
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from transformers import PreTrainedModel

# What the configuration of a model says of its files, and not of what it computes.
_OF_FILES = {"_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"}


def record_of_encoder(encoder: SentenceTransformer) -> dict[str, Any]:
    """Return a digest of an encoder's modules, tokenizers and weights, and what else its embeddings depend on."""
    digest = hashlib.sha256(repr(encoder).encode())
    for module in encoder.modules():
        if isinstance(module, PreTrainedModel):
            config = {name: value for name, value in module.config.to_dict().items() if name not in _OF_FILES}
            digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    tokenizers = [getattr(module, "tokenizer", None) for module in encoder.modules()]
    for tokenizer in {id(one): one for one in tokenizers if one is not None}.values():  # an encoder shows its module's
        digest.update(_content(tokenizer).encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return {
        "encoder": digest.hexdigest(),
        "prompts": dict(encoder.prompts),
        "max_seq_length": str(encoder.max_seq_length),
        "truncate_dim": encoder.truncate_dim,
    }


def _content(tokenizer: Any) -> str:
    """Describe a tokenizer wholly; but one of `transformers` changes its truncation and padding with each call."""
    fast = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(fast, Tokenizer):
        return repr(tokenizer.get_vocab()) if hasattr(tokenizer, "get_vocab") else ""
    content = json.loads(fast.to_str())
    if fast is not tokenizer:
        del content["truncation"], content["padding"]
    return json.dumps(content)
