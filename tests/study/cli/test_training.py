"""Tests of `hybridlib train --corpus`, which trains an encoder on a corpus or on one's own pairs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

import hybridlib as hl
from hybridlib.paths import write_record
from hybridlib.study.cli import outputs
from hybridlib.study.cli.main import main
from hybridlib.study.training import SingleTraining

pytestmark = pytest.mark.usefixtures("quickly")

# What is given unless a test gives another.
SETTINGS = {"--corpus": "pairs.jsonl", "--encoder": "static", "--steps": "3", "--batch-size": "8", "--output": "out"}


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """Write pairs in three languages, of which two lack some items, into an empty folder, the working directory."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    corpus = hl.load_corpus(
        "atlas", languages=["de", "en", "sw"], items={"money": 60}, available={"sw": 0.5, "de": 0.8}
    )
    rows = [
        {name: row[name] for name in ("item", "language", "query", "passage")} for row in corpus.table if row["query"]
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("few.jsonl").write_text(json.dumps(rows[0]) + "\n")
    return corpus


def command(*further):
    return ["train", *further, *(text for pair in SETTINGS.items() if pair[0] not in further for text in pair)]


def train(*further):
    return main(command(*further))


def weights(folder):
    return load_file(Path(folder) / "model.safetensors")["embedding.weight"]


def test_an_encoder_is_trained_as_by_fine_tune_and_its_card_tells_how(pairs, capsys):
    assert train("--strategy", "hybrid", "--alpha", "0.25", "--licence", "mit", "--seed", "2") == 0
    corpus = hl.read_parallel("pairs.jsonl")
    # 1e-2 is the learning rate of static encoders.
    settings = hl.Training(steps=3, batch_size=8, alpha=0.25, seed=2, learning_rate=1e-2)
    encoder = hl.fine_tune(hl.load_encoder("static", corpus=corpus, seed=2), corpus, settings, progress=False)
    expected = encoder.state_dict()["0.embedding.weight"].numpy()
    np.testing.assert_array_equal(weights("out"), expected)
    assert SentenceTransformer("out", device="cpu").get_embedding_dimension() == 128
    said = capsys.readouterr().out
    assert said.startswith(
        "<ParallelCorpus of 60 items; languages: de 48, en 60, sw 30; datasets: pairs 60>\n3 steps of"
    )
    assert said.endswith("Encoder  out\n")
    card = Path("out/README.md").read_text()
    assert "# static:scratch trained on pairs with hybrid batches (alpha 0.25)\n" in card and "license: mit" in card
    assert "language:\n- de\n- en\n- sw\n" in card
    assert f"### Settings of hybridlib {hl.__version__}\n| setting | value |\n| --- | --- |\n| strategy | `" in card
    assert '| corpus | `"pairs"` |\n' in card and '| languages | `"de, en, sw"` |\n' in card
    assert "| learning_rate | `0.01` |\n" in card and "validation" not in card
    assert sorted(path.name for path in Path().iterdir()) == [
        "cache",
        "few.jsonl",
        "out",
        "pairs.jsonl",
    ]  # nothing else is left


def test_an_encoder_that_is_there_is_not_trained_again_and_that_of_other_settings_is_refused(
    pairs, capsys, monkeypatch
):
    assert train() == 0
    monkeypatch.setattr("hybridlib.training.starts.load_encoder", lambda *given, **named: pytest.fail("loaded"))
    Path(".out-training/checkpoints").mkdir(parents=True)  # left by a kill after the encoder was saved
    assert train() == 0 and not Path(".out-training").exists()
    assert capsys.readouterr().out.endswith("It is there already.\nEncoder  out\n")
    for further, said in (
        (["--alpha", "0.4"], "alpha is 0.5 there and 0.4 here"),
        (["--languages", "en", "sw"], "languages is de, en, sw there and en, sw here; content is another"),
        (["--query-prompt", ""], "query_prompt is None there and '' here"),
    ):
        assert train(*further) == 2
        assert f"out was made from something else: {said}" in capsys.readouterr().err
    lines = Path("pairs.jsonl").read_text().splitlines()
    Path("pairs.jsonl").write_text("\n".join(lines).replace(lines[0], lines[0].replace("?", "?!")))
    assert train() == 2
    assert "out was made from something else: content is another. Name another" in capsys.readouterr().err


def test_the_same_pairs_in_another_format_are_the_same_training(pairs, capsys):
    assert train() == 0
    hl.read_parallel("pairs.jsonl").table.to_parquet("pairs.parquet")
    assert train("--corpus", "pairs.parquet") == 0
    assert "It is there already." in capsys.readouterr().out


def test_a_corpus_is_named_and_an_encoder_may_be_a_folder(pairs):
    assert train("--output", "first") == 0
    assert train("--corpus", "atlas", "--languages", "en", "sw", "--encoder", "first", "--output", "second") == 0
    record = json.loads(Path("second/hybridlib.json").read_text())
    assert record["corpus"] == "atlas" and record["languages"] == "en, sw"
    assert record["learning_rate"] == 0.01  # the encoder in the folder is static
    assert record["encoder"].startswith("sha256:")


def test_the_learning_rate_suits_a_transformer_unless_the_encoder_is_known_to_be_static():
    for encoder, rate in (("owner/name", 5e-5), ("static", 1e-2), ("static:aligned", 1e-2)):
        assert SingleTraining(corpus=("atlas",), encoder=encoder).learning_rate == rate
        assert SingleTraining(corpus=("atlas",), encoder=encoder, learning_rate=0.5).learning_rate == 0.5


def test_the_help_states_the_defaults_in_force(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for text in (
        "batches to train on (default: 200)", "(default: 5e-05, or 0.01 for a static encoder)", "(default: hybrid)",
        "is monolingual (default: 0.5)", "over all processes (default: 100)",
        "a killed training goes on (default: 100)",
    ):  # fmt: skip
        assert text in said


def test_validation_decides_when_to_stop(pairs, capsys):
    validated = ["--steps", "40", "--validation", "pairs.jsonl", "--validate-every", "1", "--patience", "1"]
    assert train(*validated, "--learning-rate", "10") == 0  # so high that no step makes it better
    assert json.loads(Path("out/hybridlib.json").read_text())["validation"]
    assert "'epoch': '0.25'" in capsys.readouterr().out.replace(
        '"', "'"
    )  # 2 steps of 8 pairs, of 60 items in 8 batches


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--alpha", "1.5"], "alpha is 1.5; allowed: less than or equal to 1"),
        (["--alpha", "half"], "alpha is 'half'; allowed: a number"),
        (["--strategy", "x-y", "--alpha", "0.5"], "alpha has no effect on x-y; allowed: hybrid or hybrid-pairs with"),
        (["--strategy", "mixed"], "strategy is 'mixed'; allowed: 'en-en', 'x-x'"),
        (["--steps", "0"], "steps is 0; allowed: greater than or equal to 1"),
        (["--steps", "1e3"], "steps is 1000.0; allowed: a whole number"),
        (["--batch-size", "٣"], "batch_size is '٣'; allowed: a whole number"),
        (["--batch-size", "99"], "batch_size is 99, but a monolingual batch of dataset 'pairs' cannot be filled in de"),
        (["--learning-rate", "nan"], "learning_rate is 'nan'; allowed: a number"),
        (["--learning-rate", "1e999"], "learning_rate is inf; allowed: a finite number"),
        (["--temperature", "0"], "temperature is 0; allowed: greater than 0"),
        (["--precision", "half"], "precision is 'half'; allowed: 'float32' or 'bfloat16'"),
        (["--encoder", "./nowhere"], "encoder is './nowhere'; it is neither static:scratch"),
        (["--encoder", "bm25"], "encoder is 'bm25'; it is neither static:scratch"),
        (["--encoder", "pairs.jsonl"], "encoder is 'pairs.jsonl'; no encoder is saved there"),
        (["--languages", "de", "xx"], "languages: 'xx' is not in source; allowed: de, en, sw"),
        (["--languages", "de"], "strategy 'hybrid' needs items that exist in two languages; dataset 'pairs' has none"),
        (["--languages", ""], "languages.0 is ''; allowed: a text that is not empty"),
        (["--corpus", "atlass"], "corpus is 'atlass'; allowed: atlas, atlas-names, "),
        (["--corpus", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["--corpus", "pairs.jsonl", "pairs.jsonl"], "comes twice in language"),
        (["--validation", "atlass", "--validate-every", "1"], "validation is 'atlass'; allowed: atlas, atlas-names, "),
        (["--corpus", "."], ". is a folder; allowed: files, or a pattern such as *.jsonl"),
        (["--corpus", "atlas", "pairs.jsonl"], "corpus is ['atlas', 'pairs.jsonl']; allowed: 'atlas' alone or joined"),
        (["--patience", "2"], "patience has no effect without validation; allowed: both, or neither"),
        (["--validate-every", "2"], "validate_every has no effect without validation"),
        (["--validation", "pairs.jsonl", "--save-every", "1"], "save_every has no effect with validation"),
        (["--validation", "pairs.jsonl"], "validate_every is 50; allowed: at most 3, the number of steps"),
        (
            ["--validation", "few.jsonl", "--validate-every", "1"],
            "validation: batch_size is 8, but a monolingual batch",
        ),
        (["--output", "pairs.jsonl"], "pairs.jsonl, but "),
        (["--output", "."], "holds 'cache' but no hybridlib.json"),
        (["--output", "/"], "no hybridlib.json"),
        (["--select", "seed=0"], "--select goes with --params, whose file has several trials"),
    ],
)
def test_what_is_wrong_is_refused_before_the_encoder_is_loaded(pairs, capsys, monkeypatch, further, message):
    monkeypatch.setattr("hybridlib.training.starts.load_encoder", lambda *given, **named: pytest.fail("loaded"))
    assert train(*further) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and len(said) < 500
    assert not [path for path in Path().glob("*out*")] + [path for path in Path().glob(".*")]


def test_options_of_one_kind_of_training_are_refused_with_the_other(pairs, capsys):
    assert main(["train", "--params", "x.yaml", "--output", "out", "--batch-size", "8"]) == 2
    assert "error: --batch-size goes with --corpus; with --params, the file has all settings" in capsys.readouterr().err
    for given, said in (
        (["--params", "x.yaml", "--corpus", "atlas"], "argument --corpus: not allowed with argument --params"),
        ([], "one of the arguments --params --corpus is required"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["train", *given, "--output", "out"])
        assert said in capsys.readouterr().err
    assert main(["train", "--corpus", "pairs.jsonl", "--output", "out"]) == 2
    assert "error: 'encoder' is missing\n" in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_said_before_anything_is_trained(pairs, capsys, monkeypatch):
    monkeypatch.setattr("hybridlib.training.starts.load_encoder", lambda *given, **named: pytest.fail("loaded"))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=40_000_000))
    # 6.4 MB of weights, and six times as much for two checkpoints of weights and AdamW's states: 44.8 MB.
    assert train() == 2
    assert "too little for the encoder and its checkpoints of 44.8MB" in capsys.readouterr().err
    assert not Path(".out-training").exists()


