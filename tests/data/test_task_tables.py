"""What people's tables do to a task: they give it the right value, or are refused by table, column and row."""

import re
from itertools import product

import datasets
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from hybridlib.data.load import load_task, question_domains
from hybridlib.data.passages import content_digest
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate_embeddings
from hybridlib.evaluation.pairs import pair_table

QUERIES = pd.DataFrame({"query_id": ["q1", "q2"], "language": ["en", "de"], "text": ["one?", "zwei?"]})
PASSAGES = pd.DataFrame({"passage_id": ["p1", "p2", "p3"], "language": ["en", "de", "de"], "text": ["1", "2", "3"]})
QRELS = pd.DataFrame({"query_id": ["q1", "q2", "q2"], "passage_id": ["p1", "p2", "p3"], "relevance": [1, 2, 0]})
TABLES = {"queries": QUERIES, "passages": PASSAGES, "qrels": QRELS}


def task_with(**tables):
    return RetrievalTask(**TABLES | tables)


def mapped(table, folder):
    """Return a table memory-mapped."""
    datasets.Dataset.from_pandas(table, preserve_index=False).save_to_disk(folder)
    return datasets.load_from_disk(folder)


def assert_same(task, other):
    assert (task.pairs.tolist(), task.gains.tolist()) == (other.pairs.tolist(), other.gains.tolist())
    assert (task.languages, task.passage_languages.tolist()) == (other.languages, other.passage_languages.tolist())
    assert task.queries.to_numpy().tolist() == other.queries.to_numpy().tolist()
    assert content_digest(task.qrels) == content_digest(other.qrels)
    assert content_digest(task.passages) == content_digest(other.passages)


# Refused, with the table, the column, the rows and the value.

WRONG = [
    ("qrels", "relevance", [1, np.inf, 0], "row 1 is inf; allowed: a finite number"),
    ("qrels", "relevance", [1, np.nan, 0], "row 1 is nan"),
    ("qrels", "relevance", pd.array([1, None, 0], dtype="Int64"), "row 1 is <NA>"),
    ("qrels", "relevance", pd.to_datetime(["2026-01-01"] * 3), "row 0 is of the type Timestamp, row 1 is of the type"),
    ("qrels", "relevance", ["1", "2", "0"], "row 0 is '1', row 1 is '2', row 2 is '0'; allowed: a finite number"),
    ("qrels", "relevance", [True, 2, 0], "row 0 is True"),
    ("qrels", "relevance", [1 + 1j, 2, 0], "row 0 is (1+1j)"),
    ("qrels", "relevance", [1, 1e-200, 0], "row 1 is 1e-200"),
    ("qrels", "relevance", [1, 10**400, 0], "row 1 is 1000000"),
    ("queries", "text", ["one?", None], "row 1 is nan; allowed: a text that is not empty"),
    ("queries", "text", [np.nan, "zwei?"], "row 0 is nan"),
    ("queries", "text", ["one?", " "], "row 1 is ' '"),
    ("queries", "text", [1, 2], "row 0 is 1, row 1 is 2"),
    ("passages", "text", pd.Series(["1", "\ud800", "3"], dtype=object), "row 1 is '\\ud800'; allowed: a text"),
    ("passages", "text", ["1", None, b"3"], "row 1 is None, row 2 is b'3'; allowed: a text"),
    ("passages", "language", ["en", "", "de"], "row 1 is ''; allowed: a text that is not empty"),
    ("passages", "language", ["en", None, "de"], "row 1 is nan"),
    ("passages", "language", ["en", "all", "de"], "row 1 is 'all'; allowed: the code of a language; 'all' stands for"),
    ("queries", "language", ["en", "all"], "row 1 is 'all'; allowed: the code of a language; 'all' stands for"),
    ("queries", "query_id", ["q1", None], "row 1 is nan; allowed: a text that is not empty, or a whole number"),
    ("queries", "query_id", [1.0, 2.0], "row 0 is 1.0, row 1 is 2.0; allowed: a text that is not empty, or a whole"),
    ("queries", "query_id", [True, "q2"], "row 0 is True"),
    ("queries", "question", [("a", 1), "b"], "row 0 is ('a', 1)"),
    ("passages", "passage_id", ["p1", "", "p3"], "row 1 is ''"),
    ("passages", "passage_id", ["1", 1, "p3"], "the number 1 and the text '1' would be the same; name one anew"),
]


@pytest.mark.parametrize(("table", "column", "values", "message"), WRONG)
def test_a_wrong_value_is_named_with_table_column_and_row(table, column, values, message):
    with pytest.raises(ValueError, match=f"^{table}.{column}: {re.escape(message)}") as raised:
        task_with(**{table: TABLES[table].assign(**{column: values})})
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("value", [None, "atlas", [], QUERIES.to_numpy(), {"query_id": ["q1"]}, QUERIES.text])
def test_what_is_no_table_is_refused(value):
    for table in TABLES:
        with pytest.raises(ValueError, match=rf"^{table} is .*; allowed: a pandas.DataFrame or a datasets.Dataset$"):
            task_with(**{table: value})


