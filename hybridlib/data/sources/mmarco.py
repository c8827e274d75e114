"""mMARCO (Bonifacio et al., 2021) for training: queries of MS MARCO with their relevant passages, in 14 languages.

An item is a judgement of MS MARCO's training set, a query with a passage that answers it. All languages but English are
translations by Google (mMARCO's second version) and share the ids of the original. The English texts and the
judgements are those of MS MARCO itself. Items that share a query or a passage, directly or through others, share a
passage group, for the passage of one answers the query of the other.

A collection has 8.8 million passages, 2.7 to 7.6 GB in a language, of which one in seventeen is judged. Each is read
line by line, once, and the judged passages are put away on disk. Memory holds a few integers for each item.

One in a hundred passage groups is held out for validation, chosen by a hash of its smallest query id.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from hybridlib.arguments import Names, checked, told
from hybridlib.data.checks import check_languages, check_split
from hybridlib.data.corpus import ParallelCorpus, connected_groups
from hybridlib.data.sources.records import place, read_lines
from hybridlib.data.sources.source import Source, pinned_files
from hybridlib.data.table import cached_table
from hybridlib.data.task import RetrievalTask, task_from_corpus
from hybridlib.data.texts import Texts, interleave
from hybridlib.sampler.permutation import mix

_REVISION = "4618200568100aa0bf7fbf494d8d022e7ecab9a6"
# Sizes and MD5 are those in ir_datasets 0.6.3, etc/downloads.json. A language has a file of queries and one of
# passages, in this order; those of English are members of archives.
SOURCE = Source(
    name="mmarco",
    title="mMARCO, second version: MS MARCO's passages and training queries in 14 languages",
    homepage="https://huggingface.co/datasets/unicamp-dl/mmarco",
    revision=_REVISION,
    licence="Apache-2.0 (mMARCO); MS MARCO is for non-commercial research",
    citation="""@article{bonifacio-etal-2021-mmarco,
  title = {{mMARCO}: A Multilingual Version of the {MS MARCO} Passage Ranking Dataset},
  author = {Bonifacio, Luiz and Jeronymo, Vitor and Abonizio, Hugo Queiroz and Campiotti, Israel and
            Fadaee, Marzieh and Lotufo, Roberto and Nogueira, Rodrigo},
  journal = {arXiv:2108.13897},
  year = {2021}
}""",
    files=pinned_files(
        "mmarco",
        {
            "data/google": f"https://huggingface.co/datasets/unicamp-dl/mmarco/resolve/{_REVISION}/",
            "": "https://msmarco.z22.web.core.windows.net/msmarcoranking/",
        },
    ),
)
_MEMBERS = {"query": "queries.train.tsv", "passage": "collection.tsv"}
_JUDGEMENT = re.compile(rb"(\d{1,18})\t\d+\t(\d{1,18})\t(\d{1,9})")
_HELD_OUT = 100  # one group in so many


@checked
def read_corpus(name: Literal["mmarco"], *, split: str, languages: Names | None) -> ParallelCorpus:
    """Read the judged queries and passages in some languages, in the order of the judgements.

    Args:
        name: `mmarco`.
        split: `train` or `validation`.
        languages: those of the grid, in order; all of them unless given.

    Raises:
        ValueError: an argument names something that does not exist; or a file has a line that is not of its format, an
            id twice, an empty text or another encoding than UTF-8 (looked for in what is judged), or lacks what is
            judged: the message names file and line.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    check_split(split, ("train", "validation"))
    chosen = check_languages(languages, SOURCE.languages, name)
    checksums = [file.checksum for code in ("", *chosen) for file in SOURCE.files_of(code)]
    return ParallelCorpus(cached_table([name, split, chosen, checksums], lambda: _pieces(chosen, split)))


@checked
def read_task(name: Literal["mmarco"], *, languages: Names | None) -> RetrievalTask:
    """Read the validation questions as a task: each is to find its passages among those of all, in every language.

    Args:
        name: `mmarco`.
        languages: all unless given.

    Raises:
        ValueError, FileNotFoundError: as in `read_corpus`.
    """
    return task_from_corpus(read_corpus(name, split="validation", languages=languages))


def _pieces(languages: Sequence[str], split: str) -> Iterator[pa.Table]:
    """Make the pieces of the table."""
    (judgements,) = SOURCE.fetch()
    items = _of_split(_judged(judgements), split)
    ids = {}
    for kind in _MEMBERS:
        items[f"{kind}_id"] = items[kind]
        items[kind], ids[kind] = pd.factorize(items[kind])
    number = {kind: {str(key).encode(): n for n, key in enumerate(some)} for kind, some in ids.items()}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        texts = {}
        for language in tqdm(languages, desc="mmarco", unit="language", disable=None):
            kept = {kind: Texts(Path(folder) / f"{language}.{kind}", len(ids[kind])) for kind in _MEMBERS}
            for kind, path in zip(_MEMBERS, SOURCE.fetch(language), strict=True):
                _put(path, _MEMBERS[kind], number[kind], stack.enter_context(kept[kind]))
                lacking = items[~kept[kind].has(items[kind].to_numpy())]
                if len(lacking):
                    first = lacking.iloc[0]
                    where = place(judgements, first.line)
                    raise ValueError(f"{where}: {kind} {first[f'{kind}_id']} is not in {path}")
            texts[language] = (kept["query"], kept["passage"])
        yield from interleave(items.assign(domain="web", dataset="mmarco"), texts)


def _judged(path: Path) -> pd.DataFrame:
    """Read every judgement: the ids of its `query` and its `passage`, and its `line` in the file."""
    rows = [(*found, line) for line, found in read_lines(path, _judgement)]
    items = pd.DataFrame(rows, columns=["query", "passage", "relevance", "line"])
    items = items[items.pop("relevance") > 0].reset_index(drop=True)
    if items.empty:
        raise ValueError(f"{path} holds no judgement")
    twice = items[items.duplicated(["query", "passage"])]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(f"{place(path, first.line)}: query {first['query']} and passage {first.passage} come twice")
    return items


def _judgement(line: bytes) -> tuple[int, int, int]:
    """Parse a line into query, passage and relevance."""
    found = _JUDGEMENT.fullmatch(line)
    if found is None:
        raise ValueError(f"the line is {told(line)}; allowed: query, 0, passage and relevance, with tabs between")
    query, passage, relevance = map(int, found.groups())
    return query, passage, relevance


def _of_split(items: pd.DataFrame, split: str) -> pd.DataFrame:
    """Keep the items of a split, and add their passage groups."""
    items = items.assign(passage_group=items["query"].map(connected_groups(items["query"], items.passage)))
    smallest = items.groupby("passage_group")["query"].transform("min").to_numpy()
    held_out = mix(smallest) % np.uint64(_HELD_OUT) == 0
    return items[held_out if split == "validation" else ~held_out].reset_index(drop=True)


def _put(path: Path, member: str, number: dict[bytes, int], texts: Texts) -> None:
    """Put away the texts of a file whose ids have a number."""

    def judged(line: bytes) -> tuple[int, str] | None:
        key, tab, text = line.partition(b"\t")
        if not tab or b"\t" in text:
            raise ValueError(f"{1 + line.count(9)} columns; expected 2, id and text")
        if key not in number:
            return None
        if texts.has(number[key]):
            raise ValueError(f"id {key.decode()} comes twice")
        found = text.decode().strip()
        if not found:
            raise ValueError(f"the text of {key.decode()} is empty")
        return number[key], found

    for _, found in read_lines(path, judged, member=member if path.name.endswith(".tar.gz") else ""):
        if found:
            texts.put(*found)
