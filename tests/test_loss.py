"""InfoNCE against loops in double precision and against sentence-transformers' own losses."""

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Router, StaticEmbedding
from sentence_transformers.util import dot_score
from tiny_bert import tiny_bert
from tokenizers import Tokenizer, models
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hybridlib.loss import InfoNCE
from hybridlib.loss.functions import info_nce, info_nce_in_tiles

pytestmark = pytest.mark.usefixtures("quickly")

# These options of sentence-transformers average the losses of both directions.
SYMMETRIC = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
# There are eleven pairs, a prime: no mini batch size but 1 and 11 divides them. Their lengths differ, so that texts are
# padded.
WORDS = ["wolf", "fox", "bear", "lynx", "otter", "badger", "stoat", "mole", "shrew", "marten", "polecat"]
QUERIES = [f"where does the {word} live?" for word in WORDS]
PASSAGES = [f"the {word} lives in the {place}" for word, place in zip(WORDS, reversed(WORDS), strict=True)]
NEGATIVES = [f"{word}, {word}" for word in WORDS]


class Embedded(torch.nn.Module):
    """An encoder whose texts are numbered and whose embeddings are its parameters."""

    def __init__(self, *columns: Tensor) -> None:
        super().__init__()
        self.columns = torch.nn.ParameterList([torch.nn.Parameter(column.clone()) for column in columns])

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": torch.cat(list(self.columns))[features["input_ids"][:, 0]]}

    def __getitem__(self, index: int) -> torch.nn.Module:
        return self.columns  # of a SentenceTransformer it would be the first module

    def features(self) -> list[dict[str, Tensor]]:
        pairs = len(self.columns[0])
        return [{"input_ids": torch.arange(n * pairs, (n + 1) * pairs)[:, None]} for n in range(len(self.columns))]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def oracle(
    queries: Tensor, passages: Tensor, positive: Tensor, temperature: float, masked: Tensor, similarity: str = "cosine"
) -> list[float]:
    """Compute -log(exp(s_ii / t) / (exp(s_ii / t) + sum over negatives j of exp(s_ij / t))) term by term."""

    def score(a: list[float], b: list[float]) -> float:
        dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
        if similarity == "dot":
            return dot
        return dot / math.sqrt(math.fsum(x * x for x in a)) / math.sqrt(math.fsum(y * y for y in b))

    losses = []
    for query, own, row in zip(queries.tolist(), positive.tolist(), masked.tolist(), strict=True):
        scores = [score(query, passage) for passage in passages.tolist()]
        negatives = [s for j, s in enumerate(scores) if j != own and not row[j]]
        losses.append(math.log1p(math.fsum(math.exp((s - scores[own]) / temperature) for s in negatives)))
    return losses


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value_and_gradients(loss: torch.nn.Module, *arguments: object) -> list[Tensor]:
    """Compute a loss and its gradient by every parameter that has one."""
    loss.zero_grad(set_to_none=True)
    value = loss(*arguments)
    value.backward()
    return [value.detach(), *(p.grad.clone() for p in loss.parameters() if p.grad is not None)]


def assert_same(ours: list[Tensor], theirs: list[Tensor], **tolerance: float) -> None:
    assert len(ours) == len(theirs) > 1
    assert any(gradient.abs().max() > 0 for gradient in theirs[1:])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def preprocess(encoder: SentenceTransformer, columns: int) -> list[dict[str, Tensor]]:
    return [encoder.preprocess(texts) for texts in (QUERIES, PASSAGES, NEGATIVES)[:columns]]


def dense_sum(queries: Tensor, passages: Tensor, positive: Tensor, **options: object) -> Tensor:
    """Compute `info_nce_in_tiles` the slow way, which autograd differentiates."""
    groups = options.pop("groups", None)
    masked = None if groups is None else groups[0][:, None] == groups[1]
    return info_nce(queries, passages, positive, masked=masked, **options).sum()


def sum_and_gradients(function, queries: Tensor, passages: Tensor, *arguments: Tensor, **options: object) -> list:
    leaves = [queries.detach().clone().requires_grad_(), passages.detach().clone().requires_grad_()]
    loss = function(*leaves, *arguments, **options)
    (3 * loss).backward()  # the loss may be a part of something else
    return [loss.detach(), *(leaf.grad for leaf in leaves)]


