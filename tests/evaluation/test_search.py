"""Search against a float64 sort, the ranks of the evaluation and words by hand; what it refuses; shares by hand."""

import math
from dataclasses import replace

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sentence_transformers import SentenceTransformer
from slow_ranks import slow_scores
from word_encoder import draw_task, word_encoder

import hybridlib.evaluation.search
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate
from hybridlib.evaluation.search import language_shares, search

TASK = RetrievalTask(
    pd.DataFrame([("q1", "en", "a"), ("q2", "de", "b"), ("q3", "en", "a b")], columns=["query_id", "language", "text"]),
    pd.DataFrame(
        [("p1", "en", "b"), ("p2", "de", "a a b"), ("p3", "sw", "a"), ("p4", "de", "b b")],
        columns=["passage_id", "language", "text"],
    ),
    pd.DataFrame([("q1", "p3", 1), ("q1", "p1", 1), ("q2", "p4", 2)], columns=["query_id", "passage_id", "relevance"]),
)


def in_words(queries, passages, similarity):
    """Make a task whose texts are a word each, with these vectors, and the encoder that knows the words."""
    drawn = draw_task(0, len(queries), len(passages))
    asked = drawn.queries.assign(text=drawn.queries.query_id)
    task = RetrievalTask(asked, drawn.passages.assign(text=drawn.passages.passage_id), drawn.qrels)
    vectors = dict(zip([*task.queries.text, *task.passages.text], [*queries, *passages], strict=True))
    return word_encoder(vectors, similarity_fn_name=similarity), task


def draw(seed, similarity):
    """Draw 23 queries and 97 passages, with vectors out of few, so that there are many ties."""
    rng = np.random.default_rng(seed)
    passages = rng.integers(-1, 2, (97, 5)) * rng.choice([0.3, 1, 7], (97, 1))
    return in_words(rng.integers(-2, 3, (23, 5)) / 1.0, passages, similarity)


def exhaustive(encoder, task):
    """Score all passages, and sort them from best to worst, of equal float64 scores the earlier first.

    For the cosine, they are sorted before the query's norm divides the scores, which could make two of them equal.
    """
    queries, passages = encoder.encode_query(list(task.queries.text)), encoder.encode_document(list(task.passages.text))
    scores = slow_scores(queries, passages, encoder.similarity_fn_name)
    order = np.argsort(-scores, axis=1, kind="stable")
    norms = np.linalg.norm(np.float64(queries), axis=1, keepdims=True)
    return scores / norms if encoder.similarity_fn_name == "cosine" else scores, order


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("k", [1, 7, 96, 97])
def test_search_finds_the_passages_that_a_sort_in_float64_puts_first(similarity, k):
    encoder, task = draw(k, similarity)
    found = search(encoder, task, k=k)
    scores, order = exhaustive(encoder, task)
    tied = (np.diff(np.sort(scores, axis=1), axis=1) == 0).sum(axis=1)
    assert (tied > 10).all()  # otherwise the rule of ties is not tested
    assert found.passage_id.tolist() == [f"p{n}" for n in order[:, :k].ravel()]
    np.testing.assert_allclose(found.score, np.take_along_axis(scores, order, axis=1)[:, :k].ravel(), rtol=1e-14)
    assert found["rank"].tolist() == list(range(1, k + 1)) * 23
    assert found.query_id.tolist() == [f"q{n}" for n in range(23) for _ in range(k)]


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_a_relevant_passage_is_found_at_the_rank_that_evaluation_gives_it(similarity):
    encoder, task = draw(3, similarity)
    found = search(encoder, task, k=97)
    first = found[found.relevant].groupby("query_id")["rank"].min()
    results = evaluate(encoder, task, measures=["rr@97"])
    results = results[results.setting == "multilingual"].set_index("query_id").value
    assert len(first) == 23
    assert first.to_dict() == pytest.approx((1 / results).to_dict())


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_the_best_are_found_although_in_float32_many_others_are_above_them(similarity):
    # Vectors that differ in their last bits: float32 sums of 64 terms are wrong by more than the scores differ, so that
    # of 400 passages the best is rarely among the first 17 that faiss finds.
    rng = np.random.default_rng(0)
    near = rng.standard_normal(64) / 8 + 3e-9 * rng.standard_normal((400, 64))
    encoder, task = in_words(rng.standard_normal((23, 64)), near, similarity)
    _, order = exhaustive(encoder, task)
    assert search(encoder, task, k=1).passage_id.tolist() == [f"p{n}" for n in order[:, 0]]


