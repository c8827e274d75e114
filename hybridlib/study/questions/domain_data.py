"""Parameters, trials and claims of `notebooks/domain_data.ipynb`.

The question is: what does adding data of a domain do inside and outside of that domain?
"""

from typing import ClassVar, Self

import pandas as pd
from pydantic import Field, model_validator

from hybridlib.arguments import Count, Name, Share, told
from hybridlib.data.folds import read_folds
from hybridlib.data.load import question_domains
from hybridlib.study.params import Names, Params
from hybridlib.study.report.claims import Claim, minus
from hybridlib.study.report.results import apart, read_sums
from hybridlib.study.run import Trial

MEASURES = ("map", "recall@1", "rank_distance")
# What a run is trained on: general items alone, as many as with the domain, or fewer; with or without the domain's.
ARMS = ("general", "general + domain", "fewer general", "fewer general + domain")

CLAIMS = (
    Claim("Adding a topic's items to those of the others makes cross-lingual retrieval better within the topic",
          "inside", "cross-lingual", "map", minus("general + domain", "general"), kind="primary"),
    Claim("Adding them makes monolingual retrieval better within the topic",
          "inside", "monolingual", "map", minus("general + domain", "general")),
    Claim("Adding them makes retrieval from the pool better within the topic",
          "inside", "multilingual", "map", minus("general + domain", "general"), in_answer=True),
    Claim("Putting the topic's items in place of as many others makes cross-lingual retrieval better within it",
          "inside", "cross-lingual", "map", minus("fewer general + domain", "general"), in_answer=True),
    Claim("As many more items of other topics make cross-lingual retrieval better within the topic",
          "inside", "cross-lingual", "map", minus("general", "fewer general"), in_answer=True),
    Claim("Added to fewer general items, the topic's make cross-lingual retrieval better within the topic",
          "inside", "cross-lingual", "map", minus("fewer general + domain", "fewer general")),
    Claim("Adding a topic's items costs cross-lingual retrieval nothing in the other topics",
          "outside", "cross-lingual", "map", minus("general + domain", "general"), "not inferior", in_answer=True),
    Claim("Putting the topic's items in place of others costs cross-lingual retrieval nothing in the other topics",
          "outside", "cross-lingual", "map", minus("fewer general + domain", "general"), "not inferior"),
)  # fmt: skip


class DomainDataParams(Params):
    """Parameters of `notebooks/domain_data.ipynb`.

    Attributes:
        languages: those of training and evaluation; all of them if empty.
        domains: each is added in turn to the general ones, which are then the others and `always`.
        always: domains that are general throughout.
        general, fewer, added: numbers of items: general ones, general ones where there are fewer, and the domain's.
        alpha: the probability of a monolingual batch in `hybrid`, the only strategy here.
    """

    notebook: ClassVar = "domain_data"
    question: ClassVar = "Does adding data of a topic help cross-lingual retrieval within it?"
    claims: ClassVar = CLAIMS

    domains: Names
    always: list[Name]
    general: Count
    fewer: Count
    added: Count
    alpha: Share
    languages: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _domains_are_two(self) -> Self:
        if len(self.domains) + len(self.always) < 2 or set(self.domains) & set(self.always):
            given = f"domains is {told(self.domains)} and always {told(self.always)}"
            raise ValueError(f"{given}; expected two or more, each once")
        return self

    def trials(self) -> list[Trial]:
        """Return the trials: what `ARMS` names, for every domain that is `added`, with the untrained encoder beside."""
        return [
            self._trial(arm, domain, fold, seed)
            for fold, seed in self.replicates
            for domain in self.domains
            for arm in ("untrained", *ARMS)
        ]

    def read_tables(self) -> dict[str, pd.DataFrame]:
        """Read the results: `inside` for the questions of the added domain, `outside` for the others.

        A domain and fold of which a run is missing is left out, so that all means are over the same.
        """
        table = apart(read_sums(self.trials(), MEASURES, task=self.task, whole=False), "added")
        if table.empty:
            return {}
        folds = read_folds()
        domains = folds.domain if self.task == "xquad-r" else question_domains(self.task, seed=self.data_seed)
        inside = table.article.astype(str).map(domains.set_axis(domains.index.astype(str))) == table.added.astype(str)
        tables = {"inside": table[inside], "outside": table[~inside]}
        return {name: part for name, part in tables.items() if len(part)}

    def _trial(self, arm: str, added: str, fold: int | None, seed: int) -> Trial:
        languages = tuple(self.languages)
        labels = self.labels(arm, fold, seed, added=added)
        if arm == "untrained":
            return Trial(labels, self.run(fold, seed, steps=0, languages=languages))
        number = self.fewer if arm.startswith("fewer") else self.general
        items = self._general(added, number, fold)
        if arm.endswith("domain"):
            items[added] = self.added
        items = dict(sorted(items.items()))
        return Trial(labels, self.run(fold, seed, "hybrid", self.alpha, languages=languages, items=items))

    def _general(self, added: str, number: int, fold: int | None) -> dict[str, int]:
        """Share a number of items out to the general domains by their sizes; the first takes what is left."""
        folds = read_folds()
        in_training = folds[folds.fold != fold] if self.corpus == "xquad-r" else folds[:0]
        sizes = in_training.groupby("domain").questions.sum().to_dict()  # of other corpora, all domains count alike
        names = sorted({*self.domains, *self.always} - {added})
        weights = {name: sizes.get(name, 1) for name in names}
        parts = {name: number * weight // sum(weights.values()) for name, weight in weights.items()}
        parts[names[0]] += number - sum(parts.values())
        return parts
