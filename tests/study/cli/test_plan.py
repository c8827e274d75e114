"""Tests of `hybridlib plan`, which says what a profile takes before anything starts."""

import re

import pytest

from hybridlib.data.load import SOURCES
from hybridlib.paths import params_path
from hybridlib.study.cli import plan
from hybridlib.study.cli.main import main
from hybridlib.study.keys import by_key
from hybridlib.study.questions import QUESTIONS

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


def test_an_encoder_of_unknown_size_is_refused(one, monkeypatch):
    run = PAPER.runs()[0].model_copy(update={"encoder": "owner/name@abc"})
    with pytest.raises(ValueError, match=r"encoder is 'owner/name'; its size is not known; allowed in a plan: F"):
        plan._size(run.encoder)


def test_an_unknown_profile_is_answered_with_those_there_are(capsys):
    assert main(["plan", "--profile", "nowhere"]) == 2
    assert "profiles: e5, embedded, paper" in capsys.readouterr().err


def test_runs_that_are_kept_take_nothing(capsys):
    assert main(["plan", "--profile", "e5"]) == 0
    assert re.search(r"^181 of \d+ runs are kept already, and take nothing\.$", capsys.readouterr().out, re.M)
