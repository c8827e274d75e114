"""Records of files, checked where they enter: what is wrong is said with the file, the place and what is allowed.

A place is the number of a line, counted from 1, or the way to a value of JSON, such as `data.0.paragraphs.3.context`.
"""

import codecs
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from hybridlib.arguments import explain, told
from hybridlib.data.checks import texts_wrong
from hybridlib.files import Seen, open_bytes, parse_json, read_json, reading

T = TypeVar("T")
_NUMBER = re.compile("-?[0-9]{1,9}")
_CHUNK = 1 << 18  # bytes in memory at a time
LONGEST = 1 << 26  # bytes of a line; what has no line ends is no file of lines


def _whole(text: str) -> str:
    if texts_wrong([text], empty=True).any():
        raise ValueError("allowed: a text without half of a surrogate pair")
    return text


def _filled(text: str) -> str:
    if not without_mark(text).strip():
        raise ValueError("allowed: a text that is not empty")
    return text


# The fields of records, whose values are checked strictly: a number is no text, and True is no number.
AnyText = Annotated[str, AfterValidator(_whole)]
Text = Annotated[AnyText, AfterValidator(_filled)]
# Some files number their questions.
Key = Annotated[Text, BeforeValidator(lambda key: str(key) if type(key) is int else key)]
# TQuAD, for one, has numbers as texts.
Offset = Annotated[int, BeforeValidator(lambda start: int(start) if _NUMBER.fullmatch(str(start)) else start)]


def fitted(value: Any, layout: TypeAdapter[T], where: str = "") -> T:
    """Return a value of JSON in a layout, without the fields that the layout does not name.

    Args:
        value: as read by `read_json`.
        layout: the fields and their types.
        where: a text to begin the message with, such as the name of the file.

    Raises:
        ValueError: the value does not fit; the message names the first places, and counts the others.
    """
    try:
        return layout.validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(explain(error, value, {}, where)) from None


def parse_record(line: bytes, layout: TypeAdapter[T]) -> T:
    """Parse a line of JSON in a layout; errors are those of `fitted`, and those of `read_json`."""
    return fitted(parse_json(line.decode(), "the line"), layout)


def place(path: Path | str, number: int) -> str:
    """Name a line of a file, counted from 1, as every message does."""
    return f"{path}, line {number}"