@pytest.fixture(params=[1, 8, 50, 1 << 24], ids=lambda scores: f"tile-of-{scores}")
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Set how many scores a tile holds. With 8, it holds one or two queries, and the last of three is alone."""
    monkeypatch.setattr("hybridlib.loss.functions._TILE", request.param)
    return request.param


# The functions, dense and in tiles.


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    pairs=st.integers(1, 7),
    more=st.integers(0, 4),
    dimensions=st.integers(1, 5),
    temperature=st.sampled_from([0.01, 0.05, 0.3, 1.0, 20.0]),
    scores=st.integers(1, 40),
    kinds=st.none() | st.integers(1, 5),
    similarity=st.sampled_from(["cosine", "dot"]),
    seed=st.integers(0, 10_000),
)
def test_the_loss_is_what_its_formula_says_term_by_term(
    pairs: int,
    more: int,
    dimensions: int,
    temperature: float,
    scores: int,
    kinds: int | None,
    similarity: str,
    seed: int,
) -> None:
    queries, passages = draw(seed, pairs, dimensions), draw(seed + 1, pairs + more, dimensions)
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randperm(pairs + more, generator=generator)[:pairs]
    masked = draw(seed + 2, pairs, pairs + more) > 0.5
    if similarity == "dot":  # of sizes at which exp, in the oracle, does not overflow
        queries = queries * temperature
    options = {"temperature": temperature, "similarity": similarity}
    losses = info_nce(queries, passages, positive, masked=masked, **options)
    # Cosines are good to a few 2^-53, which 1 / temperature = 100 makes 1e-13. The rest is torch's softplus, which
    # takes x for log(1 + exp(x)) above 20: exp(-20) / 20 = 1e-10.
    expected = oracle(queries, passages, positive, temperature, masked, similarity)
    assert losses.tolist() == pytest.approx(expected, rel=2e-10, abs=0)

    groups = kinds and tuple(torch.randint(kinds, (n,), generator=generator) for n in (pairs, pairs + more))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hybridlib.loss.functions._TILE", scores)
        tiled, dense = (
            sum_and_gradients(function, queries, passages, positive, groups=groups, **options)
            for function in (info_nce_in_tiles, dense_sum)
        )
    masked = groups[0][:, None] == groups[1] if groups else torch.zeros_like(masked)
    # There is no softplus in tiles, so the tolerance is that of the cosines. Autograd's gradients are checked below.
    expected = oracle(queries, passages, positive, temperature, masked, similarity)
    assert tiled[0].item() == pytest.approx(math.fsum(expected), rel=1e-12, abs=0)
    for a, b in zip(tiled[1:], dense[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12 / temperature)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_gradients_pass_autograds_own_check(tile: int, similarity: str) -> None:
    given = draw(3, 3, 4).requires_grad_(), draw(4, 5, 4).requires_grad_()
    masked = torch.tensor([[False] * 5, [True, False, False, False, True], [True] * 5])
    groups = (torch.tensor([0, 1, 0]), torch.tensor([0, 1, 0, 1, 2]))
    for function, options in (
        (info_nce, {}),
        (info_nce, {"masked": masked}),
        (info_nce_in_tiles, {}),
        (info_nce_in_tiles, {"groups": groups}),
    ):
        options |= {"temperature": 0.3, "similarity": similarity}
        loss = partial(function, positive=torch.tensor([0, 1, 4]), **options)
        assert torch.autograd.gradcheck(loss, given)


def test_only_the_direction_of_embeddings_matters() -> None:
    queries, passages, positive = draw(1, 5, 8), draw(2, 5, 8), torch.arange(5)
    scaled = info_nce(1e4 * queries, 1e-4 * passages, positive, temperature=0.1)
    torch.testing.assert_close(scaled, info_nce(queries, passages, positive, temperature=0.1), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("rivals", "inverse"), [(6, 8), (1, 16), (3, 32)])
def test_single_precision_keeps_the_digits_of_small_losses_where_the_plain_form_loses_them(
    rivals: int, inverse: int
) -> None:
    # Scores of these unit vectors are exactly 1 and 0: log(1 + rivals * exp(-inverse)) is 0.0020, 1.1e-7 and 3.8e-14.
    queries, passages = torch.eye(rivals + 1)[:1], torch.eye(rivals + 1)
    exact = math.log1p(rivals * math.exp(-inverse))
    scores = queries @ passages.T * inverse
    plain = torch.logsumexp(scores, dim=1) - scores[:, 0]
    for form in (info_nce, info_nce_in_tiles):
        loss = form(queries, passages, torch.tensor([0]), temperature=1 / inverse)
        assert abs(loss.item() / exact - 1) < 1e-6
    assert abs(plain.item() / exact - 1) > 1e-5


def test_single_precision_is_as_good_as_the_scores_allow_on_embeddings_of_any_kind() -> None:
    passages = draw(1, 101, 64)
    queries, positive, temperature = passages + 0.3 * draw(2, 101, 64), torch.arange(101), 0.05
    exact = info_nce(queries, passages, positive, temperature=temperature)  # 2e-6 to 1e-4
    loss = info_nce(queries.float(), passages.float(), positive, temperature=temperature)
    scores = torch.nn.functional.normalize(queries.float()) @ torch.nn.functional.normalize(passages.float()).T
    plain = torch.logsumexp(scores / temperature, dim=1) - scores.diagonal() / temperature
    # A cosine is off by some 2^-23 = 1.2e-7. Two of them, divided by the temperature, move the loss by 5e-6 of itself.
    assert (loss / exact - 1).abs().max() < 2e-5
    assert (plain / exact - 1).abs().max() > 1e-2


class Largest(TorchDispatchMode):
    """A mode that notes the most elements of any tensor that is made, and the elements of all that take memory."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.taken: list[int] = []

    def __torch_dispatch__(self, function, types: object, args: Sequence = (), kwargs: Mapping | None = None) -> object:
        given = tree_leaves((args, kwargs))
        made = function(*args, **(kwargs or {}))
        known = {one.untyped_storage().data_ptr() for one in given if isinstance(one, Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
                self.taken += [tensor.numel()] * (tensor.untyped_storage().data_ptr() not in known)
        return made


def test_the_matrix_of_scores_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    # The matrix of 211 queries by 422 passages has 89,042 scores. Embeddings are at most 633 x 4, 2,532.
    monkeypatch.setattr("hybridlib.loss.functions._TILE", 4_000)
    labels = torch.arange(211) // 2
    for mini_batch_size, allowed in ((None, math.inf), (5, 4_000)):
        loss = InfoNCE(Embedded(*(draw(n, 211, 4) for n in range(3))), symmetric=True, mini_batch_size=mini_batch_size)
        with Largest() as largest:
            loss(loss.model.features(), labels).backward()
        assert largest.elements <= allowed
        assert mini_batch_size or largest.elements == 211 * 422  # so it would be seen


def test_all_tiles_lie_in_the_same_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of 61 passages, ten queries a tile: 610 scores, in seven tiles. Embeddings are 61 x 4, 244.
    monkeypatch.setattr("hybridlib.loss.functions._TILE", 619)
    with Largest() as largest:
        sum_and_gradients(info_nce_in_tiles, draw(1, 61, 4), draw(2, 61, 4), torch.arange(61), temperature=0.05)
    assert sorted(largest.taken)[-2:] == [244, 610]


@pytest.mark.parametrize("temperature", [1e-4, 1e-3, 1e-2])
def test_in_tiles_single_precision_does_not_overflow_at_low_temperatures(tile: int, temperature: float) -> None:
    # Most own passages are less near than a rival, by up to 1 / temperature, and exp overflows at 88.
    given = draw(1, 31, 16), draw(2, 37, 16), torch.arange(31)
    exact = sum_and_gradients(dense_sum, *given, temperature=temperature)
    ours = sum_and_gradients(info_nce_in_tiles, *(x.float() for x in given[:2]), given[2], temperature=temperature)
    # A score is 1 / temperature times a number that is rounded at 2^-24, and so is its norm.
    for a, b in zip(ours, exact, strict=True):
        assert (a - b).norm() / b.norm() < 4 * 2**-24 / temperature


@pytest.mark.parametrize(
    ("queries", "passages", "temperature", "expected"),
    [
        # The first query is at cosine 0 to its own passage and 1 to the rival: it loses log(1 + exp(1024)), which is
        # 1024. The second is at 1 and 0, and loses log(1 + exp(-1024)), which is 0.
        pytest.param(torch.eye(2)[[0, 0]], torch.eye(2)[[1, 0]], 2**-10, 1024, id="a rival far nearer than the own"),
        pytest.param(draw(1, 5, 3), draw(2, 1, 3).expand(7, 3), 0.05, 5 * math.log(7), id="all passages the same"),
        pytest.param(0 * draw(1, 5, 3), draw(2, 7, 3), 0.05, 5 * math.log(7), id="queries of zeros"),
        pytest.param(draw(1, 5, 3), 0 * draw(2, 7, 3), 0.05, 5 * math.log(7), id="passages of zeros"),
    ],
)
def test_in_tiles_extreme_embeddings_give_what_they_give_in_the_dense_form(
    tile: int, queries: Tensor, passages: Tensor, temperature: float, expected: float
) -> None:
    given = queries.double(), passages.double(), torch.arange(len(queries))
    ours, dense = (
        sum_and_gradients(function, *given, temperature=temperature) for function in (info_nce_in_tiles, dense_sum)
    )
    assert ours[0].item() == pytest.approx(expected, rel=1e-12)
    assert_same(ours, dense, rtol=1e-10, atol=1e-13)


def test_in_tiles_gradients_keep_their_digits_where_the_loss_is_small_and_the_plain_form_loses_them() -> None:
    # These are two views of 509 vectors, as benchmarks/loss.py makes them. Noise of 0.72 makes the loss 0.002.
    common, *noises = (draw(n, 509, 384) for n in range(3))
    queries, passages = (common + 0.72 * noise for noise in noises)
    exact = sum_and_gradients(dense_sum, queries, passages, torch.arange(509), temperature=0.05)
    assert 0.001 < exact[0].item() / 509 < 0.004

    def plain(q: Tensor, p: Tensor, positive: Tensor, temperature: float) -> Tensor:
        scores = torch.nn.functional.normalize(q) @ torch.nn.functional.normalize(p).T / temperature
        return torch.nn.functional.cross_entropy(scores, positive, reduction="sum")

    errors = {}
    for function in (info_nce_in_tiles, plain):
        found = sum_and_gradients(function, queries.float(), passages.float(), torch.arange(509), temperature=0.05)
        errors[function] = [float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True)]
    # A score is 1 / temperature = 20 times a number that is rounded at 2^-24, so errors are about 1.2e-6. With own
    # scores from the product of matrices they would be 1.9e-6.
    assert max(errors[info_nce_in_tiles]) < 1.5e-6
    assert min(errors[plain][1:]) > 4e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("autocast", [False, True])
def test_in_tiles_everything_is_computed_in_single_precision(tile: int, dtype: torch.dtype, autocast: bool) -> None:
    queries, passages, positive = draw(1, 5, 8).to(dtype), draw(2, 7, 8).to(dtype), torch.arange(5)
    expected = sum_and_gradients(info_nce_in_tiles, queries.float(), passages.float(), positive, temperature=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        ours = sum_and_gradients(info_nce_in_tiles, queries, passages, positive, temperature=0.05)
    assert [tensor.dtype for tensor in ours] == [torch.float32, dtype, dtype]
    assert all(torch.equal(a, b.to(a.dtype)) for a, b in zip(ours, expected, strict=True))


if torch.cuda.is_available():

    def test_in_tiles_cuda_gives_what_the_cpu_gives(tile: int) -> None:
        given = (draw(1, 5, 8), draw(2, 7, 8), torch.arange(5))
        groups = (torch.tensor([0, 1, 0, 2, 3]), torch.tensor([0, 1, 0, 1, 2, 3, 4]))
        expected = sum_and_gradients(info_nce_in_tiles, *given, temperature=0.05, groups=groups)
        there = sum_and_gradients(
            info_nce_in_tiles, *(x.cuda() for x in given), temperature=0.05, groups=tuple(x.cuda() for x in groups)
        )
        assert_same([x.cpu() for x in there], expected, rtol=1e-10, atol=1e-13)


# The module is compared with sentence-transformers' own.


@pytest.mark.parametrize(
    ("temperature", "mini_batch_size"),
    [(0.02, None), (0.05, None), (1.0, None), (0.05, 1), (0.05, 3), (0.05, 11), (0.05, 64)],  # 3: the last holds two
)
@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("symmetric", [False, True])
def test_with_nothing_to_mask_it_is_multiple_negatives_ranking_loss(
    bert: SentenceTransformer, temperature: float, mini_batch_size: int | None, columns: int, symmetric: bool
) -> None:
    options = SYMMETRIC if symmetric else {}
    if mini_batch_size is None:
        theirs = MultipleNegativesRankingLoss(bert, 1 / temperature, **options)
    else:
        theirs = CachedMultipleNegativesRankingLoss(bert, 1 / temperature, mini_batch_size=mini_batch_size, **options)
    expected = value_and_gradients(theirs, preprocess(bert, columns), None)
    ours = InfoNCE(bert, temperature, symmetric=symmetric, mini_batch_size=mini_batch_size)
    for labels in (None, 3 * torch.arange(11)):
        # Differences of scores of 1 / temperature = 50 lose 50 * 2^-23 = 6e-6 in their form.
        assert_same(value_and_gradients(ours, preprocess(bert, columns), labels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mini_batch_size", [None, 3])
def test_an_encoder_whose_similarity_is_the_dot_product_is_trained_by_it(
    bert: SentenceTransformer, mini_batch_size: int | None
) -> None:
    options = {"scale": 2.0, "similarity_fct": dot_score, **SYMMETRIC}
    if mini_batch_size is None:
        theirs = MultipleNegativesRankingLoss(bert, **options)
    else:
        theirs = CachedMultipleNegativesRankingLoss(bert, mini_batch_size=mini_batch_size, **options)
    expected = value_and_gradients(theirs, preprocess(bert, 3), None)
    by_dot = copy.copy(bert)
    by_dot.similarity_fn_name = "dot"
    ours = InfoNCE(by_dot, 0.5, symmetric=True, mini_batch_size=mini_batch_size)
    found = value_and_gradients(ours, preprocess(bert, 3), None)
    assert_same(found, expected, rtol=1e-4, atol=1e-5)
    by_cosine = value_and_gradients(InfoNCE(bert, 0.5, symmetric=True), preprocess(bert, 3), None)
    assert abs(found[0] - by_cosine[0]) > 0.1


def test_a_similarity_other_than_the_cosine_and_the_dot_product_is_refused(bert: SentenceTransformer) -> None:
    by_distance = copy.copy(bert)
    by_distance.similarity_fn_name = "euclidean"
    with pytest.raises(ValueError, match="the encoder's similarity is 'euclidean'; allowed: cosine, dot"):
        InfoNCE(by_distance)


@pytest.mark.parametrize("mini_batch_size", [None, 3])
@pytest.mark.parametrize("symmetric", [False, True])
def test_without_the_mask_groups_do_not_matter_and_it_is_multiple_negatives_ranking_loss(
    bert: SentenceTransformer, mini_batch_size: int | None, symmetric: bool
) -> None:
    theirs = MultipleNegativesRankingLoss(bert, 20, **(SYMMETRIC if symmetric else {}))
    expected = value_and_gradients(theirs, preprocess(bert, 3), None)
    groups = torch.tensor([[0, 5], [1, 1], *[[2, 2]] * 9])
    given = preprocess(bert, 3), groups
    options = {"symmetric": symmetric, "mini_batch_size": mini_batch_size}
    ours, masked = (value_and_gradients(InfoNCE(bert, 0.05, mask=mask, **options), *given) for mask in (False, True))
    assert_same(ours, expected, rtol=1e-4, atol=1e-5)  # as above
    assert masked[0] < 0.8 * expected[0]  # nine of eleven pairs are of one group


# Passages of the same group are no negatives.


def slow_loss(columns: list[Tensor], groups: Tensor, temperature: float, symmetric: bool) -> float:
    """Compute the module's loss by the oracle; groups that are not known are NaN, equal to none. (B, columns - 1)"""
    ways = [(columns[0], torch.cat(columns[1:]), torch.cat(list(groups.T)))]
    ways += [(columns[1], columns[0], groups[:, 0])] * symmetric
    rows, losses = torch.arange(len(groups)), []
    for queries, passages, theirs in ways:
        losses += oracle(queries, passages, rows, temperature, groups[:, :1] == theirs)
    return math.fsum(losses) / len(losses)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    pairs=st.integers(1, 7),
    negatives=st.integers(0, 2),
    kinds=st.integers(1, 6),
    shape=st.sampled_from(["(B,)", "(B, 1)", "(B, 1 + negatives)"]),
    symmetric=st.booleans(),
    mini_batch_size=st.none() | st.integers(1, 8),
    seed=st.integers(0, 10_000),
)
def test_no_passage_of_a_querys_own_group_is_among_its_negatives(
    pairs: int, negatives: int, kinds: int, shape: str, symmetric: bool, mini_batch_size: int | None, seed: int
) -> None:
    encoder = Embedded(*(draw(seed + column, pairs, 4) for column in range(2 + negatives)))
    # Some are -2 or -1, which is nobody's group.
    labels = torch.randint(-2, kinds, (pairs, 1 + negatives), generator=torch.Generator().manual_seed(seed))
    groups = labels.double().masked_fill(labels < 0, math.nan)
    if shape != "(B, 1 + negatives)":
        groups[:, 1:] = math.nan
        labels = labels[:, 0] if shape == "(B,)" else labels[:, :1]
    ours = InfoNCE(encoder, 0.3, symmetric=symmetric, mini_batch_size=mini_batch_size)
    expected = slow_loss([c.detach() for c in encoder.columns], groups, 0.3, symmetric)
    assert ours(encoder.features(), labels).item() == pytest.approx(expected, rel=1e-10)


def test_a_passage_of_its_own_group_is_no_negative_but_one_of_an_unknown_group_is() -> None:
    axes = torch.eye(4, dtype=torch.float64)
    loss = InfoNCE(Embedded(axes[:2], axes[:2], axes[2:]), 1.0)
    # A query is at cosine 1 to its own passage and 0 to all others: log(1 + rivals * exp(-1)). There are two passages
    # and two hard negatives, less its own and those of its group.
    of = {rivals: math.log1p(rivals * math.exp(-1)) for rivals in (1, 2, 3)}
    for labels, expected in (
        (None, of[3]),
        ([0, 1], of[3]),
        ([0, 0], of[2]),  # two questions on one passage
        ([[0, 2], [1, 2]], of[3]),
        ([[0, -1], [1, -1]], of[3]),  # not known
        ([[0, 0], [1, 2]], (of[2] + of[3]) / 2),
        ([[0, 1], [1, 1]], (of[3] + of[1]) / 2),
        ([[0, 2], [0, 3]], of[2]),
        ([-1, -1], of[3]),  # each item has a group of its own
        ([[-1, -1], [-1, -1]], of[3]),
    ):
        found = loss(loss.model.features(), None if labels is None else torch.tensor(labels))
        assert found.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_where_no_negative_is_left_the_loss_and_its_gradients_are_0(
    dtype: torch.dtype, symmetric: bool, mini_batch_size: int | None
) -> None:
    for pairs, labels in ((5, torch.full((5,), 3)), (1, None)):  # a batch of a single group, and of a single pair
        encoder = Embedded(draw(1, pairs, 4).to(dtype), draw(2, pairs, 4).to(dtype))
        loss = InfoNCE(encoder, 0.05, symmetric=symmetric, mini_batch_size=mini_batch_size)
        with torch.autograd.detect_anomaly(check_nan=True):  # of gradients on the way, too
            value, *gradients = value_and_gradients(loss, encoder.features(), labels)
        assert value == 0 and len(gradients) == 2
        assert all(torch.count_nonzero(gradient) == 0 for gradient in gradients)


@pytest.mark.parametrize("mini_batch_size", [None, 3])
@pytest.mark.parametrize("negatives", [0, 1])
def test_items_of_nobodys_group_are_trained_as_without_groups(
    bert: SentenceTransformer, mini_batch_size: int | None, negatives: int
) -> None:
    loss = InfoNCE(bert, 0.05, symmetric=True, mini_batch_size=mini_batch_size)
    expected = value_and_gradients(loss, preprocess(bert, 2 + negatives), None)
    ours = value_and_gradients(loss, preprocess(bert, 2 + negatives), torch.full((11, 1 + negatives), -1))
    assert ours[0] > 1
    assert_same(ours, expected, rtol=0, atol=0)


def test_with_passages_gathered_from_all_processes_groups_are_compared_over_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two processes hold pairs 0 to 2 and 3 to 5 of one batch; their mean loss is that of the batch in one process.
    columns, labels = (
        [draw(n, 6, 4) for n in range(3)],
        torch.tensor([[0, 7], [-1, 0], [2, -1], [-1, -1], [0, 2], [5, 6]]),
    )
    groups = labels.double().masked_fill(labels < 0, math.nan)
    expected, losses = slow_loss(columns, groups, 0.3, True), []
    for rank in range(2):
        own, theirs = slice(3 * rank, 3 * rank + 3), iter([*columns, labels])
        monkeypatch.setattr("hybridlib.loss.module.get_rank", lambda rank=rank: rank)
        for name in ("all_gather", "all_gather_with_grad"):
            monkeypatch.setattr(f"hybridlib.loss.module.{name}", lambda part, theirs=theirs: next(theirs))
        loss = InfoNCE(Embedded(*columns), 0.3, symmetric=True, gather_across_devices=True)
        losses.append(loss.calculate_loss([[column[own]] for column in columns], labels[own]).item())
    assert sum(losses) / 2 == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("pairs", "labels", "said"),
    [
        (3, torch.tensor([4, 4, 4]), "all of its 3 passages are of one passage group"),
        (1, None, "it has one passage"),
        (1, torch.tensor([-1]), "it has one passage"),
        (3, torch.tensor([4, 4, 5]), None),
        (3, torch.tensor([-1, -1, -1]), None),
        (3, None, None),
    ],
)
@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_a_batch_without_any_negative_is_said_once(
    caplog: pytest.LogCaptureFixture, pairs: int, labels: Tensor | None, said: str | None, mini_batch_size: int | None
) -> None:
    loss = InfoNCE(Embedded(draw(1, pairs, 4), draw(2, pairs, 4)), mini_batch_size=mini_batch_size)
    with caplog.at_level(logging.WARNING, "hybridlib"):
        values = [loss(loss.model.features(), labels).item() for _ in range(3)]
    expected = [f"a batch has no negative: {said}. Its loss is 0, and nothing is learnt from it"] if said else []
    assert [record.getMessage() for record in caplog.records] == expected
    assert all((value == 0) == bool(said) for value in values)


@pytest.mark.parametrize(("batch", "said_at"), [(1, 1), (2, 2), (3, 4), (65, 128), (129, None)])
def test_groups_are_looked_at_after_1_2_4_and_so_on_batches_and_no_batch_before_is_passed_over(
    caplog: pytest.LogCaptureFixture, batch: int, said_at: int | None
) -> None:
    loss = InfoNCE(Embedded(draw(1, 3, 4), draw(2, 3, 4)))
    said = []
    for number in range(1, 260):
        loss(loss.model.features(), torch.tensor([4, 4, 4] if number == batch else [4, 5, 6]))
        said += [number] * len(caplog.records)
        caplog.clear()
    assert said == ([said_at] if said_at else [])


@pytest.mark.parametrize("symmetric", [False, True])
def test_where_no_groups_are_looked_at_nothing_waits_for_the_device(symmetric: bool) -> None:
    # Nothing on the device "meta" has a value, so whoever looks at one fails.
    loss = InfoNCE(Embedded(draw(1, 6, 4), draw(2, 6, 4)), symmetric=symmetric)
    features, labels = loss.model.features(), torch.arange(6)
    for _ in range(2):
        loss(features, labels)
    loss.to("meta")
    value = loss([{name: one.to("meta") for name, one in column.items()} for column in features], labels.to("meta"))
    value.backward()
    assert value.is_meta and all(one.grad.is_meta for one in loss.parameters())


# Queries and documents may have modules of their own.


@pytest.mark.parametrize("mini_batch_size", [None, 3])
def test_a_router_trains_the_modules_of_queries_and_of_documents(tmp_path: Path, mini_batch_size: int | None) -> None:
    both = tiny_bert(tmp_path / "query"), tiny_bert(tmp_path / "document")
    router = Router.for_query_document(*(list(one.children()) for one in both))
    encoder = SentenceTransformer(modules=[router], device="cpu")
    texts = (QUERIES * 3, PASSAGES * 3, NEGATIVES * 3)  # so many are embedded in groups
    columns = [
        encoder.preprocess(some, task=task) for some, task in zip(texts, ["query", *["document"] * 2], strict=True)
    ]
    value, *_ = value_and_gradients(InfoNCE(encoder, 0.1, mini_batch_size=mini_batch_size), columns)
    apart = [both[n > 0](both[n > 0].preprocess(some))["sentence_embedding"] for n, some in enumerate(texts)]
    expected = info_nce(apart[0], torch.cat(apart[1:]), torch.arange(33), temperature=0.1).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)  # single precision
    ours = [[p.grad.clone() for p in part.parameters() if p.grad is not None] for part in router.sub_modules.values()]
    router.zero_grad()
    expected.backward()
    for part, gradients in zip(router.sub_modules.values(), ours, strict=True):
        theirs = [p.grad for p in part.parameters() if p.grad is not None]
        assert_same(gradients, theirs, rtol=1e-3, atol=1e-5)


# Gradient caching.


@pytest.mark.parametrize("mini_batch_size", [1, 4, 11, 12])  # 4: the last mini batch holds three
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("scores", [1, 66, 1 << 24])  # 66: three queries a tile, of 22 passages; the last holds two
def test_gradient_caching_changes_neither_loss_nor_gradients(
    bert: SentenceTransformer, monkeypatch: pytest.MonkeyPatch, mini_batch_size: int, symmetric: bool, scores: int
) -> None:
    monkeypatch.setattr("hybridlib.loss.functions._TILE", scores)
    labels = torch.tensor([[0, 5], [1, 1], [2, 7], [0, 1], [4, 4], [1, 0], [6, 9], [7, 2], [8, 8], [9, 1], [10, 6]])
    whole = InfoNCE(bert, 0.1, symmetric=symmetric)
    cached = InfoNCE(bert, 0.1, symmetric=symmetric, mini_batch_size=mini_batch_size)
    expected = value_and_gradients(whole, preprocess(bert, 3), labels)
    ours = value_and_gradients(cached, preprocess(bert, 3), labels)
    assert_same(ours, expected, rtol=1e-4, atol=1e-6)  # sums of the same terms in another order, in single precision
    with torch.no_grad():
        for loss, value in ((whole, expected[0]), (cached, ours[0])):
            torch.testing.assert_close(loss(preprocess(bert, 3), labels), value, rtol=1e-6, atol=0)


def test_gradient_caching_draws_the_same_dropout_twice(tmp_path: Path) -> None:
    bert = tiny_bert(tmp_path, dropout=0.3).train()
    torch.manual_seed(5)
    expected = value_and_gradients(InfoNCE(bert, 0.1), preprocess(bert, 2))
    torch.manual_seed(5)
    # A mini batch of everything takes what the whole batch takes from the generator, and then takes it again.
    ours = value_and_gradients(InfoNCE(bert, 0.1, mini_batch_size=11), preprocess(bert, 2))
    assert_same(ours, expected, rtol=1e-4, atol=1e-6)


def test_the_model_card_and_the_trainer_are_told_how_the_loss_was_set(bert: SentenceTransformer) -> None:
    assert InfoNCE(bert, 0.1, symmetric=True, mini_batch_size=4).get_config_dict() == {
        "temperature": 0.1,
        "similarity": "cosine",
        "mask": True,
        "symmetric": True,
        "mini_batch_size": 4,
        "gather_across_devices": False,
    }
    assert InfoNCE(bert, mini_batch_size=2).uses_gradient_cache and not InfoNCE(bert).uses_gradient_cache


# Arguments that are refused.


@pytest.mark.parametrize(
    ("argument", "value", "allowed"),
    [
        *(("temperature", value, "greater than 0") for value in (0, -0.05)),
        *(("temperature", value, "a finite number") for value in (math.inf, math.nan)),
        ("temperature", "0.05", "a number"),
        *(("mini_batch_size", value, "greater than or equal to 1") for value in (0, -3)),
        *(("mini_batch_size", value, "a whole number") for value in (2.5, "3", True)),
        *((name, "no", "True or False") for name in ("mask", "symmetric", "gather_across_devices")),
        *(("model", value, "an instance of Module, as made by load_encoder") for value in (None, "static")),
    ],
)
def test_an_argument_of_another_type_or_out_of_range_is_refused(
    bert: SentenceTransformer, argument: str, value: object, allowed: str
) -> None:
    with pytest.raises(ValueError, match=f"^{argument} is {value!r}; allowed: {allowed}"):
        InfoNCE(**{"model": bert} | {argument: value})


PAIR = {"queries": torch.eye(2), "passages": torch.eye(2), "positive": torch.arange(2), "temperature": 1.0}
MATRICES = "allowed: matrices of floats, as wide as each other, with one passage or more"


@pytest.mark.parametrize("function", [info_nce, info_nce_in_tiles])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": 0}, "temperature is 0; allowed: greater than 0"),
        ({"temperature": -1.0}, r"temperature is -1\.0; allowed: greater than 0"),
        ({"temperature": math.nan}, "temperature is nan; allowed: "),
        ({"similarity": "euclidean"}, "similarity is 'euclidean'; allowed: 'cosine' or 'dot'"),
        ({"queries": [[1.0]]}, "queries is .*; allowed: an instance of Tensor"),
        ({"queries": torch.eye(3)[:2]}, rf"queries is an array of torch.float32 of shape \(2, 3\), .*; {MATRICES}"),
        ({"queries": torch.eye(2).int()}, rf"queries is an array of torch.int32 of shape \(2, 2\), .*; {MATRICES}"),
        ({"passages": torch.eye(2)[:0]}, rf"passages is an array of torch.float32 of shape \(0, 2\); {MATRICES}"),
        ({"passages": torch.ones(2)}, rf"passages is an array of torch.float32 of shape \(2,\); {MATRICES}"),
        (
            {"positive": torch.arange(3)},
            r"positive is an array of torch.int64 of shape \(3,\); allowed: torch.int64 of",
        ),
        (
            {"positive": torch.ones(2)},
            r"positive is an array of torch.float32 of shape \(2,\); allowed: torch.int64 of",
        ),
    ],
)
def test_a_function_refuses_what_would_give_a_plausible_number(function, given: dict, message: str) -> None:
    assert function(**PAIR).sum().item() == pytest.approx(2 * math.log1p(math.exp(-1)), rel=1e-6)
    with pytest.raises(ValueError, match=f"^{message}" if "passages" not in given else message):
        function(**PAIR | given)