@pytest.mark.parametrize("table", TABLES)
def test_a_column_that_is_there_twice_is_refused(table):
    twice = pd.concat([TABLES[table], TABLES[table].iloc[:, :1]], axis=1)
    with pytest.raises(ValueError, match=f"^{table} has twice the column '{twice.columns[0]}'"):
        task_with(**{table: twice})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"roles": ("query", "passage")}, "roles.1 is 'passage'; allowed: 'query' or 'document'"),
        ({"roles": "query"}, "roles is 'query'; allowed: two, that of the queries and that of the passages"),
        ({"roles": ["query"] * 3}, "roles is ['query', 'query', 'query']; allowed: two, that of the queries and"),
        ({"roles": None}, "roles is None; allowed: two, that of the queries and that of the passages"),
        ({"ignore_identical_ids": "no"}, "ignore_identical_ids is 'no'; allowed: True or False"),
        ({"settings": 3}, "settings is 3; allowed: a list"),
        ({"settings": [None]}, "settings.0 is None; allowed: 'monolingual', 'cross-lingual'"),
        ({"pool": None}, "pool is None; allowed: a text"),
    ],
)
def test_a_wrong_option_of_a_task_is_named(options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        task_with(**options)


@pytest.mark.parametrize("kind", ["str", "string", "category", "object"])
@pytest.mark.parametrize("as_dataset", [False, True])
def test_a_missing_value_is_told_in_columns_of_every_type_of_text(kind, as_dataset):
    tables = {**TABLES, "queries": QUERIES.assign(question=["a", "b"], article="c")}
    for name, column in ((name, column) for name, table in tables.items() for column in table if column != "relevance"):
        for missing in ([1], range(9)):  # one, or all
            values = [None if row in missing else value for row, value in enumerate(tables[name][column])]
            table = tables[name].assign(**{column: pd.Series(values, dtype=kind)})
            if as_dataset:
                table = datasets.Dataset.from_pandas(table, preserve_index=False)
            with pytest.raises(ValueError, match=rf"^{name}\.{column}(: row .*| is (null|double)); allowed: "):
                task_with(**{name: table})


@pytest.mark.parametrize("form", [list, tuple, np.array, pd.Index, iter], ids=lambda form: form.__name__)
def test_roles_may_come_in_any_form(form):
    assert task_with(roles=form(["query", "query"])).roles == ("query", "query")
    assert task_with(roles=form(["query", "document"])).roles == ("query", "document")


def test_tables_without_rows_are_refused():
    for table, message in (
        ("queries", "qrels names the query_id q1, which does not exist"),
        ("passages", "qrels names the passage_id p1, which does not exist"),
        ("qrels", "qrels must hold at least one pair with a relevance above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            task_with(**{table: TABLES[table].iloc[:0]})


# Taken, with the right value.


@pytest.mark.parametrize("convert", [
    lambda table: table.astype("category"),
    lambda table: table.convert_dtypes(dtype_backend="pyarrow"),
    lambda table: table.convert_dtypes(),
    lambda table: table.astype(object),
    lambda table: table.set_index(pd.Index([7] * len(table))),
    lambda table: table.set_index(pd.MultiIndex.from_product([["a"], range(len(table))])),
    lambda table: table.assign(**{"another": None, "text, too": 3}),
    lambda table: datasets.Dataset.from_pandas(table, preserve_index=False),
])  # fmt: skip
@pytest.mark.parametrize("tables", [["queries"], ["passages"], ["qrels"], [*TABLES]])
def test_a_table_of_any_form_gives_the_same_task(convert, tables):
    assert_same(task_with(**{table: convert(TABLES[table]) for table in tables}), task_with())


def test_a_judgement_below_0_is_judged_and_not_relevant():
    task = task_with(qrels=QRELS.assign(relevance=[2, -2, 1]))
    assert task.judged.tolist() == [[0, 0], [1, 1], [1, 2]]
    assert task.pairs.tolist() == [[0, 0], [1, 2]]
    assert len(task.with_pool("judged").passages) == 3


def test_ids_that_are_whole_numbers_are_texts_in_all_tables(tmp_path):
    queries, qrels = QUERIES.assign(query_id=[1, 2]), QRELS.assign(query_id=["1", "2", "2"], passage_id=[7, 8, 9])
    passages = PASSAGES.assign(passage_id=np.array([7, 8, 9], dtype=np.uint8))
    expected = RetrievalTask(queries, PASSAGES.assign(passage_id=["7", "8", "9"]), qrels)
    assert expected.queries.query_id.tolist() == ["1", "2"]
    for table in (passages, mapped(passages, tmp_path / "passages"), passages.astype({"passage_id": object})):
        task = RetrievalTask(queries, table, qrels)
        assert_same(task, expected)
        pd.testing.assert_frame_equal(pair_table(task), pair_table(expected))
        assert task.with_pool("judged").passages.passage_id.tolist() == ["7", "8", "9"]
    mixed = RetrievalTask(QUERIES.assign(query_id=["a", 2]), PASSAGES, QRELS.assign(query_id=["a", "2", 2]))
    mixed.queries.to_parquet(tmp_path / "queries.parquet")
    assert mixed.queries.query_id.tolist() == ["a", "2"]


def test_an_empty_passage_is_a_passage():
    assert len(task_with(passages=PASSAGES.assign(text=["1", "", "3"])).passages) == 3


# Memory-mapped passages.


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("text", [1, 2, 3], "passages.text is int64; allowed: texts"),
        ("text", ["1", None, None], "passages.text: row 1 is None, row 2 is None; allowed: a text"),
        ("language", ["en", "de", ""], "passages.language: row 2 is ''; allowed: the code of a language"),
        ("language", ["all", "de", "all"], "passages.language: row 0 is 'all', row 2 is 'all'; allowed: the code of a"),
        ("passage_id", [1.0, 2.0, 3.0], "passages.passage_id is double; allowed: texts, or whole numbers"),
        ("passage_id", ["p1", "p2", None], "passages.passage_id: row 2 is None"),
    ],
)
def test_memory_mapped_passages_are_checked_without_loading_them(tmp_path, monkeypatch, column, values, message):
    monkeypatch.setattr("hybridlib.data.passages._BATCH", 2)
    passages = mapped(PASSAGES.assign(**{column: values}), tmp_path / "passages")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        task_with(passages=passages)
    if None in values:  # rows that were left out may be null
        task_with(passages=passages.select([0]), qrels=QRELS.iloc[:1])


def test_passages_with_a_transform_are_refused_as_it_would_be_lost(tmp_path):
    passages = mapped(PASSAGES, tmp_path / "passages")
    passages.set_transform(lambda rows: {name: [str(value) * 2 for value in rows[name]] for name in rows})
    with pytest.raises(
        ValueError, match=r"^passages has a transform, which is not applied to single columns; apply it"
    ):
        task_with(passages=passages)


def test_the_content_of_passages_tells_them_apart_and_not_how_they_were_made(tmp_path, monkeypatch):
    same = [PASSAGES, mapped(PASSAGES, tmp_path / "one"), mapped(PASSAGES, tmp_path / "two").select([0, 1, 2])]
    others = [PASSAGES[::-1], PASSAGES.assign(text=["12", "", "3"]), PASSAGES.assign(language=["de", "en", "de"])]
    others.append(mapped(PASSAGES, tmp_path / "three").select([0, 2, 1]))
    digests = [content_digest(task_with(passages=table).passages) for table in same + others]
    monkeypatch.setattr("hybridlib.data.passages._BATCH", 2)
    assert len({*digests[:3], *(content_digest(task_with(passages=table).passages) for table in same)}) == 1
    assert len(set(digests)) == 5


# What a task says of itself, and its names.


def test_a_task_tells_its_size_in_a_line():
    assert repr(task_with()) == (
        "RetrievalTask(2 queries, 3 passages in de, en; 3 judgements, 2 of them relevant; monolingual, cross-lingual, "
        "multilingual)"
    )
    many = task_with(
        passages=pd.DataFrame({"passage_id": [f"p{n}" for n in range(99)], "language": [f"x{n:02}" for n in range(99)],
                               "text": "a"}), pool="A part."
    )  # fmt: skip
    assert "99 passages in x00, x01," in repr(many) and "x11, ...; 3 judgements" in repr(many)
    assert repr(many).endswith("multilingual; A part.)")
    assert {task_with(), many}  # two tasks differ unless they are one


def test_tasks_of_other_roles_are_not_joined(monkeypatch):
    monkeypatch.setattr(
        "hybridlib.data.load._one_task",
        lambda name, *_, **options: task_with(roles=("query", "query" if name == "tatoeba/de" else "document")),
    )
    with pytest.raises(
        ValueError, match=r"^tasks that are joined must have a setting and their roles in common: tatoe"
    ):
        load_task("tatoeba/de+atlas")
    assert load_task("atlas+miracl/sw").roles == ("query", "document")


@pytest.mark.parametrize("name", ["atlas-nope", "atlas-names", "atlas+atlas", "atlas/en", "", 3, None])
def test_what_has_no_domains_is_refused(name):
    with pytest.raises(ValueError, match=r"^(task|name) is "):
        question_domains(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 3}, "name is 3; allowed: a text"),
        ({"seed": -1}, "seed is -1; allowed: greater than or equal to 0"),
        ({"paragraphs": "no"}, "paragraphs is 'no'; allowed: True or False"),
        ({"languages": []}, "languages names none; allowed in the task: "),
        ({"languages": ["en", None]}, "languages.1 is None; allowed: a text"),
        ({"languages": "english"}, "languages: 'english' is not in the task; allowed: ar, "),
        ({"fold": "0"}, "fold is '0'; allowed: a whole number"),
    ],
)
def test_a_wrong_argument_of_load_task_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load_task(**{"name": "atlas"} | arguments)


