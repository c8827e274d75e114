"""InfoNCE over in-batch negatives as a function of embeddings, as a matrix of scores or a tile of it at a time."""

from typing import Annotated, Any, Literal

import torch
from pydantic import SkipValidation
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hybridlib.arguments import Positive, checked, told
from hybridlib.names import SIMILARITIES

Similarity = Literal[SIMILARITIES]  # type: ignore[valid-type]

# This many scores are held at a time, 34 MB. With fewer, products of matrices lose speed and a GPU waits for launches.
_TILE = 1 << 23


@checked
def info_nce(
    queries: Tensor,
    passages: Tensor,
    positive: Tensor,
    *,
    temperature: Positive,
    masked: Tensor | None = None,
    similarity: Similarity = "cosine",
) -> Tensor:
    """Return the InfoNCE loss of every query (van den Oord et al., 2018, equation 4).

    It is computed as log(1 + sum over rivals j of exp((s_ij - s_ii) / temperature)), which keeps its digits where it is
    small. The usual difference of a score and a log-sum-exp loses them in float32.

    Args:
        queries: embeddings; by the cosine, their norms do not matter. (B, D)
        passages: embeddings. (N, D)
        positive: the row of each query's own passage. (B,)
        temperature: above 0.
        masked: true where a passage is no negative of a query; its own passage never is one. (B, N)
        similarity: by which embeddings are compared, `cosine` or `dot`.

    Returns:
        The losses; 0 where a query has no negative left. (B,)

    Raises:
        ValueError: an argument is of another type or shape or out of range.

    >>> queries, passages = torch.eye(2), torch.eye(2)
    >>> info_nce(queries, passages, torch.arange(2), temperature=1.0)  # log(1 + exp(-1))
    tensor([0.3133, 0.3133])
    """
    _check_shapes(queries, passages, positive)
    if masked is not None and (masked.dtype != torch.bool or masked.shape != (len(queries), len(passages))):
        raise ValueError(f"masked is {told(masked)}; allowed: booleans of shape {(len(queries), len(passages))}")
    if similarity == "cosine":
        queries, passages = F.normalize(queries, dim=-1), F.normalize(passages, dim=-1)
    scores = queries @ passages.T  # (B, N)
    own = positive[:, None] == torch.arange(len(passages), device=positive.device)  # (B, N)
    excess = (scores - scores.gather(1, positive[:, None])) / temperature  # (B, N)
    # Minus infinity would give a gradient of NaN where nothing is left, which anomaly detection reports.
    excess = excess.masked_fill(own if masked is None else own | masked, torch.finfo(excess.dtype).min)
    return F.softplus(torch.logsumexp(excess, dim=1))


@checked
def info_nce_in_tiles(
    queries: Tensor,
    passages: Tensor,
    positive: Tensor,
    *,
    temperature: Positive,
    groups: Annotated[tuple[Tensor, Tensor] | None, SkipValidation] = None,
    similarity: Similarity = "cosine",
) -> Tensor:
    """Return the sum of `info_nce`, computed a tile of queries at a time; memory is O((B + N) D).

    The gradients are computed with the loss, while the scores of a tile are there. Half precision becomes float32,
    under autocast too: it has no digits for a small loss, and scores cost little beside the embedding of texts.

    Args:
        queries, passages, positive, temperature, similarity: as in `info_nce`.
        groups: those of the queries, (B,), and of the passages, (N,). A passage of a query's group is not its negative.
            A number below 0 is nobody's group.

    Returns:
        The sum of the losses, which can be differentiated once. ()

    Raises:
        ValueError: an argument is of another type or shape or out of range.

    >>> info_nce_in_tiles(torch.eye(2), torch.eye(2), torch.arange(2), temperature=1.0)  # 2 log(1 + exp(-1))
    tensor(0.6265)
    """
    _check_shapes(queries, passages, positive)
    groups = None if groups is None else comparable(*groups)
    return _InTiles.apply(queries, passages, positive, temperature, groups, similarity == "cosine")


def _check_shapes(queries: Tensor, passages: Tensor, positive: Tensor) -> None:
    matrices = all(one.ndim == 2 and one.is_floating_point() for one in (queries, passages))
    if not (matrices and queries.shape[1] == passages.shape[1] and len(passages)):
        shapes = f"queries is {told(queries)}, passages is {told(passages)}"
        raise ValueError(f"{shapes}; allowed: matrices of floats, as wide as each other, with one passage or more")
    if positive.shape != (len(queries),) or positive.dtype != torch.int64:
        raise ValueError(f"positive is {told(positive)}; allowed: torch.int64 of shape ({len(queries)},)")


def comparable(queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor]:
    """Return groups of queries and passages of which those that are nobody's, below 0, equal no other. (B,), (N,)"""
    queries, passages = queries.long(), passages.long()
    return torch.where(queries < 0, -2, queries), passages.clamp_min(-1)


