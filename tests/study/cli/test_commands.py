"""Tests of `hybridlib train` and `hybridlib evaluate`, which do from a shell what the notebooks do."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from sentence_transformers import SentenceTransformer
from tiny_project import TINY

import hybridlib as hl
from hybridlib.evaluation.pairs import results_of
from hybridlib.study.cli import outputs, train
from hybridlib.study.cli.main import main
from hybridlib.study.cli.outputs import check_room
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.run import Trial
from hybridlib.study.runs import store

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
    # 12,000 tokens of 128 numbers of 4 bytes are 6.1 MB.
    assert said.startswith(f"1 encoders are to be saved in encoders: at most 6.40MB in all.\n1 of 1: {folder.name}\n")
    assert f"Encoder  {folder}\n" in said
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
    assert f"{run.test_name(test)}; before queries: nothing; before passages: nothing\n" in said
    assert store.record_of(run)["tests"][run.test_name(test)]["prompts"] == {"queries": "", "passages": ""}
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


def test_an_encoder_that_another_run_has_left_is_refused_by_what_differs_before_anything_is_trained(
    params, capsys, monkeypatch
):
    arguments = ["train", "--params", str(params), "--select", "strategy=general", "--output", "encoders"]
    assert main(arguments) == 0
    monkeypatch.setattr(store, "train", lambda *given, **named: pytest.fail("trained"))
    values = {**TINY["domain_data"], "training": {**TINY["domain_data"]["training"], "steps": 3}}
    params.write_text(yaml.safe_dump(values))
    assert main(arguments) == 2
    folder = "encoders/strategy=general,fold=-1,seed=0,added=money"
    said = f"error: {folder} was made from something else: steps is 2 there and 3 here. Name another folder or delete"
    assert said in capsys.readouterr().err
    Path(folder, "hybridlib.json").unlink()
    assert main(arguments) == 2
    assert f"{folder} holds 'README.md' but no hybridlib.json, which would say" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "missing", "modules"])
def test_an_encoder_that_was_damaged_since_is_refused_and_not_taken_for_trained(params, capsys, damage):
    arguments = ["train", "--params", str(params), "--select", "strategy=general", "--output", "encoders"]
    assert main(arguments) == 0
    folder = Path("encoders/strategy=general,fold=-1,seed=0,added=money")
    (folder / "README.md").write_text("A card may be completed by hand.")
    assert main(arguments) == 0
    (weights,) = folder.rglob("*.safetensors")
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    else:
        (weights if damage == "missing" else folder / "modules.json").unlink()
    assert main(arguments) == 2
    said = f"error: {folder} is damaged: its files are not those that were saved. Delete it to train it again\n"
    assert capsys.readouterr().err.endswith(said)


def test_of_several_values_of_a_label_any_is_taken(params, monkeypatch):
    trials = QUESTIONS["domain_data"].from_yaml(params).trials()
    chosen = train._selected(trials, ["strategy=general", "strategy=fewer general", "seed=0"])
    assert [name.partition(",")[0] for name in chosen] == ["strategy=general", "strategy=fewer-general"]


def test_labels_that_only_some_trials_have_may_be_selected(params):
    trials = QUESTIONS["domain_data"].from_yaml(params).trials()
    further = Trial({**trials[1].labels, "temperature": 0.5}, trials[1].run)
    assert len(train._selected([*trials, further], ["temperature=0.5"])) == 1


def test_the_disk_that_kept_encoders_take_is_said_and_must_be_there(params, capsys, monkeypatch):
    training = {**TINY["domain_data"]["training"], "keep_encoder": True}
    params.write_text(yaml.safe_dump({**TINY["domain_data"], "training": training}))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=50_000_000))
    monkeypatch.setattr(store, "train", lambda *given, **named: pytest.fail("trained"))
    # Five encoders of 6.4 MB, four of which (the fifth is not trained) are kept in runs/ too: 57.6 MB.
    assert main(["train", "--params", str(params), "--output", "encoders"]) == 2
    assert "has 50.0MB free, too little for the encoders of 57.6MB" in capsys.readouterr().err
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=60_000_000))
    runs = list({trial.run for trial in QUESTIONS["domain_data"].from_yaml(params).trials()})
    said = (
        "5 encoders are to be saved in encoders, and 4 of them in runs/, as keep_encoder asks: at most 57.6MB in all."
    )
    assert check_room(Path("encoders"), runs) == said


@pytest.mark.parametrize(
    ("name", "select", "message"),
    [
        (
            "domain_data",
            "alpha=0.5",
            "select is 'alpha=0.5'; allowed labels: strategy, fold, seed, added",
        ),
        ("domain_data", "seed=7", "select is 'seed=7'; allowed values of seed: ['0']"),
        ("domain_data", "seed=", "select is 'seed='; allowed values of seed: ['0']"),
        ("domain_data", "seed", "select is 'seed'; allowed values of seed: ['0']"),
        ("domain_data", "=", "select is '='; allowed labels: "),
        ("domain_data", "", "select is ''; allowed labels: "),
        ("mine", "seed=0", "params is mine.yaml; allowed are files named batch_ratio.yaml, "),
    ],
)
def test_labels_that_no_trial_has_and_files_that_are_of_no_notebook_are_refused(params, capsys, name, select, message):
    params.rename(f"{name}.yaml")
    assert main(["train", "--params", f"{name}.yaml", "--select", select, "--output", "encoders"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("encoders").exists()


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError])
def test_what_is_wrong_with_the_data_of_runs_is_said_with_the_name_of_their_file(params, capsys, monkeypatch, error):
    def check_data(self):
        raise error("it is too small")

    monkeypatch.setattr(QUESTIONS["domain_data"], "check_data", check_data)
    assert main(["train", "--params", str(params), "--output", "encoders"]) == 2
    assert f"error: {params}: it is too small\n" in capsys.readouterr().err


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Save a static encoder in a folder."""
    folder = tmp_path_factory.mktemp("encoder")
    hl.load_encoder("static", corpus=hl.load_corpus("atlas", languages=["en", "sw"])).save_pretrained(str(folder))
    return folder


