"""`hybridlib reproduce` and `report`: bring notebooks up to date, and print where everything is and what was found.

Parameters and `evidence/` are checked first. Then Snakemake does what is missing, as `workflow/Snakefile` says; its
jobs are in `hybridlib.study.cli.jobs`.
"""

import contextlib
import io
import logging
import os
import signal
import tempfile
import time
from pathlib import Path

import psutil
from tqdm import tqdm

from hybridlib.arguments import told
from hybridlib.paths import executed_path, figures_of, findings_path, project_root, record_path, results_path, runs_path
from hybridlib.study.cli.jobs import all_runs, check_evidence, workflow_lock
from hybridlib.study.cli.notebooks import left_out, read_profile, relative
from hybridlib.study.cli.outputs import check_folder
from hybridlib.study.code import environment
from hybridlib.study.pages.report import REPORT, report_path
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.run import Run
from hybridlib.study.runs import store


def reproduce(notebooks: list[str], profile: str, *, compute: bool = False) -> int:
    """Bring figures, results and findings of notebooks up to date, and print where they are and what was found.

    Args:
        notebooks: all of the profile if empty.
        profile: the folder of `params/`.
        compute: compute the runs that are missing of a profile with evidence; others are always computed.

    Returns:
        The exit status: 1 if a job failed, which has been printed, and 0 otherwise.

    Raises:
        ValueError: the parameters, the data or a file of `evidence/` are wrong, or there is no such notebook; nothing
            has been computed.
        FileNotFoundError: there is no such profile, or a file of the data or of `evidence/` is missing.
        KeyboardInterrupt: the user has interrupted it; all processes that it had started have been ended.
    """
    known = read_profile(profile)
    for notebook in notebooks:
        if notebook not in known:
            raise ValueError(f"notebook is {notebook!r}; allowed with profile {profile!r}: {', '.join(known)}")
    check_evidence()
    chosen = notebooks or list(known)
    if compute:
        os.environ["HYBRIDLIB_COMPUTE"] = "1"  # for workers and kernels, too
    started = time.monotonic()
    runs = all_runs({notebook: known[notebook] for notebook in chosen})
    progress = _run_workflow(profile, [relative(record_path(profile, notebook)) for notebook in chosen])
    if not progress.succeeded:
        return 1
    if progress.jobs:
        print(f"Done in {time.monotonic() - started:.0f} s.")
    else:
        print("Nothing to do: everything is there and made from the present code and parameters.")
    _print_origin(runs, profile, set().union(*(left_out(notebook, profile) for notebook in chosen)))
    for notebook in chosen:
        _print_findings(notebook, profile)
    return 0


def report(profile: str) -> int:
    """Bring the notebooks of a profile up to date, then its report, and print where it is.

    Returns:
        The exit status, as that of `reproduce`.

    Raises:
        ValueError, FileNotFoundError, KeyboardInterrupt: as in `reproduce`.
    """
    notebooks = read_profile(profile)
    check_evidence()
    progress = _run_workflow(profile, [relative(record_path(profile, name)) for name in (*notebooks, REPORT)])
    if not progress.succeeded:
        return 1
    if not progress.jobs:
        print("Nothing to do: the report is there and made from the present results, code and parameters.")
    print(f"Report  {relative(report_path(profile))}")
    return 0


