"""The pairs a second of `fine_tune`, beside sentence-transformers' own trainer, loss and collator.

    python benchmarks/training.py

Both train all-MiniLM-L6-v2, without dropout, on a CPU in float32, on the same hybrid batches of 32 pairs of XQuAD-R's
questions and sentences in 11 languages (random words of such lengths where HYBRIDLIB_DATA is not set). `fine_tune`
draws them; the stock `SentenceTransformerTrainer` is given them one by one, in their order, with its own collator and
`MultipleNegativesRankingLoss(scale=1 / temperature)`. No passage is masked as another's false negative, so the losses
are the same: before any time counts, those of every step must agree, each that of the weights which the steps before
have left.

The two take turns. A step's time is from one loss to the next, so that starting up does not count; the median of
all steps counts. Beside it is the share of the tokens given to the encoder that are padding, in 20 batches of 32 pairs
and as many pairs in batches of 64 and 100. It takes three minutes on two cores, prints a table and writes
`benchmarks/training.json` and `training.png`.
"""

import copy
import gc
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
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
from torch.nn.modules.module import register_module_forward_hook
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
# The losses are float32 after some steps of AdamW, the first of which divide gradients by their own size.
AGREEMENT = 1e-4
GOAL, PADDING_GOAL = 2.0, 0.12
NAMES = ("stock trainer", "fine_tune")


Steps = list[tuple[float, float]]  # the loss of each step, and the time when it was known


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


def steps_of(train: Callable[..., None], *given: Any) -> Steps:
    """Train, and note every step."""
    steps: Steps = []

    def note(module: torch.nn.Module, given: Any, loss: torch.Tensor) -> None:
        if isinstance(module, InfoNCE | MultipleNegativesRankingLoss):
            steps.append((loss.item(), time.perf_counter()))

    gc.collect()
    hook = register_module_forward_hook(note)
    with tempfile.TemporaryDirectory() as folder:
        train(*given, folder)
    hook.remove()
    return steps


def shares_of_padding(encoder: SentenceTransformer, corpus: ParallelCorpus, pairs: int) -> list[float]:
    """Return the shares of padding over some batches: that of stock, which pads to the longest text, and ours."""
    batches = 20 * PAIRS // pairs
    drawn = pairs_of(corpus, pairs, batches)
    stock, ours = [], []

    def model(features: dict[str, Any]) -> dict[str, torch.Tensor]:
        ours.append(features["attention_mask"])
        return {"sentence_embedding": torch.zeros(len(features["input_ids"]), 1)}

    for begin in range(0, len(drawn), pairs):
        part = drawn.iloc[begin : begin + pairs]
        columns = [encoder.preprocess(part[name].tolist()) for name in ("query", "passage")]
        stock += [column["attention_mask"] for column in columns]
        embed(model, columns)  # type: ignore[arg-type]
    return [1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks) for masks in (stock, ours)]


def corpus_of_pairs() -> tuple[ParallelCorpus, str]:
    """Return texts whose passages are all of different groups, and where they are from."""
    if os.environ.get("HYBRIDLIB_DATA"):
        frame = load_corpus("xquad-r", fold=0).table.to_pandas()
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


def check_agreement(runs: Sequence[Steps]) -> float:
    """Return the largest relative difference of a step's losses."""
    losses = [[loss for loss, _ in steps] for steps in runs]
    difference = max(float(np.abs(np.array(other) / losses[0] - 1).max()) for other in losses)
    if len(losses[0]) != STEPS or not difference < AGREEMENT:
        raise AssertionError(f"losses differ by {difference:.1e}: {losses}")
    return difference


def seconds_of_a_step(runs: Sequence[Steps]) -> float:
    times = [[known for _, known in steps] for steps in runs]
    return statistics.median(after - before for run in times for before, after in itertools.pairwise(run))


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
    runs: dict[str, list[Steps]] = {name: [] for name in NAMES}
    for _ in range(ROUNDS):
        for name, train in zip(NAMES, (train_stock, train_ours), strict=True):
            runs[name].append(steps_of(train, encoder, corpus))
    difference = check_agreement([steps for several in runs.values() for steps in several])
    seconds = {name: seconds_of_a_step(runs[name]) for name in NAMES}
    padding = {pairs: shares_of_padding(encoder, corpus, pairs) for pairs in (PAIRS, *FURTHER_PAIRS)}
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
        "losses": [round(loss, 5) for loss, _ in runs[NAMES[1]][0]],
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
