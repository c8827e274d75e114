"""Tests of the embedded corpus: facts are true, texts are well formed, and questions give nothing away."""

import hashlib
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from string import Formatter

import numpy as np
import pandas as pd
import pytest
import yaml
from babel import Locale
from babel.core import get_global
from babel.dates import get_timezone_location
from babel.languages import get_official_languages, get_territory_language_info
from babel.numbers import get_territory_currencies

import hybridlib.data.atlas.facts as atlas
from hybridlib.data.atlas.facts import (
    DOMAINS,
    LANGUAGES,
    SPLITS,
    atlas_facts,
    atlas_names,
    atlas_paraphrases,
    atlas_texts,
)

FRAMES = Path(atlas.__file__).parent / "frames"
# Questions and passages of a relation may share these and nothing else. They are function words, cut to what `pieces`
# compares, and a few words that only begin alike (النا, auto, esta, tien, comm, wana, and all of the Thai ones).
SHARED = {
    "ar": "النا بهذه على في من هذا",
    "bn": "এই বা",
    "de": "auf der die dies in und",
    "el": "ή η και οι στο τα τησ τουσ",
    "en": "a and in is of the this to whic",
    "es": "auto con de el en esta la los se tien y",
    "fa": "است این به در را می ها و",
    "fi": "ja on tai täll",
    "fr": "comm dans de du en et l la le les se",
    "hi": "इस और का के को में या है हैं",
    "id": "dan di ini",
    "ja": "して てい では",
    "ko": "의",
    "ru": "в и на",
    "sw": "kwa na ni wa wana ya za",
    "te": "అని ఈ",
    "th": "งของ ที่ส นที่ นประ",
    "tr": "ve veya",
    "vi": "bằng có là ra theo và",
    "yo": "ló máa ni ní ti tó àti àwọn ń",
    "zh": "",
}


@pytest.fixture(scope="module")
def facts() -> pd.DataFrame:
    return atlas_facts()


@pytest.fixture(scope="module")
def texts(facts: pd.DataFrame) -> pd.DataFrame:
    """Write the texts of all facts, with the names that they are about."""
    table, names = atlas_texts(facts).merge(facts, on="fact"), atlas_names().stack()
    for column in ("entity", "answer"):
        table[f"{column}_name"] = names.loc[pd.MultiIndex.from_frame(table[[column, "language"]])].to_numpy()
    return table


def frames(language: str) -> dict[str, dict[str, list[str]]]:
    return yaml.safe_load((FRAMES / f"{language}.yaml").read_text(encoding="utf-8"))


def numbers_of_frames(texts: pd.DataFrame, kind: str) -> list[int]:
    """Find which frame each text is; a text that is no frame, filled in with its names, is an error."""
    tables, column = {code: frames(code) for code in LANGUAGES}, {"questions": "query", "passages": "passage"}[kind]
    numbers = []
    for row in texts.itertuples():
        slots = {"entity": row.entity_name, "answer": row.answer_name}
        filled = [frame.format(**slots) for frame in tables[row.language][row.relation][kind]]
        numbers.append(filled.index(getattr(row, column)))
    return numbers


def near(count: int | pd.Series, draws: int, share: float) -> bool:
    """Tell whether counts are within four standard deviations of the binomial distribution."""
    return bool(np.all(abs(count - draws * share) < 4 * (draws * share * (1 - share)) ** 0.5))


