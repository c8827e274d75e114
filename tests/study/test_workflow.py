"""Tests of the workflow: it does exactly what is to be done, also after `kill -9`, side by side, and on a cluster."""

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
import yaml
from snakemake.cli import args_to_api, parse_args
from tiny_project import TINY

from hybridlib.paths import project_root
from hybridlib.study.cli import jobs, main, notebooks
from hybridlib.study.runs import store
from hybridlib.study.runs.ranks import read_record, write_sums

ROOT = project_root()
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--config", "profile=tiny"]
REPRODUCE = [sys.executable, "-m", "hybridlib", "reproduce", "--profile", "tiny"]
MADE = ("results/tiny/*", "figures/tiny/*")
RUNS = "runs/[!.]*.parquet"


@pytest.fixture
def inside(reproduced, tmp_path, monkeypatch):
    """Copy a reproduced project, and make the copy the working directory."""
    shutil.copytree(reproduced, tmp_path / "project", ignore=shutil.ignore_patterns(".snakemake"))
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def untouched(reproduced, tmp_path):
    """Copy the project without what has been computed."""
    made = shutil.ignore_patterns(".snakemake", "runs", "results", "figures")
    shutil.copytree(reproduced, tmp_path / "untouched", ignore=made)
    return tmp_path / "untouched"


@pytest.fixture
def in_this_process(monkeypatch):
    """Compute runs in this process, to wait for no imports."""
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(jobs, "_workers", lambda **options: pool)
        yield


@pytest.fixture
def environment():
    """Give processes that work elsewhere the library as it is here; two that work side by side share the cores."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def planned(*targets):
    """Return how many jobs of each rule a dry run lists in the working directory, but the rule that does nothing."""
    listed = Counter()

    def count(record):
        if getattr(getattr(record, "event", None), "name", "") == "JOB_INFO":
            listed[record.rule_name] += 1
        return False

    messages = logging.getLogger("snakemake.logging")
    messages.addFilter(count)
    try:
        parser, options = parse_args(["--dry-run", "--config", "profile=tiny", "--", *targets])
        assert args_to_api(options, parser)
    finally:
        messages.removeFilter(count)
    del listed["all"]
    return dict(listed)


def change_params(notebook, **changes):
    path = Path(f"params/tiny/{notebook}.yaml")
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}, sort_keys=False))


def change_cell(part):
    path = Path("notebooks/domain_data.ipynb")
    book = json.loads(path.read_text())
    next(cell for cell in book["cells"] if cell["cell_type"] == "code")[part] = []
    path.write_text(json.dumps(book))


def touch_all():
    """Make what results are made from newer than they are, as a fresh copy may."""
    for folder, age in (("results", 100), ("runs", 50), ("params", 0), ("notebooks", 0)):
        for path in Path(folder).rglob("*"):
            os.utime(path, (time.time() - age,) * 2)


def made(folder):
    """Return what is the same bytes whenever it is made: results, and the ranks of runs, which have a date, too."""
    paths = [path for pattern in MADE for path in folder.glob(pattern)]
    ranks = {path.name: read_record(path)["tests"] for path in folder.glob(RUNS)}
    digests = {name: {test: told["ranks"] for test, told in tests.items()} for name, tests in ranks.items()}
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths} | digests


def files(folder):
    """Return the content of all files of a folder and when they were modified, but those of Snakemake itself."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_every_run_and_every_notebook_is_a_job(untouched, monkeypatch):
    monkeypatch.chdir(untouched)
    # Four amounts of data; a model for each of two languages, two of both, two of all three; and the untrained one.
    assert planned() == {"run": 4 + 6 + 1, "notebook": 2}
    assert not (untouched / "results").exists()


