"""The names of runs: a checksum of the settings and the data that determine their ranks, and of nothing else."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from hybridlib.data.load import revision
from hybridlib.names import BM25, STATIC_ENCODERS
from hybridlib.study.inputs import encoder_digest
from hybridlib.study.run import Run
from hybridlib.training.settings import Training

# These settings say what is done with a trained encoder, not which it is.
_UNRELATED = {"tests", "keep_encoder", "save_every"}
_OF_TRAINING = {*Training.model_fields, "code_switched", "hard_negatives", "validation"} - {"steps", "seed"}
_OF_WORDS = {"encoder", "steps", "fold", "data_seed"}
_ENCODERS = ("encoder", "hard_negatives")
# Records are older than the setting of no prompt at all, so an empty text in them is a prompt that is not given.
_PROMPTS = {None: "", "": False}


def identity_of(run: Run) -> dict[str, Any]:
    """Return what determines the ranks that a run gives: its settings (`run`) and the revisions of its data (`data`).

    An encoder that is loaded from a folder is known by the digest of its files, whatever the folder's name is. A prompt
    is `""` where it is the encoder's own, and `false` where there is none.

    Args:
        run: the tests of it do not count, since a run may be tested on more later.
    """
    names = _determining(run)
    data = set() if run.encoder == BM25 else {*run.corpus.split("+")}
    data |= {run.validation} if "validation" in names and run.validation else set()
    return {
        "run": {name: _recorded(name, getattr(run, name)) for name in sorted(names)},
        "data": {name: _revision(name) for name in sorted(data)},
    }


def key_of(run: Run) -> str:
    """Return a name that changes with what determines the ranks of a run, not with the machine, the code or versions.

    >>> run = Run(encoder="bm25", corpus="xquad-r", data_seed=0, seed=0, tests=({"task": "mlqa-r"},))
    >>> key_of(run) == key_of(run.model_copy(update={"alpha": 0.25}))
    True
    """
    return key_of_identity(identity_of(run))


def key_of_identity(identity: Mapping[str, Any]) -> str:
    """Return the key of the run that a record tells of; a setting that is at its default does not change it.

    So new settings leave the keys as they are. Where a default is changed, a record has another key than before.
    """
    return hashlib.sha256(json.dumps([told_settings(identity), identity["data"]], sort_keys=True).encode()).hexdigest()[
        :20
    ]


def told_settings(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a record that are not at their defaults, in the types of JSON."""
    return {name: value for name, value in identity["run"].items() if value != _defaults().get(name, ...)}


def by_key(runs: Iterable[Run]) -> dict[str, Run]:
    """Return runs by their keys, in their order; those that differ in their tests alone are one, with all the tests."""
    found: dict[str, Run] = {}
    for run in dict.fromkeys(runs):
        key = key_of(run)
        same = found.get(key, run)
        tests = tuple(dict.fromkeys([*same.tests, *run.tests]))
        found[key] = same.model_copy(update={"tests": tests, "keep_encoder": same.keep_encoder or run.keep_encoder})
    return found


def in_json(value: Any) -> Any:
    """Return a value of a setting in the types of JSON, which has no infinity."""
    return str(value) if value == math.inf else json.loads(json.dumps(value))


def _recorded(name: str, value: Any) -> Any:
    if name in _ENCODERS and value is not None:
        digest = encoder_digest(value)
        return f"sha256:{digest}" if digest else value
    return in_json(_PROMPTS.get(value, value) if name.endswith("_prompt") else value)


def _determining(run: Run) -> set[str]:
    """Return the names of the settings on which ranks depend.

    Without steps, that is nothing of the training, and of the training data only what a mean is taken of. The weights
    of a pretrained encoder are not drawn. Nothing but texts makes a difference to `bm25`.
    """
    names = set(Run.model_fields) - _UNRELATED
    if run.encoder == BM25:
        return _OF_WORDS
    if run.steps == 0:
        names -= _OF_TRAINING
        names -= set() if run.centred else {"languages", "items", "available", "others"}
        names -= set() if run.encoder in STATIC_ENCODERS else {"seed"}
    return names


@cache
def _defaults() -> dict[str, Any]:
    return {name: _recorded(name, field.default) for name, field in Run.model_fields.items() if not field.is_required()}


@cache
def _revision(name: str) -> str:
    return revision(name)
