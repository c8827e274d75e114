"""What share of a machine's speed a step of training reaches, with which `hybridlib plan` estimates.

    python benchmarks/throughput.py

`fine_tune` trains an encoder of random weights on pairs of random words of the lengths that XQuAD-R's questions and
sentences have, with everything that a step has: drawing, padding, loss, AdamW. On a GPU the encoder is of XLM-R base's
shape, in bfloat16, with batches of 100 pairs; on a CPU, on one core, of all-MiniLM-L6-v2's, in float32, with batches of
32. The time of a few steps is taken from that of more, so that starting up does not count. By 6 floating-point
operations a token and parameter (padding and embeddings left out) it gives a speed, which is divided by that of a bare
product of two large matrices in the same precision, measured before and after. A minute or two. It prints the ratio
and writes `benchmarks/throughput.json`.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from random_encoder import random_encoder, random_lengths, random_texts
from sentence_transformers import SentenceTransformer

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.study.cli.workload import ENCODERS, texts_of
from hybridlib.training.fine_tune import fine_tune
from hybridlib.training.settings import Training

ON_GPU = torch.cuda.is_available()
ENCODER = "FacebookAI/xlm-roberta-base" if ON_GPU else "sentence-transformers/all-MiniLM-L6-v2"
PRECISION = "bfloat16" if ON_GPU else "float32"
BATCH, SHORT, LONG = (100, 20, 120) if ON_GPU else (32, 1, 5)
SIDE, PRODUCTS = (8192, 20) if ON_GPU else (2048, 5)
# Of one core, its own time, so that a busy machine gives the same.
clock = time.perf_counter if ON_GPU else time.process_time


def random_corpus(pairs: int, rng: np.random.Generator) -> tuple[ParallelCorpus, float]:
    """Pairs of texts, each with words of its own number; and the tokens of a pair on average."""
    mean = texts_of("squad-translate")
    columns, tokens = {}, 0
    for name, length in (("query", mean.query_tokens), ("passage", mean.passage_tokens)):
        lengths = random_lengths(length, pairs, rng)
        columns[name] = random_texts(lengths, rng)
        tokens += lengths.sum()
    item = np.arange(pairs)
    table = pd.DataFrame({"item": item, "language": "en", **columns, "passage_group": item})
    return ParallelCorpus.from_frame(table.assign(domain="none", dataset="random"), ["en"]), tokens / pairs


def seconds_of_training(encoder: SentenceTransformer, corpus: ParallelCorpus, steps: int) -> float:
    begin = clock()
    fine_tune(
        encoder,
        corpus,
        Training(strategy="x-x-mono", batch_size=BATCH, steps=steps, learning_rate=3e-5, precision=PRECISION),
        progress=False,
    )
    if ON_GPU:
        torch.cuda.synchronize()
    return clock() - begin


def product_speed() -> float:
    """Floating-point operations a second of a matrix product, the median of several."""
    device, kind = ("cuda", torch.bfloat16) if ON_GPU else ("cpu", torch.float32)
    matrix = torch.randn(SIDE, SIDE, device=device, dtype=kind)
    seconds = []
    for _ in range(PRODUCTS + 1):
        begin = clock()
        matrix @ matrix
        if ON_GPU:
            torch.cuda.synchronize()
        seconds.append(clock() - begin)
    return 2 * SIDE**3 / statistics.median(seconds[1:])


def machine() -> str:
    if ON_GPU:
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"a core of an {names[0] if names else platform.machine()}"


def main() -> None:
    load = os.getloadavg()[0]
    if not ON_GPU:
        torch.set_num_threads(1)
    corpus, tokens = random_corpus(LONG * BATCH, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        shape = ENCODERS[ENCODER]
        vocabulary = shape.embedded // shape.dimensions
        encoder = random_encoder(folder, layers=shape.layers, dimensions=shape.dimensions, vocabulary=vocabulary)
    before = product_speed()
    seconds = seconds_of_training(encoder, corpus, LONG) - seconds_of_training(encoder, corpus, SHORT)
    product = (before + product_speed()) / 2
    pairs = (LONG - SHORT) * BATCH
    step = 6 * ENCODERS[ENCODER].multiplied * pairs * tokens / seconds
    print(f"{pairs / seconds:,.0f} pairs and {pairs * tokens / seconds:,.0f} tokens a second")
    print(f"{step / 1e12:.3f} of {product / 1e12:.3f} TFLOP/s: {step / product:.0%} on {machine()}")
    report = {
        "utilisation": round(step / product, 3),
        "machine": machine(),
        "load_before": round(load, 1),
        "shape": f"that of {ENCODER}",
        "precision": PRECISION,
        "pairs_in_a_batch": BATCH,
        "tokens_of_a_pair": round(tokens, 1),
        "pairs_per_s": round(pairs / seconds, 1),
        "tflops": {"step": round(step / 1e12, 4), "product": round(product / 1e12, 4)},
        "versions": {name: version(name) for name in ("torch", "transformers", "sentence-transformers")},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
