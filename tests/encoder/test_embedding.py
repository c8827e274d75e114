"""Embeddings are those of the encoder's own methods, however they are cut, and made with as little padding."""

import copy
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers.sentence_transformer.modules import Normalize
from tiny_bert import tiny_bert

import hybridlib.encoder.embed
import hybridlib.encoder.windows
from hybridlib.encoder.embed import embed_chunks, embed_texts, precision_of
from hybridlib.encoder.reading import prompt_of
from hybridlib.training.starts import load_encoder

pytestmark = pytest.mark.usefixtures("quickly")

LETTERS = np.array(list("abcdefghij klmnop"))


def draw_texts(number, seed=0):
    """Draw texts of 1 to 90 letters, some more than the 64 that the encoder reads; every tenth comes twice."""
    rng = np.random.default_rng(seed)
    texts = ["a" + "".join(rng.choice(LETTERS, rng.integers(0, 90))) for _ in range(number)]
    return [texts[place - place % 10] if place % 10 == 1 else text for place, text in enumerate(texts)]


@pytest.fixture
def bert(tmp_path):
    return tiny_bert(tmp_path)


@pytest.fixture
def shapes(bert):
    """The shapes of the batches that the encoder is given."""
    seen = []
    bert[0].register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0]["input_ids"].shape)))
    return seen


def stock(encoder, texts, role):
    return (encoder.encode_query if role == "query" else encoder.encode_document)(texts, show_progress_bar=False)


def cosines(ours, theirs):
    return (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)


def assert_equal(ours, theirs):
    # Components are of the order of 1, and float32 sums of 16 to 64 terms of it are exact to some 1e-6.
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)
    assert cosines(ours, theirs).min() > 1 - 1e-6


PROMPTS = {
    "none": {},
    "both": {"query": "ask: ", "document": "tell: "},
    "passage": {"query": "ask: ", "document": None, "passage": "pass: "},
    "corpus": {"corpus": "of: ", "query": None, "document": None},
    "default": {"query": None, "document": None, "other": "x: "},
}


@pytest.mark.parametrize("role", ["query", "document"])
@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("include_prompt", [True, False])
def test_embeddings_are_those_of_the_encoders_own_method(bert, role, prompts, include_prompt):
    bert.prompts = {name: prompt for name, prompt in PROMPTS[prompts].items() if prompt is not None}
    bert.default_prompt_name = "other" if prompts == "default" else None
    bert.set_pooling_include_prompt(include_prompt)
    texts = draw_texts(37)
    assert_equal(embed_texts(bert, texts, role=role, batch_tokens=300), stock(bert, texts, role))


@pytest.mark.parametrize("static", [False, True])
def test_the_empty_document_prompt_that_every_encoder_gets_does_not_hide_its_passage_prompt(bert, static):
    encoder = copy.deepcopy(load_encoder("static")) if static else bert
    encoder.prompts = {"query": "ask: ", "document": "", "passage": "pass: "}  # E5 as published, once it is loaded
    texts = draw_texts(7)
    assert prompt_of(encoder, "document") == "pass: " and prompt_of(encoder, "query") == "ask: "
    assert_equal(embed_texts(encoder, texts), encoder.encode(texts, prompt="pass: "))


def test_truncated_and_normalised_embeddings_are_the_encoders_own(bert):
    bert.append(Normalize())
    bert.truncate_dim = 5
    texts = draw_texts(23)
    ours = embed_texts(bert, texts)
    assert ours.shape == (23, 5)
    assert_equal(ours, stock(bert, texts, "document"))


@pytest.mark.parametrize("batch_tokens", [1, 7, 64, 1000, None])
@pytest.mark.parametrize("window", [1, 10, 41])
def test_embeddings_do_not_depend_on_windows_and_batches(bert, monkeypatch, batch_tokens, window):
    monkeypatch.setattr(hybridlib.encoder.embed, "_WINDOW", window)
    monkeypatch.setattr(hybridlib.encoder.windows, "_PIECE", 7)
    texts = draw_texts(41)
    assert_equal(embed_texts(bert, texts, batch_tokens=batch_tokens), stock(bert, texts, "document"))


def test_a_batch_has_at_most_so_many_tokens_of_which_few_are_padding(bert, shapes):
    texts = draw_texts(400)
    embed_texts(bert, texts, batch_tokens=640)
    assert sum(texts for texts, _ in shapes) == 400
    assert all(texts * width <= 640 for texts, width in shapes)
    assert shapes[0][1] == 64 and shapes == sorted(shapes, key=lambda shape: -shape[1])
    tokens = sum(min(64, len(text)) for text in texts)  # a letter is a token
    padded = sum(texts * width for texts, width in shapes)
    assert padded / tokens < 1.04
    shapes.clear()
    embed_texts(bert, texts, batch_tokens=3)  # less than nearly all texts
    assert all(rows == 1 or rows * width <= 3 for rows, width in shapes)


