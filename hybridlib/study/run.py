"""Training runs: each is keyed by everything that determines it, computed once, and kept.

A run is a folder `runs/<key>/` of two files: `results.parquet`, and `run.json`, which says what the run is and holds
the checksum of the results; the trained encoder may lie beside them. The folder is written under another name and
renamed when it is whole, and read only if the checksum is right; so a run that was killed or altered is computed again,
never trusted. Runs do not depend on each other, so killing and starting again gives the same bytes.

A *plan* is what a question of the package asks for: trials, each a run and the labels (strategy, amount of data, ...)
under which its results stand in the tables. One run may stand under several labels.

What computes is imported when something is to be computed, so that a plan can be read at once.
"""

import hashlib
import json
import logging
import math
import multiprocessing
import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from hybridlib.names import CODE_SWITCH, STATIC_ENCODERS
from hybridlib.paths import checksum, project_root
from hybridlib.study.code import environment

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hybridlib.data.corpus import ParallelCorpus
    from hybridlib.data.task import RetrievalTask

logger = logging.getLogger(__name__)

PROMPTS = ("query", "document")
# Settings of the training that are the encoder's.
_OF_ENCODER = (*(f"{name}_prompt" for name in PROMPTS), "max_length")


@dataclass(frozen=True)
class Trial:
    """A run and the labels under which its results stand in the tables."""

    labels: Mapping[str, Any]
    run: "Run"


