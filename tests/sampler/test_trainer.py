"""The sampler in the stock trainer, on one process and on several."""

import math
from functools import partial
from pathlib import Path

import datasets
import pytest
from accelerate.data_loader import BatchSamplerShard, prepare_data_loader
from corpora import corpus_of, everywhere, table_of
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from tiny_bert import tiny_bert
from torch.utils.data import DataLoader

import hybridlib
from hybridlib.sampler.batches import HybridBatchSampler

HYBRID = {"strategy": "hybrid", "alpha": 0.5}


def tiny_table(items: int) -> datasets.Dataset:
    """Return a corpus table whose texts name their item and language."""
    columns = table_of(everywhere(items, 3), ["tiny"] * items)
    texts = [f"{code} {item}" for code, item in zip(columns["language"], columns["item"], strict=True)]
    further = {"query": [f"{text}?" for text in texts], "passage": texts, "passage_group": columns["item"]}
    return datasets.Dataset.from_dict(columns | further)


def rows_of(table: datasets.Dataset, epoch: int) -> list[list[tuple[str, str]]]:
    """Return the texts of the rows of each batch of an epoch."""
    sampler = HybridBatchSampler(table, 4, seed=7, **HYBRID)
    sampler.set_epoch(epoch)
    return [texts_of(table.select(batch)) for batch in sampler]


def texts_of(rows) -> list[tuple[str, str]]:
    return [(row["query"], row["passage"]) for row in rows]


# Several processes


def test_a_batch_that_does_not_split_into_rows_for_each_process_is_refused_by_accelerate():
    sampler = HybridBatchSampler(corpus_of(everywhere(90, 3)), 5)
    with pytest.raises(ValueError, match=r"the batch size \(10\) needs to be a round multiple of the number of proc"):
        BatchSamplerShard(sampler, 4, 0, split_batches=True)


@pytest.mark.parametrize(("processes", "process"), [(2, 0), (2, 1), (4, 0), (4, 1), (4, 2), (4, 3)])
def test_each_process_takes_its_share_of_every_batch_in_whole_pairs_and_of_the_same_epoch(processes, process):
    table = tiny_table(23)
    loader = prepare_data_loader(
        DataLoader(table, batch_sampler=HybridBatchSampler(table, 4, seed=7, **HYBRID), collate_fn=texts_of),
        num_processes=processes,
        process_index=process,
        split_batches=True,
        put_on_device=False,
    )
    for epoch in (0, 1):
        # The two lines of transformers.Trainer._run_epoch: accelerate alone stops at its own BatchSamplerShard.
        loader.set_epoch(epoch)
        loader.batch_sampler.batch_sampler.set_epoch(epoch)
        rows = 8 // processes
        assert list(loader) == [batch[process * rows :][:rows] for batch in rows_of(table, epoch)]


# Training


class _Recorder(hybridlib.ParallelCollator):
    """The collator, which keeps the texts that it was given."""

    def __call__(self, features):
        self.seen.append(texts_of(features))
        return super().__call__(features)


def train(folder: Path, table: datasets.Dataset, resume: Path | None = None, **arguments):
    """Train with the stock trainer over the sampler; return the texts of each batch, as collated, and the trainer."""
    encoder = tiny_bert(folder / "bert")
    collator = _Recorder(encoder.preprocess)
    collator.seen = []
    trainer = SentenceTransformerTrainer(
        model=encoder,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=4,
            batch_sampler=partial(HybridBatchSampler, **HYBRID),
            accelerator_config={"split_batches": True},
            seed=7,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
            num_train_epochs=2,
            **arguments,
        ),
        train_dataset=table,
        loss=hybridlib.InfoNCE(encoder),
        data_collator=collator,
    )
    trainer.train(resume_from_checkpoint=resume and str(resume))
    return collator.seen, trainer


@pytest.mark.usefixtures("quickly")
def test_the_stock_trainer_takes_the_sampler_as_it_is_and_advances_its_epoch_and_resumes_in_the_middle_of_one(tmp_path):
    table = tiny_table(12)  # 3 batches an epoch
    first, second = rows_of(table, 0), rows_of(table, 1)
    assert first != second
    seen, trainer = train(tmp_path, table, save_steps=4)
    assert seen == first + second
    assert isinstance(trainer.get_train_dataloader().batch_sampler, HybridBatchSampler)
    assert math.isfinite(trainer.state.log_history[-1]["train_loss"])
    resumed, trainer = train(tmp_path / "again", table, tmp_path / "checkpoint-4", save_strategy="no")
    assert trainer.state.global_step == 6
    assert resumed == second[1:]
