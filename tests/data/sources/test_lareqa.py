"""Files in LAReQA's format: what is read from them, what belongs together, and XQuAD-R and MLQA-R as published."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_sources import articles, paragraph

from hybridlib.data.corpus import connected_groups
from hybridlib.data.folds import read_folds
from hybridlib.data.load import load_task
from hybridlib.data.sources import lareqa
from hybridlib.data.sources.lareqa import read_lareqa, read_mlqa_r, read_xquad_r, task_from_lareqa

# LAReQA publishes the numbers of questions and candidate sentences of each language (Roy et al., 2020, and
# https://github.com/google-research-datasets/lareqa). XQuAD-R has 1,190 questions in all of them.
SENTENCES = {"ar": 1222, "de": 1276, "el": 1234, "en": 1180, "es": 1215, "hi": 1244, "ru": 1219, "th": 852}
SENTENCES |= {"tr": 1167, "vi": 1209, "zh": 1196}
PUBLISHED = {language: (1190, number) for language, number in SENTENCES.items()}
PUBLISHED_MLQA_R = {
    "ar": (517, 2545),
    "de": (512, 2362),
    "en": (1148, 6264),
    "es": (500, 1787),
    "hi": (507, 2426),
    "vi": (511, 2828),
    "zh": (504, 2322),
}


def file(folder: Path, language: str, *content: tuple[str, list[dict[str, Any]]]) -> Path:
    path = folder / f"{language}.json"
    path.write_bytes(articles(*content))
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Write three languages: question a exists in all of them, b in English and Finnish, c in Finnish alone."""
    english = paragraph(["The bear sleeps.", "It eats honey."], ("a", "sleeps"), ("b", "honey"))
    finnish = paragraph(["Karhu nukkuu.", "Se syö hunajaa."], ("b", "hunajaa"), ("a", "nukkuu"))
    more = paragraph(["Susi ulvoo."], ("c", "ulvoo"))
    swahili = paragraph(["Dubu analala.", "Anakula asali.", "Yeye ni mkubwa."], ("a", "analala"))
    return {
        "en": file(tmp_path, "en", ("Bear", [english])),
        "fi": file(tmp_path, "fi", ("Karhu", [finnish, more])),
        "sw": file(tmp_path, "sw", ("Dubu", [swahili])),
    }


def pairs(data: lareqa.LareqaData) -> set[tuple[str, str]]:
    return set(data.qrels[["query_id", "passage_id"]].itertuples(index=False, name=None))


# --- what is read


def test_sentences_are_passages_and_questions_are_parallel_by_id(files):
    data = read_lareqa(files)
    assert data.passages.to_numpy().tolist() == [
        ["en:Bear:0:0", "en", "The bear sleeps.", "Bear"],
        ["en:Bear:0:1", "en", "It eats honey.", "Bear"],
        ["fi:Karhu:0:0", "fi", "Karhu nukkuu.", "Karhu"],
        ["fi:Karhu:0:1", "fi", "Se syö hunajaa.", "Karhu"],
        ["fi:Karhu:1:0", "fi", "Susi ulvoo.", "Karhu"],
        ["sw:Dubu:0:0", "sw", "Dubu analala.", "Dubu"],
        ["sw:Dubu:0:1", "sw", "Anakula asali.", "Dubu"],
        ["sw:Dubu:0:2", "sw", "Yeye ni mkubwa.", "Dubu"],
    ]
    assert data.queries.to_numpy().tolist() == [
        ["en:a", "en", "a?", "a", "Bear"],
        ["en:b", "en", "b?", "b", "Bear"],
        ["fi:b", "fi", "b?", "b", "Karhu"],
        ["fi:a", "fi", "a?", "a", "Karhu"],
        ["fi:c", "fi", "c?", "c", "Karhu"],
        ["sw:a", "sw", "a?", "a", "Dubu"],
    ]


