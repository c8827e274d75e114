"""Pairs of a question and its passage, in one language each: the files or tables that hold them, and their checks."""

import glob
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pandas as pd

from hybridlib.arguments import listed, path_of, told
from hybridlib.data.checks import texts_wrong
from hybridlib.data.formats.parallel.rows import Row, format_of, place_of, read_rows, rows_of_table
from hybridlib.files import checksum
from hybridlib.names import ALL_LANGUAGES, script

NEEDED = ("item", "query", "passage")
OPTIONAL = ("language", "passage_group", "domain", "dataset")
_ALLOWED = (
    "the path of a file, a pattern such as 'pairs/*.jsonl', a list of these, a path for each language, a DataFrame or "
    "a datasets.Dataset"
)


class Pair(NamedTuple):
    """A question and its passage; `passage_group` is empty where none is given."""

    item: str
    language: str
    query: str
    passage: str
    passage_group: str
    domain: str
    dataset: str


@dataclass(frozen=True)
class Part:
    """A part of a source: a file, or a table.

    Attributes:
        rows: reads them, each with its number.
        place: names the row of a number, for messages.
        made_from: what the rows depend on, in JSON's types.
        language: that of rows which name none.
        must: whether all rows are in this language.
    """

    rows: Callable[[], Iterator[Row]]
    place: Callable[[int], str]
    made_from: str
    language: str | None = None
    must: bool = False


def parts_of(source: Any) -> tuple[list[Part], str]:
    """Return the parts of a source, and its name: that of its file, or of the folder of several.

    Args:
        source: as `read_parallel` takes it, but no table.

    Raises:
        FileNotFoundError: no file matches a pattern.
        ValueError: it is nothing of that kind, names no file, or a file whose name tells no format.
    """
    files: list[tuple[Path, str | None]]
    named = isinstance(source, Mapping)
    if named:
        files = [(_path(path), code_of(language)) for language, path in source.items()]
    else:
        every = [source] if isinstance(source, str | Path) else listed(source)
        if not isinstance(every, list):
            raise ValueError(f"source is {told(source)}; allowed: {_ALLOWED}")
        files = [(file, _code_in_name(file)) for one in every for file in _matching(_path(one))]
    if not files:
        raise ValueError(f"source is {told(source)}, which names no file; allowed: {_ALLOWED}")
    parts = [
        Part(
            lambda path=path: read_rows(path, NEEDED, OPTIONAL),  # type: ignore[misc]
            lambda number, path=path: place_of(path, number),  # type: ignore[misc]
            # The reader refuses what is no file.
            f"{format_of(path)} {checksum(path) if path.is_file() else None}",
            language,
            named,
        )
        for path, language in files
    ]
    first = files[0][0]
    return parts, (first.name.partition(".")[0] if len(files) == 1 else first.resolve().parent.name) or "pairs"


def part_of_table(table: datasets.Dataset) -> Part:
    """Return the only part of a source that is a table."""
    return Part(lambda: rows_of_table(table, "source", NEEDED), "source, row {}".format, table._fingerprint)


def read_pairs(parts: Sequence[Part], name: str) -> Iterator[tuple[Part, int, Pair]]:
    """Read the pairs of all parts, without those that are missing; each with its part and its number there.

    Args:
        parts: one after the other.
        name: the dataset and the domain of pairs that name none.

    Raises:
        ValueError: a value is empty or of another type; the message names the place.
    """
    for part in parts:
        for number, record in part.rows():
            try:
                pair = _pair(record, part, name)
            except ValueError as error:
                raise ValueError(f"{part.place(number)}: {error}") from None
            if pair is not None:
                yield part, number, pair


