"""Reading comprehension as retrieval: find the passage that a question was asked about.

XQuAD and Belebele ask the same questions in several languages. The passage of a question is relevant to it in every
language. Texts are treated as in MTEB: they are stripped, and equal texts of one language are one passage or one query.
A query made of several questions has the relevant passages of all of them.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hybridlib.arguments import told
from hybridlib.data.checks import check_rows, texts_wrong
from hybridlib.data.task import RetrievalTask

_TEXTS = ["question", "passage"]


def comprehension_task(files: Mapping[str, pd.DataFrame]) -> RetrievalTask:
    """Make the task of parallel questions.

    Args:
        files: for each language a table in the order of its file, with a row for every question: `key` (the same in
            all languages), `question` and `passage` (texts).

    Returns:
        The task. The id of a query is `<language>:<key>`, with the first of its keys. The id of a passage is
        `<language>:<n>`, counted from 0 in the file.

    Raises:
        ValueError: the languages do not have the same questions.

    >>> german = pd.DataFrame({"key": ["a", "b"], "question": ["Wo?", "Wer?"], "passage": ["In Rom.", "In Rom."]})
    >>> english = pd.DataFrame({"key": ["a", "b"], "question": ["Where?", "Who?"], "passage": ["Rome.", "In Rome."]})
    >>> task = comprehension_task({"de": german, "en": english})
    >>> task.passages.passage_id.tolist()
    ['de:0', 'en:0', 'en:1']
    >>> task.qrels[task.qrels.query_id == "de:b"].passage_id.tolist()
    ['de:0', 'en:1']
    """
    _check_parallel(files)
    rows = pd.concat([table.assign(language=language) for language, table in files.items()], ignore_index=True)
    rows[_TEXTS] = rows[_TEXTS].apply(lambda texts: texts.str.strip())
    by_question, by_passage = (rows.groupby(["language", column], sort=False) for column in _TEXTS)
    first = by_question["key"].transform("first")
    rows["query_id"] = rows.language + ":" + first
    number = by_passage.ngroup()  # counted over all languages, which come one after another
    rows["passage_id"] = rows.language + ":" + (number - number.groupby(rows.language).transform("min")).astype(str)
    queries = rows.drop_duplicates("query_id")
    passages = rows.drop_duplicates("passage_id")
    qrels = rows[["key", "query_id"]].merge(rows[["key", "passage_id"]], on="key")[["query_id", "passage_id"]]
    return RetrievalTask(
        queries[["query_id", "language", "key"]].assign(text=queries.question).rename(columns={"key": "question"}),
        passages[["passage_id", "language"]].assign(text=passages.passage),
        qrels.drop_duplicates().assign(relevance=1),
    )


def checked_rows(rows: pd.DataFrame, path: Path, questions: int) -> pd.DataFrame:
    """Check the rows of a file, and return them.

    Args:
        rows: every row of the file, in its order; see `comprehension_task`.
        path: the file, for messages.
        questions: the number that the published file has; a file that was cut off has fewer.

    Raises:
        ValueError: a text or a key is missing or empty, a key comes twice, or there are more or fewer questions.
    """
    for column in ("key", *_TEXTS):
        check_rows(texts_wrong(rows[column]), rows[column], f"{path}: {column}", "a text that is not empty")
    check_rows(rows.key.duplicated(), rows.key, f"{path}: key", "each once")
    if len(rows) != questions:
        raise ValueError(f"{path} has {len(rows)} questions; the published file has {questions}")
    return rows


def _check_parallel(files: Mapping[str, pd.DataFrame]) -> None:
    one, *others = files
    for other in others:
        alone = sorted(set(files[one].key) ^ set(files[other].key))
        if alone:
            raise ValueError(
                f"{one} and {other} do not have the same questions: {told(alone[0])} is in one of them only"
            )
