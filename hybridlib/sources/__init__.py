"""Public data: one module for each source, which knows its files, their checksums, their licence and their format.

Every module has `SOURCES`, what `hybridlib data info` prints, and `read_task` or `read_corpus`, which `load_task` and
`load_corpus` call. Files are read from `$HYBRIDLIB_DATA` or downloaded; see `hybridlib.sources.source`.
"""

import importlib
from types import ModuleType

# By the name of a task or corpus.
MODULES = {
    "xquad-r": "lareqa",
    "mlqa-r": "lareqa",
    "miracl": "miracl",
    "tatoeba": "tatoeba",
    "xquad": "xquad",
    "belebele": "belebele",
    "squad-translate": "squad_translate",
    "mmarco": "mmarco",
    "squadshifts": "squadshifts",
}


def module_of(name: str) -> ModuleType:
    """The module that reads a task or corpus, which is imported when it is first asked for."""
    return importlib.import_module(f"hybridlib.sources.{MODULES[name]}")