def evaluate(saved, *further):
    names = [] if "--task" in further else ["--task", "atlas"]
    names += [] if "--encoder" in further else ["--encoder", str(saved)]
    return main(["evaluate", *names, "--languages", "en", "sw", *further])


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
    assert f"\n{saved}; before queries: 'ask: '; before passages: 'tell: '\n" in said
    assert f"{hl.summarize(expected).loc['monolingual', 'map']:.4f}" in said


def test_the_bias_of_a_smaller_pool_is_said_beside_the_values(saved, capsys):
    assert evaluate(saved, "--pool", "30") == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith("and so map, ndcg, recall and rr upper ones.")
    assert "60 drawn (seed 0) from the other" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pool", "all"], "pool is 'all'; allowed: 'judged', or a whole number"),
        (["--pool", "-1"], "pool is -1; allowed: 'judged', or greater than or equal to 1"),
        (["--pool", "1.5"], "pool is 1.5; allowed: 'judged', or a whole number"),
        (["--pool", "10²"], "pool is '10²'; allowed: 'judged', or a whole number"),
        (["--pool", "9" * 5000], "allowed: 'judged', or a whole number"),
        (["--fold", "9"], "fold is 9; allowed: less than 4"),
        (["--fold", "٣"], "fold is '٣'; allowed: a whole number"),
        (["--measures", "mrr"], "'mrr'"),
        (["--measures", ""], "measures.0 is ''; allowed: a text that is not empty"),
        (["--languages", ""], "languages.2 is ''; allowed: a text that is not empty"),
        (["--max-length", "0"], "max_length is 0; allowed: greater than or equal to 1"),
        (["--precision", "half"], "precision is 'half'; allowed: 'float32' or 'bfloat16'"),
        (["--batch-tokens", "0"], "batch_tokens is 0; allowed: greater than or equal to 1"),
        (["--task", "squad"], "task is 'squad'; allowed: atlas, "),
        (["--task", "atlas+"], "task is 'atlas+'; allowed: atlas, "),
        (["--task", "tatoeba/"], "task is 'tatoeba/'; allowed: atlas, "),
        (["--encoder", ""], "encoder is ''; allowed: a text that is not empty"),
        (["--encoder", "./nowhere"], "encoder is './nowhere'"),
        (["--output", "."], "output is ., which is a folder; allowed: the path of a file"),
        (["--output", "results.csv"], "output is results.csv; allowed: a name that ends in .parquet"),
        (["--output", "no/results.parquet"], "output is no/results.parquet, but there is no folder no; make it first"),
        (["--checkpoint", "file"], "checkpoint is file, but file is a file; allowed: the path of a folder"),
        (["--embeddings", "file/in"], "embeddings is file/in, but "),
    ],
)
def test_bad_arguments_are_refused_before_the_task_is_loaded(saved, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.setattr("hybridlib.study.cli.evaluate.load_task", lambda *given, **named: pytest.fail("loaded"))
    assert evaluate(saved, *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and len(said) < 500


@pytest.mark.parametrize("option", ["--output", "--checkpoint", "--embeddings"])
def test_an_empty_path_is_not_the_folder_here(saved, capsys, option):
    with pytest.raises(SystemExit, match="2"):
        evaluate(saved, option, "")
    assert f"argument {option}: it is empty; allowed: the path of a file or a folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--output", "--checkpoint", "--embeddings"])
