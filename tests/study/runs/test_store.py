"""Tests of the store: ranks are computed once, kept whole or not at all, and the same however often it is killed."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_runs import FURTHER, FURTHER_NAME, NAME, RUN, TEST, changed, keep, ranked, same

from hybridlib.study import code
from hybridlib.study.run import Run
from hybridlib.study.runs import keys, ranks, store
from hybridlib.study.workers import compute_runs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.mark.usefixtures("quickly")
def test_a_run_is_computed_once_and_read_back(folder, monkeypatch):
    expected = RUN.measure(RUN.train(), TEST)
    store.compute(RUN)
    assert store.is_finished(RUN)
    assert same(store.read(RUN, TEST), expected)
    assert store.read(RUN, TEST).in_pool.dtype == np.int32
    monkeypatch.setattr(store, "compute", lambda run: pytest.fail("computed again"))
    compute_runs([RUN], "embedded")


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_setting_that_determines_ranks_and_the_revision_of_the_data_are_part_of_a_key(monkeypatch):
    monkeypatch.setattr(keys, "_revision", "revision of {}".format)
    others = {name: changed(RUN, **{name: "another value"}) for name in Run.model_fields}
    alike = {name for name, run in others.items() if store.key_of(run) == store.key_of(RUN)}
    assert alike == {"tests", "keep_encoder", "save_every"}
    assert len({store.key_of(run) for run in others.values()}) == 1 + len(Run.model_fields) - 3
    before = store.key_of(RUN)
    assert keys.identity_of(RUN)["data"] == {"atlas": "revision of atlas"}
    monkeypatch.setattr(keys, "_revision", "another revision of {}".format)
    assert store.key_of(RUN) != before


@pytest.mark.parametrize(
    ("run", "alike", "different"),
    [
        # Without steps, how to train makes no difference, and of a static encoder only the seed of its weights does.
        (changed(RUN, steps=0), {"alpha": 0.1, "batch_size": 7, "languages": ("en",)}, {"seed": 1}),
        (changed(RUN, steps=0, encoder="a/b"), {"seed": 1, "temperature": 0.9, "others": 0.5}, {"max_length": 9}),
        # The mean that is taken off is that of the training texts.
        (changed(RUN, steps=0, encoder="a/b", centred=True), {"seed": 1}, {"languages": ("en",)}),
        (changed(RUN, steps=0, encoder="bm25"), {"seed": 1, "corpus": "mmarco", "max_length": 9}, {"fold": 1}),
    ],
)
def test_what_was_not_trained_is_one_run_whatever_it_was_not_trained_with(run, alike, different):
    assert store.key_of(changed(run, **alike)) == store.key_of(run)
    for name, value in different.items():
        assert store.key_of(changed(run, **{name: value})) != store.key_of(run)


def test_a_setting_at_its_default_leaves_the_key_as_it_was_before_there_was_the_setting():
    identity = keys.identity_of(RUN)
    before = {name: value for name, value in identity["run"].items() if name not in ("symmetric", "centred")}
    assert keys.key_of_identity({**identity, "run": before}) == store.key_of(RUN)
    assert keys.key_of_identity({**identity, "run": {**before, "symmetric": True}}) != store.key_of(RUN)


def test_runs_that_differ_in_their_tests_alone_are_one():
    (one,) = keys.by_key([RUN, changed(RUN, tests=(FURTHER,), keep_encoder=True), RUN]).values()
    assert one.tests == (TEST, FURTHER) and one.keep_encoder


def test_a_record_says_what_the_run_is_and_by_what_it_was_computed(folder):
    keep(RUN)
    record = store.record_of(RUN)
    assert record["run"]["available"] == {"sw": 0.2} and record["run"]["language_temperature"] == "inf"
    test = record["tests"][NAME]
    assert test["test"] == {"task": "atlas", "languages": ["de", "en"], "pool": None} and test["place"] == "runs"
    computed = test["computed"]
    assert computed["code"] == code.code_hash() and computed["seconds"] == 1.5
    assert set(computed["packages"]) >= {"torch", "numpy"} and computed["device"]
    assert computed["date"] == time.strftime("%Y-%m-%d", time.gmtime()) or time.gmtime().tm_hour == 0
    json.dumps(record, allow_nan=False)


def test_code_and_versions_do_not_lock(folder, monkeypatch):
    keep(RUN)
    monkeypatch.setattr(code, "environment", lambda: {"code": "other", "packages": {}})
    assert store.is_finished(RUN)


def test_tests_are_added_to_a_run_and_those_that_are_there_stay(folder, monkeypatch):
    keep(RUN)
    both = changed(RUN, tests=(TEST, FURTHER))
    assert not store.is_finished(both)
    asked = []
    monkeypatch.setattr(Run, "train", lambda run, **options: "trained")
    monkeypatch.setattr(Run, "prompts", lambda run, encoder, test: {"queries": encoder, "passages": ""})
    monkeypatch.setattr(Run, "measure", lambda run, encoder, test, **options: asked.append(test) or ranked(first=7))
    store.compute(both)
    told = store.record_of(both)["tests"]
    assert told[FURTHER_NAME]["prompts"] == {"queries": "trained", "passages": ""} and told[NAME]["prompts"] == {}
    assert asked == [FURTHER] and store.is_finished(both)
    assert same(store.read(both, TEST), ranked()) and same(store.read(both, FURTHER), ranked(first=7))
    keep(both, first=9)
    assert same(store.read(both, TEST), ranked())


def test_a_test_whose_data_have_changed_is_computed_again(folder, monkeypatch):
    keep(RUN)
    monkeypatch.setattr(store, "revision", lambda name: "another")
    assert not store.is_finished(RUN)


def test_a_run_that_was_not_computed_is_named_with_its_settings(folder):
    with pytest.raises(
        FileNotFoundError, match=rf"run {store.key_of(RUN)} has not been tested on {NAME}; .*batch_size 20"
    ):
        store.read(RUN, TEST)


def damage(path, kind):
    data = path.read_bytes()
    path.unlink()
    if kind != "gone":
        path.write_bytes(
            {"changed": data[:99] + bytes([data[99] ^ 1]) + data[100:], "cut": data[:-50], "empty": b""}[kind]
        )


@pytest.mark.parametrize("kind", ["changed", "cut", "empty", "gone"])
def test_a_damaged_run_is_not_trusted_and_computed_again(folder, kind, caplog):
    keep(RUN)
    assert store.is_finished(RUN)
    damage(store.path_of(RUN), kind)
    assert not store.is_finished(RUN)
    assert (f"{store.path_of(RUN)} was cut or altered, so its run is computed again: " in caplog.text) == (
        kind != "gone"
    )
    keep(RUN, first=3)
    assert same(store.read(RUN, TEST), ranked(first=3))


def test_whichever_byte_of_a_run_is_altered_it_is_found_out_or_changes_nothing_that_is_read(folder):
    keep(RUN)
    record, path = store.record_of(RUN), store.path_of(RUN)
    whole, found = path.read_bytes(), 0
    for place in range(0, len(whole), len(whole) // 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        os.utime(path, ns=(place, place))  # each is another state of the file
        found += not store.is_finished(RUN)
        assert not store.is_finished(RUN) or (store.record_of(RUN) == record and same(store.read(RUN, TEST), ranked()))
    assert found > 30  # a Parquet file has its schema, and so the record, twice


def rewritten(change):
    """Write the file of a run again, whole, after a change of its record or ranks."""
    path = store.path_of(RUN)
    table = pq.read_table(path)
    record = json.loads(table.schema.metadata[b"hybridlib"])
    columns = {name: table[name].to_numpy().copy() for name in ("in_language", "in_pool")}
    change(record, columns)
    for place, (name, values) in enumerate(columns.items(), start=1):
        table = table.set_column(place, name, [values])
    pq.write_table(table.replace_schema_metadata({"hybridlib": json.dumps(record)}), path)


def another_alpha(record, columns):
    record["run"]["alpha"] = 0.25
    record["sha256"] = ranks.digest_of_record(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record, columns: columns["in_pool"].__setitem__(0, 99), "its ranks are not as they were written"),
        (lambda record, columns: record["data"].update(atlas="other"), "the record of .* is not as it was written"),
        (another_alpha, "its settings are those of another run"),
    ],
)
def test_a_run_that_was_altered_with_care_is_found_out_by_its_digests(folder, change, message, caplog):
    keep(RUN)
    rewritten(change)
    assert not store.is_finished(RUN)
    assert re.search(message, caplog.text)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("null", r"is None; expected names and values"),
        ("[]", r"is \[\]; expected names and values"),
        ("", "is not JSON"),
        ('{"run": {', "is not JSON"),
        ("{}", "'run' is missing"),
        (
            '{"run": [], "data": {}, "tests": {}, "sha256": 7}',
            r"run is \[\]; allowed: .*\n.*sha256 is 7; allowed: a text",
        ),
        ('{"run": {}, "data": {}, "tests": {"a": null}, "sha256": ""}', "tests.a is None; allowed: "),
    ],
)
def test_a_run_whose_record_is_none_is_named_and_computed_again(folder, record, message, caplog):
    keep(RUN)
    path = store.path_of(RUN)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"hybridlib": record}), path)
    assert not store.is_finished(RUN)
    said = rf"{re.escape(str(path))} was cut or altered, so its run is computed again: the record of .*{message}"
    assert re.search(said, caplog.text)
    keep(RUN, first=3)
    assert same(store.read(RUN, TEST), ranked(first=3))


def test_a_folder_that_has_the_name_of_a_run_is_named(folder, caplog):
    store.path_of(RUN).mkdir(parents=True)
    assert not store.is_finished(RUN)
    assert "was cut or altered, so its run is computed again: it is a folder" in caplog.text
    with pytest.raises(OSError, match="could not be written: Is a directory"):
        keep(RUN)


def test_a_run_that_may_not_be_read_is_not_taken_for_a_damaged_one(folder, monkeypatch):
    keep(RUN)

    def forbid(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(pq, "read_schema", forbid)
    with pytest.raises(PermissionError, match=store.key_of(RUN)):
        store.is_finished(RUN)


@pytest.mark.parametrize(("where", "trained"), [("training/run.json", 2), ("", 1)])
def test_what_an_interruption_has_left_damaged_is_named_and_made_again(folder, monkeypatch, caplog, where, trained):
    store.scratch_of(RUN).mkdir(parents=True)
    wrong = f"{store.scratch_of(RUN) / where} holds None" if where else "batch_size is 0; allowed: 1 or more"
    calls = []

    def train(run, **options):
        calls.append(run)
        if len(calls) == 1:
            raise ValueError(wrong)

    monkeypatch.setattr(Run, "train", train)
    monkeypatch.setattr(Run, "measure", lambda run, encoder, test, **options: ranked())
    if where:
        store.compute(RUN)
        assert f"{wrong}; run {store.key_of(RUN)} is computed from the start" in caplog.text
        assert store.is_finished(RUN) and not store.scratch_of(RUN).exists()
    else:  # it is no fault of what was left
        with pytest.raises(ValueError, match=wrong):
            store.compute(RUN)
        assert store.scratch_of(RUN).exists()
    assert len(calls) == trained


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("kind", ["changed", "cut", "gone"])
def test_lost_pairs_are_made_again_from_the_data(folder, kind):
    untrained = changed(RUN, steps=0)
    store.compute(untrained)
    before = store.read(untrained, TEST)
    path = folder / "pairs" / f"{NAME}.parquet"
    damage(path, kind)
    assert same(store.read(untrained, TEST), before)
    assert store.trusted_pairs(folder, NAME, ranks.digest_of_pairs(before.pairs)) is not None


def test_pairs_that_the_data_do_not_have_are_refused(folder):
    keep(RUN)
    (folder / "pairs" / f"{NAME}.parquet").unlink()
    with pytest.raises(ValueError, match=f"the relevant pairs of {NAME} are not those that run .* was tested on"):
        store.read(RUN, TEST)


def test_a_table_of_pairs_is_read_as_it_was_written(tmp_path):
    pairs = ranked().pairs
    pairs["question"] = pairs.question.astype(str).map({"0": 0, "1": 1}).astype("category")  # of whatever type
    ranks.write_pairs(tmp_path / "pairs.parquet", pairs)
    back = ranks.read_pairs(tmp_path / "pairs.parquet")
    assert back.question.tolist() == pairs.question.tolist() and back.relevance.dtype == float
    assert ranks.digest_of_pairs(back) == ranks.digest_of_pairs(pairs)
    other = pairs.assign(article=pairs.article.cat.rename_categories({"0": "other"}))
    assert ranks.digest_of_pairs(other) != ranks.digest_of_pairs(pairs)


def test_the_same_ranks_are_the_same_bytes_but_for_their_origin(folder, monkeypatch):
    monkeypatch.setattr(store, "origin", lambda seconds: {"code": "same"})
    keep(RUN)
    first = store.path_of(RUN).read_bytes()
    store.path_of(RUN).unlink()
    keep(RUN)
    assert store.path_of(RUN).read_bytes() == first


def test_a_full_disk_is_said_and_leaves_no_draft(folder, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match=r"run .* could not be written: No space left on device; finished runs are kept"):
        keep(RUN)
    assert {path.name for path in folder.rglob("*")} <= {".keep.lock", "pairs"}


def test_what_killed_processes_left_is_removed_once_it_is_old(folder):
    keep(RUN)
    key = store.key_of(RUN)
    old = [folder / f".{key}-old", folder / ".draft.parquet", folder / "pairs/.draft.parquet"]
    young = [folder / f".{key}-young", folder / ".young.parquet"]
    for path in old + young:
        path.mkdir() if path.suffix == "" else path.touch()
    for path in old:
        os.utime(path, (time.time() - 7200,) * 2)
    store.sweep()
    assert not any(path.exists() for path in old) and all(path.exists() for path in young)
    assert store.is_finished(RUN)


@pytest.mark.usefixtures("quickly")
def test_an_encoder_that_is_to_be_kept_is_not_trained_again(folder, monkeypatch):
    store.compute(RUN)
    run = changed(RUN, keep_encoder=True)
    assert not store.is_finished(run)  # its ranks are there, its encoder is not
    store.compute(run)
    assert store.is_finished(run)
    monkeypatch.setattr("hybridlib.training.fine_tune.fine_tune", lambda *given, **named: pytest.fail("trained again"))
    assert same(store.measure(run, store.train(run), TEST), store.read(run, TEST))
    assert not store.scratch_of(run).exists()


def test_prose_is_no_other_code_and_code_that_computes_is(tmp_path, monkeypatch):
    package = tmp_path / "hybridlib"
    shutil.copytree(Path(code.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "__file__", str(package / "study/code.py"))

    def changes(name, old, new):
        """Tell whether a changed file changes the hash of what computes, and that of all code."""
        path, before = package / name, (code.code_hash(), code.code_hash(computing=False))
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        after = code.code_hash(), code.code_hash(computing=False)
        path.write_text(text, encoding="utf-8")
        return tuple(one != other for one, other in zip(before, after, strict=True))

    assert changes("loss/functions.py", "import torch", "# A comment.\nimport torch") == (False, False)
    assert changes("loss/functions.py", '"""', '"""Another first word. ') == (False, False)
    assert changes("loss/functions.py", "_TILE = 1 << 23", "_TILE = 1 << 22") == (True, True)
    assert changes("data/sources/pinned/files.csv", "sha256", "sha-256") == (True, True)
    assert changes("data/atlas/frames/sw.yaml", "?", "??") == (True, True)
    for name in ("study/report/figures.py", "study/cli/main.py", "study/questions/__init__.py"):
        assert changes(name, "import", "import this\nimport") == (False, True)


COMPUTE = """
import sys
from hybridlib.study.run import Run
from hybridlib.study.workers import compute_runs
if __name__ == "__main__":
    run = Run.model_validate_json(sys.argv[1], strict=False)
    compute_runs([run.model_copy(update={"seed": seed}) for seed in range(5)], "none")
"""


def test_killed_in_the_middle_and_started_again_the_ranks_are_the_same(tmp_path, monkeypatch):
    """Use `kill -9` while a run trains; the second start computes what is missing."""
    (tmp_path / "compute.py").write_text(COMPUTE)
    command = [sys.executable, str(tmp_path / "compute.py"), RUN.model_dump_json(exclude_defaults=True)]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()

    process = subprocess.Popen(command, cwd=killed, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(killed.glob("runs/[!.]*.parquet")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = {path: path.read_bytes() for path in killed.glob("runs/[!.]*.parquet")}
    assert 1 <= len(there) < 5  # it was in the middle

    kept = []
    for folder in (killed, whole):
        subprocess.run(command, cwd=folder, check=True)
        monkeypatch.chdir(folder)
        runs = [changed(RUN, seed=seed) for seed in range(5)]
        kept.append([store.record_of(run)["tests"][NAME]["ranks"] for run in runs])
    assert kept[0] == kept[1] and len(set(kept[0])) == 5
    assert {path: path.read_bytes() for path in there} == there  # what was finished is as it was
