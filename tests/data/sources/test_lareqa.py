"""Files in LAReQA's format: what is read from them, what is refused, and XQuAD-R as published."""

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hybridlib.data.corpus import connected_groups
from hybridlib.data.load import load_task
from hybridlib.data.sources import lareqa
from hybridlib.data.sources import source as module
from hybridlib.data.sources.lareqa import read_lareqa, read_mlqa_r, read_xquad_r, split_articles, task_from_lareqa

# Questions and candidate sentences of each language, as LAReQA publishes them (Roy et al., 2020, and
# https://github.com/google-research-datasets/lareqa).
PUBLISHED = {
    "ar": (1190, 1222),
    "de": (1190, 1276),
    "el": (1190, 1234),
    "en": (1190, 1180),
    "es": (1190, 1215),
    "hi": (1190, 1244),
    "ru": (1190, 1219),
    "th": (1190, 852),
    "tr": (1190, 1167),
    "vi": (1190, 1209),
    "zh": (1190, 1196),
}
PUBLISHED_MLQA_R = {
    "ar": (517, 2545),
    "de": (512, 2362),
    "en": (1148, 6264),
    "es": (500, 1787),
    "hi": (507, 2426),
    "vi": (511, 2828),
    "zh": (504, 2322),
}


def paragraph(sentences: list[str], *questions: tuple[str, str]) -> dict[str, Any]:
    """A paragraph of sentences with questions (id, answer); an answer stands where it is found first."""
    context, breaks = "", []
    for sentence in sentences:
        breaks.append([len(context), len(context) + len(sentence)])
        context += sentence + " "
    context = context.rstrip()
    return {
        "context": context,
        "sentence_breaks": breaks,
        "qas": [
            {"id": key, "question": f"{key}?", "answers": [{"answer_start": context.index(text), "text": text}]}
            for key, text in questions
        ],
    }


def content(*articles: tuple[str, list[dict[str, Any]]]) -> str:
    data = [{"title": title, "paragraphs": paragraphs} for title, paragraphs in articles]
    return json.dumps({"data": data, "version": "1"}, ensure_ascii=False)


