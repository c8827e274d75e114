"""InfoNCE over in-batch negatives, with the false ones masked.

A batch of parallel text holds passages that answer a question although they stand in another row: the same item in
another language, and the passage of another question on the same passage. As negatives they teach the wrong thing.
`NO_DUPLICATES` compares texts and does not see them, so rows of one passage group are not each other's negatives.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import CachedLossMixin, has_static_embedding_input
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hybridlib.encoder.tokens import embed

# So many scores are held at a time, 64 MB. With fewer, products of matrices lose more speed than the cache gains.
_TILE = 1 << 24


def info_nce(
    queries: Tensor, passages: Tensor, positive: Tensor, *, temperature: float, masked: Tensor | None = None
) -> Tensor:
    """Return the InfoNCE loss of every query (van den Oord et al., 2018, equation 4).

    It is computed as log(1 + sum over rivals j of exp((s_ij - s_ii) / temperature)), which keeps its digits where it is
    small. The usual difference of a score and a log-sum-exp loses them in float32.

    Args:
        queries: embeddings of any norm, as they are compared by cosine. (B, D)
        passages: embeddings of any norm. (N, D)
        positive: the row of each query's own passage. (B,)
        temperature: above 0.
        masked: true where a passage is no negative of a query; its own passage never is one. (B, N)

    Returns:
        The losses; 0 where a query has no negative left. (B,)

    >>> queries, passages = torch.eye(2), torch.eye(2)
    >>> info_nce(queries, passages, torch.arange(2), temperature=1.0)  # log(1 + exp(-1))
    tensor([0.3133, 0.3133])
    """
    scores = F.normalize(queries, dim=-1) @ F.normalize(passages, dim=-1).T  # (B, N)
    own = positive[:, None] == torch.arange(len(passages), device=positive.device)  # (B, N)
    excess = (scores - scores.gather(1, positive[:, None])) / temperature  # (B, N)
    # Minus infinity would give a gradient of NaN where nothing is left, which anomaly detection reports.
    excess = excess.masked_fill(own if masked is None else own | masked, torch.finfo(excess.dtype).min)
    return F.softplus(torch.logsumexp(excess, dim=1))


def info_nce_in_tiles(
    queries: Tensor,
    passages: Tensor,
    positive: Tensor,
    *,
    temperature: float,
    groups: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the sum of `info_nce`, computed a tile of queries at a time; memory is O((B + N) D).

    The gradients are computed with the loss, while the scores of a tile are there. Half precision becomes float32,
    under autocast too: it has no digits for a small loss, and scores cost little beside the embedding of texts.

    Args:
        queries, passages, positive, temperature: as in `info_nce`.
        groups: those of the queries, (B,), and of the passages, (N,). A passage of a query's group is not its negative.

    Returns:
        The sum of the losses, which can be differentiated once. ()

    >>> info_nce_in_tiles(torch.eye(2), torch.eye(2), torch.arange(2), temperature=1.0)  # 2 log(1 + exp(-1))
    tensor(0.6265)
    """
    return _InTiles.apply(queries, passages, positive, temperature, groups)


