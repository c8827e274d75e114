"""`hybridlib runs pack`, `add` and `list`: bring runs from one machine to another, and say where they are from."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hybridlib.paths import evidence_folders, evidence_path, project_root, runs_path
from hybridlib.study.cli.packs import add_runs, described, pack_runs
from hybridlib.study.keys import told_settings
from hybridlib.study.ranks import Record
from hybridlib.study.run import Run
from hybridlib.study.trust import check_folder, trusted_record


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `runs` to the command line; the function that a command calls is its `run`."""
    parser = commands.add_parser("runs", help="pack finished runs, add them on another machine, and list them")
    actions = parser.add_subparsers(required=True, metavar="action")
    packing = actions.add_parser("pack", help="write finished runs into a tar file, the same bytes each time")
    packing.add_argument("output", type=Path, help="the tar file")
    _add_choice(packing)
    packing.set_defaults(run=lambda chosen: pack(chosen.output, _folders(chosen, default=[runs_path()])))
    adding = actions.add_parser("add", help="check the runs of a tar file, and add them")
    adding.add_argument("pack", type=Path, help="the tar file")
    adding.add_argument("--to", type=Path, help="a folder, such as evidence/mine; runs/ unless given")
    adding.set_defaults(run=lambda chosen: add(chosen.pack, chosen.to or runs_path()))
    listing = actions.add_parser("list", help="what runs there are, where, and by what they were computed")
    _add_choice(listing)
    listing.set_defaults(run=lambda chosen: print(listed(_folders(chosen, default=_all_folders()))))


def pack(output: Path, folders: Sequence[Path]) -> None:
    """Pack the runs of folders; see `pack_runs`."""
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
    """Return a table of the runs of folders: the settings that differ, what they were tested on, and their origin.

    Settings that are at their defaults in all of them are left out. A cell is empty where the setting has no effect.

    Raises:
        ValueError: a file of `evidence/` is not as it was published.
        FileNotFoundError: `evidence/` lacks a file that was published.
    """
    records: list[tuple[str, Record]] = []
    for folder in folders:
        if folder != runs_path():
            check_folder(folder)
        for path in sorted(folder.glob("[!.]*.parquet")):
            record = trusted_record(path)
            if record is not None:
                records.append((_relative(folder), {**record, "key": path.stem}))
    if not records:
        return f"There are no runs in {', '.join(map(_relative, folders))}."
    settings = [told_settings(record) for _, record in records]
    names = [name for name in Run.model_fields if any(name in told for told in settings)]
    values = {name: [_in_short(record["run"].get(name)) for _, record in records] for name in names}
    columns = {"run": [record["key"] for _, record in records]}
    columns |= {name: cells for name, cells in values.items() if len(set(cells)) > 1}
    columns["tests"] = [" ".join(record["tests"]) for _, record in records]
    columns["in"] = [place for place, _ in records]
    columns["computed by"] = ["; ".join(sorted({*map(described, record["tests"].values())})) for _, record in records]
    same = ", ".join(f"{name} {cells[0]}" for name, cells in values.items() if len(set(cells)) == 1)
    return f"{pd.DataFrame(columns).to_string(index=False)}\n\nThe same of all: {same}."


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


def _in_short(value: object) -> str:
    """Return a value of a setting as a cell of a table."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{share}" for name, share in sorted(value.items()))
    return ",".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
