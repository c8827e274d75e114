"""Tests of runs: what they train, on what, and what they are tested on."""

import numpy as np
import pytest
from small_runs import RUN, TEST, changed, ranked

import hybridlib as hl
from hybridlib.evaluation.pairs import Measured
from hybridlib.study import inputs
from hybridlib.study.run import Run, Test, joined
from hybridlib.study.runs import store
from hybridlib.study.runs.keys import identity_of, key_of, key_of_identity
from hybridlib.training.code_switching import code_switch


@pytest.fixture
def asked(monkeypatch):
    """Replace what trains by stand-ins, which return their names and note what they were called with."""
    calls = {name: [] for name in ("starts.load_encoder", "negatives.mine_negatives", "fine_tune.fine_tune")}
    for name, noted in calls.items():
        monkeypatch.setattr(
            f"hybridlib.training.{name}",
            lambda *arguments, _name=name, _noted=noted, **options: _noted.append((arguments, options)) or _name,
        )
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)
    for cached in (inputs._encoder, inputs._mined):
        monkeypatch.setattr(inputs, cached.__name__, cached.__wrapped__)
    return calls


@pytest.mark.parametrize("switched", [False, True])
def test_a_run_trains_what_it_says_on_what_it_says(asked, switched):
    chosen = {"languages": ("de", "en", "sw"), "items": {"money": 150}, "others": 0.8}
    run = changed(RUN, code_switched=switched, seed=3, data_seed=1, **chosen)
    assert run.train() == "fine_tune.fine_tune"
    (((name,), options),) = asked["starts.load_encoder"]
    assert name == RUN.encoder and options["seed"] == 3
    # The tokenizer is that of the whole corpus, whatever is trained on.
    assert options["corpus"].table["query"] == hl.load_corpus("atlas", seed=1).table["query"]
    (((encoder, corpus, settings), _),) = asked["fine_tune.fine_tune"]
    assert encoder == "starts.load_encoder" and settings is run
    told = hl.load_corpus("atlas", available={"sw": 0.2}, seed=1, **chosen)
    if not switched:
        assert corpus.table.to_dict() == told.table.to_dict()
        return
    assert corpus.table.to_dict() == code_switch(told, seed=3).table.to_dict()
    # It has the English texts, many of them with words of other languages, and no others.
    english = told.table.filter(lambda row: row["language"] == "en" and row["passage"])
    assert corpus.languages == ("en",) and len(corpus) == len(english) == 120  # 0.8 of 150
    differing = [old != new for old, new in zip(english["passage"], corpus.table["passage"], strict=True)]
    assert sum(differing) > 90
    changed(run, seed=4).train()
    _, ((_, other, _), _) = asked["fine_tune.fine_tune"]
    assert other.table["passage"] != corpus.table["passage"]  # another seed switches other words


