"""The library beside its peers on one GPU: agreement of ranks, metric, loss, encoding, and a step of training.

    PYTHONPATH=. python benchmarks/gpu.py [--small] [--only PART ...] --output FILE.json

Each contender at each size is a row of the output, written as soon as it is timed. What overruns its limit, or would
by the size before, is skipped with its larger sizes, and its row says so. An error is kept in the row, and the next
contender goes on. A part is a process of its own: if it crashes or hangs, the others run.

`seconds` is the median of up to five calls after a warm-up, or the first call where that was slow. `times` is that over
the seconds of the part's first contender at this size, and `memory_mb` how far allocated memory rose. The GPU is this
script's alone, so contenders do not take turns.

Needs torch, triton and numpy; loss, encoding and training need transformers and sentence-transformers too. No data is
needed. The exit code is 1 if ranks, gradients, embeddings or losses do not agree, and 2 if there is no CUDA device.
`--small` rehearses everything on a CPU in about a minute, with the kernels in Triton's interpreter.
"""

import argparse
import copy
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_agreement import agreement
from measuring import machine, show, versions, write_json
from rows import Part, add_row

from hybridlib.metric import ranks

LIMIT_OF_PART, LIMIT_OF_ALL = 240, 570  # seconds
PACKAGES = ("torch", "triton", "numpy", "transformers", "sentence-transformers")
STEP = 32_768  # passages of one matrix product
TOKENS, TEMPERATURE = 64, 0.05


def metric(part: Part, size: int) -> None:
    """Time exact ranks of 1,024 queries beside the product of matrices that they need, and torch's best 100."""
    number, width = part.pick((1024, 768), (4, 64))
    queries, passages, own = corpus(part.device, number, size, width)
    counts: list[np.ndarray] = []  # the first, with which the others agree

    def multiply(dtype: str, most: int) -> dict[str, Any]:
        given = queries.to(getattr(torch, dtype)), passages.to(getattr(torch, dtype))
        return part.timed(partial(product, *given, most))[0]

    def count(dtype: str, languages: int) -> dict[str, Any]:
        given = queries.to(getattr(torch, dtype)), passages.to(getattr(torch, dtype)), own
        mixed = np.random.default_rng(0).integers(0, languages, size)
        figures, above = part.timed(partial(exact_ranks, *given, mixed))
        if dtype != "bfloat16":  # which rounds the numbers
            counts.append(above.sum(axis=1))
            figures["agrees"] = bool((counts[-1] == counts[0]).all())
        return figures | {"tflops": 2 * number * width * size / figures["seconds"] / 1e12}

    for dtype, most in (("float16", 0), ("float32", 0), ("float16", 100)):
        part.contend(f"best {most}, {dtype}" if most else f"product, {dtype}", size, partial(multiply, dtype, most))
    for dtype, languages in (("float16", 1), ("bfloat16", 1), ("float32", 1), ("float16", 16)):
        part.contend(f"exact ranks, {dtype}, languages: {languages}", size, partial(count, dtype, languages))


