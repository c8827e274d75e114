"""Files that are read and written: what is wrong with one is said with its name, and none is ever half written."""

import hashlib
import json
import re
import tarfile
import uuid
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pyarrow as pa
import yaml
from tqdm.utils import CallbackIOWrapper

from hybridlib.arguments import told

# A function that is called with a number of bytes, as that of a progress bar.
Seen: TypeAlias = Callable[[int], object]
PACKED = (".gz", ".zst")  # what the names of compressed files end in
# The first bytes of compressed files, which are known by them and not by their names.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def check_is_file(path: Path) -> None:
    """Refuse a path where there is no file.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: there is a folder.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a file")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")


def kind_of(path: Path) -> str:
    """Return what the name of a file ends in, in small letters; `.gz` or `.zst` may follow.

    >>> kind_of(Path("pairs/en.JSONL.gz"))
    '.jsonl'
    """
    name = path.name.lower()
    return Path(name).with_suffix("").suffix if name.endswith(PACKED) else Path(name).suffix


def open_bytes(path: Path, seen: Seen | None = None) -> pa.NativeFile:
    """Open a file to read its bytes, decompressed if it is one of gzip or zstd.

    Args:
        path: the file.
        seen: is called with the number of bytes of the file, as it is on disk, that each piece of what is read takes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder.
    """
    check_is_file(path)
    with path.open("rb") as stream:
        first = stream.read(4)
    kind = next((name for start, name in _COMPRESSED.items() if first.startswith(start)), None)
    source = str(path) if seen is None else CallbackIOWrapper(seen, path.open("rb"), "read")
    return pa.input_stream(source, compression=kind)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file in what goes wrong while the block reads it; a file that does not exist is named already.

    Raises:
        ValueError: the file is not UTF-8, is damaged, or breaks off in the middle of what is compressed.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: its byte {error.start} is {error.object[error.start]:#x}") from None
    except (OSError, pa.ArrowException, tarfile.TarError) as error:
        raise ValueError(f"{path} cannot be read: {_line(error)}") from error


def read_text(path: Path) -> str:
    """Read a text in UTF-8, with or without a byte-order mark; it may be compressed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, is not UTF-8, or breaks off in the middle of what is compressed.
    """
    with reading(path), open_bytes(path) as stream:
        return stream.read().decode("utf-8-sig")


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
    10, the text `1:30` and the number 0.0001. A value has no name, since a few of them that refer to one another can
    stand for more values than fit into memory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, a key is no text or comes twice in one place, or a value has a name (`&name`); the
            message names the file, and the line and the key where they are known.
    """
    text, way = read_text(path), list[str]()
    try:
        return _Loader(text, way).get_single_data()
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        said = " ".join(filter(None, (error.context, error.problem)))
        mark = error.problem_mark or error.context_mark
        place = [f"line {mark.line + 1}"] if mark else []
        place += [told(".".join(way))] if way else []
        raise ValueError(f"{path} is not YAML: {said[:300]} ({', '.join(place)})") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not YAML: {_line(error)}") from None


class _Loader(yaml.SafeLoader):
    """The safe loader with the plain values of YAML 1.2's core schema, without names of values or keys that come twice.

    Args:
        text: a document.
        way: a list that holds the keys that lead to the value that is made.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def __init__(self, text: str, way: list[str]) -> None:
        super().__init__(text)
        self.way = way

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None:  # that of an alias is the name that it refers to
            raise _refused(f"a value has the name {told(event.anchor)}; allowed: values without names", event)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=True)
        except (ValueError, TypeError, KeyError, AttributeError):  # of values that do not fit their tags
            kind = node.tag.rpartition(":")[2]
            long = f" of {len(node.value):,} characters" if len(node.value) > 100 else ""
            raise _refused(f"{told(node.value)}{long} cannot be read as !!{kind}", node) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):
            raise _refused("expected keys and values", node)
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node)
            if not isinstance(key, str):
                raise _refused(f"a key is {told(key)}; allowed: a text", key_node)
            if key in found:
                raise _refused(f"the key {told(key)} comes twice", key_node)
            self.way.append(key)
            found[key] = self.construct_object(value_node)
            self.way.pop()
        return found

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))


def _refused(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


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
