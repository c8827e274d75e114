"""Tests of what the project keeps as evidence: it is read, never computed again, and refused where it was altered."""

import os
import re
import shutil

import pyarrow.parquet as pq
import pytest
from small_runs import FURTHER, NAME, RUN, TEST, changed, keep, ranked, same

from hybridlib.files import checksum
from hybridlib.paths import evidence_folders, project_root
from hybridlib.study.run import Run
from hybridlib.study.runs import ranks, store, trust
from hybridlib.study.workers import compute_runs, may_compute

E5 = project_root() / "evidence/e5"
AGAIN = "get it again, as by `git checkout -- evidence/small`"


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    """Make the run's ranks evidence of a project in which nothing was computed."""
    monkeypatch.chdir(tmp_path)
    for name in ("params", "notebooks", "evidence"):
        (tmp_path / name).mkdir()
    keep(RUN)
    (tmp_path / "runs/.keep.lock").unlink()
    (tmp_path / "runs").rename(tmp_path / "evidence/small")
    (tmp_path / "evidence/small/README.md").write_text("What is here\n")
    ranks.write_sums(tmp_path / "evidence/small")
    return tmp_path / "evidence/small"


def test_evidence_is_read_as_if_it_had_been_computed_here(evidence):
    assert store.is_finished(RUN) and same(store.read(RUN, TEST), ranked())
    assert store.record_of(RUN)["tests"][NAME]["place"] == "evidence/small"
    assert not (evidence.parents[1] / "runs").exists()


def test_a_test_that_evidence_lacks_is_computed_here_and_both_are_read(evidence, monkeypatch):
    both = changed(RUN, tests=(TEST, FURTHER))
    assert not store.is_finished(both)
    monkeypatch.setattr(Run, "train", lambda run, **options: "trained")
    monkeypatch.setattr(Run, "prompts", lambda run, encoder, test: {})
    monkeypatch.setattr(Run, "measure", lambda run, encoder, test, **options: ranked(first=5))
    store.compute(both)
    assert store.is_finished(both)
    assert same(store.read(both, TEST), ranked()) and same(store.read(both, FURTHER), ranked(first=5))
    assert {test["place"] for test in store.record_of(both)["tests"].values()} == {"evidence/small", "runs"}


@pytest.mark.parametrize("kind", ["changed", "cut"])
@pytest.mark.parametrize("which", [f"{store.key_of(RUN)}.parquet", f"pairs/{NAME}.parquet", "README.md"])
@pytest.mark.parametrize("asked", [RUN, changed(RUN, seed=1)])
def test_an_altered_file_of_evidence_is_refused_by_name_whatever_is_looked_for(evidence, kind, which, asked):
    path = evidence / which
    data = path.read_bytes()
    path.write_bytes(data[:-1] if kind == "cut" else data[:5] + bytes([data[5] ^ 1]) + data[6:])
    with pytest.raises(
        ValueError,
        match=rf"{re.escape(str(path))} is refused: it was cut or altered, .*SHA256SUMS; {AGAIN}$",
    ):
        store.is_finished(asked)


@pytest.mark.parametrize("which", [f"{store.key_of(RUN)}.parquet", f"pairs/{NAME}.parquet", "README.md"])
def test_a_file_of_evidence_that_is_missing_is_named(evidence, which):
    (evidence / which).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"{re.escape(str(evidence / which))} is missing, which .*SHA256SUMS lists; {AGAIN}$"
    ):
        store.is_finished(RUN)


@pytest.mark.parametrize("which", ["0123456789abcdef0123.parquet", "pairs/other.parquet"])
def test_a_table_that_the_list_does_not_name_is_refused(evidence, which):
    shutil.copy(evidence / f"pairs/{NAME}.parquet", evidence / which)
    message = (
        rf"{re.escape(str(evidence / which))} is refused: .*/SHA256SUMS does not list it; delete it or, .*{AGAIN}$"
    )
    with pytest.raises(ValueError, match=message):
        store.is_finished(RUN)


def test_evidence_without_a_list_is_refused_and_a_folder_without_runs_needs_none(evidence):
    (evidence / "SHA256SUMS").unlink()
    with pytest.raises(
        FileNotFoundError, match=f"SHA256SUMS is missing, and nothing beside it is trusted without it; {AGAIN}$"
    ):
        store.is_finished(RUN)
    shutil.rmtree(evidence)
    evidence.mkdir()
    assert not store.is_finished(RUN)


def test_a_list_that_was_altered_is_not_trusted_whichever_byte_it_was(evidence):
    sums = evidence / "SHA256SUMS"
    whole = sums.read_bytes()
    names = whole.index(b"README.md") - 66  # the line of a file that need not be listed
    for place in [*range(0, names, 13), names, names + 64, names + 66]:
        for altered in (bytes([whole[place] ^ 1]), b"\xff"):
            sums.write_bytes(whole[:place] + altered + whole[place + 1 :])
            os.utime(sums, ns=(place, altered[0]))  # each is another state of the file
            with pytest.raises((ValueError, FileNotFoundError), match=AGAIN):
                store.is_finished(RUN)


