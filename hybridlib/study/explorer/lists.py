"""HTML that the explorer shows: the lists of passages side by side, and figures with a text that says what is in them.

Colours are those of JupyterLab's theme where there is one, so that lists can be read in the light and in the dark.
Markup that a reader drops, as GitHub does with styles, leaves lists in which everything is still said.
"""

import base64
import io
from collections.abc import Mapping
from html import escape

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from hybridlib.arguments import checked
from hybridlib.data.checks import check_columns
from hybridlib.study.explorer.answers import Asked
from hybridlib.study.explorer.languages import colours_of, direction_of, ink_on, name_of

# Noto has every script; where it is not installed, a browser goes on to what there is.
_FONTS = (
    "'Noto Sans', 'Noto Sans Arabic', 'Noto Naskh Arabic', 'Noto Sans Bengali', 'Noto Sans Devanagari', "
    "'Noto Sans Telugu', 'Noto Sans Thai', 'Noto Sans Hebrew', 'Noto Sans CJK SC', 'Noto Sans CJK JP', "
    "'Noto Sans CJK KR', 'Noto Sans SC', 'Noto Sans JP', 'Noto Sans KR', sans-serif"
)
_TEXT = (
    f"font-family: {_FONTS}; color: var(--jp-content-font-color1, inherit); line-height: 1.45; font-size: 13px; "
    "overflow-wrap: anywhere"
)
_LINE = "border-top: 1px solid var(--jp-border-color2, #d0d0d0)"
_STAR = '<span role="img" aria-label="relevant" title="relevant" style="color: var(--jp-warn-color0, #b35900)">★</span>'


@checked
def side_by_side(asked: Asked, found: Mapping[str, pd.DataFrame]) -> HTML:
    """Show the first passages of each encoder in columns side by side; the number of a passage is its rank.

    Args:
        asked: the question.
        found: as returned by `first_passages`, by the label of the encoder.

    Raises:
        ValueError: a table lacks a column.
    """
    question = _in_language(asked.language, asked.text, style="font-size: 17px; font-weight: 600")
    if asked.english:
        question += f"<div>in English: {_in_language('en', asked.english, element='span')}</div>"
    columns = "".join(_column(label, table, asked.row >= 0) for label, table in found.items())
    grid = "display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 8px 20px"
    lists = f'<div style="{grid}; align-items: start; margin: 8px 0 0">{columns}</div>'
    return HTML(f'<div class="explorer-answer" style="{_TEXT}">{question}{lists}</div>')


def _column(label: str, table: pd.DataFrame, judged: bool) -> str:
    """Return the list of an encoder, and how many of it are relevant, if that is known."""
    check_columns(f"found[{label!r}]", [*table.columns], ["language", "score", "relevant", "text"])
    colours = colours_of([str(code) for code in table.language.cat.categories])
    lines = "".join(
        f'<li style="{_LINE}; padding: 3px 0; margin: 0">{tag(str(one.language), colours[str(one.language)])} '
        f"{one.score:.3f} {_STAR if one.relevant else ''}{_in_language(str(one.language), str(one.text))}</li>"
        for one in table.itertuples()
    )
    title = f"<b>{escape(label)}</b>"
    if judged:
        title += f": {int(table.relevant.sum())} of {len(table)} are relevant"
    return f'<div><div>{title}</div><ol style="padding: 0 0 0 26px; margin: 4px 0">{lines}</ol></div>'


def _in_language(language: str, text: str, *, element: str = "div", style: str = "") -> str:
    """Return an element with a text whose language and direction are told; without a language, its letters tell it."""
    direction = direction_of(language) if language else "auto"
    attributes = f'lang="{escape(language)}" dir="{direction}" style="text-align: start; {style}"'
    return f"<{element} {attributes}>{escape(text)}</{element}>"


def tag(language: str, colour: str) -> str:
    """Return the code of a language on its colour."""
    style = f"background: {colour}; color: {ink_on(colour)}; border-radius: 4px; padding: 1px 6px; font-size: 12px"
    return f'<span title="{escape(name_of(language))}" style="{style}">{escape(language)}</span>'


@checked
def question_key(points: pd.DataFrame, texts: Mapping[str, str], language: str) -> HTML:
    """Show which colour of the map of meaning stands for which question.

    Args:
        points: as returned by `meaning`.
        texts: of the questions, by their names.
        language: that of the texts.
    """
    check_columns("points", [*points.columns], ["question"])
    colours = colours_of(list(dict.fromkeys(points.question)))
    shown = {name: _in_language(language, texts[name], element="span") for name in colours}
    lines = "".join(
        f'<li style="list-style: none"><span style="color: {colour}">●</span> {shown[name]}</li>'
        for name, colour in colours.items()
    )
    return HTML(f'<ul style="{_TEXT}; padding: 0; margin: 4px 0">{lines}</ul>')


@checked
def image(figure: Figure, said: str) -> str:
    """Return a figure as an image in HTML, and close it.

    Args:
        figure: what to show.
        said: the text for those who do not see it.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    plt.close(figure)
    data = base64.b64encode(content.getvalue()).decode()
    style = "max-width: 100%; background: #ffffff; border-radius: 4px"
    return f'<img alt="{escape(said)}" style="{style}" src="data:image/png;base64,{data}">'


def told_ranks(ranks: Mapping[str, pd.Series]) -> str:
    """Say in a sentence for each encoder how far apart the relevant passages are.

    >>> told_ranks({"hybrid": pd.Series({"en": 1, "sw": 7})})
    'hybrid: from rank 1 (en) to rank 7 (sw).'
    """
    return " ".join(
        f"{label}: from rank {one.min():,} ({one.idxmin()}) to rank {one.max():,} ({one.idxmax()})."
        for label, one in ranks.items()
    )


def told_shares(shares: Mapping[str, pd.Series]) -> str:
    """Say in a sentence for each encoder which languages are among the first passages.

    >>> told_shares({"hybrid": pd.Series({"en": 1, "fi": 0, "sw": 2})})
    'hybrid: sw 2, en 1.'
    """
    said = []
    for label, one in shares.items():
        there = one[one > 0].sort_values(ascending=False, kind="stable")
        said.append(f"{label}: " + ", ".join(f"{code} {count}" for code, count in there.items()) + ".")
    return " ".join(said)
