"""What runs start from and are tested on: data, encoders and tasks, each loaded once for the runs that share it.

What computes is imported when something is loaded, so that settings can be read at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hybridlib.arguments import Count, Share
from hybridlib.names import STATIC_ENCODERS
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

    corpus: str
    fold: int | None = None
    languages: tuple[str, ...] = ()
    items: dict[str, int] = Field(default={})
    available: dict[str, Share] = Field(default={})
    others: Share = 1.0
    data_seed: int


class Start(Settings):
    """The encoder that a run starts from; see `load_encoder`.

    Attributes:
        encoder, max_length, seed: as `load_encoder` takes them. The seed is that of the training, too.
        query_prompt, document_prompt: put before texts; the encoder's own unless given.
        corpus, fold, data_seed: the tokenizer of a static encoder is trained on them, whatever part a run trains on.
    """

    encoder: str
    corpus: str
    fold: int | None = None
    data_seed: int
    seed: int
    query_prompt: str = ""
    document_prompt: str = ""
    max_length: Count | None = None


class Test(Settings):
    """Something that a trained encoder is tested on; see `load_task`.

    Attributes:
        task, languages, pool: as `load_task` takes them; no languages mean all. `tatoeba` alone means its pairs of
            languages, one after the other.
    """

    __test__ = False  # pytest, which looks for names like this one

    task: str
    languages: tuple[str, ...] = ()
    pool: Literal["judged"] | int | None = None

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
    return _encoder(start if static else start.model_copy(update={"corpus": "", "fold": None, "seed": 0}))


@lru_cache(maxsize=4)
def _encoder(start: Start) -> SentenceTransformer:
    from hybridlib.training.starts import load_encoder

    prompts = {"query": start.query_prompt, "document": start.document_prompt}
    return load_encoder(
        start.encoder,
        corpus=_whole_corpus(start.corpus, start.fold, start.data_seed) if start.corpus else None,
        prompts={name: prompt for name, prompt in prompts.items() if prompt},
        max_length=start.max_length,
        seed=start.seed,
    )


@lru_cache(maxsize=1)
def mined(corpus: ParallelCorpus, encoder: str, seed: int) -> ParallelCorpus:
    """Add hard negatives to training data, mined with a pretrained encoder; runs that differ in batches share them."""
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
def _task(name: str, fold: int | None, languages: tuple[str, ...], pool: str | int | None, seed: int) -> RetrievalTask:
    from hybridlib.data.load import load_task

    split = "test" if name.startswith("atlas") else None
    return load_task(name, split, languages=languages or None, pool=pool, seed=seed, **_held_out(fold))


def _held_out(fold: int | None) -> Any:
    return {} if fold is None else {"fold": fold}
