"""Tests of evaluation data: the arrays of a task, the tables that it refuses, pools, and the named tasks."""

import re
import shutil
from operator import itemgetter
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from test_atlas import near

import hybridlib.data.load
from hybridlib.data.atlas import read as atlas
from hybridlib.data.atlas.facts import LANGUAGES, atlas_facts, atlas_paraphrases, atlas_texts
from hybridlib.data.checks import check_languages
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import TASKS, load_corpus, load_task, question_domains, revision
from hybridlib.data.task import RetrievalTask, task_from_corpus

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


ATLAS_TASKS = ["atlas", "atlas-paraphrased", "atlas-partial"]


def again(table: pd.DataFrame, row: int) -> pd.DataFrame:
    """Repeat a row at the end of a table."""
    return pd.concat([table, table.iloc[[row]]])


@pytest.fixture(params=["in memory", "mapped"])
def task(request, tmp_path, monkeypatch):
    """Make a task of the tables above and of those given. In the second turn the passages are mapped from a file,
    of which two rows are read at a time."""

    def make(passages=PASSAGES, **tables):
        if request.param == "mapped":
            monkeypatch.setattr("hybridlib.data.passages._BATCH", 2)
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            datasets.Dataset.from_pandas(passages, preserve_index=False).save_to_disk(folder)
            passages = datasets.load_from_disk(folder)
        return RetrievalTask(**{"queries": QUERIES, "passages": passages, "qrels": QRELS} | tables)

    return make


# --- what a task is


def test_pairs_and_languages_are_rows_of_queries_and_passages_and_numbers_of_sorted_codes(task):
    # q1 is row 1 of the queries, p3 row 2 of the passages, and so on.
    assert task().pairs.tolist() == [[1, 2], [1, 3], [0, 0], [2, 0]]
    assert task().passage_languages.tolist() == [2, 0, 1, 0]
    # A query may be in a language without passages.
    assert task().languages == task(queries=QUERIES.assign(language=["sw", "de", "fi"])).languages == ["de", "en", "fi"]


def test_other_columns_and_the_index_are_dropped(task):
    made = task(PASSAGES.assign(title="x"), queries=QUERIES.assign(note="x").sample(frac=1, random_state=1))
    assert list(made.passages[:0]) == ["passage_id", "language", "text"]
    assert list(made.queries.columns) == ["query_id", "language", "text", "question", "article"]
    assert made.queries.index.tolist() == [0, 1, 2]
    assert made.queries.query_id[made.pairs[:, 0]].tolist() == QRELS.query_id.tolist()


def test_a_query_without_a_question_is_a_question_of_its_own(task):
    assert task().queries.question.tolist() == ["q2", "q1", "q3"]
    assert task(queries=QUERIES.assign(question=["a", 2, "a"])).queries.question.tolist() == ["a", "2", "a"]


def test_a_question_without_an_article_is_an_article_of_its_own(task):
    assert task(queries=QUERIES.assign(question=["a", "b", "a"])).queries.article.tolist() == ["a", "b", "a"]
    made = task(queries=QUERIES.assign(article=["Bear", "Wolf", "Bear"]))
    assert made.queries.article.tolist() == ["Bear", "Wolf", "Bear"]
    assert made.queries.question.tolist() == ["q2", "q1", "q3"]
    # What is a part of the task keeps it. Queries are those of German and Finnish, the second and third.
    assert made.restrict(["de", "fi"]).queries.article.tolist() == ["Wolf", "Bear"]
    assert made.with_pool("judged").queries.article.tolist() == ["Bear", "Wolf", "Bear"]


