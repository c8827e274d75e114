"""Tests of figures: a reader sees the table's numbers, told apart by marker and line, under the right names."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D

from hybridlib.names import SETTINGS
from hybridlib.study.report.figures import effects, language_heat_map, lines, matrices, over_alpha, save, trade_off
from hybridlib.study.report.results import summarize

matplotlib.use("agg")
LANGUAGES = ["ar", "de", "en", "sw"]
ALPHAS = [0.0, 0.5, 1.0]
PANELS = [*((setting, "map") for setting in SETTINGS), ("multilingual", "rank_distance")]


@pytest.fixture(autouse=True)
def closed():
    """Close the figures, which pyplot keeps."""
    yield
    plt.close("all")


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def words(texts):
    return [text.get_text() for text in texts]


def ends(band, x):
    """Return the lower and the upper end of a band where it is drawn over x."""
    corners = band.get_paths()[0].vertices
    at_x = corners[corners[:, 0] == x, 1]
    return at_x.min(), at_x.max()


def draw_table(name, **columns):
    """Draw a value of this name and its interval for each of two settings and each combination of the columns."""
    columns = {"setting": ["monolingual", "cross-lingual"], **columns}
    table = pd.MultiIndex.from_product(columns.values(), names=columns).to_frame(index=False)
    value, width = np.random.default_rng(1).random((2, len(table)))
    return table.assign(lower=value - 0.1, upper=value + width, **{name: value})


@pytest.fixture(scope="module")
def means():
    rows = [
        {"encoder": encoder, "alpha": alpha, "seed": seed, "query_language": query, "setting": setting,
         "passage_language": passage, "measure": measure}
        for encoder, alpha, seed in itertools.product(("static:scratch", "owner/name@abc"), ALPHAS, (0, 1))
        for query, (setting, measure) in itertools.product(LANGUAGES, PANELS)
        for passage in (["all"] if setting == "multilingual" else LANGUAGES)
        if (setting == "monolingual") == (passage == query)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(value=np.random.default_rng(0).random(len(rows)))


def test_the_trade_off_draws_one_path_over_alpha_for_each_encoder(means):
    figure = trade_off(means)
    table = summarize(means)["map"].unstack("setting").groupby(["encoder", "alpha"]).mean()
    assert len(figure.axes) == 2
    for axes, encoder in zip(figure.axes, table.index.unique("encoder"), strict=True):
        paths = [line.get_xydata() for line in axes.get_lines() if len(line.get_xydata()) == len(ALPHAS)]
        expected = table.loc[encoder][["cross-lingual", "monolingual"]].to_numpy()
        assert any(np.allclose(path, expected) for path in paths)
    assert set(titles(figure)) == {"scratch encoder", "name encoder"}
    assert words(figure.axes[0].texts) == ["α = 0 (x-y)", "α = 0.5", "α = 1 (x-x-mono)"]


def test_the_heat_map_has_queries_in_rows_passages_in_columns_and_low_resource_languages_last(means):
    figure = language_heat_map(means, ["de"], alphas=ALPHAS)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2 * len(ALPHAS)
    # Latin script comes first, then Arabic, and last de, which is thinned here.
    assert words(panels[0].get_yticklabels()) == ["en", "sw", "ar", "de*"]
    drawn = np.asarray(panels[0].images[0].get_array())
    chosen = means[(means.encoder == "static:scratch") & (means.alpha == 0) & (means.measure == "map")]
    cell = chosen[(chosen.query_language == "sw") & (chosen.passage_language == "de")].value.mean()
    assert drawn[1, 3] == pytest.approx(cell)


def test_over_alpha_draws_every_group_by_a_line_of_its_own_and_the_range_of_the_seeds(means):
    groups = {"high": ["de", "en"], "middle": ["ar"], "low": ["sw"]}
    figure = over_alpha(means, groups)
    assert titles(figure) == [
        "monolingual: map\n(higher is better)",
        "cross-lingual: map\n(higher is better)",
        "multilingual: map\n(higher is better)",
        "multilingual: rank distance\n(lower is better)",
    ]
    looks = [f"{name}, {group}" for group in groups for name in ("name", "scratch")]
    assert words(figure.legends[0].get_texts()) == looks
    for axes, (setting, measure) in zip(figure.axes, PANELS, strict=True):
        of_panel = means[(means.setting == setting) & (means.measure == measure)]
        shown = itertools.product(groups.values(), ["owner/name@abc", "static:scratch"])
        for (languages, encoder), line, band in zip(shown, axes.get_lines(), axes.collections, strict=True):
            # Every language counts alike, and here each has as many rows.
            chosen = of_panel[of_panel.query_language.isin(languages) & (of_panel.encoder == encoder)]
            by_seed = chosen.groupby(["alpha", "seed"]).value.mean().unstack()
            assert line.get_xdata().tolist() == ALPHAS
            assert line.get_ydata() == pytest.approx(by_seed.mean(axis=1).to_numpy())
            for alpha, row in by_seed.iterrows():
                assert ends(band, alpha) == pytest.approx((row.min(), row.max()))
        assert [line.get_label() for line in axes.get_lines()] == looks
        # They can be told apart without the colours.
        assert len({(line.get_linestyle(), line.get_marker()) for line in axes.get_lines()}) == len(looks)
        assert {line.get_linestyle() for line in axes.get_lines() if "high" in line.get_label()} == {"-"}
        assert axes.get_xticks().tolist() == ALPHAS and axes.get_ylim()[0] == 0


# Lines


@pytest.fixture
def curves():
    """Draw three strategies and two settings over three sizes, in no order; the second setting lacks a strategy."""
    table = draw_table("value", strategy=["x-y", "hybrid", "x-x-mono"], size=[1.0, 0.25, 0.5])
    return table[(table.setting == "monolingual") | (table.strategy != "hybrid")].sample(frac=1, random_state=2)


@pytest.mark.parametrize("log", [False, True])
def test_lines_are_the_rows_of_the_table_and_their_bands_the_intervals(curves, log):
    figure = lines(curves, x="size", label="strategy", panel="setting", xlabel="share", ylabel="map", log=log)
    assert titles(figure) == list(curves.setting.unique())
    for axes, setting in zip(figure.axes, titles(figure), strict=True):
        of_panel = curves[curves.setting == setting].sort_values("size")
        for line, band in zip(axes.get_lines(), axes.collections, strict=True):
            expected = of_panel[of_panel.strategy == line.get_label()]
            assert line.get_xydata().tolist() == expected[["size", "value"]].to_numpy().tolist()
            assert len(expected) in (0, 3)
            for row in expected.itertuples():
                assert ends(band, row.size) == (row.lower, row.upper)
        assert sum(len(line.get_xdata()) for line in axes.get_lines()) == len(of_panel)
        assert axes.get_xscale() == ("log" if log else "linear")
        assert words(axes.get_xticklabels()) == ["0.25", "0.5", "1"]
        assert axes.get_xticks().tolist() == [0.25, 0.5, 1.0] and not len(axes.get_xticks(minor=True))
        assert axes.get_xlabel() == "share"
    assert [axes.get_ylabel() for axes in figure.axes] == ["map", ""]
    # The legend, which is that of the first panel, has every strategy, also the one which this panel lacks.
    assert words(figure.legends[0].get_texts()) == list(curves.strategy.unique())


def test_categories_keep_their_order_in_lines_and_those_that_do_not_occur_are_left_out(curves):
    order = {"strategy": ["x-x-mono", "en-en", "x-y", "hybrid"], "setting": ["cross-lingual", "monolingual", "none"]}
    table = curves.assign(**{name: pd.Categorical(curves[name], values) for name, values in order.items()})
    figure = lines(table, x="size", label="strategy", panel="setting", xlabel="", ylabel="")
    assert titles(figure) == ["cross-lingual", "monolingual"]
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["x-x-mono", "x-y", "hybrid"]


@pytest.mark.parametrize(
    "labels", [["x-y", "hybrid", "x-x-mono", "x-x"], ["mix-entries", "x-x-mono", "other", "hybrid"], list("abcd")]
)
def test_four_labels_can_be_told_apart_in_grey_and_a_fifth_is_refused(labels):
    def draw(labels):
        table = pd.DataFrame({"label": labels, "x": 1, "panel": "p", "value": 0.5, "lower": 0.4, "upper": 0.6})
        return lines(table, x="x", label="label", panel="panel", xlabel="", ylabel="").axes[0].get_lines()

    for look in (Line2D.get_linestyle, Line2D.get_marker, Line2D.get_color):
        assert len({look(line) for line in draw(labels)}) == 4
    with pytest.raises(ValueError, match=r"labels are .*'fifth'\]; allowed: at most 4"):
        draw([*labels, "fifth"])


def test_a_strategy_looks_the_same_in_every_figure(curves):
    looks = {}
    for strategies in (["x-y", "hybrid", "x-x-mono"], ["hybrid"]):
        table = curves[(curves.setting == "monolingual") & curves.strategy.isin(strategies)]
        table = table.assign(strategy=pd.Categorical(table.strategy, strategies), difference=table.value)
        drawn = lines(table, x="size", label="strategy", panel="setting", xlabel="", ylabel="").axes[0].get_lines()
        bars = effects(table, row="size", panel="setting", label="strategy", xlabel="").axes[0].containers
        for line, bar in zip(drawn, bars, strict=True):
            assert line.get_label() == bar.get_label()
            looks.setdefault(line.get_label(), set()).update(
                {(line.get_marker(), line.get_color()), (bar[0].get_marker(), bar[0].get_color())}
            )
    assert list(looks) == ["x-y", "hybrid", "x-x-mono"]
    assert all(len(of_strategy) == 1 for of_strategy in looks.values())
    assert len(set.union(*looks.values())) == 3


# Effects


def bars(axes):
    """Return the points and the ends of the intervals as drawn: a row of label, x, y, lower, upper for each."""
    found = []
    for container in axes.containers:
        points, _, (spans,) = container.lines
        for (x, y), segment in zip(points.get_xydata(), spans.get_segments(), strict=True):
            assert segment[:, 1].tolist() == [y, y]
            found.append((container.get_label(), x, y, *segment[:, 0]))
    return found


@pytest.fixture
def gains():
    return draw_table("difference", family=["Turkic", "Greek", "Uralic"], strategy=["hybrid", "x-y"])


@pytest.mark.parametrize(
    ("heights", "margin", "legend"),
    [
        ({"hybrid": 0}, None, []),
        # Two labels stand a quarter of 0.55 above the middle of the row, and as much below it.
        ({"hybrid": -0.1375, "x-y": 0.1375}, 0.02, [["margin, 0.02", "hybrid", "x-y"]]),
    ],
)
def test_effects_are_the_rows_of_the_table_from_the_top_with_their_intervals(gains, heights, margin, legend):
    table = gains[gains.strategy.isin(list(heights))]
    label = "strategy" if len(heights) > 1 else None
    figure = effects(table, row="family", panel="setting", label=label, xlabel="gain", margin=margin)
    assert titles(figure) == ["monolingual", "cross-lingual"]
    assert words(figure.axes[0].get_yticklabels()) == ["Turkic", "Greek", "Uralic"]
    for axes, setting in zip(figure.axes, titles(figure), strict=True):
        of_panel = table[table.setting == setting]
        rows = zip(bars(axes), of_panel.sort_values("strategy", kind="stable").itertuples(), strict=True)
        for number, ((drawn_label, x, y, lower, upper), row) in enumerate(rows):
            assert drawn_label == row.strategy or not label
            assert (x, lower, upper) == pytest.approx((row.difference, row.lower, row.upper))
            assert y == pytest.approx(number % 3 + heights[row.strategy])
        assert axes.get_ylim() == (2.5, -0.5)  # the first row is on top
        assert axes.get_xlabel() == "gain"
        upright = {
            line.get_linestyle(): list(line.get_xdata()) for line in axes.get_lines() if line.get_linestyle() != "None"
        }
        assert upright == {"-": [0, 0], "--": [-margin, -margin]} if margin else {"-": [0, 0]}
        assert len({container[0].get_marker() for container in axes.containers}) == len(heights)
    assert [words(drawn.get_texts()) for drawn in figure.legends] == legend


def test_effects_keep_the_order_of_categories_and_leave_a_missing_row_empty(gains):
    order = ["Uralic", "Turkic", "Afroasiatic", "Greek"]
    table = gains.assign(
        family=pd.Categorical(gains.family, order), strategy=pd.Categorical(gains.strategy, ["x-y", "hybrid"])
    )
    table = table[(table.family != "Turkic") | (table.strategy != "x-y") | (table.setting != "monolingual")]
    figure = effects(table, row="family", panel="setting", label="strategy", xlabel="")
    axes = figure.axes[0]
    assert words(axes.get_yticklabels()) == ["Uralic", "Turkic", "Greek"]
    assert [container.get_label() for container in axes.containers] == ["x-y", "hybrid"]
    assert sorted((label, round(y)) for label, _, y, *_ in bars(axes)) == [
        ("hybrid", 0), ("hybrid", 1), ("hybrid", 2), ("x-y", 0), ("x-y", 2),
    ]  # fmt: skip


# Matrices


def test_matrices_show_the_cells_of_their_tables_on_one_scale_with_numbers_where_they_are_small():
    rng = np.random.default_rng(4)
    tables = {
        name: pd.DataFrame(rng.random((3, 4)) * top, index=list("abc"), columns=list("wxyz"))
        for name, top in {"first": 0.5, "second": 0.9}.items()
    }
    tables["second"].iloc[1, 2] = np.nan
    figure = matrices(tables, row="question", column="passage", title="share")
    *panels, bar = figure.axes
    highest = max(table.max(axis=None) for table in tables.values())
    assert titles(figure) == ["first", "second", ""]
    for axes, table in zip(panels, tables.values(), strict=True):
        assert axes.get_xlabel() == "passage"
        mesh = axes.collections[0]
        cells = np.ma.filled(mesh.get_array().reshape(table.shape), np.nan)
        assert np.array_equal(cells, table.to_numpy(), equal_nan=True)
        assert mesh.get_clim() == (0, highest)
        assert axes.get_ylim() == (3, 0)  # the first row is on top, in the second panel too
        assert axes.get_facecolor()[:3] == (0.8, 0.8, 0.8)  # it is seen where a cell is missing
        numbers = {tuple(text.get_position()): text.get_text() for text in axes.texts}
        assert numbers == {
            (x + 0.5, y + 0.5): f"{value:.2f}" for (y, x), value in np.ndenumerate(table) if not np.isnan(value)
        }
        assert words(axes.get_xticklabels()) == list("wxyz")
    assert words(panels[0].get_yticklabels()) == list("abc")
    assert [axes.get_ylabel() for axes in panels] == ["question", ""]
    assert bar.get_ylabel() == "share"


def test_gains_and_losses_are_told_apart_at_zero_by_sign():
    small = pd.DataFrame([[0.25, -0.5], [np.nan, 0.0]], index=["a", "b"], columns=["x", "y"])
    axes = matrices({"": small}, row="", column="", title="", around_zero=True).axes[0]
    assert axes.collections[0].get_clim() == (-0.5, 0.5)  # the largest is a loss
    assert words(axes.texts) == ["+0.250", "-0.500", "+0.000"]


def test_a_loss_in_a_large_matrix_has_a_minus_sign_in_its_cell_and_nothing_else_has():
    values = np.random.default_rng(5).normal(size=(9, 10))
    values[3, 4], values[0, 0] = np.nan, 0.0
    tables = {"one": pd.DataFrame(values), "other": pd.DataFrame(-values)}
    panels = matrices(tables, row="", column="", title="", around_zero=True).axes[:2]
    for axes, table in zip(panels, tables.values(), strict=True):
        assert set(words(axes.texts)) == {"−"}
        losses = {(x + 0.5, y + 0.5) for y, x in np.argwhere(table.to_numpy() < 0)}
        assert {text.get_position() for text in axes.texts} == losses and 30 < len(losses) < 60
    assert not matrices(tables, row="", column="", title="").axes[0].texts


@pytest.mark.parametrize("kind", ["trade_off", "lines", "effects", "matrices"])
def test_a_figure_is_saved_as_the_same_bytes_under_its_name_alone(means, curves, gains, tmp_path, kind):
    figure = {
        "trade_off": lambda: trade_off(means),
        "lines": lambda: lines(curves, x="size", label="strategy", panel="setting", xlabel="", ylabel="", log=True),
        "effects": lambda: effects(gains, row="family", panel="setting", label="strategy", xlabel="", margin=0.1),
        "matrices": lambda: matrices({"a": pd.DataFrame([[1.0, np.nan]])}, row="", column="", title=""),
    }[kind]
    first = save(figure(), tmp_path / "deep" / "a.png").read_bytes()
    assert save(figure(), tmp_path / "deep" / "b.png").read_bytes() == first and first.startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.png", "b.png"]
