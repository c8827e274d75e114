"""Search against a float64 sort, the ranks of the evaluation and words by hand; what it refuses, and shares by hand."""

import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

import hybridlib as hl
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate
from hybridlib.evaluation.search import Index, language_shares, search
from hybridlib.metric.arguments import checked_array
from hybridlib.metric.cpu_kernels import norms_of, pair_scores


def encoder_of(vectors, **options):
    """A text is the mean of the vectors of its words."""
    names = ["[UNK]", *vectors]
    tokenizer = Tokenizer(models.WordLevel({name: n for n, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    values = np.array(list(vectors.values()), dtype=np.float32)
    weights = torch.tensor(np.vstack([np.zeros_like(values[:1]), values]))
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu", **options)


def word_encoder(**options):
    return encoder_of({"a": (1, 0), "b": (0, 1), "ask:": (4, 0), "tell:": (0, 4)}, **options)


TASK = RetrievalTask(
    pd.DataFrame([("q1", "en", "a"), ("q2", "de", "b"), ("q3", "en", "a b")], columns=["query_id", "language", "text"]),
    pd.DataFrame(
        [("p1", "en", "b"), ("p2", "de", "a a b"), ("p3", "sw", "a"), ("p4", "de", "b b")],
        columns=["passage_id", "language", "text"],
    ),
    pd.DataFrame([("q1", "p3", 1), ("q1", "p1", 1), ("q2", "p4", 2)], columns=["query_id", "passage_id", "relevance"]),
)


def draw(seed, similarity, dimensions=5):
    """23 queries and 97 passages, each a word of its own, in three languages, with a vector out of few: many ties."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(-2, 3, (23, dimensions)) + 0.0
    passages = rng.integers(-1, 2, (97, dimensions)) * rng.choice([0.3, 1, 7], (97, 1))
    names = [f"q{n}" for n in range(23)], [f"p{n}" for n in range(97)]
    task = RetrievalTask(
        pd.DataFrame({"query_id": names[0], "language": rng.choice(["de", "en", "fr"], 23), "text": names[0]}),
        pd.DataFrame({"passage_id": names[1], "language": rng.choice(["de", "en", "sw"], 97), "text": names[1]}),
        pd.DataFrame({"query_id": names[0], "passage_id": rng.choice(names[1], 23), "relevance": 1}),
    )
    vectors = dict(zip(names[0] + names[1], [*queries, *passages], strict=True))
    return encoder_of(vectors, similarity_fn_name=similarity), task


def exhaustive(encoder, task):
    """Scores of all passages, and all passages from best to worst, of equal float64 scores the earlier first.

    For the cosine, ranks are made before the query's norm divides the scores, which could make two of them equal.
    """
    queries = checked_array(encoder.encode_query(task.queries.text.tolist()), "queries")
    passages = checked_array(encoder.encode_document(task.passages.text.tolist()), "passages")
    cosine = encoder.similarity_fn_name == "cosine"
    scale = norms_of(passages) if cosine else np.ones(len(passages))
    rows = [np.full(len(passages), q) for q in range(len(queries))]
    scores = np.array([pair_scores(queries, passages, scale, row, np.arange(len(passages))) for row in rows])
    order = np.argsort(-scores, axis=1, kind="stable")
    return scores / norms_of(queries)[:, None] if cosine else scores, order


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("k", [1, 7, 96, 97])
def test_what_is_found_is_what_a_sort_in_float64_puts_first(similarity, k):
    encoder, task = draw(k, similarity)
    found = search(encoder, task, k=k)
    scores, order = exhaustive(encoder, task)
    tied = (np.diff(np.sort(scores, axis=1), axis=1) == 0).sum(axis=1)
    assert (tied > 10).all()  # otherwise the rule of ties is not tested
    assert found.passage_id.tolist() == [f"p{n}" for n in order[:, :k].ravel()]
    np.testing.assert_allclose(found.score, np.take_along_axis(scores, order, axis=1)[:, :k].ravel(), rtol=1e-15)
    assert found["rank"].tolist() == list(range(1, k + 1)) * 23
    assert found.query_id.tolist() == [f"q{n}" for n in range(23) for _ in range(k)]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_relevant_passage_is_found_at_the_rank_that_evaluation_gives_it(similarity):
    encoder, task = draw(3, similarity)
    found = search(encoder, task, k=97)
    ranks = found[found.relevant].set_index("query_id")["rank"]
    results = evaluate(encoder, task, measures=["rr@97"])
    results = results[results.setting == "multilingual"].set_index("query_id").value
    assert len(ranks) == 23
    assert ranks.to_dict() == pytest.approx((1 / results).to_dict())


def test_scores_closer_than_float32_can_tell_are_told_apart():
    # The passage in the middle is the nearest to (1, 0), and those next to it differ from it by less than 1e-9.
    angles = np.abs(np.arange(61) - 30) * 1e-6
    vectors = {f"p{n}": (np.cos(angle), np.sin(angle)) for n, angle in enumerate(angles)}
    task = RetrievalTask(
        TASK.queries.assign(text="a"),
        pd.DataFrame({"passage_id": list(vectors), "language": "en", "text": list(vectors)}),
        pd.DataFrame({"query_id": ["q1"], "passage_id": ["p1"], "relevance": [1]}),
    )
    found = search(encoder_of({"a": (1, 0)} | vectors, similarity_fn_name="cosine"), task, "a", k=3)
    assert found.passage_id.tolist() == ["p30", "p29", "p31"]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_best_are_found_although_in_float32_many_others_are_above_them(similarity):
    # Vectors that differ in their last bits: float32 sums of 64 terms are wrong by more than the scores differ, so that
    # of 400 passages the best is rarely among the first 17 that faiss finds.
    rng = np.random.default_rng(0)
    base, names = rng.standard_normal(64) / 8, [f"p{n}" for n in range(400)]
    vectors = dict(zip(names, base + 3e-9 * rng.standard_normal((400, 64)), strict=True))
    task = RetrievalTask(
        pd.DataFrame({"query_id": range(23), "language": "en", "text": [f"q{n}" for n in range(23)]}),
        pd.DataFrame({"passage_id": names, "language": "en", "text": names}),
        pd.DataFrame({"query_id": range(23), "passage_id": "p0", "relevance": 1}),
    )
    encoder = encoder_of(vectors | {f"q{n}": rng.standard_normal(64) for n in range(23)}, similarity_fn_name=similarity)
    _, order = exhaustive(encoder, task)
    assert search(encoder, task, k=1).passage_id.tolist() == [f"p{n}" for n in order[:, 0]]


def test_what_is_found_does_not_depend_on_how_candidates_are_asked_for(monkeypatch):
    encoder, task = draw(5, "cosine")
    expected = search(encoder, task, k=6)
    for spare, most in ((0, 1), (0, 50), (1, 2**20), (91, 97)):
        # The name hybridlib.evaluation.search is that of the function, too.
        monkeypatch.setattr(sys.modules[search.__module__], "_SPARE", spare)
        monkeypatch.setattr(sys.modules[search.__module__], "_MOST_CANDIDATES", most)
        pd.testing.assert_frame_equal(search(encoder, task, k=6), expected)


def test_what_is_found_does_not_depend_on_threads_and_their_number_is_left_as_it_was():
    encoder, task = draw(6, "dot")
    expected, before = search(encoder, task), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        pd.testing.assert_frame_equal(search(encoder, task), expected)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_queries_of_the_task_by_hand():
    found = search(word_encoder(), TASK, k=2)
    # a (1, 0): p3 with cosine 1, then p2, (2/3, 1/3). b: p1 and p4, both 1, the earlier first. a b: p2, the cosine of
    # (1, 1) and (2, 1) is 3 / sqrt(10); then p1, p3 and p4 all have 1 / sqrt(2).
    expected = [
        ("q1", "en", 1, "p3", "sw", 1, "a", True),
        ("q1", "en", 2, "p2", "de", 2 / 5**0.5, "a a b", False),
        ("q2", "de", 1, "p1", "en", 1, "b", False),
        ("q2", "de", 2, "p4", "de", 1, "b b", True),
        ("q3", "en", 1, "p2", "de", 3 / 10**0.5, "a a b", False),
        ("q3", "en", 2, "p1", "en", 1 / 2**0.5, "b", False),
    ]
    names = ["query_id", "query_language", "rank", "passage_id", "language", "score", "text", "relevant"]
    assert found.columns.tolist() == names
    expected = pd.DataFrame(expected, columns=names)
    for name in names:
        values = expected[name].tolist()
        assert found[name].tolist() == (pytest.approx(values) if name == "score" else values)
    assert found.relevant.dtype == bool


def test_texts_by_hand():
    one = search(word_encoder(), TASK, "a b b", k=1)
    # (1, 2) has the cosine 2 / sqrt(5) with p1, 4 / 5 with p2.
    assert one.columns.tolist() == ["query", "rank", "passage_id", "language", "score", "text"]
    assert one.drop(columns="score").iloc[0].tolist() == [0, 1, "p1", "en", "b"]
    assert one.score.tolist() == pytest.approx([2 / 5**0.5])
    several = search(word_encoder(), TASK, ["a", "a b b"], k=2)
    assert several["query"].tolist() == [0, 0, 1, 1]
    assert several.passage_id.tolist() == ["p3", "p2", "p1", "p4"]
    pd.testing.assert_frame_equal(search(word_encoder(), TASK, pd.Series(["a", "a b b"], index=[5, 3]), k=2), several)


def test_some_queries_of_the_task_are_found_as_they_are_among_all():
    everything, some = search(word_encoder(), TASK, k=3), TASK.queries.iloc[[2, 0]]
    found = search(word_encoder(), TASK, some, k=3)
    expected = pd.concat([everything[everything.query_id == "q3"], everything[everything.query_id == "q1"]])
    pd.testing.assert_frame_equal(
        found.astype({"query_language": str}), expected.reset_index(drop=True).astype({"query_language": str})
    )


def test_prompts_and_similarity_are_the_encoders_own():
    # Passages without a prompt: p1 and p4 (0, 1), p2 (2/3, 1/3), p3 (1, 0), up to length; with it p1 and p4 (0, 1),
    # p2 "tell: a a b" (0.5, 1.25), p3 "tell: a" (0.5, 2). The query is (0, 1), with its prompt "ask: b" (2, 0.5).
    ask, tell = {"query": "ask: "}, {"document": "tell: "}
    for prompts, order, score in (
        ({}, "p1 p4 p2 p3", 1),
        (ask, "p2 p3 p1 p4", (2 * 2 / 3 + 0.5 / 3) / math.hypot(2, 0.5) / math.hypot(2 / 3, 1 / 3)),
        (tell, "p1 p4 p3 p2", 1),
        (ask | tell, "p2 p3 p1 p4", (2 * 0.5 + 0.5 * 1.25) / math.hypot(2, 0.5) / math.hypot(0.5, 1.25)),
    ):
        found = search(word_encoder(prompts=prompts), TASK, "b", k=4)
        assert found.passage_id.tolist() == order.split()
        assert found.score[0] == pytest.approx(score)
    # Of a with "a", which is the first, and with "a a b", (2/3, 1/3).
    for similarity, score in (("cosine", 2 / 5**0.5), ("dot", 2 / 3)):
        found = search(word_encoder(similarity_fn_name=similarity), TASK, "a", k=2)
        assert found.score.tolist() == pytest.approx([1, score])


def test_an_index_encodes_the_passages_once(monkeypatch):
    encoder, calls = word_encoder(), []
    encode = encoder.encode_document
    monkeypatch.setattr(encoder, "encode_document", lambda *a, **o: calls.append(a) or encode(*a, **o))
    index = Index(encoder, TASK)
    pd.testing.assert_frame_equal(index.search("a", k=3), index.search(["a"], k=3))
    assert len(calls) == 1


def test_texts_without_a_known_word_find_the_first_passages():
    # Their vector is zero, its score with every passage is 0, and the order is that of the task.
    found = search(word_encoder(), TASK, "c", k=3)
    assert found.passage_id.tolist() == ["p1", "p2", "p3"]
    assert found.score.tolist() == [0, 0, 0]


class Untouched(Exception):
    """Raised by an encoder that should not have been asked to encode."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k is 0; allowed: whole numbers from 1 to 4, the passages of the task"),
        ({"k": 5}, "k is 5; allowed: whole numbers from 1 to 4"),
        ({"k": 1.5}, "k is 1.5; allowed: whole numbers from 1 to 4"),
        ({"queries": []}, "queries is empty; expected a text, several, or rows of task.queries"),
        ({"queries": ""}, "queries is empty; expected a text"),
        ({"queries": TASK.queries.iloc[:0]}, "queries is empty; expected a text"),
        ({"queries": ["a", " \n"]}, r"queries: number 1 is ' \\n'; expected a text"),
        ({"queries": ["a", 3]}, "queries: number 1 is 3; expected a text"),
        ({"queries": TASK.queries.replace("q3", "q9")}, "queries: 'q9' is no query of the task"),
        ({"queries": TASK.queries[["text"]]}, r"queries lacks the column 'query_id'; it has \['text'\]"),
        (
            {"encoder": word_encoder(similarity_fn_name="euclidean")},
            "the encoder's similarity is 'euclidean'; allowed: cosine, dot",
        ),
    ],
)
def test_a_wrong_argument_is_found_before_anything_is_encoded(monkeypatch, change, message):
    def encode(*_, **__):
        raise Untouched

    good = {"encoder": word_encoder(), "task": TASK, "queries": "a", "k": 4}
    search(**good)
    monkeypatch.setattr(SentenceTransformer, "encode", encode)
    with pytest.raises(ValueError, match=message):
        search(**{**good, **change})
    with pytest.raises(Untouched):
        search(**good)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_embeddings_that_are_not_finite_are_refused(value):
    passages = TASK.passages.assign(text=["a", "a", "broken", "a"])
    encoder = encoder_of({"a": (1, 0), "broken": (value, 1)})
    with pytest.raises(ValueError, match=f"passage_embeddings: row 2 holds {value}"):
        search(encoder, RetrievalTask(TASK.queries, passages, TASK.qrels), "a", k=1)
    index = Index(encoder, RetrievalTask(TASK.queries, passages.assign(text="a"), TASK.qrels))
    with pytest.raises(ValueError, match=f"query_embeddings: row 1 holds {value}"):
        index.search(["a", "broken"], k=1)


