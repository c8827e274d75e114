"""BEIR's layout: odd files, and the values of trec_eval on what they hold."""

import datasets
import numpy as np
import pandas as pd
import pytest
from made_tasks import (
    MEASURES,
    Made,
    assert_values_are_those_of_trec_eval,
    draw_made,
    embeddings,
    kept_of,
    lines,
    trec_eval,
    values_of,
    write,
    write_beir,
)

import hybridlib as hl
from hybridlib.data.sources import collection

SMALL = Made(
    [("d1", "Rain", "It rains."), ("d2", "", "It snows.")],
    [("q1", "rain?"), ("q2", "snow?")],
    [("q1", "d1", 1), ("q2", "d2", 2)],
)
HEADER = "query-id\tcorpus-id\tscore\n"


@pytest.fixture
def folder(tmp_path):
    """Write the small task; a test alters a file of it."""
    return write_beir(tmp_path / "small", SMALL)


# --- what is read


def test_the_tables_are_those_of_the_files(folder):
    task = hl.read_beir(folder, language="en")
    assert task.passages.to_numpy().tolist() == [["d1", "en", "Rain It rains."], ["d2", "en", "It snows."]]
    assert task.queries[["query_id", "language", "text"]].to_numpy().tolist() == [
        ["q1", "en", "rain?"],
        ["q2", "en", "snow?"],
    ]
    assert task.qrels.to_numpy().tolist() == [["q1", "d1", 1], ["q2", "d2", 2]]
    assert not task.pool and not task.ignore_identical_ids


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("how", ["plain", "windows", ".gz", ".zst", "marked", "mapped"])
def test_values_are_those_of_trec_eval(tmp_path, monkeypatch, seed, how):
    made = draw_made(seed)
    folder = write_beir(
        tmp_path / "made", made, end="\r\n" if how == "windows" else "\n", packed=how if how[0] == "." else ""
    )
    if how == "marked":
        for path in folder.rglob("*.*"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    monkeypatch.setattr(collection, "_LARGE", 0 if how == "mapped" else 10**8)
    task = hl.read_beir(folder, language="en")
    assert isinstance(task.passages, datasets.Dataset) == (how == "mapped")
    assert list(task.passages["text"]) == [f"{title} {text}".strip() for _, title, text in made.passages]
    assert sorted(task.qrels.itertuples(index=False, name=None)) == sorted(made.qrels)
    assert_values_are_those_of_trec_eval(task, made)
    # The drawn judgements are graded and below 0, and scores tie.
    assert {-2, -1, 0, 1, 2, 3} == {relevance for *_, relevance in made.qrels}
    queries, passages = embeddings(made)
    assert len(np.unique(queries @ passages.T)) < 40


def test_folders_of_parallel_languages_are_one_pool(tmp_path):
    made = draw_made(3)
    folders = {code: write_beir(tmp_path / code, made) for code in ("sw", "en")}
    task = hl.read_beir(folders, parallel=True)
    queries, passages = embeddings(made)
    both = np.concatenate([passages, passages[::-1] * 2])  # those of Swahili, then those of English
    queries = kept_of(task.queries.question, made, queries)
    results = hl.evaluate_embeddings(queries, both, task, similarity="dot", measures=[*MEASURES])
    held = [f"{code}:{passage}" for code in folders for passage, *_ in made.passages]
    qrels = [
        (f"{asked}:{query}", f"{code}:{passage}", relevance)
        for query, passage, relevance in made.qrels
        for asked in folders
        for code in folders
    ]
    expected = trec_eval(queries @ both.T, task.queries.query_id.tolist(), held, qrels)
    assert values_of(results, "multilingual") == pytest.approx(expected, abs=1e-12)
    assert set(results.setting) == {"monolingual", "cross-lingual", "multilingual"}


def test_folders_that_are_not_parallel_keep_their_judgements(tmp_path):
    folders = {code: write_beir(tmp_path / code, SMALL) for code in ("en", "sw")}
    task = hl.read_beir(folders, parallel=False)
    assert task.settings == ("monolingual", "multilingual")
    assert task.qrels.to_numpy().tolist() == [
        [f"{code}:{query}", f"{code}:{passage}", relevance]
        for code in ("en", "sw")
        for query, passage, relevance in SMALL.qrels
    ]


@pytest.mark.parametrize("further", [{"language": "sw"}, {"metadata": {"language": "sw", "url": None}}])
def test_records_may_name_their_language(tmp_path, further):
    folder = write_beir(tmp_path / "small", SMALL, further=further)
    assert hl.read_beir(folder).languages == ["sw"]
    assert hl.read_beir(folder, language="en").languages == ["en"]


def test_a_link_to_nowhere_is_told_as_what_it_is(folder):
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"/corpus.jsonl is a link to what does not exist$"):
        hl.read_beir(folder, language="en")


