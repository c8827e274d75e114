"""Tests of figures of points with names: where points and ellipses are, and that names cover nothing."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Polygon
from report_tables import made_sums

from hybridlib.study.report.effects import joint
from hybridlib.study.report.figures import save
from hybridlib.study.report.planes import ellipse, gain_by_pair, place_names, plane, positions
from hybridlib.study.report.style import look_of

matplotlib.use("agg")
NAMES = ["x-y", "hybrid, α = 0.25", "hybrid", "x-x-mono", "x-x, centred", "untrained"]


@pytest.fixture(autouse=True)
def closed():
    """Close the figures, which pyplot keeps."""
    yield
    plt.close("all")


def table_of(places: dict[str, tuple[float, float]], variance: float = 4e-6) -> pd.DataFrame:
    """Make what `positions` returns: each strategy at its place, with an ellipse of the same size."""
    table = pd.DataFrame.from_dict(places, orient="index", columns=["x", "y"]).rename_axis("contrast").reset_index()
    spread = {"variance_x": variance, "variance_y": 9 * variance, "covariance": variance, "radius": 2.5}
    return table.assign(measure="map", **spread)


PLACES = {
    "x-y": (0.82, 0.65),
    "hybrid, α = 0.25": (0.824, 0.649),
    "hybrid": (0.83, 0.647),
    "x-x-mono": (0.834, 0.58),
    "x-x, centred": (0.81, 0.3),
    "untrained": (0.81, 0.35),
}


# Positions


def test_positions_are_means_and_their_spread_is_that_of_the_distance_from_the_reference():
    sums = made_sums(NAMES)
    table = positions(sums, without_seeds=["untrained"]).set_index("contrast")
    assert list(table.index) == NAMES
    means = joint(sums, {"untrained": {"untrained": 1}}, without_seeds=["untrained"]).iloc[0]
    assert table.loc["untrained", ["x", "y"]].tolist() == means[["x", "y"]].tolist()
    distance = joint(sums, {"": {"untrained": 1, "hybrid": -1}}, without_seeds=["untrained"]).iloc[0]
    spread = ["variance_x", "variance_y", "covariance", "radius"]
    assert table.loc["untrained", spread].tolist() == distance[spread].tolist()
    assert table.loc["hybrid", spread].tolist() == [0, 0, 0, 0]
    # Articles differ by .1 and what is left by .01, so distances are much surer than means.
    assert means.variance_x > 10 * distance.variance_x > 0


def test_the_reference_alone_has_a_place_and_one_that_is_not_in_both_settings_is_refused():
    (alone,) = positions(made_sums(["hybrid"])).to_dict("records")
    assert alone["contrast"] == "hybrid" and alone["variance_x"] == alone["radius"] == 0
    sums = made_sums(["hybrid", "x-y"])
    with pytest.raises(ValueError, match=r"^reference is 'x-x'; allowed, as in both settings: hybrid, x-y"):
        positions(sums, reference="x-x")
    with pytest.raises(ValueError, match=r"^reference is 'hybrid'; allowed, as in both settings: $"):
        positions(sums[sums.setting == "monolingual"])
    with pytest.raises(ValueError, match=r"^sums has no rows; allowed: one or more"):
        positions(sums[:0])


def test_a_strategy_that_is_not_in_both_settings_is_left_out():
    sums = made_sums(["hybrid", "x-y", "bm25"])
    sums = sums[(sums.strategy != "bm25") | (sums.setting == "monolingual")]
    assert positions(sums).contrast.tolist() == ["hybrid", "x-y"]


@pytest.mark.parametrize("covariance", [0.0, 3e-5, -6e-5])
def test_every_point_of_an_ellipse_is_at_the_radius_by_mahalanobis(covariance):
    place = pd.Series({"x": 0.5, "y": 0.2, "variance_x": 1e-4, "variance_y": 4e-5, "covariance": covariance})
    x, y = ellipse(pd.concat([place, pd.Series({"radius": 2.5})]))
    off = np.stack([x - 0.5, y - 0.2])
    inverse = np.linalg.inv([[1e-4, covariance], [covariance, 4e-5]])
    # Points are rounded to 1e-6. The shortest axis is of .0025 at least, so this is 4e-4 of it.
    assert np.sqrt((off * (inverse @ off)).sum(axis=0)) == pytest.approx(np.full(61, 2.5), rel=1e-3)


# The plane


def parts(figure, column: int):
    """Return the upper and the lower part of a panel."""
    grid = [axes for axes in figure.axes if axes.get_subplotspec().colspan.start == column]
    return sorted(grid, key=lambda axes: axes.get_subplotspec().rowspan.start)


def markers(axes) -> dict[str, tuple[float, float]]:
    return {line.get_label(): tuple(line.get_xydata()[0]) for line in axes.get_lines() if line.get_label() in PLACES}


def test_the_plane_has_every_strategy_at_its_place_in_the_part_where_it_belongs():
    figure = plane({"one": table_of(PLACES), "other": table_of(PLACES)}, path=["x-y", "hybrid", "x-x-mono"])
    for column, title in enumerate(["one", "other"]):
        upper, lower = parts(figure, column)
        assert upper.get_title(loc="left") == title
        # The upper quarter of the range of y, .3 to .65, begins at .5625.
        assert markers(upper) == {name: place for name, place in PLACES.items() if place[1] > 0.5625}
        assert markers(lower) == {name: place for name, place in PLACES.items() if place[1] < 0.5625}
        names = [text.get_text() for axes in (upper, lower) for text in axes.texts]
        assert names == ["x-y", "α = 0.25", "hybrid", "x-x-mono", "x-x, centred", "untrained"]
        assert upper.get_lines()[0].get_xydata().tolist() == [[0.82, 0.65], [0.83, 0.647], [0.834, 0.58]]
        for axes in (upper, lower):
            low, high = axes.get_ylim()
            drawn = [patch for patch in axes.patches if isinstance(patch, Polygon)]
            assert len(drawn) == len(markers(axes))
            for patch, (name, place) in zip(drawn, markers(axes).items(), strict=True):
                corners = patch.get_xy()
                assert low < corners[:, 1].min() and corners[:, 1].max() < high
                # Half the width is the radius times the standard deviation, 2.5 * .002.
                assert (
                    np.ptp(corners[:, 0]) == pytest.approx(0.01, rel=1e-3)
                    and abs(corners[:, 0].mean() - place[0]) < 1e-3
                )
                (point,) = (line for line in axes.get_lines() if line.get_label() == name)
                assert point.get_marker() == look_of(name).marker
                assert (point.get_markerfacecolor() == "white") == (not look_of(name).filled)


def test_a_plane_of_one_strategy_has_it_in_the_upper_part():
    upper, lower = parts(plane({"": table_of({"hybrid": (0.8, 0.6)}, variance=0.0)}), 0)
    assert list(markers(upper)) == ["hybrid"] and not markers(lower)


# Gains by pair of languages


@pytest.fixture
def gains():
    codes = ["de", "en", "ru", "el", "vi"]
    table = pd.MultiIndex.from_product([codes, codes], names=["query_language", "passage_language"]).to_frame(
        index=False
    )
    untrained, gain = np.random.default_rng(3).random((2, len(table)))
    return table.assign(untrained=untrained, gain=gain - 0.3)


def test_gains_are_drawn_by_kind_of_pair_and_the_notable_are_named(gains):
    figure = gain_by_pair(gains, notable=2, xlabel="before", ylabel="gain")
    (axes,) = figure.axes
    _, *kinds = axes.get_lines()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [line.get_label() for line in kinds]
    # 5 pairs are of one language; de, en and vi are in Latin script, in 6 ordered pairs; the other 14 are not.
    assert [len(line.get_xdata()) for line in kinds] == [5, 6, 14]
    assert len({line.get_marker() for line in kinds}) == 3
    drawn = np.concatenate([line.get_xydata() for line in kinds])
    expected = gains[["untrained", "gain"]].round(5).to_numpy()
    assert sorted(map(tuple, drawn.tolist())) == sorted(map(tuple, expected.tolist()))
    order = gains.sort_values("gain")
    ends = pd.concat([order.head(2), order.tail(2).iloc[::-1]])
    pairs = zip(ends.query_language, ends.passage_language, strict=True)
    assert [text.get_text() for text in axes.texts] == [q if q == p else f"{q}-{p}" for q, p in pairs]
    assert [text.xy for text in axes.texts] == [tuple(row) for row in ends[["untrained", "gain"]].round(5).to_numpy()]
    assert axes.get_xlabel() == "before" and axes.get_ylabel() == "gain"


def test_languages_whose_script_is_not_known_are_in_other_scripts():
    pairs = pd.DataFrame({"query_language": ["xx", "xx", "de"], "passage_language": ["yy", "xx", "zh-Hant"]})
    figure = gain_by_pair(pairs.assign(untrained=[0.1, 0.2, 0.3], gain=0.1))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["one language", "two languages, other scripts"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda table: table[:0], "table has no rows; allowed: one or more"),
        (
            lambda table: table.drop(columns="gain"),
            r"table \(as returned by `pair_gains`\) lacks the column 'gain'; it",
        ),
        (lambda table: table.assign(untrained=None), "table.untrained: row 0 is None, .*; allowed: a finite number"),
        (
            lambda table: table.assign(query_language=3),
            "table.query_language: row 0 is 3, .*; allowed: the code of a la",
        ),
        (lambda table: table.to_numpy(), "table is an array of object of shape .*; allowed: an instance of DataFrame"),
    ],
)
def test_gains_that_cannot_be_drawn_are_refused(gains, changed, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        gain_by_pair(changed(gains))


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, "panels are {}; allowed: one table or more, by title"),
        (
            {"a": pd.DataFrame({"contrast": []})},
            r"panels\['a'\] \(as returned by `positions`\) lacks the column 'x'; it has ",
        ),
        (
            {"a": table_of({"hybrid": (np.nan, 0.5)}, variance=0.0)},
            r"panels\['a'\].x: row 0 is nan; allowed: a finite number",
        ),
    ],
)
def test_a_plane_needs_a_place_for_each_strategy(panels, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        plane(panels)


# Names


def overlaps(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two boxes share more than a hair: left, bottom, right, top."""
    return bool((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) > 0.2).all())


