"""Tests of the report: it says what the results say, shows what the figures show, and refuses what is not whole."""

import csv
import json
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from made_sums import made_sums

from hybridlib.data.sources import source
from hybridlib.paths import executed_path, figure_path, project_root, record_path, results_path
from hybridlib.study.cli.notebooks import read_profile
from hybridlib.study.pages.executed import in_brief, words_of
from hybridlib.study.pages.html import markdown, report_page
from hybridlib.study.pages.report import REPORT, is_report_outdated, report_path, write_report
from hybridlib.study.report.findings import said
from hybridlib.study.report.results import write_sums
from hybridlib.study.report.words import between
from hybridlib.study.runs.keys import by_key
from hybridlib.study.runs.store import is_finished, record_of

ROOT = project_root()
HOSTILE = "<script>alert('1')</script> <img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def page(reported):
    """The report of the evidence, parsed."""
    return BeautifulSoup((reported[0] / "results/e5/report.html").read_text(encoding="utf-8"), "html.parser")


@pytest.fixture
def inside(reported, tmp_path, monkeypatch):
    """A copy of the project with the report, and the working directory."""
    shutil.copytree(reported[0], tmp_path / "project", symlinks=True)
    (tmp_path / "project/figures").unlink()
    shutil.copytree(ROOT / "figures/e5", tmp_path / "project/figures/e5")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A project on the embedded corpus with one notebook that has been run: its sums are made, and one figure is."""
    for name in ("params", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    means = {"hybrid": 0.55, "x-x-mono": 0.5, "untrained": 0.4}
    sums = [made_sums(means, spread=0.01, setting=setting) for setting in ("monolingual", "multilingual")]
    write_sums(results_path("embedded", "batch_ratio"), {"main": pd.concat(sums)})
    shutil.copy(ROOT / "notebooks/batch_ratio.ipynb", executed_path("embedded", "batch_ratio"))
    figure_path("embedded", "").parent.mkdir(parents=True)
    draw("plane", "Plane of strategies.\nAtlas: hybrid: 0.1.")
    return {"batch_ratio": read_profile("embedded")["batch_ratio"]}


def draw(name, words):
    path = figure_path("embedded", f"batch_ratio-{name}")
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 30"><desc>{words}</desc></svg>')
    return path


def small_page(notebooks):
    return BeautifulSoup(report_page("embedded", notebooks), "html.parser")


def text_of(element):
    return " ".join(element.get_text().split())


def test_every_claim_is_there_with_the_very_numbers(reported, page):
    for name, checked in reported[1].items():
        rows = page.select(f"#{name} table.claims tbody tr")
        assert [text_of(row.th) for row in rows] == checked.claim.tolist()
        for row, (_, claim) in zip(rows, checked.iterrows(), strict=True):
            difference, lower, p, holds = row.select("td")[:4]
            assert f"{text_of(difference)} {text_of(lower)}" == between(claim, "difference")
            shown = [float(cell["data-value"]) for cell in (difference, lower, p)]
            assert shown == [claim.difference, claim.lower, claim.p]
            paper = text_of(row.select("td")[-1]) if checked.paper.any() else ""  # there is no empty column
            assert (text_of(holds), paper, len(row.select("td"))) == (said(claim), claim.paper, 8 + checked.paper.any())
            assert float(text_of(p)) == pytest.approx(claim.p, rel=0.05)  # two digits


def test_on_top_stand_the_answers_with_their_figures_beside_what_the_paper_says(reported, page):
    answers = page.select("#answers .answers > li")
    assert len(answers) == len(reported[1]) == 5
    for answer in answers:
        name = answer.a["href"][1:]
        here, paper = (text_of(side) for side in answer.select(".pair > div"))
        primary = reported[1][name].query("kind == 'primary'")
        for _, claim in primary.iterrows():
            number, _, interval = between(claim, "difference").partition(" ")
            assert f"{number} map {interval}" in here and claim.paper in paper
        assert page.find(id=name) and (primary.paper.any() or "no figure" in paper)
    assert "hybrid against x-x-mono: XLM-R 0.798 against 0.792" in text_of(answers[0])


def test_the_table_of_strategies_is_that_of_the_readme(page):
    rows = [[text_of(cell) for cell in row.find_all(["th", "td"])] for row in page.select("#strategies tbody tr")]
    lines = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").split("\n") if line.startswith("| `")]
    table = [[cell.strip(" `") for cell in line[1:-1].split("|")] for line in lines]
    assert rows == [row for row in table if len(row) == 9]


def test_figures_stand_in_the_order_of_the_notebook_and_their_words_hold_the_numbers(reported, page):
    drawn = [figure["id"] for figure in page.select("#batch_ratio figure")]
    assert drawn == ["batch_ratio-plane", "batch_ratio-forest", "batch_ratio-over_alpha"]
    assert len(page.select("figure img")) == len(list((ROOT / "figures/e5").glob("*.svg")))
    for figure in page.select("figure"):
        assert len(figure.img["alt"]) > 80 and figure.h4 and figure.select("details dd")
    # A claim of a notebook whose contrast its forest draws has the same number in the figure's words.
    checked = reported[1]["batch_ratio"].set_index("claim")
    forest = page.find(id="batch_ratio-forest")
    within = between(
        checked.loc["Within a language, hybrid batches are not inferior to monolingual ones"], "difference"
    )
    assert f"monolingual map: hybrid minus x-x-mono: {within}, not inferior" in forest.img["alt"]
    pool = between(
        checked.loc["In the pool of all languages, hybrid batches are better than monolingual ones"], "difference"
    )
    assert pool not in forest.img["alt"] and f"hybrid minus x-x-mono: {pool}, better" in text_of(forest.details)


def test_every_run_that_is_there_is_told_with_what_computed_it(page, reported, monkeypatch):
    monkeypatch.chdir(reported[0])
    for name, params in read_profile("e5").items():
        runs = {key[:12]: run for key, run in by_key(params.runs()).items() if record_of(run)["tests"]}
        assert any(is_finished(run) for run in runs.values())
        rows = {text_of(row.th): text_of(row) for row in page.select(f"#{name} table:has(#{name}-runs) tbody tr")}
        assert rows.keys() == runs.keys()
        for key, run in runs.items():
            for test, told in record_of(run)["tests"].items():
                by = told["computed"]
                packages = by["packages"]["torch"], by["packages"].get("sentence-transformers", "")
                said = (test, told["ranks"][:12], told["place"], by["device"], *packages, by["date"], by["commit"][:7])
                assert not [word for word in (*said, f"{by['seconds']:.1f}") if word not in rows[key]]


def test_the_data_have_their_revision_and_the_checksum_of_every_file(page):
    with (Path(source.__file__).parent / "pinned/files.csv").open(encoding="utf-8") as stream:
        pinned = [row for row in csv.DictReader(stream) if row["source"] in ("xquad-r", "mlqa-r", "tatoeba")]
    rows = {text_of(row.th): text_of(row) for row in page.select("#data tbody tr")}
    assert len(rows) == len(pinned)
    for file in pinned:
        assert (file["checksum"] or "pinned by the revision") in rows[f"{file['source']}/{file['path']}"]
    assert "9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c" in text_of(page.find(id="data"))


def test_every_parameter_is_there_and_the_executed_notebook_is_linked_and_rendered(page, reported):
    for name, params in read_profile("e5").items():
        told = {
            text_of(row.th): text_of(row.td) for row in page.select(f"#{name} table:has(#{name}-parameters) tbody tr")
        }
        assert told["encoder"] == params.encoder and told["training.steps"] == str(params.training.steps)
        for end in ("html", "ipynb"):
            assert (
                page.select(f'#{name} a[href="{name}.{end}"]') and (reported[0] / f"results/e5/{name}.{end}").is_file()
            )


def test_nothing_is_fetched_when_a_page_is_opened(reported):
    for path in sorted((reported[0] / "results/e5").glob("*.html")):
        parsed = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        assert not parsed.find_all(["link", "iframe", "object"])
        fetched = [one["src"] for one in parsed.find_all(src=True) if not one["src"].startswith("data:")]
        assert fetched == [], path
        assert not [style for style in parsed.find_all("style") if "url(http" in style.text or "@import" in style.text]


def test_links_within_the_page_lead_somewhere_and_no_id_comes_twice(page):
    ids = [one["id"] for one in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    assert {one["href"][1:] for one in page.find_all("a", href=True) if one["href"].startswith("#")} <= {*ids}
    assert {one["aria-labelledby"] for one in page.find_all(attrs={"aria-labelledby": True})} <= {*ids}


def test_the_same_results_give_the_same_bytes_and_pages_do_not_name_where_they_were_made(inside):
    before = {path.name: path.read_bytes() for path in (inside / "results/e5").iterdir()}
    assert write_report("e5", read_profile("e5")) == report_path("e5") == inside / "results/e5/report.html"
    assert {path.name: path.read_bytes() for path in (inside / "results/e5").iterdir()} == before
    assert str(inside).encode() not in before["report.html"]


def test_the_report_of_the_embedded_corpus_says_first_that_it_is_a_demonstration(small):
    page = small_page(small)
    first = page.header.find("div", class_="notice")
    assert text_of(first).startswith("This is a demonstration. Static encoders and made sentences")
    assert not page.select(".verdict") and "Paper" not in text_of(page.find("table", class_="claims").thead)
    # No verdict is given, so what is claimed is asked.
    assert "hybrid batches are not inferior to monolingual ones? +0.0500 map [" in text_of(page.select_one(".answers"))
    # The means are .55 and .5: hybrid gains .05 within a language and in the pool.
    assert text_of(page.select_one(".answers .pair > div")).count("+0.0500 map [") == 2


def test_a_claim_that_could_not_be_computed_is_there_without_numbers(small):
    rows = {text_of(row.th): row for row in small_page(small).select("table.claims tbody tr")}
    assert len(rows) == len(small["batch_ratio"].claims)
    lacking = rows["In the pool, hybrid batches are better than mix-passages"].select("td")
    assert [text_of(cell) for cell in lacking[:3]] == ["", "not computed", ""]
    assert [cell["data-value"] for cell in lacking[:3]] == ["", "", ""]


def test_what_is_hostile_in_notebooks_figures_and_parameters_is_shown_as_text(small, monkeypatch):
    path = executed_path("embedded", "batch_ratio")
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source += f"\n\n{HOSTILE} [link](javascript:alert(3)) ![x](http://e.org/y.png) [b](../b.md)"
    book.cells[0].source = book.cells[0].source.replace("# Batch ratio", f"# {HOSTILE}")
    nbformat.write(book, path)
    draw("plane", '&lt;/desc&gt;" onload="alert(4)\n&lt;b&gt;: &lt;script&gt;.')
    (Path("README.md")).write_text(f"| name | meaning |\n| --- | --- |\n| `a` | {HOSTILE} |\n\n")
    page = small_page(small)
    assert len(page.find_all("script")) == 1
    assert {one.name for one in page.find_all(src=True)} == {"img"}
    assert all(one["src"].startswith("data:") for one in page.find_all("img"))
    assert not [one for one in page.find_all(True) if any(name.startswith("on") for name in one.attrs)]
    assert not [one for one in page.find_all("a") if not one["href"].startswith(("#", "https://", "batch_ratio."))]
    assert text_of(page.h2) and HOSTILE in text_of(page.find(id="batch_ratio").h2)
    assert page.find("figure").img["alt"].startswith('</desc>" onload="alert(4)')


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("batch_ratio.ipynb", None, "batch_ratio.ipynb does not exist; make it by `make reproduce PROFILE=embedded`"),
        ("batch_ratio.ipynb", "{", "batch_ratio.ipynb is no whole notebook: .*; delete it and make it by `make"),
        ("batch_ratio.ipynb", "{}", "batch_ratio.ipynb is no whole notebook: .*; delete it and make it by `make"),
        (
            "batch_ratio.parquet",
            None,
            "batch_ratio.parquet does not exist; make it by `make reproduce",
        ),
        ("batch_ratio.parquet", "PAR1", "batch_ratio.parquet is not as notebooks write it: .*; delete it and make it"),
    ],
)
def test_what_a_notebook_has_not_made_whole_is_named(small, name, content, message):
    path = results_path("embedded", "").with_name(name)
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        report_page("embedded", small)


@pytest.mark.parametrize(
    "content", ["", '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4', "<svg/>", "<svg viewBox='a'/>"]
)
def test_a_figure_that_was_cut_is_named(small, content):
    draw("plane", "").write_text(content)
    with pytest.raises(ValueError, match=r"batch_ratio-plane\.svg is no whole SVG: .*; delete it and make it again"):
        report_page("embedded", small)


def test_a_notebook_that_asks_no_question_is_linked_and_alone_gives_no_report(small):
    page = small_page({**small, "other": small["batch_ratio"]})
    assert page.footer.find("a")["href"] == "other.html" and len(page.select(".answers > li")) == 1
    with pytest.raises(ValueError, match=r"profile is 'embedded'; allowed for a report: one that asks one of"):
        report_page("embedded", {"other": small["batch_ratio"]})


def test_a_figure_without_words_has_its_name(small):
    draw("other", "")
    (figure,) = [one for one in small_page(small).select("figure") if one["id"] == "batch_ratio-other"]
    assert figure.img["alt"] == "Figure: other." and text_of(figure.h4) == "Other" and not figure.details


def change_record(name, **changes):
    path = record_path("e5", name)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "change",
    [
        lambda: change_record("domain_data", origin="another"),
        lambda: report_path("e5").write_text("altered"),
        lambda: report_path("e5").with_name("domain_data.html").unlink(),
        lambda: record_path("e5", REPORT).write_text("null"),
        lambda: record_path("e5", REPORT).write_text("{"),
        lambda: record_path("e5", "domain_data").unlink(),
    ],
)
def test_the_report_is_out_of_date_when_what_it_is_made_from_or_its_pages_are(inside, change):
    notebooks = read_profile("e5")
    assert not is_report_outdated("e5", notebooks)
    change()
    assert is_report_outdated("e5", notebooks)


def test_the_layout_and_the_code_are_what_the_report_is_made_from(inside, monkeypatch):
    notebooks = read_profile("e5")
    monkeypatch.setattr("hybridlib.study.pages.report.code_hash", lambda computing: "something changed")
    assert is_report_outdated("e5", notebooks)
    monkeypatch.undo()
    monkeypatch.chdir(inside)
    style = inside / "report.css"
    style.write_text("body {}")
    monkeypatch.setattr("hybridlib.study.pages.report.PARTS", (style,))
    assert is_report_outdated("e5", notebooks)


def test_without_a_record_there_is_nothing_that_could_be_out_of_date(inside):
    record_path("e5", REPORT).unlink()
    assert not is_report_outdated("e5", read_profile("e5"))


@pytest.mark.parametrize(
    ("paper", "expected"),
    [
        ("It asks.\n\nTopics. The paper ([arXiv 1](https://arxiv.org/abs/1)) trains:\n\nMore.", "The paper trains."),
        ("Batches lose.\n\nThe mean of the paper:", "Batches lose."),
        ("It draws.\nIt reports that 0.5 is\ngood. More.\n\nMore.", "The paper reports that 0.5 is\ngood."),
        ("", ""),
    ],
)
def test_what_the_paper_says_in_brief_begins_where_it_is_named(paper, expected):
    assert in_brief(paper) == expected


def test_the_words_of_a_notebook_are_those_of_its_cells():
    words = words_of(nbformat.read(ROOT / "notebooks/domain_data.ipynb", as_version=4))
    assert words.title == "Domain data" and words.question.startswith("What does adding data of a domain")
    assert words.paper.startswith("Wikipedia articles have") and words.reading.startswith("*How to read a difference.*")
    assert words.limits.startswith("- Two of eight cells") and words.deviations.startswith("*How this differs")
    assert "runs are there" in words.runs
    assert words.captions.keys() == {"forest"} and words.captions["forest"][0] == "Topic or amount"


def test_names_and_figures_in_a_text_are_kept_whole():
    text = "x-x-mono, `x-y`: \N{MINUS SIGN}41.3 rank distance [\N{MINUS SIGN}50.3, +1]"
    html = str(markdown(text, inline=True))
    assert html.startswith('<span class="name">x-x-mono</span>, <code class="name">x-y</code>: ')
    assert html.partition(": ")[2] == text.partition(": ")[2].replace(" ", "\N{NO-BREAK SPACE}")


def test_the_names_are_told_of_any_notebook_and_one_question_is_one(small):
    Path("README.md").write_text("| name | meaning |\n| --- | --- |\n| `x-y` | mixed |\n\n")
    page = small_page(small)
    assert text_of(page.select_one("#answers .names")) == "x-ymixed"
    assert "One question to arXiv" in text_of(page.header)
    assert "on atlas where no other test is named" in text_of(page.select_one("#strategies caption"))


def test_links_lead_to_the_web_or_nowhere():
    assert str(markdown("[a](../README.md) [b](https://e.org)")) == '<p>a <a href="https://e.org">b</a></p>'
