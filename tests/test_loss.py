"""InfoNCE against loops in double precision and against sentence-transformers' own losses."""

import math
from collections.abc import Iterator, Mapping, Sequence
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
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tiny_bert import tiny_bert
from tokenizers import Tokenizer, models
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hybridlib.loss import InfoNCE, info_nce, info_nce_in_tiles

# How sentence-transformers calls the average of the losses of both directions.
SYMMETRIC = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
# Eleven pairs, a prime: no mini batch size but 1 and 11 divides them. Of different lengths, so that they are padded.
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
        return self.columns

    def features(self) -> list[dict[str, Tensor]]:
        pairs = len(self.columns[0])
        return [{"input_ids": torch.arange(n * pairs, (n + 1) * pairs)[:, None]} for n in range(len(self.columns))]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def oracle(
    queries: list[list[float]], passages: list[list[float]], positive: list[int], temperature: float, masked: list
) -> list[float]:
    """-log(exp(s_ii / t) / (exp(s_ii / t) + sum over negatives of exp(s_ij / t))), term by term."""

    def cosine(a: list[float], b: list[float]) -> float:
        dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(math.fsum(x * x for x in a)) / math.sqrt(math.fsum(y * y for y in b))

    losses = []
    for i, query in enumerate(queries):
        own = cosine(query, passages[positive[i]])
        rivals = []
        for j, passage in enumerate(passages):
            if j != positive[i] and not masked[i][j]:
                rivals.append(math.exp((cosine(query, passage) - own) / temperature))
        losses.append(math.log1p(math.fsum(rivals)))
    return losses


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value_and_gradients(loss: torch.nn.Module, *arguments: object) -> list[Tensor]:
    """The loss, and its gradient by every parameter that it has one by."""
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


# The function.


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    pairs=st.integers(1, 7),
    more=st.integers(0, 4),
    dimensions=st.integers(1, 5),
    temperature=st.sampled_from([0.01, 0.05, 0.3, 1.0, 20.0]),
    seed=st.integers(0, 10_000),
)
def test_info_nce_is_what_its_formula_says_term_by_term(
    pairs: int, more: int, dimensions: int, temperature: float, seed: int
) -> None:
    queries, passages = draw(seed, pairs, dimensions), draw(seed + 1, pairs + more, dimensions)
    positive = torch.randperm(pairs + more, generator=torch.Generator().manual_seed(seed))[:pairs]
    masked = draw(seed + 2, pairs, pairs + more) > 0.5
    losses = info_nce(queries, passages, positive, temperature=temperature, masked=masked)
    expected = oracle(queries.tolist(), passages.tolist(), positive.tolist(), temperature, masked.tolist())
    # Cosines are good to a few 2^-53, which 1 / temperature = 100 makes 1e-13. The rest is torch's softplus, which
    # takes log(1 + exp(x)) for x above 20: exp(-20) / 20 = 1e-10.
    assert losses.tolist() == pytest.approx(expected, rel=2e-10, abs=0)


def test_the_gradient_of_info_nce_is_the_slope_of_the_oracle() -> None:
    queries, passages = draw(1, 3, 4).requires_grad_(), draw(2, 5, 4).requires_grad_()
    masked = [[False] * 5, [True, False, False, False, True], [True] * 5]
    positive, temperature, step = [0, 1, 4], 0.2, 1e-6
    info_nce(
        queries, passages, torch.tensor(positive), temperature=temperature, masked=torch.tensor(masked)
    ).sum().backward()
    for place, other in ((queries, passages), (passages, queries)):
        for row in range(len(place)):
            for dimension in range(4):
                ends = []
                for sign in (1, -1):
                    moved = place.detach().clone()
                    moved[row, dimension] += sign * step
                    pair = (moved, other.detach()) if place is queries else (other.detach(), moved)
                    ends.append(math.fsum(oracle(*(x.tolist() for x in pair), positive, temperature, masked)))
                # Rounding, 1e-16 / step, and the third derivative, step^2, are both below 1e-8.
                slope = (ends[0] - ends[1]) / (2 * step)
                assert place.grad[row, dimension].item() == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_gradients_pass_autograds_own_check_masked_and_not() -> None:
    queries, passages = draw(3, 3, 4).requires_grad_(), draw(4, 5, 4).requires_grad_()
    for masked in (None, draw(5, 3, 5) > 0):
        assert torch.autograd.gradcheck(
            lambda q, p, masked=masked: info_nce(q, p, torch.arange(3), temperature=0.3, masked=masked),
            (queries, passages),
        )


