"""The JSON of SQuAD v1.1 (Rajpurkar et al., 2016) as pairs to train on: a question and the sentence that answers it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sentencex import get_sentence_boundaries

# Some paragraphs of XQuAD begin with one, which counts in the offsets but is no text.
_BYTE_ORDER_MARK = "\ufeff"


class Question(NamedTuple):
    """A question: its id and text, its paragraph, that paragraph's number in the file, and what answers it."""

    key: str
    text: str
    context: str
    paragraph: int
    answers: list[dict[str, Any]]


def read_questions(path: Path) -> Iterator[Question]:
    """The questions of a file, in its order; the whole file is in memory, for it is a single JSON value.

    Raises:
        ValueError: the file is not of the format, holds no question or one twice, or a text is empty; the message names
            the file, and the question where one is at fault.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            articles = json.load(stream)["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is truncated or not a file in SQuAD's format: {error!r}") from error
    seen: set[str] = set()
    for number, paragraph in enumerate(paragraphs):
        try:
            for entry in paragraph["qas"]:
                # The answers of other versions of SQuAD may be missing, here as well where a translation lost them.
                found = Question(
                    entry["id"], entry["question"], paragraph["context"], number, entry.get("answers") or []
                )
                if found.key in seen:
                    raise ValueError(f"{path}: question {found.key!r} comes twice")
                if not (found.text.strip() and found.context.strip()):
                    raise ValueError(f"{path}: question {found.key!r} or its paragraph is empty")
                seen.add(found.key)
                yield found
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: paragraph {number} is not in SQuAD's format: {error!r}") from error
    if not seen:
        raise ValueError(f"{path} holds no question")


def answering_sentence(question: Question, language: str) -> str | None:
    """The sentence that holds the start of the first answer that stands where it should; none if there is no such.

    >>> context = "It rains. The sun set at six. We slept."
    >>> answering_sentence(Question("1", "When?", context, 0, [{"text": "six", "answer_start": 25}]), "en")
    'The sun set at six.'
    """
    context = question.context
    for answer in question.answers:
        start, text = answer.get("answer_start"), answer.get("text")
        if text and isinstance(start, int) and start >= 0 and context[start : start + len(text)] == text:
            for sentence in get_sentence_boundaries(language, context):
                if sentence["start_index"] <= start < sentence["end_index"]:
                    return (
                        context[sentence["start_index"] : sentence["end_index"]].replace(_BYTE_ORDER_MARK, "").strip()
                    )
    return None
