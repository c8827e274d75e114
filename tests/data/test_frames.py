"""Tests of what users bring as training data: frames and tables of every kind, and what is wrong with them."""

import math
from collections import OrderedDict
from types import MappingProxyType

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybridlib.data.checks import check_rows
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import load_corpus, revision
from hybridlib.data.table import COLUMNS
from hybridlib.data.task import task_from_corpus

ROWS = {
    "item": ["a", "a", "b", "b", "c"],
    "language": ["en", "sw", "en", "sw", "sw"],
    "query": ["q0", "q1", "q2", "q3", "q4"],
    "passage": ["p0", "p1", "p2", "p3", "p4"],
    "passage_group": ["x", "x", "y", "y", "x"],
    "domain": ["d", "d", "e", "e", "d"],
    "dataset": ["s"] * 5,
}


def frame_of(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(ROWS).assign(**columns)


def corpus_of(**columns: object) -> ParallelCorpus:
    return ParallelCorpus.from_frame(frame_of(**columns), ["en", "sw"])


def with_values(name: str, **values: object) -> pd.DataFrame:
    """Replace the values of a column in the rows that are named, such as `r3=None`."""
    return frame_of(**{name: objects([values.get(f"r{n}", value) for n, value in enumerate(ROWS[name])])})


def objects(values: object) -> pd.Series:
    return pd.Series(values, dtype=object)


def table_of(**columns: object) -> datasets.Dataset:
    """Make the table of a corpus of three items by hand; the last has no English."""
    rows = {
        "item": [0, 0, 1, 1, 2, 2],
        "language": ["en", "sw"] * 3,
        "query": ["q0", "q1", "q2", "q3", "", "q4"],
        "passage": ["p0", "p1", "p2", "p3", "", "p4"],
        "passage_group": [0, 0, 1, 1, 0, 0],
        "domain": ["d"] * 6,
        "dataset": ["s"] * 6,
    }
    return datasets.Dataset.from_dict({name: values for name, values in {**rows, **columns}.items() if values})


# --- frames of every kind


FORMS = {
    "objects": lambda: frame_of().astype(object),
    "categories": lambda: frame_of().astype("category"),
    "nullable texts": lambda: frame_of().astype("string"),
    "texts of Arrow": lambda: frame_of().astype(pd.ArrowDtype(pa.string())),
    "a dictionary of Arrow": lambda: frame_of().astype(pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))),
    "texts of numpy": lambda: frame_of(**{name: objects([np.str_(value) for value in ROWS[name]]) for name in ROWS}),
    "another index": lambda: frame_of().set_axis([7, 7, -1, 0, 3]),
    "an index of two levels": lambda: frame_of().set_index(["item", "language"], drop=False).rename_axis([None, None]),
    "another order of columns": lambda: frame_of()[list(ROWS)[::-1]],
    "more columns, some twice": lambda: pd.concat([frame_of(), pd.DataFrame([[1, 2]] * 5, columns=["z", "z"])], axis=1),
    "a column of negatives that is null": lambda: frame_of(query=ROWS["query"]),
    "a table": lambda: datasets.Dataset.from_dict(ROWS),
    "a table of chosen rows": lambda: datasets.Dataset.from_dict(ROWS).select(range(5)),
    "whole numbers": lambda: frame_of(item=[5, 5, 3, 3, 9], passage_group=[2, 2, 8, 8, 2]),
    "nullable numbers": lambda: frame_of(item=pd.array([5, 5, 3, 3, 9], dtype="Int64")),
    "numbers of Arrow": lambda: frame_of(item=pd.array([5, 5, 3, 3, 9], dtype=pd.ArrowDtype(pa.int8()))),
    "huge numbers": lambda: frame_of(item=objects([2**70, 2**70, -1, -1, 0])),
    "numbers of several types": lambda: frame_of(item=objects([5, np.int8(5), 3.0, 3, np.float32(9)])),
    "days": lambda: frame_of(passage_group=pd.to_datetime(["2026-01-02"] * 2 + ["2026-01-03"] * 2 + ["2026-01-02"])),
    "pairs": lambda: frame_of(passage_group=objects([("x", 1)] * 2 + [("y", 1)] * 2 + [("x", 1)])),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_frame_gives_the_same_table_in_whatever_form_it_comes(form):
    corpus = ParallelCorpus.from_frame(FORMS[form](), ["sw", "en"])
    assert list(zip(*(corpus.table[name] for name in COLUMNS), strict=True)) == [
        (0, "sw", "q1", "p1", 0, "d", "s"),
        (0, "en", "q0", "p0", 0, "d", "s"),
        (1, "sw", "q3", "p3", 1, "e", "s"),
        (1, "en", "q2", "p2", 1, "e", "s"),
        (2, "sw", "q4", "p4", 0, "d", "s"),
        (2, "en", "", "", 0, "d", "s"),
    ]
    assert corpus.table.features == corpus_of().table.features
    assert corpus.sizes().to_dict() == {"sw": 3, "en": 2}


