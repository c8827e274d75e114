"""Fine-tuning: the pairs, the arguments' way to where they act, and that processes and interruptions change nothing.

Run as a script, by `torch.distributed.run`, it trains in several processes and saves the weights.
"""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from tiny_bert import tiny_bert
from torch import Tensor

import hybridlib.training
from hybridlib.corpus import ParallelCorpus
from hybridlib.encoder import load_encoder
from hybridlib.loss import InfoNCE
from hybridlib.sampler import HybridBatchSampler
from hybridlib.training import ParallelCollator, fine_tune

LANGUAGES = ("en", "sw", "yo")
ITEMS = 23  # a prime: no batch size divides it


def tiny_corpus() -> ParallelCorpus:
    """Items in three made-up languages; the first two of every three are questions on one passage."""
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    rows = []
    for item in range(ITEMS):
        group = item - item % 3 + item % 3 // 2
        for number, language in enumerate(LANGUAGES):
            names = ["".join(rng.choice(syllables, 2)) for _ in range(2)]
            rows.append(
                {
                    "item": item,
                    "language": language,
                    "query": f"{language} {names[0]}{item}?",
                    "passage": f"{names[0]}{group} {names[1]}{number}.",
                    "passage_group": group,
                    "domain": "tiny",
                    "dataset": "tiny",
                }
            )
    return ParallelCorpus.from_frame(pd.DataFrame(rows), LANGUAGES)


def weights(encoder: SentenceTransformer) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in encoder.state_dict().items()}


# What is trained in one process and in two. 11 steps: an epoch is 4 batches of 6 pairs.
RUNS: dict[str, dict[str, Any]] = {
    "static": {"strategy": "hybrid", "seed": 1},
    "symmetric": {"strategy": "x-y", "symmetric": True},
    "bert": {"strategy": "x-x", "learning_rate": 1e-3},
    "cached": {"strategy": "hybrid", "learning_rate": 1e-3, "mini_batch_size": 2},
}


def train(name: str) -> dict[str, Tensor]:
    corpus = tiny_corpus()
    with tempfile.TemporaryDirectory() as folder:
        static = name in ("static", "symmetric")
        encoder = load_encoder("static", corpus=corpus) if static else tiny_bert(Path(folder))
    return weights(fine_tune(encoder, corpus, batch_size=6, steps=11, progress=False, **RUNS[name]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    trained: dict[str, Any] = {name: train(name) for name in RUNS}
    try:
        fine_tune(load_encoder("static", corpus=tiny_corpus()), tiny_corpus(), batch_size=5, steps=1)
    except ValueError as error:
        trained["refused"] = str(error)
    torch.save(trained, Path(sys.argv[1]) / f"{torch.distributed.get_rank()}.pt")
