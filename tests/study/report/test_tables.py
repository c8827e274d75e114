"""Tests of tables: what they show, in which order, and nothing where nothing is there."""

import pandas as pd
import pytest
from made_sums import made_sums
from small_runs import FURTHER, RUN, TEST, changed, keep

from hybridlib.paths import params_path
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report import tables
from hybridlib.study.report.claims import Claim, minus
from hybridlib.study.report.contrasts import differences
from hybridlib.study.report.findings import check_claims
from hybridlib.study.report.paper import paper_mean
from hybridlib.study.run import Trial

MEANS = {"untrained": 0.4, "x-x-mono": 0.5, "hybrid": 0.55}
MAIN = pd.concat(
    [
        made_sums(MEANS, spread=0.02),
        made_sums(MEANS, setting="multilingual", spread=0.02),
        made_sums(
            {name: 1000 * value for name, value in MEANS.items()}, setting="multilingual", measure="rank_distance"
        ),
    ]
)
CLAIMS = (
    Claim("It is so", "main", "monolingual", "map", minus("hybrid", "x-x-mono"), kind="primary"),
    Claim("So is this", "main", "multilingual", "rank_distance", minus("untrained", "hybrid")),
    Claim("Nobody knows", "another table", "monolingual", "map", minus("hybrid", "x-y")),
)
E5, EMBEDDED = (QUESTIONS["batch_ratio"].from_yaml(params_path(name, "batch_ratio")) for name in ("e5", "embedded"))


def cells(styled):
    """Return the cells of a table as they are shown, by column."""
    return {name: [str(value) for value in column] for name, column in styled.data.items()}


def test_the_overview_has_a_row_for_every_strategy_and_the_papers_figures_beside():
    shown = tables.overview({"XQuAD-R": tables.Shown(MAIN, tables.QUALITY, "xquad-r")})
    table = shown.data
    assert table.index.tolist() == ["untrained", "x-x-mono", "hybrid"]
    assert table["XQuAD-R", "mono map"].tolist() == pytest.approx([0.4, 0.5, 0.55])
    assert table["XQuAD-R", "rank distance"].tolist() == pytest.approx([400, 500, 550])
    paper = table["XQuAD-R", "paper"]  # beside map within a language
    assert pd.isna(paper["untrained"])  # the paper has no such row
    assert paper["hybrid"] == pytest.approx(paper_mean("xquad-r", "xlm-r", "map", "monolingual", "hybrid"), abs=5e-5)
    html = shown.to_html()
    assert ">0.550<" in html and ">550<" in html and tables._GREY in html


def test_the_overview_of_several_data_sets_leaves_blank_what_a_set_lacks():
    parts = {
        "A": tables.Shown(MAIN, tables.QUALITY[:1]),
        "B": tables.Shown(made_sums({"hybrid": 0.7, "x-y": 0.6}), tables.QUALITY[:2]),
    }
    table = tables.overview(parts).data
    assert table.index.tolist() == ["untrained", "x-x-mono", "hybrid", "x-y"]
    assert list(table.columns) == [("A", "mono map"), ("B", "mono map")]  # none is cross-lingual
    assert table["B", "mono map"].isna().tolist() == [True, True, False, False]


def test_means_stand_in_a_block_for_every_value_of_a_column():
    both = pd.concat([MAIN.assign(temperature=0.02), made_sums({"hybrid": 0.6}).assign(temperature=0.05)])
    table = tables.means_table(both, "temperature").data
    assert table.index.tolist() == ["untrained", "x-x-mono", "hybrid"]
    assert table["0.02", "monolingual"].tolist() == pytest.approx([0.4, 0.5, 0.55])
    assert table["0.05", "monolingual"]["hybrid"] == pytest.approx(0.6)
    assert tables.means_table(both[:0], "temperature") is None


def test_several_measures_of_a_setting_stand_side_by_side():
    table = tables.measures_table(MAIN, "multilingual").data
    assert set(table.columns) == {"map", "rank_distance"}
    assert table.loc["hybrid"].to_dict() == pytest.approx({"map": 0.55, "rank_distance": 550})


def test_differences_are_shown_with_signs_and_ranks_with_one_digit():
    found = differences(MAIN, {"hybrid minus x-x-mono": minus("hybrid", "x-x-mono")})
    html = tables.show_differences(found).to_html()
    assert "+0.0500" in html and "+50.0" in html and "worse" in html  # more rank distance is worse
    assert "p_margin" not in html
    assert tables.show_differences(found[:0]) is None


def test_claims_are_shown_with_verdicts_and_without_in_a_demonstration():
    checked = check_claims(CLAIMS, {"main": MAIN})
    html = tables.show_claims(E5, checked).to_html()
    assert "It is so" in html and "primary" in html and "Nobody knows" not in html
    html = tables.show_claims(EMBEDDED, checked).to_html()
    assert "It is so" in html and not any(word in html for word in ("primary", "yes", "better", "holds"))


def test_the_table_that_is_compared_says_which_claim_holds_but_in_a_demonstration():
    checked = check_claims(CLAIMS, {"main": MAIN})
    assert tables.verdicts_of(E5, checked).holds.to_dict() == {"It is so": "yes", "So is this": "yes"}
    shown = tables.verdicts_of(EMBEDDED, checked)
    assert list(shown.index) == ["It is so", "So is this"] and list(shown.columns) == ["measure"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tables.shown("xquad-r", {}), r"sums lacks the column 'main'; it has \[\]"),
        (lambda: tables.overview({"A": MAIN}), "parts.A is a table of shape "),
        (lambda: tables.means_table(MAIN, "temperature"), r"sums .* lacks the column 'temperature'; it has "),
        (lambda: tables.measures_table(MAIN, "mono"), "setting is 'mono'; allowed: 'monolingual', 'cross-lingual' or"),
        (lambda: tables.show_differences(MAIN), r"found \(as returned by `differences`\) lacks the column 'contrast';"),
        (lambda: tables.show_claims(None, MAIN), "params is None; allowed: "),
    ],
)
def test_what_cannot_be_shown_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


# Where the runs are from


class FewRuns(QUESTIONS["batch_ratio"]):
    """Parameters of three runs that can be kept without being computed."""

    def trials(self):
        labels = {"fold": -1, "seed": 0}
        return [
            Trial({"strategy": "hybrid", **labels}, RUN),
            Trial({"strategy": "hybrid", **labels, "temperature": 0.1}, changed(RUN, temperature=0.1)),
            Trial({"strategy": "x-y", **labels}, changed(RUN, strategy="x-y", alpha=0.0, tests=(TEST, FURTHER))),
        ]


def test_the_state_says_how_many_runs_are_there_and_names_those_that_wait(tmp_path, monkeypatch):
    params = FewRuns.from_yaml(params_path("embedded", "batch_ratio"))
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    said = tables.state_of(params)
    assert said.startswith(
        "0 of 3 runs are there.\n- Not computed yet: hybrid (1); hybrid, temperature 0.1 (1); x-y (1)."
    )
    assert "`make reproduce PROFILE=embedded COMPUTE=1` computes them." in said
    keep(RUN)
    keep(params.trials()[2].run, TEST)  # one of two tests
    said = tables.state_of(params)
    assert said.startswith("1 of 3 runs are there.\n- 1: ")
    assert "- Not computed yet: hybrid, temperature 0.1 (1); x-y (1)." in said
    for trial in params.trials():
        keep(trial.run)
    said = tables.state_of(params)
    assert said.startswith("3 of 3 runs are there.\n- 3: ") and "Not computed" not in said