def test_ids_may_be_numbers(task):
    numbers = {f"{letter}{n}": 3 * n for letter in "pq" for n in range(1, 5)}
    queries, passages = QUERIES.replace({"query_id": numbers}), PASSAGES.replace({"passage_id": numbers})
    made = task(passages, queries=queries, qrels=QRELS.replace({"query_id": numbers, "passage_id": numbers}))
    assert made.pairs.tolist() == task().pairs.tolist()


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"queries": QUERIES.drop(columns="text")},
            r"queries lacks the column 'text'; it has \['query_id', 'language'\]",
        ),
        (
            {"queries": QUERIES.assign(question=["a", None, "b"])},
            "queries.question: row 1 is nan; allowed: a text that is not empty, or a whole number",
        ),
        (
            {"queries": QUERIES.assign(article=["a", "b", None])},
            "queries.article: row 2 is nan; allowed: a text that is not empty",
        ),
        ({"passages": PASSAGES.rename(columns={"passage_id": "id"})}, "passages lacks the column 'passage_id'; it has"),
        (
            {"passages": PASSAGES.drop(columns="text")},
            r"passages lacks the column 'text'; it has \['passage_id', 'language'\]",
        ),
        ({"qrels": QRELS.drop(columns="relevance")}, "qrels lacks the column 'relevance'; it has"),
        ({"queries": again(QUERIES, 1)}, "query_id q1 comes twice"),
        ({"passages": again(PASSAGES, 2)}, "passage_id p3 comes twice"),
        ({"passages": PASSAGES.replace("p2", "p1")}, "passage_id p1 comes twice"),  # in one batch of two rows
        ({"passages": PASSAGES.replace("p2", "p4")}, "passage_id p4 comes twice"),  # in different ones
        ({"qrels": QRELS.replace("q3", "q9")}, "qrels names the query_id q9, which does not exist"),
        ({"passages": PASSAGES.replace("p3", "p9")}, "qrels names the passage_id p3, which does not exist"),
        # A passage that was judged and found not relevant must exist as well.
        (
            {"qrels": QRELS.assign(relevance=[1, 0, 2, 0]).replace("p4", "p9")},
            "qrels names the passage_id p9, which does not exist",
        ),
        (
            {"qrels": again(QRELS, 3)},
            "qrels judges a pair twice: {'query_id': 'q3', 'passage_id': 'p1', 'relevance': 3}",
        ),
        ({"qrels": QRELS.iloc[:0]}, "qrels must hold at least one pair with a relevance above 0"),
        ({"qrels": QRELS.assign(relevance=0)}, "qrels must hold at least one pair with a relevance above 0"),
        ({"settings": ()}, r"settings is \(\); allowed: one or more of monolingual, cross-lingual, multilingual"),
        ({"settings": ("bilingual",)}, "settings.0 is 'bilingual'; allowed: 'monolingual', 'cross-lingual' or"),
        (
            {"settings": ("monolingual", "bilingual")},
            "settings.1 is 'bilingual'; allowed: 'monolingual', 'cross-lingual' or",
        ),
    ],
)
def test_tables_and_settings_that_do_not_fit_are_refused(task, tables, message):
    with pytest.raises(ValueError, match=message):
        task(**tables)


# --- restrict


@pytest.mark.parametrize("languages", [["de", "en"], ["fi"], ["fi", "de"], ["fi", "en", "de"]])
def test_restricting_keeps_queries_passages_and_pairs_of_the_languages(task, languages):
    part = task(queries=QUERIES.assign(question=[7, 8, 9])).restrict(languages)
    queries, passages = (table[table.language.isin(languages)] for table in (QUERIES, PASSAGES))
    ids = {*queries.query_id, *passages.passage_id}
    kept = [row for row in QRELS.to_numpy().tolist() if ids.issuperset(row[:2])]
    assert part.languages == sorted(languages)
    # In German and English q2 stays, though its only relevant passage is Finnish.
    assert part.queries.query_id.tolist() == queries.query_id.tolist()
    assert part.queries.question.tolist() == [{"q2": "7", "q1": "8", "q3": "9"}[one] for one in queries.query_id]
    assert list(part.passages["passage_id"]) == passages.passage_id.tolist()
    assert part.qrels.to_numpy().tolist() == kept
    assert [[part.queries.query_id[q], passages.passage_id.iloc[p]] for q, p in part.pairs] == [row[:2] for row in kept]
    # A mapped table stays mapped; a pool of it is in memory.
    assert isinstance(part.passages, type(task().passages))
    judged = passages[passages.passage_id.isin([row[1] for row in kept])].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.with_pool("judged").passages, judged)


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (["en", "sw"], "languages: 'sw' is not in the task; allowed: de, en, fi"),
        (["en"], "qrels must hold at least one pair"),
        ([], "languages names none; allowed in the task: de, en, fi"),
        (["de", "de"], r"languages \['de', 'de'\] names one twice"),
        (3, "languages is 3; allowed: a list"),
    ],
)
def test_restricting_to_what_is_not_there_is_refused(task, languages, message):
    with pytest.raises(ValueError, match=message):
        task().restrict(languages)


