"""Tasks of one's own by name, as the shell takes them: `beir:PATH` and the other formats."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hybridlib.arguments import Name, Names, checked, path_of, told
from hybridlib.data.checks import check_languages
from hybridlib.data.formats.beir import read_beir
from hybridlib.data.formats.ir_datasets import from_ir_datasets
from hybridlib.data.formats.judgements import Missing
from hybridlib.data.formats.lines import Code
from hybridlib.data.formats.mteb import from_mteb
from hybridlib.data.formats.squad import read_squad
from hybridlib.data.formats.tables import from_dataset
from hybridlib.data.formats.trec import read_trec
from hybridlib.data.load import Reader
from hybridlib.data.task import RetrievalTask

_TREC = ("topics", "qrels", "passages")


def _read_beir(place: str, *, languages: Sequence[str] | None = None, **options: Any) -> RetrievalTask:
    return read_beir(_folders(place, "corpus.jsonl", languages), **options)


def _read_trec(place: str, *, languages: Sequence[str] | None = None, **options: Any) -> RetrievalTask:
    if "," in place:
        files: Any = place.split(",")
        if len(files) != len(_TREC):
            raise ValueError(f"the files are {len(files)}; allowed: a folder, or {','.join(_TREC).upper()}")
        return read_trec(*files, **options)
    folders = _folders(place, "topics", languages)
    if isinstance(folders, Path):
        return read_trec(*(_only(folders, name) for name in _TREC), **options)
    by_name = ({code: _only(folder, name) for code, folder in folders.items()} for name in _TREC)
    return read_trec(*by_name, **options)


def _read_squad(place: str, *, language: str | None = None, languages: Sequence[str] | None = None) -> RetrievalTask:
    path = _path(place)
    if not path.is_dir():
        if language is None:
            raise ValueError(f"language is None; allowed: the code of the language of {path}")
        return read_squad({language: path})
    found = sorted((one.stem.rpartition(".")[2], one) for one in path.glob("*.json"))
    files = dict(found)
    if len(files) < len(found):
        raise ValueError(f"{path} holds two files of a language: {told([one.name for _, one in found])}; allowed: one")
    if language is not None or not files:
        wrong = f"language is {language!r}" if files else f"{path} holds no file <language>.json"
        raise ValueError(f"{wrong}; expected files in a folder that are called by their languages")
    return read_squad({code: files[code] for code in check_languages(languages, list(files), place)})


def _read_mteb(place: str, **options: Any) -> RetrievalTask:
    if not find_spec("mteb"):
        raise ImportError("mteb:NAME needs the package mteb: pip install mteb")
    import mteb

    try:
        task = mteb.get_task(place)
    except KeyError:
        raise ValueError(f"the task is {told(place)}; allowed: the name of a task of MTEB") from None
    return from_mteb(task, **options)


def _folders(place: str, mark: str, languages: Sequence[str] | None) -> Any:
    """Return a folder of a task, or the folders of languages in it, by their codes.

    Args:
        place: the path of the folder.
        mark: that which the names of a file in each folder of a task begin with.
        languages: those to take; all unless given.
    """
    folder = _path(place)
    if not any(folder.glob(f"{mark}*")):
        inner = {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{mark}*"))}
        if inner:
            return {code: inner[code] for code in check_languages(languages, list(inner), place)}
    return folder


def _path(place: str) -> Path:
    try:
        return path_of(place)
    except ValueError as error:
        raise ValueError(f"the place is {told(place)}; {error}") from None


def _only(folder: Path, name: str) -> Path:
    """Return the one file in a folder that has a name, whatever its ending is."""
    found = sorted(folder.glob(f"{name}.*"))
    if not found:
        raise FileNotFoundError(f"{folder} has no file {name}.*; expected {', '.join(f'{one}.*' for one in _TREC)}")
    if len(found) > 1:
        raise ValueError(f"{folder} has several files {name}.*: {told([path.name for path in found])}; allowed: one")
    return found[0]


# What stands before the colon, and the arguments that the format takes besides the place.
_SHARED = ("language", "languages", "parallel", "missing")
FORMATS = {
    "beir": Reader(_read_beir, (*_SHARED, "split", "ignore_identical_ids")),
    "trec": Reader(_read_trec, _SHARED),
    "squad": Reader(_read_squad, ("language", "languages")),
    "pairs": Reader(from_dataset, ("languages",)),
    "ir_datasets": Reader(from_ir_datasets, ("language", "missing")),
    "mteb": Reader(_read_mteb, ("split", "parallel", "missing")),
}


@checked
def load_named(
    name: Name,
    *,
    language: Code | None = None,
    languages: Names | None = None,
    parallel: bool | None = None,
    split: Name | None = None,
    missing: Missing | None = None,
    ignore_identical_ids: bool | None = None,
) -> RetrievalTask:
    """Load a task of one's own by the name of its format and its place, with a colon between them.

    Args:
        name: one of these:

            - `beir:FOLDER`: see `read_beir`. A folder may hold one folder for each language.
            - `trec:FOLDER` or `trec:TOPICS,QRELS,PASSAGES`: see `read_trec`. The files of a folder are called `topics`,
              `qrels` and `passages`, with the endings of their kinds; it may hold one folder for each language.
            - `squad:FILE`, or `squad:FOLDER` with a file for each language, such as `en.json` or `xquad.en.json`: see
              `read_squad`.
            - `pairs:FILES`: see `from_dataset`.
            - `ir_datasets:NAME`: see `from_ir_datasets`.
            - `mteb:NAME`: see `from_mteb`.
        language: that of all texts.
        languages: those to take; all unless given.
        parallel, split, missing, ignore_identical_ids: see the functions that read the format.

    Raises:
        ValueError: there is no such format, it does not take an argument that is given, or its reader refuses it.
        FileNotFoundError: a file is missing.
    """
    kind, colon, place = name.partition(":")
    if kind not in FORMATS or not colon or not place:
        raise ValueError(f"task is {told(name)}; allowed: {', '.join(f'{one}:...' for one in FORMATS)}")
    given = {
        "language": language,
        "languages": languages,
        "parallel": parallel,
        "split": split,
        "missing": missing,
        "ignore_identical_ids": ignore_identical_ids,
    }
    options = {option: value for option, value in given.items() if value is not None}
    read, takes = FORMATS[kind]
    for option, value in options.items():
        if option not in takes and option != "languages":
            raise ValueError(f"{option} is {value!r}; {kind} has none: allowed is None")
    task = read(place, **{option: value for option, value in options.items() if option in takes})
    return task if languages is None or sorted(languages) == task.languages else task.restrict(languages)
