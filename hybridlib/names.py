"""The words that parameters, columns and legends share, spelled once.

They have a module of their own so that parameters can be checked without loading what computes.
"""

from babel import Locale
from babel.core import get_global

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
SETTINGS = ("monolingual", "cross-lingual", "multilingual")
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

    >>> script("ru"), script("zh")
    ('Cyrl', 'Hans')
    """
    return Locale.parse(language).script or get_global("likely_subtags").get(language, "_Zzzz_").split("_")[1]
