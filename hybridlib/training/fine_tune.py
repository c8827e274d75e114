"""Fine-tuning by sentence-transformers' trainer, with the batches and the loss of this library.

The trainer is the stock one: it resumes, stops early and spreads over processes as its users know it. Under `torchrun`
every batch is split over the processes, and their losses are those of one process.
"""

import copy
import io
from contextlib import nullcontext, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.losses.gradcache import has_static_embedding_input
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

from hybridlib.arguments import FilePath, checked
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.encoder.reading import check_device, prompt_of, settle
from hybridlib.encoder.tokens import TokenCache
from hybridlib.loss import InfoNCE
from hybridlib.sampler.batches import HybridBatchSampler
from hybridlib.sampler.collator import ParallelCollator
from hybridlib.training.checkpoints import (
    folder_of_checkpoints,
    last_checkpoint,
    readable_checkpoint,
    record_of_training,
    weights_of_finished,
)
from hybridlib.training.settings import Training
from hybridlib.training.watch import FROZEN, Watch, align_special_tokens, warn_at_start


class _Arguments(SentenceTransformerTrainingArguments):
    """The stock arguments without `DataParallel`, which would multiply the batch and cut texts into pieces."""

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


class _Trainer(SentenceTransformerTrainer):
    """The stock trainer, except that its model card is made quietly and without the network.

    A static encoder gets no card, since making it takes longer than a small run. What is wrong with a step is seen by
    `Watch`, which replaces the trainer's own look at the loss.
    """

    watch: Watch

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        if has_static_embedding_input(self.model):
            return
        self.model.model_card_data.local_files_only = True
        with redirect_stderr(io.StringIO()) if self.args.disable_tqdm else nullcontext():
            super().add_model_card_callback(default_args_dict)

    def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
        try:
            self.watch.loss = super().training_step(*given, **named)
        except RuntimeError as error:
            if "does not require grad" not in str(error):  # as torch has it
                raise
            raise ValueError(FROZEN) from None
        return self.watch.loss

    def _load_from_checkpoint(self, *given: Any, **named: Any) -> None:
        with readable_checkpoint(Path(given[0])):
            super()._load_from_checkpoint(*given, **named)


