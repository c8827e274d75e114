"""TREC's files: topics, judgements of four columns, and the passages of a collection.

A line of the judgements is topic, iteration, passage and relevance, between white space; the iteration is ignored. The
name of a file of topics or of passages tells what is on its lines, and `.gz` or `.zst` may follow:

- `.tsv`, `.txt`: an id and a text with a tab between them, as in MS MARCO.
- `.jsonl`, `.json`: a record. Its id is in `id`, `_id`, `docid` or `docno`, and its text in `text` or `contents`. The
  `title` of a passage, if there is one, is put before its text with a space between them.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from hybridlib.arguments import checked
from hybridlib.data.formats.joining import join_languages
from hybridlib.data.formats.judgements import Missing, judged_task, read_qrels
from hybridlib.data.formats.lines import Code, Paths, cells_of, parser_of, read_queries
from hybridlib.data.passages import Passages
from hybridlib.data.sources.collection import collect, part_of_file
from hybridlib.data.task import RetrievalTask
from hybridlib.files import kind_of

_Files: TypeAlias = Mapping[str | None, Path]
_COLUMNS = ("topic", "iteration", "passage", "relevance")


@checked
def read_trec(
    topics: Paths,
    qrels: Paths,
    passages: Paths,
    *,
    language: Code | None = None,
    parallel: bool | None = None,
    missing: Missing = "refuse",
) -> RetrievalTask:
    """Read a retrieval task from TREC's files. Topics without a judgement are left out.

    Each argument is a file, or a mapping of languages to files:

    - topics and passages by language: a task of each language, which `join_tasks` joins. A single file of judgements
      holds for every language, as where a collection and its topics were translated.
    - passages by language, topics in one: a question is asked of passages in all languages, whose ids must differ.
    - topics by language, passages in one: a topic's id names the same question in all languages, and becomes
      `<language>:<id>`. A single file of judgements holds for the questions of all languages.

    Args:
        topics, qrels, passages: the files.
        language: that of what is a single file; unless given, each record has its code in the field `language`, by
            itself or in its `metadata`, for which there is no place in a file with tabs.
        parallel: says how topics and passages of several languages go together; see `join_tasks`.
        missing: see `read_beir`.

    Returns:
        The task. Its passages are memory-mapped if their files have 100 MB and more.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a line is not as it must be, an id comes twice, a pair is judged in two ways, or a judgement is of
            what is not there; the message names the file and the line. Or an argument is wrong.
    """
    codes = _languages({"topics": topics, "passages": passages, "qrels": qrels})
    both = isinstance(topics, Mapping) and isinstance(passages, Mapping)
    if both and language is not None:
        raise ValueError(f"language is {language!r}; allowed where topics and passages name their own: None")
    if not both and parallel is not None:
        raise ValueError(f"parallel is {parallel}; allowed unless topics and passages are given by language: None")
    asked, held = _by_language(topics, language), _by_language(passages, language)
    judged = _by_language(qrels, None)
    if both:
        read = partial(_read_language, asked, judged, held, missing)
        return join_languages(read, codes, parallel)
    queries, rows = _read_topics(asked), [read_qrels(path, _judgement) for path in judged.values()]
    if isinstance(topics, Mapping):
        queries = queries.assign(question=queries.query_id, query_id=queries.language + ":" + queries.query_id)
        rows = [_asked(one, queries, code) for code, one in zip(judged, rows, strict=True)]
    return judged_task(queries, _read_passages(held), pd.concat(rows, ignore_index=True), missing)


def _languages(given: Mapping[str, Paths]) -> list[str]:
    """Return the languages that arguments name, which are the same in all that name any."""
    named = {name: [*files] for name, files in given.items() if isinstance(files, Mapping)}
    first = next(iter(named), "")
    for name, codes in named.items():
        if sorted(codes) != sorted(named[first]) or first == "qrels":
            one = "a single file, as topics and passages are"
            allowed = one if first == "qrels" else f"those of {first}, {', '.join(named[first])}"
            raise ValueError(f"{name} is of the languages {', '.join(codes)}; allowed: {allowed}")
    return named.get(first, [])


def _by_language(files: Paths, language: str | None) -> dict[str | None, Path]:
    if isinstance(files, Mapping):
        return {code: Path(path) for code, path in files.items()}
    return {language: Path(files)}


def _read_language(topics: _Files, qrels: _Files, passages: _Files, missing: Missing, language: str) -> RetrievalTask:
    judged = read_qrels(qrels.get(language) or qrels[None], _judgement)
    held = _read_passages({language: passages[language]})
    return judged_task(_read_topics({language: topics[language]}), held, judged, missing)


def _read_topics(files: _Files) -> pd.DataFrame:
    return pd.concat([read_queries(path, parser_of(path, code, False)) for code, path in files.items()])


def _read_passages(files: _Files) -> Passages:
    parts = [(path, parser_of(path, code, True), ["trec", kind_of(path), code]) for code, path in files.items()]
    return collect([part_of_file(*part) for part in parts])


def _judgement(line: bytes) -> tuple[str, str, str]:
    topic, _, passage, relevance = cells_of(line.decode().split(), *_COLUMNS)
    return topic, passage, relevance


def _asked(qrels: pd.DataFrame, queries: pd.DataFrame, language: str | None) -> pd.DataFrame:
    """Judge the queries of one language, or those of all languages that ask a question; others stay as they are."""
    if language is not None:
        return qrels.assign(query_id=f"{language}:" + qrels.query_id)
    names = queries[["query_id", "question"]].rename(columns={"query_id": "asked"})
    pairs = qrels.merge(names, left_on="query_id", right_on="question", how="left")
    return pairs.assign(query_id=pairs.asked.fillna(pairs.query_id))