def test_only_the_direction_of_embeddings_matters() -> None:
    queries, passages, positive = draw(1, 5, 8), draw(2, 5, 8), torch.arange(5)
    scaled = info_nce(1e4 * queries, 1e-4 * passages, positive, temperature=0.1)
    torch.testing.assert_close(scaled, info_nce(queries, passages, positive, temperature=0.1), rtol=1e-12, atol=0)


def test_the_temperature_divides_the_scores() -> None:
    # A query at 60 degrees to its own passage and at 90 to one rival: log(1 + exp((0 - 1/2) / t)).
    queries = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    passages = torch.tensor([[1.0, math.sqrt(3)], [0.0, 1.0]], dtype=torch.float64)
    for temperature in (0.01, 0.05, 0.5, 1.0, 100.0):
        loss = info_nce(queries, passages, torch.tensor([0]), temperature=temperature)
        assert loss.item() == pytest.approx(math.log1p(math.exp(-0.5 / temperature)), rel=1e-12)


@pytest.mark.parametrize(("rivals", "inverse"), [(6, 8), (1, 16), (3, 32)])
def test_single_precision_keeps_the_digits_of_small_losses_where_the_plain_form_loses_them(
    rivals: int, inverse: int
) -> None:
    # Unit vectors, so that scores are exactly 1 and 0: log(1 + rivals * exp(-inverse)) is 0.0020, 1.1e-7 and 3.8e-14.
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
    # A cosine is off by some 2^-23 = 1.2e-7; two of them, divided by the temperature, move the loss by 5e-6 of itself.
    assert (loss / exact - 1).abs().max() < 2e-5
    assert (plain / exact - 1).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_a_query_with_everything_masked_has_loss_0_and_finite_gradients() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        queries = draw(1, 4, 3).to(dtype).requires_grad_()
        passages = draw(2, 4, 3).to(dtype).requires_grad_()
        masked = torch.ones(4, 4, dtype=torch.bool)
        with torch.autograd.detect_anomaly(check_nan=True):  # of gradients on the way, too
            loss = info_nce(queries, passages, torch.arange(4), temperature=0.05, masked=masked)
            assert loss.tolist() == [0] * 4
            loss.sum().backward()
        assert queries.grad.abs().sum() == passages.grad.abs().sum() == 0


def test_a_single_pair_has_nothing_to_learn_from() -> None:
    queries = draw(1, 1, 3).requires_grad_()
    loss = info_nce(queries, draw(2, 1, 3), torch.tensor([0]), temperature=0.05)
    loss.sum().backward()
    assert loss.tolist() == [0] and queries.grad.abs().sum() == 0


def test_a_masked_passage_does_not_move() -> None:
    queries, passages = draw(1, 2, 3), draw(2, 3, 3).requires_grad_()
    masked = torch.tensor([[False, False, True], [False, False, True]])
    info_nce(queries, passages, torch.arange(2), temperature=0.5, masked=masked).sum().backward()
    assert passages.grad[2].abs().sum() == 0 and passages.grad[:2].abs().min() > 0


# In tiles.