@dataclass(frozen=True)
class Run:
    """One training run and its evaluation on held-out data.

    Attributes:
        task, task_languages, pool, measures: what is evaluated; see `load_task` and `evaluate`.
        corpus, languages, items, available, others: what is trained on; see `load_corpus`. Empty means all.
        encoder: what to start from; see `load_encoder`.
        strategy, alpha, language_temperature: how batches are drawn; see `HybridBatchSampler`. The strategy
            `code-switch` trains as `en-en` on code-switched text; see `code_switch`.
        batch_size, steps, temperature, learning_rate: of the training; see `fine_tune`.
        training: further settings, by name; see `hybridlib.study.params.Training`.
        seed: of first weights and batches.
        data_seed: of the split, the sentence frames and the items that stay.
    """

    task: str
    corpus: str
    encoder: str
    strategy: str
    alpha: float
    batch_size: int
    steps: int
    temperature: float
    learning_rate: float
    seed: int
    data_seed: int
    languages: tuple[str, ...] = ()
    items: tuple[tuple[str, int], ...] = ()
    available: tuple[tuple[str, float], ...] = ()
    others: float = 1.0
    language_temperature: float = math.inf
    task_languages: tuple[str, ...] = ()
    pool: str | int | None = None
    measures: tuple[str, ...] = ("map", "rank_distance")
    training: tuple[tuple[str, Any], ...] = ()

    def key(self) -> str:
        """A name that changes with the run, the library's code and the packages' versions, and not with the machine."""
        text = json.dumps(self._identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def threads(self) -> int:
        """One for a static encoder, of which as many runs go on at once as there are cores; otherwise all cores."""
        return 1 if self.encoder in STATIC_ENCODERS else os.cpu_count() or 1

    def _identity(self) -> dict:
        return {"run": asdict(self), "environment": environment()}

    @property
    def folder(self) -> Path:
        return project_root() / "runs" / self.key()

    def finished(self) -> bool:
        """Whether the run is there, whole and unaltered."""
        try:
            record = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
            return record["sha256"] == checksum(self.folder / "results.parquet")
        except (OSError, ValueError, KeyError):
            return False

    def train(self, *, progress: bool = False) -> "SentenceTransformer":
        """The trained encoder, the same each time."""
        import torch

        from hybridlib.training.fine_tune import fine_tune

        torch.set_num_threads(self.threads)
        settings = dict(self.training)
        kept = self.folder / "encoder"
        if settings.pop("keep_encoder", False) and kept.is_dir() and self.finished():
            from hybridlib.training.starts import load_encoder

            return load_encoder(str(kept))
        encoder = _encoder(*self._first())
        strategy, corpus = self.strategy, self.load_corpus()
        if strategy == CODE_SWITCH:
            from hybridlib.data.code_switching import code_switch

            strategy, corpus = "en-en", code_switch(corpus, seed=self.seed)
        if settings.pop("hard_negatives", False):
            from hybridlib.training.negatives import mine_negatives

            if strategy == self.strategy:
                corpus = _mined(self.data(), self._first())
            else:
                corpus = mine_negatives(corpus, encoder, seed=self.data_seed)
        if validation := settings.pop("validation", None):
            settings["validation"] = _validation(validation)
        if "save_every" in settings:
            settings["checkpoints"] = self.scratch / "training"
        return fine_tune(
            encoder,
            corpus,
            strategy=strategy,
            alpha=self.alpha,
            batch_size=self.batch_size,
            steps=self.steps,
            temperature=self.temperature,
            learning_rate=self.learning_rate,
            language_temperature=self.language_temperature,
            seed=self.seed,
            progress=progress,
            **{name: value for name, value in settings.items() if name not in _OF_ENCODER},
        )

    def compute(self) -> None:
        """Train, evaluate, and keep the results."""
        encoder = self.train()
        self.keep(self.evaluate(encoder), encoder)

    def evaluate(self, encoder: "SentenceTransformer", *, progress: bool = False) -> pd.DataFrame:
        """The results of what `train` has given."""
        from hybridlib.evaluation.evaluate import evaluate

        checkpoint = self.scratch / "counts" if "save_every" in dict(self.training) else None
        return evaluate(encoder, self.load_task(), measures=self.measures, checkpoint=checkpoint, progress=progress)

    @property
    def scratch(self) -> Path:
        """Where a long run keeps what it needs to go on after an interruption."""
        return self.folder.with_name(f".{self.key()}")

    def _first(self) -> tuple:
        """What the first encoder is made of: the arguments of `_encoder`."""
        settings = dict(self.training)
        prompts = tuple((name, settings[f"{name}_prompt"]) for name in PROMPTS if f"{name}_prompt" in settings)
        # Weights of a pretrained one are not drawn: runs of all seeds begin with the same.
        seed = self.seed if self.encoder in STATIC_ENCODERS else 0
        return (self.encoder, self.corpus, self.data_seed, seed, prompts, settings.get("max_length"))

    def data(self) -> tuple:
        """What tells training data apart: runs for which it is equal train on the same."""
        return (self.corpus, self.languages, self.items, self.available, self.others, self.data_seed)

    def load_corpus(self) -> "ParallelCorpus":
        """What is trained on."""
        return _corpus(*self.data())

    def load_task(self) -> "RetrievalTask":
        """What is evaluated."""
        # Of what is trained on, only what is held out; of any other benchmark, all.
        split = "test" if self.task.startswith("atlas") or self.task == self.corpus else None
        return _task(self.task, split, self.task_languages, self.pool, self.data_seed)

    def results(self, measures: Sequence[str] | None = None) -> pd.DataFrame:
        """The results of a finished run, of some measures or all; computed now if another process has removed them."""
        if not self.finished():
            self.compute()
        chosen = [("measure", "in", list(measures))] if measures is not None else None
        return pd.read_parquet(self.folder / "results.parquet", filters=chosen)

    def keep(self, results: pd.DataFrame, encoder: "SentenceTransformer") -> None:
        """Write the run's folder, with the encoder if the run is to keep it.

        Raises:
            OSError: it could not be written; the message names the run.
        """
        draft = self.folder.with_name(f".{self.key()}-{uuid.uuid4().hex}")
        try:
            draft.mkdir(parents=True)
            if dict(self.training).get("keep_encoder"):
                encoder.save_pretrained(str(draft / "encoder"))
            results.to_parquet(draft / "results.parquet", compression="zstd", index=False)
            record = {**self._identity(), "sha256": checksum(draft / "results.parquet")}
            (draft / "run.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
            if self.finished():  # by another process, meanwhile
                return
            if self.folder.exists() and any(self.folder.iterdir()):
                logger.warning("%s is incomplete or altered; it was computed again", self.folder)
            shutil.rmtree(self.folder, ignore_errors=True)  # Snakemake makes an empty one beforehand
            draft.rename(self.folder)
        except OSError as error:
            raise OSError(
                error.errno,
                f"run {self.key()} could not be written: {error.strerror}; finished runs are kept",
                str(draft),
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)


def compute_runs(runs: Sequence[Run], *, workers: int | None = None) -> None:
    """Compute the runs that are not there yet, several at a time, with a progress bar.

    Args:
        runs: in any order; those with the same first encoder are best side by side.
        workers: processes; unless given, as many as the cores can serve, and one if there is a GPU. The results do not
            depend on it.
    """
    _sweep()
    missing = [run for run in runs if not run.finished()]
    if not missing:
        return
    if workers is None:
        import torch

        workers = 1 if torch.cuda.is_available() else (os.cpu_count() or 1) // max(run.threads for run in missing)
    workers = min(workers, len(missing))
    # Started afresh, not forked: a fork of a process whose libraries have threads can hang.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = [pool.submit(run.compute) for run in missing]
        bar = tqdm(total=len(runs), initial=len(runs) - len(missing), desc="training runs", unit="run", disable=None)
        with bar:
            for future in as_completed(pending):
                try:
                    future.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
                bar.update()


def _sweep() -> None:
    """Remove what killed processes left half-written; a draft that is being written now is younger than an hour."""
    for draft in (project_root() / "runs").glob(".*-*"):
        if draft.stat().st_mtime < time.time() - 3600:
            shutil.rmtree(draft, ignore_errors=True)


@lru_cache(maxsize=2)
def _corpus(
    name: str,
    languages: tuple[str, ...] = (),
    items: tuple[tuple[str, int], ...] = (),
    available: tuple[tuple[str, float], ...] = (),
    others: float = 1.0,
    seed: int = 0,
) -> "ParallelCorpus":
    from hybridlib.data.load import load_corpus

    return load_corpus(
        name, languages=languages or None, items=dict(items), available=dict(available), others=others, seed=seed
    )


@lru_cache(maxsize=1)
def _task(
    name: str, split: str | None, languages: tuple[str, ...], pool: str | int | None, seed: int
) -> "RetrievalTask":
    from hybridlib.data.load import load_task

    return load_task(name, split, languages=languages or None, pool=pool, seed=seed)


@lru_cache(maxsize=1)
def _mined(data: tuple, first: tuple) -> "ParallelCorpus":
    """Training data with hard negatives, which runs that differ in their batches share."""
    from hybridlib.training.negatives import mine_negatives

    return mine_negatives(_corpus(*data), _encoder(*first), seed=data[-1])


@lru_cache(maxsize=1)
def _validation(name: str) -> "ParallelCorpus":
    from hybridlib.data.load import load_corpus

    return load_corpus(name, "validation")


@lru_cache(maxsize=1)
def _whole_corpus(name: str, seed: int) -> "ParallelCorpus":
    """What static encoders have their tokenizer from, whatever part of it is trained on."""
    return _corpus(name, seed=seed)


@lru_cache(maxsize=4)
def _encoder(
    name: str,
    corpus: str,
    data_seed: int,
    seed: int,
    prompts: tuple[tuple[str, str], ...] = (),
    max_length: int | None = None,
) -> "SentenceTransformer":
    from hybridlib.training.starts import load_encoder

    tokens_from = _whole_corpus(corpus, data_seed) if name in STATIC_ENCODERS else None
    return load_encoder(name, corpus=tokens_from, prompts=dict(prompts), max_length=max_length, seed=seed)
