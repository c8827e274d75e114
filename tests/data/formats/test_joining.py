"""Joined tasks hold what a slow join of lists holds, in memory or mapped, and what does not go together is refused."""

import re
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

from hybridlib.data.formats.joining import join_tasks
from hybridlib.data.passages import content_digest
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate_embeddings
from hybridlib.names import SETTINGS

MEASURES = ["map", "rr@10", "ndcg@10", "rank_distance"]


def part(language, queries, passages, qrels, **options):
    """A task of one language; `queries` and `passages` are ids, and `qrels` triples."""
    return RetrievalTask(
        pd.DataFrame({"query_id": queries, "language": language, "text": [f"{language} {key}?" for key in queries]}),
        pd.DataFrame(
            {"passage_id": passages, "language": language, "text": [f"{language} {key}." for key in passages]}
        ),
        pd.DataFrame(qrels, columns=["query_id", "passage_id", "relevance"]),
        **options,
    )


def parts_of():
    """Three parts: the second lacks a query and a passage, and the third alone judges the pair of q3 and p2."""
    return {
        "en": part("en", ["q1", "q2", "q3"], ["p1", "p2", "p3"], [("q1", "p1", 1), ("q2", "p2", 2), ("q1", "p3", 0)]),
        "de": part("de", ["q2", "q1"], ["p2", "p1"], [("q1", "p1", 1), ("q2", "p2", 2), ("q1", "p2", 1)]),
        "sw": part("sw", ["q3", "q1"], ["p3", "p2", "p4"], [("q3", "p2", 1), ("q1", "p3", 0), ("q3", "p4", -1)]),
    }


def slowly(parts, parallel):
    """All judgements of the whole, as a set: every judgement in every pair of parts where both ids are."""
    found = set()
    for judge, task in parts.items():
        for query, passage, relevance in task.qrels.to_numpy().tolist():
            for asked, one in parts.items():
                for held, other in parts.items():
                    both = query in [*one.queries.query_id] and passage in [*other.passages["passage_id"]]
                    if both and (parallel or judge == asked == held):
                        found.add((f"{asked}:{query}", f"{held}:{passage}", relevance))
    return found


def mapped(passages, folder):
    datasets.Dataset.from_pandas(passages, preserve_index=False).save_to_disk(folder)
    return datasets.load_from_disk(folder)


def with_passages(task, passages):
    return RetrievalTask(task.queries, passages, task.qrels, task.settings)


@pytest.mark.parametrize("parallel", [True, False])
def test_the_whole_judges_what_a_slow_join_judges(parallel):
    parts = parts_of()
    whole = join_tasks(parts, parallel=parallel)
    assert {tuple(row) for row in whole.qrels.to_numpy().tolist()} == slowly(parts, parallel)
    assert whole.passages.passage_id.tolist() == [
        f"{n}:{key}" for n, t in parts.items() for key in t.passages.passage_id
    ]
    assert whole.passages.text.tolist() == [text for task in parts.values() for text in task.passages.text]
    assert whole.queries.query_id.tolist() == [f"{n}:{key}" for n, t in parts.items() for key in t.queries.query_id]
    plain = [key for task in parts.values() for key in task.queries.query_id]
    named = whole.queries.query_id.tolist()
    assert whole.queries.question.tolist() == whole.queries.article.tolist() == (plain if parallel else named)
    # Without a pair across languages there is nothing to measure in the cross-lingual setting.
    across = ("cross-lingual",) if parallel else ()
    assert whole.settings == ("monolingual", *across, "multilingual")


@pytest.mark.parametrize("parallel", [True, False])
def test_mapped_passages_stay_mapped_and_give_the_same_task(parallel, tmp_path: Path, cache: Path):
    parts = parts_of()
    in_memory = join_tasks(parts, parallel=parallel)
    reversed_rows = mapped(parts["sw"].passages.iloc[::-1], tmp_path / "sw").select([2, 1, 0])  # with an index
    mixed = {
        "en": with_passages(parts["en"], mapped(parts["en"].passages, tmp_path / "en")),
        "de": parts["de"],  # in memory
        "sw": with_passages(parts["sw"], reversed_rows),
    }
    whole = join_tasks(mixed, parallel=parallel)
    assert isinstance(whole.passages, datasets.Dataset) and whole.passages.cache_files
    assert content_digest(whole.passages) == content_digest(in_memory.passages)
    assert whole.qrels.equals(in_memory.qrels) and whole.queries.equals(in_memory.queries)
    assert (whole.pairs == in_memory.pairs).all() and whole.settings == in_memory.settings
    # The cache holds the three columns of ids and no text.
    tables = [*cache.glob("*.arrow")]
    assert len(tables) == 3 and not any(b"sw p3." in table.read_bytes() for table in tables)
    assert content_digest(whole.restrict(["sw"]).passages) == content_digest(in_memory.restrict(["sw"]).passages)


