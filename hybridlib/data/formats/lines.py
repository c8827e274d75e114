"""Lines of files that people bring, each of which holds a passage or a query: JSON, or an id and a text between tabs.

A byte-order mark and line ends of Windows are no part of a text. An id may be a whole number, which becomes a text.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from hybridlib.arguments import FilePath, Name, told
from hybridlib.data.checks import texts_wrong
from hybridlib.data.sources.collection import Row
from hybridlib.data.sources.records import AnyText, Key, fitted, place, read_lines
from hybridlib.files import kind_of, parse_json
from hybridlib.names import ALL_LANGUAGES

# The names that the fields of a record have in BEIR, and those that they have in collections for TREC's tools.
BEIR = {"id": ("_id",), "text": ("text",)}
TREC = {"id": ("id", "_id", "docid", "docno"), "text": ("text", "contents")}
_JSON, _TABS = (".jsonl", ".json"), (".tsv", ".txt")


def _code(value: str) -> str:
    if value == ALL_LANGUAGES or texts_wrong([value]).any():
        raise ValueError(f"allowed: the code of a language; {ALL_LANGUAGES!r} stands for the pool of all of them")
    if value.split() != [value]:
        raise ValueError("allowed: the code of a language, without white space")
    return value


Code = Annotated[Name, AfterValidator(_code)]
# A path, or one for each language.
Paths = FilePath | Annotated[Mapping[Code, FilePath], Field(min_length=1)]


class _Record(TypedDict, total=False):
    _id: Key
    id: Key
    docid: Key
    docno: Key
    title: AnyText | None
    text: AnyText
    contents: AnyText
    language: Code | None
    metadata: Any


_RECORD: TypeAdapter[Any] = TypeAdapter(_Record)


def row_of_json(names: Mapping[str, tuple[str, ...]], language: str | None, titled: bool, line: bytes) -> Row:
    """Parse a record into a passage or a query.

    Args:
        names: those that its `id` and its `text` may have; it has one of each.
        language: that of the text; unless given, it stands in the field `language` of the record or of its `metadata`.
        titled: whether a title is put before the text, with a space between them, as BEIR and MTEB do.
        line: JSON.

    >>> row_of_json(BEIR, "en", True, b'{"_id": 7, "title": "Rain", "text": "It rains."}')
    Row(id='7', language='en', text='Rain It rains.')
    """
    value = parse_json(line.decode(), "the line")
    if not isinstance(value, dict):
        raise ValueError(f"the line is {told(value)}; allowed: a record with names and values")
    further = ["title"] * titled + ["language", "metadata"] * (language is None)
    record = fitted({name: value[name] for name in (*names["id"], *names["text"], *further) if name in value}, _RECORD)
    name, text = (record[_one_of(record, kind, names[kind])] for kind in ("id", "text"))
    if titled:
        text = f"{record.get('title') or ''} {text}"
    return Row(name, language or _language_of(record), text.strip())


def _one_of(record: Mapping[str, Any], kind: str, names: tuple[str, ...]) -> str:
    found = [name for name in names if name in record]
    if len(found) != 1:
        has = f"has {' and '.join(found)}" if found else "lacks it"
        raise ValueError(f"the {kind} of a record is in {' or '.join(names)}; this one {has}")
    return found[0]


def _language_of(record: Mapping[str, Any]) -> str:
    metadata = record.get("metadata")
    found = record.get("language") or (metadata.get("language") if isinstance(metadata, dict) else None)
    if found is None:
        raise ValueError("'language' is missing, in the record and in its metadata; or give the argument language")
    return str(fitted({"language": found}, _RECORD)["language"])


def row_of_tsv(language: str, line: bytes) -> Row:
    """Parse an id and a text with a tab between them.

    >>> row_of_tsv("en", b"7\\tIt rains.")
    Row(id='7', language='en', text='It rains.')
    """
    name, text = cells_of(line.decode().split("\t"), "id", "text")
    if not name.strip():
        raise ValueError("the id is empty")
    return Row(name.strip(), language, text.strip())


def cells_of(cells: list[str], *names: str) -> list[str]:
    """Return the cells of a line, or refuse another number of them than there are names of columns."""
    if len(cells) != len(names):
        raise ValueError(f"the columns are {len(cells)}; allowed: {len(names)}, which are {', '.join(names)}")
    return cells


def parser_of(path: Path, language: str | None, titled: bool) -> Callable[[bytes], Row]:
    """Return what makes a passage or a query of a line of a file for TREC's tools, as the name of the file tells.

    Raises:
        ValueError: the name ends in something else, or no language is given for a file that has no field for it.
    """
    kind = kind_of(path)
    if kind not in (*_JSON, *_TABS):
        raise ValueError(f"{path}: its name tells no format; allowed: names that end in {', '.join((*_JSON, *_TABS))}")
    if kind in _JSON:
        return partial(row_of_json, TREC, language, titled)
    if language is None:
        raise ValueError(f"language is None; allowed: the code of the language of {path}, which has no column for it")
    return partial(row_of_tsv, language)


def read_queries(path: Path, parse: Callable[[bytes], Row]) -> pd.DataFrame:
    """Read a file with a query on each line; see `queries_of`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line cannot be read, or as `queries_of`; the message names the file and the line.
    """
    return queries_of(read_lines(path, parse), str(path))


def queries_of(rows: Iterable[tuple[int, Row]], source: str) -> pd.DataFrame:
    """Make a table of queries: `query_id`, `language` and `text`.

    Args:
        rows: the line of each query and what it says.
        source: names where they are from.

    Raises:
        ValueError: a text is empty, or an id comes twice.
    """
    first: dict[str, int] = {}
    found = []
    for line, row in rows:
        if not row.text:
            raise ValueError(f"{place(source, line)}: the text of query {told(row.id)} is empty")
        if first.setdefault(row.id, line) != line:
            raise ValueError(f"{place(source, line)}: query {told(row.id)} comes twice; it is in line {first[row.id]}")
        found.append(row)
    return pd.DataFrame(found, columns=["query_id", "language", "text"])
