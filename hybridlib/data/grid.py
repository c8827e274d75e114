"""The grid of items by languages that is the table of a corpus: made of a frame, read, and brought into another."""

import logging
from collections.abc import Sequence
from numbers import Number
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.types import infer_dtype

from hybridlib.arguments import told
from hybridlib.data.checks import check_columns, check_languages, check_rows, texts_wrong, unhashable
from hybridlib.data.table import COLUMNS, NAMED, NEGATIVES, ROWS_AT_ONCE, TEXTS, has_text, item_batches, schema

logger = logging.getLogger(__name__)

_MOST_BYTES = 1 << 31  # of the strings of Arrow in one piece


def table_of_frame(frame: pd.DataFrame, languages: Sequence[str]) -> datasets.Dataset:
    """Make the table of a frame, in memory; see `ParallelCorpus.from_frame`."""
    names = [*COLUMNS, *(name for name in NEGATIVES if name in frame.columns)]
    check_columns("frame", list(frame.columns), names)
    if frame.empty:
        raise ValueError("frame has no row; a corpus needs at least one item")
    frame = _numbered(frame[names])
    language, chosen = _numbers_of_languages(frame.language, languages)  # (N,), (L,)
    frame = frame if (language >= 0).all() else frame[language >= 0]
    made: dict[str, Any] = {name: _texts(frame[name]) for name in names if name in TEXTS}
    exists = _exist(frame, made["query"], made["passage"])
    if not exists.any():
        raise ValueError(f"frame: no row in {', '.join(chosen)} has a query and a passage; allowed: at least one item")
    if not exists.all():
        frame, made = frame[exists], {name: values.filter(pa.array(exists)) for name, values in made.items()}
    item, first = _number_items(frame)  # (R,), (items,)
    cell = item * len(chosen) + language[frame.index]  # (R,)
    if (again := pd.Series(cell).duplicated()).any():
        row = frame.iloc[again.argmax()]
        raise ValueError(f"frame: item {told(row['item'])} comes twice in language {row.language}; allowed: once")
    source = np.full(len(first) * len(chosen), -1)  # the row of each cell, (items * L,)
    source[cell] = np.arange(len(cell))
    made = {name: _take(values, source) for name, values in made.items()}
    shared = frame.iloc[first]
    groups = group_numbers(shared.passage_group)
    if "negative" in made:
        named = frame.get("negative_group", pd.Series(-1, frame.index))
        there = has_text(made["negative"]).to_numpy(zero_copy_only=False)
        made["negative_group"] = np.where(there, _numbers_of(named, shared.passage_group, groups)[source], -1)
    made |= {"item": np.repeat(np.arange(len(first)), len(chosen)), "passage_group": np.repeat(groups, len(chosen))}
    made["language"] = np.tile(np.array(chosen, dtype=object), len(first))
    for name in ("domain", "dataset"):
        made[name] = np.repeat(shared[name].to_numpy(object), len(chosen))
    columns = [name for name in (*COLUMNS, *NEGATIVES) if name in made]  # with negatives, their groups are made
    table = pa.table({name: made[name] for name in columns}, schema=schema(columns))
    return datasets.Dataset(datasets.table.InMemoryTable(table))


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """Number the rows of a frame by its index, and bring its columns into types of numpy or of texts."""
    kinds = {name: object for name, kind in frame.dtypes.items() if not isinstance(kind, np.dtype | pd.StringDtype)}
    return frame.set_axis(pd.RangeIndex(len(frame))).astype(kinds)


