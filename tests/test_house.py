"""The house keeps its shape: which folder may import which, and how much a file, a function or a folder may hold."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from hybridlib.paths import project_root

PACKAGE = project_root() / "hybridlib"
FILES = sorted(PACKAGE.rglob("*.py"))
# What each room may import besides itself. `tokens`, `cuts` and `lookup` are what the loss shares with the encoder, and
# `checks` those of tables and texts, which all share.
CORE = {"sampler", "loss", "metric"}
GROUND = {"arguments", "files", "names", "paths", "checks"}
ROOMS = {
    "arguments": set(),
    "files": {"arguments"},
    "names": set(),
    "paths": {"arguments", "files"},
    "checks": {"arguments"},
    "cuts": set(),
    "lookup": set(),
    "tokens": {"arguments", "names", "cuts", "lookup"},
    **{room: {"arguments", "names", "tokens"} for room in CORE},
    "data": GROUND | CORE | {"data.sources", "data.formats"},
    "data.sources": GROUND | CORE | {"data"},
    "data.formats": GROUND | CORE | {"data", "data.sources"},
    "encoder": GROUND | CORE | {"tokens", "cuts", "lookup"},
    "training": GROUND | CORE | {"tokens", "data", "encoder"},
    "evaluation": GROUND | CORE | {"tokens", "data", "encoder"},
}
ROOMS["study"] = {*ROOMS, "hybridlib"}
ROOMS["study.report"] = ROOMS["study"] | {"study"}
ROOMS["study.questions"] = ROOMS["study.report"] | {"study.report"}
ROOMS["study.explorer"] = ROOMS["study.questions"] | {"study.questions"}
ROOMS["study.pages"] = ROOMS["study.questions"] | {"study.questions"}
ROOMS["study.cli"] = ROOMS["study.pages"] | {"study.pages", "study.explorer"}
# The door: its names are imported from their modules when they are first used.
DOOR = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
KERNELS = {"kernels.py", "parts.py"}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def room_of(module: str) -> str:
    names = module.split(".")[1:]
    if not names:
        return "hybridlib"
    if ".".join(names[:2]) in ("encoder.tokens", "encoder.cuts", "encoder.lookup", "data.checks"):
        return names[1]
    return next(room for room in (".".join(names[:2]), names[0]) if room in ROOMS)


def imports_of(source: str) -> set[str]:
    """Return the modules of the package that a file imports: at its head, in a function, for types, or by a text."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES) or {node.module}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("import_module", "__import__"):
            found |= {text.value for text in ast.walk(node) if isinstance(text, ast.Constant)}
    return {name for name in found if str(name).split(".")[0] == "hybridlib"}


def forbidden(path: Path, source: str) -> list[str]:
    room = room_of(module_of(path))
    return sorted(name for name in imports_of(source) if room_of(name) not in ROOMS[room] | {room})


def test_imports_run_one_way_between_folders():
    found = {module_of(path): forbidden(path, path.read_text(encoding="utf-8")) for path in FILES if path not in DOOR}
    assert not {module: names for module, names in found.items() if names}


@pytest.mark.parametrize(
    ("importing", "imported"),
    [
        ("loss.py", "def lazily():\n    from hybridlib.data.corpus import ParallelCorpus"),
        ("metric/ranks.py", "import hybridlib.evaluation.evaluate"),
        ("sampler/batches.py", "importlib.import_module('hybridlib.training.fine_tune')"),
        ("data/corpus.py", "if TYPE_CHECKING:\n    from hybridlib.encoder import embed"),
        ("study/report/findings.py", "from hybridlib.study.questions import batch_ratio"),
        ("data/sources/miracl.py", "from hybridlib.data.formats import lines"),
        ("training/starts.py", "import hybridlib"),
    ],
)
def test_an_import_against_the_way_is_seen_however_it_is_written(importing, imported):
    assert forbidden(PACKAGE / importing, imported)


def test_no_module_imports_itself_through_others():
    graph = {module_of(path): imports_of(path.read_text(encoding="utf-8")) for path in FILES if path not in DOOR}
    for name, imported in graph.items():
        graph[name] = {one for one in imported if one in graph}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)  # it raises where there is a circle


def test_files_and_functions_are_short():
    long = []
    for path in FILES:
        source = path.read_text(encoding="utf-8")
        long += [f"{path}: {source.count(chr(10))} lines"] if source.count("\n") > 260 else []
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                named = [argument.arg for argument in arguments if argument.arg not in ("self", "cls", "ctx")]
                if path.name not in KERNELS and (lines > 45 or len(named) > 8):
                    long.append(f"{path}: {node.name} has {lines} lines and {len(named)} arguments")
    assert not long


def test_a_folder_holds_a_dozen_things_at_most():
    for folder in {path.parent for path in FILES}:
        held = [path for path in folder.iterdir() if not path.name.startswith("_") and path.name != "py.typed"]
        assert len(held) <= 12, folder
