"""The command line: `python -m hybridlib reproduce batch_ratio --profile embedded`, which `make reproduce` calls.

Parameters and data are checked first; then the training runs that are missing are computed; then papermill runs the
notebook, which finds its runs done. What was made is recorded with its checksums and with a checksum of all it was made
from, so a second call has nothing to do.
"""

import argparse
import hashlib
import json
import sys
import time
import warnings
from pathlib import Path

import nbformat
import papermill
import yaml

from hybridlib.params import PARAMS
from hybridlib.paths import (
    checksum,
    executed_path,
    figure_path,
    findings_path,
    notebook_path,
    params_path,
    project_root,
    record_path,
    replacing,
    results_path,
)
from hybridlib.runs import code_hash, compute_runs


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="hybridlib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("reproduce", help="train, evaluate and draw one notebook's question")
    command.add_argument("notebook", choices=sorted(PARAMS), help="the notebook, without .ipynb")
    command.add_argument("--profile", default="embedded", help="the folder of params/ to take (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    try:
        reproduce(chosen.notebook, chosen.profile)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except papermill.PapermillExecutionError as error:
        executed = executed_path(chosen.profile, chosen.notebook)
        print(
            f"error: cell {error.exec_count} of the notebook failed; see {executed}\n{error.ename}: {error.evalue}",
            file=sys.stderr,
        )
        return 1
    return 0


def reproduce(notebook: str, profile: str) -> None:
    """Bring a notebook's figures, results and findings up to date, and say where they are and what was found.

    Raises:
        ValueError: the parameters or the data are wrong; nothing has been computed.
        FileNotFoundError: there is no such profile, or a data file is missing.
        OSError: something could not be written; finished runs are kept.
        papermill.PapermillExecutionError: a cell of the notebook failed.
    """
    source = params_path(profile, notebook)
    if not source.is_file():
        profiles = sorted(path.parent.name for path in (project_root() / "params").glob(f"*/{notebook}.yaml"))
        raise FileNotFoundError(f"{source} does not exist; profiles with this notebook: {', '.join(profiles)}")
    params = PARAMS[notebook].from_yaml(source)
    if params.profile != profile:
        raise ValueError(f"{source}: profile is {params.profile!r}; it must be the name of its folder, {profile!r}")
    origin = _origin(notebook, source)
    if _up_to_date(record_path(profile, notebook), origin):
        print("Nothing to do: everything is there and made from the present code and parameters.")
    else:
        started = time.monotonic()
        params.check_data()
        compute_runs(params.runs())
        _execute(notebook, profile, yaml.safe_load(source.read_text(encoding="utf-8")))
        _record(notebook, profile, origin)
        print(f"Done in {time.monotonic() - started:.0f} s.")
    print(f"\nNotebook  {_shown(executed_path(profile, notebook))}")
    for figure in _figures(notebook, profile):
        print(f"Figure    {_shown(figure)}")
    print(f"Results   {_shown(results_path(profile, notebook))}")
    print(f"\nWhat was found ({_shown(findings_path(profile, notebook))}):\n")
    print(findings_path(profile, notebook).read_text(encoding="utf-8"))


def _execute(notebook: str, profile: str, values: dict) -> None:
    output = executed_path(profile, notebook)
    output.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Of papermill's libraries about each other; an error in a cell is an exception.
        warnings.simplefilter("ignore")
        papermill.execute_notebook(
            str(notebook_path(notebook)),
            str(output),
            values,
            cwd=str(project_root()),
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            progress_bar={"desc": "notebook"},
        )


def _figures(notebook: str, profile: str) -> list[Path]:
    return sorted(figure_path(profile, notebook).parent.glob(f"{notebook}-*.png"))


def _made(notebook: str, profile: str) -> list[Path]:
    return [
        executed_path(profile, notebook),
        results_path(profile, notebook),
        findings_path(profile, notebook),
        *_figures(notebook, profile),
    ]


def _origin(notebook: str, params: Path) -> str:
    """A checksum of all that the results are made from: parameters, the notebook's cells, the library."""
    cells = [cell.source for cell in nbformat.read(notebook_path(notebook), as_version=4).cells]
    text = json.dumps([params.read_text(encoding="utf-8"), cells, code_hash(computing=False)])
    return hashlib.sha256(text.encode()).hexdigest()


def _record(notebook: str, profile: str, origin: str) -> None:
    made = {_shown(path): checksum(path) for path in _made(notebook, profile)}
    with replacing(record_path(profile, notebook)) as draft:
        draft.write_text(json.dumps({"origin": origin, "made": made}, indent=1), encoding="utf-8")


def _up_to_date(record: Path, origin: str) -> bool:
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        return known["origin"] == origin and all(
            checksum(project_root() / name) == digest for name, digest in known["made"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def _shown(path: Path) -> str:
    return str(path.relative_to(project_root()))
