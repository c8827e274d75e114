"""Tests of pairs that people bring to train on: any format gives one corpus, and what is wrong is told by its place."""

import gzip
import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import hybridlib as hl
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.formats.parallel.read import _numbers

# Item b is missing in Swahili. The texts have what formats quote, escape and take for an end of a line.
ROWS = pd.DataFrame(
    [
        ("a", "en", 'Who said "no"?', "It was, he said, Ada.\nThen she left."),
        ("a", "sw", "Nani alisema\t'hapana'?", "Alikuwa Ada."),
        ("b", "en", "When?", "At six…\u2028and not later."),
        ("7", "en", "Où ?", "\\N is a text, and so is NA."),
        ("7", "sw", "Wapi?", "NULL"),
    ],
    columns=["item", "language", "query", "passage"],
)


def put(path: Path, frame: pd.DataFrame) -> Path:
    """Write a table in the format that the name of the path tells."""
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".zst":  # for which pandas needs another package
        plain = put(path.with_suffix(""), frame)
        with pa.output_stream(str(path), compression="zstd") as packed:
            packed.write(plain.read_bytes())
        plain.unlink()
        return path
    if ".csv" in path.suffixes or ".tsv" in path.suffixes:
        frame.to_csv(path, index=False, sep="\t" if ".tsv" in path.suffixes else ",")
    elif ".jsonl" in path.suffixes:
        frame.to_json(path, orient="records", lines=True, force_ascii=path.suffix == ".gz")
    else:
        frame.to_parquet(path, index=False)
    return path


def table_of(corpus: ParallelCorpus) -> dict[str, list]:
    return corpus.table.to_dict()


@pytest.fixture(scope="module")
def expected() -> dict[str, list]:
    """The table, written by hand: items in their order, languages sorted, what is missing empty."""
    texts = {(row.item, row.language): (row.query, row.passage) for row in ROWS.itertuples()}
    cells = [(item, language) for item in ("a", "b", "7") for language in ("en", "sw")]
    return {
        "item": [0, 0, 1, 1, 2, 2],
        "language": ["en", "sw"] * 3,
        "query": [texts.get(cell, ("", ""))[0] for cell in cells],
        "passage": [texts.get(cell, ("", ""))[1] for cell in cells],
        "passage_group": [0, 0, 1, 1, 2, 2],
        "domain": ["pairs"] * 6,
        "dataset": ["pairs"] * 6,
    }


FORMATS = ["csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz", "tsv.zst", "jsonl.zst", "CSV"]


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_corpus(tmp_path, expected, ending):
    path = put(tmp_path / f"pairs.{ending.lower()}", ROWS)
    corpus = hl.read_parallel(path.rename(tmp_path / f"pairs.{ending}"))
    assert table_of(corpus) == expected
    assert corpus.languages == ("en", "sw") and corpus.sizes().to_dict() == {"en": 3, "sw": 2}
    assert corpus.table.cache_files  # it is memory-mapped


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_file_for_each_language_gives_the_corpus_of_one_table(tmp_path, expected, ending):
    paths = [
        put(tmp_path / "pairs" / f"{code}.{ending}", some.drop(columns="language"))
        for code, some in ROWS.groupby("language")
    ]
    assert table_of(hl.read_parallel(f"{tmp_path}/pairs/*.{ending}")) == expected
    assert table_of(hl.read_parallel(paths)) == expected
    assert table_of(hl.read_parallel(map(str, paths))) == expected


def test_a_mapping_names_the_language_of_files_of_any_name(tmp_path, expected):
    english, swahili = (some for _, some in ROWS.groupby("language"))
    one = put(tmp_path / "pairs" / "first.csv", english.drop(columns="language"))
    two = put(tmp_path / "pairs" / "second.jsonl", swahili)  # with a column that says the same
    assert table_of(hl.read_parallel({"sw": str(two), "en": one}, languages=["en", "sw"]))["query"] != expected["query"]
    assert table_of(hl.read_parallel({"en": one, "sw": two})) == expected


