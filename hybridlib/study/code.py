"""The origin of results: the library's code that computes, and the versions of the packages under it.

Both are part of the key of every run, so changed code never finds results of the code before. Folders decide which code
computes. Python files count by their syntax tree without docstrings and comments, so an edit of prose reruns nothing.
"""

import ast
import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

# A run holds all that a question asks of it, and reports do not change results.
_NOT_COMPUTING = ("study/questions/", "study/report/", "study/cli/")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
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
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()


@cache
def environment() -> dict[str, str]:
    """Return the checksum of the code that computes, and the versions of packages by name."""
    return {"code": code_hash(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}