def test_of_hundreds_of_languages_a_message_names_some():
    with pytest.raises(ValueError, match=r"^languages: 'sw' is not in the task; allowed: x000, .*, x039, \.\.\.$"):
        check_languages(["sw"], [f"x{number:03}" for number in range(300)], "the task")


def test_restricting_keeps_the_settings_and_says_what_became_of_a_pool(task):
    part = task(settings=("cross-lingual",), pool="Half of it.").restrict(["en", "de"])
    assert part.settings == ("cross-lingual",)
    assert part.pool == "Half of it. Of it, only what is in de, en."
    assert task().restrict(["en", "de"]).pool == ""


def test_what_was_judged_and_is_not_relevant_is_no_pair(task):
    judged = task(qrels=QRELS.assign(relevance=[1, 0, 2, 0]))
    assert judged.judged.tolist() == task().pairs.tolist()
    assert judged.pairs.tolist() == [[1, 2], [0, 0]]
    assert judged.gains.tolist() == [1, 2]


# --- pools


def corpus_of(size):
    """Make a task of one query and many passages. Passage 10 is relevant; 3 and 17 are judged and not relevant."""
    passages = pd.DataFrame({"passage_id": range(size), "language": "en", "text": "-"})
    queries = pd.DataFrame({"query_id": ["q"], "language": ["en"], "text": ["-"]})
    return RetrievalTask(
        queries, passages, pd.DataFrame({"query_id": "q", "passage_id": [10, 3, 17], "relevance": [1, 0, 0]})
    )


def test_a_judged_pool_holds_what_was_judged_for_any_query_in_the_order_of_the_corpus():
    pooled = corpus_of(40).with_pool("judged")
    assert pooled.passages.passage_id.tolist() == ["3", "10", "17"]
    assert pooled.pairs.tolist() == [[0, 1]]
    assert pooled.pool == (
        "The pool holds the 3 judged passages and none of the other 37: ranks and rank distances are lower bounds of "
        "those among all 40, and so map, ndcg, recall and rr upper ones."
    )


def test_a_pool_of_a_number_adds_so_many_others():
    pooled, same, another = (corpus_of(2000).with_pool(1000, seed) for seed in (3, 3, 4))
    ids = pooled.passages.passage_id.astype(int).tolist()
    assert len(ids) == len(set(ids)) == 1003 and ids == sorted(ids) and {3, 10, 17} < set(ids)
    assert "holds the 3 judged passages and 1,000 drawn (seed 3) from the other 1,997: ranks" in pooled.pool
    assert same.passages.passage_id.astype(int).tolist() == ids != another.passages.passage_id.astype(int).tolist()


def test_every_other_passage_is_as_likely_to_be_drawn():
    # Of 37, 20 are drawn 500 times. So each is drawn 500 * 20/37 = 270 times on average, with a standard deviation of
    # sqrt(500 * 20/37 * 17/37) = 11.2.
    counts = np.zeros(40)
    for seed in range(500):
        counts[corpus_of(40).with_pool(20, seed).passages.passage_id.astype(int)] += 1
    assert (counts[[3, 10, 17]] == 500).all()
    assert (abs(np.delete(counts, [3, 10, 17]) - 500 * 20 / 37) < 4.5 * 11.2).all()


def test_a_pool_that_leaves_nothing_out_is_whole():
    for number in (17, 18, 1000):
        whole = corpus_of(20).with_pool(number)
        assert len(whole.passages) == 20 and whole.pool == ""


