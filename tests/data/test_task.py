"""Evaluation data: what a task refuses, its derived arrays, and the named tasks."""

import datasets
import numpy as np
import pandas as pd
import pytest

import hybridlib.data.load
from hybridlib.data.atlas.facts import LANGUAGES, atlas_facts, atlas_names, atlas_paraphrases
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import TASKS, load_corpus, load_task, question_domains
from hybridlib.data.sources.lareqa import LareqaData, task_from_lareqa
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
    assert list(made.queries.columns) == ["query_id", "language", "text", "question"]
    assert made.queries.index.tolist() == [0, 1, 2]
    ids = made.queries.query_id.to_numpy()[made.pairs[:, 0]]
    assert ids.tolist() == QRELS.query_id.tolist()


def test_a_query_without_a_question_is_a_question_of_its_own():
    assert task().queries.question.tolist() == ["q2", "q1", "q3"]
    questions = [("a", 1), "b", ("a", 1)]
    assert task(queries=QUERIES.assign(question=questions)).queries.question.tolist() == questions


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
            r"queries lacks the column 'text'; it has \['query_id', 'language', 'question'\]",
        ),
        ({"queries": QUERIES.assign(question=["a", None, "b"])}, "queries: the question of q1 is missing"),
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
        ({"qrels": QRELS.iloc[:0]}, "qrels must hold at least one pair with a relevance above 0"),
        ({"qrels": QRELS.assign(relevance=0)}, "qrels must hold at least one pair with a relevance above 0"),
        ({"qrels": QRELS.assign(relevance=[1, -1, 1, 1])}, "one pair with a relevance above 0, and none below 0"),
        ({"qrels": QRELS.assign(relevance=[1, np.nan, 1, 1])}, "qrels must hold at least one pair with a relevance"),
        (
            {"qrels": QRELS.assign(relevance=pd.array([1, None, 1, 1], dtype="Int64"))},
            "qrels must hold at least one pair with a relevance",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(tables, message):
    with pytest.raises(ValueError, match=message):
        task(**tables)


# --- restrict


def test_restricting_keeps_queries_passages_and_pairs_of_the_languages():
    part = task(queries=QUERIES.assign(question=[7, 8, 9])).restrict(["de", "en"])
    assert part.languages == ["de", "en"]
    assert part.queries.query_id.tolist() == ["q2", "q1"]
    assert part.queries.question.tolist() == [7, 8]
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


def test_restricting_keeps_the_settings_and_says_what_became_of_a_pool():
    part = task(settings=("cross-lingual",), pool="Half of it.").restrict(["en", "de"])
    assert part.settings == ("cross-lingual",)
    assert part.pool == "Half of it. Of it, only what is in de, en."
    assert task().restrict(["en", "de"]).pool == ""


# --- passages that are memory-mapped


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    """A task of the same tables, its passages in a file, of which two rows are read at a time."""

    def make(passages=PASSAGES, **tables):
        monkeypatch.setattr("hybridlib.data.passages._BATCH", 2)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        datasets.Dataset.from_pandas(passages, preserve_index=False).save_to_disk(folder)
        return task(passages=datasets.load_from_disk(folder), **tables)

    return make


def test_a_task_of_memory_mapped_passages_is_the_same(mapped):
    made = mapped(PASSAGES.assign(title="x"))
    assert isinstance(made.passages, datasets.Dataset) and made.passages.cache_files
    assert made.passages.column_names == ["passage_id", "language", "text"]
    assert made.languages == task().languages
    assert made.passage_languages.tolist() == task().passage_languages.tolist()
    assert made.pairs.tolist() == task().pairs.tolist()


@pytest.mark.parametrize("languages", [["de", "en"], ["fi"], ["fi", "de"], ["fi", "en", "de"]])
def test_memory_mapped_passages_are_restricted_and_pooled_like_others(mapped, languages):
    part, expected = mapped().restrict(languages), task().restrict(languages)
    assert isinstance(part.passages, datasets.Dataset)
    assert part.passages["passage_id"][:] == expected.passages.passage_id.tolist()
    assert part.pairs.tolist() == expected.pairs.tolist()
    for of, other in ((part, expected), (mapped(), task())):
        pooled = of.with_pool("judged").passages
        assert isinstance(pooled, pd.DataFrame)
        pd.testing.assert_frame_equal(pooled, other.with_pool("judged").passages)


@pytest.mark.parametrize("number", [1, 3])
def test_numbers_are_ids_of_memory_mapped_passages_too(mapped, number):
    ids = {f"p{i}": i * number for i in range(1, 5)}
    made = mapped(
        PASSAGES.assign(passage_id=PASSAGES.passage_id.map(ids)),
        qrels=QRELS.assign(passage_id=QRELS.passage_id.map(ids)),
    )
    assert made.pairs.tolist() == task().pairs.tolist()


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        (PASSAGES.drop(columns="text"), r"passages lacks the column 'text'; it has \['passage_id', 'language'\]"),
        (PASSAGES.replace("p3", "p9"), "qrels names the passage_id p3, which does not exist"),
        (PASSAGES.replace("p2", "p1"), "passage_id p1 comes twice"),  # in one batch of two rows
        (PASSAGES.replace("p2", "p4"), "passage_id p4 comes twice"),  # in different ones
    ],
)
def test_memory_mapped_passages_that_do_not_fit_are_refused(mapped, passages, message):
    with pytest.raises(ValueError, match=message):
        mapped(passages)


