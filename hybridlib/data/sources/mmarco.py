"""mMARCO (Bonifacio et al., 2021) for training: queries of MS MARCO with their relevant passages, in 14 languages.

An item is a judgement of MS MARCO's training set, a query with a passage that answers it. All languages but English are
translations by Google (mMARCO's second version) and share the ids of the original; English is MS MARCO itself, and so
are the judgements. Items that share a query or a passage, directly or through others, share a passage group, for the
passage of one answers the query of the other.

A collection has 8.8 million passages, 2.7 to 7.6 GB in a language, of which one in seventeen is judged: each is read
line by line, once, and what is judged is put away on disk. In memory are a few integers an item.

One in a hundred passage groups is held out for validation, chosen by a hash of its smallest query id.
"""

import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from hybridlib.data.corpus import ParallelCorpus, check_languages, check_split, connected_groups
from hybridlib.data.sources.source import File, Source, fetch
from hybridlib.data.sources.texts import Texts, interleave
from hybridlib.data.table import mapped
from hybridlib.data.task import RetrievalTask, task_from_corpus
from hybridlib.sampler.permutation import mix

_REVISION = "4618200568100aa0bf7fbf494d8d022e7ecab9a6"
_MMARCO = f"https://huggingface.co/datasets/unicamp-dl/mmarco/resolve/{_REVISION}/"
_MSMARCO = "https://msmarco.z22.web.core.windows.net/msmarcoranking/"
# Name upstream; size and MD5 of the collection and of the training queries: ir_datasets 0.6.3, etc/downloads.json.
_TRANSLATIONS = {
    "ar": ("arabic", 4664307196, "b73406ce3a3d31edea240603d031be7a", 51869220, "08ab9eed247819db2f1f013f7e06f0d6"),
    "de": ("german", 3488187566, "dfedd22fef7e7e44966994e06cd7ec57", 39404290, "41461df4fd61a98d76d846daa2b797c2"),
    "es": ("spanish", 3571559558, "a9eac6b39239121795171da8c86db932", 41464870, "7f54a66db9c928b1245dd0709e6b1caf"),
    "fr": ("french", 3656218984, "44fd86303b47d2c8c2f9f547cd67686f", 42857975, "cbedd13e92ad9d70d049e0262e6956dd"),
    "hi": ("hindi", 7649320531, "4551a71b468cc109b1f985f6b1c3afe0", 82511017, "b41f3f58b7c11ade80966276ceed50a8"),
    "id": ("indonesian", 3297783371, "d1ba5ff9788f9b11b497e3f75749409c", 36857620, "5684c5bab64544f3ed62b050bdcf477d"),
    "it": ("italian", 3444092853, "9c3aa4c4342074e8d37d75c9ffe5f22e", 39923771, "d40f32b4a4fb30c938e4b09adc1d1d81"),
    "ja": ("japanese", 3924982422, "85614bd4dac3aa221c0b657d5cc71695", 46027536, "eeea5ea876f96eeeb66fb7f8d29055c9"),
    "nl": ("dutch", 3362632528, "4a29599f160d0a696c7c3d3010da1912", 38224557, "6c304cf6dbdaff18a876cc6012168d30"),
    "pt": ("portuguese", 3431011785, "dde80fa2cc5782cae4c40d1127e51958", 39281063, "816a2b07fe7067d438f785ee9bd8ef88"),
    "ru": ("russian", 5769514997, "9a0cef71748039a6112b0775592eb84d", 62396828, "9f9a76edc95fb91477683c610d287327"),
    "vi": ("vietnamese", 4140054533, "dd68020237857a508e7abe2250dad28b", 45651702, "af28d1dde86c5bdd27751e3a14a55252"),
    "zh": ("chinese", 2720255044, "d176049b56f65bd49248003b9ea8b2b0", 31567548, "166018bdb4d1a279c5083897d7f6752d"),
}
# The same for MS MARCO, whose queries and passages are members of archives.
_JUDGEMENTS = File(
    "mmarco/qrels.train.tsv", f"{_MSMARCO}qrels.train.tsv", "md5:733fb9fe12d93e497f7289409316eccf", 10589532
)
_ORIGINAL = (
    File("mmarco/queries.tar.gz", f"{_MSMARCO}queries.tar.gz", "md5:c177b2795d5f2dcc524cf00fcd973be1", 18882551),
    File(
        "mmarco/collectionandqueries.tar.gz",
        f"{_MSMARCO}collectionandqueries.tar.gz",
        "md5:31644046b18952c1386cd4564ba2ae69",
        1057717952,
    ),
)
_MEMBERS = {"query": "queries.train.tsv", "passage": "collection.tsv"}
LANGUAGES = tuple(sorted([*_TRANSLATIONS, "en"]))
_HELD_OUT = 100  # one group in so many


def _files(name: str, size: int, checksum: str, queries_size: int, queries_checksum: str) -> tuple[File, File]:
    """The queries and the passages of a translation."""
    queries = f"data/google/queries/train/{name}_queries.train.tsv"
    passages = f"data/google/collections/{name}_collection.tsv"
    return (
        File(f"mmarco/{queries}", _MMARCO + queries, f"md5:{queries_checksum}", queries_size),
        File(f"mmarco/{passages}", _MMARCO + passages, f"md5:{checksum}", size),
    )


SOURCES = (
    Source(
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
        files=(_JUDGEMENTS, *_ORIGINAL, *(file for pinned in _TRANSLATIONS.values() for file in _files(*pinned))),
    ),
)


