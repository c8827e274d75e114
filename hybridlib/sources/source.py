"""Where public data comes from: its files, pinned by revision and checksum.

Files are used as they lie in `$HYBRIDLIB_DATA`, in the layout of upstream, if it is set; otherwise they are downloaded.
They are checked against their checksums either way.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class File:
    """A file of a source.

    Attributes:
        path: below `$HYBRIDLIB_DATA`: the source's folder and the file's name upstream.
        url: of the pinned revision.
        checksum: `sha256:...`, or `md5:...` where upstream publishes no other.
        size: bytes.
    """

    path: str
    url: str
    checksum: str
    size: int


@dataclass(frozen=True)
class Source:
    """What is to be known of a source; `hybridlib data info` prints it.

    Attributes:
        name: of the task or corpus.
        title: in one line, what it is.
        homepage: where it is described.
        revision: the pinned commit or version.
        licence: its name, and what of it a user must know.
        citation: BibTeX.
        files: all of them.
    """

    name: str
    title: str
    homepage: str
    revision: str
    licence: str
    citation: str
    files: tuple[File, ...]


def fetch(file: File, source: str) -> Path:
    """The file on this machine, checked.

    Args:
        file: of which source.
        source: its name, for messages.

    Raises:
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks the file; the message says where to get it.
        ValueError: the file differs from the published one.
    """
    folder = os.environ.get("HYBRIDLIB_DATA")
    if not folder:
        raise FileNotFoundError(f"{file.path} of {source}: HYBRIDLIB_DATA is not set")
    path = Path(folder) / file.path
    if not path.is_file():
        raise FileNotFoundError(f"{path} of {source} does not exist; get it from {file.url}, or unset HYBRIDLIB_DATA")
    kind, _, expected = file.checksum.partition(":")
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, kind).hexdigest()
    if digest != expected:
        raise ValueError(f"{path} differs from the published file: its {kind} is {digest}, expected {expected}")
    return path
