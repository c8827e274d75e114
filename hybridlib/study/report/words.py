"""Figures in words, for those who do not see them: each number that is drawn, from the table of the figure.

A figure carries its words as its label, and `figures.save` writes them into the file. The first line says what the
figure is; each further line is one panel or one curve.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd


def signed(value: float, measure: str) -> str:
    """Write a difference with its sign, one of rank distances with one digit.

    >>> signed(-0.0035, "map"), signed(41.26, "rank_distance")
    ('−0.0035', '+41.3')
    """
    return f"{value:+.{1 if measure == 'rank_distance' else 4}f}".replace("-", "−")


def between(row: Mapping[str, Any] | pd.Series, value: str = "value") -> str:
    """Write a difference and its interval, of a row that has `measure`, `lower` and `upper`.

    >>> between({"value": 0.0712, "lower": 0.0629, "upper": 0.0796, "measure": "map"})
    '+0.0712 [+0.0629, +0.0796]'
    """
    number, lower, upper = (signed(row[name], row["measure"]) for name in (value, "lower", "upper"))
    return f"{number} [{lower}, {upper}]"


def of_differences(table: pd.DataFrame, row: str, xlabel: str) -> str:
    """Put a forest plot into words; see `figures.forest`. The name of a row takes the place of "…" in `xlabel`."""
    panels = {}
    for (measure, setting), some in table.groupby(["measure", "setting"], observed=True, sort=False):
        names = [xlabel.replace("…", str(name)) if "…" in xlabel else name for name in some[row]]
        said = [f"{between(one)}, {one.verdict}" for _, one in some.iterrows()]
        panels[f"{setting} {measure}".replace("_", " ")] = list(map("{}: {}".format, names, said))
    what = "" if "…" in xlabel or xlabel == "difference" else f", {xlabel}"
    return _lines(f"Forest plot of {len(table)} differences with 95 % intervals{what}", panels)


def of_curves(panels: Mapping[str, pd.DataFrame], ylabel: str) -> str:
    """Put curves over alpha into words; see `figures.over_alpha`."""
    said = {}
    for title, table in panels.items():
        for setting, some in table.groupby("setting", observed=True, sort=False):
            points = some.sort_values("alpha", na_position="last")
            names = points.contrast.astype(str).where(points.alpha.isna(), points.alpha.map("α = {:g}".format))
            said[f"{title}, {setting}"] = [*(names + points.value.map(": {:.4f}".format))]
    return _lines(f"Curves of {ylabel} over alpha, the probability of a monolingual batch", said)


def of_lines(table: pd.DataFrame, x: str, labels: list[str], xlabel: str, ylabel: str) -> str:
    """Put lines over something that was varied into words; see `figures.lines`."""
    said = {}
    for _, some in table.groupby(labels, observed=True, sort=False):
        name = ", ".join(map(str, some[labels].iloc[0]))
        points = some.sort_values(x)[[x, "value", "lower", "upper"]].to_numpy(dtype=float)
        said[name] = [f"{at:g}: {value:.4f} [{lower:.4f}, {upper:.4f}]" for at, value, lower, upper in points]
    return _lines(f"Lines of {ylabel} over the {xlabel}, with 95 % intervals", said)


def of_places(panels: Mapping[str, pd.DataFrame], xlabel: str, ylabel: str) -> str:
    """Put the plane of two kinds of quality into words; see `planes.plane`."""
    said = {
        title: [f"{one.contrast}: {one.x:.4f} and {one.y:.4f}" for one in table.itertuples()]
        for title, table in panels.items()
    }
    return _lines(f"Plane of strategies: {xlabel}, and {ylabel}", said)


def of_pairs(table: pd.DataFrame, kinds: pd.Series, ylabel: str) -> str:
    """Put gains by pair of languages into words, kind by kind; see `planes.gain_by_pair`."""
    said = {}
    names = table.query_language + "-" + table.passage_language + " " + table.gain.map(lambda gain: signed(gain, "map"))
    for kind in dict.fromkeys(kinds):
        order = table.gain[kinds == kind].sort_values(kind="stable")
        ends = f"least {names[order.index[0]]}", f"most {names[order.index[-1]]}"
        said[kind] = [f"{len(order)} pairs, mean {signed(float(order.mean()), 'map')}", *ends]
    return _lines(f"Scatter plot of the {ylabel}, a point for each pair of languages", said)


def of_cells(tables: Mapping[str, pd.DataFrame], row: str, column: str, title: str) -> str:
    """Put heat maps into words, each by its ends; see `tables.matrices`."""
    said = {}
    for name, table in tables.items():
        values = table.to_numpy(dtype=float, na_value=np.nan)
        ends = [divmod(int(place), values.shape[1]) for place in (np.nanargmin(values), np.nanargmax(values))]
        least, most = (f"{values[r, c]:.4f} ({table.index[r]}, {table.columns[c]})" for r, c in ends)
        said[name] = [f"{np.isfinite(values).sum()} cells", f"least {least}", f"most {most}"]
    return _lines(f"Heat maps of {title}, {row} by {column}", said)


def with_words(svg: str, said: str) -> str:
    """Write what a figure is in words into an SVG, where browsers and screen readers look for it."""
    if not said:
        return svg
    inner = f"\n <title>{escape(said.partition(chr(10))[0])}</title>\n <desc>{escape(said)}</desc>"
    return re.sub(r"<svg\b[^>]*>", lambda found: found[0] + inner, svg, count=1)


def _lines(head: str, parts: Mapping[str, Iterable[str]]) -> str:
    return "\n".join([f"{head}.", *(f"{name}: {'; '.join(said)}." for name, said in parts.items())])