def _pair(record: Mapping[str, Any], part: Part, name: str) -> Pair | None:
    """Check a row; None if the item is missing there."""
    language = part.language
    if "language" in record:
        language = code_of(record["language"])
        if part.must and language != part.language:
            raise ValueError(f"language is {told(language)}; allowed: {told(part.language)}, as source has it")
    elif language is None:
        raise ValueError("the column 'language' is missing; allowed without: a file that its language names, as sw.csv")
    item = _key("item", record["item"])
    if not item:
        raise ValueError(f"item is {told(record['item'])}; allowed: a text that is not empty, or a whole number")
    query, passage = (_text(column, record[column]) for column in ("query", "passage"))
    group = _key("passage_group", record.get("passage_group"))
    domain, dataset = (_text(column, record.get(column)) or name for column in ("domain", "dataset"))
    if not query and not passage:
        return None
    if not query or not passage:
        lacking = "passage" if query else "query"
        raise ValueError(f"the {lacking} of item {told(item)} is empty; allowed: a text, or neither query nor passage")
    return Pair(item, language, query, passage, "" if group == "-1" else group, domain, dataset)


def check_items(parts: Sequence[Part], name: str, rows: Mapping[str, np.ndarray], item: np.ndarray) -> None:
    """Refuse an item that comes twice in a language, or whose group, domain or dataset differ between languages.

    Args:
        parts, name: as `read_pairs` takes them; a pair that is wrong is read again, since its place was not kept.
        rows: a number that stands for the `language` of each pair, and one for each of `passage_group`, `domain` and
            `dataset` that an item must have once. (R,)
        item: the number of each pair's item, in their order of appearance. (R,)
    """

    def found(row: int) -> tuple[str, Pair]:
        part, number, pair = next(islice(read_pairs(parts, name), row, None))
        return part.place(number), pair

    cell = pd.Series(item * (rows["language"].max() + 1) + rows["language"])  # (R,)
    if (again := cell.duplicated().to_numpy()).any():
        row = int(again.argmax())
        (here, pair), (there, _) = found(row), found(int((cell == cell[row]).argmax()))
        raise ValueError(f"{here}: item {told(pair.item)} comes twice in language {pair.language}; it is in {there}")
    first = np.flatnonzero(~pd.Series(item).duplicated())  # (I,)
    for column in ("passage_group", "domain", "dataset"):
        if column in rows and (other := rows[column] != rows[column][first[item]]).any():
            row = int(other.argmax())
            (here, pair), (there, before) = found(row), found(int(first[item[row]]))
            one, two = (told(getattr(pair, column) or None) for pair in (pair, before))
            raise ValueError(f"{here}: {column} of item {told(pair.item)} is {one}; allowed: {two}, as in {there}")


def code_of(value: Any) -> str:
    """Return the code of a language, or refuse what cannot be one."""
    if not isinstance(value, str) or value.split() != [value] or texts_wrong([value])[0]:
        raise ValueError(f"language is {told(value)}; allowed: the code of a language, without white space")
    if value == ALL_LANGUAGES:
        raise ValueError(f"language is {value!r}; allowed: the code of a language; this stands for the pool of all")
    return value


def _key(column: str, value: Any) -> str:
    """Return what names an item or a group, as a text; empty if nothing does."""
    if type(value) is int or (isinstance(value, float) and value.is_integer()):  # a column with empty cells has 7.0
        return str(int(value))
    return _text(column, value, "a text or a whole number")


def _text(column: str, value: Any, allowed: str = "a text") -> str:
    """Return a text; an empty one if it is blank, null or NaN."""
    if value is None or value != value:
        return ""
    if texts_wrong([value], empty=True)[0]:
        raise ValueError(f"{column} is {told(value)}; allowed: {allowed}")
    return value if value.strip() else ""


def _path(path: Any) -> Path:
    try:
        return path_of(path)
    except ValueError:
        raise ValueError(f"source is {told(path)}; allowed: {_ALLOWED}") from None


def _matching(path: Path) -> list[Path]:
    """List the files that match a pattern, sorted; what is no pattern is the path of a file."""
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(Path(one) for one in glob.glob(str(path), recursive=True))
    if not found:
        raise FileNotFoundError(f"source is {told(str(path))}, and there is no such file")
    return found


def _code_in_name(path: Path) -> str | None:
    """Return the code of a language that a file is named by, if it is one that is known."""
    stem = path.name.partition(".")[0]
    return None if script(stem) == "Zzzz" else stem
