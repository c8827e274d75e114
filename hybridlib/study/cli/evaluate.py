"""The command `evaluate`: evaluate an encoder on a task.

Under `torchrun`, it spreads over its processes, of which the first prints.
"""

import argparse
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from hybridlib.arguments import Count, FilePath, Name, Names
from hybridlib.data.folds import FOLDS
from hybridlib.data.formats.judgements import Missing
from hybridlib.data.formats.lines import Code
from hybridlib.data.formats.named import FORMATS, load_named
from hybridlib.data.load import TASKS, load_task
from hybridlib.data.task import RetrievalTask
from hybridlib.encoder.finding import findable
from hybridlib.files import replacing
from hybridlib.metric.measures import DEFAULT_MEASURES, parse_measure
from hybridlib.study.cli import outputs
from hybridlib.study.cli.outputs import number_argument, path_argument
from hybridlib.training.settings import Settings


class Evaluation(Settings):
    """The arguments of `hybridlib evaluate`; see its help."""

    encoder: Name
    task: Name
    split: Name | None
    fold: Annotated[int, Field(ge=0, lt=len(FOLDS))] | None
    languages: Names | None
    language: Code | None
    parallel: bool | None
    missing: Missing | None
    ignore_identical_ids: bool | None
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
        if _is_own(value):
            return value
        if any(one.partition("/")[0] not in TASKS or one.endswith("/") for one in value.split("+")):
            own = ", ".join(f"{name}:..." for name in FORMATS)
            raise ValueError(f"allowed: {', '.join(TASKS)}, or several joined by +, or one's own as {own}")
        return value

    @field_validator("encoder")
    @classmethod
    def _findable(cls, value: str) -> str:
        return value if value == "static" else str(findable(value))

    @field_validator("measures")
    @classmethod
    def _known_measures(cls, values: list[str]) -> list[str]:
        for name in values:
            parse_measure(name)
        return values


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `evaluate` to the command line; the function that a command calls is its `run`."""
    parser = commands.add_parser("evaluate", help="evaluate an encoder on a task")
    parser.add_argument("--encoder", required=True, help="a folder, or an id on the hub as owner/name@revision")
    parser.add_argument(
        "--task",
        required=True,
        help=f"of {', '.join(TASKS)}; miracl/<language>, tatoeba/<language>. Or one's own: beir:FOLDER, which holds "
        "corpus.jsonl, queries.jsonl and qrels/; trec:FOLDER, which holds topics.tsv, qrels.txt, and passages.jsonl or "
        ".tsv; trec:TOPICS,QRELS,PASSAGES; squad:FOLDER, which holds <language>.json; pairs:FILES; ir_datasets:NAME; "
        "mteb:NAME. The folder of beir and trec may hold such a folder for each language, called by its code",
    )
    parser.add_argument("--split", help="of the embedded tasks, of mteb, and of beir (test unless given)")
    parser.add_argument("--language", help="one's own: the code of the language of all texts")
    parser.add_argument(
        "--parallel",
        action=argparse.BooleanOptionalAction,
        help="one's own in several languages: whether an id is the same question or passage in all of them",
    )
    parser.add_argument("--missing", help="one's own: refuse (if not given) or drop judgements of what is not there")
    parser.add_argument(
        "--ignore-identical-ids",
        action="store_true",
        default=None,
        help="beir: leave the passage with the id of a query out of its ranking, as BEIR does for Quora and ArguAna",
    )
    parser.add_argument(
        "--fold", type=number_argument, help="of the articles of xquad-r, 0 to 3; all of them unless given"
    )
    parser.add_argument("--languages", nargs="+", action="extend", help="those to take; all unless given")
    parser.add_argument(
        "--pool", type=number_argument, help="'judged', or how many distractors of each language; else all"
    )
    parser.add_argument("--measures", nargs="+", action="extend", help=f"else {' '.join(DEFAULT_MEASURES)}")
    parser.add_argument("--query-prompt", help="put before queries; the encoder's own unless given, none if empty")
    parser.add_argument("--document-prompt", help="put before passages, likewise")
    parser.add_argument("--max-length", type=number_argument, help="tokens of a text that are read")
    parser.add_argument(
        "--batch-tokens", type=number_argument, help="tokens encoded at a time; else what suits the device"
    )
    parser.add_argument("--precision", help="float32 or bfloat16; what suits the device unless given")
    parser.add_argument("--checkpoint", type=path_argument, help="a folder; an interrupted evaluation goes on from it")
    parser.add_argument("--embeddings", type=path_argument, help="a folder to keep the embeddings of the passages in")
    parser.add_argument("--output", type=path_argument, help="a file *.parquet: results, a row a question and measure")
    parser.set_defaults(run=evaluate_encoder)


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
    own = _own_task(chosen)
    prompts = {"query": chosen.query_prompt, "document": chosen.document_prompt}
    encoder = load_encoder(
        chosen.encoder,
        prompts={name: prompt for name, prompt in prompts.items() if prompt is not None},
        max_length=chosen.max_length,
    )
    task = own or load_task(chosen.task, chosen.split, fold=chosen.fold, languages=chosen.languages, pool=chosen.pool)
    languages = ", ".join(sorted({*task.languages, *task.queries.language}))
    outputs.say(f"{chosen.task}: {len(task.queries):,} queries, {len(task.passages):,} passages, {languages}")
    outputs.say(f"{chosen.encoder}{outputs.before(prompts_in_force(encoder, task))}")
    results = evaluate(
        encoder,
        task,
        measures=chosen.measures,
        batch_tokens=chosen.batch_tokens,
        precision=chosen.precision,
        checkpoint=chosen.checkpoint,
        embeddings=chosen.embeddings,
    )
    if chosen.output and outputs.is_first_process():
        with replacing(Path(chosen.output)) as draft:
            results.to_parquet(draft, compression="zstd", index=False)
    outputs.say(outputs.means(results) + (f"\n{task.pool}" if task.pool else ""))


def _is_own(task: str) -> bool:
    kind, colon, _ = task.partition(":")
    return bool(colon) and kind in FORMATS


def _own_task(chosen: Evaluation) -> RetrievalTask | None:
    """Read a task of one's own, before an encoder is loaded, so that what is wrong with it is found; or None."""
    own = {name: getattr(chosen, name) for name in ("language", "parallel", "missing", "ignore_identical_ids")}
    if not _is_own(chosen.task):
        for name, value in own.items():
            if value is not None:
                raise ValueError(f"{name} is {value!r}; allowed for {chosen.task}: None")
        return None
    if chosen.fold is not None:
        raise ValueError(f"fold is {chosen.fold}; allowed for {chosen.task}: None")
    task = load_named(chosen.task, languages=chosen.languages, split=chosen.split, **own)
    return task if chosen.pool is None else task.with_pool(chosen.pool)
