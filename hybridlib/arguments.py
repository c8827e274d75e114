"""Arguments of public functions and settings, checked where they enter, before any work starts.

`checked` reads the annotations of a function: what they say is what is allowed, and is said in one way everywhere. It
is strict, so a text is no number and a fraction no whole number, but numbers of numpy are numbers. The types below are
the annotations that several functions share.
"""

import functools
import inspect
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ParamSpec, TypeVar, Unpack, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, GetPydanticSchema, ValidationError, validate_call

P = ParamSpec("P")
R = TypeVar("R")

_MOST = 5  # lines of a message
_ROOM = 400  # characters of several lines
_LONGEST = 160  # characters of a value
# What pydantic says of a wrong type, in the words of this library.
_WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "string_too_short": "a text that is not empty",
    "string_unicode": "a text without lone surrogates",
    "bool_type": "True or False",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a name and a value for each",
    "model_type": "a name and a value for each",
    "string_pattern_mismatch": "letters, digits, - and _",  # what all patterns ask for
}
# Who sees one of these names refused wants to know where such a thing is to be had.
_MADE_BY = {
    "Module": "load_encoder",
    "ParallelCorpus": "load_corpus or ParallelCorpus.from_frame",
    "RetrievalTask": "load_task or RetrievalTask",
    "SentenceTransformer": "load_encoder",
    "Training": "Training(steps=..., learning_rate=...)",
}
_SIMPLE = (str, bytes, bool, int, float, complex, list, tuple, dict, set, frozenset, Path, type(None), type)
_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 80
_repr.maxlong = 40
_repr.maxlist = _repr.maxtuple = 12
_repr.maxlevel = 4  # what is held in several places is described in each


def listed(values: Any) -> Any:
    """Return what was given as a list: one text alone, a generator, or a set, whose order is that of its sorted values.

    What cannot be gone through is returned as it is, and refused where it is checked.

    >>> listed("map"), listed({"sw", "de"})
    (['map'], ['de', 'sw'])
    """
    if isinstance(values, str):
        return [values]
    if isinstance(values, AbstractSet) and not isinstance(values, Mapping):
        return sorted(values, key=str)
    if isinstance(values, np.ma.MaskedArray):
        return values.tolist()  # with None for what is masked
    return list(values) if isinstance(values, Iterable) and not isinstance(values, bytes) else values


def plain(value: Any) -> Any:
    """Return numbers of numpy as those of Python, also where they are in a list, a tuple or a dictionary.

    >>> plain({"sw": np.float64(0.5)})
    {'sw': 0.5}
    """
    return _plain(value, {})


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """Return numbers of numpy as those of Python; `seen` keeps what is held in several places from being copied."""
    if id(value) in seen:
        return seen[id(value)]
    try:
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, dict | MappingProxyType):
            seen[id(value)] = value  # what holds itself stays as it is
            seen[id(value)] = {plain(key): _plain(one, seen) for key, one in value.items()}
        elif type(value) in (list, tuple) and any(isinstance(one, np.generic | dict | list | tuple) for one in value):
            seen[id(value)] = value
            seen[id(value)] = type(value)(_plain(one, seen) for one in value)
    except RecursionError:  # lists in lists, a thousand deep
        pass
    return seen.get(id(value), value)


def path_of(value: Any) -> Path:
    """Return the path that a text or a path stands for, with `~` replaced; refuse what no file can be called."""
    try:
        if value != "" and isinstance(value, str | Path) and "\0" not in str(value):
            path = Path(value).expanduser()
            os.fsencode(path)  # this and the next fail for a name that no file can have
            path.exists()
            return path
    except (OSError, UnicodeError, RuntimeError):  # the last for a user who does not exist
        pass
    raise ValueError("allowed: the path of a file or a folder")


