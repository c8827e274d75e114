"""The commands `reproduce`, `plan`, `train` and `evaluate`.

Under `torchrun`, `train` and `evaluate` spread over its processes, of which the first prints:

    torchrun --nproc-per-node 8 -m hybridlib train --params params/paper/batch_ratio.yaml --select alpha=0.5
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hybridlib.data.load import TASKS, load_task
from hybridlib.evaluation.pairs import results_of
from hybridlib.files import replacing
from hybridlib.metric.measures import DEFAULT_MEASURES, parse_measure
from hybridlib.study import store
from hybridlib.study.cli.page import write_pages
from hybridlib.study.cli.plan import plan
from hybridlib.study.cli.reproduce import reproduce
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report.results import summarize
from hybridlib.study.run import Run, Trial


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
    parser.add_argument("--params", type=Path, required=True, help="as params/paper/batch_ratio.yaml")
    parser.add_argument("--select", nargs="+", default=[], metavar="LABEL=VALUE", help="only trials with these labels")
    parser.add_argument("--output", type=Path, required=True, help="the folder for the encoders, a folder each")
    parser.add_argument("--licence", default="other", help="of the encoders, for their cards (default: %(default)s)")
    parser.set_defaults(run=lambda chosen: train(chosen.params, chosen.select, chosen.output, chosen.licence))
    _add_evaluate(commands)


def _add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("evaluate", help="evaluate an encoder on a task")
    parser.add_argument("--encoder", required=True, help="a folder, or an id on the hub as owner/name@revision")
    parser.add_argument("--task", required=True, help=f"of {', '.join(TASKS)}; miracl/<language>, tatoeba/<language>")
    parser.add_argument("--split", help="of the embedded tasks")
    parser.add_argument("--fold", type=int, help="of the articles of xquad-r, 0 to 3; all of them unless given")
    parser.add_argument("--languages", nargs="+", help="those to take; all unless given")
    parser.add_argument("--pool", type=_pool, help="'judged', or how many distractors of each language; else all")
    parser.add_argument("--measures", nargs="+", default=list(DEFAULT_MEASURES))
    parser.add_argument("--query-prompt", help="put before queries; the encoder's own unless given")
    parser.add_argument("--document-prompt", help="put before passages")
    parser.add_argument("--max-length", type=int, help="tokens of a text that are read")
    parser.add_argument("--batch-tokens", type=int, help="tokens encoded at a time; what suits the device unless given")
    parser.add_argument("--precision", help="float32 or bfloat16; what suits the device unless given")
    parser.add_argument("--checkpoint", type=Path, help="a folder from which an interrupted evaluation goes on")
    parser.add_argument("--embeddings", type=Path, help="a folder to keep the embeddings of the passages in")
    parser.add_argument("--output", type=Path, help="a Parquet file for the results, a row a question and measure")
    parser.set_defaults(run=evaluate_encoder)


def train(params: Path, select: Sequence[str], output: Path, licence: str) -> None:
    """Train and evaluate trials of a parameter file; notebooks find the runs, which are not computed again.

    Args:
        params: a file with the name of a notebook.
        select: labels that a trial must have, as `alpha=0.5`.
        output: the encoders are saved there, each with its model card.
        licence: the licence of the encoders.

    Raises:
        ValueError: the parameters are wrong, or no trial has the labels.
    """
    if params.stem not in QUESTIONS:
        raise ValueError(
            f"params is {params}; allowed are files named {', '.join(f'{name}.yaml' for name in QUESTIONS)}"
        )
    checked = QUESTIONS[params.stem].from_yaml(params)
    runs = _selected(checked.trials(), select)
    checked.check_data()
    for number, (name, run) in enumerate(runs.items()):
        _print(f"{number + 1} of {len(runs)}: {name}")
        if (output / name).is_dir():
            _print("It is there already.\n")
            continue
        started = time.monotonic()
        encoder = store.train(run, progress=_is_first_process())
        seconds = time.monotonic() - started
        tests = {run.test_name(test): test for test in run.tests}
        measured = {
            name: store.measure(run, encoder, test, progress=_is_first_process()) for name, test in tests.items()
        }
        results = {name: results_of(ranked) for name, ranked in measured.items()}
        if _is_first_process():
            store.keep(run, measured, encoder, seconds)
            if encoder is not None:
                _save(encoder, run, results, output / name, licence)
        for test_name, values in results.items():
            _print(f"{test_name}\n{_means(values)}")
        _print("There is nothing to save.\n" if encoder is None else f"Encoder  {output / name}\n")


def evaluate_encoder(chosen: argparse.Namespace) -> None:
    """Evaluate an encoder, print the means, and keep the results if there is a file for them.

    Args:
        chosen: the arguments of the command.
    """
    from hybridlib.evaluation.evaluate import evaluate
    from hybridlib.training.starts import load_encoder

    for name in chosen.measures:
        parse_measure(name)
    task = load_task(chosen.task, chosen.split, fold=chosen.fold, languages=chosen.languages, pool=chosen.pool)
    prompts = {"query": chosen.query_prompt, "document": chosen.document_prompt}
    encoder = load_encoder(
        chosen.encoder,
        prompts={name: prompt for name, prompt in prompts.items() if prompt is not None},
        max_length=chosen.max_length,
    )
    languages = ", ".join(sorted({*task.languages, *task.queries.language}))
    _print(f"{chosen.task}: {len(task.queries):,} queries, {len(task.passages):,} passages, {languages}")
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
        with replacing(chosen.output) as draft:
            results.to_parquet(draft, compression="zstd", index=False)
    _print(_means(results) + (f"\n{task.pool}" if task.pool else ""))


def _selected(trials: Sequence[Trial], select: Sequence[str]) -> dict[str, Run]:
    """Return the runs whose labels are those asked for, each once, by a name made of its labels."""
    wanted = dict(one.partition("=")[::2] for one in select)
    known = {label: sorted({_label(trial.labels[label]) for trial in trials}) for label in trials[0].labels}
    for label, value in wanted.items():
        if value not in known.get(label, ()):
            allowed = "; ".join(f"{name}: {', '.join(values)}" for name, values in known.items())
            raise ValueError(f"select is {label}={value}; allowed: {allowed}")
    runs: dict[Run, str] = {}
    for trial in trials:
        if all(_label(trial.labels[label]) == value for label, value in wanted.items()):
            name = ",".join(f"{label}={_label(value)}" for label, value in trial.labels.items())
            runs.setdefault(trial.run, name.replace("/", "-").replace(" ", "-"))
    if not runs:
        raise ValueError(f"select is {' '.join(select)}; no trial has these labels together")
    return {name: run for run, name in runs.items()}


def _save(encoder: Any, run: Run, results: Mapping[str, pd.DataFrame], folder: Path, licence: str) -> None:
    from hybridlib.study.cli.card import complete_card

    draft = folder.with_name(f".{folder.name}")
    complete_card(encoder, run, results, licence=licence)
    encoder.save_pretrained(str(draft))
    draft.rename(folder)


def _means(results: pd.DataFrame) -> str:
    """Return means over the queries of a language, then over languages, as text."""
    return summarize(results).round(4).to_string(na_rep="")


def _pool(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_first_process() -> bool:
    """Return whether this is the first process of several, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _print(text: str) -> None:
    if _is_first_process():
        print(text, flush=True)
