"""MIRACL with made text: passages in the layout of the hub, with the docids that are asked for."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hybridlib.data.sources.source import File
from hybridlib.paths import checksum

_WORDS = 4096
_LENGTH = 12
# Above every number of an article of Wikipedia, so that no distractor has a docid that is asked for.
_FIRST_DISTRACTOR = 10**12


def made_corpus(
    folder: Path, language: str, docids: Sequence[str], seed: int, distractors: int, per_file: int = 500_000
) -> list[Path]:
    """Write a corpus of made words, in a random order.

    Args:
        folder: what `HYBRIDLIB_DATA` names.
        language: of the folder's name only; the words are of no language.
        docids: those to have.
        seed: of the words and the order.
        distractors: how many others to add.
        per_file: lines of a file; upstream has 500,000.

    Returns:
        The files, in the order of their numbers.
    """
    rng = np.random.default_rng([seed, *language.encode()])
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = ["".join(rng.choice(syllables, 3)) for _ in range(_WORDS)]
    ids = [*docids, *(f"{_FIRST_DISTRACTOR + i // 5}#{i % 5}" for i in range(distractors))]
    order = rng.permutation(len(ids))
    target = folder / "miracl" / f"miracl-corpus-v1.0-{language}"
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, start in enumerate(range(0, len(ids), per_file)):
        paths.append(target / f"docs-{number}.jsonl.gz")
        with gzip.open(paths[-1], "wt", compresslevel=1, encoding="utf-8") as stream:
            rows = order[start : start + per_file].tolist()
            for row, drawn in zip(rows, rng.choice(words, (len(rows), _LENGTH)).tolist(), strict=True):
                record = {"docid": ids[row], "title": drawn[0].title(), "text": " ".join(drawn[1:])}
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
    return paths


def pinned(folder: Path) -> tuple[File, ...]:
    """What `miracl.SOURCE.files` must be for the files of a folder to pass as the published ones."""
    paths = [path for path in (folder / "miracl").rglob("*") if path.is_file()]
    paths.sort(key=lambda path: (path.parent, len(path.name), path.name))  # docs-10 comes after docs-9
    return tuple(
        File(
            path.relative_to(folder).as_posix(),
            f"https://example.org/{path.name}",
            f"sha256:{checksum(path)}",
            path.stat().st_size,
            path.relative_to(folder).as_posix().partition("-v1.0-")[2][:2],
        )
        for path in paths
    )
