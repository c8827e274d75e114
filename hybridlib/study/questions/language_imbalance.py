"""Parameters, trials and claims of `notebooks/language_imbalance.ipynb`.

The question is: how robust are hybrid batches against language imbalance in the training data?
"""

from typing import Annotated, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from hybridlib.study.params import BETWEEN, Params
from hybridlib.study.report.claims import Claim
from hybridlib.study.run import Trial
from hybridlib.training.settings import Share

CLAIMS = (
    Claim("Where data is most unequal, hybrid batches are better than monolingual ones for multilingual retrieval",
          "multilingual", "map", "hybrid", "x-x-mono"),
    Claim("Where data is most unequal, hybrid batches are as good as monolingual ones for monolingual retrieval",
          "monolingual", "map", "hybrid", "x-x-mono", strict=False),
    Claim("Where data is most unequal, hybrid batches leave less language bias than monolingual ones",
          "multilingual", "rank_distance", "hybrid", "x-x-mono"),
    Claim("Where data is most unequal, hybrid batches rank languages more fairly (PEER) than monolingual ones",
          "multilingual", "peer@100", "hybrid", "x-x-mono"),
    Claim("With hybrid batches, monolingual quality falls less from large languages to small ones than with "
          "monolingual batches", "monolingual", "slope", "hybrid", "x-x-mono", relative=False),
    Claim("With hybrid batches, monolingual quality falls less from large languages to small ones than with "
          "cross-lingual batches", "monolingual", "slope", "hybrid", "x-y", relative=False),
)  # fmt: skip


class LanguageImbalanceParams(Params):
    """Parameters of `notebooks/language_imbalance.ipynb`.

    The n-th largest language has a share of the training items that is in proportion to n to the power of minus the
    exponent. The mean over languages is the same for every exponent, so that imbalance is not mistaken for a lack of
    data. Every seed draws which language is the n-th largest, so that imbalance is not mistaken for the difficulty of a
    language.

    Attributes:
        encoder: the encoder to start from.
        languages: those of training and evaluation.
        exponents: those of the power law; 0 is balanced.
        mean_share: share of the training items that exists in a language, averaged over the languages.
        samplings: ways to draw languages, by name: the probability of a language is in proportion to this power of its
            size; 0 is uniform, 1 proportional.
        alpha: the probability of a monolingual batch in `hybrid`.
        size_exponent: the exponent with which sizes below 1 are tried (with the first sampling).
    """

    encoder: str
    languages: Annotated[list[str], Field(min_length=2)]
    exponents: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2)]
    mean_share: Annotated[float, Field(gt=0, le=1)]
    samplings: Annotated[dict[str, Share], Field(min_length=1)]
    alpha: Share
    size_exponent: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _no_language_has_more_than_there_is(self) -> Self:
        largest = max(self._shares(max(self.exponents), 1.0, 0).values())
        if largest > 1:
            allowed = self.mean_share / largest
            raise ValueError(
                f"mean_share is {self.mean_share}; at exponent {max(self.exponents)} allowed: {allowed:.3f}"
            )
        return self

    def trials(self) -> list[Trial]:
        """Return a trial for every exponent, sampling, strategy and seed.

        Labels are `exponent`, `sampling`, `strategy`, `size` and `seed`.
        """
        samplings = list(self.samplings)
        cells = [(exponent, sampling, 1.0) for exponent in self.exponents for sampling in samplings]
        cells += [(self.size_exponent, samplings[0], size) for size in self.sizes]
        cells = list(dict.fromkeys(cells))
        return [self._trial(*cell, strategy, seed) for seed in self.seeds for cell in cells for strategy in BETWEEN]

    def training_shares(self) -> pd.DataFrame:
        """Return the share of the items that exists: `exponent`, `size`, `seed`, `language`, `share`."""
        cells = [(exponent, 1.0) for exponent in self.exponents] + [(self.size_exponent, size) for size in self.sizes]
        rows = [
            {"exponent": exponent, "size": size, "seed": seed, "language": language, "share": share}
            for exponent, size in dict.fromkeys(cells)
            for seed in self.seeds
            for language, share in self._shares(exponent, size, seed).items()
        ]
        return pd.DataFrame(rows)

    def _shares(self, exponent: float, size: float, seed: int) -> dict[str, float]:
        weight = np.arange(1, len(self.languages) + 1) ** -float(exponent)
        share = self.mean_share * size * weight / weight.mean()
        order = np.random.default_rng([self.data_seed, seed]).permutation(self.languages)
        return dict(zip(order.tolist(), share.round(6).tolist(), strict=True))

    def _trial(self, exponent: float, sampling: str, size: float, strategy: str, seed: int) -> Trial:
        # All samplings are the same where all languages have one size, and one run serves them.
        power = self.samplings[sampling] if exponent else 0.0
        run = self.run(
            self.encoder,
            seed,
            strategy,
            self.alpha,
            languages=tuple(self.languages),
            task_languages=tuple(self.languages),
            available=self._shares(exponent, size, seed),
            language_temperature=1 / power if power else float("inf"),
            measures=("map", "rank_distance", "peer@100"),
        )
        return Trial(dict(exponent=exponent, sampling=sampling, strategy=strategy, size=size, seed=seed), run)
