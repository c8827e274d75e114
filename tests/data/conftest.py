"""Fixtures of the tests of data: a cache for each test, and made files in place of the published ones."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from hybridlib.data.sources.source import Source


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a cache of its own, and return the folder of its tables."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "hybridlib"


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write files of a source, by their paths in its folder, and pin them as they are.

    HYBRIDLIB_DATA names the folder of all sources; the folder of this one is returned. With `only`, the source has no
    other files.
    """
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path / "data"))

    def write(source: Source, contents: Mapping[str, bytes | str], only: bool = False) -> Path:
        made = {}
        for name, content in contents.items():
            content = content.encode() if isinstance(content, str) else content
            path = tmp_path / "data" / source.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            made[f"{source.name}/{name}"] = content
        assert set(made) <= {file.path for file in source.files}
        files = tuple(
            replace(file, checksum=f"sha256:{hashlib.sha256(made[file.path]).hexdigest()}", size=len(made[file.path]))
            if file.path in made
            else file
            for file in source.files
            if file.path in made or not only
        )
        monkeypatch.setitem(vars(source), "files", files)  # a source is frozen, so all modules share it
        return tmp_path / "data" / source.name

    return write
