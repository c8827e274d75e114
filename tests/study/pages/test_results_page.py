"""Tests of the page of results: it is made from what the notebooks have written, and refuses to guess the rest."""

import pandas as pd
import pytest
from made_sums import made_sums

from hybridlib.paths import figure_path, findings_path, results_path
from hybridlib.study.pages.results import overview_in_markdown, readme_part, results_page, write_pages
from hybridlib.study.questions import QUESTIONS
from hybridlib.study.report.results import write_sums

MEANS = {"hybrid": 0.55, "untrained": 0.4}
MARKS = "<!-- results: made by `hybridlib results`, and compared by a test -->", "<!-- end of results -->"
README = f"Before.\n\n{MARKS[0]}\nold\n{MARKS[1]}\nAfter.\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose notebooks have been run."""
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text(README)
    ranks = {name: 1000 * value for name, value in MEANS.items()}
    sums = [made_sums(MEANS), made_sums(MEANS, setting="multilingual"), made_sums(MEANS, setting="cross-lingual")]
    tatoeba = made_sums(MEANS, measure="recall@1", setting="cross-lingual").assign(cell=1)
    main = pd.concat([*sums, made_sums(ranks, setting="multilingual", measure="rank_distance")])
    write_sums(results_path("made", "batch_ratio"), {"main": main, "mlqa-r": pd.concat(sums), "tatoeba": tatoeba})
    for name in QUESTIONS:
        path = findings_path("made", name)
        path.write_text(
            f"**Is it so? Yes.**\n\n- It is: +.1. Paper: +.2.\n\nAll findings:\n\n- (primary) {name} it is.\n"
        )
    for name in ("batch_ratio-plane", "batch_ratio-who_gains", "domain_data-forest"):
        path = figure_path("made", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("<svg/>")
    return tmp_path


def test_the_table_has_the_untrained_encoder_first_and_a_column_for_every_measure_and_data_set(project):
    head, rule, *rows = overview_in_markdown("made").splitlines()
    assert head.split(" | ")[1:] == [
        "mono map", "cross map", "multi map", "rank distance", "MLQA-R mono map", "MLQA-R cross map",
        "MLQA-R multi map", "Tatoeba recall@1 |",
    ]  # fmt: skip
    assert rule.count("---:") == 8
    assert rows == [
        "| `untrained` | 0.400 | 0.400 | 0.400 | 400 | 0.400 | 0.400 | 0.400 | 0.400 |",
        "| `hybrid` | 0.550 | 0.550 | 0.550 | 550 | 0.550 | 0.550 | 0.550 | 0.550 |",
    ]


def test_the_page_has_of_every_notebook_its_findings_and_its_own_figures(project):
    page = results_page("made")
    assert page.startswith("# Results of profile `made`\n") and "| `hybrid` | 0.550" in page
    for name in QUESTIONS:
        assert page.count(f"[The notebook](../notebooks/{name}.ipynb)") == page.count(f"{name} it is.") == 1
    section = page.partition("## Batch ratio")[2].partition("\n## ")[0]
    assert "![Batch ratio: plane](../figures/made/batch_ratio-plane.svg)" in section
    assert "![Batch ratio: who gains](../figures/made/batch_ratio-who_gains.svg)" in section
    assert "domain_data-forest" not in section and "domain_data-forest" in page


def test_the_page_is_written_and_the_readme_between_its_marks(project):
    assert write_pages("made") == [project / "docs/results.md", project / "README.md"]
    assert (project / "docs/results.md").read_text() == results_page("made")
    text = (project / "README.md").read_text()
    assert text == README.replace("old", readme_part("made"))
    assert all(f"- **Is it so? Yes.** {name} it is. ([`{name}`]" in text for name in QUESTIONS)
    assert overview_in_markdown("made") in text
    write_pages("made")
    assert (project / "README.md").read_text() == text


@pytest.mark.parametrize("text", ["No marks.", README + README, f"{MARKS[1]}\n{MARKS[0]}"])
def test_a_readme_without_the_marks_once_each_is_refused_and_left_as_it_is(project, text):
    (project / "README.md").write_text(text)
    with pytest.raises(ValueError, match=r"README\.md lacks the marks <!-- results"):
        write_pages("made")
    assert (project / "README.md").read_text() == text


@pytest.mark.parametrize("damage", [b"", b"PAR1", "other columns"])
def test_a_table_of_results_that_is_damaged_is_named(project, damage):
    path = results_path("made", "batch_ratio")
    path.write_bytes(damage) if isinstance(damage, bytes) else pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"batch_ratio\.parquet is not as notebooks write it: .*; delete it and make"):
        results_page("made")


@pytest.mark.parametrize("missing", ["batch_ratio.parquet", "domain_data.md"])
def test_a_notebook_that_was_not_run_is_named(project, missing):
    (project / "results/made" / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"{missing} does not exist; make it by `make reproduce PROFILE=made`"):
        results_page("made")
