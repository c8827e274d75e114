"""Training runs: each is keyed by everything that determines it, computed once, and kept.

A run is a folder `runs/<key>/` of two files: `results.parquet`, and `run.json`, which says what the run is and holds
the checksum of the results. The folder is written under another name and renamed when it is whole, and read only if the
checksum is right; so a run that was killed or altered is computed again, never trusted. Runs do not depend on each
other, so killing and starting again gives the same bytes.
"""

import hashlib
import importlib.metadata
import json
import logging
import multiprocessing
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from hybridlib.corpus import ParallelCorpus, load_corpus
from hybridlib.encoder import STATIC, load_encoder
from hybridlib.evaluation import by_language_pair, evaluate
from hybridlib.paths import checksum, project_root, replacing
from hybridlib.task import RetrievalTask, load_task
from hybridlib.training import fine_tune

logger = logging.getLogger(__name__)

# What drawing and telling are done with does not determine a run.
_NOT_COMPUTING = ("figures.py", "findings.py", "params.py", "paths.py", "reproduce.py", "__init__.py", "__main__.py")
_PACKAGES = (
    "babel",
    "datasets",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class Run:
    """One training run and its evaluation on held-out data. The fields are those of `load_corpus`, `load_encoder` and
    `fine_tune`."""

    task: str
    corpus: str
    available: tuple[tuple[str, float], ...]
    encoder: str
    strategy: str
    alpha: float
    batch_size: int
    steps: int
    temperature: float
    learning_rate: float
    seed: int
    data_seed: int

    def key(self) -> str:
        """A name that changes with the run, the library's code, the packages' versions and the number of threads."""
        text = json.dumps(self._identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def threads(self) -> int:
        """One for a static encoder, of which as many runs go on at once as there are cores; otherwise all cores."""
        return 1 if self.encoder in STATIC else os.cpu_count() or 1

    def _identity(self) -> dict:
        return {"run": asdict(self), "environment": _environment(), "threads": self.threads}

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

    def compute(self) -> None:
        """Train, evaluate, and keep the results."""
        torch.set_num_threads(self.threads)
        corpus = _corpus(self.corpus, self.available, self.data_seed)
        encoder = fine_tune(
            _encoder(self.encoder, self.corpus, self.available, self.data_seed, self.seed),
            corpus,
            strategy=self.strategy,
            alpha=self.alpha,
            batch_size=self.batch_size,
            steps=self.steps,
            temperature=self.temperature,
            learning_rate=self.learning_rate,
            seed=self.seed,
            progress=False,
        )
        self._keep(evaluate(encoder, _task(self.task, self.data_seed)))

    def results(self) -> pd.DataFrame:
        """The results of a finished run, with the columns that tell runs apart: `encoder`, `alpha` and `seed`."""
        return pd.read_parquet(self.folder / "results.parquet").assign(
            encoder=self.encoder, alpha=self.alpha, seed=self.seed
        )

    def _keep(self, results: pd.DataFrame) -> None:
        draft = self.folder.with_name(f".{self.key()}-{uuid.uuid4().hex}")
        try:
            draft.mkdir(parents=True)
            results.to_parquet(draft / "results.parquet", compression="zstd", index=False)
            record = {**self._identity(), "sha256": checksum(draft / "results.parquet")}
            (draft / "run.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
            if self.finished():  # by another process, meanwhile
                return
            if self.folder.exists():
                logger.warning("%s is incomplete or altered; it was computed again", self.folder)
                shutil.rmtree(self.folder)
            draft.rename(self.folder)
        except OSError as error:
            raise OSError(
                error.errno,
                f"run {self.key()} could not be written: {error.strerror}; finished runs are kept",
                str(draft),
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)


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


def read_means(runs: Iterable[Run]) -> pd.DataFrame:
    """Means of finished runs over the queries of each pair of languages, with the columns `encoder`, `alpha` and
    `seed`.

    Encoders keep the order in which the runs name them.
    """
    means = pd.concat([by_language_pair(run.results()) for run in runs], ignore_index=True)
    return means.assign(encoder=pd.Categorical(means.encoder, means.encoder.unique()))


def write_results(path: Path, runs: Sequence[Run]) -> None:
    """Put the results of finished runs, query by query, into one Parquet file, a run at a time."""
    tables = (pa.Table.from_pandas(run.results(), preserve_index=False) for run in runs)
    first = next(tables)
    with replacing(path) as draft, pq.ParquetWriter(draft, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def code_hash(*, computing: bool = True) -> str:
    """A checksum of the library's code: of what computes results, or of all of it."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted([*folder.glob("*.py"), *folder.glob("frames/*.yaml")]):
        if not (computing and path.name in _NOT_COMPUTING):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def _environment() -> dict[str, str]:
    return {"code": code_hash(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}


def _sweep() -> None:
    """Remove what killed processes left half-written; a draft that is being written now is younger than an hour."""
    for draft in (project_root() / "runs").glob(".*-*"):
        if draft.stat().st_mtime < pd.Timestamp.now().timestamp() - 3600:
            shutil.rmtree(draft, ignore_errors=True)


@lru_cache(maxsize=1)
def _corpus(name: str, available: tuple[tuple[str, float], ...], seed: int) -> ParallelCorpus:
    return load_corpus(name, available=dict(available), seed=seed)


@lru_cache(maxsize=1)
def _task(name: str, seed: int) -> RetrievalTask:
    return load_task(name, "test", seed=seed)


@lru_cache(maxsize=1)
def _encoder(
    name: str, corpus: str, available: tuple[tuple[str, float], ...], data_seed: int, seed: int
) -> SentenceTransformer:
    return load_encoder(name, corpus=_corpus(corpus, available, data_seed), seed=seed)