# --- judged and found not relevant, and settings


def test_what_was_judged_and_is_not_relevant_is_no_pair():
    judged = task(qrels=QRELS.assign(relevance=[1, 0, 2, 0]))
    assert judged.judged.tolist() == task().pairs.tolist()
    assert judged.pairs.tolist() == [[1, 2], [0, 0]]
    assert judged.gains.tolist() == [1, 2]
    with pytest.raises(ValueError, match="qrels names the passage_id p9, which does not exist"):
        task(qrels=QRELS.assign(relevance=[1, 0, 2, 0]).replace("p4", "p9"))


@pytest.mark.parametrize("settings", [(), ("bilingual",), ("monolingual", "bilingual")])
def test_settings_that_do_not_exist_are_refused(settings):
    with pytest.raises(ValueError, match=r"settings is .*; allowed: one or more of monolingual, cross-lingual, multil"):
        task(settings=settings)


# --- pools


def corpus_of(size):
    """A task of one query and of many passages, of which 10 is relevant, and 3 and 17 are judged and not."""
    passages = pd.DataFrame({"passage_id": range(size), "language": "en", "text": "-"})
    queries = pd.DataFrame({"query_id": ["q"], "language": ["en"], "text": ["-"]})
    return RetrievalTask(
        queries, passages, pd.DataFrame({"query_id": "q", "passage_id": [10, 3, 17], "relevance": [1, 0, 0]})
    )


def test_a_judged_pool_holds_what_was_judged_for_any_query_in_the_order_of_the_corpus():
    pooled = corpus_of(40).with_pool("judged")
    assert pooled.passages.passage_id.tolist() == [3, 10, 17]
    assert pooled.pairs.tolist() == [[0, 1]]
    assert pooled.pool == (
        "The pool holds the 3 judged passages and none of the other 37: ranks and rank distances are lower bounds of "
        "those among all 40, and so map, ndcg, recall and rr upper ones."
    )


def test_a_pool_of_a_number_adds_so_many_others():
    pooled = corpus_of(2000).with_pool(1000, seed=3)
    ids = pooled.passages.passage_id.tolist()
    assert len(ids) == len(set(ids)) == 1003 and ids == sorted(ids) and {3, 10, 17} < set(ids)
    assert "holds the 3 judged passages and 1,000 drawn (seed 3) from the other 1,997: ranks" in pooled.pool
    assert corpus_of(2000).with_pool(1000, seed=3).passages.passage_id.tolist() == ids
    assert corpus_of(2000).with_pool(1000, seed=4).passages.passage_id.tolist() != ids