def test_search_does_not_depend_on_threads_and_torch_keeps_its_own():
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
    names = ["query_id", "query_language", "rank", "passage_id", "language", "text", "relevant"]
    assert found.columns.tolist() == [*names[:5], "score", *names[5:]] and found.relevant.dtype == bool
    assert found[names].values.tolist() == [
        ["q1", "en", 1, "p3", "sw", "a", True],
        ["q1", "en", 2, "p2", "de", "a a b", False],
        ["q2", "de", 1, "p1", "en", "b", False],
        ["q2", "de", 2, "p4", "de", "b b", True],
        ["q3", "en", 1, "p2", "de", "a a b", False],
        ["q3", "en", 2, "p1", "en", "b", False],
    ]
    assert found.score.tolist() == pytest.approx([1, 2 / 5**0.5, 1, 1, 3 / 10**0.5, 1 / 2**0.5])


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


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("chunk", [7, 96])
@pytest.mark.parametrize("k", [5, 97])
def test_search_does_not_depend_on_chunks_nor_on_whether_passages_are_in_memory(
    tmp_path, monkeypatch, similarity, chunk, k
):
    encoder, task = draw(8, similarity)
    expected = search(encoder, task, k=k)
    datasets.Dataset.from_pandas(task.passages).save_to_disk(tmp_path)
    mapped = replace(task, passages=datasets.load_from_disk(tmp_path))
    monkeypatch.setattr(hybridlib.evaluation.search, "_CHUNK", chunk)
    read, rows_of = [], hybridlib.evaluation.search.rows_of

    def noting(passages, rows):
        read.append(rows)
        return rows_of(passages, rows)

    monkeypatch.setattr(hybridlib.evaluation.search, "rows_of", noting)
    pd.testing.assert_frame_equal(search(encoder, mapped, k=k), expected)
    *chunks, found = read  # texts are read a chunk at a time, and then those that were found
    assert [rows.stop - rows.start for rows in chunks] == [chunk] * -(-97 // chunk)
    assert len(found) == 23 * k


ROW = TASK.queries.iloc[1]


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        ROW.to_dict(),
        TASK.queries.loc[[1]],
        next(TASK.queries.iloc[1:].itertuples()),
        next(TASK.queries.iloc[1:].itertuples(index=False)),
        datasets.Dataset.from_pandas(TASK.queries.loc[[1]], preserve_index=False),
    ],
)
def test_a_row_of_the_queries_is_one_query(row):
    expected = search(word_encoder(), TASK, k=2).iloc[2:4].reset_index(drop=True)
    found = search(word_encoder(), TASK, row, k=2)
    pd.testing.assert_frame_equal(
        found, expected.assign(query_language=pd.Categorical(expected.query_language, ["de"]))
    )


@pytest.mark.parametrize("row", [ROW.drop("query_id"), {"text": "a"}, TASK.passages.iloc[0]])
def test_a_row_of_another_table_is_refused_and_its_cells_are_not_asked(row):
    with pytest.raises(ValueError, match=r"^queries lacks the column 'query_id'; it has"):
        search(word_encoder(), TASK, row)


@pytest.mark.parametrize(("column", "value"), [("text", "Oslo"), ("text", "a"), ("language", "en")])
def test_a_row_that_is_not_as_the_task_has_it_is_refused_and_its_own_text_is_not_searched(column, value):
    changed = TASK.queries.iloc[[2, 1]].assign(**{column: [TASK.queries[column][2], value]})
    told = (
        f"queries.{column}: row 1 is '{value}'; allowed: the {column} of this query in the task; to search for another "
        "text, give the text alone"
    )
    for queries in (changed, datasets.Dataset.from_pandas(changed, preserve_index=False)):
        with pytest.raises(ValueError, match=f"^{told}$"):
            search(word_encoder(), TASK, queries)
    with pytest.raises(ValueError, match=f"^{told.replace('row 1', 'row 0')}$"):
        search(word_encoder(), TASK, changed.iloc[1])


def test_queries_may_be_a_generator_or_a_set_and_their_ids_numbers():
    expected = search(word_encoder(), TASK, ["a", "b"], k=1)
    for queries in ((text for text in "ab"), {"b", "a"}, np.array(["a", "b"]), pd.Index(["a", "b"])):
        pd.testing.assert_frame_equal(search(word_encoder(), TASK, queries, k=np.int64(1)), expected)
    numbers = RetrievalTask(
        TASK.queries.assign(query_id=[1, 2, 3]), TASK.passages, TASK.qrels.assign(query_id=["1", "1", "2"])
    )
    found = search(word_encoder(), numbers, pd.DataFrame({"query_id": [2]}), k=2)
    assert found.relevant.tolist() == [False, True]


def test_some_queries_of_the_task_are_found_as_they_are_among_all():
    everything = search(word_encoder(), TASK, k=3).astype({"query_language": str})
    found = search(word_encoder(), TASK, TASK.queries.iloc[[2, 0]], k=3).astype({"query_language": str})
    pd.testing.assert_frame_equal(found, everything.iloc[[6, 7, 8, 0, 1, 2]].reset_index(drop=True))


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
    # The query "a" finds "a" first, and then "a a b", (2/3, 1/3).
    for similarity, score in (("cosine", 2 / 5**0.5), ("dot", 2 / 3)):
        found = search(word_encoder(similarity_fn_name=similarity), TASK, "a", k=2)
        assert found.score.tolist() == pytest.approx([1, score])


