"""The look of every figure of the project: style, colours, markers, lines and the names in legends.

What is compared is told apart by marker and line, not by colour alone, so that figures can be read in grey. The colours
of strategies are those of Okabe and Ito, or near them, which the colour-blind can tell apart. The module needs the
standard library only, so that the benchmarks can share it with the notebooks.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

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


class Look(NamedTuple):
    """The look of a label: its colour, its marker, its line, and whether the marker is filled."""

    colour: str
    marker: str
    line: str = "-"
    filled: bool = True

    @property
    def points(self) -> dict[str, Any]:
        """Return how `Axes.plot` draws its markers."""
        face = self.colour if self.filled else "white"
        return {"marker": self.marker, "color": self.colour, "markerfacecolor": face, "markeredgecolor": self.colour}


_LOOKS = {
    "untrained": Look("#6e6e6e", "X", ":"),
    "bm25": Look("#000000", "P", ":"),
    "x-x-mono": Look("#0072b2", "o", "-"),
    "hybrid": Look("#d55e00", "s", "--"),
    "hybrid-pairs": Look("#b8860b", "D", "-."),
    "x-y": Look("#008560", "^", "-."),
    "x-x": Look("#b0568c", "v", ":"),
    "mix-passages": Look("#3490c8", "<", "--"),
    "mix-entries": Look("#5b3a8c", ">", ":"),
    "round-robin-entries": Look("#8a5a2a", "p", "-."),
    "en-en": Look("#7d7d1e", "h", "-"),
    "code-switch": Look("#a02c2c", "d", "--"),
}
_FREE = tuple(map(Look, COLOURS[:4], MARKERS, LINES))


def look_of(label: str) -> Look:
    """Return the look of a strategy, hollow where a word after a comma says how it differs.

    Any other label has a plain look.

    >>> look_of("hybrid") == look_of("hybrid, α = 0.25")._replace(filled=True)
    True
    """
    name, comma, _ = label.partition(", ")
    return _LOOKS.get(name, _FREE[0])._replace(filled=not comma)


def looks_of(labels: Sequence[str]) -> dict[str, Look]:
    """Give each label a look of its own: a strategy that of `look_of`, any other label the next that is free.

    Raises:
        ValueError: there are more labels than can be told apart in grey.

    >>> {label: look.marker for label, look in looks_of(["hybrid", "stock"]).items()}
    {'hybrid': 's', 'stock': 'o'}
    """
    looks = {label: look_of(label) for label in labels if label.partition(", ")[0] in _LOOKS}
    taken = {look.marker for look in looks.values()}
    free = [look for look in _FREE if look.marker not in taken]
    others = [label for label in labels if label not in looks]
    if len(others) > len(free) or len({(look.marker, look.filled) for look in looks.values()}) < len(looks):
        raise ValueError(
            f"labels are {list(labels)}; allowed: at most {len(_FREE)} besides strategies, and no two variants of a "
            "strategy, to be told apart in grey"
        )
    looks |= dict(zip(others, free, strict=False))
    return {label: looks[label] for label in labels}


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
