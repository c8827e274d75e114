"""One's own pairs to train on: questions and passages in several languages, in one table or in a file a language.

A row is an item in one language: a question and its passage. Rows of the same `item` are translations of each other,
whatever files they are in. An item may be missing in some languages.

Items share a passage group where `passage_group` says so, and where they have the same passage, letter for letter, in
some language; directly or through others. For the passage of one answers the question of the other, so it must not be
its negative (see `hybridlib.loss`).

The rows are read once. Their texts are put away on disk, and memory holds some numbers of each row. The table of the
corpus is then memory-mapped, and made again only where a file has changed.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeAlias

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import SkipValidation
from tqdm import tqdm

from hybridlib.arguments import Names, checked
from hybridlib.data.checks import check_languages
from hybridlib.data.corpus import ParallelCorpus, connected_groups
from hybridlib.data.formats.parallel.pairs import (
    NEEDED,
    OPTIONAL,
    Pair,
    Part,
    check_items,
    part_of_table,
    parts_of,
    read_pairs,
)
from hybridlib.data.formats.parallel.rows import table_of
from hybridlib.data.table import cached_table, derived_table
from hybridlib.data.texts import Texts, interleave

Pairs: TypeAlias = Annotated[
    str | Path | Sequence[str | Path] | Mapping[str, str | Path] | pd.DataFrame | datasets.Dataset, SkipValidation
]

_BATCH = 4096  # pairs whose texts are put away at a time
_KEYS = ("0123456789abcdef", "fedcba9876543210")  # of digests


@checked
def read_parallel(source: Pairs, *, languages: Names | None = None) -> ParallelCorpus:
    """Read parallel questions and passages to train on.

    The columns are `item`, `language`, `query` and `passage` and, if there are any, `passage_group`, `domain` and
    `dataset`; others are not read. `item` and `passage_group` are texts or whole numbers, and 7 is the same as "7". A
    row with neither query nor passage says that the item is missing in the language, as does no row at all. Items keep
    their order of appearance, dataset by dataset. The same rows give the same corpus in any format.

    Args:
        source: the path of a file (`.csv`, `.tsv`, `.jsonl` or `.parquet`; all but Parquet may end in `.gz` or `.zst`,
            too), a pattern such as `pairs/*.jsonl`, a list of these, a path for each language, a DataFrame or a
            Dataset. A file of one language needs no column `language` if it is named by it, as `pairs/sw.jsonl` or
            `{"sw": "pairs.csv"}`.
        languages: the languages of the grid, in order; all of them, sorted, unless given. Rows in other languages are
            checked, too, and left out.

    Returns:
        The corpus. Where the table does not name dataset or domain, they are the name of the file, or of the folder of
        several, or `pairs`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing; an item, a language, a query or a passage is empty or of another type; an item
            comes twice in a language, or has two passage groups, domains or datasets; or no item is left. The message
            names the file and the line, counted from 1; in Parquet and tables it is the row, counted from 0.

    >>> rows = {"item": [1, 1, 2], "language": ["en", "sw", "en"], "query": ["when?", "lini?", "who?"]}
    >>> read_parallel(pd.DataFrame({**rows, "passage": ["at six", "saa kumi na mbili", "Ada"]}))
    <ParallelCorpus of 2 items; languages: en 2, sw 1; datasets: pairs 2>
    """
    if isinstance(source, pd.DataFrame | datasets.Dataset):
        table = table_of(source, (*NEEDED, *OPTIONAL), "source")
        parts, name = [part_of_table(table)], "pairs"
        return ParallelCorpus(derived_table([table], [name, languages], lambda: _pieces(parts, name, languages)))
    parts, name = parts_of(source)
    made_from = [name, languages, *([part.made_from, part.language, part.must] for part in parts)]
    return ParallelCorpus(cached_table(made_from, lambda: _pieces(parts, name, languages)))


def _pieces(parts: Sequence[Part], name: str, languages: Sequence[str] | None) -> Iterator[pa.Table]:
    """Make the pieces of the table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Texts(Path(folder) / "queries") as queries,
        Texts(Path(folder) / "passages") as passages,
    ):
        rows, names = _put_away(parts, name, queries, passages)
        if not rows:
            raise ValueError("source holds no row with a query and a passage; allowed: at least one item")
        chosen = check_languages(languages, sorted(names["language"]), "source")
        item = _numbers(rows.pop("item"))  # (R,)
        first = np.flatnonzero(~pd.Series(item).duplicated())  # (I,)
        check_items(parts, name, rows, item)
        numbers = np.arange(len(first))
        items = pd.DataFrame({"query": numbers, "passage": numbers, "passage_group": _groups(rows, item, len(first))})
        for column in ("domain", "dataset"):
            items[column] = np.array([*names[column]], dtype=object)[rows[column][first]]
        items = items.iloc[np.argsort(rows["dataset"][first], kind="stable")]
        texts = {}
        for language in chosen:
            own = np.flatnonzero(rows["language"] == names["language"][language])
            row = np.full(len(first), -1)
            row[item[own]] = own
            texts[language] = (queries.renumbered(row), passages.renumbered(row))
        yield from interleave(items, texts)