def test_a_folder_that_cannot_be_written_is_said_before_the_encoder_is_loaded(
    saved, tmp_path, capsys, monkeypatch, option
):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("hybridlib.training.starts.load_encoder", lambda *given, **named: pytest.fail("loaded"))
    path = tmp_path / "results.parquet"
    assert evaluate(saved, option, str(path)) == 2
    said = f"{option[2:]} is {path}, but nothing can be written to {tmp_path}: Permission denied"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "~nobodyatall/x"], "argument --output: it is '~nobodyatall/x'; allowed: the path of a file or"),
        (["--output", "a" * 300], "argument --output: it is 'aaaa"),
        (["--fold", "0", "--fold", "1"], "argument --fold: it is given twice; allowed: once"),
        (["--" + "x" * 5000], "unrecognized arguments: --xxx"),
        (["--output"], "argument --output: expected one argument"),
    ],
)
def test_what_the_door_refuses_is_named_in_few_words(saved, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        evaluate(saved, *arguments)
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}") and len(said) < 500


@pytest.mark.parametrize("option", ["--output", "--query-prompt", "--encoder"])
def test_bytes_that_are_no_text_are_refused_at_the_door(saved, capsys, option):
    assert evaluate(saved, option, "\udcff") == 2
    assert f"error: argument '\\udcff' after {option!r} is not UTF-8; allowed" in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["", ".", "../params", "a" * 300])
def test_a_profile_that_is_no_name_is_refused(params, capsys, profile):
    assert main(["plan", "--profile", profile]) == 2
    assert capsys.readouterr().err.startswith("error: profile is '")


def test_measures_that_are_named_in_two_places_are_all_taken(saved, capsys):
    assert evaluate(saved, "--measures", "map", "--measures", "recall@1") == 0
    assert "recall@1" in capsys.readouterr().out


def test_an_empty_prompt_is_none_at_all(saved, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "hybridlib.training.starts.load_encoder", lambda name, **options: asked.append(options["prompts"]) or 1 / 0
    )
    for further in ([], ["--query-prompt", ""]):
        with pytest.raises(ZeroDivisionError):
            evaluate(saved, *further)
    assert asked == [{}, {"query": ""}]


def test_of_several_processes_the_first_speaks(monkeypatch, capsys):
    for rank in "10":
        monkeypatch.setenv("RANK", rank)
        outputs.say(f"I am {rank}")
    assert capsys.readouterr().out == "I am 0\n"
