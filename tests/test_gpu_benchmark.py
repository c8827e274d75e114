"""The GPU benchmark runs unattended on a machine that is lent for minutes: it must import there, and lose nothing."""

import importlib
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from datetime import date
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
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
lacking = {"babel", "pandas", "numba", "datasets", "matplotlib", "pyarrow", "threadpoolctl", "sentence_transformers"}
find = PathFinder.find_spec
def find_spec(name, *given):
    return None if name.partition(".")[0] in lacking else find(name, *given)
PathFinder.find_spec = staticmethod(find_spec)
import gpu, gpu_agreement, gpu_encoder, gpu_metric, gpu_training
from hybridlib.metric.gpu import counts as kernels
print("imported", sorted(lacking & set(sys.modules)))
"""
# What the parts do where pydantic is lacking, too, which the metric needs.
LACKED = (
    LACKING.partition("import gpu,")[0]
    + """
lacking.add("pydantic")
import gpu, pathlib
gpu.run_parts(["encoding", "training", "loss", "metric"], pathlib.Path(sys.argv[1]), True, None)
"""
)


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
def launches(gpu) -> ModuleType:
    return importlib.import_module("launches")


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "gpu.json").write_text('{"rows": []}')
    return tmp_path / "gpu.json"


def rows_of(path: Path) -> list[dict]:
    return json.loads(path.read_text())["rows"]


def test_a_bare_machine_has_all_that_the_parts_import():
    done = run_python("-c", LACKING)
    assert done.stdout == "imported []\n", done.stderr


def test_what_is_not_installed_is_skipped_with_a_reason_and_the_rest_is_timed(path):
    done = run_python("-c", LACKED, str(path))
    assert not done.returncode, done.stderr
    skipped = {row["part"]: row["skipped"] for row in rows_of(path) if "skipped" in row}
    lacking = dict.fromkeys(("encoding", "training", "loss"), "sentence_transformers")
    assert skipped == {part: f"{name} is not installed" for part, name in {**lacking, "metric": "pydantic"}.items()}
    products = [row["part"] for row in rows_of(path) if row.get("seconds", 0) > 0]
    assert products == ["encoding", "training"]  # of matrices, which need torch alone


def test_a_rehearsal_writes_a_row_for_every_contender_and_all_agree(gpu, path):
    done = run_python(str(project_root() / "benchmarks/gpu.py"), "--small", "--output", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows_of(path)
    assert not [row for row in found if "skipped" in row or "error" in row]
    assert {row["part"] for row in found} == set(gpu.PARTS)
    assert all(row["agrees"] for row in found if row["part"] == "agreement")
    assert all(row["agrees"] for row in found if row["part"] in ("metric", "host") and "listed" in row)
    assert all(row["seconds"] > 0 for row in found if row["part"] != "agreement")
    assert sum(row["part"] == "loss" for row in found) == 10  # five contenders at two sizes
    goals = importlib.import_module("gpu_goals").GOALS
    for goal in goals:
        of_part = [row for row in found if row["part"] == goal.part and goal.column in row]
        assert any(fnmatchcase(row["contender"], goal.contender) for row in of_part), goal
    assert {goal.size for goal in goals} <= {
        8_000_000,
        4_000_000,
        1 << 20,
        *chain(*(p.sizes for p in gpu.PARTS.values())),
    }
    record = json.loads(path.read_text())
    assert {goal["said"] for goal in record["goals"]} == {"not measured"}  # at these sizes
    assert date.fromisoformat(record["date"]) and record["commit"] and record["device"] == "CPU"


def test_ranks_that_are_wrong_are_found_and_give_exit_code_1(gpu, path, monkeypatch, capsys):
    part, module = gpu.Part("agreement", path, True), importlib.import_module("gpu_agreement")
    wrong = SimpleNamespace(above=-np.ones((6 + 3, 3), dtype=int))
    monkeypatch.setattr(module.ranks, "relevant_ranks", lambda *given, **options: wrong)
    part.contend("wrong", 12, partial(module.compared, part.device, (3, 12, 8), "float32", "ties", "dot"))
    found = rows_of(path)
    monkeypatch.setattr(gpu, "run_all", lambda *given: found)
    assert gpu.main(["--small", "--output", str(path), "--commit", "0123abc"]) == 1
    assert json.loads(path.read_text())["commit"] == "0123abc"
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


def end_badly(names: list[str], path: Path, small: bool, encoder: None) -> None:
    """Stand in for the parts, in a process of their own."""
    if names == ["encoding"]:
        time.sleep(999)
    importlib.import_module("gpu").add_row(path, {"part": names[0]})
    if names == ["metric"]:
        os.abort()


def test_a_part_that_crashes_or_hangs_leaves_its_rows_and_the_other_parts_run(gpu, path, monkeypatch):
    monkeypatch.setattr(gpu, "run_parts", end_badly)
    crashed = gpu.run_all([["metric"], ["loss"]], path, True, None)
    errors = [(row["part"], row.get("error")) for row in crashed]
    assert errors == [("metric", None), ("metric", "ended with exit code -6"), ("loss", None)]
    for name in ("encoding", "loss"):
        monkeypatch.setitem(gpu.PARTS, name, gpu.PARTS[name]._replace(limit=1))
    hung, *others = gpu.run_all([["encoding"], ["loss"]], path, True, None)[3:]
    assert (hung["part"], hung["error"]) == ("encoding", "ended after 1 s")
    assert {row["part"] for row in others} == {"loss"}  # which may or may not have ended in a second


def test_an_error_before_the_contenders_is_told_and_the_next_part_runs(gpu, path, monkeypatch):
    def loss(part, size: int) -> None:
        part.contend("ours", size, lambda: {"seconds": 1.0})

    encoder = SimpleNamespace(encoding=lambda part, size: 1 / 0, loss=loss)
    monkeypatch.setitem(sys.modules, "gpu_encoder", encoder)
    gpu.run_parts(["encoding", "loss"], path, False, None)
    failed, *others = rows_of(path)
    assert (failed["part"], failed["error"]) == ("encoding", "ZeroDivisionError: division by zero")
    assert [row["size"] for row in others] == list(gpu.PARTS["loss"].sizes)


def test_ranks_that_are_not_compared_are_wrong_after_an_error_and_not_if_skipped(gpu, path):
    row = {"part": "agreement", "contender": "float16", "size": 12}
    assert gpu.report(path, [row | {"skipped": "pydantic is not installed"}], 1) == 0
    assert gpu.report(path, [row | {"error": "RuntimeError: out of memory"}], 1) == 1


def test_a_contender_ends_though_what_it_calls_catches_every_exception(gpu, path):
    def stubborn() -> dict:
        while True:
            with suppress(Exception):
                time.sleep(9)

    part = gpu.Part("loss", path, True)
    part.limit = 0.2
    part.contend("stubborn", 10, stubborn)
    assert rows_of(path)[0]["skipped"] == "it took more than 0.2 s"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_without_cuda_it_says_so_and_exits_with_2(gpu, capsys, tmp_path):
    assert gpu.main(["--output", str(tmp_path / "gpu.json")]) == 2
    assert capsys.readouterr().out.startswith("no CUDA device: there is nothing to measure")


def test_all_parts_fit_into_eight_minutes(gpu):
    assert sum(work.limit for work in gpu.PARTS.values()) <= gpu.LIMIT_OF_ALL == 480


def test_unfused_torch_counts_what_the_kernels_do(gpu, path):
    metric = importlib.import_module("gpu_metric")
    corpus = metric.corpus_of(gpu.Part("metric", path, True), 37, relevant=3)
    scores = corpus.queries.double() @ torch.nn.functional.normalize(corpus.passages.double(), dim=1).T  # (Q, P)
    own = scores[corpus.query, corpus.own]  # (N,)
    expected = (scores[corpus.query] > own[:, None] + 1e-12).sum(dim=1)
    for chunk in (5, 37, 100):
        assert metric.unfused(corpus, chunk).tolist() == expected.tolist()


def event(name: str, begin: float, end: float, *, on_gpu: bool, is_user_annotation: bool = False) -> SimpleNamespace:
    """Stand in for an event of torch's profiler."""
    time_range = SimpleNamespace(start=begin, end=end)
    kind = torch.autograd.DeviceType.CUDA if on_gpu else torch.autograd.DeviceType.CPU
    return SimpleNamespace(name=name, time_range=time_range, device_type=kind, is_user_annotation=is_user_annotation)


