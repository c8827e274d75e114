"""The goals of `benchmarks/gpu.py`: what each row of a record should reach, and whether it does."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

OURS, STOCK = "embed_texts, bfloat16", "stock encode*"
MOST = 8_000_000  # passages
# How a figure is shown, by its unit.
SHOWN = {
    "s": lambda seconds: f"{seconds * 1000:.3g} ms",
    "share": "{:.0%}".format,
    "times": "{:.1f} times as long".format,
    "GB/s": "{:.0f} GB/s".format,
    "cosine": "{:.5f}".format,
}


class Goal(NamedTuple):
    """A bound on a figure of some contenders, of which the lowest counts."""

    name: str
    part: str
    contender: str  # with * for any text
    size: int
    column: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None


_ENCODING = [
    goal
    for texts in (1_000, 6_000)
    for goal in (
        Goal(f"speed of encoding {texts:,} texts, of a product's", "encoding", OURS, texts, "of_product", "share", 0.4),
        Goal(f"stock encoding of {texts:,} texts, beside ours", "encoding", STOCK, texts, "times", "times", 4),
    )
]
_COSINE = Goal("least cosine of 1,000 texts in bfloat16", "encoding", OURS, 1_000, "least_cosine", "cosine", 0.9999)
# Milliseconds of a step, and of a count.
_STEPS = [
    Goal(name, "training", contender, 100, "seconds", "s", at_most=most / 1000)
    for name, contender, most in (
        ("a step of XLM-R base in a plain loop", "plain loop, InfoNCE", 25),
        ("a step of XLM-R base in fine_tune", "fine_tune, XLM-R base", 25),
        ("a step of multilingual-e5-small in fine_tune", "fine_tune, multilingual-e5-small*", 60),
    )
]
_COUNTS = [
    Goal(f"counting {size // 1_000_000} million passages, {contender}", "metric", contender, size, "seconds", "s",
         at_most=most / 1000)
    for contender, size, most in (
        ("float16", MOST, 28),
        ("float16, 16 languages mixed", MOST, 50),
        ("float16, 10 relevant a query", MOST, 70),
        ("float32, as chosen", MOST // 2, 20),
    )
]  # fmt: skip
_UNFUSED = Goal(
    "unfused torch counting 1 million passages, beside ours", "metric", "unfused torch*", 1 << 20, "times", "times", 4
)
_FROM_HOST = [
    Goal(f"speed of counting from the host, {kind}, {of}", "host", f"from the host, {kind}", MOST // 4, *bound)
    for kind, of, *bound in (
        ("float16, pinned", "of a copy's", "of_copy", "share", 0.9),
        ("float32, pinned", "of a copy's", "of_copy", "share", 0.9),
        ("float16, not pinned", "in all", "gb_per_s", "GB/s", 20),
    )
]
_LOSS = [
    Goal("cached loss of 8,192 pairs, beside a plain one", "loss", "ours cached", 8_192, "times", "times", at_most=1),
    Goal("memory of this loss, of a plain one's", "loss", "ours cached", 8_192, "of_memory", "share", at_most=0.1),
]
GOALS = (*_ENCODING, _COSINE, *_STEPS, *_COUNTS, _UNFUSED, *_FROM_HOST, *_LOSS)


def judged(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each goal, with what was reached, None where nothing was measured, and whether it is met or missed."""
    found = []
    for goal in GOALS:
        values = [
            row[goal.column]
            for row in rows
            if (row["part"], row["size"]) == (goal.part, goal.size)
            and fnmatchcase(row["contender"], goal.contender)
            and row.get(goal.column) is not None
        ]
        value = min(values, default=None)
        bound = {"at_least": goal.at_least} if goal.at_most is None else {"at_most": goal.at_most}
        found.append({"goal": goal.name, "part": goal.part, "unit": goal.unit, **bound, "reached": value,
                      "said": _word(goal, value)})  # fmt: skip
    return found


def _word(goal: Goal, value: float | None) -> str:
    if value is None:
        return "not measured"
    above = goal.at_least is None or value >= goal.at_least
    below = goal.at_most is None or value <= goal.at_most
    return "met" if above and below else "missed"


def told(goal: Mapping[str, Any]) -> tuple[str, str, str]:
    """Tell a judged goal, what was reached and what was wanted in words, such as `45.3 ms` and `at most 28 ms`."""
    shown = SHOWN[goal["unit"]]
    bound = next(name for name in ("at_least", "at_most") if name in goal)
    reached = "" if goal["reached"] is None else shown(goal["reached"])
    return goal["goal"], reached, f"{bound.replace('_', ' ')} {shown(goal[bound])}"
