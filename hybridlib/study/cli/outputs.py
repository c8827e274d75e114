"""Arguments that commands take, and files, encoders and cards that they write; what cannot be written is said first."""

import argparse
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hybridlib import __version__
from hybridlib.arguments import path_of, told
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.sources.source import check_space, readable
from hybridlib.names import BM25
from hybridlib.paths import check_record, folder_digest, nearest_folder, write_record
from hybridlib.sampler.strategies import STRATEGY_RECORDS
from hybridlib.study.cli.plan import bytes_of
from hybridlib.study.report.results import summarize
from hybridlib.study.run import Run
from hybridlib.study.runs.keys import identity_of, told_settings
from hybridlib.training.settings import Training

RECORD = "hybridlib.json"  # beside an encoder: what it was trained with, and the digest of its files
_BESIDE = (RECORD, "README.md")  # no part of the digest; the card may be completed by hand


def path_argument(text: str) -> Path:
    """Take a path from the command line; an empty one is not taken for the folder here."""
    try:
        return path_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"it is {told(text) if text else 'empty'}; {error}") from None


def number_argument(text: str) -> int | float | str:
    """Take a number from the command line; another text is refused where the argument is checked."""
    if re.fullmatch("-?[0-9]{1,18}", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?[0-9]*\.?[0-9]+([eE][-+]?[0-9]{1,3})?", text) else text


def check_file(name: str, path: Path, suffix: str = "") -> None:
    """Refuse a file that could not be written.

    Args:
        name: of the argument, for messages.
        path: the file; there may be one already.
        suffix: what its name must end in.

    Raises:
        ValueError: it is a folder, or its name ends in something else.
        OSError: there is no folder for it, or nothing can be written there.
    """
    if path.is_dir():
        raise ValueError(f"{name} is {path}, which is a folder; allowed: the path of a file")
    if not path.name.endswith(suffix):
        raise ValueError(f"{name} is {path}; allowed: a name that ends in {suffix}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{name} is {path}, but there is no folder {path.parent}; make it first")
    _check_writable(name, path, path.parent)


def check_folder(name: str, path: Path) -> None:
    """Refuse a folder that could not be made or written into; see `check_file`."""
    _check_writable(name, path, nearest_folder(path, name))


def is_saved(folder: Path, record: Mapping[str, Any]) -> bool:
    """Return whether an encoder is in a folder.

    Args:
        folder: need not exist.
        record: all that the encoder was trained with, such as `record_of_run`.

    Raises:
        ValueError: something else is there, and the message says how its settings differ; or the encoder is damaged.
    """
    there = check_record(folder / RECORD, record, unchecked=["files"])
    if there and there.get("files") != folder_digest(folder, _BESIDE):
        raise ValueError(f"{folder} is damaged: its files are not those that were saved. Delete it to train it again")
    return bool(there)


def check_room(folder: Path, runs: Sequence[Run]) -> str:
    """Return a sentence about the disk that the encoders of runs will take, as far as their size is known.

    Args:
        folder: all are saved there, and in `runs/` too, where `keep_encoder` asks for it.
        runs: those that are to be trained.

    Raises:
        OSError: the disk has less.
    """
    trained = [run for run in runs if run.encoder != BM25]
    kept = sum(run.keep_encoder for run in trained)
    size = sum(bytes_of(run.encoder) * (1 + run.keep_encoder) for run in trained)
    check_space(folder.absolute(), int(size), "the encoders")
    too = f", and {kept} of them in runs/, as keep_encoder asks" if kept else ""
    takes = f"at most {readable(size)} in all" if size else "their size is not known"
    return f"{len(trained)} encoders are to be saved in {folder}{too}: {takes}."


def record_of_run(run: Run) -> dict[str, Any]:
    """Return what a run's encoder was trained with."""
    identity = identity_of(run)
    return {**told_settings(identity), "data": identity["data"]}


def save(encoder: Any, record: Mapping[str, Any], folder: Path) -> None:
    """Save an encoder in a folder, which then knows what it was trained with, as its card does; see `is_saved`."""
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)  # what a kill has left
    encoder.save_pretrained(str(draft))
    card = draft / "README.md"
    begin, heading, end = card.read_text(encoding="utf-8").partition("## Training Details\n")
    rows = "".join(f"| {name} | `{json.dumps(value, ensure_ascii=False)}` |\n" for name, value in record.items())
    table = f"\n### Settings of hybridlib {__version__}\n| setting | value |\n| --- | --- |\n{rows}"
    card.write_text(f"{begin}{heading}{table}{end}", encoding="utf-8")
    write_record(draft / RECORD, {**record, "files": folder_digest(draft, _BESIDE)})
    draft.rename(folder)


def complete_card(
    encoder: Any,
    start: str,
    training: Training,
    corpus: ParallelCorpus,
    *,
    name: str,
    licence: str,
    results: Mapping[str, pd.DataFrame] | None = None,
) -> None:
    """Complete the model card that sentence-transformers writes when a trained encoder is saved.

    Args:
        encoder: changed in place.
        start: names the encoder that it was before.
        training, corpus: how it was trained, and on what.
        name: that of the corpus.
        licence: the encoder's licence as the hub spells it, such as `apache-2.0`.
        results: as returned by `evaluate`, by the names of tests.
    """
    card = encoder.model_card_data
    alpha = f" (alpha {training.alpha:g})" if STRATEGY_RECORDS[training.strategy].monolingual is None else ""
    start = start.partition("@")[0].rstrip("/").split("/")[-1]
    card.model_name = f"{start} trained on {name} with {training.strategy} batches{alpha}"
    card.license = licence
    card.language = [str(code) for code, items in corpus.sizes().items() if items]
    card.local_files_only = True  # nothing is looked up on the hub
    card.widget = []  # its sentences would be cells of any columns
    card.add_tags(["multilingual", "information-retrieval", "hybridlib"])
    for name, values in (results or {}).items():
        metrics = {
            f"{setting} {measure}": round(value, 4)
            for setting, row in summarize(values).to_dict("index").items()
            for measure, value in row.items()
            if value == value  # not NaN, where the measure is not defined in the setting
        }
        card.set_evaluation_metrics(_evaluator(name), metrics)


def before(prompts: Mapping[str, str]) -> str:
    """Return which prompts are in force, to be put after a name."""
    return "".join(f"; before {side}: {told(prompt) if prompt else 'nothing'}" for side, prompt in prompts.items())


def means(results: pd.DataFrame) -> str:
    """Return means over the queries of a language, then over languages, as text."""
    return summarize(results).round(4).to_string(na_rep="")


def is_first_process() -> bool:
    """Return whether this is the first process of several, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    if is_first_process():
        print(text, flush=True)


def _evaluator(name: str) -> Any:
    """Return what a card takes the name of results from; it evaluates nothing."""
    from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator

    class RetrievalTask(SentenceEvaluator):
        description = "Information Retrieval"

    evaluator: Any = RetrievalTask()
    evaluator.name = name
    return evaluator


def _check_writable(name: str, path: Path, folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"{name} is {path}, but nothing can be written to {folder}: {error.strerror}") from error
