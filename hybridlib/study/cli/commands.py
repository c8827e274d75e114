"""The commands `reproduce`, `plan`, `train` and `evaluate`.

Under `torchrun`, `train` and `evaluate` spread over its processes, of which the first prints:

    torchrun --nproc-per-node 8 -m hybridlib train --params params/paper/batch_ratio.yaml --select strategy=hybrid
"""

import argparse
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, field_validator

from hybridlib.arguments import Count, FilePath, Name, Names, told
from hybridlib.data.folds import FOLDS
from hybridlib.data.load import TASKS, load_task
from hybridlib.evaluation.pairs import results_of
from hybridlib.files import replacing
from hybridlib.metric.measures import DEFAULT_MEASURES, parse_measure
from hybridlib.study import store
from hybridlib.study.cli import outputs
from hybridlib.study.cli.outputs import path_argument
from hybridlib.study.cli.page import write_pages
from hybridlib.study.cli.plan import plan
from hybridlib.study.cli.reproduce import reproduce
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report.results import summarize
from hybridlib.study.run import Run, Trial
from hybridlib.training.settings import Settings


class Evaluation(Settings):
    """The arguments of `hybridlib evaluate`; see its help."""

    encoder: Name
    task: Name
    split: Name | None
    fold: Annotated[int, Field(ge=0, lt=len(FOLDS))] | None
    languages: Names | None
    pool: Literal["judged"] | Count | None
    measures: Names
    query_prompt: str | None
    document_prompt: str | None
    max_length: Count | None
    batch_tokens: Count | None
    precision: Literal["float32", "bfloat16"] | None
    checkpoint: FilePath | None
    embeddings: FilePath | None
    output: FilePath | None

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str) -> str:
        if any(one.partition("/")[0] not in TASKS or one.endswith("/") for one in value.split("+")):
            raise ValueError(f"allowed: {', '.join(TASKS)}, or several joined by +")
        return value

    @field_validator("measures")
    @classmethod
    def _known_measures(cls, values: list[str]) -> list[str]:
        for name in values:
            parse_measure(name)
        return values


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands to the command line; the function that a command calls is its `run`."""
    parser = commands.add_parser("reproduce", help="train, evaluate and draw the questions of notebooks")
    parser.add_argument("notebook", nargs="*", help="notebooks, without .ipynb; all of the profile unless named")
    parser.add_argument("--profile", default="embedded", help="the folder of params/ to take (default: %(default)s)")
    parser.add_argument("--compute", action="store_true", help="compute the runs that the evidence of a profile lacks")
    parser.set_defaults(run=lambda chosen: reproduce(chosen.notebook, chosen.profile, compute=chosen.compute))

    parser = commands.add_parser("plan", help="estimate runs, downloads, disk and GPU hours before anything starts")
    parser.add_argument("--profile", default="embedded", help="the folder of params/ to take (default: %(default)s)")
    parser.set_defaults(run=lambda chosen: print(plan(chosen.profile)))

    parser = commands.add_parser(
        "results", help="write docs/results.md and the README's table from what notebooks found"
    )
    parser.add_argument("--profile", default="e5", help="the folder of params/ to take (default: %(default)s)")
    parser.set_defaults(run=lambda chosen: print(*write_pages(chosen.profile), sep="\n"))

    parser = commands.add_parser("train", help="train the runs of a parameter file, and save the encoders")
    parser.add_argument("--params", type=path_argument, required=True, help="as params/paper/batch_ratio.yaml")
    parser.add_argument(
        "--select", nargs="+", action="extend", default=[], metavar="LABEL=VALUE",
        help="only trials with these labels; of several values of a label, any",
    )  # fmt: skip
    parser.add_argument("--output", type=path_argument, required=True, help="the folder for the encoders, one each")
    parser.add_argument("--licence", default="other", help="of the encoders, for their cards (default: %(default)s)")
    parser.set_defaults(run=lambda chosen: train(chosen.params, chosen.select, chosen.output, chosen.licence))
    _add_evaluate(commands)


def _add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("evaluate", help="evaluate an encoder on a task")
    parser.add_argument("--encoder", required=True, help="a folder, or an id on the hub as owner/name@revision")
    parser.add_argument("--task", required=True, help=f"of {', '.join(TASKS)}; miracl/<language>, tatoeba/<language>")
    parser.add_argument("--split", help="of the embedded tasks")
    parser.add_argument("--fold", type=_number, help="of the articles of xquad-r, 0 to 3; all of them unless given")
    parser.add_argument("--languages", nargs="+", action="extend", help="those to take; all unless given")
    parser.add_argument("--pool", type=_number, help="'judged', or how many distractors of each language; else all")
    parser.add_argument("--measures", nargs="+", action="extend", help=f"else {' '.join(DEFAULT_MEASURES)}")
    parser.add_argument("--query-prompt", help="put before queries; the encoder's own unless given, none if empty")
    parser.add_argument("--document-prompt", help="put before passages, likewise")
    parser.add_argument("--max-length", type=_number, help="tokens of a text that are read")
    parser.add_argument("--batch-tokens", type=_number, help="tokens encoded at a time; else what suits the device")
    parser.add_argument("--precision", help="float32 or bfloat16; what suits the device unless given")
    parser.add_argument("--checkpoint", type=path_argument, help="a folder; an interrupted evaluation goes on from it")
    parser.add_argument("--embeddings", type=path_argument, help="a folder to keep the embeddings of the passages in")
    parser.add_argument("--output", type=path_argument, help="a file *.parquet: results, a row a question and measure")
    parser.set_defaults(run=evaluate_encoder)


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
        _print(outputs.check_room(output, missing))
        try:
            checked.check_data()
        except (ValueError, OSError) as error:
            raise (ValueError if isinstance(error, ValueError) else OSError)(f"{params}: {error}") from error
    first = _is_first_process()
    for number, (name, run) in enumerate(runs.items()):
        _print(f"{number + 1} of {len(runs)}: {name}")
        if name in there:
            _print("It is there already.\n")
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
            _print(f"{test_name}{_before(run.prompts(encoder, tests[test_name]))}\n{_means(values)}")
        _print("There is nothing to save.\n" if encoder is None else f"Encoder  {output / name}\n")


def evaluate_encoder(arguments: argparse.Namespace) -> None:
    """Evaluate an encoder, print the means, and keep the results if there is a file for them.

    Raises:
        ValueError: an argument is wrong, which is found before anything is loaded where that is possible.
        OSError: there is no such encoder, a file is missing, or the results cannot be written.
    """
    from hybridlib.evaluation.evaluate import evaluate, prompts_in_force
    from hybridlib.training.starts import load_encoder

    given = {name: getattr(arguments, name) for name in Evaluation.model_fields}
    chosen = Evaluation.checked({**given, "measures": arguments.measures or list(DEFAULT_MEASURES)})
    if chosen.output:
        outputs.check_file("output", Path(chosen.output), ".parquet")
    for name in ("checkpoint", "embeddings"):
        if folder := getattr(chosen, name):
            outputs.check_folder(name, folder)
    prompts = {"query": chosen.query_prompt, "document": chosen.document_prompt}
    encoder = load_encoder(
        chosen.encoder,
        prompts={name: prompt for name, prompt in prompts.items() if prompt is not None},
        max_length=chosen.max_length,
    )
    task = load_task(chosen.task, chosen.split, fold=chosen.fold, languages=chosen.languages, pool=chosen.pool)
    languages = ", ".join(sorted({*task.languages, *task.queries.language}))
    _print(f"{chosen.task}: {len(task.queries):,} queries, {len(task.passages):,} passages, {languages}")
    _print(f"{chosen.encoder}{_before(prompts_in_force(encoder, task))}")
    results = evaluate(
        encoder,
        task,
        measures=chosen.measures,
        batch_tokens=chosen.batch_tokens,
        precision=chosen.precision,
        checkpoint=chosen.checkpoint,
        embeddings=chosen.embeddings,
    )
    if chosen.output and _is_first_process():
        with replacing(Path(chosen.output)) as draft:
            results.to_parquet(draft, compression="zstd", index=False)
    _print(_means(results) + (f"\n{task.pool}" if task.pool else ""))


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


def _before(prompts: Mapping[str, str]) -> str:
    """Return which prompts are in force, to be put after a name."""
    return "".join(f"; before {side}: {told(prompt) if prompt else 'nothing'}" for side, prompt in prompts.items())


def _means(results: pd.DataFrame) -> str:
    """Return means over the queries of a language, then over languages, as text."""
    return summarize(results).round(4).to_string(na_rep="")


def _number(text: str) -> str | int:
    return int(text) if re.fullmatch("-?[0-9]{1,18}", text) else text


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_first_process() -> bool:
    """Return whether this is the first process of several, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _print(text: str) -> None:
    if _is_first_process():
        print(text, flush=True)
