"""Pairs a second of `fine_tune`, beside sentence-transformers' own trainer, loss and collator.

    python benchmarks/training.py

Both train all-MiniLM-L6-v2, without dropout, on a CPU in float32, on the same hybrid batches of 32 pairs of XQuAD-R's
questions and sentences in 11 languages (random words of such lengths where HYBRIDLIB_DATA is not set). `fine_tune`
draws them; the stock `SentenceTransformerTrainer` is given them one by one, in their order, with its own collator and
`MultipleNegativesRankingLoss(scale=1 / temperature)`. No passage is masked as another's false negative, so the losses
are the same: before any time counts, those of every step must agree, each that of the weights which the steps before
have left.

The two take turns; a step's time is from one loss to the next, so that starting up does not count, and the median of
all steps counts. Beside it, the share of the tokens given to the encoder that are padding, also in batches of 64 and
100 pairs, which are not trained on. Three minutes on two cores. It prints a table and writes
`benchmarks/training.json` and `training.png`.
"""

import copy
import gc
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from measuring import draw_bars, keep, machine, minilm_folder, show, versions
from random_encoder import random_lengths, random_texts
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import load_corpus
from hybridlib.encoder.tokens import embed
from hybridlib.loss import InfoNCE
from hybridlib.sampler.batches import HybridBatchSampler
from hybridlib.training.fine_tune import fine_tune
from hybridlib.training.settings import Training

PAIRS = 32
FURTHER_PAIRS = (64, 100)
STEPS = 5
ROUNDS = 3
SEED = 0
TEMPERATURE = 0.05
LEARNING_RATE = 2e-5
STRATEGY: dict[str, Any] = {"strategy": "hybrid", "alpha": 0.5}
# Of float32, through as many steps of AdamW, whose first divide gradients by their own size.
AGREEMENT = 1e-4
GOAL, PADDING_GOAL = 2.0, 0.12
NAMES = ("stock trainer", "fine_tune")


class Noted:
    """The losses of the steps, the times when they were known, and how many tokens were given, real and in all."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.losses: list[float] = []
        self.tokens = self.given = 0

    @contextmanager
    def of_this(self) -> Iterator[None]:
        hooks = [register_module_forward_hook(self._note_loss), register_module_forward_pre_hook(self.note_tokens)]
        yield
        for hook in hooks:
            hook.remove()

    def _note_loss(self, module: torch.nn.Module, given: Any, loss: torch.Tensor) -> None:
        if isinstance(module, InfoNCE | MultipleNegativesRankingLoss):
            self.losses.append(loss.item())
            self.times.append(time.perf_counter())

    def note_tokens(self, module: torch.nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(module, SentenceTransformer):
            mask = given[0]["attention_mask"]
            self.tokens += int(mask.sum())
            self.given += mask.numel()

    @property
    def steps(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self.times)]

    @property
    def padding(self) -> float:
        return 1 - self.tokens / self.given


def pairs_of(corpus: ParallelCorpus, pairs: int, batches: int) -> pd.DataFrame:
    """Return the pairs of the batches that `fine_tune` draws, in their order."""
    sampler = HybridBatchSampler(corpus.table, pairs, drop_last=False, seed=SEED, **STRATEGY)
    rows = np.concatenate([sampler.batch(number) for number in range(batches)])
    queries, passages = (corpus.table.select(rows[side::2]).to_pandas() for side in (0, 1))
    return pd.DataFrame({"query": queries["query"], "passage": passages["passage"]})


def train_stock(encoder: SentenceTransformer, corpus: ParallelCorpus, folder: str) -> None:
    drawn = datasets.Dataset.from_pandas(pairs_of(corpus, PAIRS, STEPS), preserve_index=False)
    encoder = copy.deepcopy(encoder)

    def in_order(dataset: datasets.Dataset, batch_size: int, drop_last: bool, **rest: Any) -> DefaultBatchSampler:
        return DefaultBatchSampler(SequentialSampler(dataset), batch_size, drop_last)

    arguments = SentenceTransformerTrainingArguments(
        output_dir=folder, max_steps=STEPS, per_device_train_batch_size=PAIRS, learning_rate=LEARNING_RATE,
        weight_decay=0.01, batch_sampler=in_order, seed=SEED, save_strategy="no", logging_strategy="no",
        report_to="none", disable_tqdm=True, dataloader_pin_memory=False, use_cpu=True,
    )  # fmt: skip
    loss = MultipleNegativesRankingLoss(encoder, scale=1 / TEMPERATURE)
    trainer = SentenceTransformerTrainer(encoder, arguments, train_dataset=drawn, loss=loss)
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def train_ours(encoder: SentenceTransformer, corpus: ParallelCorpus, folder: str) -> None:
    settings = Training(
        **STRATEGY, batch_size=PAIRS, steps=STEPS, temperature=TEMPERATURE, learning_rate=LEARNING_RATE,
        weight_decay=0.01, seed=SEED,
    )  # fmt: skip
    fine_tune(encoder, corpus, settings, progress=False)


def noted(train: Callable[..., None], *given: Any) -> Noted:
    gc.collect()
    notes = Noted()
    with tempfile.TemporaryDirectory() as folder, notes.of_this():
        train(*given, folder)
    return notes


def shares_of_padding(encoder: SentenceTransformer, corpus: ParallelCorpus, pairs: int) -> list[float]:
    """Return the shares of padding over some batches: that of stock, which pads to the longest text, and ours."""
    batches = 20 * PAIRS // pairs
    drawn = pairs_of(corpus, pairs, batches)
    stock, ours = Noted(), Noted()

    def model(features: dict[str, Any]) -> dict[str, torch.Tensor]:
        ours.note_tokens(encoder, (features,))
        return {"sentence_embedding": torch.zeros(len(features["input_ids"]), 1)}

    for begin in range(0, len(drawn), pairs):
        part = drawn.iloc[begin : begin + pairs]
        columns = [encoder.preprocess(part[name].tolist()) for name in ("query", "passage")]
        for column in columns:
            stock.note_tokens(encoder, (column,))
        embed(model, columns)  # type: ignore[arg-type]
    return [stock.padding, ours.padding]


def corpus_of_pairs() -> tuple[ParallelCorpus, str]:
    """Return texts whose passages are all of different groups, and where they are from."""
    if os.environ.get("HYBRIDLIB_DATA"):
        frame = load_corpus("xquad-r").table.to_pandas()
        frame = frame[frame.passage != ""].drop_duplicates(["language", "passage"])
        return ParallelCorpus.from_frame(
            frame.assign(passage_group=frame["item"]), sorted(set(frame.language))
        ), "XQuAD-R"
    rng = np.random.default_rng(SEED)
    table = pd.DataFrame({"item": np.arange(4000), "language": "en", "domain": "none", "dataset": "random"})
    for name, mean in (("query", 31), ("passage", 85)):
        table[name] = random_texts(random_lengths(mean, len(table), rng), rng)
    both = pd.concat([table, table.assign(language="de")])
    return ParallelCorpus.from_frame(both.assign(passage_group=both["item"]), ["de", "en"]), "random words"


def check_agreement(notes: Sequence[Noted]) -> float:
    """Return the largest relative difference of a step's losses."""
    first = np.array(notes[0].losses)
    difference = max(float(np.abs(np.array(note.losses) / first - 1).max()) for note in notes)
    if len(first) != STEPS or not difference < AGREEMENT:
        raise AssertionError(f"losses differ by {difference:.1e}: {[note.losses for note in notes]}")
    return difference


