"""Lexicons hold translations, and switched texts are the old ones but for words that were translated."""

import re
from collections import Counter
from itertools import product

import numpy as np
import pandas as pd
import pytest

from hybridlib import load_corpus
from hybridlib.data.atlas.facts import atlas_names
from hybridlib.data.code_switching import _WORD, code_switch, lexicon
from hybridlib.data.corpus import ParallelCorpus


def corpus_of(**texts: list[tuple[str, str]]) -> ParallelCorpus:
    """A corpus of question and passage of every item, language by language; empty where an item is missing."""
    rows = [
        {"item": f"i{n}", "language": code, "query": query, "passage": passage, "passage_group": n}
        for code, pairs in texts.items()
        for n, (query, passage) in enumerate(pairs)
        if passage
    ]
    return ParallelCorpus.from_frame(pd.DataFrame(rows).assign(domain="none", dataset="tiny"), list(texts))


def translations(corpus: ParallelCorpus, **options) -> dict[tuple[str, str], str]:
    table = lexicon(corpus, **options)
    return {(row.word, row.language): row.translation for row in table.itertuples()}


@pytest.fixture(scope="module")
def atlas() -> ParallelCorpus:
    return load_corpus("atlas")


# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Côte d'Ivoire – (CFA)? x2", ["Côte", "d", "Ivoire", "CFA", "x2"]),
        ("हिन्दी। किस मुद्रा", ["हिन्दी", "किस", "मुद्रा"]),  # vowel signs and the virama are within words
        ("قره‌چایی، کنیا؟", ["قره‌چایی", "کنیا"]),  # so is the zero-width non-joiner
        ("ケニアの首都：ナイロビ", ["ケニア", "の", "首都", "ナイロビ"]),  # a word ends with its script
        ("ニュー・ヨーク", ["ニュー", "ヨーク"]),
        ("目的地：爱尔兰。人々", ["目的地", "爱尔兰", "人々"]),
        ("ไอร์แลนด์: ยูโร", ["ไอร์แลนด์", "ยูโร"]),
        ("", []),
    ],
)
def test_words_are_runs_of_a_script_between_spaces_and_punctuation(text, words):
    assert _WORD.findall(text) == words


# The lexicon


def lexicon_by_counting(texts: list[str], others: list[str], least: float) -> set[tuple[str, str, float]]:
    """The oracle: every word against every other, in sets of texts; then the strongest first."""

    def places(some: list[str]) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for n, text in enumerate(some):
            for word in _WORD.findall(text.lower()):
                found.setdefault(word, set()).add(n)
        return found

    one, other = places(texts), places(others)
    order, other_order = list(one), list(other)
    scored = []
    for w, v in product(one, other):
        both = len(one[w] & other[v])
        dice = 2 * both / (len(one[w]) + len(other[v]))
        if both >= 2 and dice >= least:
            scored.append((-dice, order.index(w), other_order.index(v)))
    linked: set[tuple[str, str, float]] = set()
    for score, w, v in sorted(scored):
        if not any(order[w] == x or other_order[v] == y for x, y, _ in linked):
            linked.add((order[w], other_order[v], round(-score, 12)))
    return linked


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("least", [0.3, 0.6, 1.0])
def test_the_lexicon_is_what_counting_every_pair_of_words_gives(seed, least):
    generator = np.random.default_rng(seed)

    def pairs(letters: str) -> list[tuple[str, str]]:
        # A word is missing or there by the item, so words of both languages meet in some texts.
        texts = [[" ".join(w for w in letters if generator.random() < 0.4) or "x" for _ in range(2)] for _ in range(13)]
        return [(question, passage) for question, passage in texts]

    english, german = pairs("abcdef"), pairs("uvwyz")
    english[7], german[3] = ("", ""), ("", "")  # an item that lacks either language tells nothing
    ours = lexicon(corpus_of(en=english, de=german), least_dice=least)
    shared = [n for n in range(13) if n not in (3, 7)]
    expected = lexicon_by_counting(*([text for n in shared for text in side[n]] for side in (english, german)), least)
    assert {(r.word, r.translation, round(r.dice, 12)) for r in ours.itertuples()} == expected
    assert len(ours) == len(expected) and set(ours.language) <= {"de"}
    if least == 0.3:
        assert expected


def test_a_word_and_its_translation_are_associated_by_the_dice_coefficient():
    # "money" is in 3 texts, "geld" in 2 of these: 2 * 2 / (3 + 2). "a" and "b" meet once, which is not enough.
    english = [("money", "money"), ("a", "money")]
    german = [("geld", "geld"), ("b", "c")]
    table = lexicon(corpus_of(en=english, de=german))
    assert table.to_dict("records") == [{"word": "money", "language": "de", "translation": "geld", "dice": 0.8}]
    assert lexicon(corpus_of(en=english, de=german), least_dice=0.81).empty


def test_words_that_always_come_together_are_linked_in_their_order():
    english = [("Malawian Kwacha", "the Malawian Kwacha")] * 2
    german = [("Malawi Kwacha?", "der Malawi Kwacha")] * 2
    assert translations(corpus_of(en=english, de=german)) == {
        ("malawian", "de"): "malawi",
        ("kwacha", "de"): "kwacha",
        ("the", "de"): "der",
    }


def test_the_lexicon_translates_from_another_language_too():
    pairs = {"en": [("money", "money")] * 2, "de": [("Geld", "Geld")] * 2, "sw": [("fedha", "fedha")] * 2}
    assert translations(corpus_of(**pairs), source="sw") == {("fedha", "en"): "money", ("fedha", "de"): "geld"}