@given(seed=st.integers(0, 999), names=st.integers(1, 12), others=st.integers(0, 12))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_names_cover_neither_each_other_nor_points_and_stay_in_the_frame(seed, names, others):
    rng = np.random.default_rng(seed)
    frame = np.array([50.0, 40.0, 450.0, 340.0])
    points = rng.uniform(frame[:2] + 10, frame[2:] - 10, (names + others, 2))
    sizes = np.stack([rng.uniform(10, 90, names), np.full(names, 10.0)], axis=1)
    offsets = place_names(points[:names], sizes, frame, points[names:])
    middles = points[:names] + offsets
    boxes = np.concatenate([middles - sizes / 2, middles + sizes / 2], axis=1)
    assert (boxes[:, :2] > frame[:2] - 1).all() and (boxes[:, 2:] < frame[2:] + 1).all()
    for n, box in enumerate(boxes):
        assert not any(overlaps(box, other) for other in boxes[n + 1 :])
        assert not any(overlaps(box, np.concatenate([point - 2, point + 2])) for point in points)


def test_a_name_stands_beside_its_point_where_there_is_room():
    frame, point, size = np.array([0, 0, 400, 300.0]), np.array([[200.0, 150.0]]), np.array([[40.0, 10.0]])
    (offset,) = place_names(point, size, frame, np.empty((0, 2)))
    assert (np.abs(offset) - size[0] / 2).max() <= 7
    # On the right there is none.
    (offset,) = place_names(np.array([[397.0, 150.0]]), size, frame, np.empty((0, 2)))
    assert offset[0] <= -17


@pytest.mark.parametrize("kind", ["plane", "gain_by_pair"])
def test_a_figure_of_names_is_saved_as_the_same_bytes(gains, tmp_path, kind):
    draw = {
        "plane": lambda: plane({"a": table_of(PLACES)}, path=list(PLACES)),
        "gain_by_pair": lambda: gain_by_pair(gains),
    }
    paths = [tmp_path / f"{number}.svg" for number in range(2)]
    for path in paths:
        save(draw[kind](), path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