@pytest.mark.parametrize("kind", ["frame", "dataset", "mapped"])
def test_tables_in_memory_and_mapped_ones_give_the_same_corpus(tmp_path, expected, kind):
    table = ROWS if kind == "frame" else datasets.Dataset.from_pandas(ROWS)
    if kind == "mapped":
        table.save_to_disk(str(tmp_path / "saved"))
        table = datasets.load_from_disk(str(tmp_path / "saved"))
    corpus = hl.read_parallel(table)
    assert table_of(corpus) == expected
    assert bool(corpus.table.cache_files) == (kind == "mapped")


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_the_corpus_does_not_depend_on_how_many_rows_are_put_away_at_a_time(tmp_path, monkeypatch, expected, batch):
    monkeypatch.setattr("hybridlib.data.formats.parallel.read._BATCH", batch)
    monkeypatch.setattr("hybridlib.data.formats.parallel.rows._BATCH", batch)
    assert table_of(hl.read_parallel(put(tmp_path / "pairs.parquet", ROWS))) == expected


def test_many_rows_in_any_order_give_the_corpus_that_a_frame_gives(tmp_path):
    generator = np.random.default_rng(0)
    cells = [(item, code) for item in range(300) for code in ("en", "sw", "th") if generator.random() < 0.6]
    rows = [(item, code, f"q{item}{code}", f"p{item}{code}", item % 7, f"d{item % 3}") for item, code in cells]
    frame = pd.DataFrame(rows, columns=["item", "language", "query", "passage", "passage_group", "domain"])
    frame = frame.assign(dataset="s" + (frame["item"] % 2).astype(str)).sample(frac=1, random_state=1)
    made = hl.read_parallel(put(tmp_path / "pairs.csv", frame))
    assert table_of(made) == table_of(ParallelCorpus.from_frame(frame, ["en", "sw", "th"]))


def test_a_passage_of_csv_may_be_as_long_as_one_of_json(tmp_path):
    long = ROWS.iloc[:1].assign(passage="word " * 30_000)  # Python's parser refuses more than 131,072 characters
    paths = [put(tmp_path / f"pairs.{ending}", long) for ending in ("csv", "jsonl")]
    assert table_of(hl.read_parallel(paths[0])) == table_of(hl.read_parallel(paths[1]))


def test_a_corpus_is_read_from_its_own_table(tmp_path):
    corpus = hl.load_corpus("atlas", languages=["en", "sw"], available={"sw": 0.5})
    corpus.table.to_parquet(tmp_path / "atlas.parquet")
    assert table_of(hl.read_parallel(tmp_path / "atlas.parquet")) == table_of(corpus)
    assert table_of(hl.read_parallel(corpus.table)) == table_of(corpus)


def test_items_are_grouped_by_name_and_by_equal_passages_of_a_language_directly_or_not():
    # 1 and 2 have the Swahili passage in common, 2 and 3 the group x; so all three are one group. The English passage
    # of 4 is the Swahili one of 5, which is another text. The group -1 and an empty one are none; a group that is named
    # as the passage of 6 and 8 reads is not that passage.
    frame = pd.DataFrame(
        [
            (1, "en", "b", None), (1, "sw", "a", None), (2, "sw", "a", "x"), (3, "en", "c", "x"),
            (4, "en", "d", -1), (5, "sw", "d", ""), (6, "en", "e", "-1"), (7, "en", "f", "e"), (8, "en", "e", None),
        ],
        columns=["item", "language", "passage", "passage_group"],
    ).assign(query="?")  # fmt: skip
    frame["passage_group"] = frame.passage_group.map(lambda group: group if group is None else str(group))
    groups = hl.read_parallel(frame).table.to_pandas().drop_duplicates("item").passage_group
    assert groups.tolist() == [0, 0, 0, 1, 2, 3, 4, 3]


def test_named_groups_are_kept_where_passages_are_all_different(tmp_path):
    frame = ROWS.assign(passage_group=ROWS["item"].map({"a": 3, "b": 3.0, "7": None}))  # pandas makes these numbers
    for path in (put(tmp_path / "pairs.csv", frame), put(tmp_path / "pairs.jsonl", frame)):
        assert hl.read_parallel(path).table["passage_group"][:] == [0, 0, 0, 0, 1, 1]