class _Progress(logging.Filter):
    """A filter that shows Snakemake's events as one progress bar, and only the errors among its messages."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs = 0
        self.succeeded = False
        self.interrupted = False
        self._bar: tqdm | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        event = getattr(getattr(record, "event", None), "name", "")
        if event == "RUN_INFO":
            self.jobs = record.__dict__["stats"]["total"]
            # Runs of several encoders differ in time, so the estimate is by the mean of all.
            self._bar = tqdm(total=self.jobs, desc="runs and notebooks", unit="job", smoothing=0, disable=None)
        elif event == "JOB_FINISHED" and self._bar is not None:
            self._bar.update()
        if self.interrupted:
            return False
        said = record.getMessage()
        known = ("PapermillExecutionError", "in rule notebook", "in rule report", "in __rule_report")
        if record.levelno < logging.ERROR or any(words in said for words in known):
            return False  # the failed cell is named in the end, and what is wrong with a report where it is seen
        if self._bar is not None:
            self._bar.clear()
        return True

    def interrupt(self, *_: object) -> None:
        """End all processes that were started, as the handler of a signal; what they had not finished is not there."""
        self.interrupted = True
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if not any("resource_tracker" in word for word in process.cmdline()):  # it ends with this process
                    process.kill()
        raise KeyboardInterrupt

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _run_workflow(profile: str, targets: list[str]) -> _Progress:
    """Let Snakemake make the targets, with a progress bar."""
    check_folder("the folder of runs", runs_path())
    _give_caches()
    from snakemake.cli import args_to_api, parse_args

    snakefile = project_root() / "workflow" / "Snakefile"
    if not snakefile.is_file():
        raise FileNotFoundError(f"{snakefile} does not exist; the working directory must be within the project folder")
    command = ["--snakefile", str(snakefile), "--directory", str(project_root()), "--config", f"profile={profile}"]
    said = io.StringIO()
    with contextlib.redirect_stderr(said):  # it names the profile of settings, which is always the same here
        parser, options = parse_args([*command, "--", *targets])
    progress, lock = _Progress(), workflow_lock()  # the Snakefile takes the lock
    messages = logging.getLogger("snakemake.logging")
    messages.addFilter(progress)
    before = signal.signal(signal.SIGINT, progress.interrupt)
    try:
        progress.succeeded = args_to_api(options, parser)
    finally:
        signal.signal(signal.SIGINT, before)
        messages.removeFilter(progress)
        progress.close()
        lock.release(force=True)
    if progress.interrupted:
        raise KeyboardInterrupt
    return progress


def _give_caches() -> None:
    """Let libraries keep in the project's folder what they would keep in a home folder that cannot be written."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return
    except OSError:
        caches = runs_path() / ".cache"
    given = {"XDG_CACHE_HOME": caches, "MPLCONFIGDIR": caches / "matplotlib", "IPYTHONDIR": caches / "ipython"}
    if (home / "huggingface").is_dir():  # what is there can be read
        given["HF_HOME"] = home / "huggingface"
    for name, folder in given.items():
        if name == "XDG_CACHE_HOME" or name not in os.environ:
            os.environ[name] = str(folder)


def _print_origin(runs: dict[str, Run], profile: str, without: set[str]) -> None:
    """Print which runs are from evidence, left out, gone, or were computed by something else than this.

    Args:
        runs: by their keys.
        profile: the folder of `params/`.
        without: the keys of the runs that notebooks did without.
    """
    tests = [list(store.record_of(run)["tests"].values()) for run in runs.values()]
    missing = [key for key, run in runs.items() if not store.is_finished(run)]
    gone = [key for key in missing if key not in without]
    published = sum(any(test["place"] != "runs" for test in told) for told in tests)
    here = environment()
    by_others = sum(
        any(test["place"] == "runs" and {**test["computed"], **here} != test["computed"] for test in told)
        for told in tests
    )
    if published:
        print(f"{published} of {len(runs)} runs are read from evidence/; `hybridlib runs list` says their origin.")
    if count := len(missing) - len(gone):
        print(f"{count} of {len(runs)} runs are left out; COMPUTE=1 make reproduce PROFILE={profile} computes them.")
    if gone:
        print(
            f"{len(gone)} of {len(runs)} runs are no longer in runs/: {told(gone)}. What was made from them is there, "
            f"so they are not computed again; delete results/{profile}/ to do so."
        )
    if by_others:
        print(
            f"{by_others} of {len(runs)} runs were computed by other code or packages; delete runs/ and "
            f"results/{profile}/ to compute them anew."
        )


def _print_findings(notebook: str, profile: str) -> None:
    print(f"\nNotebook  {relative(executed_path(profile, notebook))}")
    for figure in figures_of(profile, notebook):
        print(f"Figure    {relative(figure)}")
    if notebook not in QUESTIONS:
        return
    print(f"Results   {relative(results_path(profile, notebook))}")
    print(f"\nWhat was found ({relative(findings_path(profile, notebook))}):\n")
    print(findings_path(profile, notebook).read_text(encoding="utf-8"))
