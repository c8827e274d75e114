"""Figures, drawn from tables; each function returns a figure, and `save` keeps it.

What is compared is told apart by marker and line, not by colour alone, so that the figures can be read in grey.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybridlib.names import SETTINGS, script
from hybridlib.paths import replacing
from hybridlib.study.report.results import summarize

_COLOURS = ("#0b4f8a", "#c8641e", "#4a7c3a", "#7a4a8a")
_MARKERS = ("o", "s", "^", "D")
_LINES = ("-", "--", "-.", ":")
# A strategy looks the same in every figure.
_LOOKS = {"x-x-mono": 0, "hybrid": 1, "x-y": 2, "x-x": 3}
_STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def trade_off(means: pd.DataFrame, *, measure: str = "map") -> Figure:
    """Monolingual against cross-lingual quality: one path over alpha for each encoder.

    The bars span the seeds. The dotted line joins the two ends: above it, mixing batches is better than choosing
    between them.
    """
    table = summarize(means)[measure].unstack("setting")
    encoders = table.index.unique("encoder")
    with plt.rc_context(_STYLE):
        figure, panels = plt.subplots(1, len(encoders), figsize=(4.2 * len(encoders), 3.9), squeeze=False)
        for number, (encoder, axes) in enumerate(zip(encoders, panels[0], strict=True)):
            by_alpha = table.loc[encoder].groupby("alpha")
            centre, low, high = by_alpha.mean(), by_alpha.min(), by_alpha.max()
            x, y = centre["cross-lingual"], centre["monolingual"]
            ends = centre.iloc[[0, -1]]
            axes.plot(
                ends["cross-lingual"], ends["monolingual"], ":", color="0.4", label="straight line between the ends"
            )
            spans = [
                np.abs([low[name] - centre[name], high[name] - centre[name]])
                for name in ("cross-lingual", "monolingual")
            ]
            axes.errorbar(
                x, y, xerr=spans[0], yerr=spans[1], fmt=_MARKERS[number] + "-", color=_COLOURS[number], markersize=6,
                capsize=2, label="mean and range over seeds",
            )  # fmt: skip
            for alpha in centre.index:
                axes.annotate(
                    f"α = {alpha:g}{_end_name(alpha)}", (x[alpha], y[alpha]), xytext=(7, 5), textcoords="offset points"
                )
            axes.margins(x=0.4, y=0.14)
            axes.locator_params(axis="x", nbins=5)
            axes.set(
                title=f"{_short(encoder)} encoder", xlabel=f"cross-lingual {measure}", ylabel=f"monolingual {measure}"
            )
            axes.legend(loc="lower left", fontsize=8)
    return figure


def over_alpha(means: pd.DataFrame, groups: Mapping[str, Sequence[str]], *, measure: str = "map") -> Figure:
    """The measure in each setting, and the rank distance, over alpha; the band spans the seeds.

    Groups of languages (of the queries) are drawn apart, by line.
    """
    panels = [(setting, measure) for setting in SETTINGS] + [("multilingual", "rank_distance")]
    with plt.rc_context(_STYLE):
        figure, axes_row = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 3.5))
        for axes, (setting, shown) in zip(axes_row, panels, strict=True):
            for (label, languages), line in zip(groups.items(), _LINES[: len(groups)], strict=True):
                table = summarize(means[means.query_language.isin(languages)])[shown].xs(setting, level="setting")
                for number, encoder in enumerate(table.index.unique("encoder")):
                    by_alpha = table.loc[encoder].groupby("alpha")
                    mean = by_alpha.mean()
                    colour = _COLOURS[number]
                    face = colour if line == "-" else "white"
                    style = {"marker": _MARKERS[number], "color": colour, "markersize": 5, "markerfacecolor": face}
                    axes.plot(mean.index, mean, line, label=f"{_short(encoder)}, {label}", **style)
                    axes.fill_between(mean.index, by_alpha.min(), by_alpha.max(), color=colour, alpha=0.18, linewidth=0)
            better = "lower is better" if shown == "rank_distance" else "higher is better"
            axes.set(
                title=f"{setting}: {shown.replace('_', ' ')}\n({better})",
                xlabel="α, probability of a monolingual batch",
            )
            axes.set_xticks(mean.index)
            axes.set_ylim(bottom=0)
        handles, labels = axes_row[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def language_heat_map(
    means: pd.DataFrame, low_resource: Sequence[str], *, alphas: Sequence[float] = (0.0, 0.5, 1.0), measure: str = "map"
) -> Figure:
    """The measure for every query language (rows) and passage language (columns), averaged over seeds: a row of maps
    for each encoder.

    The diagonal is monolingual retrieval. Languages are ordered by script, the low-resource ones (marked *) last.
    """
    pairs = means[(means.measure == measure) & (means.setting != "multilingual")]
    order = sorted(pairs.query_language.unique(), key=lambda code: (code in low_resource, *_script_key(code)))
    labels = [f"{code}*" if code in low_resource else code for code in order]
    encoders = pairs.encoder.unique()
    highest = float(pairs.value.max())
    with plt.rc_context({**_STYLE, "axes.grid": False, "font.size": 8}):
        size = (1.4 + 3.1 * len(alphas), 0.5 + 3.1 * len(encoders))
        figure, grid = plt.subplots(len(encoders), len(alphas), figsize=size, sharex=True, sharey=True, squeeze=False)
        for row, encoder in zip(grid, encoders, strict=True):
            for axes, alpha in zip(row, alphas, strict=True):
                chosen = pairs[(pairs.encoder == encoder) & (pairs.alpha == alpha)]
                table = chosen.pivot_table(
                    index="query_language", columns="passage_language", values="value", observed=True
                )
                table = table.reindex(index=order, columns=order)
                image = _map(axes, table, labels, highest)
                axes.set_title(f"{_short(encoder)}, α = {alpha:g}{_end_name(alpha)}")
                if len(low_resource):
                    edge = len(order) - sum(code in low_resource for code in order) - 0.5
                    axes.axhline(edge, color="white", linewidth=1.2)
                    axes.axvline(edge, color="white", linewidth=1.2)
            row[0].set_ylabel("query language")
        for axes in grid[-1]:
            axes.set_xlabel("passage language")
        figure.colorbar(image, ax=grid, label=measure, shrink=0.6, aspect=30)
    return figure


def lines(
    table: pd.DataFrame, *, x: str, label: str, panel: str, xlabel: str, ylabel: str, log: bool = False
) -> Figure:
    """Values with intervals over something that was varied: a panel for each value of one column, a line for each of
    another.

    Args:
        table: `value`, `lower`, `upper` and the columns named here.
        x: column of the numbers along the horizontal axis; log2 of them if `log`.
        label: column told apart by colour, marker and line.
        panel: column told apart by panel.
    """
    panels, labels = _values(table[panel]), _values(table[label])
    with plt.rc_context(_STYLE):
        figure, row = plt.subplots(1, len(panels), figsize=(1 + 3 * len(panels), 3.4), squeeze=False)
        for axes, name in zip(row[0], panels, strict=True):
            for what, number in _looks(labels).items():
                curve = table[(table[panel] == name) & (table[label] == what)].sort_values(x)
                style = {"color": _COLOURS[number], "marker": _MARKERS[number], "ls": _LINES[number]}
                axes.plot(curve[x], curve.value, label=what, markersize=5, **style)
                axes.fill_between(curve[x], curve.lower, curve.upper, color=style["color"], alpha=0.15, linewidth=0)
            if log:
                axes.set_xscale("log", base=2)
            ticks = _values(table[x])
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
            axes.set_xticks([], minor=True)
            axes.set(title=name, xlabel=xlabel)
        row[0, 0].set_ylabel(ylabel)
        handles, names = row[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)))
    return figure


def effects(
    table: pd.DataFrame, *, row: str, panel: str, xlabel: str, label: str | None = None, margin: float | None = None
) -> Figure:
    """Differences with their intervals, a row each; where an interval does not cross the line at 0, so many questions
    and seeds speak for a difference.

    Args:
        table: `difference`, `lower`, `upper` and the columns named here.
        row: column whose values are the rows.
        panel: column told apart by panel.
        label: column told apart by colour and marker, one above the other in a row.
        margin: of non-inferiority, drawn as a dashed line at minus the margin.
    """
    rows, panels = _values(table[row]), _values(table[panel])
    labels = _values(table[label]) if label else [""]
    with plt.rc_context({**_STYLE, "axes.grid.axis": "x"}):
        size = (1.6 + 2.9 * len(panels), 1.3 + (0.2 + 0.13 * len(labels)) * len(rows))
        figure, grid = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
        for axes, name in zip(grid[0], panels, strict=True):
            axes.axvline(0, color="0.3", linewidth=0.8)
            if margin is not None:
                axes.axvline(-margin, color="0.3", linewidth=0.8, ls="--", label=f"margin, {margin:g}")
            for place, (what, number) in enumerate(_looks(labels).items()):
                shown = table[table[panel] == name]
                shown = shown[shown[label] == what] if label else shown
                y = shown[row].map({value: place for place, value in enumerate(rows)}).astype(float)
                y += 0.55 * ((place + 0.5) / len(labels) - 0.5)
                span = [shown.difference - shown.lower, shown.upper - shown.difference]
                axes.errorbar(
                    shown.difference, y, xerr=span, fmt=_MARKERS[number], color=_COLOURS[number],
                    markersize=4.5, capsize=2, linewidth=1.2, label=what or None,
                )  # fmt: skip
            axes.set(title=name, xlabel=xlabel)
            axes.set_yticks(range(len(rows)), [str(value) for value in rows])
            axes.set_ylim(len(rows) - 0.5, -0.5)
        handles, names = grid[0, 0].get_legend_handles_labels()
        if names:
            figure.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)))
    return figure


def matrices(
    tables: Mapping[str, pd.DataFrame], *, row: str, column: str, title: str, around_zero: bool = False
) -> Figure:
    """Tables as heat maps side by side on one scale; small ones with their numbers.

    Args:
        tables: by title; a cell without a value is grey.
        row, column: what rows and columns are.
        title: of the colour bar.
        around_zero: whether gains and losses are to be told apart, at 0; a loss has a minus sign.
    """
    highest = max(float(np.nanmax(np.abs(table.to_numpy()))) for table in tables.values())
    shape = next(iter(tables.values())).shape
    numbers = shape[0] <= 8
    cell = 0.62 if numbers else 0.17
    palette = sns.color_palette("vlag_r" if around_zero else "cividis", as_cmap=True)
    with plt.rc_context({**_STYLE, "axes.grid": False, "font.size": 8}):
        size = (1.9 + len(tables) * (0.5 + cell * shape[1]), 1.5 + cell * shape[0])
        figure, grid = plt.subplots(1, len(tables), figsize=size, sharey=True, squeeze=False)
        for axes, (name, table) in zip(grid[0], tables.items(), strict=True):
            sns.heatmap(
                table, ax=axes, cmap=palette, vmin=-highest if around_zero else 0, vmax=highest, square=True,
                annot=numbers, fmt="+.3f" if around_zero else ".2f", annot_kws={"fontsize": 7}, cbar=False,
                linewidths=0.5,
            )  # fmt: skip
            axes.set(title=name, xlabel=column, ylabel="", facecolor="0.8")
            if around_zero and not numbers:
                for y, x in np.argwhere(table.to_numpy() < 0):
                    axes.text(x + 0.5, y + 0.5, "−", ha="center", va="center", fontsize=7)
            axes.tick_params(length=0)
        grid[0, 0].set_ylabel(row)
        figure.colorbar(grid[0, 0].collections[0], ax=grid, label=title, shrink=0.7, aspect=30)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure under a temporary name, then rename it. The same figure gives the same bytes."""
    with replacing(path) as draft:
        figure.savefig(draft, dpi=150, metadata={"Software": None})
    return path


