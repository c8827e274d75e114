"""The store of runs: each is keyed by the settings and data that determine it, computed once, and kept as ranks.

Runs are read from `runs/`, where those that are computed here are kept, and from the folders of `evidence/`. The code
and the versions that have computed a run do not lock: they are recorded (see `record_of`). A file is written under
another name and renamed when it is whole. A file of `runs/` that was cut or altered is never trusted: its run is
computed again. A folder of `evidence/` that is not as its `SHA256SUMS` says is refused. Runs do not depend on each
other, so killing and starting again gives the same ranks.
"""

import copy
import logging
import shutil
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from filelock import FileLock

from hybridlib.data.load import revision
from hybridlib.paths import evidence_folders, project_root, runs_path
from hybridlib.study.code import origin
from hybridlib.study.inputs import Data, tasks_of
from hybridlib.study.run import Run, Test, joined
from hybridlib.study.runs.keys import identity_of, in_json, key_of, told_settings
from hybridlib.study.runs.ranks import Record, digest_of_pairs, read_ranks, write_pairs, write_ranks
from hybridlib.study.runs.trust import trusted_pairs, trusted_record

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hybridlib.evaluation.pairs import Measured

logger = logging.getLogger(__name__)

# A draft that is being written now is younger than this many seconds.
_STALE = 3600


def path_of(run: Run) -> Path:
    """Return the file in which a run that is computed here is kept."""
    return runs_path() / f"{key_of(run)}.parquet"


def scratch_of(run: Run) -> Path:
    """Return the folder in which a long run keeps what it needs to go on after an interruption."""
    return runs_path() / f".{key_of(run)}"


def is_finished(run: Run) -> bool:
    """Return whether the ranks of all tests of a run are kept, whole and unaltered, and its encoder if it is to be.

    Raises:
        ValueError: a file of `evidence/` is not as it was published.
        FileNotFoundError: `evidence/` lacks a file that was published.
    """
    kept = record_of(run)["tests"]
    is_kept = not run.keep_encoder or _encoder_of(run).is_dir()
    return is_kept and all(run.test_name(test) in kept for test in run.tests)


def record_of(run: Run) -> Record:
    """Return what is recorded of a run: what it is, and by what each of its tests was computed.

    Returns:
        `run` and `data` of `identity_of`, and `tests`: of each that is kept, by its name, the `test`, the `revision` of
        its data, the `settings` that it has, digests of its `ranks` and `pairs`, the `prompts` that
        were in force (older records lack them), the `place`, and the origin (`computed`: code, packages, device, date,
        commit and seconds).
    """
    known = identity_of(run)
    return {
        **known,
        "tests": {name: told for record in _records(run).values() for name, told in record["tests"].items()},
    }


def read(run: Run, test: Test) -> "Measured":
    """Return the ranks that a run gives the relevant pairs of a test.

    Raises:
        FileNotFoundError: they have not been computed, or `evidence/` lacks a file that was published.
        ValueError: a file of `evidence/` is not as it was published, or the pairs are not those of the data.
    """
    from hybridlib.evaluation.pairs import Measured

    name = run.test_name(test)
    for folder, record in reversed(_records(run).items()):
        if name in record["tests"]:
            told = record["tests"][name]
            in_language, in_pool = read_ranks(folder / f"{key_of(run)}.parquet")[name]
            pairs = trusted_pairs(folder, name, told["pairs"])
            if pairs is None:
                pairs = _pairs_anew(run, test, told["pairs"])
            return Measured(pairs, in_language, in_pool, tuple(told["settings"]))
    settings = ", ".join(f"{name} {value}" for name, value in told_settings(identity_of(run)).items())
    raise FileNotFoundError(
        f"run {key_of(run)} has not been tested on {name}; `make reproduce` does it, with COMPUTE=1 where the profile "
        f"has evidence. Its settings: {settings}"
    )


def train(run: Run, *, progress: bool = False) -> "SentenceTransformer | None":
    """Return the trained encoder of a run: the one that was kept, if the run keeps it, or else trained now.

    Raises:
        ValueError: the one that was kept is damaged.
    """
    if run.keep_encoder and _encoder_of(run).is_dir():
        from hybridlib.training.starts import load_encoder

        try:
            return load_encoder(str(_encoder_of(run)))
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(f"{str(error).rstrip('.')}; delete this folder to train it again") from None
    return run.train(checkpoints=scratch_of(run) / "training", progress=progress)


def measure(run: Run, encoder: "SentenceTransformer | None", test: Test, *, progress: bool = False) -> "Measured":
    """Return the ranks by a run's trained encoder; an interrupted evaluation goes on."""
    return run.measure(encoder, test, checkpoint=scratch_of(run) / "counts", progress=progress)


