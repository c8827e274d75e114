"""Growth of the metric's time and memory with the corpus, from ten thousand to two million passages.

    python benchmarks/growth.py

`RankCounter` computes the exact rank of the relevant passage of each of 256 questions. The corpus is unit vectors of
384 dimensions in float32. It is made from a seed in chunks of 8,192, which are counted one after the other; the
smallest corpus is larger than a chunk. Beside it are timed:

- the floor, the float32 product of the questions with the same chunks, by numpy, into a matrix that is there;
- peers (`benchmarks/peers.py`), which have the whole corpus given and report on 8 of the questions; their time is
  multiplied by 32. Each goes on to the next size if that will take no more than 20 seconds and 4,000 MB, in proportion
  to the last size.

First, at the smallest size, ranks are compared with float64 scores, and the peers' values with the ranks.

The time to make the corpus, ids and judgements does not count. Ours and the floor take turns, chunk by chunk. The
median of three passes over the corpus counts, or the first one if it takes over two seconds. Memory is how far the
resident memory of a process of its own rises at most above what it was with all that the contender is given: one chunk
for ours and the floor, the whole corpus for peers. For peers it is the memory for 8 questions. It runs on Linux only,
in three minutes.
"""

import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from measuring import PeakMemory, draw_lines, in_own_process, keep, machine, show, take_no_arguments, versions
from peers import MEASURES, PEERS, Pool, check_peer, with_exact_scores

from hybridlib.metric.measures import Rankings, parse_measure
from hybridlib.metric.ranks import RankCounter

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000)
DIMENSIONS = 384
CHUNK = 8_192
QUERIES, OF_PEERS = 256, 8
ROUNDS, LONG = 3, 2  # seconds, of which one round is enough
MOST_SECONDS, MOST_MEGABYTES = 20, 4_000
OURS, FLOOR = "hybridlib (RankCounter)", "bare float32 product"
Contender = Callable[[int, np.ndarray], Any]  # its arguments: where a chunk begins, and its passages
CONTENDERS = (OURS, FLOOR, "faiss full depth + pytrec_eval", "sentence-transformers")


def main() -> None:
    take_no_arguments(__doc__)
    on = machine()
    difference = in_own_process(check)
    print(f"ranks equal those of float64 scores; largest difference of a peer's value: {difference:.1e}\n", flush=True)
    rows = [row for size in SIZES for row in in_own_process(ours_and_floor, size)]
    rows += [row for peer in CONTENDERS[2:] for row in rows_of_peer(peer)]
    print()
    show(["", "passages", "seconds", "MB"], [list(row.values()) for row in rows])
    ours = [row["MB"] for row in rows if row["contender"] == OURS]
    print(f"\nmemory of {OURS}: the most is {max(ours) / min(ours):.2f} times the least")
    record = {
        "shape": f"{QUERIES} questions x {DIMENSIONS} dimensions, chunks of {CHUNK:,}; peers on {OF_PEERS} questions",
        "machine": on,
        "versions": versions("numpy", "numba", "torch", "faiss-cpu", "pytrec-eval-terrier", "sentence-transformers"),
        "largest difference of a peer's value": difference,
        "most memory over least": round(max(ours) / min(ours), 3),
        "rows": rows,
    }
    titles = {"s": f"Time for {QUERIES} questions (s)", "MB": f"Memory (MB; that of peers is for {OF_PEERS} questions)"}
    labels = {name: name for name in CONTENDERS}
    keep(__file__, record, draw_lines(rows, "passages", titles, "contender", labels, width=9, dashed=[FLOOR]))


def row_of(name: str, size: int, seconds: float, megabytes: float) -> dict[str, Any]:
    print(f"{name}: {size:,} passages, {seconds:.3g} s, {megabytes:.1f} MB", flush=True)
    return {"contender": name, "passages": size, "s": round(seconds, 4), "MB": round(megabytes, 1)}


def rows_of_peer(name: str) -> list[dict[str, Any]]:
    """Return a row for every size up to where the next would take too long or too much memory."""
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        if rows:
            last = rows[-1]
            growth = size / last["passages"]
            if last["s"] / QUERIES * OF_PEERS * growth > MOST_SECONDS or last["MB"] * growth > MOST_MEGABYTES:
                break
        rows.append(row_of(name, size, *in_own_process(peer_at, name, size)))
    return rows


