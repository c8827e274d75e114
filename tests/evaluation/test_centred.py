"""Centred embeddings: the means of languages, the ranks without them, and what an encoder's bias becomes."""

import itertools

import numpy as np
import pandas as pd
import pytest
from word_encoder import WORDS, draw_task, word_encoder

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.evaluation.centred import centre, language_means
from hybridlib.evaluation.evaluate import evaluate_embeddings, measure
from hybridlib.evaluation.pairs import results_of

TASK = draw_task(3)
VECTORS = np.random.default_rng(3).standard_normal((len(WORDS), 5))
LANGUAGES = ("de", "en", "fr", "sw")


def drawn_encoder():
    return word_encoder(dict(zip(WORDS, VECTORS, strict=True)))


def drawn_means(seed=0):
    rng = np.random.default_rng(seed)
    return {language: rng.standard_normal(5).astype(np.float32) for language in LANGUAGES}


def corpus_of(texts):
    """Make a corpus of items from (item, language, question, passage)."""
    frame = pd.DataFrame(texts, columns=["item", "language", "query", "passage"])
    return ParallelCorpus.from_frame(frame.assign(passage_group=frame["item"], domain="d", dataset="s"), ["de", "en"])


def test_the_mean_is_that_of_the_first_items_which_exist_in_the_language():
    # Of German, items 2 and 3: questions b, b, passages b, b. Of English, items 1 and 2: a, a, a, b.
    texts = [(1, "en", "a", "a"), (2, "en", "a", "b"), (2, "de", "b", "b"), (3, "en", "b", "b"), (3, "de", "b", "b")]
    frame = pd.DataFrame([*texts, (4, "de", "a", "a")], columns=["item", "language", "query", "passage"])
    several = (frame["item"] > 2).map({False: "first", True: "second"})
    corpus = ParallelCorpus.from_frame(frame.assign(passage_group=0, domain="d", dataset=several), ["de", "en"])
    means = language_means(word_encoder(), corpus, items=2)
    assert {language: mean.tolist() for language, mean in means.items()} == {"de": [0, 1], "en": [0.75, 0.25]}
    with pytest.raises(ValueError, match="items is 0; allowed: greater than or equal to 1"):
        language_means(word_encoder(), corpus, items=0)


def test_the_mean_of_a_language_is_that_of_all_its_questions_and_passages():
    # "a" is (1, 0), "b" is (0, 1). English: questions a, b, passages b, b: (1/4, 3/4). German has no second item.
    corpus = corpus_of([(1, "en", "a", "b"), (1, "de", "a", "a"), (2, "en", "b", "b")])
    means = language_means(word_encoder(), corpus)
    assert {language: mean.tolist() for language, mean in means.items()} == {"de": [1, 0], "en": [0.25, 0.75]}


@pytest.mark.parametrize("chunk_size", [7, 1000])
def test_ranks_are_those_of_embeddings_less_the_mean_of_their_language(chunk_size):
    encoder, means = drawn_encoder(), drawn_means()
    rows = [
        encoder.encode(table.text.tolist()) - np.stack([means[language] for language in table.language])
        for table in (TASK.queries, TASK.passages)
    ]
    made = results_of(measure(encoder, TASK, means=means, chunk_size=chunk_size), ["map", "rank_distance"])
    expected = evaluate_embeddings(*rows, TASK, measures=["map", "rank_distance"])
    pd.testing.assert_frame_equal(made, expected)
    plain = results_of(measure(encoder, TASK), ["map", "rank_distance"])
    assert (plain.value != made.value).any()


def test_an_encoder_that_adds_a_vector_to_each_language_has_no_preference_once_it_is_centred():
    # Words of two languages differ by (10, 0, 0, 0, 0) alone, so that a question finds all of its own language first.
    foreign = [word.upper() for word in WORDS]
    vectors = dict(zip([*WORDS, *foreign], np.vstack([VECTORS, VECTORS + 10 * np.eye(5)[0]]), strict=True))
    encoder = word_encoder(vectors)
    texts = [" ".join(words) for words in itertools.combinations(WORDS, 3)]
    both = pd.DataFrame({"text": [*texts, *[text.upper() for text in texts]]})
    both["language"] = ["en"] * len(texts) + ["de"] * len(texts)
    ids = [f"{language}{n}" for language in ("en", "de") for n in range(len(texts))]
    queries, passages = both.assign(query_id=ids), both.assign(passage_id=ids)
    judged = [(a + str(n), b + str(n), 1) for n in range(len(texts)) for a in ("en", "de") for b in ("en", "de")]
    task = type(TASK)(queries, passages, pd.DataFrame(judged, columns=["query_id", "passage_id", "relevance"]))
    items = [
        (n, language, text, text) for language, text, n in zip(both.language, both.text, [*range(35)] * 2, strict=True)
    ]
    found = [
        results_of(measure(encoder, task, means=means), ["complete@2"]).value.mean()
        for means in (None, language_means(encoder, corpus_of(items)))
    ]
    # With 35 passages of its own language before, no question has both among the first two; then all have.
    assert found == [0, 1]


def test_a_language_without_a_mean_is_refused():
    means = drawn_means()
    del means["fr"]
    with pytest.raises(ValueError, match="means: 'fr' has none; there are those of de, en, sw"):
        measure(drawn_encoder(), TASK, means=means)
    with pytest.raises(ValueError, match="means: 'it' has none"):
        centre(np.ones((1, 5)), pd.Series(["it"]), means)


@pytest.mark.parametrize(
    ("mean", "told"),
    [
        (np.ones(1, dtype=np.float32), r"an array of float32 of shape \(1,\)"),
        (np.ones((2, 5)), r"an array of float64 of shape \(2, 5\)"),
        (np.full(5, np.nan), r"an array of float64 of shape \(5,\)"),
        (np.ones(5, dtype=object), r"an array of object of shape \(5,\)"),
    ],
)
def test_a_mean_that_does_not_fit_is_refused_by_its_language(mean, told):
    with pytest.raises(
        ValueError, match=rf"^means: that of 'en' is {told}; allowed: finite floating-point numbers of s"
    ):
        measure(drawn_encoder(), TASK, means=drawn_means() | {"en": mean})
    with pytest.raises(ValueError, match=r"^means.en is 3; allowed: an instance of ndarray"):
        measure(drawn_encoder(), TASK, means=drawn_means() | {"en": 3})


def test_counts_with_other_means_are_refused(tmp_path):
    encoder = drawn_encoder()
    measured = measure(encoder, TASK, means=drawn_means(), checkpoint=tmp_path)
    again = measure(encoder, TASK, means=drawn_means(), checkpoint=tmp_path)
    assert (again.in_pool == measured.in_pool).all()
    for others in (None, drawn_means(1)):
        with pytest.raises(ValueError, match="means"):
            measure(encoder, TASK, means=others, checkpoint=tmp_path)


def test_embeddings_that_are_kept_serve_with_and_without_means(tmp_path):
    encoder = drawn_encoder()
    plain = measure(encoder, TASK, embeddings=tmp_path)
    centred = measure(encoder, TASK, means=drawn_means(), embeddings=tmp_path)
    assert (centred.in_pool == measure(encoder, TASK, means=drawn_means()).in_pool).all()
    assert (centred.in_pool != plain.in_pool).any()
