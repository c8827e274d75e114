"""Reading comprehension as retrieval: find the passage that a question was asked about.

XQuAD, Belebele and files like them ask the same questions in several languages. The passage of a question is relevant
to it in every language in which the question exists. Texts are treated as in MTEB: they are stripped, and equal texts
of one language are one passage or one query. A query made of several questions has the relevant passages of all of
them.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hybridlib.arguments import told
from hybridlib.data.checks import check_rows, texts_wrong
from hybridlib.data.task import RetrievalTask

_TEXTS = ["question", "passage"]


def comprehension_task(files: Mapping[str, pd.DataFrame], *, whole: bool = True) -> RetrievalTask:
    """Make the task of parallel questions.

    Args:
        files: for each language a table in the order of its file, with a row for every question and passage that is
            relevant to it: `key` (the same in all languages), `question` and `passage` (texts), and maybe `article`. A
            row without a key and a question has a passage that no question needs be about.
        whole: whether every language must have all questions.

    Returns:
        The task. The id of a query is `<language>:<key>`, with the first of its keys. The id of a passage is
        `<language>:<n>`, counted from 0 in the file. The article of a question is that in English, or else in the
        first language in which the question exists; see `one_article`.

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
    if whole:
        _check_parallel(files)
    rows = pd.concat([table.assign(language=language) for language, table in files.items()], ignore_index=True)
    rows[_TEXTS] = rows[_TEXTS].apply(lambda texts: texts.str.strip())
    number = rows.groupby(["language", "passage"], sort=False).ngroup()  # over all languages, one after another
    rows["passage_id"] = rows.language + ":" + (number - number.groupby(rows.language).transform("min")).astype(str)
    passages = rows.drop_duplicates("passage_id")
    asked = rows[rows.key.notna()]
    first = asked.groupby(["language", "question"], sort=False)["key"].transform("first")
    asked = asked.assign(query_id=asked.language + ":" + first)
    queries = asked.drop_duplicates("query_id").rename(columns={"question": "text", "key": "question"})
    if "article" in asked:
        queries["article"] = queries.question.map(one_article(asked.language, asked.key, asked.article))
    qrels = asked[["key", "query_id"]].merge(asked[["key", "passage_id"]], on="key")[["query_id", "passage_id"]]
    return RetrievalTask(
        queries,
        passages[["passage_id", "language"]].assign(text=passages.passage),
        qrels.drop_duplicates().assign(relevance=1),
    )


def one_article(languages: pd.Series, questions: pd.Series, articles: pd.Series) -> pd.Series:
    """Find the article of every question: its title in English, or else in the first language with the question.

    So a question of any language belongs to the same article, whose title may differ from language to language.

    Args:
        languages, questions, articles: in each row a question in a language, and the title of its article. (N,)

    Returns:
        The titles, by question.
    """
    rows = pd.DataFrame({"language": languages, "question": questions, "article": articles})
    english_first = rows.sort_values("language", key=lambda codes: codes != "en", kind="stable")
    return english_first.drop_duplicates("question").set_index("question").article


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