def test_the_settings_of_a_full_size_training_go_where_they_act(tmp_path, asked, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hybridlib.study.run.validation_of", "validation on {}".format)
    run = changed(
        RUN, encoder="owner/name", query_prompt="Query: ", document_prompt="Passage: ", max_length=64,
        hard_negatives="owner/miner", validation="squadshifts", save_every=7, keep_encoder=True, seed=5,
    )  # fmt: skip
    store.train(run, progress=True)
    prompts = {"query": "Query: ", "document": "Passage: "}
    options = {"corpus": None, "prompts": prompts, "max_length": 64, "seed": 0}
    assert asked["starts.load_encoder"] == [(("owner/miner",), {}), (("owner/name",), options)]
    (((_, miner), options),) = asked["negatives.mine_negatives"]
    assert miner == "starts.load_encoder" and options == {"seed": 0}
    checkpoints = store.scratch_of(run) / "training"
    options = {"validation": "validation on squadshifts", "checkpoints": checkpoints, "progress": True}
    trained = (("starts.load_encoder", "negatives.mine_negatives", run), options)
    assert asked["fine_tune.fine_tune"] == [trained]


def test_without_steps_the_encoder_is_the_one_to_start_from_and_bm25_is_none(asked):
    assert changed(RUN, steps=0).train() == "starts.load_encoder"
    assert changed(RUN, steps=0, encoder="bm25").train() is None
    assert not asked["fine_tune.fine_tune"]


def test_a_benchmark_is_tested_whole_unless_a_fold_of_it_is_held_out(monkeypatch):
    asked = []
    monkeypatch.setattr("hybridlib.data.load.load_task", lambda *given, **named: asked.append((*given, named)))
    for task, corpus, fold in (
        ("atlas-partial", "atlas", None),
        ("xquad-r", "xquad-r", 2),
        ("xquad-r", "squad-translate", None),
        ("mlqa-r", "xquad-r", 2),
    ):
        changed(RUN, corpus=corpus, fold=fold).load_task(Test(task=task, pool=50))
        inputs._task.cache_clear()
    options = {"languages": None, "pool": 50, "seed": 0}
    assert asked == [
        ("atlas-partial", "test", options),
        ("xquad-r", None, {**options, "fold": 2}),
        ("xquad-r", None, options),
        ("mlqa-r", None, options),
    ]


def test_a_run_is_trained_on_what_is_not_in_its_fold(monkeypatch):
    asked = []
    monkeypatch.setattr("hybridlib.data.load.load_corpus", lambda *given, **named: asked.append(named["fold"]))
    changed(RUN, corpus="xquad-r", fold=1, data_seed=99).load_corpus()
    assert asked == [1]


def test_the_name_of_a_test_changes_with_its_questions_and_passages_and_with_nothing_else():
    run = changed(RUN, corpus="xquad-r", fold=2)
    names = [run.test_name(Test(task=task)) for task in ("xquad-r", "mlqa-r", "miracl/sw", "xquad-r+mmarco")]
    assert names == ["xquad-r-2", "mlqa-r", "miracl-sw", "xquad-r+mmarco"]
    others = [
        Test(task="xquad-r", languages=("en",)),
        Test(task="xquad-r", pool=50),
        Test(task="xquad-r", pool="judged"),
    ]
    different = [run.test_name(test) for test in others] + [changed(run, data_seed=1).test_name(Test(task="xquad-r"))]
    assert len(set(different)) == 4 and all(name.startswith("xquad-r-2-") for name in different)
    assert changed(run, seed=7, alpha=0.25).test_name(others[0]) == different[0]


@pytest.fixture
def folder(tmp_path):
    """Make a folder that looks like that of a saved encoder."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "modules.json").write_text("[]")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize("setting", ["encoder", "hard_negatives"])
def test_an_encoder_in_a_folder_is_known_by_its_files_whatever_the_folder_is_called(folder, setting):
    run = changed(RUN, **{setting: str(folder)})
    key = key_of(run)
    assert key == key_of(run) != key_of(RUN)
    moved = folder.rename(folder.with_name("moved"))
    assert key_of(changed(RUN, **{setting: str(moved)})) == key
    (moved / "model.safetensors").write_bytes(b"Weights")
    assert key_of(changed(RUN, **{setting: str(moved)})) != key
    assert str(moved) not in str(identity_of(changed(RUN, **{setting: str(moved)})))


def test_files_of_an_encoder_are_read_once_until_they_change(folder, monkeypatch):
    read = []
    monkeypatch.setattr(inputs, "folder_digest", lambda folder: read.append(folder) or "digest")
    for _ in range(3):
        key_of(changed(RUN, encoder=str(folder)))
    assert len(read) == 1
    (folder / "further.json").write_text("{}")
    key_of(changed(RUN, encoder=str(folder)))
    assert len(read) == 2


def test_an_encoder_whose_files_have_changed_is_loaded_anew(folder, monkeypatch):
    loaded = []
    monkeypatch.setattr("hybridlib.training.starts.load_encoder", lambda name, **options: loaded.append(name) or name)
    run = changed(RUN, encoder=str(folder))
    run.start()
    run.start()
    (folder / "model.safetensors").write_bytes(b"other weights")
    run.start()
    assert loaded == [str(folder)] * 2


def test_a_prompt_that_is_empty_is_another_run_than_one_that_is_not_given():
    keys = [key_of(changed(RUN, query_prompt=prompt)) for prompt in (None, "", "query: ")]
    assert len(set(keys)) == 3
    # Records that are older than the setting have an empty text where no prompt was given, and keep their key.
    identity = identity_of(RUN)
    assert identity["run"]["query_prompt"] == identity["run"]["document_prompt"] == ""
    assert key_of_identity(identity) == keys[0]
    assert identity_of(changed(RUN, query_prompt=""))["run"]["query_prompt"] is False


@pytest.mark.parametrize(("prompt", "expected"), [(None, {}), ("", {"query": ""}), ("query: ", {"query": "query: "})])
def test_a_prompt_that_is_not_given_is_that_of_the_encoder_and_an_empty_one_is_none(asked, prompt, expected):
    changed(RUN, steps=0, query_prompt=prompt).train()
    assert [options["prompts"] for _, options in asked["starts.load_encoder"]] == [expected]


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mini_batch_size": 4}, "mini_batch_size is 4; allowed: None, since batches of a Static"),
        ({"batch_size": 1000}, "batch_size is 1000, but a monolingual batch .* cannot be filled"),
        ({"hard_negatives": "./nowhere"}, "encoder './nowhere'"),
        ({"encoder": "./nowhere"}, "encoder './nowhere'"),
    ],
)
def test_what_training_would_refuse_is_refused_by_a_check_without_training(settings, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        changed(RUN, strategy="x-x-mono", **settings).check()


def test_a_run_that_is_sound_passes_the_check_and_one_without_steps_needs_no_batch(monkeypatch):
    RUN.check()
    changed(RUN, steps=0, batch_size=10_000).check()
    changed(RUN, steps=0, encoder="bm25", batch_size=10_000).check()


def test_a_run_without_a_test_is_refused():
    with pytest.raises(ValueError, match=r"tests is \(\); allowed: at least 1 item"):
        Run(**{**RUN.model_dump(), "tests": ()})


def test_pairs_of_several_tasks_come_one_after_the_other_and_have_no_pool_where_the_tasks_have_none():
    one, two = ranked(first=1, pairs=4), ranked(first=9, pairs=6)
    whole = joined([one, two])
    assert whole.pairs.passage_id.tolist() == [*one.pairs.passage_id, *two.pairs.passage_id]
    assert whole.in_language.tolist() == [1, 2, 3, 4, 9, 10, 11, 12, 13, 14]
    assert whole.in_pool.tolist() == (2 * whole.in_language).tolist()
    assert whole.pairs.query_language.cat.categories.tolist() == ["de", "en"]
    alone = [Measured(part.pairs, part.in_language, part.in_pool, ("cross-lingual",)) for part in (one, two)]
    assert not joined(alone).in_pool.any() and joined(alone).settings == ("cross-lingual",)


def test_tatoeba_is_one_task_for_each_of_its_pairs_of_languages(monkeypatch):
    asked, task = [], hl.load_task("atlas", languages=["de", "en"])
    monkeypatch.setattr(
        "hybridlib.data.load.load_task", lambda name, *given, **named: asked.append((name, named["languages"])) or task
    )
    assert len([*inputs.tasks_of(Test(task="tatoeba"), RUN)]) == 36
    assert asked[0] == ("tatoeba/af", None)
    asked.clear()
    assert len([*inputs.tasks_of(Test(task="tatoeba", languages=("sw", "th")), RUN)]) == 2
    assert asked == [("tatoeba/sw", None), ("tatoeba/th", None)]
    inputs._task.cache_clear()


@pytest.mark.usefixtures("quickly")
def test_the_ranks_of_a_trained_run_are_those_that_an_evaluation_gives():
    encoder = changed(RUN, steps=0).train()
    measured = RUN.measure(encoder, TEST)
    task = hl.load_task("atlas", "test", languages=["de", "en"])
    assert len(measured.pairs) == len(task.pairs)
    results = hl.evaluate(encoder, task, measures=["rr@10"])
    monolingual = measured.pairs.query_language.astype(str) == measured.pairs.passage_language.astype(str)
    ranks = measured.in_language[monolingual]
    # Each question has one passage in its language, so that its value is the inverse of the rank among the first 10.
    expected = results[results.setting == "monolingual"].value.to_numpy()
    assert np.sort(np.where(ranks <= 10, 1 / ranks, 0)) == pytest.approx(np.sort(expected))
