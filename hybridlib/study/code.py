"""The origin of results: the library's code that computes, the versions of the packages under it, and the device.

They are recorded with every run, and do not lock: a run that other code or versions have computed is read, and
`hybridlib reproduce` says so. Folders decide which code computes. Python files count by their syntax tree without
docstrings and comments, so an edit of prose is no change.
"""

import ast
import hashlib
import importlib.metadata
import platform
import re
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

# A run holds all that a question asks of it, and reports do not change results.
_NOT_COMPUTING = ("study/questions/", "study/report/", "study/pages/", "study/explorer/", "study/cli/")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Python 3.11 may fail where two threads parse at once, as jobs do: https://github.com/python/cpython/issues/106905
_PARSING = Lock()
_SUFFIXES = (".py", ".csv", ".yaml")
_PACKAGES = (
    "babel",
    "datasets",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)


def code_hash(*, computing: bool = True) -> str:
    """Return a checksum of the library's code: of what computes results, or of all of it."""
    digest = hashlib.sha256()
    folder = Path(__file__).parents[1]
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES):
        name = path.relative_to(folder).as_posix()
        if not (computing and name.startswith(_NOT_COMPUTING)):
            digest.update(name.encode() + (_syntax(path) if path.suffix == ".py" else path.read_bytes()))
    return digest.hexdigest()


def _syntax(path: Path) -> bytes:
    """Return the syntax tree of a Python file, without docstrings, comments and places in the file."""
    with _PARSING:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()


@cache
def environment() -> dict[str, Any]:
    """Return the checksum of the code that computes, and the versions of packages by name."""
    return {"code": code_hash(), "packages": {name: importlib.metadata.version(name) for name in _PACKAGES}}


def origin(seconds: float) -> dict[str, Any]:
    """Return what is recorded of the origin of ranks that are computed now: by what, where, and when.

    Args:
        seconds: what the training took.
    """
    date = datetime.now(UTC).date().isoformat()
    return {**environment(), "device": _device(), "date": date, "commit": _commit(), "seconds": round(seconds, 1)}


@cache
def _device() -> str:
    """Return the name of the GPU, or else of the processor."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    information = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.+)$", information.read_text() if information.exists() else "", re.M)
    return models[0] if models else platform.processor() or platform.machine()


@cache
def _commit() -> str:
    """Return the commit of the library's code; empty where it is not in a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
