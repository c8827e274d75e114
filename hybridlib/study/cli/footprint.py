"""What a profile takes on disk and in memory, from what is known before any data is here.

Sizes of downloads are those of `hybridlib.data.sources`; tables and checkpoints are counted, memory by formulas
that stand beside them.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from babel import Locale
from huggingface_hub.constants import HF_HUB_CACHE

from hybridlib.data.load import SOURCES
from hybridlib.data.sources.source import File, Source, location
from hybridlib.study.cli.workload import ITEMS, Shape, items_by_language, shape_of, texts_of
from hybridlib.study.run import Run

# Corpora that are too small to be mapped.
_IN_MEMORY = ("atlas", "atlas-names", "xquad-r")
# The columns of a table's row besides its texts.
_ROW_BYTES = 60
# How much smaller gzip makes passages: XQuAD-R's paragraphs, 2.9 (zh) to 6.2 (th) times, in JSON lines.
_GZIPPED = 4
# Weights and AdamW's two states, in float32, of the last and of the best step.
_CHECKPOINTS = 2 * 3 * 4
# Of weights, gradients and AdamW's two states, in float32.
_TRAINED = 4 * 4
# A layer keeps 34 bytes a token and dimension for the backward pass in 16 bits, without the scores of attention, which
# are not kept today: Korthikanti et al., 2022, arXiv 2205.05198, equation 2.
_ACTIVATIONS = 34
# Of Python with torch; of a text that is kept tokenised, besides its bytes and 8 a token (measured).
_PROCESS, _KEPT_TEXT = 3e9, 1_300


def downloads(runs: Sequence[Run]) -> dict[str, tuple[float, float]]:
    """Bytes of every source and encoder that runs need, and of them those that are here.

    Files of a language are needed where some run is of it; files whose size is not known count as nothing.
    """
    needed: dict[str, set[str]] = {}
    for run in runs:
        settings = dict(run.training)
        for names, languages in ((run.corpus, run.languages), (run.task, run.task_languages)):
            for name in names.split("+"):
                family, _, language = name.partition("/")
                needed.setdefault(family, set()).update([language] if language else languages or ["all"])
        if validation := settings.get("validation"):
            needed.setdefault(validation, set()).add("all")
    found = {}
    for name in sorted(set(needed) & set(SOURCES)):
        files = [file for file in _source(name).files if _of(file, needed[name])]
        here = [file.size or 0 for file in files if location(file).is_file()]
        found[name] = (float(sum(file.size or 0 for file in files)), float(sum(here)))
    for encoder, shape in _encoders(runs).items():
        size = 4.0 * shape.parameters
        found[encoder.partition("@")[0].rpartition("/")[2]] = (size, size if _is_here(encoder) else 0.0)
    return found


def disk(runs: Sequence[Run]) -> dict[str, float]:
    """Bytes that runs write, by what for: tables mapped from disk, checkpoints of a run at a time, encoders kept."""
    saved, kept = [0], [0]
    for run in runs:
        shape, settings = shape_of(run), dict(run.training)
        if shape and ("save_every" in settings or "validation" in settings):
            saved.append(_CHECKPOINTS * shape.parameters)
        if shape and settings.get("keep_encoder"):
            kept.append(4 * shape.parameters)
    tables = _GZIPPED * downloads(runs).get("miracl", (0.0, 0.0))[0] + _tables(runs)
    return {"tables": tables, "checkpoints": max(saved), "kept encoders": sum(kept)}


def _tables(runs: Iterable[Run]) -> float:
    """Of training data: each corpus, and what is left of it where a run takes a part."""
    sizes: dict[tuple, float] = {}
    for run in runs:
        if set(run.corpus.split("+")) <= set(_IN_MEMORY):
            continue
        texts, existing = texts_of(run.corpus), items_by_language(run)
        a_pair, whole = texts.query_bytes + texts.passage_bytes, sum(ITEMS[name] for name in run.corpus.split("+"))
        sizes[(run.corpus, run.languages)] = whole * len(existing) * (a_pair + _ROW_BYTES)
        if run.items or run.available or run.others != 1:
            rows = sum(number for _, number in run.items) or whole
            sizes[run.data()] = sum(existing.values()) * a_pair + rows * len(existing) * _ROW_BYTES
    return sum(sizes.values())


def gpu_memory(runs: Iterable[Run]) -> tuple[float, float]:
    """Bytes on the GPU at texts of mean length, and if each had `max_length` tokens; the most of any run."""
    mean, worst = [0.0], [0.0]
    for run in runs:
        shape, settings, texts = shape_of(run), dict(run.training), texts_of(run.corpus)
        assert shape is not None
        columns = 2 + settings.get("hard_negatives", False)
        bytes_a_token = _ACTIVATIONS * shape.layers * shape.dimensions * _width(run)
        pairs = min(run.batch_size, settings.get("mini_batch_size") or run.batch_size)
        tokens = texts.query_tokens + (columns - 1) * texts.passage_tokens
        for found, each in ((mean, tokens), (worst, columns * (settings.get("max_length") or 512))):
            found.append(_TRAINED * shape.parameters + pairs * each * bytes_a_token)
    return max(mean), max(worst)


def host_memory(runs: Iterable[Run]) -> dict[str, float]:
    """Bytes of RAM, by what for; the most of any run."""
    tokenised, mined = [0.0], [0.0]
    for run in runs:
        shape, settings, texts = shape_of(run), dict(run.training), texts_of(run.corpus)
        assert shape is not None
        items = items_by_language(run)
        of_pair = texts.query_bytes + texts.passage_bytes + 8 * (texts.query_tokens + texts.passage_tokens)
        seen = min(run.steps * run.batch_size * (2 + settings.get("hard_negatives", False)), 2 * sum(items.values()))
        tokenised.append(seen * (_KEPT_TEXT + of_pair / 2))
        if settings.get("hard_negatives"):
            embeddings = 2 * 4 * shape.dimensions * max(items.values())
            mined.append(embeddings + sum(items.values()) * (texts.passage_bytes + _ROW_BYTES))
    return {"Python and torch": _PROCESS, "tokenised texts": max(tokenised), "mining": max(mined)}


def _encoders(runs: Iterable[Run]) -> dict[str, Shape]:
    return {run.encoder: shape for run in runs if (shape := shape_of(run)) is not None}


def _is_here(encoder: str) -> bool:
    """Whether the hub's cache has an encoder, at its revision if one is pinned."""
    name, _, revision = encoder.partition("@")
    return Path(HF_HUB_CACHE, f"models--{name.replace('/', '--')}", "snapshots", revision).is_dir()


def _width(run: Run) -> int:
    return 1 if dict(run.training).get("precision") == "bfloat16" else 2


def _source(name: str) -> Source:
    return SOURCES[name]


def _of(file: File, languages: set[str]) -> bool:
    """Whether a file is needed for some languages; one whose name tells no language always is."""
    codes = _codes()
    named = [codes[word] for word in re.split("[^a-z]+", file.path.lower()) if word in codes]
    return "all" in languages or not named or named[-1] in languages  # as in `train.en-ar.json`


@cache
def _codes() -> dict[str, str]:
    """Codes of languages by themselves and by their English names."""
    names = {code: name for code, name in Locale("en").languages.items() if len(code) == 2}
    return {code: code for code in names} | {name.lower(): code for code, name in names.items()}
