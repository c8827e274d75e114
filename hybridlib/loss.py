"""InfoNCE over in-batch negatives, with the false ones masked.

A batch of parallel text holds passages that answer a question although they stand in another row: the same item in
another language, and the passage of another question on the same passage. Taken as negatives they teach the wrong thing
(and `NO_DUPLICATES`, which compares texts, cannot see them), so rows of the same passage group are left out of each
other's negatives.
"""

import math
from collections.abc import Iterable

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import CachedLossMixin, has_static_embedding_input
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank
from torch import Tensor, nn
from torch.nn import functional as F

from hybridlib.tokens import embed


def info_nce(
    queries: Tensor, passages: Tensor, positive: Tensor, *, temperature: float, masked: Tensor | None = None
) -> Tensor:
    """The InfoNCE loss of every query (van den Oord et al., 2018, equation 4).

    Written as log(1 + sum over rivals j of exp((s_ij - s_ii) / temperature)), which keeps its digits where it is small;
    the usual difference of a score and a log-sum-exp loses them in float32.

    Args:
        queries: (B, D); compared by cosine, so of any norm.
        passages: (N, D).
        positive: row of the passage of each query. (B,)
        temperature: above 0.
        masked: passages that are no negatives of a query, although they are not its own. (B, N)

    Returns:
        The losses; 0 where a query has no negative left. (B,)

    >>> queries, passages = torch.eye(2), torch.eye(2)
    >>> info_nce(queries, passages, torch.arange(2), temperature=1.0)  # log(1 + exp(-1))
    tensor([0.3133, 0.3133])
    """
    scores = F.normalize(queries, dim=-1) @ F.normalize(passages, dim=-1).T  # (B, N)
    own = positive[:, None] == torch.arange(len(passages), device=positive.device)  # (B, N)
    excess = (scores - scores.gather(1, positive[:, None])) / temperature  # (B, N)
    # Not minus infinity: where nothing is left, its log-sum-exp has a gradient of NaN, which anomaly detection reports.
    excess = excess.masked_fill(own if masked is None else own | masked, torch.finfo(excess.dtype).min)
    return F.softplus(torch.logsumexp(excess, dim=1))


class InfoNCE(CachedLossMixin, nn.Module):
    """InfoNCE for `SentenceTransformerTrainer`, the loss of the paper (arXiv 2408.10536, section 3).

    Columns are the query, its passage and any number of hard negatives. Labels, if there are any, are passage groups,
    numbered from 0: (B,) for the passages, or (B, 1 + hard negatives); a passage of the group of a query's own passage
    is not taken as its negative. Without labels, or where all groups differ, the loss is
    `MultipleNegativesRankingLoss(scale=1 / temperature)`.

    Args:
        model: the encoder.
        temperature: above 0; the paper does not publish its own.
        symmetric: average with the loss of finding the query of each passage.
        mini_batch_size: embed so many texts at a time and cache gradients (Gao et al., 2021), so that memory does not
            grow with the batch; the matrix of scores is never held either. None embeds the batch as a whole.
        gather_across_devices: take the passages of all processes as negatives; each needs as many pairs.

    Raises:
        ValueError: temperature or mini_batch_size is out of range, or the encoder cannot be embedded in parts.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        temperature: float = 0.05,
        *,
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
        self.symmetric = symmetric
        self.mini_batch_size = mini_batch_size  # type: ignore[assignment]
        self.gather_across_devices = gather_across_devices
        self.uses_gradient_cache = mini_batch_size is not None

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """The mean loss of a batch.

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
        """The mean loss of embeddings, `reps[column][part]`, a part of the queries at a time.

        With `with_backward`, each part is differentiated by itself and the detached sum returned, so memory is
        O(part x passages).
        """
        columns = [torch.cat(parts) for parts in reps]  # (B, D) each
        pairs = len(columns[0])
        groups = _groups(labels, columns)
        if self.gather_across_devices:
            columns = [all_gather_with_grad(column) for column in columns]
            groups = None if groups is None else all_gather(groups)
        first = get_rank() * pairs if self.gather_across_devices else 0
        total = columns[0].new_zeros(())
        step = self.mini_batch_size or pairs
        for begin in range(first, first + pairs, step):
            rows = torch.arange(begin, min(begin + step, first + pairs), device=columns[0].device)
            part = self._loss_of(columns, groups, rows) / pairs
            if with_backward:
                part.backward()
                part = part.detach()
            total = total + part
        return total

    def _loss_of(self, columns: list[Tensor], groups: Tensor | None, rows: Tensor) -> Tensor:
        """Summed loss of some rows. `groups`: (all pairs, columns - 1)"""
        queries, passages = columns[0], torch.cat(columns[1:])
        masked = None
        if groups is not None:
            masked = groups[rows, :1] == groups.T.reshape(1, -1)  # (rows, passages), in the order of `passages`
        loss = info_nce(queries[rows], passages, rows, temperature=self.temperature, masked=masked)
        if self.symmetric:
            back = None if groups is None else groups[rows, :1] == groups[None, :, 0]  # (rows, all pairs)
            loss = (loss + info_nce(columns[1][rows], queries, rows, temperature=self.temperature, masked=back)) / 2
        return loss.sum()

    def get_config_dict(self) -> dict[str, float | bool | int | None]:
        """What the model card shows of the loss."""
        return {
            "temperature": self.temperature,
            "symmetric": self.symmetric,
            "mini_batch_size": self.mini_batch_size,
            "gather_across_devices": self.gather_across_devices,
        }


def _groups(labels: Tensor | None, columns: list[Tensor]) -> Tensor | None:
    """The passage groups of every passage column; -1, nobody's group, where they are not known. (B, columns - 1)"""
    if labels is None:
        return None
    pairs, passages = len(columns[0]), len(columns) - 1
    if tuple(labels.shape) not in ((pairs,), (pairs, 1), (pairs, passages)):
        raise ValueError(f"labels has shape {tuple(labels.shape)}; expected ({pairs},) or ({pairs}, {passages})")
    groups = labels.reshape(pairs, -1)
    return F.pad(groups, (0, passages - groups.shape[1]), value=-1)