DOMAIN_DATA, MIRACL = (partial(partial, change_params, name) for name in ("domain_data", "miracl_high_resource"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (touch_all, {}),
        (partial(shutil.rmtree, "runs"), {}),  # finished runs may be deleted once the notebook is done
        (partial(change_cell, "outputs"), {}),
        (partial(change_cell, "source"), {"notebook": 1}),
        (DOMAIN_DATA(seeds=[0, 1]), {"run": 5, "notebook": 1}),  # the second seed only, and its untrained encoder
        (DOMAIN_DATA(fewer=30), {"run": 2, "notebook": 1}),  # with the added items and without
        (DOMAIN_DATA(training={**TINY["domain_data"]["training"], "steps": 3}), {"run": 4, "notebook": 1}),
        # Hybrid batches only: over the high-resource languages and over all.
        (MIRACL(alpha=0.25), {"run": 2, "notebook": 1}),
        # A specialised model is new; those of the high-resource languages are those of all languages now.
        (MIRACL(languages=["en", "fi", "sw"]), {"run": 1, "notebook": 1}),
        (MIRACL(measure="ndcg@10"), {"notebook": 1}),  # a run keeps ranks, and knows of no measure
        # They are trained again to be tested on more; the untrained one is that of the other notebook, too.
        (MIRACL(tested=["en", "fi"]), {"tests": 7, "notebook": 1}),
    ],
)
def test_a_change_reruns_what_it_touches(inside, change, expected):
    change()
    assert planned() == expected


PRODUCTS = [
    "figures/tiny/domain_data-means.svg",
    *(f"results/tiny/domain_data.{end}" for end in ("md", "parquet", "ipynb")),
]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("damage", ["altered", "gone"])
def test_a_product_that_is_not_as_it_was_made_is_to_be_made_again(inside, product, damage):
    (inside / product).unlink()
    if damage == "altered":
        (inside / product).write_text("altered")
    assert planned() == {"notebook": 1}


REPORT = "results/tiny/report.json"


def test_the_report_is_written_once_and_again_with_what_it_is_made_from(inside, capsys, monkeypatch):
    monkeypatch.setattr(jobs, "compute_run", lambda run, **options: pytest.fail("a run was repeated"))
    assert planned(REPORT) == {"report": 1} and planned() == {}
    capsys.readouterr()
    assert main.main(["report", "--profile", "tiny"]) == 0
    assert capsys.readouterr().out == "Report  results/tiny/report.html\n"
    assert all((inside / f"results/tiny/{name}.html").exists() for name in ("report", *TINY))
    assert planned(REPORT) == {}
    assert main.main(["report", "--profile", "tiny"]) == 0
    assert capsys.readouterr().out.startswith("Nothing to do: the report is there and made from the present results")

    touch_all()
    assert planned(REPORT) == {}
    Path("results/tiny/domain_data.html").write_text("altered")
    assert planned(REPORT) == {"report": 1} and planned() == {}
    Path(PRODUCTS[0]).unlink()
    assert planned(REPORT) == {"notebook": 1, "report": 1}
    Path(REPORT).unlink()
    assert planned(REPORT) == {"notebook": 1, "report": 1}


def test_a_report_stays_when_the_runs_behind_it_are_gone(inside):
    assert main.main(["report", "--profile", "tiny"]) == 0
    shutil.rmtree("runs")
    assert planned(REPORT) == {}


def test_a_report_brings_the_notebooks_up_to_date_first(inside, capsys):
    assert main.main(["report", "--profile", "tiny"]) == 0
    before = Path("results/tiny/report.html").read_bytes()
    Path(PRODUCTS[0]).write_text("cut")
    assert main.main(["report", "--profile", "tiny"]) == 0
    assert Path("results/tiny/report.html").read_bytes() == before
    assert planned(REPORT) == {}


def test_a_report_that_cannot_be_written_is_said_in_a_line(inside, capfd, monkeypatch):
    def refuse(profile, notebooks):
        raise ValueError("figures/a.svg is no whole SVG: no element found; delete it and make it again")

    monkeypatch.setattr("hybridlib.study.pages.report.write_report", refuse)
    assert main.main(["report", "--profile", "tiny"]) == 1
    said = capfd.readouterr().err
    assert "error: figures/a.svg is no whole SVG: no element found; delete it and make it again\n" in said
    assert "Traceback" not in said
    assert not Path(REPORT).exists()


def damaged_run():
    """Damage a run of a notebook that is made; return its file."""
    path = store.path_of(notebooks.read_profile("tiny")["domain_data"].runs()[-1])
    path.write_text("altered")
    return path


def test_a_dry_run_changes_nothing_whatever_it_finds(inside):
    Path(PRODUCTS[0]).unlink()
    Path("results/tiny/miracl_high_resource.json").write_text("null")
    damaged_run()
    lacking = store.key_of(notebooks.read_profile("tiny")["miracl_high_resource"].runs()[0])
    change_params("miracl_high_resource", tested=["en", "fi"])
    for left in (f"runs/.{lacking}.tested", f"runs/.{'0a' * 16}.parquet", "results/tiny/.domain_data.ipynb"):
        Path(left).touch()
        os.utime(left, (0, 0))
    Path("runs/.lock").unlink()
    before = files(inside)
    assert planned() == {"run": 1, "tests": 7, "notebook": 2}
    assert files(inside) == before


