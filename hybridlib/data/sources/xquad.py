"""XQuAD (Artetxe et al., 2020): 1,190 questions on 240 paragraphs of Wikipedia, translated into 12 languages.

A passage is a paragraph. The paragraph of a question is relevant to it in every language. The monolingual setting is
MTEB's `XQuADRetrieval`, number for number (`benchmarks/published.py` shows it). Equal questions of a language are one
query, which leaves 1,180 (Thai) to 1,186 (Arabic).

The files are those of google/xquad on the Hugging Face hub at the revision that MTEB's published results name. Their
checksums cannot be read without a download, so the revision pins them, and the number of questions is checked. Sizes
are the `download_size` of the dataset card, where it could be read.
"""

from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow.parquet as pq

from hybridlib.arguments import Names, checked
from hybridlib.data.checks import check_columns, check_languages
from hybridlib.data.sources.comprehension import checked_rows, comprehension_task
from hybridlib.data.sources.source import Source, pinned_files
from hybridlib.data.task import RetrievalTask
from hybridlib.files import reading

_REVISION = "51adfef1c1287aab1d2d91b5bead9bcfb9c68583"
_QUESTIONS = 1190
_COLUMNS = {"id": "key", "question": "question", "context": "passage"}
SOURCE = Source(
    name="xquad",
    title="XQuAD, paragraph retrieval in 12 languages, as in MTEB",
    homepage="https://huggingface.co/datasets/google/xquad",
    revision=_REVISION,
    licence="CC BY-SA 4.0",
    citation="""@inproceedings{artetxe-etal-2020-cross,
    title = {On the Cross-lingual Transferability of Monolingual Representations},
    author = {Artetxe, Mikel and Ruder, Sebastian and Yogatama, Dani},
    booktitle = {Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics},
    year = {2020},
    pages = {4623--4637},
}""",
    files=pinned_files("xquad", {"": f"https://huggingface.co/datasets/google/xquad/resolve/{_REVISION}/"}),
)


@checked
def read_task(name: Literal["xquad"], *, languages: Names | None) -> RetrievalTask:
    """Read the task in some of its languages.

    Args:
        name: `xquad`.
        languages: the codes, in any order; all 12 unless given.

    Raises:
        ValueError: there is no such language, or a file is not as published.
        FileNotFoundError: a file is missing.
    """
    return comprehension_task(
        {code: _rows(*SOURCE.fetch(code)) for code in sorted(check_languages(languages, SOURCE.languages, name))}
    )


def _rows(path: Path) -> pd.DataFrame:
    """Read and check the questions of a file."""
    with reading(path):
        table = pq.ParquetFile(path).read()
        table.validate(full=True)
    check_columns(str(path), table.column_names, _COLUMNS)
    rows = table.select(list(_COLUMNS)).rename_columns(list(_COLUMNS.values())).to_pandas()
    return checked_rows(rows, path, _QUESTIONS)
