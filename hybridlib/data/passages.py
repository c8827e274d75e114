"""Functions that read the tables of a task: in memory, or passages memory-mapped by millions of rows.

A `datasets.Dataset` is read by batches of rows and by single columns, so it takes O(batch) memory at any size. Ids are
texts: those that are whole numbers become texts where they are read.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from hybridlib.arguments import plain, told
from hybridlib.data.checks import check_columns, check_rows, numbers_of, texts_wrong
from hybridlib.names import ALL_LANGUAGES

Passages: TypeAlias = pd.DataFrame | datasets.Dataset

_BATCH = 100_000
_KEYS = ("query_id", "passage_id", "question", "article")
_KEY = "a text that is not empty, or a whole number"
_SMALLEST = 1e-100  # the discounted gains of smaller numbers could vanish


def columns_of(table: Any) -> list[str]:
    """List the columns of a table; none of what is no table."""
    return list(getattr(table, "column_names", getattr(table, "columns", [])))


def checked_frame(table: Passages, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns of a table in memory, in the order given: texts and numbers.

    Args:
        table: a `datasets.Dataset` is read into memory.
        name: that of the table, for messages.
        columns: keys (ids and what groups rows) may be whole numbers, which become texts; `language` and `text` are
            texts, and the text of a passage may be empty; `relevance` is a number.

    Raises:
        ValueError: it is no table, a column is missing or there twice, or a value is of another kind.
    """
    _check_table(table, name, columns)
    if isinstance(table, datasets.Dataset):
        table = table.select_columns(list(columns)).to_pandas()
    made = {}
    for column in columns:
        values, where = table[column].reset_index(drop=True), f"{name}.{column}"
        if column in _KEYS:
            values = _keys(values, where)
        elif column == "relevance":
            values = _relevance(values, where)
        else:
            empty = where == "passages.text"
            allowed = "a text" if empty else "a text that is not empty"
            check_rows(texts_wrong(values.tolist(), empty=empty), values, where, allowed)
        made[column] = values if column == "relevance" else values.astype("str")
    if "language" in made:
        _check_language(made["language"] == ALL_LANGUAGES, made["language"], name)
    return pd.DataFrame(made)


