"""The settings of a training: one frozen model, checked where the values enter.

`fine_tune` takes a `Training`, and the runs of a study inherit from it. This module loads nothing that computes, so
that settings can be read and checked at once.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hybridlib.names import STRATEGIES

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0)]  # infinity draws uniformly


class Settings(BaseModel):
    """A base class of settings: frozen, hashable, and strict about names and types.

    Raises:
        ValueError: a name is unknown or missing, or a value is of the wrong type or out of range. The message names
            each of them, its value and what is allowed.

    >>> class Walk(Settings):
    ...     steps: Count
    >>> Walk(steps=0)
    Traceback (most recent call last):
    ValueError: steps is 0: Input should be greater than or equal to 1
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_explain(error, type(self))) from None

    # With this, settings inside of settings are validated in place: one message tells the whole way to a value.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash(json.dumps(self.model_dump(), sort_keys=True, default=str))

    @classmethod
    def checked(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """Return the settings that have these values.

        Args:
            values: by name.
            where: a text to put before every message, such as the name of the file that the values are from.

        Raises:
            ValueError: for the reasons that the class names.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ValueError(_explain(error, cls, where)) from None


class Training(Settings):
    """The settings of one training; see `fine_tune`.

    Attributes:
        strategy, alpha, language_temperature, dataset_temperature: how to draw batches; see `HybridBatchSampler`.
        batch_size: pairs in a batch, over all processes.
        steps: batches, at most; 0 leaves the encoder as it is.
        temperature, mask, symmetric, mini_batch_size: settings of the loss; see `InfoNCE`. The paper masks no false
            negatives.
        learning_rate: at the first step; it falls linearly to 0.
        weight_decay: of AdamW.
        precision: of the matrix products; weights are float32 either way.
        validate_every: steps between validations, where there is data for them.
        patience: validations without improvement after which training stops.
        save_every: steps between checkpoints, where there is a folder for them; None saves none. With validation, they
            are saved whenever it is done.
        seed: draws the batches, and dropout.
    """

    strategy: Literal[STRATEGIES] = "hybrid"  # type: ignore[valid-type]
    alpha: Share = 0.5
    batch_size: Count = 100
    steps: Annotated[int, Field(ge=0)] = 200
    temperature: Positive = 0.05
    learning_rate: Positive = 1e-2
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    mask: bool = True
    symmetric: bool = False
    language_temperature: Temperature = math.inf
    dataset_temperature: Temperature = 1.0
    mini_batch_size: Count | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: Count = 500
    patience: Count = 3
    save_every: Count | None = 500
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0  # all generators that the trainer seeds can take these


def _explain(error: ValidationError, model: type[BaseModel], where: str = "") -> str:
    """Return a line for each problem, which names the argument, the value and what is allowed."""
    start = f"{where}: " if where else ""
    return "\n".join(start + _explain_one(problem, model) for problem in error.errors())


def _explain_one(problem: Any, model: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {name!r}; allowed: {', '.join(_inner(model, problem['loc'][:-1]).model_fields)}"
    if problem["type"] == "missing":
        return f"{name!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "float_type" and isinstance(problem["input"], str):
        message += "; YAML reads a number like 1e-4 as text, write 1.0e-4"
    return f"{name} is {problem['input']!r}: {message}" if name else message


def _inner(model: type[BaseModel], names: tuple[str, ...]) -> type[BaseModel]:
    """Return the model that is reached from another by the names of fields."""
    for name in names:
        inner = model.model_fields[name].annotation
        assert isinstance(inner, type)
        model = inner
    return model
