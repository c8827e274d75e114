"""The library beside its peers on one GPU: agreement of ranks, metric, loss, encoding, and a step of training.

    PYTHONPATH=. python benchmarks/gpu.py [--small] [--only PART ...] --output FILE.json

Each contender at each size is a row of the output, written as soon as it is timed. What overruns its limit, or would
by the size before, is skipped with its larger sizes, and its row says so. An error is kept in the row, and the next
contender goes on. A part is a process of its own: if it crashes or hangs, the others run.

`seconds` is the median of up to five calls after a warm-up, or the first call where that was slow. `times` is that over
the seconds of the part's first contender at this size, and `memory_mb` how far allocated memory rose. The GPU is this
script's alone, so contenders do not take turns.

It needs torch, triton and numpy; loss, encoding and training need transformers and sentence-transformers too. It needs
no data. The exit code is 1 if ranks, gradients, embeddings or losses do not agree, and 2 if there is no CUDA device.
`--small` rehearses everything on a CPU in one process, with the kernels in Triton's interpreter.
"""

import argparse
import copy
import gc
import itertools
import json
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from measuring import machine, show, versions, write_json

from hybridlib.metric import ranks

LIMIT, LIMIT_OF_PART, LIMIT_OF_ALL = 60, 240, 570  # seconds of a contender at a size, of a part, of everything
CALLS = 5
PACKAGES = ("torch", "triton", "numpy", "transformers", "sentence-transformers")
STEP = 32_768  # passages of one matrix product
TOKENS, TEMPERATURE = 64, 0.05
# The types of embeddings, and over how many powers of ten their norms go.
TYPES = {"float16": 4, "bfloat16": 30, "float32": 30, "float64": 100}
KINDS = ("ties", "norms")
ORACLE_NUMBERS = 1 << 28  # float64 numbers that the oracle holds at once
Size = TypeVar("Size")


class Overrun(Exception):
    """A contender has taken longer than its limit."""


