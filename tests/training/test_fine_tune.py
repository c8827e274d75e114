"""Fine-tuning: the pairs, the arguments' way to where they act, and that processes and interruptions change nothing.

Run as a script, by `torch.distributed.run`, it trains in several processes and saves the weights.
"""

import contextlib
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
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from tiny_bert import tiny_bert
from torch import Tensor

import hybridlib.training.fine_tune
from hybridlib.data.corpus import ParallelCorpus
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
    """Items in three made-up languages; the first two of every three are questions on one passage."""
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    rows = []
    for item in range(ITEMS):
        group = item - item % 3 + item % 3 // 2
        for number, language in enumerate(LANGUAGES):
            names = ["".join(rng.choice(syllables, 2)) for _ in range(2)]
            rows.append(
                {
                    "item": item,
                    "language": language,
                    "query": f"{language} {names[0]}{item}?",
                    "passage": f"{names[0]}{group} {names[1]}{number}.",
                    "passage_group": group,
                    "domain": "tiny",
                    "dataset": "tiny",
                }
            )
    return ParallelCorpus.from_frame(pd.DataFrame(rows), LANGUAGES)


def weights(encoder: SentenceTransformer) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in encoder.state_dict().items()}


# What is trained in one process and in two: 11 steps of 6 pairs, where an epoch has 4 such batches. Under `cached` each
# process has 3 pairs, which mini batches of 2 do not divide.
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
    """Fine-tune with settings and further arguments, told apart by their names."""
    settings = {"batch_size": 6, "steps": 5} | {n: v for n, v in arguments.items() if n in Training.model_fields}
    further = {name: value for name, value in arguments.items() if name not in settings}
    return fine_tune(encoder, corpus, Training(**settings), **{"progress": False, **further})


class Interruption(Exception):
    """Comes in the middle of training."""


@contextlib.contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """Training is broken off when a step begins."""

    class Interrupted(hybridlib.training.fine_tune._TellEpoch):
        def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if state.global_step == step:
                raise Interruption

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybridlib.training.fine_tune, "_TellEpoch", Interrupted)
        with contextlib.suppress(Interruption):
            yield


def train(name: str, encoder: SentenceTransformer, **further: Any) -> dict[str, Tensor]:
    return weights(quick(encoder, tiny_corpus(), **{"steps": 11, **RUNS[name], **further}))