def test_what_a_gpu_works_is_the_time_that_its_kernels_cover_once(gpu):
    names = ("aten::mm", "cudaLaunchKernel", "cuLaunchKernelEx", "cudaStreamSynchronize", "cudaDeviceSynchronize")
    events = [event(name, 0, 1, on_gpu=False) for name in names]
    events += [event(*span, on_gpu=True) for span in (("mm", 0, 4), ("copy", 2, 5), ("mm", 8, 10))]  # 7 of 10
    events.append(event("the step", 0, 10, on_gpu=True, is_user_annotation=True))
    found = importlib.import_module("gpu_part").asked(SimpleNamespace(events=lambda: events))
    longest = {"mm": 0.006, "copy": 0.003}
    assert found == {"kernels": 3, "busy": 0.7, "longest": longest, "launches": 2, "waits": 1}


def test_a_goal_is_judged_by_the_lowest_figure_of_its_contenders(gpu):
    goals = importlib.import_module("gpu_goals")
    stock = {"part": "encoding", "size": 6_000}
    rows = [stock | {"contender": f"stock encode, {n}", "times": times} for n, times in ((32, 4.5), (128, 3.9))]
    rows.append({"part": "metric", "contender": "float16", "size": 8_000_000, "seconds": 0.028})
    said = {one["goal"]: (one["reached"], one["said"]) for one in goals.judged(rows)}
    assert said.pop("stock encoding of 6,000 texts, beside ours") == (3.9, "missed")
    assert said.pop("counting 8 million passages, float16") == (0.028, "met")
    assert set(said.values()) == {(None, "not measured")} and len(said) == len(goals.GOALS) - 2
    missed = next(one for one in goals.judged(rows) if one["said"] == "missed")
    assert goals.told(missed) == (
        "stock encoding of 6,000 texts, beside ours",
        "3.9 times as long",
        "at least 4.0 times as long",
    )