def test_queries_of_other_splits_are_left_out(folder):
    write(folder / "qrels/dev.tsv", HEADER + "q2\td2\t1\n")
    assert hl.read_beir(folder, language="en", split="dev").queries.query_id.tolist() == ["q2"]


def test_what_beir_leaves_out_may_be_left_out(folder):
    write(folder / "corpus.jsonl", lines([{"_id": 1, "text": "Rain."}, {"_id": "d2", "title": None, "text": ""}]))
    write(folder / "queries.jsonl", lines([{"_id": 7, "text": "rain?", "title": 5}]))
    write(folder / "qrels/test.tsv", HEADER + "7\t1\t1\n7\td2\t0\n")
    task = hl.read_beir(folder, language="en")
    assert task.passages.text.tolist() == ["Rain.", ""] and task.passages.passage_id.tolist() == ["1", "d2"]


def test_ids_with_quotation_marks_are_quoted_in_the_judgements_as_beir_quotes_them(tmp_path):
    made = Made([('"a"\tb', "", "x")], [('say "x"', "y")], [('say "x"', '"a"\tb', 1)])
    task = hl.read_beir(write_beir(tmp_path, made), language="en")
    assert '"""a""\tb"' in (tmp_path / "qrels/test.tsv").read_text()
    assert task.qrels.to_numpy().tolist() == [['say "x"', '"a"\tb', 1]]


def test_a_line_of_a_million_characters_is_a_passage(folder):
    write(folder / "corpus.jsonl", lines([{"_id": "d1", "text": "rain " * 200_000}, {"_id": "d2", "text": "snow"}]))
    assert len(hl.read_beir(folder, language="en").passages.text[0]) == 999_999  # without the last space


def test_identical_ids_are_ignored_if_asked(tmp_path):
    made = Made(
        [("1", "", "rain"), ("2", "", "rain!")], [("1", "rain"), ("2", "rain!")], [("1", "2", 1), ("2", "1", 1)]
    )
    folder = write_beir(tmp_path, made)
    for ignored, value in ((False, 0.5), (True, 1.0)):  # the question itself is first, unless it is left out
        task = hl.read_beir(folder, language="en", ignore_identical_ids=ignored)
        results = hl.evaluate_embeddings(np.eye(2), np.eye(2), task, measures=["map"])
        assert results.value.tolist() == [value] * 4


# --- what is missing


def test_absent_passages_are_dropped_if_asked_and_raise_map_as_the_task_says(tmp_path, caplog):
    made = draw_made(4)
    folder = write_beir(tmp_path, made)
    # Of every query the last judged passage is gone.
    gone = {rows[-1] for _, rows in pd.DataFrame(made.qrels).groupby(0)[1].apply(list).items()}
    kept = [number for number, (passage, *_) in enumerate(made.passages) if passage not in gone]
    write(folder / "corpus.jsonl", lines({"_id": made.passages[n][0], "text": made.passages[n][2]} for n in kept))
    with pytest.raises(ValueError, match=r"test\.tsv, line \d+: passage .* does not exist \(\d+ judgements"):
        hl.read_beir(folder, language="en")
    task = hl.read_beir(folder, language="en", missing="drop")
    absent = [row for row in made.qrels if row[1] in gone]
    relevant = [row for row in absent if row[2] > 0]
    assert f"Judgements of queries or passages that are not there are left out: {len(absent)}." in task.pool
    assert f"A passage is relevant in {len(relevant)} of them" in task.pool and "upper bounds" in task.pool
    assert task.pool in caplog.text and str(folder / "qrels/test.tsv") in caplog.text
    queries, passages = embeddings(made)
    passages = passages[kept]
    asked, held = [query for query, _ in made.queries], [made.passages[n][0] for n in kept]
    theirs = trec_eval(queries @ passages.T, asked, held, made.qrels)
    queries = kept_of(task.queries.query_id, made, queries)
    results = hl.evaluate_embeddings(queries, passages, task, similarity="dot", measures=[*MEASURES])
    ours, higher = values_of(results, "monolingual"), 0
    for query, found in pd.DataFrame(made.qrels).groupby(0):
        # trec_eval divides by the number of all relevant passages, and here those that are there are all.
        every, there = (found[2] > 0).sum(), ((found[2] > 0) & ~found[1].isin(gone)).sum()
        if there:
            for name in ("map", "recall@10", "recall@100"):
                assert ours[query, name] == pytest.approx(theirs[query, name] * every / there, abs=1e-12)
            assert ours[query, "ndcg@10"] >= theirs[query, "ndcg@10"] - 1e-12
            assert ours[query, "rr@1000"] == theirs[query, "rr@1000"]
            higher += ours[query, "map"] > theirs[query, "map"]
    assert higher


