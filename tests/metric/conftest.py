"""Fixtures of the tests of the metric."""

from unittest import mock

import pytest

from hybridlib.metric import gpu


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    """Small tiles, which Triton's interpreter is quick with."""
    with mock.patch.object(gpu, "TILE", {"BLOCK_Q": 16, "BLOCK_P": 16, "BLOCK_K": 16}):
        yield
