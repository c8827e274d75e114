"""The command `train`: train an encoder on a corpus or on one's own pairs, or the runs of a parameter file.

Under `torchrun`, it spreads over its processes, of which the first prints:

    torchrun --nproc-per-node 8 -m hybridlib train --params params/paper/batch_ratio.yaml --select strategy=hybrid
"""

import argparse
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybridlib.arguments import told
from hybridlib.data.load import CORPORA
from hybridlib.data.sources.source import check_space
from hybridlib.evaluation.pairs import results_of
from hybridlib.names import STRATEGIES
from hybridlib.paths import check_record, write_record
from hybridlib.study.cli import outputs
from hybridlib.study.cli.notebooks import MODELS
from hybridlib.study.cli.outputs import number_argument, path_argument
from hybridlib.study.cli.plan import bytes_of, checkpoint_bytes_of
from hybridlib.study.run import Run, Trial
from hybridlib.study.runs import store
from hybridlib.study.training import SingleTraining, corpus_name

_DEFAULTS = {name: field.default for name, field in SingleTraining.model_fields.items()}
# Options that go with --corpus, and what the help says of them. Those of numbers are read as such.
_NUMBERS = {
    "alpha": "probability that a batch of hybrid is monolingual (default: {alpha})",
    "steps": "batches to train on (default: {steps})",
    "batch_size": "pairs in a batch, over all processes (default: {batch_size})",
    "mini_batch_size": "pairs that are embedded at a time; fewer take less memory and more time (default: all)",
    "learning_rate": "at the first step (default: 5e-05, or {learning_rate} for a static encoder)",
    "temperature": "of the loss (default: {temperature})",
    "seed": "draws the batches, dropout, and the weights of static:scratch (default: {seed})",
    "max_length": "tokens of a text that are read (default: the encoder's own)",
    "save_every": "steps between checkpoints, from which a killed training goes on (default: {save_every})",
    "validate_every": "steps between validations, of which each makes a checkpoint (default: {validate_every})",
    "patience": "validations without improvement after which training stops (default: {patience})",
}
_TEXTS = {
    "encoder": "a folder, an id on the hub as owner/name@revision, or static, which is small and starts from nothing",
    "strategy": f"of {', '.join(STRATEGIES)} (default: {{strategy}})",
    "precision": "of matrix products, float32 or bfloat16 (default: {precision})",
    "query_prompt": "put before queries, now and ever after (default: the encoder's own; none if empty)",
    "document_prompt": "put before passages, likewise",
}
_LISTS = {
    "languages": "those to train on (default: all of the corpus)",
    "validation": "a corpus or files, as for --corpus, whose loss decides when to stop (default: none)",
}


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `train` to the command line; the function that a command calls is its `run`."""
    parser = commands.add_parser("train", help="train an encoder on your own pairs, or the runs of a parameter file")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--params", type=path_argument, help="a parameter file, as params/paper/batch_ratio.yaml")
    what.add_argument(
        "--corpus", nargs="+", action="extend",
        help=f"files of pairs (.csv, .tsv, .jsonl, .parquet; see docs/your-data.md), or one of {', '.join(CORPORA)}",
    )  # fmt: skip
    parser.add_argument("--output", type=path_argument, required=True, help="a folder for the encoder or encoders")
    parser.add_argument("--licence", default="other", help="of the encoder, for its card (default: %(default)s)")
    parser.add_argument_group("with --params").add_argument(
        "--select", nargs="+", action="extend", metavar="LABEL=VALUE",
        help="only trials with these labels; of several values of a label, any",
    )  # fmt: skip
    group = parser.add_argument_group("with --corpus")
    for names, options in (
        (_TEXTS, {}),
        (_NUMBERS, {"type": number_argument}),
        (_LISTS, {"nargs": "+", "action": "extend"}),
    ):
        for name, said in names.items():
            group.add_argument(_option(name), **options, help=said.format(**_DEFAULTS))
    parser.set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> None:
    """Train what the arguments ask for; options that go with another kind of training are refused."""
    values = {name: getattr(arguments, name) for name in (*_TEXTS, *_NUMBERS, *_LISTS)}
    given = {name: value for name, value in values.items() if value is not None}
    if arguments.corpus is not None:
        if arguments.select is not None:
            raise ValueError("--select goes with --params, whose file has several trials; allowed: --corpus without it")
        chosen = SingleTraining.checked({"corpus": arguments.corpus, **given})
        train_on_corpus(chosen, arguments.output, arguments.licence)
        return
    if given:
        raise ValueError(f"{_option(next(iter(given)))} goes with --corpus; with --params, the file has all settings")
    train(arguments.params, arguments.select or [], arguments.output, arguments.licence)


def train_on_corpus(chosen: SingleTraining, output: Path, licence: str) -> None:
    """Train an encoder, and save it with its card. All but the encoder is read and checked before it is loaded.

    An interrupted training goes on from its checkpoints, which lie beside the output until it is whole.

    Args:
        chosen: how to train, and on what.
        output: a folder for the encoder. One that is there already is not trained again.
        licence: the licence of the encoder.

    Raises:
        ValueError: the data are wrong, or what is in the folder was made with other settings or data.
        OSError: a file is missing, or the folder cannot hold the encoder.
    """
    folder = Path(os.path.abspath(output))
    scratch = folder.parent / f".{folder.name}-training"
    outputs.check_folder("output", folder)
    corpus, validation = chosen.load_corpus(), chosen.load_validation()
    record = chosen.record(corpus, validation)
    if outputs.is_saved(folder, record):
        if outputs.is_first_process():
            shutil.rmtree(scratch, ignore_errors=True)  # what a kill right after saving has left
        outputs.say(f"It is there already.\nEncoder  {output}")
        return
    if not (scratch / outputs.RECORD).exists() or any(scratch.glob("checkpoints/checkpoint-*")):
        check_record(scratch / outputs.RECORD, record)
    elif outputs.is_first_process():
        shutil.rmtree(scratch)  # a kill has left it, with nothing to go on from
    size = bytes_of(chosen.encoder) + checkpoint_bytes_of(chosen.encoder)
    check_space(folder, int(size), "the encoder and its checkpoints")
    outputs.say(f"{corpus}\n{chosen.steps} steps of {chosen.batch_size} pairs, learning rate {chosen.learning_rate:g}")
    write_record(scratch / outputs.RECORD, record)
    from hybridlib.evaluation.processes import connected_processes

    first = outputs.is_first_process()
    try:
        encoder = chosen.train(corpus, validation, checkpoints=scratch / "checkpoints", progress=first)
    except BaseException:
        if first and not any(scratch.glob("checkpoints/checkpoint-*")):
            shutil.rmtree(scratch)  # it has nothing to go on from, and would be refused to other settings
        raise
    with connected_processes() as processes:
        processes.wait()  # until none reads the checkpoints any more
    if first:
        outputs.complete_card(encoder, chosen.encoder, chosen, corpus, name=corpus_name(corpus), licence=licence)
        outputs.save(encoder, record, folder)
        shutil.rmtree(scratch)
    outputs.say(f"Encoder  {output}")


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
    if params.stem not in MODELS:
        allowed = ", ".join(f"{name}.yaml" for name in MODELS)
        raise ValueError(f"params is {params}; allowed are files named {allowed}")
    checked = MODELS[params.stem].from_yaml(params)
    runs = _selected(checked.trials(), select)
    outputs.check_folder("output", output)
    records = {name: outputs.record_of_run(run) for name, run in runs.items()}
    there = {name for name in runs if outputs.is_saved(output / name, records[name])}
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
                corpus = run.load_corpus()
                outputs.complete_card(
                    encoder, run.encoder, run, corpus, name=run.corpus, licence=licence, results=results
                )
                outputs.save(encoder, records[name], output / name)
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


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
