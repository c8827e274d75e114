"""Figures, drawn from tables; each function returns a figure, and `save` keeps it.

Figures of points that have names are in `hybridlib.study.report.planes`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybridlib.arguments import FilePath, Name, Share, checked, told
from hybridlib.data.checks import check_columns, check_rows, numbers_of
from hybridlib.files import replacing
from hybridlib.names import LOWER_IS_BETTER, SETTINGS
from hybridlib.study.report import words
from hybridlib.study.report.claims import Labels
from hybridlib.study.report.effects import effects
from hybridlib.study.report.results import check_panels, check_table
from hybridlib.study.report.style import STYLE, Look, look_of, looks_of

# Files name neither the day nor the version, and write letters as outlines, so that no font is needed to read them.
_SVG: dict[Any, Any] = {"svg.hashsalt": "hybridlib", "svg.fonttype": "path"}
_VERDICTS = {
    "better": Look("#0072b2", "^"),
    "not inferior": Look("#008560", "o"),
    "not told apart": Look("#6e6e6e", "D", filled=False),
    "worse": Look("#d55e00", "v"),
}
_ENDS = ("value", "lower", "upper")
# Where they exceed so many margins, differences are drawn on a logarithmic scale.
_FAR = 6


@checked
def curve(sums: pd.DataFrame, alphas: Mapping[str, Share], *, without_seeds: Labels = ("untrained",)) -> pd.DataFrame:
    """Compute the mean over alpha in each setting, with how sure its shape is.

    All alphas are tested on the same articles, and how hard these are moves the curve as a whole. So the interval is
    that of the distance from the mean of the curve.

    Args:
        sums: as returned by `read_sums`, of one task and one measure.
        alphas: by strategy.
        without_seeds: strategies that are levels instead of points of the curve, if the sums have them.

    Returns:
        `setting`, `contrast` (the strategy), `alpha` (NaN for a level), `value`, `lower` and `upper`.

    Raises:
        ValueError: as in `effects`, or the sums are of several measures, or there is no alpha.
    """
    check_table(sums, "sums", "read_sums", ["strategy", "measure"])
    if sums.measure.nunique() > 1 or not alphas:
        measures = ", ".join(map(str, sums.measure.unique()))
        raise ValueError(f"sums are of {measures}, and alphas are {told(alphas)}; allowed: one measure, and an alpha")
    levels = [name for name in without_seeds if (sums.strategy == name).any()]
    means = {name: {name: 1.0} for name in (*alphas, *levels)}
    shapes = {name: {other: (name == other) - 1 / len(alphas) for other in alphas} for name in alphas}
    found, apart = (
        effects(sums, some, without_seeds=without_seeds).set_index(["setting", "contrast"]) for some in (means, shapes)
    )
    half = (apart.upper - apart.value).reindex(found.index)
    table = found[["value"]].assign(lower=found.value - half, upper=found.value + half).reset_index()
    return table.assign(alpha=table.contrast.map(dict(alphas))).round(6)


@checked
def over_alpha(panels: Mapping[str, pd.DataFrame], *, ylabel: str = "map") -> Figure:
    """Draw the mean over alpha in each setting, a row of panels for each data set, and levels as dotted lines.

    Args:
        panels: as returned by `curve`, by title.
        ylabel: what the curves are of.

    Raises:
        ValueError: there is no panel, or one has no rows, or lacks a column or a value.
    """
    check_panels(panels, "curve", ["setting", "contrast"], ["value"])
    for title, table in panels.items():
        check_columns(f"panels[{title!r}]", list(table.columns), ["alpha", "lower", "upper"])
        numbers_of(table.alpha, f"panels[{title!r}].alpha", missing=True)
    size = (1 + 3.1 * len(SETTINGS), 0.5 + 2.6 * len(panels))
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(len(panels), len(SETTINGS), figsize=size, sharex=True, squeeze=False)
        for row, (title, table) in zip(grid, panels.items(), strict=True):
            for axes, setting in zip(row, SETTINGS, strict=True):
                shown = table[table.setting == setting].sort_values("alpha")
                points, levels = shown[shown.alpha.notna()], shown[shown.alpha.isna()]
                look = look_of("hybrid")
                axes.fill_between(points.alpha, points.lower, points.upper, color=look.colour, alpha=0.2, linewidth=0)
                axes.plot(points.alpha, points.value, **look.points, markersize=5)
                for name, level in zip(levels.contrast, levels.value, strict=True):
                    line = look_of(name)
                    axes.axhline(level, color=line.colour, linestyle=":")
                    axes.annotate(
                        name, (0, level), xycoords=axes.get_yaxis_transform(), xytext=(4, 3),
                        textcoords="offset points", color=line.colour, fontsize=8,
                    )  # fmt: skip
                axes.set_xticks(points.alpha, [f"{alpha:g}" for alpha in points.alpha])
                axes.set_title(f"{title}: {setting}")
            row[0].set_ylabel(ylabel)
        for axes in grid[-1]:
            axes.set_xlabel("α, probability of a monolingual batch")
    figure.set_label(words.of_curves(panels, ylabel))
    return figure


@checked
def forest(table: pd.DataFrame, *, row: Name = "contrast", xlabel: str = "difference") -> Figure:
    """Draw differences with their intervals, one below the other, a panel for each setting and measure.

    Colour and marker tell the verdict. Grey is the margin of non-inferiority. Where differences are much larger than
    it, the scale is logarithmic beyond it.

    Args:
        table: as returned by `verdicts`.
        row: column whose values are the rows.
        xlabel: what the differences are.

    Raises:
        ValueError: the table has no rows, lacks a column or a number, has a verdict that is none, or two differences in
            one place.
    """
    check_table(table, "table", "verdicts", ["measure", "setting", row, "verdict"], _ENDS)
    check_rows(~table.verdict.isin(_VERDICTS), table.verdict, "table.verdict", ", ".join(_VERDICTS))
    check_rows(table.duplicated(["measure", "setting", row]), table[row], f"table.{row}", "one of each in a panel")
    if "margin" in table:
        check_rows(table.margin <= 0, table.margin, "table.margin", "above 0")
    rows = list(dict.fromkeys(table[row]))
    panels = {
        key: some.set_index(row) for key, some in table.groupby(["measure", "setting"], observed=True, sort=False)
    }
    size = (1.6 + 2.7 * len(panels), 1.2 + 0.3 * len(rows))
    with plt.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, grid = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
        for axes, ((measure, setting), shown) in zip(grid[0], panels.items(), strict=True):
            _draw_differences(axes, shown, rows)
            less = "\n(lower is better)" if measure in LOWER_IS_BETTER else ""
            axes.set(title=f"{setting} {measure}{less}".replace("_", " "), xlabel=xlabel)
        grid[0, 0].set_yticks(range(len(rows)), [str(value) for value in rows])
        grid[0, 0].set_ylim(len(rows) - 0.5, -0.5)
        handles = [
            plt.Line2D([], [], **look.points, linestyle="", markersize=5.5, label=verdict)
            for verdict, look in _VERDICTS.items()
            if (table.verdict == verdict).any()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)
    figure.set_label(words.of_differences(table, row, xlabel))
    return figure


def _draw_differences(axes: Axes, shown: pd.DataFrame, rows: list) -> None:
    """Draw the differences of a panel, whose index says in which of the rows each is."""
    axes.axvline(0, color="0.3", linewidth=0.8, zorder=1)
    margin = shown["margin"] if "margin" in shown else pd.Series(np.nan, shown.index)
    ends = shown[["lower", "upper"]].abs().to_numpy().max()
    for (name, one), most in zip(shown.iterrows(), margin, strict=True):
        y, look = rows.index(name), _VERDICTS[one.verdict]
        if most > 0:
            axes.fill([-most, most, most, -most], [y - 0.5, y - 0.5, y + 0.5, y + 0.5], color="0.92", linewidth=0)
        axes.plot([one.lower, one.upper], [y, y], color=look.colour, linewidth=1.4)
        axes.plot(one.value, y, **look.points, markersize=5.5, zorder=3)
    if margin.notna().any() and ends > _FAR * margin.min():
        axes.set_xscale("symlog", linthresh=margin.min(), linscale=1)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}".replace("-", "−"))
        axes.xaxis.set_minor_locator(plt.NullLocator())


@checked
def lines(
    table: pd.DataFrame, *, x: Name, label: Name, panel: Name, xlabel: str, ylabel: str, log: bool = False
) -> Figure:
    """Draw values with intervals over something that was varied.

    Args:
        table: `value`, `lower`, `upper` and the columns named here.
        x: column of the numbers along the horizontal axis, which is log2 if `log`.
        label: column told apart by colour, marker and line.
        panel: column told apart by panel.

    Raises:
        ValueError: the table has no rows, lacks a column or a number, has more labels than can be told apart, or a
            number not above 0 where the axis is logarithmic.
    """
    check_table(table, "table", "effects", [label, panel], [x, *_ENDS])
    if log:
        check_rows(table[x] <= 0, table[x], f"table.{x}", "above 0 on a logarithmic axis")
    panels, labels, ticks = (_values(table[name]) for name in (panel, label, x))
    looks = dict(zip(labels, looks_of([str(name) for name in labels]).values(), strict=True))
    with plt.rc_context(STYLE):
        figure, row = plt.subplots(1, len(panels), figsize=(1 + 3 * len(panels), 3.4), squeeze=False)
        for axes, name in zip(row[0], panels, strict=True):
            for what, look in looks.items():
                points = table[(table[panel] == name) & (table[label] == what)].sort_values(x)
                axes.plot(points[x], points.value, label=what, markersize=5, linestyle=look.line, **look.points)
                axes.fill_between(points[x], points.lower, points.upper, color=look.colour, alpha=0.15, linewidth=0)
            if log:
                axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
            axes.set_xticks([], minor=True)
            axes.set(title=name, xlabel=xlabel)
        row[0, 0].set_ylabel(ylabel)
        _add_legend(figure, row[0, 0], columns=4)
    figure.set_label(words.of_lines(table, x, [panel, label], xlabel, ylabel))
    return figure


@checked
def save(figure: Figure, path: FilePath) -> None:
    """Write a figure as SVG under a temporary name, then rename it; the label of the figure tells it in words.

    The same tables give the same bytes anywhere.

    Raises:
        ValueError: the path does not end in .svg, or is a folder.
    """
    path = Path(path)
    if path.suffix != ".svg" or path.is_dir():
        raise ValueError(f"path is {path}; allowed: a file that ends in .svg")
    with replacing(path) as draft, plt.rc_context(_SVG):
        figure.savefig(draft, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        text = words.with_words(steady(draft.read_text(encoding="utf-8")), str(figure.get_label()))
        draft.write_text(text, encoding="utf-8", newline="\n")


def steady(text: str) -> str:
    """Take what differs between machines out of an SVG file: the last digits of numbers, and names made from them.

    >>> steady('<path id="p0123456789" d="M 1.234567 -0.000001"/><use href="#p0123456789"/>')
    '<path id="n0" d="M 1.235 0"/><use href="#n0"/>'
    """
    names = {name: f"n{number}" for number, name in enumerate(re.findall(r'id="(\w+[0-9a-f]{10})"', text))}
    text = re.sub(r"\b\w+[0-9a-f]{10}\b", lambda found: names.get(found[0], found[0]), text)
    return re.sub(r"-?\d+\.\d{3,}", lambda found: f"{round(float(found[0]), 3) + 0.0:.5g}", text)


def _add_legend(figure: Figure, axes: Axes, *, columns: int) -> None:
    """Put a legend of what a panel shows below the figure, unless nothing there has a label."""
    handles, names = axes.get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside lower center", ncols=min(columns, len(names)))


def _values(column: pd.Series) -> list:
    """Return the values of a column: categories in their order, numbers in rising order, words as they come."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [value for value in column.cat.categories if (column == value).any()]
    return sorted(column.unique()) if pd.api.types.is_numeric_dtype(column) else list(column.unique())
