"""Figures: a reader sees the table's numbers, told apart by marker and line, under the right names."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.lines import Line2D

from hybridlib.study.report.figures import effects, language_heat_map, lines, matrices, over_alpha, save, trade_off
from hybridlib.study.report.results import summarize

matplotlib.use("agg")
LANGUAGES = ["ar", "de", "en", "sw"]
ALPHAS = [0.0, 0.5, 1.0]


@pytest.fixture(autouse=True)
def closed():
    """Close the figures, which pyplot keeps."""
    yield
    plt.close("all")


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


def test_over_alpha_draws_every_group_by_a_line_of_its_own_and_the_range_of_the_seeds(means):
    groups = {"high": ["de", "en"], "middle": ["ar"], "low": ["sw"]}
    figure = over_alpha(means, groups)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "monolingual: map\n(higher is better)",
        "cross-lingual: map\n(higher is better)",
        "multilingual: map\n(higher is better)",
        "multilingual: rank distance\n(lower is better)",
    ]
    for axes, title in zip(figure.axes, titles, strict=True):
        setting, measure = title.partition("\n")[0].replace("rank d", "rank_d").split(": ")
        drawn = {line.get_label(): line for line in axes.get_lines()}
        bands = dict(zip(drawn, axes.collections, strict=True))
        assert list(drawn) == [f"{name}, {group}" for group in groups for name in ("name", "scratch")]
        for group, languages in groups.items():
            for name, encoder in {"name": "owner/name@abc", "scratch": "static:scratch"}.items():
                chosen = means[means.query_language.isin(languages) & (means.encoder == encoder)]
                chosen = chosen[(chosen.setting == setting) & (chosen.measure == measure)]
                # Every language counts alike, and here each has as many rows.
                by_seed = chosen.groupby(["alpha", "seed"]).value.mean().unstack()
                line = drawn[f"{name}, {group}"]
                assert line.get_xdata().tolist() == ALPHAS
                assert line.get_ydata() == pytest.approx(by_seed.mean(axis=1).to_numpy())
                corners = bands[f"{name}, {group}"].get_paths()[0].vertices
                for alpha, row in by_seed.iterrows():
                    of_alpha = corners[corners[:, 0] == alpha, 1]
                    assert (of_alpha.min(), of_alpha.max()) == pytest.approx((row.min(), row.max()))
        looks = {(line.get_linestyle(), line.get_marker()) for line in drawn.values()}
        assert len(looks) == len(drawn)  # without the colours
        assert {line.get_linestyle() for line in drawn.values() if "high" in line.get_label()} == {"-"}
        assert axes.get_xticks().tolist() == ALPHAS and axes.get_ylim()[0] == 0
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == list(drawn)


# Lines


@pytest.fixture
def curves():
    """Three strategies and two settings over three sizes, in no order; the second setting lacks a strategy."""
    rng = np.random.default_rng(1)
    rows = [
        {"setting": setting, "strategy": strategy, "size": size, "value": (value := rng.random()), "lower": value - 0.1,
         "upper": value + rng.random()}
        for setting in ("monolingual", "cross-lingual")
        for strategy in ("x-y", "hybrid", "x-x-mono")
        for size in (1.0, 0.25, 0.5)
        if (setting, strategy) != ("cross-lingual", "hybrid")
    ]  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=2)


@pytest.mark.parametrize("log", [False, True])
def test_lines_are_the_rows_of_the_table_and_their_bands_the_intervals(curves, log):
    figure = lines(curves, x="size", label="strategy", panel="setting", xlabel="share", ylabel="map", log=log)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(curves.setting.unique())
    for axes in figure.axes:
        of_panel = curves[curves.setting == axes.get_title(loc="left")]
        bands = iter(axes.collections)
        for line in axes.get_lines():
            expected = of_panel[of_panel.strategy == line.get_label()].sort_values("size")
            assert line.get_xydata().tolist() == expected[["size", "value"]].to_numpy().tolist()
            band = next(bands)
            assert len(expected) in (0, 3)
            for row in expected.itertuples():
                corners = band.get_paths()[0].vertices
                corners = corners[corners[:, 0] == row.size, 1]
                assert (corners.min(), corners.max()) == (row.lower, row.upper)
        assert sum(len(line.get_xdata()) for line in axes.get_lines()) == len(of_panel)
        assert axes.get_xscale() == ("log" if log else "linear")
        assert [text.get_text() for text in axes.get_xticklabels()] == ["0.25", "0.5", "1"]
        assert axes.get_xticks().tolist() == [0.25, 0.5, 1.0] and not len(axes.get_xticks(minor=True))
        assert axes.get_xlabel() == "share"
    assert [axes.get_ylabel() for axes in figure.axes] == ["map", ""]
    # The legend, of the first panel, has every strategy, that which this panel lacks too.
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == list(curves.strategy.unique())


def test_categories_keep_their_order_in_lines_and_those_that_do_not_occur_are_left_out(curves):
    order = {"strategy": ["x-x-mono", "en-en", "x-y", "hybrid"], "setting": ["cross-lingual", "monolingual", "none"]}
    table = curves.assign(**{name: pd.Categorical(curves[name], values) for name, values in order.items()})
    figure = lines(table, x="size", label="strategy", panel="setting", xlabel="", ylabel="")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["cross-lingual", "monolingual"]
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
    rng = np.random.default_rng(3)
    rows = [
        {"strategy": strategy, "family": family, "setting": setting, "difference": (value := rng.normal()),
         "lower": value - 0.5, "upper": value + 1.5}
        for setting in ("monolingual", "cross-lingual")
        for family in ("Turkic", "Greek", "Uralic")
        for strategy in ("hybrid", "x-y")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_effects_are_the_rows_of_the_table_from_the_top_with_their_intervals(gains):
    table = gains[gains.strategy == "hybrid"]
    figure = effects(table, row="family", panel="setting", xlabel="gain")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["monolingual", "cross-lingual"]
    for axes in figure.axes:
        of_panel = table[table.setting == axes.get_title(loc="left")]
        expected = of_panel[["difference", "lower", "upper"]].to_numpy()
        drawn = np.array([row[1:] for row in bars(axes)])
        assert drawn[:, [0, 2, 3]] == pytest.approx(expected)
        assert drawn[:, 1].tolist() == [0, 1, 2]
        assert axes.get_ylim() == (2.5, -0.5)  # the first row is on top
        assert axes.get_xlabel() == "gain"
        (zero,) = [line for line in axes.get_lines() if set(line.get_xdata()) == {0} and len(line.get_xdata()) == 2]
        assert zero.get_linestyle() == "-"
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["Turkic", "Greek", "Uralic"]
    assert not figure.legends


def test_effects_of_two_labels_stand_one_above_the_other_in_their_row(gains):
    figure = effects(gains, row="family", panel="setting", label="strategy", xlabel="")
    families = list(gains.family.unique())
    for axes in figure.axes:
        drawn = bars(axes)
        assert len(drawn) == 6
        for label, x, y, lower, upper in drawn:
            (row,) = gains[np.isclose(gains.difference, x)].itertuples()
            assert (row.strategy, row.setting, families[round(y)]) == (label, axes.get_title(loc="left"), row.family)
            assert (lower, upper) == pytest.approx((row.lower, row.upper))
            # A quarter of 0.55 above the middle of the row, and below.
            assert y - round(y) == pytest.approx({"hybrid": -0.1375, "x-y": 0.1375}[label])
        markers = {container[0].get_marker() for container in axes.containers}
        assert len(markers) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hybrid", "x-y"]


def test_effects_keep_the_order_of_categories_and_leave_a_missing_row_empty(gains):
    order = ["Uralic", "Turkic", "Afroasiatic", "Greek"]
    table = gains.assign(
        family=pd.Categorical(gains.family, order), strategy=pd.Categorical(gains.strategy, ["x-y", "hybrid"])
    )
    table = table[(table.family != "Turkic") | (table.strategy != "x-y") | (table.setting != "monolingual")]
    figure = effects(table, row="family", panel="setting", label="strategy", xlabel="")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["Uralic", "Turkic", "Greek"]
    assert [container.get_label() for container in axes.containers] == ["x-y", "hybrid"]
    assert sorted((label, round(y)) for label, _, y, *_ in bars(axes)) == [
        ("hybrid", 0), ("hybrid", 1), ("hybrid", 2), ("x-y", 0), ("x-y", 2),
    ]  # fmt: skip


def test_the_margin_is_a_dashed_line_at_minus_the_margin_in_every_panel(gains):
    figure = effects(gains[gains.strategy == "x-y"], row="family", panel="setting", xlabel="", margin=0.02)
    for axes in figure.axes:
        (line,) = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
        assert list(line.get_xdata()) == [-0.02, -0.02]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["margin, 0.02"]


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
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        assert axes.get_title(loc="left") == name and axes.get_xlabel() == "passage"
        mesh = axes.collections[0]
        cells = np.ma.filled(mesh.get_array().reshape(table.shape), np.nan)
        assert np.array_equal(cells, table.to_numpy(), equal_nan=True)
        assert mesh.get_clim() == (0, highest)
        assert axes.get_ylim() == (3, 0)  # the first row is on top, in the second panel too
        assert axes.get_facecolor()[:3] == (0.8, 0.8, 0.8)  # what is seen where a cell is missing
        numbers = {tuple(text.get_position()): text.get_text() for text in axes.texts}
        assert numbers == {
            (x + 0.5, y + 0.5): f"{value:.2f}" for (y, x), value in np.ndenumerate(table) if not np.isnan(value)
        }
        assert [text.get_text() for text in axes.get_xticklabels()] == list("wxyz")
    assert [text.get_text() for text in panels[0].get_yticklabels()] == list("abc")
    assert [axes.get_ylabel() for axes in panels] == ["question", ""]
    assert bar.get_ylabel() == "share"


def test_gains_and_losses_are_told_apart_at_zero_by_sign():
    small = pd.DataFrame([[0.25, -0.5], [np.nan, 0.0]], index=["a", "b"], columns=["x", "y"])
    axes = matrices({"": small}, row="", column="", title="", around_zero=True).axes[0]
    assert axes.collections[0].get_clim() == (-0.5, 0.5)  # by the largest, which is a loss
    assert [text.get_text() for text in axes.texts] == ["+0.250", "-0.500", "+0.000"]


def test_a_loss_in_a_large_matrix_has_a_minus_sign_in_its_cell_and_nothing_else_has():
    values = np.random.default_rng(5).normal(size=(9, 10))
    values[3, 4], values[0, 0] = np.nan, 0.0
    tables = {"one": pd.DataFrame(values), "other": pd.DataFrame(-values)}
    panels = matrices(tables, row="", column="", title="", around_zero=True).axes[:2]
    for axes, table in zip(panels, tables.values(), strict=True):
        assert {text.get_text() for text in axes.texts} == {"−"}
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
