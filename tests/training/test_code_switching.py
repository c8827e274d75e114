"""Tests of lexicons, and of texts in which words are replaced by translations."""

from collections import Counter
from itertools import product

import datasets
import numpy as np
import pandas as pd
import pytest

from hybridlib import load_corpus
from hybridlib.data.atlas.facts import atlas_names
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.training.code_switching import _WORD, code_switch, lexicon


def corpus_of(**texts: list[tuple[str, str]]) -> ParallelCorpus:
    """Make a corpus of a question and a passage of every item, by language; both are empty where an item is missing."""
    rows = [
        {"item": f"i{n}", "language": code, "query": query, "passage": passage, "passage_group": n}
        for code, pairs in texts.items()
        for n, (query, passage) in enumerate(pairs)
        if passage
    ]
    return ParallelCorpus.from_frame(pd.DataFrame(rows).assign(domain="none", dataset="tiny"), list(texts))


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
    """Count the texts of every pair of words, and link the strongest first. This is the slow oracle of `lexicon`."""

    def places(some: list[str]) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for n, text in enumerate(some):
            for word in _WORD.findall(text.lower()):
                found.setdefault(word, set()).add(n)
        return found

    scored = []
    for (word, one), (translation, other) in product(places(texts).items(), places(others).items()):
        dice = 2 * len(one & other) / (len(one) + len(other))
        if len(one & other) >= 2 and dice >= least:
            scored.append((word, translation, round(dice, 12)))
    linked: set[tuple[str, str, float]] = set()
    for pair in sorted(scored, key=lambda pair: -pair[2]):  # stable: ties stay in the order of the words
        if not any(pair[0] == word or pair[1] == translation for word, translation, _ in linked):
            linked.add(pair)
    return linked


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("least", [0.3, 0.6, 1.0])
def test_the_lexicon_is_what_counting_every_pair_of_words_gives(seed, least):
    generator = np.random.default_rng(seed)

    def pairs(letters: str) -> list[tuple[str, str]]:
        # Each word is in some texts and not in others, so words of both languages meet in some.
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
    # "money" is in 3 texts, and "geld" is in 2 of these: 2 * 2 / (3 + 2) = 0.8. "a" and "b" meet only once.
    english = [("money", "money"), ("a", "money")]
    german = [("geld", "geld"), ("b", "c")]
    table = lexicon(corpus_of(en=english, de=german))
    assert table.to_dict("records") == [{"word": "money", "language": "de", "translation": "geld", "dice": 0.8}]
    assert lexicon(corpus_of(en=english, de=german), least_dice=0.81).empty


@pytest.mark.parametrize(
    ("texts", "source", "translations"),
    [
        pytest.param(
            {"en": [("Malawian Kwacha", "the Malawian Kwacha")], "de": [("Malawi Kwacha?", "der Malawi Kwacha")]},
            "en",
            {("malawian", "de"): "malawi", ("kwacha", "de"): "kwacha", ("the", "de"): "der"},
            id="words that always come together are linked in their order",
        ),
        pytest.param(
            {"en": [("money", "money")], "de": [("Geld", "Geld")], "sw": [("fedha", "fedha")]},
            "sw",
            {("fedha", "en"): "money", ("fedha", "de"): "geld"},
            id="from another language than English",
        ),
        pytest.param(
            {"en": [("Ireland", "Ireland")], "tr": [("İrlanda", "İrlanda")]},
            "en",
            {("ireland", "tr"): "irlanda"},
            id="the dotted capital I leaves no dot behind",
        ),
        pytest.param(
            {"en": [("money", "money"), ("", "")], "de": [("", ""), ("Geld", "Geld")]}, "en", {}, id="no item is shared"
        ),
    ],
)
def test_the_lexicon_holds_the_translations_of_small_corpora(texts, source, translations):
    table = lexicon(corpus_of(**{code: pairs * 2 for code, pairs in texts.items()}), source=source)
    assert {(row.word, row.language): row.translation for row in table.itertuples()} == translations


def test_names_of_the_embedded_corpus_are_translated_as_unicode_does(atlas):
    found = lexicon(atlas).set_index(["word", "language"]).translation.to_dict()
    assert [found["kenya", code] for code in ("de", "ja", "hi", "ar")] == ["kenia", "ケニア", "केन्या", "كينيا"]
    assert [found["nairobi", code] for code in ("ru", "ko")] == ["найроби", "나이로비"]
    assert [found["dollar", code] for code in ("es", "sw", "te")] == ["dólar", "dola", "డాలర్"]
    # These are the names of one word in both languages. Most wrong translations are inflected, such as the Korean "of
    # Zambia".
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