def test_the_dotted_capital_i_of_turkish_leaves_no_dot_behind():
    pairs = {"en": [("Ireland", "Ireland")] * 2, "tr": [("İrlanda", "İrlanda")] * 2}
    assert translations(corpus_of(**pairs)) == {("ireland", "tr"): "irlanda"}


def test_names_of_the_embedded_corpus_are_translated_as_unicode_does(atlas):
    found = translations(atlas)
    assert [found["kenya", code] for code in ("de", "ja", "hi", "ar")] == ["kenia", "ケニア", "केन्या", "كينيا"]
    assert [found["nairobi", code] for code in ("ru", "ko")] == ["найроби", "나이로비"]
    assert [found["dollar", code] for code in ("es", "sw", "te")] == ["dólar", "dola", "డాలర్"]
    # Names of one word in both languages. What else is found is mostly inflected, such as the Korean "of Zambia".
    right = [
        found[english.lower(), code] == name.lower()
        for row in atlas_names().to_dict("records")
        for english, (code, name) in product([row["en"]], row.items())
        if (english.lower(), code) in found and len(_WORD.findall(name)) == len(_WORD.findall(english)) == 1
    ]
    assert len(right) > 7000
    assert np.mean(right) > 0.95


# Switched texts


def test_words_are_replaced_by_translations_and_all_else_stays(atlas):
    switched = code_switch(atlas, seed=1).table
    english = atlas.table.filter(lambda row: row["language"] == "en" and row["passage"])
    allowed = lexicon(atlas).groupby("word").translation.agg(set)
    assert switched["language"] == ["en"] * len(english)
    replaced = 0
    for column in ("query", "passage"):
        changed = 0
        for old, new in zip(english[column], switched[column], strict=True):
            assert _WORD.split(old) == _WORD.split(new)  # spaces and punctuation
            for word, other in zip(_WORD.findall(old), _WORD.findall(new), strict=True):
                if word != other:
                    assert other.lower().replace("i̇", "i") in allowed[word.lower()]
                    assert word[0].isupper() == other[0].isupper() or not other[0].islower()
                    changed += 1
        assert changed > len(english)  # in questions and in passages alike
        replaced += changed
    assert code_switch(atlas, seed=1).table.to_dict() == switched.to_dict()
    assert list(code_switch(atlas, seed=2).table["passage"]) != list(switched["passage"])


def test_the_items_and_their_groups_stay():
    english = [("one money", "one"), ("", ""), ("two money", "two"), ("three money", "three")]
    german = [("ein Geld", "ein"), ("nur Geld", "deutsch"), ("zwei Geld", "zwei"), ("", "")]
    switched = code_switch(corpus_of(en=english, de=german), share=1.0)
    assert switched.languages == ("en",)
    assert switched.table["query"] == ["ein geld", "zwei geld", "three geld"]
    assert switched.table["passage"] == ["ein", "zwei", "three"]  # "three" exists in English only, so it stays
    assert switched.table["passage_group"] == [0, 1, 2]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_is_the_probability_that_a_word_is_replaced_and_languages_are_drawn_evenly(share):
    text = " ".join(["money"] * 1000)
    corpus = corpus_of(en=[(text, text)] * 2, de=[("geld", "geld")] * 2, sw=[("fedha", "fedha")] * 2)
    table = code_switch(corpus, share=share).table
    words = Counter(word for column in ("query", "passage") for one in table[column] for word in one.split())
    assert set(words) <= {"money", "geld", "fedha"}
    # 4,000 words: within four standard deviations, sqrt(4000 p (1 - p)); exact at 0 and 1.
    assert abs(words["money"] - 4000 * (1 - share)) <= 4 * (4000 * share * (1 - share)) ** 0.5
    assert abs(words["geld"] - words["fedha"]) <= 4 * (4000 * share) ** 0.5


def test_a_capital_stays_a_capital():
    corpus = corpus_of(en=[("Money", "money")] * 2, de=[("Geld", "geld")] * 2)
    table = code_switch(corpus, share=1.0).table
    assert table["query"] == ["Geld"] * 2 and table["passage"] == ["geld"] * 2


def test_what_has_no_translation_stays_and_a_language_that_shares_no_item_has_none():
    corpus = corpus_of(en=[("money", "money"), ("", "")], de=[("", ""), ("Geld", "Geld")])
    assert lexicon(corpus).empty
    assert list(code_switch(corpus, share=1.0).table["query"]) == ["money"]


# Refusals


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_no_probability_is_refused(share):
    with pytest.raises(ValueError, match=rf"share is {share}; allowed: 0 to 1"):
        code_switch(corpus_of(en=[("a", "b")], de=[("c", "d")]), share=share)


def test_a_corpus_without_english_is_refused():
    with pytest.raises(ValueError, match="source is 'en'; the corpus has de, sw"):
        code_switch(corpus_of(de=[("a", "b")], sw=[("c", "d")]))


def test_a_corpus_of_english_alone_is_refused():
    message = "the corpus has en alone; a lexicon needs another language to translate into"
    with pytest.raises(ValueError, match=re.escape(message)):
        code_switch(corpus_of(en=[("a", "b")]))


@pytest.mark.parametrize("least", [-0.5, 1.5])
def test_an_association_out_of_range_is_refused(least):
    with pytest.raises(ValueError, match=f"least_dice is {least}; allowed: 0 to 1"):
        lexicon(corpus_of(en=[("a", "b")], de=[("c", "d")]), least_dice=least)