def test_absent_queries_are_dropped_if_asked(folder):
    write(folder / "qrels/test.tsv", HEADER + "q1\td1\t1\nq9\td1\t1\n")
    with pytest.raises(ValueError, match=r"test\.tsv, line 3: query 'q9' does not exist; missing='drop' leaves such"):
        hl.read_beir(folder, language="en")
    task = hl.read_beir(folder, language="en", missing="drop")
    assert task.pool == "Judgements of queries or passages that are not there are left out: 1."
    write(folder / "qrels/test.tsv", HEADER + "q1\td1\t0\nq9\td1\t1\n")
    with pytest.raises(ValueError, match=r"test\.tsv: no relevance of a query and a passage that are there is above 0"):
        hl.read_beir(folder, language="en", missing="drop")


def test_a_judgement_may_come_again_but_not_another(folder):
    write(folder / "qrels/test.tsv", HEADER + "q1\td1\t1\nq1\td1\t1\n")
    assert len(hl.read_beir(folder, language="en").qrels) == 1
    write(folder / "qrels/test.tsv", HEADER + "q1\td1\t1\nq2\td2\t1\nq1\td1\t2\n")
    said = r"test\.tsv, line 4: query 'q1' and passage 'd1' have relevance 2 here and 1 in line 2$"
    with pytest.raises(ValueError, match=said):
        hl.read_beir(folder, language="en")


# --- what is wrong

ONE = '{"_id": "d1", "text": "x"}\n'
TWO = '{"_id": "d2", "text": "y"}\n'


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", " is empty$"),
        (ONE + TWO + "{", ", line 3: the line is not JSON: "),
        (ONE + "\n", ", line 2: the line is not JSON: "),
        (ONE + "[]", r", line 2: the line is \[\]; allowed: a record with names and values$"),
        (ONE + "null", ", line 2: the line is None; allowed: a record with names and values$"),
        ('{"text": "x"}', ", line 1: the id of a record is in _id; this one lacks it$"),
        ('{"id": "x", "text": "x"}', ", line 1: the id of a record is in _id; this one lacks it$"),
        ('{"_id": "x"}', ", line 1: the text of a record is in text; this one lacks it$"),
        ('{"_id": " ", "text": "x"}', ", line 1: _id is ' '; allowed: a text that is not empty$"),
        ('{"_id": true, "text": "x"}', ", line 1: _id is True; allowed: a text$"),
        ('{"_id": 1.5, "text": "x"}', ", line 1: _id is 1.5; allowed: a text$"),
        (ONE + '{"_id": "d2", "text": 5}', ", line 2: text is 5; allowed: a text$"),
        (ONE + '{"_id": "d2", "text": null}', ", line 2: text is None; allowed: a text$"),
        (ONE + '{"_id": "d2", "text": "\\ud800"}', ", line 2: text is .*allowed: a text without half of a surrogate"),
        (ONE + '{"_id": "d2", "text": "\ud800"}', ", line 2: not UTF-8: "),
        (ONE + '{"_id": "d2", "text": "a", "text": "b"}', ", line 2: the line is not JSON: the key 'text' comes twice"),
        (ONE + TWO + ONE, ", line 3: (query|passage) 'd1' comes twice; it is in .*line 1$"),
        ('{"_id": 1, "text": "x"}\n{"_id": "1", "text": "y"}', ", line 2: (query|passage) '1' comes twice"),
        (b"\x1f\x8b" + b"\x00" * 30, " cannot be read: "),
    ],
)
def test_records_that_cannot_be_read_are_refused_by_file_and_line(folder, name, content, message):
    path = write(folder / name, content)
    with pytest.raises(ValueError, match=f"^{path}{message}") as caught:
        hl.read_beir(folder, language="en")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", " is empty$"),
        (HEADER, " holds no judgement$"),
        ("q1\td1\t1\n", r", line 1: the header is \['q1', 'd1', '1'\]; allowed: query-id, corpus-id, score$"),
        (
            HEADER + "q1\td1\t1\n" * 3 + "q1\td1\n",
            ", line 5: the columns are 2; allowed: 3, which are query-id, corpus-id",
        ),
        (HEADER + "q1\t0\td1\t1\n", ", line 2: the columns are 4; allowed: 3, "),
        (HEADER + "q1 d1 1\n", ", line 2: the columns are 1; allowed: 3, "),
        (HEADER + "\n", ", line 2: the columns are 0; allowed: 3, "),
        (HEADER + "q1\td1\thigh\n", ", line 2: relevance is 'high'; allowed: a whole number$"),
        (HEADER + "q1\td1\t0.5\n", ", line 2: relevance is '0.5'; allowed: a whole number$"),
        (HEADER + "q1\td1\t٣\n", ", line 2: relevance is '٣'; allowed: a whole number$"),
        (HEADER + 'q1\t"d1\t1\n', ", line 2: it is no line of a table: unexpected end of data$"),
        (HEADER + "q1\td9\t1\n", r", line 2: passage 'd9' does not exist; missing='drop' leaves such judgements out$"),
        (HEADER + "q1\td1\t0\n", ": no relevance of a query and a passage that are there is above 0$"),
        (HEADER.encode() + b"q1\t\xff\t1\n", ", line 2: not UTF-8: "),
    ],
)
def test_judgements_that_cannot_be_read_are_refused_by_file_and_line(folder, content, message):
    path = write(folder / "qrels/test.tsv", content)
    with pytest.raises(ValueError, match=f"^{path}{message}") as caught:
        hl.read_beir(folder, language="en")
    assert len(str(caught.value)) < 500