def test_a_question_is_judged_only_in_the_languages_where_it_exists(files):
    data = read_lareqa(files)
    assert pairs(data) == {
        *((f"{q}:a", p) for q in ("en", "fi", "sw") for p in ("en:Bear:0:0", "fi:Karhu:0:0", "sw:Dubu:0:0")),
        *((f"{q}:b", p) for q in ("en", "fi") for p in ("en:Bear:0:1", "fi:Karhu:0:1")),
        ("fi:c", "fi:Karhu:1:0"),
    }
    assert (data.qrels.relevance == 1).all()
    assert len(data.qrels) == 9 + 4 + 1


def test_files_of_your_own_become_a_task_in_two_calls(files):
    task = task_from_lareqa(read_lareqa(files))
    assert task.languages == ["en", "fi", "sw"]
    assert (len(task.queries), len(task.passages), len(task.qrels)) == (6, 8, 14)
    assert len(task.restrict(["en", "sw"]).qrels) == 5  # a in both, b in English
    # Questions belong to the article of their English title; c has no other than the Finnish one.
    articles = {"en:a": "Bear", "en:b": "Bear", "fi:b": "Bear", "fi:a": "Bear", "fi:c": "Karhu", "sw:a": "Bear"}
    assert dict(zip(task.queries.query_id, task.queries.article, strict=True)) == articles
    # Paths may be strings, and languages any code.
    data = read_lareqa({"xx-made-up": str(files["en"])})
    assert data.passages.passage_id.tolist() == ["xx-made-up:Bear:0:0", "xx-made-up:Bear:0:1"]


def test_with_paragraphs_a_passage_is_the_sentence_and_its_paragraph(files):
    with_paragraphs, without = read_lareqa(files, paragraphs=True), read_lareqa(files)
    assert with_paragraphs.passages.text[1] == "It eats honey. The bear sleeps. It eats honey."
    assert with_paragraphs.passages.text[4] == "Susi ulvoo. Susi ulvoo."
    pd.testing.assert_frame_equal(with_paragraphs.queries, without.queries)
    pd.testing.assert_frame_equal(with_paragraphs.qrels, without.qrels)


@pytest.mark.parametrize(
    ("questions", "judged"),
    [
        # Answers that begin in two sentences make both relevant; another in the first sentence judges it once.
        ([("a", "Honey", "honey", "Honey is")], [("a", 0), ("a", 1)]),
        # An answer that runs over the end of its sentence belongs where it starts.
        ([("a", "sweet. Bears"), ("b", "Bears eat")], [("a", 0), ("b", 1)]),
        # An answer that begins with the blank between two sentences is in the second.
        ([("a", " Bears eat"), ("b", "Bears")], [("a", 1), ("b", 1)]),
    ],
)
def test_a_sentence_is_relevant_if_it_holds_the_start_of_an_answer(tmp_path, questions, judged):
    block = paragraph(["Honey is sweet.", "Bears eat honey.", "They sleep."], *questions)
    data = read_lareqa({"en": file(tmp_path, "en", ("Bear", [block]))})
    assert data.qrels.to_numpy().tolist() == [[f"en:{key}", f"en:Bear:0:{place}", 1] for key, place in judged]
    assert len(task_from_lareqa(data).qrels) == 2


def test_two_articles_may_have_one_title(tmp_path):
    first, second = paragraph(["One."], ("a", "One")), paragraph(["Two."], ("b", "Two"))
    data = read_lareqa({"en": file(tmp_path, "en", ("Same", [first]), ("Same", [second]))})
    assert data.passages.passage_id.tolist() == ["en:Same:0:0", "en:Same:1:0"]
    assert pairs(data) == {("en:a", "en:Same:0:0"), ("en:b", "en:Same:1:0")}


def test_a_byte_order_mark_in_front_of_the_text_is_no_part_of_a_passage(tmp_path):
    block = paragraph(["\ufeffOne.", "Two."], ("a", "One"))
    path = file(tmp_path, "en", ("A", [block]))
    assert read_lareqa({"en": path}).passages.text.tolist() == ["One.", "Two."]
    texts = read_lareqa({"en": path}, paragraphs=True).passages.text.tolist()
    assert texts == ["One. One. Two.", "Two. One. Two."]