def file(folder: Path, language: str, *articles: tuple[str, list[dict[str, Any]]]) -> Path:
    path = folder / f"{language}.json"
    path.write_text(content(*articles), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Three languages. Question a exists in all of them, b in English and Finnish, c in Finnish alone."""
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


def test_paths_may_be_strings_and_languages_any_code(files):
    data = read_lareqa({"xx-made-up": str(files["en"])})
    assert data.passages.passage_id.tolist() == ["xx-made-up:Bear:0:0", "xx-made-up:Bear:0:1"]


def test_with_paragraphs_a_passage_is_the_sentence_and_its_paragraph(files):
    with_paragraphs, without = read_lareqa(files, paragraphs=True), read_lareqa(files)
    assert with_paragraphs.passages.text[1] == "It eats honey. The bear sleeps. It eats honey."
    assert with_paragraphs.passages.text[4] == "Susi ulvoo. Susi ulvoo."
    pd.testing.assert_frame_equal(with_paragraphs.queries, without.queries)
    pd.testing.assert_frame_equal(with_paragraphs.qrels, without.qrels)


def test_answers_that_begin_in_two_sentences_make_both_relevant(tmp_path):
    block = paragraph(["Honey is sweet.", "Bears eat honey.", "They sleep."], ("a", "Honey"))
    block["qas"][0]["answers"] += [
        {"answer_start": block["context"].index("honey"), "text": "honey"},
        {"answer_start": 0, "text": "Honey is"},  # a second answer in the first sentence judges it once
    ]
    data = read_lareqa({"en": file(tmp_path, "en", ("Bear", [block]))})
    assert data.qrels.to_numpy().tolist() == [["en:a", "en:Bear:0:0", 1], ["en:a", "en:Bear:0:1", 1]]
    assert len(task_from_lareqa(data).qrels) == 2


def test_an_answer_that_runs_over_the_end_of_its_sentence_belongs_where_it_starts(tmp_path):
    block = paragraph(["The bear sleeps.", "It eats honey."], ("a", "sleeps. It eats"), ("b", "It eats"))
    data = read_lareqa({"en": file(tmp_path, "en", ("Bear", [block]))})
    assert pairs(data) == {("en:a", "en:Bear:0:0"), ("en:b", "en:Bear:0:1")}


def test_an_answer_that_begins_with_the_blank_between_two_sentences_is_in_the_second(tmp_path):
    block = paragraph(["The bear sleeps.", "It eats honey."], ("a", " It eats"), ("b", "It eats"))
    assert block["qas"][0]["answers"][0]["answer_start"] == len("The bear sleeps.")  # after the first sentence
    data = read_lareqa({"en": file(tmp_path, "en", ("Bear", [block]))})
    assert pairs(data) == {("en:a", "en:Bear:0:1"), ("en:b", "en:Bear:0:1")}


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
    articles = [(name, [paragraph([f"{name}."], (name.lower(), name))]) for name in "ABC"]
    data = read_lareqa({"en": file(tmp_path, "en", *articles), "fi": file(tmp_path, "fi", *articles)})
    part = data.of_articles(["A", "C"])
    assert part.queries.query_id.tolist() == ["en:a", "en:c", "fi:a", "fi:c"]
    assert part.passages.text.tolist() == ["A.", "C.", "A.", "C."]
    assert pairs(part) == {
        (f"{q}:{a.lower()}", f"{p}:{a}:{n}:0")
        for q, p in [("en", "en"), ("en", "fi"), ("fi", "en"), ("fi", "fi")]
        for a, n in [("A", 0), ("C", 2)]
    }


@pytest.mark.parametrize(("articles", "held_out"), [(1, 1), (4, 1), (7, 2), (48, 12)])  # a quarter, at least one
def test_a_quarter_of_the_articles_is_held_out(articles, held_out):
    titles = [f"t{n}" for n in range(articles)]
    queries = pd.DataFrame({"article": titles * 2})
    data = lareqa.LareqaData(queries, pd.DataFrame(), pd.DataFrame())
    parts = split_articles(data, 0)
    assert len(parts["test"]) == held_out
    assert sorted(parts["train"] + parts["test"]) == sorted(titles)
    assert split_articles(data, 0) == parts
    if articles == 48:
        assert split_articles(data, 1) != parts


# --- what is refused


def altered(path: Path, change: Any) -> Path:
    """The file with its first paragraph changed."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content["data"][0]["paragraphs"][0])
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"data": [{"title": "Bear", "parag', "is truncated or not a file in LAReQA's format: JSONDecodeError"),
        (b"<html>404: Not Found</html>", "is truncated or not a file in LAReQA's format: JSONDecodeError"),
        (b"", "is truncated or not a file in LAReQA's format: JSONDecodeError"),
        ('{"data": "ä"}'.encode("latin-1"), "is truncated or not a file in LAReQA's format: UnicodeDecodeError"),
        (b"[1, 2]", "is truncated or not a file in LAReQA's format: TypeError"),
        (b'"data"', "is truncated or not a file in LAReQA's format: TypeError"),
        (b"{}", r"is truncated or not a file in LAReQA's format: KeyError\('data'\)"),
        (b'{"data": 5}', "is truncated or not a file in LAReQA's format: TypeError"),
        (b'{"data": [{"title": "Bear"}]}', r"is truncated or not a file in LAReQA's format: KeyError\('paragraphs'\)"),
        (b'{"data": []}', "holds no paragraph"),
        (b'{"data": {}}', "holds no paragraph"),
        (
            b'{"data": [{"paragraphs": [{}]}]}',
            r"article None, paragraph 0 is not in LAReQA's format: KeyError\('title'\)",
        ),
        (b'{"data": [{"title": "Bear", "paragraphs": [5]}]}', "article 'Bear', paragraph 0 is not in LAReQA's format"),
    ],
)
def test_a_file_of_another_format_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"broken.json:? {message}"):
        read_lareqa({"en": path})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: p.pop("sentence_breaks"),
            " lacks 'sentence_breaks'; the copies of XQuAD without them cannot be used",
        ),
        (lambda p: p.pop("context"), r" is not in LAReQA's format: KeyError\('context'\)"),
        (lambda p: p.pop("qas"), r" is not in LAReQA's format: KeyError\('qas'\)"),
        (
            lambda p: p.update(sentence_breaks=[[0, 16], [17, 32]]),
            ": sentence breaks .* do not fit a text of 31 charact",
        ),
        (lambda p: p.update(sentence_breaks=[[-1, 5]]), ": sentence breaks .* do not fit"),
        (lambda p: p.update(sentence_breaks=[[5, 5]]), ": sentence breaks .* do not fit"),
        (lambda p: p.update(sentence_breaks=[]), ": sentence breaks .* do not fit"),
        (lambda p: p.update(sentence_breaks=[[0, 5, 9]]), ": sentence breaks .* do not fit"),
        (lambda p: p.update(sentence_breaks=[["a", "b"]]), ": sentence breaks .* do not fit"),
        (lambda p: p.update(sentence_breaks=7), ": sentence breaks 7 do not fit"),
        (lambda p: p["qas"][1].pop("id"), r" is not in LAReQA's format: KeyError\('id'\)"),
        (lambda p: p["qas"][1].pop("question"), r" is not in LAReQA's format: KeyError\('question'\)"),
        (lambda p: p["qas"][1]["answers"][0].pop("text"), r" is not in LAReQA's format: KeyError\('text'\)"),
        (lambda p: p["qas"][1].update(answers=[9]), " is not in LAReQA's format: TypeError"),
        (lambda p: p["qas"].append("why?"), " is not in LAReQA's format: TypeError"),
    ],
)
def test_a_paragraph_of_another_format_is_refused_with_file_and_article(files, change, message):
    altered(files["en"], change)
    with pytest.raises(ValueError, match=f"en.json: article 'Bear', paragraph 0{message}"):
        read_lareqa(files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: q.pop("answers"), " has no answer"),
        (lambda q: q.update(answers=[]), " has no answer"),
        (
            lambda q: q["answers"][0].update(text="money"),
            ": its answer 'money' does not stand at character 25 of its par",
        ),
        (lambda q: q["answers"][0].update(answer_start=-6), ": its answer 'honey' does not stand at character -6"),
        (
            lambda q: q["answers"][0].update(answer_start="9"),
            ": its answer 'honey' does not stand at character 9 of its",
        ),
        (lambda q: q["answers"][0].update(answer_start=999), ": its answer 'honey' does not stand at character 999"),
    ],
)
def test_a_question_at_fault_is_named_with_its_file(files, change, message):
    altered(files["en"], lambda block: change(block["qas"][1]))
    # "The bear sleeps. It eats honey.": honey stands at 17 + 8 = 25, which is 6 before the end.
    with pytest.raises(ValueError, match=f"en.json: question 'b'{message}"):
        read_lareqa(files)