def test_one_text_a_text_without_tokens_and_no_text_are_embedded(bert):
    assert_equal(embed_texts(bert, ["who?"]), stock(bert, ["who?"], "document"))
    assert embed_texts(bert, []).shape == (0, 16)
    ours = embed_texts(bert, ["who?", "", "a"])  # the encoder's tokenizer adds no token of its own
    np.testing.assert_allclose(ours, stock(bert, ["who?", "", "a"], "document"), rtol=0, atol=5e-6)
    assert not ours[1].any() and not embed_texts(bert, [""]).any()


@pytest.fixture(params=[0, 1, 2])
def ahead(request, monkeypatch):
    """Windows that a thread tokenises ahead, as on a GPU."""
    monkeypatch.setattr(hybridlib.encoder.embed, "_WINDOW", 10)
    monkeypatch.setitem(hybridlib.encoder.embed._TOKENISED_AHEAD, "cpu", request.param)
    return request.param


def test_texts_are_tokenised_the_same_in_a_thread_that_ends_with_its_work(bert, ahead, monkeypatch):
    texts, here, threads = draw_texts(41), threading.current_thread(), set()
    original = bert.preprocess

    def spy(inputs, **options):
        threads.add(threading.current_thread())
        return original(inputs, **options)

    monkeypatch.setattr(bert, "preprocess", spy)
    ours = embed_texts(bert, texts)
    assert len(threads) == (2 if ahead else 1) and not any(thread.is_alive() for thread in threads - {here})
    monkeypatch.setitem(hybridlib.encoder.embed._TOKENISED_AHEAD, "cpu", 0)
    assert np.array_equal(embed_texts(bert, texts), ours)


def test_an_error_of_the_tokenizer_is_raised_here(bert, ahead, monkeypatch):
    original = bert.preprocess

    def preprocess(texts, **options):
        if "z" in texts:
            raise RuntimeError("no tokens today")
        return original(texts, **options)

    monkeypatch.setattr(bert, "preprocess", preprocess)
    with pytest.raises(RuntimeError, match="no tokens today"):
        embed_texts(bert, [*draw_texts(41), "z"])


def test_chunks_are_embedded_one_by_one_each_as_if_alone(bert, ahead):
    chunks = [draw_texts(size, seed=size) for size in (23, 0, 10, 1, 0)]
    taken = []

    def each():
        for chunk in chunks:
            taken.append(len(chunk))
            yield chunk

    embedded = embed_chunks(bert, each())
    first = next(embedded)
    assert taken == [23, 0, 10][: 1 + ahead]  # nothing is taken before it is asked for, but for so many windows
    rows_of_chunks = [first, *embedded]
    assert [rows.shape for rows in rows_of_chunks] == [(23, 16), (0, 16), (10, 16), (1, 16), (0, 16)]
    for rows, chunk in zip(rows_of_chunks, chunks, strict=True):
        assert np.array_equal(rows, embed_texts(bert, chunk))


def test_the_first_windows_may_be_small_which_changes_no_embedding(bert, monkeypatch):
    chunks = [draw_texts(size, seed=size) for size in (23, 0, 41)]
    expected = [embed_texts(bert, chunk) for chunk in chunks]
    monkeypatch.setitem(hybridlib.encoder.embed._FIRST_WINDOWS, "cpu", (3, 5, 10**6))
    sizes, launch = [], hybridlib.encoder.embed._launch
    spy = lambda encoder, window, *given: sizes.append(len(window.rows)) or launch(encoder, window, *given)  # noqa: E731
    monkeypatch.setattr(hybridlib.encoder.embed, "_launch", spy)
    for ours, theirs in zip(embed_chunks(bert, chunks), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)
    assert sizes == [3, 5, 15, 0, 41]
    assert_equal(embed_texts(bert, chunks[2]), expected[2])


def test_a_static_encoder_is_asked_itself(monkeypatch):
    static, texts = load_encoder("static"), [*draw_texts(41), ""]
    assert np.array_equal(embed_texts(static, texts), stock(static, texts, "document"))
    monkeypatch.setattr(hybridlib.encoder.embed, "_WINDOW", 10)
    assert np.array_equal(embed_texts(static, texts, role="query", precision="bfloat16"), stock(static, texts, "query"))
    assert embed_texts(static, []).shape == (0, 128)