class Part:
    """One subject, whose contenders run on the GPU, or at toy sizes on the CPU.

    Args:
        name: the rows carry it.
        path: the file, which exists and may have rows already.
        small: run on the CPU.
    """

    def __init__(self, name: str, path: Path, small: bool) -> None:
        self.name, self.path, self.small, self.limit = name, path, small, LIMIT
        self.device = torch.device("cpu" if small else "cuda")
        self._before: dict[str, tuple[int, float]] = {}  # the last size of each contender, and its seconds there
        self._first: dict[int, float | None] = {}  # seconds of the first contender at each size

    def pick(self, full: Size, small: Size) -> Size:
        return small if self.small else full

    def timed(self, function: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
        """Return the seconds and the memory of a call, and the result of the first call."""
        wait = self.pick(torch.cuda.synchronize, lambda: None)

        def call() -> tuple[float, Any]:
            wait()
            begin = time.perf_counter()
            made = function()
            wait()
            return time.perf_counter() - begin, made

        self.pick(torch.cuda.reset_peak_memory_stats, lambda: None)()
        before = torch.cuda.memory_allocated()  # 0 on the CPU
        warm_up, made = call()
        memory, seconds = torch.cuda.max_memory_allocated() - before, []
        while len(seconds) < self.pick(CALLS, 1) and warm_up + sum(seconds) < self.limit / 4:
            seconds.append(call()[0])
        median = statistics.median(seconds or [warm_up])
        return {"seconds": median, "calls": 1 + len(seconds), "memory_mb": memory / 1e6}, made

    def contend(self, contender: str, size: int, measure: Callable[[], Mapping[str, Any]], growth: int = 1) -> None:
        """Run a contender within the limit, and keep its row whatever comes of it.

        Args:
            contender, size: the names of the row.
            measure: gives the figures of the row.
            growth: the power of the size that the time grows with.
        """
        row: dict[str, Any] = {"part": self.name, "contender": contender, "size": size}
        add_row(self.path, row | {"skipped": "its part ended before it did"})
        gc.collect()
        signal.signal(signal.SIGALRM, self._stop)
        try:
            self._check_time(contender, size, growth)
            signal.setitimer(signal.ITIMER_REAL, self.limit)
            row |= measure()
        except Overrun as overrun:
            row["skipped"] = str(overrun)
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        ended = not {"skipped", "error"} & row.keys()
        self._before[contender] = (size, row.get("seconds", 0.0) if ended else math.inf)
        first = self._first.setdefault(size, row.get("seconds"))
        if first and "seconds" in row:
            row["times"] = row["seconds"] / first
        add_row(self.path, row, in_place=True)
        print(json.dumps(row), flush=True)

    def _stop(self, *_: Any) -> None:
        raise Overrun(f"it took more than {self.limit:g} s")

    def _check_time(self, contender: str, size: int, growth: int) -> None:
        smaller, seconds = self._before.get(contender, (size, 0.0))
        if seconds == math.inf:
            raise Overrun(f"it did not end well at {smaller:,}")
        if seconds * (size / smaller) ** growth > self.limit:
            raise Overrun(f"it would take some {seconds * (size / smaller) ** growth:,.0f} s")


def add_row(path: Path, row: Mapping[str, Any], *, in_place: bool = False) -> None:
    """Write a row to a file of rows, in place of the last one if asked for."""
    record = json.loads(path.read_text(encoding="utf-8"))
    record["rows"] = [*(record["rows"][:-1] if in_place else record["rows"]), row]
    write_json(path, record)


def agreement(part: Part, passages: int) -> None:
    """Compare ranks with float64's, for every type, kind of vectors and similarity."""
    number, width = part.pick((150, 768), (3, 64))
    names = list(itertools.product(TYPES, KINDS, ranks.SIMILARITIES))
    cases = [((number, passages, width), *of_case) for of_case in names[:: part.pick(1, 5)]]
    many = part.pick((512, (1 << 31) // 512 + 12_345, 64), (4, 60, 64))  # over 2^31 scores in a chunk
    cases.append((many, "float16", "norms", "dot"))
    rng = np.random.default_rng(0)
    for _ in range(part.pick(30, 2)):  # of all sizes: kernels are compiled anew for multiples of 16, and for 1
        shape = tuple(int(rng.integers(1, end)) for end in part.pick((300, 3000, 200), (5, 12, 40)))
        cases.append((shape, *names[rng.integers(len(names))]))
    for shape, *of_case in cases:
        name = f"{', '.join(of_case)}, {shape[0]} queries, {shape[2]} dimensions"
        part.contend(name, shape[1], partial(compared, part.device, shape, *of_case))


def compared(device: torch.device, shape: tuple[int, int, int], dtype: str, kind: str, similarity: str) -> dict:
    """Return how many counts of random pairs are wrong, and of how many."""
    rng, (number, passages, width) = np.random.default_rng(0), shape
    generator = torch.Generator(device).manual_seed(0)
    queries, corpus = (vectors(kind, rows, width, dtype, generator) for rows in (number, passages))
    pairs = np.column_stack([rng.integers(0, number, 2 * number), rng.integers(0, passages, 2 * number)])
    languages = rng.integers(0, 3, passages)
    found = ranks.relevant_ranks(queries, corpus, pairs, languages, similarity=similarity, device=device).above
    expected = exact_counts(queries, corpus, pairs, languages, similarity)[:, : found.shape[1]]
    wrong = int((found != expected).sum())
    return {"agrees": wrong == 0, "wrong": wrong, "of": found.size}


def vectors(kind: str, rows: int, width: int, dtype: str, generator: torch.Generator) -> torch.Tensor:
    """Draw vectors that are hard to rank: of all norms and zeros, or ties and near ties by turns. (rows, width)"""
    normal = partial(torch.randn, generator=generator, device=generator.device, dtype=torch.float64)
    wanted, numbers = getattr(torch, dtype), torch.arange(rows, device=generator.device)[:, None]
    if kind == "norms":
        sizes = 10 ** (TYPES[dtype] * (torch.sigmoid(2 * normal(rows, 1)) - 0.5))
        return (normal(rows, width) * sizes * (numbers % 10 > 0)).to(wanted)
    few = normal(1 + rows // 9, width).to(wanted).double()
    units = normal(rows, width).round() * torch.finfo(wanted).eps * (numbers % 2)  # in the last place
    return (few[numbers[:, 0] // 2 % len(few)] * (1 + units)).to(wanted)


def exact_counts(
    queries: torch.Tensor, passages: torch.Tensor, pairs: np.ndarray, languages: np.ndarray, similarity: str
) -> np.ndarray:
    """Count by float64 scores in the order of summation that `hybridlib.metric.ranks` defines. (N, 3)"""
    queries, passages, device = queries.double(), passages.double(), queries.device
    query, own = torch.from_numpy(pairs).to(device).T  # (N,), (N,)
    language = torch.from_numpy(languages).to(device)  # (P,)
    # On a CPU, torch rounds some square roots wrongly.
    norms = torch.from_numpy(np.sqrt(inner_products(passages, passages).cpu().numpy())).to(device)  # (P,)
    norms[(norms == 0) | (similarity == "dot")] = 1
    threshold = (inner_products(queries[query], passages[own]) / norms[own])[:, None]  # (N, 1)
    above = torch.zeros(len(query), 3, dtype=torch.int64, device=device)
    step = max(1, ORACLE_NUMBERS // (32 * len(query)))
    for position in torch.arange(len(passages), device=device).split(step):
        scores = inner_products(queries[:, None], passages[None, position]) / norms[position]  # (Q, C)
        score = scores[query]  # (N, C)
        higher = (score > threshold) | ((score == threshold) & (position < own[:, None]))
        above.index_add_(1, language[position], (higher & (position != own[:, None])).long())
    return above.cpu().numpy()


def inner_products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Add dimension d to sum d % 32, then neighbouring sums until one is left."""
    sums = torch.zeros(32, dtype=torch.float64, device=left.device)
    for numbers, others in zip(left.split(32, dim=-1), right.split(32, dim=-1), strict=True):
        sums = sums + torch.nn.functional.pad(numbers * others, (0, 32 - numbers.shape[-1]))
    while sums.shape[-1] > 1:
        sums = sums[..., 0::2] + sums[..., 1::2]
    return sums[..., 0]


def metric(part: Part, size: int) -> None:
    """Time exact ranks of 1,024 queries beside the product of matrices that they need, and torch's best 100."""
    number, width = part.pick((1024, 768), (4, 64))
    queries, passages, own = corpus(part.device, number, size, width)
    counts: list[np.ndarray] = []  # the others must agree with the first

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
    # Cosines are spread by 1 / sqrt(D); 3.3 to 5.2 times that is the range of the best few thousand of millions.
    cosine = torch.from_numpy(rng.uniform(3.3, 5.2, (number, 1)) / math.sqrt(width)).to(device)
    noise = (1 / cosine**2 - 1).sqrt() * normal((number, width))
    return (passages[torch.from_numpy(own).to(device)] + noise).half(), passages, own


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
    return random_encoder(*part.pick((12, 768, 250_002), (1, 24, 1_002))).to(part.device)


def encoding(part: Part, number: int) -> None:
    """Time the contenders of `benchmarks/encoding.py`, and stock `encode` with weights in bfloat16."""
    from encoding import NEAREST, contenders, least_cosine
    from random_encoder import random_lengths, random_texts

    encoder, rng = random_xlm_r(part), np.random.default_rng(0)
    lengths = random_lengths(60, number, rng)
    texts = random_texts(lengths, rng)
    run = contenders(encoder, texts, lengths.tolist(), stock_sizes=(32, 128))
    halved = partial(copy.deepcopy(encoder).bfloat16().encode_document, texts, show_progress_bar=False)
    run["stock encode in bfloat16, 128 texts"] = partial(halved, batch_size=128)

    def one(name: str) -> dict[str, Any]:
        figures, made = part.timed(run[name])
        if name.startswith("embed_texts"):
            nearest = least_cosine(made[:100], encoder.encode_document(texts[:100], show_progress_bar=False))
            figures |= {"least_cosine": nearest} | ({"agrees": nearest > NEAREST} if "float32" in name else {})
        return figures

    for name in run:
        part.contend(name, number, partial(one, name))


def training(part: Part, pairs: int) -> None:
    """Time a step in bfloat16, forward, backward and AdamW, with sentence-transformers' loss and with ours."""
    from random_encoder import random_texts
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from hybridlib.loss import InfoNCE

    encoder, rng = random_xlm_r(part), np.random.default_rng(0)
    stock = MultipleNegativesRankingLoss(encoder, scale=1 / TEMPERATURE)
    made = [encoder.preprocess(random_texts([TOKENS] * pairs, rng)) for _ in range(2)]
    columns = [{name: column[name].to(part.device) for name in ("input_ids", "attention_mask")} for column in made]

    def value(loss: Any) -> torch.Tensor:
        return loss([dict(column) for column in columns], None)  # copies, because the encoder adds to them

    def step(loss: Any, optimizer: torch.optim.Optimizer) -> None:
        with torch.autocast(part.device.type, torch.bfloat16):
            found = value(loss)
        found.backward()
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
    "metric": (metric, (1_000_000, 8_000_000), (150,)),
    "loss": (loss, (1_024, 8_192, 32_768), (64, 128)),
    "encoding": (encoding, (500, 2_000, 6_000), (12,)),
    "training": (training, (32, 100), (4,)),
}


def run_parts(names: Sequence[str], path: Path, small: bool) -> None:
    """Run parts at growing sizes; for a process of its own."""
    if small:
        torch.set_num_threads(1)
        ranks.has_kernels = lambda device: True  # in the interpreter
    for name in names:
        part, (run, sizes, toys) = Part(name, path, small), PARTS[name]
        for size in part.pick(sizes, toys):
            run(part, size)


def run_all(groups: Sequence[Sequence[str]], path: Path, small: bool) -> list[dict[str, Any]]:
    """Run each group of parts in a process, which ends when its time is over, and return all rows."""
    end = time.monotonic() + LIMIT_OF_ALL
    for names in groups:
        process = get_context("spawn").Process(target=run_parts, args=(names, path, small), daemon=True)
        process.start()
        seconds = max(1.0, min(LIMIT_OF_PART, end - time.monotonic()))
        process.join(seconds)
        ended = f"ended with exit code {process.exitcode}" if process.exitcode else ""
        if process.is_alive():
            process.kill()
            process.join()
            ended = f"ended after {seconds:.0f} s"
        if ended:
            add_row(path, {"part": ", ".join(names), "contender": "the part itself", "size": 0, "error": ended})
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="the parts to run")
    parser.add_argument("--small", action="store_true", help="rehearse on a CPU")
    given = parser.parse_args(arguments)
    if not given.small and not torch.cuda.is_available():
        print("no CUDA device: there is nothing to measure; --small rehearses on a CPU")
        return 2
    if given.small:
        os.environ["TRITON_INTERPRET"] = "1"
    device = "CPU" if given.small else torch.cuda.get_device_name()
    write_json(given.output, {"device": device, "machine": machine(), "versions": versions(*PACKAGES), "rows": []})
    groups = [given.only] if given.small else [[name] for name in given.only]
    rows, columns = run_all(groups, given.output, given.small), ("part", "contender", "size", "seconds", "times")
    if timed := [[row[column] for column in columns] for row in rows if "seconds" in row]:
        show(columns, timed)
    wrong = [row for row in rows if not row.get("agrees", row["part"] != "agreement")]
    for row in wrong:
        print("DISAGREES: {part}, {contender}, {size}".format(**row))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