def read_lines(
    path: Path, parse: Callable[[bytes], T], *, member: str = "", seen: Seen | None = None
) -> Iterator[tuple[int, T]]:
    """Read a file line by line, compressed or not, and parse each.

    Memory holds a part of the file. Line ends of Windows and a byte-order mark are no part of a line, and the last may
    lack its end.

    Args:
        path: the file.
        parse: the function that makes something of a line, or raises a ValueError that says what is wrong with it.
        member: the name of the file in an archive, if `path` is a tar archive.
        seen: see `open_bytes`.

    Returns:
        The number of each line, counted from 1, and what was made of it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line cannot be read or parsed, which is said with its place; or the file is a folder, empty or
            damaged, or breaks off in the middle of what is compressed.
    """
    number, where = 0, f"{path}/{member}" if member else path
    for line in _lines(path, member, seen):
        number += 1
        try:
            if len(line) > LONGEST:
                raise ValueError(f"the line is longer than {LONGEST:,} bytes")
            found = parse(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
        except UnicodeDecodeError as error:
            raise ValueError(f"{place(where, number)}: not UTF-8: {error.reason} at byte {error.start + 1}") from None
        except ValueError as error:
            raise ValueError(f"{place(where, number)}: {error}") from error
        yield number, found
    if not number:
        raise ValueError(f"{where} is empty")


def _lines(path: Path, member: str, seen: Seen | None) -> Iterator[bytes]:
    """Read the lines of a file or of a member of an archive, without their ends."""
    with reading(path), open_bytes(path, seen) as file, ExitStack() as stack:
        stream: Any = stack.enter_context(_member(file, member)) if member else file
        rest = b""
        while len(rest) <= LONGEST and (chunk := stream.read(_CHUNK)):
            # `splitlines` would also break at characters that are part of a sentence.
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r")
        if rest:
            yield rest.removesuffix(b"\r")


@contextmanager
def _member(file: Any, member: str) -> Iterator[Any]:
    """Open a member of an archive, which is read once from its beginning."""
    with tarfile.open(fileobj=file, mode="r|") as archive:
        found = next((archive.extractfile(one) for one in archive if one.name == member), None)
        if found is None:
            raise tarfile.TarError(f"it has no file {member!r}")
        yield found


# --- SQuAD's format and what was made of it


class Answer(TypedDict, total=False):
    """An answer and where it stands in its paragraph; both may be lost in translation."""

    text: AnyText | None
    answer_start: Offset | None


class _Question(TypedDict):
    id: Key
    question: Text
    answers: NotRequired[list[Answer] | None]
    is_impossible: NotRequired[bool | None]


class _Paragraph(TypedDict):
    context: Text
    qas: list[_Question]


class _Article(TypedDict):
    title: NotRequired[AnyText | None]
    paragraphs: list[_Paragraph]


class _File(TypedDict):
    data: list[_Article]


SQUAD = TypeAdapter(_File)


class _LareqaAnswer(TypedDict):
    text: Text
    answer_start: Offset


class LareqaQuestion(TypedDict):
    """A question and its answers."""

    id: Key
    question: Text
    answers: Annotated[list[_LareqaAnswer], Field(min_length=1)]


class LareqaParagraph(TypedDict):
    """A paragraph, where its sentences begin and end, and the questions on it."""

    context: Text
    sentences: NotRequired[list[AnyText]]
    sentence_breaks: Annotated[list[Annotated[list[int], Field(min_length=2, max_length=2)]], Field(min_length=1)]
    qas: list[LareqaQuestion]


class _LareqaArticle(TypedDict):
    title: Text
    paragraphs: list[LareqaParagraph]


class _LareqaFile(TypedDict):
    data: list[_LareqaArticle]


LAREQA = TypeAdapter(_LareqaFile)


def read_paragraphs(path: Path, layout: TypeAdapter[Any]) -> Iterator[tuple[str, Any, Any]]:
    """Read every paragraph, in the order of the file: its place for messages, its article, and its content.

    The whole file is in memory, for it is a single JSON value.

    Args:
        path: the file.
        layout: the fields of the file; `data` lists its articles, and `paragraphs` those of an article.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not of the layout, or holds no paragraph.
    """
    articles = fitted(read_json(path), layout, str(path))["data"]
    for number, article in enumerate(articles):
        for place, paragraph in enumerate(article["paragraphs"]):
            yield f"{path}: data.{number}.paragraphs.{place}", article, paragraph
    if not any(article["paragraphs"] for article in articles):
        raise ValueError(f"{path} holds no paragraph")


def stands(context: str, start: int | None, text: str | None) -> bool:
    """Tell whether an answer, which is not empty, stands in its paragraph where it should."""
    return bool(text and text.strip()) and start is not None and start >= 0 and context.startswith(text or "", start)


def sentences_of(paragraph: LareqaParagraph, where: str) -> list[str]:
    """Cut a paragraph into its sentences, which come one after the other; characters between them are in none."""
    context, breaks, before, texts = paragraph["context"], paragraph["sentence_breaks"], 0, []
    given = paragraph.get("sentences")
    if given is not None and len(given) != len(breaks):
        raise ValueError(f"{where}.sentences are {len(given)}; allowed: {len(breaks)}, as many as sentence_breaks")
    for number, (begin, end) in enumerate(breaks):
        text = without_mark(context[begin:end]) if before <= begin < end <= len(context) else ""
        if not text.strip():
            raise ValueError(
                f"{where}.sentence_breaks.{number} is {told([begin, end])}; allowed: the begin and the end of a "
                f"sentence that is not empty, behind the one before, in the {len(context)} characters of the paragraph"
            )
        before = end
        texts.append(text)
    return texts


def sentence_at(sentences: Sequence[Sequence[int]], character: int) -> int | None:
    """Return the number of the sentence (its begin and end) that holds a character; None if it lies in none."""
    return next((n for n, (begin, end) in enumerate(sentences) if begin <= character < end), None)


def without_mark(text: str) -> str:
    """Drop byte-order marks: two in a hundred paragraphs of XQuAD begin with one, which the offsets count.

    >>> without_mark("\ufeffIt rains.")
    'It rains.'
    """
    return text.replace("\ufeff", "")
