"""The files of public data: pinned by revision and checksum, found or downloaded, and checked.

`pinned/files.csv` lists all of them. If `$HYBRIDLIB_DATA` is set, files are used as they lie in that folder, in the
layout of upstream. Otherwise they are downloaded to the user's cache folder. In both cases their checksums are checked.
A download that breaks off is taken up where it stands, by this call or the next.
"""

import csv
import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs
import requests
from filelock import FileLock
from tqdm.auto import tqdm

logger = logging.getLogger(__name__)
_CHUNK = 1 << 18  # bytes
_TIMEOUT = (10, 60)  # seconds, to connect and between two bytes


@dataclass(frozen=True)
class File:
    """A file of a source.

    Attributes:
        path: below `$HYBRIDLIB_DATA`: the source's folder and the file's name upstream.
        url: of the pinned revision.
        checksum: `sha256:...`, or `md5:...` where upstream publishes no other. None where nobody publishes any: the
            revision in the URL is then all that pins the file.
        size: bytes, for messages and estimates; a file without a checksum is checked by it. None where it is not known.
        language: the code of the only language in it; empty if there is no such language.
    """

    path: str
    url: str
    checksum: str | None
    size: int | None
    language: str = ""


@dataclass(frozen=True)
class Source:
    """A source of public data, as `hybridlib data info` prints it.

    Attributes:
        name: the task or corpus that is read from it.
        title: one line that says what it is.
        homepage: the page that describes it.
        revision: the pinned commit or version.
        licence: its name, and what a user must know of it.
        citation: BibTeX.
        files: all of its files.
    """

    name: str
    title: str
    homepage: str
    revision: str
    licence: str
    citation: str
    files: tuple[File, ...]

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that have files, sorted."""
        return tuple(sorted({file.language for file in self.files} - {""}))

    def files_of(self, language: str = "", beginning: str = "") -> list[File]:
        """List the files of a language, in order.

        Args:
            language: its code; empty for the files of no language.
            beginning: the beginning of their paths, below the source's folder; all of them unless given.
        """
        start = f"{self.name}/{beginning}"
        return [file for file in self.files if file.language == language and file.path.startswith(start)]

    def fetch(self, language: str = "", beginning: str = "") -> list[Path]:
        """Fetch the files of a language, in order; arguments are those of `files_of`, errors those of `fetch`."""
        return [fetch(file, self.name) for file in self.files_of(language, beginning)]


def pinned_files(source: str, urls: Mapping[str, str]) -> tuple[File, ...]:
    """List the files of a source from `pinned/files.csv`.

    Args:
        source: its name.
        urls: the URL of the folder upstream, by the beginning of a path; the first that fits counts.
    """
    return tuple(
        File(
            f"{source}/{row['path']}",
            next(url for beginning, url in urls.items() if row["path"].startswith(beginning)) + row["path"],
            row["checksum"] or None,
            int(row["size"]) if row["size"] else None,
            row["language"],
        )
        for row in _pinned()
        if row["source"] == source
    )


@cache
def _pinned() -> list[dict[str, str]]:
    with (Path(__file__).parent / "pinned" / "files.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def location(file: File) -> Path:
    """Return where the file is, or would be: in `$HYBRIDLIB_DATA`, or else in the user's cache folder."""
    folder = os.environ.get("HYBRIDLIB_DATA")
    return (Path(folder).expanduser() if folder else platformdirs.user_cache_path("hybridlib")) / file.path


def readable(size: float) -> str:
    """Write a number of bytes as the progress bar does.

    >>> readable(732156)
    '732kB'
    """
    return tqdm.format_sizeof(size) + "B"


