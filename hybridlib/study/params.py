"""Parameters of the notebooks: read from YAML, and checked before any work starts.

papermill only warns of an unknown parameter, and passes on a number that YAML took for text (`1e-4`), so a typing error
would be found after hours or never. Here each notebook has a model of its parameters (`hybridlib.study.questions`).
Every key of a YAML file is a name in the notebook's parameters cell and a field of the model. A field that has a
default may be left out.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import pandas as pd
from pydantic import Field, field_validator, model_validator

from hybridlib.arguments import Count, Name, Seed, told
from hybridlib.data.folds import FOLDS
from hybridlib.data.load import CORPORA, TASKS, load_corpus
from hybridlib.encoder.finding import findable
from hybridlib.files import read_yaml
from hybridlib.names import LANGUAGES, STATIC_ENCODERS
from hybridlib.paths import figure_path
from hybridlib.sampler.strategies import monolingual_share
from hybridlib.study.inputs import Data, Test, languages_of, tasks_of
from hybridlib.study.run import Run, RunSettings, Trial
from hybridlib.study.runs.keys import by_key
from hybridlib.study.workers import compute_runs
from hybridlib.training.settings import Settings

Names = Annotated[list[Name], Field(min_length=1)]
Seeds = Annotated[list[Seed], Field(min_length=1)]
# A list in a parameter file may hold so many values, since their combinations are gone through before any work starts.
_MOST = 1000

# These are the two ends of a mix, and a hybrid between them.
BETWEEN = ("x-x-mono", "hybrid", "x-y")


class Params(Settings):
    """A base class of the parameters of a notebook, with those that all notebooks have.

    Attributes:
        profile: names the folders for figures and results.
        encoder: the encoder to start from; see `load_encoder`.
        task, corpus: name the data to evaluate and to train on; see `load_task` and `load_corpus`.
        folds: those that are held out in turn, for a corpus that is tested, too; empty for other corpora.
        seeds: of first weights and batches; every setting is run with each. With folds, the seed of a run is the sum of
            its seed here and its fold, so that runs of different folds are independent.
        training: settings of `Run` that all runs of the file share.
        pool: the passages of the task that are searched; None is all of them, see `load_task`.
        data_seed: draws the sentence frames, the items that stay available and the distractors of the pool.
    """

    profile: Annotated[str, Field(pattern=r"^[\w-]+$", max_length=100)]
    encoder: Name
    task: Name
    corpus: Name
    folds: list[Annotated[int, Field(ge=0, lt=len(FOLDS))]]
    seeds: Seeds
    training: RunSettings
    pool: Literal["judged"] | Count | None = None
    data_seed: Seed = 0

    notebook: ClassVar[str]
    question: ClassVar[str]

    @property
    @abstractmethod
    def claims(self) -> Sequence[Any]:
        """Return the claims (`hybridlib.study.report.claims`) that the notebook holds against its results."""

    @abstractmethod
    def read_tables(self) -> dict[str, pd.DataFrame]:
        """Read the results of the trials that are there: a table for each part of the notebook that has any."""

    def read(self) -> dict[str, pd.DataFrame]:
        """Compute the runs that are missing, where that is allowed, and read the results; see `read_tables`."""
        compute_runs(self.runs(), self.profile)
        return self.read_tables()

    def figure(self, name: str) -> Path:
        """Return the path of one of the notebook's figures."""
        return figure_path(self.profile, f"{self.notebook}-{name}")

    @property
    def is_demonstration(self) -> bool:
        """Return whether the data is the embedded corpus, which shows how things work and says nothing of the paper."""
        return self.corpus.startswith("atlas")

    @property
    def replicates(self) -> list[tuple[int | None, int]]:
        """Return the fold that each run of a setting holds out, and its seed."""
        if not self.folds:
            return [(None, seed) for seed in self.seeds]
        return [(fold, seed + fold) for seed in self.seeds for fold in self.folds]

    @abstractmethod
    def trials(self) -> list[Trial]:
        """Return the trials that the notebook compares, those that start from the same encoder side by side."""

    def runs(self) -> list[Run]:
        """Return the training runs of the trials, each once, with the tests of all its trials.

        Runs that differ in what determines nothing, such as the seed of an encoder that is not trained, are one.
        """
        return [*by_key(trial.run for trial in self.trials()).values()]

    def run(self, fold: int | None, seed: int, strategy: str = "hybrid", alpha: float = 0.5, **further: Any) -> Run:
        """Return a run with the settings that all runs of the file have, and further ones.

        Args:
            fold, seed: one of `replicates`.
            strategy: as `Run` has it.
            alpha: probability of a monolingual batch, for `hybrid`. Other strategies have one of their own, so that
                equal runs are equal.
            further: further settings of `Run`. Its `tests` are the task alone, unless given.
        """
        common = ("encoder", "corpus", "data_seed")
        settings = {name: getattr(self, name) for name in common} | {"tests": (self.test(),)} | dict(self.training)
        alpha = monolingual_share(strategy, float(alpha))
        run = Run(fold=fold, seed=seed, strategy=strategy, alpha=alpha, **{**settings, **further})
        return run if run.steps else run.model_copy(update={"keep_encoder": False})  # it is where it was loaded from

    @property
    def tested_languages(self) -> tuple[str, ...]:
        """Return the languages of the main task; all of them if empty."""
        return tuple(getattr(self, "languages", ()))

    def test(self, task: str | None = None) -> Test:
        """Return the test of a task in all of its languages, or of the main one in those that are tested."""
        if task in (None, self.task):
            return Test(task=self.task, languages=self.tested_languages, pool=self.pool)
        return Test(task=task)

    def untrained(self, *tasks: str, **further: Any) -> list[Trial]:
        """Return the trials of the encoder to start from, tested on the main task and on others.

        A test that is the same for all folds is made once.
        """
        trials = []
        for place, (fold, seed) in enumerate(self.replicates):
            others = tasks if place == 0 else ()
            tests = (self.test(), *map(self.test, others))
            trials.append(
                Trial(self.labels("untrained", fold, seed), self.run(fold, seed, steps=0, tests=tests, **further))
            )
        return trials

    def labels(self, strategy: str, fold: int | None, seed: int, **further: Any) -> dict[str, Any]:
        """Return the labels of a trial: strategy, the fold that it holds out (-1 for none), seed, and others."""
        return {"strategy": strategy, "fold": -1 if fold is None else fold, "seed": seed, **further}

    def check_data(self) -> None:
        """Load the data and the encoder of every run, downloads included; make sure that every batch can be filled.

        Raises:
            ValueError: a language or domain is not in the data, the corpus is too small for the batch, a file is not as
                published, or the encoder or the loss refuses a setting.
            FileNotFoundError: a file or an encoder is missing.
        """
        different = {
            (run.part(Data), run.encoder, run.strategy, run.alpha, run.code_switched, run.steps > 0): run
            for run in self.runs()
        }
        for run in sorted(different.values(), key=lambda run: repr(run.part(Data))):  # each is loaded once
            run.check()
        for name in {run.validation for run in self.runs() if run.validation}:
            load_corpus(name, "validation")
        tested = {(test, test.fold(run)): run.part(Data) for run in self.runs() for test in run.tests}
        for (test, _), data in tested.items():
            if not test.task.startswith("atlas"):
                list(tasks_of(test, data))

    @classmethod
    def checked(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """Return the parameters that have these values, once all their trials are known to be sound; see `Settings`."""
        params = super().checked(values, where)
        start = f"{where}: " if where else ""
        try:
            labels = [tuple(sorted(trial.labels.items())) for trial in params.trials()]
        except ValueError as error:
            raise ValueError(f"{start}{error}") from None
        if len(set(labels)) < len(labels):
            twice = next(one for one in labels if labels.count(one) > 1)
            raise ValueError(f"{start}two runs have the labels {told(dict(twice))}; name each once")
        return params

    @classmethod
    def from_namespace(cls, namespace: Mapping[str, Any]) -> Self:
        """Take the parameters from the variables of a notebook: `BatchRatioParams.from_namespace(globals())`."""
        given = {name: namespace[name] for name in cls.model_fields if name in namespace}
        return cls.checked(given, "parameters cell")

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read a parameter file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a key is unknown, missing, of the wrong type or out of range; the message names the file, the
                key and the value.
        """
        values = read_yaml(Path(path))
        if not isinstance(values, dict):
            raise ValueError(
                f"{path} holds no parameters; expected a line `name: value` for each of {', '.join(cls.model_fields)}"
            )
        return cls.checked(values, str(path))

    @field_validator("*")
    @classmethod
    def _no_value_twice(cls, values: Any) -> Any:
        if isinstance(values, list | dict) and len(values) > _MOST:
            raise ValueError(f"it has {len(values):,} values; allowed: at most {_MOST:,}")
        if isinstance(values, list) and len(set(map(repr, values))) != len(values):
            raise ValueError("a value comes twice")
        return values

    @model_validator(mode="after")
    def _folds_are_there(self) -> Self:
        has_folds = any("fold" in CORPORA[name].takes for name in self.corpus.split("+"))
        if has_folds != bool(self.folds):
            allowed = f"one or more of 0 to {FOLDS[-1]}, each held out in turn" if has_folds else "none, as it has none"
            raise ValueError(f"folds is {self.folds}; allowed for the corpus {told(self.corpus)}: {allowed}")
        return self

    @model_validator(mode="after")
    def _batches_can_be_cut(self) -> Self:
        size = self.training.mini_batch_size
        if size and self.encoder in STATIC_ENCODERS:
            raise ValueError(f"training.mini_batch_size is {size}; allowed for the encoder {self.encoder}: None")
        return self

    @field_validator("task", "corpus")
    @classmethod
    def _known_data(cls, value: str, info: Any) -> str:
        # Tatoeba has no monolingual setting, which the tables of every question have.
        allowed = [name for name in (TASKS if info.field_name == "task" else CORPORA) if name != "tatoeba"]
        names = value.split("+")  # several together
        if set(names) - set(allowed) or len(set(names)) < len(names):
            raise ValueError(f"allowed: {', '.join(allowed)}, or several different ones joined by +")
        return value

    @field_validator("languages", "all_languages", "tested", "orders", "low_resource", check_fields=False)
    @classmethod
    def _known_languages(cls, values: Any, info: Any) -> Any:
        data = info.data.get("task" if info.field_name == "tested" else "corpus")
        known = LANGUAGES if data is None else languages_of(data)  # None is refused itself
        for value in values:
            for language in [value] if isinstance(value, str) else value:
                if language not in known:
                    raise ValueError(f"unknown language {told(language)}; known are {told(list(known))}")
        return values

    _encoder_is_findable = field_validator("encoder")(findable)
