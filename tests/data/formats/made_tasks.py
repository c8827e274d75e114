"""Made files of the formats that people bring, and what trec_eval says of them."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import pytrec_eval

from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate_embeddings

MEASURES = {
    "map": "map",
    "ndcg@10": "ndcg_cut.10",
    "recall@10": "recall.10",
    "recall@100": "recall.100",
    "rr@1000": "recip_rank",  # there are fewer passages
}
_WORDS = [
    'say "hi"',
    "a\ttab",
    "it's",
    "#5",
    "back\\slash",
    "ä",
    "雨",
    "'",
    '"',
    "line\u2028end",
    "\u00a0x",
    "{}",
    "1,2",
]


class Made(NamedTuple):
    """A task in plain tables: rows (id, title, text), rows (id, text), and rows (query, passage, relevance)."""

    passages: list[tuple[str, str, str]]
    queries: list[tuple[str, str]]
    qrels: list[tuple[str, str, int]]


def draw_made(seed: int = 0, number: int = 131) -> Made:
    """Draw a task: odd ids and texts, graded and negative relevance, and queries of other splits."""
    rng = np.random.default_rng(seed)
    passages = [
        (f'{n}#{n % 7}"é'[: 9 - 2 * (n % 2)], _WORDS[n % 5] * (n % 3 > 0), f"{n} {' '.join(rng.choice(_WORDS, 3))}")
        for n in range(number)
    ]
    queries = [(f"q#{n}/'x'", f"{n}: {' '.join(rng.choice(_WORDS, 2))}?") for n in range(23)]
    qrels = []
    for query, _ in queries[:17]:
        for place, row in enumerate(rng.choice(number, 9, replace=False)):
            # The first is relevant: trec_eval knows no query without a relevant passage.
            qrels.append((query, passages[row][0], int(rng.integers(1, 4) if place == 0 else rng.integers(-2, 4))))
    return Made(passages, queries, qrels)


def lines(records: Iterable[Any], end: str = "\n") -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + end for record in records)


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, and its folder; a name that ends in .gz or .zst has it compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    kind = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    path.write_bytes(pa.compress(content, kind, asbytes=True) if kind else content)
    return path


def write_beir(
    folder: Path,
    made: Made,
    *,
    split: str = "test",
    end: str = "\n",
    packed: str = "",
    further: Mapping[str, Any] = {},
) -> Path:
    """Write a task as BEIR does, in files with the ending `packed`; the fields `further` are added to each record."""
    corpus = ({"_id": key, "title": title, "text": text, **further} for key, title, text in made.passages)
    write(folder / f"corpus.jsonl{packed}", lines(corpus, end))
    write(
        folder / f"queries.jsonl{packed}",
        lines(({"_id": key, "text": text, **further} for key, text in made.queries), end),
    )
    path = write(folder / f"qrels/{split}.tsv", "")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL, lineterminator=end)
        writer.writerows([("query-id", "corpus-id", "score"), *made.qrels])
    if packed:
        write(folder / f"qrels/{split}.tsv{packed}", path.read_bytes())
        path.unlink()
    return folder


def embeddings(made: Made, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw embeddings of queries and passages from few whole numbers, so that many scores are equal."""
    rng = np.random.default_rng(seed)
    queries, passages = (rng.integers(-2, 3, (len(rows), 4)).astype(float) for rows in (made.queries, made.passages))
    return queries, passages


def trec_eval(
    scores: np.ndarray, queries: Sequence[str], passages: Sequence[str], qrels: Iterable[tuple[str, str, int]]
) -> dict[tuple[str, str], float]:
    """Return the value of every measure for each query, by its id, that has a relevant passage.

    Args:
        scores: of equal ones, the first is the best. (Q, P)
        queries, passages: their ids.
        qrels: judgements.
    """
    judged: dict[str, dict[str, int]] = {}
    for query, passage, relevance in qrels:
        judged.setdefault(query, {})[passage] = relevance
    judged = {query: found for query, found in judged.items() if max(found.values()) > 0}
    order = np.argsort(-scores, axis=1, kind="stable")
    run = {
        query: {passages[column]: -float(place) for place, column in enumerate(row)}
        for query, row in zip(queries, order, strict=True)
    }
    found = pytrec_eval.RelevanceEvaluator(judged, {*MEASURES.values()}).evaluate(run)
    return {
        (query, name): values[asked.replace(".", "_")]
        for query, values in found.items()
        for name, asked in MEASURES.items()
    }


def values_of(results: pd.DataFrame, setting: str) -> dict[tuple[str, str], float]:
    """Return the values of a setting in the form of `trec_eval`."""
    rows = results[results.setting == setting]
    keys = rows[["query_id", "measure"]].astype(str).itertuples(index=False, name=None)
    return dict(zip(keys, rows.value, strict=True))


def kept_of(names: Iterable[str], made: Made, queries: np.ndarray) -> np.ndarray:
    """Return the rows of the embeddings of some queries, by their ids in the files."""
    every = [query for query, _ in made.queries]
    return queries[[every.index(query) for query in names]]


def assert_values_are_those_of_trec_eval(task: RetrievalTask, made: Made) -> None:
    """Compare the values of a task of one language with those that trec_eval has for what it was made of."""
    queries, passages = embeddings(made)
    asked, held = [query for query, _ in made.queries], [passage for passage, *_ in made.passages]
    expected = trec_eval(queries @ passages.T, asked, held, made.qrels)
    assert len(expected) == 17 * len(MEASURES)
    queries = kept_of(task.queries.query_id, made, queries)
    results = evaluate_embeddings(queries, passages, task, similarity="dot", measures=[*MEASURES])
    for setting in ("monolingual", "multilingual"):  # both have the pool of one language
        assert values_of(results, setting) == pytest.approx(expected, abs=1e-12)