def _numbers_of_languages(column: pd.Series, languages: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return the place of each row's language in the grid, -1 if it is left out, and the languages. (N,), (L,)"""
    codes = _number(column)
    names = column[~pd.Series(codes).duplicated()].tolist()
    chosen = check_languages(languages, names, "the frame")
    return np.array([chosen.index(name) if name in chosen else -1 for name in names], dtype=np.int64)[codes], chosen


def _texts(column: pd.Series) -> pa.Array:
    """Return the texts of a column in Arrow, null where they are blank. (N,)"""
    if column.isna().all():  # of whatever type, as a column that is null is one of numbers in pandas
        return pa.nulls(len(column), pa.large_string())
    try:
        known = infer_dtype(column, skipna=True) in ("string", "empty")
        texts = pa.array(column, pa.large_string(), from_pandas=True) if known else None
    except UnicodeEncodeError:  # a lone surrogate
        texts = None
    if texts is None:
        wrong = texts_wrong(column, empty=True) & column.notna()
        check_rows(wrong, column, f"frame.{column.name}", "a text, or none where the item is missing", column.index)
        texts = pa.array(column.where(column.notna(), None), pa.large_string())
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    there = has_text(texts)
    return texts if pc.all(there).as_py() else pc.if_else(there, texts, None)


def _exist(frame: pd.DataFrame, queries: pa.Array, passages: pa.Array) -> np.ndarray:
    """Tell which rows have both texts, and warn of those that have only one. (N,)"""
    query, passage = (texts.is_valid().to_numpy(zero_copy_only=False) for texts in (queries, passages))
    half = query != passage
    if half.any():
        message = "frame: %d rows have a query or a passage alone, row %d first; there the items count as missing"
        logger.warning(message, half.sum(), frame.index[half.argmax()])
    return query & passage


def _take(texts: pa.Array, rows: np.ndarray) -> pa.Array | pa.ChunkedArray:
    """Return the texts of some rows, and an empty one for -1. (rows,)"""
    if not np.array_equal(rows, np.arange(len(texts))):
        texts = texts.take(pa.array(rows, mask=rows < 0))
    texts = pc.fill_null(texts, "") if texts.null_count else texts
    if texts.nbytes < _MOST_BYTES:
        return texts.cast(pa.string())
    pieces = (texts.slice(begin, ROWS_AT_ONCE) for begin in range(0, len(texts), ROWS_AT_ONCE))
    return pa.chunked_array([piece.cast(pa.string()) for piece in pieces])


def _number_items(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Number the items in their order of appearance, dataset by dataset.

    Returns:
        The item of each row, and the place of the first row of each item. (R,), (items,)
    """
    item = _number(frame["item"])
    first = np.flatnonzero(~pd.Series(item).duplicated())  # (items,)
    for name in ("passage_group", "domain", "dataset"):
        value = _number(frame[name])
        if (other := value != value[first[item]]).any():
            two = other.argmax()
            one = first[item[two]]
            raise ValueError(
                f"frame.{name}: item {told(frame['item'].iloc[one])} has {told(frame[name].iloc[one])} in row "
                f"{frame.index[one]} and {told(frame[name].iloc[two])} in row {frame.index[two]}; allowed: one value"
            )
    order = np.argsort(value[first], kind="stable")  # the items of a dataset are put together
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[item], first[order]


def _number(column: pd.Series) -> np.ndarray:
    """Number the different values of a column, and refuse those that name nothing, or are of several kinds. (R,)"""
    kind = infer_dtype(column, skipna=column.name == "passage_group")
    allowed = NAMED
    if column.name in ("item", "passage_group"):
        allowed += ", or a number or date; the same kind in all rows"
        wrong = (lists := unhashable(column)) | ((column.isna() | (column == "")).to_numpy() & (column.name == "item"))
        if kind.startswith("mixed") and kind != "mixed-integer-float":
            there = column.notna().to_numpy() & ~lists
            kinds = np.array([_kind(value) for value in column], dtype=object)
            wrong |= there & np.array([one is not kinds[there.argmax()] for one in kinds])
    elif kind == "string":
        codes, names = pd.factorize(column)
        wrong = np.append(texts_wrong(names), True)[codes]  # the code of what is null is -1
    else:
        wrong = texts_wrong(column)
    check_rows(wrong, column, f"frame.{column.name}", allowed, column.index)
    return pd.factorize(column)[0]


def _kind(value: object) -> object:
    """Return what values must share to be told apart: their type, or what it is a kind of."""
    return next((kind for kind in (bool, str, Number) if isinstance(value, kind)), type(value))


def _numbers_of(named: pd.Series, groups: pd.Series, numbers: np.ndarray) -> np.ndarray:
    """Return the number of the group that each row names, -1 where no item is in it. (R,)

    Args:
        named: (R,)
        groups, numbers: the group of each item, and its number. (items,)
    """
    check_rows(unhashable(named), named, "frame.negative_group", "a value of passage_group, or none", named.index)
    known = groups[~in_no_group(groups)]
    of_known = dict(zip(known, numbers[~in_no_group(groups)].tolist(), strict=True))
    return np.array([of_known.get(name, -1) for name in named])


def group_numbers(groups: pd.Series) -> np.ndarray:
    """Number groups in their order of appearance; null and -1 name none, so each is a group of its own. (N,)

    >>> group_numbers(pd.Series([7, -1, 7, -1])).tolist()
    [0, 1, 0, 2]
    """
    codes = pd.factorize(groups)[0]
    alone = in_no_group(groups)
    codes[alone] = len(codes) + np.arange(alone.sum())
    return pd.factorize(codes)[0]


def in_no_group(groups: pd.Series) -> np.ndarray:
    """Tell which values name no group: null and -1. (N,)"""
    return (groups.isna() | (groups == -1)).to_numpy(dtype=bool)


def item_values(table: datasets.Dataset, languages: int, column: str) -> np.ndarray:
    """Read a column that is the same in all languages, in 8 bytes an item. (items,)"""
    found = []
    for _, rows in item_batches(table.select_columns([column]), languages):
        values = rows[column].combine_chunks().take(pa.array(np.arange(0, len(rows), languages)))
        # A column has few different values, so equal strings are one object.
        codes = values.dictionary_encode()
        found.append(codes.dictionary.to_numpy(zero_copy_only=False)[codes.indices.to_numpy()])
    return np.concatenate(found)


def with_column(rows: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Replace a column."""
    return rows.set_column(rows.column_names.index(name), name, values)


def regrid(rows: pa.Table, own: Sequence[str], languages: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Bring the rows of whole items into another grid.

    Args:
        rows: whole items.
        own: the languages of `rows`.
        languages, columns: the languages and columns of the new rows, in order; texts are empty where `rows` has none.
    """
    start = np.arange(0, len(rows), len(own))[:, None]  # (items, 1)
    place = np.array([own.index(code) if code in own else -1 for code in languages])  # (L,)
    first = rows.take(pa.array(np.repeat(start, len(place))))
    source = pa.array((start + place).ravel(), mask=np.tile(place < 0, len(start)))
    new = {name: first[name] for name in COLUMNS}
    new["language"] = pa.array(np.tile(np.array(languages, dtype=object), len(start)))
    for name in set(TEXTS) & set(columns):
        there = name in rows.column_names
        new[name] = pc.fill_null(rows[name].take(source), "") if there else pa.array([""] * len(first))
    if "negative_group" in columns:
        there = "negative_group" in rows.column_names
        new["negative_group"] = pc.fill_null(rows["negative_group"].take(source), -1) if there else [-1] * len(first)
    return pa.table({name: new[name] for name in columns}).cast(schema(columns))
