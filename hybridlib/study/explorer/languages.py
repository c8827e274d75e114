"""Languages as figures and lists show them: their names, the ways they are written, and their colours.

A code of letters or a name stands beside every colour, too.
"""

from collections.abc import Sequence

from babel import Locale, UnknownLocaleError

from hybridlib.names import script

# Those of Paul Tol's scheme `muted`, which the colour-blind can tell apart, the most different first.
COLOURS = ("#332288", "#ddcc77", "#44aa99", "#cc6677", "#88ccee", "#117733", "#882255", "#999933", "#aa4499")
_RIGHT_TO_LEFT = ("Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa")
_DARK, _LIGHT = "#111111", "#ffffff"


def name_of(language: str) -> str:
    """Return the English name of a language, or the code itself where none is known.

    >>> name_of("sw"), name_of("xx")
    ('Swahili', 'xx')
    """
    try:
        return Locale.parse(language, sep="-" if "-" in language else "_").get_language_name("en") or language
    except (UnknownLocaleError, ValueError):
        return language


def direction_of(language: str) -> str:
    """Return the direction in which a language is written, as HTML names it.

    >>> direction_of("fa"), direction_of("sw")
    ('rtl', 'ltr')
    """
    return "rtl" if script(language) in _RIGHT_TO_LEFT else "ltr"


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Give each name a colour; where there are more names than colours, colours come again.

    >>> colours_of(["ar", "en"])
    {'ar': '#332288', 'en': '#ddcc77'}
    """
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}


def ink_on(colour: str) -> str:
    """Return black or white, whichever is easier to read on a colour (WCAG 2.2, contrast ratio).

    >>> ink_on("#332288"), ink_on("#ddcc77")
    ('#ffffff', '#111111')
    """
    return max((_DARK, _LIGHT), key=lambda ink: contrast(ink, colour))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2).

    >>> round(contrast("#000000", "#ffffff"), 6)
    21.0
    """
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[begin : begin + 2], 16) / 255 for begin in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