class _InTiles(torch.autograd.Function):
    """A sum that is differentiated by hand: autograd would hold several matrices a tile and take twice the time."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        queries, passages, positive, temperature, groups = inputs  # as in `info_nce_in_tiles`
        with torch.autocast(queries.device.type, enabled=False):
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
            if wanted:
                _through_unit(by_queries, queries, query_norms)
                _through_unit(by_passages, passages, passage_norms)
        ctx.save_for_backward(by_queries, by_passages)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        by_queries, by_passages = ctx.saved_tensors
        return slope * by_queries, slope * by_passages, None, None, None


def _losses_and_slopes(
    scaled: Tensor, passages: Tensor, positive: Tensor, masked: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the losses of some queries, (T,), and their slopes by every score, (T, N).

    A score is cosine / temperature. Let s be the score of a query's own passage and r those of its rivals. The loss is
    log1p(sum exp(r - s)). Its slope by a rival's score is exp(r) / (exp(s) + sum exp(r)), and by s minus their sum.
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
    """Scale embeddings to norm 1 as `F.normalize` does, in float32 or wider. Return them, (N, D), and norms, (N, 1)."""
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True).clamp_min(1e-12)
    return embeddings / norms, norms


def _through_unit(gradient: Tensor, unit: Tensor, norms: Tensor) -> None:
    """Turn the gradient by unit vectors, in place, into that by the vectors which were scaled to them. (N, D)"""
    along = (gradient * unit).sum(dim=1, keepdim=True)
    gradient.addcmul_(along, unit, value=-1).div_(norms)


class InfoNCE(CachedLossMixin, nn.Module):
    """InfoNCE for `SentenceTransformerTrainer`, the loss of the paper (arXiv 2408.10536, section 3).

    Columns are the query, its passage and any number of hard negatives. Labels, if there are any, are passage groups
    from 0 on: (B,), or (B, 1 + hard negatives). A passage of the group of a query's own passage is not its negative.
    Without them, unmasked, or where all groups differ, it is `MultipleNegativesRankingLoss(scale=1 / temperature)`.

    Args:
        model: the encoder.
        temperature: above 0; the paper does not publish its own.
        mask: mask passages of a pair's group as false negatives; the paper does not.
        symmetric: average the loss with that of finding the query of each passage.
        mini_batch_size: embed so many texts at a time and cache gradients (Gao et al., 2021). Memory then does not grow
            with the batch, and the matrix of scores is never held. None embeds the batch as a whole.
        gather_across_devices: take the passages of all processes as negatives; every process needs as many pairs.

    Raises:
        ValueError: temperature or mini_batch_size is out of range, or the encoder cannot be embedded in parts.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        temperature: float = 0.05,
        *,
        mask: bool = True,
        symmetric: bool = False,
        mini_batch_size: int | None = None,
        gather_across_devices: bool = False,
    ) -> None:
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature is {temperature}; allowed: above 0, finite")
        if mini_batch_size is not None and mini_batch_size < 1:
            raise ValueError(f"mini_batch_size is {mini_batch_size}; allowed: 1 or more, or None")
        if mini_batch_size is not None and has_static_embedding_input(model):
            raise ValueError("mini_batch_size must be None for a StaticEmbedding, whose batches cannot be cut")
        self.model = model
        self.temperature = temperature
        self.mask = mask
        self.symmetric = symmetric
        self.mini_batch_size = mini_batch_size  # type: ignore[assignment]
        self.gather_across_devices = gather_across_devices
        self.uses_gradient_cache = mini_batch_size is not None

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            sentence_features: the tokenised columns.
            labels: passage groups, (B,) or (B, columns - 1).

        Raises:
            ValueError: there is no passage column, or the labels have another shape.
        """
        features = list(sentence_features)
        if len(features) < 2:
            raise ValueError(f"InfoNCE needs a query and a passage column; columns: {len(features)}")
        if self.mini_batch_size is not None:
            return self.forward_cached(features, labels)
        return self.calculate_loss([[column] for column in embed(self.model, features)], labels)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """Return the mean loss of the embeddings `reps[column][part]`; `with_backward` computes gradients first."""
        columns = [torch.cat(parts) for parts in reps]  # (B, D) each
        pairs = len(columns[0])
        groups = _groups(labels, columns) if self.mask else None
        if self.gather_across_devices:
            columns = [all_gather_with_grad(column) for column in columns]
            groups = None if groups is None else all_gather(groups)
        rows = torch.arange(pairs, device=columns[0].device) + pairs * get_rank() * self.gather_across_devices
        # It is added to a zero, since under autocast it may be of half precision where the embeddings are not.
        loss = columns[0].new_zeros(()) + self._loss_of(columns, groups, rows) / pairs
        if with_backward:
            loss.backward()
        return loss.detach() if with_backward else loss

    def _loss_of(self, columns: list[Tensor], groups: Tensor | None, rows: Tensor) -> Tensor:
        """Return the summed loss of some rows; `groups` are (all pairs, columns - 1)."""
        queries, passages = columns[0], torch.cat(columns[1:])
        both = None if groups is None else (groups[rows, 0], groups.T.reshape(-1))  # in the order of `passages`
        loss = self._one_way(queries[rows], passages, rows, both)
        if self.symmetric:
            back = None if groups is None else (groups[rows, 0], groups[:, 0])
            loss = (loss + self._one_way(columns[1][rows], queries, rows, back)) / 2
        return loss.sum()

    def _one_way(self, queries: Tensor, passages: Tensor, own: Tensor, groups: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return the loss of every query, (B,), or in mini batches their sum, ()."""
        if self.mini_batch_size is not None:
            return info_nce_in_tiles(queries, passages, own, temperature=self.temperature, groups=groups)
        masked = None if groups is None else groups[0][:, None] == groups[1]  # (B, N)
        return info_nce(queries, passages, own, temperature=self.temperature, masked=masked)

    def get_config_dict(self) -> dict[str, float | bool | int | None]:
        """Return what the model card shows."""
        names = ("temperature", "mask", "symmetric", "mini_batch_size", "gather_across_devices")
        return {name: getattr(self, name) for name in names}


def _groups(labels: Tensor | None, columns: list[Tensor]) -> Tensor | None:
    """Return the groups of every passage column, and -1, nobody's group, where none is known. (B, columns - 1)"""
    if labels is None:
        return None
    pairs, passages = len(columns[0]), len(columns) - 1
    if tuple(labels.shape) not in ((pairs,), (pairs, 1), (pairs, passages)):
        raise ValueError(f"labels has shape {tuple(labels.shape)}; expected ({pairs},) or ({pairs}, {passages})")
    groups = labels.reshape(pairs, -1)
    return F.pad(groups, (0, passages - groups.shape[1]), value=-1)
