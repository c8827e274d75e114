"""Runs: computed once, kept whole or not at all, the same bytes however often they are killed."""

import dataclasses
import errno
import json
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
from hybridlib.study import code
from hybridlib.study import run as runs_module
from hybridlib.study.report.results import COLUMNS

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
    task_languages=("de", "en"),
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
    assert tuple(found.columns) == COLUMNS
    assert set(RUN.results(["map"]).measure) == {"map"}
    monkeypatch.setattr(hl.Run, "compute", lambda run: pytest.fail("computed again"))
    hl.compute_runs([RUN], workers=1)


def test_every_field_of_a_run_the_code_and_the_versions_are_part_of_its_key(monkeypatch):
    other = {
        "task": "xquad-r",
        "corpus": "xquad-r",
        "languages": ("en", "sw"),
        "items": (("money", 100),),
        "available": (),
        "others": 0.5,
        "language_temperature": 1.0,
        "task_languages": (),
        "pool": "judged",
        "training": (("weight_decay", 0.1),),
        "measures": ("map",),
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
    environment = runs_module.environment()
    for name in environment:
        monkeypatch.setattr(runs_module, "environment", lambda name=name: {**environment, name: "changed"})
        assert RUN.key() not in keys


def test_prose_reruns_nothing_and_code_that_computes_reruns_all(tmp_path, monkeypatch):
    package = tmp_path / "hybridlib"
    shutil.copytree(Path(code.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "__file__", str(package / "study/code.py"))

    def changes(name, old, new):
        """Whether a changed file changes the hash of what computes, and that of all code."""
        path, before = package / name, (code.code_hash(), code.code_hash(computing=False))
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        after = code.code_hash(), code.code_hash(computing=False)
        path.write_text(text, encoding="utf-8")
        return tuple(one != other for one, other in zip(before, after, strict=True))

    assert changes("loss.py", "    # Not minus infinity", "    # No infinity") == (False, False)  # a comment
    assert changes("loss.py", '"""The InfoNCE loss of every query', '"""Another docstring') == (False, False)
    assert changes("loss.py", "_TILE = 1 << 24", "_TILE = 1 << 23") == (True, True)
    assert changes("data/sources/files.csv", "sha256", "sha-256") == (True, True)
    assert changes("data/atlas/frames/sw.yaml", "?", "??") == (True, True)
    for name in ("study/report/figures.py", "study/cli/main.py", "study/questions/__init__.py"):
        assert changes(name, "import", "import this\nimport") == (False, True)


@pytest.mark.parametrize("damage", ["results changed", "results cut", "record gone", "record cut", "results gone"])
def test_an_altered_or_half_written_run_is_not_trusted(folder, results, damage):
    RUN.keep(results, None)
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
    RUN.keep(results, None)
    assert RUN.finished()
    pd.testing.assert_frame_equal(RUN.results()[results.columns], results, check_categorical=False)


def test_a_full_disk_is_said_and_leaves_no_draft(folder, results, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match=r"run .* could not be written: No space left on device; finished runs are kept"):
        RUN.keep(results, None)
    assert list(folder.iterdir()) == []


def test_what_killed_processes_left_is_removed_once_it_is_old(folder, results):
    RUN.keep(results, None)
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


@pytest.mark.parametrize("strategy", ["hybrid", "code-switch"])
def test_a_run_trains_what_it_says_on_what_it_says(monkeypatch, strategy):
    asked = []
    monkeypatch.setattr(
        "hybridlib.training.starts.load_encoder", lambda name, corpus, seed, **rest: (name, corpus, seed)
    )
    monkeypatch.setattr(
        "hybridlib.training.fine_tune.fine_tune", lambda *arguments, **options: asked.append((arguments, options))
    )
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)
    runs_module._encoder.cache_clear()
    languages = ("de", "en", "sw")
    run = dataclasses.replace(
        RUN, strategy=strategy, alpha=1.0, languages=languages, items=(("money", 150),), others=0.8, seed=3, data_seed=1
    )
    run.train()
    runs_module._encoder.cache_clear()
    ((encoder, corpus), options) = asked[0]
    assert encoder[0] == RUN.encoder and encoder[2] == 3
    # The tokenizer is of the whole corpus, whatever is trained on.
    assert encoder[1].table["query"] == hl.load_corpus("atlas", seed=1).table["query"]
    told = hl.load_corpus("atlas", languages=languages, items={"money": 150}, available={"sw": 0.2}, others=0.8, seed=1)
    names = ("alpha", "batch_size", "steps", "temperature", "learning_rate", "language_temperature", "seed")
    expected = {name: getattr(run, name) for name in names} | {"progress": False}
    if strategy == "hybrid":
        assert options == expected | {"strategy": "hybrid"}
        assert corpus.table.to_dict() == told.table.to_dict()
        return
    assert options == expected | {"strategy": "en-en"}
    assert corpus.table.to_dict() == hl.code_switch(told, seed=3).table.to_dict()
    # The English texts, many of them with words of other languages, and no others.
    english = told.table.filter(lambda row: row["language"] == "en" and row["passage"])
    assert corpus.languages == ("en",) and len(corpus) == len(english) == 120  # 0.8 of 150
    changed = [old != new for old, new in zip(english["passage"], corpus.table["passage"], strict=True)]
    assert sum(changed) > 90
    # Another seed switches other words.
    dataclasses.replace(run, seed=4).train()
    runs_module._encoder.cache_clear()
    assert asked[1][0][1].table["passage"] != corpus.table["passage"]


def test_the_settings_of_a_full_size_training_go_where_they_act(folder, monkeypatch):
    asked = {}

    def note(name, value):
        def noted(*arguments, **options):
            asked[name] = (arguments, options)
            return value

        return noted

    monkeypatch.setattr("hybridlib.training.starts.load_encoder", note("encoder", "the encoder"))
    monkeypatch.setattr("hybridlib.training.negatives.mine_negatives", note("negatives", "with negatives"))
    monkeypatch.setattr("hybridlib.training.fine_tune.fine_tune", note("training", "trained"))
    monkeypatch.setattr(runs_module, "_validation", note("validation", "held out"))
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)
    runs_module._encoder.cache_clear()
    runs_module._mined.cache_clear()
    training = {
        "query_prompt": "Query: ", "document_prompt": "Passage: ", "max_length": 64, "hard_negatives": True,
        "validation": "squadshifts", "save_every": 7, "patience": 2, "precision": "bfloat16", "keep_encoder": True,
    }  # fmt: skip
    run = dataclasses.replace(RUN, encoder="owner/name", training=tuple(sorted(training.items())))
    assert run.train(progress=True) == "trained"
    runs_module._encoder.cache_clear()
    runs_module._mined.cache_clear()
    prompts = {"query": "Query: ", "document": "Passage: "}
    assert asked["encoder"] == (("owner/name",), {"corpus": None, "prompts": prompts, "max_length": 64, "seed": 0})
    ((_, miner), options) = asked["negatives"]
    assert miner == "the encoder" and options == {"seed": 0}
    assert asked["validation"] == (("squadshifts",), {})
    arguments, options = asked["training"]
    assert arguments == ("the encoder", "with negatives")
    further = {"validation": "held out", "save_every": 7, "patience": 2, "precision": "bfloat16", "progress": True}
    assert options.items() >= further.items()
    assert options["checkpoints"] == run.scratch / "training"
    assert not options.keys() & training.keys() - further.keys()


