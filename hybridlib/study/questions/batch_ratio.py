"""Parameters, trials and claims of `notebooks/batch_ratio.ipynb`.

The question is: how does the ratio of monolingual to cross-lingual batches affect retrieval?
"""

from collections.abc import Collection, Sequence
from itertools import chain
from typing import Annotated, Any, ClassVar, Self

import pandas as pd
from pydantic import Field, model_validator

from hybridlib.arguments import Count, Positive, Share, told
from hybridlib.data.load import TASKS
from hybridlib.names import BM25, STRATEGIES
from hybridlib.study.inputs import languages_of
from hybridlib.study.params import BETWEEN, Params
from hybridlib.study.report.claims import Claim, change, half_of_the_gap, minus
from hybridlib.study.report.results import apart, read_sums
from hybridlib.study.run import Trial

# What a variant of a strategy changes.
VARIANTS: dict[str, dict[str, bool]] = {"centred": {"centred": True}, "no mask": {"mask": False}}
AT_TEMPERATURES = ("x-y", "hybrid", "x-x-mono", "x-x", "mix-passages")
MEASURES = ("map", "recall@1", "recall@10", "rank_distance", "preference", "lpr", "complete@20")

CLAIMS = (
    Claim("Within a language, hybrid batches are not inferior to monolingual ones",
          "main", "monolingual", "map", minus("hybrid", "x-x-mono"), "not inferior", "primary",
          ("xquad-r", "hybrid", "x-x-mono")),
    Claim("In the pool of all languages, hybrid batches are better than monolingual ones",
          "main", "multilingual", "map", minus("hybrid", "x-x-mono"), "better", "primary",
          ("xquad-r", "hybrid", "x-x-mono")),
    Claim("Hybrid batches leave less language bias (rank distance) than monolingual ones",
          "main", "multilingual", "rank_distance", minus("hybrid", "x-x-mono"),
          paper=("xquad-r", "hybrid", "x-x-mono")),
    Claim("Across languages, hybrid batches are better than monolingual ones",
          "main", "cross-lingual", "map", minus("hybrid", "x-x-mono"), paper=("xquad-r", "hybrid", "x-x-mono")),
    Claim("Within a language, hybrid batches are better than cross-lingual ones",
          "main", "monolingual", "map", minus("hybrid", "x-y"), paper=("xquad-r", "hybrid", "x-y"), in_answer=True),
    Claim("Across languages, hybrid batches are not inferior to cross-lingual ones",
          "main", "cross-lingual", "map", minus("hybrid", "x-y"), "not inferior", paper=("xquad-r", "hybrid", "x-y")),
    Claim("In the pool, hybrid batches are not inferior to cross-lingual ones",
          "main", "multilingual", "map", minus("hybrid", "x-y"), "not inferior", paper=("xquad-r", "hybrid", "x-y"),
          in_answer=True),
    Claim("Within a language, hybrid batches keep more than half of what x-x-mono gains over x-y",
          "main", "monolingual", "map", half_of_the_gap("hybrid", "x-x-mono", "x-y")),
    Claim("In the pool, hybrid batches keep more than half of what x-y gains over x-x-mono",
          "main", "multilingual", "map", half_of_the_gap("hybrid", "x-y", "x-x-mono")),
    Claim("Within a language, hybrid batches are better than mix-passages, which needs no alpha",
          "main", "monolingual", "map", minus("hybrid", "mix-passages")),
    Claim("In the pool, hybrid batches are better than mix-passages",
          "main", "multilingual", "map", minus("hybrid", "mix-passages"), in_answer=True),
    Claim("In the pool, hybrid batches are better than x-x-mono with each language's mean taken off",
          "main", "multilingual", "map", minus("hybrid", "x-x-mono, centred")),
    Claim("On MLQA-R, within a language, hybrid batches are not inferior to monolingual ones",
          "mlqa-r", "monolingual", "map", minus("hybrid", "x-x-mono"), "not inferior",
          paper=("mlqa-r", "hybrid", "x-x-mono"), in_answer=True),
    Claim("On MLQA-R, in the pool, hybrid batches are better than monolingual ones",
          "mlqa-r", "multilingual", "map", minus("hybrid", "x-x-mono"), paper=("mlqa-r", "hybrid", "x-x-mono")),
    Claim("Within a language left without data, hybrid batches are not inferior to monolingual ones",
          "low-resource", "monolingual", "map", minus(("hybrid", "no data"), ("x-x-mono", "no data")), "not inferior",
          in_answer=True),
    Claim("Within languages that the first rotation leaves without data, hybrid is not inferior to x-x-mono",
          "first rotation", "monolingual", "map", minus("hybrid", "x-x-mono"), "not inferior", in_answer=True),
    Claim("In a language left without data, hybrid gains more over x-x-mono within the language than with all data",
          "low-resource", "monolingual", "map", change("hybrid", "x-x-mono", "no data", "all data")),
    Claim("In a language left without data, hybrid gains more over x-x-mono in the pool than with all data",
          "low-resource", "multilingual", "map", change("hybrid", "x-x-mono", "no data", "all data")),
    Claim("In languages never trained on (Tatoeba), hybrid batches find translations better than monolingual ones",
          "tatoeba, unseen", "cross-lingual", "recall@1", minus("hybrid", "x-x-mono")),
    Claim("At another temperature, within a language, hybrid batches are not inferior to monolingual ones",
          "temperature", "monolingual", "map", minus("hybrid", "x-x-mono"), "not inferior", "exploratory",
          in_answer=True),
    Claim("At another temperature, in the pool, hybrid batches are better than monolingual ones",
          "temperature", "multilingual", "map", minus("hybrid", "x-x-mono"), "better", "exploratory"),
    Claim("Within a language, three monolingual batches in four (alpha = .75) are better than two (.5)",
          "main", "monolingual", "map", minus("hybrid, α = 0.75", "hybrid"), "better", "exploratory", in_answer=True),
    Claim("In the pool, three monolingual batches in four are better than monolingual batches only",
          "main", "multilingual", "map", minus("hybrid, α = 0.75", "x-x-mono"), "better", "exploratory"),
)  # fmt: skip


