"""SQuAD and its translations: files of upstream's layout, and what a corpus makes of them."""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pytest

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import load_corpus
from hybridlib.data.sources import squad_translate
from hybridlib.data.sources.lareqa import read_xquad_r
from hybridlib.data.sources.squad import Question, answering_sentence, read_questions

# Two paragraphs: `a` and `b` are answered by two sentences of the first, `c` by the second.
ENGLISH = ["It rains in Bergen. The sun sets at six.", "Cats sleep all day. Dogs do not."]
ASKED = {"a": ("Where does it rain?", 0, "Bergen"), "b": ("When does the sun set?", 0, "six"), "c": ("Who?", 1, "Cats")}
GERMAN = ["Es regnet in Bergen. Die Sonne geht um sechs unter.", "Katzen schlafen den ganzen Tag. Hunde nicht."]
GEFRAGT = {"a": ("Wo regnet es?", 0, "Bergen"), "b": ("Wann?", 0, "sechs"), "c": ("Wer?", 1, "Katzen")}


def squad(contexts: list[str], asked: dict[str, tuple[str, int, str]], *, apart: bool = False) -> dict[str, Any]:
    """SQuAD's JSON; translations have a copy of its paragraph for each question."""
    paragraphs = []
    for number, context in enumerate(contexts):
        entries = [
            {"id": key, "question": text, "answers": [{"text": answer, "answer_start": context.index(answer)}]}
            for key, (text, place, answer) in asked.items()
            if place == number
        ]
        groups = [[entry] for entry in entries] if apart else [entries]
        paragraphs += [{"context": context, "qas": group} for group in groups]
    return {"version": "1.1", "data": [{"title": "T", "paragraphs": paragraphs}]}


def pin(folder: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write files and make theirs the pinned checksums."""
    files = []
    for language, file in zip(squad_translate.LANGUAGES, squad_translate.SOURCES[0].files, strict=True):
        if language in contents:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents[language])
            digest = hashlib.sha256(contents[language]).hexdigest()
            file = dataclasses.replace(file, checksum=f"sha256:{digest}", size=path.stat().st_size)
        files.append(file)
    source = dataclasses.replace(squad_translate.SOURCES[0], files=tuple(files))
    monkeypatch.setattr(squad_translate, "SOURCES", (source,))
    monkeypatch.setenv("HYBRIDLIB_DATA", str(folder))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "hybridlib"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What English and German hold; German has its questions in another order and a paragraph for each."""
    contents = {"en": squad(ENGLISH, ASKED), "de": squad(GERMAN, dict(reversed(GEFRAGT.items())), apart=True)}
    pin(tmp_path, {code: json.dumps(value).encode() for code, value in contents.items()}, monkeypatch)
    return contents


def again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: dict[str, Any]) -> None:
    pin(tmp_path, {code: json.dumps(value).encode() for code, value in contents.items()}, monkeypatch)


def rows(corpus: ParallelCorpus) -> list[tuple[str, str, str]]:
    return [(row["language"], row["query"], row["passage"]) for row in corpus.table]


def test_a_passage_is_the_sentence_that_holds_the_answer_in_the_language_of_the_question(made):
    corpus = load_corpus("squad-translate", languages=["de", "en"])
    assert corpus.languages == ("de", "en")
    assert rows(corpus) == [
        ("de", "Wo regnet es?", "Es regnet in Bergen."),
        ("en", "Where does it rain?", "It rains in Bergen."),
        ("de", "Wann?", "Die Sonne geht um sechs unter."),
        ("en", "When does the sun set?", "The sun sets at six."),
        ("de", "Wer?", "Katzen schlafen den ganzen Tag."),
        ("en", "Who?", "Cats sleep all day."),
    ]
    table = corpus.table.to_pandas()
    assert table["item"].tolist() == [0, 0, 1, 1, 2, 2]
    assert table.passage_group.tolist() == [0, 0, 0, 0, 1, 1]  # by paragraph
    assert set(table.domain) == {"wikipedia"} and set(table["dataset"]) == {"squad-translate"}


def test_english_need_not_be_of_the_grid(made):
    assert rows(load_corpus("squad-translate", languages=["de"]))[1] == (
        "de",
        "Wann?",
        "Die Sonne geht um sechs unter.",
    )


@pytest.mark.parametrize("answers", [[], None, [{"text": "sechs", "answer_start": 0}], [{"text": "sechs"}]])
def test_a_question_whose_answer_was_lost_in_translation_is_missing_and_counted(
    made, tmp_path, monkeypatch, caplog, answers
):
    made["de"]["data"][0]["paragraphs"][0]["qas"][0]["answers"] = answers  # of b, since German goes backwards: b, a, c
    again(tmp_path, monkeypatch, made)
    with caplog.at_level(logging.INFO):
        corpus = load_corpus("squad-translate", languages=["en", "de"])
    assert corpus.sizes().to_dict() == {"en": 3, "de": 2}
    assert rows(corpus)[3] == ("de", "", "")
    assert "en-de.json: 1 questions are left out" in caplog.text
    # Where German is alone, the question is no item.
    alone = load_corpus("squad-translate", languages=["de"])
    assert len(alone) == 2 and list(alone.table["item"]) == [0, 1]