def test_a_language_has_the_same_pool_whichever_others_are_in_the_task():
    both, alone = (load_task("atlas", languages=codes, pool=50) for codes in (["en", "sw"], ["sw"]))
    swahili = both.passages[both.passages.language == "sw"]
    assert swahili.passage_id.tolist() == alone.passages.passage_id.tolist()
    judged = load_task("atlas", languages=["sw"], pool="judged").passages
    assert len(alone.passages) == len(judged) + 50


def test_a_pool_of_a_pool_says_both():
    said = corpus_of(40).with_pool(20).with_pool("judged").pool
    assert "from the other 37: " in said and "none of the other 20: " in said


@pytest.mark.parametrize("pool", [0, -1, 2.5, True, "half", "10"])
def test_pools_that_do_not_exist_are_refused(pool):
    with pytest.raises(
        ValueError, match=rf"pool is {pool!r}; allowed: 'judged', or (a whole number|greater than or equal to 1)"
    ):
        corpus_of(40).with_pool(pool)


# --- the named tasks


@pytest.mark.parametrize("name", ATLAS_TASKS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "split is 'dev'; allowed: train, validation, test"),
        ({"split": ""}, "split is ''; allowed: train, validation, test"),
        ({"languages": ["en", "xx"]}, "languages: 'xx' is not in the task; allowed: ar, bn, de"),
        ({"fold": 0}, "fold is 0; atlas.* has none: allowed is None$"),
        ({"paragraphs": True}, "paragraphs is True; allowed for xquad-r and mlqa-r, not for atlas"),
        ({"pool": "all"}, "pool is 'all'; allowed: 'judged', or a whole number"),
    ],
)
def test_arguments_that_name_nothing_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        load_task(name, **arguments)


def test_a_task_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=f"task is 'beir'; allowed: {', '.join(TASKS)}"):
        load_task("beir")


@pytest.mark.parametrize("pool", ["judged", 7])
def test_a_named_task_may_be_loaded_with_a_smaller_pool(pool):
    whole, part = (load_task("atlas", languages=["en", "sw"], pool=one, seed=3) for one in (None, pool))
    expected = whole.with_pool(pool, seed=3)
    pd.testing.assert_frame_equal(part.passages, expected.passages)
    assert part.pool == expected.pool != whole.pool == ""


@pytest.mark.parametrize("split", [None, "validation"])
@pytest.mark.parametrize("name", ATLAS_TASKS)
def test_an_atlas_task_asks_the_facts_of_the_split_in_a_pool_of_all_facts(name, split):
    facts = atlas_facts(2)
    asked = set(facts.fact[facts.split == (split or "test")])
    made = load_task(name, split, seed=2)
    texts, told = atlas_texts(facts, 2), atlas_paraphrases(facts, 2)
    queries = [[f"{row.language}:{row.fact}", row.language, row.query, *[row.fact] * 2] for row in texts.itertuples()]
    passages = [[f"{row.language}:{row.fact}", row.language, row.passage, row.fact] for row in texts.itertuples()]
    if name == "atlas-paraphrased":
        keys = told.language + ":" + told.fact + ":" + told.number.astype(str)
        passages = [list(row) for row in zip(keys, told.language, told.passage, told.fact, strict=True)]
    if name == "atlas-partial":  # the next tests say which texts exist
        there = set(made.passages.passage_id)
        queries, passages = ([row for row in rows if row[0] in there] for rows in (queries, passages))
    # The rows come language by language, and in each the facts in order, since sorting is stable.
    queries = sorted((row for row in queries if row[3] in asked), key=itemgetter(1))
    assert made.queries.to_numpy().tolist() == queries
    assert made.passages.to_numpy().tolist() == [row[:3] for row in sorted(passages, key=itemgetter(1))]
    # All passages that tell the fact of a question are relevant to it, in every language, and no others.
    telling: dict[str, list[str]] = {}
    for key, *_, fact in passages:
        telling.setdefault(fact, []).append(key)
    expected = {(query, passage) for query, *_, fact in queries for passage in telling[fact]}
    assert set(made.qrels[["query_id", "passage_id"]].itertuples(index=False, name=None)) == expected
    assert len(made.qrels) == len(expected) and (made.qrels.relevance == 1).all()


