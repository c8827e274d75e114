"""Tests of what is shown as HTML: it is escaped, tells languages and directions, and needs no colours."""

import base64
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from hybridlib.study.explorer import lists
from hybridlib.study.explorer.answers import Asked
from hybridlib.study.explorer.languages import colours_of, direction_of, name_of

FOUND = pd.DataFrame(
    {
        "rank": [1, 2],
        "passage_id": ["a", "b"],
        "language": pd.Categorical(["ar", "en"], ["ar", "en", "sw"]),
        "score": [0.98765, -0.25],
        "relevant": [True, False],
        "text": ["<script>alert(1)</script>", "A & B"],
    }
)


@pytest.fixture
def shown():
    return lists.side_by_side(Asked("fa", 'Is "it" <b>?', 0, "Is <it>?"), {"x-y": FOUND, "<hybrid>": FOUND[1:]}).data


def test_texts_are_escaped_wherever_they_are_from(shown):
    assert "<script>" not in shown and "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "A &amp; B" in shown and "&lt;hybrid&gt;" in shown and "Is &quot;it&quot; &lt;b&gt;?" in shown


def test_each_text_tells_its_language_and_direction(shown):
    assert re.findall(r'lang="(\w+)" dir="(\w+)"', shown) == [
        ("fa", "rtl"), ("en", "ltr"), ("ar", "rtl"), ("en", "ltr"), ("en", "ltr"),
    ]  # fmt: skip


def test_a_star_has_a_text_for_those_who_do_not_see_it(shown):
    assert shown.count('<span role="img" aria-label="relevant"') == 1  # one of three passages is relevant
    assert "<b>x-y</b>: 1 of 2 are relevant" in shown and "0 of 1 are relevant" in shown


def test_a_question_that_is_not_in_english_is_told_in_english_too(shown):
    assert re.search(r'>in English: <span lang="en" [^>]*>Is &lt;it&gt;\?</span>', shown)
    assert "in English" not in lists.side_by_side(Asked("en", "Is it?", 0), {"x-y": FOUND}).data


def test_of_an_own_question_neither_language_nor_relevance_is_claimed():
    shown = lists.side_by_side(Asked("", "Is it?"), {"x-y": FOUND}).data
    assert '<div lang="" dir="auto"' in shown and "are relevant" not in shown


def test_a_word_longer_than_the_window_is_broken(shown):
    assert "overflow-wrap: anywhere" in shown


def test_scores_and_names_of_languages_are_told(shown):
    assert "0.988" in shown and "-0.250" in shown and 'title="Arabic"' in shown


def test_a_language_has_the_same_colour_in_every_list(shown):
    tags = set(re.findall(r'title="English" style="background: (#\w+)', shown))
    assert tags == {colours_of(["ar", "en", "sw"])["en"]}


def test_a_table_that_lacks_a_column_is_refused():
    with pytest.raises(ValueError, match=r"found\['x-y'\].*score"):
        lists.side_by_side(Asked("en", "Is it?"), {"x-y": FOUND.drop(columns="score")})


def test_the_key_names_each_question_in_its_colour_once():
    points = pd.DataFrame({"question": ["b", "a", "b"]})
    shown = lists.question_key(points, {"a": "A?", "b": "<B>?"}, "en").data
    first, second = colours_of(["b", "a"]).values()
    assert re.findall(r"color: (#\w+)\">●", shown) == [first, second]
    assert shown.index("&lt;B&gt;?") < shown.index("A?") and shown.count("<li") == 2


def test_a_figure_becomes_an_image_with_a_text_and_is_closed():
    figure, _ = plt.subplots()
    shown = lists.image(figure, 'from "en" to <sw>')
    assert 'alt="from &quot;en&quot; to &lt;sw&gt;"' in shown
    content = base64.b64decode(re.search(r"base64,([^\"]+)", shown)[1])
    assert content.startswith(b"\x89PNG")
    assert not plt.fignum_exists(figure.number)


@pytest.mark.parametrize(
    ("language", "name", "direction"),
    [("ar", "Arabic", "rtl"), ("he", "Hebrew", "rtl"), ("ur", "Urdu", "rtl"), ("zh-Hant", "Chinese", "ltr"),
     ("yo", "Yoruba", "ltr"), ("xx", "xx", "ltr"), ("not a code", "not a code", "ltr")],
)  # fmt: skip
def test_names_and_directions_of_languages(language, name, direction):
    assert (name_of(language), direction_of(language)) == (name, direction)
