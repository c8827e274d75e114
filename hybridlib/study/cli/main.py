"""The command line: `hybridlib reproduce batch_ratio --profile embedded`, which `make reproduce` calls, and others.

To reproduce, parameters are checked first; then Snakemake does what is missing, as `workflow/Snakefile` says (its jobs
are in `hybridlib.study.jobs`); then it is said where everything is and what was found.
"""

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import time

from tqdm import tqdm

from hybridlib.paths import executed_path, findings_path, project_root, record_path, results_path
from hybridlib.study.cli import commands as shell
from hybridlib.study.cli import data, plan


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 1 if a job failed, 2 if the parameters or the data are wrong."""
    parser = argparse.ArgumentParser(prog="hybridlib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_command(commands)
    shell.add_commands(commands)
    data.add_command(commands)
    plan.add_command(commands)
    chosen = parser.parse_args(arguments)
    try:
        status = chosen.run(chosen)
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:  # whoever reads what is said, as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        return 128 + signal.SIGPIPE
    except SystemExit as stopped:  # out of the workflow; the reason has been said
        return 2 if stopped.code == 2 else 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    command = commands.add_parser("reproduce", help="train, evaluate and draw the questions of notebooks")
    command.add_argument("notebook", nargs="*", help="notebooks, without .ipynb; all of the profile unless named")
    command.add_argument("--profile", default="embedded", help="the folder of params/ to take (default: %(default)s)")
    command.set_defaults(run=lambda chosen: reproduce(chosen.notebook, chosen.profile))


def reproduce(notebooks: list[str], profile: str) -> int:
    """Bring figures, results and findings of notebooks up to date, and say where they are and what was found.

    Args:
        notebooks: all of the profile if empty.
        profile: the folder of `params/`.

    Returns:
        The exit status: 1 if a job failed, which has been said, 0 otherwise.

    Raises:
        ValueError: the parameters or the data are wrong, or there is no such notebook; nothing has been computed.
        FileNotFoundError: there is no such profile, or a data file is missing.
    """
    from hybridlib.study.jobs import read_profile, shown  # here, for `data info` does not wait for what computes

    known = read_profile(profile)
    for notebook in notebooks:
        if notebook not in known:
            raise ValueError(f"notebook is {notebook!r}; allowed with profile {profile!r}: {', '.join(known)}")
    chosen = notebooks or list(known)
    started = time.monotonic()
    progress = _run_workflow(profile, [shown(record_path(profile, notebook)) for notebook in chosen])
    if not progress.succeeded:
        return 1
    if progress.jobs:
        print(f"Done in {time.monotonic() - started:.0f} s.")
    else:
        print("Nothing to do: everything is there and made from the present code and parameters.")
    for notebook in chosen:
        _tell(notebook, profile)
    return 0


class _Progress(logging.Filter):
    """Shows Snakemake's events as one progress bar, and of its messages only errors."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = 0
        self.succeeded = False
        self._bar: tqdm | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        event = getattr(getattr(record, "event", None), "name", "")
        if event == "RUN_INFO":
            self.jobs = record.__dict__["stats"]["total"]
            # Runs of several encoders differ in time, so the estimate is by the mean of all.
            self._bar = tqdm(total=self.jobs, desc="runs and notebooks", unit="job", smoothing=0, disable=None)
        elif event == "JOB_FINISHED" and self._bar is not None:
            self._bar.update()
        said = record.getMessage()
        if record.levelno < logging.ERROR or "PapermillExecutionError" in said or "in rule notebook" in said:
            return False  # the failed cell is named in the end
        if self._bar is not None:
            self._bar.clear()
        return True

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _run_workflow(profile: str, targets: list[str]) -> _Progress:
    """Let Snakemake make the targets, with a progress bar."""
    from snakemake.cli import args_to_api, parse_args

    from hybridlib.study.jobs import LOCKS

    snakefile = project_root() / "workflow" / "Snakefile"
    if not snakefile.is_file():
        raise FileNotFoundError(f"{snakefile} does not exist; the working directory must be within the project folder")
    command = ["--snakefile", str(snakefile), "--directory", str(project_root()), "--config", f"profile={profile}"]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):  # it names the profile of settings, which is always the same here
        parser, options = parse_args([*command, "--", *targets])
    progress = _Progress()
    messages = logging.getLogger("snakemake.logging")
    messages.addFilter(progress)
    try:
        progress.succeeded = args_to_api(options, parser)
    finally:
        messages.removeFilter(progress)
        progress.close()
        while LOCKS:
            LOCKS.pop().release()
    return progress


def _tell(notebook: str, profile: str) -> None:
    from hybridlib.study.jobs import figures_of, shown

    print(f"\nNotebook  {shown(executed_path(profile, notebook))}")
    for figure in figures_of(notebook, profile):
        print(f"Figure    {shown(figure)}")
    print(f"Results   {shown(results_path(profile, notebook))}")
    print(f"\nWhat was found ({shown(findings_path(profile, notebook))}):\n")
    print(findings_path(profile, notebook).read_text(encoding="utf-8"))
