"""Claims: statements of a question about its results, and p of several; `findings` holds them against results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, GetPydanticSchema

from hybridlib.arguments import Share, checked, listed, plain

# Contrasts by name: the weight of each label. Where they enter, weights are checked to be such that sums are finite.
Contrasts = Mapping[str, Mapping[Any, Annotated[float, Field(ge=-1e9, le=1e9)]]]
_LABELS = Annotated[list[Any], BeforeValidator(listed)]
# Labels; one text alone is a list of it.
Labels = Annotated[Sequence[Any], GetPydanticSchema(lambda _, schema_of: schema_of(_LABELS))]
_SHARES = Annotated[list[Share], BeforeValidator(lambda values: plain(listed(values)))]
_Shares = Annotated[Sequence[float], GetPydanticSchema(lambda _, schema_of: schema_of(_SHARES))]


@dataclass(frozen=True)
class Claim:
    """A claim about a contrast of settings: a sum of their means, each with a weight, as {"hybrid": 1, "x-y": -1}.

    Attributes:
        text: the claim, in the present tense.
        on: the name of the table of results that it is about.
        setting, measure: those by which it is tested.
        contrast: the weight of each label; those with a positive weight are claimed to do better.
        asks: whether they are claimed to be better, or only not inferior by the measure's margin.
        kind: a primary claim was fixed before the results were seen, and p values are corrected for the number of a
            notebook's primary claims. A secondary one counts where the primary ones hold. An exploratory one suggests.
        paper: the task and the two strategies whose figures the paper reports for it, if it does.
        in_answer: whether the answer at the head of the notebook tells of it; it tells of every primary claim.
    """

    text: str
    on: str
    setting: str
    measure: str
    contrast: Mapping[Any, float]
    asks: Literal["better", "not inferior"] = "better"
    kind: Literal["primary", "secondary", "exploratory"] = "secondary"
    paper: tuple[str, str, str] | None = None
    in_answer: bool = False


def minus(first: Any, other: Any) -> dict[Any, float]:
    """Return the contrast of one label with another.

    >>> minus("hybrid", "x-y")
    {'hybrid': 1.0, 'x-y': -1.0}
    """
    return {first: 1.0, other: -1.0}


def half_of_the_gap(kept_by: str, best: str, worst: str) -> dict[str, float]:
    """Return the contrast that is above 0 where a strategy keeps more than half of the gap between two others."""
    return {kept_by: 1.0, best: -0.5, worst: -0.5}


def change(first: str, other: str, where: str, reference: str) -> dict[tuple[str, str], float]:
    """Return a difference in differences: of two strategies where something is so, against where it is not."""
    return {(first, where): 1.0, (other, where): -1.0, (first, reference): -1.0, (other, reference): 1.0}


@checked
def holm(p: _Shares) -> np.ndarray:
    """Adjust p values for their number, so that a single false finding among them is as rare as asked (Holm, 1979).

    Args:
        p: from 0 to 1. (N,)

    Returns:
        Adjusted p values, in the same order. (N,)

    Raises:
        ValueError: there is none, or one is missing, is no number, or is not from 0 to 1.

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()  # 3 * 0.01, then 2 * 0.03, and never less than the one before
    [0.03, 0.06, 0.06]
    """
    if not p:
        raise ValueError("p is empty; allowed: one or more values from 0 to 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted
