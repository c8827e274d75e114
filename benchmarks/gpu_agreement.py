"""The part `agreement` of `benchmarks/gpu.py`: ranks on the GPU are those of float64, to the last one.

The oracle scores everything in float64 by torch, in the order of summation that `hybridlib.metric.ranks` defines.
"""

import itertools
from functools import partial

import numpy as np
import torch
from rows import Part

from hybridlib.metric import ranks

# The types of embeddings, and over how many powers of ten their norms go.
TYPES = {"float16": 4, "bfloat16": 30, "float32": 30, "float64": 100}
KINDS = ("ties", "near ties", "norms")
ORACLE_NUMBERS = 1 << 28  # float64 numbers held at once


def agreement(part: Part, passages: int) -> None:
    """Compare ranks with float64's, for every type, kind of vectors and similarity."""
    number, width = part.pick((150, 768), (3, 64))
    names = itertools.product(TYPES, KINDS, ranks.SIMILARITIES)
    cases = [((number, passages, width), *of_case) for of_case in names]
    many = part.pick((512, (1 << 31) // 512 + 12_345, 64), (4, 60, 64))  # over 2^31 scores in a chunk
    cases.append((many, "float16", "norms", "dot"))
    rng = np.random.default_rng(0)
    for _ in range(part.pick(30, 2)):  # kernels are compiled anew for multiples of 16, and for 1
        shape = tuple(int(rng.integers(1, end)) for end in part.pick((300, 3000, 200), (5, 12, 40)))
        cases.append((shape, *(str(rng.choice(names)) for names in (list(TYPES), KINDS, ranks.SIMILARITIES))))
    for shape, *of_case in cases:
        name = f"{', '.join(of_case)}, {shape[0]} queries, {shape[2]} dimensions"
        part.contend(name, shape[1], partial(compared, part.device, shape, *of_case))


def compared(device: torch.device, shape: tuple[int, int, int], dtype: str, kind: str, similarity: str) -> dict:
    """Return how many counts of random pairs are wrong, and of how many."""
    rng, (number, passages, width) = np.random.default_rng(0), shape
    generator = torch.Generator(device).manual_seed(0)
    queries, corpus = (vectors(kind, rows, width, dtype, generator) for rows in (number, passages))
    pairs = np.column_stack([rng.integers(0, number, 2 * number), rng.integers(0, passages, 2 * number)])
    languages = rng.integers(0, 3, passages)
    found = ranks.relevant_ranks(queries, corpus, pairs, languages, similarity=similarity, device=device).above
    expected = exact_counts(queries, corpus, pairs, languages, similarity)[:, : found.shape[1]]
    wrong = int((found != expected).sum())
    return {"agrees": wrong == 0, "wrong": wrong, "of": found.size}


def vectors(kind: str, rows: int, width: int, dtype: str, generator: torch.Generator) -> torch.Tensor:
    """Draw vectors that are hard to rank. (rows, width)"""
    normal = partial(torch.randn, generator=generator, device=generator.device, dtype=torch.float64)
    wanted = getattr(torch, dtype)
    if kind == "norms":  # of all sizes, and zeros
        drawn = normal(rows, width) * 10 ** (TYPES[dtype] * (torch.sigmoid(2 * normal(rows, 1)) - 0.5))
        drawn[::10] = 0
        return drawn.to(wanted)
    few = normal(max(1, rows // 9), width).to(wanted)
    drawn = few[torch.arange(rows, device=few.device) % len(few)]
    if kind == "ties":
        return drawn
    units = normal(rows, width).round() * torch.finfo(wanted).eps  # in the last place
    return (drawn.double() * (1 + units)).to(wanted)


def exact_counts(
    queries: torch.Tensor, passages: torch.Tensor, pairs: np.ndarray, languages: np.ndarray, similarity: str
) -> np.ndarray:
    """Count by float64 scores in the order of summation that `hybridlib.metric.ranks` defines. (N, 3)"""
    queries, passages, device = queries.double(), passages.double(), queries.device
    query, own = torch.from_numpy(pairs).to(device).T  # (N,), (N,)
    language = torch.from_numpy(languages).to(device)  # (P,)
    norms = torch.ones(len(passages), dtype=torch.float64, device=device)
    if similarity == "cosine":  # torch does not round square roots to the last bit on every CPU
        norms = torch.from_numpy(np.sqrt(inner_products(passages, passages).cpu().numpy())).to(device)
        norms[norms == 0] = 1
    threshold = (inner_products(queries[query], passages[own]) / norms[own])[:, None]  # (N, 1)
    above = torch.zeros(len(query), 3, dtype=torch.int64, device=device)
    step = max(1, ORACLE_NUMBERS // (32 * len(query)))
    for position in torch.arange(len(passages), device=device).split(step):
        scores = inner_products(queries[:, None], passages[None, position]) / norms[position]  # (Q, C)
        score = scores[query]  # (N, C)
        higher = (score > threshold) | ((score == threshold) & (position < own[:, None]))
        above.index_add_(1, language[position], (higher & (position != own[:, None])).long())
    return above.cpu().numpy()


def inner_products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Add dimension d to sum d % 32, then neighbouring sums until one is left."""
    shape = torch.broadcast_shapes(left.shape, right.shape)
    sums = torch.zeros(*shape[:-1], 32, dtype=torch.float64, device=left.device)
    for begin in range(0, shape[-1], 32):
        products = left[..., begin : begin + 32] * right[..., begin : begin + 32]
        sums[..., : products.shape[-1]] += products
    while sums.shape[-1] > 1:
        sums = sums[..., 0::2] + sums[..., 1::2]
    return sums[..., 0]