def hidden(text: str) -> set[str]:
    """Collect the invisible characters, except the joiner in the spelling of Bengali, Persian and Telugu."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn")} - {"\u200c"}


def words(text: str) -> list[str]:
    """Find runs of letters and their marks."""
    return "".join(c if unicodedata.category(c)[0] in "LM" else " " for c in text.casefold()).split()


def pieces(text: str, language: str) -> set[str]:
    """Collect what is compared: the first four letters of words (two syllables in Korean), or runs of characters."""
    size = {"zh": 2, "ja": 2, "th": 4}.get(language)
    if size is None:
        return {word[: 2 if language == "ko" else 4] for word in words(text)}
    return {word[i : i + size] for word in words(text) for i in range(len(word) - size + 1)}


def without(text: str, *names: str) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, " ")
    return text


# --- size and shape


def test_there_are_21_languages_four_domains_and_a_thousand_facts(facts):
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 21
    assert set(facts.relation) == set(DOMAINS)
    assert len(set(facts.domain)) >= 4
    assert len(facts) >= 1000
    assert facts.domain.tolist() == [DOMAINS[relation] for relation in facts.relation]
    assert facts.fact.is_unique


def test_every_fact_has_a_question_and_a_passage_of_its_own_in_every_language_fact_by_fact(facts, texts):
    assert texts.fact.tolist() == [fact for fact in facts.fact for _ in LANGUAGES]
    assert texts.language.tolist() == list(LANGUAGES) * len(facts)
    assert (texts[["query", "passage"]] != "").all(axis=None)
    assert not texts.duplicated(["language", "query"]).any() and not texts.duplicated(["language", "passage"]).any()


# --- reproducibility


def test_a_fresh_process_with_another_hash_seed_gives_the_same_bytes():
    # The module is loaded by its path: importing the package would load PyTorch, which takes seconds.
    program = f"""
