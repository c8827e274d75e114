"""Evaluation of tasks of one's own from the shell; what is wrong with them is said before an encoder is loaded."""

from pathlib import Path

import pandas as pd
import pytest

import hybridlib as hl
from hybridlib.study.cli.main import main

TEXTS = {
    "en": ["rain falls", "snow falls", "sun shines"],
    "sw": ["mvua kubwa", "theluji", "jua linawaka"],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in a folder with a task in BEIR's layout in two languages."""
    monkeypatch.chdir(tmp_path)
    for code, texts in TEXTS.items():
        folder = Path("own") / code
        (folder / "qrels").mkdir(parents=True)
        for name in ("corpus", "queries"):
            lines = [f'{{"_id": "{n}", "text": "{text}"}}\n' for n, text in enumerate(texts)]
            (folder / f"{name}.jsonl").write_text("".join(lines))
        judged = "query-id\tcorpus-id\tscore\n" + "".join(f"{n}\t{n}\t1\n" for n in range(3))
        (folder / "qrels/test.tsv").write_text(judged)
    return tmp_path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Save a static encoder in a folder."""
    folder = tmp_path_factory.mktemp("encoder")
    hl.load_encoder("static", corpus=hl.load_corpus("atlas", languages=["en", "sw"])).save_pretrained(str(folder))
    return str(folder)


def evaluate(encoder, task, *further):
    return main(["evaluate", "--encoder", encoder, "--task", task, *further])


def test_folders_of_two_languages_become_a_table_of_every_setting(here, encoder, capsys):
    assert evaluate(encoder, "beir:own", "--parallel", "--output", "results.parquet") == 0
    said = capsys.readouterr().out
    assert said.startswith("beir:own: 6 queries, 6 passages, en, sw\n")
    task = hl.read_beir({code: f"own/{code}" for code in TEXTS}, parallel=True)
    expected = hl.evaluate(hl.load_encoder(encoder), task)
    pd.testing.assert_frame_equal(pd.read_parquet("results.parquet"), expected, check_categorical=False)
    means = hl.summarize(expected)
    assert list(means.index) == ["monolingual", "cross-lingual", "multilingual"]
    assert said.rstrip().endswith(f"{means.loc['multilingual', 'rank_distance']:.4f}")
    assert f"{means.loc['cross-lingual', 'map']:.4f}" in said


def test_a_folder_of_one_language_and_options_of_the_reader_are_taken(here, encoder, capsys):
    with Path("own/sw/qrels/test.tsv").open("a") as file:
        file.write("0\t9\t1\n")
    assert evaluate(encoder, "beir:own/sw", "--language", "sw") == 2
    assert "own/sw/qrels/test.tsv, line 5: passage '9' does not exist" in capsys.readouterr().err
    options = ["--language", "sw", "--missing", "drop", "--split", "test", "--ignore-identical-ids", "--pool", "1"]
    # Every query has the id of its passage, so nothing is relevant but what is dropped.
    assert evaluate(encoder, "beir:own/sw", *options) == 2
    assert "at least one pair with a relevance above 0" in capsys.readouterr().err
    options.remove("--ignore-identical-ids")
    assert evaluate(encoder, "beir:own/sw", *options) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith("means of map, ndcg, recall and rr are upper bounds of its.")


def test_an_encoder_that_could_not_be_found_is_said_before_the_data_are_read(here, capsys, monkeypatch):
    monkeypatch.setattr("hybridlib.study.cli.evaluate.load_named", lambda *given, **named: pytest.fail("read"))
    assert evaluate("nowhere", "beir:own", "--parallel") == 2
    assert capsys.readouterr().err.startswith("error: encoder is 'nowhere'; it is neither static:scratch")


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("beir:own", [], "parallel is None; allowed for several languages: True if"),
        ("beir:own", ["--no-parallel", "--language", "en"], "language is 'en'; allowed for several folders: None"),
        ("beir:own", ["--parallel", "--languages", "de"], "languages: 'de' is not in own; allowed: en, sw"),
        ("beir:own/en", ["--language", "en", "--parallel"], "parallel is True; allowed for a single folder: None"),
        ("beir:own/en", [], "own/en/queries.jsonl, line 1: 'language' is missing"),
        ("beir:own/en", ["--language", "en", "--split", "dev"], "own/en/qrels/dev.tsv does not exist"),
        ("beir:own/en", ["--language", "all"], "language is 'all'; allowed: the code of a language"),
        (
            "beir:own/en",
            ["--language", "e n"],
            "language is 'e n'; allowed: the code of a language, without white",
        ),
        ("pairs:own", [], "own is a folder; allowed: files, or a pattern such as own/*.jsonl"),
        ("beir:own/en", ["--language", "en", "--missing", "keep"], "missing is 'keep'; allowed: 'refuse' or 'drop'"),
        ("beir:own/en", ["--language", "en", "--fold", "1"], "fold is 1; allowed for beir:own/en: None"),
        ("beir:nowhere", ["--language", "en"], "nowhere does not exist; expected a folder with corpus.jsonl"),
        ("beir:", [], "task is 'beir:'; allowed: beir:..., trec:..."),
        ("bier:own", [], "task is 'bier:own'; allowed: atlas, "),
        ("trec:own/en", ["--language", "en"], "own/en has no file topics.*"),
        ("atlas", ["--language", "en"], "language is 'en'; allowed for atlas: None"),
        ("atlas", ["--parallel"], "parallel is True; allowed for atlas: None"),
        ("atlas", ["--ignore-identical-ids"], "ignore_identical_ids is True; allowed for atlas: None"),
    ],
)
def test_what_is_wrong_is_said_before_an_encoder_is_loaded(here, capsys, monkeypatch, task, arguments, message):
    monkeypatch.setattr("hybridlib.training.starts.load_encoder", lambda *given, **named: pytest.fail("loaded"))
    assert evaluate("static", task, *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and len(said) < 500