def test_every_other_passage_is_as_likely_to_be_drawn():
    # 20 of 37, 500 times: each 270 times on average, with a standard deviation of sqrt(500 * 20/37 * 17/37) = 11.
    counts = np.zeros(40)
    for seed in range(500):
        counts[corpus_of(40).with_pool(20, seed).passages.passage_id] += 1
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
    with pytest.raises(ValueError, match=rf"pool is {pool!r}; allowed: judged, or how many others of each language"):
        corpus_of(40).with_pool(pool)


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


def test_a_named_task_may_be_loaded_with_a_smaller_pool():
    whole = load_task("atlas", languages=["en", "sw"])
    judged = load_task("atlas", languages=["en", "sw"], pool="judged")
    assert set(judged.passages.passage_id) == set(whole.qrels.passage_id)
    more = load_task("atlas", languages=["en", "sw"], pool=7, seed=0)
    assert len(more.passages) == len(judged.passages) + 2 * 7 and more.pool
    pd.testing.assert_frame_equal(more.passages, whole.with_pool(7, seed=0).passages)
    assert whole.pool == ""
    with pytest.raises(ValueError, match="pool is 'all'; allowed: judged, or how many"):
        load_task("atlas", languages=["en", "sw"], pool="all")


@pytest.mark.parametrize("split", [None, "validation"])
def test_atlas_asks_the_facts_of_the_split_in_a_pool_of_all_facts(split):
    facts = atlas_facts(2)
    asked = facts.fact[facts.split == (split or "test")].tolist()
    made = load_task("atlas", split, seed=2)
    assert made.languages == list(LANGUAGES)
    # Language by language, in each the facts in order.
    assert made.queries.query_id.tolist() == [f"{code}:{fact}" for code in LANGUAGES for fact in asked]
    assert made.queries.question.tolist() == asked * len(LANGUAGES)
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
    pd.testing.assert_frame_equal(made.queries, QUERIES.assign(question=["2", "1", "3"]))
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
    monkeypatch.setattr(
        "hybridlib.data.sources.lareqa.read_xquad_r", lambda *, paragraphs: asked.append(paragraphs) or data
    )
    parts = {split: set(load_task("xquad-r", split).passages.text) for split in ("train", "test")}
    assert set(load_task("xquad-r").passages.text) == set(articles) == parts["train"] | parts["test"]
    assert len(parts["test"]) == 2 and not parts["train"] & parts["test"]  # a quarter of eight
    assert set(load_task("xquad-r", "test", seed=0).passages.text) == parts["test"]
    assert any(set(load_task("xquad-r", "test", seed=seed).passages.text) != parts["test"] for seed in range(1, 5))
    with pytest.raises(ValueError, match="split is 'validation'; allowed: train, test"):
        load_task("xquad-r", "validation")
    load_task("xquad-r", paragraphs=True)
    assert asked[-1] is True and not any(asked[:-1])


@pytest.mark.parametrize("name", ["atlas", "atlas-paraphrased", "atlas-partial"])
def test_the_atlas_has_no_paragraphs_to_add(name):
    message = f"paragraphs is True; allowed for xquad-r and mlqa-r, not for {name}"
    with pytest.raises(ValueError, match=message):
        load_task(name, paragraphs=True)


# --- several passages for a fact, and facts that exist in some languages


def languages_of(table: pd.DataFrame, fact: pd.Series) -> pd.Series:
    """The languages of each fact, as they come."""
    return table.language.groupby(fact.to_numpy(), sort=False).agg(list)


