"""InfoNCE over in-batch negatives as a function of embeddings, as a matrix of scores or a tile of it at a time."""

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import SkipValidation
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hybridlib.arguments import Positive, checked, told
from hybridlib.names import SIMILARITIES

Similarity = Literal[SIMILARITIES]  # type: ignore[valid-type]

# So many scores are held at a time, 64 MB. With fewer, products of matrices lose more speed than the cache gains.
_TILE = 1 << 24


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
            if cosine:
                (queries, query_norms), (passages, passage_norms) = _unit(queries), _unit(passages)
            by_queries, by_passages = torch.zeros_like(queries), torch.zeros_like(passages)
            wanted = any(ctx.needs_input_grad)
            total = queries.new_zeros(())
            step = max(1, _TILE // len(passages))
            for rows in (slice(begin, begin + step) for begin in range(0, len(queries), step)):
                masked = None if groups is None else groups[0][rows, None] == groups[1]  # (T, N)
                scaled = queries[rows] / temperature  # (T, D)
                losses, slopes = _losses_and_slopes(scaled, passages, positive[rows], masked)
                total += losses.sum()
                if wanted:
                    by_queries[rows] = slopes @ passages / temperature
                    by_passages.addmm_(slopes.T, scaled)
            if wanted and cosine:
                _through_unit(by_queries, queries, query_norms)
                _through_unit(by_passages, passages, passage_norms)
        ctx.save_for_backward(by_queries, by_passages)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        by_queries, by_passages = ctx.saved_tensors
        return slope * by_queries, slope * by_passages, *[None] * 4


def _losses_and_slopes(
    scaled: Tensor, passages: Tensor, positive: Tensor, masked: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the losses of some queries, (T,), and their slopes by every score, (T, N).

    A score is similarity / temperature. Let s be the score of a query's own passage and r those of its rivals. The loss
    is log1p(sum exp(r - s)). Its slope by a rival's score is exp(r) / (exp(s) + sum exp(r)), and by s minus their sum.
    """
    scores = scaled @ passages.T  # (T, N); it is changed in place from here on, as it is all the memory there is
    # This is not taken from that product, which adds term after term: its error would be in all slopes of the query.
    own = (scaled * passages[positive]).sum(dim=1, keepdim=True)  # (T, 1)
    if masked is not None:
        scores.masked_fill_(masked, -math.inf)
    scores.scatter_(1, positive[:, None], -math.inf)
    highest = torch.maximum(own, scores.amax(dim=1, keepdim=True))  # (T, 1); so that no exp overflows
    terms = scores.sub_(highest).exp_()
    rivals = terms.sum(dim=1, keepdim=True)
    losses = highest - own + torch.log1p(rivals + torch.expm1(own - highest))  # keeps digits where own is highest
    terms.scatter_(1, positive[:, None], -rivals)
    return losses[:, 0], terms.div_(rivals + torch.exp(own - highest))


def _unit(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Scale embeddings to norm 1 as `F.normalize` does. Return them, (N, D), and norms, (N, 1)."""
    norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True).clamp_min(1e-12)
    return embeddings / norms, norms


def _through_unit(gradient: Tensor, unit: Tensor, norms: Tensor) -> None:
    """Turn the gradient by unit vectors, in place, into that by the vectors which were scaled to them. (N, D)"""
    along = (gradient * unit).sum(dim=1, keepdim=True)
    gradient.addcmul_(along, unit, value=-1).div_(norms)
