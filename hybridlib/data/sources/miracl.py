"""MIRACL v1.0 (Zhang et al., 2023): questions of native speakers in 18 languages, answered by Wikipedia's passages.

The questions and judgements are those of the development set. A question is asked in one language and its relevant
passages are in that language, so there is no cross-lingual setting; the multilingual one ranks the passages of all
languages. The judgements of relevance 0 are kept: a reader found that these passages do not answer the question.

A passage is its title and text with a space between them, as in MTEB 2.26 (`_corpus_to_dict`), in ir_datasets 0.6
(`MiraclDoc.default_text`) and in Pyserini's encoders, which made the baselines of the paper.

Files lie in `$HYBRIDLIB_DATA/miracl`: topics and judgements by their names, the passages in folders as on the hub
(`miracl-corpus-v1.0-sw/docs-0.jsonl.gz`). They are fetched as those of every source are. So ir_datasets, which keeps a
store of compressed objects of its own, is not needed. A language has up to 32.9 million passages, which are mapped from
disk (`hybridlib.data.sources.collection`). Every line is checked.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import datasets
import pandas as pd
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from hybridlib.arguments import Names, checked, told
from hybridlib.data.checks import check_languages
from hybridlib.data.passages import Passages, positions_of
from hybridlib.data.sources.collection import Row, collect, part_of_file
from hybridlib.data.sources.records import AnyText, Text, parse_record, place, read_lines
from hybridlib.data.sources.source import Source, pinned_files
from hybridlib.data.task import RetrievalTask

# Topics and judgements are from castorini/anserini-tools, whose `_metadata_qrels.json` lists all 18 languages at this
# commit, because the hub's own copy (miracl/miracl) asks for a login. Sizes and SHA-256 were computed from the files,
# whose MD5 are those in ir_datasets.
_TOPICS_COMMIT = "6bb119c4ec0311985b0f9b9469c214051514d3f8"
_TOPICS_URL = f"https://raw.githubusercontent.com/castorini/anserini-tools/{_TOPICS_COMMIT}/topics-and-qrels/"
# This is the newest commit of miracl/miracl-corpus on the hub (2023); the two languages that came last are in it. Sizes
# and MD5 are those in ir_datasets 0.6.3 (`etc/downloads.json`). The size that it has for Yoruba, 10946 bytes for 49,043
# passages, cannot be right, so it is left out.
_CORPUS_COMMIT = "d921ec7e349ce0d28daf30b2da9da5ee698bef0d"
_CORPUS_URL = f"https://huggingface.co/datasets/miracl/miracl-corpus/resolve/{_CORPUS_COMMIT}/"
SOURCE = Source(
    name="miracl",
    title="MIRACL v1.0, development set: questions and Wikipedia's passages in 18 languages",
    homepage="https://github.com/project-miracl/miracl",
    revision=f"anserini-tools {_TOPICS_COMMIT[:7]}, miracl-corpus {_CORPUS_COMMIT[:7]}",
    licence="Apache 2.0; the passages are Wikipedia's text, CC BY-SA",
    citation="""@article{zhang-etal-2023-miracl,
  title = {{MIRACL}: A Multilingual Retrieval Dataset Covering 18 Diverse Languages},
  author = {Zhang, Xinyu and Thakur, Nandan and Ogundepo, Odunayo and Kamalloo, Ehsan and Alfonso-Hermelo, David and
            Li, Xiaoguang and Liu, Qun and Rezagholizadeh, Mehdi and Lin, Jimmy},
  journal = {Transactions of the Association for Computational Linguistics},
  volume = {11},
  pages = {1114--1131},
  year = {2023},
  doi = {10.1162/tacl_a_00595}
}""",
    files=pinned_files("miracl", {"miracl-corpus": _CORPUS_URL, "": _TOPICS_URL}),
)


class _Record(TypedDict):
    docid: Text
    title: AnyText
    text: AnyText


_LAYOUT = TypeAdapter(_Record)


@checked
def read_task(name: Literal["miracl"], *, languages: Names | None) -> RetrievalTask:
    """Read MIRACL in some languages, or in all.

    Args:
        name: `miracl`.
        languages: their codes; all unless given. Passages come in the order of the codes, which settles ties.

    Returns:
        The task: queries `<language>:<topic>`, passages `<language>:<docid>`, and judgements of relevance 0 and 1.

    Raises:
        ValueError: there is no such language, or a file is not as it must be; the message names the file and the line.
        FileNotFoundError: a file is missing.
    """
    codes = sorted(check_languages(languages, SOURCE.languages, name))
    queries = {language: _read_topics(language) for language in codes}
    qrels = {language: _read_qrels(language, queries[language]) for language in codes}
    # All files are fetched before the first is converted, which may take an hour.
    paths = {language: SOURCE.fetch(language, "miracl-corpus") for language in codes}
    passages = []
    for language in codes:
        passages.append(_read_passages(language, paths[language]))
        _refuse_unjudgeable(language, qrels[language], passages[-1])
    return RetrievalTask(
        pd.concat(queries.values(), ignore_index=True),
        datasets.concatenate_datasets(passages),
        pd.concat(qrels.values(), ignore_index=True).drop(columns="line"),
        settings=("monolingual", "multilingual"),
    )


def _read_topics(language: str) -> pd.DataFrame:
    (path,) = SOURCE.fetch(language, "topics")
    texts: dict[str, str] = {}

    def check(line: bytes) -> None:
        topic, text = _fields(line, 2)
        if not topic or not text:
            raise ValueError(f"the {'text' if topic else 'id'} of the topic is empty")
        if topic in texts:
            raise ValueError(f"topic {told(topic)} comes twice")
        texts[topic] = text

    list(read_lines(path, check))
    ids = [f"{language}:{topic}" for topic in texts]
    return pd.DataFrame({"query_id": ids, "language": language, "text": list(texts.values())})


def _read_qrels(language: str, queries: pd.DataFrame) -> pd.DataFrame:
    """Read `query_id`, `passage_id`, `relevance`, and the `line`, for messages about passages that do not exist."""
    (path,) = SOURCE.fetch(language, "qrels")
    known, pairs = set(queries.query_id), set()

    def judgement(line: bytes) -> tuple[str, str, int]:
        topic, _, docid, relevance = _fields(line, 4)
        pair = (f"{language}:{topic}", f"{language}:{docid}")
        if pair[0] not in known:
            raise ValueError(f"topic {told(topic)} does not exist")
        if relevance not in ("0", "1"):
            raise ValueError(f"relevance is {told(relevance)}; allowed: 0, 1")
        if pair in pairs:
            raise ValueError(f"topic {told(topic)} and passage {told(docid)} are judged twice")
        pairs.add(pair)
        return *pair, int(relevance)

    rows = [(*judged, line) for line, judged in read_lines(path, judgement)]
    return pd.DataFrame(rows, columns=["query_id", "passage_id", "relevance", "line"])


def _fields(line: bytes, number: int) -> list[str]:
    """Split a line at its tabs into so many fields."""
    fields = [field.strip() for field in line.decode().split("\t")]
    if len(fields) != number:
        raise ValueError(f"{len(fields)} columns between tabs; expected {number}")
    return fields


def _refuse_unjudgeable(language: str, qrels: pd.DataFrame, passages: Passages) -> None:
    """Refuse a judgement of a passage that does not exist."""
    unknown = qrels[positions_of(passages, qrels.passage_id) < 0]
    if len(unknown):
        (path,) = SOURCE.fetch(language, "qrels")
        docid = unknown.passage_id.iloc[0].partition(":")[2]
        raise ValueError(f"{place(path, unknown.line.iloc[0])}: passage {told(docid)} does not exist")


def _read_passages(language: str, paths: Sequence[Path]) -> Passages:
    """Map the passages of one language, in the order of the files and their lines."""
    files, parse = SOURCE.files_of(language, "miracl-corpus"), partial(_passage, language)
    return collect(
        [
            part_of_file(path, parse, ["miracl", language], file.checksum)
            for path, file in zip(paths, files, strict=True)
        ],
        mapped=True,
    )


def _passage(language: str, line: bytes) -> Row:
    """Parse a line, `{"docid": ..., "title": ..., "text": ...}`."""
    record = parse_record(line, _LAYOUT)
    docid = record["docid"]
    if docid.split() != [docid]:
        raise ValueError(f"docid {told(docid)} holds white space")
    # MTEB and the baselines of MIRACL join them so. There, too, a title with an empty text is a passage.
    passage = f"{record['title']} {record['text']}".strip()
    if not passage:
        raise ValueError(f"passage {told(docid)} is empty")
    return Row(f"{language}:{docid}", language, passage)