@pytest.mark.parametrize(
    ("languages", "expected"),
    [
        ("sw", ("sw",)),
        ({"sw", "en"}, ("en", "sw")),  # a set has another order in every process
        (frozenset({"sw", "en"}), ("en", "sw")),
        ((code for code in ("sw", "en")), ("sw", "en")),
        (np.array(["sw", "en"]), ("sw", "en")),
        (pd.Index(["sw", "en"]), ("sw", "en")),
        (pd.Series(["sw", "en"], index=[3, 4]), ("sw", "en")),
        ({"sw": 1, "en": 2}, ("sw", "en")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_languages_may_come_in_any_form_and_a_set_is_sorted(languages, expected):
    languages = list(languages) if hasattr(languages, "gi_frame") else languages
    made = [
        ParallelCorpus.from_frame(frame_of(), languages),
        ParallelCorpus.joined([corpus_of()], languages),
        load_corpus("atlas", languages=languages),
    ]
    assert [corpus.languages for corpus in made] == [expected] * 3


def test_generators_are_gone_through_once():
    assert ParallelCorpus.from_frame(frame_of(), (code for code in ("sw", "en"))).languages == ("sw", "en")
    parts = (corpus_of(dataset=name) for name in ("one", "two"))
    assert len(ParallelCorpus.joined(parts, (code for code in ("sw", "en")))) == 6


def test_one_item_in_one_language_is_a_corpus():
    corpus = ParallelCorpus.from_frame(frame_of().head(1), "en")
    assert (len(corpus), corpus.languages, corpus.sizes().to_dict()) == (1, ("en",), {"en": 1})


def test_the_items_of_a_dataset_are_put_together_and_keep_their_order():
    frame = frame_of(
        item=[1, 2, 3, 4, 5], language="en", dataset=["t", "s", "t", "s", "t"], passage_group=[9, 8, 9, 7, 6]
    )
    corpus = ParallelCorpus.from_frame(frame, ["en"])
    assert corpus.table["query"] == ["q0", "q2", "q4", "q1", "q3"]
    assert corpus.table["passage_group"] == [0, 0, 1, 2, 3]
    assert [(one.name, one.items) for one in corpus.availability.segments] == [("t", 3), ("s", 2)]


# --- what exists


@pytest.mark.parametrize("nothing", ["", " \t\n", "\u3000", None, math.nan, pd.NA, pd.NaT], ids=repr)
@pytest.mark.parametrize("name", ["query", "passage"])
def test_an_item_exists_where_both_its_texts_do_and_of_a_single_one_is_told(name, nothing, caplog):
    corpus = ParallelCorpus.from_frame(with_values(name, r2=nothing), ["en", "sw"])
    assert corpus.sizes().to_dict() == {"en": 1, "sw": 3}
    assert (corpus.table["query"][2], corpus.table["passage"][2]) == ("", "")
    assert caplog.messages == [
        "frame: 1 rows have a query or a passage alone, row 2 first; there the items count as missing"
    ]
    # The table, too, is that of a frame without the row.
    assert corpus.table.to_dict() == ParallelCorpus.from_frame(frame_of().drop(2), ["en", "sw"]).table.to_dict()


def test_a_column_of_more_than_2_gb_is_put_together_of_pieces(monkeypatch):
    whole = corpus_of(negative="n").table
    monkeypatch.setattr("hybridlib.data.grid._MOST_BYTES", 8)
    monkeypatch.setattr("hybridlib.data.grid.ROWS_AT_ONCE", 2)
    table = corpus_of(negative="n").table
    assert table.to_dict() == whole.to_dict()
    assert table.data.column("query").num_chunks == 3


def test_rows_without_any_text_are_not_there(caplog):
    corpus = corpus_of(query=["q0", None, "q2", " ", ""], passage=["p0", "", "p2", None, math.nan])
    assert len(corpus) == 2 and corpus.sizes().to_dict() == {"en": 2, "sw": 0}
    assert not caplog.messages


def test_rows_of_other_languages_are_left_out_whatever_they_hold():
    frame = with_values("query", r1=3, r3=b"x", r4="\ud800").assign(domain=["d", "other", "e", None, "d"])
    assert ParallelCorpus.from_frame(frame, ["en"]).sizes().to_dict() == {"en": 2}


def test_an_item_without_a_group_has_a_group_of_its_own():
    frame = frame_of(item=range(5), language="en")
    for groups in ([None, "x", None, "x", None], [-1, 7, -1, 7, None], [-1.0, 7.0, math.nan, 7.0, -1.0], [None] * 5):
        table = ParallelCorpus.from_frame(frame.assign(passage_group=groups), ["en"]).table
        assert table["passage_group"] == (
            [0, 1, 2, 1, 3] if any(one in ("x", 7) for one in groups) else [0, 1, 2, 3, 4]
        )


def test_a_negative_is_of_the_group_that_is_named_if_an_item_has_it():
    corpus = corpus_of(negative=["n0", None, " ", "n3", "n4"], negative_group=["y", "y", "x", "nobody's", None])
    assert corpus.table["negative"] == ["n0", "", "", "n3", "", "n4"]
    assert corpus.table["negative_group"] == [1, -1, -1, -1, -1, -1]
    assert corpus_of(negative="n").table["negative_group"] == [-1] * 6
    both = ParallelCorpus.joined(
        [corpus, corpus_of(dataset="t"), corpus_of(dataset="u", negative="n", negative_group="y")], "sw"
    )
    assert both.table["passage_group"] == [0, 1, 0, 2, 3, 2, 4, 5, 4]
    assert both.table["negative_group"] == [-1, -1, -1, -1, -1, -1, 5, 5, 5]


# --- frames that are wrong


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (frame_of(item=[1, 1, "1", 2, 2]), "frame.item: row 2 is '1'; allowed: a text that is not empty, or a number"),
        (frame_of(item=objects([1, 1, True, 2, 2])), "frame.item: row 2 is True; allowed: "),
        (frame_of(item=objects([None, None, "b", "b", "c"])), "frame.item: row 0 is None, row 1 is None; allowed: "),
        (frame_of(item=[math.nan, 1, 2, 2, 3]), "frame.item: row 0 is nan; allowed: "),
        (frame_of(item=""), "frame.item: row 0 is '', row 1 is '', row 2 is '' (5 rows are wrong); allowed: "),
        (frame_of(item=objects([[1], [1], [2], [2], [3]])), "frame.item: row 0 is [1], row 1 is [1], row 2 is [2] ("),
        (with_values("item", r0=[1]), "frame.item: row 0 is [1]; allowed: "),
        (with_values("passage_group", r0=([1],)), "frame.passage_group: row 0 is ([1],); allowed: "),
        (
            frame_of(negative="n", negative_group=objects(["x", ["x"], {}, None, "y"])),
            "frame.negative_group: row 1 is ['x'], row 2 is {}; allowed: a value of passage_group, or none",
        ),
        (with_values("language", r3=None), "frame.language: row 3 is None; allowed: a text that is not empty"),
        (with_values("language", r3=3, r4=math.nan), "frame.language: row 3 is 3, row 4 is nan; allowed: a text"),
        (with_values("language", r0=" "), "frame.language: row 0 is ' '; allowed: a text that is not empty"),
        (with_values("query", r2=7), "frame.query: row 2 is 7; allowed: a text, or none where the item is missing"),
        (with_values("query", r0=b"x"), "frame.query: row 0 is b'x'; allowed: a text, or none"),
        (with_values("passage", r4=["p"]), "frame.passage: row 4 is ['p']; allowed: a text, or none"),
        (with_values("passage", r1="\ud800"), "frame.passage: row 1 is '\\ud800'; allowed: a text, or none"),
        (
            frame_of(query=[1, 2, 3, 4, 5]),
            "frame.query: row 0 is 1, row 1 is 2, row 2 is 3 (5 rows are wrong); allowed",
        ),
        (frame_of(negative=[1, 2, 3, 4, 5]), "frame.negative: row 0 is 1, row 1 is 2, row 2 is 3 (5 rows are wrong)"),
        (with_values("domain", r2=None, r3=None), "frame.domain: row 2 is None, row 3 is None; allowed: a text"),
        (frame_of(dataset=3), "frame.dataset: row 0 is 3, row 1 is 3, row 2 is 3 (5 rows are wrong); allowed: a text"),
        (frame_of(dataset=" "), "frame.dataset: row 0 is ' ', "),
        (
            with_values("passage_group", r3="x"),
            "frame.passage_group: item 'b' has 'y' in row 2 and 'x' in row 3; allowed",
        ),
        (with_values("passage_group", r2=None), "frame.passage_group: item 'b' has None in row 2 and 'y' in row 3"),
        (
            with_values("passage_group", r4=1),
            "frame.passage_group: row 4 is 1; allowed: a text that is not empty, or a",
        ),
        (with_values("domain", r1="e"), "frame.domain: item 'a' has 'd' in row 0 and 'e' in row 1; allowed: one value"),
        (
            with_values("dataset", r1="t"),
            "frame.dataset: item 'a' has 's' in row 0 and 't' in row 1; allowed: one value",
        ),
        (frame_of(query="", passage=None), "frame: no row in en, sw has a query and a passage; allowed: at least one"),
        (
            frame_of(item="a", passage_group="x", domain="d"),
            "frame: item 'a' comes twice in language en; allowed: once",
        ),
        (frame_of().head(0), "frame has no row; a corpus needs at least one item"),
        (pd.DataFrame(), "frame lacks the column 'item'; it has []"),
        (pd.concat([frame_of(), frame_of()[["query"]]], axis=1), "frame has twice the column 'query'; it has ["),
        (frame_of().set_index("item"), "frame lacks the column 'item'; it has ['language', "),
        (pd.concat({"x": frame_of()}, axis=1), "frame lacks the column 'item'; it has [('x', 'item'), "),
        (ROWS, "frame is {'dataset': ['s', "),
        ([dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)], "frame is [{"),
        (None, "frame is None; allowed: an instance of DataFrame, or an instance of Dataset"),
        (frame_of().to_numpy(), "frame is an array of "),
        (datasets.DatasetDict({"train": datasets.Dataset.from_dict(ROWS)}), "frame is "),
    ],
)
def test_what_is_wrong_with_a_frame_is_said_with_its_column_and_rows(frame, message):
    with pytest.raises(ValueError) as raised:
        ParallelCorpus.from_frame(frame, ["en", "sw"])
    assert str(raised.value).startswith(message)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("kind", ["str", "string", "category", "object", pd.ArrowDtype(pa.string())], ids=str)
