"""Tests of `hybridlib runs`: what one machine has computed is read on another, and nothing else is."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from small_runs import FURTHER, FURTHER_NAME, NAME, RUN, TEST, changed, keep, ranked, same

from hybridlib.paths import project_root
from hybridlib.study import code
from hybridlib.study.cli.main import main
from hybridlib.study.runs import packs, ranks, store

OTHER = changed(RUN, seed=1)


@pytest.fixture
def there(tmp_path, monkeypatch):
    """Compute two runs on one machine, pack them, and go to another."""
    for name in ("one/params", "one/notebooks", "two/params", "two/notebooks"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "one")
    keep(RUN)
    keep(OTHER, first=4)
    assert main(["runs", "pack", "../runs.tar"]) == 0
    monkeypatch.chdir(tmp_path / "two")
    return tmp_path


def add(name="runs.tar", *further):
    return main(["runs", "add", f"../{name}", *further])


def files(folder):
    """Return all files of a folder, those in use by processes left out."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}


def test_what_was_packed_is_read_elsewhere_and_it_is_said_where_it_is_from(there, capsys):
    assert add() == 0
    assert store.is_finished(RUN) and same(store.read(RUN, TEST), ranked())
    assert same(store.read(OTHER, TEST), ranked(first=4))
    assert files(there / "one/runs") == files(there / "two/runs")
    said = capsys.readouterr().out
    origin = packs.described(store.record_of(RUN)["tests"][NAME])
    assert "2 runs were added to runs/.\n" in said and f"2 tests were computed by {origin}.\n" in said


def test_a_pack_has_the_same_bytes_each_time(there, monkeypatch):
    monkeypatch.chdir(there / "one")
    for path in (there / "one/runs").rglob("*"):
        os.utime(path, (0, 0))
    assert main(["runs", "pack", "../again.tar"]) == 0
    assert (there / "again.tar").read_bytes() == (there / "runs.tar").read_bytes()


def test_adding_what_is_there_changes_nothing(there, capsys):
    add()
    before = {path: path.stat().st_mtime_ns for path in (there / "two/runs").rglob("*.parquet")}
    capsys.readouterr()
    assert add() == 0
    assert capsys.readouterr().out == "2 runs are there already.\n"
    assert {path: path.stat().st_mtime_ns for path in (there / "two/runs").rglob("*.parquet")} == before


def test_runs_of_other_versions_and_devices_are_added_and_named(there, capsys, monkeypatch):
    monkeypatch.chdir(there / "one")
    there_too = changed(RUN, seed=2)
    monkeypatch.setattr(code, "environment", lambda: {"code": "c0de123456", "packages": {"torch": "9.9.9"}})
    monkeypatch.setattr(code, "_device", lambda: "Abacus 3000")
    monkeypatch.setattr(code, "_commit", lambda: "")
    keep(there_too)
    main(["runs", "pack", "../runs.tar"])
    monkeypatch.chdir(there / "two")
    capsys.readouterr()
    assert add() == 0
    assert store.is_finished(there_too)
    assert "1 tests were computed by Abacus 3000, torch 9.9.9, c0de123, " in capsys.readouterr().out


def test_other_ranks_of_the_same_run_are_refused_by_name_and_nothing_is_added(there, capsys):
    keep(OTHER, first=5)
    before = files(there / "two/runs")
    assert add() == 2
    said = capsys.readouterr().err
    assert f"run {store.key_of(OTHER)} is refused, and nothing is added: " in said
    assert f"has the same settings and other ranks of {NAME}" in said
    assert files(there / "two/runs") == before and not store.is_finished(RUN)


def test_other_ranks_than_those_of_the_evidence_are_refused_too(there, capsys):
    shutil.copytree(there / "one/runs", there / "two/evidence/small", ignore=shutil.ignore_patterns(".*"))
    ranks.write_sums(there / "two/evidence/small")
    assert add() == 0
    assert "2 runs are there already" in capsys.readouterr().out
    shutil.rmtree(there / "two/runs")
    path = there / f"two/evidence/small/{store.key_of(RUN)}.parquet"
    ranks.write_ranks(path, ranks.read_record(path), {NAME: (ranked(7).in_language, ranked(7).in_pool)})
    ranks.write_sums(there / "two/evidence/small")
    assert add() == 2
    assert f"{path} has the same settings and other ranks" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["runs", "evidence/small"])
