"""XQuAD-R and other sets of files in the format of LAReQA (Roy et al., 2020): questions to be answered by a sentence.

A file holds one language: SQuAD's articles, paragraphs and questions, and for each paragraph where its sentences begin
and end (offsets in characters). A candidate passage is a sentence; relevant to a question, in every language, is the
sentence that holds the start of its answer. Questions are parallel by their id, and may exist in some of the languages
only. With files of your own, a task is two calls away:

    task_from_lareqa(read_lareqa({"en": "mine/en.json", "de": "mine/de.json"}))

XQuAD-R and MLQA-R are read from `$HYBRIDLIB_DATA/xquad-r/<language>.json` and `mlqa-r/<language>.json`, or else
downloaded from the pinned commits (see `hybridlib.data.sources.source`). They are not part of this package.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hybridlib.data.corpus import ParallelCorpus, check_languages, check_split, connected_groups
from hybridlib.data.sources.source import File, Source, fetch
from hybridlib.data.task import RetrievalTask

_log = logging.getLogger(__name__)

_NON_COMMERCIAL = "CC BY-NC 4.0 (https://creativecommons.org/licenses/by-nc/4.0): not for commercial use"
_CITATION = """@article{roy2020lareqa,
  title={LAReQA: Language-agnostic answer retrieval from a multilingual pool},
  author={Roy, Uma and Constant, Noah and Al-Rfou, Rami and Barua, Aditya and Phillips, Aaron and Yang, Yinfei},
  journal={arXiv preprint arXiv:2004.05484},
  year={2020}
}"""
_URL = "https://raw.githubusercontent.com/google-research-datasets/lareqa"
# SHA-256 and bytes of the file of each language.
_XQUAD_R = {
    "ar": ("c52922d3b8ac1ae03ed5ac38647ad59870dca3dda2beefe18ecdc30729acb69d", 2234875),
    "de": ("16fb0f4bf4916154b585a20c24c66074591c9718a1affe764ff4697572328949", 732156),
    "el": ("163fd43ee785a30eb534ae2061e9eaa766a7ee4e8ffce5e4b422480c150f64b6", 2810127),
    "en": ("7b0954f39297c27a31fef610f0883337dd2907fa8699151dc922afdd0fa12ffe", 628651),
    "es": ("f8e836b2d91009c4363e04315f7ede363eedbbb49c67dda60de6c4aa782f58de", 746335),
    "hi": ("ea45ba8ae4513d1533b222bebdc02a90bc319c055d3aeea68584a053d2e92872", 2408404),
    "ru": ("7f4dff853538b9a5fcc28c070b8bb983a5c5d190ac747b8e005a1ada9cab18f1", 2764904),
    "th": ("c3a041864c3a9fb0b4dd91cfdf99cf36b411b3e704c58a303c97bc6dc786cfe4", 2618544),
    "tr": ("f3e8c13002bbce154a4578f535f7533cb70f3da08840e6b62735935baec7bd94", 827827),
    "vi": ("e35926bf5cc6fc6ecbdfca49467aabeb454f08d152d7818143a906bd31dde995", 1132303),
    "zh": ("80c2cde7b9c2fb134c303cbb52f2ba396ead9eb0014aec43993543d2ba9e93ed", 959291),
}
# Bytes of ar, de, hi and zh are those of the folder `mlqa-dev-r` at commit 5405d2a, which `mlqa-r` became.
_MLQA_R = {
    "ar": ("2132fbc03208535c0fe01f2e2c5121d06f9c2aa799af93b0a719dbc105bdf137", 3329081),
    "de": ("ce9454dc5aa6f2d85c23cd6e49cb367fbb7c4c6e62d7f71e355c6b5dae4d0886", 887185),
    "en": ("fedd9a5cc0848dda80caf84aa36f482adaae230526a3f6e9e86926a93ef3b1e4", 2251129),
    "es": ("70ecba276b8c96a692b120693a595d076ce94ad21d4b28311538a9fcbfe0f9d7", 819818),
    "hi": ("4dd0fb3c06f737a5481d705bc1dcac7876712a5815c9265908fbb3a0696cb654", 3179023),
    "vi": ("9d3baff6ba03e6793b25594217265ea59a136b9733833dca8a9582a84a78ff85", 1807239),
    "zh": ("57f01d2fff50cf3392805635b01445339f225ad5bf28ba8443b12f8dbd1e69dc", 1360698),
}


def _source(name: str, title: str, commit: str, licence: str, files: Mapping[str, tuple[str, int]]) -> Source:
    paths = {f"{name}/{language}.json": known for language, known in files.items()}
    return Source(
        name=name,
        title=title,
        homepage="https://github.com/google-research-datasets/lareqa",
        revision=commit,
        licence=licence,
        citation=_CITATION,
        files=tuple(File(path, f"{_URL}/{commit}/{path}", f"sha256:{of[0]}", of[1]) for path, of in paths.items()),
    )


SOURCES = (
    _source(
        "xquad-r",
        "XQuAD-R of LAReQA: questions on Wikipedia to be answered by a sentence, parallel in 11 languages",
        "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c",
        "CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0)",
        _XQUAD_R,
    ),
    _source(
        "mlqa-r",
        "MLQA-R of LAReQA: the same of MLQA's development set, 7 languages, each question in 2 to 4 of them",
        "354d67d1cd066854cdfbf5ad0e6105528976141d",  # later commits have it no more
        _NON_COMMERCIAL,
        _MLQA_R,
    ),
)
# Two in a hundred paragraphs of XQuAD-R begin with one, which counts in the offsets but is no text.
_BYTE_ORDER_MARK = "\ufeff"
# The share of the articles that is held out where XQuAD-R serves for training, too.
_HELD_OUT = 0.25


LANGUAGES = tuple(_XQUAD_R)  # of what can be trained on


@dataclass(frozen=True)
class LareqaData:
    """Questions, candidate sentences and which answers which.

    Attributes:
        queries: `query_id` (`<language>:<question>`), `language`, `text`, `question` (its id, the same in all
            languages), `article`.
        passages: `passage_id` (`<language>:<article>:<paragraph>:<sentence>`, counted from 0 in the file and in the
            paragraph), `language`, `text`, `article`.
        qrels: `query_id`, `passage_id`, `relevance`: a question of any language with its sentence in every language in
            which the question exists; with several sentences where its answers begin in several.
    """

    queries: pd.DataFrame
    passages: pd.DataFrame
    qrels: pd.DataFrame

    def of_articles(self, articles: Sequence[str]) -> "LareqaData":
        """What belongs to some of the articles; an article must have one title in all languages."""
        queries = self.queries[self.queries.article.isin(articles)]
        passages = self.passages[self.passages.article.isin(articles)]
        return LareqaData(queries, passages, self.qrels[self.qrels.query_id.isin(queries.query_id)])

    def passage_groups(self) -> pd.Series:
        """Group the questions that share a sentence in any language, directly or through others.

        Returns:
            A number for each group, by question.
        """
        pairs = self.qrels.merge(self.queries[["query_id", "question"]], on="query_id")
        return connected_groups(pairs.question, pairs.passage_id)


def read_xquad_r(*, paragraphs: bool = False) -> LareqaData:
    """Read XQuAD-R in its 11 languages: 1,190 questions each, 852 (Thai) to 1,276 (German) sentences.

    Args:
        paragraphs: whether a passage is the sentence followed by its paragraph.

    Raises:
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
        ValueError: a file differs from the published one.
    """
    return _read_published("xquad-r", paragraphs)


def read_mlqa_r(*, paragraphs: bool = False) -> LareqaData:
    """Read MLQA-R in its 7 languages: 1,148 questions in English, 500 to 517 in others; 1,787 to 6,264 sentences.

    Articles have another title in each language, so `split_articles` and `of_articles` are not for it.

    Args:
        paragraphs: whether a passage is the sentence followed by its paragraph.

    Raises:
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
        ValueError: a file differs from the published one.
    """
    _tell_licence("MLQA-R", _NON_COMMERCIAL)
    return _read_published("mlqa-r", paragraphs)


def read_lareqa(files: Mapping[str, str | os.PathLike[str]], *, paragraphs: bool = False) -> LareqaData:
    """Read any set of files in LAReQA's format; `task_from_lareqa` makes a task of it.

    Args:
        files: the file of each language.
        paragraphs: whether a passage is the sentence followed by its paragraph.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not of the format; the message names the file, and the question where one is at fault.
    """
    queries, passages, answers = [], [], []
    for language, path in files.items():
        for article, paragraph, number in _paragraphs(Path(path)):
            where = f"{path}: article {article!r}, paragraph {number}"
            try:
                context, sentences = paragraph["context"], _sentences(paragraph, where)
                name = f"{language}:{article}:{number}"
                for place, (start, end) in enumerate(sentences):
                    text = context[start:end].strip(_BYTE_ORDER_MARK)
                    text = f"{text} {context.strip(_BYTE_ORDER_MARK)}" if paragraphs else text
                    passages.append((f"{name}:{place}", language, text, article))
                for question in paragraph["qas"]:
                    key = question["id"]
                    queries.append((f"{language}:{key}", language, question["question"], key, article))
                    places = _answering(question, context, sentences, f"{path}: question {key!r}")
                    answers += [(key, f"{name}:{place}") for place in places]
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{where} is not in LAReQA's format: {error!r}") from error
    query_table = pd.DataFrame(queries, columns=["query_id", "language", "text", "question", "article"])
    passage_table = pd.DataFrame(passages, columns=["passage_id", "language", "text", "article"])
    twice = query_table[query_table.query_id.duplicated()]
    if len(twice):
        raise ValueError(f"{files[twice.iloc[0].language]}: question {twice.iloc[0].question!r} comes twice")
    answer_table = pd.DataFrame(answers, columns=["question", "passage_id"]).drop_duplicates()
    qrels = query_table[["query_id", "question"]].merge(answer_table, on="question")[["query_id", "passage_id"]]
    return LareqaData(query_table, passage_table, qrels.assign(relevance=1))


def read_corpus(name: str, split: str, languages: Sequence[str] | None, seed: int) -> ParallelCorpus:
    """Read questions of XQuAD-R, each with the first sentence of its own language that answers it.

    Args:
        name: `xquad-r`.
        split: `train` or `test`, see `split_articles`.
        languages: those of the grid, in order; all of them unless given.
        seed: chooses the split.

    Raises:
        ValueError: there is no such split or language, or a file differs from the published one.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    check_split(split, ("train", "test"))
    data = read_xquad_r()
    data = data.of_articles(split_articles(data, seed)[split])
    relevant = data.qrels.merge(data.queries, on="query_id").rename(columns={"question": "item", "text": "query"})
    own = relevant.merge(data.passages[["passage_id", "language", "text"]], on=["passage_id", "language"])
    items = own.drop_duplicates("query_id").rename(columns={"text": "passage"})
    items = items.assign(passage_group=items["item"].map(data.passage_groups()), domain="wikipedia", dataset=name)
    return ParallelCorpus.from_frame(items, check_languages(languages, sorted(items.language.unique()), name))


