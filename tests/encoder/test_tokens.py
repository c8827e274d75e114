"""Texts are tokenised once and padded little, and nothing else about a batch changes."""

import contextlib
import copy
import itertools

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Router
from tiny_bert import tiny_bert
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import hybridlib.encoder.tokens
from hybridlib.encoder.cuts import cut_into_groups
from hybridlib.encoder.lookup import one_lookup
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


@pytest.mark.parametrize("include_prompt", [True, False])
def test_columns_whose_prompts_differ_in_length_are_apart_only_where_the_pooling_leaves_the_prompt_out(
    bert, shapes, include_prompt
):
    bert[1].include_prompt = include_prompt
    columns = [bert.preprocess(TEXTS[:36], prompt=prompt) for prompt in ("ask: ", "t: ")]
    assert columns[0]["prompt_length"] != columns[1]["prompt_length"]
    expected = [bert(dict(column))["sentence_embedding"] for column in columns]
    shapes.clear()
    for ours, theirs in zip(embed(bert, columns), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # rounding
    assert len(shapes) == (9 if include_prompt else 4 + 4)


class OwnPooling(Pooling):
    """A pooling of which nobody knows what it goes by."""


def test_a_module_of_another_library_is_told_the_length_of_its_prompt(bert, shapes):
    encoder = SentenceTransformer(modules=[bert[0], OwnPooling(16, "mean")], device="cpu")
    embed(encoder, [bert.preprocess(TEXTS[:36], prompt=prompt) for prompt in ("ask: ", "t: ")])
    assert len(shapes) == 4 + 4


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


# One lookup for all groups.


class Wrapped(torch.nn.Module):
    """An encoder as it is wrapped for several processes, or by a checkpoint that a user made."""

    def __init__(self, module, call):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, features):
        return self.call(self.module, features)


class Gradients(TorchDispatchMode):
    """The number of dense gradients that an embedding of so many rows is given."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.number = rows, 0

    def __torch_dispatch__(self, function, types, given=(), named=None):
        made = function(*given, **(named or {}))
        self.number += function is torch.ops.aten.embedding_dense_backward.default and len(made) == self.rows
        return made


def gradients_of(model, columns, weights):
    """Return the embeddings, the gradients of all weights, and the number of dense ones that the tokens' had."""
    model.zero_grad()
    with Gradients(len(weights)) as counted:
        made = torch.cat(embed(model, columns))
        (made * torch.arange(1, len(made) + 1)[:, None]).sum().backward()  # each text with a weight of its own
    return [made.detach(), *(one.grad for one in model.parameters() if one.grad is not None)], counted.number


def recompute(module, features):
    made = checkpoint(lambda ids: module(features | {"input_ids": ids}), features["input_ids"], use_reentrant=False)
    return {"sentence_embedding": made["sentence_embedding"]}


@pytest.mark.parametrize(
    ("case", "gradients"),
    [
        ("plain", 1),
        ("wrapped for several processes", 1),
        ("padded with a token that texts have", 1),
        ("checkpoints of layers", 1),
        ("an embedding with hooks", 1),
        ("embeddings that the model changes in place", 1),
        ("one column without prompts in its pooling", 1),
        ("a checkpoint of all", 8),  # a group each, as without
        ("an embedding of another class", 8),
        ("an embedding that somebody else has changed", 8),
        ("frozen", 0),
    ],
)
def test_one_lookup_for_all_groups_changes_no_gradient(bert, monkeypatch, case, gradients):
    bert = bert.double().train()
    model, columns = bert, [bert.preprocess(TEXTS[:32], prompt=prompt) for prompt in ("ask: ", "t: ")]
    embedding = bert[0].auto_model.get_input_embeddings()
    if case == "wrapped for several processes":
        model = Wrapped(bert, lambda module, features: module(features))
    elif case == "padded with a token that texts have":
        embedding.padding_idx = 20
    elif case == "checkpoints of layers":
        bert[0].auto_model.activation_checkpointing_enable()
    elif case == "an embedding with hooks":
        embedding.register_forward_hook(lambda module, given, made: made * 2)
    elif case == "embeddings that the model changes in place":
        embedding.register_forward_hook(lambda module, given, made: made.mul_(2))
    elif case == "one column without prompts in its pooling":
        bert[1].include_prompt = False
    elif case == "a checkpoint of all":
        model = Wrapped(bert, recompute)
    elif case == "an embedding of another class":
        embedding.__class__ = type("Own", (torch.nn.Embedding,), {})
    elif case == "an embedding that somebody else has changed":
        embedding.forward = lambda ids: torch.nn.functional.embedding(ids, embedding.weight) * 2
    elif case == "frozen":
        embedding.weight.requires_grad_(False)
    before = dict(vars(embedding))
    ours, number = gradients_of(model, columns, embedding.weight)
    assert vars(embedding) == before
    assert number == gradients
    monkeypatch.setattr(hybridlib.encoder.tokens, "one_lookup", lambda *given: contextlib.nullcontext())
    theirs, of_each = gradients_of(model, columns, embedding.weight)
    assert of_each == (0 if case == "frozen" else 8)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)  # float64 in another order of summation
    if case == "padded with a token that texts have":
        assert (columns[0]["input_ids"] == 20).any() and not embedding.weight.grad[20].any()