def _map(axes: Axes, table: pd.DataFrame, labels: Sequence[str], highest: float):  # type: ignore[no-untyped-def]
    image = axes.imshow(table, cmap=sns.color_palette("cividis", as_cmap=True), vmin=0, vmax=highest)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(length=0)
    return image


def _short(encoder: str) -> str:
    """An encoder's name for a legend: without the family of a static one, or the owner of one from the hub."""
    return encoder.partition("@")[0].replace("/", ":").rpartition(":")[2]


def _end_name(alpha: float) -> str:
    return {0.0: " (x-y)", 1.0: " (x-x-mono)"}.get(float(alpha), "")


def _looks(labels: Sequence[str]) -> dict[str, int]:
    """A number for the look of each label: a strategy's own, or the next that is free."""
    if len(labels) > len(_COLOURS):
        raise ValueError(f"labels are {list(labels)}; allowed: at most {len(_COLOURS)}, to be told apart in grey")
    free = (number for number in range(len(_COLOURS)) if number not in {_LOOKS.get(what) for what in labels})
    return {what: _LOOKS[what] if what in _LOOKS else next(free) for what in labels}


def _values(column: pd.Series) -> list:
    """The values of a column: categories in their order, numbers in rising order, words as they come."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return [value for value in column.cat.categories if (column == value).any()]
    return sorted(column.unique()) if pd.api.types.is_numeric_dtype(column) else list(column.unique())


def _script_key(language: str) -> tuple[bool, str, str]:
    """A sorting key that puts languages of a script side by side, Latin first."""
    return (script(language) != "Latn", script(language), language)
