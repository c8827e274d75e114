"""Heat maps show the tables that they are drawn from."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from hybridlib.study.report.tables import matrices


@pytest.fixture(autouse=True)
def closed():
    """Close the figures, which pyplot keeps."""
    yield
    plt.close("all")


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def words(texts):
    return [text.get_text() for text in texts]


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
