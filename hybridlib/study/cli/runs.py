"""`hybridlib runs pack`, `add` and `list`: bring runs from one machine to another, and say where they are from."""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hybridlib.paths import evidence_folders, evidence_path, project_root, runs_path
from hybridlib.study.cli.outputs import check_file, path_argument
from hybridlib.study.run import Run
from hybridlib.study.runs.keys import told_settings
from hybridlib.study.runs.packs import add_runs, described, pack_runs
from hybridlib.study.runs.ranks import Record
from hybridlib.study.runs.trust import check_folder, trusted_record

# A list of runs has a column for each of these settings, and one for all others; it is to fit a screen.
_COLUMNS = ("strategy", "alpha", "steps", "fold", "seed")
_KEY, _WIDTH = 10, 40  # characters


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `runs` to the command line; the function that a command calls is its `run`."""
    parser = commands.add_parser("runs", help="pack finished runs, add them on another machine, and list them")
    actions = parser.add_subparsers(required=True, metavar="action")
    packing = actions.add_parser("pack", help="write finished runs into a tar file, the same bytes each time")
    packing.add_argument("output", type=path_argument, help="the tar file")
    _add_choice(packing)
    packing.set_defaults(run=lambda chosen: pack(chosen.output, _folders(chosen, default=[runs_path()])))
    adding = actions.add_parser("add", help="check the runs of a tar file, and add them")
    adding.add_argument("pack", type=path_argument, help="the tar file")
    adding.add_argument("--to", type=path_argument, help="a folder, such as evidence/mine; runs/ unless given")
    adding.set_defaults(run=lambda chosen: add(chosen.pack, chosen.to or runs_path()))
    listing = actions.add_parser("list", help="what runs there are, where, and by what they were computed")
    _add_choice(listing)
    listing.set_defaults(run=lambda chosen: print(listed(_folders(chosen, default=_all_folders()))))


def pack(output: Path, folders: Sequence[Path]) -> None:
    """Pack the runs of folders; see `pack_runs`."""
    check_file("output", output)
    count = pack_runs(output, folders)
    print(f"{output} holds {count} runs of {', '.join(map(_relative, folders))}: {output.stat().st_size:,} bytes.")


def add(pack: Path, folder: Path) -> None:
    """Add the runs of a pack to a folder, and print what that has changed; see `add_runs`."""
    added = add_runs(pack, folder)
    for records, what in (
        (added.new, f"added to {_relative(folder)}"),
        (added.joined, "given tests that they lacked"),
        (added.known, "there already"),
    ):
        if records:
            print(f"{len(records)} runs {'are' if what == 'there already' else 'were'} {what}.")
    by = Counter(described(test) for record in [*added.new, *added.joined] for test in record["tests"].values())
    for origin, count in sorted(by.items()):
        print(f"{count} tests were computed by {origin}.")


def listed(folders: Sequence[Path]) -> str:
    """Return a table of the runs of folders, sorted by their settings: what is unusual, the tests, and their origin.

    A run is named by the beginning of its file's name. A cell is empty where the setting has no effect.

    Raises:
        ValueError: a file of `evidence/` is not as it was published.
        FileNotFoundError: `evidence/` lacks a file that was published.
    """
    records: list[tuple[str, str, Record]] = []
    for folder in folders:
        if folder != runs_path():
            check_folder(folder)
        paths = sorted(folder.glob("[!.]*.parquet"))
        known = [(path.stem, trusted_record(path)) for path in paths]
        records += [(_relative(folder), key, record) for key, record in known if record is not None]
    if not records:
        return f"There are no runs in {', '.join(map(_relative, folders))}."
    told = [{name: _in_short(value) for name, value in record["run"].items()} for _, _, record in records]
    names = [name for name in Run.model_fields if any(name in of for of in told)]
    usual = {name: Counter(of[name] for of in told if name in of).most_common(1)[0][0] for name in names}
    origins: dict[str, int] = {}
    rows: list[dict[str, str]] = []
    for (place, key, record), of in zip(records, told, strict=True):
        unusual = [name for name in names if name not in _COLUMNS and of.get(name, usual[name]) != usual[name]]
        computed = {described(test) for test in record["tests"].values()}
        rows.append(
            {
                "run": key[:_KEY],
                **{name: of.get(name, "") for name in _COLUMNS if name in names},
                "further": ", ".join(f"{name} {of[name] or 'none'}" for name in unusual),
                "tests": " ".join(record["tests"]),
                "in": place,
                "by": " ".join(sorted(str(origins.setdefault(one, len(origins) + 1)) for one in computed)),
            }
        )
    rows.sort(key=_order)
    table = pd.DataFrame(rows)
    table["further"] = [_cut(text) for text in table.further]
    given = {name for _, _, record in records for name in told_settings(record)} - set(_COLUMNS)
    shared = ", ".join(f"{name} {usual[name] or 'none'}" for name in names if name in given)
    lines = [table.to_string(index=False, max_colwidth=None), "", f"Unless further settings say otherwise: {shared}."]
    return "\n".join([*lines, *(f"Computed by {number}: {origin}." for origin, number in origins.items())])


def _add_choice(parser: argparse.ArgumentParser) -> None:
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--profile", help="the runs of runs/ and of evidence/<profile>")
    choice.add_argument("--all", action="store_true", help="the runs of runs/ and of all evidence")


def _folders(chosen: argparse.Namespace, default: Sequence[Path]) -> Sequence[Path]:
    if chosen.profile is None:
        return _all_folders() if chosen.all else default
    known = [path.name for path in evidence_folders()]
    if chosen.profile not in known:  # nor is any path that leads elsewhere
        raise ValueError(f"profile is {chosen.profile!r}; profiles with evidence: {', '.join(known) or 'none'}")
    return [runs_path(), evidence_path(chosen.profile)]


def _all_folders() -> list[Path]:
    return [runs_path(), *evidence_folders()]


def _relative(folder: Path) -> str:
    root = project_root()
    return f"{folder.relative_to(root) if folder.is_relative_to(root) else folder}/"


def _order(row: Mapping[str, str]) -> list[Any]:
    """Return what rows are sorted by: how a run is trained, then its fold and seed; numbers by their size."""
    names = ("strategy", "alpha", "steps", "further", "fold", "seed")
    return [(row[name].zfill(12) if row[name].isdecimal() else row[name]) for name in names if name in row]


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _in_short(value: object) -> str:
    """Return a value of a setting as a cell of a table."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{share}" for name, share in sorted(value.items()))
    return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
