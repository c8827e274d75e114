"""Figures of answers: how far apart a question's passages lie, which languages come first, and the map of meaning."""

from collections.abc import Mapping, Sequence
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import NullLocator
from threadpoolctl import threadpool_limits

from hybridlib.arguments import Count, checked
from hybridlib.data.task import RetrievalTask
from hybridlib.study.explorer.answers import Shelf
from hybridlib.study.explorer.languages import COLOURS, colours_of, ink_on
from hybridlib.study.report.results import check_panels, check_table
from hybridlib.study.report.style import STYLE

_INCH = 72  # points
_TAG = 15.0  # points that the code of a language takes, with the room around it
_LAYER = 12.5  # points between codes above each other


@checked
def rank_strips(ranks: Mapping[str, pd.Series], passages: Count) -> Figure:
    """Draw the rank of each language's relevant passage, a strip for each encoder, on a logarithmic axis.

    The line of a strip leads from the first of them to the last: its length is the language bias. Grey is where all of
    them would be if nothing else came between.

    Args:
        ranks: as returned by `language_ranks`, by the label of the encoder.
        passages: of the pool.

    Raises:
        ValueError: there is no encoder, or one has no rank.
    """
    if not ranks or any(one.empty for one in ranks.values()):
        raise ValueError("ranks holds no rank of an encoder; allowed: those of one or more questions of the task")
    colours = colours_of(sorted({str(code) for one in ranks.values() for code in one.index}))
    width, left, right = 7.6, 1.1, 1.15
    across = (width - left - right) * _INCH / np.log10(max(passages, 10) * 1.3)  # points for a factor of ten
    placed = {label: _layers(one, across) for label, one in ranks.items()}
    highs = [max(layer for _, _, layer in tags) * _LAYER + 34 for tags in placed.values()]
    height = sum(highs) / _INCH + 0.75
    with plt.rc_context({**STYLE, "figure.constrained_layout.use": False, "axes.grid.axis": "x"}):
        figure, grid = plt.subplots(
            len(ranks), 1, figsize=(width, height), sharex=True, squeeze=False, height_ratios=highs
        )
        figure.subplots_adjust(left / width, 0.5 / height, 1 - right / width, 1 - 0.25 / height, hspace=0)
        for axes, (label, one), high in zip(grid[:, 0], ranks.items(), highs, strict=True):
            _draw_strip(axes, one, placed[label], high, colours)
            axes.set_ylabel(label, rotation=0, ha="right", va="center", weight="bold")
            axes.set_xscale("log")
            axes.set_xlim(0.77, max(passages, 10))
            axes.tick_params(bottom=axes is grid[-1, 0])
            axes.spines[["left", "bottom"]].set_visible(False)
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
            axes.xaxis.set_minor_locator(NullLocator())
        grid[0, 0].annotate(
            f"the first {max(map(len, ranks.values()))}", (0.8, 1), xycoords=grid[0, 0].get_xaxis_transform(),
            xytext=(0, 3), textcoords="offset points", fontsize=8, color="0.35",
        )  # fmt: skip
        grid[-1, 0].set_xlabel("rank of the relevant passage of each language, in the pool of all languages")
    return figure


def _layers(ranks: pd.Series, across: float) -> list[tuple[str, int, int]]:
    """Return each language with its rank and the layer in which its code covers no other."""
    ends: list[float] = []  # of the last code of each layer
    tags = []
    for code, rank in ranks.sort_values(kind="stable").items():
        place = np.log10(rank) * across
        layer = next((number for number, end in enumerate(ends) if end <= place), len(ends))
        ends[layer : layer + 1] = [place + _TAG]
        tags.append((str(code), int(rank), layer))
    return tags


def _draw_strip(
    axes: Axes, ranks: pd.Series, tags: Sequence[tuple[str, int, int]], high: float, colours: Mapping[str, str]
) -> None:
    """Draw the ranks of an encoder: the span between the first and the last, and above it a code for each language."""
    first, last = int(ranks.min()), int(ranks.max())
    axes.set(ylim=(-14, high - 14), yticks=[])
    axes.axvspan(0.77, len(ranks) + 0.5, color="0.94", linewidth=0)
    axes.plot([first, last], [0, 0], color="0.3", linewidth=2, solid_capstyle="butt")
    axes.plot([first, last], [0, 0], linestyle="", marker="|", markersize=8, color="0.3", markeredgewidth=2)
    axes.annotate(
        f"{last - first:,} apart", (1.02, 0), xycoords=axes.get_yaxis_transform(), fontsize=9, va="center",
    )  # fmt: skip
    for code, rank, layer in tags:
        axes.annotate(
            code, (rank, 10 + layer * _LAYER), ha="center", va="center", fontsize=7.5, color=ink_on(colours[code]),
            bbox={"boxstyle": "round,pad=0.22", "facecolor": colours[code], "linewidth": 0},
        ).set_in_layout(False)  # fmt: skip