def test_a_query_without_a_text_and_a_file_that_is_cut_off_are_refused(folder):
    write(folder / "queries.jsonl", ONE + '{"_id": "d2", "text": " "}')
    with pytest.raises(ValueError, match=r"queries\.jsonl, line 2: the text of query 'd2' is empty$"):
        hl.read_beir(folder, language="en")
    (folder / "queries.jsonl").unlink()
    path = write(folder / "queries.jsonl.gz", lines({"_id": str(n), "text": f"{n} {n**9}"} for n in range(500)))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=rf"^{path} cannot be read: "):
        hl.read_beir(folder, language="en")


def test_files_and_folders_that_are_not_there_are_named(folder):
    with pytest.raises(
        FileNotFoundError, match=r"small/qrels/dev\.tsv does not exist, nor with \.gz or \.zst; there is \['test"
    ):
        hl.read_beir(folder, language="en", split="dev")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected a folder with corpus"):
        hl.read_beir(folder / "nowhere", language="en")
    with pytest.raises(ValueError, match=r"corpus\.jsonl is a file; expected a folder with corpus"):
        hl.read_beir(folder / "corpus.jsonl", language="en")
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"corpus\.jsonl is a folder; expected a file$"):
        hl.read_beir(folder, language="en")


@pytest.mark.parametrize(
    ("further", "message"),
    [
        ({}, "'language' is missing, in the record and in its metadata; or give the argument language$"),
        ({"metadata": ["sw"]}, "'language' is missing, in the record and in its metadata"),
        ({"language": "all"}, "language is 'all'; allowed: the code of a language; 'all' stands for the pool"),
        ({"metadata": {"language": 5}}, "language is 5; allowed: a text"),
        ({"language": ""}, "language is ''; allowed: a text that is not empty"),
    ],
)
def test_records_without_a_language_are_refused_unless_it_is_given(tmp_path, further, message):
    write_beir(tmp_path, SMALL, further=further)
    with pytest.raises(ValueError, match=rf"queries\.jsonl, line 1: {message}"):
        hl.read_beir(tmp_path)
    assert hl.read_beir(tmp_path, language="en").languages == ["en"]


@pytest.mark.parametrize(
    ("several", "options", "message"),
    [
        (True, {}, "parallel is None; allowed for several languages: True if .*; False if ids of different languages"),
        (True, {"language": "en", "parallel": True}, "language is 'en'; allowed for several folders: None"),
        (False, {"language": "en", "parallel": False}, "parallel is False; allowed for a single folder: None"),
        (False, {"language": "all"}, "language is 'all'; allowed: the code of a language"),
        (False, {"missing": "ignore"}, "missing is 'ignore'; allowed: 'refuse' or 'drop'"),
        (False, {"split": ""}, "split is ''; allowed: a text that is not empty"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(folder, several, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        hl.read_beir({"en": folder, "sw": folder} if several else folder, **options)


@pytest.mark.parametrize("folders", [{}, {"all": "x"}, {"": "x"}, {"en": 5}, 5, ""])
def test_folders_that_cannot_be_are_refused(folders):
    with pytest.raises(ValueError, match=r"^folder is .*; allowed: "):
        hl.read_beir(folders, parallel=True)
