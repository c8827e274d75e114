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

from hybridlib.paths import notebook_path, params_path, project_root
from hybridlib.study.cli.notebooks import MODELS
from hybridlib.study.pages.results import write_pages
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report import findings

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# nbval compares so many cells of each; they are counted so that the comparison cannot silently become empty.
CHECKED_CELLS = 1


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


def test_the_readme_and_the_page_on_performance_say_what_the_benchmarks_have_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import summary

    for path, made in ((summary.README, summary.lines()), (summary.PERFORMANCE, summary.goals())):
        said = path.read_text(encoding="utf-8").partition(summary.BEGIN)[2].partition(summary.END)[0]
        assert said.strip().splitlines() == made


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
    assert sum("nbval-check-output" in cell.metadata.get("tags", []) for cell in code) == CHECKED_CELLS
    assert sum(cell.cell_type == "markdown" for cell in cells) >= 9
    assert cells[0].source.startswith("# ")


def test_every_notebook_has_a_model_of_its_parameters_and_the_other_way_round():
    assert {path.stem for path in NOTEBOOKS} == set(MODELS) > set(QUESTIONS)
    assert not [path for path in (ROOT / "notebooks").iterdir() if path.is_dir() and path.name[0] != "."]


def test_nothing_unpickles_or_trusts_remote_code():
    for path in ROOT.glob("hybridlib/**/*.py"):
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"pickle\.load|trust_remote_code=True|yaml\.load\(", source), path


# What is made from the evidence


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Answer every question anew from the evidence, as the notebooks do; return the answers, and the pages by path."""
    folder = tmp_path_factory.mktemp("anew")
    for name in ("evidence", "figures", "notebooks", "params"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "README.md").write_text(README, encoding="utf-8")
    (folder / "docs").mkdir()
    told = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, model in QUESTIONS.items():
            params = model.from_yaml(params_path("e5", name))
            sums = params.read_tables()
            claims = findings.check_claims(params.claims, sums)
            findings.write(params, sums, claims)
            told[name] = str(findings.answer(params, claims))
        write_pages("e5")
    pages = ("README.md", "docs/results.md")
    return told | {name: (folder / name).read_text(encoding="utf-8") for name in pages}


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_what_the_pages_say_of_the_results_follows_from_the_evidence(found, page):
    assert (ROOT / page).read_text(encoding="utf-8") == found[page]


@pytest.mark.parametrize("notebook", QUESTIONS)
def test_the_answer_at_the_head_of_a_notebook_follows_from_the_evidence(found, notebook):
    cells = nbformat.read(notebook_path(notebook), as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", [])]
    outputs = [output.data for output in code[0].outputs if "data" in output]
    assert [data.get("text/markdown") for data in outputs] == [found[notebook]]


def test_figures_are_svg_and_those_that_are_the_same_on_every_machine_are_tracked():
    tracked = subprocess.run(
        ["git", "ls-files", "figures"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert tracked
    of_evidence = r"figures/e5/\w+-\w+\.svg"  # and whole numbers alone decide what is in the picture of batches
    assert all(re.fullmatch(rf"{of_evidence}|figures/embedded/explorer-batches\.svg", line) for line in tracked.split())


def test_the_evidence_is_small():
    size = sum(path.stat().st_size for path in (ROOT / "evidence").rglob("*") if path.is_file())
    assert size < 15_000_000