class BatchRatioParams(Params):
    """Parameters of `notebooks/batch_ratio.ipynb`.

    Attributes:
        alphas: probabilities of a monolingual batch; the two ends are `x-y` (0) and `x-x-mono` (1).
        hybrid_alpha: the one that stands for hybrid batches in comparisons with the two ends.
        strategies: further ones to compare; `bm25`; and variants: `x-x-mono, centred` has each language's mean
            embedding taken off (`untrained, centred`, too), `hybrid, no mask` is trained with false negatives, as in
            the paper.
        transfer: further tasks, by name, each with the strategies that are tested on it, all that are trained if there
            are none; `untrained` always is.
        low_resource: for each rotation, the share of the training items in each low-resource language; 0 leaves none.
        temperatures: further ones, tried with the strategies of `AT_TEMPERATURES`.
        steps_tried: further numbers of steps, tried with the two ends and hybrid on the first two folds.
        languages: those of training and evaluation; all of them if empty.
    """

    notebook: ClassVar = "batch_ratio"
    question: ClassVar = "Does an even mix gain in the pool over x-x-mono, and lose less than .01 within a language?"
    claims: ClassVar = CLAIMS

    alphas: Annotated[list[Share], Field(min_length=3)]
    hybrid_alpha: Share
    strategies: list[str]
    transfer: dict[str, list[str]]
    low_resource: list[Annotated[dict[str, Share], Field(min_length=1)]]
    temperatures: list[Positive]
    steps_tried: list[Count]
    languages: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _values_are_known(self) -> Self:
        needed = {0.0, 1.0, self.hybrid_alpha}
        if len(needed) < 3:
            raise ValueError(f"hybrid_alpha is {self.hybrid_alpha}; allowed: above 0, below 1")
        if needed - set(self.alphas):
            raise ValueError(
                f"alphas is {told(self.alphas)}; it must include 0, 1 and hybrid_alpha, {self.hybrid_alpha}"
            )
        compared = ("untrained", *self.alpha_of, *STRATEGIES)
        variants = [f"{name}, {variant}" for name in compared for variant in VARIANTS]
        tested = [*self.alpha_of, *self.strategies]
        asked: dict[str, tuple[Sequence[str], Collection[str]]] = {
            "strategies": (self.strategies, [*STRATEGIES, BM25, *variants]),
            "transfer": ([*self.transfer], [task for task in TASKS if task != self.task]),
            "low_resource": ([*chain(*self.low_resource)], self.languages or languages_of(self.corpus)),
            **{f"transfer.{task}": (names, tested) for task, names in self.transfer.items()},
        }
        for name, (given, allowed) in asked.items():
            if unknown := [value for value in given if value not in allowed]:
                raise ValueError(f"{name} has {told(unknown[0])}; allowed: {told([*allowed])}")
        if len(self.alpha_of) < len(self.alphas) or len(self._rotations) < len(self.low_resource):
            raise ValueError("two of alphas, or two of low_resource, would have the same name in tables")
        if self.steps_tried and not self.folds:
            raise ValueError(f"steps_tried is {told(self.steps_tried)}; allowed without folds: none, []")
        return self

    def trials(self) -> list[Trial]:
        """Return all trials; every label `strategy` stands for one way to train, the untrained encoder included."""
        return [*self.main(), *self.low(), *self.at_temperatures(), *self.over_steps()]

    def main(self) -> list[Trial]:
        """Return the trials with all data: the untrained encoder, every alpha, and the other strategies."""
        untrained = self.untrained(*self.transfer, languages=tuple(self.languages))
        return [*untrained, *(trial for name in (*self.alpha_of, *self.strategies) for trial in self._named(name))]

    def low(self) -> list[Trial]:
        """Return the trials with low-resource languages, labelled by `rotation`: the languages left without data."""
        return [*chain(*(self._trained(BETWEEN, {"rotation": r}, available=low) for r, low in self._rotations.items()))]

    @property
    def _rotations(self) -> dict[str, dict[str, float]]:
        return {", ".join(code for code in low if low[code] == min(low.values())): low for low in self.low_resource}

    def at_temperatures(self) -> list[Trial]:
        """Return the trials at further temperatures, labelled by `temperature`."""
        return [*chain(*(self._trained(AT_TEMPERATURES, {"temperature": t}, temperature=t) for t in self.temperatures))]

    def over_steps(self) -> list[Trial]:
        """Return the trials with further numbers of steps, labelled by `steps`."""
        tried = chain(*(self._trained(BETWEEN, {"steps": steps}, steps=steps) for steps in self.steps_tried))
        return [trial for trial in tried if trial.labels["fold"] in self.folds[:2]]

    def read_tables(self) -> dict[str, pd.DataFrame]:
        """Read the results of the trials that are there, a table for each part of the notebook that has any."""
        main = self.main()
        tables = {"main": read_sums(main, MEASURES, task=self.task)}
        for task in self.transfer:
            tables[task] = read_sums(main, ("map", "recall@1", "rank_distance"), task=task)
        tables["low-resource"] = low = self._low_resource(tables["main"])
        if len(self._rotations) > 1 and len(low):
            first = low.query_language.isin(next(iter(self._rotations)).split(", "))
            tables["first rotation"] = low[first & (low.data == "no data")]
        temperatures = read_sums(self.at_temperatures(), ("map", "rank_distance"), task=self.task, whole=False)
        tables["temperature"] = apart(temperatures, "temperature")
        tables["steps"] = self._over_steps(tables["main"])
        if len(tables.get("tatoeba", ())):
            seen = tables["main"].query_language.unique()
            tables["tatoeba"] = _by_language(tables["tatoeba"])
            tables["tatoeba, unseen"] = tables["tatoeba"][~tables["tatoeba"].article.isin(seen)]
        return {name: table for name, table in tables.items() if len(table)}

    def _over_steps(self, main: pd.DataFrame) -> pd.DataFrame:
        """Read what further numbers of steps give, beside the usual one, on the fold that has most of them."""
        table = read_sums(self.over_steps(), ("map", "rank_distance"), task=self.task, whole=False)
        if table.empty:
            return table
        usual = main[main.strategy.isin(BETWEEN) & main.measure.isin(set(table.measure))].assign(
            steps=self.training.steps
        )
        table = pd.concat([table, usual], ignore_index=True)
        return table[table.fold == self.folds[0]].sort_values("steps", kind="stable")

    def _low_resource(self, main: pd.DataFrame) -> pd.DataFrame:
        """Read the questions in low-resource languages, labelled by `data`: what there was to train on in them."""
        low = read_sums(self.low(), ("map", "rank_distance"), task=self.task, whole=False)
        low = apart(low, "rotation") if self.folds else low
        if low.empty or main.empty:
            return low[:0]
        share = [self._rotations[r].get(q, 1.0) for r, q in zip(low.rotation, low.query_language, strict=True)]
        low = low.assign(share=share)[[one < 1 for one in share]]
        main = main[main.query_language.isin({*low.query_language}) & main.measure.isin({*low.measure})]
        untrained = [main[main.strategy == "untrained"].assign(share=one) for one in (1.0, *low.share.unique())]
        full = main[main.strategy.isin(BETWEEN)].assign(share=1.0)
        both = pd.concat([*untrained, full, low], ignore_index=True)
        names = {1.0: "all data", 0.0: "no data"}
        shares = sorted(both.share.unique(), reverse=True)
        named = {one: names.get(one, f"{100 * one:g}% of the data") for one in shares}
        return both.assign(data=pd.Categorical(both.share.map(named).array, list(named.values())))

    def _trained(self, names: Sequence[str], labels: dict[str, Any] | None = None, **further: Any) -> list[Trial]:
        return [self._trial(name, *one, labels or {}, **further) for name in names for one in self.replicates]

    def _trial(self, name: str, fold: int | None, seed: int, labels: dict[str, Any], **further: Any) -> Trial:
        alpha = self.alpha_of.get(name, self.hybrid_alpha)
        strategy = "hybrid" if name.startswith("hybrid, ") else name
        others = [] if labels else [task for task, names in self.transfer.items() if name in names or not names]
        tests = tuple(map(self.test, (self.task, *others)))
        run = self.run(fold, seed, strategy, alpha, **{"tests": tests, "languages": tuple(self.languages), **further})
        return Trial(self.labels(name, fold, seed, **labels), run)

    def _named(self, name: str) -> list[Trial]:
        """Return the trials of a strategy, or of a variant of one."""
        plain, _, variant = name.rpartition(", ")
        if name == BM25:
            return self._bm25()
        if variant not in VARIANTS:
            return self._trained([name])
        started = self.untrained(languages=tuple(self.languages))
        trials = started if plain == "untrained" else self._trained([plain])
        return self._again(trials, variant, **VARIANTS[variant])

    def _again(self, trials: Sequence[Trial], name: str, **further: Any) -> list[Trial]:
        """Return trials with further settings under another name, on the main task only."""
        further |= {"tests": (self.test(),)}
        named = ((f"{trial.labels['strategy']}, {name}", trial) for trial in trials)
        return [Trial({**t.labels, "strategy": new}, t.run.model_copy(update=further)) for new, t in named]

    def _bm25(self) -> list[Trial]:
        """Return the trials of BM25 on all tasks but Tatoeba, which has no monolingual setting."""
        untrained = self.untrained(*(task for task in self.transfer if task != "tatoeba"), encoder=BM25)
        return [Trial({**trial.labels, "strategy": BM25}, trial.run) for trial in untrained]

    @property
    def alpha_of(self) -> dict[str, float]:
        """Return the alpha of every strategy of the curve."""
        named = {0.0: "x-y", 1.0: "x-x-mono", self.hybrid_alpha: "hybrid"}
        return {named.get(alpha, f"hybrid, α = {alpha:g}"): alpha for alpha in self.alphas}


def _by_language(table: pd.DataFrame) -> pd.DataFrame:
    """Average Tatoeba's sentences by language paired with English, both ways; languages take the place of articles."""
    keys = ["strategy", "fold", "seed", "test", "setting", "measure", "article"]
    sums = table.groupby(keys, observed=True)[["total", "count"]].sum().reset_index()
    names = {"cell": "every language", "query_language": "all", "passage_language": "all"}
    return sums.assign(total=sums["total"] / sums["count"], count=1, **names)
