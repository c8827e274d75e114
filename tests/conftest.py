"""Fixtures shared by the tests."""

import gc
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
import yaml
from chromium import browser as browser
from chromium import open_page as open_page
from tiny_project import TINY

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the network; read when the libraries are imported

from hybridlib.paths import executed_path, notebook_path, project_root
from hybridlib.study.cli import jobs, main
from hybridlib.study.cli.notebooks import read_profile, write_record
from hybridlib.study.pages.report import write_report
from hybridlib.study.report import findings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # the kernels run on the CPU; read when they are imported

# What the workflow sees of a notebook; the notebooks of the project are executed by `make test`. Of the figure, bytes
# are all that matters, and that it is one.
_STUB = """from hybridlib import paths
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report.results import read_sums, write_sums
from hybridlib.study.workers import compute_runs
params = QUESTIONS[{name!r}].from_namespace(globals())
---
compute_runs(params.runs(), params.profile)
sums = read_sums(params.trials(), ["map"], task=params.task)
table = sums.groupby(["strategy", "setting"], observed=True)[["total", "count"]].sum().round(4).to_csv()
---
drawn = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><desc>Means: ' + table + "</desc></svg>"
made = {{paths.figure_path(params.profile, {name!r} + "-means"): drawn}}
for path, text in {{**made, paths.findings_path(params.profile, {name!r}): "Found: " + table}}.items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
write_sums(paths.results_path(params.profile, {name!r}), {{"all": sums}})"""


@pytest.fixture
def real_data() -> Path:
    """The folder of real public data that HYBRIDLIB_DATA names."""
    folder = os.environ.get("HYBRIDLIB_DATA")
    if not folder:
        pytest.skip("HYBRIDLIB_DATA is not set: tests on real data are left out")
    return Path(folder)


@pytest.fixture(scope="module")
def quickly() -> Iterator[None]:
    """On one thread of the CPU, which is enough; and garbage, which the trainer collects each time, of this module."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.accelerator, "is_available", lambda: False)
        yield
    gc.unfreeze()
    torch.set_num_threads(threads)


def stub_notebook(name: str) -> nbformat.NotebookNode:
    """A notebook of four cells; its parameters are of a profile that does not exist."""
    cells = [nbformat.v4.new_code_cell(source) for source in _STUB.format(name=name).split("\n---\n")]
    values = "\n".join(f"{key} = {value!r}" for key, value in {**TINY[name], "profile": "none"}.items())
    cells.insert(0, nbformat.v4.new_code_cell(values, metadata={"tags": ["parameters"]}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, pd.DataFrame]]:
    """A project with the report of profile `e5`, and what its claims were held to be; for reading.

    The notebooks are those of the project, which are committed as executed; results are computed from the evidence.
    """
    folder = tmp_path_factory.mktemp("reported")
    for name in ("evidence", "figures", "notebooks", "params", "README.md"):
        (folder / name).symlink_to(project_root() / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        notebooks, checked = read_profile("e5"), {}
        for name, params in notebooks.items():
            sums = params.read_tables()
            checked[name] = findings.check_claims(params.claims, sums)
            findings.write(params, sums, checked[name])
            shutil.copy(notebook_path(name), executed_path("e5", name))
            write_record(name, "e5", params.runs())
        write_report("e5", notebooks)
    return folder, checked


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project folder with two small notebooks and a profile that takes seconds, made once; for reading."""
    folder = tmp_path_factory.mktemp("reproduced")
    shutil.copytree(project_root() / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "notebooks").mkdir()
    (folder / "params/tiny").mkdir(parents=True)
    for name, values in TINY.items():
        nbformat.write(stub_notebook(name), folder / f"notebooks/{name}.ipynb")
        (folder / f"params/tiny/{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    threads = torch.get_num_threads()  # which a run sets
    # In this process, because workers import for seconds what is there; the tests of `kill -9` have workers.
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.chdir(folder)
        patch.setattr(jobs, "_workers", lambda **options: pool)
        assert main.main(["reproduce", "--profile", "tiny"]) == 0
    torch.set_num_threads(threads)
    return folder
