"""BM25 against its formula, written out, and tokens of scripts with and without blanks."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from word_encoder import draw_task

from hybridlib.data.load import load_task
from hybridlib.evaluation.bm25 import measure_bm25, tokens
from hybridlib.evaluation.pairs import pair_table, results_of


def slow_scores(query, passages):
    """Score passages as Lucene does: idf tf / (tf + k1 (1 - b + b length / mean length)), summed over the query."""
    lists = [tokens(text) for text in passages]
    mean, scores = np.mean([len(words) for words in lists]), []
    for words in lists:
        score = 0.0
        for word in tokens(query):
            having = sum(word in other for other in lists)
            idf = math.log(1 + (len(lists) - having + 0.5) / (having + 0.5))
            tf = words.count(word)
            score += idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * len(words) / mean))
        scores.append(round(score, 9))
    return scores


def slow_rank(task, query, passage):
    """Sort the passages of the query's language from best to worst, of equal scores the first."""
    inside = task.passages[task.passages.language == task.queries.language[query]]
    scores = slow_scores(task.queries.text[query], inside.text)
    return 1 + inside.index[np.argsort(-np.array(scores), kind="stable")].tolist().index(passage)


@pytest.mark.parametrize("seed", [0, 1])
def test_ranks_are_those_of_the_formula_with_ties_in_the_order_of_passages(seed):
    task = draw_task(seed, 23, 61)  # of seven words, so that many passages are tied
    measured = measure_bm25(task)
    pairs = pair_table(task)
    own = pairs.query_language.astype(str) == pairs.passage_language.astype(str)
    expected = [slow_rank(task, *pair) if same else 0 for pair, same in zip(task.pairs, own, strict=True)]
    assert 0 < own.sum() < len(own)
    assert measured.in_language.tolist() == expected
    assert not measured.in_pool.any()
    assert results_of(measured, ["map"]).setting.unique().tolist() == ["monolingual"]


def test_a_question_without_a_token_finds_passages_in_their_order():
    task = draw_task(2, 11, 29)
    task = replace(task, queries=task.queries.assign(text="?!"))
    pairs, ranked = task.pairs, measure_bm25(task).in_language
    for (_, passage), rank in zip(pairs[ranked > 0], ranked[ranked > 0], strict=True):
        earlier = task.passages.language[:passage] == task.passages.language[passage]
        assert rank == 1 + earlier.sum()


def test_where_no_passage_has_a_token_ranks_are_the_order_of_the_passages():
    task = draw_task(2, 11, 29)
    empty = measure_bm25(replace(task, passages=pd.DataFrame(task.passages).assign(text="")))
    unknown = measure_bm25(replace(task, queries=task.queries.assign(text="?!")))
    assert empty.in_language.tolist() == unknown.in_language.tolist() and empty.in_language.any()


def test_thai_and_chinese_are_searched_as_well_as_hindi(real_data):
    # Uncut, their runs of letters give a map of .17 and .09, pairs of characters .77 and .78; Hindi has .74.
    results = results_of(measure_bm25(load_task("xquad-r", languages=["hi", "th", "zh"])), ["map"])
    assert results.groupby("query_language", observed=True).value.mean().min() > 0.7


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't, x_y!", ["don", "t", "x", "y"]),
        ("ﬁne Ⅳ ＡＢ", ["fine", "iv", "ab"]),  # compatible forms
        ("cafe\u0301 CAFÉ", ["café", "café"]),  # composed or not
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs and viramas are marks
        ("한국어 문장", ["한국어", "문장"]),  # Korean has blanks
        ("牛顿在1687年", ["牛顿", "顿在", "1687", "年"]),
        ("ไทย ก", ["ไท", "ทย", "ก"]),
        ("かなカナ", ["かな", "なカ", "カナ"]),
        ("…", []),
    ],
)
def test_texts_are_cut_into_words_or_pairs_of_characters(text, expected):
    assert tokens(text) == expected


@pytest.mark.parametrize("settings", [("cross-lingual",), ("cross-lingual", "multilingual")])
def test_a_task_that_is_not_monolingual_is_refused(settings):
    with pytest.raises(ValueError, match="BM25 needs questions with a passage in their own language"):
        measure_bm25(replace(draw_task(0, 11, 29), settings=settings))
    task = draw_task(0, 11, 29)
    task = replace(task, queries=pd.DataFrame(task.queries).assign(language="fr"))
    with pytest.raises(ValueError, match="BM25 needs questions with a passage in their own language"):
        measure_bm25(task)
