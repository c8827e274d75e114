"""What goes wrong in a training is said at once, and nothing of it is kept."""

import copy
import logging
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from test_fine_tune import interrupted_at, quick, same, weights, with_negatives
from tiny_bert import tiny_bert
from torch import Tensor

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.training.fine_tune import fine_tune
from hybridlib.training.settings import Training
from hybridlib.training.starts import load_encoder
from hybridlib.training.watch import Watch

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.fixture
def bert(tmp_path: Path) -> SentenceTransformer:
    return tiny_bert(tmp_path / "bert")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# What diverges.


@pytest.mark.parametrize("kind", ["static", "bert", "cached", "bfloat16"])
@pytest.mark.parametrize(
    ("setting", "step"),
    [
        ({"temperature": 1e-40}, 1),
        ({"learning_rate": 1e30}, 1),
        ({"weight_decay": 1e30}, 1),
        ({"weight_decay": 1e9}, 3),
    ],
)
def test_a_training_that_diverges_is_refused_at_its_step_and_nothing_of_it_is_kept(
    static: SentenceTransformer,
    bert: SentenceTransformer,
    corpus: ParallelCorpus,
    tmp_path: Path,
    kind: str,
    setting: dict[str, float],
    step: int,
) -> None:
    further = {"cached": {"mini_batch_size": 4}, "bfloat16": {"precision": "bfloat16"}}.get(kind, {})
    kept: dict[str, Any] = {"checkpoints": tmp_path / "kept", "save_every": 1}
    message = r"^training diverges at step (\d): the loss is .* and the norm of the weights .*\. learning_rate is "
    with pytest.raises(ValueError, match=message) as raised:
        quick(static if kind == "static" else bert, corpus, **setting, **further, **kept)
    # A weight decay of 1e9 multiplies the weights by 1e7 and less a step: the third has squares beyond 1e38.
    assert int(str(raised.value).split("step ")[1][0]) <= step
    for folder in (tmp_path / "kept").glob("checkpoint-*"):
        saved = SentenceTransformer(str(folder), device="cpu").state_dict()
        assert all(bool(value.isfinite().all()) for value in saved.values())
    for name in ("learning_rate", "weight_decay", "temperature"):
        assert name in str(raised.value)


@pytest.mark.parametrize("step", [1, 4, 6])
@pytest.mark.parametrize(
    ("kept", "seen"),
    [
        ({}, {1: 2, 4: 5, 6: 6}),  # when the next step has been made, or at the end
        ({"save_every": 1}, {1: 1, 4: 4, 6: 6}),
        ({"save_every": 2}, {1: 2, 4: 4, 6: 6}),
        ({"validate_every": 4}, {1: 2, 4: 4, 6: 6}),
    ],
)
def test_a_step_is_judged_before_its_weights_are_used_and_otherwise_after_the_next(
    static: SentenceTransformer,
    corpus: ParallelCorpus,
    tmp_path: Path,
    trainers: list[SentenceTransformerTrainer],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    kept: dict[str, int],
    seen: dict[int, int],
) -> None:
    losses: list[Tensor] = []
    make = SentenceTransformerTrainer.training_step

    def diverge(self: Any, *given: Any, **named: Any) -> Tensor:
        losses.append(make(self, *given, **named))
        return losses[-1] * torch.nan if len(losses) == step else losses[-1]

    monkeypatch.setattr(SentenceTransformerTrainer, "training_step", diverge)
    given: dict[str, Any] = {"checkpoints": tmp_path, **kept} if "save_every" in kept else kept
    given |= {"validation": corpus} if "validate_every" in kept else {}
    with pytest.raises(ValueError, match=f"^training diverges at step {step}: the loss is nan and the norm of the we"):
        quick(static, corpus, steps=6, **given)
    assert len(losses) == seen[step]
    assert all(int(folder.name[11:]) < step for folder in tmp_path.glob("checkpoint-*"))
    assert not any("eval_loss" in entry for entry in trainers[0].state.log_history if entry["step"] >= step)


