"""Parts `encoding`, `training` and `loss` of `benchmarks/gpu.py`: an encoder of XLM-R base's shape and its loss.

Its weights are random and its words are numbers, for nothing of a speed depends on what they say; but words that are
numbers are tokenised sooner than a real tokenizer does.
"""

import importlib.util
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from encoding import GOAL as GOAL_OF_ENCODING
from encoding import compare, multiplied
from on_device import Part, elapsed, in_turn_on, peak_memory, product_rate
from random_encoder import random_encoder, random_lengths, random_texts
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers.utils import logging

from hybridlib.loss import InfoNCE

PAIRS, TOKENS, TEMPERATURE, LEARNING_RATE = 100, 64, 0.05, 2e-5
STOCK, OURS = "MultipleNegativesRankingLoss", "InfoNCE"
STOCK_TRAINER, OUR_TRAINER = "stock trainer, stock loss", "stock trainer, InfoNCE"
TRAINER_STEPS = 40
AGREEMENT = 1e-4  # of losses of the same weights in float32


def xlm_r_base(part: Part) -> SentenceTransformer:
    shape = part.pick(*({"layers": 12, "dimensions": 768, "vocabulary": 250_002},) * 2,
                      {"layers": 1, "dimensions": 24, "vocabulary": 1_002})  # fmt: skip
    logging.disable_progress_bar()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        return random_encoder(folder, **shape).to(part.device)


def encoding(part: Part) -> None:
    """Time `embed_texts` beside stock `encode`, in float32 and with weights of bfloat16."""
    number, rounds = part.pick((6_000, 3), (1_000, 1), (12, 1))
    rng = np.random.default_rng(0)
    texts = random_texts(random_lengths(60, number, rng), rng)
    result = compare(
        xlm_r_base(part), texts, stock_sizes=part.pick((32, 128), (32, 128), (4,)), rounds=rounds, in_half=True
    )
    part.keep(**result)
    for name, seconds in result["seconds"].items():
        padding = {"padding": result["padding"][name]} if name in result["padding"] else {}
        part.row(name, seconds=seconds, tokens_per_s=float(result["tokens_per_s"][name]), **padding)
    for precision, cosine in result["least_cosine"].items():
        rates = result["tflops"][precision]
        part.row(f"least cosine, {precision}", value=cosine, tflops=rates["embed_texts"], product=rates["product"])
    part.share("embed_texts over stock encode", result["speed_up"]["bfloat16"], GOAL_OF_ENCODING)
    part.share("embed_texts over stock encode in bfloat16", result["speed_up_over_half"])
    floor = result["seconds"]["floor, bfloat16"] / result["seconds"]["embed_texts, bfloat16"]
    part.share("encoding, of a bare forward pass", floor)


