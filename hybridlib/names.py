"""The words that parameters, columns and legends share, spelled once.

They have a module of their own so that parameters can be checked without loading what computes.
"""

from typing import Literal, TypeAlias

STATIC_ENCODERS = ("static:scratch", "static:aligned")
# It stands where an encoder stands, and ranks by words.
BM25 = "bm25"
# intfloat/multilingual-e5-small with its matrices in 4 bits, which `make encoder` makes of packages of PyPI.
E5_SMALL = "multilingual-e5-small-4bit"
STRATEGIES = (
    "en-en",
    "x-x",
    "x-x-mono",
    "x-y",
    "hybrid",
    "hybrid-pairs",
    "mix-passages",
    "mix-entries",
    "round-robin-entries",
)
SIMILARITIES = ("cosine", "dot")
SETTINGS = ("monolingual", "cross-lingual", "multilingual")
# What a text is embedded as, which says what prompt it gets.
Role: TypeAlias = Literal["query", "document"]
# The passage language of the multilingual setting, so no language may have this name.
ALL_LANGUAGES = "all"
# By these measures less is better.
LOWER_IS_BETTER = ("rank_distance", "slope")

# Families are those of Glottolog 5.1, or their branches where a family has several of the languages.
FAMILIES = {
    "ar": "Semitic",
    "bn": "Indo-Aryan",
    "de": "Germanic",
    "el": "Greek",
    "en": "Germanic",
    "es": "Romance",
    "fa": "Iranian",
    "fi": "Uralic",
    "fr": "Romance",
    "hi": "Indo-Aryan",
    "id": "Austronesian",
    "ja": "Japonic",
    "ko": "Koreanic",
    "ru": "Slavic",
    "sw": "Atlantic-Congo",
    "te": "Dravidian",
    "th": "Tai-Kadai",
    "tr": "Turkic",
    "vi": "Austroasiatic",
    "yo": "Atlantic-Congo",
    "zh": "Sinitic",
}
LANGUAGES = tuple(FAMILIES)
INDO_EUROPEAN = ("Germanic", "Greek", "Indo-Aryan", "Iranian", "Romance", "Slavic")


def script(language: str) -> str:
    """Return the script a language is mainly written in, as an ISO 15924 code (CLDR, likely subtags).

    That of a language which is not known there is `Zzzz`, which stands for no script in particular.

    >>> script("ru"), script("zh"), script("zh-Hant"), script("xx")
    ('Cyrl', 'Hans', 'Hant', 'Zzzz')
    """
    # The names above are read where Babel is not installed, too: ranks, encoders and losses need nothing of it.
    from babel import Locale, UnknownLocaleError
    from babel.core import get_global

    try:
        locale = Locale.parse(language, sep="-" if "-" in language else "_")
    except (UnknownLocaleError, ValueError):
        return "Zzzz"
    likely = get_global("likely_subtags")
    return locale.script or likely.get(str(locale), likely.get(locale.language, "_Zzzz_")).split("_")[1]


def same_script(language: str, other: str) -> bool:
    """Return whether two languages are written in the same script, as far as is known; see `script`."""
    return script(language) == script(other) != "Zzzz"
