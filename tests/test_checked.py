"""Arguments are checked by annotations, and what is wrong is said in one way."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Unpack

import numpy as np
import pandas as pd
import pytest
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from hybridlib.arguments import Count, FilePath, Names, Positive, Share, checked, plain, told
from hybridlib.data.corpus import ParallelCorpus


@with_config(ConfigDict(extra="forbid"))
class Options(TypedDict, total=False):
    batch_tokens: Count | None


@checked
def walk(
    steps: Count,
    names: Names = ("a",),
    *,
    pool: Literal["judged"] | int = 1,
    path: FilePath | None = None,
    share: Share = 0.5,
    rate: Positive = 1.0,
    available: Mapping[str, Share] | None = None,
    quick: bool = True,
    few: Annotated[list[int], Field(min_length=1)] = [0],  # noqa: B006 (it is not changed)
    corpus: ParallelCorpus | None = None,
    **options: Unpack[Options],
) -> dict[str, object]:
    """Take some steps."""
    return {**locals()}


class Walk:
    @checked
    def __init__(self, steps: Count) -> None:
        self.steps = steps


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"steps": np.int64(2)}, "steps", 2),
        ({"names": "map"}, "names", ["map"]),
        ({"names": (letter for letter in "ab")}, "names", ["a", "b"]),
        ({"names": {"sw", "de", "en"}}, "names", ["de", "en", "sw"]),
        ({"names": pd.Index(["sw", "de"])}, "names", ["sw", "de"]),
        ({"names": np.array(["sw", "de"])}, "names", ["sw", "de"]),
        ({"share": np.float32(0.5)}, "share", 0.5),
        ({"share": 1}, "share", 1.0),
        ({"available": {"sw": np.float64(0.25)}}, "available", {"sw": 0.25}),
        ({"quick": np.False_}, "quick", False),
        ({"path": "a/b"}, "path", Path("a/b")),
        ({"path": "~/b"}, "path", Path.home() / "b"),
        ({"pool": "judged"}, "pool", "judged"),
    ],
)
def test_what_can_only_mean_one_thing_is_taken(given, name, value):
    found = walk(**{"steps": 1} | given)[name]
    assert found == value
    assert type(found) is type(value) or isinstance(value, Path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 1.5}, "steps is 1.5; allowed: a whole number"),
        ({"steps": 0}, "steps is 0; allowed: greater than or equal to 1"),
        ({"steps": True}, "steps is True; allowed: a whole number"),
        ({"steps": "1"}, "steps is '1'; allowed: a whole number"),
        ({"steps": None}, "steps is None; allowed: a whole number"),
        ({"steps": np.array([1, 2])}, "steps is an array of int64 of shape (2,); allowed: a whole number"),
        ({"names": ["map", None]}, "names.1 is None; allowed: a text"),
        ({"names": ["map", ""]}, "names.1 is ''; allowed: a text that is not empty"),
        ({"few": []}, "few is []; allowed: at least 1 item"),
        ({"names": 3}, "names is 3; allowed: a list"),
        ({"pool": 1.5}, "pool is 1.5; allowed: 'judged', or a whole number"),
        ({"path": ""}, "path is ''; allowed: the path of a file or a folder"),
        ({"path": 3}, "path is 3; allowed: the path of a file or a folder"),
        ({"path": "a\0b"}, "path is 'a\\x00b'; allowed: the path of a file or a folder"),
        ({"path": "\ud800"}, "path is '\\ud800'; allowed: the path of a file or a folder"),
        ({"path": "x" * 5000}, "path is 'xxx"),
        ({"path": "~nobody-of-this-name/x"}, "path is '~nobody-of-this-name/x'; allowed: the path of a file or a f"),
        ({"share": "0.5"}, "share is '0.5'; allowed: a number"),
        ({"rate": float("nan")}, "rate is nan; allowed: a finite number"),
        ({"rate": 10**5000}, "rate is of the type int; allowed: a number"),
        ({"available": {"x": 7, 3: 1.0}}, "available.x is 7; allowed: less than or equal to 1\navailable.3 is 3; "),
        ({"quick": "no"}, "quick is 'no'; allowed: True or False"),
        ({"quick": 1}, "quick is 1; allowed: True or False"),
        ({"corpus": None, "steps": []}, "steps is []; allowed: a whole number"),
        ({"corpus": "atlas"}, "corpus is 'atlas'; allowed: an instance of ParallelCorpus, as made by load_corpus or"),
        ({"corpus": pd.DataFrame({"a": [1]})}, "corpus is a table of shape (1, 1); allowed: an instance of Parallel"),
        ({"batch_tokens": 0}, "batch_tokens is 0; allowed: greater than or equal to 1"),
        ({"batch_token": 0}, "unknown key 'batch_token'; allowed: steps, names, pool, "),
    ],
)
def test_what_is_wrong_is_said_with_its_name_its_value_and_what_is_allowed(given, message):
    with pytest.raises(ValueError) as raised:
        walk(**{"steps": 1} | given)
    assert str(raised.value).startswith(message)
    assert len(str(raised.value)) < 500


def test_a_missing_argument_is_pythons_own_error():
    with pytest.raises(TypeError, match="missing a required argument: 'steps'"):
        walk()


def test_positional_arguments_and_those_of_a_class_are_named_too():
    for call in (walk, Walk):
        with pytest.raises(ValueError, match=r"^steps is -1; "):
            call(-1)
    assert Walk(np.int64(3)).steps == 3


def test_the_first_of_many_wrong_values_are_named_and_the_others_counted():
    with pytest.raises(ValueError) as raised:
        walk(1, ["a", *[None] * 1000])
    lines = str(raised.value).split("\n")
    assert lines[0] == "names.1 is None; allowed: a text"
    assert (len(lines), lines[-1]) == (6, "995 more values are wrong")


def test_long_lines_are_fewer_so_that_a_message_stays_short():
    with pytest.raises(ValueError) as raised:
        walk(1, [["x" * 80] * 12] * 1000)
    lines = str(raised.value).split("\n")
    assert (len(lines), lines[-1]) == (3, "998 more values are wrong")
    assert len(str(raised.value)) < 500


def test_a_value_is_told_in_less_than_a_line_however_large_it_is():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    wide = {letter: {other: "x" * 80 for other in "abcd"} for letter in "abcd"}
    large = ("x" * 10_000, "\n" * 1000, 10**5000, [1] * 10_000, deep, {"a": deep}, wide, np.zeros(9), object(), walk)
    for value in large:
        assert len(told(value)) < 200
        assert "\n" not in told(value)
    assert told(pd.DataFrame({"a": [1]})) == "a table of shape (1, 1)"
    assert told(np.int64(3)) == "3"
    for value in (deep, {"a": deep}):
        with pytest.raises(ValueError, match=r"^steps is "):
            walk(value)


def test_lists_that_hold_one_list_many_times_are_not_copied_for_each():
    many, named = [np.int64(3)], {"a": np.int64(3)}
    for _ in range(100):
        many, named = [many, many], {"a": named, "b": named}
    assert len(told(many)) < 200 and len(told(named)) < 200
    for value in (many, named):
        with pytest.raises(ValueError, match=r"^steps is "):
            walk(value)
    many, named = plain(many), plain(named)
    for _ in range(100):
        many, named = many[1], named["b"]
    assert type(many[0]) is int and type(named["a"]) is int
    within: list = []
    within += [within, within]
    assert plain(within)[0] is within


def test_no_warning_comes_of_checking():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        walk(np.int32(2), pool=np.int64(4))