Count = Annotated[int, Field(ge=1, le=10**9)]  # what has a digit too many would be found after days of computing
Whole = Annotated[int, Field(ge=0, lt=1 << 62)]  # sums of several fit into 64 bits
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]  # all generators that are seeded can take these
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0)]  # infinity draws uniformly
Text = Annotated[str, Field(min_length=0)]  # with a limit, pydantic looks for lone surrogates, too
Name = Annotated[str, Field(min_length=1)]
# A text alone is one name; otherwise any number of them, in order.
_NAMES = Annotated[list[Name], BeforeValidator(listed)]
Names = Annotated[Sequence[str], GetPydanticSchema(lambda _, schema_of: schema_of(_NAMES))]  # mypy allows tuples
# An empty text is not taken for the folder here.
FilePath = Annotated[str | Path, BeforeValidator(path_of)]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that its arguments are checked by their annotations before it is called.

    Raises:
        ValueError: an argument is of another type or out of range; the message names it, its value and what is allowed.

    >>> @checked
    ... def walk(steps: Count) -> int:
    ...     return steps
    >>> walk(np.int64(2))
    2
    >>> walk(0.5)
    Traceback (most recent call last):
    ValueError: steps is 0.5; allowed: a whole number
    """
    signature = inspect.signature(function)
    further = [name for name, one in signature.parameters.items() if one.kind is one.VAR_KEYWORD]
    validated: Callable[..., R] | None = None

    @functools.wraps(function)
    def call(*args: P.args, **named: P.kwargs) -> R:
        nonlocal validated
        if validated is None:  # at the first call, since annotations may name what is defined later
            validate: Callable[..., Any] = validate_call(config=ConfigDict(strict=True, arbitrary_types_allowed=True))
            validated = validate(function)
        given = signature.bind(*args, **named).arguments  # Python says itself what is missing or too much
        for name in further:
            given |= given.pop(name, {})
        try:
            return validated(**{name: plain(value) for name, value in given.items()})
        except ValidationError as error:
            hints = get_type_hints(function)
            names = {
                name: hints.get(name) for name in (*signature.parameters, *_options(function)) if name not in further
            }
            raise ValueError(explain(error, given, names)) from None

    return call


def _options(function: Callable[..., Any]) -> list[str]:
    """Return the names of the options that a function takes as `**options: Unpack[...]`."""
    hints = get_type_hints(function).values()
    return [name for hint in hints if get_origin(hint) is Unpack for name in get_args(hint)[0].__annotations__]


def told(value: object) -> str:
    """Describe a value for a message, in less than a line however large it is.

    >>> told("en"), told([1] * 100), told(np.zeros((2, 3), dtype=np.float32))
    ("'en'", '[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ...]', 'an array of float32 of shape (2, 3)')
    """
    value = value.item() if isinstance(value, np.generic) else value
    shape = getattr(value, "shape", None)
    try:
        if isinstance(value, _SIMPLE):
            text = _repr.repr(value)
            return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
        if isinstance(shape, tuple):
            kind = "table" if hasattr(value, "columns") else f"array of {getattr(value, 'dtype', 'values')}"
            return f"{'a' if kind == 'table' else 'an'} {kind} of shape {tuple(shape)}"
    except (ValueError, RecursionError):  # a number of thousands of digits
        pass
    return f"of the type {type(value).__name__}"


def explain(error: ValidationError, values: Any, allowed: Mapping[str, Any], where: str = "") -> str:
    """Return a line for each of the first problems, which names the argument, the value and what is allowed.

    Args:
        error: as pydantic raises it.
        values: what was checked, by name or by number.
        allowed: all names there are, with their types or pydantic's fields, which may be models.
        where: a text to put before every line, such as the name of a file.
    """
    problems: dict[str, list[Any]] = {}  # of a value that may be of several types, one for each of these
    for problem in error.errors(include_url=False):
        problems.setdefault(_way_to(problem, values), []).append(problem)
    start = f"{where}: " if where else ""
    lines: list[str] = []
    for name, of_one in islice(problems.items(), _MOST):
        line = start + _explained(name, of_one, allowed)
        if lines and sum(map(len, lines)) + len(line) > _ROOM:
            break
        lines.append(line)
    more = [f"{start}{len(problems) - len(lines)} more values are wrong"] if len(problems) > len(lines) else []
    return "\n".join([*lines, *more])


def _way_to(problem: Any, values: Any) -> str:
    """Return the names that lead to a wrong value, without those of the types that pydantic tries one after another."""
    names: list[str] = []
    here: Any = values
    for part in problem["loc"]:
        in_list = isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)
        if in_list or (isinstance(here, Mapping) and part in here):
            here = here[part]
        elif names and not isinstance(part, int) and problem["type"] != "missing":
            continue
        names.append(str(part))
    return ".".join(names)


def _explained(name: str, problems: list[Any], allowed: Mapping[str, Any]) -> str:
    kinds = {problem["type"] for problem in problems}
    if "extra_forbidden" in kinds:
        for outer in problems[0]["loc"][:-1]:
            allowed = getattr(getattr(allowed[outer], "annotation", allowed[outer]), "model_fields", {})
        return f"unknown key {told(name)}; allowed: {', '.join(allowed)}"
    if "missing" in kinds:
        return f"{name!r} is missing"
    said = [_in_words(problem) for problem in problems]
    clear = all(words.startswith("allowed: ") for words in said)
    message = "allowed: " + ", or ".join(words.removeprefix("allowed: ") for words in said) if clear else said[-1]
    value = problems[0]["input"]
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", value):
        message += "; some readers of YAML take a number like 1e-4 for text, write 1.0e-4"
    return f"{name} is {told(value)}; {message}" if name else message


def _in_words(problem: Any) -> str:
    context = problem.get("ctx") or {}
    message = _WORDS.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
    found = re.fullmatch(r"\w+ should (?:be|have) (.+?)(?: after validation, not .+)?", message)
    if not (found or problem["type"] in _WORDS):
        return message
    made = _MADE_BY.get(str(context.get("class", context.get("class_name"))))
    return f"allowed: {found[1] if found else message}" + (f", as made by {made}" if made else "")
