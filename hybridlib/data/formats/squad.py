"""Files in the format of SQuAD or XQuAD as a retrieval task: a file for each language, where a question has one id.

A passage is a paragraph, or a sentence as `sentencex` cuts it. The paragraph of a question is relevant to it in every
language in which the question exists, and so are the sentences that hold the start of an answer. Equal passages of a
language are one passage, and equal questions of a language one query, as in MTEB.

What is left out of a file is counted in a warning: a question without answers (`is_impossible` in SQuAD 2.0), and,
where passages are sentences, one none of whose answers stands where it should. A question that is left out in one
language may exist in others. Paragraphs without questions are passages, too.

Files that say where sentences begin and end are read by `hybridlib.data.sources.lareqa`.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field

from hybridlib.arguments import FilePath, Name, checked, told
from hybridlib.data.sources.comprehension import comprehension_task
from hybridlib.data.sources.records import SQUAD, read_paragraphs, sentence_at, stands, without_mark
from hybridlib.data.sources.squad import sentence_breaks
from hybridlib.data.task import RetrievalTask

logger = logging.getLogger(__name__)


@checked
def read_squad(
    files: Annotated[Mapping[Name, FilePath], Field(min_length=1)],
    *,
    passages: Literal["paragraphs", "sentences"] = "paragraphs",
) -> RetrievalTask:
    """Read a task from files in the format of SQuAD 1.1, SQuAD 2.0 or XQuAD.

    Args:
        files: the file of each language.
        passages: `paragraphs`, or `sentences`, of which several are relevant if the answers begin in several.

    Returns:
        The task. Ids are those of `comprehension_task`: `<language>:<question>` and `<language>:<n>`, counted from 0 in
        the file. The article of a question is the title of SQuAD's article, in English or else in the first language
        with the question; without a title, each paragraph is an article.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not of the format, a question comes twice in it, or none of its questions has an answer;
            or no question of a language is in another one. The message names the file and the place.
    """
    tables = {language: _rows(Path(path), language, passages == "sentences") for language, path in files.items()}
    keys = pd.concat([table.key.drop_duplicates().dropna() for table in tables.values()])
    shared = set(keys[keys.duplicated()])
    for language, table in tables.items():
        if len(files) > 1 and not table.key.isin(shared).any():
            raise ValueError(
                f"{files[language]}: no question has the id of one in another language; allowed: translations under "
                "one id. Files that have nothing to do with each other are joined by join_tasks(..., parallel=False)"
            )
    return comprehension_task(tables, whole=False)


def _rows(path: Path, language: str, cut: bool) -> pd.DataFrame:
    """Read a file into the rows of `comprehension_task`: every passage, and every question with what is relevant."""
    rows: list[tuple[str | None, str | None, str, str]] = []
    places: dict[str, str] = {}
    lost: Counter[str] = Counter()
    for number, (where, article, paragraph) in enumerate(read_paragraphs(path, SQUAD)):
        context = paragraph["context"]
        breaks = sentence_breaks(context, language) if cut else [(0, len(context))]
        texts = [without_mark(context[begin:end]).strip() for begin, end in breaks]
        title = (article.get("title") or "").strip() or f"paragraph {number}"
        rows += [(None, None, text, title) for text in texts if text]
        for place, entry in enumerate(paragraph["qas"]):
            key, here = entry["id"], f"{where}.qas.{place}"
            if key in places:
                raise ValueError(f"{here}: question {told(key)} comes twice; it is in {places[key]}")
            places[key] = here.removeprefix(f"{path}: ")
            answers = [] if entry.get("is_impossible") else entry.get("answers") or []
            relevant = _answering(answers, context, breaks) if cut else [0]
            if answers and relevant:
                rows += [(key, without_mark(entry["question"]), texts[sentence], title) for sentence in relevant]
            else:
                lost["whose answers do not stand where they should" if answers else "which have no answer"] += 1
    for why, count in lost.items():
        logger.warning("%s: %d questions are left out, %s", path, count, why)
    if len(places) == lost.total():
        raise ValueError(f"{path} holds no question with an answer{' that stands where it should' if cut else ''}")
    return pd.DataFrame(rows, columns=["key", "question", "passage", "article"])


def _answering(answers: list[Any], context: str, breaks: list[tuple[int, int]]) -> list[int]:
    """Return the numbers of the sentences in which the answers begin that stand where they should."""
    found: set[int | None] = set()
    for answer in answers:
        start, text = answer.get("answer_start"), answer.get("text")
        if stands(context, start, text):
            # An answer may begin with the blank before its sentence.
            found.add(sentence_at(breaks, start + len(text) - len(text.lstrip())))
    return sorted(number for number in found if number is not None)
