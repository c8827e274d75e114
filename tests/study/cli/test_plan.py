"""What a profile takes: every number derived by hand for three small runs, and everything refused that is not known."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from hybridlib.data.load import SOURCES
from hybridlib.paths import project_root
from hybridlib.study import jobs
from hybridlib.study.cli import footprint, plan, workload
from hybridlib.study.cli.main import main
from hybridlib.study.questions import QUESTIONS

MINILM = "sentence-transformers/all-MiniLM-L6-v2@c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
SMALL = {
    "profile": "small",
    "task": "xquad-r",
    "corpus": "squad-translate",
    "languages": ["de", "en"],
    "available": {},
    "encoders": [MINILM],
    "alphas": [0.0, 0.5, 1.0],
    "hybrid_alpha": 0.5,
    "seeds": [0],
    "sizes": [1.0],
    "batch_size": 100,
    "steps": 1_000_000,
    "temperature": 0.05,
    "learning_rate": 0.00003,
    "data_seed": 0,
    "pool": None,
    "training": {
        "max_length": 64,
        "hard_negatives": True,
        "validation": "squadshifts",
        "validate_every": 500_000,
        "keep_encoder": True,
        "save_every": 1000,
    },
}
PARAMETERS = 22_713_216
MULTIPLIED = 10_992_768  # 22,713,216 less 11,720,448 of embeddings


def runs(**changes):
    return QUESTIONS["batch_ratio"](**{**SMALL, **changes}).runs()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with one profile, and a machine that reaches half of its speed."""
    for folder in ("notebooks", "params/small", "benchmarks", "data"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "params/small/batch_ratio.yaml").write_text(yaml.safe_dump(SMALL))
    measured = {"utilisation": 0.5, "machine": "a slide rule"}
    (tmp_path / "benchmarks/throughput.json").write_text(json.dumps(measured))
    # 2 * 13,090 * 13,014 * 384 operations on 2 cores: in 1 s, 65.4e9 a second of each.
    (tmp_path / "benchmarks/metric.json").write_text('{"seconds": {"exact ranks (relevant_ranks)": 1.0}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(footprint, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_the_work_of_a_run_is_counted_by_texts_and_tokens():
    did = workload.work(runs()[0])
    assert did.steps == 1_000_000
    # A question is 19 tokens and 5 around it, a sentence 51 and 5; a triplet 24 + 2 * 56, a pair 80.
    assert did.training == 6 * MULTIPLIED * 1_000_000 * 100 * 136
    assert did.validation == 2 * MULTIPLIED * 2 * 37_691 * 80  # after steps 500,000 and 1,000,000
    assert did.mining == 2 * MULTIPLIED * 2 * 87_599 * 80  # in two languages
    # de has 1,190 questions and 1,276 sentences, en 1,190 and 1,180.
    assert did.evaluation == 2 * MULTIPLIED * (2380 * 24 + 2456 * 56)
    assert did.search == 2 * 384 * (2 * 87_599**2 + 2380 * 2456)


def test_without_negatives_and_validation_there_is_nothing_for_them_to_do():
    did = workload.work(runs(training={})[0])
    assert did.training == 6 * MULTIPLIED * 1_000_000 * 100 * 80
    assert did.validation == did.mining == 0
    assert did.search == 2 * 384 * 2380 * 2456


def test_a_language_has_as_many_items_as_are_available_and_none_if_it_is_unseen():
    (run, *_) = runs(available={"de": 0.1})
    assert workload.items_by_language(run) == {"de": 8760, "en": 87_599}  # 8,759.9 rounded up
    (run, *_) = runs(available={"de": 0.0})
    assert workload.items_by_language(run) == {"de": 0, "en": 87_599}


def test_a_pool_is_the_judged_passages_and_those_drawn():
    miracl = {"task": "miracl", "languages": ["ar", "zh"], "corpus": "mmarco"}
    # 2,896 and 393 questions of ten judged passages each, a thousand others of each language; 2,061,414 and 4,934,368
    # passages.
    assert workload.searched(runs(**miracl, pool=1000)[0]) == [("miracl", 3289, 34_890)]
    assert workload.searched(runs(**miracl, pool="judged")[0]) == [("miracl", 3289, 32_890)]
    assert workload.searched(runs(**miracl)[0]) == [("miracl", 3289, 6_995_782)]


def test_several_tasks_are_each_counted_in_the_languages_that_they_have():
    (run, *_) = runs(task="xquad-r+mlqa-r", languages=["en", "th"])
    assert workload.searched(run) == [("xquad-r", 2380, 2032), ("mlqa-r", 1148, 6264)]


def test_the_hours_of_a_profile_are_operations_by_speed(project):
    table = plan.plan("small").splitlines()[2:7]
    # Training: 3 runs of 6 * 10,992,768 * 10^8 * 136 = 8.970e17 at half of 312e12 are 4.79 hours.
    # Validation and mining, 1.3e14 and 3.1e14 a run, are below 0.1. The search is 3 * 2 * 384 * 1.535e10 / 65.4e9 s.
    rows = [line.split() for line in table if line[0] != "-"]
    assert rows[0][:4] == ["notebook", "runs", "steps", "training"]
    assert rows[1] == ["batch_ratio", "3", "3,000,000", "4.8", "0.0", "0.0", "0.0", "4.8", "0.2"]
    assert rows[2] == ["in", "all", *rows[1][1:]]
    # An H200 has 989 instead of 312 TFLOP/s: 1.51 hours.
    assert plan.plan("small", "h200").splitlines()[4].split()[-2] == "1.5"


def test_a_run_that_two_notebooks_share_is_counted_once(project, monkeypatch):
    shared = SimpleNamespace(runs=runs)
    monkeypatch.setattr(jobs, "read_profile", lambda profile: {"one": shared, "other": shared})
    rows = [line.split() for line in plan.plan("small").splitlines()[2:9]]
    assert [row[-8] for row in rows if row and row[0] in ("one", "other", "in")] == ["3", "3", "3"]


def test_memory_is_that_of_weights_and_activations():
    mean, worst = footprint.gpu_memory(runs())
    # In float32 68 bytes a token, of 6 layers of 384 dimensions; 100 triplets of 19 + 2 * 51 tokens, or of 3 * 64.
    assert mean == 16 * PARAMETERS + 100 * 121 * 68 * 6 * 384
    assert worst == 16 * PARAMETERS + 100 * 192 * 68 * 6 * 384
    halved = {**SMALL["training"], "precision": "bfloat16", "mini_batch_size": 10}
    assert footprint.gpu_memory(runs(training=halved))[0] == 16 * PARAMETERS + 10 * 121 * 34 * 6 * 384
    host = footprint.host_memory(runs())
    # All 4 * 87,599 texts: 1,300 bytes, half of 96 + 250, and 8 bytes for each of half of 70 tokens.
    assert host["tokenised texts"] == 4 * 87_599 * (1300 + 173 + 280)
    # Two tables of embeddings of a language, and a negative for every row of two.
    assert host["mining"] == 2 * 4 * 384 * 87_599 + 2 * 87_599 * (250 + 60)


def test_disk_holds_tables_two_checkpoints_and_the_kept_encoders():
    written = footprint.disk(runs())
    assert written["tables"] == 2 * 87_599 * (96 + 250 + 60)
    assert written["checkpoints"] == 2 * 12 * PARAMETERS
    assert written["kept encoders"] == 3 * 4 * PARAMETERS
    # What is left of a table where a run takes a part is a table of its own, which keeps its rows.
    thinned = footprint.disk(runs(available={"de": 0.0}))
    assert thinned["tables"] - written["tables"] == 87_599 * 346 + 2 * 87_599 * 60


def test_downloads_are_the_files_of_the_languages_and_what_is_here_is_told(project):
    found = footprint.downloads(runs())
    assert list(found) == ["squad-translate", "squadshifts", "xquad-r", "all-MiniLM-L6-v2"]
    assert found["squad-translate"] == (30_288_272 + 93_188_862, 0)
    assert found["all-MiniLM-L6-v2"] == (4 * PARAMETERS, 0)
    (project / "data/squad-translate").mkdir()
    (project / "data/squad-translate/train-v1.1.json").touch()
    (project / "hub/models--sentence-transformers--all-MiniLM-L6-v2/snapshots" / MINILM[-40:]).mkdir(parents=True)
    found = footprint.downloads(runs())
    assert found["squad-translate"][1] == 30_288_272 and found["all-MiniLM-L6-v2"][1] == 4 * PARAMETERS


@pytest.mark.parametrize("name", ["squad-translate", "mmarco", "miracl"])
def test_the_files_of_all_languages_together_are_all_files(name):
    files = SOURCES[name].files
    common = {file.path for file in files if footprint._of(file, {"none"})}
    languages = workload.LANGUAGES.get(name, " ".join(workload.TASKS.get(name, {}))).split()
    of_one = [{file.path for file in files if footprint._of(file, {code})} - common for code in languages]
    assert set().union(common, *of_one) == {file.path for file in files}
    assert sum(map(len, of_one)) + len(common) == len(files)  # none is of two


@pytest.mark.parametrize("name", ["squad-translate", "mmarco", "squadshifts"])
def test_the_languages_of_a_corpus_are_those_of_its_source(name):
    assert tuple(workload.LANGUAGES[name].split()) == SOURCES[name].languages


def test_static_encoders_have_runs_and_steps_and_no_hours(capsys):
    assert main(["plan", "--profile", "embedded"]) == 0
    said = capsys.readouterr().out
    assert "hours" not in said and "with no GPU" in said
    assert re.search(r"^in all +351 +45,870$", said, re.MULTILINE)


@pytest.mark.parametrize("profile", sorted(path.name for path in project_root().glob("params/*")))
@pytest.mark.parametrize("gpu", ["a100-80gb", "l4"])
def test_every_profile_can_be_planned_for_any_gpu(profile, gpu):
    said = plan.plan(profile, gpu)
    assert "in all" in said and "nan" not in said and max(map(len, said.splitlines())) <= 120


def test_the_papers_encoders_are_pinned_by_commit():
    for path in project_root().glob("params/paper/*.yaml"):
        for run in QUESTIONS[path.stem].from_yaml(path).runs():
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", run.encoder)
            assert run.learning_rate == 3e-5 and run.batch_size == 100


def test_a_text_longer_than_memory_is_warned_of(project):
    path = project / "params/small/batch_ratio.yaml"
    path.write_text(yaml.safe_dump({**SMALL, "training": {"max_length": 512}, "batch_size": 1000}))
    # 1,000 * 2 * 512 tokens of 68 * 6 * 384 bytes are 160 GB.
    assert "161GB if every text had max_length, which does not fit, so set mini_batch_size" in plan.plan("small")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpu", "abacus"], r"gpu is 'abacus'; allowed: a100-80gb, a100-40gb, h100, h200"),
        (["--profile", "nowhere"], r"nowhere/\*\.yaml does not exist; profiles: small"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is_allowed(project, capsys, options, message):
    assert main(["plan", "--profile", "small", *options]) == 2
    assert re.search(f"^error: .*{message}", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoders": ["someone/some-encoder"]}, r"encoder is 'someone/some-encoder', .*allowed in a plan: FacebookAI"),
        ({"corpus": "atlas"}, r"corpus is 'atlas', of which no counts are known; allowed in a plan: squad-translate"),
        ({"task": "atlas"}, r"task is 'atlas', of which no counts are known; allowed in a plan: xquad-r"),
    ],
)
def test_what_no_counts_are_known_of_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        workload.work(runs(**changes)[0])


def test_a_speed_that_was_not_measured_is_asked_for(project):
    (project / "benchmarks/throughput.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"throughput\.json does not exist; python benchmarks/throughput\.py"):
        plan.plan("small")


def test_it_is_said_without_waiting_for_what_computes():
    code = """
import sys
from hybridlib.study.cli.main import main
assert main(["plan", "--profile", "paper"]) == 0
print(sorted(set(sys.modules) & {"torch", "transformers", "snakemake", "numba"}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=project_root(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
