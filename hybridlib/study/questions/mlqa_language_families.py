"""Parameters, trials and claims of `notebooks/mlqa_language_families.ipynb`.

The question is: what does hybrid training gain over standard multilingual fine-tuning, family by family?
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hybridlib.names import STRATEGIES
from hybridlib.study.params import Params
from hybridlib.study.report.claims import Claim
from hybridlib.study.run import Trial
from hybridlib.training.settings import Share

# The sampler has no such strategy: these are batches of `en-en`, of code-switched text.
CODE_SWITCH = "code-switch"

CLAIMS = (
    Claim("Hybrid batches are better than x-x for monolingual retrieval", "monolingual", "map", "hybrid", "x-x"),
    Claim("Hybrid batches are better than x-x for cross-lingual retrieval", "cross-lingual", "map", "hybrid", "x-x"),
    Claim("Hybrid batches are better than x-x for multilingual retrieval", "multilingual", "map", "hybrid", "x-x"),
    Claim("Hybrid batches leave less language bias than x-x", "multilingual", "rank_distance", "hybrid", "x-x"),
    Claim("Hybrid batches are better than mix-passages for multilingual retrieval",
          "multilingual", "map", "hybrid", "mix-passages"),
    Claim("Hybrid batches are better than mix-entries for multilingual retrieval",
          "multilingual", "map", "hybrid", "mix-entries"),
    Claim("Hybrid batches are better than round-robin-entries for multilingual retrieval",
          "multilingual", "map", "hybrid", "round-robin-entries"),
    Claim("Hybrid batches are better than code-switching for multilingual retrieval",
          "multilingual", "map", "hybrid", "code-switch"),
)  # fmt: skip


class MlqaLanguageFamiliesParams(Params):
    """Parameters of `notebooks/mlqa_language_families.ipynb`.

    Attributes:
        encoder: the encoder to start from.
        strategies: those to compare.
        baseline: the strategy that gains are over.
        size_strategies: those that are tried with less data.
        alpha: the probability of a monolingual batch in `hybrid`.
    """

    encoder: str
    strategies: Annotated[list[str], Field(min_length=2)]
    baseline: str
    size_strategies: list[str]
    alpha: Share

    @model_validator(mode="after")
    def _some_of_the_strategies(self) -> Self:
        allowed = (*STRATEGIES, CODE_SWITCH)
        for name in self.strategies:
            if name not in allowed:
                raise ValueError(f"unknown strategy {name!r}; allowed: {', '.join(allowed)}")
        for name in (self.baseline, *self.size_strategies):
            if name not in self.strategies:
                raise ValueError(f"{name!r} is not among strategies: {', '.join(self.strategies)}")
        return self

    def trials(self) -> list[Trial]:
        """Return a trial for every strategy and seed; labels `strategy`, `size`, `seed`."""
        cells = [(strategy, 1.0) for strategy in self.strategies]
        cells += [(strategy, size) for size in self.sizes if size < 1 for strategy in self.size_strategies]
        return [self._trial(*cell, seed) for seed in self.seeds for cell in cells]

    def _trial(self, strategy: str, size: float, seed: int) -> Trial:
        switched = strategy == CODE_SWITCH
        drawn = "en-en" if switched else strategy
        run = self.run(self.encoder, seed, drawn, self.alpha, code_switched=switched, others=size)
        return Trial(dict(strategy=strategy, size=size, seed=seed), run)
