"""Tables of a notebook, made from the sums by article: frames to look at, or None where nothing is there; heat maps."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from hybridlib.arguments import Name, checked, told
from hybridlib.data.checks import check_columns
from hybridlib.names import SETTINGS
from hybridlib.study.params import Params
from hybridlib.study.report.contrasts import means_of
from hybridlib.study.report.effects import effects
from hybridlib.study.report.findings import WITHOUT_SEEDS, Prose
from hybridlib.study.report.paper import paper_figures
from hybridlib.study.report.results import check_table, waiting
from hybridlib.study.report.style import STYLE
from hybridlib.study.report.words import of_cells
from hybridlib.study.run import Run
from hybridlib.study.runs import store

_LEFT: dict[str, Any] = {"text-align": "left"}
_GREY = "color: #767676"
_NARROW = [
    {"selector": "th.row_heading", "props": "text-align: left; white-space: nowrap"},
    {"selector": "th, td", "props": "padding: 3px 5px"},
]
_MAP_STYLE: dict[Any, Any] = {**STYLE, "axes.grid": False, "font.size": 8}
_TITLES = {"xquad-r": "XQuAD-R, held-out articles", "mlqa-r": "MLQA-R", "miracl": "MIRACL"}
# Columns need different names; these blanks do not show.
_PADS = dict(zip(SETTINGS, ("", " ", "  "), strict=True))


class Shown(NamedTuple):
    """A data set of the overview: its sums, the measures shown, and the name by which the paper has figures of it."""

    sums: pd.DataFrame
    measures: Sequence[tuple[str, str]]  # setting, measure
    paper: str = ""


# The measures that the overview shows: quality in three settings, and language bias.
QUALITY = (
    ("monolingual", "map"),
    ("cross-lingual", "map"),
    ("multilingual", "map"),
    ("multilingual", "rank_distance"),
)


@checked
def shown(task: str, sums: Mapping[str, pd.DataFrame]) -> dict[str, Shown]:
    """Return what there is of the data sets of a notebook: the main one, MLQA-R, and Tatoeba's recall."""
    check_columns("sums", list(sums), ["main"])
    parts = {_TITLES.get(task, task): Shown(sums["main"], QUALITY, task)}
    if "mlqa-r" in sums:
        parts["MLQA-R"] = Shown(sums["mlqa-r"], QUALITY, "mlqa-r")
    if "tatoeba" in sums:
        parts["Tatoeba"] = Shown(sums["tatoeba"], [("cross-lingual", "recall@1")])
    return parts


@checked
def overview(parts: Mapping[str, Shown]) -> Styler:
    """Show the mean of every strategy by measure and data set; the paper's map for XLM-R stands beside in grey."""
    columns: dict[tuple[str, str], pd.Series] = {}
    for title, part in parts.items():
        found = effects(part.sums, means_of(part.sums), without_seeds=WITHOUT_SEEDS)
        for setting, measure in part.measures:
            chosen = found[(found.setting == setting) & (found.measure == measure)].set_index("contrast").value
            columns[title, _heading(setting, measure)] = chosen
            if measure == "map" and part.paper:
                columns[title, "paper" + _PADS[setting]] = _paper(part.paper, setting, measure)
    order = dict.fromkeys(name for part in parts.values() for name in part.sums.strategy)
    table = pd.DataFrame({name: column for name, column in columns.items() if len(column)}).reindex(list(order))
    table = table.rename_axis(index=None)
    ranks = [name for name in table.columns if "distance" in name[1]]
    grey = [name for name in table.columns if name[1].startswith("paper")]
    styled: Any = table.style.format("{:.3f}", na_rep="")
    styled = styled.format("{:.0f}", subset=ranks, na_rep="")
    styled = styled.map(lambda _: _GREY, subset=grey) if grey else styled
    return styled.set_table_styles(_NARROW)


@checked
def means_table(sums: pd.DataFrame, column: Name, *, measure: Name = "map") -> Styler | None:
    """Show the means of every strategy in each setting, a block of columns for every value of another column."""
    if sums.empty:
        return None
    check_columns("sums (as returned by `read_sums`)", list(sums.columns), [column, "measure"])
    chosen = sums[sums.measure == measure]
    if pd.api.types.is_float_dtype(chosen[column]):
        chosen = chosen.assign(**{column: chosen[column].map("{:g}".format)})
    found = effects(chosen, means_of(chosen), by=("setting", column), without_seeds=WITHOUT_SEEDS)
    table = found.pivot(index="contrast", columns=[column, "setting"], values="value")
    table = table.reindex(list(dict.fromkeys(chosen.strategy))).sort_index(axis=1, level=0, sort_remaining=False)
    return table.rename_axis(index=None).style.format("{:.0f}" if measure == "rank_distance" else "{:.4f}", na_rep="")


@checked
def measures_table(sums: pd.DataFrame, setting: Literal["monolingual", "cross-lingual", "multilingual"]) -> Styler:
    """Show the means of every strategy by several measures in one setting."""
    check_columns("sums (as returned by `read_sums`)", list(sums.columns), ["setting"])
    chosen = sums[sums.setting == setting]
    found = effects(chosen, means_of(chosen), without_seeds=WITHOUT_SEEDS)
    table = found.pivot(index="contrast", columns="measure", values="value").reindex(list(means_of(chosen)))
    return table.rename_axis(index=None, columns=None).style.format("{:.3f}", na_rep="")


@checked
def show_differences(found: pd.DataFrame) -> Styler | None:
    """Show contrasts: the difference with its interval and p, and the verdict."""
    if found.empty:
        return None
    check_table(found, "found", "differences", ["contrast", "measure"], ["value", "lower", "upper", "p"])
    shown = [name for name in found.columns if name not in ("sd", "margin", "p_margin", "not_inferior", "part")]
    return _signed(found[shown].reset_index(drop=True), "value")