import hashlib, importlib.util
spec = importlib.util.spec_from_file_location("atlas", {str(Path(atlas.__file__))!r})
atlas = importlib.util.module_from_spec(spec)
spec.loader.exec_module(atlas)
table = atlas.atlas_facts(3)
print(hashlib.sha256((table.to_csv() + atlas.atlas_texts(table, 3).to_csv()).encode()).hexdigest())
"""
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    table = atlas_facts(3)
    expected = hashlib.sha256((table.to_csv() + atlas_texts(table, 3).to_csv()).encode()).hexdigest()
    assert done.stdout.strip() == expected


def test_the_seed_chooses_the_split_and_the_frames_but_not_the_facts(facts, texts):
    other = atlas_facts(1)
    pd.testing.assert_frame_equal(other.drop(columns="split"), facts.drop(columns="split"))
    assert (other.split != facts.split).any()
    assert (atlas_texts(facts, 1)["query"] != texts["query"]).any()


def test_changing_what_atlas_names_returned_changes_nothing():
    mine = atlas_names()
    mine.loc["territory:KE", "en"] = "Nowhere"
    assert atlas_names().loc["territory:KE", "en"] == "Kenya"


# --- truth


def test_what_everybody_knows_is_among_the_facts(facts):
    known = {
        "territory.currency/territory:KE": "currency:KES",
        "territory.currency/territory:AT": "currency:EUR",
        "city.currency/city:Africa/Nairobi": "currency:KES",
        "city.currency/city:Asia/Tokyo": "currency:JPY",
        "territory.language/territory:KE": "language:sw",
        "territory.language/territory:BR": "language:pt",
        "language.territory/language:am": "territory:ET",
        "city.territory/city:Africa/Nairobi": "territory:KE",
        "city.territory/city:Europe/Athens": "territory:GR",
        "language.script/language:am": "script:Ethi",
        "language.script/language:kk": "script:Cyrl",
        "language.script/language:sw": "script:Latn",
    }
    assert facts.set_index("fact").answer[list(known)].to_dict() == known
    assert (facts.fact == facts.relation + "/" + facts.entity).all()


def test_facts_are_what_babel_says(facts):
    zones, likely = get_global("zone_territories"), get_global("likely_subtags")
    for relation, entity, answer in facts[["relation", "entity", "answer"]].itertuples(index=False):
        entity, answer = entity.partition(":")[2], answer.partition(":")[2]
        territory = zones[entity] if relation.startswith("city.") else entity
        if relation in ("territory.currency", "city.currency"):
            assert get_territory_currencies(territory) == [answer], (relation, entity)
        elif relation == "territory.language":
            assert answer in get_official_languages(territory, de_facto=True), entity
        elif relation == "city.territory":
            assert answer == territory, entity
        else:
            place = {"language.script": 1, "language.territory": 2}[relation]
            assert answer == likely[entity].split("_")[place], (relation, entity)


def test_the_language_of_a_territory_is_spoken_by_more_people_than_every_other_official_one(facts):
    stated = dict(facts[facts.relation == "territory.language"][["entity", "answer"]].itertuples(index=False))
    for entity, answer in stated.items():
        territory = entity.partition(":")[2]
        information = get_territory_language_info(territory)
        share = {
            code: information[code]["population_percent"] for code in get_official_languages(territory, de_facto=True)
        }
        own = share.pop(answer.partition(":")[2])
        assert all(own > other for other in share.values()), territory
    # CLDR says that as many people speak English as Arabic in the Sudan.
    assert "territory:SD" not in stated
    assert "territory:KE" in stated


def test_names_are_what_babel_says():
    names = atlas_names()
    assert set(names.index.str.partition(":").get_level_values(0)) == {
        *["territory", "city", "language", "currency", "script"]
    }
    for language in LANGUAGES:
        locale = Locale.parse(language)
        for key, name in names[language].items():
            kind, _, code = str(key).partition(":")
            if kind == "city":  # Babel reads it from the zone where CLDR does not name it; soft hyphens are left out
                known = get_timezone_location(code, locale=locale, return_city=True).replace("\u00ad", "")
            else:
                plural = {"territory": "territories", "currency": "currencies"}.get(kind, f"{kind}s")
                known = getattr(locale, plural)[code]
            assert name == known, (language, key)


def test_a_territory_has_at_most_eight_cities(facts):
    cities = facts[facts.relation == "city.territory"].answer.value_counts()
    # CLDR has 12 zones with a city in Canada and more than 20 in Russia.
    assert cities.max() == 8


# --- names


def test_no_two_entities_are_called_alike_in_any_language(facts):
    entities = atlas_names().loc[facts.entity.unique()]
    for language in LANGUAGES:
        assert entities[language].str.casefold().is_unique, language


def test_names_exist_in_all_languages_and_hold_no_stray_characters():
    names = atlas_names()
    assert list(names.columns) == list(LANGUAGES)
    assert names.index.is_unique
    for language in LANGUAGES:
        for name in names[language]:
            assert isinstance(name, str)
            assert name and name == name.strip() and not re.search(r"[{}]|\s\s", name), (language, name)
            assert not hidden(name), (language, name)


# --- splits


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_entity_and_relation_of_a_held_out_fact_occur_in_training_but_never_together(seed):
    table = atlas_facts(seed)
    training = table[table.split == "train"]
    held_out = table[table.split != "train"]
    assert set(table.split) == set(SPLITS)
    assert set(held_out.entity) <= set(training.entity)
    assert set(held_out.relation) <= set(training.relation)
    seen = set(zip(training.relation, training.entity, strict=True))
    assert not seen & set(zip(held_out.relation, held_out.entity, strict=True))
    # An entity gives a fact to one held-out split only, so validation tells nothing about the entities of the test.
    assert held_out.entity.is_unique


def test_held_out_splits_have_their_shares(facts):
    # Each entity with two facts gives one to the test split with probability 0.4 and to validation with 0.15.
    pairs = (facts.entity.value_counts() == 2).sum()
    assert near((facts.split == "test").sum(), pairs, 0.4)
    assert near((facts.split == "validation").sum(), pairs, 0.15)


# --- frames


def test_there_is_a_file_of_frames_for_every_language_and_no_other():
    assert sorted(path.stem for path in FRAMES.glob("*.yaml")) == list(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_frames_have_all_relations_several_of_each_kind_and_the_right_slots(language):
    table = frames(language)
    assert set(table) == set(DOMAINS)
    every = [frame for kinds in table.values() for kind in kinds.values() for frame in kind]
    assert len(set(every)) == len(every)
    for relation, kinds in table.items():
        assert list(kinds) == ["questions", "passages"]
        for kind, slots in {"questions": ["entity"], "passages": ["answer", "entity"]}.items():
            assert len(kinds[kind]) >= 3, (relation, kind)
            for frame in kinds[kind]:
                found = [name for _, name, *_ in Formatter().parse(frame) if name is not None]
                assert sorted(found) == slots, frame
                assert frame == frame.strip() and not re.search(r"\s\s", frame) and not hidden(frame), frame


@pytest.mark.parametrize("language", LANGUAGES)
def test_question_and_passage_frames_of_a_relation_share_function_words_only(language):
    for relation, kinds in frames(language).items():
        question, passage = (
            {piece for frame in kinds[kind] for piece in pieces(re.sub(r"\{\w+\}", " ", frame), language)}
            for kind in ("questions", "passages")
        )
        assert question & passage <= set(SHARED[language].split()), relation


# --- texts


def test_texts_are_frames_filled_in_and_every_text_is_drawn_apart(texts):
    numbers = {kind: numbers_of_frames(texts, kind) for kind in ("questions", "passages")}
    table = texts[["fact", "language"]].assign(**numbers).pivot(index="fact", columns="language")
    # The frames of two texts of a fact are independent, so each of the nine combinations has one fact in nine.
    en, th, passage = ("questions", "en"), ("questions", "th"), ("passages", "en")
    for pair in ([en, th], [en, passage], [th, passage]):
        counts = table.value_counts(pair)
        assert len(counts) == 9 and near(counts, len(table), 1 / 9)


def test_no_question_contains_the_name_of_its_answer_unless_the_name_of_its_entity_does(texts):
    for row in texts[["language", "query", "entity_name", "answer_name"]].itertuples(index=False):
        question = without(row.query, row.entity_name).casefold()
        pattern = re.escape(row.answer_name.casefold())
        if row.language not in ("zh", "ja", "th"):  # elsewhere whole words count: Yi (Γι) is in για
            pattern = rf"(?<!\w){pattern}(?!\w)"
        assert not re.search(pattern, question), row


def test_questions_and_passages_share_little_beyond_the_entity(texts):
    # This is the mean share of a question's pieces that its passage holds, too. It is 0 (Chinese) to 0.10 (Persian),
    # all of it function words; the bound is a fifth above. If all frames of one relation of six had a content word
    # in common, questions of seven words would add 1 / 42; the test of frames names such a word.
    for language, of_language in texts.groupby("language"):
        shares = []
        for row in of_language.iloc[::3].itertuples():
            question = pieces(without(row.query, row.entity_name), language)
            passage = pieces(without(row.passage, row.entity_name, row.answer_name), language)
            shares.append(len(question & passage) / len(question))
        assert sum(shares) / len(shares) < 0.12, language


# --- paraphrases


@pytest.fixture(scope="module")
def paraphrases(facts: pd.DataFrame) -> pd.DataFrame:
    return atlas_paraphrases(facts)


def test_every_fact_is_told_in_one_to_three_ways_in_every_language(facts, paraphrases):
    ways = paraphrases.groupby(["fact", "language"], sort=False).number.agg(list)
    assert ways.index.tolist() == [(fact, code) for fact in facts.fact for code in LANGUAGES]
    assert paraphrases.index.tolist() == list(range(len(paraphrases)))
    assert {tuple(numbers) for numbers in ways} == {(0,), (0, 1), (0, 1, 2)}
    # A third of the cases each are told in one, two and three ways.
    assert near(ways.map(len).value_counts(), len(ways), 1 / 3)
    # The number is drawn for each language apart. All 21 draws of a fact are equal with probability 3 / 3^21.
    assert (ways.map(len).groupby("fact").nunique() > 1).all()


def test_the_ways_to_tell_a_fact_are_different_frames_filled_in_with_its_names(texts, paraphrases):
    names = texts[["fact", "language", "relation", "entity_name", "answer_name"]]
    told = paraphrases.merge(names, on=["fact", "language"], validate="many_to_one")
    told["frame"] = numbers_of_frames(told, "passages")
    assert not told.duplicated(["fact", "language", "frame"]).any()
    firsts = told[told.number == 0].frame.value_counts()
    assert set(firsts.index) == {0, 1, 2} and near(firsts, firsts.sum(), 1 / 3)


def test_paraphrases_depend_on_the_seed_and_not_on_the_split(facts, paraphrases):
    pd.testing.assert_frame_equal(atlas_paraphrases(facts.assign(split="train")), paraphrases)
    sizes = [table.groupby(["fact", "language"]).size() for table in (atlas_paraphrases(facts, 1), paraphrases)]
    # The numbers of ways under two seeds are independent, so they are equal in a third of the cases.
    assert near((sizes[0] == sizes[1]).sum(), len(sizes[0]), 1 / 3)
