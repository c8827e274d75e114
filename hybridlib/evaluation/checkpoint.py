"""Checkpoints of an evaluation: what has been counted so far, in a folder, so that a kill costs seconds and not days.

Every process writes a file of its own, `counts-<number>.npz`, with the chunks of passages that it has counted and their
counts. A later evaluation reads all of them, however many processes there were, and counts the remaining chunks into
new ones. A description, `evaluation.json`, says what the counts are of; a folder of anything else is refused.
"""

import hashlib
import re
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer

from hybridlib.data.passages import Passages
from hybridlib.data.task import RetrievalTask
from hybridlib.paths import replacing

# A checkpoint is written after a chunk, but not more often than this: what a kill costs is this and a chunk.
SECONDS = 10.0

Description = dict[str, Any]


def describe(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    chunk_size: int,
    precision: str,
    *,
    checkpoint: Path | None,
    embeddings: Path | None,
) -> dict[Path, Description]:
    """What counts and embeddings depend on, by the file that says so in their folder, as text, numbers and SHA-256.

    Measures are functions of the counts and are not among it.
    """
    if checkpoint is None and embeddings is None:
        return {}
    passages = {
        **_describe_encoder(encoder),
        "precision": precision,
        "passages": _digest(task.passages),
        "chunk_size": chunk_size,
    }
    counts = {
        **passages,
        "similarity": str(encoder.similarity_fn_name),
        "queries": _digest(task.queries[["query_id", "language", "text"]]),
        "qrels": _digest(task.qrels),
    }
    descriptions = {}
    if checkpoint is not None:
        descriptions[checkpoint / "evaluation.json"] = counts
    if embeddings is not None:
        descriptions[embeddings / "embeddings.json"] = passages
    return descriptions


def _describe_encoder(encoder: SentenceTransformer) -> Description:
    parts = hashlib.sha256(repr((encoder, sorted(encoder.tokenizer.get_vocab().items()))).encode())
    for name, tensor in encoder.state_dict().items():
        parts.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        parts.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return {
        "encoder": parts.hexdigest(),
        "prompts": dict(encoder.prompts),
        "max_seq_length": str(encoder.max_seq_length),
        "truncate_dim": encoder.truncate_dim,
    }


class Checkpoint:
    """What was counted before, and the file in which this process keeps what it counts now.

    Args:
        folder: of all processes; nothing is read or written if it is None.
        chunks: how many chunks there are.
        pairs: relevant pairs, N.
        languages: of the passages, L.

    Attributes:
        counted: whether each chunk was counted before. (chunks,)
        above: what was counted before. (N, L)

    Raises:
        ValueError: a file cannot be read, or a chunk was counted twice.
    """

    def __init__(self, folder: Path | None, *, chunks: int, pairs: int, languages: int) -> None:
        self.counted = np.zeros(chunks, dtype=bool)
        self.above = np.zeros((pairs, languages), dtype=np.int64)
        self._folder, self._written = folder, time.monotonic()
        files = sorted(folder.glob("counts-*.npz")) if folder else []
        for path in files:
            try:
                with np.load(path) as part:
                    here, above = part["chunks"], part["above"]
                self.above += above
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise ValueError(f"{path} cannot be read ({error}); delete it to count its chunks again") from error
            if self.counted[here].any():
                chunk = here[self.counted[here]][0]
                raise ValueError(f"{path}: chunk {chunk} is in another file of the folder, too; delete the folder")
            self.counted[here] = True
        self._next = 1 + max((int(re.sub(r"\D", "", path.stem)) for path in files), default=-1)

    def save(self, chunks: list[int], above: np.ndarray, *, rank: int, last: bool) -> None:
        """Write what this process has counted since the start, if the last time is long enough ago or if it is done.

        Args:
            chunks: counted by this process.
            above: their counts. (N, L)
            rank: of this process, from 0.
            last: whether nothing will follow.
        """
        if self._folder is None or not (last or time.monotonic() - self._written >= SECONDS):
            return
        with replacing(self._folder / f"counts-{self._next + rank:05}.npz") as draft:
            np.savez(draft, chunks=np.array(chunks, dtype=np.int64), above=above)
        self._written = time.monotonic()


def _digest(table: Passages) -> str:
    """Of a table in memory its content, of a Dataset its own fingerprint, which follows its files and transforms."""
    if not isinstance(table, pd.DataFrame):
        return f"{table._fingerprint} ({len(table)} rows)"
    return hashlib.sha256(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes()).hexdigest()
