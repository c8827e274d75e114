"""The look of every figure, of the notebooks and of the benchmarks."""

from typing import Any

COLOURS = ("#0b4f8a", "#c8641e", "#4a7c3a", "#7a4a8a")
MARKERS = ("o", "s", "^", "D")
LINES = ("-", "--", "-.", ":")
STYLE: Any = {
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
