"""The identity of an encoder: a record of all that its embeddings depend on, by which a folder knows whose it is."""

import hashlib
from typing import Any

import torch
from sentence_transformers import SentenceTransformer


def record_of_encoder(encoder: SentenceTransformer) -> dict[str, Any]:
    """Return a digest of an encoder's modules, vocabulary and weights, and what else its embeddings depend on."""
    digest = hashlib.sha256(repr((encoder, sorted(encoder.tokenizer.get_vocab().items()))).encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return {
        "encoder": digest.hexdigest(),
        "prompts": dict(encoder.prompts),
        "max_seq_length": str(encoder.max_seq_length),
        "truncate_dim": encoder.truncate_dim,
    }
