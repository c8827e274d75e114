"""Fine-tuning: sentence-transformers' trainer, with our batches and our loss."""

import copy
import math
import tempfile
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from transformers import PrinterCallback

from hybridlib.corpus import ParallelCorpus
from hybridlib.loss import InfoNCE
from hybridlib.sampler import HybridBatchSampler


@dataclass
class ParallelCollator(SentenceTransformerDataCollator):
    """Makes pairs of the rows that `HybridBatchSampler` yields: the query of every even row, the passage of the odd row
    behind it.

    The passage's group is the label, by which `InfoNCE` knows false negatives.

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
        return super().__call__(
            [{"query": q["query"], "passage": p["passage"], "label": p["passage_group"]} for q, p in pairs]
        )


class _Arguments(SentenceTransformerTrainingArguments):
    """The stock arguments without `DataParallel`, which would multiply the batch and cut texts into pieces."""

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


class _Trainer(SentenceTransformerTrainer):
    """The stock trainer without its model card, whose making takes longer than a small run."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        pass


def fine_tune(
    encoder: SentenceTransformer,
    corpus: ParallelCorpus,
    *,
    strategy: str = "hybrid",
    alpha: float = 0.5,
    batch_size: int = 100,
    steps: int = 200,
    temperature: float = 0.05,
    learning_rate: float = 1e-2,
    weight_decay: float = 0.01,
    symmetric: bool = False,
    language_temperature: float = math.inf,
    dataset_temperature: float = 1.0,
    mini_batch_size: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> SentenceTransformer:
    """Fine-tune a copy of an encoder on batches of one of the strategies.

    AdamW with a learning rate that falls linearly to 0, as the trainer has it. The encoder's own prompts for queries
    and documents are used, and none added. Under `torchrun` every batch is split over the processes, so it must divide
    by their number.

    Args:
        encoder: left as it is.
        corpus: what to train on.
        strategy, alpha, language_temperature, dataset_temperature: how batches are drawn; see
            `HybridBatchSampler`.
        batch_size: pairs in a batch, over all processes.
        steps: batches.
        temperature, symmetric, mini_batch_size: of the loss; see `InfoNCE`.
        learning_rate: at the first step.
        weight_decay: of AdamW.
        seed: of the batches, and of dropout.
        progress: show a progress bar.

    Returns:
        The fine-tuned copy, in evaluation mode; the same for the same arguments on the same CPU.

    Raises:
        ValueError: an argument is out of range, or the corpus is too small for the batch.
    """
    for name, value in (("steps", steps), ("learning_rate", learning_rate)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; allowed: above 0, finite")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay is {weight_decay}; allowed: 0 or more, finite")
    if not 0 <= seed < 1 << 32:  # what every generator that the trainer seeds can take
        raise ValueError(f"seed is {seed}; allowed: 0 to 2^32 - 1")
    encoder = copy.deepcopy(encoder)
    sampler = partial(
        HybridBatchSampler,
        strategy=strategy,
        alpha=alpha,
        language_temperature=language_temperature,
        dataset_temperature=dataset_temperature,
    )
    keys = {"query": "query", "passage": "document"}
    prompts = {column: prompt for column, key in keys.items() if (prompt := encoder.prompts.get(key))}
    with tempfile.TemporaryDirectory() as folder:
        arguments = _Arguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_sampler=sampler,
            accelerator_config={"split_batches": True},
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=not progress,
            dataloader_pin_memory=torch.cuda.is_available(),
            use_cpu=not torch.accelerator.is_available(),  # else processes on a CPU do not learn of each other
        )
        if batch_size % arguments.world_size:
            raise ValueError(
                f"batch_size is {batch_size}; allowed: multiples of {arguments.world_size}, the number of processes"
            )
        # Under `torchrun` the arguments turn it on, and epochs would end elsewhere than in one process.
        arguments.dataloader_drop_last = False
        trainer = _Trainer(
            model=encoder,
            args=arguments,
            train_dataset=corpus.table,
            loss=InfoNCE(
                encoder,
                temperature,
                symmetric=symmetric,
                mini_batch_size=mini_batch_size,
                gather_across_devices=arguments.world_size > 1,
            ),
            data_collator=ParallelCollator(encoder.preprocess, prompts=prompts),
        )
        trainer.remove_callback(PrinterCallback)  # prints into whatever uses the library
        trainer.train()
    return encoder.eval()
