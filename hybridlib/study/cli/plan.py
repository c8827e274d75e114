"""`hybridlib plan`: runs and steps, and the most that a profile takes of downloads, disk and GPU hours.

Nothing is downloaded or computed for it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hybridlib.data.load import SOURCES
from hybridlib.data.sources.source import location, readable
from hybridlib.encoder.finding import encoder_folder
from hybridlib.names import BM25, E5_SMALL, STATIC_ENCODERS
from hybridlib.study.cli.notebooks import read_profile
from hybridlib.study.run import Run
from hybridlib.study.runs import store
from hybridlib.study.runs.keys import by_key


class Size(NamedTuple):
    """Millions of parameters of an encoder: all of them, and those that every token is multiplied with."""

    parameters: float
    multiplied: float


# mteb 2.26 lists these numbers; token embeddings are looked up, not multiplied.
_ENCODERS = {
    "FacebookAI/xlm-roberta-base": Size(278, 86),
    "sentence-transformers/LaBSE": Size(471, 86),
    "sentence-transformers/all-MiniLM-L6-v2": Size(23, 11),
    "intfloat/multilingual-e5-small": Size(118, 21),
    E5_SMALL: Size(118, 21),
    **dict.fromkeys(STATIC_ENCODERS, Size(1.6, 0)),
}
# This rate was measured: pairs a second, times millions of multiplied parameters. On an H200, 12 runs side by side of
# multilingual-e5-small (21 million) took 36.6 s each, the median of 136, for 100 steps of 100 pairs in bfloat16. A
# larger encoder keeps a GPU busier, so that hours scaled by parameters are an upper bound.
_RATE = 12 * 100 * 100 / 36.6 * 21
# Each parameter takes so many bytes of the weights, and of a checkpoint, which has the weights and AdamW's two states
# of the last step and of the best.
_WEIGHTS, _CHECKPOINT = 4, 24
# Gzipped text is so many times larger as a table; this was measured on XQuAD-R's paragraphs.
_UNZIPPED = 4


def plan(profile: str) -> str:
    """Return the most that a profile takes.

    Args:
        profile: the folder of `params/`.

    What is not known of an encoder is left out of the numbers, and said.

    Raises:
        ValueError: a parameter is wrong.
        FileNotFoundError: there is no such profile.
    """
    by_notebook = {name: params.runs() for name, params in read_profile(profile).items()}
    every = [*by_key(run for runs in by_notebook.values() for run in runs).values()]  # each is counted once
    large = [run for run in every if run.encoder not in (*STATIC_ENCODERS, BM25)]
    lines = ["notebook                   runs      steps   GPU hours"]
    for name, runs in [*by_notebook.items(), ("in all", every)]:
        steps = sum(run.steps for run in runs)
        lines.append(f"{name:24}{len(runs):7,} {steps:10,} {sum(map(_hours, runs)):11,.1f}")
    kept_runs = sum(map(store.is_finished, every))
    if kept_runs:
        lines += ["", f"{kept_runs} of {len(every)} runs are kept already, and take nothing."]
    kept = [run for run in every if run.keep_encoder]
    kept_bytes = sum(bytes_of(run.encoder) for run in kept)
    if kept:
        lines += ["", f"keep_encoder keeps {len(kept)} encoders in runs/, of {readable(kept_bytes)} in all."]
    if not large:
        return "\n".join([*lines, "", "Static encoders train on a CPU, in seconds a run; nothing is downloaded."])
    downloads, here, tables = _data(every)
    names = dict.fromkeys(name for run in large for name in (run.encoder, run.hard_negatives) if name)
    weights = sum(bytes_of(name) for name in names if not encoder_folder(name))
    saved = max((checkpoint_bytes_of(run.encoder) for run in large if run.save_every), default=0)
    missing = downloads - here + weights
    lines += [
        "",
        f"Download  at most {readable(missing)}: encoders ({readable(weights)}) and missing files",
        f"Disk      at most {readable(missing + tables + saved + kept_bytes)}: with tables, checkpoints, kept encoders",
        "",
        "GPU hours are the most that training takes on one H200, from the rate in hybridlib/study/cli/plan.py.",
        "Larger encoders keep a GPU busier, training may stop earlier, and a run may need some languages only.",
    ]
    for name in names:
        if encoder_folder(name):
            lines.append(f"Of {name}, all parameters are counted as if each token were multiplied with them.")
        elif _size(name) is None:
            lines.append(f"The size of {name} is not known: the numbers are without its download, disk and hours.")
    return "\n".join(lines)


def bytes_of(encoder: str) -> float:
    """Return how much disk an encoder takes when it is saved; 0 where that is not known."""
    size = _size(encoder)
    return _WEIGHTS * size.parameters * 1e6 if size else 0.0


def checkpoint_bytes_of(encoder: str) -> float:
    """Return how much disk the checkpoints of its training take; 0 where that is not known."""
    return bytes_of(encoder) * _CHECKPOINT / _WEIGHTS


def _hours(run: Run) -> float:
    if run.encoder in (*STATIC_ENCODERS, BM25) or run.steps == 0:
        return 0.0
    size = _size(run.encoder)
    columns = 3 if run.hard_negatives else 2  # a negative costs as much as a passage
    return run.steps * run.batch_size * size.multiplied / _RATE * columns / 2 / 3600 if size else 0.0


def _size(encoder: str) -> Size | None:
    """Return the size of an encoder; None where it is not known. Of a folder, it is that of its files."""
    folder = encoder_folder(encoder)
    if folder is None:
        return _ENCODERS.get(encoder.partition("@")[0])
    parameters = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / _WEIGHTS / 1e6
    return Size(parameters, parameters)


def _data(runs: Sequence[Run]) -> tuple[int, int, int]:
    """Return the bytes of all files of the sources that runs need, those that are here, and those of the tables."""
    told = {one for run in runs for one in (run.corpus, run.validation or "", *(test.task for test in run.tests))}
    names = {name for one in told for name in one.split("+")}
    files = [file for name in names for file in getattr(SOURCES.get(name.partition("/")[0]), "files", ())]
    whole = sum(file.size or 0 for file in files)
    here = sum(file.size or 0 for file in files if location(file).is_file())
    return whole, here, sum((file.size or 0) * (_UNZIPPED if file.path.endswith(".gz") else 1) for file in files)
