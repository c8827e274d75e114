"""A table of pairs as a task: what is relevant, what is one passage, and what is refused by column and row."""

import re

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset, load_dataset

import hybridlib as hl
from hybridlib.data.passages import content_digest
from hybridlib.data.task import task_from_corpus

ROWS = [
    ("rain", "en", "What falls?", "Rain falls."),
    ("rain", "de", "Was?", "Regen fällt."),
    ("sun", "en", "What sets?", "The sun sets."),
    ("rain again", "en", "What now?", "Rain falls."),
    ("snow", "de", "Wie?", "Es schneit."),
    ("sun", "sw", "Nini?", "Jua linatua."),
]
FRAME = pd.DataFrame(ROWS, columns=["item", "language", "query", "passage"])


def relevant(task):
    texts = task.passages.set_index("passage_id").text
    return {query: sorted(texts[group.passage_id]) for query, group in task.qrels.groupby("query_id")}


def same(task, other):
    return all(
        content_digest(getattr(task, table)) == content_digest(getattr(other, table))
        for table in ("queries", "passages", "qrels")
    )


def test_the_passage_of_an_item_is_relevant_in_every_language_and_equal_ones_are_one():
    task = hl.from_dataset(FRAME)
    rain, sun = ["Rain falls.", "Regen fällt."], ["Jua linatua.", "The sun sets."]
    # "rain again" has the English passage of "rain", so its translation answers it, too.
    assert relevant(task) == {
        "de:rain": rain, "de:snow": ["Es schneit."], "en:rain": rain, "en:rain again": rain, "en:sun": sun,
        "sw:sun": sun,
    }  # fmt: skip
    assert task.passages.passage_id.tolist() == ["de:rain", "de:snow", "en:rain", "en:sun", "sw:sun"]
    assert task.queries.question.tolist() == ["rain", "snow", "rain", "sun", "rain again", "sun"]
    assert task.settings == ("monolingual", "cross-lingual", "multilingual") and task.languages == ["de", "en", "sw"]


def test_items_of_a_passage_group_have_their_passages_in_common_though_the_texts_differ():
    task = hl.from_dataset(FRAME.assign(passage_group=[1, 1, 2, None, 2, 2]))
    assert relevant(task)["de:snow"] == ["Es schneit.", "Jua linatua.", "The sun sets."] == relevant(task)["en:sun"]
    # No group parts what is the same text.
    assert relevant(task)["en:rain again"] == ["Rain falls.", "Regen fällt."]
    assert relevant(hl.from_dataset(FRAME.assign(passage_group=-1))) == relevant(hl.from_dataset(FRAME))


def test_groups_hold_where_the_language_that_makes_them_is_left_out():
    frame = pd.DataFrame(
        [("a", "en", "?", "one"), ("b", "en", "??", "one"), ("a", "de", "?", "eins"), ("b", "de", "??", "Eins")],
        columns=FRAME.columns,
    )
    assert relevant(hl.from_dataset(frame, languages="de")) == {"de:a": ["Eins", "eins"], "de:b": ["Eins", "eins"]}
    with pytest.raises(ValueError, match=r"^languages: 'sw' is not in source; allowed: de, en$"):
        hl.from_dataset(frame, languages=["sw"])


def test_a_dataset_and_a_frame_and_a_file_of_the_same_rows_give_the_same_task(tmp_path):
    FRAME.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    assert same(hl.from_dataset(tmp_path / "*.jsonl"), hl.from_dataset(FRAME))
    loaded = load_dataset("json", data_files=str(tmp_path / "rows.jsonl"), split="train", cache_dir=str(tmp_path))
    for table in (loaded, Dataset.from_pandas(FRAME), FRAME.set_index("item", drop=False), FRAME.assign(more=1)):
        assert same(hl.from_dataset(table), hl.from_dataset(FRAME))