@pytest.mark.parametrize("name", ["item", "language", "domain", "dataset"])
def test_a_name_that_is_missing_is_told_in_columns_of_every_type(name, kind):
    for missing, told in (([2], "row 2 is (None|nan|<NA>)"), ([2, 3], "row 2 is .*, row 3 is "), (range(5), "row 0 ")):
        values = [None if row in missing else value for row, value in enumerate(ROWS[name])]
        with pytest.raises(ValueError, match=rf"^frame\.{name}: {told}.*; allowed: a text that is not empty"):
            corpus_of(**{name: pd.Series(values, dtype=kind)})


@pytest.mark.parametrize("kind", [
    "float64", "float32", "Int64", "boolean", "str", "string", "object", "category", "datetime64[ns]",
    "timedelta64[ns]", "period[D]", pd.ArrowDtype(pa.null()), pd.ArrowDtype(pa.int64()),
], ids=str)  # fmt: skip
def test_a_column_in_which_all_is_missing_may_have_any_type(kind):
    nothing = pd.Series([None] * 5, dtype=kind)
    for name in ("query", "passage"):
        with pytest.raises(ValueError, match=r"^frame: no row in en, sw has a query and a passage; allowed: at least"):
            corpus_of(**{name: nothing})
    assert corpus_of(negative="n", negative_group=nothing).table["negative_group"] == [-1] * 6
    assert corpus_of(negative=nothing).table["negative"] == [""] * 6
    # A grid without gaps is taken as it is.
    whole = ParallelCorpus.from_frame(frame_of(negative=nothing).head(4), ["en", "sw"])
    assert whole.table["negative"] == [""] * 4
    assert corpus_of(passage_group=nothing).table["passage_group"][::2] == [0, 1, 2]


