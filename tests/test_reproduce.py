"""The command line: what `make reproduce` calls, on a project folder of its own with a run of seconds."""

import shutil

import nbformat
import pandas as pd
import pytest
import yaml

from hybridlib import reproduce as module
from hybridlib.paths import project_root
from hybridlib.reproduce import main

TINY = {
    "profile": "tiny",
    "task": "atlas",
    "corpus": "atlas",
    "available": {"sw": 0.2},
    "encoders": ["static:scratch"],
    "alphas": [0.0, 1.0],
    "seeds": [0],
    "batch_size": 20,
    "steps": 2,
    "temperature": 0.05,
    "learning_rate": 0.01,
    "data_seed": 0,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with the notebooks of this one and a profile that takes seconds, already reproduced once."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(project_root() / "notebooks", folder / "notebooks")
    (folder / "params" / "tiny").mkdir(parents=True)
    (folder / "params" / "tiny" / "batch_ratio.yaml").write_text(yaml.safe_dump(TINY, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["reproduce", "batch_ratio", "--profile", "tiny"]) == 0
    return folder


@pytest.fixture
def inside(project, monkeypatch):
    monkeypatch.chdir(project)
    return project


def test_it_makes_the_notebook_the_figures_the_results_and_the_findings(project):
    executed = nbformat.read(project / "results/tiny/batch_ratio.ipynb", as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    names = {path.name for path in (project / "figures/tiny").iterdir()}
    assert names == {"batch_ratio-trade_off.png", "batch_ratio-over_alpha.png", "batch_ratio-languages.png"}
    results = pd.read_parquet(project / "results/tiny/batch_ratio.parquet")
    assert set(results.alpha) == {0.0, 1.0}
    assert (project / "results/tiny/batch_ratio.md").read_text().count("\n- ") == 7  # eight claims


def test_a_second_call_computes_nothing_and_says_where_things_are_and_what_was_found(inside, capsys, monkeypatch):
    monkeypatch.setattr(module, "compute_runs", lambda runs: pytest.fail("computed again"))
    monkeypatch.setattr(module, "_execute", lambda *arguments: pytest.fail("executed again"))
    assert main(["reproduce", "batch_ratio", "--profile", "tiny"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Nothing to do")
    for word in (
        "results/tiny/batch_ratio.ipynb",
        "figures/tiny/batch_ratio-trade_off.png",
        "results/tiny/batch_ratio.parquet",
        "Found:",
    ):
        assert word in said


@pytest.mark.parametrize("change", ["figure altered", "results gone", "parameter changed", "notebook changed"])
def test_what_was_altered_is_made_again(inside, monkeypatch, change):
    touched = {
        "figure altered": inside / "figures/tiny/batch_ratio-trade_off.png",
        "results gone": inside / "results/tiny/batch_ratio.parquet",
        "parameter changed": inside / "params/tiny/batch_ratio.yaml",
        "notebook changed": inside / "notebooks/batch_ratio.ipynb",
    }[change]
    kept = touched.read_bytes()
    calls = []
    monkeypatch.setattr(module, "compute_runs", lambda runs: calls.append("runs"))
    monkeypatch.setattr(module, "_execute", lambda *arguments: calls.append("notebook"))
    monkeypatch.setattr(module, "_record", lambda *arguments: calls.append("record"))
    try:
        if change == "results gone":
            touched.unlink()
        elif change == "notebook changed":
            touched.write_bytes(kept.replace(b"# Batch ratio", b"# The batch ratio"))
        else:
            touched.write_bytes(kept + b"\n# changed\n")
        assert (
            main(["reproduce", "batch_ratio", "--profile", "tiny"]) == (2 if change == "results gone" else 0) or calls
        )
    finally:
        touched.write_bytes(kept)
    assert calls == ["runs", "notebook", "record"]


def test_wrong_parameters_are_said_in_a_line_and_nothing_is_computed(inside, capsys, monkeypatch):
    monkeypatch.setattr(module, "compute_runs", lambda runs: pytest.fail("computed"))
    wrong = inside / "params" / "wrong" / "batch_ratio.yaml"
    wrong.parent.mkdir(exist_ok=True)
    for changes, message in (
        ({"profile": "wrong", "alphas": [0.0, 2.0, 1.0]}, "alphas.1 is 2.0"),
        ({}, "profile is 'tiny'; it must be the name of its folder, 'wrong'"),
        ({"profile": "wrong", "batch_size": 1000}, "batch_size is 1000"),
    ):
        wrong.write_text(yaml.safe_dump({**TINY, **changes}))
        assert main(["reproduce", "batch_ratio", "--profile", "wrong"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert message in said
        assert "Traceback" not in said


def test_an_unknown_profile_is_answered_with_those_there_are(inside, capsys):
    assert main(["reproduce", "batch_ratio", "--profile", "paper"]) == 2
    assert "params/paper/batch_ratio.yaml does not exist; profiles with this notebook: tiny" in capsys.readouterr().err


def test_a_cell_that_fails_is_named_and_the_notebook_kept(inside, capsys):
    path = inside / "notebooks" / "batch_ratio.ipynb"
    kept = path.read_bytes()
    book = nbformat.read(path, as_version=4)
    book.cells.insert(1, nbformat.v4.new_code_cell("raise RuntimeError('on purpose')"))
    nbformat.write(book, path)
    try:
        assert main(["reproduce", "batch_ratio", "--profile", "tiny"]) == 1
    finally:
        path.write_bytes(kept)
    said = capsys.readouterr().err
    assert "error: cell 1 of the notebook failed; see" in said
    assert "RuntimeError: on purpose" in said
    assert "on purpose" in (inside / "results/tiny/batch_ratio.ipynb").read_text()
