"""Claims: what a question says of its results, to be held against them by `findings`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A claim about two strategies, or two values of another label.

    Attributes:
        text: the claim, in the present tense.
        setting, measure: what it is about.
        first, other: what is compared.
        strict: whether the first is claimed to be better, not just as good.
        relative: whether the difference is taken as a share of the other's mean; not of measures that may be 0.
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
