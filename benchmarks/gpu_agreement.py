"""Part `agreement` of `benchmarks/gpu.py`: ranks on the device against float64's, to the last one."""

import itertools
from functools import partial

import numpy as np
import torch
from gpu_part import Part

from hybridlib.metric import ranks

# The types of embeddings, and over how many powers of ten their norms go.
TYPES = {"float16": 4, "bfloat16": 30, "float32": 30, "float64": 100}
KINDS = ("ties", "norms")
MANY = 30  # further relevant passages of the first query, at most
ORACLE_NUMBERS = 1 << 28  # float64 numbers that the oracle holds at once


def agreement(part: Part, passages: int) -> None:
    """Compare ranks with float64's, for every type, kind of vectors and similarity."""
    number, width = part.pick((150, 768), (3, 64))
    names = list(itertools.product(TYPES, KINDS, ranks.SIMILARITIES))
    cases = [((number, passages, width), *of_case) for of_case in names[:: part.pick(1, 5)]]
    many = part.pick((512, (1 << 31) // 512 + 12_345, 64), (4, 60, 64))  # over 2^31 scores in a chunk
    cases.append((many, "float16", "norms", "dot"))
    rng = np.random.default_rng(0)
    for _ in range(part.pick(12, 2)):  # of all sizes: kernels are compiled anew for multiples of 16, and for 1
        shape = tuple(int(rng.integers(1, end)) for end in part.pick((300, 3000, 200), (5, 12, 40)))
        cases.append((shape, *names[rng.integers(len(names))]))
    for shape, *of_case in cases:
        name = f"{', '.join(of_case)}, {shape[0]} queries, {shape[2]} dimensions"
        part.contend(name, shape[1], partial(compared, part.device, shape, *of_case))


def compared(device: torch.device, shape: tuple[int, int, int], dtype: str, kind: str, similarity: str) -> dict:
    """Return how many counts of random pairs are wrong, and of how many."""
    rng, (number, passages, width) = np.random.default_rng(0), shape
    generator = torch.Generator(device).manual_seed(0)
    queries, corpus = (vectors(kind, rows, width, dtype, generator) for rows in (number, passages))
    query = np.concatenate([rng.integers(0, number, 2 * number), np.zeros(min(MANY, passages // 4), dtype=np.int64)])
    pairs = np.column_stack([query, rng.integers(0, passages, len(query))])
    languages = rng.integers(0, 3, passages)
    found = ranks.relevant_ranks(queries, corpus, pairs, languages, similarity=similarity, device=device).above
    expected = exact_counts(queries, corpus, pairs, languages, similarity)[:, : found.shape[1]]
    wrong = int((found != expected).sum())
    return {"agrees": wrong == 0, "wrong": wrong, "of": found.size}


def vectors(kind: str, rows: int, width: int, dtype: str, generator: torch.Generator) -> torch.Tensor:
    """Draw vectors that are hard to rank: of all norms and zeros, or ties and near ties by turns. (rows, width)"""
    normal = partial(torch.randn, generator=generator, device=generator.device, dtype=torch.float64)
    wanted, numbers = getattr(torch, dtype), torch.arange(rows, device=generator.device)[:, None]
    if kind == "norms":
        sizes = 10 ** (TYPES[dtype] * (torch.sigmoid(2 * normal(rows, 1)) - 0.5))
        return (normal(rows, width) * sizes * (numbers % 10 > 0)).to(wanted)
    few = normal(1 + rows // 9, width).to(wanted).double()
    units = normal(rows, width).round() * torch.finfo(wanted).eps * (numbers % 2)  # in the last place
    return (few[numbers[:, 0] // 2 % len(few)] * (1 + units)).to(wanted)


def exact_counts(
    queries: torch.Tensor, passages: torch.Tensor, pairs: np.ndarray, languages: np.ndarray, similarity: str
) -> np.ndarray:
    """Count by float64 scores in the order of summation that `hybridlib.metric.ranks` defines. (N, 3)"""
    queries, passages, device = queries.double(), passages.double(), queries.device
    query, own = torch.from_numpy(pairs).to(device).T  # (N,), (N,)
    language = torch.from_numpy(languages).to(device)  # (P,)
    # On a CPU, torch rounds some square roots wrongly.
    norms = torch.from_numpy(np.sqrt(inner_products(passages, passages).cpu().numpy())).to(device)  # (P,)
    norms[(norms == 0) | (similarity == "dot")] = 1
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
    sums = torch.zeros(32, dtype=torch.float64, device=left.device)
    for numbers, others in zip(left.split(32, dim=-1), right.split(32, dim=-1), strict=True):
        sums = sums + torch.nn.functional.pad(numbers * others, (0, 32 - numbers.shape[-1]))
    while sums.shape[-1] > 1:
        sums = sums[..., 0::2] + sums[..., 1::2]
    return sums[..., 0]
