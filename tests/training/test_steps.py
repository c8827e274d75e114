"""A step makes one gradient of the embedding, and seldom waits for the device. Both are counted."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from test_fine_tune import quick
from tiny_bert import tiny_bert
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import hybridlib.encoder.tokens
import hybridlib.loss.module
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.loss import InfoNCE
from hybridlib.training.fine_tune import _arguments, _Trainer
from hybridlib.training.settings import Training
from hybridlib.training.watch import Watch

pytestmark = pytest.mark.usefixtures("quickly")

# A device is waited for by whoever asks for a value that it has.
WAITS = {"item", "tolist", "cpu", "numpy", "nonzero", "unique", "equal", "__bool__", "__int__", "__float__"}


@pytest.fixture
def bert(tmp_path: Path) -> SentenceTransformer:
    return tiny_bert(tmp_path)


class Waits(TorchFunctionMode):
    """The calls by which Python asks for values."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_function__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        self.calls[name] += name in WAITS
        return function(*given, **(named or {}))


class Operators(TorchDispatchMode):
    """The operators of a step, and how many rows each gradient of an embedding has."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.rows: list[int] = []

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        made = function(*given, **(named or {}))
        self.calls[function.name()] += 1
        if function is torch.ops.aten.embedding_dense_backward.default:
            self.rows.append(len(made))
        return made


def steps_seen(mode: Any, patch: pytest.MonkeyPatch) -> list[Any]:
    """Keep what a mode sees of each step, from the time when its batch is on the device until `Watch` is done."""
    seen: list[Any] = []
    train, end = _Trainer.training_step, Watch.on_step_end

    def begin_step(self: Any, *given: Any, **named: Any) -> Tensor:
        seen.append(mode().__enter__())
        return train(self, *given, **named)

    def end_step(self: Any, *given: Any, **named: Any) -> None:
        end(self, *given, **named)
        seen[-1].__exit__(None, None, None)

    patch.setattr(_Trainer, "training_step", begin_step)
    patch.setattr(Watch, "on_step_end", end_step)
    return seen


def test_a_step_makes_one_gradient_of_the_embedding_however_many_groups_a_batch_has(
    bert: SentenceTransformer, corpus: ParallelCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = steps_seen(Operators, monkeypatch)
    quick(bert, corpus, batch_size=20, steps=3, learning_rate=1e-4)
    config = bert[0].auto_model.config
    for step in seen:
        # 40 texts are five groups, and each has gradients of the positions and the types of its tokens.
        assert Counter(step.rows) == {
            config.vocab_size: 1,
            config.max_position_embeddings: 5,
            config.type_vocab_size: 5,
        }


@pytest.mark.parametrize("groups", [1, 5])
def test_losses_and_weights_after_some_steps_are_those_of_columns_embedded_whole(
    bert: SentenceTransformer, corpus: ParallelCorpus, monkeypatch: pytest.MonkeyPatch, groups: int
) -> None:
    rows = corpus.table.select(range(20))
    columns = [bert.preprocess(rows[name], prompt=p) for name, p in (("query", "ask: "), ("passage", "t: "))]
    monkeypatch.setattr(hybridlib.encoder.tokens, "number_of_groups", lambda masks: groups)

    def train(embed: Any) -> list[Tensor]:
        monkeypatch.setattr(hybridlib.loss.module, "embed", embed)
        encoder = copy.deepcopy(bert).double().train()
        loss, losses = InfoNCE(encoder), []
        optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-3, weight_decay=0.1)
        for _ in range(5):
            losses.append(loss([dict(column) for column in columns], torch.tensor(rows["passage_group"])))
            losses[-1].backward()
            optimizer.step()
            optimizer.zero_grad()
        return [one.detach() for one in (*losses, *encoder.parameters())]

    whole = train(lambda model, columns: [model(column)["sentence_embedding"] for column in columns])
    for ours, theirs in zip(train(hybridlib.encoder.tokens.embed), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)  # float64 in another order of summation
    assert whole[4] < whole[0]


def test_a_step_on_a_gpu_is_launched_without_a_wait_except_for_those_of_transformers(
    bert: SentenceTransformer, corpus: ParallelCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hybridlib.encoder.tokens, "number_of_groups", lambda masks: 1)  # as on a GPU
    seen = steps_seen(Waits, monkeypatch)
    quick(bert, corpus, batch_size=20, steps=6, learning_rate=1e-4)
    # transformers asks once a pass whether the mask hides anything. The step before is judged, whose values are there;
    # the last is judged at once. The loss asks for groups after 1, 2 and 4 batches, of all since it last did.
    asked = {1: 1, 2: 1, 4: 2}
    for number, step in enumerate(seen, start=1):
        judged = (number > 1) + (number == 6)
        assert +step.calls == +Counter(__bool__=1, tolist=judged, __int__=asked.get(number, 0))


def test_a_batch_is_sent_to_a_gpu_without_a_wait_and_the_optimizer_is_a_fused_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        made = _arguments(tmp_path, Training(), keep=False, validated=False)
        assert made.accelerator_config.non_blocking is there
        assert made.optim == "adamw_torch_fused"
