"""Parameters: read from YAML, checked before any work starts.

papermill only warns of an unknown parameter and passes on a number that YAML took for text (`1e-4`), so a typing error
would be found after hours or never. Here each notebook has a model of its parameters (`hybridlib.study.questions`);
the keys of the YAML file, the names in the notebook's parameters cell and the fields of the model are the same.
"""

import re
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hybridlib.data.load import CORPORA, TASKS
from hybridlib.names import CODE_SWITCH, LANGUAGES, STATIC_ENCODERS, STRATEGIES
from hybridlib.study.run import Run, Trial

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Names = Annotated[list[str], Field(min_length=1)]
Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]

# The ends of the mix, and a hybrid between.
BETWEEN = ("x-x-mono", "hybrid", "x-y")


class Training(BaseModel):
    """What a training of full size needs besides; see `fine_tune`, `load_encoder` and `mine_negatives`.

    Attributes:
        query_prompt, document_prompt: put before texts.
        max_length: tokens of a text that are read.
        hard_negatives: give every pair one, mined with the encoder to start from, besides those in the batch.
        validation: the corpus whose loss decides when to stop.
        validate_every, patience, save_every: steps, validations and steps.
        keep_encoder: keep the trained encoder with the run's results.
        precision, weight_decay, symmetric, mini_batch_size, dataset_temperature: see `fine_tune`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    query_prompt: str = ""
    document_prompt: str = ""
    max_length: Count | None = None
    hard_negatives: bool = False
    validation: Literal["squadshifts"] | None = None
    validate_every: Count = 500
    patience: Count = 3
    save_every: Count | None = None
    keep_encoder: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    symmetric: bool = False
    mini_batch_size: Count | None = None
    dataset_temperature: Positive = 1.0


class Params(BaseModel):
    """What the parameters of all notebooks have in common.

    Attributes:
        profile: names the folders for figures and results.
        task, corpus: what is evaluated and trained on; see `load_task` and `load_corpus`.
        seeds: one training run each, of first weights and batches.
        sizes: shares of the training data, for the question how much of it the answer needs; 1 is the notebook's main
            part.
        batch_size, steps, temperature, learning_rate: of the training; see `fine_tune`.
        data_seed: of the split, the sentence frames and the items that stay available.
        pool: what of a task's passages is searched; None is all of them, see `load_task`.
        training: further settings; see `Training`.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

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
    training: Training

    @abstractmethod
    def plan(self) -> list[Trial]:
        """The trials the notebook compares, those with the same first encoder side by side."""

    def run(self, encoder: str, seed: int, **further: Any) -> Run:
        """Return a run with the settings that all notebooks have, and further ones."""
        common = ("task", "corpus", "batch_size", "steps", "temperature", "learning_rate", "data_seed", "pool")
        training = fixed(self.training.model_dump(exclude_defaults=True))
        settings = {name: getattr(self, name) for name in common} | further
        return Run(**settings, training=training, encoder=encoder, seed=seed)

    def runs(self) -> list[Run]:
        """The training runs of the plan, each once."""
        return list(dict.fromkeys(trial.run for trial in self.plan()))

    def check_data(self) -> None:
        """Load the data of every run, what is downloaded included, and make sure that every batch can be filled.

        Raises:
            ValueError: a language or domain is not in the data, the corpus is too small for the batch, or a file is not
                as published.
            FileNotFoundError: a file is missing.
        """
        from hybridlib.data.code_switching import code_switch
        from hybridlib.data.load import load_corpus
        from hybridlib.sampler.batches import HybridBatchSampler

        by_data: dict[tuple, list[Run]] = {}
        for run in self.runs():
            by_data.setdefault(run.data(), []).append(run)
        for runs in by_data.values():
            corpus = runs[0].load_corpus()
            for strategy, alpha in dict.fromkeys((run.strategy, run.alpha) for run in runs):
                if strategy == CODE_SWITCH:
                    HybridBatchSampler(code_switch(corpus).availability, self.batch_size, strategy="en-en")
                else:
                    HybridBatchSampler(corpus.availability, self.batch_size, strategy=strategy, alpha=alpha)
        if self.training.validation:
            load_corpus(self.training.validation, "validation")
        if not self.task.startswith("atlas"):
            for task in {(run.task, run.task_languages): run for run in self.runs()}.values():
                task.load_task()

    @classmethod
    def from_namespace(cls, namespace: Mapping[str, Any]) -> Self:
        """Take the parameters from the variables of a notebook: `BatchRatioParams.from_namespace(globals())`."""
        given = {name: namespace[name] for name in cls.model_fields if name in namespace}
        return _checked(cls, given, "parameters cell")

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
        return _checked(cls, values, str(path))

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

    @field_validator("strategies", check_fields=False)
    @classmethod
    def _known_strategies(cls, strategies: list[str]) -> list[str]:
        for name in strategies:
            if name not in (*STRATEGIES, CODE_SWITCH):
                raise ValueError(f"unknown strategy {name!r}; allowed: {', '.join((*STRATEGIES, CODE_SWITCH))}")
        return strategies

    @field_validator("encoder", "encoders", check_fields=False)
    @classmethod
    def _findable_encoders(cls, encoders: Any) -> Any:
        for name in encoders if isinstance(encoders, list) else [encoders]:
            hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]+(@[\w.-]+)?", name)
            if not (hub_id or name in STATIC_ENCODERS or Path(name).expanduser().exists()):
                known = ", ".join(STATIC_ENCODERS)
                raise ValueError(f"{name!r} is neither {known}, nor a folder here, nor a hub id of the form owner/name")
        return encoders


def strategy_settings(name: str, alpha: float) -> dict[str, Any]:
    """Return strategy and alpha of a run. Alpha matters to hybrid batches only; for the others it is what their name
    says, so that equal runs are equal."""
    return {"strategy": name, "alpha": {"hybrid": alpha, "x-x-mono": 1.0, "en-en": 1.0}.get(name, 0.0)}


def fixed(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return a mapping as a run holds it: hashable, and the same in whatever order it was given."""
    return tuple(sorted(mapping.items()))


Model = TypeVar("Model", bound=BaseModel)


def _checked(model: type[Model], values: dict[str, Any], where: str) -> Model:
    try:
        return model(**values)
    except ValidationError as error:
        raise ValueError("\n".join(_explain(problem, model, where) for problem in error.errors())) from None


def _explain(problem: Any, model: type[BaseModel], where: str) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = (
            Training.model_fields if problem["loc"][0] == "training" and len(problem["loc"]) > 1 else model.model_fields
        )
        return f"{where}: unknown key {name!r}; allowed: {', '.join(fields)}"
    if problem["type"] == "missing":
        return f"{where}: {name!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "float_type" and isinstance(problem["input"], str):
        message += "; YAML reads a number like 1e-4 as text, write 1.0e-4"
    return f"{where}: {name} is {problem['input']!r}: {message}" if name else f"{where}: {message}"
