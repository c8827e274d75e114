"""What the notebooks do, from a shell: `hybridlib train` and `hybridlib evaluate`.

Under `torchrun` both spread over its processes, of which the first says what is to be said:

    torchrun --nproc-per-node 8 -m hybridlib train --params params/paper/batch_ratio.yaml --select alpha=0.5
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hybridlib.data.load import TASKS
from hybridlib.paths import replacing
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report.results import summarize
from hybridlib.study.run import Run, Trial

if TYPE_CHECKING:
    from hybridlib.data.task import RetrievalTask

_MEASURES = ("map", "ndcg@10", "recall@1", "recall@10", "recall@100", "rr@10", "rank_distance")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `train` and `evaluate` to a command line, as `hybridlib.study.cli.main` has it."""
    parser = commands.add_parser("train", help="train the runs of a parameter file, and save the encoders")
    parser.add_argument("--params", type=Path, required=True, help="as params/minilm/batch_ratio.yaml")
    parser.add_argument("--select", nargs="+", default=[], metavar="LABEL=VALUE", help="of its trials only these")
    parser.add_argument("--output", type=Path, required=True, help="the folder for the encoders, a folder each")
    parser.add_argument("--licence", default="other", help="of the encoders, for their cards (default: %(default)s)")
    parser.set_defaults(run=lambda chosen: train(chosen.params, chosen.select, chosen.output, chosen.licence))

    parser = commands.add_parser("evaluate", help="evaluate an encoder on a task")
    parser.add_argument("--encoder", required=True, help="a folder, or an id on the hub as owner/name@revision")
    parser.add_argument("--task", required=True, help=f"of {', '.join(TASKS)}; miracl/<language>, tatoeba/<language>")
    parser.add_argument("--split", help="of the embedded tasks and xquad-r")
    parser.add_argument("--languages", nargs="+", help="those to take; all unless given")
    parser.add_argument("--pool", type=_pool, help="'judged', or how many distractors of each language; else all")
    parser.add_argument("--measures", nargs="+", default=list(_MEASURES))
    parser.add_argument("--query-prompt", help="put before queries; the encoder's own unless given")
    parser.add_argument("--document-prompt", help="put before passages")
    parser.add_argument("--max-length", type=int, help="tokens of a text that are read")
    parser.add_argument("--batch-tokens", type=int, help="of the texts encoded at a time; as the device likes it")
    parser.add_argument("--precision", help="float32, or bfloat16, which a GPU has unless another is given")
    parser.add_argument("--checkpoint", type=Path, help="a folder from which an interrupted evaluation goes on")
    parser.add_argument("--embeddings", type=Path, help="a folder to keep the embeddings of the passages in")
    parser.add_argument("--output", type=Path, help="a Parquet file for the results, a row a question and measure")
    parser.set_defaults(run=lambda chosen: evaluate(chosen))


def train(params: Path, select: Sequence[str], output: Path, licence: str) -> None:
    """Train and evaluate trials of a parameter file; notebooks find the runs, which are not computed again.

    Args:
        params: whose name is that of a notebook.
        select: labels that a trial must have, as `alpha=0.5`.
        output: the encoders are saved there, each with its model card.
        licence: of the encoders.

    Raises:
        ValueError: the parameters are wrong, or no trial has the labels.
    """
    if params.stem not in QUESTIONS:
        raise ValueError(
            f"params is {params}; allowed are files named {', '.join(f'{name}.yaml' for name in QUESTIONS)}"
        )
    checked = QUESTIONS[params.stem].from_yaml(params)
    trials = _selected(checked.plan(), select)
    checked.check_data()
    for number, (name, run) in enumerate(trials.items()):
        _say(f"{number + 1} of {len(trials)}: {name}")
        if (output / name).is_dir():
            _say("It is there already.\n")
            continue
        encoder = run.train(progress=_first())
        results = run.evaluate(encoder, progress=_first())
        if _first():
            run.keep(results, encoder)
            _save(encoder, run, results, output / name, licence)
        _say(f"{_table(results)}\nEncoder  {output / name}\n")


def evaluate(chosen: argparse.Namespace) -> None:
    """Evaluate an encoder, show the means, and keep the results if there is a file for them.

    Args:
        chosen: the arguments of the command.
    """
    from hybridlib.data.load import load_task
    from hybridlib.evaluation import evaluate as evaluation
    from hybridlib.metric.measures import parse_measure
    from hybridlib.training.starts import load_encoder

    for name in chosen.measures:
        parse_measure(name)
    task = load_task(chosen.task, chosen.split, languages=chosen.languages, pool=chosen.pool)
    prompts = {"query": chosen.query_prompt, "document": chosen.document_prompt}
    encoder = load_encoder(
        chosen.encoder,
        prompts={name: prompt for name, prompt in prompts.items() if prompt is not None},
        max_length=chosen.max_length,
    )
    _say(_of_task(chosen.task, task))
    results = evaluation.evaluate(
        encoder,
        task,
        measures=chosen.measures,
        batch_tokens=chosen.batch_tokens,
        precision=chosen.precision,
        checkpoint=chosen.checkpoint,
        embeddings=chosen.embeddings,
    )
    if chosen.output and _first():
        with replacing(chosen.output) as draft:
            results.to_parquet(draft, compression="zstd", index=False)
    _say(_table(results) + (f"\n{task.pool}" if task.pool else ""))


def _selected(plan: Sequence[Trial], select: Sequence[str]) -> dict[str, Run]:
    """The runs whose labels are those asked for, each once, by a name made of its labels."""
    wanted = dict(one.partition("=")[::2] for one in select)
    known = {label: sorted({_shown(trial.labels[label]) for trial in plan}) for label in plan[0].labels}
    for label, value in wanted.items():
        if value not in known.get(label, ()):
            allowed = "; ".join(f"{name}: {', '.join(values)}" for name, values in known.items())
            raise ValueError(f"select is {label}={value}; allowed: {allowed}")
    runs: dict[Run, str] = {}
    for trial in plan:
        if all(_shown(trial.labels[label]) == value for label, value in wanted.items()):
            name = ",".join(f"{label}={_shown(value)}" for label, value in trial.labels.items())
            runs.setdefault(trial.run, name.replace("/", "-").replace(" ", "-"))
    if not runs:
        raise ValueError(f"select is {' '.join(select)}; no trial has these labels together")
    return {name: run for run, name in runs.items()}


def _save(encoder: Any, run: Run, results: pd.DataFrame, folder: Path, licence: str) -> None:
    from hybridlib.study.card import describe_run

    draft = folder.with_name(f".{folder.name}")
    describe_run(encoder, run, licence=licence, results=results).save_pretrained(str(draft))
    draft.rename(folder)


def _of_task(name: str, task: "RetrievalTask") -> str:
    languages = sorted(set(task.languages) | set(task.queries.language))
    return f"{name}: {len(task.queries):,} queries, {len(task.passages):,} passages, {', '.join(languages)}"


def _table(results: pd.DataFrame) -> str:
    """Means over the queries of a language, then over languages."""
    return summarize(results).round(4).to_string(na_rep="")


def _pool(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _shown(label: Any) -> str:
    return f"{label:g}" if isinstance(label, float) else str(label)


def _first() -> bool:
    """Whether this is the first process of several, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _say(text: str) -> None:
    if _first():
        print(text, flush=True)
