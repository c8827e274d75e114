"""Parameters of `notebooks/explorer.ipynb`, and the encoders that it compares.

The question is: where in the pool of all languages are the passages that answer a question?
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import pandas as pd
from pydantic import Field, field_validator, model_validator

from hybridlib.arguments import Count, Name, Share, Text, told
from hybridlib.encoder.finding import findable
from hybridlib.names import STRATEGIES
from hybridlib.study.explorer.languages import COLOURS
from hybridlib.study.inputs import Data, languages_of, tasks_of
from hybridlib.study.params import Params
from hybridlib.study.run import Trial
from hybridlib.study.runs import store
from hybridlib.study.workers import compute_runs

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hybridlib.data.corpus import ParallelCorpus
    from hybridlib.data.task import RetrievalTask

Shown = Annotated[int, Field(ge=2, le=len(COLOURS))]  # one alone has nothing to lie apart from


class ExplorerParams(Params):
    """Parameters of `notebooks/explorer.ipynb`.

    One encoder is trained with each strategy, and kept with its run. So there is one seed, and one fold at most.

    Attributes:
        strategies: those whose encoders are trained, or found trained, and compared; there may be none.
        alpha: probability of a monolingual batch, for `hybrid`.
        encoders: further encoders to compare, by label: folders, or ids of the hub; see `load_encoder`.
        languages: those of training and test; all of them if empty.
        language: that of the question asked first.
        query: the question asked first: a `question` of the task; the first one if empty.
        k: passages that are listed.
        questions: so many, at even distances, are in the map of meaning.
        batch_languages: those in the picture of batches.
    """

    notebook: ClassVar = "explorer"
    question: ClassVar = "Where in the pool of all languages are the passages that answer a question?"
    claims: ClassVar = ()

    strategies: list[Literal[STRATEGIES]]  # type: ignore[valid-type]
    alpha: Share
    encoders: dict[Name, Name]
    languages: list[str]
    language: Name
    query: Text
    k: Count
    questions: Shown
    batch_languages: Annotated[list[Name], Field(min_length=2, max_length=len(COLOURS))]

    @field_validator("encoders")
    @classmethod
    def _encoders_are_findable(cls, values: dict[str, str]) -> dict[str, str]:
        for label, name in values.items():
            if label in STRATEGIES:
                raise ValueError(f"the label {told(label)} is that of a strategy; allowed: any other")
            findable(name)
        return values

    @model_validator(mode="after")
    def _is_one_encoder_each(self) -> Self:
        if len(self.replicates) > 1:
            raise ValueError(
                f"seeds is {told(self.seeds)} and folds is {told(self.folds)}; allowed: one seed, at most one fold"
            )
        if not self.strategies and not self.encoders:
            raise ValueError("strategies and encoders are empty; allowed: one or more of either")
        for name, given, data in (
            ("language", [self.language], self.task),
            ("batch_languages", self.batch_languages, self.corpus),
        ):
            known = self.languages or languages_of(data)
            if unknown := [code for code in given if code not in known]:
                raise ValueError(f"{name} has {told(unknown[0])}; allowed: {told([*known])}")
        return self

    def trials(self) -> list[Trial]:
        """Return a trial for each strategy, whose encoder is kept."""
        ((fold, seed),) = self.replicates
        common: dict[str, Any] = {"languages": tuple(self.languages), "keep_encoder": True}
        return [
            Trial(self.labels(name, fold, seed), self.run(fold, seed, name, self.alpha, **common))
            for name in self.strategies
        ]

    def read_tables(self) -> dict[str, pd.DataFrame]:
        """Return nothing: the explorer shows single questions, and has no results of its own."""
        return {}

    def check_data(self) -> None:
        """Make sure that the first question is asked in its language, too; see `Params.check_data`."""
        from hybridlib.study.explorer.answers import ask

        super().check_data()
        ask(self.load_task(), self.language, self.query)

    def load_encoders(self) -> "dict[str, SentenceTransformer]":
        """Load the encoders to compare by label: first those at hand, then those of the strategies.

        Those that have not been trained are trained.

        Raises:
            FileNotFoundError: there is no such encoder.
        """
        from hybridlib.training.starts import load_encoder

        loaded = {
            label: load_encoder(name) for label, name in self.encoders.items()
        }  # one is missing at once, or never
        compute_runs(self.runs(), self.profile)
        for trial in self.trials():
            encoder = store.train(trial.run)
            assert encoder is not None  # only BM25 is none, and is not trained
            loaded[trial.labels["strategy"]] = encoder
        return loaded

    def load_task(self) -> "RetrievalTask":
        """Load the task: that of the held-out fold, where there are folds."""
        (task,) = tasks_of(self.test(), self._data(self.languages))
        return task

    def load_batch_corpus(self) -> "ParallelCorpus":
        """Load the training data in the languages of the picture of batches."""
        from hybridlib.study.inputs import corpus_of

        return corpus_of(self._data(self.batch_languages))

    def _data(self, languages: Sequence[str]) -> Data:
        ((fold, _),) = self.replicates
        return Data(corpus=self.corpus, fold=fold, languages=tuple(languages), data_seed=self.data_seed)
