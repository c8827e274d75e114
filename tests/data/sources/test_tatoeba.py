"""Tatoeba: a made pair, and the 36 real pairs."""

import numpy as np
import pandas as pd
import pytest
from babel.core import get_global

from hybridlib.data.load import load_task
from hybridlib.data.sources import tatoeba
from hybridlib.data.task import RetrievalTask
from hybridlib.evaluation.evaluate import evaluate_embeddings

FILES = ["tatoeba.deu-eng.deu", "tatoeba.deu-eng.eng"]


def test_a_pair_is_asked_in_both_directions_and_only_the_translation_is_relevant(made):
    made("tatoeba")
    task = load_task("tatoeba/de")
    sentences = [("de", "Wo ist der Bahnhof?"), ("de", "Danke."), ("de", "Es regnet\u2028seit gestern.")]
    sentences += [("en", "Where is the station?"), ("en", "Thanks."), ("en", "It has rained since yesterday.")]
    ids = ["de-en:de:1", "de-en:de:2", "de-en:de:3", "de-en:en:1", "de-en:en:2", "de-en:en:3"]
    for table, column in ((task.queries, "query_id"), (task.passages, "passage_id")):
        assert table[column].tolist() == ids
        assert list(zip(table.language, table.text, strict=True)) == sentences
    assert task.queries.question.tolist() == ["de-en:1", "de-en:2", "de-en:3"] * 2
    assert task.pairs.tolist() == [[0, 3], [1, 4], [2, 5], [3, 0], [4, 1], [5, 2]]
    assert task.qrels.relevance.tolist() == [1] * 6


def test_a_last_line_may_lack_its_newline(made):
    made("tatoeba")
    whole = load_task("tatoeba/de")
    made("tatoeba", {FILES[0]: (b"gestern.\n", b"gestern.")})
    pd.testing.assert_frame_equal(load_task("tatoeba", languages=["de"]).passages, whole.passages)


def test_only_the_cross_lingual_setting_is_evaluated_and_recall_at_1_is_the_accuracy(made):
    made("tatoeba")
    # The first of German is nearest to its translation, the second to the third; in its own language each finds itself.
    embeddings = np.array([[1, 0, 0], [0, 0, 1], [0, 0.6, 0.8], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    results = evaluate_embeddings(embeddings, embeddings, load_task("tatoeba/de"), measures=["recall@1"])
    assert results.setting.unique().tolist() == ["cross-lingual"]
    # The cosines of de 2 with en are 0, 0, 1, and en 2 is relevant; those of de 3 are 0, 0.6, 0.8. The cosines of en 2
    # with de are 0, 0, 0.6, and those of en 3 are 0, 1, 0.8.
    assert dict(zip(results.query_id, results.value, strict=True)) == {
        "de-en:de:1": 1,
        "de-en:de:2": 0,
        "de-en:de:3": 1,
        "de-en:en:1": 1,
        "de-en:en:2": 0,
        "de-en:en:3": 0,
    }


def test_the_languages_that_are_left_keep_the_settings(made):
    made("tatoeba")
    task = load_task("tatoeba/de")
    with pytest.raises(ValueError, match="at least one pair"):
        task.restrict(["de"])
    assert task.restrict(["de", "en"]).settings == ("cross-lingual",)
    assert task.roles == ("query", "query")  # one prompt on both sides, which are alike


MIXED = r"tatoeba is a task for each language.* load tatoeba/<language>, .* af, ar, "
UNKNOWN = "languages: '{}' is not in tatoeba; allowed: af, ar, bg"


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        *((mixed, MIXED) for mixed in (None, [], ["de", "fr"])),
        *(([one], UNKNOWN.format(one)) for one in ("deu", "en", "ro")),
    ],
)
def test_languages_other_than_one_that_is_there_are_refused(languages, message):
    with pytest.raises(ValueError, match=message):
        load_task("tatoeba", languages=languages)


def test_files_of_other_lengths_are_refused(made):
    made("tatoeba", {FILES[1]: b"Where?\nThanks.\n"})
    with pytest.raises(ValueError, match="tatoeba/de: 3 sentences of de and 2 of en; line n"):
        load_task("tatoeba", languages=["de"])


def test_every_language_has_the_two_files_that_its_code_names():
    aliases = get_global("language_aliases") | {"pes": "fa", "cmn": "zh", "tgl": "tl"}  # CLDR's macrolanguages
    for language in tatoeba.SOURCE.languages:
        names = [file.path.removeprefix("tatoeba/tatoeba.") for file in tatoeba.SOURCE.files_of(language)]
        code = names[0].partition("-")[0]
        assert sorted(names) == sorted([f"{code}-eng.{code}", f"{code}-eng.eng"])
        assert aliases[code] == language


def test_the_real_files_are_the_36_pairs_of_xtreme(real_data):
    tasks = {language: load_task(f"tatoeba/{language}") for language in tatoeba.SOURCE.languages}
    lines = {language: len(task.queries) // 2 for language, task in tasks.items()}
    # XTREME (Hu et al., 2020) has up to 1,000 sentences; these languages have fewer (wc -l).
    fewer = {"jv": 205, "ka": 746, "kk": 575, "ml": 687, "sw": 390, "ta": 307, "te": 234, "th": 548}
    assert {language: count for language, count in lines.items() if count < 1000} == fewer
    assert sum(lines.values()) == 28_000 + sum(fewer.values())
    for task in tasks.values():
        # Only embeddings can tie: no sentence comes twice, and none is its own translation.
        assert not task.passages.duplicated(["language", "text"]).any()
        assert task.passages.text.is_unique


def test_accuracy_on_real_sentences_is_that_of_the_nearest_neighbour(real_data, encoder):
    task = load_task("tatoeba/de")
    kept = task.queries.question.isin([f"de-en:{line}" for line in range(1, 41)])  # both tables have the same rows
    qrels = task.qrels[task.qrels.query_id.isin(task.queries.query_id[kept])]
    task = RetrievalTask(task.queries[kept], task.passages[kept], qrels, task.settings)
    embeddings = encoder.encode(task.queries.text.tolist())
    results = evaluate_embeddings(embeddings, embeddings, task, measures=["recall@1"])
    ours = results.groupby("query_language", observed=True).value.mean()
    exact = embeddings.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    german, english = exact[:40], exact[40:]
    for language, queries, passages in (("de", german, english), ("en", english, german)):
        nearest = [max(range(40), key=lambda row: query @ passages[row]) for query in queries]
        accuracy = np.mean([row == place for place, row in enumerate(nearest)])
        assert 0 < accuracy < 1
        assert ours[language] == pytest.approx(accuracy)
