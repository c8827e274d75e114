"""The store of finished runs: each run is keyed by everything that determines it, computed once, and kept.

A run is a folder `runs/<key>/` of two files: `results.parquet`, and `run.json`, which records what the run is and the
checksum of its results. The trained encoder may lie beside them. The folder is written under another name and renamed
when it is whole, and it is read only if the checksum is right. So a run that was killed or altered is computed again,
never trusted. Runs do not depend on each other, so killing and starting again gives the same bytes.
"""

import hashlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hybridlib.paths import checksum, project_root
from hybridlib.study.code import environment
from hybridlib.study.run import Run

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

# A draft that is being written now is younger than this many seconds.
_STALE = 3600


def key_of(run: Run) -> str:
    """Return a name that changes with the run, the library's code and the packages' versions, not with the machine."""
    return hashlib.sha256(json.dumps(_identity(run), sort_keys=True).encode()).hexdigest()[:20]


def folder_of(run: Run) -> Path:
    """Return the folder in which a finished run is kept."""
    return project_root() / "runs" / key_of(run)


def scratch_of(run: Run) -> Path:
    """Return the folder in which a long run keeps what it needs to go on after an interruption."""
    return project_root() / "runs" / f".{key_of(run)}"


def is_finished(run: Run) -> bool:
    """Return whether the run is there, whole and unaltered."""
    try:
        record = json.loads((folder_of(run) / "run.json").read_text(encoding="utf-8"))
        return record["sha256"] == checksum(folder_of(run) / "results.parquet")
    except (OSError, ValueError, KeyError):
        return False


def train(run: Run, *, progress: bool = False) -> "SentenceTransformer":
    """Return the trained encoder of a run: the one that was kept, if the run keeps it, or else trained now."""
    kept = folder_of(run) / "encoder"
    if run.keep_encoder and kept.is_dir() and is_finished(run):
        from hybridlib.training.starts import load_encoder

        return load_encoder(str(kept))
    return run.train(checkpoints=scratch_of(run) / "training", progress=progress)


def measure(run: Run, encoder: "SentenceTransformer", *, progress: bool = False) -> pd.DataFrame:
    """Return the results of a run's trained encoder; an interrupted evaluation goes on."""
    return run.measure(encoder, checkpoint=scratch_of(run) / "counts", progress=progress)


def compute(run: Run) -> None:
    """Train, evaluate, and keep the results."""
    encoder = train(run)
    keep(run, measure(run, encoder), encoder)


def read(run: Run, measures: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the results of a run, by some measures or all; a run that is not finished is computed now."""
    if not is_finished(run):
        compute(run)
    chosen = [("measure", "in", list(measures))] if measures is not None else None
    return pd.read_parquet(folder_of(run) / "results.parquet", filters=chosen)


def keep(run: Run, results: pd.DataFrame, encoder: "SentenceTransformer | None") -> None:
    """Write the run's folder, with the encoder if the run is to keep it.

    Raises:
        OSError: it could not be written; the message names the run.
    """
    draft = scratch_of(run).with_name(f".{key_of(run)}-{uuid.uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        if run.keep_encoder:
            assert encoder is not None
            encoder.save_pretrained(str(draft / "encoder"))
        results.to_parquet(draft / "results.parquet", compression="zstd", index=False)
        record = {**_identity(run), "sha256": checksum(draft / "results.parquet")}
        (draft / "run.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
        if is_finished(run):  # by another process, meanwhile
            return
        _replace(folder_of(run), draft)
    except OSError as error:
        message = f"run {key_of(run)} could not be written: {error.strerror}; finished runs are kept"
        raise OSError(error.errno, message, str(draft)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(scratch_of(run), ignore_errors=True)


def sweep() -> None:
    """Remove what killed processes left half-written."""
    for draft in (project_root() / "runs").glob(".*-*"):
        if draft.stat().st_mtime < time.time() - _STALE:
            shutil.rmtree(draft, ignore_errors=True)


def _replace(folder: Path, draft: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        logger.warning("%s is incomplete or altered; it was computed again", folder)
    shutil.rmtree(folder, ignore_errors=True)  # Snakemake makes an empty one beforehand
    draft.rename(folder)


def _identity(run: Run) -> dict[str, Any]:
    return {"run": run.model_dump(), "environment": environment()}
