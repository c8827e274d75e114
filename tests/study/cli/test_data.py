"""Tests of `hybridlib data`: what it says of public data and does with it."""

import dataclasses
import hashlib
import re
from types import SimpleNamespace

import pytest

from hybridlib.data.load import SOURCES
from hybridlib.data.sources.source import File
from hybridlib.study.cli.data import data_info
from hybridlib.study.cli.main import main


@pytest.fixture
def two(monkeypatch, tmp_path):
    """Leave two sources: XQuAD-R has files of our own, one of them here; a file of MLQA-R has no known size."""
    for name in SOURCES.keys() - {"xquad-r", "mlqa-r"}:
        monkeypatch.delitem(SOURCES, name)
    (tmp_path / "data/xquad-r").mkdir(parents=True)
    (tmp_path / "data/xquad-r/en.json").write_bytes(b"en" * 750)
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path / "data"))
    checksum = f"sha256:{hashlib.sha256(b'en' * 750).hexdigest()}"
    files = {
        "xquad-r": (
            File("xquad-r/en.json", "https://x.org/en", checksum, 1500),
            File("xquad-r/de.json", "https://x.org/de", "sha256:0", 500),
        ),
        "mlqa-r": (
            File("mlqa-r/en.json", "https://x.org/m", None, None),
            File("mlqa-r/de.json", "https://x.org/n", "md5:0", 7),
        ),
    }
    for name, of_source in files.items():
        monkeypatch.setitem(SOURCES, name, dataclasses.replace(SOURCES[name], files=of_source))
    return tmp_path / "data"


def test_all_sources_are_shown_a_line_each(two, capsys):
    assert main(["data", "info"]) == 0
    # There are 1,500 and 500 bytes, of which the first are here.
    title, xquad_r, mlqa_r = capsys.readouterr().out.splitlines()
    assert title.split() == ["name", "files", "here", "size", "licence", "title"]
    assert re.fullmatch(r"xquad-r +1 of 2 +2\.00kB +CC BY-SA 4\.0 +XQuAD-R of LAReQA: .*", xquad_r)
    assert re.fullmatch(r"mlqa-r +0 of 2 +at least 7\.00B +CC BY-NC 4\.0 +MLQA-R of LAReQA: .*", mlqa_r)
    assert title.index("licence") == xquad_r.index("CC") == mlqa_r.index("CC")


def test_a_source_is_shown_in_full(two, capsys):
    assert main(["data", "info", "xquad-r"]) == 0
    source = SOURCES["xquad-r"]
    expected = f"""xquad-r: {source.title}
Homepage  https://github.com/google-research-datasets/lareqa
Revision  9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c
Licence   CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0)
Size      2.00kB in 2 files
Citation

{source.citation}

Files

xquad-r/en.json  1.50kB  {source.files[0].checksum}
    {two / "xquad-r/en.json"}
xquad-r/de.json  500B  {source.files[1].checksum}
    missing: https://x.org/de
"""
    assert capsys.readouterr().out == expected


def test_what_is_not_known_of_a_file_is_said(two):
    said = data_info("mlqa-r")
    assert "mlqa-r/en.json  size not known  no checksum is published\n    missing: https://x.org/m" in said
    assert "not for commercial use" in said


@pytest.mark.parametrize("action", ["info", "fetch"])
def test_an_unknown_name_is_answered_with_those_there_are(two, capsys, action):
    assert main(["data", action, "xquad"]) == 2
    assert capsys.readouterr().err == "error: name is 'xquad'; allowed: xquad-r, mlqa-r\n"


def test_missing_files_are_downloaded_after_licence_and_size_are_said(two, capsys, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        "hybridlib.study.cli.data.fetch",
        lambda file, name: asked.update({(file.path, name): capsys.readouterr().out}),
    )
    assert main(["data", "fetch", "xquad-r"]) == 0
    # Both are asked for, since what is here is checked, too.
    assert list(asked) == [("xquad-r/en.json", "xquad-r"), ("xquad-r/de.json", "xquad-r")]
    said_before, _ = asked.values()
    assert "\nLicence: CC BY-SA 4.0" in said_before and "\n1 of 2 files are missing: 500B\n" in said_before
    assert capsys.readouterr().out == "xquad-r is complete and as published.\n"


def test_what_can_not_be_had_is_said_and_the_status_is_2(two, capsys):
    assert main(["data", "fetch", "xquad-r"]) == 2
    caught = capsys.readouterr()
    assert "complete" not in caught.out
    assert re.match(r"error: .*xquad-r/de\.json of xquad-r does not exist; get it from https://x.org/de", caught.err)


def test_a_disk_too_small_for_all_missing_files_is_said_before_the_first(two, capsys, monkeypatch):
    monkeypatch.delenv("HYBRIDLIB_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(two))
    monkeypatch.setattr("hybridlib.study.cli.data.fetch", lambda *given: pytest.fail("a download was started"))
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1999))
    assert main(["data", "fetch", "xquad-r"]) == 2
    assert "has 2.00kB free, too little for xquad-r of 2.00kB" in capsys.readouterr().err


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_a_source_says_all_that_a_user_must_know(source):
    assert source.title and source.revision and source.licence and source.files
    assert source.homepage.startswith("https://") and "@" in source.citation
    assert len({file.path for file in source.files}) == len(source.files)
    for file in source.files:
        assert file.url.startswith("https://") and not file.path.startswith(("/", "."))
        assert file.checksum is None or re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.checksum)
        assert file.size is None or file.size > 0