def test_a_killed_training_goes_on_and_gives_the_same_weights(pairs, monkeypatch):
    long = ["--steps", "150", "--save-every", "20"]
    assert train(*long, "--output", "whole") == 0
    environment = {**os.environ, "HF_DATASETS_CACHE": "cache", "PYTHONPATH": str(Path(hl.__file__).parents[1])}
    killed = subprocess.Popen([sys.executable, "-m", "hybridlib", *command(*long)], env=environment)
    while killed.poll() is None and not list(Path(".out-training").glob("checkpoints/checkpoint-*/trainer_state.json")):
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert killed.returncode == -9 and not Path("out").exists()
    with monkeypatch.context() as patch:  # what would be another training is refused before the encoder is loaded
        patch.setattr("hybridlib.training.starts.load_encoder", lambda *given, **named: pytest.fail("loaded"))
        assert train(*long, "--alpha", "0.4") == 2
    assert train(*long) == 0
    np.testing.assert_array_equal(weights("out"), weights("whole"))
    assert not Path(".out-training").exists()


def test_a_training_that_fails_before_its_first_checkpoint_leaves_nothing(pairs, capsys):
    assert train("--batch-size", "1") == 2
    assert "batch_size is 1; allowed: 2 or more" in capsys.readouterr().err
    assert not Path(".out-training").exists()


def test_a_training_killed_before_its_first_checkpoint_does_not_refuse_other_settings(pairs):
    write_record(Path(".out-training/hybridlib.json"), {"steps": 9})
    write_record(Path(".out-training/checkpoints/training.json"), {"steps": 9})
    assert train() == 0
    assert not Path(".out-training").exists()


def test_a_folder_of_something_else_in_the_place_of_checkpoints_is_kept(pairs, capsys):
    Path(".out-training").mkdir()
    Path(".out-training/mine.txt").write_text("mine")
    assert train() == 2
    assert ".out-training holds 'mine.txt' but no hybridlib.json" in capsys.readouterr().err
    assert Path(".out-training/mine.txt").exists()


def test_an_encoder_that_could_not_be_saved_is_not_trained_again(pairs, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "save", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train()
    assert not Path("out").exists()
    monkeypatch.setattr("transformers.Trainer.training_step", lambda *given: pytest.fail("trained"))
    assert train() == 0
    assert weights("out").shape[1] == 128
