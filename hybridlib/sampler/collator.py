"""The collator, which turns the rows of a batch into pairs of texts."""

from dataclasses import dataclass
from typing import Any

from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator


@dataclass
class ParallelCollator(SentenceTransformerDataCollator):
    """The data collator for a trainer whose batch sampler is a `HybridBatchSampler`.

    Rows come in twos. The first gives the query and the second the passage. Where the corpus has hard negatives (see
    `hybridlib.training.negatives`), the second row gives one, too. The label is the passage's group, by which `InfoNCE`
    knows false negatives; with a hard negative, it is both groups.

    Raises:
        ValueError: the rows are no pairs of one item each.
    """

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        pairs = list(zip(features[0::2], features[1::2], strict=False))
        if len(features) % 2 or any(q["item"] != p["item"] for q, p in pairs):
            raise ValueError(
                "the rows of a batch are not pairs of a query's row and its passage's; the batch sampler must be a "
                "HybridBatchSampler, and over several processes its batches split into whole pairs"
            )
        rows = [{"query": q["query"], "passage": p["passage"], "label": p["passage_group"]} for q, p in pairs]
        if all(p.get("negative") for _, p in pairs):
            for row, (_, p) in zip(rows, pairs, strict=True):
                row |= {"negative": p["negative"], "label": [p["passage_group"], p["negative_group"]]}
        return super().__call__(rows)
