"""Figures, drawn from tables of means; each function returns a figure, and `save` keeps it.

Encoders are told apart by marker and line, not by colour alone, so that the figures can be read in grey.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from babel import Locale
from babel.core import get_global
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybridlib.evaluation import SETTINGS, summarize
from hybridlib.paths import replacing

_COLOURS = ("#0b4f8a", "#c8641e", "#4a7c3a", "#7a4a8a")
_MARKERS = ("o", "s", "^", "D")
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
            axes.set(
                title=f"{_short(encoder)} encoder", xlabel=f"cross-lingual {measure}", ylabel=f"monolingual {measure}"
            )
            axes.legend(loc="lower left", fontsize=8)
    return figure


def over_alpha(means: pd.DataFrame, low_resource: Sequence[str], *, measure: str = "map") -> Figure:
    """The measure in each setting, and the rank distance, over alpha; the band spans the seeds.

    Low-resource languages (queries in them) are drawn apart from the others.
    """
    is_low = means.query_language.isin(low_resource)
    groups = {"other languages": ("-", means[~is_low]), "low-resource languages": ("--", means[is_low])}
    panels = [(setting, measure) for setting in SETTINGS] + [("multilingual", "rank_distance")]
    with plt.rc_context(_STYLE):
        figure, axes_row = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 3.5))
        for axes, (setting, shown) in zip(axes_row, panels, strict=True):
            for label, (line, group) in groups.items():
                if group.empty:
                    continue
                table = summarize(group)[shown].xs(setting, level="setting")
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
    order = sorted(pairs.query_language.unique(), key=lambda code: (code in low_resource, *_script(code)))
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


def _script(language: str) -> tuple[bool, str, str]:
    """A sorting key that puts languages of a script side by side, Latin first."""
    script = Locale.parse(language).script or get_global("likely_subtags").get(language, "_Zzzz_").split("_")[1]
    return (script != "Latn", script, language)