def test_other_passages_under_the_names_of_earlier_ones_get_tables_of_their_own(tmp_path: Path):
    for folder, keys in (("one", ["p1", "p2"]), ("other", ["p1", "p5"])):
        task = part("en", ["q1"], keys, [("q1", "p1", 1)])
        whole = join_tasks({"en": with_passages(task, mapped(task.passages, tmp_path / folder))}, parallel=False)
        assert whole.passages["passage_id"][:] == [f"en:{key}" for key in keys]


def test_ids_that_are_numbers_are_joined_as_texts(tmp_path: Path):
    numbers = pd.DataFrame({"passage_id": [1, 2], "language": "en", "text": ["a", "b"]})
    task = RetrievalTask(
        pd.DataFrame({"query_id": [7], "language": "en", "text": ["a?"]}),
        mapped(numbers, tmp_path / "numbers"),
        pd.DataFrame({"query_id": [7], "passage_id": [2], "relevance": [1]}),
    )
    whole = join_tasks({"en": task}, parallel=True)
    assert whole.passages["passage_id"][:] == ["en:1", "en:2"] and whole.qrels.query_id.tolist() == ["en:7"]


def test_a_parallel_join_has_the_values_of_the_task_made_by_hand():
    english = part("en", ["1", "2"], ["1", "2", "3"], [("1", "1", 1), ("2", "2", 1)])
    german = part("de", ["1", "2"], ["1", "2"], [("1", "1", 1), ("2", "2", 1)])
    whole = join_tasks({"en": english, "de": german}, parallel=True)
    by_hand = RetrievalTask(
        pd.DataFrame({"query_id": ["a", "b", "c", "d"], "language": ["en", "en", "de", "de"], "text": "?",
                      "question": ["1", "2", "1", "2"]}),
        pd.DataFrame({"passage_id": ["A", "B", "C", "D", "E"], "text": ".",
                      "language": ["en", "en", "en", "de", "de"]}),
        pd.DataFrame([(query, passage, 1) for queries, passages in (("ac", "AD"), ("bd", "BE"))
                      for query in queries for passage in passages], columns=["query_id", "passage_id", "relevance"]),
    )  # fmt: skip
    draw = np.random.default_rng(0).normal
    queries, passages = draw(size=(4, 8)), draw(size=(5, 8))
    found, expected = (
        evaluate_embeddings(queries, passages, task, measures=MEASURES, threads=1).drop(columns="query_id")
        for task in (whole, by_hand)
    )
    assert {*found.setting} == {"monolingual", "cross-lingual", "multilingual"} and "rank_distance" in {*found.measure}
    pd.testing.assert_frame_equal(found.astype({"question": "str"}), expected.astype({"question": "str"}))


def test_values_of_a_parallel_join_are_those_counted_by_hand():
    # One question in two languages; the passages are numbers on a line, and so are the questions: the score is their
    # product. English: 3 (relevant), 5. German: 1 (relevant), 4. For either question (1) the pool is ranked 5, 4, 3, 1.
    english = part("en", ["q"], ["p", "x"], [("q", "p", 1)])
    german = part("de", ["q"], ["p", "y"], [("q", "p", 1)])
    whole = join_tasks({"en": english, "de": german}, parallel=True)
    found = evaluate_embeddings(
        np.array([[1.0], [1.0]]), np.array([[3.0], [5.0], [1.0], [4.0]]), whole, similarity="dot",
        measures=["map", "rank_distance"], threads=1,
    )  # fmt: skip
    values = found.set_index(["query_id", "setting", "passage_language", "measure"]).value
    # In either language the relevant passage is second of two: 1/2. In the pool the relevant ones are third and fourth:
    # (1/3 + 2/4) / 2 = 5/12; their ranks are 1 apart.
    assert values["en:q", "monolingual", "en", "map"] == values["en:q", "cross-lingual", "de", "map"] == 0.5
    assert values["de:q", "cross-lingual", "en", "map"] == 0.5
    assert values["en:q", "multilingual", "all", "map"] == pytest.approx(5 / 12)
    assert values["de:q", "multilingual", "all", "rank_distance"] == 1


def test_a_question_belongs_to_the_article_that_the_first_part_has_for_it():
    parts = {
        name: RetrievalTask(task.queries.assign(article=f"{name} title"), task.passages, task.qrels)
        for name, task in parts_of().items()
    }
    articles = join_tasks(parts, parallel=True).queries.set_index("query_id").article
    assert articles.to_dict() == dict.fromkeys(articles.index, "en title")
    assert join_tasks(parts, parallel=False).queries.article.unique().tolist() == [f"{n}:{n} title" for n in parts]


