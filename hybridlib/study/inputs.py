"""Inputs of runs: data, encoders and tasks, each loaded once for the runs that share it.

What computes is imported when something is loaded, so that settings can be read at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hybridlib.arguments import Count, Name, Seed, Share, Text, Whole
from hybridlib.encoder.finding import encoder_folder
from hybridlib.names import LANGUAGES, STATIC_ENCODERS
from hybridlib.paths import folder_digest
from hybridlib.training.settings import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hybridlib.data.corpus import ParallelCorpus
    from hybridlib.data.task import RetrievalTask


class Data(Settings):
    """The training data of a run; see `load_corpus`.

    Attributes:
        corpus, languages, items, available, others: as `load_corpus` takes them; empty means all.
        fold: the part of the corpus that is held out for testing, where the corpus has folds.
        data_seed: draws the sentence frames, the items that stay available, and the distractors of a pool.
    """

    corpus: Name
    fold: Whole | None = None
    languages: tuple[Name, ...] = ()
    items: dict[str, Whole] = Field(default={})
    available: dict[str, Share] = Field(default={})
    others: Share = 1.0
    data_seed: Seed


class Start(Settings):
    """The encoder that a run starts from; see `load_encoder`.

    Attributes:
        encoder, max_length, seed: as `load_encoder` takes them. The seed is that of the training, too.
        query_prompt, document_prompt: put before texts; the encoder's own if None, and none at all if empty.
        corpus, fold, data_seed: the tokenizer of a static encoder is trained on them, whatever part a run trains on.
    """

    encoder: Name
    corpus: str
    fold: Whole | None = None
    data_seed: Seed
    seed: Seed
    query_prompt: Text | None = None
    document_prompt: Text | None = None
    max_length: Count | None = None


class Test(Settings):
    """Something that a trained encoder is tested on; see `load_task`.

    Attributes:
        task, languages, pool: as `load_task` takes them; no languages mean all. `tatoeba` alone means its pairs of
            languages, one after the other.
    """

    __test__ = False  # pytest, which looks for names like this one

    task: Name
    languages: tuple[Name, ...] = ()
    pool: Literal["judged"] | Count | None = None

    def fold(self, data: Data) -> int | None:
        """Return the fold of the task that is held out of some training data, where the task has folds."""
        return data.fold if self.task == "xquad-r" else None


@lru_cache(maxsize=2)
def corpus_of(data: Data) -> ParallelCorpus:
    """Load training data."""
    from hybridlib.data.load import load_corpus

    return load_corpus(
        data.corpus,
        languages=data.languages or None,
        items=data.items,
        available=data.available,
        others=data.others,
        seed=data.data_seed,
        **_held_out(data.fold),
    )


@lru_cache(maxsize=1)
def _whole_corpus(name: str, fold: int | None, data_seed: int) -> ParallelCorpus:
    """Return the corpus for the tokenizer of static encoders, whatever part of it a run trains on."""
    return corpus_of(Data(corpus=name, fold=fold, data_seed=data_seed))


def encoder_of(start: Start) -> SentenceTransformer:
    """Load an encoder. The weights of a pretrained one are not drawn, so it is the same for all data and seeds."""
    static = start.encoder in STATIC_ENCODERS
    start = start if static else start.model_copy(update={"corpus": "", "fold": None, "seed": 0})
    return _encoder(start, encoder_digest(start.encoder))


def encoder_like(start: Start) -> SentenceTransformer:
    """Load an encoder that takes and refuses the same settings as one to start from; a static one is soon made."""
    static = start.encoder in STATIC_ENCODERS
    made = {"encoder": STATIC_ENCODERS[0], "corpus": "", "fold": None, "seed": 0, "data_seed": 0}
    return _encoder(start.model_copy(update=made), None) if static else encoder_of(start)


@lru_cache(maxsize=4)
def _encoder(start: Start, digest: str | None) -> SentenceTransformer:
    from hybridlib.training.starts import load_encoder

    prompts = {"query": start.query_prompt, "document": start.document_prompt}
    return load_encoder(
        start.encoder,
        corpus=_whole_corpus(start.corpus, start.fold, start.data_seed) if start.corpus else None,
        prompts={name: prompt for name, prompt in prompts.items() if prompt is not None},
        max_length=start.max_length,
        seed=start.seed,
    )


def languages_of(data: str) -> list[str]:
    """Return the codes of the languages of a corpus or task, or of several joined by +, without reading any file."""
    from hybridlib.data.load import SOURCES

    families = [one.partition("/")[0] for one in data.split("+")]
    return sorted({code for one in families for code in (SOURCES[one].languages if one in SOURCES else LANGUAGES)})


def encoder_digest(name: str) -> str | None:
    """Return the digest of an encoder's files; None if it is known by its name, or an id of the hub.

    It is computed again in a process only when the size of a file has changed since, or when it was modified.
    """
    folder = encoder_folder(name)
    if folder is None:
        return None
    states = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return _digest(folder, tuple((str(path), state.st_mtime_ns, state.st_size) for path, state in states))


@lru_cache(maxsize=16)
def _digest(folder: Path, states: tuple[tuple[str, int, int], ...]) -> str:
    return folder_digest(folder)


def mined(corpus: ParallelCorpus, encoder: str, seed: int) -> ParallelCorpus:
    """Add hard negatives to training data, mined with a pretrained encoder; runs that differ in batches share them."""
    return _mined(corpus, encoder, encoder_digest(encoder), seed)


@lru_cache(maxsize=1)
def _mined(corpus: ParallelCorpus, encoder: str, digest: str | None, seed: int) -> ParallelCorpus:
    from hybridlib.training.negatives import mine_negatives
    from hybridlib.training.starts import load_encoder

    return mine_negatives(corpus, load_encoder(encoder), seed=seed)


@lru_cache(maxsize=1)
def validation_of(name: str) -> ParallelCorpus:
    """Load the data whose loss decides when to stop."""
    from hybridlib.data.load import load_corpus

    return load_corpus(name, "validation")


def tasks_of(test: Test, data: Data) -> Iterator[RetrievalTask]:
    """Load the task of a test, or one after the other those of the pairs of languages of Tatoeba.

    Args:
        test: what to load: the held-out part of what is trained on, or all of another benchmark.
        data: what is trained on.
    """
    from hybridlib.data.load import SOURCES

    names, languages = [test.task], test.languages
    if test.task == "tatoeba":
        names, languages = [f"tatoeba/{code}" for code in languages or SOURCES["tatoeba"].languages], ()
    for name in names:
        yield _task(name, test.fold(data), languages, test.pool, data.data_seed)


@lru_cache(maxsize=4)
def _task(
    name: str, fold: int | None, languages: tuple[str, ...], pool: Literal["judged"] | int | None, seed: int
) -> RetrievalTask:
    from hybridlib.data.load import load_task

    split = "test" if name.startswith("atlas") else None
    task = load_task(name, split, languages=languages or None, pool=pool, seed=seed, **_held_out(fold))
    # The runs that are kept were measured with the two prompts on Tatoeba, too, and their records say no other.
    return replace(task, roles=("query", "document")) if name.startswith("tatoeba/") else task


def _held_out(fold: int | None) -> Any:
    return {} if fold is None else {"fold": fold}
