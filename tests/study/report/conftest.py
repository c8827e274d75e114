"""Fixtures shared by the tests of the report."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def little_garbage() -> Iterator[None]:
    """Hide older garbage from statsmodels, which collects garbage with every correction and would take long."""
    gc.freeze()
    yield
    gc.unfreeze()
