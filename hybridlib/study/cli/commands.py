"""The commands `reproduce`, `report`, `plan` and `results`, which go through the notebooks of a profile."""

import argparse

from hybridlib.study.cli.plan import plan
from hybridlib.study.cli.reproduce import report, reproduce
from hybridlib.study.pages.results import write_pages


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to the command line; the function that a command calls is its `run`."""
    parser = commands.add_parser("reproduce", help="train, evaluate and draw the questions of notebooks")
    parser.add_argument("notebook", nargs="*", help="notebooks, without .ipynb; all of the profile unless named")
    parser.add_argument("--profile", default="embedded", help="the folder of params/ to take (default: %(default)s)")
    parser.add_argument("--compute", action="store_true", help="compute the runs that the evidence of a profile lacks")
    parser.set_defaults(run=lambda chosen: reproduce(chosen.notebook, chosen.profile, compute=chosen.compute))

    parser = commands.add_parser(
        "report", help="write one page of all notebooks of a profile, results/<profile>/report.html"
    )
    parser.add_argument("--profile", default="embedded", help="the folder of params/ to take (default: %(default)s)")
    parser.set_defaults(run=lambda chosen: report(chosen.profile))

    parser = commands.add_parser("plan", help="estimate runs, downloads, disk and GPU hours before anything starts")
    parser.add_argument("--profile", default="embedded", help="the folder of params/ to take (default: %(default)s)")
    parser.set_defaults(run=lambda chosen: print(plan(chosen.profile)))

    parser = commands.add_parser(
        "results", help="write docs/results.md and the README's table from what notebooks found"
    )
    parser.add_argument("--profile", default="e5", help="the folder of params/ to take (default: %(default)s)")
    parser.set_defaults(run=lambda chosen: print(*write_pages(chosen.profile), sep="\n"))
