"""Fixtures of the tests of the encoder."""

import pytest
from tiny_bert import tiny_bert


@pytest.fixture
def bert(tmp_path):
    return tiny_bert(tmp_path)


@pytest.fixture
def shapes(bert):
    """The shapes of the batches that the encoder is given."""
    seen = []
    bert[0].register_forward_pre_hook(lambda module, given: seen.append(tuple(given[0]["input_ids"].shape)))
    return seen
