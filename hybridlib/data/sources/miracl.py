"""MIRACL v1.0 (Zhang et al., 2023): questions of native speakers in 18 languages, answered by Wikipedia's passages.

The questions and judgements are those of the development set. A question is asked in one language and its relevant
passages are in that language, so there is no cross-lingual setting; the multilingual one ranks the passages of all
languages. The judgements of relevance 0 are kept: they are passages that a reader found not to answer the question.

A passage is its title and text with a space between them, as in MTEB 2.26 (`_corpus_to_dict`), in ir_datasets 0.6
(`MiraclDoc.default_text`) and in Pyserini's encoders, which made the baselines of the paper.

Files lie in `$HYBRIDLIB_DATA/miracl`: topics and judgements by their names, the passages in folders as on the hub
(`miracl-corpus-v1.0-sw/docs-0.jsonl.gz`). They are fetched as those of every source are, so that ir_datasets, which
keeps a store of compressed objects of its own beside them, is not needed. Up to 32.9 million passages a language are
converted into memory-mapped Arrow when they are first asked for; see `hybridlib.data.sources.arrow`.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from hybridlib.data.sources.arrow import read_passages, unknown_ids
from hybridlib.data.sources.source import File, Source, fetch
from hybridlib.data.task import RetrievalTask

if TYPE_CHECKING:
    import datasets

# Of castorini/anserini-tools, whose `_metadata_qrels.json` lists all 18 at this commit: the hub's own copy
# (miracl/miracl) asks for a login.
_TOPICS_COMMIT = "6bb119c4ec0311985b0f9b9469c214051514d3f8"
_TOPICS_URL = f"https://raw.githubusercontent.com/castorini/anserini-tools/{_TOPICS_COMMIT}/topics-and-qrels/"
# The newest of miracl/miracl-corpus on the hub (of 2023), after the two languages that came last.
_CORPUS_COMMIT = "d921ec7e349ce0d28daf30b2da9da5ee698bef0d"
_CORPUS_URL = f"https://huggingface.co/datasets/miracl/miracl-corpus/resolve/{_CORPUS_COMMIT}/"
_CITATION = """@article{zhang-etal-2023-miracl,
  title = {{MIRACL}: A Multilingual Retrieval Dataset Covering 18 Diverse Languages},
  author = {Zhang, Xinyu and Thakur, Nandan and Ogundepo, Odunayo and Kamalloo, Ehsan and Alfonso-Hermelo, David and
            Li, Xiaoguang and Liu, Qun and Rezagholizadeh, Mehdi and Lin, Jimmy},
  journal = {Transactions of the Association for Computational Linguistics},
  volume = {11},
  pages = {1114--1131},
  year = {2023},
  doi = {10.1162/tacl_a_00595}
}"""


def _files() -> tuple[File, ...]:
    """The files of `miracl.csv`.

    Topics and judgements: size and SHA-256 of the files themselves, whose MD5 are those in ir_datasets. Passages: MD5
    and size in ir_datasets 0.6.3 (`etc/downloads.json`); the size that it has for Yoruba, 10946 bytes for 49,043
    passages, cannot be right, so it is left out.
    """
    with Path(__file__).with_suffix(".csv").open(newline="") as stream:
        return tuple(
            File(
                f"miracl/{row['file']}",
                (_CORPUS_URL if "/" in row["file"] else _TOPICS_URL) + row["file"],
                row["checksum"],
                int(row["size"]) if row["size"] else None,
            )
            for row in csv.DictReader(stream)
        )


SOURCES = (
    Source(
        name="miracl",
        title="MIRACL v1.0, development set: questions and Wikipedia's passages in 18 languages",
        homepage="https://github.com/project-miracl/miracl",
        revision=f"anserini-tools {_TOPICS_COMMIT[:7]}, miracl-corpus {_CORPUS_COMMIT[:7]}",
        licence="Apache 2.0; the passages are Wikipedia's text, CC BY-SA",
        citation=_CITATION,
        files=_files(),
    ),
)


def read_task(name: str, languages: Sequence[str] | None) -> RetrievalTask:
    """MIRACL in some languages, or in all.

    Args:
        name: `miracl`.
        languages: their codes; all unless given. Passages come in the order of the codes, which settles ties.

    Returns:
        Queries `<language>:<topic>`, passages `<language>:<docid>`, and judgements of relevance 0 and 1.

    Raises:
        ValueError: there is no such language, or a file is not as it must be; the message names the file and the line.
        FileNotFoundError: a file is missing.
    """
    import datasets  # takes a second

    codes = _check_languages(languages)
    queries = {language: _read_topics(language) for language in codes}
    qrels = {language: _read_qrels(language, queries[language]) for language in codes}
    # All files before the first is converted, which may take an hour.
    files = {language: {fetch(file, name): str(file.checksum) for file in _corpus(language)} for language in codes}
    passages = []
    for language in codes:
        passages.append(read_passages(files[language], language))
        _refuse_unjudgeable(language, qrels[language], passages[-1])
    return RetrievalTask(
        pd.concat(queries.values(), ignore_index=True),
        datasets.concatenate_datasets(passages),
        pd.concat(qrels.values(), ignore_index=True).drop(columns="line"),
        settings=("monolingual", "multilingual"),
    )


def _check_languages(languages: Sequence[str] | None) -> list[str]:
    allowed = sorted({file.path.split("-")[-2] for file in SOURCES[0].files if "topics" in file.path})
    codes = sorted(allowed if languages is None else languages)
    for code in codes:
        if code not in allowed or codes.count(code) > 1:
            raise ValueError(f"languages: {code!r} is unknown or comes twice; allowed: {', '.join(allowed)}")
    if not codes:
        raise ValueError(f"languages is empty; allowed: {', '.join(allowed)}")
    return codes


def _corpus(language: str) -> list[File]:
    folder = f"miracl/miracl-corpus-v1.0-{language}/"
    return [file for file in SOURCES[0].files if file.path.startswith(folder)]


def _path(kind: str, language: str) -> Path:
    """Of the topics or the qrels."""
    path = f"miracl/{kind}.miracl-v1.0-{language}-dev.tsv"
    return fetch(next(file for file in SOURCES[0].files if file.path == path), SOURCES[0].name)


def _read_topics(language: str) -> pd.DataFrame:
    path = _path("topics", language)
    texts: dict[str, str] = {}
    for line, (topic, text) in _rows(path, 2):
        if not topic or not text:
            raise ValueError(f"{path}, line {line}: the {'text' if topic else 'id'} of the topic is empty")
        if topic in texts:
            raise ValueError(f"{path}, line {line}: topic {topic!r} comes twice")
        texts[topic] = text
    ids = [f"{language}:{topic}" for topic in texts]
    return pd.DataFrame({"query_id": ids, "language": language, "text": list(texts.values())})


def _read_qrels(language: str, queries: pd.DataFrame) -> pd.DataFrame:
    """`query_id`, `passage_id`, `relevance`, and the `line`, for messages about passages that do not exist."""
    path = _path("qrels", language)
    known = set(queries.query_id)
    pairs: dict[tuple[str, str], tuple[int, int]] = {}
    for line, (topic, _, docid, relevance) in _rows(path, 4):
        pair = (f"{language}:{topic}", f"{language}:{docid}")
        if pair[0] not in known:
            raise ValueError(f"{path}, line {line}: topic {topic!r} does not exist")
        if relevance not in ("0", "1"):
            raise ValueError(f"{path}, line {line}: relevance is {relevance!r}; allowed: 0, 1")
        if pair in pairs:
            raise ValueError(f"{path}, line {line}: topic {topic!r} and passage {docid!r} are judged twice")
        pairs[pair] = (int(relevance), line)
    rows = [(*pair, *judged) for pair, judged in pairs.items()]
    return pd.DataFrame(rows, columns=["query_id", "passage_id", "relevance", "line"])


def _rows(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    """The number of every line and its columns, between tabs."""
    content = path.read_bytes()
    try:
        lines = content.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {number}: not UTF-8: {error.reason}") from error
    for number, line in enumerate(lines, 1):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != columns:
            raise ValueError(f"{path}, line {number}: {len(fields)} columns between tabs; expected {columns}")
        yield number, fields


def _refuse_unjudgeable(language: str, qrels: pd.DataFrame, passages: "datasets.Dataset") -> None:
    unknown = qrels[qrels.passage_id.isin(unknown_ids(passages, qrels.passage_id))]
    if len(unknown):
        line, docid = unknown.line.iloc[0], unknown.passage_id.iloc[0].partition(":")[2]
        raise ValueError(f"{_path('qrels', language)}, line {line}: passage {docid!r} does not exist")