def test_a_damaged_run_is_named_and_computed_again_and_the_notebook_stays(inside, in_this_process, caplog, capsys):
    path = damaged_run()
    before = files(inside)
    assert planned() == {"run": 1}
    assert main.main(["reproduce", "--profile", "tiny"]) == 0
    assert f"{path} was cut or altered, so its run is computed again: " in caplog.text
    assert "Nothing to do" not in capsys.readouterr().out
    after = files(inside)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed - {"runs/.keep.lock", "runs/.lock"} == {str(path.relative_to(inside))}
    assert planned() == {}


def test_altered_evidence_is_refused_before_any_job_also_where_snakemake_is_called_itself(inside, capfd):
    as_evidence(inside)
    (inside / "evidence/other").mkdir()
    (inside / "evidence/other/SHA256SUMS").write_text("cut")
    parser, options = parse_args(["--config", "profile=tiny"])
    with pytest.raises(SystemExit, match="2"):
        args_to_api(options, parser)
    said = "evidence/other/SHA256SUMS, line 1 is 'cut'; expected a checksum, two blanks and a name; get it again"
    assert said in capfd.readouterr().err
    assert not (inside / "runs").exists() and not (inside / "results").exists()


def test_a_full_disk_stops_the_runs_that_would_only_fail(untouched, in_this_process, monkeypatch, capfd):
    monkeypatch.chdir(untouched)
    monkeypatch.setattr(jobs, "check_data", lambda *given: None)
    started = []

    def fail(run):
        started.append(run)
        raise OSError(errno.ENOSPC, "run a could not be written: No space left on device; finished runs are kept")

    monkeypatch.setattr(store, "compute", fail)
    assert main.main(["reproduce", "--profile", "tiny"]) == 1
    assert 1 <= len(started) <= os.cpu_count() + 1
    assert "error: the disk is full, so no further job is started\n" in capfd.readouterr().err


@pytest.mark.parametrize("folder", ["results", "figures"])
def test_what_cannot_be_written_is_said_before_any_training(untouched, in_this_process, monkeypatch, capfd, folder):
    monkeypatch.chdir(untouched)
    monkeypatch.setattr(store, "compute", lambda run: pytest.fail("a run was started"))
    (untouched / folder).touch()
    assert main.main(["reproduce", "--profile", "tiny"]) == 2
    assert f"error: {folder}/tiny/ cannot be written: Not a directory\n" in capfd.readouterr().err


def test_deleted_products_are_made_again_with_the_same_bytes_and_no_run_is_repeated(inside, monkeypatch):
    before = made(inside)
    for product in PRODUCTS:
        (inside / product).unlink()
    monkeypatch.setattr(jobs, "compute_run", lambda run, **options: pytest.fail("a run was repeated"))
    assert main.main(["reproduce", "--profile", "tiny"]) == 0
    assert made(inside) == before
    assert planned() == {}


def test_changed_code_reruns_the_notebooks_and_no_run(inside, monkeypatch):
    monkeypatch.setattr(notebooks, "code_hash", lambda computing: "something changed")
    assert planned() == {"notebook": 2}


def test_a_notebook_is_executed_again_when_its_runs_have_other_ranks(inside):
    (*_, changed) = notebooks.read_profile("tiny")["domain_data"].runs()
    (test,) = changed.tests
    measured = store.read(changed, test)
    store.path_of(changed).unlink()
    store.keep(changed, {changed.test_name(test): replace(measured, in_pool=measured.in_pool + 1)}, None, 0.0)
    assert planned() == {"notebook": 1}


def test_runs_that_lack_a_test_are_trained_again_and_keep_the_tests_that_they_have(inside, in_this_process):
    before = {path: read_record(path)["tests"] for path in inside.glob(RUNS)}
    change_params("miracl_high_resource", tested=["en"])
    assert main.main(["reproduce", "--profile", "tiny"]) == 0
    assert planned() == {}
    after = {path: read_record(path)["tests"] for path in inside.glob(RUNS)}
    assert after.keys() == before.keys()
    assert sum(after[path] != before[path] for path in after) == 7
    assert all(after[path].items() >= tests.items() for path, tests in before.items())