def test_the_paraphrased_atlas_has_one_to_three_relevant_passages_in_each_language():
    facts = atlas_facts(2)
    asked = facts.fact[facts.split == "validation"].tolist()
    made = load_task("atlas-paraphrased", "validation", seed=2)
    # The questions are those of the plain atlas; the pool holds all paraphrases of all facts, language by language.
    pd.testing.assert_frame_equal(made.queries, load_task("atlas", "validation", seed=2).queries)
    told = atlas_paraphrases(facts, 2)
    text = {f"{row.language}:{row.fact}:{row.number}": row.passage for row in told.itertuples()}
    assert len(text) == len(told)
    assert dict(zip(made.passages.passage_id, made.passages.text, strict=True)) == text
    assert made.passages.passage_id.is_unique and made.passages.language.is_monotonic_increasing
    assert (made.passages.language == made.passages.passage_id.str.partition(":")[0]).all()
    # Relevant to a question is every passage that tells its fact, in any language, and no other.
    ids: dict[str, list[str]] = {}
    for row in told.itertuples():
        ids.setdefault(row.fact, []).append(f"{row.language}:{row.fact}:{row.number}")
    expected = {(f"{code}:{fact}", passage) for fact in asked for code in LANGUAGES for passage in ids[fact]}
    assert set(made.qrels[["query_id", "passage_id"]].itertuples(index=False, name=None)) == expected
    assert len(made.qrels) == len(expected) and (made.qrels.relevance == 1).all()
    count = made.qrels.groupby(["query_id", made.qrels.passage_id.str.partition(":")[0]]).size()
    assert len(count) == len(made.queries) * len(LANGUAGES) and set(count) == {1, 2, 3}


def test_questions_of_the_partial_atlas_are_in_english_and_one_to_three_other_languages():
    made = load_task("atlas-partial", "test", seed=2)
    whole = load_task("atlas", "test", seed=2)
    fact = made.passages.passage_id.str.partition(":")[2]
    exists = languages_of(made.passages, fact)
    assert sorted(exists.index) == sorted(atlas_facts(2).fact)  # the pool still holds all facts
    assert all(len(codes) == len(set(codes)) and "en" in codes for codes in exists)
    others = exists.map(len) - 1
    # One, two or three others for a third of the facts each, n = 1,022; four standard deviations of the binomial.
    n = len(exists)
    assert sorted(others.unique()) == [1, 2, 3]
    assert all(abs(count - n / 3) < 4 * (n * 2 / 9) ** 0.5 for count in others.value_counts())
    # So a language other than English has one fact in ten: two of twenty languages, on average.
    sizes = made.passages.language.value_counts().drop("en")
    assert set(sizes.index) == set(LANGUAGES) - {"en"}
    assert all(abs(size - n / 10) < 4 * (n * 0.1 * 0.9) ** 0.5 for size in sizes)
    # Questions are asked in the languages of their fact and in no other.
    asked = languages_of(made.queries, made.queries.question)
    assert set(asked.index) == set(whole.queries.question)
    assert asked.map(sorted).to_dict() == exists[asked.index].map(sorted).to_dict()
    # All is as in the plain atlas but for what is missing.
    for name, key in (("queries", "query_id"), ("passages", "passage_id")):
        table, of = getattr(made, name), getattr(whole, name)
        pd.testing.assert_frame_equal(table, of[of[key].isin(table[key])].reset_index(drop=True))
    pairs = set(made.qrels[["query_id", "passage_id"]].itertuples(index=False, name=None))
    expected = {(f"{q}:{one}", f"{p}:{one}") for one, codes in asked.items() for q in codes for p in codes}
    assert pairs == expected and len(made.qrels) == len(expected)


def test_which_languages_a_fact_exists_in_is_chosen_by_the_seed_and_not_by_the_split():
    ids = [set(load_task("atlas-partial", split).passages.passage_id) for split in ("test", "validation")]
    assert ids[0] == ids[1] == set(load_task("atlas-partial").passages.passage_id)
    assert set(load_task("atlas-partial", seed=1).passages.passage_id) != ids[0]


@pytest.mark.parametrize("name", ["atlas-paraphrased", "atlas-partial"])
def test_the_other_atlas_tasks_can_be_restricted_and_refuse_what_the_atlas_refuses(name):
    part = load_task(name, "train", languages=["en", "sw"])
    assert part.languages == ["en", "sw"]
    trained = set(atlas_facts().query("split == 'train'").fact)
    assert set(part.queries.question) == trained  # every fact is asked in English at least
    with pytest.raises(ValueError, match="split is 'dev'; allowed: train, validation, test"):
        load_task(name, "dev")
    with pytest.raises(ValueError, match="languages: 'xx' is not in the task; allowed: ar, bn, de"):
        load_task(name, languages=["xx"])


