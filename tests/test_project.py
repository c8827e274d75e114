"""Tests of the project's own files: they agree with each other and with the README."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from hybridlib.paths import project_root

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# nbval compares so many cells; they are counted so that the comparison cannot silently become empty.
CHECKED_CELLS = {
    "batch_ratio": 4,
    "domain_data": 4,
    "language_imbalance": 3,
    "miracl_high_resource": 3,
    "mlqa_language_families": 3,
}


def test_every_dependency_is_pinned_within_its_bounds_and_installed_as_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]:
        requirement = Requirement(line)
        pinned = pins[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(Version(pinned)), f"{line} does not admit the pinned {pinned}"
        if line in PROJECT["dependencies"]:
            assert importlib.metadata.version(requirement.name).partition("+")[0] == pinned


def test_the_console_script_is_the_command_line():
    assert PROJECT["scripts"] == {"hybridlib": "hybridlib.study.cli.main:main"}


def test_conda_installs_what_pyproject_names_with_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *packages, with_pip = environment["dependencies"]
    python = next(package for package in packages if package.startswith("python="))
    assert Requirement(f"x{PROJECT['requires-python']}").specifier.contains(python.partition("=")[2])
    assert with_pip == {"pip": ["--constraint constraints.txt", "--editable .[test]"]}
    assert {"make", "pip"} <= set(packages)


def test_the_readme_script_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_readme_says_of_speed_what_the_benchmarks_have_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import summary

    said = README.partition(summary.BEGIN)[2].partition(summary.END)[0]
    assert said.strip().splitlines() == summary.lines()


def test_every_file_the_readme_names_exists():
    named = re.findall(r"\]\(([\w./-]+)\)", README)
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


def test_every_make_target_is_explained():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[1].split()
    help_text = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(re.search(rf"^{target}\s+\S", help_text, flags=re.MULTILINE) for target in phony)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_executed_tells_a_story_and_defines_nothing(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert not [cell.source for cell in code if re.search(r"^\s*(def|class) ", cell.source, flags=re.MULTILINE)]
    assert sum("nbval-check-output" in cell.metadata.get("tags", []) for cell in code) == CHECKED_CELLS[path.stem]
    assert sum(cell.cell_type == "markdown" for cell in cells) >= 10
    assert cells[0].source.startswith("# ")


def test_nothing_unpickles_or_trusts_remote_code():
    for path in ROOT.glob("hybridlib/**/*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"pickle\.load|trust_remote_code=True|yaml\.load\(", source), path


def test_the_real_text_figures_of_the_readme_are_those_of_the_executed_notebook():
    section = README[README.index("## On real text") : README.index("## What to expect")]
    row = r"^\| (?:map|rank)[^|]*\| ([\d.]+) \| ([\d.]+) [^|]*\| ([+-][\d.]+) % \[([+-][\d.]+), ([+-][\d.]+)\]"
    told = re.findall(row, section, re.M)
    assert len(told) == section.count("\n| map") + section.count("\n| rank") == 6
    notebook = nbformat.read(ROOT / "notebooks/minilm/batch_ratio.ipynb", as_version=4)
    tables = [
        "".join(output.data["text/html"]) for cell in notebook.cells for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]  # fmt: skip
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for table in tables for row in table.split("<tr>")]
    # The cells are claim, encoder, value, other, difference, lower and upper; all values are told with three digits.
    found = {
        (f"{float(row[2]):.3g}", f"{float(row[3]):.3g}", *(f"{100 * float(value):+.1f}" for value in row[4:7]))
        for row in rows
        if len(row) == 10 and row[1].startswith("sentence-transformers/")
    }
    assert len(found) == 8
    for value, other, *difference in told:
        assert (f"{float(value):.3g}", f"{float(other):.3g}", *difference) in found, (value, other, difference)
