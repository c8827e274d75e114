"""The benchmark of a GPU runs unattended on a machine that is lent for minutes: it must import, and lose nothing.

What needs the kernels runs in Triton's interpreter, in a process of its own, for it is chosen when Triton is imported.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from hybridlib.paths import project_root

# What a bare machine lacks; scikit-learn, which sentence-transformers needs, needs threadpoolctl.
LACKING = """
import importlib, importlib.metadata, sys
from importlib.machinery import PathFinder
lacking = {"pandas", "numba", "datasets", "matplotlib", "pyarrow", "threadpoolctl"}
find, named = PathFinder.find_spec, importlib.metadata.Distribution.from_name
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in lacking else find(name, path, target)
def from_name(name):
    if name in lacking:
        raise importlib.metadata.PackageNotFoundError(name)
    return named(name)
PathFinder.find_spec, importlib.metadata.Distribution.from_name = staticmethod(find_spec), staticmethod(from_name)
for name in ("metric.ranks", "metric.gpu", "metric.gpu_kernels", "metric.bounds", "metric.arguments"):
    importlib.import_module("hybridlib." + name)
lacking.remove("threadpoolctl")
for name in ("encoder.embed", "encoder.tokens", "encoder.windows", "loss"):
    importlib.import_module("hybridlib." + name)
for name in ("gpu", "gpu_agreement", "gpu_metric", "gpu_encoder", "loss", "encoding"):
    importlib.import_module(name)
print("imported", sorted(lacking & set(sys.modules)))
"""

INTERPRETED = """
import sys, torch
from pathlib import Path
from hybridlib.metric import gpu as gpu_counts, ranks
import gpu_agreement, gpu_metric, on_device
cpu = torch.device("cpu")
for kind in gpu_agreement.KINDS:
    for dtype in gpu_agreement.TYPES:
        case = gpu_agreement.case_of(kind, dtype, (5, 60, 37), 3, cpu, seed=1)
        for similarity in ranks.SIMILARITIES:
            # Not by the kernels: the oracle is right.
            found = gpu_agreement.above_of(case, similarity, None, 1, cpu)
            gpu_agreement.check(kind, gpu_agreement.expected_above(case, similarity), found)