def test_other_ranks_than_anywhere_are_refused_whatever_folder_they_are_added_to(there, capsys, place):
    keep(RUN, first=9)
    (there / "two/runs/.keep.lock").unlink()
    if place != "runs":
        (there / "two/evidence").mkdir()
        (there / "two/runs").rename(there / "two/evidence/small")
        ranks.write_sums(there / "two/evidence/small")
    for target in ("evidence/mine", "evidence/further"):
        assert add("runs.tar", "--to", target) == 2
        path = there / f"two/{place}/{store.key_of(RUN)}.parquet"
        assert (
            f"and nothing is added: {path} has the same settings and other ranks of {NAME}" in capsys.readouterr().err
        )
        assert not (there / "two" / target).exists()


def test_new_tests_of_a_run_are_joined_to_those_that_are_there(there, capsys):
    both = changed(RUN, tests=(TEST, FURTHER))
    keep(both, FURTHER, first=8)
    assert add() == 0
    assert "1 runs were given tests that they lacked" in capsys.readouterr().out
    assert store.is_finished(both)
    assert same(store.read(both, TEST), ranked()) and same(store.read(both, FURTHER), ranked(first=8))


def test_pairs_of_other_data_are_refused(there, capsys):
    path = there / f"two/runs/pairs/{NAME}.parquet"
    ranks.write_pairs(path, ranked(pairs=4).pairs)
    assert add() == 2
    assert f"the pairs of {NAME} are refused, and nothing is added: {path} has others" in capsys.readouterr().err
    assert not list((there / "two/runs").glob("*.parquet"))


def test_a_folder_of_evidence_is_made_by_adding_to_it(there, capsys):
    assert add("runs.tar", "--to", "evidence/mine") == 0
    assert store.is_finished(RUN) and not (there / "two/runs").exists()
    assert set(ranks.read_sums(there / "two/evidence/mine")) == set(files(there / "one/runs"))
    assert add("runs.tar", "--to", "evidence/mine") == 0
    assert main(["runs", "pack", "../again.tar", "--profile", "mine"]) == 0
    assert (there / "again.tar").read_bytes() == (there / "runs.tar").read_bytes()
    assert main(["runs", "pack", "../again.tar", "--profile", "yours"]) == 2
    assert "profile is 'yours'; profiles with evidence: mine" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["README.md", f"pairs/{NAME}.parquet", f"{store.key_of(OTHER)}.parquet"])
@pytest.mark.parametrize("to", ["evidence/mine", "../elsewhere"])
def test_adding_to_a_folder_that_was_altered_is_refused_by_name_and_leaves_its_list(there, capsys, name, to):
    folder = (there / "two" / to).resolve()
    add("runs.tar", "--to", to)
    (folder / "README.md").write_text("What is here")
    ranks.write_sums(folder)
    (folder / name).write_bytes(b"altered")
    before = files(folder)
    keep(changed(RUN, seed=2))
    assert main(["runs", "pack", "../more.tar"]) == 0
    assert add("more.tar", "--to", to) == 2
    assert f"{folder / name} is refused: it was cut or altered" in capsys.readouterr().err
    assert files(folder) == before and not list(folder.glob(".*"))


def test_adding_to_evidence_changes_the_lines_of_what_is_added_and_no_others(there, monkeypatch):
    folder = there / "two/evidence/mine"
    add("runs.tar", "--to", "evidence/mine")
    (folder / "README.md").write_text("What is here, which the list does not name")
    before = ranks.read_sums(folder)
    further = changed(RUN, seed=2)
    monkeypatch.chdir(there / "one")
    keep(changed(RUN, tests=(TEST, FURTHER)), FURTHER)
    keep(further)
    assert main(["runs", "pack", "../more.tar"]) == 0
    monkeypatch.chdir(there / "two")
    assert add("more.tar", "--to", "evidence/mine") == 0
    after = ranks.read_sums(folder)
    joined, new = f"{store.key_of(RUN)}.parquet", f"{store.key_of(further)}.parquet"
    assert {name for name in after if after[name] != before.get(name)} == {
        joined,
        new,
        f"pairs/{FURTHER_NAME}.parquet",
    }
    assert before.keys() < after.keys()
    assert store.is_finished(further) and store.is_finished(changed(RUN, tests=(TEST, FURTHER)))