def compute(run: Run, *, progress: bool = False) -> None:
    """Train, test on what the run has not been tested on, and keep the ranks of each test when it ends.

    What an interruption has left in `scratch_of` is used; if it is damaged, all is computed from the start.
    """
    scratch = scratch_of(run)
    try:
        _compute(run, progress=progress)
    except ValueError as error:
        if not scratch.is_dir() or str(scratch) not in str(error):  # messages name the file that is wrong
            raise
        logger.warning("%s; run %s is computed from the start", error, key_of(run))
        shutil.rmtree(scratch)
        _compute(run, progress=progress)
    shutil.rmtree(scratch, ignore_errors=True)


def _compute(run: Run, *, progress: bool) -> None:
    started = time.monotonic()
    encoder = train(run, progress=progress)
    seconds = time.monotonic() - started
    kept = record_of(run)["tests"]
    for name, test in {run.test_name(test): test for test in run.tests}.items():
        if name not in kept:
            keep(run, {name: measure(run, encoder, test, progress=progress)}, encoder, seconds)
    keep(run, {}, encoder, seconds)


def keep(run: Run, measured: "Mapping[str, Measured]", encoder: "SentenceTransformer | None", seconds: float) -> None:
    """Add tests to a run's file, and keep the encoder if the run is to; tests that are there stay as they are.

    Args:
        run: what was computed.
        measured: by the names of the tests.
        encoder: the trained one.
        seconds: what the training took.

    Raises:
        OSError: it could not be written; the message names the run.
    """
    tests = {run.test_name(test): test for test in run.tests}
    try:
        runs_path().mkdir(parents=True, exist_ok=True)
        with FileLock(runs_path() / ".keep.lock"):
            if run.keep_encoder and encoder is not None and not _encoder_of(run).is_dir():
                draft = scratch_of(run).with_name(f".{key_of(run)}-{uuid.uuid4().hex}")
                encoder.save_pretrained(str(draft))
                draft.rename(_encoder_of(run))
            there = copy.deepcopy(trusted_record(path_of(run))) or {**identity_of(run), "tests": {}}
            added = {name: ranked for name, ranked in measured.items() if name not in there["tests"]}
            if not added:
                return
            ranks = read_ranks(path_of(run)) if there["tests"] else {}
            for name, ranked in added.items():
                digest = digest_of_pairs(ranked.pairs)
                if trusted_pairs(runs_path(), name, digest) is None:
                    write_pairs(runs_path() / "pairs" / f"{name}.parquet", ranked.pairs)
                ranks[name] = ranked.in_language, ranked.in_pool
                there["tests"][name] = {
                    "test": in_json(tests[name].model_dump()),
                    "revision": revision(tests[name].task),
                    "settings": [*ranked.settings],
                    "pairs": digest,
                    "prompts": run.prompts(encoder, tests[name]),
                    "computed": origin(seconds),
                }
            write_ranks(path_of(run), there, ranks)
    except OSError as error:
        message = f"run {key_of(run)} could not be written: {error.strerror}; finished runs are kept"
        raise OSError(error.errno, message, str(path_of(run))) from error


def sweep() -> None:
    """Remove what killed processes left half-written."""
    for draft in [*runs_path().glob(".*-*"), *runs_path().glob(".*.parquet"), *runs_path().glob("pairs/.*")]:
        with suppress(FileNotFoundError):  # it was renamed meanwhile
            if draft.stat().st_mtime < time.time() - _STALE:
                shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def _encoder_of(run: Run) -> Path:
    return runs_path() / key_of(run)


def _records(run: Run) -> dict[Path, Record]:
    """Return what folders keep of a run, `runs/` last, without tests whose data have changed since."""
    revisions = {run.test_name(test): revision(test.task) for test in run.tests}
    records = {}
    for folder in (*evidence_folders(), runs_path()):
        record = trusted_record(folder / f"{key_of(run)}.parquet")
        if record is not None:
            told = {
                name: {**test, "place": str(folder.relative_to(project_root()))}
                for name, test in record["tests"].items()
                if revisions.get(name, test["revision"]) == test["revision"]
            }
            records[folder] = {**record, "tests": told}
    return records


def _pairs_anew(run: Run, test: Test, digest: str) -> pd.DataFrame:
    """Make the pairs of a test from the data again, where the file of `runs/` was lost, and keep them."""
    from hybridlib.evaluation.pairs import Measured, pair_table

    parts = []
    for task in tasks_of(test, run.part(Data)):
        pairs = pair_table(task)
        unranked = np.zeros(len(pairs), dtype=np.int32)
        parts.append(Measured(pairs, unranked, unranked, task.settings))
    pairs, name = joined(parts).pairs, run.test_name(test)
    if digest_of_pairs(pairs) != digest:
        raise ValueError(f"the relevant pairs of {name} are not those that run {key_of(run)} was tested on")
    write_pairs(runs_path() / "pairs" / f"{name}.parquet", pairs)
    return pairs