def test_items_their_groups_their_capitals_and_words_without_a_translation_stay():
    english = [("One Money", "one"), ("", ""), ("two money", "two"), ("three money", "three")]
    german = [("ein Geld", "ein"), ("nur Geld", "deutsch"), ("zwei Geld", "zwei"), ("", "")]
    switched = code_switch(corpus_of(en=english, de=german), share=1.0)
    assert switched.languages == ("en",)
    assert switched.table["query"] == ["Ein Geld", "zwei geld", "three geld"]
    assert switched.table["passage"] == ["ein", "zwei", "three"]  # "three" exists in English only
    assert switched.table["passage_group"] == [0, 1, 2]
    nothing_shared = corpus_of(en=[("money", "money"), ("", "")], de=[("", ""), ("Geld", "Geld")])
    assert code_switch(nothing_shared, share=1.0).table["query"] == ["money"]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_is_the_probability_that_a_word_is_replaced_and_languages_are_drawn_evenly(share):
    text = " ".join(["money"] * 1000)
    corpus = corpus_of(en=[(text, text)] * 2, de=[("geld", "geld")] * 2, sw=[("fedha", "fedha")] * 2)
    table = code_switch(corpus, share=share).table
    words = Counter(word for column in ("query", "passage") for one in table[column] for word in one.split())
    assert set(words) <= {"money", "geld", "fedha"}
    # The bound is four standard deviations of 4,000 draws, sqrt(4000 p (1 - p)). It is exact at 0 and 1.
    assert abs(words["money"] - 4000 * (1 - share)) <= 4 * (4000 * share * (1 - share)) ** 0.5
    assert abs(words["geld"] - words["fedha"]) <= 4 * (4000 * share) ** 0.5


# Refusals


@pytest.mark.parametrize(
    ("make", "languages", "options", "message"),
    [
        (code_switch, ["en", "de"], {"share": -0.1}, "share is -0.1; allowed: greater than or equal to 0"),
        (code_switch, ["en", "de"], {"share": 1.1}, "share is 1.1; allowed: less than or equal to 1"),
        (code_switch, ["en", "de"], {"share": float("nan")}, "share is nan; allowed: "),
        (code_switch, ["en", "de"], {"seed": None}, "seed is None; allowed: a whole number"),
        (code_switch, ["en", "de"], {"seed": 1.5}, "seed is 1.5; allowed: a whole number"),
        (code_switch, ["en", "de"], {"seed": -1}, "seed is -1; allowed: greater than or equal to 0"),
        (lexicon, ["en", "de"], {"source": 3}, "source is 3; allowed: a text"),
        (code_switch, ["de", "sw"], {}, "source is 'en'; the corpus has de, sw"),
        (code_switch, ["en"], {}, "the corpus has en alone; a lexicon needs another language to translate into"),
        (lexicon, ["en", "de"], {"least_dice": -0.5}, "least_dice is -0.5; allowed: greater than or equal to 0"),
        (lexicon, ["en", "de"], {"least_dice": 1.5}, "least_dice is 1.5; allowed: less than or equal to 1"),
    ],
)
def test_what_cannot_be_translated_or_switched_is_refused(make, languages, options, message):
    with pytest.raises(ValueError, match=message):
        make(corpus_of(**{code: [("a", "b")] for code in languages}), **options)


@pytest.mark.parametrize("make", [code_switch, lexicon])
@pytest.mark.parametrize("corpus", ["atlas", None, pd.DataFrame({"item": [1]})])
def test_what_is_no_corpus_is_refused(make, corpus):
    with pytest.raises(
        ValueError, match=r"^corpus is .*; allowed: an instance of ParallelCorpus, as made by load_corpus"
    ):
        make(corpus)


def test_an_item_that_is_null_in_a_table_is_missing_like_an_empty_one():
    pairs = [("money", "money"), ("one", "one"), ("money", "money")]
    german = [("geld", "geld"), ("eins", "eins"), ("geld", "geld")]
    whole = corpus_of(en=pairs, de=german)
    texts = {
        name: [text if n != 2 else None for n, text in enumerate(whole.table[name])] for name in ("query", "passage")
    }
    frame = whole.table.to_pandas().astype({"query": object, "passage": object}).assign(**texts)
    corpus = ParallelCorpus(datasets.Dataset.from_pandas(frame))
    assert corpus.table["query"][2] is None  # the English of the second item
    switched = code_switch(corpus, share=1.0).table
    assert switched["query"] == switched["passage"] == ["geld", "geld"]
    assert switched.to_dict() == code_switch(corpus, share=np.float32(1), seed=np.int64(0)).table.to_dict()
