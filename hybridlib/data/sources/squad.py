"""SQuAD v1.1 (Rajpurkar et al., 2016) and what has its format: questions on paragraphs, and two corpora to train on.

An item is a question. Its passage is the sentence that holds the start of the answer, as in XQuAD-R and MLQA-R (Roy et
al., 2020). Encoders are evaluated on those, and if trained on paragraphs, they would meet sentences for the first time.
A question whose answer does not stand where it should is left out, and counted in the log.

`squad-translate` is SQuAD's training set, English and the translations of XTREME (Hu et al., 2020). The translations
have no sentence breaks, so `sentencex` finds the sentences. For 94 % of the questions of XQuAD-R (82 % in Turkish to
97 % in Arabic) its sentence is that of XQuAD-R's own breaks. Thai is an exception: it does not mark the end of a
sentence, and a passage is mostly the whole paragraph. XTREME's files were made by machine and lack the questions whose
answer was lost in translation. Translations of a paragraph may differ from question to question, so equal sentences
cannot be told by their text. The passage group is therefore the paragraph of the English original.

`squadshifts` is SQuADShifts (Miller et al., 2020), questions like SQuAD's in four domains, in English. The paper uses
them to stop training early. `new_wiki` has articles of Wikipedia that are not in SQuAD, `nyt` articles of the New York
Times, `reddit` comments, and `amazon` reviews of products. Questions on one paragraph share a passage group.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
import pyarrow as pa
from sentencex import get_sentence_boundaries
from tqdm import tqdm

from hybridlib.arguments import FilePath, Names, checked, told
from hybridlib.data.checks import check_languages, check_split
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.sources.records import SQUAD, Answer, read_paragraphs, sentence_at, stands, without_mark
from hybridlib.data.sources.source import Source, pinned_files
from hybridlib.data.table import cached_table
from hybridlib.data.texts import Texts, interleave

logger = logging.getLogger(__name__)

# Sizes and checksums are those in tensorflow-datasets 4.9.10, url_checksums/squad.txt and url_checksums/xquad.txt.
SQUAD_TRANSLATE = Source(
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
    files=pinned_files(
        "squad-translate",
        {
            "train-": "https://rajpurkar.github.io/SQuAD-explorer/dataset/",
            "squad.translate.": "https://storage.googleapis.com/xtreme_translations/SQuAD/translate-train/",
        },
    ),
)
# Sizes and checksums are those in huggingface/datasets at b811663c865fe2acb9a778925a3f03e7eaa8659c,
# datasets/squadshifts/dataset_infos.json. The branch has no tags; a file's name tells its version.
SQUADSHIFTS = Source(
    name="squadshifts",
    title="SQuADShifts, test sets for SQuAD of four domains, English",
    homepage="https://modestyachts.github.io/squadshifts-website/",
    revision="v1.0",
    licence="CC BY 4.0",
    citation="""@inproceedings{miller2020effect,
  title = {The Effect of Natural Distribution Shift on Question Answering Models},
  author = {Miller, John and Krauth, Karl and Recht, Benjamin and Schmidt, Ludwig},
  booktitle = {Proceedings of ICML},
  year = {2020}
}""",
    files=pinned_files(
        "squadshifts", {"": "https://raw.githubusercontent.com/modestyachts/squadshifts-website/master/datasets/"}
    ),
)
_DOMAINS = ("new_wiki", "nyt", "reddit", "amazon")  # of the files of SQuADShifts, in order


class Question(NamedTuple):
    """A question: its id and text, its paragraph, that paragraph's number in the file, and what answers it."""

    key: str
    text: str
    context: str
    paragraph: int
    answers: list[Answer]