def read_task(name: str, split: str | None, paragraphs: bool, seed: int) -> RetrievalTask:
    """Read a benchmark as published, or the part of it that belongs to a split of its articles.

    Args:
        name: `xquad-r` or `mlqa-r`.
        split: for `xquad-r`, `train` or `test`, see `split_articles`; None takes all articles.
        paragraphs: whether a passage is the sentence followed by its paragraph.
        seed: chooses the split.

    Raises:
        ValueError: there is no such split, or a file differs from the published one.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    data = (read_xquad_r if name == "xquad-r" else read_mlqa_r)(paragraphs=paragraphs)
    if split is not None:
        data = data.of_articles(split_articles(data, seed)[check_split(split, ("train", "test"))])
    return task_from_lareqa(data)


def task_from_lareqa(data: LareqaData) -> RetrievalTask:
    """A task of files in LAReQA's format: every question of every language, to be answered in every language.

    Args:
        data: what `read_lareqa` has read.
    """
    return RetrievalTask(data.queries, data.passages, data.qrels)


def split_articles(data: LareqaData, seed: int) -> dict[str, list[str]]:
    """Titles of articles for training and for testing.

    Whole articles, so that no sentence of a test article is ever trained on; they must have one title in all languages.
    """
    articles = data.queries.article.unique()
    shuffled = np.random.default_rng([seed, 2]).permutation(articles)
    held_out = max(1, round(_HELD_OUT * len(articles)))
    return {"train": shuffled[held_out:].tolist(), "test": shuffled[:held_out].tolist()}


def _read_published(name: str, paragraphs: bool) -> LareqaData:
    source = next(source for source in SOURCES if source.name == name)
    files = {Path(file.path).stem: fetch(file, name) for file in source.files}
    return read_lareqa(files, paragraphs=paragraphs)


@cache  # to say it once in a process
def _tell_licence(title: str, licence: str) -> None:
    _log.warning("%s is licensed %s", title, licence)


def _paragraphs(path: Path) -> list[tuple[str, dict[str, Any], int]]:
    """(title of the article, paragraph, number of the paragraph in the file) of a file."""
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        found = [(article["title"], paragraph) for article in articles for paragraph in article["paragraphs"]]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is truncated or not a file in LAReQA's format: {error!r}") from error
    if not found:
        raise ValueError(f"{path} holds no paragraph")
    # Numbered in the file, since two articles may have one title.
    return [(title, paragraph, number) for number, (title, paragraph) in enumerate(found)]


def _sentences(paragraph: dict[str, Any], where: str) -> list[tuple[int, int]]:
    """Where the sentences of a paragraph begin and end."""
    if "sentence_breaks" not in paragraph:
        raise ValueError(f"{where} lacks 'sentence_breaks'; the copies of XQuAD without them cannot be used")
    breaks, length = paragraph["sentence_breaks"], len(paragraph["context"])
    try:
        fit = bool(breaks) and all(0 <= start < end <= length for start, end in breaks)
    except (TypeError, ValueError):  # no pairs of numbers
        fit = False
    if not fit:
        raise ValueError(f"{where}: sentence breaks {breaks} do not fit a text of {length} characters")
    return [(start, end) for start, end in breaks]


def _answering(question: dict[str, Any], context: str, sentences: list[tuple[int, int]], where: str) -> list[int]:
    """The sentences that hold the start of an answer to the question."""
    if not question.get("answers"):
        raise ValueError(f"{where} has no answer")
    found = []
    for answer in question["answers"]:
        start, text = answer["answer_start"], answer["text"]
        if context[start : start + len(text)] != text:
            raise ValueError(f"{where}: its answer {text!r} does not stand at character {start} of its paragraph")
        first = start + len(text) - len(text.lstrip())  # an answer may begin with the blank before its sentence
        holding = [place for place, (begin, end) in enumerate(sentences) if begin <= first < end]
        if not holding:
            raise ValueError(f"{where}: its answer at character {start} lies in no sentence")
        found.append(holding[0])
    return found