def test_a_paragraph_without_questions_gives_candidates_all_the_same(tmp_path):
    path = file(tmp_path, "en", ("A", [paragraph(["One."], ("a", "One")), paragraph(["Two.", "Three."])]))
    assert read_lareqa({"en": path}).passages.text.tolist() == ["One.", "Two.", "Three."]


def test_numbered_questions_have_texts_for_ids_and_offsets_may_be_texts(tmp_path, files):
    content = json.loads(files["en"].read_bytes())
    for number, question in enumerate(content["data"][0]["paragraphs"][0]["qas"]):
        question["id"] = number
        question["answers"][0]["answer_start"] = str(question["answers"][0]["answer_start"])
    path = tmp_path / "numbered.json"
    path.write_text(json.dumps(content))
    data = read_lareqa({"en": path})
    assert data.queries.question.tolist() == ["0", "1"]
    assert pairs(data) == {("en:0", "en:Bear:0:0"), ("en:1", "en:Bear:0:1")}
    path.write_text(json.dumps(content).replace('"id": 0', '"id": "1"'))
    with pytest.raises(ValueError, match=r"numbered\.json: question '1' comes twice"):
        read_lareqa({"en": path})


# --- groups and parts


def test_questions_that_share_a_sentence_in_one_language_only_are_a_group(tmp_path):
    # a and b share a sentence in English only, b and c in Finnish only; d is alone in both.
    english = [paragraph(["A and B.", "C."], ("a", "A"), ("b", "B"), ("c", "C")), paragraph(["D."], ("d", "D"))]
    finnish = [paragraph(["A.", "B ja C."], ("a", "A"), ("b", "B"), ("c", "C")), paragraph(["D."], ("d", "D"))]
    paths = {"en": file(tmp_path, "en", ("T", english)), "fi": file(tmp_path, "fi", ("T", finnish))}
    groups = read_lareqa(paths).passage_groups()
    assert sorted(groups.index) == ["a", "b", "c", "d"]
    assert groups["a"] == groups["b"] == groups["c"] != groups["d"]
    english_alone = read_lareqa({"en": paths["en"]}).passage_groups()
    assert english_alone["a"] == english_alone["b"] != english_alone["c"] != english_alone["d"]


def test_groups_are_those_that_merging_one_link_after_another_gives():
    items, shared = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3], list("abacbdeffg")
    group = {item: {item} for item in items}
    for item, thing in zip(items, shared, strict=True):
        for other, also in zip(items, shared, strict=True):
            if thing == also:
                merged = group[item] | group[other]
                for member in merged:
                    group[member] = merged
    found = connected_groups(pd.Series(items), pd.Series(shared))
    assert {item: set(found.index[found == found[item]]) for item in group} == group


def test_of_articles_keeps_what_belongs_to_them(tmp_path):
    three = [(name, [paragraph([f"{name}."], (name.lower(), name))]) for name in "ABC"]
    data = read_lareqa({"en": file(tmp_path, "en", *three), "fi": file(tmp_path, "fi", *three)})
    part = data.of_articles(["A", "C"])
    assert part.queries.query_id.tolist() == ["en:a", "en:c", "fi:a", "fi:c"]
    assert part.passages.text.tolist() == ["A.", "C.", "A.", "C."]
    assert pairs(part) == {
        (f"{q}:{a.lower()}", f"{p}:{a}:{n}:0")
        for q, p in [("en", "en"), ("en", "fi"), ("fi", "en"), ("fi", "fi")]
        for a, n in [("A", 0), ("C", 2)]
    }


def test_articles_none_of_which_is_there_are_refused(files):
    with pytest.raises(ValueError, match=r"articles is \['Wolf'\]; the data has none of them"):
        read_lareqa(files).of_articles(["Wolf"])


