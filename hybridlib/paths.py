"""The paths of a project folder, all of which are built here."""

from pathlib import Path


def project_root() -> Path:
    """Return the nearest folder from here up with `params/` and `notebooks/`, or else the working directory itself."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return here


def notebook_path(notebook: str) -> Path:
    return project_root() / "notebooks" / f"{notebook}.ipynb"


def params_path(profile: str, notebook: str) -> Path:
    return project_root() / "params" / profile / f"{notebook}.yaml"


def results_path(profile: str, notebook: str) -> Path:
    return project_root() / "results" / profile / f"{notebook}.parquet"


def executed_path(profile: str, notebook: str) -> Path:
    return project_root() / "results" / profile / f"{notebook}.ipynb"


def findings_path(profile: str, notebook: str) -> Path:
    return project_root() / "results" / profile / f"{notebook}.md"


def record_path(profile: str, notebook: str) -> Path:
    return project_root() / "results" / profile / f"{notebook}.json"


def runs_path() -> Path:
    return project_root() / "runs"


def evidence_path(profile: str) -> Path:
    return project_root() / "evidence" / profile


def evidence_folders() -> list[Path]:
    """Return the folders of runs that belong to the project, sorted."""
    return sorted(path for path in evidence_path("").glob("*") if path.is_dir())


def lock_path() -> Path:
    return runs_path() / ".lock"


def figure_path(profile: str, name: str) -> Path:
    return project_root() / "figures" / profile / f"{name}.svg"
