"""Texts are tokenised once and padded little, and nothing else about a batch changes."""

import itertools

import numpy as np
import pytest
import torch
from tiny_bert import tiny_bert

import hybridlib.encoder.tokens
from hybridlib.encoder.cuts import cut_into_groups
from hybridlib.encoder.tokens import TokenCache, embed
from hybridlib.training.starts import load_encoder

pytestmark = pytest.mark.usefixtures("quickly")

TEXTS = ["a", "a much longer text than the others, of many letters", "who?", "a", "somewhat longer", "no"] * 6 + ["end"]


@pytest.fixture
def bert(tmp_path):
    return tiny_bert(tmp_path)


@pytest.fixture
def shapes(bert):
    """The shapes of the batches that the encoder is given."""
    seen = []
    bert[0].register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0]["input_ids"].shape)))
    return seen


def assert_same_features(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert ours[name].dtype == value.dtype
            assert torch.equal(ours[name], value), name
        else:
            assert ours[name] == value, name


@pytest.mark.parametrize("prompt", [None, "ask: "])
def test_features_are_those_of_the_encoder(bert, prompt):
    once = TokenCache.of_encoder(bert)
    for texts in (TEXTS, TEXTS[2:3], TEXTS[::-1]):  # anew, remembered, and in another order and width
        assert_same_features(once(texts, prompt=prompt), bert.preprocess(texts, prompt=prompt))


def test_padding_is_the_tokenizers_own(bert):
    bert.tokenizer.pad_token = "z"  # XLM-R derives positions from it
    features = TokenCache.of_encoder(bert)(["a", "bcd"])
    assert features["input_ids"][0, 1:].tolist() == [bert.tokenizer.convert_tokens_to_ids("z")] * 2


def test_each_text_is_tokenised_once_for_each_prompt(bert, monkeypatch):
    seen = []
    original = bert.preprocess

    def spy(inputs, prompt=None, **options):
        seen.append((prompt, tuple(inputs)))
        return original(inputs, prompt=prompt, **options)

    monkeypatch.setattr(bert, "preprocess", spy)
    once = TokenCache.of_encoder(bert)
    for prompt, texts in ((None, ["a", "b", "a"]), (None, ["b", "c"]), (None, ["a"]), ("x", ["a"])):
        once(texts, prompt=prompt)
    assert seen == [(None, ("a", "b")), (None, ("c",)), ("x", ("a",))]


def test_a_static_encoder_that_has_a_cache_is_given_no_other():
    static = load_encoder("static")
    once = TokenCache.of_encoder(static)
    assert not isinstance(once, TokenCache) and isinstance(static[0].preprocess, TokenCache)
    assert_same_features(once(TEXTS), static.preprocess(TEXTS))


def test_no_more_texts_are_kept_than_the_bound(bert, monkeypatch):
    monkeypatch.setattr(hybridlib.encoder.tokens, "_KEPT", 3)
    asked = []
    once = TokenCache(lambda texts, **options: asked.extend(texts) or bert.preprocess(texts))
    for texts in (["a", "bc"], ["d", "efg"], ["a", "d"], ["d", "a"]):  # the second pair is beyond, the last "d" is kept
        assert_same_features(once(texts), bert.preprocess(texts))
    assert asked == ["a", "bc", "d", "efg", "d"]


@pytest.mark.parametrize("number", [1, 15, 16, 37])  # too few for groups, odd, even
def test_grouped_embeddings_and_gradients_are_those_of_the_whole_batch(bert, number):
    bert.double()

    def embed_and_differentiate(grouped):
        bert.zero_grad()
        features = bert.preprocess(TEXTS[:number])
        whole = embed(bert, [features])[0] if grouped else bert(features)["sentence_embedding"]
        (whole * torch.arange(1, number + 1)[:, None]).sum().backward()  # each text with a weight of its own
        return whole.detach(), bert[0].auto_model.embeddings.word_embeddings.weight.grad.clone()

    for ours, theirs in zip(embed_and_differentiate(True), embed_and_differentiate(False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)  # float64 in another order of summation


def test_groups_hold_texts_of_similar_length_so_little_is_padding(bert, shapes):
    features = bert.preprocess(TEXTS[:36])
    embed(bert, [features])
    # Lengths are 1, 1, 2, 4, 15 and 51, six of each. Four groups pad least if twelve texts of length 1 are padded to 2,
    # or six of length 2 to 4, which is as much.
    assert shapes in ([(18, 2), (6, 4), (6, 15), (6, 51)], [(12, 1), (12, 4), (6, 15), (6, 51)])


def test_groups_hold_texts_of_any_column_and_are_put_back_into_theirs(bert, shapes):
    queries, passages = TEXTS[:18], TEXTS[10:28]
    columns = [bert.preprocess(queries), bert.preprocess(passages)]
    expected = [bert(dict(column))["sentence_embedding"] for column in columns]
    shapes.clear()
    for ours, theirs in zip(embed(bert, columns), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # rounding
    assert len(shapes) == 4 and sum(number for number, _ in shapes) == 36  # and not four groups for each column


@pytest.mark.parametrize("change", [{"prompt_length": 2}, {"modality": "other"}, {"prompt_length": torch.tensor([2])}])
def test_columns_that_differ_in_more_than_their_texts_are_embedded_apart(bert, change):
    (name, value), seen = *change.items(), []
    one, other = bert.preprocess(TEXTS[:32]), bert.preprocess(TEXTS[:32]) | change

    def model(features):
        seen.append((len(features["input_ids"]), features.get(name) is value))
        return {"sentence_embedding": torch.zeros(len(features["input_ids"]), 1)}

    embed(model, [one, other])
    for changed in (False, True):
        sizes = [size for size, is_changed in seen if is_changed is changed]
        assert len(sizes) == 4 and sum(sizes) == 32


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_is_cut_where_the_fewest_tokens_are_padding(seed):
    lengths = np.sort(np.random.default_rng(seed).integers(0, 12, 9))
    for groups in (1, 2, 3, 9):
        ends = cut_into_groups(lengths, groups)
        assert len(ends) == groups and ends[-1] == 9
        tried = [(*inner, 9) for inner in itertools.combinations(range(1, 9), groups - 1)]
        assert padded(lengths, ends) == min(padded(lengths, other) for other in tried)


def test_a_large_batch_is_cut_into_as_many_groups_at_fewer_places():
    lengths = np.sort(np.random.default_rng(0).integers(1, 200, 5000))
    ends = cut_into_groups(lengths, 16)
    assert len(set(ends)) == 16 and ends[-1] == 5000
    # Uniform lengths cut evenly pad half a sixteenth of 200 tokens on average, of 100 and a bit.
    assert padded(lengths, ends) / lengths.sum() < 1.07


def padded(lengths, ends):
    """Count the tokens of groups that end there, padding included."""
    return sum((end - begin) * max(1, lengths[end - 1]) for begin, end in zip([0, *ends], ends, strict=False))


def test_texts_padded_on_the_left_are_embedded_whole(bert, shapes):
    bert.tokenizer.padding_side = "left"
    features = TokenCache.of_encoder(bert)(TEXTS[:36])
    assert_same_features(features, bert.preprocess(TEXTS[:36]))
    embed(bert, [features])
    assert shapes == [(36, 51)]
