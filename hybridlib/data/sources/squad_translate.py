"""SQuAD in 11 languages for training: the English original and the translations of XTREME (Hu et al., 2020).

An item is a question of SQuAD v1.1's training set. Its passage is the sentence that holds the start of the answer, as
in XQuAD-R and MLQA-R (Roy et al., 2020), on which encoders are evaluated: trained on paragraphs, they would meet
sentences for the first time there. The translations have no sentence breaks, so sentences are found by `sentencex`,
which cuts out the sentence of XQuAD-R's own breaks for 94 % of its questions (82 % in Turkish to 97 % in Arabic), Thai
aside: it does not mark the end of a sentence, and a passage there is mostly the whole paragraph.

XTREME's files were made by machine and hold no question whose answer was lost in translation; a question whose answer
does not stand where it should is missing in that language as well, and counted in the log. Translations of a paragraph
may differ from question to question, so that equal sentences cannot be told by their text: the passage group is the
paragraph of the English original, which every question has.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from hybridlib.data.corpus import ParallelCorpus, check_languages, check_split
from hybridlib.data.sources.source import File, Source, fetch
from hybridlib.data.sources.squad import answering_sentence, read_questions
from hybridlib.data.sources.texts import Texts, interleave
from hybridlib.data.table import mapped

logger = logging.getLogger(__name__)

_ENGLISH = "https://rajpurkar.github.io/SQuAD-explorer/dataset/train-v1.1.json"
_TRANSLATED = "https://storage.googleapis.com/xtreme_translations/SQuAD/translate-train/squad.translate.train.en-"
# Sizes and checksums: tensorflow-datasets 4.9.10, url_checksums/squad.txt and url_checksums/xquad.txt.
_FILES = {
    "ar": (311935799, "d2d01110aa646b547eec88b14b3930dc027c9d149c4962376a1551e251ec3f9b"),
    "de": (93188862, "3c125cb2a31e8ad167c4590ece8fdfd16018a5bbf9475dbfac034c1816a4ab02"),
    "el": (368851294, "9d648f92883a88b27bb0d9ab502a0512bf5ffe7f8ce00bc205b19d66029dab04"),
    "en": (30288272, "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955"),
    "es": (101758698, "cb8f68b8e4cff696209a5ec249a5dc9e2a75a5c7f9dbbfa8a8be1dcf1f91c81a"),
    "hi": (348849738, "fdfd8c59359943c6a55022403e7dfa047e7ee1dea734086a3c73c1adbb44d254"),
    "ru": (379620057, "075818cce7ca8d6efe2c783b125d91bd79add93ddfe8c2b0f45fb610d7552f48"),
    "th": (341480847, "3ae03fd7a9d51a6f45e74a70b8d6168eb365114fcf5de21f34f212197e085eab"),
    "tr": (111351195, "7c618d3f5e0c19d878686a9874b15a10d6f842ae9451e12d8d7d51531bfe79e6"),
    "vi": (160940115, "ad6d3ba17b8e672e7066708ce5795f0f933f3ce18b7442ee11d6e3072f44f60b"),
    "zh": (128888478, "411e4023e4f3627ccb4873edfb77b36e97470b4226a076e6a632544c92353d24"),
}
LANGUAGES = tuple(_FILES)


def _file(language: str, size: int, checksum: str) -> File:
    url = _ENGLISH if language == "en" else f"{_TRANSLATED}{language}.json"
    return File(f"squad-translate/{url.rpartition('/')[2]}", url, f"sha256:{checksum}", size)


SOURCES = (
    Source(
        name="squad-translate",
        title="SQuAD v1.1, training set, in English and XTREME's machine translations into 10 languages",
        homepage="https://github.com/google-research/xtreme",
        revision="SQuAD v1.1; XTREME's translate-train files, which have no versions and are pinned by checksum",
        licence="CC BY-SA 4.0 (SQuAD)",
        citation="""@inproceedings{rajpurkar-etal-2016-squad,
  title = {{SQ}u{AD}: 100,000+ Questions for Machine Comprehension of Text},
  author = {Rajpurkar, Pranav and Zhang, Jian and Lopyrev, Konstantin and Liang, Percy},
  booktitle = {Proceedings of EMNLP},
  year = {2016}
}
@inproceedings{hu-etal-2020-xtreme,
  title = {{XTREME}: A Massively Multilingual Multi-task Benchmark for Evaluating Cross-lingual Generalisation},
  author = {Hu, Junjie and Ruder, Sebastian and Siddhant, Aditya and Neubig, Graham and Firat, Orhan and
            Johnson, Melvin},
  booktitle = {Proceedings of ICML},
  year = {2020}
}""",
        files=tuple(_file(language, *pinned) for language, pinned in _FILES.items()),
    ),
)


def read_corpus(name: str, split: str, languages: Sequence[str] | None, seed: int = 0) -> ParallelCorpus:
    """Read the questions of SQuAD in some languages, in its order.

    The table is made when it is first asked for, with one file at a time in memory: 1.1 GB for Russian, the largest.

    Args:
        name: `squad-translate`.
        split: `train`.
        languages: those of the grid, in order; all of them unless given.
        seed: not used, as the split is fixed.

    Raises:
        ValueError: an argument names something that does not exist, or a file is not of SQuAD's format; the message
            names the question.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    check_split(split, ("train",))
    chosen = check_languages(languages, LANGUAGES, name)
    files = dict(zip(LANGUAGES, SOURCES[0].files, strict=True))
    made_of = [name, list(chosen), *[files[language].checksum for language in ("en", *chosen)]]
    return ParallelCorpus(mapped(made_of, lambda: _pieces({code: files[code] for code in ("en", *chosen)}, chosen)))


def _pieces(files: dict[str, File], chosen: Sequence[str]) -> Iterator[pa.Table]:
    english = read_questions(fetch(files["en"], "squad-translate"))
    paragraph = {question.key: question.paragraph for question in english}
    number = {key: place for place, key in enumerate(paragraph)}
    items = pd.DataFrame({"query": range(len(number)), "passage": range(len(number))})
    items = items.assign(passage_group=list(paragraph.values()), domain="wikipedia", dataset="squad-translate")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        texts = {}
        for language in tqdm(chosen, desc="squad-translate", unit="language", disable=None):
            queries, passages = (
                stack.enter_context(Texts(Path(folder) / f"{language}.{kind}", len(number)))
                for kind in ("queries", "passages")
            )
            _put(language, fetch(files[language], "squad-translate"), number, queries, passages)
            texts[language] = (queries, passages)
        yield from interleave(items, texts)


def _put(language: str, path: Path, number: dict[str, int], queries: Texts, passages: Texts) -> None:
    """Put away the questions of a file and the sentences that answer them."""
    lost = 0
    for question in read_questions(path):
        if question.key not in number:
            raise ValueError(f"{path}: question {question.key!r} is not in SQuAD's training set")
        sentence = answering_sentence(question, language)
        if sentence is None:
            lost += 1
        else:
            queries.put(number[question.key], question.text)
            passages.put(number[question.key], sentence)
    if lost:
        logger.info("%s: %d questions are left out, whose answers do not stand where they should", path, lost)
