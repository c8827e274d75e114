"""The fixture that publishes made files of a source."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_sources import MADE

from hybridlib.data.load import SOURCES
from hybridlib.data.sources import belebele, xquad

_PUBLISHED = {name: source.files for name, source in SOURCES.items()}


@pytest.fixture
def made(publish: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Publish the made files of a source, and no others, each time anew.

    Args of what it returns: the name of the source; and what changes, by path: the whole content, or a pair of a text
    that is in the file once and another in its place. HYBRIDLIB_DATA names the folder of the folder that is returned.
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