def figure(seconds: dict[str, float], padding: dict[int, list[float]], title: str) -> Any:
    bars = {}
    for place, name in enumerate(NAMES):
        shares = ", ".join(f"{both[place]:.0%}" for both in padding.values())
        bars[name] = PAIRS / seconds[name], f"{PAIRS / seconds[name]:.1f}, padding {shares}"
    return draw_bars(bars, NAMES[1], f"pairs a second; padding in batches of {[*padding]} pairs", title)


def main() -> None:
    before = machine()
    corpus, source = corpus_of_pairs()
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    encoder = SentenceTransformer(minilm_folder(), device="cpu", config_kwargs=off)
    notes: dict[str, list[Noted]] = {name: [] for name in NAMES}
    for _ in range(ROUNDS):
        for name, train in zip(NAMES, (train_stock, train_ours), strict=True):
            notes[name].append(noted(train, encoder, corpus))
    difference = check_agreement([note for several in notes.values() for note in several])
    seconds = {name: statistics.median(step for note in notes[name] for step in note.steps) for name in NAMES}
    padding = {PAIRS: [notes[name][0].padding for name in NAMES]}
    padding |= {pairs: shares_of_padding(encoder, corpus, pairs) for pairs in FURTHER_PAIRS}
    columns = ("trainer", "s a step", "pairs/s", *(f"padding, {pairs} pairs" for pairs in padding))
    shares = zip(*padding.values(), strict=True)
    show(columns, [(n, seconds[n], PAIRS / seconds[n], *share) for n, share in zip(NAMES, shares, strict=True)])
    speed_up, most = seconds[NAMES[0]] / seconds[NAMES[1]], max(both[1] for both in padding.values())
    print(f"\nlosses of {STEPS} steps differ by at most {difference:.1e}")
    print(f"{speed_up:.2f} times as fast; goal {GOAL}: {'met' if speed_up >= GOAL else 'missed'}")
    print(f"padding at most {most:.1%}; goal {PADDING_GOAL:.0%}: {'met' if most < PADDING_GOAL else 'missed'}")
    record = {
        "source": source,
        "encoder": "all-MiniLM-L6-v2, without dropout",
        "pairs_in_a_batch": PAIRS,
        "steps": STEPS,
        "rounds": ROUNDS,
        "largest_relative_difference_of_losses": float(f"{difference:.1e}"),
        "losses": [round(loss, 5) for loss in notes[NAMES[1]][0].losses],
        "seconds_a_step": {name: round(value, 3) for name, value in seconds.items()},
        "pairs_per_s": {name: round(PAIRS / value, 2) for name, value in seconds.items()},
        "speed_up": round(speed_up, 2),
        "padding": {
            str(pairs): dict(zip(NAMES, np.round(both, 4).tolist(), strict=True)) for pairs, both in padding.items()
        },
        "goals": {"speed_up": GOAL, "padding": PADDING_GOAL},
        "machine": before,
        "versions": versions("torch", "transformers", "sentence-transformers"),
    }
    keep(__file__, record, figure(seconds, padding, f"all-MiniLM-L6-v2 on {source}, {before['cores']} cores"))


if __name__ == "__main__":
    main()