def corpus(device: torch.device, number: int, size: int, width: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Draw queries (Q, D), normal passages (P, D), and where each query's own passage is (Q,), first or far down."""
    normal = partial(torch.randn, generator=torch.Generator(device).manual_seed(1), device=device)
    passages = torch.empty(size, width, dtype=torch.float16, device=device)
    for piece in passages.split(1 << 18):
        piece.copy_(normal(piece.shape))
    rng = np.random.default_rng(2)
    own = rng.choice(size, number, replace=False)
    # Cosines are spread by 1 / sqrt(D); from 3.3 to 5.2 times that are the best few thousand of millions.
    cosine = torch.from_numpy(rng.uniform(3.3, 5.2, (number, 1)) / math.sqrt(width)).to(device)
    queries, noise = (normal((number, width)).double() for _ in range(2))
    passages[torch.from_numpy(own).to(device)] = (cosine * queries + (1 - cosine**2).sqrt() * noise).half()
    return queries.half(), passages, own


def product(queries: torch.Tensor, passages: torch.Tensor, most: int) -> torch.Tensor:
    """Multiply queries with passages, step by step, and keep the best `most` scores of each query."""
    best = queries.new_empty(len(queries), 0)  # (Q, most)
    for rows in passages.split(STEP):
        scores = queries @ rows.T  # (Q, C)
        if most:
            both = torch.cat([best, scores], dim=1)
            best = both.topk(min(most, both.shape[1]), dim=1).values
    return best


def exact_ranks(queries: torch.Tensor, passages: torch.Tensor, own: np.ndarray, languages: np.ndarray) -> np.ndarray:
    """Count the passages of each language that rank above each query's own. (Q, L)"""
    relevant, rows = passages[torch.from_numpy(own).to(passages.device)], np.arange(len(queries))
    pairs = np.column_stack([rows, rows])
    counter = ranks.RankCounter(queries, relevant, pairs, own, languages=int(languages.max()) + 1)
    counter.update(passages, languages)
    return counter.above


def loss(part: Part, pairs: int) -> None:
    """Time the contenders of `benchmarks/loss.py`, whose gradients are compared with float64's."""
    import loss as losses

    views = [view.to(part.device) for view in losses.embeddings(pairs, losses.SMALL)]
    exact_loss, exact = losses.in_double(*views)

    def one(name: str) -> dict[str, Any]:
        figures, (value, columns) = part.timed(partial(losses.run, name, *views))
        error = losses.error_of(losses.gradients(columns), exact)
        worst = max(error, abs(float(value) / exact_loss - 1))
        return figures | {"agrees": worst < losses.LIMIT_OF_DISAGREEMENT, "error_of_gradients": error}

    for name in losses.CONTENDERS:
        part.contend(name, pairs, partial(one, name), growth=2)


@cache
def random_xlm_r(part: Part) -> Any:
    """Return an encoder of XLM-R base's shape; no speed depends on its weights."""
    from random_encoder import random_encoder

    torch.manual_seed(0)
    layers, dimensions, vocabulary = part.pick((12, 768, 250_002), (1, 24, 1_002))
    with tempfile.TemporaryDirectory() as folder:
        return random_encoder(folder, layers=layers, dimensions=dimensions, vocabulary=vocabulary).to(part.device)


def encoding(part: Part, number: int) -> None:
    """Time `embed_texts` beside sentence-transformers' `encode`, and a forward pass over as many tokens."""
    from encoding import NEAREST, bare_forward, least_cosine
    from random_encoder import random_lengths, random_texts

    from hybridlib.encoder.embed import embed_texts

    encoder, rng = random_xlm_r(part), np.random.default_rng(0)
    lengths = random_lengths(60, number, rng)
    texts = random_texts(lengths, rng)

    def stock(model: Any, size: int) -> dict[str, Any]:
        return part.timed(partial(model.encode_document, texts, batch_size=size, show_progress_bar=False))[0]

    def ours(precision: str) -> dict[str, Any]:
        figures, made = part.timed(partial(embed_texts, encoder, texts, precision=precision))
        cosine = least_cosine(made[:100], encoder.encode_document(texts[:100], show_progress_bar=False))
        judged = {"agrees": cosine > NEAREST} if precision == "float32" else {}
        return figures | judged | {"least_cosine": cosine}

    for size in (32, 128):
        part.contend(f"stock encode, {size} texts", number, partial(stock, encoder, size))
    halved = copy.deepcopy(encoder).bfloat16()
    part.contend("stock encode in bfloat16, 128 texts", number, partial(stock, halved, 128))
    for precision in ("float32", "bfloat16"):
        part.contend(f"embed_texts, {precision}", number, partial(ours, precision))
    forward = bare_forward(encoder, lengths.tolist(), "bfloat16")
    part.contend("bare forward pass, bfloat16", number, lambda: part.timed(forward)[0])


def training(part: Part, pairs: int) -> None:
    """Time a step in bfloat16, forward, backward and AdamW, with sentence-transformers' loss and with ours."""
    from random_encoder import random_texts
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from hybridlib.loss import InfoNCE

    encoder, rng = random_xlm_r(part), np.random.default_rng(0)
    stock = MultipleNegativesRankingLoss(encoder, scale=1 / TEMPERATURE)
    columns = [encoder.preprocess(random_texts([TOKENS] * pairs, rng)) for _ in range(2)]

    def value(loss: Any) -> torch.Tensor:
        kept = ("input_ids", "attention_mask")
        return loss([{name: column[name].to(part.device) for name in kept} for column in columns], None)

    def step(loss: Any, optimizer: torch.optim.Optimizer) -> None:
        with torch.autocast(part.device.type, torch.bfloat16):
            made = value(loss)
        made.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def one(loss: Any) -> dict[str, Any]:
        encoder.eval()  # without dropout
        with torch.no_grad():
            off = abs(float(value(loss) / value(stock)) - 1)
        encoder.train()
        optimizer = torch.optim.AdamW(encoder.parameters(), lr=2e-5, fused=not part.small)
        return part.timed(partial(step, loss, optimizer))[0] | {"agrees": off < 1e-4, "off": off}

    part.contend("stock loss", pairs, partial(one, stock))
    part.contend("InfoNCE", pairs, partial(one, InfoNCE(encoder, TEMPERATURE)))


# Each part and its sizes, on a GPU and in a rehearsal: passages, pairs or texts.
PARTS: dict[str, tuple[Callable[[Part, int], None], tuple[int, ...], tuple[int, ...]]] = {
    "agreement": (agreement, (20_000,), (12,)),
    "metric": (metric, (1_000_000, 8_000_000), (150, 300)),
    "loss": (loss, (1_024, 8_192, 32_768), (64, 128)),
    "encoding": (encoding, (500, 2_000, 6_000), (12, 24)),
    "training": (training, (32, 100), (4,)),
}


def run_alone(name: str, path: Path, small: bool) -> None:
    """Run a part in this process, at growing sizes."""
    if small:
        ranks.has_kernels = lambda device: True  # in the interpreter
    part, (run, sizes, toys) = Part(name, path, small), PARTS[name]
    for size in part.pick(sizes, toys):
        run(part, size)


def run_all(names: Sequence[str], path: Path, small: bool) -> list[dict[str, Any]]:
    """Run each part in a process, and return all rows."""
    device = "CPU" if small else torch.cuda.get_device_name()
    write_json(path, {"device": device, "machine": machine(), "versions": versions(*PACKAGES), "rows": []})
    environment, end = os.environ | ({"TRITON_INTERPRET": "1"} if small else {}), time.monotonic() + LIMIT_OF_ALL
    for name in names:
        command = [sys.executable, __file__, "--alone", "--only", name, "--output", str(path), *["--small"] * small]
        seconds = max(1.0, min(LIMIT_OF_PART, end - time.monotonic()))
        try:
            code = subprocess.run(command, env=environment, timeout=seconds, check=False).returncode
            ended = f"ended with exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            ended = f"ended after {seconds:.0f} s"
        if ended:
            add_row(path, {"part": name, "contender": "the part itself", "size": 0, "error": ended})
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="the parts to run")
    parser.add_argument("--small", action="store_true", help="rehearse on a CPU")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # the part runs in this process
    given = parser.parse_args(arguments)
    if not given.small and not torch.cuda.is_available():
        print("no CUDA device: there is nothing to measure; --small rehearses on a CPU")
        return 2
    if given.alone:
        run_alone(given.only[0], given.output, given.small)
        return 0
    rows, columns = run_all(given.only, given.output, given.small), ("part", "contender", "size", "seconds", "times")
    if timed := [[row[column] for column in columns] for row in rows if "seconds" in row]:
        show(columns, timed)
    wrong = [row for row in rows if not row.get("agrees", row["part"] != "agreement")]
    for row in wrong:
        print("DISAGREES: {part}, {contender}, {size}".format(**row))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
