"""Training runs: the data, the start, the training and the tests of each.

A run is one frozen model of everything that determines what is trained, and of what it is tested on. Where finished
runs are kept is the store's matter (`hybridlib.study.runs.store`). What computes is imported when something is to be
computed, so that settings can be read at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals
from pydantic import Field, create_model, field_validator

from hybridlib.arguments import Count, Positive
from hybridlib.encoder.finding import findable
from hybridlib.names import BM25, E5_SMALL, STATIC_ENCODERS
from hybridlib.study.inputs import (
    Data,
    Start,
    Test,
    corpus_of,
    encoder_like,
    encoder_of,
    mined,
    tasks_of,
    validation_of,
)
from hybridlib.training.settings import BatchSize, Settings, Training

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hybridlib.data.corpus import ParallelCorpus
    from hybridlib.data.task import RetrievalTask
    from hybridlib.evaluation.pairs import Measured

Part = TypeVar("Part", bound=Settings)


class Run(Training, Data, Start):
    """One training run and its evaluation on held-out data.

    The settings of the training itself are those of `Training`, so `fine_tune` takes a run as it is. Without steps, it
    is the encoder to start from that is tested. The encoder `bm25` ranks by words, and has nothing to train.

    Attributes:
        tests: what the trained encoder is tested on.
        centred: take the mean embedding of its language, over the training texts, off every embedding; see
            `hybridlib.evaluation.centred`.
        code_switched: train on the English part of the corpus, with words replaced by translations; see `code_switch`.
        hard_negatives: give every pair one, mined with the encoder of this name; see `mine_negatives`.
        validation: the corpus whose loss decides when to stop.
        keep_encoder: keep the trained encoder with the results.
    """

    tests: Annotated[tuple[Test, ...], Field(min_length=1)]
    centred: bool = False
    code_switched: bool = False
    hard_negatives: str | None = None
    validation: Literal["squadshifts"] | None = None
    save_every: Count | None = None
    keep_encoder: bool = False

    @property
    def threads(self) -> int:
        """Return the threads it computes with: one for a static encoder, of which several train at once; else all.

        `OMP_NUM_THREADS` says how many these are where processes share a machine.
        """
        return 1 if self.encoder in STATIC_ENCODERS else int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)

    @property
    def is_small(self) -> bool:
        """Return whether the encoder is so small that several runs share a GPU."""
        return self.encoder in (*STATIC_ENCODERS, E5_SMALL, BM25)

    def part(self, model: type[Part]) -> Part:
        """Return the settings of the run that another model has; runs for which they are equal share what they say."""
        return model(**{name: getattr(self, name) for name in model.model_fields})

    def test_name(self, test: Test) -> str:
        """Return a name for the relevant pairs of a test, which is the same for all runs that are tested on them.

        >>> run = Run(encoder="bm25", corpus="xquad-r", fold=2, data_seed=0, seed=0, tests=(Test(task="xquad-r"),))
        >>> run.test_name(run.tests[0]), run.test_name(Test(task="mlqa-r"))
        ('xquad-r-2', 'mlqa-r')
        """
        fold = test.fold(self)
        name = test.task.replace("/", "-") + ("" if fold is None else f"-{fold}")
        further = test.languages, test.pool, self.data_seed
        return name if further == ((), None, 0) else f"{name}-{hashlib.sha256(repr(further).encode()).hexdigest()[:6]}"

    def load_corpus(self) -> ParallelCorpus:
        """Return the corpus, as other runs on the same data have it."""
        return corpus_of(self.part(Data))

    def load_task(self, test: Test) -> RetrievalTask:
        """Return the task of a test, unless it has several, as Tatoeba; other runs with the same task have it, too."""
        (task,) = tasks_of(test, self.part(Data))
        return task

    def start(self) -> SentenceTransformer:
        """Return the encoder to start from, as other runs with the same start have it."""
        return encoder_of(self.part(Start))

    def check(self) -> None:
        """Make sure, before any training, that the encoder, the loss and the batches are to be had with the settings.

        Raises:
            ValueError: the encoder or the loss refuses a setting, or a batch cannot be filled.
            FileNotFoundError: there is no such encoder, or a data file is missing.
        """
        corpus = self.load_corpus()
        if self.encoder == BM25:
            return
        encoder = encoder_like(self.part(Start))
        if not self.steps:
            return
        from hybridlib.loss import InfoNCE
        from hybridlib.sampler.batches import HybridBatchSampler
        from hybridlib.training.code_switching import code_switch

        InfoNCE(encoder, self.temperature, symmetric=self.symmetric, mini_batch_size=self.mini_batch_size)
        table = (code_switch(corpus) if self.code_switched else corpus).availability
        HybridBatchSampler(table, self.batch_size, strategy=self.strategy, alpha=self.alpha)
        if self.hard_negatives:
            encoder_like(Start(encoder=self.hard_negatives, corpus=self.corpus, data_seed=0, seed=0))

    def train(self, *, checkpoints: Path | None = None, progress: bool = False) -> SentenceTransformer | None:
        """Return the trained encoder, the same each time; None for `bm25`.

        Args:
            checkpoints: a folder from which an interrupted training goes on; see `fine_tune`.
            progress: show a progress bar.
        """
        if self.encoder == BM25:
            return None
        import torch

        torch.set_num_threads(self.threads)
        if self.steps == 0:
            return self.start()
        from hybridlib.training.code_switching import code_switch
        from hybridlib.training.fine_tune import fine_tune

        corpus = self.load_corpus()
        if self.code_switched:
            corpus = code_switch(corpus, seed=self.seed)
        if self.hard_negatives:
            corpus = mined(corpus, self.hard_negatives, self.data_seed)
        validation = validation_of(self.validation) if self.validation else None
        kept = checkpoints if self.save_every else None
        return fine_tune(self.start(), corpus, self, validation=validation, checkpoints=kept, progress=progress)

    def prompts(self, encoder: SentenceTransformer | None, test: Test) -> dict[str, str]:
        """Return what `train` has given puts before the queries and passages of a test; see `prompts_in_force`."""
        from hybridlib.evaluation.evaluate import prompts_in_force

        return {} if encoder is None else prompts_in_force(encoder, next(tasks_of(test, self.part(Data))))

    def measure(
        self,
        encoder: SentenceTransformer | None,
        test: Test,
        *,
        checkpoint: Path | None = None,
        progress: bool = False,
    ) -> Measured:
        """Return the ranks by what `train` has given.

        Args:
            encoder: the trained encoder.
            test: what to test it on.
            checkpoint: a folder from which an interrupted evaluation goes on, where the run saves such.
            progress: show a progress bar.
        """
        from hybridlib.evaluation.evaluate import measure

        tasks = tasks_of(test, self.part(Data))
        if encoder is None:
            from hybridlib.evaluation.bm25 import measure_bm25

            return joined([measure_bm25(task) for task in tasks])
        options: dict[str, Any] = {"progress": progress}
        if self.centred:
            from hybridlib.evaluation.centred import language_means

            options["means"] = language_means(encoder, self.load_corpus())
        kept = checkpoint / self.test_name(test) if checkpoint and self.save_every else None
        return joined(
            [
                measure(encoder, task, checkpoint=kept and kept / str(number), **options)
                for number, task in enumerate(tasks)
            ]
        )


# All runs of a parameter file share these settings, below its key `training`; good values differ between encoders.
_REQUIRED: Any = {
    "batch_size": (BatchSize, ...),
    "steps": (Count, ...),
    "temperature": (Positive, ...),
    "learning_rate": (Positive, ...),
}
# And they may share these.
_SHARED = (
    "query_prompt", "document_prompt", "max_length", "hard_negatives", "validation", "validate_every", "patience",
    "save_every", "keep_encoder", "precision", "weight_decay", "symmetric", "mini_batch_size", "dataset_temperature",
)  # fmt: skip
_FIELDS: Any = {name: (Run.model_fields[name].annotation, Run.model_fields[name]) for name in _SHARED}
_CHECKS: Any = {"encoder_isfindable": field_validator("hard_negatives")(findable)}
RunSettings: Any = create_model("RunSettings", __base__=Settings, __validators__=_CHECKS, **_REQUIRED, **_FIELDS)


def joined(parts: Sequence[Measured]) -> Measured:
    """Return the pairs of several tasks one after the other; those of tasks that have no pool get no rank in one."""
    from hybridlib.evaluation.pairs import Measured

    pairs = pd.concat([part.pairs.astype({"relevance": float}) for part in parts], ignore_index=True)
    for name in pairs.columns.drop("relevance"):
        pairs[name] = union_categoricals([part.pairs[name] for part in parts], sort_categories="language" in name)
    in_pool = [part.in_pool * np.int32("multilingual" in part.settings) for part in parts]
    return Measured(
        pairs, np.concatenate([part.in_language for part in parts]), np.concatenate(in_pool), parts[0].settings
    )


@dataclass(frozen=True)
class Trial:
    """A run and the labels (strategy, amount of data, ...) under which its results stand in the tables.

    One run may stand under several labels.
    """

    labels: Mapping[str, Any]
    run: Run

    @property
    def name(self) -> str:
        """The labels as a name, without its fold and seed."""
        shown = [
            f"{name} {one}" for name, one in self.labels.items() if name not in ("strategy", "fold", "seed", "order")
        ]
        return ", ".join([str(self.labels["strategy"]), *shown])
