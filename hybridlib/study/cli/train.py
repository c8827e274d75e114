"""The command `train`: train the runs of a parameter file, and save the encoders.

Under `torchrun`, it spreads over its processes, of which the first prints:

    torchrun --nproc-per-node 8 -m hybridlib train --params params/paper/batch_ratio.yaml --select strategy=hybrid
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybridlib.arguments import told
from hybridlib.evaluation.pairs import results_of
from hybridlib.study.cli import outputs
from hybridlib.study.cli.outputs import path_argument
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.run import Run, Trial
from hybridlib.study.runs import store


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `train` to the command line; the function that a command calls is its `run`."""
    parser = commands.add_parser("train", help="train the runs of a parameter file, and save the encoders")
    parser.add_argument("--params", type=path_argument, required=True, help="as params/paper/batch_ratio.yaml")
    parser.add_argument(
        "--select", nargs="+", action="extend", default=[], metavar="LABEL=VALUE",
        help="only trials with these labels; of several values of a label, any",
    )  # fmt: skip
    parser.add_argument("--output", type=path_argument, required=True, help="the folder for the encoders, one each")
    parser.add_argument("--licence", default="other", help="of the encoders, for their cards (default: %(default)s)")
    parser.set_defaults(run=lambda chosen: train(chosen.params, chosen.select, chosen.output, chosen.licence))


def train(params: Path, select: Sequence[str], output: Path, licence: str) -> None:
    """Train and evaluate trials of a parameter file; notebooks find the runs, which are not computed again.

    Args:
        params: a file with the name of a notebook.
        select: labels that a trial must have, as `strategy=hybrid`; of several values of a label, any.
        output: the encoders are saved there, each with its model card. One that is there already is not trained again.
        licence: the licence of the encoders.

    Raises:
        ValueError: the parameters are wrong, no trial has the labels, or what is in the folder is of another run.
        OSError: a file is missing, or the folder cannot hold the encoders.
    """
    if params.stem not in QUESTIONS:
        allowed = ", ".join(f"{name}.yaml" for name in QUESTIONS)
        raise ValueError(f"params is {params}; allowed are files named {allowed}")
    checked = QUESTIONS[params.stem].from_yaml(params)
    runs = _selected(checked.trials(), select)
    outputs.check_folder("output", output)
    there = {name for name, run in runs.items() if outputs.is_saved(output / name, run)}
    if missing := [run for name, run in runs.items() if name not in there]:
        outputs.say(outputs.check_room(output, missing))
        try:
            checked.check_data()
        except (ValueError, OSError) as error:
            raise (ValueError if isinstance(error, ValueError) else OSError)(f"{params}: {error}") from error
    first = outputs.is_first_process()
    for number, (name, run) in enumerate(runs.items()):
        outputs.say(f"{number + 1} of {len(runs)}: {name}")
        if name in there:
            outputs.say("It is there already.\n")
            continue
        started = time.monotonic()
        encoder = store.train(run, progress=first)
        seconds = time.monotonic() - started
        tests = {run.test_name(test): test for test in run.tests}
        measured = {name: store.measure(run, encoder, test, progress=first) for name, test in tests.items()}
        results = {name: results_of(ranked) for name, ranked in measured.items()}
        if first:
            store.keep(run, measured, encoder, seconds)
            if encoder is not None:
                outputs.complete_card(encoder, run, results, licence=licence)
                outputs.save(encoder, run, output / name)
        for test_name, values in results.items():
            outputs.say(f"{test_name}{outputs.before(run.prompts(encoder, tests[test_name]))}\n{outputs.means(values)}")
        outputs.say("There is nothing to save.\n" if encoder is None else f"Encoder  {output / name}\n")


def _selected(trials: Sequence[Trial], select: Sequence[str]) -> dict[str, Run]:
    """Return the runs whose labels are those asked for, each once, by a name made of its labels."""
    known: dict[str, dict[str, None]] = {}
    for trial in trials:
        for label, value in trial.labels.items():
            known.setdefault(label, {})[_label(value)] = None
    wanted: dict[str, list[str]] = {}
    for one in select:
        label, _, value = one.partition("=")
        if label not in known or value not in known[label]:
            values = f"values of {label}: {told([*known[label]])}" if label in known else ""
            raise ValueError(f"select is {told(one)}; allowed {values or 'labels: ' + ', '.join(known)}")
        wanted.setdefault(label, []).append(value)
    runs: dict[Run, str] = {}
    for trial in trials:
        labels = {label: _label(value) for label, value in trial.labels.items()}
        if all(labels.get(label) in values for label, values in wanted.items()):
            name = ",".join(f"{label}={value}" for label, value in labels.items())
            runs.setdefault(trial.run, name.replace("/", "-").replace(" ", "-"))
    if not runs:
        raise ValueError(f"select is {told([*select])}; no trial has these labels together")
    return {name: run for run, name in runs.items()}


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