def test_a_list_that_was_cut_is_not_trusted_wherever_it_was(evidence):
    sums = evidence / "SHA256SUMS"
    whole = sums.read_bytes()
    for place in range(0, len(whole) - 1, 7):
        sums.write_bytes(whole[:place])
        os.utime(sums, ns=(place, place))
        with pytest.raises((ValueError, FileNotFoundError), match=AGAIN):
            store.is_finished(RUN)


@pytest.mark.parametrize("line", ["", "x", f"{'a' * 63}  README.md", f"{'A' * 64}  README.md", "null"])
def test_a_line_of_a_list_that_is_no_checksum_and_name_is_named(evidence, line):
    sums = evidence / "SHA256SUMS"
    sums.write_text(sums.read_text() + line + "\n")
    with pytest.raises(ValueError, match=rf"SHA256SUMS, line 4 is '{line}'; expected a checksum, two .*; {AGAIN}$"):
        store.is_finished(RUN)


def test_foreign_files_in_evidence_are_let_alone(evidence):
    for name in ("notes.txt", ".DS_Store", ".ipynb_checkpoints/a.parquet", "sub/notes.md"):
        (evidence / name).parent.mkdir(exist_ok=True)
        (evidence / name).write_text("foreign")
    (evidence.parent / "notes.txt").write_text("foreign")
    assert store.is_finished(RUN) and same(store.read(RUN, TEST), ranked())


def test_evidence_whose_record_is_none_is_refused_by_name_though_the_list_is_right(evidence):
    path = evidence / f"{store.key_of(RUN)}.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"hybridlib": "null"}), path)
    ranks.write_sums(evidence)
    with pytest.raises(ValueError, match=rf"^the record of {re.escape(str(path))} is None; expected names"):
        store.is_finished(RUN)


def test_pairs_of_other_data_are_refused(evidence):
    ranks.write_pairs(evidence / f"pairs/{NAME}.parquet", ranked(pairs=4).pairs)
    ranks.write_sums(evidence)
    with pytest.raises(ValueError, match=f"{NAME}.parquet is refused: the runs beside it were tested on other pairs"):
        store.read(RUN, TEST)


def test_evidence_of_another_run_is_refused(evidence):
    other = changed(RUN, alpha=0.25)
    shutil.copy(evidence / f"{store.key_of(RUN)}.parquet", evidence / f"{store.key_of(other)}.parquet")
    ranks.write_sums(evidence)
    with pytest.raises(ValueError, match=f"is refused: by its settings, its name is {store.key_of(RUN)}"):
        store.is_finished(other)


def test_what_a_profile_with_evidence_lacks_is_computed_only_if_asked_for(evidence, monkeypatch):
    monkeypatch.delenv("HYBRIDLIB_COMPUTE", raising=False)
    lacking = changed(RUN, seed=1)
    compute_runs([RUN, lacking], "small")
    assert not store.is_finished(lacking)
    assert may_compute("embedded") and not may_compute("small")
    monkeypatch.setenv("HYBRIDLIB_COMPUTE", "1")
    assert may_compute("small")


def test_a_folder_is_checked_again_when_a_file_has_changed_and_only_then(evidence, monkeypatch):
    read = []
    monkeypatch.setattr(trust, "checksum", lambda path: read.append(path.name) or checksum(path))
    store.is_finished(RUN)
    listed = [f"{store.key_of(RUN)}.parquet", "README.md", f"{NAME}.parquet"]
    assert read == listed
    os.utime(evidence / "README.md", (0, 0))
    store.is_finished(RUN)
    assert read == listed + listed


# What follows is about the evidence of the project itself.


def test_every_file_of_the_evidence_is_as_its_list_says():
    assert evidence_folders() == [E5]
    listed = ranks.read_sums(E5)
    there = {path.relative_to(E5).as_posix() for path in E5.rglob("*") if path.is_file()}
    assert there == {*listed, "SHA256SUMS"}
    assert [name for name, digest in listed.items() if checksum(E5 / name) != digest] == []
    assert sum((E5 / name).stat().st_size for name in there) < 15e6


def test_every_run_of_the_evidence_is_what_it_says_and_has_its_pairs():
    pairs = {path.stem: ranks.digest_of_pairs(ranks.read_pairs(path)) for path in E5.glob("pairs/*.parquet")}
    for path in E5.glob("*.parquet"):
        record = ranks.read_record(path)
        assert trust.problem_of(path, record) == ""
        for name, test in record["tests"].items():
            assert test["pairs"] == pairs[name]
            assert test["computed"]["device"] and test["computed"]["date"] and test["computed"]["origin"]
