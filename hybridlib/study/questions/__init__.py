"""The five research questions: the parameters of each notebook, and the trials it compares.

A trial's labels are the columns by which the notebook's tables and figures tell results apart.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from hybridlib.study.params import Count, Params, Positive, Share
from hybridlib.study.run import Run, Trial

Names = Annotated[list[str], Field(min_length=1)]
_BETWEEN = ("x-x-mono", "hybrid", "x-y")


class BatchRatioParams(Params):
    """Parameters of `notebooks/batch_ratio.ipynb`.

    Attributes:
        languages: of training and evaluation; all of them if empty.
        available: share of the training items in each low-resource language; 0 makes a language unseen. Sizes are of
            the other languages.
        encoders: what to start from; see `load_encoder`. Sizes below 1 are tried with the first.
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

    def plan(self) -> list[Trial]:
        """Every encoder, alpha and seed; labels `encoder`, `alpha`, `strategy`, `size`, `seed`."""
        cells = [(encoder, 1.0, alpha) for encoder in self.encoders for alpha in self.alphas]
        ends = (0.0, self.hybrid_alpha, 1.0)
        cells += [(self.encoders[0], size, alpha) for size in self.sizes if size < 1 for alpha in ends]
        return [self._trial(*cell, seed) for seed in self.seeds for cell in cells]

    def _trial(self, encoder: str, size: float, alpha: float, seed: int) -> Trial:
        strategy = {0.0: "x-y", 1.0: "x-x-mono", self.hybrid_alpha: "hybrid"}.get(alpha, f"hybrid, α = {alpha:g}")
        run = _run(
            self,
            encoder,
            seed,
            strategy="hybrid",
            alpha=float(alpha),
            languages=tuple(self.languages),
            task_languages=tuple(self.languages),
            available=_fixed(self.available),
            others=size,
            measures=("map", "recall@1", "recall@10", "rank_distance"),
        )
        return Trial(_labels(encoder=encoder, alpha=float(alpha), strategy=strategy, size=size, seed=seed), run)


