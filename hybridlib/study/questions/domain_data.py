"""Parameters, trials and claims of `notebooks/domain_data.ipynb`.

The question is: what does adding data of a domain do inside and outside of that domain?
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from hybridlib.study.params import BETWEEN, Names, Params
from hybridlib.study.report.claims import Claim
from hybridlib.study.run import Trial
from hybridlib.training.settings import Count, Share

CLAIMS = (
    Claim("Adding a domain's data makes cross-lingual retrieval better in that domain",
          "cross-lingual", "inside", "added", "not added"),
    Claim("Adding a domain's data makes monolingual retrieval better in that domain",
          "monolingual", "inside", "added", "not added"),
    Claim("Adding a domain's data costs cross-lingual retrieval nothing in the other domains",
          "cross-lingual", "outside", "added", "not added", strict=False),
    Claim("Adding a domain's data costs monolingual retrieval nothing in the other domains",
          "monolingual", "outside", "added", "not added", strict=False),
)  # fmt: skip

COST_CLAIMS = (
    Claim("Hybrid batches soften the monolingual cost in the other domains, compared with monolingual ones",
          "monolingual", "cost", "hybrid", "x-x-mono", relative=False),
    Claim("Hybrid batches soften the cross-lingual cost in the other domains, compared with cross-lingual ones",
          "cross-lingual", "cost", "hybrid", "x-y", relative=False),
)  # fmt: skip


class DomainDataParams(Params):
    """Parameters of `notebooks/domain_data.ipynb`.

    Attributes:
        encoder: the encoder to start from.
        languages: those of training and evaluation.
        domains: each is added in turn to the general ones, which are then the others and `always`.
        always: domains that are general throughout.
        shares: parts that the added domain may have of the training items.
        items: the number of training items, the same for all; the general domains have equal parts of the rest.
        alpha: the probability of a monolingual batch in `hybrid`.
    """

    encoder: str
    languages: Annotated[list[str], Field(min_length=2)]
    domains: Names
    always: list[str]
    shares: Annotated[list[Share], Field(min_length=2)]
    items: Count
    alpha: Share

    @model_validator(mode="after")
    def _nothing_added_is_compared_with(self) -> Self:
        if 0 not in self.shares:
            raise ValueError(f"shares is {self.shares}; it must include 0.0, with which the others are compared")
        if len(self.domains) + len(self.always) < 2 or set(self.domains) & set(self.always):
            raise ValueError(f"domains is {self.domains} and always {self.always}; expected two or more, each once")
        return self

    def trials(self) -> list[Trial]:
        """Return a trial for every added domain, share, strategy and seed.

        Labels are `added`, `share`, `strategy`, `size` and `seed`.
        """
        cells = [(added, share, 1.0) for added in self.domains for share in self.shares]
        ends = (0.0, max(self.shares))
        cells += [(self.domains[0], share, size) for size in self.sizes if size < 1 for share in ends]
        return [self._trial(*cell, strategy, seed) for seed in self.seeds for cell in cells for strategy in BETWEEN]

    def _trial(self, added: str, share: float, size: float, strategy: str, seed: int) -> Trial:
        general = [name for name in (*self.domains, *self.always) if name != added]
        number = round(self.items * size)
        of_added = round(number * share)
        # The general domains share the rest equally; the first have one more where it does not divide.
        parts = {name: (number - of_added + place) // len(general) for place, name in enumerate(reversed(general))}
        run = self.run(
            self.encoder,
            seed,
            strategy,
            self.alpha,
            languages=tuple(self.languages),
            task_languages=tuple(self.languages),
            items={**parts, added: of_added} if of_added else parts,
        )
        return Trial(dict(added=added, share=share, strategy=strategy, size=size, seed=seed), run)