def count_pairs() -> list[int]:
    """From now on, the pairs of every batch that this process trains on."""
    shares: list[int] = []

    class Counting(ParallelCollator):
        def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
            shares.append(len(features) // 2)
            return super().__call__(features)

    hybridlib.training.fine_tune.ParallelCollator = Counting  # type: ignore[misc]
    return shares


@pytest.fixture(scope="module")
def corpus() -> ParallelCorpus:
    return tiny_corpus()


@pytest.fixture(scope="module")
def static(corpus: ParallelCorpus) -> SentenceTransformer:
    return load_encoder("static", corpus=corpus)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, Any]]]:
    """The rows of every batch that is trained on."""
    seen: list[list[dict[str, Any]]] = []

    class Recording(ParallelCollator):
        def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
            seen.append(features)
            return super().__call__(features)

    monkeypatch.setattr(hybridlib.training.fine_tune, "ParallelCollator", Recording)
    return seen


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[SentenceTransformerTrainer]:
    """The trainers that `fine_tune` makes."""
    made: list[SentenceTransformerTrainer] = []

    class Recorded(hybridlib.training.fine_tune._Trainer):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            made.append(self)

    monkeypatch.setattr(hybridlib.training.fine_tune, "_Trainer", Recorded)
    return made


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def differ(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return any(not torch.equal(ours[name], theirs[name]) for name in ours)


# The collator.


def preprocess_nothing(inputs: list[str], prompt: str | None = None, task: str | None = None) -> dict[str, Any]:
    return {"input_ids": [f"{prompt or ''}{text}" for text in inputs]}


def row(item: int, language: str, group: int) -> dict[str, Any]:
    return {
        "item": item,
        "language": language,
        "query": f"q{item}{language}",
        "passage": f"p{item}{language}",
        "passage_group": group,
    }


def test_even_rows_give_the_query_and_odd_rows_the_passage_and_its_group() -> None:
    collator = ParallelCollator(preprocess_nothing, prompts={"query": "ask ", "passage": "tell "})
    batch = collator([row(4, "en", 9), row(4, "sw", 9), row(1, "yo", 7), row(1, "yo", 7)])
    assert list(batch) == ["label", "query_input_ids", "passage_input_ids"]  # the loss takes columns in this order
    assert batch["query_input_ids"] == ["ask q4en", "ask q1yo"]
    assert batch["passage_input_ids"] == ["tell p4sw", "tell p1yo"]
    assert batch["label"].tolist() == [9, 7]


def test_the_pairs_are_those_that_the_sampler_drew(corpus: ParallelCorpus) -> None:
    sampler = HybridBatchSampler(corpus.table, 7, strategy="x-y")
    item, a, b = sampler.draw(2)
    table = corpus.table.to_pandas().set_index(["item", "language"])
    batch = ParallelCollator(preprocess_nothing)([corpus.table[number] for number in sampler.batch(2)])
    codes = np.array(LANGUAGES)
    assert batch["query_input_ids"] == table["query"].loc[list(zip(item, codes[a], strict=True))].tolist()
    assert batch["passage_input_ids"] == table["passage"].loc[list(zip(item, codes[b], strict=True))].tolist()
    assert batch["label"].tolist() == table["passage_group"].loc[list(zip(item, codes[b], strict=True))].tolist()


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
    with pytest.raises(
        ValueError, match="not pairs of a query's row and its passage's; the batch sampler must be a Hyb"
    ):
        ParallelCollator(preprocess_nothing)(rows)


def test_a_trainer_that_was_given_another_batch_sampler_stops_instead_of_training_on_nonsense(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    arguments = SentenceTransformerTrainingArguments(
        str(tmp_path), max_steps=1, report_to="none", disable_tqdm=True, dataloader_pin_memory=False
    )
    trainer = SentenceTransformerTrainer(
        static,
        arguments,
        corpus.table,
        loss=InfoNCE(static),
        data_collator=ParallelCollator(static.preprocess),
    )
    with pytest.raises(ValueError, match="the batch sampler must be a HybridBatchSampler"):
        trainer.train()


# What fine-tuning does.


def test_fine_tuning_learns(static: SentenceTransformer, corpus: ParallelCorpus) -> None:
    table = corpus.table.to_pandas()
    query, passage = table[table.language == "en"], table[table.language == "sw"]
    features = [static.preprocess(query["query"].tolist()), static.preprocess(passage["passage"].tolist())]
    groups = torch.tensor(passage["passage_group"].to_numpy())

    def loss_and_recall(encoder: SentenceTransformer) -> tuple[float, float]:
        ranked = (
            encoder.encode_query(query["query"].tolist(), normalize_embeddings=True)
            @ encoder.encode_document(passage["passage"].tolist(), normalize_embeddings=True).T
        )
        found = groups[torch.from_numpy(ranked).argmax(dim=1)] == groups
        loss = InfoNCE(encoder)([dict(column) for column in features], groups)
        return loss.item(), found.float().mean().item()

    loss, recall = loss_and_recall(static)
    trained_loss, trained_recall = loss_and_recall(quick(static, corpus, strategy="x-y", steps=60))
    assert recall < 0.5 and trained_recall > 0.85
    assert trained_loss < loss / 4


def test_the_encoder_that_is_given_stays_as_it_is(static: SentenceTransformer, corpus: ParallelCorpus) -> None:
    before = weights(static)
    static.train()
    try:
        trained = quick(static, corpus)
        assert static.training and not trained.training
    finally:
        static.eval()
    assert_equal(weights(static), before)
    assert differ(weights(trained), before)


def test_the_same_arguments_give_the_same_weights_to_the_bit_dropout_included(
    corpus: ParallelCorpus, tmp_path: Path
) -> None:
    bert = tiny_bert(tmp_path, dropout=0.2)
    first = weights(quick(bert, corpus, seed=3))
    torch.manual_seed(99)  # what was drawn before must not matter
    assert_equal(weights(quick(bert, corpus, seed=3)), first)
    assert differ(weights(quick(bert, corpus, seed=4)), first)


def test_nothing_is_printed_without_progress(
    static: SentenceTransformer, corpus: ParallelCorpus, capfd: pytest.CaptureFixture[str]
) -> None:
    quick(static, corpus, progress=False)
    assert capfd.readouterr() == ("", "")
    quick(static, corpus, progress=True)
    assert "5/5" in capfd.readouterr().err


def test_a_transformer_is_saved_with_the_trainers_own_card_which_is_made_quietly_and_without_the_network(
    corpus: ParallelCorpus, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentence_transformers.base.model_card.get_model_info", None)  # None cannot be called
    monkeypatch.setattr("sentence_transformers.base.model_card.get_dataset_info", None)
    bert = tiny_bert(tmp_path / "bert")
    capfd.readouterr()
    trained = quick(bert, corpus, steps=1)
    assert capfd.readouterr() == ("", "")
    trained.save_pretrained(str(tmp_path / "saved"))
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    assert "generated_from_trainer" in card and "InfoNCE" in card and f"dataset_size:{len(corpus.table)}" in card


def test_no_folder_is_left_behind(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    quick(static, corpus)
    assert list(tmp_path.iterdir()) == []


# What is handed on.


@pytest.mark.parametrize(("strategy", "alpha"), [("x-x-mono", 0.5), ("x-y", 0.5), ("hybrid", 0.0), ("hybrid", 1.0)])
def test_batches_are_those_of_the_strategy_and_alpha(
    static: SentenceTransformer, corpus: ParallelCorpus, batches: list, strategy: str, alpha: float
) -> None:
    quick(static, corpus, strategy=strategy, alpha=alpha)
    monolingual = strategy == "x-x-mono" or alpha == 1
    for rows in batches:
        assert len(rows) == 12
        assert len({(r["item"]) for r in rows}) == 6
        for q, p in zip(rows[::2], rows[1::2], strict=True):
            assert q["item"] == p["item"] and (q["language"] == p["language"]) == monolingual
        assert (len({r["language"] for r in rows}) == 1) == monolingual


def test_a_hybrid_of_a_half_has_batches_of_both_kinds(
    static: SentenceTransformer, corpus: ParallelCorpus, batches: list
) -> None:
    quick(static, corpus, strategy="hybrid", alpha=0.5, steps=20)
    kinds = [rows[0]["language"] == rows[1]["language"] for rows in batches]
    assert 3 <= sum(kinds) <= 17  # 20 throws of a coin: outside of it in 4 of 10,000


def test_the_sampler_is_given_every_argument_of_its_own(
    static: SentenceTransformer, corpus: ParallelCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Recorded(HybridBatchSampler):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            made.append((self, named))

    monkeypatch.setattr(hybridlib.training.fine_tune, "HybridBatchSampler", Recorded)
    quick(static, corpus, alpha=0.25, language_temperature=2.0, dataset_temperature=3.0, seed=8)
    ((sampler, named),) = made
    assert (sampler.strategy, sampler.alpha, sampler.pairs, sampler.seed) == ("hybrid", 0.25, 6, 8)
    assert (named["language_temperature"], named["dataset_temperature"]) == (2.0, 3.0)


def test_the_loss_and_the_optimizer_are_given_every_argument_of_theirs(
    corpus: ParallelCorpus, tmp_path: Path, trainers: list[SentenceTransformerTrainer]
) -> None:
    quick(
        tiny_bert(tmp_path),
        corpus,
        temperature=0.2,
        symmetric=True,
        mini_batch_size=4,
        learning_rate=0.004,
        weight_decay=0.3,
        steps=3,
    )
    (trainer,) = trainers
    assert trainer.loss.get_config_dict() == {
        "temperature": 0.2,
        "symmetric": True,
        "mini_batch_size": 4,
        "gather_across_devices": False,
    }
    assert isinstance(trainer.optimizer.optimizer, torch.optim.AdamW)
    assert {group["weight_decay"] for group in trainer.optimizer.param_groups} == {
        0.3,
        0.0,
    }  # none for norms and biases
    assert {group["initial_lr"] for group in trainer.optimizer.param_groups} == {0.004}
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {0.0}  # after the last step
    assert trainer.state.global_step == 3


def test_training_uses_the_prompts_that_evaluation_uses(
    static: SentenceTransformer, corpus: ParallelCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[str | None, list[str]]] = []
    original = static[0].preprocess

    def spy(inputs: list[str], prompt: str | None = None, **rest: Any) -> dict[str, Tensor]:
        used.append((prompt, list(inputs)))
        return original(inputs, prompt=prompt, **rest)

    monkeypatch.setattr(static[0], "preprocess", spy)
    monkeypatch.setattr(static, "prompts", {"query": "ask: ", "document": "tell: ", "other": "no: "})
    quick(static, corpus, steps=1)
    static.encode_query(["q"]), static.encode_document(["p"])
    queries, passages = set(corpus.table["query"]), set(corpus.table["passage"])
    assert [prompt for prompt, _ in used[:2]] == ["ask: ", "tell: "]
    assert set(used[0][1]) <= queries and set(used[1][1]) <= passages
    assert [prompt for prompt, _ in used[-2:]] == ["ask: ", "tell: "]


def test_no_prompt_is_added_to_an_encoder_that_has_none(
    static: SentenceTransformer, corpus: ParallelCorpus, trainers: list[SentenceTransformerTrainer]
) -> None:
    assert not any(static.prompts.values())
    quick(static, corpus, steps=1)
    assert trainers[0].data_collator.prompts == {}


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 24}, "batch_size is 24, but a monolingual batch of dataset 'tiny' cannot be filled"),
        ({"mini_batch_size": 2}, "mini_batch_size must be None for a StaticEmbedding, whose batches cannot be cut"),
    ],
)
def test_arguments_out_of_range_are_refused(
    static: SentenceTransformer, corpus: ParallelCorpus, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        quick(static, corpus, **arguments)


# Processes, GPUs and interruptions.


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes trained."""
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
    assert_equal(first[name], second[name])
    start = first_encoder(name)
    before, alone = weights(start), train(name, start)
    for parameter, value in alone.items():
        # The gradient by a bias of attention's keys is 0 but for rounding, of which Adam makes steps of full length.
        if "key.bias" not in parameter:
            # Rounding again, where a gradient happens to be almost 0; steps are of 0.01 and 0.001.
            torch.testing.assert_close(first[name][parameter], value, rtol=0, atol=5e-4)
    moved = max((alone[parameter] - before[parameter]).abs().max().item() for parameter in alone)
    assert moved > 4e-3


def test_every_process_takes_its_share_of_each_batch(of_two_processes: list[dict[str, Any]]) -> None:
    for process in of_two_processes:
        # One batch is fetched ahead.
        assert set(process["shares"]) == {3, 8} and process["shares"].count(3) >= 22


def test_two_processes_resume_in_a_later_epoch_as_if_never_interrupted(of_two_processes: list[dict[str, Any]]) -> None:
    for process in of_two_processes:
        assert_equal(process["resumed"], process["static"])


def test_a_checkpoint_of_two_processes_is_taken_up_by_one(
    of_two_processes: list[dict[str, Any]], tmp_path: Path, batches: list
) -> None:
    (folder,) = {process["folder"] for process in of_two_processes}
    shutil.copytree(Path(folder) / "broken off", tmp_path / "broken off")
    start = first_encoder("static")
    resumed = train("static", start, checkpoints=tmp_path / "broken off", save_every=6)
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
    drawn = [[r["item"] for r in rows] for rows in batches]
    assert drawn[4:8] != drawn[:4]  # of an epoch of 4, or it would not matter whether the epoch is told
    saved: dict[str, Any] = {"steps": 10, "checkpoints": tmp_path / "kept", "save_every": 3}
    with interrupted_at(8):
        quick(bert, corpus, **saved)
    batches.clear()
    assert_equal(weights(quick(bert, corpus, **saved)), whole)
    assert [[r["item"] for r in rows] for rows in batches][:4] == drawn[6:10]
    batches.clear()
    assert_equal(weights(quick(bert, corpus, **saved)), whole)  # once more: nothing is left to train
    assert len(batches) <= 2  # fetched by a trainer that finds that it has nothing to do


@pytest.mark.parametrize(
    ("other", "message"),
    [({"alpha": 0.4}, "alpha is 0.5 there and 0.4 here"), ({"seed": 1}, "seed is 0 there and 1 here")],
)
def test_checkpoints_of_another_training_are_refused(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    quick(static, corpus, checkpoints=tmp_path, save_every=2)
    with pytest.raises(ValueError, match=rf"{tmp_path} was made from something else: {message}"):
        quick(static, corpus, checkpoints=tmp_path, **{"save_every": 2, **other})
    with pytest.raises(ValueError, match="items is 23 there and 12 here"):
        quick(static, corpus.compose({"tiny": 12}), checkpoints=tmp_path, save_every=2)


# Early stopping, precision, hard negatives.


def english(corpus: ParallelCorpus) -> ParallelCorpus:
    return ParallelCorpus.from_frame(corpus.table.to_pandas(), ["en"])


def test_training_stops_when_validation_no_longer_improves_and_gives_the_best_back(
    static: SentenceTransformer, corpus: ParallelCorpus, trainers: list[SentenceTransformerTrainer]
) -> None:
    validation: dict[str, Any] = {"validation": english(corpus), "validate_every": 2, "patience": 2}
    # A rate that is much too high makes it worse after a while.
    stopped = quick(static, corpus, strategy="x-y", steps=60, learning_rate=2.0, **validation)
    losses = [entry["eval_loss"] for entry in trainers[0].state.log_history if "eval_loss" in entry]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 30  # the best, and two without improvement
    # The learning rate falls from step to step, in proportion to all steps; so the best is trained again by an
    # interruption behind it.
    assert trainers[0].state.best_metric == min(losses)
    with torch.no_grad():
        sampler = HybridBatchSampler(english(corpus).table, 6, strategy="x-x-mono")
        rows = [[english(corpus).table[number] for number in sampler.batch(place)] for place in range(len(sampler))]
        batch = [ParallelCollator(stopped.preprocess)(one) for one in rows]
        again = [
            InfoNCE(stopped)([columns_of(one, "query"), columns_of(one, "passage")], one["label"]) for one in batch
        ]
    assert torch.stack(again).mean().item() == pytest.approx(min(losses), rel=1e-5)


def columns_of(batch: dict[str, Any], name: str) -> dict[str, Any]:
    return {key.removeprefix(name + "_"): value for key, value in batch.items() if key.startswith(name + "_")}


def test_bfloat16_is_near_float32_and_leaves_the_weights_in_float32(corpus: ParallelCorpus, tmp_path: Path) -> None:
    bert = tiny_bert(tmp_path)
    half, full = (
        weights(quick(bert, corpus, learning_rate=1e-3, precision=precision)) for precision in ("bfloat16", "float32")
    )
    assert {value.dtype for value in half.values() if value.is_floating_point()} == {torch.float32}
    assert differ(half, full)
    for name in full:
        torch.testing.assert_close(
            half[name], full[name], rtol=0, atol=5 * 2e-3
        )  # five steps of at most 1e-3, each way


def with_negatives(corpus: ParallelCorpus) -> ParallelCorpus:
    frame = corpus.table.to_pandas()
    frame["negative"] = "not " + frame["passage"]
    frame["negative_group"] = frame["passage_group"] + 1
    return ParallelCorpus(datasets.Dataset.from_pandas(frame))


def test_a_hard_negative_is_that_of_the_passages_row_and_its_group_is_told(corpus: ParallelCorpus) -> None:
    rows = [row(4, "en", 9), row(4, "sw", 9), row(1, "yo", 7), row(1, "yo", 7)]
    for one in rows:
        one |= {"negative": f"n{one['item']}{one['language']}", "negative_group": one["passage_group"] + 1}
    batch = ParallelCollator(preprocess_nothing, prompts={"negative": "tell "})(rows)
    assert list(batch) == ["label", "query_input_ids", "passage_input_ids", "negative_input_ids"]
    assert batch["negative_input_ids"] == ["tell n4sw", "tell n1yo"]
    assert batch["label"].tolist() == [[9, 10], [7, 8]]


def test_training_on_hard_negatives_is_another_training(static: SentenceTransformer, corpus: ParallelCorpus) -> None:
    assert differ(weights(quick(static, with_negatives(corpus))), weights(quick(static, corpus)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Made before processes know of each other, since then only the first would save files.
    encoders = {name: first_encoder(name) for name in RUNS}
    shares = count_pairs()
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
    trained["folder"] = str(folder)
    torch.save({**trained, "shares": shares}, Path(sys.argv[1]) / f"{torch.distributed.get_rank()}.pt")