def as_evidence(folder):
    """Make all runs but one evidence of the profile; return that one."""
    (*_, lacking) = notebooks.read_profile("tiny")["domain_data"].runs()
    store.path_of(lacking).unlink()
    (folder / "evidence").mkdir()
    (folder / "runs").rename(folder / "evidence/tiny")
    for path in folder.glob("evidence/tiny/.*"):
        path.unlink()
    write_sums(folder / "evidence/tiny")
    shutil.rmtree(folder / "results")
    return lacking


def test_a_profile_with_evidence_is_drawn_from_it_and_leaves_out_what_it_lacks(inside, monkeypatch, capsys):
    lacking = as_evidence(inside)
    monkeypatch.delenv("HYBRIDLIB_COMPUTE", raising=False)
    assert planned() == {"notebook": 2}
    assert main.main(["reproduce", "--profile", "tiny"]) == 0
    said = capsys.readouterr().out
    assert "10 of 11 runs are read from evidence/; `hybridlib runs list` says their origin.\n" in said
    assert "1 of 11 runs are left out; COMPUTE=1 make reproduce PROFILE=tiny computes them.\n" in said
    assert not list(inside.glob(RUNS)) and planned() == {}
    found = pd.read_parquet(inside / "results/tiny/domain_data.parquet")
    assert found.strategy.nunique() == 4
    monkeypatch.setenv("HYBRIDLIB_COMPUTE", "1")
    assert planned() == {"run": 1, "notebook": 1}
    store.compute(lacking)
    assert planned() == {"notebook": 1}


def test_what_evidence_lacks_is_computed_where_that_is_asked_for(inside, in_this_process, monkeypatch, capsys):
    lacking = as_evidence(inside)
    monkeypatch.setenv("HYBRIDLIB_COMPUTE", "0")  # taken back after the test
    assert main.main(["reproduce", "--profile", "tiny", "--compute"]) == 0
    assert [path.stem for path in inside.glob(RUNS)] == [store.key_of(lacking)]
    assert "left out" not in capsys.readouterr().out
    assert pd.read_parquet(inside / "results/tiny/domain_data.parquet").strategy.nunique() == 5


def signal_when(there, folder, environment, number):
    """Start the workflow and send it a signal once `there()` is true; what it had started ends, too.

    Ctrl-C in a terminal interrupts the whole group. Returns the exit status and what was said to standard error.
    """
    options = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(REPRODUCE, **options, text=True, start_new_session=True)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None and not there():
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid, number)
    said = process.communicate(timeout=120)[1]
    assert psutil.wait_procs(children, timeout=60)[1] == []
    return process.returncode, said


def kill_when(there, folder, environment):
    """Start the workflow and `kill -9` it once `there()` is true; the processes it had started end by themselves."""
    status, _ = signal_when(there, folder, environment, signal.SIGKILL)
    assert status == -signal.SIGKILL  # it had not ended yet


def test_an_interrupted_workflow_says_so_in_a_line_and_ends_what_it_has_started(untouched, environment):
    status, said = signal_when(lambda: any(untouched.glob(RUNS)), untouched, environment, signal.SIGINT)
    assert status == 130
    assert "Interrupted. What is finished is kept, and the same command goes on from there." in said.split("\n")
    assert "Traceback" not in said