class _InTiles(torch.autograd.Function):
    """A sum that is differentiated by hand: autograd would hold several matrices a tile and take twice the time."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        queries, passages, positive, temperature, groups, cosine = inputs  # as in `info_nce_in_tiles`
        with torch.autocast(queries.device.type, enabled=False):
            queries, passages = (one.to(torch.promote_types(one.dtype, torch.float32)) for one in inputs[:2])
            norms = (_norms(queries), _norms(passages)) if cosine else None
            passages = passages / norms[1] if norms else passages
            # Divided by each in turn, as the rounding of their product would be in all scores of a query.
            scaled = (queries / norms[0]).div_(temperature) if norms else queries / temperature  # (B, D)
            by_passages = torch.zeros_like(passages) if any(ctx.needs_input_grad) else None  # (N, D)
            losses, divisors = _go_through_tiles(scaled, passages, positive, groups, by_passages)
            if by_passages is not None:
                by_queries = scaled.div_(divisors * temperature)  # (B, D)
                if norms:
                    _through_unit(by_queries, queries / norms[0], norms[0])
                    _through_unit(by_passages, passages, norms[1])
                ctx.save_for_backward(by_queries, by_passages)
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        by_queries, by_passages = ctx.saved_tensors
        return slope * by_queries, slope * by_passages, *[None] * 4


def _go_through_tiles(
    scaled: Tensor, passages: Tensor, positive: Tensor, groups: tuple[Tensor, Tensor] | None, by_passages: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the losses of all queries, and what their gradients are to be divided by. (B, 1) each

    Gradients are by scores, which are similarity / temperature. Let s be the score of a query's own passage, r those of
    its rivals and h the highest of them. The loss is log1p(sum exp(r - s)). Its slope by a rival's score is
    exp(r) / (exp(s) + sum exp(r)), and by s minus their sum. A softmax of h and all r, in one pass and without
    overflow, has these slopes but for a divisor of the query, and in the place of h the share 1 / (1 + sum exp(r - h)).

    Args:
        scaled: queries / temperature. Their gradients, not yet divided, take their place. (B, D)
        passages, positive, groups: as in `info_nce_in_tiles`.
        by_passages: the gradients of passages are added to it; None if none are wanted. (N, D)
    """
    # This is not taken from products of matrices, which add term after term: its error would be in all slopes.
    score = (scaled * passages[positive]).sum(dim=1, keepdim=True)  # (B, 1)
    highest, share = torch.empty_like(score), torch.empty_like(score)
    lowest = torch.finfo(score.dtype).min  # minus infinity would give NaN where no rival is left
    step = max(1, min(len(scaled), _TILE // len(passages)))
    tile = scaled.new_empty(step, len(passages))  # memory that all tiles use in turn, (T, N)
    of_queries, of_passages = (positive, None) if groups is None else groups
    by_query = (scaled, score, highest, share, positive[:, None], of_queries[:, None])
    for some, s, h, part, own, group in zip(*(one.split(step) for one in by_query), strict=True):
        scores = torch.mm(some, passages.T, out=tile[: len(some)])  # (T, N)
        if of_passages is not None:
            scores.masked_fill_(group == of_passages, lowest)
        torch.amax(scores.scatter_(1, own, lowest), dim=1, keepdim=True, out=h)
        slopes = torch.softmax(scores.scatter_(1, own, h), dim=1, out=scores)  # (T, N)
        torch.gather(slopes, 1, own, out=part)
        if by_passages is not None:
            slopes.scatter_(1, own, part - 1)
            by_passages.addmm_(slopes.T, some / _divisors(s, h, part))
            torch.mm(slopes, passages, out=some)
    ahead = (highest - score).clamp_min(0)  # (B, 1)
    rivals = (1 / share - 1) * torch.exp(highest - score - ahead)  # (B, 1)
    # This keeps its digits where a query's own score is the highest.
    losses = ahead + torch.log1p(rivals + torch.expm1(-ahead))  # (B, 1)
    return losses, _divisors(score, highest, share)


def _divisors(score: Tensor, highest: Tensor, share: Tensor) -> Tensor:
    """Return (exp(s) + sum exp(r)) / (exp(h) + sum exp(r)) of some queries, with names as above. (T, 1)"""
    return 1 + share * torch.expm1(score - highest)


def _norms(embeddings: Tensor) -> Tensor:
    """Return what `F.normalize` divides by. (N, 1)"""
    return torch.linalg.vector_norm(embeddings, dim=1, keepdim=True).clamp_min(1e-12)


def _through_unit(gradient: Tensor, unit: Tensor, norms: Tensor) -> None:
    """Turn the gradient by unit vectors, in place, into that by the vectors which were scaled to them. (N, D)"""
    along = (gradient * unit).sum(dim=1, keepdim=True)
    gradient.addcmul_(along, unit, value=-1).div_(norms)
