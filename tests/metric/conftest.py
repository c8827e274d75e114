"""Fixtures of the tests of the metric."""

import pytest
from slow_ranks import counting


@pytest.fixture(scope="module", params=[False, True], ids=["cpu", "kernels"])
def kernels(request):
    """Count on the CPU, and then with the kernels; says whether with them."""
    with counting(kernels=request.param):
        yield request.param
