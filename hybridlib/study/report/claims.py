"""Claims: statements of a question about its results; `findings` holds them against what was found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A claim about two strategies, or two values of another label.

    Attributes:
        text: the claim, in the present tense.
        setting, measure: those by which it is tested.
        first, other: the two values that are compared.
        strict: whether the first is claimed to be better, not just as good.
        relative: whether the difference is a share of the other's mean; false for a measure that may be 0.
        in_paper: whether the paper reports it, for XQuAD-R.
    """

    text: str
    setting: str
    measure: str
    first: str | float
    other: str | float
    strict: bool = True
    relative: bool = True
    in_paper: bool = False
