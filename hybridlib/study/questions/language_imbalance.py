"""Parameters, trials and claims of `notebooks/language_imbalance.ipynb`.

The question is: how robust are hybrid batches against language imbalance in the training data?
"""

import math
from typing import Annotated, ClassVar, Self

import pandas as pd
from pydantic import Field, model_validator

from hybridlib.arguments import told
from hybridlib.study.inputs import languages_of
from hybridlib.study.params import BETWEEN, Params
from hybridlib.study.report.claims import Claim, change, minus
from hybridlib.study.report.results import read_sums
from hybridlib.study.run import Trial

MEASURES = ("map", "recall@10", "rank_distance", "preference", "lpr")
# So many of the rarest languages are called rare, and as many of the largest rich.
_RARE = 5


def _claims() -> tuple[Claim, ...]:
    unequal = change("hybrid", "x-x-mono", "unequal", "balanced")
    from_x_y = change("hybrid", "x-y", "unequal", "balanced")
    more = "hybrid gains more over x-x-mono with unequal data than with balanced data, for"
    return (
        Claim(f"In the pool, {more} rare languages", "rare", "multilingual", "map", unequal, kind="primary"),
        Claim(f"Within a language, {more} rare languages", "rare", "monolingual", "map", unequal),
        Claim(f"Across languages, {more} rare languages", "rare", "cross-lingual", "map", unequal),
        Claim(f"In rank distance, {more} rare languages", "rare", "multilingual", "rank_distance", unequal),
        Claim(f"In the pool, {more} rich languages", "rich", "multilingual", "map", unequal),
        Claim("Within a language, hybrid gains more over x-y with unequal data, for rare languages",
              "rare", "monolingual", "map", from_x_y),
        Claim("In the pool, hybrid gains more over x-y with unequal data, for rare languages",
              "rare", "multilingual", "map", from_x_y),
        Claim("With unequal data, hybrid batches are better than monolingual ones in the pool, for rare languages",
              "rare", "multilingual", "map", minus(("hybrid", "unequal"), ("x-x-mono", "unequal")), in_answer=True),
        Claim("With unequal data, hybrid batches are not inferior to monolingual ones within a rare language",
              "rare", "monolingual", "map", minus(("hybrid", "unequal"), ("x-x-mono", "unequal")),
              "not inferior", in_answer=True),
    )  # fmt: skip


CLAIMS = _claims()


class LanguageImbalanceParams(Params):
    """Parameters of `notebooks/language_imbalance.ipynb`.

    The n-th largest language has a share of the training items that is in proportion to n to a power. With balanced
    data, every language has the mean of these shares, so that imbalance is not mistaken for a lack of data. The order
    of the languages changes from run to run, so that imbalance is not mistaken for the difficulty of a language.

    Attributes:
        languages: those of training and evaluation; all of them if empty.
        ratio: the largest language has so many times the items of the smallest.
        largest: the share of the training items that the largest language has.
        orders: the languages from the largest to the smallest, an order for each fold, or each seed if there are none.
        alpha: the probability of a monolingual batch in `hybrid`.
    """

    notebook: ClassVar = "language_imbalance"
    question: ClassVar = "Do hybrid batches protect rare languages from imbalance in the training data?"
    claims: ClassVar = CLAIMS

    ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)]
    largest: Annotated[float, Field(gt=0, le=1)]
    orders: Annotated[list[Annotated[list[str], Field(min_length=2)]], Field(min_length=1)]
    alpha: Annotated[float, Field(gt=0, lt=1)]
    languages: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _orders_are_of_the_languages(self) -> Self:
        languages = self.languages or languages_of(self.corpus)
        for order in self.orders:
            if sorted(order) != sorted(languages):
                raise ValueError(f"orders has {told(order)}; allowed: each of {languages} once")
        if not all(self.shares(0).values()):
            raise ValueError(f"ratio is {self.ratio}; allowed: less, as the smallest language would have no items")
        return self

    def shares(self, place: int) -> dict[str, float]:
        """Return the share of the items that every language has in one of the orders, rounded to four digits."""
        order = self.orders[place % len(self.orders)]
        power = math.log(self.ratio) / math.log(len(order))
        shares = {code: round(self.largest * (n + 1) ** -power, 4) for n, code in enumerate(order)}
        return dict(sorted(shares.items()))

    def trials(self) -> list[Trial]:
        """Return the trials: strategies with balanced and with unequal data, labelled by `data`.

        The untrained encoder, which has seen neither, stands beside both.
        """
        mean = round(sum(self.shares(0).values()) / len(self.shares(0)), 4)
        languages = tuple(self.languages)
        trials = []
        for place, (fold, seed) in enumerate(self.replicates):
            untrained = self.run(fold, seed, steps=0, languages=languages)
            unequal = {"available": self.shares(place), "language_temperature": 1.0}  # drawn in proportion
            for data, further in (("balanced", {"others": mean}), ("unequal", unequal)):
                runs = {
                    name: self.run(fold, seed, name, self.alpha, languages=languages, **further) for name in BETWEEN
                }
                for name, run in {"untrained": untrained, **runs}.items():
                    trials.append(Trial(self.labels(name, fold, seed, data=data, order=place), run))
        return trials

    def read_tables(self) -> dict[str, pd.DataFrame]:
        """Read the results: `all`, and `rare` and `rich` for the questions in the rarest and the largest languages.

        There, the cells of the means are places in the order, since languages change places.
        """
        table = read_sums(self.trials(), MEASURES, task=self.task)
        if table.empty:
            return {}
        places = {(n, code): place for n, order in enumerate(self.orders) for place, code in enumerate(order)}
        orders = [order % len(self.orders) for order in table.order]
        place = pd.Series([places[key] for key in zip(orders, table.query_language, strict=True)], index=table.index)
        size = len(self.orders[0])
        count = min(_RARE, size // 2)
        return {
            "all": table,
            "place": table.assign(cell=place),
            "rare": table.assign(cell=place)[place >= size - count],
            "rich": table.assign(cell=place)[place < count],
        }
