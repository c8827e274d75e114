"""Parameters and trials of `notebooks/miracl_high_resource.ipynb`.

The question is: does one hybrid model cost high-resource languages anything, against a model for each?
"""

from typing import Annotated

from pydantic import Field

from hybridlib.study.params import Params
from hybridlib.study.run import Trial
from hybridlib.training.settings import Positive, Share


class MiraclHighResourceParams(Params):
    """Parameters of `notebooks/miracl_high_resource.ipynb`.

    Attributes:
        encoder: the encoder to start from.
        languages: the high-resource ones: each has a specialised model, and all are in the hybrid one.
        steps: those of a specialised model. The hybrid one has as many for each language, or as many in all.
        alpha: the probability of a monolingual batch in `hybrid`.
        margin: the loss in ndcg@10 that counts as no degradation, set before anything is run.
    """

    encoder: str
    languages: Annotated[list[str], Field(min_length=2)]
    alpha: Share
    margin: Positive

    def trials(self) -> list[Trial]:
        """Return the trials; labels are `strategy`, `size`, `seed`.

        The results of specialised models are told apart by `query_language`.
        """
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
        run = self.run(
            self.encoder,
            seed,
            "x-x-mono" if strategy == "specialised" else "hybrid",
            self.alpha,
            steps=self.steps * (len(languages) if strategy.endswith("per language") else 1),
            languages=languages,
            task_languages=languages,
            others=size,
            measures=("ndcg@10", "recall@100"),
        )
        return Trial(dict(strategy=strategy, size=size, seed=seed), run)
