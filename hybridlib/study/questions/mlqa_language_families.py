"""Parameters, trials and claims of `notebooks/mlqa_language_families.ipynb`.

The question is: what does hybrid training gain over standard multilingual fine-tuning, family by family?
"""

from typing import Annotated, ClassVar, Self

import pandas as pd
from pydantic import Field, model_validator

from hybridlib.arguments import Share, told
from hybridlib.names import STRATEGIES
from hybridlib.study.params import Params
from hybridlib.study.report.claims import Claim, minus
from hybridlib.study.report.results import read_sums
from hybridlib.study.run import Trial

# The sampler has no such strategy: these are batches of `en-en`, of code-switched text.
CODE_SWITCH = "code-switch"
MEASURES = ("map", "recall@10", "rank_distance", "preference", "lpr")

CLAIMS = (
    Claim("In the pool of all languages, hybrid batches are better than x-x",
          "main", "multilingual", "map", minus("hybrid", "x-x"), kind="primary"),
    Claim("Across languages, hybrid batches are better than x-x",
          "main", "cross-lingual", "map", minus("hybrid", "x-x")),
    Claim("Within a language, hybrid batches are better than x-x",
          "main", "monolingual", "map", minus("hybrid", "x-x"), in_answer=True),
    Claim("Hybrid batches leave less language bias (rank distance) than x-x",
          "main", "multilingual", "rank_distance", minus("hybrid", "x-x")),
    Claim("In the pool, hybrid batches are better than x-x-mono",
          "main", "multilingual", "map", minus("hybrid", "x-x-mono"), paper=("mlqa-r", "hybrid", "x-x-mono"),
          in_answer=True),
    Claim("In the pool, hybrid batches are better than x-y",
          "main", "multilingual", "map", minus("hybrid", "x-y"), paper=("mlqa-r", "hybrid", "x-y"), in_answer=True),
    Claim("In the pool, hybrid batches are better than mix-passages",
          "main", "multilingual", "map", minus("hybrid", "mix-passages"), in_answer=True),
    Claim("Within a language, hybrid batches are better than mix-passages",
          "main", "monolingual", "map", minus("hybrid", "mix-passages")),
)  # fmt: skip


class MlqaLanguageFamiliesParams(Params):
    """Parameters of `notebooks/mlqa_language_families.ipynb`.

    Attributes:
        strategies: those to compare, beside the untrained encoder.
        baseline: the strategy that gains are over.
        alpha: the probability of a monolingual batch in `hybrid`.
    """

    notebook: ClassVar = "mlqa_language_families"
    question: ClassVar = "Do hybrid batches gain over standard multilingual fine-tuning (x-x)?"
    claims: ClassVar = CLAIMS

    strategies: Annotated[list[str], Field(min_length=2)]
    baseline: str
    alpha: Share

    @model_validator(mode="after")
    def _some_of_the_strategies(self) -> Self:
        allowed = (*STRATEGIES, CODE_SWITCH)
        for name in self.strategies:
            if name not in allowed:
                raise ValueError(f"unknown strategy {told(name)}; allowed: {', '.join(allowed)}")
        if self.baseline not in self.strategies:
            raise ValueError(f"baseline is {told(self.baseline)}, not among strategies: {told(self.strategies)}")
        return self

    def trials(self) -> list[Trial]:
        """Return a trial for every strategy and run, and of the untrained encoder; labelled by `strategy`."""
        fold, seed = self.replicates[0]
        untrained = Trial(self.labels("untrained", fold, seed), self.run(fold, seed, steps=0))
        return [untrained, *(self._trial(name, *one) for name in self.strategies for one in self.replicates)]

    def read_tables(self) -> dict[str, pd.DataFrame]:
        """Read the results, `main`."""
        table = read_sums(self.trials(), MEASURES, task=self.task)
        return {"main": table} if len(table) else {}

    def _trial(self, strategy: str, fold: int | None, seed: int) -> Trial:
        switched = strategy == CODE_SWITCH
        run = self.run(fold, seed, "en-en" if switched else strategy, self.alpha, code_switched=switched)
        return Trial(self.labels(strategy, fold, seed), run)
