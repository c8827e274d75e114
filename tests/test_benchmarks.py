"""The benchmarks are fair to their peers: each is asked for what we compute, and answers it."""

import importlib
import importlib.util
import itertools
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import hybridlib as hl
from hybridlib.paths import project_root

# Each peer needs a module; peers of the `bench` extra are tested where they are installed.
FAISS = "faiss full depth + pytrec_eval"
PEERS = {FAISS: "pytrec_eval", "sentence-transformers": "sentence_transformers"}
PEERS |= {name: name for name in ("ranx", "mteb", "torchmetrics")}
INSTALLED = [peer for peer, module in PEERS.items() if importlib.util.find_spec(module)]
SCRIPTS = ("measuring", "peers", "metric", "growth", "sampler")


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The benchmarks, as modules; they find each other in their folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(project_root() / "benchmarks")
        yield {name: importlib.import_module(name) for name in SCRIPTS}
        for name in SCRIPTS:
            del sys.modules[name]


@pytest.fixture(scope="module")
def task() -> hl.RetrievalTask:
    """Seven questions in each of two languages; one or two of the 13 and 17 passages answer each, in both."""
    rng = np.random.default_rng(0)
    sizes = {"en": 13, "sw": 17}
    queries = pd.DataFrame([(f"{code}{n}", code, "?", n) for code in sizes for n in range(7)])
    queries.columns = ["query_id", "language", "text", "question"]
    passages = [(f"{code}-{n}", code, "") for code, size in sizes.items() for n in range(size)]
    qrels = [
        (query, f"{code}-{n}", 1)
        for query in queries.query_id
        for code, size in sizes.items()
        for n in rng.choice(size, rng.integers(1, 3), replace=False)
    ]
    passages = pd.DataFrame(passages, columns=["passage_id", "language", "text"])
    return hl.RetrievalTask(queries, passages, pd.DataFrame(qrels, columns=["query_id", "passage_id", "relevance"]))


@pytest.fixture(scope="module")
def embeddings(task: hl.RetrievalTask) -> tuple[np.ndarray, np.ndarray]:
    """Random embeddings: every third passage repeats the one before, or differs by less than float32 can tell."""
    rng = np.random.default_rng(1)
    queries, passages = rng.standard_normal((len(task.queries), 5)), rng.standard_normal((len(task.passages), 5))
    passages[1::3] = passages[0::3]
    passages[2::6] = passages[1::6] * (1 + 1e-10 * rng.standard_normal(passages[1::6].shape))
    return queries, passages


@pytest.fixture
def pools(scripts: dict, task: hl.RetrievalTask, embeddings: tuple) -> dict:
    return scripts["metric"].pools_of(task, *embeddings, np.arange(len(task.queries)))


@pytest.mark.parametrize("peer", INSTALLED)
def test_a_peer_reports_what_we_do_in_every_pool(peer, scripts, task, embeddings, pools, monkeypatch):
    metric = scripts["metric"]
    monkeypatch.setattr(metric, "PEERS", {peer: metric.PEERS[peer]})
    results = hl.evaluate_embeddings(*embeddings, task)
    # torchmetrics computes in float32: half an ulp of 1 is 6e-8, in a few operations.
    assert metric.check_agreement(pools, results, task.queries.query_id)[peer] < (
        5e-7 if peer == "torchmetrics" else 1e-12
    )


@pytest.mark.parametrize("peer", INSTALLED)
def test_a_peer_takes_no_passage_for_irrelevant_because_its_score_is_negative(peer, scripts):
    peers, rng = scripts["peers"], np.random.default_rng(2)
    vectors = rng.standard_normal((20, 5))
    vectors[:3, 0], vectors[3:, 0] = 3, -6  # questions and passages look away from each other
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pool = peers.Pool(unit[:3], unit[3:], [np.array([0, 5]), np.array([9]), np.array([16, 2, 3])])
    scores = np.sort(pool.queries @ pool.passages.T, axis=1)
    assert scores.max() < 0 and np.diff(scores).min() > 1e-4  # float32 can tell them apart
    theirs, exact = (peers.PEERS[peer](one)() for one in (pool.in_float32(), peers.with_exact_scores(pool)))
    assert np.allclose(theirs, exact, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("off", "said"), [(1e-5, "1.0e-05"), (np.nan, "nan")])
