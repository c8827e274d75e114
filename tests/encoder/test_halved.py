"""Matrices in bfloat16 give what autocast gives, and the encoder that they are made from stays as it is."""

import gc

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Router
from tiny_bert import tiny_bert
from torch.utils._python_dispatch import TorchDispatchMode

from hybridlib.encoder.embed import embed_texts
from hybridlib.encoder.halved import halved

pytestmark = pytest.mark.usefixtures("quickly")

TEXTS = ["who?", "", "a long text of many letters.", "it is", "oslo"] * 4


@pytest.fixture
def bert(tmp_path):
    return tiny_bert(tmp_path)


def with_router(encoder):
    dense = Dense(16, 8)
    return SentenceTransformer(modules=[Router({"query": [*encoder], "document": [*encoder, dense]})], device="cpu")


def with_dense(encoder):
    return SentenceTransformer(modules=[*encoder, Dense(16, 8)], device="cpu")


def in_autocast(encoder, role):
    """The embeddings of the whole as one batch, which autocast makes by itself."""
    features = encoder.eval().preprocess(TEXTS, task=role)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return encoder(features, task=role)["sentence_embedding"].float().numpy()


@pytest.mark.parametrize("made", [SentenceTransformer.eval, with_router, with_dense])
@pytest.mark.parametrize("role", ["query", "document"])
def test_embeddings_are_those_of_autocast(bert, made, role):
    encoder = made(bert)
    assert np.array_equal(in_autocast(halved(encoder), role), in_autocast(encoder, role))
    # Sums of other lengths of padding are rounded otherwise, at 2^-9 of components of the order of 1.
    np.testing.assert_allclose(
        embed_texts(encoder, TEXTS, role=role, precision="bfloat16"), in_autocast(encoder, role), atol=0.03
    )


def test_all_but_matrices_is_shared_and_no_bfloat16_outlives_a_call(bert):
    twin = halved(bert)
    shared = {name for name, weight in twin.named_parameters() if weight is bert.get_parameter(name)}
    halves = {name for name, weight in twin.named_parameters() if weight.dtype == torch.bfloat16}
    assert shared | halves == dict(bert.named_parameters()).keys() and not shared & halves
    assert all("embeddings" in name or "LayerNorm" in name for name in shared)
    assert twin.tokenizer is bert.tokenizer and twin[1] is not bert[1] and twin[0].model is not bert[0].model
    del twin
    weights = {name: (weight, weight.clone()) for name, weight in bert.named_parameters()}
    embed_texts(bert, TEXTS, precision="bfloat16")
    gc.collect()
    assert not any(type(one) is torch.nn.Parameter and one.dtype == torch.bfloat16 for one in gc.get_objects())
    for name, weight in bert.named_parameters():
        assert weight is weights[name][0] and torch.equal(weight, weights[name][1]) and weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_that_are_not_float32_stay_as_they_are(bert, dtype):
    bert.to(dtype)
    twin = halved(bert)
    assert all(weight is bert.get_parameter(name) for name, weight in twin.named_parameters())


def test_a_matrix_is_cast_once_for_a_call_and_not_for_each_batch(bert):
    class Casts(TorchDispatchMode):
        """Notes the shapes of what is cast to bfloat16."""

        def __init__(self):
            super().__init__()
            self.shapes = []

        def __torch_dispatch__(self, operator, types, given=(), named=None):
            made = operator(*given, **(named or {}))
            cast = isinstance(made, torch.Tensor) and made.dtype == torch.bfloat16 and "to" in str(operator)
            if cast and given[0].dtype == torch.float32:
                self.shapes.append(tuple(made.shape))
            return made

    with Casts() as casts:
        embed_texts(bert, TEXTS, precision="bfloat16", batch_tokens=28)
    matrices = [shape for shape in casts.shapes if shape in ((16, 16), (32, 16), (16, 32))]
    assert len(matrices) == 7  # query, key, value, their output, two of the layer and that of the pooler
    assert len(casts.shapes) > 40  # activations, batch for batch


def test_the_hooks_of_an_encoder_see_its_batches(bert):
    seen = []
    bert[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]["input_ids"].shape))
    embed_texts(bert, TEXTS[:1], precision="bfloat16")
    assert seen == [(1, 4)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_other_types_are_embedded_as_autocast_does(bert, dtype):
    ours = embed_texts(bert.to(dtype), TEXTS, precision="bfloat16")
    np.testing.assert_allclose(ours, in_autocast(bert, "document"), atol=0.03)