@checked
def share_bars(shares: Mapping[str, pd.Series]) -> Figure:
    """Draw how many of the first passages are in each language, a panel for each encoder, beside an even share.

    Args:
        shares: the number of passages by language, by the label of the encoder; a language without one has 0.

    Raises:
        ValueError: there is no encoder.
    """
    check_panels({label: one.rename("count").reset_index() for label, one in shares.items()}, "shares", [], ["count"])
    languages = [str(code) for code in next(iter(shares.values())).index]
    colours, most = colours_of(sorted(languages)), max(int(one.max()) for one in shares.values())
    width, height = 1.35 + 0.22 * len(languages) + 0.5, 0.35 + 0.8 * len(shares)
    with plt.rc_context({**STYLE, "figure.constrained_layout.use": False, "axes.grid.axis": "y"}):
        figure, grid = plt.subplots(len(shares), 1, figsize=(width, height), sharex=True, sharey=True, squeeze=False)
        figure.subplots_adjust(1.35 / width, 0.25 / height, 1 - 0.5 / width, 1 - 0.1 / height, hspace=0.3)
        for axes, (label, one) in zip(grid[:, 0], shares.items(), strict=True):
            axes.bar(languages, one.to_numpy(), color=[colours[code] for code in languages])
            even = one.sum() / len(languages)
            axes.axhline(even, color="0.2", linewidth=1, linestyle="--")
            axes.annotate("even", (1.01, even), xycoords=axes.get_yaxis_transform(), fontsize=8, va="center")
            axes.set_ylabel(label, rotation=0, ha="right", va="center", weight="bold")
            axes.set(ylim=(0, most * 1.08), xlim=(-0.6, len(languages) - 0.4))
            axes.locator_params(axis="y", integer=True, nbins=3)
            axes.tick_params(axis="x", length=0, labelsize=8)
    return figure


@checked
def meaning(shelves: Mapping[str, Shelf], questions: Count = 6) -> pd.DataFrame:
    """Project the relevant passages of some questions, in all languages, to two dimensions, for each encoder.

    Args:
        shelves: the embeddings of one task, by the label of the encoder.
        questions: so many of the questions with different relevant passages, at even distances.

    Returns:
        A row for every encoder and passage: `encoder`, `question`, `language`, `x`, `y`; the axes are the first two
        principal components of the passages shown, whose embeddings are set to length 1.

    Raises:
        ValueError: there is no encoder, or the task has fewer questions.
    """
    from sklearn.decomposition import PCA

    if not shelves:
        raise ValueError("shelves is empty; allowed: one or more")
    task = next(iter(shelves.values())).task
    chosen = _passages_of_questions(task, questions)
    parts = []
    for label, shelf in shelves.items():
        rows = shelf.passages[chosen.row].astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        with threadpool_limits(1):  # threads that share a core with others wait for each other, for seconds
            x, y = PCA(2, svd_solver="full").fit_transform(rows).T
        parts.append(chosen[["question", "language"]].assign(encoder=label, x=x, y=y))
    return pd.concat(parts, ignore_index=True)[["encoder", "question", "language", "x", "y"]]


def _passages_of_questions(task: RetrievalTask, questions: int) -> pd.DataFrame:
    """Return `question`, `language` and `row` of the relevant passages of some questions; a passage comes once."""
    query, row = task.pairs.T
    pairs = pd.DataFrame({"question": task.queries.question.to_numpy()[query], "row": row})
    pairs = pairs.drop_duplicates("row")  # several questions may ask for one passage
    names = pairs.question.unique()
    if questions > len(names):
        raise ValueError(f"questions is {questions}; allowed: 1 to {len(names)}, those of the task")
    names = names[np.linspace(0, len(names) - 1, questions, dtype=np.int64)]
    pairs = pairs[pairs.question.isin(names)].sort_values(["question", "row"], kind="stable")
    language = np.array(task.languages)[task.passage_languages[pairs.row]]
    return pairs.assign(language=language).reset_index(drop=True)


@checked
def meaning_map(points: pd.DataFrame) -> Figure:
    """Draw passages where their meaning is, a panel for each encoder: a colour a question, a code a language.

    Args:
        points: as returned by `meaning`, of at most as many questions as there are colours.

    Raises:
        ValueError: the table has no rows, lacks a column or a number, or has too many questions.
    """
    check_table(points, "points", "meaning", ["encoder", "question", "language"], ["x", "y"])
    names = list(dict.fromkeys(points.question))
    if len(names) > len(COLOURS):
        raise ValueError(f"points has {len(names)} questions; allowed: at most {len(COLOURS)}, to be told apart")
    colours, panels = colours_of(names), dict(list(points.groupby("encoder", sort=False)))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, grid = plt.subplots(rows, columns, figsize=(4.5 * columns, 3.9 * rows), squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.axis("off")
        for axes, (label, some) in zip(grid.flat, panels.items(), strict=False):
            _draw_points(axes, some, colours)
            axes.set_title(label, weight="bold")
            axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
            axes.spines[:].set(visible=True, color="0.8")
    return figure


def _draw_points(axes: Axes, some: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """Draw the passages of an encoder, a language at a time, so that few of its codes are covered."""
    for code, points in some.groupby("language", sort=True):
        filled = [colours[question] for question in points.question]
        inks = [ink_on(colour) for colour in filled]
        axes.scatter(points.x, points.y, s=120, c=filled, edgecolors="white", linewidths=0.5, zorder=2)
        letters, size = _letters(str(code))
        axes.scatter(points.x, points.y, s=size, c=inks, marker=letters, linewidths=0, zorder=2)
    axes.margins(0.08)


@cache
def _letters(code: str) -> tuple[Path, float]:
    """Return the outline of a code as a marker, which is drawn far sooner than text, and the size to draw it in."""
    text = TextPath((0, 0), code, size=7)
    around = text.get_extents()
    outline = np.asarray(text.vertices) - [(around.x0 + around.x1) / 2, (around.y0 + around.y1) / 2]
    return Path(outline, text.codes), float((2 * np.abs(outline).max()) ** 2)