def test_whole_numbers_and_texts_name_the_same_item(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [(7, "en"), ("7", "sw"), (7.0, "th")]
    path.write_text("".join(json.dumps({"item": i, "language": c, "query": "q", "passage": c}) + "\n" for i, c in rows))
    assert repr(hl.read_parallel(path)) == "<ParallelCorpus of 1 items; languages: en, sw, th; datasets: pairs 1>"


def test_datasets_and_domains_are_those_of_the_table_or_the_name_of_the_source(tmp_path):
    frame = ROWS.assign(dataset=["mine", "mine", None, "mine", "mine"], domain=["x", "x", "", "y", "y"])
    corpus = hl.read_parallel(put(tmp_path / "ours.jsonl", frame))
    # Items of a dataset come together, though b came between them.
    assert [(row["dataset"], row["domain"]) for row in corpus.table][::2] == [
        ("mine", "x"),
        ("mine", "y"),
        ("ours",) * 2,
    ]


def test_languages_are_taken_in_the_order_that_is_asked_for(tmp_path):
    path = put(tmp_path / "pairs.csv", ROWS)
    assert hl.read_parallel(path, languages=["sw", "en"]).languages == ("sw", "en")
    only = hl.read_parallel(path, languages="sw")
    assert only.languages == ("sw",) and len(only) == 2
    with pytest.raises(ValueError, match=r"languages: 'de' is not in source; allowed: en, sw"):
        hl.read_parallel(path, languages=["de"])


def test_a_row_without_query_and_passage_says_that_the_item_is_missing(tmp_path, expected):
    rows = pd.concat([ROWS, pd.DataFrame([("b", "sw", None, "  "), ("c", "th", "", None)], columns=ROWS.columns)])
    for ending in ("csv", "jsonl", "parquet"):
        assert table_of(hl.read_parallel(put(tmp_path / f"pairs.{ending}", rows))) == expected


def test_line_ends_of_windows_a_byte_order_mark_and_empty_lines_are_no_part_of_a_text(tmp_path, expected):
    for ending in ("csv", "jsonl"):
        path = put(tmp_path / f"pairs.{ending}", ROWS)
        lines = path.read_bytes().split(b"\n")
        # An empty line within a quoted text would be a part of it, so they are added at the end.
        path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([*lines, b"", b"  " if ending == "jsonl" else b""]))
        assert table_of(hl.read_parallel(path)) == expected


def test_a_file_that_has_changed_is_read_again_and_one_that_has_not_is_mapped_from_the_cache(tmp_path, cache):
    path = put(tmp_path / "pairs.csv", ROWS)
    first = hl.read_parallel(path)
    assert hl.read_parallel(path).table._fingerprint == first.table._fingerprint
    assert len(list(cache.glob("*.arrow"))) == 1
    put(path, ROWS.assign(query="other"))
    assert set(hl.read_parallel(path).table["query"]) == {"other", ""}
    path.rename(tmp_path / "pairs.tsv")  # what the bytes mean depends on the format
    with pytest.raises(ValueError, match="lacks the column 'item'"):
        hl.read_parallel(tmp_path / "pairs.tsv")


def test_a_killed_or_failed_reading_leaves_nothing_in_the_cache(tmp_path, cache):
    with pytest.raises(ValueError, match="empty"):
        hl.read_parallel(put(tmp_path / "pairs.csv", ROWS.assign(passage="")))
    assert not list(cache.glob("*.arrow"))


def test_items_are_told_apart_by_two_digests_each():
    assert _numbers(np.array([[5, 1], [5, 2], [4, 1], [5, 1]], dtype=np.uint64)).tolist() == [0, 1, 2, 0]