@pytest.mark.parametrize("to", ["evidence/mine", "runs"])
def test_where_nothing_is_added_nothing_is_written(there, to):
    add("runs.tar", "--to", "evidence/mine")
    (there / "two/evidence/mine/README.md").write_text("What is here, which the list does not name")
    before = {path: path.stat().st_mtime_ns for path in (there / "two").rglob("[!.]*") if path.is_file()}
    assert add("runs.tar", "--to", to) == 0
    assert {path: path.stat().st_mtime_ns for path in (there / "two").rglob("[!.]*") if path.is_file()} == before


def test_tests_of_a_run_in_several_folders_are_packed_together(there, monkeypatch):
    add("runs.tar", "--to", "evidence/mine")
    both = changed(RUN, tests=(TEST, FURTHER))
    keep(both, FURTHER, first=8)
    assert main(["runs", "pack", "../all.tar", "--all"]) == 0
    (there / "three").mkdir()
    monkeypatch.chdir(there / "three")
    assert add("all.tar") == 0
    assert store.is_finished(both) and store.is_finished(OTHER)


def made_pack(path, contents, kinds=None):
    """Write a pack with these files, whose list of checksums is right."""
    listed = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(contents.items()))
    with tarfile.open(path, "w") as tar:
        for name, data in {**contents, "SHA256SUMS": listed.encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if kinds and name in kinds:
                member.type, member.linkname, member.size = kinds[name], "/etc/passwd", 0
            tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside.parquet", None),
        ("/tmp/outside.parquet", None),
        ("pairs/../../outside.parquet", None),
        ("pairs/.hidden.parquet", None),
        ("run.pickle", None),
        ("0123456789abcdef0123.parquet", tarfile.SYMTYPE),
        ("0123456789abcdef0123.parquet", tarfile.LNKTYPE),
        ("pairs", tarfile.DIRTYPE),
    ],
)
def test_a_pack_writes_nothing_but_runs_and_nothing_outside_of_its_folder(there, capsys, name, kind):
    contents = {**files(there / "one/runs"), name: b"anything"}
    made_pack(there / "evil.tar", contents, {name: kind} if kind else None)
    before = {path for path in there.rglob("*")}
    assert add("evil.tar") == 2
    assert f"../evil.tar is refused: it holds {name!r}, which is no file of a run" in capsys.readouterr().err
    assert {path for path in there.rglob("*")} == before


@pytest.mark.parametrize("at", ["first header", "first run", "last header", "last file"])
def test_a_pack_that_was_cut_is_refused(there, capsys, at):
    with tarfile.open(there / "runs.tar") as tar:
        first, *_, last = tar.getmembers()
    end = {"first header": 100, "first run": 999, "last header": last.offset, "last file": last.offset_data + 9}[at]
    (there / "cut.tar").write_bytes((there / "runs.tar").read_bytes()[:end])
    assert first.size > 999 and add("cut.tar") == 2
    assert "../cut.tar is refused: " in capsys.readouterr().err
    assert not store.is_finished(RUN) and not store.is_finished(OTHER)


def test_an_altered_byte_in_whichever_file_of_a_pack_is_found_out(there, capsys):
    whole = (there / "runs.tar").read_bytes()
    with tarfile.open(there / "runs.tar") as tar:
        members = {member.name: member.offset_data + member.size // 2 for member in tar}
    assert len(members) == 4  # two runs, the pairs, and the list
    for place in members.values():
        (there / "altered.tar").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert add("altered.tar") == 2
        assert "../altered.tar is refused: it was cut or altered; " in capsys.readouterr().err


def test_a_pack_whose_list_is_right_and_whose_runs_are_not_is_refused(there, capsys):
    contents = files(there / "one/runs")
    key = f"{store.key_of(RUN)}.parquet"
    for changes, message in (
        ({key: contents[f"{store.key_of(OTHER)}.parquet"]}, "its settings are those of another run"),
        ({key: b"no Parquet file"}, "is not whole"),
        ({f"pairs/{NAME}.parquet": b""}, "is not whole"),
    ):
        made_pack(there / "wrong.tar", {**contents, **changes})
        assert add("wrong.tar") == 2
        assert message in capsys.readouterr().err
    ranks.write_pairs(there / "pairs.parquet", ranked(pairs=4).pairs)
    made_pack(there / "wrong.tar", {**contents, f"pairs/{NAME}.parquet": (there / "pairs.parquet").read_bytes()})
    assert add("wrong.tar") == 2
    assert f"the pairs of {NAME} are not those that it was tested on" in capsys.readouterr().err
    made_pack(there / "wrong.tar", {})
    assert add("wrong.tar") == 2
    assert "../wrong.tar is refused: it has no SHA256SUMS, or no runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("first", "number", "message"),
    [
        (1, 5, f"it has 5 ranks of {NAME}, which has 6 pairs"),
        (1, 7, f"it has 7 ranks of {NAME}, which has 6 pairs"),
        (-1, 6, f"ranks of {NAME} are no whole numbers from 0 (not ranked) up"),
    ],
)
def test_ranks_that_cannot_be_those_of_the_pairs_are_refused(there, capsys, first, number, message):
    path = there / f"one/runs/{store.key_of(RUN)}.parquet"
    made = np.arange(first, first + number, dtype=np.int32)
    ranks.write_ranks(path, ranks.read_record(path), {NAME: (made, made)})
    made_pack(there / "wrong.tar", files(there / "one/runs"))
    assert add("wrong.tar") == 2
    said = f"../wrong.tar is refused: run {store.key_of(RUN)} in it is not whole: {message}\n"
    assert capsys.readouterr().err == f"error: {said}"


