"""Tests of figures: a reader sees the table's numbers, told apart by marker and line, under the right names."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from report_tables import made_sums

from hybridlib.names import SETTINGS
from hybridlib.study.report.figures import curve, forest, lines, over_alpha, save, steady
from hybridlib.study.report.style import look_of, looks_of
from hybridlib.study.report.tables import matrices

matplotlib.use("agg")
ALPHAS = {"x-y": 0.0, "hybrid": 0.5, "x-x-mono": 1.0}


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


# The curve over alpha


def test_a_curve_has_the_means_and_its_intervals_do_not_depend_on_how_hard_articles_are():
    sums = made_sums([*ALPHAS, "untrained"])
    table = curve(sums, ALPHAS)
    # Every cell of `made_sums` has as many questions, so the macro mean is that of all.
    totals = sums.groupby(["setting", "strategy"], observed=True)[["total", "count"]].sum()
    expected = totals["total"] / totals["count"]
    for row in table.itertuples():
        assert row.value == pytest.approx(expected[row.setting, row.contrast], abs=2e-6)  # rounded to 1e-6
    assert table.set_index("contrast").alpha.dropna().to_dict() == ALPHAS
    assert set(table.contrast[table.alpha.isna()]) == {"untrained"}
    assert table[["lower", "upper"]].isna().all(axis=1).tolist() == (table.contrast == "untrained").tolist()
    hard = sums.article == sums.article.iloc[0]
    harder = curve(sums.assign(total=sums.total - 0.2 * hard * sums["count"]), ALPHAS)
    assert (harder.value < table.value).all()
    apart = (harder.upper - harder.lower) - (table.upper - table.lower)
    assert np.nanmax(apart.abs()) < 5e-6  # ends are rounded to 1e-6


def test_over_alpha_draws_the_curve_its_interval_and_the_levels_in_each_setting():
    tables = {title: curve(made_sums([*ALPHAS, "untrained"], seed=n), ALPHAS) for n, title in enumerate("ab")}
    figure = over_alpha(tables, ylabel="recall@1")
    assert titles(figure) == [f"{title}: {setting}" for title in "ab" for setting in SETTINGS]
    for axes, (title, setting) in zip(figure.axes, itertools.product(tables, SETTINGS), strict=True):
        shown = tables[title][tables[title].setting == setting]
        points = shown.dropna().sort_values("alpha")
        line, level = axes.get_lines()
        assert line.get_xydata().tolist() == points[["alpha", "value"]].to_numpy().tolist()
        for row in points.itertuples():
            assert ends(axes.collections[0], row.alpha) == (row.lower, row.upper)
        assert level.get_ydata()[0] == shown.value[shown.alpha.isna()].item() and level.get_linestyle() == ":"
        assert words(axes.texts) == ["untrained"] and axes.get_xticks().tolist() == [0, 0.5, 1]
    assert words(axes.get_xticklabels()) == ["0", "0.5", "1"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["recall@1", "", ""] * 2


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


# Looks


def seen(look):
    return look.marker, look.filled


def test_every_strategy_has_a_look_of_its_own_that_can_be_told_in_grey():
    names = ["untrained", "bm25", "x-x-mono", "hybrid", "hybrid-pairs", "x-y", "x-x", "mix-passages", "mix-entries",
             "round-robin-entries", "en-en", "code-switch"]  # fmt: skip
    looks = looks_of([*names, "untrained, centred", "x-x-mono, centred"])
    assert len({seen(look) for look in looks.values()}) == len(looks)
    assert len({look.colour for look in looks.values()}) == len(names)
    centred = looks["x-x-mono, centred"]
    assert not centred.filled and centred._replace(filled=True) == looks["x-x-mono"] == look_of("x-x-mono")


@pytest.mark.parametrize("name", ["untrained", "bm25", "x-x-mono", "hybrid", "hybrid-pairs", "x-y", "x-x", "en-en",
                                  "mix-passages", "mix-entries", "round-robin-entries", "code-switch"])  # fmt: skip
def test_markers_stand_out_from_white(name):
    # Contrast of graphics by WCAG 2.2, 1.4.11: 3 : 1 at least.
    parts = [int(look_of(name).colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    assert 1.05 / (np.dot([0.2126, 0.7152, 0.0722], linear) + 0.05) >= 3


@pytest.mark.parametrize(
    "labels", [["x-y", "hybrid", "x-x-mono", "x-x"], ["mix-entries", "other", "hybrid", "more"], list("abcd")]
)
def test_other_labels_take_looks_that_are_free_and_too_many_are_refused(labels):
    table = pd.DataFrame({"label": labels, "x": 1, "panel": "p", "value": 0.5, "lower": 0.4, "upper": 0.6})
    drawn = lines(table, x="x", label="label", panel="panel", xlabel="", ylabel="").axes[0].get_lines()
    for look in (Line2D.get_marker, Line2D.get_color):
        assert len({look(line) for line in drawn}) == 4
    for more in (list("vwxyz"), ["hybrid, α = 0.25", "hybrid, α = 0.75"]):
        with pytest.raises(ValueError, match=rf"labels are .*'{more[-1]}'\]; allowed: at most 4 besides strategies"):
            looks_of([*labels, *more])


def test_a_strategy_looks_the_same_in_every_figure(curves):
    table = curves[(curves.setting == "monolingual") & (curves["size"] == 1.0)]
    for strategies in (["x-y", "hybrid", "x-x-mono"], ["hybrid"]):
        shown = table[table.strategy.isin(strategies)]
        drawn = lines(shown, x="size", label="strategy", panel="setting", xlabel="", ylabel="").axes[0].get_lines()
        for line in drawn:
            look = look_of(line.get_label())
            assert (line.get_marker(), to_hex(line.get_color())) == (look.marker, look.colour)


# The forest


@pytest.fixture
def judged():
    """Make the verdicts on three rivals by two measures."""
    rivals = ["x-x-mono", "x-y", "untrained"]
    rows = [
        ("monolingual", "map", -0.004, 0.003, 0.01, "not inferior"),
        ("monolingual", "map", 0.009, 0.004, 0.01, "better"),
        ("monolingual", "map", -0.03, 0.01, 0.01, "worse"),
        ("multilingual", "rank_distance", -90.0, 12.0, 15.0, "better"),
        ("multilingual", "rank_distance", 4.0, 30.0, 9.0, "not told apart"),
        ("multilingual", "rank_distance", -250.0, 20.0, np.nan, "better"),
    ]
    table = pd.DataFrame(rows, columns=["setting", "measure", "value", "half", "margin", "verdict"])
    table = table.assign(lower=table.value - table.half, upper=table.value + table.half, contrast=rivals * 2)
    return table.drop(columns="half")


def test_a_forest_has_a_row_for_each_rival_with_its_interval_verdict_and_margin(judged):
    figure = forest(judged, xlabel="hybrid minus …")
    assert titles(figure) == ["monolingual map", "multilingual rank distance\n(lower is better)"]
    assert words(figure.axes[0].get_yticklabels()) == ["x-x-mono", "x-y", "untrained"]
    assert figure.axes[0].get_ylim() == (2.5, -0.5)  # the first row is on top
    markers = {"better": "^", "not inferior": "o", "not told apart": "D", "worse": "v"}
    for axes, measure in zip(figure.axes, ["map", "rank_distance"], strict=True):
        shown = judged[judged.measure == measure].reset_index(drop=True)
        zero, *drawn = axes.get_lines()
        assert list(zero.get_xdata()) == [0, 0]
        for y, (row, span, point) in enumerate(zip(shown.itertuples(), drawn[::2], drawn[1::2], strict=True)):
            assert span.get_xydata().tolist() == [[row.lower, y], [row.upper, y]]
            assert point.get_xydata().tolist() == [[row.value, y]] and point.get_marker() == markers[row.verdict]
            assert span.get_color() == point.get_color()
        bands = [patch.get_xy() for patch in axes.patches]
        expected = [(-most, most, y - 0.5, y + 0.5) for y, most in enumerate(shown["margin"]) if most > 0]
        assert [(*band[:, 0][:2], band[:, 1].min(), band[:, 1].max()) for band in bands] == expected
        assert axes.get_xlabel() == "hybrid minus …"
    assert words(figure.legends[0].get_texts()) == ["better", "not inferior", "not told apart", "worse"]


def test_a_forest_is_logarithmic_beyond_the_margin_where_differences_are_much_larger(judged):
    # The ends are 0.04, four margins, and 270, thirty margins of 9.
    assert [axes.get_xscale() for axes in forest(judged).axes] == ["linear", "symlog"]
    assert forest(judged).axes[1].xaxis.get_major_formatter()(-100.0, 0) == "−100"
    assert [axes.get_xscale() for axes in forest(judged.drop(columns="margin")).axes] == ["linear", "linear"]


def test_a_forest_names_no_verdict_that_does_not_occur_and_leaves_a_missing_row_empty(judged):
    figure = forest(judged[judged.verdict == "better"])
    assert words(figure.legends[0].get_texts()) == ["better"]
    assert words(figure.axes[0].get_yticklabels()) == ["x-y", "x-x-mono", "untrained"]
    assert [len(axes.get_lines()) for axes in figure.axes] == [3, 5]  # the line at 0, and two for each row


# What cannot be drawn


def draw_lines(table, **given):
    return lines(table, **{"x": "size", "label": "strategy", "panel": "setting", "xlabel": "", "ylabel": ""} | given)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda table: None, "table is None; allowed: an instance of DataFrame"),
        (lambda table: table[:0], "table has no rows; allowed: one or more"),
        (lambda table: table.drop(columns="lower"), r"table \(as returned by .*\) lacks the column 'lower'; it has "),
        (lambda table: table.assign(value=np.nan), "table.value: row 0 is nan, .*; allowed: a finite number"),
        (lambda table: table.assign(upper="1"), "table.upper: row 0 is '1', .*; allowed: a finite number"),
        (lambda table: table.assign(setting=None), "table.setting: row 0 is None, .*; allowed: a value"),
        (
            lambda table: table.assign(setting=[["a"]] * len(table)),
            r"table.setting: row 0 is \['a'\], .*; allowed: a va",
        ),
        (lambda table: table.assign(lower=9.0), "table.lower: row 0 is 9.0, .*; allowed: at most the upper end"),
    ],
)
@pytest.mark.parametrize("kind", ["lines", "forest"])
def test_a_table_that_cannot_be_drawn_is_refused(curves, judged, kind, changed, message):
    draw, table = {"lines": (draw_lines, curves), "forest": (forest, judged)}[kind]
    open_before = plt.get_fignums()
    with pytest.raises(ValueError, match=f"^{message}"):
        draw(changed(table))
    assert plt.get_fignums() == open_before  # nothing was begun


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"row": "rival"}, r"table \(as returned by `verdicts`\) lacks the column 'rival'; it has "),
        ({"row": None}, "row is None; allowed: a text"),
        (
            {"verdict": "good"},
            "table.verdict: row 0 is 'good', .*; allowed: better, not inferior, not told apart, worse",
        ),
        ({"contrast": "x-y"}, "table.contrast: row 1 is 'x-y', row 2 is 'x-y', .*; allowed: one of each in a panel"),
        ({"margin": 0.0}, "table.margin: row 0 is 0.0, .*; allowed: above 0"),
    ],
)
def test_a_forest_needs_one_verdict_in_each_place(judged, given, message):
    row = {name: given[name] for name in ("row",) if name in given}
    columns = {name: value for name, value in given.items() if name != "row"}
    with pytest.raises(ValueError, match=f"^{message}"):
        forest(judged.assign(**columns), **row)


def test_lines_need_numbers_and_on_a_logarithmic_axis_those_above_0(curves):
    with pytest.raises(ValueError, match=r"^table.size: row 0 is 0, .*; allowed: above 0 on a logarithmic axis"):
        draw_lines(curves.assign(size=0), log=True)
    with pytest.raises(ValueError, match=r"^table.size: row 0 is 'a', .*; allowed: a finite number"):
        draw_lines(curves.assign(size="a"))
    with pytest.raises(ValueError, match=r"^log is 'no'; allowed: True or False"):
        draw_lines(curves, log="no")


def test_labels_of_lines_may_be_numbers(curves):
    numbers = {name: n for n, name in enumerate(sorted(set(curves.strategy)))}
    figure = draw_lines(curves.assign(strategy=curves.strategy.astype(str).map(numbers)))
    assert words(figure.legends[0].get_texts()) == [str(number) for number in numbers.values()]


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        (None, "panels is None; allowed: a name and a value for each"),
        ({}, "panels are {}; allowed: one table or more, by title"),
        ({"a": pd.DataFrame()}, r"panels\['a'\] \(as returned by `curve`\) lacks the column 'setting'; it has \[\]"),
        ({"a": None}, "panels.a is None; allowed: an instance of DataFrame"),
    ],
)
def test_panels_over_alpha_are_tables_by_title(panels, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        over_alpha(panels)


def test_a_panel_over_alpha_has_numbers():
    table = curve(made_sums(list(ALPHAS)), ALPHAS)
    for column, message in (
        ("alpha", r"^panels\['a'\].alpha: row 0 is 'x', .*; allowed: a finite number or none"),
        ("value", r"^panels\['a'\].value: row 0 is 'x', .*; allowed: a finite number$"),
    ):
        with pytest.raises(ValueError, match=message):
            over_alpha({"a": table.assign(**{column: "x"})})
    with pytest.raises(ValueError, match=r"^panels\['a'\] has no rows; allowed: one or more"):
        over_alpha({"a": table[:0]})


@pytest.mark.parametrize(
    ("alphas", "message"),
    [
        ({}, "sums are of map, and alphas are {}; allowed: one measure, and an alpha"),
        ({"hybrid": 7}, "alphas.hybrid is 7; allowed: less than or equal to 1"),
        (["hybrid"], r"alphas is \['hybrid'\]; allowed: a name and a value for each"),
    ],
)
def test_a_curve_is_over_alphas(alphas, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        curve(made_sums(list(ALPHAS)), alphas)


def test_a_curve_is_of_one_measure():
    sums = made_sums(list(ALPHAS))
    with pytest.raises(ValueError, match=r"^sums are of map, recall@1, and alphas are "):
        curve(pd.concat([sums, sums.assign(measure="recall@1")]), ALPHAS)
    with pytest.raises(ValueError, match=r"^sums has no rows; allowed: one or more"):
        curve(sums[:0], ALPHAS)


@pytest.mark.parametrize("name", ["", "a.png", "folder.svg", None])
def test_a_figure_is_saved_as_svg_alone(judged, tmp_path, name):
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(
        ValueError, match=r"^path is .*; allowed: (a file that ends in .svg|the path of a file or a fol)"
    ):
        save(forest(judged), tmp_path / name if name else name)
    with pytest.raises(ValueError, match=r"^figure is None; allowed: an instance of Figure"):
        save(None, tmp_path / "a.svg")


@pytest.mark.parametrize("kind", ["lines", "forest", "over_alpha"])
def test_a_figure_is_saved_as_the_same_bytes_under_its_name_alone(curves, judged, tmp_path, kind):
    figure = {
        "lines": lambda: lines(curves, x="size", label="strategy", panel="setting", xlabel="", ylabel="", log=True),
        "forest": lambda: forest(judged),
        "over_alpha": lambda: over_alpha({"a": curve(made_sums(list(ALPHAS)), ALPHAS)}),
    }[kind]
    paths = [tmp_path / "deep" / name for name in ("a.svg", "b.svg")]
    for path in paths:
        save(figure(), path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second and b"<svg" in first
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["a.svg", "b.svg"]
    for varying in (b"<image", b"dc:date", b"Matplotlib v"):
        assert varying not in first


def test_what_differs_in_the_last_digits_is_saved_as_the_same_bytes(curves, tmp_path):
    # So small are the differences between processors; matplotlib prints six digits, and names parts by all of them.
    saved = set()
    for factor in (1.0, 1.0 + 1e-13):
        table = curves.assign(value=curves.value * factor, size=curves["size"] * factor)
        figure = lines(table, x="size", label="strategy", panel="setting", xlabel="", ylabel="")
        figure.set_size_inches(7.0 * factor, 3.0 * factor)
        save(figure, tmp_path / "a.svg")
        saved.add((tmp_path / "a.svg").read_bytes())
    assert len(saved) == 1


def test_a_name_is_replaced_wherever_it_is_used_and_short_numbers_stay():
    assert steady('<g id="C0_0_ab12345678" x="12.25 0.085 7 99999.12345"/><use href="#C0_0_ab12345678"/>') == (
        '<g id="n0" x="12.25 0.085 7 99999"/><use href="#n0"/>'
    )


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


@pytest.mark.parametrize("tables", [{}, {"a": pd.DataFrame()}, {"a": pd.DataFrame([[np.nan, None]])}])
def test_tables_without_a_number_are_refused(tables):
    with pytest.raises(ValueError, match=r"^tables"):
        matrices(tables, row="", column="", title="")
