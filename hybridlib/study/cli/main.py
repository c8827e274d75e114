"""The command line: `hybridlib reproduce`, `train`, `evaluate`, `runs`, `data` and `plan`."""

import argparse
import io
import os
import signal
import sys
from typing import Any, NoReturn

from hybridlib.arguments import told
from hybridlib.paths import project_root
from hybridlib.study.cli import commands, data, evaluate, runs, train

_LONGEST = 400  # characters of an error


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, and return the exit status.

    The status is 1 if a job failed, 2 if an argument, the parameters or the data are wrong, and 130 if the user has
    interrupted it.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # findings have letters that not every terminal has
    parser: argparse.ArgumentParser = _Parser(prog="hybridlib", description=__doc__)
    added = parser.add_subparsers(required=True, metavar="command")
    commands.add_commands(added)
    for module in (train, evaluate, runs, data):
        module.add_command(added)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _check_encoding()
        _check_texts(given)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    chosen = parser.parse_args(given)
    try:
        status = chosen.run(chosen)
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:  # the reader, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest is flushed to nowhere
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("Interrupted. What is finished is kept, and the same command goes on from there.", file=sys.stderr)
        return 128 + signal.SIGINT
    except SystemExit as stopped:  # the workflow has printed the reason
        return 2 if stopped.code == 2 else 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


class _Once(argparse.Action):
    """An option that is given once, since of several values the last would win without a word."""

    given = False

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if option_string and self.given:
            raise argparse.ArgumentError(self, "it is given twice; allowed: once")
        self.given = True
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """A parser, also of the commands, whose errors are short."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        for name in (None, "store"):
            self.register("action", name, _Once)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message[:_LONGEST]}\nSee {self.prog} --help\n")


def _check_encoding() -> None:
    """Refuse a folder whose name libraries cannot read in the encoding that this process has."""
    root, encoding = project_root(), sys.getfilesystemencoding()
    if encoding != "utf-8" and not str(root).isascii():
        raise ValueError(
            f"the folder {root} has letters that need UTF-8, and the encoding is {encoding}: set PYTHONUTF8=1"
        )


def _check_texts(arguments: list[str]) -> None:
    """Refuse bytes that are no text, which files and tokenizers would refuse late, or each in its own way."""
    for place, text in enumerate(arguments):
        try:
            text.encode()
        except UnicodeEncodeError:
            before = f" after {told(arguments[place - 1])}" if place else ""
            raise ValueError(f"argument {told(text)}{before} is not UTF-8; allowed: texts in UTF-8") from None
