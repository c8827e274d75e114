"""`hybridlib data info` and `hybridlib data fetch`: public data, its licence, and where it is on this machine."""

import argparse
from collections.abc import Sequence

from hybridlib.arguments import checked, told
from hybridlib.data.load import SOURCES
from hybridlib.data.sources.source import File, Source, check_space, fetch, location, readable


@checked
def data_info(name: str | None = None) -> str:
    """Describe the public data, or one source of it in full.

    Args:
        name: names the source; all of them are described, a line each, unless it is given.

    Raises:
        ValueError: there is no such source.
    """
    return _table(list(SOURCES.values())) if name is None else _description(_source(name))


@checked
def fetch_data(name: str) -> None:
    """Bring all files of a source to this machine; print its licence and how much there is to download before.

    Raises:
        ValueError: there is no such source, or a file differs from the published one.
        FileNotFoundError: `HYBRIDLIB_DATA` is set, so that nothing is downloaded, and lacks a file.
        OSError: a download broke off, or the disk has too little space.
    """
    source = _source(name)
    missing = [file for file in source.files if not location(file).is_file()]
    print(f"{source.title}\nLicence: {source.licence}")
    print(f"{len(missing)} of {len(source.files)} files are missing: {_total(missing)}", flush=True)
    if missing:
        check_space(location(missing[0]).parent, sum(file.size or 0 for file in missing), name)
    for file in source.files:
        fetch(file, name)
    print(f"{name} is complete and as published.")


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `data` to the command line; the function that a command calls is its `run`."""
    parser = commands.add_parser("data", help="what public data there is, and download it")
    actions = parser.add_subparsers(required=True, metavar="action")
    info = actions.add_parser("info", help="licence, citation and files of public data, and whether they are here")
    info.add_argument("name", nargs="?", help="of a task or corpus; all of them, in short, unless named")
    info.set_defaults(run=lambda chosen: print(data_info(chosen.name)))
    download = actions.add_parser("fetch", help="download what is missing of a source")
    download.add_argument("name", help="of a task or corpus")
    download.set_defaults(run=lambda chosen: fetch_data(chosen.name))


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise ValueError(f"name is {told(name)}; allowed: {', '.join(SOURCES)}")
    return SOURCES[name]


def _table(rows: Sequence[Source]) -> str:
    cells = [("name", "files here", "size", "licence", "title")]
    for source in rows:
        here = sum(location(file).is_file() for file in source.files)
        licence = source.licence.partition(" (")[0].partition(":")[0]  # the description has it in full
        cells.append((source.name, f"{here} of {len(source.files)}", _total(source.files), licence, source.title))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def _description(source: Source) -> str:
    lines = [
        f"{source.name}: {source.title}",
        f"Homepage  {source.homepage}",
        f"Revision  {source.revision}",
        f"Licence   {source.licence}",
        f"Size      {_total(source.files)} in {len(source.files)} files",
        f"Citation\n\n{source.citation.strip()}\n\nFiles\n",
    ]
    for file in source.files:
        path = location(file)
        lines += [
            f"{file.path}  {_total([file])}  {file.checksum or 'no checksum is published'}",
            f"    {path}" if path.is_file() else f"    missing: {file.url}",
        ]
    return "\n".join(lines)


def _total(files: Sequence[File]) -> str:
    """Return the size of files together, as far as it is known."""
    total = readable(sum(file.size or 0 for file in files))
    unknown = sum(file.size is None for file in files)
    if unknown:
        return f"at least {total}" if unknown < len(files) else "size not known"
    return total
