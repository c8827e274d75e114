"""Fixtures shared by the tests."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the network


@pytest.fixture
def real_data() -> Path:
    """The folder of real public data that HYBRIDLIB_DATA names."""
    folder = os.environ.get("HYBRIDLIB_DATA")
    if not folder:
        pytest.skip("HYBRIDLIB_DATA is not set: tests on real data are left out")
    return Path(folder)


@pytest.fixture(scope="module")
def quickly() -> Iterator[None]:
    """On one thread of the CPU, which is enough; and garbage, which the trainer collects each time, of this module."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.accelerator, "is_available", lambda: False)
        yield
    gc.unfreeze()
    torch.set_num_threads(threads)
