"""BM25 within a language: what a search by words finds, a row beside every encoder.

A question and its passage share words only within a language, so BM25 has the monolingual setting alone. Each language
has an index of its own over its passages. The formula is Lucene's, with k1 = 1.5 and b = 0.75, by `bm25s`.

*Tokens.* Texts are normalised (NFKC) and in lower case. A token is a run of letters, their marks and digits: marks
belong to letters, as the vowel signs of Hindi do. Scripts that put no blanks between words, such as Chinese and Thai,
are cut into pairs of neighbouring characters, as Lucene's analyser of Chinese, Japanese and Korean does. There is no
stemming, and there are no stop words.

*Ties.* Of equal scores, the earlier passage of the task ranks first, as everywhere here; a passage that shares no token
with the question has the score 0. Scores are rounded to nine digits, so that ties do not depend on rounding.
"""

import unicodedata
from functools import lru_cache
from itertools import groupby

import numpy as np

from hybridlib.arguments import checked
from hybridlib.data.passages import positions_in, rows_of
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.pairs import Measured, pair_table

_DIGITS = 9
_WITHOUT_BLANKS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


@checked
def measure_bm25(task: RetrievalTask) -> Measured:
    """Rank the relevant passages of each question among the passages of its language by BM25.

    Args:
        task: what to retrieve; the passages of one language at a time are in memory.

    Returns:
        The ranks within the language; they are 0 for pairs of two languages, and in the pool.

    Raises:
        ValueError: the task has no monolingual setting, or no question with a relevant passage in its own language.
    """
    import bm25s  # which takes a while to load, and few need it

    identical = dict(task.identical.tolist())
    pairs, in_language = pair_table(task), np.zeros(len(task.pairs), dtype=np.int32)
    own = (pairs.query_language.astype(object) == pairs.passage_language.astype(object)).to_numpy()  # (N,)
    if "monolingual" not in task.settings or not own.any():
        raise ValueError(f"settings is {task.settings}; BM25 needs questions with a passage in their own language")
    for language in pairs.passage_language[own].unique():
        positions = positions_in(task.passages, [language])  # (P,)
        words = [tokens(text) for text in rows_of(task.passages, positions).text]
        index = bm25s.BM25(k1=1.5, b=0.75, method="lucene", dtype="float64")
        if any(words):  # it has no index of nothing
            index.index(words, show_progress=False)
        chosen = np.flatnonzero(own & (pairs.passage_language == language).to_numpy())
        rows = np.searchsorted(positions, task.pairs[chosen, 1])  # of the relevant passages in the language
        for query in np.unique(task.pairs[chosen, 0]):
            known = tokens(task.queries.text.iloc[query])
            scores = (
                index.get_scores(known).round(_DIGITS) if known and any(words) else np.zeros(len(positions))
            )  # (P,)
            if query in identical:
                scores[positions == identical[query]] = -np.inf  # below all, as if it were not there
            mine = task.pairs[chosen, 0] == query
            in_language[chosen[mine]] = [_rank(scores, row) for row in rows[mine]]
    return Measured(pairs, in_language, np.zeros_like(in_language), ("monolingual",))


def _rank(scores: np.ndarray, row: int) -> int:
    return 1 + int((scores > scores[row]).sum() + (scores[:row] == scores[row]).sum())


def tokens(text: str) -> list[str]:
    """Cut a text into tokens.

    >>> tokens("Isaac Newton's laws, हिन्दी, 牛顿定律")
    ['isaac', 'newton', 's', 'laws', 'हिन्दी', '牛顿', '顿定', '定律']
    """
    found = []
    for kind, run in groupby(unicodedata.normalize("NFKC", text).lower(), _kind):
        word = "".join(run)
        if kind == "word" or (kind == "without blanks" and len(word) == 1):
            found.append(word)
        elif kind == "without blanks":
            found += [word[place : place + 2] for place in range(len(word) - 1)]
    return found


@lru_cache(maxsize=1 << 16)
def _kind(character: str) -> str:
    if unicodedata.category(character)[0] not in "LMN":
        return ""
    return "without blanks" if unicodedata.name(character, "").startswith(_WITHOUT_BLANKS) else "word"