def test_a_peer_that_is_off_in_one_value_fails_the_benchmark(off, said, scripts, pools, monkeypatch):
    peers = scripts["peers"]
    exact = [peers.with_exact_scores(pool) for pool in pools.values()]
    right = [peers.PEERS[FAISS](pool)() for pool in exact]
    wrong = right[1].copy()
    wrong[3, 1] += off
    answers = iter([right[0], wrong, right[2]])
    monkeypatch.setitem(peers.PEERS, "wrong", lambda pool: lambda: next(answers))
    with pytest.raises(ArithmeticError, match=f"wrong differs by {said} from exact ranks; expected less than 1e-06"):
        peers.check_peer("wrong", exact, right)


def test_every_peer_is_tested_and_says_what_it_is_installed_as(scripts):
    peers = scripts["peers"]
    assert list(peers.PEERS) == list(peers.PACKAGES) == list(PEERS)
    assert set(INSTALLED) >= {FAISS, "sentence-transformers", "mteb"}  # the `test` extra


def test_exact_scores_are_places_in_the_order_of_float64_and_of_the_corpus(scripts, pools):
    for pool in pools.values():
        exact = scripts["peers"].with_exact_scores(pool)
        assert exact.queries.dtype == exact.passages.dtype == np.float32
        for query, row in zip(pool.queries, exact.queries @ exact.passages.T, strict=True):
            scores = [round(sum(a * b for a, b in zip(query, passage, strict=True)), 12) for passage in pool.passages]
            best_first = sorted(range(len(scores)), key=lambda n: (-scores[n], n))
            assert row[best_first].tolist() == list(range(len(scores), 0, -1))


def test_pools_hold_the_passages_of_their_language_and_the_judgements_on_them(scripts, task, pools):
    assert {name: len(pool.passages) for name, pool in pools.items()} == {"en": 13, "sw": 17, "all": 30}
    judged = {name: sum(map(len, pool.relevant)) for name, pool in pools.items()}
    assert judged["en"] + judged["sw"] == judged["all"] == len(task.pairs)
    # The passages of `sw` come after the 13 of `en`.
    assert all(set(pools["sw"].relevant[n] + 13) <= set(pools["all"].relevant[n]) for n in range(14))


def test_a_larger_corpus_begins_with_a_smaller_one(scripts, monkeypatch):
    growth = scripts["growth"]
    monkeypatch.setattr(growth, "CHUNK", 7)
    small, large = growth.corpus_of(10), growth.corpus_of(23)
    assert np.array_equal(small, large[:10])
    assert len(np.unique(large, axis=0)) == 23
    assert np.allclose(np.linalg.norm(large, axis=1), 1, atol=1e-6)


def test_a_batch_asked_for_by_its_number_is_the_one_that_iterating_comes_to(scripts, monkeypatch):
    sampler = scripts["sampler"]
    sampler.check(2000)
    calls = itertools.count()  # what comes depends on what came before
    monkeypatch.setattr(sampler.HybridBatchSampler, "batch", lambda self, number: [next(calls)])
    with pytest.raises(ArithmeticError, match=r"x-x-mono: batch \d+ is not the one that iterating comes to"):
        sampler.check(2000)


def test_contenders_take_turns(scripts):
    said = []
    medians = scripts["measuring"].in_turn({"a": lambda: said.append("a"), "b": lambda: said.append("b")}, rounds=3)
    assert said == ["a", "b"] * 3
    assert list(medians) == ["a", "b"] and min(medians.values()) > 0


def test_memory_that_was_freed_before_is_counted_when_it_is_taken_again(scripts):
    def take():
        return [bytearray(100_000) for _ in range(500)]  # 50 MB in pieces that the allocator keeps for later

    hole = take()[-1]  # it keeps the others from going back by themselves, which are below it
    with scripts["measuring"].PeakMemory() as peak:
        pieces = take()
    assert 45 < peak.megabytes < 60
    del hole, pieces
