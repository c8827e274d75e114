"""Parameters of the notebooks: read from YAML, and checked before any work starts.

papermill only warns of an unknown parameter, and passes on a number that YAML took for text (`1e-4`), so a typing error
would be found after hours or never. Here each notebook has a model of its parameters (`hybridlib.study.questions`).
Every key of a YAML file is a name in the notebook's parameters cell and a field of the model. A field that has a
default may be left out.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import pandas as pd
from pydantic import Field, create_model, field_validator

from hybridlib.arguments import Count, Positive
from hybridlib.data.load import CORPORA, TASKS, load_corpus
from hybridlib.files import read_yaml
from hybridlib.names import E5_SMALL, LANGUAGES, STATIC_ENCODERS
from hybridlib.paths import figure_path
from hybridlib.sampler.strategies import monolingual_share
from hybridlib.study.inputs import Data, Test, tasks_of
from hybridlib.study.keys import by_key
from hybridlib.study.run import Run, Trial
from hybridlib.study.workers import compute_runs
from hybridlib.training.settings import Settings

Names = Annotated[list[str], Field(min_length=1)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 32)]], Field(min_length=1)]

# These are the two ends of a mix, and a hybrid between them.
BETWEEN = ("x-x-mono", "hybrid", "x-y")
# All runs of a parameter file share these settings, below its key `training`; good values differ between encoders.
_REQUIRED: Any = {
    "batch_size": (Count, ...),
    "steps": (Count, ...),
    "temperature": (Positive, ...),
    "learning_rate": (Positive, ...),
}
# And they may share these.
_SHARED = (
    "query_prompt", "document_prompt", "max_length", "hard_negatives", "validation", "validate_every", "patience",
    "save_every", "keep_encoder", "precision", "weight_decay", "symmetric", "mini_batch_size", "dataset_temperature",
)  # fmt: skip


def _findable(name: str | None) -> str | None:
    """Refuse the name of an encoder that `load_encoder` could not find."""
    known = (*STATIC_ENCODERS, E5_SMALL)
    if name is None:
        return None
    hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]+(@[\w.-]+)?", name)
    if not (hub_id or name in known or Path(name).expanduser().exists()):
        raise ValueError(f"it is neither {', '.join(known)}, nor a folder here, nor a hub id of the form owner/name")
    return name


_FIELDS: Any = {name: (Run.model_fields[name].annotation, Run.model_fields[name]) for name in _SHARED}
_CHECKS: Any = {"encoder_is_findable": field_validator("hard_negatives")(_findable)}
RunSettings: Any = create_model("RunSettings", __base__=Settings, __validators__=_CHECKS, **_REQUIRED, **_FIELDS)


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

    profile: Annotated[str, Field(pattern=r"^[\w-]+$")]
    encoder: str
    task: str
    corpus: str
    folds: list[Annotated[int, Field(ge=0)]]
    seeds: Seeds
    training: RunSettings
    pool: Literal["judged"] | Count | None = None
    data_seed: Annotated[int, Field(ge=0)] = 0

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
        return Run(fold=fold, seed=seed, strategy=strategy, alpha=alpha, **{**settings, **further})

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
        """Load the data of every run, downloads included, and make sure that every batch can be filled.

        Raises:
            ValueError: a language or domain is not in the data, the corpus is too small for the batch, or a file is not
                as published.
            FileNotFoundError: a file is missing.
        """
        from hybridlib.data.code_switching import code_switch
        from hybridlib.sampler.batches import HybridBatchSampler

        by_data: dict[Data, list[Run]] = {}
        for run in self.runs():
            by_data.setdefault(run.part(Data), []).append(run)
        for runs in by_data.values():
            corpus = runs[0].load_corpus()
            for strategy, alpha, switched in dict.fromkeys(
                (run.strategy, run.alpha, run.code_switched) for run in runs
            ):
                table = (code_switch(corpus) if switched else corpus).availability
                HybridBatchSampler(table, self.training.batch_size, strategy=strategy, alpha=alpha)
        for name in {run.validation for run in self.runs() if run.validation}:
            load_corpus(name, "validation")
        tested = {(test, test.fold(run)): run.part(Data) for run in self.runs() for test in run.tests}
        for (test, _), data in tested.items():
            if not test.task.startswith("atlas"):
                list(tasks_of(test, data))

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
        if isinstance(values, list) and len(set(map(repr, values))) != len(values):
            raise ValueError("a value comes twice")
        return values

    @field_validator("task", "corpus")
    @classmethod
    def _known_data(cls, value: str, info: Any) -> str:
        allowed = list(TASKS if info.field_name == "task" else CORPORA)
        for name in value.split("+"):  # several together
            if name not in allowed:
                raise ValueError(f"allowed: {', '.join(allowed)}, or several joined by +")
        return value

    @field_validator("languages", "all_languages", "tested", "orders", "low_resource", check_fields=False)
    @classmethod
    def _known_languages(cls, values: Any, info: Any) -> Any:
        if not str(info.data.get("corpus", "atlas")).startswith("atlas"):
            return values  # `check_data` asks the data, which has others
        for value in values:
            for language in [value] if isinstance(value, str) else value:
                if language not in LANGUAGES:
                    raise ValueError(f"unknown language {language!r}; known are {', '.join(LANGUAGES)}")
        return values

    _encoder_is_findable = field_validator("encoder")(_findable)