def test_languages_may_be_one_text_a_generator_or_a_set():
    assert load_task("atlas", languages="en").languages == ["en"]
    assert load_task("atlas", languages=(code for code in ("sw", "en"))).languages == ["en", "sw"]
    assert load_task("atlas", languages={"sw", "en"}).languages == ["en", "sw"]


# Any small tables.

KEYS = st.one_of(st.integers(0, 4), st.sampled_from(["0", "a", "b"]), st.sampled_from([None, 1.5, ""]))
CODES = st.one_of(st.sampled_from(["en", "de"]), st.sampled_from(["en", "de", "sw", "all", "", None]))
TEXTS = st.one_of(st.sampled_from(["a", "b c"]), st.sampled_from(["a", "", None, "\ud800"]))
GAINS = st.one_of(st.integers(-1, 3), st.sampled_from([0.5, np.inf, np.nan, True, "1", 1e-300]))


def tables(draw, valid):
    """Draw three small tables; of valid values, or of any."""
    keys = st.sampled_from(["0", 1, "a", "b", 4]) if valid else KEYS
    codes, texts, gains = (
        (st.sampled_from(["en", "de", "sw"]), st.just("a"), st.integers(-1, 3)) if valid else (CODES, TEXTS, GAINS)
    )
    made = {}
    for name, key in (("queries", "query_id"), ("passages", "passage_id")):
        ids = draw(st.lists(keys, min_size=1, max_size=5, unique_by=str if valid else repr))
        rows = [(one, draw(codes), draw(texts)) for one in ids]
        made[name] = pd.DataFrame(rows, columns=[key, "language", "text"], dtype=object)
    pairs = [*product(made["queries"].query_id, made["passages"].passage_id)]
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=6, unique_by=repr))
    judged = [(*pair, draw(gains)) for pair in chosen]
    made["qrels"] = pd.DataFrame(judged, columns=["query_id", "passage_id", "relevance"], dtype=object)
    return made


