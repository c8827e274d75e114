"""Checkpoints of an evaluation: a folder keeps the counts so far, so that a kill costs seconds and not days.

Every process writes a file of its own, `counts-<number>.npz`, with the chunks of passages that it has counted and their
counts. A later evaluation reads all of these files, however many processes wrote them, and counts the remaining chunks
into new ones. A record, `evaluation.json`, says what the counts depend on; a folder with another record is refused.
"""

import hashlib
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer

from hybridlib.data.passages import Passages
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.identity import record_of_encoder
from hybridlib.evaluation.centred import Means
from hybridlib.files import replacing

# A checkpoint is written after a chunk, but not more often than every so many seconds. A kill costs these and a chunk.
SECONDS = 10.0

Record = dict[str, Any]


def records_of_folders(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    chunk_size: int,
    precision: str,
    *,
    checkpoint: Path | None,
    embeddings: Path | None,
    means: Means | None = None,
) -> dict[Path, Record]:
    """Return the record that each folder's file must hold: what the counts or the embeddings in it depend on.

    Measures are not recorded, because they are functions of the counts.
    """
    if checkpoint is None and embeddings is None:
        return {}
    of_embeddings = {
        **record_of_encoder(encoder),
        "precision": precision,
        "passages": _digest(task.passages),
        "chunk_size": chunk_size,
    }
    of_counts = {
        **of_embeddings,
        "similarity": str(encoder.similarity_fn_name),
        "queries": _digest(task.queries[["query_id", "language", "text"]]),
        "qrels": _digest(task.qrels),
    }
    if means is not None:
        of_counts["means"] = {language: hashlib.sha256(mean.tobytes()).hexdigest() for language, mean in means.items()}
    records = {}
    if checkpoint is not None:
        records[checkpoint / "evaluation.json"] = of_counts
    if embeddings is not None:
        records[embeddings / "embeddings.json"] = of_embeddings
    return records


def _digest(table: Passages) -> str:
    """Hash the content of a table in memory; a Dataset has a fingerprint, which follows its files and transforms."""
    if not isinstance(table, pd.DataFrame):
        return f"{table._fingerprint} ({len(table)} rows)"
    return hashlib.sha256(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes()).hexdigest()


class Checkpoint:
    """The counts that a folder holds, and the file in it where this process keeps its own.

    Args:
        folder: shared by all processes; nothing is read or written if it is None.
        chunks: how many chunks there are.
        pairs: relevant pairs, N.
        languages: of the passages, L.

    Attributes:
        counted: whether each chunk was counted before. (chunks,)
        above: the counts of those chunks. (N, L)

    Raises:
        ValueError: a file cannot be read, or a chunk was counted twice.
    """

    def __init__(self, folder: Path | None, *, chunks: int, pairs: int, languages: int) -> None:
        self.counted = np.zeros(chunks, dtype=bool)
        self.above = np.zeros((pairs, languages), dtype=np.int64)
        self._folder, self._written = folder, time.monotonic()
        files = sorted(folder.glob("counts-*.npz")) if folder else []
        for path in files:
            self._read(path)
        self._next = 1 + max((int(re.sub(r"\D", "", path.stem)) for path in files), default=-1)

    def _read(self, path: Path) -> None:
        try:
            with np.load(path) as part:
                chunks, above = part["chunks"], part["above"]
            self.above += above
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} cannot be read ({error}); delete it to count its chunks again") from error
        twice = chunks[self.counted[chunks]]
        if len(twice):
            raise ValueError(f"{path}: chunk {twice[0]} is in another file of the folder, too; delete the folder")
        self.counted[chunks] = True

    def save(self, chunks: list[int], above: np.ndarray, *, rank: int, last: bool) -> None:
        """Write all that this process has counted, if it wrote long enough ago or is done.

        Args:
            chunks: counted by this process.
            above: their counts. (N, L)
            rank: number of this process, from 0.
            last: whether this process is done.
        """
        if self._folder is None or not (last or time.monotonic() - self._written >= SECONDS):
            return
        with replacing(self._folder / f"counts-{self._next + rank:05}.npz") as draft:
            np.savez(draft, chunks=np.array(chunks, dtype=np.int64), above=above)
        self._written = time.monotonic()