@pytest.mark.parametrize("name", ATLAS_TASKS)
def test_what_is_asked_was_never_trained_on(name):
    corpus = load_corpus("atlas", languages=["en", "sw"]).table.to_pandas()
    for split in ("validation", "test"):
        made = load_task(name, split, languages=["en", "sw"])
        assert made.languages == ["en", "sw"]
        assert not set(corpus["query"]) & set(made.queries.text)
        assert not set(corpus["passage"]) & set(made.passages.text[made.pairs[:, 1]])
    assert set(load_task(name, "train", languages=["en", "sw"]).queries.text) <= set(corpus["query"])


def test_a_fact_of_the_partial_atlas_exists_in_english_and_one_to_three_other_languages():
    passages = load_task("atlas-partial", seed=2).passages
    exists = passages.language.groupby(passages.passage_id.str.partition(":")[2]).agg(set)
    assert set(exists.index) == set(atlas_facts(2).fact)
    assert all("en" in codes for codes in exists)
    # A third of the facts each have one, two and three others.
    others = exists.map(len).value_counts()
    assert set(others.index) == {2, 3, 4} and near(others, len(exists), 1 / 3)
    # A fact has two of the twenty other languages on average, so each of these has one fact in ten.
    sizes = passages.language.value_counts().drop("en")
    assert set(sizes.index) == set(LANGUAGES) - {"en"} and near(sizes, len(exists), 0.1)


def test_which_languages_a_fact_exists_in_is_chosen_by_the_seed_and_not_by_the_split():
    ids = [set(load_task("atlas-partial", split).passages.passage_id) for split in (None, "test", "validation")]
    assert ids[0] == ids[1] == ids[2] != set(load_task("atlas-partial", seed=1).passages.passage_id)


@pytest.mark.parametrize("name", ATLAS_TASKS)
def test_every_test_question_of_an_atlas_task_has_the_domain_of_its_fact(name):
    domains = question_domains(name, seed=2)
    asked = load_task(name, seed=2).queries.question
    assert domains.index.is_unique and set(domains.index) == set(asked)
    assert domains.to_dict() == atlas_facts(2).set_index("fact").domain[domains.index].to_dict()
    assert set(domains.index) != set(question_domains(name).index)  # another seed asks other facts


def test_the_domain_of_a_question_of_xquad_r_is_the_topic_of_its_article(real_data):
    # The questions of folds.csv, by topic.
    topics = question_domains("xquad-r")
    assert topics.value_counts().to_dict() == {"society": 376, "science": 332, "places": 252, "history": 230}
    assert topics.name == "domain" and topics["56beb4343aeaaa14008c925b"] == "society"  # of Super Bowl 50


@pytest.mark.parametrize("name", ["mlqa-r", "beir"])
def test_a_task_without_domains_is_refused(name):
    message = f"task is '{name}'; allowed, as they have domains: atlas, atlas-paraphrased, atlas-partial, xquad-r, and"
    with pytest.raises(ValueError, match=message):
        question_domains(name)


# --- several tasks as one, and tasks of held-out training data


def held_out() -> ParallelCorpus:
    """Make three items. Only the first exists in two languages; the third asks for its English passage, too."""
    rows = [("a", "en", "q1", "p1"), ("a", "sw", "s1", "t1"), ("b", "en", "q2", "p2"), ("c", "en", "q3", "p1")]
    frame = pd.DataFrame(rows, columns=["item", "language", "query", "passage"])
    frame = frame.assign(passage_group=frame["passage"].map({"p1": 0, "t1": 0, "p2": 1}), domain="web", dataset="tiny")
    return ParallelCorpus.from_frame(frame, ["en", "sw"])