class LanguageImbalanceParams(Params):
    """Parameters of `notebooks/language_imbalance.ipynb`.

    In the n-th largest language a share of the training items exists that is in proportion to n to the power of minus
    the exponent. The mean over languages is the same for every exponent, so that imbalance is not mistaken for a lack
    of data, and which language is the n-th largest is drawn for every seed, so that it is not mistaken for a language's
    own difficulty.

    Attributes:
        encoder: what to start from.
        languages: of training and evaluation.
        exponents: of the power law; 0 is balanced.
        mean_share: share of the training items that exists in a language, averaged over the languages.
        samplings: how languages are drawn: name and power of a language's size that its probability is in proportion
            to; 0 is uniform, 1 proportional.
        alpha: of hybrid batches.
        size_exponent: of which exponent sizes below 1 are tried (with the first sampling).
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

    def plan(self) -> list[Trial]:
        """Every exponent, sampling, strategy and seed; labels `exponent`, `sampling`, `strategy`, `size`, `seed`."""
        samplings = list(self.samplings)
        cells = [(exponent, sampling, 1.0) for exponent in self.exponents for sampling in samplings]
        cells += [(self.size_exponent, samplings[0], size) for size in self.sizes]
        cells = list(dict.fromkeys(cells))
        return [self._trial(*cell, strategy, seed) for seed in self.seeds for cell in cells for strategy in _BETWEEN]

    def training_shares(self) -> pd.DataFrame:
        """Share of the items that exists in every language: `exponent`, `size`, `seed`, `language`, `share`."""
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
        # Where all languages are of one size, all samplings are the same, and one run serves them.
        power = self.samplings[sampling] if exponent else 0.0
        run = _run(
            self,
            self.encoder,
            seed,
            **_strategy(strategy, self.alpha),
            languages=tuple(self.languages),
            task_languages=tuple(self.languages),
            available=_fixed(self._shares(exponent, size, seed)),
            language_temperature=1 / power if power else float("inf"),
            measures=("map", "rank_distance", "peer@100"),
        )
        return Trial(_labels(exponent=exponent, sampling=sampling, strategy=strategy, size=size, seed=seed), run)


class DomainDataParams(Params):
    """Parameters of `notebooks/domain_data.ipynb`.

    Attributes:
        encoder: what to start from.
        languages: of training and evaluation.
        domains: of which each is added in turn, to what is then general: the others and `always`.
        always: domains that are general throughout.
        shares: of the added domain among the training items, whose number is the same for all.
        items: their number; the general domains have equal parts of the rest.
        alpha: of hybrid batches.
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

    def plan(self) -> list[Trial]:
        """Every added domain, share, strategy and seed; labels `added`, `share`, `strategy`, `size`, `seed`."""
        cells = [(added, share, 1.0) for added in self.domains for share in self.shares]
        ends = (0.0, max(self.shares))
        cells += [(self.domains[0], share, size) for size in self.sizes if size < 1 for share in ends]
        return [self._trial(*cell, strategy, seed) for seed in self.seeds for cell in cells for strategy in _BETWEEN]

    def _trial(self, added: str, share: float, size: float, strategy: str, seed: int) -> Trial:
        general = [name for name in (*self.domains, *self.always) if name != added]
        number = round(self.items * size)
        of_added = round(number * share)
        # Equal parts of what is left; the first have one more where it does not divide.
        parts = {name: (number - of_added + place) // len(general) for place, name in enumerate(reversed(general))}
        run = _run(
            self,
            self.encoder,
            seed,
            **_strategy(strategy, self.alpha),
            languages=tuple(self.languages),
            task_languages=tuple(self.languages),
            items=_fixed({**parts, added: of_added} if of_added else parts),
        )
        return Trial(_labels(added=added, share=share, strategy=strategy, size=size, seed=seed), run)


class MiraclHighResourceParams(Params):
    """Parameters of `notebooks/miracl_high_resource.ipynb`.

    Attributes:
        encoder: what to start from.
        languages: the high-resource ones: each has a specialised model, and all are in the hybrid one.
        steps: of a specialised model. The hybrid one has as many for each language, or as many in all.
        alpha: of hybrid batches.
        margin: the loss in ndcg@10 that counts as no degradation, set before anything is run.
    """

    encoder: str
    languages: Annotated[list[str], Field(min_length=2)]
    alpha: Share
    margin: Positive

    def plan(self) -> list[Trial]:
        """Labels `strategy`, `size`, `seed`; the results of specialised models are told apart by `query_language`."""
        trials = []
        for seed in self.seeds:
            for size in self.sizes:
                trials += [self._trial("specialised", size, seed, (language,)) for language in self.languages]
                trials += [
                    self._trial(strategy, size, seed, tuple(self.languages))
                    for strategy in ("hybrid, equal budget per language", "hybrid, equal total budget")
                ]
        return trials

    def _trial(self, strategy: str, size: float, seed: int, languages: tuple[str, ...]) -> Trial:
        run = _run(
            self,
            self.encoder,
            seed,
            **_strategy("x-x-mono" if strategy == "specialised" else "hybrid", self.alpha),
            steps=self.steps * (len(languages) if strategy.endswith("per language") else 1),
            languages=languages,
            task_languages=languages,
            others=size,
            measures=("ndcg@10", "recall@100"),
        )
        return Trial(_labels(strategy=strategy, size=size, seed=seed), run)


class MlqaLanguageFamiliesParams(Params):
    """Parameters of `notebooks/mlqa_language_families.ipynb`.

    Attributes:
        encoder: what to start from.
        strategies: those to compare.
        baseline: the strategy that gains are over.
        size_strategies: those that are tried with less data.
        alpha: of hybrid batches.
    """

    encoder: str
    strategies: Annotated[list[str], Field(min_length=2)]
    baseline: str
    size_strategies: list[str]
    alpha: Share

    @model_validator(mode="after")
    def _some_of_the_strategies(self) -> Self:
        for name in (self.baseline, *self.size_strategies):
            if name not in self.strategies:
                raise ValueError(f"{name!r} is not among strategies: {', '.join(self.strategies)}")
        return self

    def plan(self) -> list[Trial]:
        """Every strategy and seed; labels `strategy`, `size`, `seed`."""
        cells = [(strategy, 1.0) for strategy in self.strategies]
        cells += [(strategy, size) for size in self.sizes if size < 1 for strategy in self.size_strategies]
        return [self._trial(*cell, seed) for seed in self.seeds for cell in cells]

    def _trial(self, strategy: str, size: float, seed: int) -> Trial:
        run = _run(self, self.encoder, seed, **_strategy(strategy, self.alpha), others=size)
        return Trial(_labels(strategy=strategy, size=size, seed=seed), run)


QUESTIONS: dict[str, type[Params]] = {
    "batch_ratio": BatchRatioParams,
    "language_imbalance": LanguageImbalanceParams,
    "domain_data": DomainDataParams,
    "miracl_high_resource": MiraclHighResourceParams,
    "mlqa_language_families": MlqaLanguageFamiliesParams,
}


def _run(params: Params, encoder: str, seed: int, **further: Any) -> Run:
    common = ("task", "corpus", "batch_size", "steps", "temperature", "learning_rate", "data_seed", "pool")
    training = _fixed(params.training.model_dump(exclude_defaults=True))
    return Run(
        **{name: getattr(params, name) for name in common} | further, training=training, encoder=encoder, seed=seed
    )


def _strategy(name: str, alpha: float) -> dict[str, Any]:
    """Alpha matters to hybrid batches only; for the others it is what their name says, so that equal runs are equal."""
    return {"strategy": name, "alpha": {"hybrid": alpha, "x-x-mono": 1.0, "en-en": 1.0}.get(name, 0.0)}


def _labels(**labels: Any) -> dict[str, Any]:
    return labels


def _fixed(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A mapping as a run holds it: hashable, and the same in whatever order it was given."""
    return tuple(sorted(mapping.items()))
