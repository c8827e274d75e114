"""Belebele: the codes of its languages, made files in the upstream layout, and what is refused."""

import json
from collections import Counter

import pytest
from babel.core import get_global

from hybridlib.data.load import load_task
from hybridlib.data.sources import belebele, tatoeba, xquad
from hybridlib.names import LANGUAGES, SETTINGS, script

# (link, number, passage, question): two questions on a passage, and one on another, counted anew.
ENGLISH = [
    ("https://a", 1, "Rome is old.", "How old?"),
    ("https://a", 2, "Rome is old.", "Which?"),
    ("https://b", 1, "Oslo is cold.", "How?"),
]
SWAHILI = [
    ("https://a", 1, "Roma ni ya kale.", "Ya kale?"),
    ("https://a", 2, "Roma ni ya kale.", "Ipi?"),
    ("https://b", 1, "Oslo ni baridi.", "Vipi?"),
]


def line(link, number, passage, question):
    record = {"link": link, "question_number": number, "flores_passage": passage, "question": question}
    record |= {f"mc_answer{n}": "x" for n in range(1, 5)}
    return record | {"correct_answer_num": "1", "dialect": "eng_Latn", "ds": "2023-05-03"}


def encoded(rows):
    return "".join(json.dumps(line(*row), ensure_ascii=False) + "\n" for row in rows).encode()


@pytest.fixture
def write(publish, monkeypatch):
    """Publish what some varieties hold."""
    monkeypatch.setattr(belebele, "_QUESTIONS", 3)

    def write(**varieties):
        contents = {
            f"data/{variety}.jsonl": some if isinstance(some, bytes) else encoded(some)
            for variety, some in varieties.items()
        }
        publish(belebele.SOURCE, contents)

    write(eng_Latn=ENGLISH, swh_Latn=SWAHILI)
    return write


def relevant(task):
    """The texts of the relevant passages of every query."""
    texts = task.passages.set_index("passage_id").text
    return {query: texts[group.passage_id].tolist() for query, group in task.qrels.groupby("query_id")}


# --- languages

CODES = {
    file.path.removeprefix("belebele/data/").removesuffix(".jsonl"): file.language for file in belebele.SOURCE.files
}


def test_the_122_varieties_have_122_codes_which_are_those_of_cldr():
    assert len(CODES) == len(set(CODES.values())) == 122
    for file in belebele.SOURCE.files:
        assert file.url.endswith(f"{belebele.SOURCE.revision}/{file.path.removeprefix('belebele/')}")
    aliases = {**get_global("language_aliases"), "tgl": "tl"}  # CLDR takes Tagalog for Filipino, `fil`
    language = {variety: aliases.get(variety[:3], variety[:3]) for variety in CODES}
    scripts = Counter(language.values())
    for variety, code in language.items():
        alone = scripts[code] == 1 or script(code) == variety[4:]
        assert CODES[variety] == (code if alone else f"{code}-{variety[4:]}")


def test_languages_are_called_as_everywhere_else():
    # In the atlas, XQuAD and Tatoeba.
    assert set(LANGUAGES) | set(tatoeba.SOURCE.languages) | set(xquad.SOURCE.languages) <= set(CODES.values())


@pytest.mark.parametrize(
    ("variety", "code"),
    [
        ("eng_Latn", "en"),
        ("arb_Arab", "ar"),
        ("arb_Latn", "ar-Latn"),
        ("arz_Arab", "arz"),
        ("pes_Arab", "fa"),
        ("pbt_Arab", "pbt"),
        ("kor_Hang", "ko"),
        ("tgl_Latn", "tl"),
        ("nob_Latn", "nb"),
        ("npi_Deva", "ne"),
        ("npi_Latn", "ne-Latn"),
        ("sin_Sinh", "si"),
        ("sin_Latn", "si-Latn"),
        ("zho_Hans", "zh"),
        ("zho_Hant", "zh-Hant"),
        ("zsm_Latn", "ms"),
    ],
)
def test_the_code_of_a_variety(variety, code):
    assert CODES[variety] == code


