"""Tests of runs: they are computed once, kept whole or not at all, and the same bytes however often they are killed."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import hybridlib as hl
from hybridlib.data.code_switching import code_switch
from hybridlib.study import code, store
from hybridlib.study import run as runs_module
from hybridlib.study.report.results import COLUMNS, read_means, read_questions, write_results
from hybridlib.study.run import Run, Trial
from hybridlib.study.workers import compute_runs

RUN = Run(
    task="atlas",
    corpus="atlas",
    available={"sw": 0.2},
    encoder="static:scratch",
    strategy="hybrid",
    alpha=0.5,
    batch_size=20,
    steps=3,
    temperature=0.05,
    learning_rate=0.01,
    seed=0,
    data_seed=0,
    task_languages=("de", "en"),
)


def changed(run, **settings):
    return Run(**{**run.model_dump(), **settings})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def results():
    """Evaluate a small encoder, so that not every test has to train."""
    task = hl.load_task("atlas", "validation", languages=["en", "sw"])
    return hl.evaluate(hl.load_encoder("static", corpus=hl.load_corpus("atlas", languages=["en", "sw"])), task)


def test_a_run_is_computed_once_and_read_back(folder, monkeypatch):
    compute_runs([RUN])
    assert store.is_finished(RUN)
    found = store.read(RUN)
    assert tuple(found.columns) == COLUMNS
    assert set(store.read(RUN, ["map"]).measure) == {"map"}
    monkeypatch.setattr(store, "compute", lambda run: pytest.fail("computed again"))
    compute_runs([RUN])


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_field_of_a_run_the_code_and_the_versions_are_part_of_its_key(monkeypatch):
    others = [RUN.model_copy(update={name: "another value, of whatever type"}) for name in Run.model_fields]
    keys = {store.key_of(run) for run in (RUN, *others)}
    assert len(keys) == 1 + len(Run.model_fields)
    environment = store.environment()
    for name in environment:
        monkeypatch.setattr(store, "environment", lambda name=name: {**environment, name: "changed"})
        assert store.key_of(RUN) not in keys


def test_prose_reruns_nothing_and_code_that_computes_reruns_all(tmp_path, monkeypatch):
    package = tmp_path / "hybridlib"
    shutil.copytree(Path(code.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "__file__", str(package / "study/code.py"))

    def changes(name, old, new):
        """Tell whether a changed file changes the hash of what computes, and that of all code."""
        path, before = package / name, (code.code_hash(), code.code_hash(computing=False))
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        after = code.code_hash(), code.code_hash(computing=False)
        path.write_text(text, encoding="utf-8")
        return tuple(one != other for one, other in zip(before, after, strict=True))

    assert changes("loss.py", "import math", "# A comment.\nimport math") == (False, False)
    assert changes("loss.py", '"""', '"""Another first word. ') == (False, False)
    assert changes("loss.py", "_TILE = 1 << 24", "_TILE = 1 << 23") == (True, True)
    assert changes("data/sources/files.csv", "sha256", "sha-256") == (True, True)
    assert changes("data/atlas/frames/sw.yaml", "?", "??") == (True, True)
    for name in ("study/report/figures.py", "study/cli/main.py", "study/questions/__init__.py"):
        assert changes(name, "import", "import this\nimport") == (False, True)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("results.parquet", lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:], id="changed"),
        pytest.param("results.parquet", lambda data: data[:-100], id="cut"),
        pytest.param("results.parquet", None, id="gone"),
        pytest.param("run.json", lambda data: data[:50], id="record cut"),
        pytest.param("run.json", None, id="record gone"),
    ],
)
def test_an_altered_or_half_written_run_is_not_trusted(folder, results, name, damage):
    store.keep(RUN, results, None)
    assert store.is_finished(RUN)
    path = store.folder_of(RUN) / name
    whole = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(whole))
    assert not store.is_finished(RUN)
    store.keep(RUN, results, None)
    assert store.is_finished(RUN)
    pd.testing.assert_frame_equal(store.read(RUN)[results.columns], results, check_categorical=False)


def test_a_full_disk_is_said_and_leaves_no_draft(folder, results, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match=r"run .* could not be written: No space left on device; finished runs are kept"):
        store.keep(RUN, results, None)
    assert list(folder.iterdir()) == []


def test_what_killed_processes_left_is_removed_once_it_is_old(folder, results):
    store.keep(RUN, results, None)
    old, young = folder / f".{store.key_of(RUN)}-old", folder / f".{store.key_of(RUN)}-young"
    for draft in (old, young):
        draft.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    compute_runs([RUN])
    assert not old.exists()
    assert young.exists()


def test_a_run_that_fails_stops_the_others_and_is_raised(folder):
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        compute_runs([changed(RUN, encoder="./no-such-folder")])


@pytest.fixture
def asked(monkeypatch):
    """Replace what trains by stand-ins, which return their names and note what they were called with."""
    calls = {name: [] for name in ("starts.load_encoder", "negatives.mine_negatives", "fine_tune.fine_tune")}
    for name, noted in calls.items():
        monkeypatch.setattr(
            f"hybridlib.training.{name}",
            lambda *arguments, _name=name, _noted=noted, **options: _noted.append((arguments, options)) or _name,
        )
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)
    for cached in (runs_module._encoder, runs_module._mined):
        monkeypatch.setattr(runs_module, cached.__name__, cached.__wrapped__)
    return calls


@pytest.mark.parametrize("switched", [False, True])
def test_a_run_trains_what_it_says_on_what_it_says(asked, switched):
    chosen = {"languages": ("de", "en", "sw"), "items": {"money": 150}, "others": 0.8}
    run = changed(RUN, code_switched=switched, seed=3, data_seed=1, **chosen)
    assert run.train() == "fine_tune.fine_tune"
    (((name,), options),) = asked["starts.load_encoder"]
    assert name == RUN.encoder and options["seed"] == 3
    # The tokenizer is that of the whole corpus, whatever is trained on.
    assert options["corpus"].table["query"] == hl.load_corpus("atlas", seed=1).table["query"]
    (((encoder, corpus, settings), _),) = asked["fine_tune.fine_tune"]
    assert encoder == "starts.load_encoder" and settings is run
    told = hl.load_corpus("atlas", available={"sw": 0.2}, seed=1, **chosen)
    if not switched:
        assert corpus.table.to_dict() == told.table.to_dict()
        return
    assert corpus.table.to_dict() == code_switch(told, seed=3).table.to_dict()
    # It has the English texts, many of them with words of other languages, and no others.
    english = told.table.filter(lambda row: row["language"] == "en" and row["passage"])
    assert corpus.languages == ("en",) and len(corpus) == len(english) == 120  # 0.8 of 150
    differing = [old != new for old, new in zip(english["passage"], corpus.table["passage"], strict=True)]
    assert sum(differing) > 90
    changed(run, seed=4).train()
    _, ((_, other, _), _) = asked["fine_tune.fine_tune"]
    assert other.table["passage"] != corpus.table["passage"]  # another seed switches other words


def test_the_settings_of_a_full_size_training_go_where_they_act(folder, asked, monkeypatch):
    monkeypatch.setattr(runs_module, "_validation", "validation on {}".format)
    run = changed(
        RUN, encoder="owner/name", query_prompt="Query: ", document_prompt="Passage: ", max_length=64,
        hard_negatives=True, validation="squadshifts", save_every=7, keep_encoder=True,
    )  # fmt: skip
    store.train(run, progress=True)
    prompts = {"query": "Query: ", "document": "Passage: "}
    options = {"corpus": None, "prompts": prompts, "max_length": 64, "seed": 0}
    assert asked["starts.load_encoder"] == [(("owner/name",), options)]
    (((_, miner), options),) = asked["negatives.mine_negatives"]
    assert miner == "starts.load_encoder" and options == {"seed": 0}
    checkpoints = store.scratch_of(run) / "training"
    options = {"validation": "validation on squadshifts", "checkpoints": checkpoints, "progress": True}
    trained = (("starts.load_encoder", "negatives.mine_negatives", run), options)
    assert asked["fine_tune.fine_tune"] == [trained]


def test_an_encoder_that_is_to_be_kept_is_not_trained_again(folder, monkeypatch):
    run = changed(RUN, keep_encoder=True)
    store.compute(run)
    monkeypatch.setattr("hybridlib.training.fine_tune.fine_tune", lambda *given, **named: pytest.fail("trained again"))
    again = store.measure(run, store.train(run))
    pd.testing.assert_frame_equal(again, store.read(run)[again.columns], check_categorical=False)
    assert not store.scratch_of(run).exists()


def test_a_benchmark_is_evaluated_whole_unless_it_is_trained_on(monkeypatch):
    asked = []
    monkeypatch.setattr("hybridlib.data.load.load_task", lambda *given, **named: asked.append((*given, named)))
    for task, corpus in (("atlas-partial", "atlas"), ("xquad-r", "xquad-r"), ("xquad-r", "squad-translate")):
        changed(RUN, task=task, corpus=corpus, pool=50, task_languages=()).load_task()
        runs_module._task.cache_clear()
    options = {"languages": None, "pool": 50, "seed": 0}
    assert asked == [("atlas-partial", "test", options), ("xquad-r", "test", options), ("xquad-r", None, options)]


def two_trials(results):
    trials = [Trial({"strategy": name, "seed": n}, changed(RUN, seed=n)) for n, name in enumerate("ab")]
    for trial in trials:
        store.keep(trial.run, results, None)
    return trials


def test_all_results_are_written_to_one_file_with_the_labels_of_their_trials(folder, results, tmp_path):
    trials = two_trials(results)
    write_results(tmp_path / "all.parquet", trials)
    together = pd.read_parquet(tmp_path / "all.parquet")
    sizes = together.groupby(["strategy", "seed"], observed=True).size()
    assert sizes.to_dict() == {("a", 0): len(results), ("b", 1): len(results)}
    pd.testing.assert_frame_equal(together[: len(results)][results.columns], results, check_categorical=False)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["all.parquet"]


def test_means_carry_the_labels_of_their_trials_and_a_shared_run_stands_under_each(folder, results):
    trials = two_trials(results)
    means = read_means([*trials, Trial({"strategy": "c", "seed": 0}, trials[0].run)])
    keys = ["query_language", "setting", "passage_language", "measure"]
    assert len(means) == 3 * results.groupby(keys, observed=True).ngroups
    assert list(means.strategy.cat.categories) == ["a", "b", "c"]
    same = [means[means.strategy == name].value.to_numpy() for name in ("a", "c")]
    assert (same[0] == same[1]).all()


def test_the_value_of_a_question_is_its_mean_over_languages(folder, results):
    trials = two_trials(results)
    questions = read_questions(trials, ["map"])
    assert set(questions.measure) == {"map"}
    one = questions.iloc[17]
    of = results[(results.question == one.question) & (results.setting == one.setting) & (results.measure == "map")]
    assert of.query_language.nunique() == 2
    assert one.value == pytest.approx(of.value.mean())
    by_language = read_questions(trials, ["map"], by=("setting", "measure", "query_language"))
    assert len(by_language) == 2 * len(questions)


def test_a_run_that_has_gone_since_is_computed_when_it_is_read(folder, results, monkeypatch):
    monkeypatch.setattr(store, "compute", lambda run: store.keep(run, results, None))
    assert len(store.read(RUN)) == len(results)


COMPUTE = """
import sys
from hybridlib.study.run import Run
from hybridlib.study.workers import compute_runs
if __name__ == "__main__":
    run = Run.model_validate_json(sys.argv[1], strict=False)
    compute_runs([run.model_copy(update={"seed": seed}) for seed in range(5)])
"""


def test_killed_in_the_middle_and_started_again_the_results_are_the_same_bytes(tmp_path):
    """Use `kill -9` while a run trains; the second start computes what is missing."""
    (tmp_path / "compute.py").write_text(COMPUTE)
    command = [sys.executable, str(tmp_path / "compute.py"), RUN.model_dump_json(exclude_defaults=True)]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()

    process = subprocess.Popen(command, cwd=killed, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(killed.glob("runs/[!.]*/run.json")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 1 <= len(list(killed.glob("runs/[!.]*/run.json"))) < 5  # it was in the middle

    files = []
    for folder in (killed, whole):
        subprocess.run(command, cwd=folder, check=True)
        files.append({path.relative_to(folder): path.read_bytes() for path in folder.glob("runs/[!.]*/*")})
    assert files[0] == files[1]
    assert len(files[1]) == 10
