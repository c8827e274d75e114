"""Figures of points that have names: the plane of two kinds of quality, and what is gained by pair of languages.

Names stand beside their points without covering each other; where one does not fit there, a line leads to it.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybridlib.arguments import Name, Names, Whole, checked
from hybridlib.data.checks import check_rows, texts_wrong
from hybridlib.names import same_script
from hybridlib.study.report.claims import Labels
from hybridlib.study.report.effects import joint
from hybridlib.study.report.results import check_panels, check_table
from hybridlib.study.report.style import STYLE, Look, look_of
from hybridlib.study.report.words import of_pairs, of_places

# Sizes are in points, 1/72 inch.
_FONT = 8.5
_MARKER = 7
_HEIGHTS = (0.66, 1 - 0.66)  # of the two parts of a plane
_WIDTH = 0.62 * _FONT  # of a letter, on average
_SPREAD = ["variance_x", "variance_y", "covariance", "radius"]
_CIRCLE = np.linspace(0, 2 * np.pi, 61)
_KINDS = {
    "one language": Look("#0072b2", "o"),
    "two languages, same script": Look("#d55e00", "s", filled=False),
    "two languages, other scripts": Look("#6e6e6e", "^", filled=False),
}


@checked
def positions(
    sums: pd.DataFrame,
    *,
    reference: Name = "hybrid",
    without_seeds: Labels = (),
    settings: Names = ("monolingual", "multilingual"),
) -> pd.DataFrame:
    """Compute where every strategy lies in the plane, and how sure its distance from the reference is.

    All strategies are tested on the same articles, so a mean is far less sure than how far two means are apart.

    Args:
        sums: as returned by `read_sums`, of one task and one measure.
        reference: the strategy that distances are from.
        without_seeds: as of `effects`.
        settings: those of the two axes. A strategy that lacks one of them is left out.

    Returns:
        As returned by `joint`, but variances and covariance are those of the distance.

    Raises:
        ValueError: as in `joint`, or the reference is not in both settings.
    """
    check_table(sums, "sums", "read_sums", ["strategy", "setting"])
    there = [set(sums.strategy[sums.setting == setting]) for setting in settings]
    names = [name for name in dict.fromkeys(sums.strategy) if all(name in some for some in there)]
    if reference not in names:
        raise ValueError(f"reference is {reference!r}; allowed, as in both settings: {', '.join(map(str, names))}")
    means = {name: {name: 1.0} for name in names}
    distances = {name: {name: 1.0, reference: -1.0} for name in names if name != reference}
    found, apart = (
        joint(sums, some, settings=settings, without_seeds=without_seeds).set_index("contrast")
        for some in (means, distances or means)  # of the reference alone there is no distance
    )
    found[_SPREAD] = apart.drop(index=reference, errors="ignore").reindex(found.index)[_SPREAD].fillna(0.0)
    return found.reset_index()


@checked
def plane(panels: Mapping[str, pd.DataFrame], *, path: Names = (), xlabel: str = "", ylabel: str = "") -> Figure:
    """Draw every strategy where its two means are, a panel for each data set.

    A panel has two parts, of which the upper one is drawn larger: strategies that come near the best crowd there.

    Args:
        panels: as returned by `positions`, by title. The ellipse around a strategy is the 95 % region of its distance
            from the reference: where it leaves out the reference's marker, the two are told apart.
        path: names in the order of alpha, which a line joins.
        xlabel, ylabel: what the axes show.

    Raises:
        ValueError: there is no panel, or one has no rows, or lacks a column or a number.
    """
    check_panels(panels, "positions", ["contrast"], ["x", "y", *_SPREAD])
    size = (0.4 + 5.2 * len(panels), 6.2)
    with plt.rc_context({**STYLE, "figure.constrained_layout.hspace": 0.0}):
        figure, grid = plt.subplots(2, len(panels), figsize=size, sharex="col", squeeze=False, height_ratios=_HEIGHTS)
        parts = []
        for column, (title, table) in zip(grid.T, panels.items(), strict=True):
            table = table.round({"x": 5, "y": 5}).set_index("contrast")
            near = table.y >= table.y.max() - (table.y.max() - table.y.min()) / 4
            line = table.reindex([name for name in path if name in table.index])
            for axes, shown in zip(column, (table[near], table[~near]), strict=True):
                _draw_part(axes, shown, line)
                parts.append((axes, shown))
            column[0].set_title(title)
            column[1].set_xlabel(xlabel)
        _mark_breaks(grid)
        figure.supylabel(ylabel, fontsize=10)
        figure.draw_without_rendering()  # so that it is known how large the panels are
        for axes, shown in parts:
            names = [name.removeprefix("hybrid, ") if "α" in name else name for name in shown.index]
            _write_names(axes, shown[["x", "y"]].to_numpy(), names)
    figure.set_label(of_places(panels, xlabel, ylabel))
    return figure


def _draw_part(axes: Axes, shown: pd.DataFrame, line: pd.DataFrame) -> None:
    """Draw the strategies of a part of a panel, and what is within its limits of the line over alpha."""
    axes.plot(line.x, line.y, color=look_of("hybrid").colour, linewidth=1, zorder=1.5)
    ends = []
    for name, place in shown.iterrows():
        look, (x, y) = look_of(str(name)), ellipse(place)
        axes.fill(x, y, facecolor=(look.colour, 0.12), edgecolor=(look.colour, 0.5), linewidth=0.7)
        axes.plot(place.x, place.y, **look.points, markersize=_MARKER, zorder=3, label=name)
        ends += [y.min(), y.max()]
    if ends:
        room = 0.12 * (max(ends) - min(ends) or 0.1)
        axes.set_ylim(min(ends) - room, max(ends) + room)
    axes.locator_params(axis="x", nbins=6)


def _mark_breaks(grid: np.ndarray) -> None:
    """Show that the two parts of each panel are one above the other, on scales of their own."""
    slanted = {"marker": [(-1, -0.5), (1, 0.5)], "markersize": 8, "linestyle": "", "color": "0.3", "clip_on": False}
    for upper, lower in grid.T:
        upper.spines.bottom.set_visible(False)
        upper.tick_params(bottom=False)
        upper.plot(0, 0, transform=upper.transAxes, **slanted)
        lower.plot(0, 1, transform=lower.transAxes, **slanted)


@checked
def gain_by_pair(
    table: pd.DataFrame, *, notable: Whole = 6, xlabel: str = "untrained map", ylabel: str = "gain in map"
) -> Figure:
    """Draw what is gained in each pair of languages against the untrained quality of the pair.

    Args:
        table: `query_language`, `passage_language`, `untrained` and `gain`, a row for each pair.
        notable: so many of the highest and of the lowest gains are named, question first.
        xlabel, ylabel: what the axes show.

    Raises:
        ValueError: the table has no rows, or lacks a column or a number.
    """
    check_table(table, "table", "pair_gains", ["query_language", "passage_language"], ["untrained", "gain"])
    for name in ("query_language", "passage_language"):
        check_rows(texts_wrong(table[name]), table[name], f"table.{name}", "the code of a language")
    table = table.round({"untrained": 5, "gain": 5}).reset_index(drop=True)
    pairs = zip(table.query_language, table.passage_language, strict=True)
    kinds = pd.Series([kind_of_pair(*pair) for pair in pairs], table.index)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.4, 4.6))
        axes.axhline(0, color="0.3", linewidth=0.8)
        for kind, look in _KINDS.items():
            some = table[kinds == kind]
            if len(some):
                axes.plot(some.untrained, some.gain, **look.points, markersize=4.5, linestyle="", label=kind)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.margins(0.06)
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
        figure.draw_without_rendering()
        order = table.sort_values(["gain", "untrained"], kind="stable").index
        named = table.loc[list(dict.fromkeys([*order[:notable], *order[::-1][:notable]]))]
        names = [q if q == p else f"{q}-{p}" for q, p in zip(named.query_language, named.passage_language, strict=True)]
        others = table.drop(named.index)[["untrained", "gain"]].to_numpy()
        _write_names(axes, named[["untrained", "gain"]].to_numpy(), names, others)
    figure.set_label(of_pairs(table, kinds, ylabel))
    return figure


def kind_of_pair(query: str, passage: str) -> str:
    """Return whether two languages are one, or are known to be written in the same script, or not.

    >>> kind_of_pair("de", "de"), kind_of_pair("de", "en"), kind_of_pair("de", "ru")
    ('one language', 'two languages, same script', 'two languages, other scripts')
    """
    one, same, other = _KINDS
    return one if query == passage else same if same_script(query, passage) else other


def ellipse(place: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of the ellipse around a place, a row of what `joint` returns; (61,) each.

    With C = A A' the points at a Mahalanobis distance r are those of the circle of radius r, times A.
    """
    first = np.sqrt(place.variance_x)
    along = place.covariance / first if first > 0 else 0.0
    second = np.sqrt(max(place.variance_y - along**2, 0.0))
    x = place.x + place.radius * first * np.cos(_CIRCLE)
    y = place.y + place.radius * (along * np.cos(_CIRCLE) + second * np.sin(_CIRCLE))
    return np.round(x, 6), np.round(y, 6)


