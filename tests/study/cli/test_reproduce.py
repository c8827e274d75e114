"""Tests of what `make reproduce` calls, on a project folder of its own that takes seconds."""

import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pandas as pd
import pytest
import yaml
from small_runs import keep
from tiny_project import TINY

from hybridlib.paths import project_root
from hybridlib.study import workers
from hybridlib.study.cli import commands, execution, jobs, reproduce
from hybridlib.study.cli.main import main
from hybridlib.study.runs import ranks, store

ROOT = project_root()


class Number(int):
    """A number that stands for a run."""

    is_small = True


class Name(str):
    """A text that stands for a run."""

    is_small = True


@pytest.fixture
def inside(reproduced, monkeypatch):
    monkeypatch.chdir(reproduced)
    return reproduced


@pytest.fixture
def nothing_computed(monkeypatch):
    """Fail if a job is started."""
    for module, name in ((jobs, "compute_run"), (execution, "execute")):
        monkeypatch.setattr(module, name, lambda *arguments, **options: pytest.fail("a job was started"))


@pytest.fixture
def light_workers(monkeypatch):
    """Start workers without what is imported for training, which takes seconds."""
    monkeypatch.setattr(workers, "_begin_work", bool)
    yield
    jobs._workers(small=True).shutdown()  # workers stay in the folder they were started in
    jobs._workers.cache_clear()


def write_profile(folder, name, changed, changes):
    """Copy the profile under another name, with changes of one file; return that file."""
    target = folder / "params" / name
    target.mkdir(exist_ok=True)
    for path in (folder / "params/tiny").iterdir():
        further = changes if path.stem == changed else {}
        values = {**yaml.safe_load(path.read_text()), "profile": name, **further}
        (target / path.name).write_text(yaml.safe_dump(values, sort_keys=False))
    return target / f"{changed}.yaml"


@pytest.fixture
def copied(reproduced, tmp_path, monkeypatch):
    """Copy the project folder, to change it, and make the copy the working directory."""
    shutil.copytree(reproduced, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_it_makes_the_notebooks_the_figures_the_results_and_the_findings(reproduced):
    for name in TINY:
        executed = nbformat.read(reproduced / f"results/tiny/{name}.ipynb", as_version=4)
        assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
        assert (reproduced / f"results/tiny/{name}.md").read_text().startswith("Found: ")
    assert {path.name for path in (reproduced / "figures/tiny").iterdir()} == {f"{name}-means.svg" for name in TINY}
    results = pd.read_parquet(reproduced / "results/tiny/domain_data.parquet")
    assert set(results.strategy) >= {"general", "general + domain", "fewer general", "fewer general + domain"}


@pytest.mark.parametrize("named", [[], ["domain_data"]])
def test_a_second_call_computes_nothing_and_says_where_things_are_and_what_was_found(
    inside, capsys, nothing_computed, named
):
    assert main(["reproduce", *named, "--profile", "tiny"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Nothing to do")
    made = ("results/tiny/domain_data.ipynb", "figures/tiny/domain_data-means.svg", "results/tiny/domain_data.parquet")
    assert not [word for word in (*made, "Found:") if word not in said]
    assert ("results/tiny/miracl_high_resource.ipynb" in said) == (not named)


@pytest.mark.parametrize("named", [[], ["domain_data"]])
@pytest.mark.parametrize(
    ("changed", "changes", "message"),
    [
        ("domain_data", {"alpha": 2.0}, "alpha is 2.0"),
        ("miracl_high_resource", {"alpha": "1e-4 "}, "alpha is '1e-4 '; allowed: a number"),
        ("miracl_high_resource", {"alphas": 0.1}, "unknown key 'alphas'; allowed: profile, encoder, task"),
        ("miracl_high_resource", {"profile": "tiny"}, "profile is 'tiny'; it must be the name of its folder, 'wrong'"),
    ],
)
def test_wrong_parameters_in_any_file_are_said_and_nothing_is_computed(
    inside, capfd, nothing_computed, changed, changes, message, named
):
    path = write_profile(inside, "wrong", changed, changes)
    assert main(["reproduce", *named, "--profile", "wrong"]) == 2
    said = capfd.readouterr().err
    assert re.fullmatch(f"error: {re.escape(str(path))}: {message}.*\n", said)


def test_data_that_do_not_fit_are_said_of_every_file_and_nothing_is_computed(
    inside, capfd, nothing_computed, monkeypatch
):
    """Load the data in this process, to wait for no imports; it is loaded before the first job."""
    pool = ThreadPoolExecutor(1)
    monkeypatch.setattr(jobs, "_workers", lambda **options: pool)
    write_profile(inside, "large", "domain_data", {"training": {**TINY["domain_data"]["training"], "batch_size": 1000}})
    other = inside / "params/large/miracl_high_resource.yaml"
    other.write_text(other.read_text().replace("batch_size: 8", "batch_size: 1001"))
    assert main(["reproduce", "--profile", "large"]) == 2
    said = capfd.readouterr().err
    assert "error: params/large/domain_data.yaml: batch_size is 1000, but a monolingual batch" in said
    assert "error: params/large/miracl_high_resource.yaml: batch_size is 1001, but a monolingual batch" in said
    assert "Traceback" not in said


def test_an_altered_file_of_evidence_is_said_in_a_line_and_nothing_is_computed(copied, capfd, nothing_computed):
    folder = copied / "evidence/tiny"
    folder.mkdir(parents=True)
    path = folder / "README.md"
    path.write_text("What is here")
    ranks.write_sums(folder)
    path.write_text("What is hers")
    assert main(["reproduce", "--profile", "tiny"]) == 2
    said = capfd.readouterr()
    assert re.fullmatch(rf"error: {re.escape(str(path))} is refused: it was cut or altered, .*\n", said.err)
    assert said.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["domain_data", "--profile", "paper"], "params/paper/*.yaml does not exist; profiles: "),
        (
            ["domain_date", "--profile", "tiny"],
            "notebook is 'domain_date'; allowed with profile 'tiny': domain_data, miracl",
        ),
        (["--profile", "misnamed"], "domain_date.yaml is named after no notebook; allowed: batch_ratio"),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(inside, capsys, nothing_computed, arguments, message):
    path = write_profile(inside, "misnamed", "domain_data", {})
    path.rename(path.with_name("domain_date.yaml"))
    assert main(["reproduce", *arguments]) == 2
    assert message in capsys.readouterr().err


NOTEBOOK = "notebooks/domain_data.ipynb"


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (NOTEBOOK, "{", "is not JSON: "),
        (NOTEBOOK, "null", "is damaged: it is no notebook with cells"),
        (NOTEBOOK, "{}", "is damaged: it is no notebook with cells"),
        ("results/tiny/domain_data.parquet", None, "is a folder; allowed: a file, so remove it"),
        ("results/tiny/domain_data.json", None, "is a folder; allowed: a file, so remove it"),
        ("runs/{key}.parquet", None, "is a folder; allowed: a file, so remove it"),
    ],
)
def test_damaged_notebooks_and_folders_in_place_of_files_are_named_before_any_work(
    copied, capfd, nothing_computed, path, content, message
):
    key = next(path.stem for path in (copied / "runs").glob("*.parquet"))
    path = copied / path.format(key=key)
    path.unlink()
    path.mkdir() if content is None else path.write_text(content)
    assert main(["reproduce", "--profile", "tiny"]) == 2
    assert re.search(rf"^error: {re.escape(str(path))} {message}", capfd.readouterr().err, re.MULTILINE)


