"""Parameters of the notebooks: read from YAML, checked before any work starts.

papermill only warns of an unknown parameter and passes on a number that YAML took for text (`1e-4`), so a typing error
would be found after hours or never. Here each notebook has a model of its parameters; the keys of the YAML file, the
names in the notebook's parameters cell and the fields of the model are the same.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hybridlib.atlas import LANGUAGES
from hybridlib.corpus import CORPORA, load_corpus
from hybridlib.encoder import STATIC
from hybridlib.runs import Run
from hybridlib.sampler import HybridBatchSampler
from hybridlib.task import TASKS

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class BatchRatioParams(BaseModel):
    """Parameters of `notebooks/batch_ratio.ipynb`.

    Attributes:
        profile: names the folders for figures and results.
        task, corpus: what is evaluated and trained on; see `load_task` and `load_corpus`.
        available: share of the training items in each low-resource language.
        encoders: what to start from; see `load_encoder`.
        alphas: probabilities of a monolingual batch; the two ends are `x-y` (0) and `x-x-mono` (1).
        seeds: one training run each, of first weights and batches.
        batch_size, steps, temperature, learning_rate: of the training; see `fine_tune`.
        data_seed: of the split, the sentence frames and the items that stay available.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    profile: Annotated[str, Field(pattern=r"^[\w-]+$")]
    task: str
    corpus: str
    available: dict[str, Share]
    encoders: Annotated[list[str], Field(min_length=1)]
    alphas: Annotated[list[Share], Field(min_length=2)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    batch_size: Count
    steps: Count
    temperature: Annotated[float, Field(gt=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    data_seed: Annotated[int, Field(ge=0)]

    @field_validator("encoders", "alphas", "seeds")
    @classmethod
    def _no_value_twice(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) != len(values):
            raise ValueError("a value comes twice")
        return values

    @field_validator("available")
    @classmethod
    def _known_languages(cls, available: dict[str, float]) -> dict[str, float]:
        for language in available:
            if language not in LANGUAGES:
                raise ValueError(f"unknown language {language!r}; known are {', '.join(LANGUAGES)}")
        return available

    @field_validator("encoders")
    @classmethod
    def _findable_encoders(cls, encoders: list[str]) -> list[str]:
        for name in encoders:
            hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]+(@[\w.-]+)?", name)
            if not (hub_id or name in STATIC or Path(name).expanduser().exists()):
                raise ValueError(
                    f"{name!r} is neither {', '.join(STATIC)}, nor a folder here, nor a hub id of the form owner/name"
                )
        return encoders

    @model_validator(mode="after")
    def _known_data(self) -> Self:
        for name, value, allowed in (("task", self.task, TASKS), ("corpus", self.corpus, CORPORA)):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
        if {0.0, 1.0} - set(self.alphas):
            raise ValueError(f"alphas is {self.alphas}; it must include 0 and 1, which the others are compared with")
        return self

    @classmethod
    def from_namespace(cls, namespace: Mapping[str, Any]) -> Self:
        """Take the parameters from the variables of a notebook: `BatchRatioParams.from_namespace(globals())`."""
        return _checked(
            cls, {name: namespace[name] for name in cls.model_fields if name in namespace}, "parameters cell"
        )

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

    def runs(self) -> list[Run]:
        """The training runs the notebook needs, those with the same first encoder side by side."""
        return [
            Run(
                task=self.task,
                corpus=self.corpus,
                available=tuple(sorted(self.available.items())),
                encoder=encoder,
                strategy="hybrid",
                alpha=float(alpha),
                batch_size=self.batch_size,
                steps=self.steps,
                temperature=self.temperature,
                learning_rate=self.learning_rate,
                seed=seed,
                data_seed=self.data_seed,
            )
            for encoder in self.encoders
            for seed in self.seeds
            for alpha in self.alphas
        ]

    def check_data(self) -> None:
        """Load the training data and make sure that every batch can be filled.

        Raises:
            ValueError: a language is not in the corpus, or the corpus is too small for the batch.
        """
        corpus = load_corpus(self.corpus, available=self.available, seed=self.data_seed)
        for alpha in self.alphas:
            HybridBatchSampler(corpus.availability, self.batch_size, alpha=alpha)


Model = TypeVar("Model", bound=BaseModel)
PARAMS = {"batch_ratio": BatchRatioParams}


def _checked(model: type[Model], values: dict[str, Any], where: str) -> Model:
    try:
        return model(**values)
    except ValidationError as error:
        raise ValueError("\n".join(_explain(problem, model, where) for problem in error.errors())) from None


def _explain(problem: Any, model: type[BaseModel], where: str) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key {name!r}; allowed: {', '.join(model.model_fields)}"
    if problem["type"] == "missing":
        return f"{where}: {name!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "float_type" and isinstance(problem["input"], str):
        message += "; YAML reads a number like 1e-4 as text, write 1.0e-4"
    return f"{where}: {name} is {problem['input']!r}: {message}" if name else f"{where}: {message}"
