"""The GPU benchmark runs unattended on a machine that is lent for minutes: it must import there, and lose nothing."""

import importlib
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from hybridlib.paths import project_root

# A bare machine lacks these packages.
LACKING = """
import importlib.metadata, sys
from importlib.machinery import PathFinder
lacking = {"pandas", "numba", "datasets", "matplotlib", "pyarrow", "threadpoolctl", "sentence_transformers"}
find = PathFinder.find_spec
def find_spec(name, *given):
    return None if name.partition(".")[0] in lacking else find(name, *given)
PathFinder.find_spec = staticmethod(find_spec)
import gpu
from hybridlib.metric.gpu import counts as kernels
print("imported", sorted(lacking & set(sys.modules)))
"""


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    folders = [str(project_root()), str(project_root() / "benchmarks")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(folders)} | environment
    return subprocess.run([sys.executable, *arguments], env=variables, capture_output=True, text=True, check=False)


@pytest.fixture
def gpu(monkeypatch) -> ModuleType:
    """The benchmark, as a module; it finds others in its folder."""
    monkeypatch.syspath_prepend(project_root() / "benchmarks")
    return importlib.import_module("gpu")


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "gpu.json").write_text('{"rows": []}')
    return tmp_path / "gpu.json"


def rows_of(path: Path) -> list[dict]:
    return json.loads(path.read_text())["rows"]


def test_a_bare_machine_has_all_that_the_metric_part_imports():
    done = run_python("-c", LACKING)
    assert done.stdout == "imported []\n", done.stderr


def test_a_rehearsal_writes_a_row_for_every_contender_and_all_agree(tmp_path):
    path = tmp_path / "gpu.json"
    done = run_python(str(project_root() / "benchmarks/gpu.py"), "--small", "--output", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows_of(path)
    assert not [row for row in found if "skipped" in row or "error" in row]
    assert {row["part"] for row in found} == {"agreement", "metric", "loss", "encoding", "training"}
    assert all(row["agrees"] for row in found if row["part"] == "agreement")
    assert all(row["seconds"] > 0 for row in found if row["part"] != "agreement")
    assert sum(row["part"] == "loss" for row in found) == 10  # five contenders at two sizes


def test_ranks_that_are_wrong_are_found_and_give_exit_code_1(gpu, path, monkeypatch, capsys):
    part = gpu.Part("agreement", path, True)
    wrong = SimpleNamespace(above=-np.ones((6, 3), dtype=int))
    monkeypatch.setattr(gpu.ranks, "relevant_ranks", lambda *given, **options: wrong)
    part.contend("wrong", 12, partial(gpu.compared, part.device, (3, 12, 8), "float32", "ties", "dot"))
    found = rows_of(path)
    monkeypatch.setattr(gpu, "run_all", lambda *given: found)
    assert gpu.main(["--small", "--output", str(path)]) == 1
    assert capsys.readouterr().out.endswith("DISAGREES: agreement, wrong, 12\n")


def interrupt() -> None:
    raise KeyboardInterrupt  # no signal is sent, because a process in the background ignores it


def test_a_contender_that_fails_or_overruns_leaves_the_figures_of_the_others(gpu, path):
    part = gpu.Part("loss", path, True)
    part.limit = 0.2
    part.contend("quick", 10, lambda: part.timed(lambda: time.sleep(0.01))[0])
    part.contend("failing", 10, lambda: 1 / 0)
    part.contend("slow", 10, lambda: part.timed(lambda: time.sleep(9))[0])
    part.contend("slow", 20, lambda: pytest.fail("it is skipped"))
    part.contend("growing", 10, lambda: {"seconds": 0.1})
    part.contend("growing", 20, lambda: pytest.fail("it is skipped"), growth=2)
    with pytest.raises(KeyboardInterrupt):
        part.contend("last", 10, interrupt)
    quick, failing, *skipped = rows_of(path)
    assert quick["seconds"] >= 0.01 and quick["times"] == 1
    assert failing["error"] == "ZeroDivisionError: division by zero"
    assert [row.get("skipped") for row in skipped] == [
        "it took more than 0.2 s", "it did not end well at 10", None, "it would take some 0 s",
        "its part ended before it did",
    ]  # fmt: skip


def end_badly(names: list[str], path: Path, small: bool) -> None:
    """Stand in for the parts, in a process of their own."""
    if names == ["encoding"]:
        time.sleep(999)
    importlib.import_module("gpu").add_row(path, {"part": names[0]})
    if names == ["metric"]:
        os.abort()


def test_a_part_that_crashes_or_hangs_leaves_its_rows_and_the_other_parts_run(gpu, path, monkeypatch):
    monkeypatch.setattr(gpu, "run_parts", end_badly)
    crashed = gpu.run_all([["metric"], ["loss"]], path, True)
    errors = [(row["part"], row.get("error")) for row in crashed]
    assert errors == [("metric", None), ("metric", "ended with exit code -6"), ("loss", None)]
    monkeypatch.setattr(gpu, "LIMIT_OF_PART", 1)
    hung, *others = gpu.run_all([["encoding"], ["loss"]], path, True)[3:]
    assert (hung["part"], hung["error"]) == ("encoding", "ended after 1 s")
    assert {row["part"] for row in others} == {"loss"}  # which may or may not have ended in a second


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_without_cuda_it_says_so_and_exits_with_2(gpu, capsys, tmp_path):
    assert gpu.main(["--output", str(tmp_path / "gpu.json")]) == 2
    assert capsys.readouterr().out.startswith("no CUDA device: there is nothing to measure")
