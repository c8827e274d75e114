"""Settings are checked where they enter, and every message names the setting, the value and what is allowed."""

import copy
import math
import pickle

import pytest
from pydantic import Field

from hybridlib.arguments import Count
from hybridlib.training.settings import Settings, Training


class Study(Settings):
    training: Training
    items: dict[str, Count] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (Training, {"batch_size": 0}, "batch_size is 0; allowed: greater than or equal to 1"),
        (Training, {"batch_size": 10**6 + 1}, "batch_size is 1000001; allowed: less than or equal to 1000000"),
        (Training, {"steps": 10**9 + 1}, "steps is 1000000001; allowed: less than or equal to 1000000000"),
        (Training, {"patience": 10**30}, "patience is 10+; allowed: less than or equal to 1000000000"),
        (Training, {"learning_rate": math.inf}, "learning_rate is inf; allowed: a finite number"),
        (
            Training,
            {"learning_rate": "1e-4"},
            "learning_rate is '1e-4'; .*; some readers of YAML take a number like 1e-4 for text, write 1\\.0e",
        ),
        (Training, {"language_temperature": math.nan}, "language_temperature is nan; allowed: greater than 0"),
        (Training, {"weight_decay": -0.1}, "weight_decay is -0.1; .* greater than or equal to 0"),
        (Training, {"seed": 1 << 32}, "seed is 4294967296; allowed: less than 4294967296"),
        (Training, {"strategy": "x-z"}, "strategy is 'x-z'; allowed: 'en-en', .*'hybrid'"),
        (Training, {"precision": "float16"}, "precision is 'float16'; allowed: 'float32' or 'bfloat16'"),
        (Training, {"symmetric": 1}, "symmetric is 1; allowed: True or False"),
        (Training, {"symmetric": "no"}, "symmetric is 'no'; allowed: True or False"),
        (Training, {"validate_every": 1.5}, "validate_every is 1.5; allowed: a whole number"),
        (Training, {"seed": -1}, "seed is -1; allowed: greater than or equal to 0"),
        (Training, {"step": 3}, "unknown key 'step'; allowed: strategy, alpha, batch_size, steps"),
        (Training, {"steps": -1, "patience": 0}, "steps is -1; .*\n(a file: )?patience is 0; "),
        (Study, {}, "'training' is missing"),
        (Study, {"training": {"steps": -1}}, "training.steps is -1; "),
        (Study, {"training": {"step": 1}}, "unknown key 'training.step'; allowed: strategy"),
        (Study, {"training": {}, "items": {"a": 0}}, "items.a is 0; "),
    ],
)
def test_a_wrong_setting_is_named_by_its_whole_way_with_its_value_and_what_is_allowed(
    model: type[Settings], values: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        model(**values)
    assert type(caught.value) is ValueError
    with pytest.raises(ValueError, match=f"a file: {message.split(': .*')[0]}"):
        model.checked(values, "a file")


def test_equal_settings_have_one_hash_in_whatever_order_they_were_given() -> None:
    one = Study(training=Training(steps=3, learning_rate=1), items={"a": 1, "b": 2})
    other = Study(items={"b": 2, "a": 1}, training=Training(learning_rate=1.0, steps=3))
    assert one == other == pickle.loads(pickle.dumps(one)) == copy.deepcopy(one)
    assert len({one, other, Study(training=Training(steps=4))}) == 2
    with pytest.raises(ValueError, match="frozen"):
        one.items = {}  # type: ignore[misc]
