"""The speed of embedding texts, beside sentence-transformers' own `encode`.

    python benchmarks/encoding.py

all-MiniLM-L6-v2 embeds 600 of XQuAD-R's sentences on a CPU (random words of such lengths where HYBRIDLIB_DATA is not
set). It does so by `embed_texts` and by stock `encode_document`, with the latter's default batch of 32 texts and with
the best of a few other sizes. `benchmarks/gpu.py` does the same with random weights of XLM-R base's shape on CUDA.
Before any time counts, every embedding must have a cosine above 0.9999 with the stock one's.

The floor is a forward pass over as many tokens in texts of the mean length, without padding, tokenising and copies, in
batches of our size and with matrices that are cast once. The table of TFLOP/s counts 2 floating-point operations a
token and parameter (without the parameters of embeddings). Beside them is the rate of a bare product of two large
matrices in the same precision. The script takes two minutes on two cores, prints a table and writes
`benchmarks/encoding.json` and `encoding.png`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from measuring import draw_bars, in_turn, keep, machine, minilm_folder, show, versions
from random_encoder import random_lengths, random_texts
from sentence_transformers import SentenceTransformer

from hybridlib.encoder.embed import embed_texts
from hybridlib.encoder.halved import halved
from hybridlib.encoder.windows import batch_size_of

TEXTS = 600
ROUNDS = 3
STOCK_SIZES = (8, 32)  # the default, and what is best for such texts on a CPU
PRECISIONS = ("float32", "bfloat16")
NEAREST = 0.9999  # the least cosine
GOAL = 1.5
STOCK, OURS, FLOOR = "stock encode, {} texts", "embed_texts, {}", "floor, {}"


def contenders(
    encoder: SentenceTransformer, texts: list[str], lengths: Sequence[int], stock_sizes: Sequence[int]
) -> dict[str, Callable[[], Any]]:
    """Make the calls that are timed: stock `encode` with batches of some sizes, `embed_texts`, and the floor.

    Args:
        encoder: on the device to measure; its weights are float32.
        texts: to embed.
        lengths: how many tokens each text has.
        stock_sizes: texts of a batch of stock `encode`.
    """
    stock = partial(encoder.encode_document, texts, show_progress_bar=False)
    run: dict[str, Callable[[], Any]] = {STOCK.format(size): partial(stock, batch_size=size) for size in stock_sizes}
    run |= {OURS.format(name): partial(embed_texts, encoder, texts, precision=name) for name in PRECISIONS}
    return run | {FLOOR.format(name): bare_forward(encoder, lengths, name) for name in PRECISIONS}


def compare(encoder: SentenceTransformer, texts: list[str]) -> dict[str, Any]:
    """Check that the embeddings are stock's, then time both.

    Returns:
        `seconds` by contender, `texts_per_s`, `tokens_per_s`, `least_cosine` by precision, `padding` (shares of the
        tokens) of stock and of ours, `speed_up` over the best of stock by precision, and `tflops` of ours and of a
        matrix product by precision.
    """
    lengths = encoder.preprocess(texts, task="document")["attention_mask"].sum(dim=1).tolist()
    run = contenders(encoder, texts, lengths, STOCK_SIZES)
    expected = run[STOCK.format(STOCK_SIZES[0])]()
    cosines = {precision: least_cosine(run[OURS.format(precision)](), expected) for precision in PRECISIONS}
    for precision, cosine in cosines.items():
        if not cosine > NEAREST:
            raise AssertionError(f"{precision}: a cosine with stock's embedding is {cosine:.6f}, below {NEAREST}")
    padding = {name: share_of_padding(encoder, run[name]) for name in run if not name.startswith("floor")}
    seconds = in_turn(run, ROUNDS)
    best = min(seconds[STOCK.format(size)] for size in STOCK_SIZES)
    ours = {precision: seconds[OURS.format(precision)] for precision in PRECISIONS}
    # A token is multiplied with the parameters of the layers.
    layers = sum(weight.numel() for name, weight in encoder.named_parameters() if "embeddings" not in name)
    work = 2 * layers * sum(lengths)
    rates = {name: {"embed_texts": work / ours[name], "product": product_rate(name)} for name in PRECISIONS}
    return {
        "texts": len(texts),
        "tokens": sum(lengths),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "texts_per_s": {name: round(len(texts) / value, 1) for name, value in seconds.items()},
        "tokens_per_s": {name: round(sum(lengths) / value) for name, value in seconds.items()},
        "least_cosine": {precision: round(value, 7) for precision, value in cosines.items()},
        "padding": {name: round(value, 4) for name, value in padding.items()},
        "speed_up": {precision: round(best / value, 2) for precision, value in ours.items()},
        "tflops": {name: {what: round(rate / 1e12, 4) for what, rate in of.items()} for name, of in rates.items()},
    }


def least_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / norms).min())


def share_of_padding(encoder: SentenceTransformer, embed: Callable[[], Any]) -> float:
    """Return the share of the tokens given to the encoder that are padding."""
    masks: list[tuple[int, int]] = []

    def note(module: torch.nn.Module, given: tuple[dict[str, Any], ...]) -> None:
        mask = given[0]["attention_mask"]
        masks.append((int(mask.sum()), mask.numel()))

    hook = encoder[0].register_forward_pre_hook(note)
    embed()
    hook.remove()
    return 1 - sum(tokens for tokens, _ in masks) / sum(size for _, size in masks)


def bare_forward(encoder: SentenceTransformer, lengths: Sequence[int], precision: str) -> Callable[[], Any]:
    """Return a forward pass over as many tokens, in texts of the mean length and in batches of our size."""
    width = round(sum(lengths) / len(lengths))
    device = encoder.device
    rows = batch_size_of(encoder)[0] // width
    ids = torch.randint(10, 1000, (rows, width), generator=torch.Generator().manual_seed(0)).to(device)
    batches, half = max(1, round(sum(lengths) / ids.numel())), precision == "bfloat16"

    def forward() -> None:
        model = halved(encoder) if half else encoder
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
            for _ in range(batches):
                made = model({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
            made["sentence_embedding"].cpu()

    return forward


def product_rate(precision: str) -> float:
    """Return the floating-point operations a second of a product of two large matrices."""
    side = 2048
    matrix = torch.randn(side, side, generator=torch.Generator().manual_seed(0)).to(getattr(torch, precision))
    seconds = in_turn({"product": lambda: (matrix @ matrix)[0, 0].item()}, 6)
    return 2 * side**3 / seconds["product"]


def sentences() -> tuple[list[str], str]:
    """Return texts, and where they are from."""
    if os.environ.get("HYBRIDLIB_DATA"):
        from hybridlib.data.load import load_task

        texts = load_task("xquad-r").passages.text
        return texts.sample(TEXTS, random_state=0).tolist(), "XQuAD-R"
    rng = np.random.default_rng(0)
    return random_texts(random_lengths(60, TEXTS, rng), rng), "random words"


def figure(result: Mapping[str, Any], title: str) -> Any:
    """Draw the tokens a second of every contender, and the padding of those that have any."""
    bars, padding = {}, result["padding"]
    for name, rate in result["tokens_per_s"].items():
        bars[name] = rate, f"{rate:,.0f}" + (f", {padding[name]:.0%} padding" if name in padding else "")
    return draw_bars(bars, "embed", "tokens a second, padding not counted", title)


def main() -> None:
    before = machine()
    texts, source = sentences()
    result = compare(SentenceTransformer(minilm_folder(), device="cpu"), texts)
    rows = [
        (name, seconds, result["texts_per_s"][name], result["tokens_per_s"][name], result["padding"].get(name, 0.0))
        for name, seconds in result["seconds"].items()
    ]
    show(("contender", "seconds", "texts/s", "tokens/s", "padding"), rows)
    speed_up = result["speed_up"]["float32"]
    print(f"\n{speed_up} times the best of stock in float32; goal {GOAL}: {'met' if speed_up >= GOAL else 'missed'}")
    for precision, rates in result["tflops"].items():
        print(f"{precision}: {rates['embed_texts']} of a product's {rates['product']} TFLOP/s", end="; ")
        print(f"least cosine {result['least_cosine'][precision]:.7f}")
    record = {"source": source, "encoder": "all-MiniLM-L6-v2", "goal": GOAL, **result, "machine": before}
    record |= {"versions": versions("torch", "transformers", "sentence-transformers")}
    keep(__file__, record, figure(result, f"all-MiniLM-L6-v2 on {source}, {before['cores']} cores"))


if __name__ == "__main__":
    main()
