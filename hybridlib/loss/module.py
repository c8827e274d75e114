"""InfoNCE over in-batch negatives, with the false ones masked.

A batch of parallel text holds passages that answer a question although they stand in another row: the same item in
another language, and the passage of another question on the same passage. As negatives they teach the wrong thing.
`NO_DUPLICATES` compares texts and does not see them, so rows of one passage group are not each other's negatives.
"""

import logging
from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin, has_static_embedding_input
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank
from torch import Tensor, nn
from torch.nn import functional as F

from hybridlib.arguments import Count, Positive, checked, told
from hybridlib.encoder.tokens import embed
from hybridlib.loss.functions import comparable, info_nce, info_nce_in_tiles
from hybridlib.names import SIMILARITIES

logger = logging.getLogger(__name__)

# The number of batches, from the first on, in which a loss looks for negatives. To look makes a GPU wait, so it looks
# after 1, 2, 4, 8 batches and so on, each time at all batches since it last did.
_LOOKED_AT = 128
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class InfoNCE(CachedLossMixin, nn.Module):
    """InfoNCE for `SentenceTransformerTrainer`, the loss of the paper (arXiv 2408.10536, section 3).

    Columns are the query, its passage and any number of hard negatives. Labels, if there are any, are passage groups
    from 0 on: (B,), or (B, 1 + hard negatives). A passage of the group of a query's own passage is not its negative. A
    label below 0 is nobody's group. Without labels, unmasked, or where all groups differ, it is
    `MultipleNegativesRankingLoss(scale=1 / temperature)`. Embeddings are compared by the encoder's own similarity.

    A batch without any negative has a loss of 0, and teaches nothing. A warning says so once.

    Args:
        model: the encoder, whose similarity is the cosine or the dot product.
        temperature: above 0; the paper does not publish its own.
        mask: mask passages of a pair's group as false negatives; the paper does not.
        symmetric: average the loss with that of finding the query of each passage.
        mini_batch_size: embed so many texts at a time and cache gradients (Gao et al., 2021). Memory then does not grow
            with the batch, and the matrix of scores is never held. None embeds the batch as a whole.
        gather_across_devices: take the passages of all processes as negatives; every process needs as many pairs.

    Raises:
        ValueError: an argument is of another type or out of range, the encoder's similarity is another one, or the
            encoder cannot be embedded in parts.
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        temperature: Positive = 0.05,
        *,
        mask: bool = True,
        symmetric: bool = False,
        mini_batch_size: Count | None = None,
        gather_across_devices: bool = False,
    ) -> None:
        super().__init__()
        # It may be wrapped for several processes.
        self.similarity = str(getattr(getattr(model, "module", model), "similarity_fn_name", SIMILARITIES[0]))
        if self.similarity not in SIMILARITIES:
            raise ValueError(f"the encoder's similarity is {self.similarity!r}; allowed: {', '.join(SIMILARITIES)}")
        if mini_batch_size is not None and has_static_embedding_input(model):
            raise ValueError(
                f"mini_batch_size is {mini_batch_size}; allowed: None, since batches of a StaticEmbedding cannot be cut"
            )
        self.model = model
        self.temperature = temperature
        self.mask = mask
        self.symmetric = symmetric
        self.mini_batch_size = mini_batch_size  # type: ignore[assignment]
        self.gather_across_devices = gather_across_devices
        self.uses_gradient_cache = mini_batch_size is not None
        self._looked_at = 0  # batches
        self._of_one_group: list[Tensor] = []  # how many passages a batch has if all are of one group, or else 0

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            sentence_features: the tokenised columns.
            labels: passage groups, (B,) or (B, columns - 1).

        Raises:
            ValueError: there is no passage column or no row, or the labels are no whole numbers or have another shape.
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
        # Autograd would go through every part one by one, and a GPU would wait for it.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not with_backward):
            columns = [torch.cat(parts) for parts in reps]  # (B, D) each
        leaves = [column.requires_grad_() for column in columns] if with_backward else []
        pairs = len(columns[0])
        if not pairs or any(column.shape != columns[0].shape for column in columns):
            shapes = ", ".join(str(tuple(column.shape)) for column in columns)
            raise ValueError(f"the embedded columns have the shapes {shapes}; allowed: as many rows in all, 1 or more")
        groups = _groups(labels, columns) if self.mask else None
        if self.gather_across_devices:
            columns = [all_gather_with_grad(column) for column in columns]
            groups = None if groups is None else all_gather(groups)
        rows = torch.arange(pairs, device=columns[0].device) + pairs * get_rank() * self.gather_across_devices
        if self._looked_at < _LOOKED_AT:
            self._warn_without_negatives((len(columns) - 1) * len(columns[0]), groups)
        # It is added to a zero, since under autocast it may be of half precision where the embeddings are not.
        loss = columns[0].new_zeros(()) + self._loss_of(columns, groups, rows) / pairs
        if with_backward:
            for parts, gradient in zip(reps, torch.autograd.grad(loss, leaves), strict=True):
                for part, its_own in zip(parts, gradient.split([part.shape[0] for part in parts]), strict=True):
                    part.grad = its_own
        return loss.detach() if with_backward else loss

    def _loss_of(self, columns: list[Tensor], groups: Tensor | None, rows: Tensor) -> Tensor:
        """Return the summed loss of some rows; `groups` are (all pairs, columns - 1)."""
        queries, passages = columns[0], torch.cat(columns[1:]) if len(columns) > 2 else columns[1]
        both = None if groups is None else (groups[rows, 0], groups.T.reshape(-1))  # in the order of `passages`
        loss = self._one_way(_of(rows, queries), passages, rows, both)
        if self.symmetric:
            back = None if groups is None else (groups[rows, 0], groups[:, 0])
            loss = (loss + self._one_way(_of(rows, columns[1]), queries, rows, back)) / 2
        return loss.sum()

    def _one_way(self, queries: Tensor, passages: Tensor, own: Tensor, groups: tuple[Tensor, Tensor] | None) -> Tensor:
        """Return the loss of every query, (B,), or in mini batches their sum, ()."""
        given: dict[str, Any] = {"temperature": self.temperature, "similarity": self.similarity}
        if self.mini_batch_size is not None:
            return info_nce_in_tiles(queries, passages, own, groups=groups, **given)
        known = None if groups is None else comparable(*groups)
        masked = None if known is None else known[0][:, None] == known[1]  # (B, N)
        return info_nce(queries, passages, own, masked=masked, **given)

    def _warn_without_negatives(self, passages: int, groups: Tensor | None) -> None:
        """Say once that a batch has no negative. Either all of its queries have one, or none has."""
        self._looked_at += 1
        if groups is not None:
            self._of_one_group.append(((groups == groups[0, 0]) & (groups >= 0)).all() * passages)
        alike = 0
        if self._looked_at.bit_count() == 1:
            alike = max(map(int, self._of_one_group), default=0)
            self._of_one_group = []
        if passages == 1 or alike:
            self._looked_at = _LOOKED_AT
            why = f"all of its {alike} passages are of one passage group" if alike else "it has one passage"
            logger.warning("a batch has no negative: %s. Its loss is 0, and nothing is learnt from it", why)

    def get_config_dict(self) -> dict[str, float | str | bool | None]:
        """Return what the model card shows."""
        names = ("temperature", "similarity", "mask", "symmetric", "mini_batch_size", "gather_across_devices")
        return {name: getattr(self, name) for name in names}


def _of(rows: Tensor, column: Tensor) -> Tensor:
    """Return the rows of this process, without a copy where there is no other process. (B, D)"""
    return column if len(column) == len(rows) else column[rows]


def _groups(labels: Tensor | None, columns: list[Tensor]) -> Tensor | None:
    """Return the groups of every passage column, and -1, nobody's group, where none is known. (B, columns - 1)"""
    if labels is None:
        return None
    pairs, passages = len(columns[0]), len(columns) - 1
    if not isinstance(labels, Tensor) or labels.dtype not in _WHOLE:
        raise ValueError(
            f"labels is {told(labels)}; allowed: whole numbers, the passage groups. Remove the column (label, labels, "
            "score or scores) that the data has for another purpose, or set mask=False"
        )
    if tuple(labels.shape) not in ((pairs,), (pairs, 1), (pairs, passages)):
        raise ValueError(f"labels has shape {tuple(labels.shape)}; expected ({pairs},) or ({pairs}, {passages})")
    groups = labels.reshape(pairs, -1)
    return F.pad(groups, (0, passages - groups.shape[1]), value=-1)