@pytest.mark.parametrize("masked", [torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 2)])
def test_a_mask_of_another_shape_or_type_is_refused(masked: Tensor) -> None:
    with pytest.raises(ValueError, match=r"masked is an array of torch.*; allowed: booleans of shape \(2, 2\)"):
        info_nce(**PAIR, masked=masked)


@pytest.mark.parametrize("mini_batch_size", [None, 3])
@pytest.mark.parametrize("labels", [torch.rand(11), torch.ones(11).half(), torch.ones(11).bool(), [0] * 11, ["a"] * 11])
def test_labels_that_are_no_groups_are_refused_instead_of_masking(
    bert: SentenceTransformer, mini_batch_size: int | None, labels: object
) -> None:
    loss = InfoNCE(bert, mini_batch_size=mini_batch_size)
    with pytest.raises(ValueError, match=r"labels is .*; allowed: whole numbers, the passage groups\. Remove the col"):
        loss(preprocess(bert, 2), labels)
    unmasked = InfoNCE(bert, mini_batch_size=mini_batch_size, mask=False)
    assert unmasked(preprocess(bert, 2), labels) == loss(preprocess(bert, 2), None)


def test_columns_of_different_lengths_and_empty_ones_are_refused() -> None:
    for rows in ((2, 3), (0, 0)):
        loss = InfoNCE(Embedded(*(draw(n, size, 4) for n, size in enumerate(rows))))
        features = [{"input_ids": torch.arange(size)[:, None]} for size in rows]
        with pytest.raises(ValueError, match=r"the embedded columns have the shapes .*; allowed: as many rows in all"):
            loss(features)