@pytest.mark.parametrize("name", ["atlas", "atlas-paraphrased", "atlas-partial"])
def test_every_test_question_of_an_atlas_task_has_the_domain_of_its_fact(name):
    domains = question_domains(name, seed=2)
    asked = load_task(name, seed=2).queries.question
    assert domains.index.is_unique and set(domains.index) == set(asked)
    assert domains.to_dict() == atlas_facts(2).set_index("fact").domain[domains.index].to_dict()
    assert set(domains.index) != set(question_domains(name).index)  # of another split


@pytest.mark.parametrize("name", ["xquad-r", "beir"])
def test_a_task_without_domains_is_refused(name):
    message = f"task is '{name}'; allowed, as they have domains: atlas, atlas-paraphrased, atlas-partial, and sev"
    with pytest.raises(ValueError, match=message):
        question_domains(name)


# Several tasks as one, and tasks of held-out training data.


def held_out() -> ParallelCorpus:
    """Three items in two languages: the second only in English, the third another question on the first passage."""
    rows = [("a", "en", "q1", "p1"), ("a", "sw", "s1", "t1"), ("b", "en", "q2", "p2"), ("c", "en", "q3", "p1")]
    frame = pd.DataFrame(rows, columns=["item", "language", "query", "passage"])
    frame = frame.assign(passage_group=frame["passage"].map({"p1": 0, "t1": 0, "p2": 1}), domain="web", dataset="tiny")
    return ParallelCorpus.from_frame(frame, ["en", "sw"])


def test_questions_of_held_out_training_data_are_to_find_the_passages_of_their_group() -> None:
    task = task_from_corpus(held_out())
    assert task.queries[["query_id", "text", "question"]].values.tolist() == [
        ["en:0", "q1", 0], ["en:1", "q2", 1], ["en:2", "q3", 2], ["sw:0", "s1", 0],
    ]  # fmt: skip
    assert task.passages[["passage_id", "text"]].values.tolist() == [["en:0", "p1"], ["en:1", "p2"], ["sw:0", "t1"]]
    assert sorted(map(tuple, task.qrels[["query_id", "passage_id"]].values)) == [
        ("en:0", "en:0"), ("en:0", "sw:0"), ("en:1", "en:1"), ("en:2", "en:0"), ("en:2", "sw:0"), ("sw:0", "en:0"),
        ("sw:0", "sw:0"),
    ]  # fmt: skip


def test_tasks_joined_by_plus_have_one_pool_and_keep_their_judgements() -> None:
    both = load_task("atlas+atlas-partial", languages=["en", "sw"])
    parts = {name: load_task(name, languages=["en", "sw"]) for name in ("atlas", "atlas-partial")}
    assert len(both.passages) == sum(len(task.passages) for task in parts.values())
    start = 0
    for name, task in parts.items():
        pairs = both.pairs[start : start + len(task.pairs)]
        query, passage = both.queries.iloc[pairs[:, 0]], both.passages.iloc[pairs[:, 1]]
        assert (query.query_id == [f"{name}:{task.queries.query_id[row]}" for row in task.pairs[:, 0]]).all()
        assert (passage.text.to_numpy() == task.passages.text[task.pairs[:, 1]].to_numpy()).all()
        start += len(task.pairs)
    assert start == len(both.pairs)


def test_questions_of_joined_tasks_have_the_domain_of_their_task(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_from_corpus(held_out())
    monkeypatch.setattr(hybridlib.data.load, "_one_task", lambda *_, **options: task)
    domains = question_domains("xquad-r+mmarco")
    assert domains.to_dict() == {
        f"{name}:{item}": domain for name, domain in (("xquad-r", "wikipedia"), ("mmarco", "web")) for item in range(3)
    }
