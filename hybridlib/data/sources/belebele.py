"""Belebele (Bandarkar et al., 2024): 900 questions on 488 passages of FLORES, in 122 language varieties.

A query is a question (without its four answers). The passage that it was asked about is relevant in every language.
The monolingual setting is MTEB's `BelebeleRetrieval` of one language, which is called `<language>-<language>` there.

A language has its code of ISO 639-1, or that of ISO 639-3 where the former has none. The standard variety of a language
has the language's own code (`arb` is `ar`, `pes` is `fa`), as CLDR maps them; other varieties have theirs (`arz`). The
script is a part of the code only where a language comes in several and this is not the one mainly used: `zh` is in
simplified characters, and there are also `zh-Hant`, `ar-Latn`, `bn-Latn`, `hi-Latn`, `ne-Latn`, `si-Latn` and
`ur-Latn`.

The files are those of facebook/belebele on the Hugging Face hub at the revision that MTEB's published results name.
Their checksums and sizes cannot be read without a download, so the revision pins them, and the number of questions is
checked.
"""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from hybridlib.arguments import Names, checked
from hybridlib.data.checks import check_languages
from hybridlib.data.sources.comprehension import checked_rows, comprehension_task
from hybridlib.data.sources.records import Text, parse_record, read_lines
from hybridlib.data.sources.source import Source, pinned_files
from hybridlib.data.task import RetrievalTask

_REVISION = "75b399394a9803252cfec289d103de462763db7c"
_QUESTIONS = 900
SOURCE = Source(
    name="belebele",
    title="Belebele, passage retrieval in 122 language varieties, as in MTEB",
    homepage="https://huggingface.co/datasets/facebook/belebele",
    revision=_REVISION,
    licence="CC BY-SA 4.0",
    citation="""@inproceedings{bandarkar-etal-2024-belebele,
    title = {The Belebele Benchmark: a Parallel Reading Comprehension Dataset in 122 Language Variants},
    author = {Bandarkar, Lucas and Liang, Davis and Muller, Benjamin and Artetxe, Mikel and Shukla, Satya Narayan and
        Husa, Donald and Goyal, Naman and Krishnan, Abhinandan and Zettlemoyer, Luke and Khabsa, Madian},
    booktitle = {Proceedings of the 62nd Annual Meeting of the Association for Computational Linguistics},
    year = {2024},
    pages = {749--775},
}""",
    files=pinned_files("belebele", {"": f"https://huggingface.co/datasets/facebook/belebele/resolve/{_REVISION}/"}),
)


class _Record(TypedDict):
    link: Text
    question_number: int
    flores_passage: Text
    question: Text


_LAYOUT = TypeAdapter(_Record)


@checked
def read_task(name: Literal["belebele"], *, languages: Names | None) -> RetrievalTask:
    """Read the task in some of its languages.

    Args:
        name: `belebele`.
        languages: the codes, in any order; all 122 unless given. All of them have 109,789 queries, 59,536 passages and
            13 million judgements, which take 2.4 GB of memory.

    Raises:
        ValueError: there is no such language, or a file is not as published.
        FileNotFoundError: a file is missing.
    """
    known = [file.language for file in SOURCE.files]  # in the order of the names of the varieties, which settles ties
    chosen = check_languages(languages, known, name)
    return comprehension_task({code: _rows(*SOURCE.fetch(code)) for code in known if code in chosen})


def _rows(path: Path) -> pd.DataFrame:
    """Read and check the questions of a file."""
    rows = pd.DataFrame([row for _, row in read_lines(path, _question)], columns=["key", "question", "passage"])
    return checked_rows(rows, path, _QUESTIONS)


def _question(line: bytes) -> tuple[str, str, str]:
    """Parse a line into the key of the question, the question and its passage."""
    record = parse_record(line, _LAYOUT)
    # Questions are counted anew for each passage. The link tells the passages apart.
    return f"{record['link']}#{record['question_number']}", record["question"], record["flores_passage"]
