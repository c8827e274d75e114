"""`results/<profile>/report.html`: written with the pages of its notebooks, and known to be out of date by contents.

A record, as notebooks have one, holds checksums of what the pages were made from and of the pages. Runs that have gone
since are no reason to make them again.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybridlib.files import checksum, read_json, read_text, replacing
from hybridlib.paths import executed_path, params_path, project_root, record_path
from hybridlib.study.code import code_hash
from hybridlib.study.pages.executed import read_executed, rendered, words_of
from hybridlib.study.pages.html import PARTS, drawn_by, report_page

REPORT = "report"  # it is no notebook, and has a record beside theirs


def report_path(profile: str) -> Path:
    return executed_path(profile, REPORT).with_suffix(".html")


def write_report(profile: str, notebooks: Mapping[str, Any]) -> Path:
    """Write the report of a profile and a page for each of its notebooks, then their record; return the report's path.

    Args:
        profile: the folder of `results/` that the notebooks have written.
        notebooks: the parameters of each, by its name.

    Raises:
        FileNotFoundError: a notebook has not been run.
        ValueError: what it has made was cut or altered; the message names the file.
    """
    origin = _origin(profile, notebooks)
    pages = {report_path(profile): report_page(profile, notebooks)}
    for name in notebooks:
        book = read_executed(profile, name)
        words = words_of(book)
        said = {one.name.removeprefix(f"{name}-"): one.short for one in drawn_by(profile, words, name)}
        pages[executed_path(profile, name).with_suffix(".html")] = rendered(book, words.title or name, said)
    for path, text in pages.items():
        with replacing(path) as draft:
            draft.write_text(text, encoding="utf-8", newline="\n")
    made = {str(path.relative_to(project_root())): checksum(path) for path in pages}
    with replacing(record_path(profile, REPORT)) as draft:
        draft.write_text(json.dumps({"origin": origin, "made": made}, indent=1), encoding="utf-8")
    return report_path(profile)


def is_report_outdated(profile: str, notebooks: Mapping[str, Any]) -> bool:
    """Return whether the report has a record that no longer holds: of what it was made from, or of its pages."""
    record = record_path(profile, REPORT)
    if not record.exists():
        return False
    try:
        known = read_json(record)
        pages = {project_root() / name: digest for name, digest in known["made"].items()}
        whole = all(path.is_file() and checksum(path) == digest for path, digest in pages.items())
        return not whole or known["origin"] != _origin(profile, notebooks)
    except (ValueError, LookupError, TypeError, AttributeError, OSError):
        return True


def _origin(profile: str, notebooks: Mapping[str, Any]) -> str:
    """Return a checksum of what the pages are made from: the code, the layout, and each notebook's record.

    A record has the checksums of what its notebook made, and of the ranks behind it.
    """
    readme = project_root() / "README.md"
    paths = [path for name in sorted(notebooks) for path in (record_path(profile, name), params_path(profile, name))]
    paths += [readme] if readme.is_file() else []
    return hashlib.sha256(
        json.dumps([code_hash(computing=False), *map(read_text, [*PARTS, *paths])]).encode()
    ).hexdigest()
