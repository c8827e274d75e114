"""Tests of the explorer's parameters, of the encoders it finds or trains, and of its panels."""

import shutil
from pathlib import Path

import pytest
import yaml

from hybridlib.paths import params_path, runs_path
from hybridlib.study.explorer import answers, widgets
from hybridlib.study.explorer import params as params_module
from hybridlib.study.explorer.answers import Asked
from hybridlib.study.explorer.params import ExplorerParams
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.runs import store
from hybridlib.study.runs.keys import key_of

EMBEDDED = yaml.safe_load(params_path("embedded", "explorer").read_text(encoding="utf-8"))
CODES = ["ar", "en", "sw"]
TINY = {
    **EMBEDDED, "profile": "tiny", "languages": CODES, "batch_languages": CODES, "strategies": ["x-x", "hybrid"],
    "training": {**EMBEDDED["training"], "batch_size": 20, "steps": 2},
}  # fmt: skip


@pytest.mark.parametrize("profile", ["embedded", "xquad-r"])
def test_every_parameter_file_is_sound(profile):
    params = ExplorerParams.from_yaml(params_path(profile, "explorer"))
    assert params.profile == profile and (params.runs() or params.encoders)
    assert all(run.keep_encoder for run in params.runs())


def test_its_encoders_are_those_of_the_batch_ratio_question_so_nothing_is_trained_twice():
    question = QUESTIONS["batch_ratio"].from_yaml(params_path("embedded", "batch_ratio"))
    own = ExplorerParams.from_yaml(params_path("embedded", "explorer")).runs()
    assert len(own) == 4 and {key_of(run) for run in own} <= {key_of(run) for run in question.runs()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 1]}, r"seeds is \[0, 1\] and folds is \[\]; allowed: one seed, at most one fold"),
        ({"strategies": []}, "strategies and encoders are empty; allowed: one or more of either"),
        ({"strategies": ["x-z"]}, "strategies.0 is 'x-z'; "),
        ({"encoders": {"hybrid": "static:scratch"}}, "the label 'hybrid' is that of a strategy"),
        ({"encoders": {"mine": "./nowhere"}}, "encoders is .*it is neither static:scratch, "),
        ({"language": "xx"}, r"language has 'xx'; allowed: \['ar', "),
        ({"languages": ["en", "fi"], "batch_languages": ["en", "fi"]}, r"language has 'sw'; allowed: \['en', 'fi'\]"),
        ({"batch_languages": ["en"]}, "batch_languages is .*at least 2"),
        ({"batch_languages": ["en", "it"]}, r"batch_languages has 'it'; allowed: \['ar', "),
        ({"questions": 100}, "questions is 100; allowed: less than or equal to 9"),
        ({"questions": 1}, "questions is 1; allowed: greater than or equal to 2"),
        ({"k": 0}, "k is 0; allowed: greater than or equal to 1"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(changes, message):
    with pytest.raises(ValueError, match=message):
        ExplorerParams(**{**EMBEDDED, **changes})


@pytest.fixture(scope="module")
def project(quickly, tmp_path_factory: pytest.TempPathFactory):
    """A project folder in which the encoders are trained, and the shelves of its task."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params").mkdir()
    (folder / "notebooks").mkdir()
    params = ExplorerParams(**TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for run in params.runs():
            store.compute(run)
        shelves = answers.embed_all(params.load_encoders(), params.load_task())
        yield params, shelves


def test_encoders_that_were_trained_and_kept_are_found_again(project, monkeypatch):
    params, shelves = project
    monkeypatch.setattr(store.Run, "train", lambda *given, **named: pytest.fail("trained again"))
    again = params.load_encoders()
    assert [*again] == ["x-x", "hybrid"]
    for label, encoder in again.items():
        embedded = answers.Shelf.embed(encoder, params.load_task())
        assert (embedded.passages == shelves[label].passages).all()
    assert (shelves["x-x"].passages != shelves["hybrid"].passages).any()


def test_a_kept_encoder_that_is_damaged_is_named_with_what_to_do(project, tmp_path):
    params, _ = project
    weights = runs_path() / key_of(params.runs()[0]) / "model.safetensors"
    weights.rename(tmp_path / "weights")
    with pytest.raises(ValueError, match=rf"{weights.parent.name}' .*damaged.*; delete this folder to train it again"):
        params.load_encoders()
    (tmp_path / "weights").rename(weights)


def test_encoders_at_hand_come_first_and_may_be_all(project, tmp_path):
    params, _ = project
    shutil.copytree(runs_path() / key_of(params.runs()[0]), tmp_path / "mine")
    both = ExplorerParams(**{**TINY, "encoders": {"mine": str(tmp_path / "mine")}})
    assert [*both.load_encoders()] == ["mine", "x-x", "hybrid"]
    alone = ExplorerParams(**{**TINY, "strategies": [], "encoders": {"mine": str(tmp_path / "mine")}})
    assert [*alone.load_encoders()] == ["mine"] and not alone.runs()


def test_what_cannot_be_shown_is_refused_before_anything_is_trained(project, monkeypatch, tmp_path):
    monkeypatch.setattr(params_module, "compute_runs", lambda *given: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"question is 'nowhere'; allowed in sw: \['"):
        ExplorerParams(**{**TINY, "query": "nowhere"}).check_data()
    (tmp_path / "config.json").touch()
    params = ExplorerParams(**{**TINY, "encoders": {"mine": str(tmp_path)}})
    (tmp_path / "config.json").unlink()
    with pytest.raises((ValueError, FileNotFoundError), match="encoder"):
        params.load_encoders()


def test_the_task_and_the_batches_are_in_the_languages_asked_for(project):
    params, _ = project
    assert params.load_task().languages == CODES
    assert list(params.load_batch_corpus().languages) == CODES


def controls(panel):
    """Return the widgets of a panel that have a description, by it."""
    found = {}
    for widget in getattr(panel, "children", ()):
        found |= controls(widget)
        if getattr(widget, "description", ""):
            found[widget.description] = widget
    return found


def test_a_change_of_language_asks_the_same_question_and_is_answered_once(project, monkeypatch):
    params, shelves = project
    calls = []
    answer = widgets.answer_html
    monkeypatch.setattr(widgets, "answer_html", lambda *given: calls.append(given) or answer(*given))
    panel = widgets.answer_panel(shelves, language="sw", question=params.query)
    chosen, shown = controls(panel), panel.children[-1]
    before = shown.value
    chosen["language"].value = "ar"
    assert chosen["question"].value == params.query and len(calls) == 2
    assert shown.value != before and 'lang="ar" dir="rtl"' in shown.value
    chosen["compare (Ctrl: several)"].value = ()
    assert shown.value == "Choose one or more to compare."


def test_a_change_of_language_is_answered_when_the_first_question_is_asked_too(project):
    _, shelves = project
    panel = widgets.answer_panel(shelves, language="sw")  # the first one, which stays chosen when others are offered
    controls(panel)["language"].value = "en"
    assert 'lang="en" dir="ltr"' in panel.children[-1].value.partition("<ol")[0]


def test_a_choice_of_a_question_or_a_language_takes_the_place_of_an_own_question_and_is_answered_once(
    project, monkeypatch
):
    _, shelves = project
    panel = widgets.answer_panel(shelves, language="en")
    chosen, shown = controls(panel), panel.children[-1]
    calls = []
    answer = widgets.answer_html
    monkeypatch.setattr(widgets, "answer_html", lambda *given: calls.append(given) or answer(*given))
    for name, value in (("language", "sw"), ("question", chosen["question"].options[7][1])):
        chosen["own question"].value = "Who?"
        assert ">Who?</div>" in shown.value
        calls.clear()
        chosen[name].value = value
        assert not chosen["own question"].value and ">Who?</div>" not in shown.value and len(calls) == 1


def test_an_own_question_has_no_ranks_and_no_language(project):
    _, shelves = project
    panel = widgets.answer_panel(shelves, language="en")
    chosen, shown = controls(panel), panel.children[-1]
    assert shown.value.count("<img") == 2
    chosen["own question"].value = "Who?"
    assert shown.value.count("<img") == 1 and '<div lang="" dir="auto"' in shown.value
    html = widgets.answer_html(shelves, Asked("", "Who?"), 3)
    assert html.count("<li") == 6  # three passages of each encoder


def test_the_other_panels_draw_anew_when_something_changes(project):
    params, shelves = project
    for panel, name, value in (
        (widgets.meaning_panel(shelves, language="en", questions=2), "questions", 3),
        (widgets.batch_panel(params.load_batch_corpus()), "alpha", 1.0),
        (widgets.batch_panel(params.load_batch_corpus()), "seed", 1),
    ):
        before = panel.children[-1].value
        controls(panel)[name].value = value
        assert panel.children[-1].value != before


def test_opening_a_panel_leaves_no_figure_open(project):
    import matplotlib.pyplot as plt

    _, shelves = project
    widgets.meaning_panel(shelves, language="en", questions=2)
    assert not plt.get_fignums()
    assert not list(Path.cwd().glob("figures/*"))
