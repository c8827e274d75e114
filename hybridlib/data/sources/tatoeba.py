"""Tatoeba: sentences of 36 languages and their English translations (Artetxe and Schwenk, 2019), as XTREME takes them.

A query is a sentence of a language or of English. Its only relevant passage is the translation, so the accuracy that
XTREME reports is `recall@1` of the queries that are not English. The English sentences differ from pair to pair, so
each pair has a pool of its own and is a task, `tatoeba/<language>`. XTREME's figure is the mean over the 36. Only the
cross-lingual setting exists, since in the pool of its own language a sentence would find itself.

No sentence comes twice in a file. If two have equal embeddings, the earlier counts as nearer, as everywhere here.
"""

from pathlib import Path
from typing import Literal

import pandas as pd

from hybridlib.arguments import Names, checked, told
from hybridlib.data.checks import check_languages
from hybridlib.data.sources.records import read_lines
from hybridlib.data.sources.source import Source, pinned_files
from hybridlib.data.task import RetrievalTask

_REVISION = "fec5c7d63daa2bea9d127e8252b10e87278586c0"
SOURCE = Source(
    name="tatoeba",
    title="Tatoeba, the 36 pairs of XTREME: find the English translation of a sentence, and the other way round",
    homepage="https://github.com/facebookresearch/LASER/tree/main/data/tatoeba/v1",
    revision=_REVISION,
    licence="CC BY 2.0 FR (Tatoeba)",
    citation="""@article{artetxe-schwenk-2019-massively,
    title = {Massively Multilingual Sentence Embeddings for Zero-Shot Cross-Lingual Transfer and Beyond},
    author = {Artetxe, Mikel and Schwenk, Holger},
    journal = {Transactions of the Association for Computational Linguistics},
    volume = {7},
    year = {2019},
    pages = {597--610},
}""",
    files=pinned_files(
        "tatoeba", {"": f"https://raw.githubusercontent.com/facebookresearch/LASER/{_REVISION}/data/tatoeba/v1/"}
    ),
)


@checked
def read_task(name: Literal["tatoeba"], *, languages: Names | None) -> RetrievalTask:
    """Read one pair, in both directions.

    Args:
        name: `tatoeba`.
        languages: the one that is paired with English.

    Returns:
        The task. Line n of German, counted from 1, is the query and the passage `de-en:de:<n>`. Its question is
        `de-en:<n>`.

    Raises:
        ValueError: not exactly one language is named, there is no such language, or a file is not as published, or
            has no counterpart for a line, an empty line or one that is not UTF-8.
        FileNotFoundError: a file is missing.
    """
    if languages is None or len(languages) != 1:
        raise ValueError(
            f"languages is {told(languages)}; {name} is a task for each language, as every pair has English sentences "
            f"of its own: load {name}/<language>, where the language is one of {', '.join(SOURCE.languages)}"
        )
    (language,) = check_languages(languages, SOURCE.languages, name)
    english, foreign = sorted(SOURCE.fetch(language), key=lambda path: path.suffix != ".eng")
    tables = [_sentences(foreign, language, language), _sentences(english, language, "en")]
    if len(tables[0]) != len(tables[1]):
        raise ValueError(
            f"tatoeba/{language}: {len(tables[0])} sentences of {language} and {len(tables[1])} of en; "
            "line n of one must translate line n of the other"
        )
    sentences = pd.concat(tables, ignore_index=True)
    translations = pd.concat(tables[::-1], ignore_index=True)
    return RetrievalTask(
        sentences.rename(columns={"id": "query_id"}),
        sentences.rename(columns={"id": "passage_id"}),
        pd.DataFrame({"query_id": sentences.id, "passage_id": translations.id, "relevance": 1}),
        settings=("cross-lingual",),
        # A sentence and its translation are alike: for E5, with one prompt on both sides recall@1 is 2.2 points higher.
        roles=("query", "query"),
    )


def _sentences(path: Path, pair: str, language: str) -> pd.DataFrame:
    """Read one side of a pair: `id`, `language`, `text`, `question` (names the line) and `article` (the pair)."""
    texts = dict(read_lines(path, _sentence))
    table = pd.DataFrame({"line": texts.keys(), "language": language, "text": texts.values()})
    line = table.pop("line").astype(str)
    return table.assign(id=f"{pair}-en:{language}:" + line, question=f"{pair}-en:" + line, article=pair)


def _sentence(line: bytes) -> str:
    text = line.decode()
    if not text.strip():
        raise ValueError("the sentence is empty")
    return text