@pytest.fixture(params=[1, 8, 50, 1 << 24], ids=lambda scores: f"tile-of-{scores}")
def tile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of 8 scores, a tile of three to seven passages holds one or two queries; where they are three, the last one."""
    monkeypatch.setattr("hybridlib.loss._TILE", request.param)
    return request.param


class Largest(TorchDispatchMode):
    """The most elements of any tensor that is made."""

    elements = 0

    def __torch_dispatch__(self, function, types: object, args: Sequence = (), kwargs: Mapping | None = None) -> object:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, list | tuple) else [made]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


def dense_sum(queries: Tensor, passages: Tensor, positive: Tensor, **options: object) -> Tensor:
    """The slow way to `info_nce_in_tiles`, differentiated by autograd."""
    groups = options.pop("groups", None)
    masked = None if groups is None else groups[0][:, None] == groups[1][None, :]
    return info_nce(queries, passages, positive, masked=masked, **options).sum()


def sum_and_gradients(function, queries: Tensor, passages: Tensor, *arguments: Tensor, **options: object) -> list:
    leaves = [queries.detach().clone().requires_grad_(), passages.detach().clone().requires_grad_()]
    loss = function(*leaves, *arguments, **options)
    (3 * loss).backward()  # of a part of something else
    return [loss.detach(), *(leaf.grad for leaf in leaves)]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    pairs=st.integers(1, 7),
    more=st.integers(0, 4),
    dimensions=st.integers(1, 5),
    temperature=st.sampled_from([0.01, 0.05, 0.3, 1.0, 20.0]),
    scores=st.integers(1, 40),
    kinds=st.none() | st.integers(1, 5),
    seed=st.integers(0, 10_000),
)
def test_in_tiles_it_is_the_sum_of_its_formula_term_by_term(
    pairs: int, more: int, dimensions: int, temperature: float, scores: int, kinds: int | None, seed: int
) -> None:
    queries, passages = draw(seed, pairs, dimensions), draw(seed + 1, pairs + more, dimensions)
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randperm(pairs + more, generator=generator)[:pairs]
    groups = None if kinds is None else [torch.randint(kinds, (n,), generator=generator) for n in (pairs, pairs + more)]
    masked = [
        [groups is not None and bool(groups[0][i] == groups[1][j]) for j in range(pairs + more)] for i in range(pairs)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hybridlib.loss._TILE", scores)
        ours = sum_and_gradients(
            info_nce_in_tiles, queries, passages, positive, temperature=temperature, groups=groups and tuple(groups)
        )
    losses = oracle(queries.tolist(), passages.tolist(), positive.tolist(), temperature, masked)
    # Cosines are good to a few 2^-53, which 1 / temperature = 100 makes 1e-13 of a loss; so small a loss is its square.
    assert ours[0].item() == pytest.approx(math.fsum(losses), rel=1e-12, abs=0)
    # Gradients by autograd, whose own are tested above against slopes of the oracle. Torch's softplus makes 1e-10.
    expected = sum_and_gradients(
        dense_sum, queries, passages, positive, temperature=temperature, groups=groups and tuple(groups)
    )
    for a, b in zip(ours[1:], expected[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12 / temperature)


def test_gradients_in_tiles_pass_autograds_own_check(tile: int) -> None:
    queries, passages = draw(3, 3, 4).requires_grad_(), draw(4, 5, 4).requires_grad_()
    for groups in (None, (torch.tensor([0, 1, 0]), torch.tensor([0, 1, 0, 1, 2]))):
        assert torch.autograd.gradcheck(
            lambda q, p, groups=groups: info_nce_in_tiles(q, p, torch.arange(3), temperature=0.3, groups=groups),
            (queries, passages),
        )


def test_the_matrix_of_scores_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    # With hard negatives, and both ways: 211 x 422 scores are 89,042. Embeddings are at most 633 x 4, 2,532.
    monkeypatch.setattr("hybridlib.loss._TILE", 4_000)
    labels = torch.arange(211) // 2
    for mini_batch_size, allowed in ((None, math.inf), (5, 4_000)):
        loss = InfoNCE(Embedded(*(draw(n, 211, 4) for n in range(3))), symmetric=True, mini_batch_size=mini_batch_size)
        with Largest() as largest:
            loss(loss.model.features(), labels).backward()
        assert largest.elements <= allowed
        assert mini_batch_size or largest.elements == 211 * 422  # that it would be seen


def test_a_query_far_nearer_to_a_rival_than_to_its_own_overflows_nothing(tile: int) -> None:
    # Cosine 0 to its own, 1 to the rival: log(1 + exp(1 / t)), 1 / t = 1024; the second's is the other way round.
    axes = torch.eye(2)
    given = (axes[[0, 0]], axes[[1, 0]], torch.arange(2))
    ours = sum_and_gradients(info_nce_in_tiles, *given, temperature=2**-10)
    assert ours[0].item() == 1024
    assert_same(ours, sum_and_gradients(dense_sum, *given, temperature=2**-10), rtol=1e-6, atol=0)


def test_where_all_passages_are_the_same_every_query_loses_the_logarithm_of_their_number(tile: int) -> None:
    queries, passages = draw(1, 5, 3), draw(2, 1, 3).expand(7, 3)
    loss, by_queries, by_passages = sum_and_gradients(
        info_nce_in_tiles, queries, passages, torch.arange(5), temperature=0.05
    )
    assert loss.item() == pytest.approx(5 * math.log(7), rel=1e-12)
    assert by_queries.abs().max() < 1e-12 and by_passages.abs().max() > 0.1  # nowhere to go; away from each other


def test_an_embedding_of_zeros_is_taken_as_the_dense_form_takes_it(tile: int) -> None:
    queries, passages = draw(1, 3, 4), draw(2, 5, 4)
    queries[1], passages[2] = 0, 0
    ours, expected = (
        sum_and_gradients(function, queries, passages, torch.arange(3), temperature=0.5)
        for function in (info_nce_in_tiles, dense_sum)
    )
    assert_same(ours, expected, rtol=1e-10, atol=1e-13)


def test_in_tiles_gradients_keep_their_digits_where_the_loss_is_small_and_the_plain_form_loses_them() -> None:
    # Two views of 509 vectors, as benchmarks/loss.py makes them: noise of 0.72 makes the loss 0.002.
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
    # A score is 1 / temperature = 20 times what is rounded at 2^-24: 1.2e-6. Own scores from the product of matrices
    # make it 1.9e-6.
    assert max(errors[info_nce_in_tiles]) < 1.5e-6
    assert min(errors[plain][1:]) > 4e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_tiles_half_precision_is_computed_in_single(tile: int, dtype: torch.dtype) -> None:
    queries, passages, positive = draw(1, 5, 8).to(dtype), draw(2, 7, 8).to(dtype), torch.arange(5)
    half = sum_and_gradients(info_nce_in_tiles, queries, passages, positive, temperature=0.05)
    single = sum_and_gradients(info_nce_in_tiles, queries.float(), passages.float(), positive, temperature=0.05)
    assert half[0].dtype == torch.float32
    for ours, expected in zip(half[1:], single[1:], strict=True):
        assert ours.dtype == dtype and torch.equal(ours, expected.to(dtype))
    assert torch.equal(half[0], single[0])


def test_in_tiles_autocast_takes_no_digits(tile: int) -> None:
    given = (draw(1, 5, 8).float(), draw(2, 7, 8).float(), torch.arange(5))
    expected = sum_and_gradients(info_nce_in_tiles, *given, temperature=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = sum_and_gradients(info_nce_in_tiles, *given, temperature=0.05)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


if torch.cuda.is_available():

    def test_in_tiles_cuda_gives_what_the_cpu_gives(tile: int) -> None:
        given = (draw(1, 5, 8), draw(2, 7, 8), torch.arange(5))
        groups = (torch.tensor([0, 1, 0, 2, 3]), torch.tensor([0, 1, 0, 1, 2, 3, 4]))
        expected = sum_and_gradients(info_nce_in_tiles, *given, temperature=0.05, groups=groups)
        there = sum_and_gradients(
            info_nce_in_tiles, *(x.cuda() for x in given), temperature=0.05, groups=tuple(x.cuda() for x in groups)
        )
        assert_same([x.cpu() for x in there], expected, rtol=1e-10, atol=1e-13)


# The module, against sentence-transformers' own.


@pytest.mark.parametrize("temperature", [0.02, 0.05, 1.0])
@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("symmetric", [False, True])
def test_with_nothing_to_mask_it_is_multiple_negatives_ranking_loss(
    bert: SentenceTransformer, temperature: float, columns: int, symmetric: bool
) -> None:
    theirs = MultipleNegativesRankingLoss(bert, scale=1 / temperature, **(SYMMETRIC if symmetric else {}))
    expected = value_and_gradients(theirs, preprocess(bert, columns), None)
    # Differences of scores of 1 / temperature = 50 lose 50 * 2^-23 = 6e-6 in their form.
    ours = InfoNCE(bert, temperature, symmetric=symmetric)
    assert_same(value_and_gradients(ours, preprocess(bert, columns)), expected, rtol=1e-4, atol=2e-5)
    assert_same(
        value_and_gradients(ours, preprocess(bert, columns), 3 * torch.arange(11)), expected, rtol=1e-4, atol=2e-5
    )


@pytest.mark.parametrize("mini_batch_size", [1, 3, 11, 64])  # 3: the last mini batch holds two
@pytest.mark.parametrize("columns", [2, 3])
@pytest.mark.parametrize("symmetric", [False, True])
def test_with_nothing_to_mask_it_is_cached_multiple_negatives_ranking_loss(
    bert: SentenceTransformer, mini_batch_size: int, columns: int, symmetric: bool
) -> None:
    theirs = CachedMultipleNegativesRankingLoss(
        bert, scale=20, mini_batch_size=mini_batch_size, **(SYMMETRIC if symmetric else {})
    )
    ours = InfoNCE(bert, 0.05, symmetric=symmetric, mini_batch_size=mini_batch_size)
    assert_same(
        value_and_gradients(ours, preprocess(bert, columns)),
        value_and_gradients(theirs, preprocess(bert, columns), None),
        rtol=1e-4,
        atol=1e-5,
    )


# What is left out of the negatives.


def slow_loss(columns: list[Tensor], groups: list[list[int | None]], temperature: float, symmetric: bool) -> float:
    """The module's loss by the oracle: `groups[row][column]` of the passages, None where not known."""
    pairs, passages = len(columns[0]), torch.cat(columns[1:]).tolist()
    queries, positives, rows = columns[0].tolist(), columns[1].tolist(), list(range(pairs))
    masked = [[groups[i][0] == groups[j][c] for c in range(len(columns) - 1) for j in rows] for i in rows]
    loss = math.fsum(oracle(queries, passages, rows, temperature, masked)) / pairs
    if symmetric:
        back = [[groups[i][0] == groups[j][0] for j in rows] for i in rows]
        loss = (loss + math.fsum(oracle(positives, queries, rows, temperature, back)) / pairs) / 2
    return loss


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    pairs=st.integers(1, 7),
    negatives=st.integers(0, 2),
    kinds=st.integers(1, 6),
    known=st.booleans(),
    symmetric=st.booleans(),
    mini_batch_size=st.none() | st.integers(1, 8),
    seed=st.integers(0, 10_000),
)
def test_no_passage_of_a_querys_own_group_is_among_its_negatives(
    pairs: int, negatives: int, kinds: int, known: bool, symmetric: bool, mini_batch_size: int | None, seed: int
) -> None:
    encoder = Embedded(*(draw(seed + column, pairs, 4) for column in range(2 + negatives)))
    labels = torch.randint(kinds, (pairs, 1 + negatives), generator=torch.Generator().manual_seed(seed))
    groups: list[list[int | None]] = labels.tolist()
    if not known:  # the groups of hard negatives
        labels = labels[:, 0]
        groups = [[group[0], *[None] * negatives] for group in groups]
    ours = InfoNCE(encoder, 0.3, symmetric=symmetric, mini_batch_size=mini_batch_size)
    expected = slow_loss([c.detach() for c in encoder.columns], groups, 0.3, symmetric)
    assert ours(encoder.features(), labels).item() == pytest.approx(expected, rel=1e-10)


