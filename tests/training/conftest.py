"""A small corpus and a static encoder, each made once for a file of tests."""

import pytest
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from test_fine_tune import tiny_corpus

import hybridlib.training.fine_tune
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.training.starts import load_encoder


@pytest.fixture(scope="module")
def corpus() -> ParallelCorpus:
    return tiny_corpus()


@pytest.fixture(scope="module")
def static(corpus: ParallelCorpus) -> SentenceTransformer:
    return load_encoder("static", corpus=corpus)


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[SentenceTransformerTrainer]:
    """Keep the trainers that `fine_tune` makes."""
    made: list[SentenceTransformerTrainer] = []
    make = hybridlib.training.fine_tune._trainer
    monkeypatch.setattr(hybridlib.training.fine_tune, "_trainer", lambda *a: made.append(make(*a)) or made[-1])
    return made
