"""Figures: what is drawn is what the means say."""

import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest

from hybridlib.evaluation import summarize
from hybridlib.figures import language_heat_map, over_alpha, save, trade_off

matplotlib.use("agg")
LANGUAGES = ["ar", "de", "en", "sw"]
ALPHAS = [0.0, 0.5, 1.0]


@pytest.fixture(scope="module")
def means():
    rng = np.random.default_rng(0)
    rows = []
    for encoder, alpha, seed, query in itertools.product(
        ["static:scratch", "owner/name@abc"], ALPHAS, [0, 1], LANGUAGES
    ):
        run = {"encoder": encoder, "alpha": alpha, "seed": seed, "query_language": query}
        for passage in LANGUAGES:
            setting = "monolingual" if passage == query else "cross-lingual"
            rows.append(
                {**run, "setting": setting, "passage_language": passage, "measure": "map", "value": rng.random()}
            )
        for measure in ("map", "rank_distance"):
            rows.append(
                {**run, "setting": "multilingual", "passage_language": "all", "measure": measure, "value": rng.random()}
            )
    return pd.DataFrame(rows)


def test_the_trade_off_draws_one_path_over_alpha_for_each_encoder(means):
    figure = trade_off(means)
    table = summarize(means)["map"].unstack("setting").groupby(["encoder", "alpha"]).mean()
    assert len(figure.axes) == 2
    for axes, encoder in zip(figure.axes, table.index.unique("encoder"), strict=True):
        paths = [line.get_xydata() for line in axes.get_lines() if len(line.get_xydata()) == len(ALPHAS)]
        expected = table.loc[encoder][["cross-lingual", "monolingual"]].to_numpy()
        assert any(np.allclose(path, expected) for path in paths)
    assert {axes.get_title(loc="left") for axes in figure.axes} == {"scratch encoder", "name encoder"}
    assert [text.get_text() for text in figure.axes[0].texts] == ["α = 0 (x-y)", "α = 0.5", "α = 1 (x-x-mono)"]


def test_over_alpha_draws_low_resource_languages_apart(means):
    figure = over_alpha(means, ["sw"])
    assert len(figure.axes) == 4
    low = (
        summarize(means[means.query_language == "sw"])["map"]
        .xs("monolingual", level="setting")
        .groupby(["encoder", "alpha"])
        .mean()
    )
    dashed = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == 2
    drawn = sorted(line.get_ydata().tolist() for line in dashed)
    assert drawn == sorted(low.loc[encoder].tolist() for encoder in low.index.unique("encoder"))


def test_over_alpha_does_without_low_resource_languages(means):
    figure = over_alpha(means, [])
    assert {line.get_linestyle() for line in figure.axes[0].get_lines()} == {"-"}


def test_the_heat_map_has_queries_in_rows_passages_in_columns_and_low_resource_languages_last(means):
    figure = language_heat_map(means, ["de"], alphas=ALPHAS)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2 * len(ALPHAS)
    # Latin script first, then Arabic; de, thinned here, last.
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["en", "sw", "ar", "de*"]
    drawn = np.asarray(panels[0].images[0].get_array())
    chosen = means[(means.encoder == "static:scratch") & (means.alpha == 0) & (means.measure == "map")]
    cell = chosen[(chosen.query_language == "sw") & (chosen.passage_language == "de")].value.mean()
    assert drawn[1, 3] == pytest.approx(cell)


def test_a_figure_is_saved_as_the_same_bytes_under_its_name_alone(means, tmp_path):
    first = save(trade_off(means), tmp_path / "deep" / "a.png").read_bytes()
    assert save(trade_off(means), tmp_path / "deep" / "b.png").read_bytes() == first
    assert first.startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.png", "b.png"]