def test_rows_are_named_by_their_places_in_the_frame_that_was_given():
    frame = pd.concat([frame_of(language="xx"), with_values("query", r2=7)])  # five rows are left out
    with pytest.raises(ValueError, match=r"^frame.query: row 7 is 7; "):
        ParallelCorpus.from_frame(frame, ["en", "sw"])
    with pytest.raises(ValueError, match=r"^t.c: row 40 is 1, row 30 is 2; "):
        check_rows([True, False, True], pa.array([1, 0, 2]), "t.c", "0", [40, 50, 30])


ODD = {
    "item": [None, math.nan, "", 1, "1", 2.5, True, ("a",), [1]],
    "language": [None, "xx", "", 3, math.nan],
    "query": [None, "", "  ", math.nan, 3, b"x", "\ud800", True],
    "passage": [None, "", "\u2003", pd.NaT, 3, b"x", "\udfff", ["p"]],
    "passage_group": [None, -1, math.nan, 1, "1", [1]],
    "domain": [None, "", 3, "e"],
    "dataset": [None, " ", 3, "t"],
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a frame of a few rows that are right, but for the values of at most two columns."""
    cells = draw(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["en", "sw"])), min_size=1, unique=True))
    right = {"query": "q", "passage": "p", "domain": "d", "dataset": "s"}
    frame = pd.DataFrame(cells, columns=["item", "language"]).assign(passage_group=0, **right).astype(object)
    for name in draw(st.lists(st.sampled_from(list(ODD)), max_size=2)):
        for row in draw(st.lists(st.integers(0, len(frame) - 1), max_size=2)):
            frame.at[row, name] = draw(st.sampled_from(ODD[name]))
    return frame


@settings(deadline=None, max_examples=60, derandomize=True)
@given(frames(), st.lists(st.sampled_from(["en", "sw"]), min_size=1, unique=True))
def test_any_frame_is_a_corpus_of_the_rows_that_have_both_texts_or_is_refused_by_its_column(frame, languages):
    try:
        corpus = ParallelCorpus.from_frame(frame, languages)
    except ValueError as error:
        assert any(name in str(error) for name in COLUMNS)
        assert len(str(error)) < 500
        return
    counts = dict.fromkeys(languages, 0)
    for row in frame.to_dict("records"):
        if row["language"] in counts and all(
            isinstance(row[name], str) and row[name].strip() for name in ("query", "passage")
        ):
            counts[row["language"]] += 1
    assert corpus.sizes().to_dict() == counts
    assert [row for row in corpus.table if bool(row["query"]) != bool(row["passage"])] == []


# --- tables that are given as they are


def test_a_table_is_taken_as_it_is_in_any_width_of_its_types():
    table = table_of()
    assert ParallelCorpus(table).table is table
    assert ParallelCorpus(table).sizes().to_dict() == {"en": 2, "sw": 3}
    wide = datasets.Dataset(datasets.table.InMemoryTable(table.data.table.cast(pa.schema(
        [(name, pa.int16() if "item" in name or "group" in name else pa.large_string()) for name in table.column_names]
    ))))  # fmt: skip
    one, two = (ParallelCorpus(given) for given in (table, wide))
    for made in (
        lambda c: c.thin({"en": 0.5}),
        lambda c: c.compose({"d": 2}),
        lambda c: ParallelCorpus.joined([c], "sw"),
    ):
        assert made(one).table.to_dict() == made(two).table.to_dict()


@pytest.mark.parametrize("nobody", [None, -1])
@pytest.mark.parametrize("mapped", [False, True])
def test_items_of_a_table_that_are_in_no_group_get_groups_of_their_own(tmp_path, nobody, mapped):
    table = table_of(passage_group=[nobody, nobody, 0, 0, nobody, nobody])
    if mapped:
        table.save_to_disk(tmp_path)
        table = datasets.load_from_disk(str(tmp_path))
    corpus = ParallelCorpus(table)
    first, _, second, _, third, _ = corpus.table["passage_group"]
    assert second == 0 and len({first, second, third}) == 3 and min(first, third) > 0
    assert corpus.table["passage_group"][::2] == corpus.table["passage_group"][1::2]
    assert corpus.table.column_names == table.column_names
    assert bool(corpus.table.cache_files) == mapped
    nothing = ParallelCorpus(table_of(passage_group=[None] * 6))
    assert nothing.table["passage_group"][::2] == [0, 1, 2]
    # So no question has the passages of all others as its own.
    assert len(task_from_corpus(nothing).qrels) == 2 * 2 + 2 * 2 + 1


@pytest.mark.parametrize("kind", [None, "numpy", "torch", "pandas", "arrow"])
def test_a_table_in_another_format_is_read_as_any_other(kind):
    table = table_of(passage_group=[-1, -1, 1, 1, 0, 0])
    expected = ParallelCorpus(table)
    for columns in (None, ["item"]):
        corpus = ParallelCorpus(table.with_format(kind, columns=columns))
        assert [*corpus.table] == [*expected.table] and len(corpus) == 3
        assert task_from_corpus(corpus).queries.equals(task_from_corpus(expected).queries)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (table_of().with_transform(lambda rows: rows), "table has a transform, which only whole rows would get; apply"),
        (frame_of(), "table is a table of shape (5, 7); allowed: a datasets.Dataset with a row for every "),
        (None, "table is None; allowed: a datasets.Dataset"),
        ({"item": [1]}, "table is {'item': [1]}; allowed: a datasets.Dataset"),
        (table_of(query=None), "table lacks the column 'query'; it has ['item', "),
        (table_of(negative=["n"] * 6), "table lacks the column 'negative_group'; it has "),
        (table_of().select([]), "table is empty; a corpus needs at least one item"),
        (table_of(query=[1] * 6), "table.query is of the type int64; allowed: texts"),
        (table_of(item=[0.5] * 6), "table.item is of the type double; allowed: whole numbers"),
        (table_of(passage_group=["x"] * 6), "table.passage_group is of the type string; allowed: whole numbers"),
        (table_of(passage=[b"p"] * 6), "table.passage is of the type binary; allowed: texts"),
        (table_of(domain=["d", None] * 3), "table.domain: row 1 is None, row 3 is None, row 5 is None; allowed: texts"),
        (table_of(dataset=[None] + ["s"] * 5), "table.dataset: row 0 is None; allowed: texts"),
        (table_of(passage_group=[0, 0, -2, -2, 1, 1]), "table.passage_group: row 2 is -2, row 3 is -2; allowed: null"),
        (table_of(passage_group=[None, None, -3, -3, 1, 1]), "table.passage_group: row 2 is -3, row 3 is -3; allowed"),
        (
            table_of(negative=["n"] * 6, negative_group=[0, -1, None, -2, 1, 1]),
            "table.negative_group: row 3 is -2; allowed: null, or -1 and above",
        ),
        (table_of(item=[0, 0, None, 1, 2, 2]), "table.item: row 2 is None; allowed: whole numbers"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_that_of_a_corpus_is_refused_at_once(table, message):
    with pytest.raises(ValueError) as raised:
        ParallelCorpus(table)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("rows_at_once", [2, 3, 1 << 14])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"query": ["q0", "q1", "", "q3", "", "q4"]},
            "table.query: row 2 is ''; allowed: a text that is not blank, or",
        ),
        ({"query": ["q0", "q1", "q2", None, "", "q4"]}, "table.query: row 3 is None; allowed: a text"),
        ({"passage": ["p0", "p1", "p2", "p3", "", ""]}, "table.passage: row 5 is ''; allowed: a text"),
        ({"query": ["q0", "q1", "q2", "q3", " ", "q4"]}, "table.query: row 4 is ' '; allowed: a text"),
        ({"passage_group": [0, 0, 1, 0, 0, 0]}, "table.passage_group: row 3 is 0; allowed: the value of the item's f"),
        ({"language": ["en", ""] * 3}, "table.language: row 1 is ''; allowed: a text that is not empty"),
        ({"dataset": ["s"] * 4 + [" "] * 2}, "table.dataset: row 4 is ' '; allowed: a text that is not empty"),
        ({"domain": ["d"] * 4 + [""] * 2}, "table.domain: row 4 is '', row 5 is ''; allowed: a text that is not empty"),
        ({"domain": ["d", "d", "d", "d", "d", "e"]}, "table.domain: row 5 is 'e'; allowed: the value of the item's f"),
    ],
)
def test_the_rows_of_a_table_are_looked_at_before_they_are_used(monkeypatch, columns, message, rows_at_once):
    monkeypatch.setattr("hybridlib.data.table.ROWS_AT_ONCE", rows_at_once)
    corpus = ParallelCorpus(table_of(**columns))
    for use in (lambda: corpus.languages, lambda: len(corpus), lambda: corpus.thin({"en": 0.5}), lambda: repr(corpus)):
        with pytest.raises(ValueError) as raised:
            use()
        assert str(raised.value).startswith(message)


def test_null_texts_are_missing_like_empty_ones():
    nulls = ParallelCorpus(
        table_of(query=["q0", "q1", "q2", "q3", None, "q4"], passage=["p0", "p1", "p2", "p3", "", "p4"])
    )
    assert nulls.sizes().to_dict() == {"en": 2, "sw": 3}
    assert nulls.thin({"sw": 0.4}).sizes().to_dict() == ParallelCorpus(table_of()).thin({"sw": 0.4}).sizes().to_dict()


# --- corpora of corpora


def test_joined_corpora_are_numbered_by_their_places():
    one = ParallelCorpus(table_of(item=[7, 7, 3, 3, 0, 0]))
    two = ParallelCorpus(table_of(dataset=["t"] * 6, item=[7, 7, 3, 3, 0, 0]))
    table = ParallelCorpus.joined([one, two], ["sw", "en"]).table
    assert table["item"] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert table["passage_group"][::2] == [0, 1, 0, 2, 3, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: ParallelCorpus.joined([], ["en"]), "corpora names none; allowed: at least one"),
        (lambda c: ParallelCorpus.joined([c, c], ["en"]), "corpora: the datasets are s, s; allowed: each name once"),
        (lambda c: ParallelCorpus.joined([c], ["en", "xx"]), "languages: 'xx' is not in the corpora; allowed: en, sw"),
        (lambda c: ParallelCorpus.joined([c], []), "languages names none; allowed in the corpora: en, sw"),
        (
            lambda c: ParallelCorpus.joined([c, "atlas"], ["en"]),
            "corpora.1 is 'atlas'; allowed: an instance of Parallel",
        ),
        (lambda c: ParallelCorpus.joined(None, ["en"]), "corpora is None; allowed: "),
        (
            lambda c: ParallelCorpus.joined([c.thin({"en": 0})], ["en"]),
            "languages is ['en']; allowed: what leaves at least one",
        ),
        (lambda c: ParallelCorpus.from_frame(frame_of(), 3), "languages is 3; allowed: a list"),
        (lambda c: ParallelCorpus.from_frame(frame_of(), None), "languages is None; allowed: a list"),
        (lambda c: ParallelCorpus.from_frame(frame_of(), ["en", None]), "languages.1 is None; allowed: a text"),
        (lambda c: c.thin({}, others=0), "available is {} and others is 0.0; allowed: what leaves at least one"),
        (
            lambda c: c.thin({"en": 0, "sw": 0}),
            "available is {'en': 0.0, 'sw': 0.0} and others is 1.0; allowed: what l",
        ),
        (lambda c: c.thin({"xx": 0.5}), "available: unknown language 'xx'; the corpus has en, sw"),
        (lambda c: c.thin({"en": "0.5"}), "available.en is '0.5'; allowed: a number"),
        (lambda c: c.thin({"en": True}), "available.en is True; allowed: a number"),
        (lambda c: c.thin({3: 0.5}), "available.3 is 3; allowed: a text"),
        (lambda c: c.thin(0.5), "available is 0.5; allowed: "),
        (lambda c: c.thin({"en": 0.5}, None), "seed is None; allowed: a whole number"),
        (lambda c: c.thin({"en": 0.5}, -1), "seed is -1; allowed: greater than or equal to 0"),
        (lambda c: c.thin({}, others=2), "others is 2; allowed: less than or equal to 1"),
        (lambda c: c.compose({"d": 1.5}), "items.d is 1.5; allowed: a whole number"),
        (lambda c: c.compose({"d": True}), "items.d is True; allowed: a whole number"),
        (lambda c: c.compose({"d": 0}), "items is {'d': 0}; allowed: what leaves at least one item"),
        (lambda c: c.compose({"d": 1}, seed=0.5), "seed is 0.5; allowed: a whole number"),
        (lambda c: load_corpus(3), "name is 3; allowed: a text"),
        (lambda c: load_corpus(None), "name is None; allowed: a text"),
        (lambda c: load_corpus("atlas", None), "split is None; allowed: a text"),
        (lambda c: load_corpus("xquad-r", fold=True), "fold is True; allowed: a whole number"),
        (lambda c: load_corpus("xquad-r", fold=2.0), "fold is 2.0; allowed: a whole number"),
        (
            lambda c: load_corpus("atlas", items={"geography": -1}),
            "items.geography is -1; allowed: greater than or equal",
        ),
        (
            lambda c: load_corpus("atlas", available={"xx": 1}),
            "available: unknown language 'xx'; the corpus has ar, bn",
        ),
        (lambda c: load_corpus("atlas", available=0.5), "available is 0.5; allowed: "),
        (lambda c: load_corpus("atlas", others=2), "others is 2; allowed: less than or equal to 1"),
        (
            lambda c: load_corpus("atlas", others=0),
            "available is {} and others is 0.0; allowed: what leaves at least one",
        ),
        (lambda c: load_corpus("atlas", seed=None), "seed is None; allowed: a whole number"),
        (lambda c: revision(3), "name is 3; allowed: a text"),
    ],
)
def test_what_makes_no_corpus_is_refused_by_the_name_of_its_argument(make, message):
    with pytest.raises(ValueError) as raised:
        make(corpus_of())
    assert str(raised.value).startswith(message)
    assert len(str(raised.value)) < 500


def test_a_corpus_whose_kept_items_exist_nowhere_is_refused():
    thinned = corpus_of().thin({"en": 0, "sw": 0.1}, 0)  # one of three items is left
    gone = next(name for name in "de" if name not in {row["domain"] for row in thinned.table if row["passage"]})
    with pytest.raises(
        ValueError, match=f"^items is {{'{gone}': 1}}; allowed: what leaves at least one item in one language$"
    ):
        thinned.compose({gone: 1})


@pytest.mark.parametrize("form", [dict, OrderedDict, MappingProxyType], ids=lambda form: form.__name__)
def test_numbers_of_numpy_and_mappings_of_any_type_are_taken(form):
    corpus = corpus_of()
    for share, one, seed in ((np.float32(0.5), np.int64(1), np.uint8(3)), (np.float64(0.5), np.int16(1), np.int64(3))):
        thinned = corpus.thin(form({"sw": share}), seed, others=np.float32(1))
        assert thinned.table.to_dict() == corpus.thin({"sw": 0.5}, 3).table.to_dict()
        assert corpus.compose(form({"d": one}), seed).table.to_dict() == corpus.compose({"d": 1}, 3).table.to_dict()
    part = load_corpus(
        "atlas", items=form({"money": np.int64(3)}), available=form({"sw": np.float32(0.5)}), seed=np.int64(1)
    )
    assert (
        part.table.to_dict() == load_corpus("atlas", items={"money": 3}, available={"sw": 0.5}, seed=1).table.to_dict()
    )


def test_a_corpus_says_what_it_holds():
    two = ParallelCorpus.joined([corpus_of(), corpus_of(dataset="t")], ["en", "sw"])
    assert repr(two) == "<ParallelCorpus of 6 items; languages: en 4, sw 6; datasets: s 3, t 3>"
    whole = load_corpus("atlas", languages=["en", "sw"])
    assert (
        repr(whole)
        == str(whole)
        == f"<ParallelCorpus of {len(whole):,} items; languages: en, sw; datasets: atlas {len(whole):,}>"
    )
