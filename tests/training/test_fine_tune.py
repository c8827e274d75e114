"""Tests of `fine_tune`: its batches, what reaches the trainer, and that processes and interruptions change nothing.

`torch.distributed.run` runs this file as a script, which trains in several processes and saves the weights.
"""

import contextlib
import copy
import itertools
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from tiny_bert import tiny_bert
from torch import Tensor

import hybridlib.training.fine_tune
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.encoder.embed import embed_texts
from hybridlib.loss import InfoNCE
from hybridlib.sampler.batches import HybridBatchSampler
from hybridlib.sampler.collator import ParallelCollator
from hybridlib.training.fine_tune import fine_tune
from hybridlib.training.settings import Training
from hybridlib.training.starts import load_encoder

pytestmark = pytest.mark.usefixtures("quickly")

LANGUAGES = ("en", "sw", "yo")
ITEMS = 23  # a prime: no batch size divides it


def tiny_corpus() -> ParallelCorpus:
    """Make items in three made-up languages; the first two of every three are questions on one passage."""
    frame = pd.DataFrame([(i, code) for i in range(ITEMS) for code in LANGUAGES], columns=["item", "language"])
    rng = np.random.default_rng(0)
    names, others = (["".join(word) for word in rng.choice(list("abcdefghijklmno"), (len(frame), 4))] for _ in range(2))
    group = frame["item"] - frame["item"] % 3 + frame["item"] % 3 // 2
    query = frame["language"] + " " + names + frame["item"].astype(str) + "?"
    passage = names + group.astype(str) + " " + others + "."
    rest = {"passage_group": group, "domain": "tiny", "dataset": "tiny"}
    return ParallelCorpus.from_frame(frame.assign(query=query, passage=passage, **rest), LANGUAGES)


def with_negatives(corpus: ParallelCorpus) -> ParallelCorpus:
    frame = corpus.table.to_pandas()
    frame["negative"] = "not " + frame["passage"]
    frame["negative_group"] = frame["passage_group"] + 1
    return ParallelCorpus(datasets.Dataset.from_pandas(frame))


def weights(encoder: SentenceTransformer) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in encoder.state_dict().items()}


# One process and two train these: 11 steps of 6 pairs, where an epoch has 4 such batches. Under `cached` each process
# has 3 pairs, which mini batches of 2 do not divide.
RUNS: dict[str, dict[str, Any]] = {
    "static": {"strategy": "hybrid", "seed": 1},
    "cached": {"strategy": "x-y", "learning_rate": 1e-3, "mini_batch_size": 2, "symmetric": True},
    "grouped": {"strategy": "hybrid", "learning_rate": 1e-3, "batch_size": 16, "steps": 7},
}


def first_encoder(name: str) -> SentenceTransformer:
    if name == "static":
        return load_encoder("static", corpus=tiny_corpus())
    with tempfile.TemporaryDirectory() as folder:
        return tiny_bert(Path(folder))


def quick(encoder: SentenceTransformer, corpus: ParallelCorpus, **arguments: Any) -> SentenceTransformer:
    """Fine-tune with settings and further arguments; a name says which of the two an argument is."""
    settings = {"batch_size": 6, "steps": 5} | {n: v for n, v in arguments.items() if n in Training.model_fields}
    further = {name: value for name, value in arguments.items() if name not in settings}
    return fine_tune(encoder, corpus, Training(**settings), **{"progress": False, **further})