def test_a_pair_that_is_not_ranked_is_added(there):
    path = there / f"one/runs/{store.key_of(RUN)}.parquet"
    ranks.write_ranks(path, ranks.read_record(path), {NAME: (ranked(0).in_language, ranked(0).in_pool)})
    made_pack(there / "right.tar", files(there / "one/runs"))
    assert add("right.tar") == 0
    assert store.read(RUN, TEST).in_pool[0] == 0


KILLED = """
import os, signal, sys
from hybridlib.study.cli.main import main
from hybridlib.study.runs import packs
write, files = packs._join, []
def killing(new, there):
    write(new, there)
    os.kill(os.getpid(), signal.SIGKILL)
packs._join = killing
main(["runs", "add", "../runs.tar"])
"""


def test_killed_while_it_adds_it_goes_on_when_it_is_called_again(there):
    environment = {**os.environ, "PYTHONPATH": str(Path(packs.__file__).parents[3])}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert store.is_finished(RUN) != store.is_finished(OTHER)  # it was in the middle
    assert add() == 0
    assert store.is_finished(RUN) and store.is_finished(OTHER)
    assert files(there / "one/runs") == files(there / "two/runs")


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from hybridlib.study.cli.main import main
moves, move = [], Path.replace
def killing(path, target):
    if path.name == ".adding-draft" or ".adding" in path.parts:
        if len(moves) == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        moves.append(path)
    return move(path, target)
