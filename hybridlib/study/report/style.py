"""The look of every figure of the project: style, colours, markers, lines and the names in legends.

What is compared is told apart by marker and line, not by colour alone, so that figures can be read in grey. The module
needs the standard library only, so that the benchmarks can share it with the notebooks.
"""

from collections.abc import Sequence
from typing import Any

COLOURS = ("#0b4f8a", "#c8641e", "#4a7c3a", "#7a4a8a", "#8a7a2a", "#5a5a5a", "#a83a5a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
STYLE: dict[Any, Any] = {  # for `matplotlib.rc_context`
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

# Each strategy has one look in all figures: its place in `COLOURS`, `MARKERS` and `LINES`.
_LOOKS = {"x-x-mono": 0, "hybrid": 1, "x-y": 2, "x-x": 3}


def looks_of(labels: Sequence[str]) -> dict[str, int]:
    """Give each label a look by number: a strategy its own, any other label the next that is free.

    Raises:
        ValueError: there are more labels than can be told apart in grey.

    >>> looks_of(["hybrid", "stock"])
    {'hybrid': 1, 'stock': 0}
    """
    if len(labels) > len(LINES):
        raise ValueError(f"labels are {list(labels)}; allowed: at most {len(LINES)}, to be told apart in grey")
    free = (number for number in range(len(LINES)) if number not in {_LOOKS.get(label) for label in labels})
    return {label: _LOOKS[label] if label in _LOOKS else next(free) for label in labels}


def alpha_label(alpha: float) -> str:
    """Return alpha for a figure; the two ends have the names of their strategies.

    >>> alpha_label(0.5), alpha_label(1)
    ('α = 0.5', 'α = 1 (x-x-mono)')
    """
    return f"α = {alpha:g}" + {0.0: " (x-y)", 1.0: " (x-x-mono)"}.get(float(alpha), "")


def encoder_label(encoder: str) -> str:
    """Return an encoder's name for a figure: without the family of a static one, or the owner of one from the hub.

    >>> encoder_label("static:scratch"), encoder_label("owner/name@revision")
    ('scratch', 'name')
    """
    return encoder.partition("@")[0].replace("/", ":").rpartition(":")[2]
