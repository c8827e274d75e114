"""Fine-tuning: sentence-transformers' trainer, with our batches and our loss.

The trainer is the stock one: it resumes, stops early and spreads over processes as its users know it. Under `torchrun`
every batch is split over the processes, whose losses are those of one process.
"""

import copy
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.encoder.embed import PRECISIONS
from hybridlib.encoder.tokens import TokenizedOnce
from hybridlib.loss import InfoNCE
from hybridlib.paths import replacing
from hybridlib.sampler.batches import HybridBatchSampler
from hybridlib.sampler.collator import ParallelCollator


class _Arguments(SentenceTransformerTrainingArguments):
    """The stock arguments without `DataParallel`, which would multiply the batch and cut texts into pieces."""

    @property
    def n_gpu(self) -> int:
        return min(1, super().n_gpu)


class _Trainer(SentenceTransformerTrainer):
    """The stock trainer without its model card, whose making takes longer than a small run."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        pass


class _TellEpoch(TrainerCallback):
    """Tells the sampler which epoch it is, which transformers 5.23 does not where it resumes over several processes."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        sampler = given["train_dataloader"].batch_sampler
        while not isinstance(sampler, HybridBatchSampler):
            sampler = sampler.batch_sampler  # of the wrapper that splits batches, or skips them
        sampler.set_epoch(int(state.epoch))


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
    precision: str = "float32",
    validation: ParallelCorpus | None = None,
    validate_every: int = 500,
    patience: int = 3,
    checkpoints: Path | None = None,
    save_every: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> SentenceTransformer:
    """Fine-tune a copy of an encoder on batches of one of the strategies.

    AdamW with a learning rate that falls linearly to 0, as the trainer has it. The encoder's own prompts for queries
    and documents are used, and none added. Under `torchrun` every batch is split over the processes, so it must divide
    by their number; the losses are those of one process, but for dropout.

    Args:
        encoder: left as it is.
        corpus: what to train on.
        strategy, alpha, language_temperature, dataset_temperature: how batches are drawn; see
            `HybridBatchSampler`.
        batch_size: pairs in a batch, over all processes.
        steps: batches, at most.
        temperature, symmetric, mini_batch_size: of the loss; see `InfoNCE`.
        learning_rate: at the first step.
        weight_decay: of AdamW.
        precision: of the matrix products; weights are float32 in either.
        validation: pairs whose loss, in monolingual batches, decides when to stop: the encoder of least loss is given
            back.
        validate_every: steps between validations.
        patience: validations without improvement after which to stop.
        checkpoints: a folder for the state of training, from which it goes on if it was interrupted, over however many
            processes. Unless given, nothing is kept.
        save_every: steps between checkpoints; with validation these are as often as that.
        seed: of the batches, and of dropout.
        progress: show a progress bar.

    Returns:
        The fine-tuned copy, in evaluation mode; the same for the same arguments on the same CPU.

    Raises:
        ValueError: an argument is out of range, the corpus is too small for the batch, or `checkpoints` holds those of
            other arguments.
    """
    asked = {name: value for name, value in locals().items() if isinstance(value, str | int | float | None)}
    _check(asked)
    asked |= {"languages": ", ".join(corpus.languages), "items": len(corpus)}
    encoder = copy.deepcopy(encoder)
    sampler = partial(
        _sampler,
        strategy=strategy,
        alpha=alpha,
        language_temperature=language_temperature,
        dataset_temperature=dataset_temperature,
        validation=None if validation is None else validation.table,
    )
    keys = {"query": "query", "passage": "document", "negative": "document"}
    prompts = {column: prompt for column, key in keys.items() if (prompt := encoder.prompts.get(key))}
    with _folder(checkpoints, asked) as folder:
        arguments = _Arguments(
            output_dir=str(folder),
            max_steps=steps,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            bf16=precision == "bfloat16",
            batch_sampler=sampler,
            accelerator_config={"split_batches": True},
            seed=seed,
            **_saving(checkpoints is not None, save_every, None if validation is None else validate_every),
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
            eval_dataset=None if validation is None else validation.table,
            loss=InfoNCE(
                encoder,
                temperature,
                symmetric=symmetric,
                mini_batch_size=mini_batch_size,
                gather_across_devices=arguments.world_size > 1,
            ),
            data_collator=ParallelCollator(TokenizedOnce(encoder), prompts=prompts),
            callbacks=[_TellEpoch()] if validation is None else [_TellEpoch(), EarlyStoppingCallback(patience)],
        )
        trainer.remove_callback(PrinterCallback)  # prints into whatever uses the library
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    return encoder.eval()


def _check(asked: dict[str, Any]) -> None:
    for name in ("steps", "learning_rate", "validate_every", "patience", "save_every"):
        if not 0 < asked[name] < math.inf:
            raise ValueError(f"{name} is {asked[name]}; allowed: above 0, finite")
    if not 0 <= asked["weight_decay"] < math.inf:
        raise ValueError(f"weight_decay is {asked['weight_decay']}; allowed: 0 or more, finite")
    if not 0 <= asked["seed"] < 1 << 32:  # what every generator that the trainer seeds can take
        raise ValueError(f"seed is {asked['seed']}; allowed: 0 to 2^32 - 1")
    if asked["precision"] not in PRECISIONS:
        raise ValueError(f"precision is {asked['precision']!r}; allowed: {', '.join(PRECISIONS)}")


def _sampler(
    dataset: datasets.Dataset, *given: Any, validation: datasets.Dataset | None, strategy: str, **named: Any
) -> HybridBatchSampler:
    """Validation data may be of one language, so its batches are monolingual whatever the training's are."""
    return HybridBatchSampler(dataset, *given, strategy="x-x-mono" if dataset is validation else strategy, **named)


def _saving(keep: bool, save_every: int, validate_every: int | None) -> dict[str, Any]:
    """The trainer's arguments of when to save and validate; where it stops early, it goes back to what it has saved."""
    if validate_every is None:
        return {"save_strategy": "steps" if keep else "no", "save_steps": save_every, "save_total_limit": 1}
    return {
        "save_strategy": "steps",
        "save_steps": validate_every,
        "save_total_limit": 2,  # the last and the best
        "eval_strategy": "steps",
        "eval_steps": validate_every,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
    }


@contextmanager
def _folder(checkpoints: Path | None, asked: dict[str, Any]) -> Iterator[Path]:
    """Where the trainer saves: a folder that is kept, if it is for these arguments, or else one for the meantime."""
    if checkpoints is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    noted = {name: str(value) for name, value in asked.items() if name != "progress"}
    note = checkpoints / "arguments.json"
    if note.exists():
        before = json.loads(note.read_text(encoding="utf-8"))
        other = [name for name in noted if before.get(name) != noted[name]]
        if other:
            name = other[0]
            raise ValueError(
                f"checkpoints: {checkpoints} holds those of another training, whose {name} was {before.get(name)}, "
                f"not {noted[name]}; give another folder, or remove it"
            )
    else:
        with replacing(note) as draft:
            draft.write_text(json.dumps(noted, indent=1), encoding="utf-8")
    yield checkpoints
