"""Training runs: the data, the start, the training and the test of each.

A run is one frozen model of everything that determines its results. Where finished runs are kept is the store's matter
(`hybridlib.study.store`). What computes is imported when something is to be computed, so that settings can be read at
once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pandas as pd
from pydantic import Field

from hybridlib.names import STATIC_ENCODERS
from hybridlib.training.settings import Count, Settings, Share, Training

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hybridlib.data.corpus import ParallelCorpus
    from hybridlib.data.task import RetrievalTask

Part = TypeVar("Part", bound=Settings)


class Data(Settings):
    """The training data of a run; see `load_corpus`.

    Attributes:
        corpus, languages, items, available, others: as `load_corpus` takes them; empty means all.
        data_seed: draws the split, the sentence frames and the items that stay available.
    """

    corpus: str
    languages: tuple[str, ...] = ()
    items: dict[str, int] = Field(default={})
    available: dict[str, Share] = Field(default={})
    others: Share = 1.0
    data_seed: int


class Start(Settings):
    """The encoder that a run starts from; see `load_encoder`.

    Attributes:
        encoder, max_length, seed: as `load_encoder` takes them. The seed is that of the training, too.
        query_prompt, document_prompt: put before texts; the encoder's own unless given.
        corpus, data_seed: the tokenizer of a static encoder is trained on them, whatever part a run trains on.
    """

    encoder: str
    corpus: str
    data_seed: int
    seed: int
    query_prompt: str = ""
    document_prompt: str = ""
    max_length: Count | None = None


class Run(Training, Data, Start):
    """One training run and its evaluation on held-out data.

    The settings of the training itself are those of `Training`, so `fine_tune` takes a run as it is.

    Attributes:
        task, task_languages, pool, measures: describe the evaluation; see `load_task` and `evaluate`.
        code_switched: train on the English part of the corpus, with words replaced by translations; see `code_switch`.
        hard_negatives: give every pair one, mined with the encoder to start from; see `mine_negatives`.
        validation: the corpus whose loss decides when to stop.
        keep_encoder: keep the trained encoder with the results.
    """

    task: str
    task_languages: tuple[str, ...] = ()
    pool: Literal["judged"] | int | None = None
    measures: tuple[str, ...] = ("map", "rank_distance")
    code_switched: bool = False
    hard_negatives: bool = False
    validation: Literal["squadshifts"] | None = None
    save_every: Count | None = None
    keep_encoder: bool = False

    @property
    def threads(self) -> int:
        """Return the threads it computes with: one for a static encoder, of which several train at once; else all."""
        return 1 if self.encoder in STATIC_ENCODERS else os.cpu_count() or 1

    def part(self, model: type[Part]) -> Part:
        """Return the settings of the run that another model has; runs for which they are equal share what they say."""
        return model(**{name: getattr(self, name) for name in model.model_fields})

    def load_corpus(self) -> ParallelCorpus:
        """Return the corpus, as other runs on the same data have it."""
        return _corpus(self.part(Data))

    def load_task(self) -> RetrievalTask:
        """Return what is evaluated: the held-out part of what is trained on, or all of another benchmark."""
        split = "test" if self.task.startswith("atlas") or self.task == self.corpus else None
        return _task(self.task, split, self.task_languages, self.pool, self.data_seed)

    def start(self) -> SentenceTransformer:
        """Return the encoder to start from, as other runs with the same start have it."""
        start = self.part(Start)
        # The weights of a pretrained encoder are not drawn, so runs of all seeds begin with the same.
        return _encoder(start if self.encoder in STATIC_ENCODERS else start.model_copy(update={"seed": 0}))

    def train(self, *, checkpoints: Path | None = None, progress: bool = False) -> SentenceTransformer:
        """Return the trained encoder, the same each time.

        Args:
            checkpoints: a folder from which an interrupted training goes on; see `fine_tune`.
            progress: show a progress bar.
        """
        import torch

        from hybridlib.data.code_switching import code_switch
        from hybridlib.training.fine_tune import fine_tune

        torch.set_num_threads(self.threads)
        encoder, corpus = self.start(), self.load_corpus()
        if self.code_switched:
            corpus = code_switch(corpus, seed=self.seed)
        if self.hard_negatives:
            corpus = _mined(corpus, encoder, self.data_seed)
        validation = _validation(self.validation) if self.validation else None
        kept = checkpoints if self.save_every else None
        return fine_tune(encoder, corpus, self, validation=validation, checkpoints=kept, progress=progress)

    def measure(
        self, encoder: SentenceTransformer, *, checkpoint: Path | None = None, progress: bool = False
    ) -> pd.DataFrame:
        """Return the results of what `train` has given; see `evaluate`."""
        from hybridlib.evaluation.evaluate import evaluate

        kept = checkpoint if self.save_every else None
        return evaluate(encoder, self.load_task(), measures=self.measures, checkpoint=kept, progress=progress)


@dataclass(frozen=True)
class Trial:
    """A run and the labels (strategy, amount of data, ...) under which its results stand in the tables.

    One run may stand under several labels.
    """

    labels: Mapping[str, Any]
    run: Run


@lru_cache(maxsize=2)
def _corpus(data: Data) -> ParallelCorpus:
    from hybridlib.data.load import load_corpus

    return load_corpus(
        data.corpus,
        languages=data.languages or None,
        items=data.items,
        available=data.available,
        others=data.others,
        seed=data.data_seed,
    )


@lru_cache(maxsize=1)
def _whole_corpus(name: str, data_seed: int) -> ParallelCorpus:
    """Return the corpus for the tokenizer of static encoders, whatever part of it a run trains on."""
    return _corpus(Data(corpus=name, data_seed=data_seed))


@lru_cache(maxsize=4)
def _encoder(start: Start) -> SentenceTransformer:
    from hybridlib.training.starts import load_encoder

    static = start.encoder in STATIC_ENCODERS
    prompts = {"query": start.query_prompt, "document": start.document_prompt}
    return load_encoder(
        start.encoder,
        corpus=_whole_corpus(start.corpus, start.data_seed) if static else None,
        prompts={name: prompt for name, prompt in prompts.items() if prompt},
        max_length=start.max_length,
        seed=start.seed,
    )


@lru_cache(maxsize=1)
def _mined(corpus: ParallelCorpus, encoder: SentenceTransformer, seed: int) -> ParallelCorpus:
    """Return a corpus with hard negatives, which runs that differ in their batches alone share."""
    from hybridlib.training.negatives import mine_negatives

    return mine_negatives(corpus, encoder, seed=seed)


@lru_cache(maxsize=1)
def _validation(name: str) -> ParallelCorpus:
    from hybridlib.data.load import load_corpus

    return load_corpus(name, "validation")


@lru_cache(maxsize=1)
def _task(name: str, split: str | None, languages: tuple[str, ...], pool: str | int | None, seed: int) -> RetrievalTask:
    from hybridlib.data.load import load_task

    return load_task(name, split, languages=languages or None, pool=pool, seed=seed)