def slow_maps(tables, scores, ignore):
    """Sort the passages of each pool for each query, and average the precision at the relevant ones."""
    queries, passages = tables["queries"], tables["passages"]
    gain = {(str(q), str(p)): float(value) for q, p, value in tables["qrels"].itertuples(index=False)}
    found = {}
    for q, query in enumerate(queries.itertuples()):
        for pool in [*passages.language.unique(), "all"]:
            own = str(query.query_id) if ignore else None
            rows = [
                p for p, passage in enumerate(passages.itertuples())
                if pool in (passage.language, "all") and str(passage.passage_id) != own
            ]  # fmt: skip
            best = sorted(rows, key=lambda p: (-scores[q, p], p))
            hits = [gain.get((str(query.query_id), str(passages.passage_id[p])), 0) > 0 for p in best]
            if any(hits):
                precisions = [sum(hits[: n + 1]) / (n + 1) for n, hit in enumerate(hits) if hit]
                found[str(query.query_id), pool] = sum(precisions) / len(precisions)
    return found


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans(), st.booleans())
def test_any_small_tables_give_the_measures_of_a_sort_or_are_refused_by_table_and_column(data, valid, ignore):
    made = tables(data.draw, valid)
    try:
        task = RetrievalTask(**made, ignore_identical_ids=ignore)
    except ValueError as error:
        assert re.match(r"(queries|passages|qrels)[.: ]|(query|passage)_id .* comes twice$", str(error)), error
        assert not valid or "qrels must hold at least one pair with a relevance above 0" in str(error)
        assert len(str(error)) < 500
        return
    q, p = (np.array(data.draw(st.lists(st.tuples(*[st.integers(-1, 1)] * 2), min_size=n, max_size=n)), dtype=float)
            for n in (len(task.queries), len(task.passages)))  # fmt: skip
    found = evaluate_embeddings(q, p, task, similarity="dot", measures="map", threads=1)
    expected = slow_maps(made, q @ p.T, ignore)
    values = {(row.query_id, row.passage_language): row.value for row in found.itertuples()}
    assert values == pytest.approx(expected)
