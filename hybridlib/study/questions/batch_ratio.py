"""Parameters, trials and claims of `notebooks/batch_ratio.ipynb`.

The question is: how does the ratio of monolingual to cross-lingual batches affect retrieval?
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hybridlib.study.params import Names, Params
from hybridlib.study.report.claims import Claim
from hybridlib.study.run import Trial
from hybridlib.training.settings import Share

CLAIMS = tuple(
    Claim(*claim, in_paper=True)
    for claim in (
        ("Monolingual batches make monolingual retrieval better than cross-lingual batches do",
         "monolingual", "map", "x-x-mono", "x-y", True),
        ("Cross-lingual batches make cross-lingual retrieval better than monolingual batches do",
         "cross-lingual", "map", "x-y", "x-x-mono", True),
        ("Hybrid batches are as good as monolingual ones for monolingual retrieval",
         "monolingual", "map", "hybrid", "x-x-mono", False),
        ("Hybrid batches are as good as cross-lingual ones for cross-lingual retrieval",
         "cross-lingual", "map", "hybrid", "x-y", False),
        ("Hybrid batches are as good as cross-lingual ones for multilingual retrieval",
         "multilingual", "map", "hybrid", "x-y", False),
        ("Hybrid batches are better than monolingual ones for multilingual retrieval",
         "multilingual", "map", "hybrid", "x-x-mono", True),
        ("Hybrid batches leave less language bias than monolingual ones",
         "multilingual", "rank_distance", "hybrid", "x-x-mono", True),
        ("Hybrid batches leave no more language bias than cross-lingual ones",
         "multilingual", "rank_distance", "hybrid", "x-y", False),
    )
)  # fmt: skip


class BatchRatioParams(Params):
    """Parameters of `notebooks/batch_ratio.ipynb`.

    Attributes:
        languages: those of training and evaluation; all of them if empty.
        available: share of the training items in each low-resource language; 0 makes a language unseen. Sizes concern
            the other languages.
        encoders: those to start from; see `load_encoder`. Sizes below 1 are tried with the first.
        alphas: probabilities of a monolingual batch; the two ends are `x-y` (0) and `x-x-mono` (1).
        hybrid_alpha: the one that stands for hybrid batches in comparisons with the two ends.
    """

    languages: list[str]
    available: dict[str, Share]
    encoders: Names
    alphas: Annotated[list[Share], Field(min_length=3)]
    hybrid_alpha: Share

    @model_validator(mode="after")
    def _ends_are_there(self) -> Self:
        needed = {0.0, 1.0, self.hybrid_alpha}
        if len(needed) < 3:
            raise ValueError(f"hybrid_alpha is {self.hybrid_alpha}; allowed: above 0, below 1")
        if needed - set(self.alphas):
            raise ValueError(f"alphas is {self.alphas}; it must include 0 and 1, which the others are compared with, "
                             f"and hybrid_alpha, {self.hybrid_alpha}")  # fmt: skip
        return self

    def trials(self) -> list[Trial]:
        """Return a trial for every encoder, alpha and seed; labels `encoder`, `alpha`, `strategy`, `size`, `seed`."""
        cells = [(encoder, 1.0, alpha) for encoder in self.encoders for alpha in self.alphas]
        ends = (0.0, self.hybrid_alpha, 1.0)
        cells += [(self.encoders[0], size, alpha) for size in self.sizes if size < 1 for alpha in ends]
        return [self._trial(*cell, seed) for seed in self.seeds for cell in cells]

    def _trial(self, encoder: str, size: float, alpha: float, seed: int) -> Trial:
        strategy = {0.0: "x-y", 1.0: "x-x-mono", self.hybrid_alpha: "hybrid"}.get(alpha, f"hybrid, α = {alpha:g}")
        run = self.run(
            encoder,
            seed,
            "hybrid",
            alpha,
            languages=tuple(self.languages),
            task_languages=tuple(self.languages),
            available=self.available,
            others=size,
            measures=("map", "recall@1", "recall@10", "rank_distance"),
        )
        return Trial(dict(encoder=encoder, alpha=float(alpha), strategy=strategy, size=size, seed=seed), run)
