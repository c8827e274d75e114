"""Tests of the processes that compute runs: how many there are, and what becomes of the others when one fails."""

import queue
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from small_runs import FURTHER, RUN, TEST, changed

from hybridlib.study import workers
from hybridlib.study.runs import store
from hybridlib.study.workers import compute_runs, runs_per_gpu


def test_a_run_that_fails_stops_the_others_and_is_raised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        compute_runs([changed(RUN, encoder="./no-such-folder")], "embedded")


@pytest.mark.parametrize(("visible", "found"), [("", []), ("-1", []), ("0,2", ["0", "2"])])
def test_gpus_are_those_that_are_visible(monkeypatch, visible, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert workers.gpus() == found


@pytest.mark.parametrize(
    ("memory", "cores", "gpus", "expected"),
    [
        (143_771, 16, ["0"], 12),  # an H200, by 11 GiB
        (143_771, 8, ["0"], 8),  # at most the cores
        (143_771, 16, ["0", "1"], 8),  # which two GPUs share
        (24_564, 16, ["0"], 2),
        (8_192, 16, ["0"], 1),
        (0, 16, ["0"], 1),  # nothing tells how much memory there is
    ],
)
def test_small_encoders_are_as_many_on_a_gpu_as_its_memory_and_the_cores_serve(
    monkeypatch, memory, cores, gpus, expected
):
    monkeypatch.delenv("HYBRIDLIB_RUNS_PER_GPU", raising=False)
    monkeypatch.setattr(workers, "_memory", lambda gpu: memory)
    monkeypatch.setattr(workers, "gpus", lambda: gpus)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert runs_per_gpu("0", small=True) == expected
    assert runs_per_gpu("0", small=False) == 1


def test_how_many_runs_a_gpu_computes_can_be_told(monkeypatch):
    monkeypatch.setenv("HYBRIDLIB_RUNS_PER_GPU", "3")
    assert runs_per_gpu("0", small=False) == 3
    monkeypatch.setenv("HYBRIDLIB_RUNS_PER_GPU", "all")
    with pytest.raises(ValueError, match="HYBRIDLIB_RUNS_PER_GPU is 'all'; allowed: 1 or more"):
        runs_per_gpu("0", small=True)


def test_the_memory_of_a_gpu_that_does_not_exist_is_not_known(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert workers._memory("0") == 0


@pytest.mark.parametrize(("encoder", "expected"), [("multilingual-e5-small-4bit", True), ("owner/large", False)])
def test_encoders_that_may_be_large_have_a_gpu_for_themselves(encoder, expected):
    assert changed(RUN, encoder=encoder).is_small is expected


def test_runs_that_share_the_gpus_of_a_machine_share_its_cores(monkeypatch):
    places = queue.Queue()
    places.put(("1", 4))
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr("multiprocessing.parent_process", lambda: pytest.skip)
    monkeypatch.setattr(workers.threading, "Thread", lambda **options: type("Thread", (), {"start": bool}))
    monkeypatch.setattr(workers.gc, "freeze", bool)
    monkeypatch.setattr(workers.signal, "signal", lambda *given: None)
    workers._begin_work(places)
    assert workers.os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert changed(RUN, encoder="owner/large").threads == 4


@pytest.fixture
def in_this_process(monkeypatch):
    """Compute in this process, one after the other."""
    monkeypatch.setattr(workers, "new_pool", lambda threads, small: ThreadPoolExecutor(1))


def test_only_what_is_missing_is_computed_and_runs_that_differ_in_tests_alone_once(
    tmp_path, monkeypatch, in_this_process
):
    monkeypatch.chdir(tmp_path)
    computed = []
    monkeypatch.setattr(store, "is_finished", lambda run: run.seed == 1)
    monkeypatch.setattr(store, "compute", computed.append)
    other = changed(RUN, tests=(FURTHER,))
    compute_runs([RUN, changed(RUN, seed=1), other], "embedded")
    assert computed == [changed(RUN, tests=(TEST, FURTHER))]


def test_a_process_that_is_started_for_work_cannot_be_interrupted_while_it_imports():
    blocked = []
    pool = ThreadPoolExecutor(1)
    pool.submit = lambda *given: blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    workers.submit(pool, bool)
    assert blocked == [{signal.SIGINT}]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
