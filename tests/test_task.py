"""Evaluation data: what a task refuses, its derived arrays, and the named tasks."""

import numpy as np
import pandas as pd
import pytest

from hybridlib.atlas import LANGUAGES, atlas_facts, atlas_names
from hybridlib.corpus import load_corpus
from hybridlib.lareqa import LareqaData
from hybridlib.task import TASKS, RetrievalTask, load_task, task_from_lareqa

QUERIES = pd.DataFrame(
    [("q2", "en", "two?"), ("q1", "de", "eins?"), ("q3", "fi", "kolme?")], columns=["query_id", "language", "text"]
)
PASSAGES = pd.DataFrame(
    [("p1", "fi", "yksi"), ("p2", "de", "zwei"), ("p3", "en", "three"), ("p4", "de", "vier")],
    columns=["passage_id", "language", "text"],
)
QRELS = pd.DataFrame(
    [("q1", "p3", 1), ("q1", "p4", 2), ("q2", "p1", 1), ("q3", "p1", 3)],
    columns=["query_id", "passage_id", "relevance"],
)


def task(**tables: pd.DataFrame) -> RetrievalTask:
    return RetrievalTask(**{"queries": QUERIES, "passages": PASSAGES, "qrels": QRELS} | tables)


def again(table: pd.DataFrame, row: int = 0) -> pd.DataFrame:
    return pd.concat([table, table.iloc[[row]]])


# --- what a task is


def test_pairs_are_the_rows_of_query_and_passage_in_the_order_of_qrels():
    # q1 is row 1 of the queries, p3 row 2 of the passages, and so on.
    assert task().pairs.tolist() == [[1, 2], [1, 3], [0, 0], [2, 0]]


def test_languages_are_those_of_the_passages_in_the_order_of_their_codes():
    assert task().languages == ["de", "en", "fi"]
    assert task().passage_languages.tolist() == [2, 0, 1, 0]


def test_a_query_may_be_in_a_language_without_passages():
    queries = QUERIES.assign(language=["sw", "de", "fi"])
    assert task(queries=queries).languages == ["de", "en", "fi"]


def test_other_columns_and_the_index_are_dropped():
    shuffled = QUERIES.assign(note="x").sample(frac=1, random_state=1)
    made = task(queries=shuffled)
    assert list(made.queries.columns) == ["query_id", "language", "text"]
    assert made.queries.index.tolist() == [0, 1, 2]
    ids = made.queries.query_id.to_numpy()[made.pairs[:, 0]]
    assert ids.tolist() == QRELS.query_id.tolist()


def test_ids_may_be_numbers():
    number = {"q1": 11, "q2": 22, "q3": 33}
    made = task(
        queries=QUERIES.assign(query_id=QUERIES.query_id.map(number)),
        qrels=QRELS.assign(query_id=QRELS.query_id.map(number)),
    )
    assert made.pairs.tolist() == task().pairs.tolist()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"queries": QUERIES.drop(columns="text")},
            r"queries lacks the column 'text'; it has \['query_id', 'language'\]",
        ),
        ({"passages": PASSAGES.rename(columns={"passage_id": "id"})}, "passages lacks the column 'passage_id'; it has"),
        ({"qrels": QRELS.drop(columns="relevance")}, "qrels lacks the column 'relevance'; it has"),
        ({"queries": again(QUERIES, 1)}, "query_id q1 comes twice"),
        ({"passages": again(PASSAGES, 2)}, "passage_id p3 comes twice"),
        ({"qrels": QRELS.replace("q3", "q9")}, "qrels names the query_id q9, which does not exist"),
        ({"qrels": QRELS.replace("p4", "p9")}, "qrels names the passage_id p9, which does not exist"),
        (
            {"qrels": again(QRELS, 3)},
            "qrels judges a pair twice: {'query_id': 'q3', 'passage_id': 'p1', 'relevance': 3}",
        ),
        ({"qrels": QRELS.iloc[:0]}, "qrels must hold at least one pair, each with a relevance above 0"),
        ({"qrels": QRELS.assign(relevance=[1, 0, 1, 1])}, "qrels must hold at least one pair, each with a relevance"),
        (
            {"qrels": QRELS.assign(relevance=[1, np.nan, 1, 1])},
            "qrels must hold at least one pair, each with a relevance",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(tables, message):
    with pytest.raises(ValueError, match=message):
        task(**tables)


# --- restrict


def test_restricting_keeps_queries_passages_and_pairs_of_the_languages():
    part = task().restrict(["de", "en"])
    assert part.languages == ["de", "en"]
    assert part.queries.query_id.tolist() == ["q2", "q1"]
    assert part.passages.passage_id.tolist() == ["p2", "p3", "p4"]
    # q2 stays, without a relevant passage: its only one is Finnish.
    assert part.qrels.to_numpy().tolist() == [["q1", "p3", 1], ["q1", "p4", 2]]
    assert part.pairs.tolist() == [[1, 1], [1, 2]]


def test_restricting_to_all_languages_changes_nothing():
    whole = task().restrict(["fi", "en", "de"])
    for name in ("queries", "passages", "qrels"):
        pd.testing.assert_frame_equal(getattr(whole, name), getattr(task(), name))


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (["en", "sw"], "languages: 'sw' is not in the task; allowed: de, en, fi"),
        (["en"], "qrels must hold at least one pair"),
        ([], "qrels must hold at least one pair"),
    ],
)
def test_restricting_to_what_is_not_there_is_refused(languages, message):
    with pytest.raises(ValueError, match=message):
        task().restrict(languages)