def test_what_the_parts_leave_out_and_their_roles_and_ignored_ids_are_those_of_the_whole():
    alike = {"roles": ("query", "query"), "ignore_identical_ids": True, "settings": ("monolingual", "multilingual")}
    parts = {
        "a": part("en", ["1", "2"], ["1", "2"], [("1", "2", 1)], pool="Half of it.", **alike),
        "b": part("de", ["1"], ["1", "2"], [("1", "2", 1)], **alike),
    }
    whole = join_tasks(parts, parallel=False)
    assert (whole.roles, whole.pool) == (("query", "query"), "a: Half of it.")
    assert whole.settings == ("monolingual", "multilingual")
    # The passage a:1 is left out for the query a:1, and so is b:1 for b:1.
    assert whole.identical.tolist() == [[0, 0], [2, 2]]


def test_a_part_whose_questions_are_asked_across_languages_keeps_the_cross_lingual_setting():
    across = RetrievalTask(
        pd.DataFrame({"query_id": ["q"], "language": ["de"], "text": ["?"]}),
        pd.DataFrame({"passage_id": ["p"], "language": ["en"], "text": ["."]}),
        pd.DataFrame({"query_id": ["q"], "passage_id": ["p"], "relevance": [1]}),
        settings=("cross-lingual", "multilingual"),
    )
    assert join_tasks({"a": across, "b": across}, parallel=False).settings == ("cross-lingual", "multilingual")
    assert join_tasks({"a": across, "b": parts_of()["en"]}, parallel=False).settings == (
        "cross-lingual",
        "multilingual",
    )


def test_a_part_in_two_languages_without_a_pair_across_them_has_no_cross_lingual_setting():
    texts = pd.DataFrame({"id": ["1", "2"], "language": ["de", "en"], "text": ["eins", "two"]})
    own = pd.DataFrame({"query_id": ["1", "2"], "passage_id": ["1", "2"], "relevance": 1})
    for qrels, settings in ((own, ("monolingual", "multilingual")), (own.assign(passage_id=["2", "1"]), SETTINGS)):
        task = RetrievalTask(
            texts.rename(columns={"id": "query_id"}), texts.rename(columns={"id": "passage_id"}), qrels
        )
        assert join_tasks({"a": task}, parallel=False).settings == settings


ONE = ("en", ["1", "2"], ["1", "2"], [("1", "2", 1)])


@pytest.mark.parametrize(
    ("parts", "parallel", "message"),
    [
        ({}, True, "parts is {}; "),
        ({"en": "atlas"}, True, "parts.en is 'atlas'; allowed: an instance of RetrievalTask, as made by load_task or"),
        ({"a:b": part(*ONE)}, True, "parts: the name 'a:b' holds a colon; allowed: names without one"),
        ({"a": part(*ONE)}, "yes", "parallel is 'yes'; allowed: True or False"),
        ({"a": part(*ONE), "b": part(*ONE, roles=("query", "query"))}, True,
         "tasks that are joined must have a setting and their roles in common: a has monolingual, cross-lingual, "
         "multilingual, query, document; b has"),
        ({"a": part(*ONE, settings=["monolingual"]), "b": part(*ONE, settings=["multilingual"])}, False,
         "tasks that are joined must have a setting and their roles in common: a has monolingual, query"),
        ({"a": part(*ONE, settings=["cross-lingual"])}, False, "tasks that are joined must have a setting and"),
        ({"a": part(*ONE), "b": part(*ONE, ignore_identical_ids=True)}, False,
         "ignore_identical_ids is {'a': False, 'b': True}; allowed: the same in all tasks that are joined"),
        ({"a": part(*ONE, ignore_identical_ids=True)}, True,
         "a ignores the passage '1' for the query of this id; allowed where parallel is False"),
        ({"a": part("en", *ONE[1:3], [("1", "2", 1), ("2", "1", 1)]), "b": part("de", *ONE[1:3], [("2", "1", 3)])},
         True, "qrels: the pair of query '2' and passage '1' has relevance 1 in a and 3 in b"),
        ({"a": part(*ONE), "b": part("de", ["3"], ["4"], [("3", "4", 1)])}, True,
         "parts a, b have no id of a judged query or passage in common, as parallel ones do; allowed: parallel=False"),
    ],
)  # fmt: skip
def test_parts_that_do_not_go_together_are_refused(parts, parallel, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as raised:
        join_tasks(parts, parallel=parallel)
    assert len(str(raised.value)) < 500
