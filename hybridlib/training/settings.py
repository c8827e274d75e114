"""The settings of a training: one frozen model, checked where the values enter.

`fine_tune` takes a `Training`, and the runs of a study inherit from it. This module loads nothing that computes, so
that settings can be read and checked at once.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hybridlib.arguments import Count, Positive, Seed, Share, Temperature, explain, plain
from hybridlib.names import STRATEGIES

# The loss holds a score for every two texts of a batch.
BatchSize = Annotated[int, Field(ge=1, le=10**6)]


class Settings(BaseModel):
    """A base class of settings: frozen, hashable, and strict about names and types.

    Raises:
        ValueError: a name is unknown or missing, or a value is of the wrong type or out of range. The message names
            each of them, its value and what is allowed.

    >>> class Walk(Settings):
    ...     steps: Count
    >>> Walk(steps=0)
    Traceback (most recent call last):
    ValueError: steps is 0; allowed: greater than or equal to 1
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**plain(values))
        except ValidationError as error:
            raise ValueError(explain(error, values, type(self).model_fields)) from None

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
            return cls.model_validate(plain(dict(values)))
        except ValidationError as error:
            raise ValueError(explain(error, values, cls.model_fields, where)) from None


class Training(Settings):
    """The settings of one training; see `fine_tune`.

    Attributes:
        strategy, alpha, language_temperature, dataset_temperature: how to draw batches; see `HybridBatchSampler`.
        batch_size: pairs in a batch, over all processes.
        steps: batches, at most; 0 leaves the encoder as it is.
        temperature, mask, symmetric, mini_batch_size: settings of the loss; see `InfoNCE`. The paper masks no false
            negatives.
        learning_rate: at the first step; it falls linearly to 0. The default is for static encoders; with a
            transformer, 1e-5 to 1e-4 is usual.
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
    batch_size: BatchSize = 100
    steps: Annotated[int, Field(ge=0, le=10**9)] = 200
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
    seed: Seed = 0
