"""The tokenizer asked itself gives what `preprocess` gives, and it stays as it is."""

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tiny_bert import tiny_bert
from tokenizers import AddedToken, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hybridlib.encoder import windows
from hybridlib.encoder.embed import embed_chunks, embed_texts
from hybridlib.encoder.windows import Reader

pytestmark = pytest.mark.usefixtures("quickly")

LETTERS = np.array([*"abcdefghij klmnopX?.", "é", "世", "🙂", "[PAD]", "new"])


def draw_texts(number, seed=0):
    """Draw texts of 0 to 90 letters, of which 64 are read."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(LETTERS, rng.integers(0, 90))) for _ in range(number)]


@pytest.fixture
def bert(tmp_path, monkeypatch):
    """An encoder whose tokenizer adds tokens around a text, and has one that the model does not know."""
    monkeypatch.setattr(windows, "_PIECE", 7)
    encoder = tiny_bert(tmp_path)
    encoder.prompts = {"query": "ask: ", "document": "new "}
    encoder.tokenizer.add_tokens([AddedToken("new", lstrip=True)])
    encoder[0].model.resize_token_embeddings(len(encoder.tokenizer))
    template = processors.TemplateProcessing("? $A .", special_tokens=[("?", 38), (".", 39)])
    encoder.tokenizer.backend_tokenizer.post_processor = template
    return encoder


@pytest.fixture
def asked(bert, monkeypatch):
    """How many texts `preprocess` was given in each call."""
    numbers, original = [], SentenceTransformer.preprocess

    def spy(self, texts, **options):
        numbers.append(len(texts))
        return original(self, texts, **options)

    monkeypatch.setattr(SentenceTransformer, "preprocess", spy)
    return numbers


def window_of(encoder, texts, role="document", *, quick=True):
    def preprocess(texts):
        return encoder.preprocess(texts, prompt=encoder.prompts[role], task=role)

    reader = Reader(encoder, preprocess, role, 500)
    return reader(texts) if quick else _slow(reader, texts)


def _slow(reader, texts):
    reader._tokenise = reader._in_pieces
    return reader(texts)


def assert_same(ours, theirs):
    assert ours.shapes == theirs.shapes and ours.common == theirs.common
    assert np.array_equal(ours.rows, theirs.rows) and ours.features.keys() == theirs.features.keys()
    for name, values in theirs.features.items():
        assert ours.features[name].dtype == values.dtype == np.int64 and np.array_equal(ours.features[name], values)


@pytest.mark.parametrize("role", ["query", "document"])
@pytest.mark.parametrize("length", [64, 5, 10**30])
@pytest.mark.parametrize("side", ["right", "left"])
def test_tokens_are_those_of_preprocess(bert, asked, role, length, side):
    bert.tokenizer.truncation_side = side
    bert.max_seq_length = length
    texts = draw_texts(100)
    ours = window_of(bert, texts, role)
    assert len(asked) == 1  # the texts that are meant to be hard
    assert_same(ours, window_of(bert, texts, role, quick=False))
    assert len(asked) == 1 + 15  # of 7 texts


def test_a_window_holds_the_tokens_of_each_text_in_its_row(bert):
    texts = draw_texts(41)
    window = window_of(bert, texts)
    begins = np.concatenate([[0], np.cumsum([rows * width for rows, width in window.shapes])])
    ids, mask = (
        [
            row
            for begin, shape in zip(begins, window.shapes, strict=False)
            for row in of[begin:][: np.prod(shape)].reshape(shape)
        ]
        for of in (window.features["input_ids"], window.features["attention_mask"])
    )
    for text, row in zip(texts, window.rows, strict=True):
        alone = bert.preprocess([text], prompt="new ", task="document")["input_ids"][0].tolist()
        assert ids[row][mask[row] == 1].tolist() == alone and not ids[row][mask[row] == 0].any()


def test_few_texts_are_given_to_preprocess(bert, asked):
    window_of(bert, draw_texts(7))
    assert asked == [7]


class Shouting(PreTrainedTokenizerFast):
    """A tokenizer that changes texts before it asks its backend."""

    def _encode_plus(self, text, *given, **named):
        return super()._encode_plus([one.replace("?", "!!") for one in text], *given, **named)


@pytest.mark.parametrize("kind", ["subclass of the tokenizer", "preprocess of its own", "model that draws"])
def test_where_the_copy_may_differ_preprocess_is_asked(bert, asked, monkeypatch, kind):
    if kind == "subclass of the tokenizer":
        monkeypatch.setattr(bert.tokenizer, "__class__", Shouting)
    elif kind == "preprocess of its own":
        bert[0].preprocess = bert[0].preprocess
    else:
        backend = bert.tokenizer.backend_tokenizer
        vocabulary = {token: number for token, number in backend.get_vocab().items() if len(token) == 1} | {"aa": 42}
        backend.model = models.BPE(vocabulary, [("a", "a")], dropout=0.5)
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        monkeypatch.setattr(windows, "_HARD", ("a" * 60,) * 9)
    window_of(bert, draw_texts(29))
    assert asked[-5:] == [7, 7, 7, 7, 1]


def test_the_tokenizer_is_left_as_preprocess_leaves_it_after_an_error_too(bert, monkeypatch):
    backend, texts = bert.tokenizer.backend_tokenizer, draw_texts(41)
    before = bert.preprocess(["a", "bcd"])
    state = backend.to_str()
    embed_texts(bert, texts)
    assert backend.to_str() == state

    def wrong(lengths, *sizes):
        raise RuntimeError("no batches today")

    monkeypatch.setattr(windows, "cut_by_size", wrong)
    with pytest.raises(RuntimeError, match="no batches today"):
        embed_texts(bert, texts)
    after = bert.preprocess(["a", "bcd"])
    assert backend.to_str() == state and after["input_ids"].tolist() == before["input_ids"].tolist()


def test_a_caller_may_tokenise_with_the_encoder_between_chunks(bert):
    chunks = [draw_texts(23, seed) for seed in range(3)]
    made = []
    for rows in embed_chunks(bert, chunks):
        made.append(rows)
        bert.tokenizer(["a" * 99, "b"], truncation=True, max_length=3, padding=True)
    for rows, chunk in zip(made, chunks, strict=True):
        assert np.array_equal(rows, embed_texts(bert, chunk))


def test_a_batch_holds_as_many_numbers_whatever_the_width_of_the_encoder(bert, monkeypatch):
    assert windows.batch_size_of(bert) == (2048, 64)
    monkeypatch.setattr(SentenceTransformer, "device", type("", (), {"type": "cuda"}))
    assert windows.batch_size_of(bert) == (32_768 * 768 // 16, 2048 * 768 // 16)
