"""Files that are read line by line. A message tells what is wrong in a line as `path, line n: what`."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
_CHUNK = 1 << 20  # bytes that are decompressed at a time, at most


def place(path: Path | str, number: int, unit: str = "line") -> str:
    """Name a line of a file, counted from 1, as every message does."""
    return f"{path}, {unit} {number}"


def parse_lines(path: Path | str, lines: Iterable[bytes], parse: Callable[[bytes], T]) -> Iterator[tuple[int, T]]:
    """Parse lines one by one.

    Args:
        path: the file, for messages.
        lines: its lines, in order.
        parse: the function that makes something of a line, or raises a ValueError that says what is wrong with it.

    Returns:
        The number of each line, counted from 1, and what was made of it.

    Raises:
        ValueError: a line cannot be read or parsed; the message names the file and the line.
    """
    number = 1
    try:
        for line in lines:
            yield number, parse(line)
            number += 1
    except ValueError as error:
        raise ValueError(f"{place(path, number)}: {_reason(error)}") from error


def whole_lines(path: Path) -> list[bytes]:
    """Read all lines of a file; the last may lack its newline, and an empty file has one empty line."""
    # `splitlines` would also break at characters that are part of a sentence.
    return path.read_bytes().removesuffix(b"\n").split(b"\n")


def gzip_lines(path: Path, bar: tqdm) -> Iterator[bytes]:
    """Read the lines of a compressed file; the bar counts the compressed bytes that were read.

    Raises:
        ValueError: the file is cut off, damaged or not compressed.
    """
    rest, shown = b"", bar.n
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
        try:
            # Reading by lines would lose the lines before the fault that are still in a buffer, and so its number.
            while chunk := stream.read1(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
                bar.update(shown + raw.tell() - bar.n)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"truncated or no gzip file: {error}") from error
    if rest:
        yield rest


def json_record(line: bytes, fields: Mapping[str, type]) -> dict[str, Any]:
    """Parse a JSON object and check that it has some fields, each of its type."""
    record = json.loads(line.decode())
    for name, kind in fields.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise ValueError(f"{name!r} is missing or not of the type {kind.__name__}")
    return record


def _reason(error: ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start + 1}"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.colno}"
    return str(error)