def _write_names(axes: Axes, values: np.ndarray, names: Sequence[str], others: np.ndarray | None = None) -> None:
    """Write a name beside each point; nothing covers another, nor a point, these or others. (N, 2), (M, 2)"""
    scale = 72 / axes.figure.dpi
    points = axes.transData.transform(values) * scale
    frame = np.array(axes.bbox.extents) * scale
    rest = np.empty((0, 2)) if others is None else axes.transData.transform(others) * scale
    sizes = np.array([(_WIDTH * len(name), 1.25 * _FONT) for name in names])
    offsets = place_names(points, sizes, frame, rest)
    for name, value, offset, size in zip(names, values, offsets, sizes, strict=True):
        far = (np.abs(offset) - size / 2).max() > 1.2 * _MARKER
        axes.annotate(
            name, value, offset, textcoords="offset points", ha="center", va="center", fontsize=_FONT, zorder=4,
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "alpha": 0.6, "linewidth": 0},
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkB": 4} if far else None,
        ).set_in_layout(False)  # fmt: skip


def place_names(points: np.ndarray, sizes: np.ndarray, frame: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Choose for the middle of each name how far from its point it is: near, in the frame, and not over anything.

    Names take turns, three times: each takes the place that covers least, the others being where they are.

    Args:
        points: where they are. (N, 2)
        sizes: widths and heights of the names. (N, 2)
        frame: left, bottom, right and top.
        others: further points that no name may cover. (M, 2)

    Returns:
        Offsets, rounded to tenths. (N, 2)
    """
    angle = np.arange(16) * np.pi / 8
    ways = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # (16, 2)
    marks = np.concatenate([points, others])
    marks = np.concatenate([marks - _MARKER / 2, marks + _MARKER / 2], axis=1)  # (N + M, 4)
    boxes = np.full((len(points), 4), np.inf)  # nowhere yet
    chosen = np.zeros((len(points), 2))
    for _ in range(3):
        for n, (point, size) in enumerate(zip(points, sizes, strict=True)):
            # The name's near edge, not its middle, is so far away.
            far = np.array([_MARKER, 2 * _MARKER, 3.5 * _MARKER, 5 * _MARKER])[:, None, None]
            offsets = np.round((ways * (far + size / 2 * 0.9)).reshape(-1, 2), 1)  # (64, 2)
            tried = np.concatenate([point + offsets - size / 2, point + offsets + size / 2], axis=1)
            rest = np.delete(boxes, n, axis=0)
            below, above = np.maximum(frame[:2] - tried[:, :2], 0), np.maximum(tried[:, 2:] - frame[2:], 0)
            outside = below.sum(axis=1) + above.sum(axis=1)
            cost = 3 * _overlap(tried, rest) + _overlap(tried, marks) + 30 * outside + np.repeat([0, 15, 40, 70], 16)
            best = int(np.argmin(np.round(cost)))
            boxes[n], chosen[n] = tried[best], offsets[best]
    return chosen


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the area that each box shares with the others. (N, 4), (M, 4) -> (N,)"""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return np.nan_to_num(np.maximum(high - low, 0).prod(axis=2)).sum(axis=1)
