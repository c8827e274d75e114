"""Files that are read and written: what is wrong with one is said with its name, and none is ever half written."""

import hashlib
import json
import re
import uuid
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import yaml

from hybridlib.arguments import told

# The first bytes of compressed files, which are known by them and not by their names.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def open_bytes(path: Path) -> pa.NativeFile:
    """Open a file to read its bytes, decompressed if it is one of gzip or zstd.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a file")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with path.open("rb") as stream:
        first = stream.read(4)
    kind = next((name for start, name in _COMPRESSED.items() if first.startswith(start)), None)
    return pa.input_stream(str(path), compression=kind)


def read_text(path: Path) -> str:
    """Read a text in UTF-8, with or without a byte-order mark; it may be compressed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, is not UTF-8, or breaks off in the middle of what is compressed.
    """
    try:
        with open_bytes(path) as stream:
            return stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: its byte {error.start} is {error.object[error.start]:#x}") from None
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} cannot be read: {error}") from error


def read_json(path: Path) -> Any:
    """Read a file of JSON.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, holds NaN or infinity, or a key twice in one place; the message names the file.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str) -> Any:
    """Return the value of a text of JSON; `where` names the text in messages. Errors are those of `read_json`."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {_line(error)}") from None


def read_yaml(path: Path) -> Any:
    """Read a file of YAML as version 1.2 has it, by the safe loader.

    In version 1.1 `no` is false, `010` is 8, `1:30` is 90 and `1e-4` is a text. Here they are the text `no`, the number
    10, the text `1:30` and the number 0.0001.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, or a key is no text or comes twice in one place; the message names the file.
    """
    text = read_text(path)
    try:
        return _Loader(text).get_single_data()
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:  # tags raise the last three
        raise ValueError(f"{path} is not YAML: {_line(error)}") from None


class _Loader(yaml.SafeLoader):
    """The safe loader with the plain values of YAML 1.2's core schema, and without keys that come twice."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise yaml.constructor.ConstructorError(None, None, "expected keys and values", node.start_mark)
        pairs = [
            (self.construct_object(key, deep=True), self.construct_object(value, deep)) for key, value in node.value
        ]
        for key, _ in pairs:
            if not isinstance(key, str):
                raise ValueError(f"a key is {told(key)}; allowed: a text")
        return dict(_unique(pairs))

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))


for tag, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})$"), list(first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _unique(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {told(next(name for name in names if names.count(name) > 1))} comes twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write; the file is renamed to `path` when the block ends, or removed if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files below a folder, hidden ones left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    told = {path.relative_to(folder).as_posix(): path for path in files}
    seen = {name: checksum(path) for name, path in told.items() if not any(p.startswith(".") for p in name.split("/"))}
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def check_record(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a folder that was made from something else.

    Args:
        path: the JSON file in the folder that says what the folder was made from; it need not exist.
        record: says what the folder is to be used for, in JSON's types.

    Raises:
        ValueError: the file records something else; the message says what differs.
    """
    if not path.exists():
        return
    there = read_json(path)
    if not isinstance(there, dict):
        raise ValueError(f"{path} holds {told(there)}; expected names and values. Delete the folder to make it anew")
    different = [name for name in {**record, **there} if there.get(name) != record.get(name)]
    if different:
        said = "; ".join(f"{name} is {there.get(name)} there and {record.get(name)} here" for name in different)
        raise ValueError(f"{path.parent} was made from something else: {said}. Name another folder or delete this one")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write what a folder is made from, unless it is there already; see `check_record`."""
    if not path.exists():
        with replacing(path) as draft:
            draft.write_text(json.dumps(record, indent=1), encoding="utf-8")
