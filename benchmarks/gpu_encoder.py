"""Parts `encoding` and `loss` of `benchmarks/gpu.py`, and the encoders of random weights.

`tflops` counts 2 operations a token and parameter (without those of embeddings), and no padding; `of_product` is this
rate over that of a bare product of square matrices in bfloat16.
"""

import copy
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from gpu_part import Part, profiled

# Layers, dimensions and vocabulary, and those of a rehearsal; no speed depends on the weights.
SHAPES = {
    "XLM-R base": ((12, 768, 250_002), (1, 24, 1_002)),
    "multilingual-e5-small": ((12, 384, 250_037), (2, 24, 1_002)),
}
PROFILED = 1_000  # texts; more are not profiled, and stock's batches are of one size


@cache
def random_encoder_of(part: Part, name: str) -> Any:
    """Return an encoder of a shape, with random weights."""
    from random_encoder import random_encoder

    torch.manual_seed(0)
    return random_encoder(*part.pick(*SHAPES[name])).to(part.device)


def multiplied(encoder: Any) -> int:
    """Return the number of parameters that each token is multiplied with."""
    return sum(weight.numel() for name, weight in encoder.named_parameters() if "embeddings" not in name)


def encoding(part: Part, number: int) -> None:
    """Time the contenders of `benchmarks/encoding.py`, and stock `encode` with weights in bfloat16; ours come first."""
    rate = part.product("bfloat16")  # before what needs more than torch
    from encoding import NEAREST, contenders, least_cosine
    from random_encoder import random_lengths, random_texts

    encoder, rng = random_encoder_of(part, "XLM-R base"), np.random.default_rng(0)
    lengths = random_lengths(60, number, rng)
    texts = random_texts(lengths, rng)
    sizes = (32, 128) if number <= PROFILED else (128,)
    run = contenders(encoder, texts, lengths.tolist(), stock_sizes=sizes)
    halved = partial(copy.deepcopy(encoder).bfloat16().encode_document, texts, show_progress_bar=False)
    run["stock encode, 128 texts, in bfloat16"] = partial(halved, batch_size=128)

    def one(name: str) -> dict[str, Any]:
        figures, made = part.timed(run[name])
        tokens_per_s = float(lengths.sum()) / figures["seconds"]
        flops = 2 * multiplied(encoder) * tokens_per_s
        figures |= {"tokens_per_s": tokens_per_s, "tflops": flops / 1e12, "of_product": flops / rate}
        if number <= PROFILED and not name.startswith("floor"):
            figures["profile"] = profiled(run[name], cuda=not part.small)
        if not name.startswith("floor") and not name.endswith("in bfloat16"):  # which is another encoder
            figures["padding"] = share_of_padding(encoder, run[name])
        if name.startswith("embed_texts"):
            nearest = least_cosine(made[:100], encoder.encode_document(texts[:100], show_progress_bar=False))
            figures |= {"least_cosine": nearest} | ({"agrees": nearest > NEAREST} if "float32" in name else {})
        return figures

    for name in sorted(run, key=["embed_texts, bfloat16", "embed_texts, float32", *run].index):
        part.contend(name, number, partial(one, name))


def share_of_padding(encoder: Any, run: Callable[[], Any]) -> float | None:
    """Return the share of the tokens that are padding, or None where the encoder is given no rows that have any."""
    import encoding

    try:
        return encoding.share_of_padding(encoder, run)
    except (KeyError, ZeroDivisionError):  # it is not called, or has no mask
        return None


def loss(part: Part, pairs: int) -> None:
    """Time the contenders of `benchmarks/loss.py`, whose gradients are compared with float64's."""
    import loss as losses

    views = [view.to(part.device) for view in losses.embeddings(pairs, losses.SMALL)]
    exact_loss, exact = losses.in_double(*views)
    plain: list[float] = []  # the memory of the first contender

    def one(name: str) -> dict[str, Any]:
        figures, (value, columns) = part.timed(partial(losses.run, name, *views))
        error = losses.error_of(losses.gradients(columns), exact)
        worst = max(error, abs(float(value) / exact_loss - 1))
        plain.append(figures["memory_mb"])
        figures |= {"of_memory": figures["memory_mb"] / plain[0] if plain[0] else None}
        return figures | {"agrees": worst < losses.LIMIT_OF_DISAGREEMENT, "error_of_gradients": error}

    for name in losses.CONTENDERS:
        part.contend(name, pairs, partial(one, name), growth=2)