# --- the named tasks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "beir"}, f"task is 'beir'; allowed: {', '.join(TASKS)}"),
        ({"name": "atlas", "split": "dev"}, "split is 'dev'; allowed: train, validation, test"),
        ({"name": "atlas", "split": ""}, "split is ''; allowed: train, validation, test"),
        ({"name": "atlas", "languages": ["en", "xx"]}, "languages: 'xx' is not in the task; allowed: ar, bn, de"),
    ],
)
def test_arguments_that_name_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_task(**arguments)


@pytest.mark.parametrize("split", [None, "validation"])
def test_atlas_asks_the_facts_of_the_split_in_a_pool_of_all_facts(split):
    facts = atlas_facts(2)
    asked = facts.fact[facts.split == (split or "test")].tolist()
    made = load_task("atlas", split, seed=2)
    assert made.languages == list(LANGUAGES)
    # Language by language, in each the facts in order.
    assert made.queries.query_id.tolist() == [f"{code}:{fact}" for code in LANGUAGES for fact in asked]
    assert made.passages.passage_id.tolist() == [f"{code}:{fact}" for code in LANGUAGES for fact in facts.fact]
    assert made.passages.language.tolist() == [code for code in LANGUAGES for _ in facts.fact]
    # A question has one relevant passage in each language, that of its own fact.
    pairs = set(made.qrels[["query_id", "passage_id"]].itertuples(index=False, name=None))
    expected = {(f"{q}:{fact}", f"{p}:{fact}") for fact in asked for q in LANGUAGES for p in LANGUAGES}
    assert pairs == expected and len(made.qrels) == len(expected)
    assert (made.qrels.relevance == 1).all()


def test_the_relevant_passage_names_entity_and_answer_of_the_question():
    made = load_task("atlas", languages=["en", "ja"])
    fact = atlas_facts().set_index("fact")
    names = atlas_names()
    for query, passage in made.pairs[::5]:
        of_query, of_passage = made.queries.iloc[query], made.passages.iloc[passage]
        entity, answer = fact.loc[of_query.query_id.partition(":")[2], ["entity", "answer"]]
        assert names.loc[entity, of_query.language] in of_query.text
        assert names.loc[entity, of_passage.language] in of_passage.text
        assert names.loc[answer, of_passage.language] in of_passage.text


def test_what_is_asked_was_never_trained_on():
    corpus = load_corpus("atlas", languages=["en", "sw"]).table.to_pandas()
    for split in ("validation", "test"):
        made = load_task("atlas", split, languages=["en", "sw"])
        relevant = made.passages.text.to_numpy()[made.pairs[:, 1]]
        assert not set(corpus["query"]) & set(made.queries.text)
        assert not set(corpus["passage"]) & set(relevant)
        # The passages of the training facts stand in the pool as they were trained on.
        assert set(corpus["passage"]) < set(made.passages.text)


def test_a_task_of_lareqa_data_has_its_tables():
    data = LareqaData(
        QUERIES.assign(question=["2", "1", "3"], article="A"), PASSAGES.assign(article="A"), QRELS.assign(relevance=1)
    )
    made = task_from_lareqa(data)
    pd.testing.assert_frame_equal(made.queries, QUERIES)
    pd.testing.assert_frame_equal(made.passages, PASSAGES)
    assert made.pairs.tolist() == task().pairs.tolist()


def test_xquad_r_is_the_benchmark_as_published_unless_a_split_is_given(monkeypatch):
    articles = [f"{letter}" for letter in "ABCDEFGH"]
    data = LareqaData(
        pd.DataFrame(
            [(f"en:{a}", "en", f"{a}?", a, a) for a in articles],
            columns=["query_id", "language", "text", "question", "article"],
        ),
        pd.DataFrame(
            [(f"en:{a}:0", "en", a, a) for a in articles], columns=["passage_id", "language", "text", "article"]
        ),
        pd.DataFrame([(f"en:{a}", f"en:{a}:0", 1) for a in articles], columns=["query_id", "passage_id", "relevance"]),
    )
    asked = []
    monkeypatch.setattr("hybridlib.task.read_xquad_r", lambda *, paragraphs: asked.append(paragraphs) or data)
    parts = {split: set(load_task("xquad-r", split).passages.text) for split in ("train", "test")}
    assert set(load_task("xquad-r").passages.text) == set(articles) == parts["train"] | parts["test"]
    assert len(parts["test"]) == 2 and not parts["train"] & parts["test"]  # a quarter of eight
    assert set(load_task("xquad-r", "test", seed=0).passages.text) == parts["test"]
    assert any(set(load_task("xquad-r", "test", seed=seed).passages.text) != parts["test"] for seed in range(1, 5))
    with pytest.raises(ValueError, match="split is 'validation'; allowed: train, test"):
        load_task("xquad-r", "validation")
    load_task("xquad-r", paragraphs=True)
    assert asked[-1] is True and not any(asked[:-1])


def test_the_atlas_has_no_paragraphs_to_add():
    with pytest.raises(ValueError, match="paragraphs is True; the passages of atlas are sentences without a paragraph"):
        load_task("atlas", paragraphs=True)