def test_another_question_on_the_same_passage_is_no_negative() -> None:
    # Questions 0 and 2 are on one passage; without the mask its two copies would push each other away. Query 0 at
    # cosine 1 to its own passage and 0 to that of question 1: log(1 + exp(-1 / t)); so for the others.
    axes = torch.eye(2, dtype=torch.float64)
    encoder = Embedded(axes[[0, 1, 0]], axes[[0, 1, 0]])
    one, two = math.log1p(math.exp(-1)), math.log1p(2 * math.exp(-1))
    unmasked = math.log1p(1 + math.exp(-1))
    assert InfoNCE(encoder, 1.0)(encoder.features(), torch.tensor([7, 8, 7])).item() == pytest.approx(
        (one + two + one) / 3, rel=1e-12
    )
    assert InfoNCE(encoder, 1.0)(encoder.features()).item() == pytest.approx((2 * unmasked + two) / 3, rel=1e-12)


def test_a_hard_negative_of_its_own_group_is_no_negative_but_of_an_unknown_group_it_is() -> None:
    axes = torch.eye(4, dtype=torch.float64)
    encoder = Embedded(axes[:2], axes[:2], axes[2:])
    loss = InfoNCE(encoder, 1.0)
    # All rivals are at cosine 0. Two passages and two hard negatives, less its own and what is of its group.
    of = {rivals: math.log1p(rivals * math.exp(-1)) for rivals in (1, 2, 3)}
    for labels, expected in (
        (None, of[3]),
        (torch.tensor([0, 1]), of[3]),
        (torch.tensor([[0, 2], [1, 2]]), of[3]),
        (torch.tensor([[0, 0], [1, 2]]), (of[2] + of[3]) / 2),
        (torch.tensor([[0, 1], [1, 1]]), (of[3] + of[1]) / 2),
        (torch.tensor([[0, 2], [0, 3]]), of[2]),
    ):
        assert loss(encoder.features(), labels).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_a_batch_of_a_single_group_has_loss_0_and_finite_gradients(
    symmetric: bool, mini_batch_size: int | None
) -> None:
    encoder = Embedded(draw(1, 5, 4).float(), draw(2, 5, 4).float())
    loss = InfoNCE(encoder, 0.05, symmetric=symmetric, mini_batch_size=mini_batch_size)
    value, *gradients = value_and_gradients(loss, encoder.features(), torch.full((5,), 3))
    assert value == 0 and len(gradients) == 2
    assert all(torch.count_nonzero(gradient) == 0 for gradient in gradients)