def test_a_script_is_named_only_where_a_language_comes_in_several():
    named = {code for code in CODES.values() if "-" in code}
    assert named == {"ar-Latn", "bn-Latn", "hi-Latn", "ne-Latn", "si-Latn", "ur-Latn", "zh-Hant"}


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (["en", "eng_Latn"], "'eng_Latn' is not in belebele; allowed: acm, af, sq, am,"),
        ([], "languages names none; allowed in belebele: acm"),
    ],
)
def test_languages_that_do_not_exist_are_refused(languages, message):
    with pytest.raises(ValueError, match=message):
        load_task("belebele", languages=languages)


# --- the task


def test_a_question_is_relevant_to_its_passage_in_every_language(write):
    task = load_task("belebele", languages=["sw", "en"])
    assert task.settings == SETTINGS
    keys = ["https://a#1", "https://a#2", "https://b#1"]
    assert task.queries.question.tolist() == keys * 2
    assert task.queries.query_id.tolist() == [f"{language}:{key}" for language in ("en", "sw") for key in keys]
    assert task.queries.text.tolist() == [row[3] for row in ENGLISH + SWAHILI]
    assert list(task.passages.itertuples(index=False, name=None)) == [
        ("en:0", "en", "Rome is old."),
        ("en:1", "en", "Oslo is cold."),
        ("sw:0", "sw", "Roma ni ya kale."),
        ("sw:1", "sw", "Oslo ni baridi."),
    ]
    found = relevant(task)
    for language in ("en", "sw"):
        for key, passages in zip(keys, [("en:0", "sw:0")] * 2 + [("en:1", "sw:1")], strict=True):
            texts = task.passages.set_index("passage_id").text[list(passages)].tolist()
            assert found[f"{language}:{key}"] == texts


def test_all_languages_are_taken_if_none_is_named(write):
    write(**{variety: ENGLISH for variety in CODES})
    task = load_task("belebele")
    assert len(task.queries) == 122 * 3
    assert len(task.passages) == 122 * 2
    assert len(task.qrels) == 122 * 122 * 3
    assert task.languages == sorted(CODES.values())


def test_equal_questions_of_a_language_are_one_query_with_the_passages_of_both(write):
    # As MTEB does; in real Igbo, Kinyarwanda and others two questions on different passages are the same.
    write(swh_Latn=[SWAHILI[0], SWAHILI[1], (*SWAHILI[2][:3], "Ipi?")])
    task = load_task("belebele", languages=["en", "sw"])
    assert task.queries[task.queries.language == "sw"].query_id.tolist() == ["sw:https://a#1", "sw:https://a#2"]
    everything = sorted(row[2] for row in [ENGLISH[0], ENGLISH[2], SWAHILI[0], SWAHILI[2]])
    assert sorted(relevant(task)["sw:https://a#2"]) == everything


# --- what is refused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded(SWAHILI)[:-30], r"swh_Latn\.jsonl, line 3: not JSON: "),
        (encoded(SWAHILI).replace(b"Ipi?", b"Ip\xff?"), r"swh_Latn\.jsonl, line 2: not UTF-8: .* at byte "),
        (b"[1]\n", "line 1: 'link' is missing or not of the type str"),
        (encoded(SWAHILI).replace(b"flores_passage", b"passage"), "line 1: 'flores_passage' is missing"),
        (encoded([("https://a", "1", "Roma.", "Ipi?")]), "line 1: 'question_number' is missing or not of the type int"),
        (encoded([SWAHILI[0], ("https://a", 2, " ", "Ipi?")]), "line 2: the passage is empty"),
        (encoded([SWAHILI[0], ("https://a", 2, "Roma.", "")]), "line 2: the question is empty"),
        (encoded([SWAHILI[0], SWAHILI[0]]), "line 2: question 'https://a#1' comes twice"),
        (encoded(SWAHILI[:2]), r"swh_Latn\.jsonl has 2 questions; the published file has 3"),
        (b"", r"swh_Latn\.jsonl has 0 questions; the published file has 3"),
        (
            encoded([*SWAHILI[:2], ("https://c", 1, "Oslo.", "Vipi?")]),
            "en and sw do not have the same questions: 'https://b#1' is in one of them only",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(write, content, message):
    write(swh_Latn=content)
    with pytest.raises(ValueError, match=message):
        load_task("belebele", languages=["en", "sw"])


def test_a_missing_file_is_named(write):
    with pytest.raises(
        FileNotFoundError, match=r"belebele/data/deu_Latn\.jsonl of belebele does not exist; get it from"
    ):
        load_task("belebele", languages=["de", "en"])
