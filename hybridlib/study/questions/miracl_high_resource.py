"""Parameters, trials and claims of `notebooks/miracl_high_resource.ipynb`.

The question is: does one hybrid model cost high-resource languages anything, against a model for each?
"""

from typing import Annotated, ClassVar, Literal

import pandas as pd
from pydantic import Field

from hybridlib.arguments import Count, Share
from hybridlib.study.params import Params
from hybridlib.study.report.claims import Claim, minus
from hybridlib.study.report.results import read_sums
from hybridlib.study.run import Trial

SPECIALISED = "specialised"


def _claims(measure: str) -> tuple[Claim, ...]:
    """Return the claims, by the measure of the task: ndcg@10 on MIRACL, as there, and map elsewhere."""
    return (
        Claim("Within high-resource languages, an encoder specialised in one is better than the untrained one",
              "main", "monolingual", measure, minus(SPECIALISED, "untrained"), kind="primary"),
        Claim("Within high-resource languages, hybrid over all languages is not inferior to specialised encoders",
              "main", "monolingual", measure, minus("hybrid", SPECIALISED), "not inferior", "primary"),
        Claim("x-x-mono over all languages is not inferior to specialised encoders",
              "main", "monolingual", measure, minus("x-x-mono", SPECIALISED), "not inferior", in_answer=True),
        Claim("x-x-mono over the high-resource languages is not inferior to specialised encoders",
              "main", "monolingual", measure, minus("x-x-mono, high-resource", SPECIALISED), "not inferior"),
        Claim("Hybrid over the high-resource languages is not inferior to specialised encoders",
              "main", "monolingual", measure, minus("hybrid, high-resource", SPECIALISED), "not inferior",
              in_answer=True),
        Claim("In the other languages, specialised encoders are not inferior to hybrid within the language",
              "elsewhere", "monolingual", measure, minus(SPECIALISED, "hybrid"), "not inferior", in_answer=True),
    )  # fmt: skip


class MiraclHighResourceParams(Params):
    """Parameters of `notebooks/miracl_high_resource.ipynb`.

    Attributes:
        languages: the high-resource ones: each has a specialised encoder.
        all_languages: those of the joint encoders over all languages; all of the corpus if empty.
        tested: the languages of the evaluation; all of the task if empty.
        longer: further numbers of steps of the joint encoders over the high-resource languages.
        alpha: the probability of a monolingual batch in `hybrid`.
        measure: the measure of quality, for which there is a margin of non-inferiority.
    """

    notebook: ClassVar = "miracl_high_resource"
    question: ClassVar = (
        "Does one hybrid encoder stay within .01 of specialised ones in high-resource languages, on average?"
    )

    languages: Annotated[list[str], Field(min_length=2)]
    all_languages: list[str]
    tested: list[str]
    longer: list[Count]
    alpha: Share
    measure: Literal["map", "ndcg@10"]

    @property
    def tested_languages(self) -> tuple[str, ...]:
        return tuple(self.tested)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Return the claims, about the measure of quality."""
        return _claims(self.measure)

    def trials(self) -> list[Trial]:
        """Return the trials, labelled by `trained_on`: the language of a specialised encoder, or `all`."""
        high, every = tuple(self.languages), tuple(self.all_languages)
        trials = [Trial({**t.labels, "trained_on": "all"}, t.run) for t in self.untrained(languages=every)]
        for fold, seed in self.replicates:
            cells: list[tuple[str, str, tuple[str, ...], int]] = [
                (SPECIALISED, "x-x-mono", (one,), self.training.steps) for one in high
            ]
            cells += [(name, name, every, self.training.steps) for name in ("x-x-mono", "hybrid")]
            cells += [(f"{name}, high-resource", name, high, self.training.steps) for name in ("x-x-mono", "hybrid")]
            cells += [
                (f"{name}, high-resource, {steps} steps", name, high, steps)
                for steps in self.longer
                for name in ("x-x-mono", "hybrid")
            ]
            for label, strategy, languages, steps in cells:
                run = self.run(fold, seed, strategy, self.alpha, languages=languages, steps=steps)
                on = languages[0] if label == SPECIALISED else "all"
                trials.append(Trial(self.labels(label, fold, seed, trained_on=on), run))
        return trials

    def read_tables(self) -> dict[str, pd.DataFrame]:
        """Read the results: `main` for questions in high-resource languages, each by the encoder specialised in it.

        `elsewhere` has the questions in other languages, of specialised encoders the mean over all of them.
        """
        table = read_sums(self.trials(), (self.measure, "recall@1"), task=self.task)
        if table.empty:
            return {}
        of_all, high = table.trained_on == "all", table.query_language.isin(self.languages)
        own = of_all | (table.trained_on.astype(str) == table.query_language.astype(str))
        elsewhere = table[~high].drop(columns="trained_on")
        sides = [name for name in elsewhere.columns if name not in ("total", "count")]
        summed = elsewhere.groupby(sides, observed=True, sort=False)[["total", "count"]].sum().reset_index()
        tables = {"main": table[high & own], "elsewhere": summed}
        return {name: part for name, part in tables.items() if len(part)}
