"""Tests of the picture of batches: it shows what the sampler draws, and the file in the project is that picture."""

import re

import numpy as np
import pandas as pd
import pytest

import hybridlib as hl
from hybridlib.paths import figure_path, params_path
from hybridlib.study.explorer import batches
from hybridlib.study.explorer.languages import COLOURS, colours_of
from hybridlib.study.explorer.params import ExplorerParams
from hybridlib.study.report import figures

CODES = ["ar", "en", "sw"]


@pytest.fixture(scope="module")
def corpus():
    return hl.load_corpus("atlas", languages=CODES)


@pytest.fixture(scope="module")
def drawn(corpus):
    return batches.draw_batches(corpus, batches=4, pairs=12)


def test_what_is_drawn_is_what_the_sampler_gives_to_the_trainer(corpus):
    drawn = batches.draw_batches(corpus, strategies=["hybrid"], alpha=0.3, first=2, batches=3, pairs=7, seed=5)
    sampler = hl.HybridBatchSampler(corpus, 7, strategy="hybrid", alpha=0.3, seed=5)
    rows = np.array([*sampler][2:5]).reshape(3, 7, 2)
    codes = np.array(corpus.table["language"])[rows]
    assert drawn[["query_language", "passage_language"]].to_numpy().tolist() == codes.reshape(-1, 2).tolist()
    assert drawn.batch.tolist() == [2] * 7 + [3] * 7 + [4] * 7


def test_batches_of_each_strategy_are_what_their_titles_say(drawn):
    counts = batches.count_languages(drawn)
    # 4 batches of 12 pairs. Nothing but `x-x-mono` has whole batches in one language; but for `x-y`, pairs are in one.
    assert counts.loc["x-x"].tolist() == [4, 0, 48, 0]
    assert counts.loc["x-x-mono"].tolist() == [4, 4, 48, 0]
    assert counts.loc["x-y"].tolist() == [4, 0, 48, 48]
    hybrid = counts.loc["hybrid"]
    assert hybrid["in two languages"] == 12 * (4 - hybrid["in one language"])


def test_counts_are_counted_by_hand():
    queries, passages = ["en", "en", "en", "sw", "en", "en"], ["en", "en", "sw", "sw", "sw", "sw"]
    drawn = pd.DataFrame({"strategy": "hybrid", "batch": [0, 0, 1, 1, 2, 2]})
    drawn = drawn.assign(query_language=queries, passage_language=passages)
    # Batch 0 is in one language; batch 2 has one of questions and another of passages.
    assert batches.count_languages(drawn).loc["hybrid"].tolist() == [3, 1, 6, 3]
    assert batches.told(drawn) == "hybrid: of 3 batches, 1 are in one language; of 6 pairs, 3 are in two."


def test_each_half_of_a_pair_has_the_colour_of_its_language(drawn):
    some = drawn[drawn.strategy == "x-y"]
    figure = batches.picture(some)
    axes = figure.axes[0]
    halves = {}
    for patch in axes.patches:
        colour = patch.get_facecolor()
        for corners in patch.get_path().to_polygons():
            halves[tuple(np.round(corners.mean(axis=0), 3))] = colour
    assert len(halves) == 2 * len(some)
    places = sorted(halves)
    step = batches._COLUMNS + batches._ROOM
    colours = colours_of(CODES)
    for (x, y), colour in halves.items():
        batch, across = divmod(x, step)
        column, left = int(across), across % 1 < 0.5
        pair = some.iloc[int(batch) * 12 + int(y) * batches._COLUMNS + column]
        code = pair.query_language if left else pair.passage_language
        assert np.allclose(colour[:3], hex_parts(colours[code])), (places, x, y)


def hex_parts(colour):
    return [int(colour[begin : begin + 2], 16) / 255 for begin in (1, 3, 5)]


def test_the_title_says_alpha_and_what_the_batches_are(drawn):
    texts = [text.get_text() for axes in batches.picture(drawn, alpha=0.25).axes for text in axes.texts]
    assert "hybrid, α = 0.25" in texts and "a whole batch is in one language" in texts
    assert "a block is a batch of 12 pairs" in texts
    assert {"Arabic", "English", "Swahili"} <= set(texts)


def test_every_strategy_has_a_title(corpus):
    drawn = batches.draw_batches(corpus, strategies=batches.STRATEGIES, first=0, batches=1, pairs=4)
    figure = batches.picture(drawn)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert set(batches._SAID.values()) <= set(said) and set(batches._SAID) == set(batches.STRATEGIES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategies": ["x-z"]}, "strategies has 'x-z'; allowed: en-en, x-x, "),
        ({"batches": 1000}, r"first is 9 and batches is 1000; allowed: \d+ in all, as an epoch of x-x has$"),
        ({"first": -1}, "first is -1; allowed: greater than or equal to 0"),
        ({"alpha": 1.5}, "alpha is 1.5; allowed: less than or equal to 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(corpus, options, message):
    with pytest.raises(ValueError, match=message):
        batches.draw_batches(corpus, **options)


def test_more_languages_than_colours_are_refused(drawn):
    many = drawn.assign(query_language=[f"l{number % 10}" for number in range(len(drawn))])
    with pytest.raises(ValueError, match=f"drawn has 13 languages; allowed: at most {len(COLOURS)}"):
        batches.picture(many)
    with pytest.raises(ValueError, match="drawn"):
        batches.picture(drawn[:0])


def test_the_picture_in_the_project_is_what_the_sampler_draws_to_the_byte(tmp_path):
    params = ExplorerParams.from_yaml(params_path("embedded", "explorer"))
    drawn = batches.draw_batches(params.load_batch_corpus(), alpha=params.alpha)
    figures.save(batches.picture(drawn, alpha=params.alpha), tmp_path / "batches.svg")
    committed = figure_path("embedded", "explorer-batches").read_text(encoding="utf-8")
    assert (tmp_path / "batches.svg").read_text(encoding="utf-8") == committed
    assert not re.search(r"<dc:date>|<image", committed)