def chunks(size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield where each chunk begins, and its passages. One chunk is in memory: the next one overwrites it.

    A larger corpus begins with a smaller one.
    """
    buffer = np.zeros((CHUNK, DIMENSIONS), dtype=np.float32)
    for start in range(0, size, CHUNK):
        generator = np.random.default_rng([0, start])
        passages = generator.random(dtype=np.float32, out=buffer)[: size - start]
        passages -= 0.5
        passages /= np.sqrt(np.einsum("pd,pd->p", passages, passages))[:, None]
        yield start, passages


@functools.cache
def questions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return questions, and the embedding and the place in the first chunk of the passage relevant to each.

    A question is its passage and six times as much noise, which puts it anywhere from first to far down.
    """
    generator = np.random.default_rng(1)
    positions = np.sort(generator.choice(CHUNK, QUERIES, replace=False))
    relevant = next(chunks(CHUNK))[1][positions]
    noise = generator.standard_normal(relevant.shape, dtype=np.float32) / DIMENSIONS**0.5
    queries = relevant + 6 * noise
    return queries / np.linalg.norm(queries, axis=1, keepdims=True), relevant, positions


def counter_of() -> RankCounter:
    queries, relevant, positions = questions()
    pairs = np.column_stack([np.arange(QUERIES), np.arange(QUERIES)])
    return RankCounter(queries, relevant, pairs, positions, languages=1)


def check() -> float:
    """Return the largest difference of a peer's value from ours at the smallest size; for a process of its own.

    Raises:
        ArithmeticError: ranks are not those of float64 scores, or `check_peer` raises it.
    """
    size, counter = SIZES[0], counter_of()
    for start, passages in chunks(size):
        counter.update(passages, np.zeros(len(passages), dtype=int), start=start)
    ranks = counter.above[:, 0] + 1
    queries, _, positions = questions()
    corpus = corpus_of(size).astype(np.float64)
    unit = corpus / np.linalg.norm(corpus, axis=1, keepdims=True)
    scores = queries.astype(np.float64) @ unit.T
    expected = (scores > scores[np.arange(QUERIES), positions][:, None]).sum(axis=1) + 1
    if not np.array_equal(ranks, expected):
        raise ArithmeticError(f"{(ranks != expected).sum()} of {QUERIES} ranks are not those of float64 scores")
    rankings = Rankings(np.arange(OF_PEERS), ranks[:OF_PEERS], np.ones(OF_PEERS))
    ours = np.stack([parse_measure(name)(rankings) for name in MEASURES], axis=1)
    exact = with_exact_scores(replace(pool_of(size), passages=unit))
    return max(check_peer(peer, [exact], [ours]) for peer in CONTENDERS[2:])


def counting() -> Contender:
    counter, languages = counter_of(), np.zeros(CHUNK, dtype=int)
    return lambda start, passages: counter.update(passages, languages[: len(passages)], start=start)


def multiplying() -> Contender:
    queries, scores = questions()[0], np.zeros((QUERIES, CHUNK), dtype=np.float32)
    return lambda start, passages: np.matmul(queries, passages.T, out=scores[:, : len(passages)])


def ours_and_floor(size: int) -> list[dict[str, Any]]:
    """Return the rows of both at one size; for a process of its own."""
    begins = {OURS: counting, FLOOR: multiplying}
    for start, passages in chunks(CHUNK):  # so that all is compiled, or made at first use
        for begin in begins.values():
            begin()(start, passages)
    megabytes = {name: memory_of(begin, size) for name, begin in begins.items()}
    passes = [seconds_of_a_pass(begins, size)]
    while len(passes) < ROUNDS and passes[0][OURS] < LONG:
        passes.append(seconds_of_a_pass(begins, size))
    return [row_of(name, size, statistics.median(one[name] for one in passes), megabytes[name]) for name in begins]


def memory_of(begin: Callable[[], Contender], size: int) -> float:
    corpus = chunks(size)
    first = next(corpus)  # given to the contender, so not counted
    with PeakMemory() as peak:
        contender = begin()
        for start, passages in itertools.chain([first], corpus):
            contender(start, passages)
    return peak.megabytes


def seconds_of_a_pass(begins: Mapping[str, Callable[[], Contender]], size: int) -> dict[str, float]:
    seconds, contenders = dict.fromkeys(begins, 0.0), {}
    for name, begin in begins.items():
        since = time.perf_counter()
        contenders[name] = begin()
        seconds[name] += time.perf_counter() - since
    for start, passages in chunks(size):
        for name, contender in contenders.items():
            since = time.perf_counter()
            contender(start, passages)
            seconds[name] += time.perf_counter() - since
    return seconds


def corpus_of(size: int) -> np.ndarray:
    return np.concatenate([passages.copy() for _, passages in chunks(size)])


def pool_of(size: int) -> Pool:
    """Return the questions that peers report on, and the whole corpus."""
    queries, _, positions = questions()
    return Pool(queries[:OF_PEERS], corpus_of(size), [positions[row : row + 1] for row in range(OF_PEERS)])


def peer_at(name: str, size: int) -> tuple[float, float]:
    """Return the seconds of a peer for all questions, and MB for those it reports on; for a process of its own."""
    PEERS[name](pool_of(SIZES[0]))()  # so that its code is in memory
    report = PEERS[name](pool_of(size))
    times: list[float] = []
    with PeakMemory() as peak:
        while not times or (len(times) < ROUNDS and times[0] < LONG):
            begin = time.perf_counter()
            report()
            times.append(time.perf_counter() - begin)
    return statistics.median(times) * QUERIES / OF_PEERS, peak.megabytes


if __name__ == "__main__":
    main()