def test_questions_of_held_out_training_data_are_to_find_the_passages_of_their_group() -> None:
    task = task_from_corpus(held_out())
    assert task.queries[["query_id", "text", "question"]].values.tolist() == [
        ["en:0", "q1", "0"], ["en:1", "q2", "1"], ["en:2", "q3", "2"], ["sw:0", "s1", "0"],
    ]  # fmt: skip
    assert task.passages[["passage_id", "text"]].values.tolist() == [["en:0", "p1"], ["en:1", "p2"], ["sw:0", "t1"]]
    assert sorted(map(tuple, task.qrels[["query_id", "passage_id"]].values)) == [
        ("en:0", "en:0"), ("en:0", "sw:0"), ("en:1", "en:1"), ("en:2", "en:0"), ("en:2", "sw:0"), ("sw:0", "en:0"),
        ("sw:0", "sw:0"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", None])
def test_an_item_of_held_out_training_data_may_be_missing_in_a_language_in_either_way(text) -> None:
    rows = held_out().table.to_pandas()
    for name in ("query", "passage"):
        rows[name] = rows[name].where(rows[name] != "", text)
    task = task_from_corpus(ParallelCorpus(datasets.Dataset.from_pandas(rows)))
    expected = task_from_corpus(held_out())
    assert task.queries.equals(expected.queries) and task.passages.equals(expected.passages)
    assert task.qrels.equals(expected.qrels)


def test_tasks_joined_by_plus_have_one_pool_and_keep_their_judgements() -> None:
    both = load_task("atlas+atlas-partial", languages=["en", "sw"])
    parts = {name: load_task(name, languages=["en", "sw"]) for name in ("atlas", "atlas-partial")}
    assert len(both.passages) == sum(len(task.passages) for task in parts.values())
    start = 0
    for name, task in parts.items():
        pairs = both.pairs[start : start + len(task.pairs)]
        query, passage = both.queries.iloc[pairs[:, 0]], both.passages.iloc[pairs[:, 1]]
        assert (query.query_id == [f"{name}:{task.queries.query_id[row]}" for row in task.pairs[:, 0]]).all()
        assert (query.article == [f"{name}:{task.queries.article[row]}" for row in task.pairs[:, 0]]).all()
        assert (passage.text.to_numpy() == task.passages.text[task.pairs[:, 1]].to_numpy()).all()
        start += len(task.pairs)
    assert start == len(both.pairs)
    with pytest.raises(ValueError, match=r"^task is 'atlas\+atlas'; allowed is each task once$"):
        load_task("atlas+atlas")


def test_questions_of_joined_tasks_have_the_domain_of_their_task(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_from_corpus(held_out())
    monkeypatch.setattr(hybridlib.data.load, "_one_task", lambda *_, **options: task)
    domains = question_domains("xquad-r+mmarco")
    assert domains.to_dict() == {
        f"{name}:{item}": domain for name, domain in (("xquad-r", "wikipedia"), ("mmarco", "web")) for item in range(3)
    }


def test_the_version_of_public_data_is_that_of_its_source_and_of_the_atlas_a_digest():
    commit = "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c"
    assert revision("xquad-r") == commit and revision("xquad-r+squadshifts") == f"{commit}+v1.0"
    assert revision("miracl/sw") == revision("miracl") == "anserini-tools 6bb119c, miracl-corpus d921ec7"
    assert re.fullmatch(r"[0-9a-f]{16} \(Babel [\d.]+\)", revision("atlas"))
    assert {revision(name) for name in (*ATLAS_TASKS, "atlas-names")} == {revision("atlas")}
    for name in ("beir", "atlas+beir"):
        with pytest.raises(
            ValueError, match=f"^data is {re.escape(repr(name))}; allowed: atlas, atlas-names, xquad-r, "
        ):
            revision(name)


def test_another_file_of_the_atlas_is_another_version(monkeypatch, tmp_path):
    folder = Path(atlas.__file__).parent
    shutil.copytree(folder, tmp_path / "atlas")
    monkeypatch.setattr(atlas, "__file__", str(tmp_path / "atlas" / "read.py"))
    assert atlas.revision.__wrapped__() == revision("atlas")
    frames = tmp_path / "atlas/frames/sw.yaml"
    frames.write_text(frames.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert atlas.revision.__wrapped__() != revision("atlas")
