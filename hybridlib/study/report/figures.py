"""Figures, drawn from tables; each function returns a figure, and `save` keeps it.

Four labels can be told apart in grey; a figure of more raises a ValueError.
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
from hybridlib.study.report.style import COLOURS, LINES, MARKERS, STYLE, alpha_label, encoder_label, looks_of

_MAP_STYLE: dict[Any, Any] = {**STYLE, "axes.grid": False, "font.size": 8}


def trade_off(means: pd.DataFrame, *, measure: str = "map") -> Figure:
    """Draw monolingual against cross-lingual quality: one path over alpha for each encoder.

    The bars span the seeds. The dotted line joins the two ends. Above it, mixing batches is better than choosing
    between them.
    """
    table = summarize(means)[measure].unstack("setting")
    encoders = table.index.unique("encoder")
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, len(encoders), figsize=(4.2 * len(encoders), 3.9), squeeze=False)
        for place, (encoder, axes) in enumerate(zip(encoders, panels[0], strict=True)):
            _draw_path(axes, table.loc[encoder], colour=COLOURS[place], marker=MARKERS[place])
            axes.margins(x=0.4, y=0.14)
            axes.locator_params(axis="x", nbins=5)
            axes.set(
                title=f"{encoder_label(encoder)} encoder",
                xlabel=f"cross-lingual {measure}",
                ylabel=f"monolingual {measure}",
            )
            axes.legend(loc="lower left", fontsize=8)
    return figure


def over_alpha(means: pd.DataFrame, groups: Mapping[str, Sequence[str]], *, measure: str = "map") -> Figure:
    """Draw the measure in each setting, and the rank distance, over alpha; the band spans the seeds.

    Each group of query languages has a line of its own.
    """
    panels = [(setting, measure) for setting in SETTINGS] + [("multilingual", "rank_distance")]
    with plt.rc_context(STYLE):
        figure, row = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 3.5))
        for axes, (setting, shown) in zip(row, panels, strict=True):
            for (group, languages), line in zip(groups.items(), LINES[: len(groups)], strict=True):
                table = summarize(means[means.query_language.isin(languages)])[shown].xs(setting, level="setting")
                for place, encoder in enumerate(table.index.unique("encoder")):
                    by_alpha = table.loc[encoder].groupby("alpha")
                    mean, colour = by_alpha.mean(), COLOURS[place]
                    axes.plot(
                        mean.index, mean, line, label=f"{encoder_label(encoder)}, {group}", marker=MARKERS[place],
                        color=colour, markersize=5, markerfacecolor=colour if line == "-" else "white",
                    )  # fmt: skip
                    axes.fill_between(mean.index, by_alpha.min(), by_alpha.max(), color=colour, alpha=0.18, linewidth=0)
            better = "lower is better" if shown == "rank_distance" else "higher is better"
            axes.set_title(f"{setting}: {shown.replace('_', ' ')}\n({better})")
            axes.set_xlabel("α, probability of a monolingual batch")
            axes.set_xticks(mean.index)
            axes.set_ylim(bottom=0)
        _add_legend(figure, row[0], columns=2)
    return figure


def language_heat_map(
    means: pd.DataFrame, low_resource: Sequence[str], *, alphas: Sequence[float] = (0.0, 0.5, 1.0), measure: str = "map"
) -> Figure:
    """Draw the measure for every query language (rows) and passage language (columns), averaged over seeds.

    There is a row of maps for each encoder. The diagonal is monolingual retrieval. Languages are ordered by script; the
    low-resource ones, marked *, come last.
    """
    pairs = means[(means.measure == measure) & (means.setting != "multilingual")]
    order = sorted(
        pairs.query_language.unique(),
        key=lambda code: (code in low_resource, script(code) != "Latn", script(code), code),
    )
    encoders, highest = pairs.encoder.unique(), float(pairs.value.max())
    size = (1.4 + 3.1 * len(alphas), 0.5 + 3.1 * len(encoders))
    with plt.rc_context(_MAP_STYLE):
        figure, grid = plt.subplots(len(encoders), len(alphas), figsize=size, sharex=True, sharey=True, squeeze=False)
        for row, encoder in zip(grid, encoders, strict=True):
            for axes, alpha in zip(row, alphas, strict=True):
                chosen = pairs[(pairs.encoder == encoder) & (pairs.alpha == alpha)]
                image = _draw_language_map(axes, chosen, order, low_resource, highest=highest)
                axes.set_title(f"{encoder_label(encoder)}, {alpha_label(alpha)}")
            row[0].set_ylabel("query language")
        for axes in grid[-1]:
            axes.set_xlabel("passage language")
        figure.colorbar(image, ax=grid, label=measure, shrink=0.6, aspect=30)
    return figure


def lines(
    table: pd.DataFrame, *, x: str, label: str, panel: str, xlabel: str, ylabel: str, log: bool = False
) -> Figure:
    """Draw values with intervals over something that was varied.

    Args:
        table: `value`, `lower`, `upper` and the columns named here.
        x: column of the numbers along the horizontal axis, which is log2 if `log`.
        label: column told apart by colour, marker and line.
        panel: column told apart by panel.
    """
    panels, looks, ticks = _values(table[panel]), looks_of(_values(table[label])), _values(table[x])
    with plt.rc_context(STYLE):
        figure, row = plt.subplots(1, len(panels), figsize=(1 + 3 * len(panels), 3.4), squeeze=False)
        for axes, name in zip(row[0], panels, strict=True):
            for what, look in looks.items():
                curve = table[(table[panel] == name) & (table[label] == what)].sort_values(x)
                style = {"color": COLOURS[look], "marker": MARKERS[look], "ls": LINES[look]}
                axes.plot(curve[x], curve.value, label=what, markersize=5, **style)
                axes.fill_between(curve[x], curve.lower, curve.upper, color=COLOURS[look], alpha=0.15, linewidth=0)
            if log:
                axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
            axes.set_xticks([], minor=True)
            axes.set(title=name, xlabel=xlabel)
        row[0, 0].set_ylabel(ylabel)
        _add_legend(figure, row[0, 0], columns=4)
    return figure


def effects(
    table: pd.DataFrame, *, row: str, panel: str, xlabel: str, label: str | None = None, margin: float | None = None
) -> Figure:
    """Draw differences with their intervals, one below the other.

    An interval that does not cross the line at 0 speaks for a difference.

    Args:
        table: `difference`, `lower`, `upper` and the columns named here.
        row: column whose values are the rows.
        panel: column told apart by panel.
        label: column told apart by colour and marker, one above the other in a row.
        margin: the margin of non-inferiority; a dashed line is drawn at minus the margin.
    """
    rows, panels = _values(table[row]), _values(table[panel])
    looks = looks_of(_values(table[label]) if label else [""])
    size = (1.6 + 2.9 * len(panels), 1.3 + (0.2 + 0.13 * len(looks)) * len(rows))
    with plt.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, grid = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
        for axes, name in zip(grid[0], panels, strict=True):
            axes.axvline(0, color="0.3", linewidth=0.8)
            if margin is not None:
                axes.axvline(-margin, color="0.3", linewidth=0.8, ls="--", label=f"margin, {margin:g}")
            for place, (what, look) in enumerate(looks.items()):
                shown = table[(table[panel] == name) & ((table[label] == what) if label else True)]
                y = shown[row].map({value: number for number, value in enumerate(rows)}).astype(float)
                y += 0.55 * ((place + 0.5) / len(looks) - 0.5)
                span = [shown.difference - shown.lower, shown.upper - shown.difference]
                style: Any = {"fmt": MARKERS[look], "color": COLOURS[look], "markersize": 4.5, "capsize": 2}
                axes.errorbar(shown.difference, y, xerr=span, linewidth=1.2, label=what or None, **style)
            axes.set(title=name, xlabel=xlabel)
            axes.set_yticks(range(len(rows)), [str(value) for value in rows])
            axes.set_ylim(len(rows) - 0.5, -0.5)
        _add_legend(figure, grid[0, 0], columns=3)
    return figure


def matrices(
    tables: Mapping[str, pd.DataFrame], *, row: str, column: str, title: str, around_zero: bool = False
) -> Figure:
    """Draw tables as heat maps side by side on one scale; small ones have their numbers.

    Args:
        tables: by title; a cell without a value is grey.
        row, column: names of what rows and columns are.
        title: names the colour bar.
        around_zero: whether gains and losses are told apart, at 0; a loss has a minus sign.
    """
    highest = max(float(np.nanmax(np.abs(table.to_numpy()))) for table in tables.values())
    shape = next(iter(tables.values())).shape
    numbers = shape[0] <= 8
    cell = 0.62 if numbers else 0.17
    palette = sns.color_palette("vlag_r" if around_zero else "cividis", as_cmap=True)
    size = (1.9 + len(tables) * (0.5 + cell * shape[1]), 1.5 + cell * shape[0])
    with plt.rc_context(_MAP_STYLE):
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


def _draw_path(axes: Axes, table: pd.DataFrame, *, colour: str, marker: str) -> None:
    """Draw one encoder's path over alpha from its means by alpha, seed and setting."""
    by_alpha = table.groupby("alpha")
    centre, low, high = by_alpha.mean(), by_alpha.min(), by_alpha.max()
    x, y = centre["cross-lingual"], centre["monolingual"]
    axes.plot(x.iloc[[0, -1]], y.iloc[[0, -1]], ":", color="0.4", label="straight line between the ends")
    xerr, yerr = (np.abs([low[name] - centre[name], high[name] - centre[name]]) for name in (x.name, y.name))
    axes.errorbar(
        x, y, xerr=xerr, yerr=yerr, fmt=marker + "-", color=colour, markersize=6, capsize=2,
        label="mean and range over seeds",
    )  # fmt: skip
    for alpha in centre.index:
        axes.annotate(alpha_label(alpha), (x[alpha], y[alpha]), xytext=(7, 5), textcoords="offset points")


def _draw_language_map(
    axes: Axes, pairs: pd.DataFrame, order: list[str], low_resource: Sequence[str], *, highest: float
) -> Any:
    """Draw the mean of every pair of languages; return the image, which the colour bar explains."""
    table = pairs.pivot_table(index="query_language", columns="passage_language", values="value", observed=True)
    table = table.reindex(index=order, columns=order)
    image = axes.imshow(table, cmap=sns.color_palette("cividis", as_cmap=True), vmin=0, vmax=highest)
    labels = [f"{code}*" if code in low_resource else code for code in order]
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(length=0)
    if len(low_resource):
        edge = len(order) - sum(code in low_resource for code in order) - 0.5
        axes.axhline(edge, color="white", linewidth=1.2)
        axes.axvline(edge, color="white", linewidth=1.2)
    return image


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
