"""What results are made by: the library's code that computes, and the versions of the packages under it.

Either is part of the key of every run, so that changed code never finds results of the code before.
"""

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

# What drawing and telling are done with does not determine a run.
_NOT_COMPUTING = (
    "__init__.py",
    "__main__.py",
    "comparison.py",
    "data.py",
    "figures.py",
    "findings.py",
    "footprint.py",
    "index.py",
    "jobs.py",
    "model_card.py",
    "paper.csv",
    "paper.py",
    "params.py",
    "paths.py",
    "plan.py",
    "questions.py",
    "reproduce.py",
    "results.py",
    "robustness.py",
    "shell.py",
    "significance.py",
    "workload.py",
)
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
    """A checksum of the library's code: of what computes results, or of all of it."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    code = [*folder.glob("*.py"), *folder.glob("sources/*.py"), *folder.glob("frames/*.yaml"), folder / "paper.csv"]
    for path in sorted(code):
        if not (computing and path.name in _NOT_COMPUTING):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def environment() -> dict[str, str]:
    """The checksum of the code that computes, and the packages' versions by name."""
    return {"code": code_hash(), **{name: importlib.metadata.version(name) for name in _PACKAGES}}