def _put_away(
    parts: Sequence[Part], name: str, queries: Texts, passages: Texts
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, int]]]:
    """Put away the texts of all rows, by the numbers of the rows, and return the rest of these in numbers.

    Returns:
        Digests of `item` (R, 2), `passage` and `passage_group` (0 for none), and the numbers of `language`, `domain`
        and `dataset`; nothing if there is no row. (R,)
        The names of these three, with their numbers.
    """
    names: dict[str, dict[str, int]] = {"language": {}, "domain": {}, "dataset": {}}
    kept: dict[str, list[np.ndarray]] = {}
    bar = tqdm(read_pairs(parts, name), desc="reading pairs", unit=" pairs", delay=2, disable=None)
    pairs, count = iter(bar), 0
    while batch := [pair for _, _, pair in islice(pairs, _BATCH)]:
        for count, pair in enumerate(batch, count):  # noqa: B020
            queries.put(count, pair.query)
            passages.put(count, pair.passage)
        count += 1
        column = {key: np.array([getattr(pair, key) for pair in batch], dtype=object) for key in Pair._fields}
        made = {
            "item": np.stack([_digests(column["item"], key) for key in _KEYS], axis=1),
            "passage": _digests(column["passage"], _KEYS[0]),
            # By another key, so that the group "7" is not that of the passage "7".
            "passage_group": _digests(column["passage_group"], _KEYS[1]) * (column["passage_group"] != ""),
        }
        for key, known in names.items():
            made[key] = np.array([known.setdefault(one, len(known)) for one in column[key]], dtype=np.int32)
        for key, values in made.items():
            kept.setdefault(key, []).append(values)
    return {key: np.concatenate(found) for key, found in kept.items()}, names


def _digests(texts: np.ndarray, key: str) -> np.ndarray:
    """Return a number of 64 bits for each text; by two keys, no two texts have both numbers the same. (n,)"""
    return pd.util.hash_array(texts, hash_key=key, categorize=False)


def _numbers(digests: np.ndarray) -> np.ndarray:
    """Number items in their order of appearance, by the two digests of each. (R,)"""
    one, two = (pd.factorize(column)[0] for column in digests.T)
    return pd.factorize(one * (two.max() + 1) + two)[0]


def _groups(rows: Mapping[str, np.ndarray], item: np.ndarray, size: int) -> np.ndarray:
    """Return the passage group of each item: a number, or -1 for one of its own. (I,)"""
    passage = rows["passage"] + rows["language"].astype(np.uint64)  # the same text in another language is another
    shared = pd.Series(passage).duplicated(keep=False).to_numpy()
    named = rows["passage_group"] != 0
    items = np.concatenate([item[shared], item[named]])
    things = np.concatenate([passage[shared], rows["passage_group"][named]])
    groups = np.full(size, -1)
    if len(items):
        found = connected_groups(pd.Series(items), pd.Series(things))
        groups[found.index] = found
    return groups
