"""Passages that have the id of a query, where a task ignores them: against trec_eval on rankings without them."""

from dataclasses import replace

import datasets
import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from test_bm25 import slow_scores
from word_encoder import WORDS, draw_task, word_encoder

from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.bm25 import measure_bm25
from hybridlib.evaluation.evaluate import evaluate, evaluate_embeddings
from hybridlib.evaluation.search import search

MEASURES = {"map": "map", "ndcg@10": "ndcg_cut.10", "recall@10": "recall.10"}


def quora(seed=0):
    """Make a task whose queries are all among its passages, some of which are judged relevant to themselves."""
    drawn, rng = draw_task(seed, 23, 97), np.random.default_rng(seed)
    rows = rng.choice(97, 23, replace=False)
    ids = drawn.passages.passage_id.to_numpy(copy=True)
    names = dict(zip(ids[rows], drawn.queries.query_id, strict=True))
    passages = drawn.passages.assign(passage_id=[names.get(one, one) for one in ids])
    texts = passages.set_index("passage_id").text
    queries = drawn.queries.assign(text=texts[drawn.queries.query_id].to_numpy())
    qrels = drawn.qrels.assign(passage_id=[names.get(one, one) for one in drawn.qrels.passage_id])
    own = pd.DataFrame({"query_id": queries.query_id[:5], "passage_id": queries.query_id[:5], "relevance": 3})
    qrels = pd.concat([qrels, own]).drop_duplicates(["query_id", "passage_id"])
    return RetrievalTask(queries, passages, qrels, ignore_identical_ids=True)


def encoder_of(seed=0):
    vectors = np.random.default_rng(seed).standard_normal((len(WORDS), 3))
    return word_encoder(dict(zip(WORDS, vectors, strict=True)))


def as_beir(task, scores):
    """Give trec_eval what a sort finds less the passage with the query's id, in the pool of all and in each other."""
    expected = {}
    for pool in [*task.languages, "all"]:
        inside = np.flatnonzero((task.passages.language == pool) | (pool == "all"))
        run, judged = {}, {}
        for q, query in enumerate(task.queries.query_id):
            order = inside[np.argsort(-scores[q][inside], kind="stable")]
            ids = [one for one in task.passages.passage_id[order] if one != query]
            run[query] = {one: -float(place) for place, one in enumerate(ids)}
            own = task.qrels[(task.qrels.query_id == query) & task.qrels.passage_id.isin(ids)]
            if len(own):
                judged[query] = dict(zip(own.passage_id, own.relevance, strict=True))
        for query, values in pytrec_eval.RelevanceEvaluator(judged, {*MEASURES.values()}).evaluate(run).items():
            expected |= {(query, pool, name): values[asked.replace(".", "_")] for name, asked in MEASURES.items()}
    return expected


def values_of(results):
    keys = results[["query_id", "passage_language", "measure"]].astype(str).itertuples(index=False, name=None)
    return dict(zip(keys, results.value, strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_identical_ids_are_neither_found_nor_relevant(seed):
    task, encoder = quora(seed), encoder_of(seed)
    queries, passages = (encoder.encode(table.text.tolist()) for table in (task.queries, task.passages))
    # Summed along rows, so that equal texts have equal scores.
    units = passages / np.linalg.norm(np.float64(passages), axis=1, keepdims=True)
    scores = np.array([(units * query).sum(axis=1) for query in np.float64(queries)])
    expected = as_beir(task, scores)
    results = evaluate_embeddings(queries, passages, task, measures=MEASURES)
    assert values_of(results) == pytest.approx(expected, abs=1e-12)
    assert len(task.identical) and not (task.pairs[:, None] == task.identical).all(axis=2).any()
    kept = evaluate_embeddings(queries, passages, replace(task, ignore_identical_ids=False), measures=MEASURES)
    assert values_of(kept) != pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("chunk_size", [1, 7, 97])
def test_identical_ids_are_ignored_in_any_chunks_and_on_disk(tmp_path, chunk_size):
    task, encoder = quora(), encoder_of()
    queries, passages = (encoder.encode(table.text.tolist()) for table in (task.queries, task.passages))
    expected = evaluate_embeddings(queries, passages, task)
    datasets.Dataset.from_pandas(task.passages).save_to_disk(tmp_path / "passages")
    mapped = replace(task, passages=datasets.load_from_disk(tmp_path / "passages"))
    for one in (task, mapped):
        folder = {"checkpoint": tmp_path / "counts"}
        pd.testing.assert_frame_equal(evaluate(encoder, one, chunk_size=chunk_size, **folder), expected)


def test_counts_with_and_without_identical_ids_are_told_apart(tmp_path):
    task = replace(quora(), ignore_identical_ids=False)
    evaluate(encoder_of(), task, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="ignore_identical_ids is False there and True here"):
        evaluate(encoder_of(), quora(), checkpoint=tmp_path)


def test_parts_of_a_task_ignore_identical_ids_as_well():
    task = quora()
    assert task.restrict(["de", "en"]).ignore_identical_ids and task.with_pool(5).ignore_identical_ids


@pytest.mark.parametrize("k", [1, 5, 96])
def test_search_does_not_find_a_question_itself(k):
    task, encoder = quora(), encoder_of()
    found = search(encoder, task, k=k)
    assert (found.query_id != found.passage_id).all()
    everything = search(encoder, replace(task, ignore_identical_ids=False), k=97)
    others = everything[everything.query_id != everything.passage_id].groupby("query_id", sort=False).head(k)
    assert found.passage_id.tolist() == others.passage_id.tolist()
    assert found["rank"].tolist() == [*range(1, k + 1)] * 23
    with pytest.raises(ValueError, match="k is 97; allowed: 1 to 96"):
        search(encoder, task, k=97)
    assert len(search(encoder, task, task.queries.text[0], k=97)) == 97  # a text has no id


def test_bm25_ignores_identical_ids_as_well():
    task, changed = quora(), 0
    ranks = measure_bm25(task).in_language
    others = task.qrels[task.qrels.query_id != task.qrels.passage_id]
    plain = measure_bm25(replace(task, ignore_identical_ids=False, qrels=others)).in_language
    for (query, passage), rank, before in zip(task.pairs, ranks, plain, strict=True):
        language = task.passages.language[passage]
        if task.queries.language[query] == language:
            inside = task.passages[task.passages.language == language]
            scores = np.array(slow_scores(task.queries.text[query], inside.text))
            best = inside.iloc[np.argsort(-scores, kind="stable")]
            best = best[best.passage_id != task.queries.query_id[query]]
            assert rank == 1 + best.index.tolist().index(passage)
            changed += rank != before
    assert changed