def test_an_answer_in_a_part_of_the_text_that_is_no_sentence_is_refused(files):
    altered(files["en"], lambda block: block.update(sentence_breaks=[[0, 16]]))
    with pytest.raises(ValueError, match=r"en\.json: question 'b': its answer at character 25 lies in no sentence"):
        read_lareqa(files)


def test_a_question_that_comes_twice_is_refused(files):
    altered(files["fi"], lambda block: block["qas"].append(block["qas"][0]))
    with pytest.raises(ValueError, match=r"fi\.json: question 'b' comes twice"):
        read_lareqa(files)


def test_a_missing_file_is_named(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json does not exist"):
        read_lareqa({**files, "de": tmp_path / "absent.json"})


# --- XQuAD-R and MLQA-R


def mlqa_articles(language: str) -> list[Any]:
    """As in MLQA: the article has a title of its language, and more text in English; a question in 2 to 4 languages."""
    questions = [("a", "bear")] * (language in ("en", "de")) + [("b", "honey")] * (language in ("en", "es", "zh", "hi"))
    block = paragraph([f"A {language} bear.", f"Its {language} honey."], *questions)
    return [(f"Bear ({language})", [block] * (2 if not questions else 1))]


@pytest.fixture
def mlqa_r(publish):
    return publish(lareqa.MLQA_R, {f"{code}.json": content(*mlqa_articles(code)) for code in lareqa.MLQA_R.languages})


def test_mlqa_r_is_read_in_seven_languages_and_judged_where_a_question_exists(mlqa_r):
    task = load_task("mlqa-r")
    assert task.languages == ["ar", "de", "en", "es", "hi", "vi", "zh"]
    # Two sentences each, four in ar and vi, which have two paragraphs.
    assert task.passages.language.value_counts().to_dict() == {**dict.fromkeys(task.languages, 2), "ar": 4, "vi": 4}
    # a in 2 languages, b in 4: 2 * 2 and 4 * 4 pairs of a question with its sentence in a language where it exists.
    assert len(task.queries) == 2 + 4
    assert set(task.qrels[["query_id", "passage_id"]].itertuples(index=False, name=None)) == {
        *((f"{q}:a", f"{p}:Bear ({p}):0:0") for q in ("en", "de") for p in ("en", "de")),
        *((f"{q}:b", f"{p}:Bear ({p}):0:1") for q in ("en", "es", "zh", "hi") for p in ("en", "es", "zh", "hi")),
    }


def test_mlqa_r_can_be_had_in_some_languages_and_with_paragraphs(mlqa_r):
    task = load_task("mlqa-r", languages=["de", "en"], paragraphs=True)
    assert task.languages == ["de", "en"]
    assert task.passages.text[1] == "Its de honey. A de bear. Its de honey."
    assert len(task.qrels) == 2 * 2 + 1  # a in both languages, b in English


def test_mlqa_r_has_no_split_since_its_articles_have_another_title_in_each_language(mlqa_r):
    with pytest.raises(ValueError, match="split is 'test'; mlqa-r has none: allowed is None"):
        load_task("mlqa-r", "test")


def test_that_mlqa_r_is_not_for_commercial_use_is_said_once(mlqa_r, caplog):
    lareqa._warn_of_licence.cache_clear()
    for _ in range(2):
        read_mlqa_r()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith("MLQA-R is licensed CC BY-NC 4.0 (https://creativecommons.org/")
    assert caplog.messages[0].endswith("not for commercial use")


@pytest.mark.parametrize(
    ("read", "name", "commit", "published"),
    [
        (read_xquad_r, "xquad-r", "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c", PUBLISHED),
        (read_mlqa_r, "mlqa-r", "354d67d1cd066854cdfbf5ad0e6105528976141d", PUBLISHED_MLQA_R),
    ],
)
def test_the_files_of_the_pinned_commits_are_fetched(monkeypatch, files, read, name, commit, published):
    fetched = []
    monkeypatch.setattr(module, "fetch", lambda pinned, source: fetched.append((pinned, source)) or files["en"])
    assert len(read().passages) == 2 * len(published)
    assert [pinned.path for pinned, _ in fetched] == [f"{name}/{language}.json" for language in published]
    for pinned, source in fetched:
        assert source == name
        assert pinned.url == f"https://raw.githubusercontent.com/google-research-datasets/lareqa/{commit}/{pinned.path}"
    assert len({pinned.checksum for pinned, _ in fetched}) == len(published)


def test_local_data_that_lacks_a_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"xquad-r/ar\.json of xquad-r does not exist; get it from https://raw"):
        read_xquad_r()
    with pytest.raises(FileNotFoundError, match=r"mlqa-r/ar\.json of mlqa-r does not exist; get it from https://raw"):
        read_mlqa_r()