@checked
def show_claims(params: Params, claims: pd.DataFrame) -> Styler:
    """Show every claim that could be computed with its difference; of the embedded corpus without a verdict."""
    there = claims[claims.holds != "not computed"].reset_index(drop=True)
    hidden = ["on", "setting", *(["verdict", "holds", "paper", "kind"] if params.is_demonstration else [])]
    return _signed(there.drop(columns=hidden), "difference")


def _signed(table: pd.DataFrame, value: str) -> Styler:
    """Show differences and their intervals with a sign, rank distances with one digit."""
    numbers: Any = [value, "lower", "upper"]
    ranks = pd.IndexSlice[table.index[table.measure == "rank_distance"], numbers]
    styled: Any = table.style.hide().format("{:+.4f}", subset=numbers).format("{:.1g}", subset=["p"])
    return styled.format("{:+.1f}", subset=ranks).set_properties(**_LEFT)


@checked
def verdicts_of(params: Params, claims: pd.DataFrame) -> pd.DataFrame:
    """Return which claim holds, for a cell that the tests compare; of the embedded corpus only what was computed."""
    there = claims[claims.holds != "not computed"]
    return there[["claim", "measure"] if params.is_demonstration else ["claim", "kind", "holds"]].set_index("claim")


@checked
def state_of(params: Params) -> Prose:
    """Say in Markdown how many runs are there, by what they were computed, and how many wait to be computed."""
    runs = params.runs()
    there = [run for run in runs if store.is_finished(run)]
    lines = [f"{len(there)} of {len(runs)} runs are there."]
    for origin, count in _origins(there).items():
        lines.append(f"- {count}: {origin}")
    missing = waiting(params.trials())
    if missing:
        counts = pd.Series([trial.name for trial in missing]).value_counts(sort=False)
        named = "; ".join(f"{name} ({count})" for name, count in counts.items())
        lines.append(f"- Not computed yet: {named}. `make reproduce PROFILE={params.profile} COMPUTE=1` computes them.")
    return Prose("\n".join(lines))


def _origins(runs: Sequence[Run]) -> dict[str, int]:
    """Return by what runs were computed, and how many by each."""
    counts: dict[str, int] = {}
    for run in runs:
        computed = next(iter(store.record_of(run)["tests"].values()))["computed"]
        packages = computed["packages"]
        versions = [f"{name} {packages[name]}" for name in ("torch", "sentence-transformers") if name in packages]
        said = ", ".join([computed["date"], computed["device"], *versions])
        counts[said] = counts.get(said, 0) + 1
    return counts


def _heading(setting: str, measure: str) -> str:
    short = dict(zip(SETTINGS, ("mono", "cross", "multi"), strict=True))[setting]
    return "rank distance" if measure == "rank_distance" else f"{short} {measure}"


def _paper(task: str, setting: str, measure: str) -> pd.Series:
    """Return the paper's means for XLM-R by strategy."""
    rows = paper_figures()
    chosen = rows[
        (rows.task == task) & (rows.encoder == "xlm-r") & (rows.setting == setting) & (rows.measure == measure)
    ]
    return chosen.groupby("strategy").value.mean()


@checked
def matrices(
    tables: Mapping[str, pd.DataFrame], *, row: str, column: str, title: str, around_zero: bool = False
) -> Figure:
    """Draw tables as heat maps side by side on one scale; small ones have their numbers.

    Args:
        tables: by title; a cell without a value is grey.
        row, column: names of what rows and columns are.
        title: names the colour bar.
        around_zero: whether gains and losses are told apart, at 0; a loss has a minus sign.

    Raises:
        ValueError: there is no table, or one has no finite number.
    """
    for name, table in tables.items():
        if not np.isfinite(table.to_numpy(dtype=float, na_value=np.nan)).any():
            raise ValueError(f"tables: {told(name)} holds no finite number; allowed: one or more")
    if not tables:
        raise ValueError("tables is empty; allowed: one or more")
    highest = max(float(np.nanmax(np.abs(table.to_numpy()))) for table in tables.values())
    shape = next(iter(tables.values())).shape
    numbers = shape[0] <= 8
    cell = 0.62 if numbers else 0.17
    palette = sns.color_palette("vlag_r" if around_zero else "cividis", as_cmap=True)
    size = (1.9 + len(tables) * (0.5 + cell * shape[1]), 1.5 + cell * shape[0])
    with plt.rc_context(_MAP_STYLE):
        figure, grid = plt.subplots(1, len(tables), figsize=size, sharey=True, squeeze=False)
        for axes, (name, table) in zip(grid[0], tables.items(), strict=True):
            sns.heatmap(
                table, ax=axes, cmap=palette, vmin=-highest if around_zero else 0, vmax=highest, square=True,
                annot=numbers, fmt="+.3f" if around_zero else ".2f", annot_kws={"fontsize": 7}, cbar=False,
                linewidths=0.5,
            )  # fmt: skip
            axes.set(title=name, xlabel=column, ylabel="", facecolor="0.8")
            if around_zero and not numbers:
                for y, x in np.argwhere(table.to_numpy() < 0):
                    axes.text(x + 0.5, y + 0.5, "−", ha="center", va="center", fontsize=7)
            axes.tick_params(length=0)
        grid[0, 0].set_ylabel(row)
        bar = figure.colorbar(grid[0, 0].collections[0], ax=grid, label=title, shrink=0.7, aspect=30)
        assert bar.solids is not None
        bar.solids.set_rasterized(False)  # pixels would be compressed, not everywhere into the same bytes
    figure.set_label(of_cells(tables, row, column, title))
    return figure