def test_an_encoder_that_pads_on_the_left_is_asked_itself(bert):
    texts = draw_texts(41)
    bert.tokenizer.padding_side = "left"
    theirs = bert.encode_document(texts, batch_size=512, show_progress_bar=False)  # depends on the batch
    assert np.array_equal(embed_texts(bert, texts), theirs)


def test_padding_is_the_tokenizers_own(bert):
    seen = []
    bert[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]["input_ids"]))
    bert.tokenizer.pad_token = "z"  # XLM-R derives positions from it
    embed_texts(bert, ["a", "bcd"])
    assert seen[0][1, 1:].tolist() == [bert.tokenizer.convert_tokens_to_ids("z")] * 2


def test_bfloat16_is_as_near_as_it_promises_and_is_not_float32(bert):
    texts = draw_texts(41)
    ours, theirs = embed_texts(bert, texts, precision="bfloat16"), stock(bert, texts, "document")
    assert ours.dtype == np.float32 and not np.array_equal(ours, theirs)
    assert cosines(ours, theirs).min() > 0.9999


def test_on_the_cpu_precision_is_float32_unless_asked(bert):
    assert precision_of(bert, None) == "float32" and precision_of(bert, "bfloat16") == "bfloat16"


def test_progress_is_shown_where_it_is_asked_for(bert, capfd):
    embed_texts(bert, draw_texts(3))
    assert capfd.readouterr() == ("", "")
    embed_texts(bert, draw_texts(3), progress=True)
    assert "3.00/3.00" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"role": "passage"}, "role is 'passage'; allowed: 'query' or 'document'"),
        ({"batch_tokens": 0}, "batch_tokens is 0; allowed: greater than or equal to 1"),
        ({"batch_tokens": 8.5}, "batch_tokens is 8.5; allowed: a whole number"),
        ({"precision": "float16"}, "precision is 'float16'; allowed: 'float32' or 'bfloat16'"),
        ({"encoder": "static"}, "encoder is 'static'; .*SentenceTransformer, as made by load_encoder"),
        ({"texts": None}, "texts is None; allowed: a list of texts, or a column of a table"),
        ({"texts": b"abc"}, "texts is b'abc'; allowed: a list of texts"),
        ({"texts": {"b", "a"}}, "texts is {'a', 'b'}; allowed: a list of texts"),
        ({"texts": pd.DataFrame({"text": ["a"]})}, r"texts is a table of shape \(1, 1\); allowed: a list of texts"),
        (
            {"texts": ["a", None, 3, np.nan, "b", b"c"]},
            r"texts: row 1 is None, .* 3, .* nan \(4 rows are wrong\)",
        ),
        ({"texts": ["a", "\ud800"]}, "texts: row 1 is '.ud800'; allowed: a text without lone surrogates"),
    ],
)
def test_an_argument_of_another_type_or_out_of_range_is_refused(bert, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        embed_texts(**{"encoder": bert, "texts": ["a"]} | options)


def test_a_wrong_text_of_a_chunk_is_named_with_its_chunk(bert):
    with pytest.raises(ValueError, match=r"^chunk 1 of texts: row 2 is None; allowed: a text"):
        list(embed_chunks(bert, [["a"], ["b", "c", None]]))


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, iter])
def test_texts_may_be_in_any_sequence_and_one_alone_is_one_text(bert, kind):
    assert np.array_equal(embed_texts(bert, kind(["abc", "d"])), embed_texts(bert, ["abc", "d"]))
    assert np.array_equal(embed_texts(bert, "abc"), embed_texts(bert, ["abc"]))
    assert np.array_equal(embed_texts(bert, ["abc"], batch_tokens=np.int64(4)), embed_texts(bert, ["abc"]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_embeddings_of_weights_of_another_precision_are_float32(bert, dtype):
    texts = draw_texts(7)
    full = embed_texts(bert, texts)
    ours = embed_texts(bert.to(dtype), texts)
    assert ours.dtype == np.float32 and cosines(ours, full).min() > 0.999


def test_weights_without_values_are_refused(bert):
    with pytest.raises(ValueError, match="encoder is on the device 'meta', where weights have no values"):
        embed_texts(bert.to("meta"), ["a"])


if torch.cuda.is_available():

    @pytest.mark.parametrize("precision", ["float32", None])
    def test_on_cuda_embeddings_are_those_of_the_cpu(tmp_path, precision):
        texts = draw_texts(9001)
        here, there = tiny_bert(tmp_path), tiny_bert(tmp_path).to("cuda")
        ours, theirs = embed_texts(there, texts, precision=precision), stock(here, texts, "document")
        assert cosines(ours, theirs).min() > (0.9999 if precision is None else 1 - 1e-5)