def test_a_task_of_a_table_judges_as_the_corpus_of_the_same_table():
    task, corpus = hl.from_dataset(FRAME), task_from_corpus(hl.read_parallel(FRAME))
    assert (task.pairs == corpus.pairs).all() and task.passages.text.equals(corpus.passages.text)
    assert task.queries.text.tolist() == corpus.queries.text.tolist()


def test_numbers_name_items_and_an_item_without_texts_is_missing():
    frame = FRAME.assign(item=[1, 1, 2, 3, 4, 2])
    frame.loc[4, ["query", "passage"]] = [None, ""]
    task = hl.from_dataset(frame)
    assert task.queries.query_id.tolist() == ["de:1", "en:1", "en:2", "en:3", "sw:2"]


def test_values_are_those_counted_by_hand():
    # The score is the product of the numbers. English passages: 3 (relevant to a), 5; German: 4 (relevant to a).
    frame = pd.DataFrame(
        [("a", "en", "?", "three"), ("b", "en", "??", "five"), ("a", "de", "?", "vier")], columns=FRAME.columns
    )
    task = hl.from_dataset(frame)
    numbers = {"three": 3.0, "five": 5.0, "vier": 4.0}
    found = hl.evaluate_embeddings(
        np.ones((3, 1)), np.array([[numbers[text]] for text in task.passages.text]), task, similarity="dot",
        measures=["map", "rank_distance"], threads=1,
    )  # fmt: skip
    values = found.set_index(["query_id", "setting", "passage_language", "measure"]).value
    assert values["en:a", "monolingual", "en", "map"] == 0.5 and values["en:a", "cross-lingual", "de", "map"] == 1
    # In the pool 5, 4, 3 the relevant ones are second and third: (1/2 + 2/3) / 2.
    assert values["de:a", "multilingual", "all", "map"] == pytest.approx(7 / 12)


def test_a_file_of_each_language_is_a_part_of_the_task_and_its_lines_are_named(tmp_path):
    for code, rows in FRAME.groupby("language"):
        rows.drop(columns="language").to_csv(tmp_path / f"{code}.csv", index=False)
    files = {code: tmp_path / f"{code}.csv" for code in ("en", "de", "sw")}
    assert same(hl.from_dataset(files), hl.from_dataset(FRAME))
    with (tmp_path / "sw.csv").open("a") as file:
        file.write("sun,?,.")
    with pytest.raises(
        ValueError, match=r"sw\.csv, line 3: item 'sun' comes twice in language sw; it is in .*sw\.csv, line"
    ):
        hl.from_dataset(files)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1], "source is 1; allowed: the path of a file, a pattern"),
        (FRAME.drop(columns="language"), "source, row 0: the column 'language' is missing"),
        (FRAME.drop(columns="passage"), "source lacks the column 'passage'"),
        (FRAME.assign(query=["?"] * 5 + [" "]), "source, row 5: the query of item 'sun' is empty; allowed: a"),
        (FRAME.assign(passage=["."] * 5 + [None]), "source, row 5: the passage of item 'sun' is empty"),
        (FRAME.assign(item=["a", "b", None, "d", "e", "f"]), "source, row 2: item is None; allowed: a text"),
        (FRAME.assign(language=["en", "de", "e n", "en", "de", "sw"]), "source, row 2: language is 'e n'; allowed"),
        (FRAME.assign(language="en"), "source, row 1: item 'rain' comes twice in language en; it is in source"),
        (FRAME.assign(passage_group=[1, 2, 3, 4, 5, 3]),
         "source, row 1: passage_group of item 'rain' is '2'; allowed: '1', as in source, row 0"),
        (FRAME.iloc[:0], "source is a table of shape (0, 4), without a row that has a query and a"),
        (FRAME.assign(query="", passage=""), "source is a table of shape (6, 4), without a row that has a query and a"),
        (FRAME.assign(language="all", item=range(6)), "source, row 0: language is 'all'; allowed: the code"),
        (Dataset.from_pandas(FRAME).with_transform(dict), "source has a transform, which is not applied to"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_is_refused_by_column_and_row(table, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as raised:
        hl.from_dataset(table)
    assert len(str(raised.value)) < 500
