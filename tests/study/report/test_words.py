"""Tests of figures in words: every number that is drawn is said, and the file of a figure carries them."""

from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from hybridlib.study.report import figures, planes, tables, words

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def differences(**changed):
    table = pd.DataFrame(
        {
            "measure": ["map", "map", "rank_distance"],
            "setting": ["monolingual", "monolingual", "multilingual"],
            "contrast": ["x-y", "x-x-mono", "x-y"],
            "value": [0.0123, -0.0045, -41.26],
            "lower": [0.0101, -0.0101, -50.0],
            "upper": [0.0145, 0.0011, -32.0],
            "verdict": ["better", "not told apart", "better"],
        }
    )
    return table.assign(**changed)


def test_a_forest_plot_says_each_difference_in_its_panel_with_its_verdict():
    said = figures.forest(differences(), xlabel="hybrid minus …").get_label()
    assert said.split("\n") == [
        "Forest plot of 3 differences with 95 % intervals.",
        "monolingual map: hybrid minus x-y: +0.0123 [+0.0101, +0.0145], better; "
        "hybrid minus x-x-mono: −0.0045 [−0.0101, +0.0011], not told apart.",
        "multilingual rank distance: hybrid minus x-y: −41.3 [−50.0, −32.0], better.",
    ]
    assert (
        figures.forest(differences(), xlabel="gain")
        .get_label()
        .startswith("Forest plot of 3 differences with 95 % intervals, gain.\nmonolingual map: x-y: +0.0123")
    )


def test_curves_say_their_points_by_alpha_and_their_levels_last():
    table = pd.DataFrame(
        {
            "setting": ["monolingual"] * 3,
            "contrast": ["untrained", "x-x-mono", "x-y"],
            "alpha": [np.nan, 1.0, 0.0],
            "value": [0.4, 0.61, 0.5],
            "lower": [0.3, 0.5, 0.4],
            "upper": [0.5, 0.7, 0.6],
        }
    )
    said = figures.over_alpha({"Atlas": table}).get_label()
    assert said == (
        "Curves of map over alpha, the probability of a monolingual batch.\n"
        "Atlas, monolingual: α = 0: 0.5000; α = 1: 0.6100; untrained: 0.4000."
    )


def test_lines_say_their_points_in_order_of_what_was_varied():
    table = pd.DataFrame(
        {"place": [2, 1, 1], "contrast": ["a", "a", "b"], "data": ["all"] * 3, "value": [0.2, 0.1, 0.3]}
    )
    table = table.assign(lower=table.value - 0.05, upper=table.value + 0.05)
    drawn = figures.lines(table, x="place", label="contrast", panel="data", xlabel="place", ylabel="map")
    assert drawn.get_label() == (
        "Lines of map over the place, with 95 % intervals.\n"
        "all, a: 1: 0.1000 [0.0500, 0.1500]; 2: 0.2000 [0.1500, 0.2500].\nall, b: 1: 0.3000 [0.2500, 0.3500]."
    )


def test_a_plane_says_where_each_strategy_is():
    table = pd.DataFrame({"contrast": ["hybrid", "x-y"], "x": [0.8, 0.7], "y": [0.6, 0.65]})
    table[["variance_x", "variance_y", "covariance", "radius"]] = [0.001, 0.001, 0.0, 2.0]
    said = planes.plane({"Atlas": table}, xlabel="map within", ylabel="map in the pool").get_label()
    assert said == (
        "Plane of strategies: map within, and map in the pool.\n"
        "Atlas: hybrid: 0.8000 and 0.6000; x-y: 0.7000 and 0.6500."
    )


def test_gains_by_pair_are_said_by_kind_with_their_ends_and_mean():
    table = pd.DataFrame(
        {
            "query_language": ["de", "en", "de", "ru"],
            "passage_language": ["de", "en", "ru", "de"],
            "untrained": [0.5, 0.6, 0.3, 0.2],
            "gain": [0.03, -0.01, 0.2, 0.1],
        }
    )
    # The means are (.03 - .01) / 2 and (.2 + .1) / 2.
    assert planes.gain_by_pair(table).get_label().split("\n") == [
        "Scatter plot of the gain in map, a point for each pair of languages.",
        "one language: 2 pairs, mean +0.0100; least en-en −0.0100; most de-de +0.0300.",
        "two languages, other scripts: 2 pairs, mean +0.1500; least ru-de +0.1000; most de-ru +0.2000.",
    ]


def test_a_heat_map_says_its_ends_and_where_they_are():
    table = pd.DataFrame([[0.1, np.nan], [0.4, 0.2]], index=["de", "en"], columns=["ru", "sw"])
    said = tables.matrices({"hybrid": table}, row="question", column="passages", title="map").get_label()
    assert said == (
        "Heat maps of map, question by passages.\nhybrid: 3 cells; least 0.1000 (de, ru); most 0.4000 (en, ru)."
    )


def test_the_file_of_a_figure_has_its_words_as_they_are(tmp_path):
    table = differences(contrast=["a & b", "</desc><script>", "0.123456"])
    drawn = figures.forest(table)
    figures.save(drawn, tmp_path / "forest.svg")
    root = ElementTree.parse(tmp_path / "forest.svg").getroot()
    assert root.findtext(f"{SVG}desc") == drawn.get_label() and "0.123456: −41.3" in drawn.get_label()
    assert root.findtext(f"{SVG}title") == drawn.get_label().split("\n")[0]


def test_a_figure_without_words_is_written_as_it_is():
    assert words.with_words("<svg a='>'><g/></svg>", "") == "<svg a='>'><g/></svg>"
