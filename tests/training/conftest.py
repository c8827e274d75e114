"""A small corpus and a static encoder, each made once for a file of tests."""

import pytest
from sentence_transformers import SentenceTransformer
from test_fine_tune import tiny_corpus

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.training.starts import load_encoder


@pytest.fixture(scope="module")
def corpus() -> ParallelCorpus:
    return tiny_corpus()


@pytest.fixture(scope="module")
def static(corpus: ParallelCorpus) -> SentenceTransformer:
    return load_encoder("static", corpus=corpus)