def test_texts_without_a_known_word_find_the_first_passages():
    # Their vector is zero, its score with every passage is 0, and the order is that of the task.
    found = search(word_encoder(), TASK, "c", k=3)
    assert found.passage_id.tolist() == ["p1", "p2", "p3"]
    assert found.score.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k is 0; allowed: greater than or equal to 1"),
        ({"k": 5}, "k is 5; allowed: 1 to 4, the passages of the task"),
        ({"k": 1.5}, "k is 1.5; allowed: a whole number"),
        ({"k": True}, "k is True; allowed: a whole number"),
        ({"k": "1"}, "k is '1'; allowed: a whole number"),
        ({"queries": 3}, "queries is 3; allowed: a text, several, or rows of task.queries"),
        ({"queries": b"a"}, "queries is b'a'; allowed: a text, several, or rows of task.queries"),
        ({"queries": ["a", None, np.nan]}, "queries: row 1 is None, row 2 is nan; allowed: a text that is not empty"),
        ({"queries": ["\ud800"]}, "queries: row 0 is '.ud800'; allowed: a text that is not empty"),
        ({"queries": [["a"]]}, r"queries: row 0 is \['a'\]; allowed: a text that is not empty"),
        ({"queries": TASK}, "queries is of the type RetrievalTask; allowed: a text, several"),
        ({"encoder": None}, "encoder is None; allowed: an instance of SentenceTransformer, as made by load_encoder"),
        ({"task": "atlas"}, "task is 'atlas'; allowed: an instance of RetrievalTask, as made by load_task"),
        ({"progress": 1}, "progress is 1; allowed: True or False"),
        ({"batch_token": 1}, "unknown key 'batch_token'; allowed: encoder, task"),
        ({"queries": []}, "queries is empty; allowed: a text, several, or rows of task.queries"),
        ({"queries": ""}, "queries: row 0 is ''; allowed: a text that is not empty"),
        ({"queries": TASK.queries.iloc[:0]}, "queries is empty; allowed: a text"),
        ({"queries": ["a", " \n"]}, r"queries: row 1 is ' \\n'; allowed: a text that is not empty"),
        ({"queries": ["a", 3]}, "queries: row 1 is 3; allowed: a text that is not empty"),
        (
            {"queries": TASK.queries.replace("q3", "q9")},
            "queries.query_id: row 2 is 'q9'; allowed: that of a query of the task",
        ),
        ({"queries": TASK.queries[["text"]]}, r"queries lacks the column 'query_id'; it has \['text'\]"),
        ({"encoder": word_encoder(similarity_fn_name="euclidean")}, "similarity is 'euclidean'; allowed: cosine, dot"),
    ],
)
def test_a_wrong_argument_is_found_before_anything_is_encoded(monkeypatch, change, message):
    good = {"encoder": word_encoder(), "task": TASK, "queries": "a", "k": 4}
    search(**good)
    monkeypatch.setattr(SentenceTransformer, "encode", None)
    with pytest.raises(ValueError, match=message):
        search(**good | change)
    with pytest.raises(TypeError, match="not callable"):
        search(**good)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("passages", "queries", "refused"),
    [("a a broken a", "a", "passage_embeddings: row 2"), ("a a a a", ["a", "broken"], "query_embeddings: row 1")],
)
def test_embeddings_that_are_not_finite_are_refused(value, passages, queries, refused):
    task = RetrievalTask(TASK.queries, TASK.passages.assign(text=passages.split()), TASK.qrels)
    with pytest.raises(ValueError, match=f"{refused} holds {value}"):
        search(word_encoder({"a": (1, 0), "broken": (value, 1)}), task, queries, k=1)


def test_shares_of_languages_by_hand():
    found = search(word_encoder(), TASK, k=2)
    # en asks q1 (sw, de) and q3 (de, en): 1/4 en, 2/4 de, 1/4 sw. de asks q2 (en, de).
    shares = language_shares(found)
    assert shares.index.tolist() == ["de", "en"] and shares.index.name == "query_language"
    assert shares.columns.tolist() == ["de", "en", "sw"] and shares.columns.name == "passage_language"
    np.testing.assert_allclose(shares, [[1 / 2, 1 / 2, 0], [1 / 2, 1 / 4, 1 / 4]])
    # The rows of one query language give one row of shares, still with all the task's languages.
    assert language_shares(found[found.query_language == "de"]).to_numpy().tolist() == [[1 / 2, 1 / 2, 0]]


def test_shares_of_texts_without_a_language_are_refused():
    with pytest.raises(ValueError, match="found lacks the column 'query_language'; it has"):
        language_shares(search(word_encoder(), TASK, "a", k=1))
