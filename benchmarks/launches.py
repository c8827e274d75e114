"""What a GPU would be asked to do for one encoded batch and one step of training, counted on a CPU.

    PYTHONPATH=. python benchmarks/launches.py

The encoder has 12 layers of 48 dimensions. It has as many weights of word embeddings for each other weight as
multilingual-e5-small has. Weights and texts are random, and attention has no dropout. These are the contenders:

- a further batch of 32 texts of 60 tokens: stock `encode_document` in float32 and with weights in bfloat16, and
  `embed_texts` in both; it is what two batches ask for and one does not;
- a step of training, the third, with 100 pairs in bfloat16: the stock trainer with `MultipleNegativesRankingLoss`, and
  `fine_tune`, from the beginning of one loss to that of the next: forward, backward, optimizer, callbacks.

These are the counts, in which tokenising and collating have no part:

- *operators*: operators of torch that compute or copy; a GPU launches about one kernel for each. On a GPU attention
  and the optimizer may be cut otherwise.
- *waits*: operators that a GPU has to be done with before Python goes on, as the size of what they give or a branch
  depends on numbers: an item, `nonzero`, a list, a copy to the CPU.
- *megabytes*: the sizes of what operators read and write; an embedding reads the rows that it gives.
- *dense_gradients*: gradients of all rows of the word embeddings.

The counts depend on versions, not on the machine. It takes under a minute and writes `benchmarks/launches.json`.
"""

import copy
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from gpu_part import patched
from measuring import keep, show, take_no_arguments, versions
from random_encoder import random_encoder, random_lengths, random_texts
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hybridlib.encoder import tokens
from hybridlib.encoder.embed import embed_texts
from hybridlib.loss import InfoNCE
from hybridlib.training.fine_tune import fine_tune
from hybridlib.training.settings import Training

LAYERS, DIMENSIONS, VOCABULARY = 12, 48, 31_000
TEXTS, TOKENS, PAIRS, STEPS, STEP = 32, 60, 100, 4, 3
COUNTS = ("operators", "waits", "megabytes", "dense_gradients")
# Operators that launch nothing although they give no view, and those whose result Python waits for.
FREE = ("empty", "new_empty", "_unsafe_view", "_reshape_alias", "set_", "is_same_size")
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "is_nonzero")


class Count:
    """Counts of operators, while it is told to count."""

    def __init__(self) -> None:
        self.counting = True
        self.total: Counter[str] = Counter()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Count what runs in this block."""
        with _Methods(self), _Operators(self):
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing in this block."""
        before, self.counting = self.counting, False
        try:
            yield
        finally:
            self.counting = before

    def without(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose operators are not counted."""

        def run(*given: Any, **named: Any) -> Any:
            with self.paused():
                return function(*given, **named)

        return run

    def row(self) -> dict[str, float]:
        return {name: self.total[name] for name in COUNTS} | {"megabytes": round(self.total["megabytes"], 3)}


class _Operators(TorchDispatchMode):
    """A mode that counts operators, also those of the backward pass."""

    def __init__(self, count: Count) -> None:
        super().__init__()
        self.count = count

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # one that is made of others is counted as these
            made = func.decompose(*args, **(kwargs or {}))
        if made is not NotImplemented:
            return made
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        is_view = any(one.alias_info and not one.alias_info.is_write for one in func._schema.returns)
        if self.count.counting and not is_view and not name.startswith(FREE):
            total = self.count.total
            total["operators"] += 1
            total["waits"] += name in WAITS or (name == "index" and has_mask(args))
            given = tree_leaves((args[1:], made) if name == "embedding" else (args, kwargs, made))
            total["megabytes"] += sum(one.nbytes for one in given if isinstance(one, torch.Tensor)) / 1e6
            total["dense_gradients"] += name == "embedding_dense_backward" and args[2] == VOCABULARY
        return made


class _Methods(TorchFunctionMode):
    """A mode that counts what Python waits for, and a CPU's operators do not show."""

    def __init__(self, count: Count) -> None:
        super().__init__()
        self.count = count

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.tolist, torch.Tensor.cpu) and self.count.counting:
            self.count.total["waits"] += 1
        return func(*args, **(kwargs or {}))


def has_mask(args: Any) -> bool:
    """Return whether an index is a mask, whose size has to be known."""
    return any(isinstance(one, torch.Tensor) and one.dtype == torch.bool for one in args[1])


def encoded(run: Callable[[list[str]], Any], encoder: SentenceTransformer, texts: list[str]) -> dict[str, float]:
    """Count what the second of two batches takes."""
    counts = []
    run(texts)  # what a first call does once is not counted
    for given in (texts[:TEXTS], texts):
        counts.append(Count())
        with counts[-1].active(), patched(encoder, preprocess=counts[-1].without(encoder.preprocess)):
            run(given)
    one, two = counts
    two.total.subtract(one.total)
    return two.row()


