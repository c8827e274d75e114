"""SQuAD, its translations and SQuADShifts: files of upstream's layout, and what a corpus makes of them."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import load_corpus
from hybridlib.data.sources import squad
from hybridlib.data.sources.lareqa import read_xquad_r
from hybridlib.data.sources.squad import Question, answering_sentence, read_questions

# Two paragraphs: `a` and `b` are answered by two sentences of the first, `c` by the second.
ENGLISH = ["It rains in Bergen. The sun sets at six.", "Cats sleep all day. Dogs do not."]
ASKED = {"a": ("Where does it rain?", 0, "Bergen"), "b": ("When does the sun set?", 0, "six"), "c": ("Who?", 1, "Cats")}
GERMAN = ["Es regnet in Bergen. Die Sonne geht um sechs unter.", "Katzen schlafen den ganzen Tag. Hunde nicht."]
GEFRAGT = {"a": ("Wo regnet es?", 0, "Bergen"), "b": ("Wann?", 0, "sechs"), "c": ("Wer?", 1, "Katzen")}


def content(contexts: list[str], asked: dict[str, tuple[str, int, str]], *, apart: bool = False) -> dict[str, Any]:
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


NAMES = {"en": "train-v1.1.json", "de": "squad.translate.train.en-de.json"}


@pytest.fixture
def write(publish) -> Callable[[dict[str, Any]], Path]:
    """Publish what some languages hold."""
    return lambda contents: publish(
        squad.SQUAD_TRANSLATE, {NAMES[code]: json.dumps(value) for code, value in contents.items()}
    )


@pytest.fixture
def made(write) -> dict[str, dict[str, Any]]:
    """What English and German hold; German has its questions in another order and a paragraph for each."""
    contents = {"en": content(ENGLISH, ASKED), "de": content(GERMAN, dict(reversed(GEFRAGT.items())), apart=True)}
    write(contents)
    return contents


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
def test_a_question_whose_answer_was_lost_in_translation_is_missing_and_counted(made, write, caplog, answers):
    made["de"]["data"][0]["paragraphs"][0]["qas"][0]["answers"] = answers  # of b, since German goes backwards: b, a, c
    write(made)
    with caplog.at_level(logging.INFO):
        corpus = load_corpus("squad-translate", languages=["en", "de"])
    assert corpus.sizes().to_dict() == {"en": 3, "de": 2}
    assert rows(corpus)[3] == ("de", "", "")
    assert "en-de.json: 1 questions are left out" in caplog.text
    # Where German is alone, the question is no item.
    alone = load_corpus("squad-translate", languages=["de"])
    assert len(alone) == 2 and list(alone.table["item"]) == [0, 1]


def test_the_table_is_mapped_and_made_once_for_the_same_files(made, cache, monkeypatch):
    first = load_corpus("squad-translate", languages=["en", "de"])
    assert [Path(one["filename"]).parent for one in first.table.cache_files] == [cache]
    monkeypatch.setattr(squad, "_pieces", lambda *_: pytest.fail("read again"))
    assert load_corpus("squad-translate", languages=["en", "de"]).table.to_dict() == first.table.to_dict()
    # In another order of languages it is another table.
    with pytest.raises(pytest.fail.Exception, match="read again"):
        load_corpus("squad-translate", languages=["de", "en"])


def test_other_files_make_another_table(made, write):
    load_corpus("squad-translate", languages=["en", "de"])
    made["de"]["data"][0]["paragraphs"][0]["qas"][0]["question"] = "Um wie viel Uhr?"
    write(made)
    assert rows(load_corpus("squad-translate", languages=["en", "de"]))[3][1] == "Um wie viel Uhr?"


def test_nothing_is_kept_of_a_table_that_could_not_be_made(made, cache, write):
    made["de"]["data"][0]["paragraphs"][0]["qas"][0]["id"] = "z"
    write(made)
    with pytest.raises(ValueError, match=r"en-de\.json: question 'z' is not in SQuAD's training set"):
        load_corpus("squad-translate", languages=["en", "de"])
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def broken(change: str) -> bytes:
    """An English file that is no SQuAD."""
    made = content(ENGLISH, ASKED)
    paragraph = made["data"][0]["paragraphs"][0]
    if change == "twice":
        made["data"][0]["paragraphs"].append(paragraph)
    elif change == "empty":
        paragraph["qas"][1]["question"] = " "
    elif change == "no id":
        del paragraph["qas"][0]["id"]
    elif change == "none":
        made["data"] = []
    text = json.dumps(made).encode()
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
def test_files_that_are_no_squad_are_refused(publish, change, message):
    publish(squad.SQUAD_TRANSLATE, {NAMES["en"]: broken(change)})
    with pytest.raises(ValueError, match=message):
        load_corpus("squad-translate", languages=["en"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "split is 'test'; allowed: train$"),
        ({"languages": ["en", "sw"]}, "languages: 'sw' is not in squad-translate; allowed: ar, de, el, en, es, hi, ru"),
        ({"languages": ["en", "en"]}, r"languages \['en', 'en'\] names one twice"),
        ({"languages": []}, "languages names none; allowed in squad-translate: ar, de"),
    ],
)
def test_arguments_that_name_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_corpus("squad-translate", **arguments)


def test_the_files_are_those_of_squad_and_xtreme():
    files = squad.SQUAD_TRANSLATE.files
    assert len(files) == len(squad.SQUAD_TRANSLATE.languages) == 11
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


# --- SQuADShifts

# In each domain two questions on one paragraph and one on another; several people answered each, as upstream.
CONTEXTS = ["{0} has seven ships. Its king is Ole. He is old.", "It snowed in {0}. Nobody came."]
SHIFTED = [("1", "How many ships?", 0, ["seven", "seven ships"]), ("2", "Who is king?", 0, ["Ole"])]
SHIFTED += [("3", "What did it do?", 1, ["snowed"])]


@pytest.fixture
def shifted(publish) -> Callable[..., Path]:
    """Publish the four files, some of them changed."""

    def write(change: dict[str, str | bytes] | None = None) -> Path:
        contents = {}
        for domain, file in zip(squad._DOMAINS, squad.SQUADSHIFTS.files, strict=True):
            paragraphs = []
            for number, template in enumerate(CONTEXTS):
                context = template.format(domain)
                entries = [
                    {"id": key, "question": f"{text} {domain}", "answers": answers_in(context, answers)}
                    for key, text, place, answers in SHIFTED
                    if place == number
                ]
                paragraphs.append({"context": context, "qas": entries})
            made = json.dumps({"version": "1.1", "data": [{"title": "T", "paragraphs": paragraphs}]})
            contents[file.path.removeprefix("squadshifts/")] = (change or {}).get(domain, made)
        return publish(squad.SQUADSHIFTS, contents)

    return write


def answers_in(context: str, answers: list[str]) -> list[dict[str, object]]:
    return [{"text": text, "answer_start": context.index(text)} for text in answers]


def test_all_four_domains_are_there_for_validation(shifted):
    shifted()
    corpus = load_corpus("squadshifts", "validation")
    assert corpus.languages == ("en",)
    table = corpus.table.to_pandas()
    assert table.domain.tolist() == [name for name in ("new_wiki", "nyt", "reddit", "amazon") for _ in range(3)]
    assert table["query"].tolist()[3:6] == ["How many ships? nyt", "Who is king? nyt", "What did it do? nyt"]
    assert table["passage"].tolist()[3:6] == ["nyt has seven ships.", "Its king is Ole.", "It snowed in nyt."]
    # Ids and numbers of paragraphs begin anew in each domain, items and groups do not.
    assert table["item"].tolist() == list(range(12))
    assert table.passage_group.tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]
    assert set(table["dataset"]) == {"squadshifts"} and set(table.language) == {"en"}


def test_domains_can_be_chosen(shifted):
    shifted()
    corpus = load_corpus("squadshifts", "validation", items={"reddit": 3, "nyt": 1})
    assert sorted(corpus.table["domain"]) == ["nyt", "reddit", "reddit", "reddit"]


def test_the_first_answer_that_stands_where_it_should_counts(shifted, caplog):
    context = "It is so. Is he old? End."
    answers = [{"text": "snow", "answer_start": 0}, {"text": "old", "answer_start": context.index("old")}]
    entries = [
        {"id": "1", "question": "Who?", "answers": answers},
        {"id": "2", "question": "?", "answers": answers[:1]},
    ]
    foreign = {"data": [{"title": "T", "paragraphs": [{"context": context, "qas": entries}]}]}
    shifted({"amazon": json.dumps(foreign)})
    with caplog.at_level(logging.INFO):
        table = load_corpus("squadshifts", "validation").table
    assert len(table) == 10 and table[9]["passage"] == "Is he old?"
    assert "amazon_reviews_v1.0.json: 1 questions are left out" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "train"}, "split is 'train'; allowed: validation$"),
        ({"split": "validation", "languages": ["de"]}, "languages: 'de' is not in squadshifts; allowed: en$"),
    ],
)
def test_nothing_but_english_validation_data_can_be_had(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_corpus("squadshifts", **arguments)


def test_a_file_that_is_no_squad_is_refused(shifted):
    shifted({"reddit": b'{"data": [{}]}'})
    with pytest.raises(ValueError, match=r"reddit_v1\.0\.json is truncated or not a file in SQuAD's format: KeyError"):
        load_corpus("squadshifts", "validation")


def test_the_files_of_squadshifts_are_those_that_upstream_announces():
    # 16,505,623 bytes is the download_size of dataset_infos.json.
    assert sum(file.size for file in squad.SQUADSHIFTS.files) == 16_505_623