def test_an_encoder_that_is_to_be_kept_is_not_trained_again(folder, monkeypatch):
    run = dataclasses.replace(RUN, training=(("keep_encoder", True),))
    run.compute()
    monkeypatch.setattr(
        "hybridlib.training.fine_tune.fine_tune", lambda *arguments, **options: pytest.fail("trained again")
    )
    texts = ["Which banknotes?", "Who?"]
    again = run.evaluate(run.train())
    pd.testing.assert_frame_equal(again, run.results()[again.columns], check_categorical=False)
    assert run.train().encode(texts).shape == (2, 128)
    assert not run.scratch.exists()


def test_a_benchmark_is_evaluated_whole_unless_it_is_trained_on(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "hybridlib.data.load.load_task", lambda name, split, **options: asked.append((name, split, options))
    )
    for task, corpus in (("atlas-partial", "atlas"), ("xquad-r", "xquad-r"), ("xquad-r", "squad-translate")):
        dataclasses.replace(RUN, task=task, corpus=corpus, pool=50, task_languages=()).load_task()
        runs_module._task.cache_clear()
    options = {"languages": None, "pool": 50, "seed": 0}
    assert asked == [("atlas-partial", "test", options), ("xquad-r", "test", options), ("xquad-r", None, options)]


def plan_of_two(results):
    plan = [hl.Trial({"strategy": name, "seed": n}, dataclasses.replace(RUN, seed=n)) for n, name in enumerate("ab")]
    for trial in plan:
        trial.run.keep(results, None)
    return plan


def test_all_results_are_written_to_one_file_with_the_labels_of_their_trials(folder, results, tmp_path):
    plan = plan_of_two(results)
    hl.write_results(tmp_path / "all.parquet", plan)
    together = pd.read_parquet(tmp_path / "all.parquet")
    assert together.groupby(["strategy", "seed"], observed=True).size().to_dict() == {
        ("a", 0): len(results),
        ("b", 1): len(results),
    }
    pd.testing.assert_frame_equal(together[: len(results)][results.columns], results, check_categorical=False)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["all.parquet"]


def test_means_carry_the_labels_of_their_trials_and_a_shared_run_stands_under_each(folder, results):
    plan = plan_of_two(results)
    means = hl.read_means([*plan, hl.Trial({"strategy": "c", "seed": 0}, plan[0].run)])
    keys = ["query_language", "setting", "passage_language", "measure"]
    assert len(means) == 3 * results.groupby(keys, observed=True).ngroups
    assert list(means.strategy.cat.categories) == ["a", "b", "c"]
    same = [means[means.strategy == name].value.to_numpy() for name in ("a", "c")]
    assert (same[0] == same[1]).all()


def test_the_value_of_a_question_is_its_mean_over_languages(folder, results):
    plan = plan_of_two(results)
    questions = hl.read_questions(plan, ["map"])
    assert set(questions.measure) == {"map"}
    one = questions.iloc[17]
    of = results[(results.question == one.question) & (results.setting == one.setting) & (results.measure == "map")]
    assert of.query_language.nunique() == 2
    assert one.value == pytest.approx(of.value.mean())
    by_language = hl.read_questions(plan, ["map"], by=("setting", "measure", "query_language"))
    assert len(by_language) == 2 * len(questions)


def test_a_run_that_has_gone_since_is_computed_when_it_is_read(folder, results, monkeypatch):
    monkeypatch.setattr(hl.Run, "compute", lambda run: run.keep(results, None))
    assert len(RUN.results()) == len(results)


COMPUTE = """
import dataclasses, json, sys
import hybridlib as hl
def as_fixed(value):
    return tuple(map(as_fixed, value)) if isinstance(value, list) else value
if __name__ == "__main__":
    values = json.loads(sys.argv[1])
    values = {name: as_fixed(value) for name, value in values.items()}
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
