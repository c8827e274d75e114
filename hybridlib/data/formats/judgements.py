"""Judgements of which passage is relevant to which query, and the tasks that they make of queries and passages.

A relevance is a whole number; above 0 is relevant. A pair may be judged a second time, but not in another way. Queries
without a judgement are left out, as files of queries hold those of all splits.

Some published judgements are of passages that the collection does not hold. They are refused unless the caller asks to
drop them, since trec_eval counts a relevant one of them as not found: without it, values are higher.
"""

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from hybridlib.arguments import told
from hybridlib.data.passages import Passages, positions_of
from hybridlib.data.sources.records import place, read_lines
from hybridlib.data.task import RetrievalTask

logger = logging.getLogger(__name__)

Missing: TypeAlias = Literal["refuse", "drop"]
_COLUMNS = ["query_id", "passage_id", "relevance", "source", "line"]


def read_qrels(path: Path, split: Callable[[bytes], tuple[str, str, str] | None]) -> pd.DataFrame:
    """Read the judgements of a file, which may be compressed; see `qrels_of`.

    Args:
        path: the file.
        split: the function that makes query, passage and relevance of a line, or None of one without a judgement.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line cannot be read, or as `qrels_of`; the message names the file and the line.
    """
    return qrels_of(((line, found) for line, found in read_lines(path, split) if found), str(path))


def qrels_of(judgements: Iterable[tuple[int, tuple[str, str, str]]], source: str) -> pd.DataFrame:
    """Make a table of judgements: `query_id`, `passage_id` and `relevance`; `source` and `line` are for messages.

    Args:
        judgements: the line of each, its query, passage and relevance.
        source: names where they are from.

    Raises:
        ValueError: a relevance is no whole number, a pair is judged in two ways, or there is no judgement.
    """
    judged: dict[tuple[str, str], tuple[int, int]] = {}
    for line, (query, passage, relevance) in judgements:
        where = place(source, line)
        if not re.fullmatch("[-+]?[0-9]{1,9}", relevance):
            raise ValueError(f"{where}: relevance is {told(relevance)}; allowed: a whole number")
        before, first = judged.setdefault((query, passage), (int(relevance), line))
        if before != int(relevance):
            pair = f"query {told(query)} and passage {told(passage)}"
            raise ValueError(f"{where}: {pair} have relevance {int(relevance)} here and {before} in line {first}")
    if not judged:
        raise ValueError(f"{source} holds no judgement")
    rows = [(*pair, relevance, source, line) for pair, (relevance, line) in judged.items()]
    return pd.DataFrame(rows, columns=_COLUMNS)


def judged_task(
    queries: pd.DataFrame,
    passages: Passages,
    qrels: pd.DataFrame,
    missing: Missing,
    ignore_identical_ids: bool = False,
) -> RetrievalTask:
    """Make a task of queries, passages and judgements; its `pool` says which judgements are left out.

    Args:
        queries: those that are judged are kept.
        passages: all of them.
        qrels: as returned by `read_qrels`.
        missing: what to do with judgements of queries or passages that are not there.
        ignore_identical_ids: see `RetrievalTask`.

    Raises:
        ValueError: a judgement is of what is not there and `missing` is `refuse`; or nothing that is relevant is there.
    """
    asked = qrels.query_id.isin(queries.query_id).to_numpy()
    held = positions_of(passages, qrels.passage_id) >= 0
    said = ""
    if not (asked & held).all():
        if missing == "refuse":
            _refuse(qrels, asked, held)
        said = _left_out(int((~(asked & held)).sum()), int((asked & ~held & (qrels.relevance > 0)).sum()))
        logger.warning("%s: %s", qrels.source.iloc[0], said)
    kept = qrels[asked & held]
    if not (kept.relevance > 0).any():
        raise ValueError(f"{qrels.source.iloc[0]}: no relevance of a query and a passage that are there is above 0")
    return RetrievalTask(
        queries[queries.query_id.isin(kept.query_id)],
        passages,
        kept[_COLUMNS[:3]],
        pool=said,
        ignore_identical_ids=ignore_identical_ids,
    )


def _refuse(qrels: pd.DataFrame, asked: np.ndarray, held: np.ndarray) -> None:
    first = int(np.argmin(asked & held))
    row, number = qrels.iloc[first], int((~(asked & held)).sum())
    who = f"passage {told(row.passage_id)}" if asked[first] else f"query {told(row.query_id)}"
    count = f" ({number:,} judgements are of what is not there)" if number > 1 else ""
    raise ValueError(
        f"{place(row.source, row.line)}: {who} does not exist{count}; missing='drop' leaves such judgements out"
    )


def _left_out(number: int, relevant: int) -> str:
    said = f"Judgements of queries or passages that are not there are left out: {number:,}."
    if relevant:
        said += (
            f" A passage is relevant in {relevant:,} of them, which trec_eval counts as not found: means of map, ndcg, "
            "recall and rr are upper bounds of its."
        )
    return said