# Gradient caching.


@pytest.mark.parametrize("mini_batch_size", [1, 4, 11, 12])  # 4: the last mini batch holds three
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("scores", [1, 66, 1 << 24])  # 66: three queries a tile, of 22 passages; the last holds two
def test_gradient_caching_changes_neither_loss_nor_gradients(
    bert: SentenceTransformer, monkeypatch: pytest.MonkeyPatch, mini_batch_size: int, symmetric: bool, scores: int
) -> None:
    monkeypatch.setattr("hybridlib.loss._TILE", scores)
    labels = torch.tensor([[0, 5], [1, 1], [2, 7], [0, 1], [4, 4], [1, 0], [6, 9], [7, 2], [8, 8], [9, 1], [10, 6]])
    whole = InfoNCE(bert, 0.1, symmetric=symmetric)
    cached = InfoNCE(bert, 0.1, symmetric=symmetric, mini_batch_size=mini_batch_size)
    expected = value_and_gradients(whole, preprocess(bert, 3), labels)
    # Sums of the same terms in another order, in single precision.
    assert_same(value_and_gradients(cached, preprocess(bert, 3), labels), expected, rtol=1e-4, atol=1e-6)


def test_gradient_caching_draws_the_same_dropout_twice(tmp_path: Path) -> None:
    bert = tiny_bert(tmp_path, dropout=0.3).train()
    torch.manual_seed(5)
    expected = value_and_gradients(InfoNCE(bert, 0.1), preprocess(bert, 2))
    torch.manual_seed(5)
    # A mini batch of everything takes what the whole batch takes from the generator, and then takes it again.
    ours = value_and_gradients(InfoNCE(bert, 0.1, mini_batch_size=11), preprocess(bert, 2))
    assert_same(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mini_batch_size", [None, 3])
def test_without_gradients_the_loss_is_the_same(bert: SentenceTransformer, mini_batch_size: int | None) -> None:
    loss = InfoNCE(bert, 0.1, mini_batch_size=mini_batch_size)
    expected = loss(preprocess(bert, 2), torch.arange(11)).item()
    with torch.no_grad():
        assert loss(preprocess(bert, 2), torch.arange(11)).item() == pytest.approx(expected, rel=1e-6)


def test_the_loss_says_whether_it_caches_gradients(bert: SentenceTransformer) -> None:
    assert InfoNCE(bert, mini_batch_size=2).uses_gradient_cache
    assert not InfoNCE(bert).uses_gradient_cache


def test_the_model_card_is_told_how_the_loss_was_set(bert: SentenceTransformer) -> None:
    assert InfoNCE(bert, 0.1, symmetric=True, mini_batch_size=4).get_config_dict() == {
        "temperature": 0.1,
        "symmetric": True,
        "mini_batch_size": 4,
        "gather_across_devices": False,
    }


# What is refused.


@pytest.mark.parametrize("temperature", [0, -0.05, math.inf, math.nan])
def test_a_temperature_that_is_no_positive_number_is_refused(bert: SentenceTransformer, temperature: float) -> None:
    with pytest.raises(ValueError, match=rf"temperature is {temperature}; allowed: above 0, finite"):
        InfoNCE(bert, temperature)


@pytest.mark.parametrize("size", [0, -3])
def test_a_mini_batch_of_nothing_is_refused(bert: SentenceTransformer, size: int) -> None:
    with pytest.raises(ValueError, match=rf"mini_batch_size is {size}; allowed: 1 or more, or None"):
        InfoNCE(bert, mini_batch_size=size)


def test_a_static_embedding_cannot_be_embedded_in_mini_batches() -> None:
    static = StaticEmbedding(Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")), embedding_dim=4)
    encoder = SentenceTransformer(modules=[static], device="cpu")
    with pytest.raises(ValueError, match="mini_batch_size must be None for a StaticEmbedding"):
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


@pytest.mark.parametrize("shape", [(11,), (11, 1), (11, 2)])
def test_labels_may_be_given_for_the_passages_alone_or_for_hard_negatives_too(
    bert: SentenceTransformer, shape: tuple[int, ...]
) -> None:
    labels = torch.arange(math.prod(shape)).reshape(shape)
    expected = InfoNCE(bert)(preprocess(bert, 3)).item()
    assert InfoNCE(bert)(preprocess(bert, 3), labels).item() == pytest.approx(expected, rel=1e-6)