def test_runs_that_are_gone_are_named_and_not_said_to_be_left_out(copied, capsys, monkeypatch, nothing_computed):
    monkeypatch.setenv("HYBRIDLIB_COMPUTE", "0")  # taken back after the test
    path = next((copied / "runs").glob("*.parquet"))
    path.unlink()
    assert main(["reproduce", "--profile", "tiny", "--compute"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Nothing to do") and "left out" not in said
    assert f"1 of 11 runs are no longer in runs/: ['{path.stem}']. What was made from them is there, so they" in said


def test_a_project_that_cannot_be_written_is_said_in_a_line(copied, capsys, monkeypatch, nothing_computed):
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert main(["reproduce", "--profile", "tiny"]) == 2
    said = f"error: the folder of runs is {copied}/runs, but nothing can be written to {copied}/runs: Permission denied"
    assert said in capsys.readouterr().err


def test_outside_of_a_project_it_says_so(inside, capsys, tmp_path, monkeypatch):
    shutil.copytree(inside / "params", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "--profile", "tiny"]) == 2
    assert "workflow/Snakefile does not exist; the working directory must be" in capsys.readouterr().err


def test_a_cell_that_fails_is_named_its_notebook_kept_and_the_others_are_finished(copied, capfd):
    path = copied / "notebooks/domain_data.ipynb"
    book = nbformat.read(path, as_version=4)
    book.cells.insert(1, nbformat.v4.new_code_cell("raise RuntimeError('on purpose')"))
    nbformat.write(book, path)
    other = copied / "results/tiny/miracl_high_resource.json"
    other.unlink()
    assert main(["reproduce", "--profile", "tiny"]) == 1
    said = capfd.readouterr().err
    # The cell of the parameters is the first; the second, which papermill puts after it, has those of the profile.
    assert "error: cell 3 of notebooks/domain_data.ipynb failed; see results/tiny/domain_data.ipynb" in said
    assert "RuntimeError: on purpose" in said
    # Snakemake says "Error in rule" with all inputs, which is a wall of text.
    assert not [word for word in ("Traceback", "Error in rule", "miracl_high_resource") if word in said]
    assert "on purpose" in (copied / "results/tiny/domain_data.ipynb").read_text()
    assert not (copied / "results/tiny/domain_data.json").exists()
    assert other.exists()


def test_a_run_that_fails_is_said_and_the_others_are_finished(copied, capfd, monkeypatch):
    shutil.rmtree(copied / "runs")
    write_profile(copied, "failing", "domain_data", {"training": {**TINY["domain_data"]["training"], "steps": 3}})
    computed = []

    def compute(run, in_worker):
        if run.strategy == "hybrid" and run.items:
            raise RuntimeError("on purpose")
        computed.append(run)
        keep(run)

    monkeypatch.setattr(jobs, "check_data", lambda *arguments: None)
    monkeypatch.setattr(jobs, "compute_run", compute)
    monkeypatch.setattr(execution, "execute", lambda name, profile: (copied / f"results/{profile}/{name}.json").touch())
    assert main(["reproduce", "--profile", "failing"]) == 1
    assert len(computed) == 11 - 4
    assert [path.name for path in (copied / "results/failing").glob("*.json")] == ["miracl_high_resource.json"]
    assert "on purpose" in capfd.readouterr().err


def test_it_ends_quietly_when_what_it_says_is_not_read_to_the_end(inside):
    """Close the output early, as `make reproduce | head` does."""
    command = [sys.executable, "-m", "hybridlib", "reproduce", "--profile", "tiny"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 128 + signal.SIGPIPE


def test_a_killed_worker_is_said_and_does_not_fail_the_runs_after_it(tmp_path, monkeypatch, light_workers):
    monkeypatch.setattr(store, "is_finished", lambda run: False)
    monkeypatch.setattr(store, "compute", os._exit)
    with pytest.raises(RuntimeError, match="a worker was killed from outside"):
        jobs.compute_run(Number(1), in_worker=True)
    monkeypatch.setattr(store, "compute", os.mkdir)
    jobs.compute_run(Name(tmp_path / "run"), in_worker=True)
    assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize(("finished", "expected"), [(True, []), (False, ["the run"])])
def test_a_run_that_is_finished_meanwhile_is_left_alone(monkeypatch, finished, expected):
    computed = []
    monkeypatch.setattr(store, "is_finished", lambda run: finished)
    monkeypatch.setattr(store, "compute", computed.append)
    jobs.compute_run("the run", in_worker=False)
    assert computed == expected


def test_what_other_code_has_computed_is_said_and_read(inside, capsys, monkeypatch, nothing_computed):
    told = re.compile(
        r"\d+ of 11 runs were computed by other code or packages; delete runs/ and results/tiny/ to compute"
    )
    assert main(["reproduce", "--profile", "tiny"]) == 0
    assert not told.search(capsys.readouterr().out)
    here = reproduce.environment()
    monkeypatch.setattr(reproduce, "environment", lambda: {**here, "code": "other"})
    assert main(["reproduce", "--profile", "tiny"]) == 0
    assert told.search(capsys.readouterr().out).group().startswith("11 of 11")


@pytest.mark.parametrize("kept", [True, False])
def test_where_the_home_folder_cannot_be_written_the_project_keeps_what_libraries_cache(tmp_path, monkeypatch, kept):
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR", "IPYTHONDIR", "HF_HOME"):
        monkeypatch.setenv(name, "")  # taken back after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if not kept:
        (tmp_path / "home").touch()
    reproduce._give_caches()
    caches = str(tmp_path / "runs/.cache")
    assert os.environ.get("XDG_CACHE_HOME") == (None if kept else caches)
    assert os.environ.get("IPYTHONDIR") == (None if kept else f"{caches}/ipython")
    assert "HF_HOME" not in os.environ


def test_models_in_a_cache_that_cannot_be_written_are_still_read(tmp_path, monkeypatch):
    (tmp_path / "huggingface").mkdir()
    for name in ("MPLCONFIGDIR", "IPYTHONDIR", "HF_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def full(dir):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(reproduce.tempfile, "TemporaryFile", full)
    reproduce._give_caches()
    assert os.environ["HF_HOME"] == str(tmp_path / "huggingface")


def test_a_folder_whose_name_the_encoding_lacks_is_refused_with_what_to_set(tmp_path, capsys, monkeypatch):
    (tmp_path / "prüf").mkdir()
    monkeypatch.chdir(tmp_path / "prüf")
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    assert main(["reproduce"]) == 2
    assert re.fullmatch(
        r"error: the folder .*pr.*f has letters that need UTF-8, and the encoding is ascii: set PYTHONUTF8=1\n",
        capsys.readouterr().err,
    )


def test_findings_are_printed_also_where_the_terminal_lacks_their_letters(inside, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(commands, "reproduce", lambda *given, **named: sys.stdout.write("\u22120.0074\n") * 0)
    assert main(["reproduce", "--profile", "tiny"]) == 0
    assert stream.buffer.getvalue() == b"\\u22120.0074\n"
