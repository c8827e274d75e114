"""The collator: groups of passages, tasks of columns, and prompts that would be lost."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import Router
from tiny_bert import tiny_bert

from hybridlib.loss import InfoNCE
from hybridlib.sampler.batches import HybridBatchSampler
from hybridlib.sampler.collator import ParallelCollator

pytestmark = pytest.mark.usefixtures("quickly")

ITEMS = 12
QUERY, PASSAGE, NEGATIVE = (f"{name}_task" for name in ("query", "passage", "negative"))


def preprocess(inputs: list[str], prompt: str | None = None, task: str | None = None) -> dict[str, Any]:
    return {"input_ids": [f"{prompt or ''}{text} ({task})" for text in inputs]}


def rows_of(groups: list[Any], **further: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch, two for each item."""
    rows = [{"item": n, "query": "q", "passage": "p", "passage_group": group} for n, group in enumerate(groups)]
    return [row | further for row in rows for _ in range(2)]


def table(groups: list[Any] | None = None) -> datasets.Dataset:
    """Return a corpus table of some items in two languages."""
    rows = range(2 * ITEMS)
    columns = {
        "item": [row // 2 for row in rows],
        "language": ["en", "sw"] * ITEMS,
        "dataset": ["tiny"] * 2 * ITEMS,
        "query": [f"question {row}?" for row in rows],
        "passage": [f"passage {row}" for row in rows],
        "passage_group": np.repeat(range(ITEMS) if groups is None else groups, 2).tolist(),
    }
    kinds = {name: datasets.Value("string") for name in ("language", "dataset", "query", "passage")}
    features = datasets.Features(kinds | {name: datasets.Value("int64") for name in ("item", "passage_group")})
    return datasets.Dataset.from_dict(columns, features=features)


def trainer_of(
    encoder: SentenceTransformer, collator: ParallelCollator, folder: Path, rows: datasets.Dataset, **arguments: Any
) -> SentenceTransformerTrainer:
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "out"),
        per_device_train_batch_size=4,
        max_steps=2,
        batch_sampler=partial(HybridBatchSampler, strategy="x-y"),
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        save_strategy="no",
        dataloader_pin_memory=False,
        learning_rate=1e-2,
        **arguments,
    )
    return SentenceTransformerTrainer(encoder, arguments, rows, loss=InfoNCE(encoder), data_collator=collator)


# Groups


@pytest.mark.parametrize(
    ("group", "label"),
    [
        (3, 3),
        (0, 0),
        (None, -1),
        (math.nan, -1),
        (-1, -1),
        (3.0, 3),
        (np.int64(3), 3),
        (np.float32(3), 3),
    ],
    ids=repr,
)
def test_a_group_that_is_not_known_is_nobodys(group, label):
    assert ParallelCollator(preprocess)(rows_of([group, 7]))["label"].tolist() == [label, 7]
    negatives = rows_of([7, group], negative="n", negative_group=group)
    assert ParallelCollator(preprocess)(negatives)["label"].tolist() == [[7, label], [label, label]]


@pytest.mark.parametrize("group", ["a", 0.5, True, [1], math.inf, 1 << 63, np.uint64(1 << 63), np.bool_(True), 1e19])
def test_a_group_that_is_no_whole_number_is_refused(group):
    with pytest.raises(
        ValueError, match=r"^passage_group of item 1 is .*; allowed: a whole number of 64 bits, or null"
    ):
        ParallelCollator(preprocess)(rows_of([0, group]))


def test_a_column_of_labels_that_the_data_has_by_chance_is_not_taken_for_groups():
    batch = ParallelCollator(preprocess)(rows_of([5, 6], label=1.0, labels="x", score=0.5))
    assert list(batch) == ["label", "query_input_ids", QUERY, "passage_input_ids", PASSAGE]
    assert batch["label"].tolist() == [5, 6]


def test_a_batch_without_rows_is_refused():
    with pytest.raises(ValueError, match="the batch has no rows; allowed: two for each item, as a HybridBatchSampler"):
        ParallelCollator(preprocess)([])


