"""Tests of what encoders answer, against the search and the rank counter of the library."""

import numpy as np
import pandas as pd
import pytest

import hybridlib as hl
from hybridlib.study.explorer import answers
from hybridlib.study.explorer.answers import Asked, Shelf

CODES = ["ar", "en", "sw"]


@pytest.fixture(scope="module")
def task():
    return hl.load_task("atlas", "test", languages=CODES)


@pytest.fixture(scope="module")
def encoder():
    return hl.load_encoder("static", corpus=hl.load_corpus("atlas", languages=CODES))


@pytest.fixture(scope="module")
def shelf(encoder, task):
    return Shelf.embed(encoder, task)


@pytest.mark.parametrize("row", [0, 101, 500])
@pytest.mark.parametrize("k", [1, 7])
def test_the_first_passages_are_those_of_the_search(shelf, encoder, task, row, k):
    query = task.queries.iloc[row]
    asked = answers.ask(task, query.language, query.question)
    found = answers.first_passages(task, shelf.rank(asked), asked, k)
    known = hl.search(encoder, task, query, k=k)
    columns = ["rank", "passage_id", "language", "relevant", "text"]
    pd.testing.assert_frame_equal(found[columns], known[columns])
    np.testing.assert_allclose(found.score, known.score, rtol=1e-12)  # the same products, in float64


def test_a_typed_question_is_answered_as_by_the_search(shelf, encoder, task):
    asked = Asked("en", "What money do they use in Nairobi?")
    found = answers.first_passages(task, shelf.rank(asked), asked, 9)
    known = hl.search(encoder, task, asked.text, k=9)
    assert found.passage_id.tolist() == known.passage_id.tolist()
    assert not found.relevant.any()  # nothing is known of it
    assert answers.language_ranks(task, shelf.rank(asked), asked).empty


def test_the_ranks_of_each_language_are_those_that_are_counted(shelf, task):
    ranks = hl.relevant_ranks(shelf.queries, shelf.passages, task.pairs, task.passage_languages)
    counted = pd.DataFrame(
        {"query": ranks.query, "language": task.passage_languages[ranks.passage], "rank": ranks.above.sum(axis=1) + 1}
    )
    for row in range(0, len(task.queries), 97):
        query = task.queries.iloc[row]
        asked = answers.ask(task, query.language, query.question)
        found = answers.language_ranks(task, shelf.rank(asked), asked)
        known = counted[counted["query"] == row].set_index("language")["rank"]
        assert found.to_dict() == {task.languages[number]: rank for number, rank in known.items()}


class Fixed:
    """An encoder that is never asked; its similarity is the dot product."""

    similarity_fn_name = "dot"


def made(passages, *, relevant, languages):
    """Return a shelf of one query, (1, 0), and of passages, of which some are relevant."""
    ids = [f"p{number}" for number in range(len(passages))]
    queries = pd.DataFrame({"query_id": ["q"], "language": ["en"], "text": ["Is it?"]})
    table = pd.DataFrame({"passage_id": ids, "language": languages, "text": ids})
    qrels = pd.DataFrame({"query_id": "q", "passage_id": [ids[row] for row in relevant], "relevance": 1})
    task = hl.RetrievalTask(queries, table, qrels)
    rows = np.array(passages, dtype=np.float32)
    return task, Shelf(Fixed(), task, np.array([[1, 0]], dtype=np.float32), rows), answers.ask(task, "en")


def test_of_equal_scores_the_earlier_passage_comes_first_and_the_best_of_a_language_counts():
    passages = [[0.5, 0], [1, 0], [0.5, 9], [0, 1], [0.5, 0]]
    task, shelf, asked = made(passages, relevant=[2, 4, 3], languages=["en", "sw", "sw", "en", "sw"])
    ranking = shelf.rank(asked)
    assert ranking.order.tolist() == [1, 0, 2, 4, 3]
    assert ranking.scores.tolist() == [0.5, 1, 0.5, 0, 0.5]
    # Of Swahili, passages 2 and 4 are relevant, third and fourth; of English, passage 3, which is the last.
    assert answers.language_ranks(task, ranking, asked).to_dict() == {"en": 5, "sw": 3}
    assert answers.first_passages(task, ranking, asked, 4).relevant.tolist() == [False, False, True, True]


def test_scores_that_differ_in_float64_only_are_told_apart():
    # 1 + 2^-24 rounds to 1 in float32: the sum is exact in float64, where the second passage is the nearer one.
    passages = [[1, 0], [1, 1]]
    _, shelf, asked = made(passages, relevant=[0], languages=["en", "en"])
    near = Shelf(shelf.encoder, shelf.task, np.array([[1, 2**-24]], dtype=np.float32), shelf.passages)
    assert near.rank(asked).order.tolist() == [1, 0]