def test_a_validation_whose_loss_is_not_finite_is_refused(
    static: SentenceTransformer, corpus: ParallelCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(Training())
    state = type("State", (), {"global_step": 7})
    with pytest.raises(ValueError, match="training diverges at step 7: the loss of the validation is nan"):
        watch.on_evaluate(None, state, None, metrics={"eval_loss": float("nan")})
    watch.on_evaluate(None, state, None, metrics={"eval_loss": 0.5})


def test_weights_that_are_not_finite_to_begin_with_are_refused(
    static: SentenceTransformer, corpus: ParallelCorpus
) -> None:
    broken = copy.deepcopy(static)
    with torch.no_grad():
        broken[0].embedding.weight.fill_(np.nan)
    with pytest.raises(ValueError, match="training diverges at step 1: the loss is nan"):
        quick(broken, corpus)


# What teaches nothing.


def of_one_group(corpus: ParallelCorpus) -> ParallelCorpus:
    return ParallelCorpus.from_frame(corpus.table.to_pandas().assign(passage_group=4), corpus.languages)


@pytest.mark.parametrize(
    ("groups", "settings", "warned"),
    [
        ("one", {}, True),
        ("one", {"mask": False}, False),
        ("own", {"temperature": 1e30}, True),
        ("own", {}, False),
    ],
)
def test_a_first_batch_that_teaches_nothing_is_said(
    static: SentenceTransformer,
    corpus: ParallelCorpus,
    caplog: pytest.LogCaptureFixture,
    groups: str,
    settings: dict[str, Any],
    warned: bool,
) -> None:
    quick(static, of_one_group(corpus) if groups == "one" else corpus, steps=2, **settings)
    found = [message for message in said(caplog) if message.startswith("the first batch teaches nothing: its loss is ")]
    assert len(found) == warned  # the loss itself says where a batch has no negative


def test_a_pair_alone_is_no_batch_unless_it_has_a_hard_negative(
    static: SentenceTransformer, corpus: ParallelCorpus
) -> None:
    with pytest.raises(ValueError, match=r"^batch_size is 1; allowed: 2 or more, since a pair alone has no negative$"):
        quick(static, corpus, batch_size=1)
    assert not same(weights(quick(static, with_negatives(corpus), batch_size=1)), weights(static))


# What is said at the start.


def test_texts_that_are_cut_are_said_with_their_share(
    bert: SentenceTransformer, corpus: ParallelCorpus, caplog: pytest.LogCaptureFixture
) -> None:
    frame = corpus.table.to_pandas()
    # Every fourth passage has more than the 64 letters that are read: 18 of 69. Missing items have none.
    frame["passage"] = [text + "a" * 64 * (row % 4 == 1) for row, text in enumerate(frame["passage"])]
    quick(bert, ParallelCorpus.from_frame(frame, corpus.languages), learning_rate=1e-4, steps=1)
    assert said(caplog) == ["24.6 % of the passages are longer than max_length 64, and the rest of each is not read"]
    caplog.clear()
    gaps = ParallelCorpus.from_frame(frame[frame["passage"].str.len() > 64], corpus.languages)  # all that there are
    quick(bert, gaps, strategy="x-x-mono", batch_size=2, learning_rate=1e-4, steps=1)
    assert said(caplog)[0].startswith("100.0 % of the passages")


def test_a_static_encoder_with_a_maximum_length_says_what_it_cuts_and_another_nothing(
    static: SentenceTransformer, corpus: ParallelCorpus, caplog: pytest.LogCaptureFixture
) -> None:
    quick(static, corpus, steps=1)
    assert said(caplog) == []
    quick(load_encoder("static", corpus=corpus, max_length=1), corpus, steps=1)
    assert said(caplog) == [
        f"100.0 % of the {many} are longer than max_length 1, and the rest of each is not read"
        for many in ("queries", "passages")
    ]


def test_a_learning_rate_for_static_encoders_is_said_where_there_is_a_transformer(
    bert: SentenceTransformer, corpus: ParallelCorpus, caplog: pytest.LogCaptureFixture
) -> None:
    quick(bert, corpus, steps=1)
    assert said(caplog) == [
        "learning_rate is 0.01, which suits static encoders alone; with a transformer, 1e-5 to 1e-4 is usual"
    ]


def test_nothing_is_said_of_special_tokens_and_the_given_encoder_keeps_its_own(
    bert: SentenceTransformer, corpus: ParallelCorpus, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    bert.tokenizer.add_special_tokens({"eos_token": "z", "bos_token": "y"})
    own = bert.config.eos_token_id, bert.config.bos_token_id
    trained = quick(bert, corpus, steps=1, learning_rate=1e-4)
    assert said(caplog) == []
    tokens = bert.tokenizer.convert_tokens_to_ids(["z", "y"])
    assert [trained.config.eos_token_id, trained.config.bos_token_id] == tokens
    assert (bert.config.eos_token_id, bert.config.bos_token_id) == own != tuple(tokens)


# What is given.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoder": "static"}, "encoder is 'static'; allowed: .*SentenceTransformer, as made by load_encoder"),
        ({"encoder": None}, "encoder is None; allowed: .*load_encoder"),
        ({"corpus": "atlas"}, "corpus is 'atlas'; allowed: .*ParallelCorpus, as made by load_corpus"),
        ({"corpus": pd.DataFrame({"a": [1]})}, r"corpus is a table of shape \(1, 1\); allowed: .*from_frame"),
        ({"settings": {"steps": -3}}, "settings.steps is -3; allowed: greater than or equal to 0"),
        ({"settings": {"step": 3}}, "unknown key 'settings.step'; allowed: strategy, alpha, batch_size, steps"),
        (
            {"settings": None},
            r"settings is None; allowed: a name and a value for each, as made by Training\(steps=..., ",
        ),
        ({"validation": "atlas"}, "validation is 'atlas'; allowed: .*load_corpus"),
        ({"settings": "hybrid"}, r"settings is 'hybrid'; allowed: .*Training\("),
        ({"checkpoints": ""}, "checkpoints is ''; allowed: the path of a file or a folder"),
        ({"checkpoints": 3}, "checkpoints is 3; allowed: the path"),
        ({"checkpoints": __file__}, "checkpoints is .*, but .*test_watch.py is a file; allowed: the path of a folder"),
        ({"checkpoints": f"{__file__}/x"}, "checkpoints is .*/x, but .*test_watch.py is a file; allowed: the path"),
        ({"progress": "no"}, "progress is 'no'; allowed: True or False"),
    ],
)
def test_an_argument_of_another_type_is_refused_by_its_name(
    static: SentenceTransformer, corpus: ParallelCorpus, given: dict[str, Any], message: str
) -> None:
    right: dict[str, Any] = {"encoder": static, "corpus": corpus, "settings": Training(steps=1, batch_size=6)}
    with pytest.raises(ValueError, match=f"^{message}"):
        fine_tune(**right | given)