@pytest.mark.parametrize(
    ("column", "value"), [("query", None), ("query", 3), ("passage", None), ("passage", b"p"), ("negative", 3)]
)
def test_a_text_that_is_none_is_named(column, value):
    rows = rows_of([5, 6], **{"negative": "n", "negative_group": 8, column: value})
    with pytest.raises(ValueError, match=f"^{column} of item 0 is {value!r}; allowed: a text$"):
        ParallelCollator(preprocess)(rows)


def test_a_negative_stands_where_sentence_transformers_expects_it(caplog):
    ParallelCollator(preprocess)(rows_of([5, 6], negative="n", negative_group=8))
    assert not caplog.messages


@pytest.mark.parametrize("column", ["item", "query", "passage", "passage_group"])
def test_a_column_that_is_missing_is_named(column):
    rows = [{name: value for name, value in row.items() if name != column} for row in rows_of([5, 6])]
    with pytest.raises(ValueError, match=f"the rows of a batch lack the column '{column}'; they have "):
        ParallelCollator(preprocess)(rows)


def test_a_corpus_whose_groups_are_null_is_trained_as_one_without_a_shared_passage(tmp_path):
    losses = []
    for groups in (None, [None] * ITEMS, [-1] * ITEMS):
        encoder = tiny_bert(tmp_path / "bert")
        trainer = trainer_of(encoder, ParallelCollator(encoder.preprocess), tmp_path, table(groups))
        losses.append(trainer.train().training_loss)
    assert losses[0] > 0.5
    assert losses[1] == losses[2] == losses[0]


# Tasks


def test_queries_and_passages_are_of_the_tasks_for_which_they_are_encoded():
    batch = ParallelCollator(preprocess)(rows_of([5, 6], negative="n", negative_group=8))
    assert (batch[QUERY], batch[PASSAGE], batch[NEGATIVE]) == ("query", "document", "document")
    assert batch["query_input_ids"] == ["q (query)"] * 2 and batch["negative_input_ids"] == ["n (document)"] * 2
    other = ParallelCollator(preprocess, router_mapping={"query": "title"})(rows_of([5, 6]))
    assert (other[QUERY], other[PASSAGE]) == ("title", "document")


def test_the_stock_trainer_trains_both_routes_of_a_router(tmp_path):
    parts = [list(tiny_bert(tmp_path / name).children()) for name in ("query", "document")]
    encoder = SentenceTransformer(modules=[Router.for_query_document(*parts)], device="cpu")
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    trainer_of(encoder, ParallelCollator(encoder.preprocess), tmp_path, table()).train()
    moved = {name.split(".")[2] for name, weight in encoder.state_dict().items() if not weight.equal(before[name])}
    assert moved == {"query", "document"}


# Arguments of the trainer that do not reach a collator of one's own


@pytest.mark.parametrize(
    ("name", "asked", "given"),
    [
        ("prompts", {"query": "ask: "}, {}),
        ("prompts", {"query": "ask: "}, {"query": "tell: "}),
        ("prompts", "ask: ", {}),
        ("router_mapping", {"query": "title"}, {}),
    ],
)
def test_prompts_and_tasks_that_the_training_arguments_alone_have_are_refused(tmp_path, name, asked, given):
    encoder = tiny_bert(tmp_path / "bert")
    collator = ParallelCollator(encoder.preprocess, **{name: given})
    trainer = trainer_of(encoder, collator, tmp_path, table(), **{name: asked})
    message = rf"^{name} is .* in the training arguments, which no ParallelCollator is told, .* {name}=\.\.\.\)$"
    with pytest.raises(ValueError, match=message):
        trainer.train()


@pytest.mark.parametrize(
    "given",
    [
        {"prompts": {"query": "ask: "}},
        {"router_mapping": {"query": "query", "passage": "document"}},
        {"prompts": "ask: ", "router_mapping": {"passage": "document"}},
    ],
)
def test_what_the_collator_has_too_or_does_by_itself_is_taken(tmp_path, given):
    encoder = tiny_bert(tmp_path / "bert")
    collator = ParallelCollator(encoder.preprocess, prompts=given.get("prompts"))
    trainer_of(encoder, collator, tmp_path, table(), **given).train()
    # The encoder has a note of that training, which is none of the next collator's.
    assert ParallelCollator(encoder.preprocess)(rows_of([5, 6]))["label"].tolist() == [5, 6]