def test_the_record_is_drawn_without_a_gpu_and_says_where_it_is_from(gpu):
    record = json.loads((project_root() / "benchmarks/gpu.json").read_text())
    figure = importlib.import_module("gpu_figure").figure(record)
    head = figure.get_suptitle()
    assert all(record[name] in head for name in ("device", "date", "commit"))
    titles = " ".join(axes.get_title(loc="left") for axes in figure.axes)
    assert "Counting" in titles and ("Encoding" in titles) == any("tokens_per_s" in row for row in record["rows"])
    with pytest.raises(ValueError, match="no rows to draw"):
        importlib.import_module("gpu_figure").figure(record | {"rows": []})


def test_the_goals_of_the_record_are_judged_by_its_rows(gpu):
    record = json.loads((project_root() / "benchmarks/gpu.json").read_text())
    assert record["goals"] == importlib.import_module("gpu_goals").judged(record["rows"])


def test_operators_are_counted_with_what_they_read_and_write_and_views_are_not(launches):
    numbers, weights, rows = torch.zeros(3, 4), torch.zeros(5, 4), torch.tensor([1, 1, 2])
    count = launches.Count()
    with count.active():
        torch.nn.functional.linear(numbers, weights)  # a product: reads 48 and 80 bytes, writes 60
        numbers.T.reshape(2, 6)[1:].add(1)  # a copy of 48 bytes to 48, and a sum of 24 to 24
        torch.nn.functional.embedding(rows, weights)  # reads 24 and writes 48, which it also reads
        with count.paused():
            numbers + 1
    assert count.row() == {"operators": 4, "waits": 0, "megabytes": 0.0, "dense_gradients": 0}
    assert round(count.total["megabytes"] * 1e6) == 188 + 96 + 48 + 72


def test_what_python_waits_for_and_dense_gradients_of_the_vocabulary_are_counted(launches):
    weights, few = (torch.zeros(words, 2, requires_grad=True) for words in (launches.VOCABULARY, 7))
    count = launches.Count()
    with count.active():
        for table in (weights, few):
            torch.nn.functional.embedding(torch.tensor([1]), table).sum().backward()
        assert not few.any()  # waits
        few.detach().nonzero()  # waits
        few[few[:, 0] > 0]  # waits
        few.tolist(), few.detach().cpu()  # wait
    assert count.total["waits"] == 5
    assert count.total["dense_gradients"] == 1


def test_the_record_of_launches_is_what_is_counted_here(launches):
    record = json.loads((project_root() / "benchmarks/launches.json").read_text())
    rows = launches.rows_of_batch(*launches.drawn())
    kept = [row for row in record["rows"] if row["work"] == rows[0]["work"]]
    assert [row["contender"] for row in kept] == [row["contender"] for row in rows]
    if record["versions"] == launches.versions(*record["versions"]):  # other ones may count otherwise
        assert kept == rows
