"""The memory and speed of an evaluation over a corpus that is not held in memory, and the cost of a `kill -9`.

    python benchmarks/streaming.py

A corpus of a million passages is made from the sentences of XQuAD-R, or of the embedded atlas where HYBRIDLIB_DATA is
not set: the real ones stand at random places among the first quarter. The others put the head of one sentence of a
language, the tail of another (24 characters each) and a number together. The corpus is written once as Arrow and
memory-mapped. A static encoder evaluates the first quarter, half and all of it, each in a fresh process.

Memory is the largest `RssAnon` of /proc/self/status, sampled every 20 ms. It is the memory that the process itself
holds. The resident set (`VmHWM`) is given beside it. It grows, because it counts the pages of the memory-mapped corpus
that the kernel keeps as long as nobody needs the room.

Then an evaluation of the million with a checkpoint is killed when half of it is counted, and resumed: its results must
be those of the one that was never killed, to the byte.
"""

import json
import os
import tempfile
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from measuring import in_own_process, keep, machine, memory_bytes, take_no_arguments, versions

import hybridlib as hl

SIZES = (250_000, 500_000, 1_000_000)
EVERY = 13  # takes one question in so many, so that encoding and not counting takes the time
PIECE = 24  # characters
_SCHEMA = pa.schema([(name, pa.string()) for name in ("passage_id", "language", "text")])


def main() -> None:
    take_no_arguments(__doc__)
    on = machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, queries, pairs = write_corpus(folder)
        sizes = [in_own_process(measure, folder, size) for size in SIZES]
        whole = (folder / "results.parquet").read_bytes()
        counted = kill_in_the_middle(folder)
        resumed = in_own_process(measure, folder, SIZES[-1], folder / "checkpoint")
        same = (folder / "results.parquet").read_bytes() == whole
        assert same, "resumed results differ"
    report = {
        "source": source,
        "queries": queries,
        "relevant pairs": pairs,
        "encoder": "static, 128 dimensions",
        "machine": on,
        "versions": versions("numpy"),
        "sizes": sizes,
        "killed and resumed": {
            "passages counted before the kill, not encoded again": counted,
            "texts encoded after it": resumed["texts encoded"],
            "results equal": same,
        },
    }
    print(json.dumps(report, indent=1))
    keep(__file__, report)


def write_corpus(folder: Path) -> tuple[str, int, int]:
    """Write the corpus, queries and judgements; return what they are made of, and how many queries and pairs."""
    name = "xquad-r" if "HYBRIDLIB_DATA" in os.environ else "atlas"
    task = hl.load_task(name)
    queries = task.queries[::EVERY]
    qrels = task.qrels[task.qrels.query_id.isin(queries.query_id)]
    queries.drop(columns="question").to_parquet(folder / "queries.parquet")
    qrels.to_parquet(folder / "qrels.parquet")
    rng = np.random.default_rng(0)
    real, size = task.passages, SIZES[-1]
    place = np.full(size, -1)  # the real passage at each position, or -1
    place[rng.choice(SIZES[0], len(real), replace=False)] = np.arange(len(real))
    of_language = {code: table.text.tolist() for code, table in real.groupby("language")}
    languages = rng.choice(list(of_language), size)
    with pa.OSFile(str(folder / "corpus.arrow"), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        for start in range(0, size, 10_000):
            rows = []
            for position in range(start, start + 10_000):
                if place[position] >= 0:
                    rows.append(real.iloc[place[position]][_SCHEMA.names].to_dict())
                    continue
                texts = of_language[languages[position]]
                head, tail = (texts[i] for i in rng.integers(0, len(texts), 2))
                made = f"made:{position}", languages[position], f"{head[:PIECE]} {tail[-PIECE:]} {position}"
                rows.append(dict(zip(_SCHEMA.names, made, strict=True)))
            writer.write_table(pa.Table.from_pylist(rows))
    return name, len(queries), len(qrels)


def measure(folder: Path, size: int, checkpoint: Path | None = None) -> dict[str, Any]:
    """Evaluate the first passages of the corpus, and return what that took; for a process of its own."""
    corpus = datasets.Dataset.from_file(str(folder / "corpus.arrow")).select(range(size))
    task = hl.RetrievalTask(
        pd.read_parquet(folder / "queries.parquet"), corpus, pd.read_parquet(folder / "qrels.parquet")
    )
    encoder = hl.load_encoder("static")
    encode, encoded = encoder.encode_document, []
    encoder.encode_document = lambda texts, **rest: encoded.append(len(texts)) or encode(texts, **rest)
    before, peak, stop = memory_bytes("RssAnon"), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], memory_bytes("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start, start_cpu = time.perf_counter(), time.process_time()
    results = hl.evaluate(encoder, task, checkpoint=checkpoint, progress=True)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    stop.set()
    watcher.join()
    results.to_parquet(folder / "results.parquet")
    took = {
        "passages": size,
        "passages per second": round(size / seconds),
        "passages per second of a core": round(size / cpu_seconds),
        "seconds": round(seconds, 1),
        "MB held before": round(before / 1e6),
        "MB held at most": round(peak[0] / 1e6),
        "MB resident at most, with pages of the corpus": round(memory_bytes("VmHWM") / 1e6),
        "texts encoded": sum(encoded),
    }
    print(took, flush=True)
    return took


def kill_in_the_middle(folder: Path) -> int:
    """Start an evaluation of all passages, kill it when half is counted, and say how many were."""
    checkpoint = folder / "checkpoint"
    process = get_context("spawn").Process(target=measure, args=(folder, SIZES[-1], checkpoint))
    process.start()
    counted = 0
    while counted < SIZES[-1] / 2:
        assert process.is_alive(), "it was done before it could be killed"
        time.sleep(0.1)
        for path in checkpoint.glob("counts-*.npz"):
            with np.load(path) as part:
                counted = len(part["chunks"]) * json.loads((checkpoint / "evaluation.json").read_text())["chunk_size"]
    process.kill()
    process.join()
    return counted


if __name__ == "__main__":
    main()
