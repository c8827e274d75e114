"""The folder of a training's checkpoints, which belongs to what made it."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.passages import content_digest
from hybridlib.data.table import COLUMNS, NEGATIVES
from hybridlib.encoder.identity import record_of_encoder
from hybridlib.files import read_json, reading
from hybridlib.paths import check_record, nearest_folder, write_record
from hybridlib.training.settings import Training

# A corpus of more rows is known by the fingerprint of its table, since reading it takes minutes.
_READ_WHOLE = 5_000_000
_STATE = "trainer_state.json"


def record_of_training(
    encoder: SentenceTransformer, settings: Training, corpus: ParallelCorpus, validation: ParallelCorpus | None
) -> dict[str, Any]:
    """Return all that the weights depend on, by which a folder of checkpoints knows whose it is."""
    return {
        **{name: str(getattr(settings, name)) for name in Training.model_fields},
        "languages": ", ".join(corpus.languages),
        "items": str(len(corpus)),
        "corpus": corpus_digest(corpus),
        "validation": None if validation is None else corpus_digest(validation),
        "similarity": str(encoder.similarity_fn_name),
        **record_of_encoder(encoder),
    }


def corpus_digest(corpus: ParallelCorpus) -> str:
    """Return what a corpus is known by: a digest of all that is in it."""
    table = corpus.table
    if len(table) > _READ_WHOLE:
        return f"{table._fingerprint} ({len(table)} rows)"
    names = [name for name in (*COLUMNS, *NEGATIVES) if name in table.column_names]
    return content_digest(table.select_columns(names))


@contextmanager
def folder_of_checkpoints(checkpoints: Path | None, record: dict[str, Any]) -> Iterator[Path]:
    """Yield the folder that the trainer saves in: the given one, if it is of this training, or a temporary one."""
    if checkpoints is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    nearest_folder(checkpoints, "checkpoints")
    told = checkpoints / "training.json"
    check_record(told, record)
    write_record(told, record)
    yield checkpoints


def last_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint that is whole: a kill leaves one without its state or with an empty one, the last."""
    whole = [state.parent for state in folder.glob(f"checkpoint-*/{_STATE}") if state.stat().st_size]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2])) if whole else None


def weights_of_finished(checkpoint: Path, steps: int) -> Path | None:
    """Return the checkpoint whose weights a finished training gives back: the last or, with validation, the best.

    Args:
        checkpoint: the last one.
        steps: of the whole training.

    Returns:
        None if training is to go on from the last checkpoint, which then has all that this takes.

    Raises:
        ValueError: a file is missing or cannot be read; the message names it and says what to do.
    """
    with readable_checkpoint(checkpoint):
        state = read_json(checkpoint / _STATE)
        stopped = state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"]
        if state["global_step"] < steps and not stopped:
            _check_state(checkpoint)
            return None
        best = state["best_global_step"] or state["global_step"]
    weights = checkpoint.with_name(f"checkpoint-{best}")
    if not weights.is_dir():
        raise ValueError(f"{weights} does not exist, which held the best weights; delete {checkpoint} to train again")
    return weights


def _check_state(checkpoint: Path) -> None:
    """Refuse a checkpoint without the state of the optimizer, say: the trainer would go on with a new one in silence.

    Generators have a state for each process, and there may have been other processes than now.
    """
    for pattern in ("optimizer.pt", "scheduler.pt", "rng_state*.pth"):
        found = [*checkpoint.glob(pattern)]
        if not found:
            raise FileNotFoundError(f"{pattern} is missing, without which training cannot go on")
        for path in found:
            with reading(path), zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    raise ValueError(f"{path.name} is damaged")


@contextmanager
def readable_checkpoint(checkpoint: Path) -> Iterator[None]:
    """Name the checkpoint in whatever goes wrong while the block reads it: each format has errors of its own.

    Raises:
        ValueError: the block raised an error.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{checkpoint} cannot be read ({str(error)[:250]}); delete it, and training goes on from the checkpoint "
            "before it or, without one, from the start"
        ) from error
