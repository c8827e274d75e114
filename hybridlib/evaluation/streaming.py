"""Ranks in a corpus of any size: a chunk of passages is embedded, counted and forgotten.

Chunks begin at fixed places, so that a chunk's embeddings are the same wherever and whenever they are made. They may be
made after a kill, or in one of several processes, which take chunks in turn and add up their counts.

The texts of relevant passages are embedded first and once. Where one of them comes again in the corpus, its embedding
is taken from there. So equal texts are tied exactly, whichever chunks and processes they are in.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd
from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from hybridlib.arguments import told
from hybridlib.data.passages import rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.embed import EmbedOptions, embed_chunks, embed_texts
from hybridlib.encoder.reading import precision_of
from hybridlib.evaluation.centred import Means, centre
from hybridlib.evaluation.checkpoint import Checkpoint, check_folders, readable, records_of_folders
from hybridlib.evaluation.processes import connected_processes
from hybridlib.files import replacing
from hybridlib.metric.ranks import SIMILARITIES, RankCounter, Ranks
from hybridlib.paths import write_record

# The bar appears after this many seconds unless `progress` is set.
_QUIET_SECONDS = 2


def stream_ranks(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    *,
    chunk_size: int,
    progress: bool | None,
    checkpoint: Path | None,
    embeddings: Path | None,
    means: Means | None = None,
    **options: Unpack[EmbedOptions],
) -> Ranks:
    """Rank every relevant passage among the passages of each language, with one chunk of these in memory at a time.

    Args:
        encoder: its similarity is the cosine or the dot product.
        task: what to retrieve.
        chunk_size: passages of a chunk, C.
        progress: as in `hybridlib.evaluation.evaluate.evaluate`.
        checkpoint: a folder for counts.
        embeddings: a folder for the embeddings of the chunks.
        means: taken off the embeddings of each language, if they are given; see `hybridlib.evaluation.centred`.
        options: as in `hybridlib.encoder.embed.embed_texts`.

    Returns:
        The ranks, in the order of `task.ranked`; memory O(N L + (Q + R + C) D) for R relevant passages.

    Raises:
        ValueError: `batch_tokens` is below 1, there is no such precision, a folder is of something else or a file in
            it cannot be read, an embedding is not finite, or a language has no mean.
    """
    options["precision"] = precision = precision_of(encoder, options.get("precision"))
    sizes = np.diff([*range(0, len(task.passages), chunk_size), len(task.passages)])  # passages of each chunk
    with connected_processes() as processes:
        folders = {"checkpoint": checkpoint, "embeddings": embeddings}
        records = records_of_folders(encoder, task, chunk_size, precision, means=means, **folders)
        check_folders(records)
        done = Checkpoint(checkpoint, chunks=len(sizes), pairs=len(task.ranked), languages=len(task.languages))
        processes.wait()  # nothing is written before all have read
        for path, record in records.items():
            write_record(path, record)
        own = np.flatnonzero(~done.counted)[processes.rank :: processes.size].tolist()
        above = np.zeros_like(done.above)
        if own:
            embedder = _PassageEmbedder(encoder, task, embeddings, means, options)
            counter = _counter(encoder, task, embedder, processes.threads, means, options)
            languages = pd.Index(task.languages)
            with _progress_bar(sizes, done.counted, own, progress, rank=processes.rank) as bar:
                chunks = embedder.embed(_chunks(task, own, chunk_size))
                for counted, (chunk, rows) in enumerate(chunks, start=1):
                    counter.update(rows, languages.get_indexer(pd.Index(chunk.passages.language)), start=chunk.start)
                    done.save(own[:counted], counter.above, rank=processes.rank, last=counted == len(own))
                    bar.update(len(rows))
            above = counter.above
        return Ranks(task.ranked[:, 0], task.ranked[:, 1], done.above + processes.sum(above))


def similarity_of(encoder: SentenceTransformer) -> str:
    """Return the encoder's own similarity, `cosine` or `dot`.

    Raises:
        ValueError: it is another one.
    """
    similarity = str(encoder.similarity_fn_name)
    if similarity not in SIMILARITIES:
        raise ValueError(f"the encoder's similarity is {similarity!r}; allowed: {', '.join(SIMILARITIES)}")
    return similarity


class _Chunk(NamedTuple):
    """Consecutive passages of the corpus."""

    number: int
    start: int  # position of the first passage
    passages: pd.DataFrame  # (C,)


def _chunks(task: RetrievalTask, numbers: list[int], chunk_size: int) -> Iterator[_Chunk]:
    """Read some chunks of the corpus, one after the other."""
    for number in numbers:
        start = number * chunk_size
        yield _Chunk(number, start, rows_of(task.passages, slice(start, start + chunk_size)))


class _PassageEmbedder:
    """An embedder of passages, chunk by chunk; before all others it embeds the texts of the relevant ones.

    Args:
        encoder: the encoder.
        task: the task that has the passages.
        folder: keeps the embeddings of chunks, as the encoder makes them; those that it has are not made again.
        means: taken off the embeddings of each language.
        options: as in `hybridlib.encoder.embed.embed_texts`.

    Attributes:
        positions: rows of the passages that are ranked, ascending. (R,)
        relevant: their embeddings. (R, D)
    """

    def __init__(
        self,
        encoder: SentenceTransformer,
        task: RetrievalTask,
        folder: Path | None,
        means: Means | None,
        options: EmbedOptions,
    ) -> None:
        self._encoder, self._folder, self._means, self._options = encoder, folder, means, options
        self._role = task.roles[1]
        self.positions = np.unique(task.ranked[:, 1])
        passages = rows_of(task.passages, self.positions)
        texts = pd.Index(passages.text)  # (R,)
        self._known = texts.unique()
        (self._of_known,) = embed_chunks(encoder, [self._known.tolist()], role=self._role, **options)  # (known, D)
        self.relevant = centre(self._of_known[self._known.get_indexer(texts)], passages.language, means)

    def embed(self, chunks: Iterable[_Chunk]) -> Iterator[tuple[_Chunk, np.ndarray]]:
        """Yield each chunk with its embeddings, (C, D); some later chunks may have been read by then."""
        waiting: deque[tuple[_Chunk, np.ndarray, bool]] = deque()

        def texts_to_embed() -> Iterator[list[str]]:
            for chunk in chunks:
                known = self._known.get_indexer(pd.Index(chunk.passages.text))  # (C,), -1 where a text is not known
                is_kept = self._folder is not None and self._path(chunk).exists()
                waiting.append((chunk, known, is_kept))
                yield [] if is_kept else chunk.passages.text[known < 0].unique().tolist()

        for others in embed_chunks(self._encoder, texts_to_embed(), role=self._role, **self._options):
            chunk, known, is_kept = waiting.popleft()
            rows = self._load(chunk) if is_kept else np.empty((len(known), self.relevant.shape[1]), dtype=np.float32)
            if not is_kept:
                rows[known < 0] = others[pd.factorize(chunk.passages.text[known < 0])[0]]
            rows[known >= 0] = self._of_known[known[known >= 0]]  # so that equal texts are tied to the bit
            if self._folder and not is_kept:
                with replacing(self._path(chunk)) as draft:
                    # A file of this format has a checksum, which is compared when it is read.
                    np.savez(draft, chunk=chunk.number, rows=rows)
            yield chunk, centre(rows, chunk.passages.language, self._means)

    def _path(self, chunk: _Chunk) -> Path:
        assert self._folder is not None
        return self._folder / f"chunk-{chunk.number:06}.npz"

    def _load(self, chunk: _Chunk) -> np.ndarray:
        path, shape = self._path(chunk), (len(chunk.passages), self.relevant.shape[1])
        with readable(path, "make it again"), np.load(path) as kept:
            rows, number = kept["rows"], kept["chunk"]
            if number != chunk.number:
                raise ValueError(f"it holds chunk {told(number[()])}; expected {chunk.number}")
            if getattr(rows, "shape", None) != shape or rows.dtype != np.float32:
                raise ValueError(f"it is {told(rows)}; expected float32 of shape {shape}")
            if not np.isfinite(rows).all():
                raise ValueError("it holds a number that is not finite")
        return rows


def _counter(
    encoder: SentenceTransformer,
    task: RetrievalTask,
    embedder: _PassageEmbedder,
    threads: int,
    means: Means | None,
    options: EmbedOptions,
) -> RankCounter:
    """Embed the queries, and return a counter that has seen no chunk yet."""
    queries = embed_texts(encoder, task.queries.text.tolist(), role=task.roles[0], **options)
    return RankCounter(
        centre(queries, task.queries.language, means),
        embedder.relevant,
        np.column_stack([task.ranked[:, 0], np.searchsorted(embedder.positions, task.ranked[:, 1])]),
        embedder.positions,
        languages=len(task.languages),
        similarity=str(encoder.similarity_fn_name),
        threads=threads,
        device=encoder.device,
    )


def _progress_bar(sizes: np.ndarray, counted: np.ndarray, own: list[int], progress: bool | None, *, rank: int) -> tqdm:
    """Make the bar of this process, over the chunks counted before and its own; only the first process shows one."""
    before = int(sizes[counted].sum())
    if rank:
        progress = False
    return tqdm(
        total=before + int(sizes[own].sum()),
        initial=before,
        desc="evaluate",
        unit="passage",
        unit_scale=True,
        disable=None if progress is None else not progress,
        delay=_QUIET_SECONDS if progress is None else 0,
    )