def test_a_static_embedding_cannot_be_embedded_in_mini_batches() -> None:
    static = StaticEmbedding(Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")), embedding_dim=4)
    encoder = SentenceTransformer(modules=[static], device="cpu")
    message = "mini_batch_size is 2; allowed: None, since batches of a StaticEmbedding cannot be cut"
    with pytest.raises(ValueError, match=message):
        InfoNCE(encoder, mini_batch_size=2)
    assert InfoNCE(encoder)([encoder.preprocess(["a", "b"]) for _ in range(2)]).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("columns", [0, 1])
def test_a_batch_without_passages_is_refused(bert: SentenceTransformer, columns: int) -> None:
    with pytest.raises(ValueError, match=rf"needs a query and a passage column; columns: {columns}"):
        InfoNCE(bert)(preprocess(bert, columns))


@pytest.mark.parametrize("mini_batch_size", [None, 3])
@pytest.mark.parametrize("shape", [(), (10,), (11, 3), (10, 2), (22,), (11, 2, 1), (11, 0)])
def test_labels_of_another_shape_are_refused(
    bert: SentenceTransformer, mini_batch_size: int | None, shape: tuple[int, ...]
) -> None:
    labels = torch.zeros(shape, dtype=torch.long)
    message = rf"labels has shape \({', '.join(map(str, shape))},?\); expected \(11,\) or \(11, 2\)"
    with pytest.raises(ValueError, match=message):
        InfoNCE(bert, mini_batch_size=mini_batch_size)(preprocess(bert, 3), labels)
