"""Parameters of the notebooks: read from YAML, and checked before any work starts.

papermill only warns of an unknown parameter, and passes on a number that YAML took for text (`1e-4`), so a typing error
would be found after hours or never. Here each notebook has a model of its parameters (`hybridlib.study.questions`). The
keys of the YAML file, the names in the notebook's parameters cell and the fields of the model are the same.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, create_model, field_validator

from hybridlib.data.load import CORPORA, TASKS, load_corpus
from hybridlib.names import LANGUAGES, STATIC_ENCODERS
from hybridlib.sampler.strategies import monolingual_share
from hybridlib.study.run import Data, Run, Trial
from hybridlib.training.settings import Count, Positive, Settings

PositiveShare = Annotated[float, Field(gt=0, le=1)]
Names = Annotated[list[str], Field(min_length=1)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 32)]], Field(min_length=1)]

# These are the two ends of a mix, and a hybrid between them.
BETWEEN = ("x-x-mono", "hybrid", "x-y")
# All runs of a parameter file may share these settings, below its key `training`.
_FURTHER = (
    "query_prompt",
    "document_prompt",
    "max_length",
    "hard_negatives",
    "validation",
    "validate_every",
    "patience",
    "save_every",
    "keep_encoder",
    "precision",
    "weight_decay",
    "symmetric",
    "mini_batch_size",
    "dataset_temperature",
)
_FIELDS: Any = {name: (Run.model_fields[name].annotation, Run.model_fields[name]) for name in _FURTHER}
RunSettings = create_model("RunSettings", __base__=Settings, **_FIELDS)


class Params(Settings):
    """A base class of the parameters of a notebook, with those that all notebooks have.

    Attributes:
        profile: names the folders for figures and results.
        task, corpus: name the data to evaluate and to train on; see `load_task` and `load_corpus`.
        seeds: one training run each, of first weights and batches.
        sizes: shares of the training data, for the question how much of it the answer needs; 1 is the notebook's main
            part.
        batch_size, steps, temperature, learning_rate: settings of the training; see `Training`.
        data_seed: draws the split, the sentence frames and the items that stay available.
        pool: the passages of the task that are searched; None is all of them, see `load_task`.
        training: further settings of `Run`.
    """

    profile: Annotated[str, Field(pattern=r"^[\w-]+$")]
    task: str
    corpus: str
    seeds: Seeds
    sizes: Annotated[list[PositiveShare], Field(min_length=1)]
    batch_size: Count
    steps: Count
    temperature: Positive
    learning_rate: Positive
    data_seed: Annotated[int, Field(ge=0)]
    pool: Literal["judged"] | Count | None
    training: RunSettings  # type: ignore[valid-type]

    @abstractmethod
    def trials(self) -> list[Trial]:
        """Return the trials that the notebook compares, those that start from the same encoder side by side."""

    def runs(self) -> list[Run]:
        """Return the training runs of the trials, each once."""
        return list(dict.fromkeys(trial.run for trial in self.trials()))

    def run(self, encoder: str, seed: int, strategy: str, alpha: float, **further: Any) -> Run:
        """Return a run with the settings that all runs of the file have, and further ones.

        Args:
            encoder, seed, strategy: as `Run` has them.
            alpha: probability of a monolingual batch, for `hybrid`. Other strategies have one of their own, so that
                equal runs are equal.
            further: further settings of `Run`.
        """
        common = ("task", "corpus", "batch_size", "steps", "temperature", "learning_rate", "data_seed", "pool")
        settings = {name: getattr(self, name) for name in common} | dict(self.training) | further
        alpha = monolingual_share(strategy, float(alpha))
        return Run(encoder=encoder, seed=seed, strategy=strategy, alpha=alpha, **settings)

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
                HybridBatchSampler(table, self.batch_size, strategy=strategy, alpha=alpha)
        for name in {run.validation for run in self.runs() if run.validation}:
            load_corpus(name, "validation")
        if not self.task.startswith("atlas"):
            for run in {run.task_languages: run for run in self.runs()}.values():
                run.load_task()

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
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path} does not exist")
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not YAML: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(
                f"{path} holds no parameters; expected a line `name: value` for each of {', '.join(cls.model_fields)}"
            )
        return cls.checked(values, str(path))

    @field_validator("*")
    @classmethod
    def _no_value_twice(cls, values: Any) -> Any:
        if isinstance(values, list) and len(set(values)) != len(values):
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

    @field_validator("sizes")
    @classmethod
    def _all_data_too(cls, sizes: list[float]) -> list[float]:
        if 1 not in sizes:
            raise ValueError("it must include 1.0, all of the data")
        return sizes

    @field_validator("languages", "available", check_fields=False)
    @classmethod
    def _known_languages(cls, languages: Any, info: Any) -> Any:
        if not str(info.data.get("corpus", "atlas")).startswith("atlas"):
            return languages  # `check_data` asks the data, which has others
        for language in languages:
            if language not in LANGUAGES:
                raise ValueError(f"unknown language {language!r}; known are {', '.join(LANGUAGES)}")
        return languages

    @field_validator("encoder", "encoders", check_fields=False)
    @classmethod
    def _findable_encoders(cls, encoders: Any) -> Any:
        for name in encoders if isinstance(encoders, list) else [encoders]:
            hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]+(@[\w.-]+)?", name)
            if not (hub_id or name in STATIC_ENCODERS or Path(name).expanduser().exists()):
                known = ", ".join(STATIC_ENCODERS)
                raise ValueError(f"{name!r} is neither {known}, nor a folder here, nor a hub id of the form owner/name")
        return encoders