def cut_as_on_a_gpu() -> AbstractContextManager:
    """Let batches be cut into the groups of a GPU."""
    groups = tokens.number_of_groups
    return patched(tokens, number_of_groups=lambda masks: groups([torch.empty(m.shape, device="meta") for m in masks]))


def trained(train: Callable[[Count], None]) -> dict[str, float]:
    """Count one step."""
    count, seen = Count(), 0
    count.counting = False

    def note(module: torch.nn.Module, given: Any) -> None:
        nonlocal seen
        if isinstance(module, InfoNCE | MultipleNegativesRankingLoss):
            seen += 1
            count.counting = seen == STEP

    with ExitStack() as stack:
        stack.callback(register_module_forward_pre_hook(note).remove)
        stack.enter_context(count.active())
        train(count)
    assert seen == STEPS
    return count.row()


def train_stock(encoder: SentenceTransformer, texts: dict[str, list[str]], count: Count) -> None:
    import datasets

    encoder = copy.deepcopy(encoder)
    encoder.model_card_data.local_files_only = True
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, max_steps=STEPS, per_device_train_batch_size=PAIRS, bf16=True, use_cpu=True,
            save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        loss = MultipleNegativesRankingLoss(encoder)
        trainer = SentenceTransformerTrainer(encoder, arguments, datasets.Dataset.from_dict(texts), loss=loss)
        collator = type(trainer.data_collator)
        with patched(collator, __call__=count.without(collator.__call__)):
            trainer.train()


def train_ours(encoder: SentenceTransformer, texts: dict[str, list[str]], count: Count) -> None:
    import pandas as pd

    from hybridlib.data.corpus import ParallelCorpus
    from hybridlib.sampler.collator import ParallelCollator

    number = len(texts["query"])
    table = pd.DataFrame(texts).assign(item=np.arange(number), domain="none", dataset="random", language="en")
    corpus = ParallelCorpus.from_frame(table.assign(passage_group=table["item"]), ["en"])
    settings = Training(strategy="x-x-mono", batch_size=PAIRS, steps=STEPS, learning_rate=1e-5, precision="bfloat16")
    with ExitStack() as stack:
        stack.enter_context(patched(ParallelCollator, __call__=count.without(ParallelCollator.__call__)))
        stack.enter_context(cut_as_on_a_gpu())
        fine_tune(encoder, corpus, settings, progress=False)


def drawn() -> tuple[SentenceTransformer, np.random.Generator]:
    """Return the encoder, and what draws texts."""
    torch.manual_seed(0)
    encoder = random_encoder(LAYERS, DIMENSIONS, VOCABULARY)
    for name, module in encoder.named_modules():
        if name.endswith("attention.self.dropout"):
            module.p = 0.0  # a CPU's attention takes many operators more for it, a GPU's none
    return encoder, np.random.default_rng(0)


def rows_of_batch(encoder: SentenceTransformer, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return the counts of one batch of several."""
    texts, found = random_texts([TOKENS] * 2 * TEXTS, rng), []
    for kind in ("float32", "bfloat16"):
        half = copy.deepcopy(encoder).to(getattr(torch, kind))
        stock = partial(half.encode_document, batch_size=TEXTS, show_progress_bar=False)
        ours = partial(embed_texts, encoder, precision=kind, batch_tokens=TEXTS * TOKENS)
        found.append((f"stock encode, {kind}", encoded(stock, half, texts)))
        found.append((f"embed_texts, {kind}", encoded(ours, encoder, texts)))
    return [{"work": f"a further batch of {TEXTS} texts", "contender": name, **row} for name, row in found]


def rows_of_step(encoder: SentenceTransformer, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return the counts of one step of training."""
    means = {"query": 8, "passage": 23}
    texts = {name: random_texts(random_lengths(mean, PAIRS * STEPS, rng), rng) for name, mean in means.items()}
    found = {
        name: trained(partial(train, encoder, texts))
        for name, train in (("stock trainer", train_stock), ("fine_tune", train_ours))
    }
    return [{"work": f"a step of {PAIRS} pairs", "contender": name, **row} for name, row in found.items()]


def main() -> None:
    take_no_arguments(__doc__)
    os.environ["HF_HUB_OFFLINE"] = "1"
    given = drawn()
    found = rows_of_batch(*given) + rows_of_step(*given)
    show(("work", "contender", *COUNTS), [[row[name] for name in ("work", "contender", *COUNTS)] for row in found])
    shape = f"{LAYERS} layers of {DIMENSIONS} dimensions, {VOCABULARY:,} words"
    keep(__file__, {"encoder": shape, "versions": versions("torch", "transformers", "sentence-transformers"),
                    "rows": found})  # fmt: skip


if __name__ == "__main__":
    main()