def training(part: Part) -> None:
    """Time a training step: in a plain loop with either loss, and by the stock trainer where it can be."""
    pairs, tokens, layers = *part.pick((PAIRS, TOKENS), (PAIRS, TOKENS), (4, 8)), part.pick(12, 12, 1)
    encoder = xlm_r_base(part)
    rng = np.random.default_rng(0)
    columns = [encoder.preprocess(random_texts([tokens] * pairs, rng)) for _ in range(2)]
    columns = [{name: value.to(part.device) for name, value in column.items() if torch.is_tensor(value)}
               for column in columns]  # fmt: skip
    assert all(column["attention_mask"].sum() == pairs * tokens for column in columns)
    losses = {STOCK: MultipleNegativesRankingLoss(encoder, scale=1 / TEMPERATURE), OURS: InfoNCE(encoder, TEMPERATURE)}
    check_losses(part, encoder, losses, columns)

    # Forward once and backward twice: 2 operations a token and weight each, and 4 a token, token and dimension for
    # attention's two products.
    width, given = encoder.get_embedding_dimension() or 0, 2 * pairs * tokens
    work = 3 * given * (2 * multiplied(encoder) + 4 * layers * tokens * width)
    rate = product_rate(part.device, torch.bfloat16, (part.pick(8192, 8192, 64),) * 3)
    step_of = {name: step(encoder, loss, columns) for name, loss in losses.items()}
    seconds = in_turn_on(part.device, step_of, part.pick(5, 3, 1), repeats=part.pick(10, 10, 1))
    for name, taken in seconds.items():
        part.row(f"plain loop, {name}", seconds=taken, pairs_per_s=pairs / taken, tflops=work / taken / 1e12,
                 of_product=work / taken / rate)  # fmt: skip
    part.share("training step, of a product", work / seconds[OURS] / rate)
    part.share("training step, stock loss over ours", seconds[STOCK] / seconds[OURS])
    missing = [name for name in ("accelerate", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        part.row("stock trainer", left_out=f"not installed: {', '.join(missing)}")
        return
    steps = part.pick(TRAINER_STEPS, TRAINER_STEPS, 3)
    texts = [random_texts([tokens] * pairs * steps, rng) for _ in range(2)]
    for name, loss in ((STOCK_TRAINER, losses[STOCK]), (OUR_TRAINER, losses[OURS])):
        taken = part.attempt(name, by_trainer, encoder, loss, texts, pairs, steps, needs=15)
        if taken:
            part.row(name, seconds=taken, pairs_per_s=pairs / taken, of_product=work / taken / rate)


def check_losses(part: Part, encoder: SentenceTransformer, losses: dict[str, Any], columns: list[Any]) -> None:
    """Both losses of the same batch, without dropout."""
    encoder.eval()
    with torch.no_grad():
        values = {name: float(loss([dict(column) for column in columns], None)) for name, loss in losses.items()}
    encoder.train()
    part.row("losses of the same batch", **values)
    if not abs(values[OURS] / values[STOCK] - 1) < AGREEMENT:
        raise ArithmeticError(f"losses of the same batch: {values}; they may differ by {AGREEMENT}")


def step(encoder: SentenceTransformer, loss: torch.nn.Module, columns: list[dict[str, Any]]) -> Callable[[], None]:
    """What makes one training step: forward, backward, AdamW."""
    on_cuda = encoder.device.type == "cuda"
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=on_cuda)

    def run() -> None:
        with torch.autocast(encoder.device.type, torch.bfloat16):
            value = loss([dict(column) for column in columns], None)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def by_trainer(encoder: SentenceTransformer, loss: Any, texts: list[list[str]], pairs: int, steps: int) -> float:
    """Seconds of a step of `SentenceTransformerTrainer`, after the first quarter of them."""
    import datasets
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from transformers import PrinterCallback, TrainerCallback

    times: list[float] = []
    on_cuda, warm_up = encoder.device.type == "cuda", max(1, steps // 4)

    class Clock(TrainerCallback):
        def on_step_begin(self, *given: Any, **rest: Any) -> None:
            if given[1].global_step == warm_up:
                self.on_train_end()

        def on_train_end(self, *given: Any, **rest: Any) -> None:
            if on_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=pairs, learning_rate=LEARNING_RATE,
            weight_decay=0.01, bf16=on_cuda, use_cpu=not on_cuda, save_strategy="no", logging_strategy="no",
            report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = SentenceTransformerTrainer(
            encoder, arguments, train_dataset=datasets.Dataset.from_dict({"query": texts[0], "passage": texts[1]}),
            loss=loss, callbacks=[Clock()],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return (times[-1] - times[0]) / (steps - warm_up)


def loss(part: Part) -> None:
    """Time and memory of `benchmarks/loss.py`'s contenders, whose gradients are compared with float64's."""
    import loss as on_cpu

    rows: dict[str, dict[str, Any]] = {}
    for pairs in part.pick(on_cpu.SIZES, on_cpu.SIZES[:2], (64,)):
        queries, passages = (view.to(part.device) for view in on_cpu.embeddings(pairs, on_cpu.SMALL))
        expected = on_cpu.in_double(queries, passages)
        rows = {}
        for name in on_cpu.CONTENDERS:
            found = part.attempt(f"{pairs:,} {name}", one_loss, part, on_cpu, name, (queries, passages), expected)
            if found:
                rows[name] = found
                part.row(f"{pairs:,} {name}", **found)
    if {"plain", "ours cached"} <= rows.keys():
        plain, ours = rows["plain"], rows["ours cached"]
        part.share("cached loss, plain's seconds over its own", plain["seconds"] / ours["seconds"], 1.0)
        if ours["memory_mb"]:
            part.share("cached loss, plain's memory over its own", plain["memory_mb"] / ours["memory_mb"], 25.0)


def one_loss(
    part: Part, on_cpu: Any, name: str, views: tuple[torch.Tensor, ...], expected: tuple[float, torch.Tensor]
) -> dict[str, Any]:
    run = partial(on_cpu.run, name, *views)
    (value, columns), megabytes = peak_memory(part.device, run)
    error = on_cpu.checked(name, float(value), on_cpu.gradients(columns), expected)
    del columns
    once = elapsed(part.device, run)  # warm
    rounds = max(1, min(part.pick(5, 3, 1), int(10 / max(once, 1e-3))))
    return {
        "seconds": float(np.median([elapsed(part.device, run) for _ in range(rounds)])),
        "memory_mb": megabytes,
        "error": error,
    }
