"""The origin of results: by what and where each run was computed, and the data, with checksums, behind them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hybridlib.data.atlas import read as atlas
from hybridlib.data.load import SOURCES, revision
from hybridlib.data.sources.source import readable
from hybridlib.files import checksum
from hybridlib.study.params import Params
from hybridlib.study.run import Run, Trial
from hybridlib.study.runs import store
from hybridlib.study.runs.keys import key_of

_DIGITS = 12  # of a checksum that stands in a row with others
_ATLAS = "The embedded corpus: facts of the Unicode CLDR as questions and answers, made by these files and Babel"


class Computed(NamedTuple):
    """Tests of a run that were computed together: `tests` has the digests of their ranks, `note` what else is known."""

    run: str
    what: str
    fold: int | None
    seed: int
    tests: dict[str, str]
    place: str
    device: str
    torch: str
    sentence_transformers: str
    commit: str
    date: str
    seconds: float
    note: str


class DataSet(NamedTuple):
    """Data that runs are trained or tested on; of each of its files the path, the size and the checksum."""

    name: str
    title: str
    homepage: str
    licence: str
    revision: str
    files: list[tuple[str, str, str]]


def computed_runs(params: Params) -> list[Computed]:
    """Return by what, where and when the runs of a notebook that are there were computed, in its order.

    Raises:
        ValueError: a file of `evidence/` is not as it was published.
        FileNotFoundError: `evidence/` lacks a file that was published.
    """
    rows = []
    first: dict[str, Trial] = {}
    for trial in params.trials():
        first.setdefault(key_of(trial.run), trial)
    for key, trial in first.items():
        together: dict[tuple[Any, ...], dict[str, str]] = {}
        for name, test in sorted(store.record_of(trial.run)["tests"].items()):
            together.setdefault(_origin(test), {})[name] = test["ranks"][:_DIGITS]
        for origin, tests in together.items():
            rows.append(Computed(key[:_DIGITS], trial.name, trial.run.fold, trial.run.seed, tests, *origin))
    return rows


def data_of(runs: Iterable[Run]) -> list[DataSet]:
    """Return the data that runs are trained and tested on, in the order in which they come first."""
    names = [name for run in runs for name in (run.corpus, *(test.task for test in run.tests))]
    families = dict.fromkeys(one.partition("/")[0] for name in names for one in name.split("+"))
    return [_data_set(name) for name in dict.fromkeys("atlas" if "atlas" in one else one for one in families)]


def _origin(test: Mapping[str, Any]) -> tuple[Any, ...]:
    by = test["computed"]
    versions = [by["packages"].get(name, "") for name in ("torch", "sentence-transformers")]
    return test["place"], by["device"], *versions, by["commit"][:7], by["date"], by["seconds"], by.get("origin", "")


def _data_set(name: str) -> DataSet:
    if name == "atlas":
        folder = Path(atlas.__file__).parent
        paths = sorted([*folder.glob("*.py"), *folder.glob("frames/*.yaml")])  # as `revision` takes them
        files = [(path.name, readable(path.stat().st_size), f"sha256:{checksum(path)}") for path in paths]
        return DataSet(name, _ATLAS, "https://cldr.unicode.org", "Unicode License", revision(name), files)
    source = SOURCES[name]
    sizes = [readable(file.size) if file.size else "" for file in source.files]
    sums = [file.checksum or "pinned by the revision" for file in source.files]
    files = list(zip([file.path for file in source.files], sizes, sums, strict=True))
    return DataSet(name, source.title, source.homepage, source.licence, source.revision, files)