def test_the_table_is_mapped_and_made_once_for_the_same_files(made, cache, tmp_path, monkeypatch):
    first = load_corpus("squad-translate", languages=["en", "de"])
    assert [Path(one["filename"]).parent for one in first.table.cache_files] == [cache]
    monkeypatch.setattr(squad_translate, "fetch", lambda *_: pytest.fail("read again"))
    assert load_corpus("squad-translate", languages=["en", "de"]).table.to_dict() == first.table.to_dict()
    # In another order of languages it is another table.
    with pytest.raises(pytest.fail.Exception, match="read again"):
        load_corpus("squad-translate", languages=["de", "en"])


def test_other_files_make_another_table(made, tmp_path, monkeypatch):
    load_corpus("squad-translate", languages=["en", "de"])
    made["de"]["data"][0]["paragraphs"][0]["qas"][0]["question"] = "Um wie viel Uhr?"
    again(tmp_path, monkeypatch, made)
    assert rows(load_corpus("squad-translate", languages=["en", "de"]))[3][1] == "Um wie viel Uhr?"


def test_nothing_is_kept_of_a_table_that_could_not_be_made(made, cache, tmp_path, monkeypatch):
    made["de"]["data"][0]["paragraphs"][0]["qas"][0]["id"] = "z"
    again(tmp_path, monkeypatch, made)
    with pytest.raises(ValueError, match=r"en-de\.json: question 'z' is not in SQuAD's training set"):
        load_corpus("squad-translate", languages=["en", "de"])
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def broken(change: str) -> bytes:
    """An English file that is no SQuAD."""
    content = squad(ENGLISH, ASKED)
    paragraph = content["data"][0]["paragraphs"][0]
    if change == "twice":
        content["data"][0]["paragraphs"].append(paragraph)
    elif change == "empty":
        paragraph["qas"][1]["question"] = " "
    elif change == "no id":
        del paragraph["qas"][0]["id"]
    elif change == "none":
        content["data"] = []
    text = json.dumps(content).encode()
    return {"truncated": text[:-40], "encoding": text.replace(b"Cats", b"Cat\xe9")}.get(change, text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("twice", r"train-v1\.1\.json: question 'a' comes twice"),
        ("empty", r"train-v1\.1\.json: question 'b' or its paragraph is empty"),
        ("no id", r"train-v1\.1\.json: paragraph 0 is not in SQuAD's format: KeyError\('id'\)"),
        ("none", r"train-v1\.1\.json holds no question"),
        ("truncated", r"train-v1\.1\.json is truncated or not a file in SQuAD's format: JSONDecodeError"),
        ("encoding", r"train-v1\.1\.json is truncated or not a file in SQuAD's format: UnicodeDecodeError"),
    ],
)
def test_files_that_are_no_squad_are_refused(tmp_path, monkeypatch, change, message):
    pin(tmp_path, {"en": broken(change)}, monkeypatch)
    with pytest.raises(ValueError, match=message):
        load_corpus("squad-translate", languages=["en"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "split is 'test'; allowed: train$"),
        ({"languages": ["en", "sw"]}, "languages: 'sw' is not in squad-translate; allowed: ar, de, el, en, es, hi, ru"),
        ({"languages": ["en", "en"]}, r"languages \['en', 'en'\] names one twice"),
        ({"languages": []}, "no item in any of the languages"),
    ],
)
def test_arguments_that_name_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_corpus("squad-translate", **arguments)


def test_the_files_are_those_of_squad_and_xtreme():
    files = squad_translate.SOURCES[0].files
    assert len(files) == len(squad_translate.LANGUAGES) == 11
    assert sum(file.size for file in files) == 2_377_153_355  # in tensorflow-datasets
    paths = {file.path for file in files}
    assert {"squad-translate/train-v1.1.json", "squad-translate/squad.translate.train.en-zh.json"} <= paths


def test_answers_are_found_where_characters_take_several_bytes():
    context = "Ünlü 😀 bir gün. Şehir büyük! Nüfusu on iki."
    answer = {"text": "büyük", "answer_start": context.index("büyük")}
    assert answering_sentence(Question("1", "?", context, 0, [answer]), "tr") == "Şehir büyük!"


def test_sentences_are_mostly_those_of_xquad_r(real_data):
    # Measured: the share of questions for which the sentence is that of XQuAD-R, rounded down.
    least = {"ar": 0.97, "de": 0.94, "el": 0.93, "en": 0.96, "es": 0.93, "hi": 0.95, "ru": 0.94, "tr": 0.82, "vi": 0.92}
    least |= {"zh": 0.95, "th": 0.06}
    data = read_xquad_r()
    text = data.passages.assign(text=data.passages.text.str.strip()).set_index("passage_id").text
    own = data.qrels[data.qrels.query_id.str[:2] == data.qrels.passage_id.str[:2]]
    expected = own.assign(text=own.passage_id.map(text)).groupby("query_id").text.agg(set)
    for language, share in least.items():
        questions = list(read_questions(real_data / f"xquad-r/{language}.json"))
        found = [answering_sentence(one, language) in expected[f"{language}:{one.key}"] for one in questions]
        assert len(found) == 1190
        assert sum(found) / len(found) >= share, language