def test_numbers_of_numpy_and_paths_in_text_are_taken(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    numbers = {"batch_size": np.int64(6), "steps": np.int64(2), "learning_rate": np.float32(0.5), "seed": np.int64(3)}
    ours = fine_tune(static, corpus, Training(**numbers, symmetric=np.False_), checkpoints=str(tmp_path / "kept"))
    assert (tmp_path / "kept/checkpoint-2").is_dir()
    assert same(weights(ours), weights(quick(static, corpus, steps=2, learning_rate=0.5, seed=3)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_trained_and_given_back_in_float32(
    bert: SentenceTransformer, corpus: ParallelCorpus, dtype: torch.dtype
) -> None:
    trained = quick(bert.to(dtype), corpus, learning_rate=1e-4)
    assert {one.dtype for one in trained.parameters()} == {torch.float32}
    assert {one.dtype for one in bert.parameters()} == {dtype}


def test_weights_without_values_are_refused(bert: SentenceTransformer, corpus: ParallelCorpus) -> None:
    with pytest.raises(ValueError, match="encoder is on the device 'meta'"):
        quick(bert.to("meta"), corpus)


@pytest.mark.parametrize("trained", ["none", "unused"])
@pytest.mark.parametrize("mini_batch_size", [None, 4])
def test_an_encoder_without_weights_to_train_is_refused(
    bert: SentenceTransformer, corpus: ParallelCorpus, trained: str, mini_batch_size: int | None
) -> None:
    bert.requires_grad_(False)
    if trained == "unused":
        bert.register_parameter("unused", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(ValueError, match=r"^encoder has no weights to train: requires_grad is False"):
        quick(bert, corpus, mini_batch_size=mini_batch_size)


def test_mini_batches_of_a_static_encoder_are_refused_before_anything_is_read(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^mini_batch_size is 8; allowed: None, since batches of a StaticEmbedding"):
        quick(static, corpus, mini_batch_size=8, checkpoints=tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


# Whose a folder of checkpoints is.


@pytest.mark.parametrize("changed", ["encoder", "prompts", "length", "corpus", "validation", "learning_rate"])
def test_a_folder_of_another_training_is_refused_by_what_differs(
    bert: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path, changed: str
) -> None:
    given: dict[str, Any] = {"corpus": corpus, "validation": corpus, "learning_rate": 1e-4, "steps": 2}
    given |= {"checkpoints": tmp_path / "kept", "progress": False}
    quick(bert, **given)
    first = weights(quick(copy.deepcopy(bert), **given))
    frame = corpus.table.to_pandas()
    again = ParallelCorpus(datasets.Dataset.from_pandas(frame))  # has another fingerprint, and the same content
    assert same(weights(quick(bert, **given | {"corpus": again, "validation": again})), first)
    other = copy.deepcopy(bert)
    if changed == "encoder":
        with torch.no_grad():
            next(other.parameters())[5, 5] += 1e-3
    elif changed == "prompts":
        other.prompts = {**other.prompts, "query": "ask: "}
    elif changed == "length":
        other.max_seq_length = 20
    elif changed == "learning_rate":
        given["learning_rate"] = 1e-5
    else:
        frame.loc[7, "passage"] += "!"
        # A table keeps its fingerprint where a file is replaced.
        table = datasets.Dataset.from_pandas(frame)
        table._fingerprint = corpus.table._fingerprint
        given[changed] = ParallelCorpus(table)
    name = {"length": "max_seq_length"}.get(changed, changed)
    with pytest.raises(
        ValueError, match=f"{tmp_path}/kept was made from something else: {name} is (another|.* there and )"
    ):
        quick(other, **given)


def test_checkpoints_of_which_nothing_says_of_what_they_are_are_refused(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    quick(static, corpus, steps=1, checkpoints=tmp_path)
    (tmp_path / "training.json").unlink()
    with pytest.raises(ValueError, match=f"^{tmp_path} holds 'checkpoint-1' but no training.json, which would say"):
        quick(static, corpus, steps=1, checkpoints=tmp_path)


def test_a_checkpoint_that_was_being_written_when_training_was_killed_is_passed_over(
    static: SentenceTransformer, corpus: ParallelCorpus, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"steps": 12, "save_every": 4, "checkpoints": tmp_path / "kept"}
    whole = weights(quick(static, corpus, **given | {"checkpoints": tmp_path / "whole"}))
    with interrupted_at(9):
        quick(static, corpus, **given)
    kept = tmp_path / "kept"
    shutil.copytree(kept / "checkpoint-8", kept / "checkpoint-10", ignore=lambda *_: ["trainer_state.json"])
    (kept / "checkpoint-10/model.safetensors").write_bytes(b"half")
    shutil.copytree(kept / "checkpoint-10", kept / "checkpoint-11")
    (kept / "checkpoint-11/trainer_state.json").touch()
    assert same(weights(quick(static, corpus, **given)), whole)
