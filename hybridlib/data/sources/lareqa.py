"""XQuAD-R and other sets of files in the format of LAReQA (Roy et al., 2020): questions to be answered by a sentence.

A file holds one language: SQuAD's articles, paragraphs and questions, and for each paragraph where its sentences begin
and end (offsets in characters). Each sentence is a candidate passage. The sentence that holds the start of the answer
is relevant to the question, in every language. A question has the same id in all languages in which it exists, which
may be some of them only. Two calls make a task of your own files:

    task_from_lareqa(read_lareqa({"en": "mine/en.json", "de": "mine/de.json"}))

XQuAD-R and MLQA-R are read from `$HYBRIDLIB_DATA/xquad-r/<language>.json` and `mlqa-r/<language>.json`, or else
downloaded from the pinned commits (see `hybridlib.data.sources.source`). They are not part of this package.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from hybridlib.arguments import FilePath, Name, Names, checked, told
from hybridlib.data.checks import check_languages, check_split
from hybridlib.data.corpus import ParallelCorpus, connected_groups
from hybridlib.data.folds import articles_of, read_folds
from hybridlib.data.sources.comprehension import one_article
from hybridlib.data.sources.records import (
    LAREQA,
    LareqaParagraph,
    LareqaQuestion,
    read_paragraphs,
    sentence_at,
    sentences_of,
    stands,
    without_mark,
)
from hybridlib.data.sources.source import Source, pinned_files
from hybridlib.data.task import RetrievalTask

logger = logging.getLogger(__name__)

_URL = "https://raw.githubusercontent.com/google-research-datasets/lareqa"
_XQUAD_R_COMMIT = "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c"
_MLQA_R_COMMIT = "354d67d1cd066854cdfbf5ad0e6105528976141d"  # later commits have it no more
XQUAD_R = Source(
    name="xquad-r",
    title="XQuAD-R of LAReQA: questions on Wikipedia to be answered by a sentence, parallel in 11 languages",
    homepage="https://github.com/google-research-datasets/lareqa",
    revision=_XQUAD_R_COMMIT,
    licence="CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0)",
    citation="""@article{roy2020lareqa,
  title={LAReQA: Language-agnostic answer retrieval from a multilingual pool},
  author={Roy, Uma and Constant, Noah and Al-Rfou, Rami and Barua, Aditya and Phillips, Aaron and Yang, Yinfei},
  journal={arXiv preprint arXiv:2004.05484},
  year={2020}
}""",
    files=pinned_files("xquad-r", {"": f"{_URL}/{_XQUAD_R_COMMIT}/xquad-r/"}),
)
# The sizes of ar, de, hi and zh are those of the folder `mlqa-dev-r` at commit 5405d2a, which became `mlqa-r`.
MLQA_R = replace(
    XQUAD_R,
    name="mlqa-r",
    title="MLQA-R of LAReQA: the same of MLQA's development set, 7 languages, each question in 2 to 4 of them",
    revision=_MLQA_R_COMMIT,
    licence="CC BY-NC 4.0 (https://creativecommons.org/licenses/by-nc/4.0): not for commercial use",
    files=pinned_files("mlqa-r", {"": f"{_URL}/{_MLQA_R_COMMIT}/mlqa-r/"}),
)
# MLQA-R has two of the articles of XQuAD-R, under these titles; what is trained on XQuAD-R may have seen them.
SHARED_ARTICLES = ("Prime number", "Harvard University")


@dataclass(frozen=True)
class LareqaData:
    """Questions, candidate sentences, and which sentence answers which question.

    Attributes:
        queries: `query_id` (`<language>:<question>`), `language`, `text`, `question` (its id, the same in all
            languages), `article` (its title in the language).
        passages: `passage_id` (`<language>:<article>:<paragraph>:<sentence>`, counted from 0 in the file and in the
            paragraph), `language`, `text`, `article`.
        qrels: `query_id`, `passage_id`, `relevance`: a question of any language with its sentence in every language in
            which the question exists, or with several sentences if its answers begin in several.
    """

    queries: pd.DataFrame
    passages: pd.DataFrame
    qrels: pd.DataFrame

    @checked
    def of_articles(self, articles: Names) -> "LareqaData":
        """Keep what belongs to some articles, which must have one title in all languages.

        Raises:
            ValueError: the data has none of them.
        """
        if not self.passages.article.isin(articles).any():
            raise ValueError(f"articles is {told(list(articles))}; the data has none of them")
        queries = self.queries[self.queries.article.isin(articles)]
        passages = self.passages[self.passages.article.isin(articles)]
        return LareqaData(queries, passages, self.qrels[self.qrels.query_id.isin(queries.query_id)])

    def passage_groups(self) -> pd.Series:
        """Group the questions that share a sentence in any language: a number for each group, by question."""
        pairs = self.qrels.merge(self.queries[["query_id", "question"]], on="query_id")
        return connected_groups(pairs.question, pairs.passage_id)


@checked
def read_xquad_r(*, paragraphs: bool = False) -> LareqaData:
    """Read XQuAD-R in its 11 languages: 1,190 questions each, 852 (Thai) to 1,276 (German) sentences.

    Arguments and errors are those of `read_lareqa`; a file that differs from the published one is refused, too.
    """
    return _read_published(XQUAD_R, paragraphs)


@checked
def read_mlqa_r(*, paragraphs: bool = False) -> LareqaData:
    """Read MLQA-R in its 7 languages: 1,148 questions in English, 500 to 517 in others; 1,787 to 6,264 sentences.

    An article has another title in each language. Arguments and errors are as in `read_xquad_r`.
    """
    _warn_of_licence("MLQA-R", MLQA_R.licence)
    return _read_published(MLQA_R, paragraphs)


@checked
def read_lareqa(
    files: Annotated[Mapping[Name, FilePath], Field(min_length=1)], *, paragraphs: bool = False
) -> LareqaData:
    """Read any set of files in LAReQA's format; `task_from_lareqa` makes a task of it.

    Args:
        files: the file of each language.
        paragraphs: whether a passage is the sentence followed by its paragraph.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not of the format; the message names the file, the place in it, and what is allowed.
    """
    queries, passages, answers = [], [], []
    for language, path in files.items():
        # Paragraphs are counted in the whole file, since two articles may have one title.
        for number, (where, article, paragraph) in enumerate(read_paragraphs(Path(path), LAREQA)):
            title, whole = article["title"], without_mark(paragraph["context"])
            ids: list[str] = []
            for text in sentences_of(paragraph, where):
                ids.append(f"{language}:{title}:{number}:{len(ids)}")
                passages.append((ids[-1], language, f"{text} {whole}" if paragraphs else text, title))
            for question in paragraph["qas"]:
                key = question["id"]
                queries.append((f"{language}:{key}", language, question["question"], key, title))
                found = _answering(question, paragraph, f"{path}: question {told(key)}")
                answers += [(key, ids[place]) for place in found]
    if not queries:
        raise ValueError(f"{', '.join(map(str, files.values()))}: there is no question")
    query_table = pd.DataFrame(queries, columns=["query_id", "language", "text", "question", "article"])
    passage_table = pd.DataFrame(passages, columns=["passage_id", "language", "text", "article"])
    for _, language, _, key, _ in query_table[query_table.query_id.duplicated()].to_numpy():
        raise ValueError(f"{files[language]}: question {told(key)} comes twice")
    answer_table = pd.DataFrame(answers, columns=["question", "passage_id"]).drop_duplicates()
    qrels = query_table[["query_id", "question"]].merge(answer_table, on="question")[["query_id", "passage_id"]]
    return LareqaData(query_table, passage_table, qrels.assign(relevance=1))


@checked
def read_corpus(name: Literal["xquad-r"], *, split: str, fold: int | None, languages: Names | None) -> ParallelCorpus:
    """Read questions of XQuAD-R, each with the first sentence of its own language that answers it.

    Args:
        name: `xquad-r`.
        split: `train`.
        fold: the fold to leave out, 0 to 3; `read_task` reads what is in it.
        languages: those of the grid, in order; all of them unless given.

    Raises:
        ValueError: as in `read_task`, or there is no fold to leave out.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    check_split(split, ("train",))
    chosen = check_languages(languages, XQUAD_R.languages, name)
    if fold is None:
        raise ValueError(
            f"fold is None; allowed for the corpus {name}: 0 to 3, the fold to leave out, since training on all "
            "articles would leave none to test on"
        )
    data = read_xquad_r().of_articles(articles_of(fold, held_out=False))
    relevant = data.qrels.merge(data.queries, on="query_id").rename(columns={"question": "item", "text": "query"})
    own = relevant.merge(data.passages[["passage_id", "language", "text"]], on=["passage_id", "language"])
    items = own.drop_duplicates("query_id").rename(columns={"text": "passage"})
    groups, topics = items["item"].map(data.passage_groups()), items.article.map(read_folds().domain)
    items = items.assign(passage_group=groups, domain=topics, dataset=name)
    return ParallelCorpus.from_frame(items, chosen)


