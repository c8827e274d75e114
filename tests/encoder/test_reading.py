"""How much of a text an encoder reads: its positions are the limit, and the share of texts that it cuts is known."""

import logging

import numpy as np
import pandas as pd
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Router, StaticEmbedding, Transformer
from tiny_bert import tiny_bert
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import XLMRobertaConfig, XLMRobertaModel

from hybridlib.encoder.embed import embed_texts
from hybridlib.encoder.reading import cut_share, fit_length
from hybridlib.training.starts import load_encoder


@pytest.fixture
def bert(tmp_path):
    return tiny_bert(tmp_path)  # a letter is a token, and 64 tokens are read


def tiny_xlmr(folder, *, max_length=10**30):
    """Make an XLM-R with 16 positions, whose first two are padding's, and a tokenizer that allows so many tokens."""
    tiny_bert(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = XLMRobertaConfig(vocab_size=43, max_position_embeddings=16, pad_token_id=1, **sizes)
    XLMRobertaModel(config).save_pretrained(folder)
    transformer = Transformer(str(folder), processor_kwargs={"model_max_length": max_length})
    return SentenceTransformer(modules=[transformer, Pooling(16, "mean")], device="cpu")


@pytest.mark.parametrize("own", [16, 10**30, 15, None])
def test_the_two_positions_of_padding_are_not_for_tokens(tmp_path, caplog, own):
    encoder = tiny_xlmr(tmp_path)
    encoder.max_seq_length = own
    assert embed_texts(encoder, ["a" * 40]).shape == (1, 16)  # with 15 tokens, the last would have no position
    assert encoder.max_seq_length == 14
    message = f"max_seq_length of the encoder is {own}; it is now 14, as it has positions for no more"
    assert [record.getMessage() for record in caplog.records if record.name.startswith("hybridlib")] == [message]


def test_an_encoder_that_was_saved_with_too_great_a_length_is_loaded_with_what_it_can_read(tmp_path):
    tiny_xlmr(tmp_path / "made").save(str(tmp_path / "saved"))
    assert load_encoder(tmp_path / "saved").max_seq_length == 14
    assert load_encoder(tmp_path / "saved", max_length=14).max_seq_length == 14
    with pytest.raises(ValueError, match=r"^max_length is 15; allowed for .*: 1 to 14$"):
        load_encoder(tmp_path / "saved", max_length=15)


def test_a_length_that_fits_stays_and_nothing_is_said(tmp_path, bert, caplog):
    for encoder, own in ((tiny_xlmr(tmp_path / "x", max_length=14), 14), (bert, 64)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "hybridlib"):
            fit_length(encoder)
        assert encoder.max_seq_length == own and not caplog.records
    static = SentenceTransformer(modules=[static_module()])
    fit_length(static)
    assert static.max_seq_length == np.inf


def static_module():
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return StaticEmbedding(tokenizer, embedding_dim=4)


def test_the_share_of_texts_that_are_cut_is_exact_for_few_and_counts_the_prompt(bert):
    texts = ["a" * size for size in (1, 63, 64, 65, 200)]
    assert cut_share(bert, texts, role="query") == 2 / 5  # of 64 tokens none is cut
    bert.prompts = {"query": "b", "document": "", "passage": "bb"}
    assert cut_share(bert, texts, role="query") == 3 / 5
    assert cut_share(bert, pd.Series(texts, index=range(5, 10)), role="document") == 4 / 5
    assert cut_share(bert, [], role="query") == 0


def test_of_many_texts_a_thousand_are_drawn_the_same_each_time(bert, monkeypatch):
    seen = []
    original = type(bert.tokenizer).__call__

    def spy(self, texts, **options):
        seen.append(texts)
        return original(self, texts, **options)

    monkeypatch.setattr(type(bert.tokenizer), "__call__", spy)
    texts = ["a" * (70 if number % 4 == 0 else 5) + "." * (number % 3) for number in range(5000)]
    share = cut_share(bert, texts, role="document")
    # The share of a quarter in 1,000 deviates by sqrt(3/16/1000) = 0.014.
    assert share == pytest.approx(0.25, abs=0.05) and share == cut_share(bert, texts, role="document")
    assert len(seen[0]) == 1000 and seen[0] == seen[1]


def test_static_encoders_cut_nothing_unless_their_tokenizer_does(bert):
    module = static_module()
    encoder = SentenceTransformer(modules=[module])
    assert cut_share(encoder, ["a " * 1000], role="query") == 0
    module.tokenizer.enable_truncation(3)
    assert cut_share(encoder, ["a a a", "a a a a"], role="query") == 0.5


def test_of_a_router_the_module_of_the_role_is_asked(bert):
    routes = {"query": [static_module()], "document": list(bert)}
    encoder = SentenceTransformer(modules=[Router(routes)])
    texts = ["a" * 65, "a"]
    assert (cut_share(encoder, texts, role="query"), cut_share(encoder, texts, role="document")) == (0, 0.5)