HEAD = "item,language,query,passage\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.csv", "item,language,query\n1,en,q\n", "pairs.csv lacks the column 'passage'; it has ['item', 'lang"),
        ("pairs.csv", "item,item,language,query,passage\n", "pairs.csv has twice the column 'item'"),
        ("pairs.csv", "item,query,passage\n1,q,p\n", "pairs.csv, line 2: the column 'language' is missing; allowed"),
        ("pairs.csv", "\n\n", "pairs.csv lacks the column 'item'; it has []"),
        ("pairs.csv", "", "pairs.csv is empty"),
        ("pairs.csv", HEAD, "source holds no row with a query and a passage; allowed: at least one item"),
        ("pairs.csv", HEAD + '1,en,"a\nb",p\n\n1,sw,q,\n', "pairs.csv, line 5: the passage of item '1' is empty; all"),
        ("pairs.csv", HEAD + "1,en, ,p\n", "pairs.csv, line 2: the query of item '1' is empty; allowed: a text, or"),
        ("pairs.csv", HEAD + ",en,q,p\n", "pairs.csv, line 2: item is ''; allowed: a text that is not empty, or a wh"),
        ("pairs.csv", HEAD + "1,,q,p\n", "pairs.csv, line 2: language is ''; allowed: the code of a language, without"),
        ("pairs.csv", HEAD + "1, en,q,p\n", "pairs.csv, line 2: language is ' en'; allowed: the code"),
        ("pairs.csv", HEAD + "1,en,q\n", "pairs.csv, line 2: 3 fields; expected 4, as in the header"),
        ("pairs.csv", HEAD + '1,en,q,"p\n2,en,q,p\n', "pairs.csv, line 2: it is not CSV: unexpected end of data"),
        ("pairs.csv", HEAD + '1,en,q,"p"x\n', "pairs.csv, line 2: it is not CSV: ',' expected after '\"'"),
        ("pairs.csv", HEAD + "1,en,q,p\n1,en,q,p\n", "pairs.csv, line 3: item '1' comes twice in language en; it is"),
        ("pairs.csv", "item;language;query;passage\n", "pairs.csv lacks the column 'item'; it has ['item;language;q"),
        ("pairs.tsv", HEAD.replace(",", "\t") + "1\ten\tq\n", "pairs.tsv, line 2: 3 fields; expected 4"),
        ("pairs.jsonl", '{"item": 1}\n', "pairs.jsonl, line 1 lacks the column 'query'; it has ['item']"),
        ("pairs.jsonl", "[1]\n", "pairs.jsonl, line 1: the line is [1]; allowed: names and values, as"),
        ("pairs.jsonl", "\n{", "pairs.jsonl, line 2: the line is not JSON: Expecting property name"),
        ("pairs.parquet", "PAR1", "pairs.parquet cannot be read: "),
        ("pairs.json", "{}", "pairs.json: its name tells no format; allowed: names that end in .csv, .tsv, .jsonl"),
        ("pairs.gz", "", "pairs.gz: its name tells no format"),
        ("pairs", "", "pairs: its name tells no format"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_told_by_its_name_and_the_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError) as caught:
        hl.read_parallel(tmp_path / name)
    assert message in str(caught.value) and len(str(caught.value)) < 500
    assert str(tmp_path) in str(caught.value) or message.startswith("source")


def test_a_folder_in_the_place_of_a_file_is_told_with_a_pattern(tmp_path):
    said = rf"^{tmp_path} is a folder; allowed: files, or a pattern such as {tmp_path}/\*\.jsonl$"
    for read in (hl.read_parallel, hl.from_dataset):
        with pytest.raises(ValueError, match=said):
            read(tmp_path)


GOOD = {"item": 1, "language": "en", "query": "q", "passage": "p"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item": None}, "item is None; allowed: a text that is not empty, or a whole number"),
        ({"item": 1.5}, "item is 1.5; allowed: a text or a whole number"),
        ({"item": True}, "item is True; allowed: a text or a whole number"),
        ({"item": [1]}, "item is [1]; allowed: a text or a whole number"),
        ({"language": None}, "language is None; allowed: the code of a language"),
        ({"language": 7}, "language is 7; allowed: the code of a language"),
        ({"language": "all"}, "language is 'all'; allowed: the code of a language; this stands for the pool of all"),
        ({"query": 3}, "query is 3; allowed: a text"),
        ({"query": None}, "the query of item '1' is empty"),
        ({"passage": ["p"]}, "passage is ['p']; allowed: a text"),
        ({"passage": "a\ud800"}, "passage is 'a\\ud800'; allowed: a text"),
        ({"passage_group": {}}, "passage_group is {}; allowed: a text or a whole number"),
        ({"domain": 7}, "domain is 7; allowed: a text"),
        ({"dataset": False}, "dataset is False; allowed: a text"),
    ],
)
def test_a_value_of_another_type_is_told_by_the_line(tmp_path, change, message):
    (tmp_path / "pairs.jsonl").write_text(f"{json.dumps(GOOD)}\n\n{json.dumps({**GOOD, **change})}\n")
    with pytest.raises(ValueError) as caught:
        hl.read_parallel(tmp_path / "pairs.jsonl")
    assert str(caught.value).startswith(f"{tmp_path}/pairs.jsonl, line 3: {message}")


@pytest.mark.parametrize("column", ["passage_group", "domain", "dataset"])
def test_an_item_that_has_two_of_what_it_has_one_is_told_with_both_places(tmp_path, column):
    put(tmp_path / "en.csv", pd.DataFrame([{**GOOD, "item": 0}, {**GOOD, column: "x", "passage": "r"}]))
    put(tmp_path / "sw.parquet", pd.DataFrame([{**GOOD, "language": "sw", column: "y"}]))
    said = rf"sw.parquet, row 0: {column} of item '1' is 'y'; allowed: 'x', as in .*en.csv, line 3$"
    with pytest.raises(ValueError, match=said):
        hl.read_parallel([tmp_path / "en.csv", tmp_path / "sw.parquet"])


