"""Tests of how notebooks are executed and kept: the same bytes each time, whole, and without a network."""

import logging
import os
import time

import nbformat
import pandas as pd
import papermill
import pytest
import yaml
from tiny_project import TINY

from hybridlib import paths
from hybridlib.study.cli import execution, notebooks, reproduce


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which a notebook was executed yesterday, and a cell of it failed."""
    monkeypatch.chdir(tmp_path)
    failed = nbformat.v4.new_output("error", ename="RuntimeError", evalue="on purpose", traceback=[])
    write_executed(nbformat.v4.new_code_cell("1 / 0", outputs=[failed], execution_count=3))
    return tmp_path


def write_executed(cell):
    path = paths.executed_path("tiny", "domain_data")
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)


def executed(started):
    """Return a notebook as papermill leaves it: two tables of pandas, times, and an id that is drawn."""
    shown = [pd.DataFrame({"map": [0.5]}).style for _ in range(2)]
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": one._repr_html_(), "text/plain": repr(one)})
        for one in shown
    ]
    cells = [
        nbformat.v4.new_code_cell("steps = 2", metadata={"tags": ["injected-parameters"]}),
        nbformat.v4.new_code_cell("table.style", outputs=outputs, execution_count=1, id="fixed"),
    ]
    for cell in cells:
        cell.metadata |= {"execution": {"iopub.status.busy": started}, "papermill": {"start_time": started}}
    return nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {"start_time": started}})


def test_an_executed_notebook_is_settled_to_the_same_bytes_and_its_tables_stay_apart():
    one, other = (execution.settle(executed(started), None)[0] for started in ("today", "yesterday"))
    text = nbformat.writes(one)
    assert text == nbformat.writes(other)
    assert "today" not in text and " at 0x0>" in text
    assert text.count('<table id=\\"T_0\\"') == text.count('<table id=\\"T_1\\"') == 1
    assert one.cells[1].id == "fixed"
    assert nbformat.writes(execution.settle(one, None)[0]) == text


def test_widgets_whose_names_are_drawn_are_left_out_of_an_executed_notebook():
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "0a1b2c"}, "text/plain": "VBox()"}
    outputs = [nbformat.v4.new_output("display_data", data) for data in (view, {"text/plain": "a table"})]
    cell = nbformat.v4.new_code_cell("panel()", outputs=outputs, execution_count=1)
    book = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {"0a1b2c": {}}}})
    settled = execution.settle(book, None)[0]
    assert "0a1b2c" not in nbformat.writes(settled)
    assert [output.data for output in settled.cells[0].outputs] == [{"text/plain": "a table"}]
    assert settled.cells[0].execution_count == 1


def test_of_a_notebook_that_is_no_question_neither_results_nor_findings_are_asked_for(project, capsys):
    figure = paths.figure_path("tiny", "explorer-batches")
    figure.parent.mkdir(parents=True)
    figure.touch()
    executed = paths.executed_path("tiny", "explorer")
    assert notebooks._products("explorer", "tiny") == [executed, figure]
    assert paths.results_path("tiny", "domain_data") in notebooks._products("domain_data", "tiny")
    reproduce._print_findings("explorer", "tiny")
    assert capsys.readouterr().out == (
        "\nNotebook  results/tiny/explorer.ipynb\nFigure    figures/tiny/explorer-batches.svg\n"
    )


def test_a_parameter_that_a_notebook_lacks_is_handed_over_without_a_word(project, monkeypatch, caplog):
    def execute(*given, **named):
        paths.executed_path("tiny", ".domain_data").touch()
        logging.getLogger("papermill").warning("Passed unknown parameter: pool")
        logging.getLogger("papermill").warning("anything else")
        raise papermill.PapermillExecutionError(0, 1, "", "", "", [])

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    source = paths.params_path("tiny", "domain_data")
    source.parent.mkdir(parents=True)
    source.write_text(yaml.safe_dump(TINY["domain_data"]))
    with pytest.raises(papermill.PapermillExecutionError):
        execution.execute("domain_data", "tiny")
    assert caplog.messages == ["anything else"]


def test_an_error_of_yesterday_is_not_blamed_on_a_notebook_that_was_not_executed(project, capsys):
    before = execution.states("tiny", ["domain_data", "miracl_high_resource"])
    execution.report_failed_cells("tiny", before)
    assert capsys.readouterr().err == ""
    execution.report_failed_cells("tiny", {"domain_data": None})
    assert capsys.readouterr().err == (
        "error: cell 3 of notebooks/domain_data.ipynb failed; see results/tiny/domain_data.ipynb\n"
        "RuntimeError: on purpose\n"
    )


@pytest.mark.parametrize("content", ["", '{"cells": [', "[]", "null", "\x00"])
def test_an_executed_notebook_that_is_not_whole_is_named(project, capsys, content):
    paths.executed_path("tiny", "domain_data").write_text(content)
    execution.report_failed_cells("tiny", {"domain_data": None})
    said = capsys.readouterr().err
    assert said.startswith("error: results/tiny/domain_data.ipynb is not whole: ") and said.count("\n") == 1


def test_half_written_files_of_killed_notebooks_are_removed_and_nothing_else_is(project):
    drafts = [project / f"results/tiny/.{'0a' * 16}.parquet", project / f"figures/tiny/.{'1b' * 16}.svg"]
    others = [project / f"results/tiny/.{'2c' * 16}.md", project / "results/tiny/.gitkeep", project / "figures/tiny/a"]
    for path in drafts + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if path != others[0]:  # it is being written now
            os.utime(path, (time.time() - 100,) * 2)
    execution.sweep("tiny")
    assert not any(path.exists() for path in drafts) and all(path.exists() for path in others)


def test_a_kernel_is_spoken_to_through_files_that_are_gone_afterwards_also_after_a_kill(project):
    with execution._connection("domain_data", "tiny") as config:
        assert config.KernelManager.transport == "ipc"
        folder = paths.Path(config.KernelManager.connection_file).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "left").touch()  # as if it were killed here
        with execution._connection("domain_data", "tiny"):
            assert not (folder / "left").exists()
    assert not folder.exists()


def test_where_paths_are_too_long_for_sockets_a_kernel_is_spoken_to_over_the_loopback(project, monkeypatch):
    monkeypatch.setattr(execution.tempfile, "gettempdir", lambda: str(project / ("long" * 30)))
    with execution._connection("domain_data", "tiny") as config:
        assert not config.KernelManager
    assert not list(project.glob("long*"))


@pytest.mark.parametrize("content", ["null", "[]", "", '{"a', '{"origin": "a", "made": [], "ranks": {}}', "7"])
def test_a_record_that_is_damaged_is_named_and_its_notebook_is_executed_again(project, monkeypatch, caplog, content):
    monkeypatch.setattr(notebooks, "_origin", lambda *given: "a")
    record = paths.record_path("tiny", "domain_data")
    record.write_text(content)
    assert notebooks.is_outdated("domain_data", "tiny", [])
    assert caplog.text.count(f"{record} is not read, and its notebook is executed again: it was cut or altered") == 1
    assert record.exists()


def test_a_folder_that_has_the_name_of_a_record_is_refused_by_name(project, monkeypatch):
    monkeypatch.setattr(notebooks, "_origin", lambda *given: "a")
    record = paths.record_path("tiny", "domain_data")
    record.mkdir()
    with pytest.raises(ValueError, match=r"domain_data\.json is a folder; allowed: a file, so remove it"):
        notebooks.is_outdated("domain_data", "tiny", [])
