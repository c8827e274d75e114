"""An encoder of random weights and texts of random words, for speeds, which do not depend on what either says.

Needs torch, transformers and sentence-transformers alone, so that it works on a bare machine with a GPU.
"""

import tempfile
from collections.abc import Sequence

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

WORDS = 1000


def random_encoder(layers: int, dimensions: int, vocabulary: int) -> SentenceTransformer:
    """Make an encoder of a shape, with 12 heads, over words that are numbers.

    `vocabulary` is the rows of its embeddings, however few of them have a word; AdamW goes through all at every step.
    """
    words = {word: number for number, word in enumerate(["<pad>", "<unk>", *map(str, range(WORDS))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "unk_token": "<unk>"}
    config = XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=dimensions,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=4 * dimensions,
        max_position_embeddings=514,
        pad_token_id=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, model_max_length=256).save_pretrained(folder)
        XLMRobertaModel(config).save_pretrained(folder)
        return SentenceTransformer(modules=[Transformer(folder), Pooling(dimensions, "mean")])


def random_lengths(mean: float, texts: int, rng: np.random.Generator) -> np.ndarray:
    """Draw numbers of tokens, log-normal with the spread of XQuAD-R's sentences. (texts,)"""
    return np.clip(rng.lognormal(np.log(mean) - 0.125, 0.5, texts).round().astype(int), 3, 250)


def random_texts(lengths: Sequence[int] | np.ndarray, rng: np.random.Generator) -> list[str]:
    """Draw texts of so many words, each of which is a token of a random encoder."""
    return [" ".join(map(str, rng.integers(0, WORDS, number))) for number in lengths]
