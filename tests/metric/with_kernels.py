"""Counts by the kernels: in Triton's interpreter on the CPU, and compiled where there is a GPU; for tests."""

from contextlib import contextmanager
from unittest import mock

from slow_ranks import DEVICE, DTYPES, check_ranks

from hybridlib.metric import gpu, ranks
from hybridlib.metric.gpu import GpuCounts
from hybridlib.metric.ranks import RankCounter, relevant_ranks

HALVES = DTYPES[:2]


@contextmanager
def counting(with_kernels):
    with mock.patch.object(ranks, "has_kernels", lambda device: with_kernels):
        yield


def on_gpu(*arguments, **options):
    with counting(with_kernels=True):
        return relevant_ranks(*arguments, device=DEVICE, **options).above


def on_cpu(*arguments, **options):
    with counting(with_kernels=False):
        return relevant_ranks(*arguments, **options).above


def gpu_counter(*arguments, **options):
    with counting(with_kernels=True):
        return RankCounter(*arguments, device=DEVICE, **options)


def check_on_gpu(*arguments):
    with counting(with_kernels=True):
        return check_ranks(*arguments, device=DEVICE)


@contextmanager
def spying(name):
    """Watch the calls of a method of GpuCounts, or of a function of its module."""
    owner = GpuCounts if hasattr(GpuCounts, name) else gpu
    with mock.patch.object(owner, name, autospec=True, side_effect=getattr(owner, name)) as spy:
        yield spy