def test_a_missing_file_is_named(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json does not exist"):
        read_lareqa({**files, "de": tmp_path / "absent.json"})


# --- XQuAD-R and MLQA-R


def test_mlqa_r_is_read_in_seven_languages_and_judged_where_a_question_exists(made):
    made("mlqa-r")
    task = load_task("mlqa-r")
    assert task.languages == ["ar", "de", "en", "es", "hi", "vi", "zh"]
    # Each has two sentences, but ar and vi have four, in two paragraphs.
    assert task.passages.language.value_counts().to_dict() == {**dict.fromkeys(task.languages, 2), "ar": 4, "vi": 4}
    # a is in 2 languages and b in 4, so they have 2 * 2 and 4 * 4 pairs of a question with its sentence.
    assert len(task.queries) == 2 + 4
    assert set(task.qrels[["query_id", "passage_id"]].itertuples(index=False, name=None)) == {
        *((f"{q}:a", f"{p}:Bear ({p}):0:0") for q in ("en", "de") for p in ("en", "de")),
        *((f"{q}:b", f"{p}:Bear ({p}):0:1") for q in ("en", "es", "zh", "hi") for p in ("en", "es", "zh", "hi")),
    }


def test_mlqa_r_can_be_had_in_some_languages_and_with_paragraphs(made):
    made("mlqa-r")
    task = load_task("mlqa-r", languages=["de", "en"], paragraphs=True)
    assert task.languages == ["de", "en"]
    assert task.passages.text[1] == "Its de honey. A de bear. Its de honey."
    assert len(task.qrels) == 2 * 2 + 1  # a in both languages, b in English


def test_that_mlqa_r_is_not_for_commercial_use_is_said_once(made, caplog):
    made("mlqa-r")
    lareqa._warn_of_licence.cache_clear()
    for _ in range(2):
        read_mlqa_r()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith("MLQA-R is licensed CC BY-NC 4.0 (https://creativecommons.org/")
    assert caplog.messages[0].endswith("not for commercial use")


@pytest.fixture(scope="module")
def xquad_r() -> lareqa.LareqaData:
    if not os.environ.get("HYBRIDLIB_DATA"):
        pytest.skip("HYBRIDLIB_DATA is not set: tests on real data are left out")
    return read_xquad_r()


@pytest.mark.parametrize(
    ("read", "name", "published"),
    [(read_xquad_r, "xquad-r", PUBLISHED), (read_mlqa_r, "mlqa-r", PUBLISHED_MLQA_R)],
)
def test_the_numbers_of_questions_and_candidate_sentences_are_those_published(real_data, read, name, published):
    if not (real_data / name).is_dir():
        pytest.skip(f"HYBRIDLIB_DATA has no {name}; MLQA-R may not be passed on for all uses")
    data = read()
    questions, sentences = data.queries.language.value_counts(), data.passages.language.value_counts()
    assert {code: (questions[code], sentences[code]) for code in questions.index} == published
    languages = data.queries.groupby("question").language.nunique()
    assert (languages == 11).all() if name == "xquad-r" else languages.between(2, 4).all()
    # Each question of XQuAD-R has one answer in each of its languages.
    assert name == "mlqa-r" or len(data.qrels) == 11 * 11 * 1190


def test_the_relevant_sentence_of_xquad_r_holds_the_start_of_the_answer(real_data, xquad_r):
    texts = dict(zip(xquad_r.passages.passage_id, xquad_r.passages.text, strict=True))
    qrels = xquad_r.qrels
    own = qrels[qrels.query_id.str.partition(":")[0] == qrels.passage_id.str.partition(":")[0]]
    sentence = dict(zip(own.query_id, own.passage_id, strict=True))
    assert len(own) == len(sentence) == 11 * 1190
    for language in ("en", "th", "zh"):
        content = json.loads((real_data / "xquad-r" / f"{language}.json").read_text(encoding="utf-8"))
        number = 0
        for article in content["data"]:
            for block in article["paragraphs"]:
                for question in block["qas"]:
                    (answer,) = question["answers"]
                    found = sentence[f"{language}:{question['id']}"]
                    paragraph_id, _, place = found.rpartition(":")
                    assert paragraph_id == f"{language}:{article['title']}:{number}"
                    begin, end = block["sentence_breaks"][int(place)]
                    assert begin <= answer["answer_start"] < end
                    assert texts[found] == block["context"][begin:end].strip("\ufeff")
                number += 1


# The number of relevant pairs and of articles, and the SHA-256 of the pairs, a line each: the ids of query and passage,
# and the article, between tabs. They are those of the runs that are kept as evidence, whose ranks are in this order.
# The 316 questions of fold 0 are in 11 languages each, so they have 316 * 11 * 11 = 38,236 pairs.
PAIRS = {
    ("xquad-r", 0): (38236, 12, "34e087c599215d4a08c26a74979f2d203732b06afeff47d4512de05b0dbd2359"),
    ("xquad-r", 1): (36421, 13, "8235cde2803df492825acc33b468f3eb2c1b08d3cc74944a71cbedf35f8acff3"),
    ("xquad-r", 2): (34485, 11, "644ad8a21071801986bc9a200717264ee378043d6911048ed1963fb3a1ce7958"),
    ("xquad-r", 3): (34848, 12, "d6d0011e5b55fbe265996ac19af0b67a0214d50d2feec6752147b988e01db2ed"),
    ("mlqa-r", None): (15747, 520, "ebda1fbd8f4e30e85d1be333fab71b7880f02205baa565d9afbdb9f099ac65e7"),
}


@pytest.mark.parametrize(("name", "fold"), PAIRS)
def test_pairs_and_articles_are_those_of_the_runs_that_are_kept(real_data, name, fold):
    if not (real_data / name).is_dir():
        pytest.skip(f"HYBRIDLIB_DATA has no {name}; MLQA-R may not be passed on for all uses")
    task = load_task(name, fold=fold)
    queries, passages = task.queries.iloc[task.pairs[:, 0]], task.passages.iloc[task.pairs[:, 1]]
    lines = "\n".join(map("\t".join, zip(queries.query_id, passages.passage_id, queries.article, strict=True)))
    found = (len(task.pairs), task.queries.article.nunique(), hashlib.sha256(lines.encode()).hexdigest())
    assert found == PAIRS[name, fold]


def test_the_articles_that_mlqa_r_shares_with_xquad_r_are_two(real_data):
    if not (real_data / "mlqa-r").is_dir():
        pytest.skip("HYBRIDLIB_DATA has no mlqa-r; MLQA-R may not be passed on for all uses")
    titles = set(read_folds().index.str.replace("_", " "))
    assert titles & set(load_task("mlqa-r").queries.article) == set(lareqa.SHARED_ARTICLES)


def test_texts_of_xquad_r_hold_no_byte_order_mark(xquad_r):
    for table in (xquad_r.queries, xquad_r.passages):
        assert not table.text.str.contains("\ufeff").any()
        assert table.text.str.strip().ne("").all()
    for ids in (xquad_r.queries.query_id, xquad_r.passages.passage_id):
        assert (ids == ids.str.strip()).all() and ids.is_unique


def test_questions_of_a_paragraph_group_of_xquad_r_share_sentences(xquad_r):
    groups = xquad_r.passage_groups()
    assert len(groups) == 1190
    of_pair = xquad_r.qrels.merge(xquad_r.queries[["query_id", "question"]], on="query_id")
    # No sentence has questions of two groups.
    assert (of_pair.question.map(groups).groupby(of_pair.passage_id).nunique() == 1).all()
    # A group lies within one article, so groups are small.
    article = xquad_r.queries.drop_duplicates("question").set_index("question").article
    assert (article.groupby(groups).nunique() == 1).all()