def read_corpus(name: str, split: str, languages: Sequence[str] | None, seed: int = 0) -> ParallelCorpus:
    """Read the judged queries and passages in some languages, in the order of the judgements.

    Args:
        name: `mmarco`.
        split: `train` or `validation`.
        languages: those of the grid, in order; all of them unless given.
        seed: not used, as the split is fixed.

    Raises:
        ValueError: an argument names something that does not exist; or a file has a line that is not of its format, an
            id twice, an empty text or another encoding than UTF-8 (looked for in what is judged), or lacks what is
            judged: the message names file and line.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    check_split(split, ("train", "validation"))
    chosen = check_languages(languages, LANGUAGES, name)
    judgements, *texts = SOURCES[0].files
    pairs = dict(zip(("en", *_TRANSLATIONS), zip(texts[::2], texts[1::2], strict=True), strict=True))
    files = {language: pairs[language] for language in chosen}
    checksums = [judgements.checksum, *(file.checksum for pair in files.values() for file in pair)]
    return ParallelCorpus(mapped([name, split, list(chosen), *checksums], lambda: _pieces(judgements, files, split)))


def read_task(name: str, languages: Sequence[str] | None) -> RetrievalTask:
    """The validation questions, each to find its passages among those of all of them, in every language.

    Args:
        name: `mmarco`.
        languages: all unless given.

    Raises:
        ValueError, FileNotFoundError: as `read_corpus`.
    """
    return task_from_corpus(read_corpus(name, "validation", languages))


def _pieces(judgements: File, files: dict[str, tuple[File, File]], split: str) -> Iterator[pa.Table]:
    path = fetch(judgements, "mmarco")
    items = _of_split(_judged(path), split)
    ids = {}
    for kind in _MEMBERS:
        items[f"{kind}_id"] = items[kind]
        items[kind], ids[kind] = pd.factorize(items[kind])
    place = {kind: {str(key).encode(): n for n, key in enumerate(some)} for kind, some in ids.items()}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        texts = {}
        for language, pair in tqdm(files.items(), desc="mmarco", unit="language", disable=None):
            kept = {kind: Texts(Path(folder) / f"{language}.{kind}", len(ids[kind])) for kind in _MEMBERS}
            for kind, file in zip(_MEMBERS, pair, strict=True):
                source = fetch(file, "mmarco")
                _put(source, _MEMBERS[kind], place[kind], stack.enter_context(kept[kind]))
                lacking = items[~kept[kind].has(items[kind].to_numpy())]
                if len(lacking):
                    first = lacking.iloc[0]
                    raise ValueError(f"{path}:{first.line}: {kind} {first[f'{kind}_id']} is not in {source}")
            texts[language] = (kept["query"], kept["passage"])
        yield from interleave(items.assign(domain="web", dataset="mmarco"), texts)


def _judged(path: Path) -> pd.DataFrame:
    """`query` and `passage`, by id, of every judgement, and its `line`."""
    rows = []
    with path.open("rb") as stream:
        for line, content in enumerate(stream, start=1):
            fields = content.split(b"\t")
            try:
                query, _, passage, relevance = map(int, fields)
            except ValueError:
                message = f"{path}:{line} is {content!r}; expected query, 0, passage and relevance, with tabs between"
                raise ValueError(message) from None
            if relevance > 0:
                rows.append((query, passage, line))
    items = pd.DataFrame(rows, columns=["query", "passage", "line"])
    if items.empty:
        raise ValueError(f"{path} holds no judgement")
    twice = items[items.duplicated(["query", "passage"])]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(f"{path}:{first.line}: query {first['query']} and passage {first.passage} come twice")
    return items


def _of_split(items: pd.DataFrame, split: str) -> pd.DataFrame:
    """The items of a split, with their passage groups."""
    items = items.assign(passage_group=items["query"].map(connected_groups(items["query"], items.passage)))
    smallest = items.groupby("passage_group")["query"].transform("min").to_numpy()
    held_out = mix(smallest) % np.uint64(_HELD_OUT) == 0
    return items[held_out if split == "validation" else ~held_out].reset_index(drop=True)


@contextmanager
def _opened(path: Path, member: str) -> Iterator[IO[bytes]]:
    """A file, or of an archive the member."""
    if not path.name.endswith(".tar.gz"):
        with path.open("rb") as stream:
            yield stream
        return
    try:
        with tarfile.open(path, "r:gz") as archive:
            inner = archive.extractfile(member)
            assert inner is not None  # it is no folder
            yield inner
    except (tarfile.ReadError, gzip.BadGzipFile, zlib.error, EOFError, KeyError) as error:
        raise ValueError(f"{path} is truncated or lacks {member}: {error}") from error


def _put(path: Path, member: str, number: dict[bytes, int], texts: Texts) -> None:
    """Put away the texts of a file whose ids have a number."""
    where = f"{path}/{member}" if path.name.endswith(".tar.gz") else str(path)
    with _opened(path, member) as stream:
        for line, content in enumerate(stream, start=1):
            key, tab, text = content.partition(b"\t")
            if not tab or b"\t" in text:
                raise ValueError(f"{where}:{line} has {1 + content.count(9)} columns; expected 2, id and text")
            place = number.get(key)
            if place is None:
                continue
            if texts.has(place):
                raise ValueError(f"{where}:{line}: id {key.decode()} comes twice")
            try:
                decoded = text.decode().strip()
            except UnicodeDecodeError as error:
                raise ValueError(f"{where}:{line} is not in UTF-8: {error}") from error
            if not decoded:
                raise ValueError(f"{where}:{line}: the text of {key.decode()} is empty")
            texts.put(place, decoded)