def test_killed_and_started_twice_side_by_side_one_does_the_rest_and_the_bytes_are_the_same(
    reproduced, untouched, environment
):
    """Use `kill -9` on the workflow itself: its workers end, nothing stays locked, and no finished run is repeated."""
    finished_runs = partial(untouched.glob, RUNS)
    kill_when(lambda: any(finished_runs()), untouched, environment)
    finished = {path: path.stat().st_mtime_ns for path in finished_runs()}
    assert 1 <= len(finished) < 11
    assert not list(untouched.glob("results/tiny/*.json"))

    options = {"cwd": untouched, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    both = [subprocess.Popen(REPRODUCE, **options) for _ in range(2)]
    said = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted(out.startswith("Nothing to do") for out, _ in said) == [False, True]
    assert sum("waiting for it to end" in errors for _, errors in said) == 1
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert made(untouched) == made(reproduced)


def test_killed_while_a_notebook_is_executed_it_is_executed_again_with_the_same_bytes(inside, environment):
    """Kill the workflow where the notebook, which has written everything, waits for a file in its last cell."""
    before = made(inside)
    path, last_written = inside / "notebooks/domain_data.ipynb", inside / "results/tiny/domain_data.parquet"
    book = nbformat.read(path, as_version=4)
    wait = "import time, pathlib\nwhile not pathlib.Path('go').exists():\n    time.sleep(0.05)"
    book.cells.append(nbformat.v4.new_code_cell(wait))
    nbformat.write(book, path)
    last_written.unlink()
    kill_when(last_written.exists, inside, environment)
    assert planned() == {"notebook": 1}

    (inside / "go").touch()
    assert main.main(["reproduce", "--profile", "tiny"]) == 0
    changed = {name for name, content in made(inside).items() if before.get(name) != content}
    assert changed == {
        "results/tiny/domain_data.ipynb",
        "results/tiny/domain_data.json",
    }  # the notebook has a cell more


STUBS = {
    # It runs the job in the background, as a cluster would, and keeps what it was asked for.
    "sbatch": f"""#!{sys.executable}
import json, os, subprocess, sys
from pathlib import Path
folder = Path(os.environ["STUB"])
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
number = len((folder / "calls").read_text().splitlines())
job = next(word for word in sys.argv if word.startswith("--wrap=")).removeprefix("--wrap=")
job += f'\\necho $? > "$STUB/{{number}}.status"'
log = open(sys.argv[sys.argv.index("--output") + 1].replace("%j", str(number)), "w")
(folder / f"{{number}}.job").touch()
subprocess.Popen(["sh", "-c", job], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
print(number)
""",
    # It answers when all jobs have ended, so that nothing waits for the next question.
    "sacct": """#!/bin/sh
case "$*" in *Account*) exit;; esac
for job in "$STUB"/*.job; do
  status="${job%.job}.status"
  while [ ! -s "$status" ]; do sleep 0.1; done
  if [ "$(cat "$status")" = 0 ]; then state=COMPLETED; else state=FAILED; fi
  echo "$(basename "$job" .job)|$state"
done
""",
    "srun": '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n',
    **dict.fromkeys(["sinfo", "scancel", "scontrol", "squeue", "sacctmgr", "sshare"], "#!/bin/sh\n"),
}


def test_on_a_cluster_the_same_runs_are_jobs_with_a_gpu_each(reproduced, untouched, environment, tmp_path):
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name, script in STUBS.items():
        (stubs / name).write_text(script)
        (stubs / name).chmod(0o755)
    runs = sorted(str(path.relative_to(reproduced)) for path in reproduced.glob(RUNS))[:2]
    profile = ["--workflow-profile", "workflow/profiles/slurm", "--slurm-init-seconds-before-status-checks", "1"]
    command = [*SNAKEMAKE, *profile, "--no-hooks", "--", *runs]
    paths = {"STUB": str(stubs), "PATH": f"{stubs}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=untouched, env={**environment, **paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = {name: ranks for name, ranks in made(reproduced).items() if f"runs/{name}" in runs}
    assert len(expected) == 2
    assert made(untouched) == expected
    calls = [json.loads(line) for line in (stubs / "calls").read_text().splitlines()]
    assert len(calls) == 2
    for call in calls:
        assert "--gres=gpu:1" in call
        assert call[call.index("--mem") + 1] == "32000"


def test_the_profile_of_a_cluster_decides_as_the_default_does_and_gives_notebooks_no_gpu():
    default, slurm = (
        yaml.safe_load((ROOT / f"workflow/profiles/{name}/config.yaml").read_text()) for name in ("default", "slurm")
    )
    for key in ("rerun-triggers", "drop-metadata", "ignore-incomplete", "nolock", "keep-going", "scheduler"):
        assert default[key] == slurm[key]
    assert slurm["set-resources"].keys() == {"run"}
    assert "gres" not in slurm["default-resources"]


def test_a_notebook_is_executed_by_papermill_alone_which_computes_what_it_lacks(inside, environment):
    before = made(inside)
    shutil.rmtree(inside / "results")
    shutil.rmtree(inside / "figures")
    store.path_of(notebooks.read_profile("tiny")["domain_data"].runs()[0]).unlink()
    command = [sys.executable, "-m", "papermill", "notebooks/domain_data.ipynb", "out.ipynb", "--no-progress-bar"]
    command += ["-f", "params/tiny/domain_data.yaml"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    records = ("miracl", ".json", "domain_data.ipynb")  # it is written to another place
    assert made(inside) == {name: data for name, data in before.items() if not any(part in name for part in records)}