def fetch(file: File, source: str) -> Path:
    """Return where the file is on this machine after checking it; download it if need be.

    It is downloaded once, however many processes ask for it.

    Args:
        file: a file of a source.
        source: the name of the source, for messages.

    Raises:
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks the file; the message says where to get it.
        ValueError: the file differs from the published one, and what has been downloaded of it is removed; or there is
            a folder in its place.
        ConnectionError: the download broke off; what has been downloaded of it is kept.
        OSError: the disk has too little space for it.
    """
    path = location(file)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected a file")
    if path.is_file():
        difference = _difference(path, file)
        if difference:
            raise ValueError(f"{path} differs from the published file: {difference}; delete it and get {file.url}")
    elif os.environ.get("HYBRIDLIB_DATA"):
        raise FileNotFoundError(
            f"{path} of {source} does not exist; get it from {file.url}, or unset HYBRIDLIB_DATA to download it"
        )
    else:
        _download(file, source, path)
    return path


def check_space(folder: Path, size: int, what: str) -> None:
    """Refuse to begin a download that the disk cannot hold.

    Args:
        folder: the folder of the download; it need not exist.
        size: bytes.
        what: what is downloaded, for the message.

    Raises:
        OSError: the disk has less.
    """
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if size > free:
        raise OSError(f"{folder} has {readable(free)} free, too little for {what} of {readable(size)}")


def _difference(path: Path, file: File) -> str | None:
    """Say how a file differs from the published one; None if it does not."""
    status = path.stat()
    if file.checksum:
        kind, _, expected = file.checksum.partition(":")
        digest = _digest(path, kind, status.st_size, status.st_mtime_ns)
        return f"its {kind} is {digest}, expected {expected}" if digest != expected else None
    if file.size is not None and status.st_size != file.size:
        return f"it has {status.st_size} bytes, expected {file.size}"
    return None


# A checksum is computed once in a process, because a large file takes seconds. It is not kept for the next process: a
# file may have been damaged or replaced since it was downloaded, and results must not rest on another than was pinned.
@cache
def _digest(path: Path, kind: str, size: int, modified: int) -> str:
    """Compute the checksum of a file; another size or time of modification tells that its content is another."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


def _download(file: File, source: str, path: Path) -> None:
    """Download, check, and only then give the file its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with FileLock(path.with_name(path.name + ".lock")):
        if path.is_file():  # another process was faster, and has checked it
            return
        _receive(file, source, part)
        difference = _difference(part, file)
        if difference:
            part.unlink()
            raise ValueError(
                f"{file.url} differs from the published file: {difference}; what was downloaded is removed, try again"
            )
        part.replace(path)


def _receive(file: File, source: str, part: Path) -> None:
    """Bring the part to its full length; go on where it stands."""
    while True:
        kept = part.stat().st_size if part.exists() else 0
        try:
            return _continue(file, source, part, kept)
        except requests.RequestException as error:
            now = part.stat().st_size if part.exists() else 0
            if now > kept:  # it breaks off, but gets further each time
                logger.warning("%s broke off after %s; going on", file.url, readable(now))
                continue
            raise ConnectionError(
                f"{file.url} cannot be downloaded: {error}; {now} bytes are kept in {part}, from where the next call "
                "goes on"
            ) from error


def _continue(file: File, source: str, part: Path, kept: int) -> None:
    """Append what one connection gives to the part, which has `kept` bytes."""
    # The bytes are asked for as they are stored: those of a stream compressed on the way cannot be put together.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={kept}-"} if kept else {})
    with requests.get(file.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == 416:  # there is nothing after what is kept
            if response.headers.get("Content-Range") != f"bytes */{kept}":  # which is longer than the file
                part.unlink()
                _continue(file, source, part, 0)
            return
        response.raise_for_status()
        if response.status_code != 206:  # the server cannot begin in the middle
            kept = 0
        length = response.headers.get("Content-Length")
        total = kept + int(length) if length else file.size
        if total is not None:
            check_space(part.parent, total - kept, file.url)
            logger.info("%s: downloading %s of %s to %s", source, readable(total - kept), file.url, part.parent)
        bar = tqdm(total=total, initial=kept, desc=file.path, unit="B", unit_scale=True, disable=None)
        with part.open("ab" if kept else "wb") as stream, bar:
            for chunk in response.iter_content(_CHUNK):
                stream.write(chunk)
                bar.update(len(chunk))
