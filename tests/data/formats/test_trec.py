"""TREC's files: the values of trec_eval on what they hold, in one language and in several."""

from pathlib import Path

import datasets
import pytest
from made_tasks import (
    Made,
    assert_values_are_those_of_trec_eval,
    draw_made,
    lines,
    write,
)

import hybridlib as hl
from hybridlib.data.sources import collection


def plain_made(seed=0):
    """Draw a task whose ids and texts a file with tabs can hold."""
    made = draw_made(seed)
    return Made(
        [(key.replace('"', ""), "", text.replace("\t", " ").strip()) for key, _, text in made.passages],
        [(key.replace("/", ""), text.replace("\t", " ")) for key, text in made.queries],
        [(query.replace("/", ""), passage.replace('"', ""), relevance) for query, passage, relevance in made.qrels],
    )


def tabs(rows, end="\n"):
    return "".join(f"{row[0]}\t{row[-1]}{end}" for row in rows)


def judged(made, end="\n"):
    return "".join(f"{query} 0\t{passage}  {relevance}{end}" for query, passage, relevance in made.qrels)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Stand in a folder with the files of a small task; a test alters one of them."""
    monkeypatch.chdir(tmp_path)
    write(Path("topics.tsv"), "1\train?\n2\tsnow?\n")
    write(Path("qrels.txt"), "1 0 a 1\n2 Q0 b 2\n")
    write(Path("passages.tsv"), "a\tIt rains.\nb\tIt snows.\n")


def read(topics="topics.tsv", qrels="qrels.txt", passages="passages.tsv", **options):
    return hl.read_trec(topics, qrels, passages, **{"language": "en", **options})


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("ending", "end"), [("tsv", "\n"), ("txt.gz", "\r\n"), ("jsonl", "\n"), ("JSONL.zst", "\n")])
def test_values_are_those_of_trec_eval(tmp_path, monkeypatch, seed, ending, end):
    made = plain_made(seed)
    if "jsonl" in ending.lower():
        made = Made([(key, "A title", text) for key, _, text in made.passages], made.queries, made.qrels)
        records = [{"docid": key, "title": title, "contents": text} for key, title, text in made.passages]
        passages = write(tmp_path / f"collection.{ending}", lines(records))
        topics = write(tmp_path / f"topics.{ending}", lines({"id": key, "text": text} for key, text in made.queries))
    else:
        passages = write(tmp_path / f"collection.{ending}", "\ufeff" + tabs(made.passages, end))
        topics = write(tmp_path / f"topics.{ending}", tabs(made.queries, end))
    monkeypatch.setattr(collection, "_LARGE", 10**8 * seed)
    task = hl.read_trec(topics, write(tmp_path / "qrels", judged(made, end)), passages, language="en")
    assert isinstance(task.passages, datasets.Dataset) == (seed == 0)
    assert list(task.passages["text"]) == [f"{title} {text}".strip() for _, title, text in made.passages]
    assert_values_are_those_of_trec_eval(task, made)


# --- several languages


def test_topics_and_passages_by_language_are_joined_and_may_share_their_judgements(small):
    both = {"en": "topics.tsv", "sw": "topics.tsv"}, {"en": "passages.tsv", "sw": "passages.tsv"}
    write(Path("sw.txt"), "1 0 a 1\n2 0 a 1\n")
    shared = hl.read_trec(both[0], "qrels.txt", both[1], parallel=True)
    assert sorted(shared.qrels.itertuples(index=False, name=None)) == sorted(
        (f"{asked}:{query}", f"{held}:{passage}", relevance)
        for asked in both[0]
        for held in both[0]
        for query, passage, relevance in [("1", "a", 1), ("2", "b", 2)]
    )
    own = hl.read_trec(both[0], {"sw": "sw.txt", "en": "qrels.txt"}, both[1], parallel=False)
    assert own.qrels.to_numpy().tolist() == [
        ["en:1", "en:a", 1],
        ["en:2", "en:b", 2],
        ["sw:1", "sw:a", 1],
        ["sw:2", "sw:a", 1],
    ]


def test_questions_of_one_language_are_asked_of_passages_in_several(small):
    write(Path("sw.tsv"), "c\tMvua.\n")
    write(Path("sw.txt"), "1 0 c 1\n")
    files = {"en": "passages.tsv", "sw": "sw.tsv"}
    task = read(passages=files, qrels={"en": "qrels.txt", "sw": "sw.txt"})
    assert task.passages.to_numpy().tolist() == [
        ["a", "en", "It rains."],
        ["b", "en", "It snows."],
        ["c", "sw", "Mvua."],
    ]
    assert task.queries.language.tolist() == ["en", "en"]
    assert task.qrels.to_numpy().tolist() == [["1", "a", 1], ["2", "b", 2], ["1", "c", 1]]
    write(Path("sw.tsv"), "c\tMvua.\na\tTheluji.\n")
    with pytest.raises(ValueError, match=r"sw\.tsv, line 2: passage 'a' comes twice; it is in passages\.tsv, line 1$"):
        read(passages=files)


def test_questions_in_several_languages_are_asked_of_the_passages_of_one(small):
    write(Path("sw.tsv"), "2\ttheluji?\n3\tjua?\n")
    files = {"en": "topics.tsv", "sw": "sw.tsv"}
    task = read(topics=files)
    assert task.queries[["query_id", "language", "question"]].to_numpy().tolist() == [
        ["en:1", "en", "1"],
        ["en:2", "en", "2"],
        ["sw:2", "sw", "2"],
    ]
    expected = [["en:1", "a", 1], ["en:2", "b", 2], ["sw:2", "b", 2]]
    assert task.qrels.to_numpy().tolist() == expected and task.languages == ["en"]
    write(Path("sw.txt"), "2 0 a 1\n")
    task = read(topics=files, qrels={"en": "qrels.txt", "sw": "sw.txt"})
    assert task.qrels.to_numpy().tolist() == [*expected[:2], ["sw:2", "a", 1]]
    # A topic that is asked in another language only is absent from its own.
    write(Path("sw.txt"), "1 0 a 1\n")
    with pytest.raises(ValueError, match=r"sw\.txt, line 1: query 'sw:1' does not exist"):
        read(topics=files, qrels={"en": "qrels.txt", "sw": "sw.txt"})
    write(Path("qrels.txt"), "2 0 a 1\n9 0 a 1\n")
    with pytest.raises(ValueError, match=r"qrels\.txt, line 2: query '9' does not exist"):
        read(topics=files)


# --- what is wrong


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("topics.tsv", "", " is empty$"),
        ("topics.tsv", "1\train?\n2 snow?\n", ", line 2: the columns are 1; allowed: 2, which are id, text$"),
        ("topics.tsv", "1\train?\n\n", ", line 2: the columns are 1; allowed: 2"),
        ("topics.tsv", "1\train?\n2\t \n", ", line 2: the text of query '2' is empty$"),
        ("topics.tsv", "1\train?\n1\tsnow?\n", ", line 2: query '1' comes twice; it is in line 1$"),
        ("topics.tsv", "1\train?\n2\tsnow?\t\n", ", line 2: the columns are 3; allowed: 2"),
        ("topics.tsv", b"1\t\xff\n", ", line 1: not UTF-8"),
        ("passages.tsv", "a\tx\n \ty\n", ", line 2: the id is empty$"),
        ("passages.tsv", "a\ttitle\ttext\n", ", line 1: the columns are 3; allowed: 2, which are id, text$"),
        ("passages.tsv", "a\tx\nb\ty\na\tz\n", r", line 3: passage 'a' comes twice; it is in passages\.tsv, line 1$"),
        ("qrels.txt", "1 0 a 1\n" * 4 + "1 a 1\n", ", line 5: the columns are 3; allowed: 4, which are topic, iter"),
        ("qrels.txt", "1 Q0 a 1 0.5 run\n", ", line 1: the columns are 6; allowed: 4"),
        ("qrels.txt", "1 0 a high\n", ", line 1: relevance is 'high'; allowed: a whole number$"),
        (
            "qrels.txt",
            "1 0 a 1\n1 1 a 2\n",
            ", line 2: query '1' and passage 'a' have relevance 2 here and 1",
        ),
        ("qrels.txt", "1 0 z 1\n", ", line 1: passage 'z' does not exist; missing='drop'"),
        ("qrels.txt", "1 0 a -1\n", ": no relevance of a query and a passage that are there is above 0$"),
    ],
)
def test_lines_that_cannot_be_read_are_refused_by_file_and_line(small, name, content, message):
    write(Path(name), content)
    with pytest.raises(ValueError, match=f"^{name}{message}"):
        read()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"key": "a"}, "the id of a record is in id or _id or docid or docno; this one lacks it"),
        ({"id": "a", "docid": "b"}, "the id of a record is in .*; this one has id and docid"),
        ({"id": "a", "title": "x"}, "the text of a record is in text or contents; this one lacks it"),
        ({"id": "a", "text": "x", "contents": "y"}, "the text of a record is in .*; this one has text and contents"),
        ({"id": "a", "text": "x", "title": 5}, "title is 5; allowed: a text"),
    ],
)
def test_records_whose_fields_are_not_clear_are_refused(small, record, message):
    write(Path("passages.jsonl"), lines([{"id": "z", "text": "z"}, record]))
    with pytest.raises(ValueError, match=rf"^passages\.jsonl, line 2: {message}"):
        read(passages="passages.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"topics": "topics.xml"},
            r"topics\.xml: its name tells no format; allowed: names that end in \.jsonl, \.json",
        ),
        ({"language": None}, r"language is None; allowed: the code of the language of topics\.tsv"),
        ({"parallel": True}, "parallel is True; allowed unless topics and passages are given by language: None"),
        ({"qrels": {"en": "qrels.txt"}}, "qrels is of the languages en; allowed: a single file"),
        (
            {"topics": {"en": "topics.tsv"}, "passages": {"sw": "passages.tsv"}},
            "passages is of the languages sw; allowed: those of topics, en$",
        ),
        (
            {"topics": {"en": "topics.tsv"}, "passages": {"en": "passages.tsv"}, "parallel": True},
            "language is 'en'; allowed where topics and passages name their own: None",
        ),
        (
            {"topics": {"en": "topics.tsv"}, "passages": {"en": "passages.tsv"}, "language": None},
            "parallel is None; allowed for several languages: True if",
        ),
        ({"topics": {}}, "topics is {}; allowed: "),
    ],
)
def test_arguments_that_do_not_fit_are_refused(small, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        read(**arguments)


@pytest.mark.parametrize("name", ["topics", "qrels", "passages"])
def test_a_file_that_is_not_there_and_a_folder_are_named(small, name):
    with pytest.raises(FileNotFoundError, match=r"^nowhere\.tsv does not exist$"):
        read(**{name: "nowhere.tsv"})
    Path("folder.tsv").mkdir()
    with pytest.raises(ValueError, match=r"^folder\.tsv is a folder; expected a file$"):
        read(**{name: "folder.tsv"})
