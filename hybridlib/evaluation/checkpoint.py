"""Checkpoints of an evaluation: a folder keeps the counts so far, so that a kill costs seconds and not days.

Every process writes a file of its own, `counts-<number>.npz`, with the chunks of passages that it has counted and their
counts. A later evaluation reads all of these files, however many processes wrote them, and counts the remaining chunks
into new ones. A record, `evaluation.json`, says what the counts depend on; a folder with another record is refused.
"""

import hashlib
import re
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from hybridlib.data.passages import content_digest
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.identity import record_of_encoder
from hybridlib.encoder.reading import prompt_of
from hybridlib.evaluation.centred import Means
from hybridlib.files import replacing
from hybridlib.paths import check_record, nearest_folder

# What reading a file of arrays raises that was cut or altered.
DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)

# A checkpoint is written after a chunk, but not more often than every so many seconds. A kill costs these and a chunk.
SECONDS = 10.0

Record = dict[str, Any]
# The argument that names a folder, and what the folder keeps beside its record.
_KEPT = {"evaluation.json": ("checkpoint", "counts-*.npz"), "embeddings.json": ("embeddings", "chunk-*.npz")}


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

    Measures are not recorded, because they are functions of the counts. Nor are settings, which choose among them.
    """
    if checkpoint is None and embeddings is None:
        return {}
    asked, told = task.roles
    # Only those of its prompts count that are in force: that of queries changes no passage.
    of_encoder = {name: value for name, value in record_of_encoder(encoder).items() if name != "prompts"}
    of_embeddings = {
        **of_encoder,
        "passage_role": told,
        "passage_prompt": prompt_of(encoder, told),
        "precision": precision,
        "passages": content_digest(task.passages),
        "chunk_size": chunk_size,
    }
    of_counts = {
        **of_embeddings,
        "query_role": asked,
        "query_prompt": prompt_of(encoder, asked),
        "similarity": str(encoder.similarity_fn_name),
        "queries": content_digest(task.queries[["query_id", "language", "text"]]),
        "qrels": content_digest(task.qrels),
        "ignore_identical_ids": task.ignore_identical_ids,
        "means": {language: hashlib.sha256(mean.tobytes()).hexdigest() for language, mean in (means or {}).items()},
    }
    records = {}
    if checkpoint is not None:
        records[checkpoint / "evaluation.json"] = of_counts
    if embeddings is not None:
        records[embeddings / "embeddings.json"] = of_embeddings
    return records


def check_folders(records: Mapping[Path, Record]) -> None:
    """Refuse a folder that is of something else, or that holds something of which nobody knows what it is of.

    Args:
        records: as returned by `records_of_folders`.

    Raises:
        ValueError: there is such a folder, or a file in its place or above it.
    """
    for path, record in records.items():
        nearest_folder(path.parent, _KEPT[path.name][0])
        others = [one for name, (_, kept) in _KEPT.items() if name != path.name for one in (name, kept)]
        check_record(path, record, beside=others)  # a folder may be both


@contextmanager
def readable(path: Path, remedy: str) -> Iterator[None]:
    """Read a file of arrays; what is wrong with it is said with its name and what to do.

    Raises:
        ValueError: it cannot be read, or the block refuses what is in it.
    """
    try:
        yield
    except DAMAGED as error:
        raise ValueError(f"{path} cannot be read ({str(error)[:200]}); delete it to {remedy}") from error


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
        numbers = {
            path: re.fullmatch(r"counts-(\d+)", path.stem) for path in (folder.glob("counts-*.npz") if folder else [])
        }
        self._next = 0
        for path, number in sorted(numbers.items()):
            if number:
                self._read(path)
                self._next = 1 + int(number[1])

    def _read(self, path: Path) -> None:
        with readable(path, "count its chunks again"), np.load(path) as part:
            chunks, above = part["chunks"], part["above"]
            if above.shape != self.above.shape or chunks.ndim != 1 or {above.dtype.kind, chunks.dtype.kind} != {"i"}:
                raise ValueError(f"it holds counts of shape {above.shape}; expected {self.above.shape}")
            if len(chunks) and not 0 <= chunks.min() <= chunks.max() < len(self.counted):
                raise ValueError(f"it names chunk {chunks.max()}; there are {len(self.counted)}")
        twice = chunks[self.counted[chunks]]
        if len(twice):
            raise ValueError(f"{path}: chunk {twice[0]} is in another file of the folder, too; delete the folder")
        self.above += above
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
