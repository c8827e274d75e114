"""An encoder of given vectors, and tasks of random words; for tests."""

import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from hybridlib.data.task import RetrievalTask

AXES = {"a": (1, 0), "b": (0, 1), "ask:": (4, 0), "tell:": (0, 4)}
WORDS = list("abcdefg")


def word_encoder(vectors=AXES, **options):
    """Make an encoder to which a text is the mean of the vectors of its words, exactly the same in any batch.

    A word without a vector has zeros.
    """
    names = ["[UNK]", *vectors]
    tokenizer = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    values = np.array(list(vectors.values()), dtype=np.float32)
    weights = torch.tensor(np.vstack([np.zeros_like(values[:1]), values]))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu", **options)


def draw_task(seed=0, queries=29, passages=211):
    """Draw texts of one to three of seven words, so that many are equal; a query has 1 to 6 graded passages.

    The queries are in four languages, the passages in three of them, in uneven numbers and no order.
    """
    rng, tables = np.random.default_rng(seed), []
    for name, number, languages in (
        ("query", queries, ["de", "en", "fr", "sw"]),
        ("passage", passages, ["de", "en", "sw"]),
    ):
        ids = [f"{name[0]}{i}" for i in range(number)]
        texts = [" ".join(rng.choice(WORDS, rng.integers(1, 4))) for _ in ids]
        tables.append(pd.DataFrame({f"{name}_id": ids, "language": rng.choice(languages, number), "text": texts}))
    judged = [
        (f"q{q}", f"p{p}") for q in range(queries) for p in rng.choice(passages, rng.integers(1, 7), replace=False)
    ]
    qrels = pd.DataFrame(judged, columns=["query_id", "passage_id"]).assign(relevance=rng.integers(1, 4, len(judged)))
    return RetrievalTask(*tables, qrels.sample(frac=1, random_state=seed))
