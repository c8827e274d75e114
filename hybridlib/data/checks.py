"""Checks of data at the door: the tables that users bring, and the splits and languages that they choose by name.

What is wrong with a table is said with the table, the column, the first rows and how many there are, and the values.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hybridlib.arguments import listed, told

_SHOWN = 3  # wrong rows that a message names


def check_columns(table: str, there: Sequence[str], needed: Iterable[str]) -> None:
    """Refuse a table that lacks a column, or that has one twice.

    Args:
        table: its name, for messages.
        there: the columns that it has.
        needed: those that it must have.
    """
    for column in needed:
        if list(there).count(column) != 1:
            fault = "lacks" if column not in there else "has twice"
            raise ValueError(f"{table} {fault} the column {column!r}; it has {told(list(there))}")


def check_rows(wrong: Any, values: Any, where: str, allowed: str) -> None:
    """Refuse a column in which some rows are wrong; the message names the first three and counts all.

    Args:
        wrong: whether each row is. (N,)
        values: the values of the column. (N,)
        where: names the table and the column.
        allowed: what the values may be.

    >>> check_rows([False, True], ["en", None], "passages.language", "a text that is not empty")
    Traceback (most recent call last):
    ValueError: passages.language: row 1 is None; allowed: a text that is not empty
    """
    rows = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if not len(rows):
        return
    column = values if isinstance(values, pd.Series) else pd.Series(list(values), dtype=object)
    first = ", ".join(f"row {row} is {told(column.iloc[row])}" for row in rows[:_SHOWN].tolist())
    count = f" ({len(rows):,} rows are wrong)" if len(rows) > _SHOWN else ""
    raise ValueError(f"{where}: {first}{count}; allowed: {allowed}")


def texts_wrong(values: Any, *, empty: bool = False) -> np.ndarray:
    """Tell which values are no text that a tokenizer can read: other types, lone surrogates, and blank ones. (N,)

    Args:
        values: (N,)
        empty: whether a text may be empty or blank.

    >>> texts_wrong(["a", None, 3, " ", "\\ud800"]).tolist()
    [False, True, True, True, True]
    """
    return np.array([not _is_text(value, empty) for value in values], dtype=bool)


def _is_text(value: object, empty: bool) -> bool:
    if not isinstance(value, str) or not (empty or value.strip()):
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair of UTF-16, which no text in UTF-8 has
        return False
    return True


def check_split(split: str, allowed: Sequence[str]) -> str:
    """Return the split, or refuse one that does not exist."""
    if split not in allowed:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(allowed)}")
    return split


def check_languages(languages: Sequence[str] | None, allowed: Sequence[str], name: str) -> list[str]:
    """Return the chosen languages, in the order in which they are named.

    Args:
        languages: the codes; None chooses all.
        allowed: the codes to choose from.
        name: the task or corpus that has these languages; messages name it.

    Raises:
        ValueError: there is no such language, one is named twice, or none is named.
    """
    chosen = list(allowed) if languages is None else listed(languages)
    for language in chosen:
        if language not in allowed:
            raise ValueError(f"languages: {language!r} is not in {name}; allowed: {', '.join(allowed)}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"languages {chosen} names one twice")
    if not chosen:
        raise ValueError(f"languages names none; allowed in {name}: {', '.join(allowed)}")
    return chosen