@contextlib.contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """Break training off when a step begins."""

    def interrupt(self: Any, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == step:
            raise InterruptedError

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(InterruptedError):
        patch.setattr(hybridlib.training.fine_tune._TellEpoch, "on_step_begin", interrupt)
        yield


def train(name: str, encoder: SentenceTransformer, **further: Any) -> dict[str, Tensor]:
    return weights(quick(encoder, tiny_corpus(), **{"steps": 11, **RUNS[name], **further}))


def record_batches(patch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    """Keep the rows of every batch that is collated from now on."""
    seen: list[list[dict[str, Any]]] = []
    collate = ParallelCollator.__call__
    patch.setattr(ParallelCollator, "__call__", lambda self, rows: seen.append(rows) or collate(self, rows))
    return seen


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    return record_batches(monkeypatch)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


# The collator.


def preprocess_nothing(inputs: list[str], prompt: str | None = None, task: str | None = None) -> dict[str, Any]:
    return {"input_ids": [f"{prompt or ''}{text}" for text in inputs]}


def row(item: int, language: str, group: int) -> dict[str, Any]:
    place = f"{item}{language}"
    texts = {"query": f"q{place}", "passage": f"p{place}", "negative": f"n{place}"}
    groups = {"passage_group": group, "negative_group": group + 1}
    return {"item": item, "language": language, **texts, **groups}


@pytest.mark.parametrize("negatives", [False, True])
def test_even_rows_give_the_query_and_odd_rows_the_passage_its_hard_negative_and_their_groups(negatives: bool) -> None:
    collator = ParallelCollator(preprocess_nothing, prompts={"query": "ask ", "passage": "tell ", "negative": "tell "})
    rows = [row(4, "en", 9), row(4, "sw", 9), row(1, "yo", 7), row(1, "yo", 7)]
    expected = {  # in the order in which the loss takes columns
        "label": [[9, 10], [7, 8]] if negatives else [9, 7],
        "query_input_ids": ["ask q4en", "ask q1yo"],
        "query_task": "query",
        "passage_input_ids": ["tell p4sw", "tell p1yo"],
        "passage_task": "document",
    }
    if negatives:
        expected |= {"negative_input_ids": ["tell n4sw", "tell n1yo"], "negative_task": "document"}
    else:
        rows = [{name: value for name, value in one.items() if "negative" not in name} for one in rows]
    batch = collator(rows)
    assert list(batch) == list(expected)
    assert {**batch, "label": batch["label"].tolist()} == expected


def test_the_pairs_are_those_that_the_sampler_drew(corpus: ParallelCorpus) -> None:
    sampler = HybridBatchSampler(corpus.table, 7, strategy="x-y")
    rows = [corpus.table[number] for number in sampler.batch(2)]
    expected = [(item, LANGUAGES[code]) for item, a, b in zip(*sampler.draw(2), strict=True) for code in (a, b)]
    assert [(one["item"], one["language"]) for one in rows] == expected


@pytest.mark.parametrize(
    "rows",
    [
        [row(4, "en", 9)],
        [row(4, "en", 9), row(4, "sw", 9), row(1, "en", 7)],
        [row(4, "en", 9), row(1, "en", 7)],
        [row(0, "en", 0), row(4, "en", 9), row(4, "sw", 9), row(0, "sw", 0)],
    ],
)
def test_rows_that_are_no_pairs_are_refused(rows: list[dict[str, Any]]) -> None:
    message = "not pairs of a query's row and its passage's; the batch sampler must be a HybridBatchSampler"
    with pytest.raises(ValueError, match=message):
        ParallelCollator(preprocess_nothing)(rows)


def test_a_trainer_that_was_given_another_batch_sampler_stops_instead_of_training_on_nonsense(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    arguments = SentenceTransformerTrainingArguments(str(tmp_path), report_to="none", dataloader_pin_memory=False)
    given = {"loss": InfoNCE(static), "data_collator": ParallelCollator(static.preprocess)}
    trainer = SentenceTransformerTrainer(static, arguments, corpus.table, **given)
    with pytest.raises(ValueError, match="the batch sampler must be a HybridBatchSampler"):
        trainer.train()


# Fine-tuning gives a copy.


def test_fine_tuning_learns(static: SentenceTransformer, corpus: ParallelCorpus) -> None:
    table = corpus.table.to_pandas()
    query, passage = table[table.language == "en"], table[table.language == "sw"]
    columns = [static.preprocess(query["query"].tolist()), static.preprocess(passage["passage"].tolist())]
    groups = torch.tensor(passage["passage_group"].to_numpy())
    losses, recalls = [], []
    for encoder in (static, quick(static, corpus, strategy="x-y", steps=60)):
        losses.append(InfoNCE(encoder)([dict(column) for column in columns], groups).item())
        q, p = (torch.nn.functional.normalize(encoder(dict(column))["sentence_embedding"]) for column in columns)
        recalls.append((groups[(q @ p.T).argmax(dim=1)] == groups).float().mean().item())
    assert recalls[0] < 0.5 and recalls[1] > 0.85
    assert losses[1] < losses[0] / 4


def test_the_encoder_that_is_given_stays_as_it_is(static: SentenceTransformer, corpus: ParallelCorpus) -> None:
    given = copy.deepcopy(static).train()
    trained = quick(given, corpus)
    assert given.training and not trained.training
    assert same(weights(given), weights(static)) and not same(weights(trained), weights(static))


def test_without_steps_the_copy_is_as_the_encoder_and_nothing_is_read(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path, batches: list
) -> None:
    kept = quick(static, corpus, steps=0, checkpoints=tmp_path / "kept")
    assert kept is not static and not kept.training and same(weights(kept), weights(static))
    assert not batches and not (tmp_path / "kept").exists()


def test_the_same_arguments_give_the_same_weights_to_the_bit_dropout_included(
    corpus: ParallelCorpus, tmp_path: Path
) -> None:
    bert = tiny_bert(tmp_path, dropout=0.2)
    first = weights(quick(bert, corpus, seed=3))
    torch.manual_seed(99)  # what was drawn before must not matter
    assert same(weights(quick(bert, corpus, seed=3)), first)
    assert not same(weights(quick(bert, corpus, seed=4)), first)


def test_nothing_is_printed_without_progress_and_no_folder_is_left_behind(
    static: SentenceTransformer,
    corpus: ParallelCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    quick(static, corpus, progress=False)
    assert capfd.readouterr() == ("", "")
    quick(static, corpus, progress=True)
    assert "5/5" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_transformer_is_saved_with_the_trainers_own_card_which_is_made_quietly_and_without_the_network(
    corpus: ParallelCorpus, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentence_transformers.base.model_card.get_model_info", None)  # None cannot be called
    monkeypatch.setattr("sentence_transformers.base.model_card.get_dataset_info", None)
    bert = tiny_bert(tmp_path / "bert")
    capfd.readouterr()
    trained = quick(bert, corpus, steps=1, learning_rate=1e-4)
    assert capfd.readouterr() == ("", "")
    trained.save_pretrained(str(tmp_path / "saved"))
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    assert "generated_from_trainer" in card and "InfoNCE" in card and f"dataset_size:{len(corpus.table)}" in card


# Settings and prompts are handed on.


@pytest.mark.parametrize(
    "drawn",
    [
        {},
        {"strategy": "x-x-mono"},
        {"strategy": "x-y"},
        {"strategy": "hybrid-pairs"},
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"language_temperature": 1.0},
        {"dataset_temperature": math.inf},
        {"seed": 8},
        {"batch_size": 4},
    ],
)
def test_batches_are_those_of_the_sampler_with_the_same_settings(
    static: SentenceTransformer, corpus: ParallelCorpus, batches: list, drawn: dict[str, Any]
) -> None:
    # Languages and datasets differ in size, so that every setting matters.
    frame = corpus.table.to_pandas()
    frame.loc[frame["item"] < 7, "dataset"] = "other"
    uneven = ParallelCorpus.from_frame(frame, LANGUAGES).thin({"sw": 0.8})

    def expected(batch_size: int = 3, **others: Any) -> list[list[dict[str, Any]]]:
        sampler = HybridBatchSampler(uneven.table, batch_size, **others)
        return [[uneven.table[number] for number in rows] for rows in itertools.islice(sampler, 4)]

    quick(static, uneven, **{"batch_size": 3, "steps": 4, **drawn})
    assert batches[:4] == expected(**drawn)
    assert not drawn or batches[:4] != expected()


def test_the_loss_and_the_optimizer_are_given_every_argument_of_theirs(
    corpus: ParallelCorpus, tmp_path: Path, trainers: list[SentenceTransformerTrainer]
) -> None:
    loss = {"temperature": 0.2, "mask": False, "symmetric": True, "mini_batch_size": 4}
    quick(tiny_bert(tmp_path), corpus, learning_rate=0.004, weight_decay=0.3, steps=3, **loss)
    (trainer,) = trainers
    assert trainer.loss.get_config_dict() == {**loss, "similarity": "cosine", "gather_across_devices": False}
    assert isinstance(trainer.optimizer.optimizer, torch.optim.AdamW)
    groups = trainer.optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {0.3, 0.0}  # none for norms and biases
    assert {(group["initial_lr"], group["lr"]) for group in groups} == {(0.004, 0.0)}  # first and last
    assert trainer.state.global_step == 3


@pytest.mark.parametrize(
    "prompts",
    [
        {"query": "ask: ", "document": "tell: ", "other": "no: "},
        {"query": "ask: ", "document": "", "passage": "tell: "},  # E5 as published, once it is loaded
        {"query": "", "document": "", "other": "no: "},
    ],
)
def test_training_uses_the_prompts_that_evaluation_uses_and_none_where_there_is_none(
    static: SentenceTransformer, corpus: ParallelCorpus, monkeypatch: pytest.MonkeyPatch, prompts: dict[str, str]
) -> None:
    ask, tell = ("ask: ", "tell: ") if prompts["query"] else ("", "")
    used: list[tuple[str, list[str]]] = []
    original = static[0].preprocess

    def spy(inputs: list[str], prompt: str | None = None, **rest: Any) -> dict[str, Tensor]:
        used.append((prompt or "", list(inputs)))
        return original(inputs, prompt=prompt, **rest)

    monkeypatch.setattr(static[0], "preprocess", spy)
    monkeypatch.setattr(static, "prompts", prompts)
    triplets = with_negatives(corpus)
    quick(static, triplets, steps=1)
    embed_texts(static, ["q"], role="query")
    assert used[-1] == (ask, ["q"])
    embed_texts(static, ["p"])
    assert used[-1] == (tell, ["p"]) and [prompt for prompt, _ in used[:3]] == [ask, tell, tell]
    for column, (_, texts) in zip(("query", "passage", "negative"), used, strict=False):
        assert set(texts) <= set(triplets.table[column])


def test_a_batch_that_cannot_be_filled_is_refused(static: SentenceTransformer, corpus: ParallelCorpus) -> None:
    message = "batch_size is 24, but a monolingual batch of dataset 'tiny' cannot be filled"
    with pytest.raises(ValueError, match=message):
        quick(static, corpus, batch_size=24)


# Processes, GPUs and interruptions.


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Train in two processes and return what each of them saved."""
    folder = tmp_path_factory.mktemp("processes")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launch, __file__, str(folder)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_does(of_two_processes: list[dict[str, Any]], name: str) -> None:
    first, second = of_two_processes
    assert same(first[name], second[name])
    start = first_encoder(name)
    before, alone = weights(start), train(name, start)
    for parameter, value in alone.items():
        # The gradient by a bias of attention's keys is 0 but for rounding, of which Adam makes steps of full length.
        if "key.bias" not in parameter:
            # This is rounding too, where a gradient happens to be almost 0; steps are of 0.01 and 0.001.
            torch.testing.assert_close(first[name][parameter], value, rtol=0, atol=5e-4)
    moved = max((alone[parameter] - before[parameter]).abs().max().item() for parameter in alone)
    assert moved > 3e-3  # six times what may differ


def test_every_process_takes_its_share_of_each_batch(of_two_processes: list[dict[str, Any]]) -> None:
    for process in of_two_processes:
        assert set(process["shares"]) == {3, 8} and process["shares"].count(3) >= 22  # one batch is fetched ahead


def test_two_processes_resume_in_a_later_epoch_as_if_never_interrupted(of_two_processes: list[dict[str, Any]]) -> None:
    for process in of_two_processes:
        assert same(process["resumed"], process["static"])


def test_a_checkpoint_of_two_processes_is_taken_up_by_one(
    of_two_processes: list[dict[str, Any]], tmp_path: Path, batches: list
) -> None:
    (folder,) = {process["folder"] for process in of_two_processes}
    shutil.copytree(Path(folder) / "broken off", tmp_path / "broken off")
    start = first_encoder("static")
    resumed = train("static", start, checkpoints=str(tmp_path / "broken off"), save_every=6)
    assert len(batches) == 5 + 1  # of 11, 6 had been trained on; one is fetched ahead
    for parameter, value in train("static", start).items():
        torch.testing.assert_close(resumed[parameter], value, rtol=0, atol=5e-4)  # as above


def test_a_batch_that_does_not_divide_by_the_number_of_processes_is_refused(
    of_two_processes: list[dict[str, Any]],
) -> None:
    for process in of_two_processes:
        assert process["refused"] == "batch_size is 5; allowed: multiples of 2, the number of processes"


def test_several_gpus_in_one_process_do_not_multiply_the_batch(
    static: SentenceTransformer,
    corpus: ParallelCorpus,
    batches: list,
    trainers: list[SentenceTransformerTrainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transformers.TrainingArguments, "n_gpu", property(lambda self: 4))
    quick(static, corpus, steps=2)
    assert {len(rows) for rows in batches} == {12}
    assert trainers[0].model_wrapped is trainers[0].model


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_training_that_was_interrupted_in_its_second_epoch_ends_as_if_it_was_not(
    corpus: ParallelCorpus, tmp_path: Path, batches: list, dropout: float
) -> None:
    bert = tiny_bert(tmp_path / "bert", dropout=dropout)
    whole = weights(quick(bert, corpus, steps=10))
    drawn = batches.copy()
    assert drawn[4:8] != drawn[:4]  # of an epoch of 4, or it would not matter whether the epoch is told
    saved: dict[str, Any] = {"steps": 10, "checkpoints": tmp_path / "kept", "save_every": 3}
    with interrupted_at(8):
        quick(bert, corpus, **saved)
    batches.clear()
    assert same(weights(quick(bert, corpus, **saved)), whole)
    assert batches[:4] == drawn[6:10]


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_finished_training_is_read_and_trains_nothing_also_without_the_state_of_its_optimizer(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path, batches: list
) -> None:
    kept: dict[str, Any] = {"checkpoints": tmp_path, "save_every": 2, "learning_rate": 5e-3}
    whole = weights(quick(static, corpus, **kept))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (tmp_path / "checkpoint-5" / name).unlink()  # as people do to save space
    before = files_of(tmp_path)
    batches.clear()
    for _ in range(2):
        assert same(weights(quick(static, corpus, **kept)), whole)
    assert not batches and files_of(tmp_path) == before


def test_a_training_with_validation_stops_where_it_would_have_stopped_and_is_then_read(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path, batches: list, trainers: list
) -> None:
    english = ParallelCorpus.from_frame(corpus.table.to_pandas(), ["en"])
    settings: dict[str, Any] = {"strategy": "x-y", "steps": 60, "learning_rate": 0.3}
    settings |= {"validation": english, "validate_every": 2, "patience": 3}
    whole = weights(quick(static, corpus, **settings))
    with interrupted_at(trainers[0].state.best_global_step + 5):  # two validations have not improved the loss
        quick(static, corpus, **settings, checkpoints=tmp_path / "kept")
    assert same(weights(quick(static, corpus, **settings, checkpoints=tmp_path / "kept")), whole)
    assert trainers[2].state.global_step == trainers[0].state.global_step < 60
    (tmp_path / "kept").rename(tmp_path / "moved")
    before = files_of(tmp_path)
    batches.clear()
    assert same(weights(quick(static, corpus, **settings, checkpoints=tmp_path / "moved")), whole)
    assert not batches and files_of(tmp_path) == before
    shutil.rmtree(min((tmp_path / "moved").glob("checkpoint-*"), key=lambda path: int(path.name[11:])))  # the best
    with pytest.raises(ValueError, match=r"moved/checkpoint-\d+ does not exist, which held the best weights; delete "):
        quick(static, corpus, **settings, checkpoints=tmp_path / "moved")


@pytest.mark.parametrize("how", ["missing", "cut"])
@pytest.mark.parametrize(
    ("name", "read_if_finished"),
    [
        ("trainer_state.json", True),
        ("model.safetensors", True),
        ("optimizer.pt", False),
        ("scheduler.pt", False),
        ("rng_state.pth", False),
    ],
)
def test_a_damaged_checkpoint_is_named_with_what_to_do_where_training_needs_it(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path, name: str, read_if_finished: bool, how: str
) -> None:
    kept: dict[str, Any] = {"steps": 4, "checkpoints": tmp_path, "save_every": 2}
    for step in (2, 4):
        with interrupted_at(3 if step == 2 else 99):
            quick(static, corpus, **kept)
        file = tmp_path / f"checkpoint-{step}" / name
        content = file.read_bytes()
        if how == "missing":
            file.unlink()
        else:
            file.write_bytes(content[: len(content) // 2])
        message = (
            rf"checkpoint-{step} cannot be read \(.+\); delete it, and training goes on from the checkpoint before"
        )
        without_state = name == "trainer_state.json" and how == "missing"  # as after a kill: it does not count
        refused = (step == 2 or read_if_finished) and not without_state
        with pytest.raises(ValueError, match=message) if refused else contextlib.nullcontext():
            quick(static, corpus, **kept)
        shutil.rmtree(tmp_path)


def test_checkpoints_of_another_training_are_refused(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    kept: dict[str, Any] = {"checkpoints": tmp_path, "save_every": 2}
    quick(static, corpus, **kept)
    for other, changed, message in (
        (corpus, {"alpha": 0.4}, "alpha is 0.5 there and 0.4 here"),
        (corpus, {"seed": 1}, "seed is 0 there and 1 here"),
        (corpus.compose({"tiny": 12}), {}, "items is 23 there and 12 here"),
    ):
        with pytest.raises(ValueError, match=rf"{tmp_path} was made from something else: {message}"):
            quick(static, other, **kept, **changed)


# Early stopping, precision, hard negatives.


def test_training_stops_when_validation_no_longer_improves_and_gives_the_best_back(
    static: SentenceTransformer, corpus: ParallelCorpus, trainers: list[SentenceTransformerTrainer], batches: list
) -> None:
    english = ParallelCorpus.from_frame(corpus.table.to_pandas(), ["en"])
    validated: dict[str, Any] = {"validation": english, "validate_every": 2, "patience": 2}
    # A rate that is much too high makes the loss worse after a while: of 30 validations, about the twelfth is the best.
    stopped = quick(static, corpus, strategy="x-y", steps=60, learning_rate=0.3, **validated)
    (trainer,) = trainers
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    best = losses.index(min(losses))
    assert best > 0 and len(losses) == best + 3 < 30  # two validations did not improve it
    assert trainer.state.best_metric == min(losses)
    batches.clear()
    assert trainer.model is stopped and trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-5)
    sampler = HybridBatchSampler(english.table, 6, strategy="x-x-mono")
    assert batches == [[english.table[number] for number in rows] for rows in sampler]


def test_bfloat16_is_near_float32_and_leaves_the_weights_in_float32(corpus: ParallelCorpus, tmp_path: Path) -> None:
    bert = tiny_bert(tmp_path)
    half, full = (
        weights(quick(bert, corpus, learning_rate=1e-3, precision=precision)) for precision in ("bfloat16", "float32")
    )
    assert {value.dtype for value in half.values() if value.is_floating_point()} == {torch.float32}
    assert not same(half, full)
    for name in full:
        # These are five steps of at most 1e-3, each way.
        torch.testing.assert_close(half[name], full[name], rtol=0, atol=5 * 2e-3)


def test_training_on_hard_negatives_is_another_training(static: SentenceTransformer, corpus: ParallelCorpus) -> None:
    assert not same(weights(quick(static, with_negatives(corpus))), weights(quick(static, corpus)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Encoders are made before processes know of each other, since then only the first would save files.
    encoders = {name: first_encoder(name) for name in RUNS}
    batches = record_batches(pytest.MonkeyPatch())
    trained: dict[str, Any] = {name: train(name, encoder) for name, encoder in encoders.items()}
    try:
        quick(encoders["static"], tiny_corpus(), batch_size=5)
    except ValueError as error:
        trained["refused"] = str(error)
    folder = Path(sys.argv[1])
    with interrupted_at(8):
        train("static", encoders["static"], checkpoints=folder / "checkpoints", save_every=6)
    if torch.distributed.get_rank() == 0:
        shutil.copytree(folder / "checkpoints", folder / "broken off")
    torch.distributed.barrier()
    trained["resumed"] = train("static", encoders["static"], checkpoints=folder / "checkpoints", save_every=6)
    trained |= {"folder": str(folder), "shares": [len(rows) // 2 for rows in batches]}
    torch.save(trained, folder / f"{torch.distributed.get_rank()}.pt")
