"""Tests of `hybridlib train` and `hybridlib evaluate`, which do from a shell what the notebooks do."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from sentence_transformers import SentenceTransformer
from tiny_project import TINY

import hybridlib as hl
from hybridlib.evaluation.pairs import results_of
from hybridlib.study import store
from hybridlib.study.cli import commands
from hybridlib.study.cli.main import main
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.run import Trial

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.fixture
def params(tmp_path, monkeypatch):
    """Write a parameter file of four runs of two steps into an empty folder, and make that the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "domain_data.yaml"
    path.write_text(yaml.safe_dump(TINY["domain_data"]))
    return path


def test_training_saves_the_encoder_with_its_card_and_leaves_the_run_to_the_notebook(params, capsys):
    chosen = ["--select", "strategy=general + domain", "--output", "encoders", "--licence", "apache-2.0"]
    assert main(["train", "--params", str(params), *chosen]) == 0
    (folder,) = Path("encoders").iterdir()
    assert folder.name == "strategy=general-+-domain,fold=-1,seed=0,added=money"
    said = capsys.readouterr().out
    assert said.startswith(f"1 of 1: {folder.name}\n") and f"Encoder  {folder}\n" in said
    trials = QUESTIONS["domain_data"].from_yaml(params).trials()
    (run,) = {trial.run for trial in trials if store.is_finished(trial.run)}
    assert run.items == {"money": 20, "places": 40}
    (test,) = run.tests
    encoder = SentenceTransformer(str(folder), device="cpu")
    results = hl.evaluate(encoder, run.load_task(test))
    kept = results_of(store.read(run, test))
    pd.testing.assert_frame_equal(kept[results.columns], results, check_categorical=False)
    card = (folder / "README.md").read_text()
    assert "license: apache-2.0" in card and "with hybrid batches (alpha 0.5)" in card
    assert "- en\n" in card and "- hybridlib\n" in card and "model-index:" in card
    value = hl.summarize(results).loc["multilingual", "map"]
    assert f"{run.test_name(test)}\n" in said
    assert f"{value:.4f}" in said and f"{value:.4f}".rstrip("0") in card


def test_what_has_nothing_to_train_is_measured_and_not_saved(params, capsys, monkeypatch):
    (trial, *_) = QUESTIONS["domain_data"].from_yaml(params).trials()
    words = Trial(trial.labels, trial.run.model_copy(update={"encoder": "bm25", "steps": 0}))
    monkeypatch.setattr(QUESTIONS["domain_data"], "trials", lambda given: [words])
    assert main(["train", "--params", str(params), "--output", "encoders"]) == 0
    assert capsys.readouterr().out.endswith("There is nothing to save.\n\n")
    assert store.is_finished(words.run) and not Path("encoders").exists()


def test_an_encoder_that_is_there_is_not_trained_again(params, monkeypatch):
    arguments = ["train", "--params", str(params), "--select", "strategy=general", "--output", "encoders"]
    assert main(arguments) == 0
    monkeypatch.setattr(store, "train", lambda *given, **named: pytest.fail("trained again"))
    assert main(arguments) == 0


@pytest.mark.parametrize(
    ("name", "select", "message"),
    [
        (
            "domain_data",
            "alpha=0.5",
            "select is alpha=0.5; allowed: strategy: fewer general, fewer general + domain, general, general + domain",
        ),
        ("domain_data", "seed=7", "select is seed=7; allowed: "),
        ("domain_data", "hybrid", "select is hybrid=; allowed: "),
        ("mine", "seed=0", "params is mine.yaml; allowed are files named batch_ratio.yaml, "),
    ],
)
def test_labels_that_no_trial_has_and_files_that_are_of_no_notebook_are_refused(params, capsys, name, select, message):
    params.rename(f"{name}.yaml")
    assert main(["train", "--params", f"{name}.yaml", "--select", select, "--output", "encoders"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("encoders").exists()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Save a static encoder in a folder."""
    folder = tmp_path_factory.mktemp("encoder")
    hl.load_encoder("static", corpus=hl.load_corpus("atlas", languages=["en", "sw"])).save_pretrained(str(folder))
    return folder


def evaluate(saved, *further):
    return main(["evaluate", "--encoder", str(saved), "--task", "atlas", "--languages", "en", "sw", *further])


def test_evaluation_shows_the_means_and_keeps_the_results(saved, tmp_path, capsys):
    path = tmp_path / "results.parquet"
    settings = ["--precision", "float32", "--batch-tokens", "100", "--measures", "map", "recall@1"]
    prompts = ["--query-prompt", "ask: ", "--document-prompt", "tell: "]
    assert evaluate(saved, *settings, *prompts, "--output", str(path)) == 0
    encoder = hl.load_encoder(str(saved), prompts={"query": "ask: ", "document": "tell: "})
    task = hl.load_task("atlas", languages=["en", "sw"])
    expected = hl.evaluate(encoder, task, measures=["map", "recall@1"])
    pd.testing.assert_frame_equal(pd.read_parquet(path), expected, check_categorical=False)
    said = capsys.readouterr().out
    assert said.startswith(f"atlas: {len(task.queries):,} queries, {len(task.passages):,} passages, en, sw\n")
    assert f"{hl.summarize(expected).loc['monolingual', 'map']:.4f}" in said


def test_the_bias_of_a_smaller_pool_is_said_beside_the_values(saved, capsys):
    assert evaluate(saved, "--pool", "30") == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith("and so map, ndcg, recall and rr upper ones.")
    assert "60 drawn (seed 0) from the other" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pool", "all"], "pool is 'all'; allowed: judged, or how many others of each language"),
        (["--measures", "mrr"], "'mrr'"),
        (["--max-length", "0"], "max_length is 0; allowed for"),
        (["--precision", "half"], "precision is 'half'; allowed: float32, bfloat16"),
        (["--batch-tokens", "0"], "batch_tokens is 0; allowed: 1 or more"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_encoded(saved, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(SentenceTransformer, "encode", lambda *given, **named: pytest.fail("encoded"))
    assert evaluate(saved, *arguments) == 2
    assert message in capsys.readouterr().err


def test_of_several_processes_the_first_speaks(monkeypatch, capsys):
    for rank in "10":
        monkeypatch.setenv("RANK", rank)
        commands._print(f"I am {rank}")
    assert capsys.readouterr().out == "I am 0\n"
