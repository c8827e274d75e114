"""The collator, which turns the rows of a batch into pairs of texts."""

from dataclasses import dataclass
from typing import Any

from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from hybridlib.arguments import plain, told

_NEEDED = ("item", "query", "passage", "passage_group")


@dataclass
class ParallelCollator(SentenceTransformerDataCollator):
    """The data collator for a trainer whose batch sampler is a `HybridBatchSampler`.

    Rows come in twos. The first gives the query and the second the passage. Where the corpus has hard negatives (see
    `hybridlib.training.negatives`), the second row gives one, too. The label is the passage's group, by which `InfoNCE`
    knows false negatives; with a hard negative, it is both groups. A group that is null is -1, nobody's.

    Queries have the task `query`, passages and negatives `document`, as where the encoder is evaluated. So modules like
    sentence-transformers' `Router` know which of the two a text is; `router_mapping` gives other tasks, by column.

    A trainer hands the `prompts` and the `router_mapping` of its arguments to the collator that it makes itself, and to
    no other. So they are given here: `ParallelCollator(encoder.preprocess, prompts={"query": "query: ", ...})`.

    Raises:
        ValueError: there are no rows, or they lack a column or are no pairs of one item each; a text is none, a group
            is no whole number of 64 bits, or the training arguments of the encoder have prompts or a router mapping
            that the collator has not.
    """

    def __post_init__(self) -> None:
        self._arguments_before = self._arguments()  # of an earlier training

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        if not features:
            raise ValueError("the batch has no rows; allowed: two for each item, as a HybridBatchSampler draws them")
        missing = [name for name in _NEEDED if name not in features[0]]
        if missing:
            raise ValueError(f"the rows of a batch lack the column {missing[0]!r}; they have {told(list(features[0]))}")
        pairs = list(zip(features[0::2], features[1::2], strict=False))
        if len(features) % 2 or any(q["item"] != p["item"] for q, p in pairs):
            raise ValueError(
                "the rows of a batch are not pairs of a query's row and its passage's; the batch sampler must be a "
                "HybridBatchSampler, and over several processes its batches split into whole pairs"
            )
        self._check_arguments()
        negatives = all(p.get("negative") for _, p in pairs)
        rows = [_row(q, p, negatives) for q, p in pairs]
        return super().__call__(rows)

    def _get_task_for_column(self, column_name: str, column_position: int, router_mapping: dict[str, str]) -> str:
        return router_mapping.get(column_name) or ("query" if column_name == "query" else "document")

    def _arguments(self) -> dict[str, Any]:
        """Return the training arguments that the trainer notes in the model card of its encoder when it begins."""
        card = getattr(getattr(self.preprocess_fn, "__self__", None), "model_card_data", None)
        return getattr(card, "all_hyperparameters", {})

    def _check_arguments(self) -> None:
        given = self._arguments()
        if not given or given is self._arguments_before:
            return
        own_tasks, asked = self._resolve_router_mapping({}), given["router_mapping"] or {}
        tasks = {name: self._get_task_for_column(name, 0, own_tasks) for name in asked}
        for name, own in (("prompts", self.prompts), ("router_mapping", tasks)):
            if given[name] and given[name] != own:
                raise ValueError(
                    f"{name} is {told(given[name])} in the training arguments, which no ParallelCollator is told, and "
                    f"{told(own)} in the collator; write ParallelCollator(encoder.preprocess, {name}=...)"
                )


def _row(q: dict[str, Any], p: dict[str, Any], negatives: bool) -> dict[str, Any]:
    """Return the texts of a pair and its label, in the order of columns that sentence-transformers expects."""
    row: dict[str, Any] = {"query": _text(q, "query"), "passage": _text(p, "passage")}
    if not negatives:
        return row | {"label": _group(p, "passage_group")}
    groups = [_group(p, "passage_group"), _group(p, "negative_group")]
    return row | {"negative": _text(p, "negative"), "label": groups}


def _text(row: dict[str, Any], column: str) -> str:
    text = row[column]
    if not isinstance(text, str):
        raise ValueError(f"{column} of item {told(row['item'])} is {told(text)}; allowed: a text")
    return text


def _group(row: dict[str, Any], column: str) -> int:
    """Return the number of a group, -1 where it is not known."""
    group = plain(row.get(column))
    if group is None or group != group:  # NaN
        return -1
    if isinstance(group, bool) or not isinstance(group, int | float) or group % 1 or abs(group) >= 1 << 63:
        raise ValueError(
            f"{column} of item {told(row['item'])} is {told(group)}; allowed: a whole number of 64 bits, or null"
        )
    return int(group)
