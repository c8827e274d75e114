"""Files in SQuAD's format: what is relevant to a question, what is left out and counted, and what is refused where."""

import json
import logging
import re
from pathlib import Path

import pytest

import hybridlib as hl
from hybridlib.data.sources.squad import answering_sentence, read_questions


def paragraph(context, *questions):
    """A paragraph; a question is its id and text, and an answer, which stands where it is found first."""
    answers = [[{"text": one, "answer_start": context.find(one)} for one in found] for _, _, *found in questions]
    qas = [{"id": key, "question": text} for key, text, *_ in questions]
    return {"context": context, "qas": [one | {"answers": found} for one, found in zip(qas, answers, strict=True)]}


ENGLISH = [
    ("Rain", [paragraph("It rains. The sun sets at six.", ("a", "When?", "six"), ("b", "What?", "rains", "sun"))]),
    ("Cats", [paragraph("Cats sleep. Dogs bark.", ("c", "Who?", "Cats")), paragraph("Nobody asks. It rains.")]),
]
GERMAN = [
    ("Katzen", [paragraph("Katzen schlafen. Hunde bellen.", ("c", "Wer?", "Katzen"))]),
    ("Regen", [paragraph("Es regnet. Die Sonne sinkt.", ("b", "Was?", "regnet"), ("d", "Wo?", "Sonne"))]),
]


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes a file of articles and returns its path."""

    def write(name, articles, start=""):
        data = [{"title": title, "paragraphs": paragraphs} for title, paragraphs in articles]
        path = tmp_path / f"{name}.json"
        path.write_text(start + json.dumps({"version": "1.1", "data": data}, ensure_ascii=False), encoding="utf-8")
        return path

    return write


def relevant(task):
    texts = task.passages.set_index("passage_id").text
    return {query: {*texts[group.passage_id]} for query, group in task.qrels.groupby("query_id")}


RAIN, REGEN = "It rains. The sun sets at six.", "Es regnet. Die Sonne sinkt."
CATS, KATZEN = "Cats sleep. Dogs bark.", "Katzen schlafen. Hunde bellen."


def test_the_paragraph_of_a_question_is_relevant_in_every_language_in_which_the_question_exists(write):
    task = hl.read_squad({"en": write("en", ENGLISH), "de": write("de", GERMAN)})
    assert relevant(task) == {
        "en:a": {RAIN}, "en:b": {RAIN, REGEN}, "en:c": {CATS, KATZEN},
        "de:b": {RAIN, REGEN}, "de:c": {CATS, KATZEN}, "de:d": {REGEN},
    }  # fmt: skip
    # The paragraph that nobody asks about is a passage, too.
    assert task.passages.text.tolist() == [RAIN, CATS, "Nobody asks. It rains.", KATZEN, REGEN]
    assert task.passages.passage_id.tolist() == ["en:0", "en:1", "en:2", "de:0", "de:1"]
    assert task.queries.question.tolist() == ["a", "b", "c", "c", "b", "d"]
    # Titles are those in English; the last question is in German alone.
    assert task.queries.article.tolist() == ["Rain", "Rain", "Cats", "Cats", "Rain", "Regen"]
    assert task.settings == ("monolingual", "cross-lingual", "multilingual")


def test_the_sentences_that_hold_the_start_of_an_answer_are_relevant(write):
    task = hl.read_squad({"en": write("en", ENGLISH), "de": write("de", GERMAN)}, passages="sentences")
    both = {"It rains.", "The sun sets at six.", "Es regnet."}
    assert relevant(task) == {
        "en:a": {"The sun sets at six."}, "en:b": both, "en:c": {"Cats sleep.", "Katzen schlafen."},
        "de:b": both, "de:c": {"Cats sleep.", "Katzen schlafen."}, "de:d": {"Die Sonne sinkt."},
    }  # fmt: skip
    # "It rains." stands in two paragraphs and is one passage.
    sentences = ["It rains.", "The sun sets at six.", "Cats sleep.", "Dogs bark.", "Nobody asks."]
    sentences += ["Katzen schlafen.", "Hunde bellen.", "Es regnet.", "Die Sonne sinkt."]
    assert task.passages.text.tolist() == sentences
    assert task.queries.article.tolist() == ["Rain", "Rain", "Cats", "Cats", "Rain", "Regen"]


def test_an_answer_that_begins_with_the_blank_before_its_sentence_is_in_this_sentence(write):
    path = write("en", [("T", [paragraph("It rains. The sun sets.", ("a", "What?", " The sun"))])])
    assert relevant(hl.read_squad({"en": path}, passages="sentences")) == {"en:a": {"The sun sets."}}


def test_questions_without_an_answer_are_left_out_and_counted(write, caplog):
    block = paragraph("It rains. The sun sets.", ("a", "What?", "rains"), ("b", "Why?", "rains"), ("c", "Who?"))
    block["qas"][1] |= {"is_impossible": True, "plausible_answers": block["qas"][1]["answers"]}
    block["qas"] += [{"id": "d", "question": "How?", "answers": None}, {"id": "e", "question": "Where?"}]
    with caplog.at_level(logging.WARNING):
        task = hl.read_squad({"en": write("v2", [("T", [block])])})
    assert task.queries.query_id.tolist() == ["en:a"]
    assert re.search(r"v2\.json: 4 questions are left out, which have no answer$", caplog.text, re.MULTILINE)


LOST = [{"text": "sun", "answer_start": 0}, {"text": "sun"}, {"text": "", "answer_start": 14}]
LOST += [{"text": " ", "answer_start": 9}, {"text": None, "answer_start": None}, {"text": "It", "answer_start": -24}]


@pytest.mark.parametrize("answer", LOST)
def test_a_question_whose_answer_does_not_stand_where_it_should_has_a_paragraph_but_no_sentence(write, caplog, answer):
    block = paragraph("It rains. The sun sets.", ("a", "What?", "rains"), ("b", "When?"))
    block["qas"][1]["answers"] = [answer]
    path = write("en", [("T", [block])])
    assert hl.read_squad({"en": path}).queries.query_id.tolist() == ["en:a", "en:b"] and not caplog.text
    with caplog.at_level(logging.WARNING):
        task = hl.read_squad({"en": path}, passages="sentences")
    assert task.queries.query_id.tolist() == ["en:a"]
    assert "en.json: 1 questions are left out, whose answers do not stand where they should" in caplog.text
    # Another answer that does stand is enough.
    block["qas"][1]["answers"].append({"text": "sun", "answer_start": 14})
    task = hl.read_squad({"en": write("en", [("T", [block])])}, passages="sentences")
    assert relevant(task)["en:b"] == {"The sun sets."}


def test_a_question_whose_answer_one_language_lost_is_asked_in_the_others(write):
    block = paragraph("Es regnet.", ("a", "Was?", "regnet"), ("b", "Wie?"))
    files = {"en": write("en", [("T", [paragraph("It rains.", ("a", "?", "It"), ("b", "How?", "rains"))])])}
    assert relevant(hl.read_squad(files | {"de": write("de", [("T", [block])])}))["en:b"] == {"It rains."}


def test_equal_questions_and_passages_of_a_language_are_one_whatever_surrounds_them(write):
    marked = paragraph("\ufeffIt rains. ", ("b", "What? ", "rains"))
    path = write("en", [("T", [paragraph("It rains.", ("a", "What?", "rains")), marked])])
    task = hl.read_squad({"en": path})
    assert task.queries.query_id.tolist() == ["en:a"] and task.passages.text.tolist() == ["It rains."]


def test_paragraphs_of_articles_without_titles_are_articles_and_numbers_may_be_texts(write):
    blocks = [paragraph("It rains.", (1, "What?", "rains")), paragraph("It snows.", (2, "How?", "snows"))]
    blocks[0]["qas"][0]["answers"][0]["answer_start"] = "3"
    path = write("en", [(None, blocks[:1]), (" ", blocks[1:])], start="\ufeff")
    task = hl.read_squad({"en": path}, passages="sentences")
    assert task.queries.article.tolist() == ["paragraph 0", "paragraph 1"]
    assert task.queries.question.tolist() == ["1", "2"]


def block_with(**fields):
    block = paragraph("It rains.", ("a", "What?", "rains"))
    block["qas"][0] |= fields
    return [("T", [block])]


@pytest.mark.parametrize(
    ("articles", "message"),
    [
        ([("T", [paragraph("It rains.", ("a", "What?", "rains"))]), ("U", [paragraph("Is.", ("a", "How?", "Is"))])],
         "data.1.paragraphs.0.qas.0: question 'a' comes twice; it is in data.0.paragraphs.0.qas.0"),
        (block_with(question=" "), "data.0.paragraphs.0.qas.0.question is ' '; allowed: a text that is not empty"),
        (block_with(id=None), "data.0.paragraphs.0.qas.0.id is None; allowed: a text"),
        (block_with(is_impossible="no"), "data.0.paragraphs.0.qas.0.is_impossible is 'no'; allowed: True or False"),
        (block_with(answers=[{"text": "x", "answer_start": 0.5}]),
         "data.0.paragraphs.0.qas.0.answers.0.answer_start is 0.5; allowed: a whole number"),
        ([(3, [paragraph("It rains.")])], "data.0.title is 3; allowed: a text"),
        ([("T", [paragraph(" ")])], "data.0.paragraphs.0.context is ' '; allowed: a text that is not empty"),
        ([("T", [])], "{path} holds no paragraph"),
        ([("T", [paragraph("It rains.", ("a", "What?"))])], "{path} holds no question with an answer"),
        ([("T", [paragraph("It rains.")])], "{path} holds no question with an answer"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_with_its_place(write, articles, message):
    path = write("wrong", articles)
    expected = message.format(path=path) if "{path}" in message else f"{path}: {message}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        hl.read_squad({"en": path})


def test_what_is_no_file_of_squad_is_refused(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"none\.json does not exist$"):
        hl.read_squad({"en": tmp_path / "none.json"})
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"list\.json: .*allowed: a name and a value for each"):
        hl.read_squad({"en": tmp_path / "list.json"})
    for files, message in (
        ({}, "files is {}"),
        ({"": "a"}, "files"),
        ("en.json", "files is 'en.json'; allowed: a name"),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            hl.read_squad(files)
    with pytest.raises(ValueError, match=r"^passages is 'words'; allowed: 'paragraphs' or 'sentences'$"):
        hl.read_squad({"en": write("en", ENGLISH)}, passages="words")
    with pytest.raises(ValueError, match=r"^queries.language: row 0 is 'all'.*; allowed: the code of a language"):
        hl.read_squad({"all": write("en", ENGLISH)})
    lost = write("lost", [("T", [paragraph("It rains.", ("a", "What?", "snows"))])])
    with pytest.raises(ValueError, match=r"lost\.json holds no question with an answer that stands where it should$"):
        hl.read_squad({"en": lost}, passages="sentences")


def test_a_language_that_shares_no_question_is_refused_with_a_way_out(write):
    alone = write("fr", [("T", [paragraph("Il pleut.", ("z", "Quoi?", "pleut"))])])
    files = {"en": write("en", ENGLISH), "de": write("de", GERMAN), "fr": alone}
    with pytest.raises(ValueError, match=r"fr\.json: no question has the id of one in another language; allowed: tran"):
        hl.read_squad(files)
    parts = {"fr": hl.read_squad({"fr": alone}), "en": hl.read_squad({"en": files["en"]})}
    assert hl.join_tasks(parts, parallel=False).languages == ["en", "fr"]


# XQuAD-R is XQuAD with sentence breaks. MTEB's descriptive statistics of XQuADRetrieval (mteb 2.26.24) count so many
# different queries, and 240 paragraphs of each language.
QUERIES = {"ar": 1186, "de": 1181, "el": 1184, "en": 1185, "es": 1184, "hi": 1183, "ru": 1185, "th": 1180, "tr": 1184}
QUERIES |= {"vi": 1182, "zh": 1181}


def test_xquad_has_the_queries_and_paragraphs_of_mteb(real_data):
    task = hl.read_squad({language: real_data / f"xquad-r/{language}.json" for language in QUERIES})
    assert task.queries.language.value_counts().to_dict() == QUERIES
    assert task.passages.language.value_counts().to_dict() == dict.fromkeys(QUERIES, 240)
    assert (task.qrels.passage_id.str[:2].groupby(task.qrels.query_id).nunique() == 11).all()
    assert task.queries.article.nunique() == 48


def test_the_sentences_of_xquad_are_those_that_answer_where_the_corpus_to_train_on_is_cut(real_data):
    files = {language: real_data / f"xquad-r/{language}.json" for language in ("de", "zh")}
    found = relevant(hl.read_squad(files, passages="sentences").restrict(["de"]))
    asked = [question for question in read_questions(files["de"]) if f"de:{question.key}" in found]
    assert len(asked) == 1181  # others have the text of an earlier one
    assert all(answering_sentence(question, "de") in found[f"de:{question.key}"] for question in asked)