def test_local_data_that_was_altered_is_named(mlqa_r):
    altered(mlqa_r / "de.json", lambda block: block.update(context=block["context"] + "."))
    with pytest.raises(ValueError, match=r"mlqa-r/de\.json differs from the published file: its sha256 is"):
        read_mlqa_r()


def test_a_published_file_with_one_byte_changed_is_refused(monkeypatch, tmp_path, real_data):
    (tmp_path / "xquad-r").mkdir()
    content = bytearray((real_data / "xquad-r" / "ar.json").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "xquad-r" / "ar.json").write_bytes(content)
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"xquad-r/ar\.json differs from the published file"):
        read_xquad_r()


def test_mlqa_r_has_the_published_numbers_of_questions_and_candidate_sentences(real_data):
    if not (real_data / "mlqa-r").is_dir():
        pytest.skip("HYBRIDLIB_DATA has no mlqa-r, which may not be passed on for all uses")
    data = read_mlqa_r()
    questions, sentences = data.queries.language.value_counts(), data.passages.language.value_counts()
    assert {code: (questions[code], sentences[code]) for code in questions.index} == PUBLISHED_MLQA_R
    assert data.queries.groupby("question").language.nunique().between(2, 4).all()
    for pinned in lareqa.MLQA_R.files:
        assert pinned.size == (real_data / pinned.path).stat().st_size


def test_the_sizes_of_xquad_r_are_those_of_its_files(real_data):
    for pinned in lareqa.XQUAD_R.files:
        assert pinned.size == (real_data / pinned.path).stat().st_size


@pytest.fixture(scope="module")
def xquad_r() -> lareqa.LareqaData:
    if not os.environ.get("HYBRIDLIB_DATA"):
        pytest.skip("HYBRIDLIB_DATA is not set: tests on real data are left out")
    return read_xquad_r()


def test_xquad_r_has_the_published_numbers_of_questions_and_candidate_sentences(xquad_r):
    questions = xquad_r.queries.language.value_counts()
    sentences = xquad_r.passages.language.value_counts()
    assert {code: (questions[code], sentences[code]) for code in questions.index} == PUBLISHED
    # Each question has one answer in each of 11 languages.
    assert len(xquad_r.qrels) == 11 * 11 * 1190


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


def test_articles_of_xquad_r_have_one_title_in_all_languages(xquad_r):
    # What splits by article rely on: 48 articles, each of which has the same questions everywhere.
    assert xquad_r.queries.article.nunique() == 48
    assert (xquad_r.queries.groupby("question").article.nunique() == 1).all()
    assert (xquad_r.queries.groupby("question").language.nunique() == 11).all()


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