def test_shares_of_languages_by_hand():
    found = search(word_encoder(), TASK, k=2)
    # en asks q1 (sw, de) and q3 (de, en): 1/4 en, 2/4 de, 1/4 sw. de asks q2 (en, de).
    shares = language_shares(found)
    assert shares.index.tolist() == ["de", "en"] and shares.index.name == "query_language"
    assert shares.columns.tolist() == ["de", "en", "sw"] and shares.columns.name == "passage_language"
    np.testing.assert_allclose(shares, [[1 / 2, 1 / 2, 0], [1 / 2, 1 / 4, 1 / 4]])
    # Of the rows of one query language, there is one row of shares, still with all the task's languages.
    assert language_shares(found[found.query_language == "de"]).to_numpy().tolist() == [[1 / 2, 1 / 2, 0]]


def test_shares_sum_to_one_for_every_query_language():
    encoder, task = draw(8, "cosine")
    shares = language_shares(search(encoder, task, k=9))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares.index.tolist() == sorted(set(task.queries.language))


def test_shares_of_texts_without_a_language_are_refused():
    with pytest.raises(ValueError, match="found lacks the column 'query_language'; it has"):
        language_shares(search(word_encoder(), TASK, "a", k=1))


def test_search_is_part_of_the_library():
    assert (hl.search, hl.Index, hl.language_shares) == (search, Index, language_shares)