@checked
def read_squad_translate(name: Literal["squad-translate"], *, split: str, languages: Names | None) -> ParallelCorpus:
    """Read the questions of SQuAD in some languages, in its order.

    The table is made when it is first asked for, with one file at a time in memory: 1.1 GB for Russian, the largest.

    Args:
        name: `squad-translate`.
        split: `train`.
        languages: those of the grid, in order; all of them unless given.

    Raises:
        ValueError: an argument names something that does not exist, or a file is not of SQuAD's format; the message
            names the question.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    check_split(split, ("train",))
    chosen = check_languages(languages, SQUAD_TRANSLATE.languages, name)
    checksums = [file.checksum for code in ("en", *chosen) for file in SQUAD_TRANSLATE.files_of(code)]
    return ParallelCorpus(cached_table([name, chosen, checksums], lambda: _pieces(chosen)))


@checked
def read_squadshifts(name: Literal["squadshifts"], *, split: str, languages: Names | None) -> ParallelCorpus:
    """Read all four domains, one after the other.

    Args:
        name: `squadshifts`.
        split: `validation`, all there is: nothing is to be trained on it.
        languages: English.

    Raises:
        ValueError: an argument names something that does not exist, or a file is not of SQuAD's format.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    check_split(split, ("validation",))
    chosen = check_languages(languages, SQUADSHIFTS.languages, name)
    rows = []
    for domain, path in zip(_DOMAINS, SQUADSHIFTS.fetch("en"), strict=True):
        for question, sentence in _answered(path, "en"):
            group = f"{domain}:{question.paragraph}"
            rows.append((f"{domain}:{question.key}", question.text, sentence, group, domain))
    frame = pd.DataFrame(rows, columns=["item", "query", "passage", "passage_group", "domain"])
    return ParallelCorpus.from_frame(frame.assign(language="en", dataset=name), chosen)


@checked
def read_questions(path: FilePath) -> Iterator[Question]:
    """Read the questions of a file, in its order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not of the format, holds no question or one twice, or a text is empty; the message names
            the file and the place, and what is allowed.
    """
    seen: set[str] = set()
    for number, (_, _, paragraph) in enumerate(read_paragraphs(Path(path), SQUAD)):
        for entry in paragraph["qas"]:
            # Answers may be missing, as in other versions of SQuAD and where a translation lost them.
            found = Question(entry["id"], entry["question"], paragraph["context"], number, entry.get("answers") or [])
            if found.key in seen:
                raise ValueError(f"{path}: question {told(found.key)} comes twice")
            seen.add(found.key)
            yield found
    if not seen:
        raise ValueError(f"{path} holds no question")


def sentence_breaks(context: str, language: str) -> list[tuple[int, int]]:
    """Cut a paragraph into sentences, as `sentencex` does: where each begins and ends, with the blanks around it.

    A language that `sentencex` does not know is cut by the rules that most languages share.

    >>> sentence_breaks("It rains. The sun set.", "en")
    [(0, 10), (10, 22)]
    """
    return [(found["start_index"], found["end_index"]) for found in get_sentence_boundaries(language, context)]


def answering_sentence(question: Question, language: str) -> str | None:
    """Return the sentence that holds the start of the first answer that stands where it should; None if none does.

    >>> context = "It rains. The sun set at six. We slept."
    >>> answering_sentence(Question("1", "When?", context, 0, [{"text": "six", "answer_start": 25}]), "en")
    'The sun set at six.'
    """
    context = question.context
    for answer in question.answers:
        start = answer.get("answer_start")
        if start is not None and stands(context, start, answer.get("text")):
            sentences = sentence_breaks(context, language)
            number = sentence_at(sentences, start)
            return None if number is None else without_mark(context[slice(*sentences[number])]).strip()
    return None


def _answered(path: Path, language: str) -> Iterator[tuple[Question, str]]:
    """Read the questions of a file with the sentences that answer them; log how many have none."""
    lost = 0
    for question in read_questions(path):
        sentence = answering_sentence(question, language)
        if sentence is None:
            lost += 1
        else:
            yield question, sentence
    if lost:
        logger.info("%s: %d questions are left out, whose answers do not stand where they should", path, lost)


def _pieces(languages: Sequence[str]) -> Iterator[pa.Table]:
    """Make the pieces of the table of `squad-translate`."""
    paragraph = {question.key: question.paragraph for question in read_questions(*SQUAD_TRANSLATE.fetch("en"))}
    number = {key: place for place, key in enumerate(paragraph)}
    items = pd.DataFrame({"query": range(len(number)), "passage": range(len(number))})
    items = items.assign(passage_group=list(paragraph.values()), domain="wikipedia", dataset="squad-translate")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        texts = {}
        for language in tqdm(languages, desc="squad-translate", unit="language", disable=None):
            kept = [Texts(Path(folder) / f"{language}.{kind}", len(number)) for kind in ("query", "passage")]
            queries, passages = map(stack.enter_context, kept)
            (path,) = SQUAD_TRANSLATE.fetch(language)
            for question, sentence in _answered(path, language):
                if question.key not in number:
                    raise ValueError(f"{path}: question {told(question.key)} is not in SQuAD's training set")
                queries.put(number[question.key], question.text)
                passages.put(number[question.key], sentence)
            texts[language] = (queries, passages)
        yield from interleave(items, texts)
