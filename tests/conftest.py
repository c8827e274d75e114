"""Fixtures shared by the tests."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the network


@pytest.fixture
def real_data() -> Path:
    """The folder of real public data that HYBRIDLIB_DATA names."""
    folder = os.environ.get("HYBRIDLIB_DATA")
    if not folder:
        pytest.skip("HYBRIDLIB_DATA is not set: tests on real data are left out")
    return Path(folder)
