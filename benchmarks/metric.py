"""The time of the full XQuAD-R report from given embeddings, beside a bare matrix product and beside its peers.

    python benchmarks/metric.py [--random]

The report is every measure of every question in all settings: 121 pairs of languages and the pool of all 11, from
13,090 questions, 13,014 sentences and 143,990 judged pairs. The embeddings are those of all-MiniLM-L6-v2 (kept in runs/
once made), or random ones with the same counts where the data is absent or `--random` is given.

The floor is the float32 product of all questions with all passages, by numpy or by torch, whichever is faster. The
peers (`benchmarks/peers.py` has how each is asked) report average precision at full depth, nDCG at 10 and recall at 1,
10 and 100 in the same 12 pools. They are far too slow for all questions, so each is timed on every 200th, and its time
multiplied. *Doubling* tells how fair this is: it is how many times as long the sample takes as half of it, and is 2 if
the time is proportional to the questions. Time that is spent once a pool is multiplied as well; it is the share
2 / doubling - 1 of the time given.

Contenders take turns; the median of five counts. Before anything is timed, every value that a peer gives for the sample
must agree with ours to 1e-6. For this it is given exact scores (`peers.with_exact_scores`), because float32 ranks near
ties either way. It takes two minutes on two cores, once the embeddings are made.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from measuring import draw_bars, in_turn, keep, machine, minilm_folder, show, versions
from peers import MEASURES, PACKAGES, PEERS, Pool, check_peer, with_exact_scores
from threadpoolctl import threadpool_info

import hybridlib as hl
from hybridlib.encoder.embed import embed_texts
from hybridlib.evaluation.pairs import ALL_LANGUAGES
from hybridlib.files import replacing
from hybridlib.paths import project_root

ROUNDS = 5
EVERY = 200
PRODUCTS = {"numpy": "bare float32 product (numpy)", "torch": "bare float32 product (torch)"}
RANKS = "exact ranks (relevant_ranks)"
REPORT = "the whole report (evaluate_embeddings)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", action="store_true", help="take random embeddings even if real ones can be had")
    real = not parser.parse_args().random and "HYBRIDLIB_DATA" in os.environ
    task = hl.load_task("xquad-r") if real else like_xquad_r()
    queries, passages, name = real_embeddings(task) if real else random_embeddings(task)
    shape = f"{len(queries):,} x {len(passages):,} x {queries.shape[1]}"
    on = machine()

    sample = np.arange(0, len(queries), EVERY)
    pools = pools_of(task, queries, passages, sample)
    differences = check_agreement(pools, hl.evaluate_embeddings(queries, passages, task), task.queries.query_id[sample])
    took = in_turn(ours_and_floor(queries, passages, task) | peers_on(pools, len(sample)), ROUNDS)
    doubling = {peer: took[peer] / took.pop(f"{peer}, half") for peer in PEERS}
    seconds = {label: took[label] * (len(queries) / len(sample) if label in PEERS else 1) for label in took}

    floor, report = min(seconds[label] for label in PRODUCTS.values()), seconds[REPORT]
    print(f"\n{name}: {shape}, {len(task.pairs):,} judged pairs; peers on {len(sample)} questions\n")
    columns = ["", "seconds", "products", "times ours", "doubling"]
    show(columns, [[n, s, s / floor, s / report, doubling.get(n, "")] for n, s in seconds.items()])
    record = {
        "embeddings": name,
        "shape": shape,
        "machine": on,
        "kernels of the products": sorted(pool["architecture"] for pool in threadpool_info() if "architecture" in pool),
        "versions": versions("numpy", "torch", "numba", *(package for peer in PEERS for package in PACKAGES[peer])),
        "questions the peers are timed on": len(sample),
        "largest difference of a value": differences,
        "doubling": doubling,
        "seconds": seconds,
    }
    keep(__file__, record, draw(seconds, f"{name}: {shape}"))


def pools_of(task: hl.RetrievalTask, queries: np.ndarray, passages: np.ndarray, sample: np.ndarray) -> dict[str, Pool]:
    """Return the pool of each language and that of all, for some questions, in float64."""
    unit_queries, unit_passages = (
        table / np.linalg.norm(table.astype(np.float64), axis=1, keepdims=True) for table in (queries[sample], passages)
    )
    judged = [task.pairs[task.pairs[:, 0] == row, 1] for row in sample]
    pools = {}
    for number, name in enumerate([*task.languages, ALL_LANGUAGES]):
        rows = np.arange(len(passages))
        if name != ALL_LANGUAGES:
            rows = rows[task.passage_languages == number]
        relevant = [np.flatnonzero(np.isin(rows, of_query)) for of_query in judged]
        assert all(map(len, relevant)), "in XQuAD-R every question has an answer in every language"
        pools[name] = Pool(unit_queries, unit_passages[rows], relevant)
    return pools


def check_agreement(pools: Mapping[str, Pool], results: pd.DataFrame, ids: pd.Series) -> dict[str, float]:
    """Return the largest difference of each peer's values from ours, over all questions, measures and pools.

    Args:
        pools: of the sampled questions, in float64.
        results: our values of all questions.
        ids: the ids of the sampled questions.

    Raises:
        ArithmeticError: one is `peers.AGREEMENT` or more.
    """
    ours = results[results.query_id.isin(ids) & results.measure.isin(MEASURES)]
    table = ours.astype({"passage_language": str, "measure": str}).pivot_table(
        values="value", index="query_id", columns=["passage_language", "measure"], observed=True
    )
    values = [table.loc[ids, name][list(MEASURES)].to_numpy() for name in pools]
    exact, differences = [with_exact_scores(pool) for pool in pools.values()], {}
    for peer in PEERS:
        differences[peer] = check_peer(peer, exact, values)
        print(f"{peer}: agrees to {differences[peer]:.1e}", flush=True)
    return differences


def ours_and_floor(queries: np.ndarray, passages: np.ndarray, task: hl.RetrievalTask) -> dict[str, Callable[[], Any]]:
    # The matrix is there already: a new one would cost as much again, for the pages of memory.
    scores = np.zeros((len(queries), len(passages)), dtype=np.float32)
    q, d, out = (torch.from_numpy(array) for array in (queries, passages, scores))
    return {
        PRODUCTS["numpy"]: lambda: np.matmul(queries, passages.T, out=scores),
        PRODUCTS["torch"]: lambda: torch.mm(q, d.T, out=out),
        RANKS: lambda: hl.relevant_ranks(queries, passages, task.pairs, task.passage_languages),
        REPORT: lambda: hl.evaluate_embeddings(queries, passages, task),
    }


def peers_on(pools: Mapping[str, Pool], questions: int) -> dict[str, Callable[[], Any]]:
    """Return each peer's reports on all pools, from float32 embeddings, of all the questions and of half of them."""
    half, contenders = {}, {}
    for name, pool in pools.items():
        half[name] = replace(pool, queries=pool.queries[: questions // 2], relevant=pool.relevant[: questions // 2])
    for peer in PEERS:
        contenders |= {peer: on_all(peer, pools), f"{peer}, half": on_all(peer, half)}
        contenders[f"{peer}, half"]()  # so that all is compiled for half, as it is for the whole sample
    return contenders


def on_all(peer: str, pools: Mapping[str, Pool]) -> Callable[[], Any]:
    reports = [PEERS[peer](pool.in_float32()) for pool in pools.values()]
    return lambda: [report() for report in reports]


def draw(seconds: Mapping[str, float], title: str) -> Any:
    """Draw bars of seconds on a logarithmic scale, the floor as a line, and at each bar how many times ours it is."""
    floor, report = min(seconds[label] for label in PRODUCTS.values()), seconds[REPORT]
    bars = {"hybridlib: exact ranks": (seconds[RANKS], f"{seconds[RANKS]:.2f} s")}
    bars["hybridlib: the whole report"] = report, f"{report:.2f} s"
    for peer in sorted(PEERS, key=seconds.__getitem__):
        bars[f"{peer} *"] = seconds[peer], f"{seconds[peer]:,.0f} s, {seconds[peer] / report:,.0f} times ours"
    xlabel = "seconds (logarithmic)          * timed on every 200th question, and multiplied"
    figure = draw_bars(bars, "hybridlib", xlabel, f"{title}\n")
    (axes,) = figure.axes
    axes.axvline(floor, color="black", linestyle="--", linewidth=1)
    axes.text(floor, -0.62, f"a bare matrix product, {floor:.2f} s ", ha="center", va="bottom", fontsize=9)
    axes.set(xscale="log", xlim=(floor / 3, 20 * max(seconds.values())), ylim=(len(bars) - 0.4, -0.6))
    return figure


def real_embeddings(task: hl.RetrievalTask) -> tuple[np.ndarray, np.ndarray, str]:
    kept = project_root() / "runs" / "benchmark-xquad-r-minilm.npz"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        encoder = hl.load_encoder(minilm_folder())
        queries = embed_texts(encoder, task.queries.text.tolist(), role="query", progress=True)
        passages = embed_texts(encoder, task.passages.text.tolist(), progress=True)
        with replacing(kept) as draft, open(draft, "wb") as file:
            np.savez(file, queries=queries, passages=passages)
    with np.load(kept) as arrays:
        return arrays["queries"], arrays["passages"], "XQuAD-R with all-MiniLM-L6-v2"


def like_xquad_r() -> hl.RetrievalTask:
    """Make a task with XQuAD-R's counts; a random sentence of each language answers a question in any language."""
    counts = {"ar": 1222, "de": 1276, "el": 1234, "en": 1180, "es": 1215, "hi": 1244}
    counts |= {"ru": 1219, "th": 852, "tr": 1167, "vi": 1209, "zh": 1196}
    rng = np.random.default_rng(0)
    queries = [(f"{code}:{n}", code, "", n) for code in counts for n in range(1190)]
    passages = [(f"{code}:{n}", code, "") for code, size in counts.items() for n in range(size)]
    answers = [(n, f"{code}:{rng.integers(size)}") for n in range(1190) for code, size in counts.items()]
    queries = pd.DataFrame(queries, columns=["query_id", "language", "text", "question"])
    qrels = queries.merge(pd.DataFrame(answers, columns=["question", "passage_id"]), on="question").assign(relevance=1)
    return hl.RetrievalTask(queries, pd.DataFrame(passages, columns=["passage_id", "language", "text"]), qrels)


def random_embeddings(task: hl.RetrievalTask) -> tuple[np.ndarray, np.ndarray, str]:
    rng = np.random.default_rng(0)
    drawn = [rng.standard_normal((len(table), 384), dtype=np.float32) for table in (task.queries, task.passages)]
    return drawn[0], drawn[1], "random embeddings"


if __name__ == "__main__":
    main()