@checked
def read_task(
    name: Literal["xquad-r", "mlqa-r"], *, fold: int | None = None, paragraphs: bool = False
) -> RetrievalTask:
    """Read a benchmark as published, or the articles of one fold.

    Args:
        name: `xquad-r` or `mlqa-r`.
        fold: 0 to 3, of `xquad-r` only; all articles unless given.
        paragraphs: as in `read_lareqa`.

    Raises:
        ValueError: there is no such fold, or a file differs from the published one.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    articles = None if fold is None else articles_of(fold, held_out=True)
    data = (read_xquad_r if name == "xquad-r" else read_mlqa_r)(paragraphs=paragraphs)
    return task_from_lareqa(data if articles is None else data.of_articles(articles))


@checked
def task_from_lareqa(data: LareqaData) -> RetrievalTask:
    """Make a task of files in LAReQA's format: every question is to be answered in every language.

    The `article` of a question is the title that `one_article` finds.

    Args:
        data: the files, as read by `read_lareqa`.
    """
    title = one_article(data.queries.language, data.queries.question, data.queries.article)
    return RetrievalTask(data.queries.assign(article=data.queries.question.map(title)), data.passages, data.qrels)


def _read_published(source: Source, paragraphs: bool) -> LareqaData:
    return read_lareqa({code: source.fetch(code)[0] for code in source.languages}, paragraphs=paragraphs)


@cache  # to say it once in a process
def _warn_of_licence(title: str, licence: str) -> None:
    logger.warning("%s is licensed %s", title, licence)


def _answering(question: LareqaQuestion, paragraph: LareqaParagraph, where: str) -> Iterator[int]:
    """Yield the number of the sentence that holds the start of each answer to the question."""
    for answer in question["answers"]:
        start, text = answer["answer_start"], answer["text"]
        if not stands(paragraph["context"], start, text):
            at = f"character {told(start)} of its paragraph"
            raise ValueError(f"{where}: its answer {told(text)} does not stand at {at}")
        # An answer may begin with the blank before its sentence.
        number = sentence_at(paragraph["sentence_breaks"], start + len(text) - len(text.lstrip()))
        if number is None:
            raise ValueError(f"{where}: its answer at character {start} lies in no sentence")
        yield number
