"""Part `agreement` of `benchmarks/gpu.py`: ranks on the device are those of float64, to the last one.

The oracle scores every query and passage in float64 by torch, a block of 32 dimensions after the other, as
`hybridlib.metric.ranks` defines the order of summation, so that ties are ties and nothing has to be equal "nearly".
Only where there are too many scores for that are the vectors made of small whole numbers, whose sums are exact
in any order.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from on_device import Part, patched

from hybridlib.metric import gpu as gpu_counts
from hybridlib.metric.ranks import SIMILARITIES, RankCounter, relevant_ranks

TYPES = {"float16": 4, "bfloat16": 30, "float32": 30, "float64": 100}  # decades by which their norms may differ
PRODUCTS, SHARDS = (1, 3), (1, 2, 7)
ORACLE_NUMBERS = 1 << 28  # held at once, of 8 bytes each
SCORES_OF_ONE_CHUNK = 1 << 31


class Case(NamedTuple):
    queries: torch.Tensor  # (Q, D)
    passages: torch.Tensor  # (P, D)
    pairs: np.ndarray  # (N, 2)
    languages: np.ndarray  # (P,)
    number_of_languages: int


def agreement(part: Part) -> None:
    """Compare ranks on the device with the oracle's: for every input type, similarity, number of products and shards,
    for random shapes, for more than 2^31 scores in a chunk, and with a list that overflows."""
    queries, passages, width = part.pick((150, 20_000, 768), (150, 4_000, 768), (3, 12, 40))
    kinds = part.pick(tuple(KINDS), tuple(KINDS), ("ties",))
    part.attempt("a list that overflows", check_overflow, part)
    part.attempt("more than 2^31 scores in a chunk", check_many_scores, part)
    for dtype in part.pick(tuple(TYPES), tuple(TYPES), ("float16", "float32")):
        for kind in kinds:
            case = case_of(kind, dtype, (queries, passages, width), 3, part.device, seed=0)
            part.attempt(f"{dtype}, {kind}", check_shards, part, f"{dtype}, {kind}", case)
    part.attempt("random shapes", check_random_shapes, part)


def check_shards(part: Part, name: str, case: Case) -> None:
    counts = 0
    for similarity in SIMILARITIES:
        expected = expected_above(case, similarity)
        for products in PRODUCTS:
            for shards in part.pick(SHARDS, SHARDS, (2,)):
                check(f"{similarity}, {products} products, {shards} shards", expected,
                      above_of(case, similarity, products, shards, part.device))  # fmt: skip
                counts += expected.size
    part.row(name, wrong=0, of=counts)


def check_overflow(part: Part) -> None:
    """Many ties, all of which have to be listed, in a list of 16, which may grow to 200."""
    case = case_of(
        "ties", "float32", part.pick((150, 20_000, 64), (150, 4_000, 64), (2, 20, 7)), 2, part.device, seed=1
    )
    with patched(gpu_counts, _LISTED=16, _MOST_LISTED=200):
        found = above_of(case, "dot", 1, 1, part.device)
    expected = expected_above(case, "dot")
    check("overflow", expected, found)
    part.row("a list that overflows", wrong=0, of=expected.size)


def check_many_scores(part: Part) -> None:
    """Whole numbers from -8 to 8, whose float32 sums are exact; most passages are of the second of two languages."""
    number, width = part.pick(512, 512, 4), 64
    passages = (SCORES_OF_ONE_CHUNK // number + 12_345) if part.device.type == "cuda" else 60
    assert passages * width <= gpu_counts._WHOLE_NUMBERS, "one slice"
    generator = torch.Generator(part.device).manual_seed(2)

    def drawn(rows: int) -> torch.Tensor:
        made = torch.randint(-8, 9, (rows, width), generator=generator, device=part.device, dtype=torch.int8)
        return made.half()

    queries, corpus = drawn(number), drawn(passages)
    own = np.linspace(0, passages - 1, number).astype(np.int64)
    # Near to their queries, so that few passages tie with them.
    corpus[torch.from_numpy(own).to(part.device)] = queries * (torch.arange(width, device=part.device) % 3 > 0)
    languages = (np.arange(passages) > passages // 10).astype(np.int64)
    found = relevant_ranks(
        queries, corpus, np.column_stack([np.arange(number), own]), languages, similarity="dot"
    ).above
    check("many scores", exact_in_any_order(queries, corpus, own, languages), found)
    part.row("more than 2^31 scores in a chunk", wrong=0, of=found.size, scores=number * passages)


def check_random_shapes(part: Part) -> None:
    """As many shapes as there is time for; where integers are divisible by 16, or 1, other kernels are compiled."""
    rng, done = np.random.default_rng(0), 0
    most = part.pick(200, 40, 2)
    while done < most and part.left() > 15:
        shape = tuple(int(rng.integers(1, end)) for end in part.pick((300, 3000, 200), (300, 3000, 200), (5, 12, 40)))
        dtype, kind = str(rng.choice(list(TYPES))), str(rng.choice(list(KINDS)))
        similarity, products = str(rng.choice(SIMILARITIES)), int(rng.choice(PRODUCTS))
        case = case_of(kind, dtype, shape, int(rng.integers(1, 41)), part.device, seed=done)
        shards = min(int(rng.choice(SHARDS)), shape[1])
        found = above_of(case, similarity, products, shards, part.device)
        check(f"{shape}, {dtype}, {kind}, {similarity}, {products} products, {shards} shards",
              expected_above(case, similarity), found)  # fmt: skip
        done += 1
    part.row("random shapes", wrong=0, shapes=done)


def check(name: str, expected: np.ndarray, found: np.ndarray) -> None:
    wrong = int((expected != found).sum())
    if wrong:
        pair, language = np.argwhere(expected != found)[0]
        first = f"pair {pair}, language {language}: {found[pair, language]} and not {expected[pair, language]}"
        raise ArithmeticError(f"{name}: {wrong} of {expected.size} counts are wrong, the first of {first}")


def above_of(case: Case, similarity: str, products: int | None, shards: int, device: torch.device) -> np.ndarray:
    """The counts of so many counters added, each of consecutive passages. (N, L)"""
    relevant, row = np.unique(case.pairs[:, 1], return_inverse=True)
    pairs = np.column_stack([case.pairs[:, 0], row.ravel()])
    ends = np.linspace(0, len(case.passages), shards + 1).astype(int)
    total = np.zeros((len(pairs), case.number_of_languages), dtype=np.int64)
    for begin, end in itertools.pairwise(ends.tolist()):
        counter = RankCounter(
            case.queries, case.passages[torch.from_numpy(relevant).to(device)], pairs, relevant,
            languages=case.number_of_languages, similarity=similarity, device=device,
        )  # fmt: skip
        counter._counts.products = products  # type: ignore[attr-defined]
        counter.update(case.passages[begin:end], case.languages[begin:end], start=begin)
        total += counter.above
    return total


def expected_above(case: Case, similarity: str) -> np.ndarray:
    """How many passages of each language rank above each pair's, as `hybridlib.metric.ranks` defines it. (N, L)"""
    device = case.queries.device
    queries, passages = case.queries.double(), case.passages.double()
    query, own = torch.from_numpy(case.pairs).to(device).T  # (N,), (N,)
    languages = torch.from_numpy(case.languages).to(device)
    norms = rounded_root(in_order(passages, passages)) if similarity == "cosine" else torch.ones_like(passages[:, 0])
    norms[norms == 0] = 1
    threshold = (in_order(queries[query], passages[own]) / norms[own])[:, None]  # (N, 1)
    above = torch.zeros(len(query), case.number_of_languages, dtype=torch.int64, device=device)
    step = max(1, ORACLE_NUMBERS // (32 * max(len(queries), len(query))))
    for position in torch.arange(len(passages), device=device).split(step):
        scores = in_order(queries[:, None], passages[None, position]) / norms[position]  # (Q, C)
        score = scores[query]  # (N, C)
        higher = (score > threshold) | ((score == threshold) & (position < own[:, None]))
        above.index_add_(1, languages[position], (higher & (position != own[:, None])).long())
    return above.cpu().numpy()


def in_order(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Inner products of the last dimensions, float64: dimension d goes to sum d % 32, then neighbours are added."""
    shape = torch.broadcast_shapes(left.shape, right.shape)
    sums = torch.zeros(*shape[:-1], 32, dtype=torch.float64, device=left.device)
    for begin in range(0, shape[-1], 32):
        products = left[..., begin : begin + 32] * right[..., begin : begin + 32]
        sums[..., : products.shape[-1]] += products
    while sums.shape[-1] > 1:
        sums = sums[..., 0::2] + sums[..., 1::2]
    return sums[..., 0]


def rounded_root(squares: torch.Tensor) -> torch.Tensor:
    """Square roots to the last bit, which torch does not give on every CPU."""
    return torch.from_numpy(np.sqrt(squares.cpu().numpy())).to(squares.device)


def exact_in_any_order(
    queries: torch.Tensor, passages: torch.Tensor, own: np.ndarray, languages: np.ndarray
) -> np.ndarray:
    """The counts by the dot product where no sum is rounded: query n's relevant passage is `own[n]`. (Q, 2)"""
    place = torch.from_numpy(own).to(queries.device)[:, None]  # (Q, 1)
    second = torch.from_numpy(languages).to(queries.device).bool()
    threshold = (queries.float() * passages[place[:, 0]].float()).sum(dim=1, keepdim=True)  # (Q, 1)
    above = torch.zeros(len(queries), 2, dtype=torch.int64, device=queries.device)
    for position in torch.arange(len(passages), device=queries.device).split(1 << 18):
        scores = queries.float() @ passages[position].float().T  # (Q, C)
        higher = ((scores > threshold) | ((scores == threshold) & (position < place))) & (position != place)
        above[:, 0] += (higher & ~second[position]).sum(dim=1)
        above[:, 1] += (higher & second[position]).sum(dim=1)
    return above.cpu().numpy()


def case_of(kind: str, dtype: str, shape: tuple[int, ...], languages: int, device: torch.device, *, seed: int) -> Case:
    """Vectors of a kind; some pairs a query, hundreds for the first; of several languages the last has no passage."""
    number, passages, width = shape
    rng = np.random.default_rng(seed)
    generator = torch.Generator(device).manual_seed(seed)

    def normal(rows: int, columns: int = width) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator, device=device, dtype=torch.float64)

    wanted = getattr(torch, dtype)
    queries, corpus = (KINDS[kind](normal, rows, wanted, TYPES[dtype]).to(wanted) for rows in (number, passages))
    pairs = np.column_stack([rng.integers(0, number, 2 * number), rng.integers(0, passages, 2 * number)])
    many = rng.choice(passages, min(passages, 300), replace=False)
    pairs = np.concatenate([pairs, np.column_stack([np.zeros_like(many), many])])
    return Case(queries, corpus, pairs, rng.integers(0, max(1, languages - 1), passages), languages)


Normal = Callable[..., torch.Tensor]


def _ties(normal: Normal, rows: int, dtype: torch.dtype, decades: int) -> torch.Tensor:
    made = normal(max(1, rows // 9))
    return made[torch.arange(rows, device=made.device) % len(made)]


def _near_ties(normal: Normal, rows: int, dtype: torch.dtype, decades: int) -> torch.Tensor:
    """Copies of a few vectors that differ by some units in the last place."""
    units = normal(rows).round() * torch.finfo(dtype).eps
    return _ties(normal, rows, dtype, decades).to(dtype).double() * (1 + units)


def _norms(normal: Normal, rows: int, dtype: torch.dtype, decades: int) -> torch.Tensor:
    """Norms of all sizes; a product of two is not beyond float64."""
    sizes = torch.sigmoid(2 * normal(rows, 1)) - 0.5
    return normal(rows) * 10 ** (decades * sizes)


def _zeros(normal: Normal, rows: int, dtype: torch.dtype, decades: int) -> torch.Tensor:
    made = normal(rows)
    made[::10] = 0
    return made


# What may be hard: many exact ties, near ties, tiny and huge norms, vectors of zeros.
KINDS: dict[str, Callable[[Normal, int, torch.dtype, int], torch.Tensor]] = {
    "ties": _ties,
    "near ties": _near_ties,
    "norms": _norms,
    "zeros": _zeros,
}
