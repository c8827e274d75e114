"""Counting ranks over a corpus of any size: embed a chunk of passages, count, forget.

Chunks are at fixed places, so that a chunk's embeddings are the same wherever and whenever they are made: after a kill,
or in one of several processes, which take chunks in turn and add up their counts.

The texts of relevant passages are embedded first and once. Where one of them comes again in the corpus, its embedding
is taken from there, so that equal texts are tied exactly, in whichever chunks and processes they are.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from hybridlib.data.passages import rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import embed_chunks, embed_texts, precision_of
from hybridlib.evaluation.checkpoint import Checkpoint, describe
from hybridlib.metric.ranks import RankCounter, Ranks
from hybridlib.paths import check_record, replacing, write_record

# Processes wait for the slowest of them.
_PATIENCE = timedelta(days=7)
# What takes less than this many seconds shows no progress unless it is asked for.
_UNSEEN = 2

Embed = Callable[[Iterable[list[str]]], Iterator[np.ndarray]]
Chunk = tuple[int, pd.DataFrame]  # its number and its passages


def stream_ranks(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    *,
    batch_tokens: int | None,
    precision: str | None,
    chunk_size: int,
    progress: bool | None,
    checkpoint: Path | None,
    embeddings: Path | None,
) -> Ranks:
    """Rank every relevant passage among the passages of each language, of which one chunk at a time is in memory.

    Args:
        encoder: its similarity is the cosine or the dot product.
        task: what to retrieve.
        batch_tokens, precision: as of `hybridlib.encoder.embed.embed_texts`.
        chunk_size: passages of a chunk, C.
        progress: as of `hybridlib.evaluation.evaluate.evaluate`.
        checkpoint: a folder for counts.
        embeddings: a folder for the embeddings of the chunks.

    Returns:
        The ranks, in the order of `task.pairs`; memory O(N L + (Q + R + C) D) for R relevant passages.

    Raises:
        ValueError: `batch_tokens` or `chunk_size` is below 1, there is no such precision, a folder is of something
            else, or an embedding is not finite.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}; allowed: 1 or more")
    precision = precision_of(encoder, precision)
    chunks = -(-len(task.passages) // chunk_size)
    with _processes() as processes:
        descriptions = describe(encoder, task, chunk_size, precision, checkpoint=checkpoint, embeddings=embeddings)
        for path, description in descriptions.items():
            check_record(path, description)
        done = Checkpoint(checkpoint, chunks=chunks, pairs=len(task.pairs), languages=len(task.languages))
        processes.wait()  # nothing is written before all have read
        if processes.rank == 0:
            for path, description in descriptions.items():
                write_record(path, description)
        above = np.zeros_like(done.above)
        if not done.counted.all():
            options = {"batch_tokens": batch_tokens, "precision": precision}
            counting = _Counting(encoder, task, options, chunk_size, processes, embeddings)
            above = counting.run(done, progress)
        return Ranks(task.pairs[:, 0], task.pairs[:, 1], done.above + processes.sum(above))


class _Counting:
    """One process's part of an evaluation."""

    def __init__(
        self,
        encoder: SentenceTransformer,
        task: RetrievalTask,
        options: dict[str, Any],
        chunk_size: int,
        processes: "_Processes",
        embeddings: Path | None,
    ) -> None:
        positions, row = np.unique(task.pairs[:, 1], return_inverse=True)
        relevant = rows_of(task.passages, positions).text  # (R,)
        self._passages = _ChunkEncoder(partial(embed_chunks, encoder, **options), relevant, embeddings)
        self._task, self._chunk_size, self._processes = task, chunk_size, processes
        self._languages = pd.Index(task.languages)
        self._counter = RankCounter(
            embed_texts(encoder, task.queries.text.tolist(), role="query", **options),
            self._passages.of_relevant(relevant),
            np.column_stack([task.pairs[:, 0], row]),
            positions,
            languages=len(self._languages),
            similarity=str(encoder.similarity_fn_name),
            threads=processes.threads,
            device=encoder.device,
        )

    def run(self, done: Checkpoint, progress: bool | None) -> np.ndarray:
        """Count this process's share of the chunks that are not counted yet. (N, L)"""
        rank, size = self._processes.rank, len(self._task.passages)
        own = np.flatnonzero(~done.counted)[rank :: self._processes.size].tolist()
        starts = np.arange(0, size, self._chunk_size)
        passages = np.diff([*starts, size])  # of each chunk
        counted = int(passages[done.counted].sum())
        bar = tqdm(
            total=counted + int(passages[own].sum()),
            initial=counted,
            desc="evaluate",
            unit="passage",
            unit_scale=True,
            disable=True if rank else None if progress is None else not progress,
            delay=_UNSEEN if progress is None else 0,
        )
        with bar:
            chunks = ((chunk, self._rows(int(starts[chunk]), int(passages[chunk]))) for chunk in own)
            for number, (chunk, rows, embeddings) in enumerate(self._passages(chunks), start=1):
                languages = self._languages.get_indexer(pd.Index(rows.language))
                self._counter.update(embeddings, languages, start=int(starts[chunk]))
                done.save(own[:number], self._counter.above, rank=rank, last=number == len(own))
                bar.update(len(rows))
        return self._counter.above

    def _rows(self, start: int, size: int) -> pd.DataFrame:
        return rows_of(self._task.passages, slice(start, start + size))


class _ChunkEncoder:
    """Embeds passages chunk by chunk, relevant texts ahead of all.

    Args:
        embed: embeddings of chunks of texts, one after the other.
        relevant: texts of the relevant passages. (R,)
        folder: keeps the embeddings of chunks, and those that it has are not made again.
    """

    def __init__(self, embed: Embed, relevant: pd.Series, folder: Path | None) -> None:
        self._embed, self._folder = embed, folder
        self._texts = pd.Index(relevant.unique())
        (self._embeddings,) = embed([self._texts.tolist()])  # (texts, D)

    def of_relevant(self, texts: pd.Series) -> np.ndarray:
        """Embeddings of relevant texts. (R,) -> (R, D)"""
        return self._embeddings[self._texts.get_indexer(pd.Index(texts))]

    def __call__(self, chunks: Iterable[Chunk]) -> Iterator[tuple[int, pd.DataFrame, np.ndarray]]:
        """Chunks with the embeddings of their texts, (C, D) each; some chunks more may have been asked for."""
        waiting: deque[tuple[Chunk, np.ndarray, np.ndarray | None]] = deque()

        def new_texts() -> Iterator[list[str]]:
            for chunk, rows in chunks:
                row = self._texts.get_indexer(pd.Index(rows.text))
                path = self._path(chunk)
                kept = self._load(path, len(rows)) if path and path.exists() else None
                waiting.append(((chunk, rows), row, kept))
                yield [] if kept is not None else rows.text[row < 0].unique().tolist()

        for made in self._embed(new_texts()):
            (chunk, rows), row, whole = waiting.popleft()
            if whole is None:
                whole = np.empty((len(rows), self._embeddings.shape[1]), dtype=self._embeddings.dtype)
                whole[row < 0] = made[pd.factorize(rows.text[row < 0])[0]]
            whole[row >= 0] = self._embeddings[row[row >= 0]]  # to the bit those of the relevant passages
            self._save(self._path(chunk), whole)
            yield chunk, rows, whole

    def _path(self, chunk: int) -> Path | None:
        return self._folder / f"chunk-{chunk:06}.npy" if self._folder else None

    def _load(self, path: Path, texts: int) -> np.ndarray:
        kept, shape = np.load(path), (texts, self._embeddings.shape[1])
        if kept.shape != shape:
            raise ValueError(f"{path} has shape {kept.shape}; expected {shape}. Delete it to make it again")
        return kept

    @staticmethod
    def _save(path: Path | None, embeddings: np.ndarray) -> None:
        if path and not path.exists():
            with replacing(path) as draft:
                np.save(draft, embeddings)


class _Processes:
    """The processes of one evaluation, of which this is one; alone unless torchrun started several."""

    def __init__(self, group: "dist.ProcessGroup | None") -> None:
        self._group = group
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if group else (0, 1)
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if group else 1
        self.threads = max(1, (os.cpu_count() or 1) // beside)

    def wait(self) -> None:
        """Until all are here."""
        if self._group:
            dist.barrier(self._group)

    def sum(self, counts: np.ndarray) -> np.ndarray:
        """The sum of every process's counts."""
        if not self._group:
            return counts
        total = torch.from_numpy(counts)
        dist.all_reduce(total, group=self._group)
        return total.numpy()


@contextmanager
def _processes() -> Iterator[_Processes]:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo", timeout=_PATIENCE)
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        yield _Processes(None)
        return
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)  # counts are in main memory, whatever trains on GPUs
    try:
        yield _Processes(group)
    finally:
        dist.destroy_process_group(group)