def test_the_transformers_of_a_router_look_up_their_own_tokens(bert, monkeypatch):
    other = copy.deepcopy(bert)
    with torch.no_grad():
        other[0].auto_model.get_input_embeddings().weight.mul_(2)
    router = Router.for_query_document(list(bert.children()), list(other.children()))
    model = SentenceTransformer(modules=[router], device="cpu").double()
    columns = [model.preprocess(TEXTS[:32], task=task) | {"task": task} for task in ("query", "document")]
    weights = bert[0].auto_model.get_input_embeddings().weight
    ours, number = gradients_of(model, columns, weights)
    monkeypatch.setattr(hybridlib.encoder.tokens, "one_lookup", lambda *given: contextlib.nullcontext())
    theirs, _ = gradients_of(model, columns, weights)
    assert number == 4 + 4
    for one, another in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-9, atol=1e-10)


def test_the_embedding_is_put_back_whatever_happens(bert):
    embedding = bert[0].auto_model.get_input_embeddings()
    columns = [bert.preprocess(TEXTS[:32])]
    with one_lookup(bert, columns * 2):
        assert "forward" in vars(embedding)
        # Tokens of no group are looked up as ever, whatever shape they have.
        for others in (torch.tensor([[3, 1]]), columns[0]["input_ids"].flip(0)):
            assert torch.equal(embedding(others), embedding.weight[others])
    assert "forward" not in vars(embedding)
    with pytest.raises(InterruptedError), one_lookup(bert, columns * 2):
        raise InterruptedError
    assert "forward" not in vars(embedding)
    with torch.no_grad(), one_lookup(bert, columns * 2):  # there is no gradient to spare
        assert "forward" not in vars(embedding)


@pytest.mark.parametrize("how", ["in place", "wrapped"])
def test_a_compiled_model_looks_up_each_group(bert, how):
    embedding, columns = bert[0].auto_model.get_input_embeddings(), [bert.preprocess(TEXTS[:32])]
    model = torch.compile(bert, backend="eager") if how == "wrapped" else bert
    if how == "in place":
        bert[0].auto_model.compile(backend="eager")
    with one_lookup(model, columns * 2):
        assert "forward" not in vars(embedding)


# Other devices. Nothing on the device "meta" has a value, so whoever looks at one fails.


class OnMeta:
    """A model on a device whose values cannot be looked at, which notes what it is given."""

    def __init__(self):
        self.shapes = []

    def __call__(self, features):
        self.shapes.append(tuple(features["input_ids"].shape))
        return {"sentence_embedding": torch.zeros(len(features["input_ids"]), 3, device="meta")}


def rows_on_meta(texts, width):
    return {
        name: torch.ones(texts, width, dtype=torch.int64, device="meta") for name in ("input_ids", "attention_mask")
    }


@pytest.mark.parametrize(
    ("widths", "together", "shapes"),
    [
        ((31, 128), None, [(200, 128)]),
        ((31, 128, 64), None, [(300, 128)]),
        ((31, 200), None, [(100, 31), (100, 200)]),  # 16,900 tokens of padding are more than a pass is worth
        ((31, 128), 2, [(100, 31), (100, 128)]),  # another process may have wider texts, and makes as many passes
        ((31, 31), 2, [(100, 31), (100, 31)]),
    ],
)
def test_a_gpu_is_given_the_columns_in_one_pass_and_nothing_waits_for_it(monkeypatch, widths, together, shapes):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: together is not None)
    model = OnMeta()
    made = embed(model, [rows_on_meta(100, width) for width in widths])
    assert model.shapes == shapes
    assert [tuple(one.shape) for one in made] == [(100, 3)] * len(widths)


def test_few_texts_of_several_processes_are_one_pass(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    model = OnMeta()
    embed(model, [rows_on_meta(32, 31), rows_on_meta(32, 400)])
    assert model.shapes == [(64, 400)]


def test_one_pass_and_several_groups_of_a_gpu_give_what_a_cpu_gives(bert, shapes, monkeypatch):
    columns = [bert.preprocess(TEXTS[:36], prompt=prompt) for prompt in ("ask: ", "t: ")]
    expected = embed(bert, columns)
    for groups in (1, 3):
        shapes.clear()
        monkeypatch.setattr(hybridlib.encoder.tokens, "number_of_groups", lambda masks, groups=groups: groups)
        for ours, theirs in zip(embed(bert, columns), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # rounding
        assert len(shapes) == groups and sum(texts for texts, _ in shapes) == 72