ranks.has_kernels = lambda device: True
part = on_device.Part(cpu, Path(sys.argv[1]) / "part.json", 100.0)
part.attempt("overflow", gpu_agreement.check_overflow, part)
part.attempt("many", gpu_agreement.check_many_scores, part)
corpus = gpu_metric.corpus_of(part, 300, torch.float16)
found = gpu_metric.timed(part, "float16", corpus, gpu_metric.languages_of(300, 2), 1e12)
gpu_metric.beside_unfused(part, corpus, found["above"].sum(axis=1, keepdims=True))
gpu_metric.from_host(part, "float16", corpus, 1e12, True)
gpu_metric.with_tile(part, "small tile", (16, 64, 32, 4, 2), corpus, 1e12)
right = gpu_counts.tensor_core_bound
gpu_counts.tensor_core_bound = lambda *given, **rest: right(*given, **rest) * -300  # nothing is settled
part.attempt("wrong bound", gpu_agreement.check_overflow, part)
"""


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    folders = [str(project_root()), str(project_root() / "benchmarks")]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), **environment}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def gpu(monkeypatch) -> Iterator[SimpleNamespace]:
    """`benchmarks/gpu.py` and `on_device.py`, as modules."""
    monkeypatch.syspath_prepend(project_root() / "benchmarks")
    names = ("measuring", "on_device", "gpu")
    modules = {name: importlib.import_module(name) for name in names}
    yield SimpleNamespace(script=modules["gpu"], **modules)
    for name in names:
        del sys.modules[name]


def test_a_bare_machine_has_all_that_the_benchmark_imports():
    done = run_python(LACKING)
    assert done.stdout == "imported []\n", done.stderr


def test_what_is_compared_and_timed_runs_in_the_interpreter(tmp_path):
    done = run_python(INTERPRETED, str(tmp_path), TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "part.json").read_text())
    rows = {row["name"]: row for row in record["rows"]}
    assert {row["wrong"] for row in rows.values() if "wrong" in row} == {0}
    assert rows["a list that overflows"]["of"] > 0 and rows["more than 2^31 scores in a chunk"]["of"] > 0
    assert rows["float16"]["listed"] >= 4  # of each of four queries at least the relevant passage itself
    assert rows["small tile"]["listed"] == rows["float16"]["listed"]
    assert set(record["shares"]) == {"unfused torch, times as long", "metric from the host, float16, of a copy"}
    # And a count that is wrong is found.
    assert record["failures"] == ["wrong bound"]
    assert "counts are wrong, the first of pair" in rows["wrong bound"]["failed"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_without_cuda_it_says_so_and_exits_with_2(gpu, capsys, tmp_path):
    assert gpu.script.main(["--out", str(tmp_path)]) == 2
    assert capsys.readouterr().out == "no CUDA device: there is nothing to measure\n"
    assert not list(tmp_path.iterdir())


def test_a_part_that_fails_says_so_and_the_others_run(gpu, monkeypatch, tmp_path):
    """Parts are processes of a script that stands in for the benchmark: one ends well, others crash, hang, or fail."""
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(
        "import json, os, sys, time\n"
        "name, folder = sys.argv[2], sys.argv[sys.argv.index('--out') + 1]\n"
        "record = {'rows': [{'name': 'one'}], 'shares': {'x, of a y': {'value': 0.5, 'goal': 0.6}}}\n"
        "if name == 'loss': record['failures'] = ['two']\n"
        "open(f'{folder}/{name}.json', 'w').write(json.dumps(record))\n"
        "if name == 'host': os.abort()\n"
        "if name == 'metric': time.sleep(60)\n"
        "sys.exit(name == 'loss')\n"
    )
    monkeypatch.setattr(gpu.script, "__file__", str(stand_in))
    monkeypatch.setattr(gpu.script, "GRACE", -8.5)
    monkeypatch.setattr(gpu.script, "PARTS", dict.fromkeys(["floors", "metric", "host", "loss"], ("gpu", 10)))
    monkeypatch.setattr(gpu.script, "device_of", lambda: {"name": "none"})
    assert gpu.script.run_all(list(gpu.script.PARTS), tmp_path, small=True) == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert all(part["rows"] == [{"name": "one"}] for part in parts.values())  # nothing computed is lost
    assert {name: part.get("failed") for name, part in parts.items()} == {
        "floors": None,
        "metric": "killed after 2 s",  # 10 - 8.5, rounded
        "host": "ended with exit code -6",
        "loss": None,
    }
    assert gpu.script.failures_of(parts) == [
        "metric: killed after 2 s",
        "host: ended with exit code -6",
        "loss: two",
    ]
    assert (tmp_path / "gpu.png").exists()


def test_a_part_that_raises_keeps_what_it_had_and_why(gpu, monkeypatch, tmp_path, capsys):
    part = gpu.on_device.Part(torch.device("cpu"), tmp_path / "part.json", 100.0)

    def fails(part):
        part.row("one", seconds=1.5)
        part.attempt("two", lambda: 1 / 0)
        assert part.attempt("three", lambda: 3) == 3
        part.attempt("four", lambda: 4, needs=1e9)
        raise SystemExit("no more")

    monkeypatch.setattr(gpu.script, "floors", fails)
    assert gpu.script.alone("floors", part) == 1
    record = json.loads((tmp_path / "part.json").read_text())
    assert [row["name"] for row in record["rows"]] == ["one", "two", "four"]
    assert record["rows"][1]["failed"] == "ZeroDivisionError: division by zero"
    assert record["rows"][2]["left_out"].endswith("s were left")
    assert record["failures"] == ["two"] and record["failed"] == "SystemExit: no more"


def test_parts_are_named_or_numbered(gpu):
    assert [gpu.script.named(part) for part in ("1", "metric", "7")] == ["floors", "metric", "loss"]
    for wrong in ("0", "8", "rates"):
        with pytest.raises(SystemExit, match=f"--parts has '{wrong}'; allowed: floors, agreement, .*, or 1 to 7"):
            gpu.script.named(wrong)