def test_a_list_is_as_long_as_there_are_passages():
    task, shelf, asked = made([[1, 0], [0, 1]], relevant=[0], languages=["en", "sw"])
    assert len(answers.first_passages(task, shelf.rank(asked), asked, 50)) == 2


def test_a_typed_question_is_embedded_once(encoder, task, monkeypatch):
    shelf = Shelf.embed(encoder, task.restrict(["en"]))
    calls = []
    embed = answers.embed_texts
    monkeypatch.setattr(answers, "embed_texts", lambda *given, **named: calls.append(given) or embed(*given, **named))
    one, other = (shelf.rank(Asked("en", "Who?")) for _ in range(2))
    assert len(calls) == 1 and (one.order == other.order).all()
    shelf.rank(Asked("en", "Where?"))
    assert len(calls) == 2


def test_equal_texts_are_embedded_once_and_tied(encoder, task):
    passages = task.passages.iloc[:3].assign(passage_id=["a", "b", "c"], text=["Oslo", "Rome is far", "Oslo"])
    qrels = pd.DataFrame({"query_id": task.queries.query_id.iloc[:1], "passage_id": "a", "relevance": 1})
    shelf = Shelf.embed(encoder, hl.RetrievalTask(task.queries, passages, qrels))
    assert (shelf.passages[0] == shelf.passages[2]).all()


def test_kept_embeddings_are_read_again_and_are_of_one_encoder_and_one_task(encoder, task, tmp_path, monkeypatch):
    english = task.restrict(["en"])
    first = Shelf.embed(encoder, english, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(answers, "embed_texts", lambda *given, **named: pytest.fail("embedded again"))
        again = answers.embed_all({"same": encoder}, english, tmp_path)["same"]
    assert (again.passages == first.passages).all() and (again.queries == first.queries).all()
    Shelf.embed(encoder, task.restrict(["sw"]), tmp_path)
    Shelf.embed(hl.load_encoder("static", seed=1), english, tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 3


def test_kept_embeddings_that_are_damaged_are_named_and_made_again(encoder, task, tmp_path, caplog):
    english = task.restrict(["en"])
    first = Shelf.embed(encoder, english, tmp_path)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:5000])
    assert (Shelf.embed(encoder, english, tmp_path).passages == first.passages).all()
    assert f"{path} cannot be read (" in caplog.text and ", and is made again" in caplog.text
    caplog.clear()
    assert (Shelf.embed(encoder, english, tmp_path).queries == first.queries).all() and not caplog.text


def test_a_question_is_asked_in_each_language_by_its_name(task):
    name = task.queries.question.iloc[5]
    texts = {code: answers.ask(task, code, name).text for code in CODES}
    assert len(set(texts.values())) == 3
    known = task.queries[task.queries.question == name].set_index("language").text
    assert texts == known.to_dict()
    first = task.queries[task.queries.language == "sw"].iloc[0]
    assert answers.ask(task, "sw").text == first.text  # the first one, unless named


def test_a_question_tells_what_it_is_in_english_unless_it_is_in_english_or_never_asked_so(task):
    name = task.queries.question.iloc[5]
    english = answers.ask(task, "en", name)
    assert english.english == "" and answers.ask(task, "sw", name).english == english.text
    queries = task.queries[(task.queries.language != "en") | (task.queries.question != name)]
    less = hl.RetrievalTask(queries, task.passages, task.qrels[task.qrels.query_id.isin(queries.query_id)])
    assert answers.ask(less, "sw", name).english == ""


def test_what_cannot_be_asked_is_refused_by_name(task):
    with pytest.raises(ValueError, match="language is 'xx'; allowed: ar, en, sw"):
        answers.ask(task, "xx")
    with pytest.raises(ValueError, match=r"question is 'Why\?'; allowed in en: \['"):
        answers.ask(task, "en", "Why?")


def test_texts_of_questions_are_in_the_language_asked_for_or_else_in_another(task):
    names = task.queries.question.iloc[[3, 4]].tolist()
    queries = task.queries[~((task.queries.language == "sw") & (task.queries.question == names[0]))]
    qrels = task.qrels[task.qrels.query_id.isin(queries.query_id)]
    less = hl.RetrievalTask(queries, task.passages, qrels)
    texts = answers.texts_of(less, names, "sw")
    assert texts == {names[0]: answers.ask(less, "ar", names[0]).text, names[1]: answers.ask(less, "sw", names[1]).text}