def checked_passages(table: Passages, columns: Sequence[str]) -> Passages:
    """Return some columns of the passages; those in memory as `checked_frame` does, a `datasets.Dataset` as it is.

    Raises:
        ValueError: as `checked_frame`; the ids of a Dataset may be empty, or come twice.
    """
    if not isinstance(table, datasets.Dataset):
        return checked_frame(table, "passages", columns)
    _check_table(table, "passages", columns)
    for column in columns:
        kind, where = table.data.schema.field(column).type, f"passages.{column}"
        number = column in _KEYS and pa.types.is_integer(kind)
        if not (number or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ValueError(f"{where} is {kind}; allowed: texts{', or whole numbers' if column in _KEYS else ''}")
        if table.data.column(column).null_count:
            wrong = np.concatenate([pc.is_null(batch).to_numpy() for batch in _batches(table, column)])
            check_rows(wrong, pd.Series(np.full(len(wrong), None)), where, "a text")
    table = table.select_columns(list(columns))
    for code in languages_of(table):
        if code == ALL_LANGUAGES or texts_wrong([code]).any():
            wrong = np.isin(np.arange(len(table)), positions_in(table, [code]))
            _check_language(wrong, pd.Series(code, index=range(len(table))), "passages")
    return table


def _check_table(table: object, name: str, columns: Sequence[str]) -> None:
    if not isinstance(table, pd.DataFrame | datasets.Dataset):
        raise ValueError(f"{name} is {told(table)}; allowed: a pandas.DataFrame or a datasets.Dataset")
    check_columns(name, columns_of(table), columns)
    if isinstance(table, datasets.Dataset) and table.format["type"] == "custom":
        raise ValueError(f"{name} has a transform, which is not applied to single columns; apply it by `map` instead")


def _check_language(wrong: Any, values: Any, name: str) -> None:
    allowed = f"the code of a language; {ALL_LANGUAGES!r} stands for the pool of all of them"
    check_rows(wrong, values, f"{name}.language", allowed)


def _keys(values: pd.Series, where: str) -> pd.Series:
    """Return keys as texts, and refuse two that become the same."""
    given = [plain(value) for value in values.tolist()]
    numbers = np.array([type(value) is int and abs(value) < 1 << 64 for value in given], dtype=bool)
    check_rows(texts_wrong(given) & ~numbers, values, where, _KEY)
    texts = pd.Series([str(value) for value in given], dtype="str")
    both = set() if where.startswith("qrels") else set(texts[numbers]) & set(texts[~numbers])
    if both:
        raise ValueError(f"{where}: the number {min(both)} and the text {min(both)!r} would be the same; name one anew")
    return texts


def _relevance(values: pd.Series, where: str) -> pd.Series:
    """Return judgements as numbers, whole ones in int64; a column of truth values says 0 and 1."""
    if pd.api.types.is_bool_dtype(values.dtype):
        values = values.astype("Int8")
    found = numbers_of(values, where)
    tiny = (found != 0) & (np.abs(found) < _SMALLEST)
    check_rows(tiny, values, where, f"numbers of at least {_SMALLEST}, or 0")
    return pd.Series(
        found.astype(np.int64) if (found % 1 == 0).all() and np.abs(found).max(initial=0) < 1 << 53 else found
    )


def languages_of(passages: Passages) -> list[str]:
    """List the languages of the passages, in the order of their codes."""
    if isinstance(passages, pd.DataFrame):
        return sorted(passages.language.unique())
    return sorted({code for batch in _batches(passages, "language") for code in pc.unique(batch).to_pylist()})


def language_numbers(passages: Passages, languages: list[str]) -> np.ndarray:
    """Return the number of every passage's language among some languages, or -1. (P,)"""
    if isinstance(passages, pd.DataFrame):
        return pd.Index(languages).get_indexer(pd.Index(passages.language))
    return np.concatenate([*_found(passages, "language", languages)])


def positions_of(passages: Passages, ids: Sequence[str] | pd.Series) -> np.ndarray:
    """Find the row of the passage of each id, or -1 where there is none; an id may be asked for several times. (N,)

    Raises:
        ValueError: two passages of a Dataset have an id that is asked for.
    """
    if isinstance(passages, pd.DataFrame):
        return pd.Index(passages.passage_id).get_indexer(pd.Index(ids))
    codes, names = pd.factorize(pd.Series(ids, dtype="str"))
    found, start = np.full(len(names), -1, dtype=np.int64), 0
    for name in _found(passages, "passage_id", names.tolist()):  # (batch,)
        here = np.flatnonzero(name >= 0)
        again = here[found[name[here]] >= 0]
        found[name[here]] = start + here
        again = again if len(again) else here[found[name[here]] != start + here]
        if len(again):
            raise ValueError(f"passage_id {names[name[again[0]]]} comes twice")
        start += len(name)
    return found[codes]


def positions_in(passages: Passages, languages: list[str]) -> np.ndarray:
    """Find the rows of the passages of some languages, in ascending order."""
    if isinstance(passages, pd.DataFrame):
        return np.flatnonzero(passages.language.isin(languages))
    return np.flatnonzero(np.concatenate([number >= 0 for number in _found(passages, "language", languages)]))


def _found(passages: datasets.Dataset, column: str, names: list[str]) -> Iterator[np.ndarray]:
    """Yield the place of every value of a column among some names, or -1, by batches of rows. (batch,)"""
    wanted = pa.array(names, type=pa.large_string())
    for batch in _batches(passages, column):
        yield pc.fill_null(pc.index_in(batch, wanted), -1).to_numpy()


def rows_of(passages: Passages, rows: slice | np.ndarray) -> pd.DataFrame:
    """Read some rows into memory, numbered from 0."""
    if isinstance(passages, pd.DataFrame):
        return passages.iloc[rows].reset_index(drop=True)
    chosen: Any = passages.with_format("pandas")[rows]
    return chosen.reset_index(drop=True).astype("str")


def select(passages: Passages, positions: np.ndarray) -> Passages:
    """Keep the passages at some positions, in a table of the same kind."""
    return passages.iloc[positions] if isinstance(passages, pd.DataFrame) else passages.select(positions)


def draw(positions: np.ndarray, number: int, seed: Sequence[int]) -> np.ndarray:
    """Draw a number of positions, uniformly and without replacement; take all of them if there are no more."""
    if number >= len(positions):
        return positions
    return np.random.default_rng([4, *seed]).choice(positions, number, replace=False)


def content_digest(table: Passages) -> str:
    """Return the SHA-256 of the content of a table of a task; it is the same for rows in memory and memory-mapped ones.

    The fingerprint of a Dataset follows what it was made by, not what is in it: files that are replaced keep it. All of
    a Dataset is read once, at some hundred megabytes a second, which is little beside embedding it.
    """
    whole = hashlib.sha256(f"{len(table)} rows".encode())
    for column in columns_of(table):
        lengths, content = hashlib.sha256(), hashlib.sha256()
        for batch in _batches(table, column):
            for chunk in batch.chunks:
                _, offsets, texts = chunk.buffers()
                ends = np.frombuffer(offsets, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
                lengths.update(np.diff(ends).tobytes())
                content.update(memoryview(texts or b"")[ends[0] : ends[-1]])
        whole.update(f" {column} {lengths.hexdigest()} {content.hexdigest()}".encode())
    return whole.hexdigest()


def _batches(table: Passages, column: str) -> Iterator[pa.ChunkedArray]:
    if isinstance(table, pd.DataFrame):
        yield pa.chunked_array([pa.array(table[column].astype("str"), type=pa.large_string())])
        return
    for rows in table.select_columns([column]).with_format("arrow").iter(_BATCH):
        yield pc.cast(rows.column(0), pa.large_string())
