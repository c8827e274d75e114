"""XQuAD-R and other sets of files in the format of LAReQA (Roy et al., 2020): questions to be answered by a sentence.

A file holds one language: SQuAD's articles, paragraphs and questions, and for each paragraph where its sentences begin
and end (offsets in characters). A candidate passage is a sentence; relevant to a question, in every language, is the
sentence that holds the start of its answer. Questions are parallel by their id, and may exist in some of the languages
only. With files of your own, a task is two calls away:

    task_from_lareqa(read_lareqa({"en": "mlqa-r/en.json", "de": "mlqa-r/de.json"}))

XQuAD-R is read from `$HYBRIDLIB_DATA/xquad-r/<language>.json`, or else downloaded from the pinned commit; its files are
checked against their SHA-256 either way. It is licensed CC BY-SA 4.0 and not part of this package.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pooch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_XQUAD_R_COMMIT = "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c"
_XQUAD_R_URL = f"https://raw.githubusercontent.com/google-research-datasets/lareqa/{_XQUAD_R_COMMIT}/xquad-r/"
_XQUAD_R_SHA256 = {
    "ar": "c52922d3b8ac1ae03ed5ac38647ad59870dca3dda2beefe18ecdc30729acb69d",
    "de": "16fb0f4bf4916154b585a20c24c66074591c9718a1affe764ff4697572328949",
    "el": "163fd43ee785a30eb534ae2061e9eaa766a7ee4e8ffce5e4b422480c150f64b6",
    "en": "7b0954f39297c27a31fef610f0883337dd2907fa8699151dc922afdd0fa12ffe",
    "es": "f8e836b2d91009c4363e04315f7ede363eedbbb49c67dda60de6c4aa782f58de",
    "hi": "ea45ba8ae4513d1533b222bebdc02a90bc319c055d3aeea68584a053d2e92872",
    "ru": "7f4dff853538b9a5fcc28c070b8bb983a5c5d190ac747b8e005a1ada9cab18f1",
    "th": "c3a041864c3a9fb0b4dd91cfdf99cf36b411b3e704c58a303c97bc6dc786cfe4",
    "tr": "f3e8c13002bbce154a4578f535f7533cb70f3da08840e6b62735935baec7bd94",
    "vi": "e35926bf5cc6fc6ecbdfca49467aabeb454f08d152d7818143a906bd31dde995",
    "zh": "80c2cde7b9c2fb134c303cbb52f2ba396ead9eb0014aec43993543d2ba9e93ed",
}
# Two in a hundred paragraphs of XQuAD-R begin with one, which counts in the offsets but is no text.
_BYTE_ORDER_MARK = "\ufeff"
# The share of the articles that is held out where XQuAD-R serves for training, too.
_HELD_OUT = 0.25


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


def connected_groups(items: pd.Series, shared: pd.Series) -> pd.Series:
    """Group the items that share something, directly or through others.

    Args:
        items, shared: an item and something that it has in each row. (N,)

    Returns:
        A number for each group, by item.

    >>> connected_groups(pd.Series([*"abbcd"]), pd.Series([1, 1, 2, 2, 3])).to_dict()
    {'a': 0, 'b': 0, 'c': 0, 'd': 1}
    """
    item, names = pd.factorize(items)
    thing, things = pd.factorize(shared)
    size = len(names) + len(things)
    links = coo_array((np.ones(len(item)), (item, thing + len(names))), shape=(size, size))
    _, group = connected_components(links, directed=False)
    return pd.Series(group[: len(names)], index=names)


def read_xquad_r(*, paragraphs: bool = False) -> LareqaData:
    """Read XQuAD-R in its 11 languages: 1,190 questions each, 852 (Thai) to 1,276 (German) sentences.

    Args:
        paragraphs: whether a passage is the sentence followed by its paragraph.

    Raises:
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
        ValueError: a file differs from the published one.
    """
    files = {language: _xquad_r_file(language) for language in _XQUAD_R_SHA256}
    return read_lareqa(files, paragraphs=paragraphs)


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


def split_articles(data: LareqaData, seed: int) -> dict[str, list[str]]:
    """Titles of articles for training and for testing.

    Whole articles, so that no sentence of a test article is ever trained on; they must have one title in all languages.
    """
    articles = data.queries.article.unique()
    shuffled = np.random.default_rng([seed, 2]).permutation(articles)
    held_out = max(1, round(_HELD_OUT * len(articles)))
    return {"train": shuffled[held_out:].tolist(), "test": shuffled[:held_out].tolist()}


def _xquad_r_file(language: str) -> Path:
    folder = os.environ.get("HYBRIDLIB_DATA")
    if not folder:
        return Path(
            pooch.retrieve(
                _XQUAD_R_URL + f"{language}.json",
                known_hash="sha256:" + _XQUAD_R_SHA256[language],
                fname=f"{language}.json",
                path=pooch.os_cache("hybridlib") / "xquad-r",
                progressbar=True,
            )
        )
    path = Path(folder) / "xquad-r" / f"{language}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; put XQuAD-R there, or unset HYBRIDLIB_DATA to download it")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != _XQUAD_R_SHA256[language]:
        raise ValueError(
            f"{path} differs from the published file: its SHA-256 is {digest}, expected {_XQUAD_R_SHA256[language]}"
        )
    return path


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
        holding = [place for place, (begin, end) in enumerate(sentences) if begin <= start < end]
        if not holding:
            raise ValueError(f"{where}: its answer at character {start} lies in no sentence")
        found.append(holding[0])
    return found
