"""The figure of `benchmarks/gpu.py`: a panel for each subject that a record has rows of."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from gpu_goals import GOALS, MOST
from measuring import COLOURS, STYLE, bars_on

Row = Mapping[str, Any]
LABELS = {
    "plain": "plain cross-entropy",
    "st": "sentence-transformers",
    "st cached": "sentence-transformers, cached",
    "ours": "InfoNCE",
    "ours cached": "InfoNCE, cached",
}


class Panel(NamedTuple):
    """A subject: the rows that it shows, and the figure of each."""

    title: str
    xlabel: str
    part: str
    column: str
    contenders: tuple[str, ...]  # with * for any text
    sizes: tuple[tuple[int, ...], ...]  # the first of them at which ours has rows is shown
    ours: str | tuple[str, ...] = ""  # how the contenders that stand out begin
    times: float = 1  # by which the figure is multiplied
    text: Callable[[float], str] = "{:,.0f}".format
    scale: str = "linear"


PANELS = (
    Panel("Counting exact ranks, 8 million passages (float32: 4 million)",
          "% of the speed of a bare product (more is better)", "metric", "of_product",
          ("float16*", "float32*", "bfloat16*"), ((MOST, MOST // 2),), "", 100, "{:.0f}%".format),
    Panel("Counting by unfused torch, 1 million passages", "times as long as hybridlib takes", "metric", "times",
          ("unfused torch*",), ((1 << 20,),), "hybridlib", text="{:.1f}".format),
    Panel("Counting exact ranks from the host's memory, 2 million passages",
          "% of the speed of a copy (more is better)", "host", "of_copy", ("from the host*",), ((MOST // 4,),), "",
          100, "{:.0f}%".format),
    Panel("Encoding with the shape of XLM-R base, {size} texts",
          "thousand tokens a second, padding not counted (more is better)", "encoding", "tokens_per_s",
          ("embed_texts*", "stock*", "floor*"), ((6_000,), (1_000,)), "embed_texts", 1e-3),
    Panel("Training, {size} pairs a batch", "milliseconds a step (less is better)", "training", "seconds",
          ("plain loop*", "fine_tune*"), ((100,),), ("fine_tune", "plain loop, InfoNCE"), 1e3, "{:.1f}".format),
    Panel("The loss of {size} pairs, forward and backward: time", "milliseconds (less is better)", "loss", "seconds",
          ("*",), ((8_192,), (32_768,), (1_024,)), "ours", 1e3, "{:,.1f}".format, "log"),
    Panel("The loss of {size} pairs, forward and backward: memory", "MB above the embeddings (less is better)", "loss",
          "memory_mb", ("*",), ((8_192,), (32_768,), (1_024,)), "ours"),
)  # fmt: skip


def figure(record: Mapping[str, Any]) -> Any:
    """Draw the panels that the record has rows of; a line across a bar is its goal.

    Raises:
        ValueError: it has no rows of any panel, as that of a rehearsal.
    """
    from matplotlib import rc_context  # so that a machine without it can measure, too
    from matplotlib.figure import Figure

    shown = [(panel, rows) for panel in PANELS if (rows := rows_of(panel, record["rows"]))]
    if not shown:
        raise ValueError("the record has no rows to draw; a rehearsal has none")
    heights = [len(rows) + 1.7 for _, rows in shown]
    with rc_context(STYLE):
        drawn = Figure(figsize=(8.5, 0.36 * sum(heights) + 1))
        for axes, (panel, rows) in zip(
            drawn.subplots(len(shown), height_ratios=heights, squeeze=False)[:, 0], shown, strict=True
        ):
            draw_panel(axes, panel, rows)
        drawn.suptitle(
            "{device}, {date}, commit {commit}\nblue: hybridlib; orange lines: goals".format(**record), fontsize=11
        )
    return drawn


def draw_panel(axes: Any, panel: Panel, rows: Sequence[Row]) -> None:
    """Draw the bars of a panel, and a line across each that has a goal."""
    values = [row[panel.column] * panel.times for row in rows]
    names = [LABELS.get(row["contender"], row["contender"]) for row in rows]
    bars = {name: (value, panel.text(value)) for name, value in zip(names, values, strict=True)}
    ours = "InfoNCE" if panel.ours == "ours" else panel.ours
    bars_on(axes, bars, ours, panel.xlabel, panel.title.format(size=f"{rows[0]['size']:,}"))
    goals = {place: goal_of(panel, row) for place, row in enumerate(rows)}
    if panel.column == "times":  # the best of them is to be that slow
        goals = {values.index(min(values)): goals[0]}
    for place, goal in goals.items():
        if goal is not None:
            ends = [place - 0.42, place + 0.42]
            axes.plot([goal * panel.times] * 2, ends, color=COLOURS[1], linewidth=2.5)
    axes.set_xscale(panel.scale)
    for place, goal in goals.items():  # a number that a line would cross goes behind it
        across = (axes.transScale + axes.transLimits).transform
        if goal is not None and 0 <= across((goal * panel.times, 0))[0] - across((values[place], 0))[0] < 0.12:
            axes.texts[place].set_x(goal * panel.times)


def rows_of(panel: Panel, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of a panel, of the first of its sizes at which ours have any."""
    found = [
        row
        for row in rows
        if row["part"] == panel.part
        and row.get(panel.column) is not None
        and any(fnmatchcase(row["contender"], name) for name in panel.contenders)
    ]
    begin = "" if panel.ours == "hybridlib" else panel.ours
    for sizes in panel.sizes:
        of_size = [row for row in found if row["size"] in sizes]
        if any(row["contender"].startswith(begin) for row in of_size):
            return of_size
    return []


def goal_of(panel: Panel, row: Row) -> float | None:
    """Return the goal of a figure, in the unit that is shown."""
    for goal in GOALS:
        if (goal.part, goal.size) != (panel.part, row["size"]) or not fnmatchcase(row["contender"], goal.contender):
            continue
        bound = goal.at_most if goal.at_least is None else goal.at_least
        assert bound is not None
        if goal.column == panel.column:
            return bound
        if (goal.column, panel.column) == ("seconds", "of_product"):
            return float(row["of_product"] * row["seconds"] / bound)
        if (goal.column, panel.column) in (("times", "seconds"), ("of_memory", "memory_mb")):
            return float(row[panel.column] / row[goal.column] * bound)
    return None