def test_an_item_that_comes_twice_in_two_files_is_told_with_both_places(tmp_path):
    put(tmp_path / "one.jsonl", pd.DataFrame([{**GOOD, "item": 0}, GOOD]))
    put(tmp_path / "two.jsonl", pd.DataFrame([GOOD]))
    said = r"two.jsonl, line 1: item '1' comes twice in language en; it is in .*one.jsonl, line 2$"
    with pytest.raises(ValueError, match=said):
        hl.read_parallel(f"{tmp_path}/*.jsonl")


def test_a_row_of_a_table_is_told_by_its_place(tmp_path):
    for table in (
        frame := pd.DataFrame([GOOD, {**GOOD, "item": 2, "passage": ""}]),
        datasets.Dataset.from_pandas(frame),
    ):
        with pytest.raises(ValueError, match=r"^source, row 1: the passage of item '2' is empty"):
            hl.read_parallel(table)
    with pytest.raises(ValueError, match=r"^source lacks the column 'passage'; it has \['item', 'query', 'language'\]"):
        hl.read_parallel(frame.drop(columns="passage"))
    with pytest.raises(ValueError, match=r"^source, row 0: the column 'language' is missing"):
        hl.read_parallel(frame.drop(columns="language"))
    with pytest.raises(ValueError, match=r"^source\.item holds values that are not of one kind: "):
        hl.read_parallel(frame.assign(item=["a", 2]))
    with pytest.raises(ValueError, match=r"^source has a transform"):
        hl.read_parallel(datasets.Dataset.from_pandas(frame).with_transform(lambda rows: rows))


def test_a_language_must_be_that_which_a_mapping_says(tmp_path):
    put(tmp_path / "x.csv", pd.DataFrame([GOOD]))
    with pytest.raises(ValueError, match=r"x.csv, line 2: language is 'en'; allowed: 'sw', as source has it"):
        hl.read_parallel({"sw": tmp_path / "x.csv"})
    with pytest.raises(ValueError, match=r"^language is ''; allowed: the code of a language"):
        hl.read_parallel({"": tmp_path / "x.csv"})


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.csv", FileNotFoundError, "nowhere.csv does not exist"),
        ("nowhere/*.csv", FileNotFoundError, "source is 'nowhere/*.csv', and there is no such file"),
        ("folder.csv", ValueError, "folder.csv is a folder; expected a file"),
        ("", ValueError, "source is ''; allowed: the path of a file, a pattern such as 'pairs/*.jsonl', a list"),
        ([], ValueError, "source is [], which names no file; allowed: the path of a file"),
        ({}, ValueError, "source is {}, which names no file; allowed: the path of a file"),
        (7, ValueError, "source is 7; allowed: the path of a file"),
        (None, ValueError, "source is None; allowed: the path of a file"),
        (["a.csv", 7], ValueError, "source is 7; allowed: the path of a file"),
        ({"en": None}, ValueError, "source is None; allowed: the path of a file"),
        ("a\0.csv", ValueError, "source is 'a\\x00.csv'; allowed: the path of a file"),
        (pa.table({"item": [1]}), ValueError, "allowed: "),
    ],
)  # fmt: skip
def test_a_source_that_is_none_is_refused(tmp_path, monkeypatch, source, error, message):
    monkeypatch.chdir(tmp_path)
    Path("folder.csv").mkdir()
    with pytest.raises(error) as caught:
        hl.read_parallel(source)
    assert message in str(caught.value) and len(str(caught.value)) < 500


def test_bytes_that_are_not_utf8_and_a_file_that_breaks_off_are_told(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes(HEAD.encode() + b"1,en,q,caf\xe9\n")
    with pytest.raises(ValueError, match=r"pairs.csv, line 2: not UTF-8: .* at byte 11"):
        hl.read_parallel(path)
    packed = tmp_path / "pairs.csv.gz"
    packed.write_bytes(gzip.compress(HEAD.encode() + b"1,en,q,p\n" * 9)[:-9])
    with pytest.raises(ValueError, match=r"pairs.csv.gz"):
        hl.read_parallel(packed)


def test_a_file_whose_name_holds_a_pattern_is_read_as_it_is(tmp_path, expected):
    path = put(tmp_path / "pairs.csv", ROWS).rename(tmp_path / "[p]*.csv")
    assert table_of(hl.read_parallel(path))["query"] == expected["query"]
