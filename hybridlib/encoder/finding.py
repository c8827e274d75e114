"""Names of encoders: those that are known here, folders, and ids of the hub. Nothing that computes is loaded."""

import re
from pathlib import Path

from hybridlib.arguments import path_of
from hybridlib.names import BM25, E5_SMALL, STATIC_ENCODERS

# The hub allows 96 characters for an owner, and for a name.
_HUB_ID = re.compile(r"\w[\w.-]{0,95}/[\w.-]{1,96}(@[\w./-]{0,200})?", re.ASCII)


def encoder_folder(name: str) -> Path | None:
    """Return the folder that an encoder is loaded from; None if it is known by its name, or an id of the hub."""
    if name in (*STATIC_ENCODERS, E5_SMALL, BM25):
        return None
    try:
        folder = path_of(name)
        is_saved = any(path_of(folder / file).is_file() for file in ("modules.json", "config.json"))
    except ValueError:  # no file can have this name
        return None
    return folder if is_saved else None


def is_there(name: str | Path) -> bool:
    """Return whether there is a file or a folder of this name."""
    try:
        return path_of(name).exists()
    except ValueError:
        return False


def findable(name: str | None) -> str | None:
    """Return the name of an encoder, or None as it is.

    Raises:
        ValueError: `load_encoder` could not find an encoder of that name.
    """
    known = (*STATIC_ENCODERS, E5_SMALL)
    if name is None or name in known or encoder_folder(name):
        return name
    if is_there(name):
        raise ValueError("no encoder is saved there: it is no folder with a file modules.json or config.json")
    if not _HUB_ID.fullmatch(name):
        raise ValueError(f"it is neither {', '.join(known)}, nor a folder here, nor a hub id of the form owner/name")
    return name
