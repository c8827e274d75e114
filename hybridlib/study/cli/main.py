"""The command line: `hybridlib reproduce`, `train`, `evaluate`, `runs`, `data` and `plan`."""

import argparse
import os
import signal
import sys

from hybridlib.study.cli import commands, data, runs


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, and return the exit status.

    The status is 1 if a job failed, and 2 if an argument, the parameters or the data are wrong.
    """
    parser = argparse.ArgumentParser(prog="hybridlib", description=__doc__)
    added = parser.add_subparsers(required=True, metavar="command")
    commands.add_commands(added)
    runs.add_command(added)
    data.add_command(added)
    chosen = parser.parse_args(arguments)
    try:
        status = chosen.run(chosen)
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest is flushed to nowhere
        return 128 + signal.SIGPIPE
    except SystemExit as stopped:  # the workflow has printed the reason
        return 2 if stopped.code == 2 else 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