Path.replace = Path.rename = killing
main(["runs", "add", "../more.tar", "--to", "evidence/mine"])
"""


def test_killed_while_it_adds_to_evidence_it_goes_on_when_it_is_called_again(there, monkeypatch):
    """Kill it before the new files are made known as whole, and before it moves each of the five into its place."""
    add("runs.tar", "--to", "evidence/mine")
    monkeypatch.chdir(there / "one")
    keep(changed(RUN, tests=(TEST, FURTHER)), FURTHER)
    keep(changed(RUN, seed=2))
    assert main(["runs", "pack", "../more.tar"]) == 0
    environment = {**os.environ, "PYTHONPATH": str(Path(packs.__file__).parents[3])}
    for moves in range(6):
        machine = there / f"after {moves}"
        shutil.copytree(there / "two", machine)
        monkeypatch.chdir(machine)
        killed = subprocess.run([sys.executable, "-c", KILLED_AT, str(moves)], env=environment)
        assert killed.returncode == -signal.SIGKILL
        if moves:
            with pytest.raises(ValueError, match=r"/mine is refused: adding runs to it has not ended; if it was inter"):
                store.is_finished(RUN)
        assert add("more.tar", "--to", "evidence/mine") == 0
        assert not list((machine / "evidence/mine").glob(".*"))
        there_now = files(machine / "evidence/mine")
        assert {name for name in there_now if name != "SHA256SUMS"} == set(files(there / "one/runs"))
        assert store.is_finished(changed(RUN, tests=(TEST, FURTHER))) and store.is_finished(changed(RUN, seed=2))


def test_damaged_runs_are_not_packed(there, capsys, monkeypatch):
    monkeypatch.chdir(there / "one")
    path = store.path_of(RUN)
    path.write_bytes(path.read_bytes()[:-9])
    assert main(["runs", "pack", "../again.tar"]) == 2
    assert f"{path} was cut or altered; delete it" in capsys.readouterr().err
    path.unlink()
    (there / f"one/runs/pairs/{NAME}.parquet").write_bytes(b"")
    assert main(["runs", "pack", "../again.tar"]) == 2
    assert f"pairs/{NAME}.parquet was cut or altered, or is of other data than" in capsys.readouterr().err


def test_a_list_of_runs_says_in_what_they_differ_and_where_they_are_from(there, capsys):
    assert main(["runs", "list"]) == 0
    assert capsys.readouterr().out == "There are no runs in runs/.\n"
    add()
    keep(changed(RUN, tests=(TEST, FURTHER)), FURTHER)
    capsys.readouterr()
    assert main(["runs", "list"]) == 0
    said = capsys.readouterr().out
    head, *rows = said.splitlines()[:3]
    assert head.split() == ["run", "strategy", "alpha", "steps", "fold", "seed", "further", "tests", "in", "by"]
    expected = [store.key_of(RUN)[:10], "hybrid", "0.5", "3", "0", NAME, FURTHER_NAME, "runs/", "1"]
    other = [store.key_of(OTHER)[:10], "hybrid", "0.5", "3", "1", NAME, "runs/", "1"]
    assert [row.split() for row in rows] == [expected, other]
    usual = "encoder static:scratch, corpus atlas, data_seed 0, available sw:0.2, batch_size 20"
    origin = packs.described(store.record_of(RUN)["tests"][NAME])
    assert said.endswith(f"\n\nUnless further settings say otherwise: {usual}.\nComputed by 1: {origin}.\n")


def test_a_list_of_runs_is_sorted_by_number_and_fits_a_screen(there, capsys):
    many = {f"domain {number}": 10 * number for number in range(9)}
    for settings in ({"steps": 20}, {"seed": 2}, {"seed": 10}, {"strategy": "en-en"}, {"items": many}):
        keep(changed(RUN, **settings))
    capsys.readouterr()
    assert main(["runs", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[:6]
    assert max(map(len, lines)) < 140
    # The last setting but the tests, their place and origin; of `items`, a line has the beginning.
    first = [row.split()[1:5] for row in lines[1:]]
    assert first == [["en-en", "0.5", "3", "0"], ["hybrid", "0.5", "3", "2"], ["hybrid", "0.5", "3", "10"],
                     ["hybrid", "0.5", "3", "0"], ["hybrid", "0.5", "20", "0"]]  # fmt: skip
    assert "items domain 0:0,domain 1:10,domain 2..." in lines[4]


def test_without_runs_there_is_nothing_to_pack(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["runs", "pack", "runs.tar"]) == 2
    assert capsys.readouterr().err == f"error: there are no runs in {tmp_path}/runs\n"
    assert not (tmp_path / "runs.tar").exists() and project_root() == tmp_path


def test_where_all_runs_are_evidence_it_is_said_how_to_pack_them(there, capsys):
    add("runs.tar", "--to", "evidence/mine")
    assert main(["runs", "pack", "../again.tar"]) == 2
    said = f"error: there are no runs in {there}/two/runs; `--profile mine` or `--all` packs those of evidence/\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("profile", ["", ".", "..", "mine/", "../evidence/mine", "mine/../mine", "/tmp"])
@pytest.mark.parametrize("action", [["pack", "../again.tar"], ["list"]])
def test_a_profile_is_a_name_and_no_path(there, capsys, profile, action):
    add("runs.tar", "--to", "evidence/mine")
    assert main(["runs", *action, "--profile", profile]) == 2
    assert f"profile is {profile!r}; profiles with evidence: mine\n" in capsys.readouterr().err


def test_a_pack_is_not_written_into_a_folder_that_does_not_exist(there, capsys, monkeypatch):
    monkeypatch.chdir(there / "one")
    assert main(["runs", "pack", "packs/runs.tar"]) == 2
    said = "error: output is packs/runs.tar, but there is no folder packs; make it first\n"
    assert capsys.readouterr().err == said
    assert not (there / "one/packs").exists()


def test_a_list_of_runs_is_of_unaltered_evidence(there, capsys):
    add("runs.tar", "--to", "evidence/mine")
    path = there / f"two/evidence/mine/{store.key_of(RUN)}.parquet"
    path.unlink()
    assert main(["runs", "list"]) == 2
    assert f"error: {path} is missing, which " in capsys.readouterr().err
