"""Tests of `hybridlib plan`, which says what a profile takes before anything starts."""

import re

import pytest

from hybridlib.data.load import SOURCES
from hybridlib.data.sources.source import readable
from hybridlib.paths import params_path
from hybridlib.study.cli import plan
from hybridlib.study.cli.main import main
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.runs.keys import by_key

PAPER = QUESTIONS["batch_ratio"].from_yaml(params_path("paper", "batch_ratio"))


@pytest.fixture
def one(monkeypatch):
    """Let the profile be one notebook under two names, and take away whatever data is here."""
    monkeypatch.setattr(plan, "read_profile", lambda profile: {"one": PAPER, "other": PAPER})
    monkeypatch.delenv("HYBRIDLIB_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: params_path("nowhere", name))


def test_static_encoders_have_runs_and_steps_and_no_hours(capsys):
    assert main(["plan", "--profile", "embedded"]) == 0
    said = capsys.readouterr().out
    known = {name: model.from_yaml(params_path("embedded", name)).runs() for name, model in QUESTIONS.items()}
    steps = sum(run.steps for run in known["batch_ratio"])
    assert re.search(rf"^batch_ratio +{len(known['batch_ratio'])} +{steps:,} +0\.0$", said, re.M)
    every = by_key(run for runs in known.values() for run in runs)  # some are those of several notebooks
    assert len(every) < sum(map(len, known.values())) and re.search(rf"^in all +{len(every)} ", said, re.M)
    assert "nothing is downloaded" in said and "GPU hours are" not in said


def test_a_run_that_two_notebooks_share_is_counted_once(one):
    table = {row.split("  ")[0]: row.split()[-3:] for row in plan.plan("paper").splitlines()[1:4]}
    assert table["one"] == table["other"] == table["in all"]


def test_hours_are_pairs_by_the_measured_rate(one):
    run = PAPER.runs()[0].model_copy(update={"steps": 3600, "batch_size": 100, "hard_negatives": None})
    # With 21 million parameters 12 * 100 * 100 / 36.6 pairs a second are trained; XLM-R has 86 million.
    assert plan._hours(run) == pytest.approx(3600 * 100 / 3600 / (120_000 / 36.6) * 86 / 21)
    assert plan._hours(run.model_copy(update={"hard_negatives": "intfloat/multilingual-e5-small"})) == pytest.approx(
        1.5 * plan._hours(run)
    )
    for nothing in ({"encoder": "static:scratch"}, {"encoder": "bm25"}, {"steps": 0}):
        assert plan._hours(run.model_copy(update=nothing)) == 0


def test_downloads_are_the_files_of_the_sources_that_are_not_here_and_the_encoders(one):
    tasks = {test.task for run in PAPER.runs() for test in run.tests}
    sizes = [file.size or 0 for name in {"squad-translate", "squadshifts", *tasks} for file in SOURCES[name].files]
    assert {run.corpus for run in PAPER.runs()} == {"squad-translate"} and "xquad-r" in tasks
    whole, here, _ = plan._data(PAPER.runs())
    assert (whole, here) == (sum(sizes), 0)


def with_encoder(monkeypatch, encoder, **training):
    changed = PAPER.model_copy(update={"encoder": encoder, "training": PAPER.training.model_copy(update=training)})
    monkeypatch.setattr(plan, "read_profile", lambda profile: {"one": changed})
    return plan.plan("any")


def test_of_an_encoder_of_unknown_size_runs_are_counted_and_it_is_said_what_is_left_out(one, monkeypatch):
    said = with_encoder(monkeypatch, "owner/name@abc", hard_negatives=None)
    row = said.splitlines()[1].split()
    assert int(row[1]) == len(PAPER.runs()) and row[3] == "0.0"
    assert said.endswith(
        "The size of owner/name@abc is not known: the numbers are without its download, disk and hours."
    )


def test_of_an_encoder_in_a_folder_the_files_tell_the_size_and_nothing_is_downloaded(one, monkeypatch, tmp_path):
    (tmp_path / "config.json").touch()
    (tmp_path / "model.safetensors").write_bytes(b"0" * 4_000_000)  # a million parameters
    said = with_encoder(monkeypatch, str(tmp_path), hard_negatives=None)
    steps = int(said.splitlines()[1].split()[2].replace(",", ""))
    hours = steps * PAPER.training.batch_size * 1 / (120_000 / 36.6 * 21) / 3600
    assert float(said.splitlines()[1].split()[3]) == round(hours, 1) > 0
    assert "encoders (0.00B)" in said
    assert said.endswith(f"Of {tmp_path}, all parameters are counted as if each token were multiplied with them.")


def test_the_disk_that_kept_encoders_take_is_said(one, monkeypatch):
    said = with_encoder(monkeypatch, "sentence-transformers/LaBSE", keep_encoder=True)
    trained = sum(run.steps > 0 for run in PAPER.runs())
    # LaBSE has 471 million parameters of 4 bytes; what is not trained is not kept.
    assert f"keep_encoder keeps {trained} encoders in runs/, of {readable(trained * 471e6 * 4)} in all." in said


def test_an_unknown_profile_is_answered_with_those_there_are(capsys):
    assert main(["plan", "--profile", "nowhere"]) == 2
    assert "profiles: e5, embedded, paper" in capsys.readouterr().err


def test_runs_that_are_kept_take_nothing(capsys):
    assert main(["plan", "--profile", "e5"]) == 0
    assert re.search(r"^181 of \d+ runs are kept already, and take nothing\.$", capsys.readouterr().out, re.M)
