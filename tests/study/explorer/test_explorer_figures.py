"""Tests of the figures of answers: what is drawn is where the numbers say, and the same bytes each time."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import hybridlib as hl
from hybridlib.study.explorer import figures
from hybridlib.study.explorer.answers import Shelf
from hybridlib.study.explorer.languages import COLOURS, contrast, ink_on
from hybridlib.study.report.figures import save

CODES = ["ar", "en", "sw"]
RANKS = {
    "x-x": pd.Series({"ar": 900, "en": 40, "sw": 1}),
    "hybrid": pd.Series({"ar": 3, "en": 1, "sw": 2}),
}


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def shelf():
    task = hl.load_task("atlas", "test", languages=CODES)
    return Shelf.embed(hl.load_encoder("static", corpus=hl.load_corpus("atlas", languages=CODES)), task)


def test_a_strip_leads_from_the_first_rank_to_the_last_and_says_how_far_it_is():
    figure = figures.rank_strips(RANKS, 1000)
    spans = [axes.lines[0].get_xdata().tolist() for axes in figure.axes]
    assert spans == [[1, 900], [1, 3]]
    said = [text.get_text() for axes in figure.axes for text in axes.texts if "apart" in text.get_text()]
    assert said == ["899 apart", "2 apart"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["x-x", "hybrid"]


def test_each_code_stands_at_its_rank():
    for axes, ranks in zip(figures.rank_strips(RANKS, 1000).axes, RANKS.values(), strict=True):
        placed = {text.get_text(): text.xy[0] for text in axes.texts if text.get_text() in CODES}
        assert placed == ranks.to_dict()


def test_codes_at_near_ranks_stand_above_each_other_and_none_covers_another():
    ranks = pd.Series({f"l{number}": 1 + number // 2 for number in range(30)})
    across = 130.0
    tags = figures._layers(ranks, across)
    assert {code: rank for code, rank, _ in tags} == ranks.to_dict()
    for one, (_, rank, layer) in enumerate(tags):
        for _, other, at in tags[:one]:
            assert layer != at or abs(np.log10(rank) - np.log10(other)) * across >= figures._TAG
    assert [layer for _, _, layer in tags[:3]] == [0, 1, 0]


def test_a_rank_alone_is_a_strip_too():
    assert figures.rank_strips({"x": pd.Series({"en": 1})}, 1).axes[0].lines[0].get_xdata().tolist() == [1, 1]


@pytest.mark.parametrize("ranks", [{}, {"x-x": pd.Series(dtype=int)}])
def test_ranks_of_nothing_are_refused(ranks):
    with pytest.raises(ValueError, match="ranks holds no rank of an encoder"):
        figures.rank_strips(ranks, 10)


def test_bars_are_as_high_as_the_counts_and_the_line_is_an_even_share():
    shares = {"x-x": pd.Series({"ar": 0, "en": 1, "sw": 8}), "hybrid": pd.Series({"ar": 3, "en": 3, "sw": 3})}
    figure = figures.share_bars(shares)
    for axes, counts in zip(figure.axes, shares.values(), strict=True):
        assert [bar.get_height() for bar in axes.patches] == counts.tolist()
        assert axes.lines[0].get_ydata()[0] == 3  # 9 passages in 3 languages


def test_the_map_shows_the_passages_of_some_questions_in_all_languages(shelf):
    points = figures.meaning({"one": shelf, "other": shelf}, 4)
    assert points.groupby(["encoder", "question"]).language.apply(sorted).tolist() == [CODES] * 8
    one, other = (points[points.encoder == label][["x", "y"]].to_numpy() for label in ("one", "other"))
    assert (one == other).all()


def test_distances_on_the_map_are_those_along_the_two_directions_in_which_passages_differ_most():
    """Passages that lie in a plane of four dimensions are as far apart on the map as in it."""
    texts = [f"p{number}" for number in range(4)]
    passages = pd.DataFrame({"passage_id": texts, "language": ["en", "sw"] * 2, "text": texts})
    queries = pd.DataFrame({"query_id": ["a", "b"], "language": "en", "text": ["A?", "B?"]})
    qrels = pd.DataFrame({"query_id": ["a", "a", "b", "b"], "passage_id": texts, "relevance": 1})
    rows = np.array([[3, 0, 0, 0], [0, 2, 0, 0], [0, -1, 0, 0], [-5, 0, 0, 0]], dtype=np.float32)

    class Fixed:
        similarity_fn_name = "dot"

    made = Shelf(Fixed(), hl.RetrievalTask(queries, passages, qrels), rows[:2], rows)
    points = figures.meaning({"it": made}, 2)
    found = points[["x", "y"]].to_numpy()
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)  # lengths are set to 1
    known = np.linalg.norm(units[:, None] - units, axis=2)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found, axis=2), known, atol=1e-9)


def test_a_colour_of_the_map_is_a_question(shelf):
    points = figures.meaning({"one": shelf}, 3)
    (axes,) = figures.meaning_map(points).axes
    circles = axes.collections[0::2]  # of each language, circles and letters in turn
    colours = [tuple(colour) for one in circles for colour in one.get_facecolors()]
    assert len(colours) == 9 and len(set(colours)) == 3
    assert all(one.get_facecolors().tolist() == circles[0].get_facecolors().tolist() for one in circles)


def test_more_questions_than_there_are_or_than_colours_are_refused(shelf):
    with pytest.raises(ValueError, match=r"questions is 1000000; allowed: 1 to \d+, those of the task"):
        figures.meaning({"one": shelf}, 10**6)
    points = figures.meaning({"one": shelf}, len(COLOURS) + 1)
    with pytest.raises(ValueError, match=f"points has 10 questions; allowed: at most {len(COLOURS)}"):
        figures.meaning_map(points)
    with pytest.raises(ValueError, match="shelves is empty"):
        figures.meaning({}, 1)


def test_figures_are_the_same_bytes_each_time(shelf, tmp_path):
    for name in ("one", "other"):
        save(figures.rank_strips(RANKS, 1000), tmp_path / f"{name}-ranks.svg")
        save(figures.meaning_map(figures.meaning({"one": shelf}, 3)), tmp_path / f"{name}-map.svg")
    for kind in ("ranks", "map"):
        assert (tmp_path / f"one-{kind}.svg").read_bytes() == (tmp_path / f"other-{kind}.svg").read_bytes()


def test_letters_on_every_colour_can_be_read():
    assert all(contrast(ink_on(colour), colour) >= 4.5 for colour in COLOURS)  # level AA of WCAG 2.2
