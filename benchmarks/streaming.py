"""Memory and speed of an evaluation over a corpus that is not held in memory, and what a `kill -9` costs.

    python benchmarks/streaming.py

A corpus of a million passages is made from the sentences of XQuAD-R, or of the embedded atlas where HYBRIDLIB_DATA is
not set: the real ones at random places among the first quarter, and others that put the head of one sentence of a
language, the tail of another (24 characters each) and a number together. It is written once as Arrow and memory-mapped;
a static encoder evaluates the first quarter, half and all of it, each in a fresh process.

Memory is the largest `RssAnon` of /proc/self/status, sampled every 20 ms: what the process itself holds. The resident
set (`ru_maxrss`) is given beside it, and grows, because it counts the pages of the memory-mapped corpus that the kernel
keeps as long as nobody needs the room.

Then an evaluation of the million with a checkpoint is killed when half of it is counted, and resumed: its results must
be those of the one that was never killed, to the byte.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from measuring import keep, machine, resident_bytes, versions

import hybridlib as hl

SIZES = (250_000, 500_000, 1_000_000)
EVERY = 13  # of the questions of XQuAD-R, so that encoding and not counting is what takes the time
PIECE = 24  # characters
_SCHEMA = pa.schema([(name, pa.string()) for name in ("passage_id", "language", "text")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        measure(arguments.folder, arguments.size, arguments.checkpoint)
        return
    on = machine()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, queries, pairs = write_corpus(folder)
        sizes = [run(folder, size) for size in SIZES]
        whole = (folder / "results.parquet").read_bytes()
        counted = kill_in_the_middle(folder)
        resumed = run(folder, SIZES[-1], folder / "checkpoint")
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
    """Write the corpus, queries and judgements; returns what they are made of, and how many queries and pairs."""
    name = "xquad-r" if "HYBRIDLIB_DATA" in os.environ else "atlas"
    task = hl.load_task(name)
    queries = task.queries[::EVERY]
    qrels = task.qrels[task.qrels.query_id.isin(queries.query_id)]
    queries.drop(columns="question").to_parquet(folder / "queries.parquet")
    qrels.to_parquet(folder / "qrels.parquet")
    rng = np.random.default_rng(0)
    real, size = task.passages, SIZES[-1]
    place = np.full(size, -1)  # which real passage is where
    place[rng.choice(SIZES[0], len(real), replace=False)] = np.arange(len(real))
    of_language = {code: table.text.tolist() for code, table in real.groupby("language")}
    languages = rng.choice(list(of_language), size)
    with pa.OSFile(str(folder / "corpus.arrow"), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        for start in range(0, size, 10_000):
            rows = []
            for position in range(start, start + 10_000):
                if place[position] >= 0:
                    rows.append(tuple(real.iloc[place[position]][["passage_id", "language", "text"]]))
                    continue
                language = languages[position]
                texts = of_language[language]
                head, tail = (texts[i] for i in rng.integers(0, len(texts), 2))
                made = f"{head[:PIECE]} {tail[-PIECE:]} {position}"
                rows.append((f"made:{position}", language, made))
            writer.write_table(pa.Table.from_pylist([dict(zip(_SCHEMA.names, row, strict=True)) for row in rows]))
    return name, len(queries), len(qrels)


def command(folder: Path, size: int, checkpoint: Path | None) -> list[str]:
    """Return the command that runs one evaluation in a process of its own."""
    said = [sys.executable, __file__, "--folder", str(folder), "--size", str(size)]
    return said + (["--checkpoint", str(checkpoint)] if checkpoint else [])


def run(folder: Path, size: int, checkpoint: Path | None = None) -> dict:
    """Evaluate in a fresh process, and return what that took."""
    done = subprocess.run(command(folder, size, checkpoint), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(folder: Path, size: int, checkpoint: Path | None) -> None:
    """Evaluate the first passages of the corpus, and print what that took; for a fresh process."""
    corpus = datasets.Dataset.from_file(str(folder / "corpus.arrow")).select(range(size))
    task = hl.RetrievalTask(
        pd.read_parquet(folder / "queries.parquet"), corpus, pd.read_parquet(folder / "qrels.parquet")
    )
    encoder = hl.load_encoder("static")
    encode, encoded = encoder.encode_document, []
    encoder.encode_document = lambda texts, **rest: encoded.append(len(texts)) or encode(texts, **rest)
    before, peak, stop = resident_bytes("RssAnon"), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], resident_bytes("RssAnon"))

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
        "MB resident at most, with pages of the corpus": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        ),
        "texts encoded": sum(encoded),
    }
    print(json.dumps(took))
    print(took, file=sys.stderr)


def kill_in_the_middle(folder: Path) -> int:
    """Start an evaluation of all passages, kill it when half is counted, and say how many were."""
    checkpoint = folder / "checkpoint"
    process = subprocess.Popen(command(folder, SIZES[-1], checkpoint), stdout=subprocess.DEVNULL)
    counted = 0
    while counted < SIZES[-1] / 2:
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.1)
        for path in checkpoint.glob("counts-*.npz"):
            with np.load(path) as part:
                counted = len(part["chunks"]) * json.loads((checkpoint / "evaluation.json").read_text())["chunk_size"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    return counted


if __name__ == "__main__":
    main()
