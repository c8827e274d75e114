"""Tests of the words that are spelled once, and of the names that the package hands out at their first use."""

import subprocess
import sys
from pathlib import Path

import pytest
from babel import Locale

import hybridlib as hl
from hybridlib import names
from hybridlib.names import FAMILIES, LANGUAGES, same_script, script

# These languages are likely not in Latin script (ISO 15924).
SCRIPTS = {
    "ar": "Arab", "bn": "Beng", "el": "Grek", "fa": "Arab", "hi": "Deva", "ja": "Jpan", "ko": "Kore", "ru": "Cyrl",
    "te": "Telu", "th": "Thai", "zh": "Hans", "zh_Hant": "Hant",
}  # fmt: skip


def test_related_languages_share_a_family():
    assert all(FAMILIES.values())
    assert FAMILIES["de"] == FAMILIES["en"] != FAMILIES["fi"]
    assert FAMILIES["es"] == FAMILIES["fr"]
    assert FAMILIES["bn"] == FAMILIES["hi"] != FAMILIES["te"]
    assert FAMILIES["sw"] == FAMILIES["yo"]
    assert FAMILIES["ar"] != FAMILIES["fa"]


def test_languages_are_codes_that_cldr_knows_each_once_in_order():
    assert len(LANGUAGES) == 21 and list(LANGUAGES) == sorted(set(LANGUAGES))
    english = Locale.parse("en").languages
    assert all(code in english for code in LANGUAGES)


@pytest.mark.parametrize("language", [*LANGUAGES, "zh_Hant"])
def test_every_language_has_the_script_it_is_written_in_or_that_its_code_names(language):
    assert script(language) == SCRIPTS.get(language, "Latn")


def test_a_language_that_cldr_does_not_know_shares_its_script_with_none():
    assert [script(code) for code in ("xx", "all", "", "zz-Klingon")] == ["Zzzz"] * 4
    assert [script(code) for code in ("zh-Hant", "zh-TW", "sr-Latn", "de-CH")] == ["Hant", "Hant", "Latn", "Latn"]
    assert same_script("de", "tr") and not same_script("de", "ru")
    assert not same_script("xx", "yy") and not same_script("xx", "xx")


def test_no_word_is_listed_twice():
    for words in (names.STATIC_ENCODERS, names.STRATEGIES, names.SETTINGS):
        assert len(set(words)) == len(words)


# Names that the package hands out

STUB = Path(hl.__file__).with_suffix(".pyi").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", hl.__all__)
def test_every_name_of_the_package_is_that_of_its_module(name):
    value = getattr(hl, name)
    assert value.__name__ == name and f"from .{value.__module__[10:]} import {name} as {name}\n" in STUB
    assert getattr(hl, name) is value


def test_the_names_of_the_package_are_listed_in_order():
    assert hl.__all__ == sorted(set(hl.__all__))
    assert dir(hl) == hl.__all__ and len(hl.__all__) == 25


@pytest.mark.parametrize("name", ["nothing", "Fine_tune", "_hidden"])
def test_a_name_that_there_is_not_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"hybridlib.*{name}"):
        getattr(hl, name)
    assert not hasattr(hl, name)


LIGHT = """
import sys
import hybridlib, hybridlib.study.questions
from hybridlib.study.cli.main import main
assert dir(hybridlib)
assert main(["data", "info"]) == 0
heavy = {"torch", "sentence_transformers", "transformers", "matplotlib", "numba", "snakemake"} & set(sys.modules)
assert not heavy, heavy
from hybridlib import fine_tune  # what computes is there once it is asked for
assert "torch" in sys.modules and "sentence_transformers" in sys.modules
"""


def test_reading_a_plan_or_about_data_does_not_wait_for_what_computes():
    subprocess.run([sys.executable, "-c", LIGHT], check=True)
