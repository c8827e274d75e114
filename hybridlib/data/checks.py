"""Checks of data at the door: the tables that users bring, and the splits and languages that they choose by name.

What is wrong with a table is said with the table, the column, the first rows and how many there are, and the values.
"""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from hybridlib.arguments import listed, plain, told

_SHOWN = 3  # wrong rows that a message names
_LARGEST = 1e100  # squares of numbers up to here can be added
_MOST_LANGUAGES = 150  # that a message names; no source of ours has more
_FIRST_LANGUAGES = 40  # that it names of more


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


def check_rows(wrong: Any, values: Any, where: str, allowed: str, number: Any = None) -> None:
    """Refuse a column in which some rows are wrong; the message names the first three and counts all.

    Args:
        wrong: whether each row is. (N,)
        values: the values of the column. (N,)
        where: names the table and the column.
        allowed: what the values may be.
        number: the numbers of the rows in the table, where the values are a part of a column. (N,)

    >>> check_rows([False, True], ["en", None], "passages.language", "a text that is not empty")
    Traceback (most recent call last):
    ValueError: passages.language: row 1 is None; allowed: a text that is not empty
    """
    rows = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if not len(rows):
        return
    values = values.to_pylist() if hasattr(values, "to_pylist") else values  # those of Arrow are not Python's
    column = values if isinstance(values, pd.Series) else pd.Series(list(values), dtype=object)
    names = rows if number is None else np.asarray(number)[rows]
    found = zip(names[:_SHOWN].tolist(), rows.tolist(), strict=False)
    first = ", ".join(f"row {name} is {_shown(column.iloc[row])}" for name, row in found)
    count = f" ({len(rows):,} rows are wrong)" if len(rows) > _SHOWN else ""
    raise ValueError(f"{where}: {first}{count}; allowed: {allowed}")


def _shown(value: object) -> str:
    return str(value) if value is pd.NA or value is pd.NaT else told(plain(value))


def texts_wrong(values: Any, *, empty: bool = False) -> np.ndarray:
    """Tell which values are no text that a tokenizer can read: other types, lone surrogates, and blank ones. (N,)

    Args:
        values: (N,)
        empty: whether a text may be empty or blank.

    >>> texts_wrong(["a", None, 3, " ", "\\ud800"]).tolist()
    [False, True, True, True, True]
    """
    return np.array([not _is_text(value, empty) for value in values], dtype=bool)


def unhashable(values: Any) -> np.ndarray:
    """Tell which values nothing can be grouped by, such as lists. (N,)

    >>> unhashable(["a", ["a"], None]).tolist()
    [False, True, False]
    """
    column = pd.Series(values)
    if column.dtype != object and not isinstance(column.dtype, pd.ArrowDtype):
        return np.zeros(len(column), dtype=bool)
    return np.array([not _is_hashable(value) for value in column], dtype=bool)


def numbers_of(values: Any, where: str, *, missing: bool = False) -> np.ndarray:
    """Return a column of numbers in float64, whatever type it has; text, dates and booleans are no numbers. (N,)

    Args:
        values: (N,)
        where: names the table and the column.
        missing: whether some may be missing, which are NaN in what is returned.

    Raises:
        ValueError: a value is no number, is infinite or above 1e100, or is missing and may not be.

    >>> numbers_of(pd.Series([1, None], dtype="Int8"), "results.value", missing=True).tolist()
    [1.0, nan]
    """
    column = pd.Series(values)
    if column.dtype.kind in "iuf":
        found = column.to_numpy(float, na_value=np.nan)
        wrong = np.abs(found) > _LARGEST
    else:
        known = column.notna().to_numpy()
        wrong = known & np.array([not _is_number(value) for value in column], dtype=bool)
        found = column.astype(object).where(known & ~wrong, np.nan).to_numpy(float)
    check_rows(wrong | (np.isnan(found) & (not missing)), column, where, "a finite number" + " or none" * missing)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and -_LARGEST <= plain(value) <= _LARGEST


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:  # also of a tuple with a list in it
        return False
    return True


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
    there = ", ".join(allowed if len(allowed) <= _MOST_LANGUAGES else [*allowed[:_FIRST_LANGUAGES], "..."])
    for language in chosen:
        if language not in allowed:
            raise ValueError(f"languages: {told(language)} is not in {name}; allowed: {there}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"languages {told(chosen)} names one twice")
    if not chosen:
        raise ValueError(f"languages names none; allowed in {name}: {there}")
    return chosen
