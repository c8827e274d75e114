"""Runs: computed once, kept whole or not at all, the same bytes however often they are killed."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import hybridlib as hl
from hybridlib import runs as runs_module

RUN = hl.Run(
    task="atlas",
    corpus="atlas",
    available=(("sw", 0.2),),
    encoder="static:scratch",
    strategy="hybrid",
    alpha=0.5,
    batch_size=20,
    steps=3,
    temperature=0.05,
    learning_rate=0.01,
    seed=0,
    data_seed=0,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def results():
    """What a small evaluation gives, so that not every test has to train."""
    task = hl.load_task("atlas", "validation", languages=["en", "sw"])
    return hl.evaluate(hl.load_encoder("static", corpus=hl.load_corpus("atlas", languages=["en", "sw"])), task)


def test_a_run_is_computed_once_and_read_back(folder, monkeypatch):
    hl.compute_runs([RUN], workers=1)
    assert RUN.finished()
    found = RUN.results()
    assert set(found.columns) == {
        "query_id",
        "query_language",
        "setting",
        "passage_language",
        "measure",
        "value",
        "encoder",
        "alpha",
        "seed",
    }
    monkeypatch.setattr(hl.Run, "compute", lambda run: pytest.fail("computed again"))
    hl.compute_runs([RUN], workers=1)


def test_every_field_of_a_run_the_code_and_the_versions_are_part_of_its_key(monkeypatch):
    other = {
        "task": "xquad-r",
        "corpus": "xquad-r",
        "available": (),
        "encoder": "static:aligned",
        "strategy": "x-y",
        "alpha": 0.6,
        "batch_size": 21,
        "steps": 4,
        "temperature": 0.06,
        "learning_rate": 0.02,
        "seed": 1,
        "data_seed": 1,
    }
    assert set(other) == {field.name for field in dataclasses.fields(hl.Run)}
    keys = {RUN.key()} | {dataclasses.replace(RUN, **{name: value}).key() for name, value in other.items()}
    assert len(keys) == 1 + len(other)
    environment = runs_module._environment()
    for name in environment:
        monkeypatch.setattr(runs_module, "_environment", lambda name=name: {**environment, name: "changed"})
        assert RUN.key() not in keys


def test_the_code_that_computes_is_part_of_the_environment_and_the_code_that_draws_is_not(tmp_path, monkeypatch):
    package = tmp_path / "hybridlib"
    (package / "frames").mkdir(parents=True)
    for path in (Path(runs_module.__file__).parent).glob("*.py"):
        (package / path.name).write_bytes(path.read_bytes())
    (package / "frames" / "en.yaml").write_text("a")
    monkeypatch.setattr(runs_module, "__file__", str(package / "runs.py"))
    before = runs_module.code_hash(), runs_module.code_hash(computing=False)
    (package / "figures.py").write_text("# changed")
    assert runs_module.code_hash() == before[0]
    assert runs_module.code_hash(computing=False) != before[1]
    for name in ("sampler.py", "frames/en.yaml"):
        now = runs_module.code_hash()
        (package / name).write_text("# changed")
        assert runs_module.code_hash() != now


@pytest.mark.parametrize("damage", ["results changed", "results cut", "record gone", "record cut", "results gone"])
def test_an_altered_or_half_written_run_is_not_trusted(folder, results, damage):
    RUN._keep(results)
    assert RUN.finished()
    parquet, record = RUN.folder / "results.parquet", RUN.folder / "run.json"
    if damage == "results changed":
        data = bytearray(parquet.read_bytes())
        data[len(data) // 2] ^= 1
        parquet.write_bytes(data)
    elif damage == "results cut":
        parquet.write_bytes(parquet.read_bytes()[:-100])
    elif damage == "record cut":
        record.write_bytes(record.read_bytes()[:50])
    else:
        (record if damage == "record gone" else parquet).unlink()
    assert not RUN.finished()
    RUN._keep(results)
    assert RUN.finished()
    pd.testing.assert_frame_equal(RUN.results()[results.columns], results, check_categorical=False)


def test_a_full_disk_is_said_and_leaves_no_draft(folder, results, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match=r"run .* could not be written: No space left on device; finished runs are kept"):
        RUN._keep(results)
    assert list(folder.iterdir()) == []


def test_what_killed_processes_left_is_removed_once_it_is_old(folder, results):
    RUN._keep(results)
    old, young = folder / f".{RUN.key()}-old", folder / f".{RUN.key()}-young"
    for draft in (old, young):
        draft.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    hl.compute_runs([RUN])
    assert not old.exists()
    assert young.exists()


def test_a_run_that_fails_stops_the_others_and_is_raised(folder):
    bad = dataclasses.replace(RUN, encoder="./no-such-folder")
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        hl.compute_runs([bad], workers=1)


def test_all_results_are_written_to_one_file_run_by_run(folder, results, tmp_path):
    two = [RUN, dataclasses.replace(RUN, seed=1)]
    for run in two:
        run._keep(results)
    hl.write_results(tmp_path / "all.parquet", two)
    together = pd.read_parquet(tmp_path / "all.parquet")
    assert together.groupby("seed").size().to_dict() == {0: len(results), 1: len(results)}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["all.parquet"]
    means = hl.read_means(two)
    assert (
        len(means)
        == 2 * results.groupby(["query_language", "setting", "passage_language", "measure"], observed=True).ngroups
    )


COMPUTE = """
import dataclasses, json, sys
import hybridlib as hl
if __name__ == "__main__":
    values = json.loads(sys.argv[1])
    values["available"] = tuple(tuple(pair) for pair in values["available"])
    run = hl.Run(**values)
    hl.compute_runs([dataclasses.replace(run, seed=seed) for seed in range(3)], workers=1)
"""


def test_killed_in_the_middle_and_started_again_the_results_are_the_same_bytes(tmp_path):
    """`kill -9` of the process while it trains; the second start computes what is missing."""
    script = tmp_path / "compute.py"
    script.write_text(COMPUTE)
    command = [sys.executable, str(script), json.dumps(dataclasses.asdict(RUN))]
    for name in ("killed", "whole"):
        (tmp_path / name).mkdir()

    process = subprocess.Popen(command, cwd=tmp_path / "killed", start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((tmp_path / "killed").glob("runs/[!.]*/run.json")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list((tmp_path / "killed").glob("runs/[!.]*/run.json")))
    assert 1 <= done < 3  # it was in the middle

    for name in ("killed", "whole"):
        subprocess.run(command, cwd=tmp_path / name, check=True)
    files = {
        name: sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).glob("runs/[!.]*/*"))
        for name in ("killed", "whole")
    }
    assert files["killed"] == files["whole"]
    assert len(files["whole"]) == 6
    for path in files["whole"]:
        assert (tmp_path / "killed" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()