class _TellEpoch(TrainerCallback):
    """A callback that tells the sampler its epoch: transformers 5.23 does not, where several processes resume."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        sampler = given["train_dataloader"].batch_sampler
        while not isinstance(sampler, HybridBatchSampler):
            sampler = sampler.batch_sampler  # it is wrapped to split batches, or to skip some
        sampler.set_epoch(int(state.epoch))


@checked
def fine_tune(
    encoder: SentenceTransformer,
    corpus: ParallelCorpus,
    settings: Training,
    *,
    validation: ParallelCorpus | None = None,
    checkpoints: FilePath | None = None,
    progress: bool = True,
) -> SentenceTransformer:
    """Fine-tune a copy of an encoder on batches of one of the strategies.

    The learning rate of AdamW falls linearly to 0, as in the stock trainer. Texts get the encoder's own prompts for
    queries and documents (see `hybridlib.encoder.reading.prompt_of`), and no others. Weights of half precision become
    float32. A warning is logged where more than 1 % of the texts are cut, where the learning rate is one for static
    encoders alone, and where the first batch teaches nothing.

    Under `torchrun` every batch is split over the processes, so its size must be a multiple of their number. The losses
    are then those of one process, except for dropout.

    Args:
        encoder: left as it is.
        corpus: what to train on.
        settings: how to train.
        validation: pairs whose loss, in monolingual batches, decides when to stop. The encoder with the least loss is
            then returned.
        checkpoints: a folder for the state of training. An interrupted training goes on from there, over any number of
            processes; one that is finished is only read, for which its weights suffice. It belongs to one training: the
            encoder, what is in the corpus, and all settings. Without a folder, nothing is kept.
        progress: show a progress bar.

    Returns:
        The fine-tuned copy, in evaluation mode. It is the same for the same arguments on the same CPU. With 0 steps it
        is a mere copy, and nothing else is looked at.

    Raises:
        ValueError: an argument is of another type, the corpus is too small for the batch or has no negatives, the batch
            cannot be split over the processes, the encoder has no weights to train, the folder of checkpoints is of
            another training or cannot be read, the loss refuses its settings, or training diverges; the message names
            the step where it happens, and nothing of it is kept.
    """
    check_device(encoder)
    if not settings.steps:
        return copy.deepcopy(encoder).eval()
    if settings.batch_size == 1 and "negative" not in corpus.table.column_names:
        raise ValueError("batch_size is 1; allowed: 2 or more, since a pair alone has no negative")
    if not any(weights.requires_grad for weights in encoder.parameters()):
        raise ValueError(FROZEN)
    InfoNCE(encoder, settings.temperature, mini_batch_size=settings.mini_batch_size)  # refuses what it cannot take
    record = {} if checkpoints is None else record_of_training(encoder, settings, corpus, validation)
    encoder = copy.deepcopy(encoder).float()
    settle(encoder)
    align_special_tokens(encoder)
    with folder_of_checkpoints(None if checkpoints is None else Path(checkpoints), record) as folder:
        arguments = _arguments(folder, settings, keep=checkpoints is not None, validated=validation is not None)
        arguments.disable_tqdm = not progress
        arguments.batch_sampler = partial(
            _sampler,
            strategy=settings.strategy,
            alpha=settings.alpha,
            language_temperature=settings.language_temperature,
            dataset_temperature=settings.dataset_temperature,
            validation=None if validation is None else validation.table,
        )
        last = last_checkpoint(folder)
        finished = None if last is None else weights_of_finished(last, settings.steps)
        if arguments.process_index == 0 and finished is None:
            warn_at_start(encoder, corpus, settings)
        trainer = _trainer(encoder, arguments, settings, corpus, validation)
        if finished is None:
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
        else:
            trainer._load_from_checkpoint(str(finished))
    return encoder.eval()


def _arguments(folder: Path, settings: Training, *, keep: bool, validated: bool) -> _Arguments:
    """Return the trainer's arguments; with validation, the trainer ends with the best weights that it saved."""
    arguments = _Arguments(
        output_dir=str(folder),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        bf16=settings.precision == "bfloat16",
        # Sent in the stock way, a batch would make Python wait until the GPU has ended the step before.
        accelerator_config={"split_batches": True, "non_blocking": torch.cuda.is_available()},
        seed=settings.seed,
        save_strategy="steps" if keep or validated else "no",
        save_steps=settings.validate_every if validated else settings.save_every or settings.steps,
        save_total_limit=2 if validated else 1,  # with validation, they are the last and the best
        eval_strategy="steps" if validated else "no",
        eval_steps=settings.validate_every if validated else None,
        load_best_model_at_end=validated,
        restore_callback_states_from_checkpoint=validated,  # how often the loss has not improved
        metric_for_best_model="eval_loss" if validated else None,
        logging_strategy="no",
        logging_nan_inf_filter=False,  # it hides such losses, and `Watch` refuses them
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cpu=not torch.accelerator.is_available(),  # or processes on a CPU would not learn of each other
    )
    if settings.batch_size % arguments.world_size:
        raise ValueError(
            f"batch_size is {settings.batch_size}; allowed: multiples of {arguments.world_size}, the number of "
            "processes"
        )
    # The arguments turn it on under `torchrun`, and epochs would then end elsewhere than in one process.
    arguments.dataloader_drop_last = False
    return arguments


def _trainer(
    encoder: SentenceTransformer,
    arguments: _Arguments,
    settings: Training,
    corpus: ParallelCorpus,
    validation: ParallelCorpus | None,
) -> _Trainer:
    roles = {"query": "query", "passage": "document", "negative": "document"}
    prompts = {column: prompt for column, role in roles.items() if (prompt := prompt_of(encoder, role))}
    loss = InfoNCE(
        encoder,
        settings.temperature,
        mask=settings.mask,
        symmetric=settings.symmetric,
        mini_batch_size=settings.mini_batch_size,
        gather_across_devices=arguments.world_size > 1,
    )
    watch = Watch(settings)
    trainer = _Trainer(
        model=encoder,
        args=arguments,
        train_dataset=corpus.table,
        eval_dataset=None if validation is None else validation.table,
        loss=loss,
        data_collator=ParallelCollator(TokenCache.of_encoder(encoder), prompts=prompts),
        callbacks=[_TellEpoch(), watch, *([] if validation is None else [EarlyStoppingCallback(settings.patience)])],
    )
    trainer.watch = watch
    trainer.remove_callback(PrinterCallback)  # it prints into whatever uses the library
    return trainer


def _sampler(
    dataset: datasets.Dataset, *given: Any, validation: datasets.Dataset | None, strategy: str, **named: Any
) -> HybridBatchSampler:
    """Return the sampler for training, or a monolingual one for validation, whose data may be in one language."""
    return HybridBatchSampler(dataset, *given, strategy="x-x-mono" if dataset is validation else strategy, **named)
