"""The collator: pairs of texts, made of the rows that the batch sampler yields."""

from dataclasses import dataclass
from typing import Any

from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator


@dataclass
class ParallelCollator(SentenceTransformerDataCollator):
    """Makes pairs of the rows that `HybridBatchSampler` yields: the query of every even row, the passage of the odd row
    behind it, and that row's hard negative where the corpus has them (see `hybridlib.training.negatives`).

    The passage's group is the label, by which `InfoNCE` knows false negatives; with hard negatives theirs, too.

    Raises:
        ValueError: the rows are no such pairs.
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
