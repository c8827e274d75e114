"""The report in a real browser: from the file system, with the network off, with a mouse and without one."""

from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe

from hybridlib.study.pages.report import REPORT

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
NARROW = {"width": 320, "height": 640}  # a desktop of 1280 pixels at 400 %
CLAIMS = "#batch_ratio table.claims"


@pytest.fixture
def open_report(reported, open_page):
    """A function that opens the report of the evidence."""
    address = (reported[0] / "results/e5/report.html").as_uri()
    return lambda **options: open_page(address, **{"viewport": DESKTOP, "offline": True, **options})


def column(page, number):
    """Return what a column of the first table of claims shows, row by row."""
    return page.locator(f"{CLAIMS} tbody tr > *:nth-child({number})").all_inner_texts()


def values(page, number):
    cells = page.locator(f"{CLAIMS} tbody tr > *:nth-child({number})")
    return [float(value) for value in cells.evaluate_all("cells => cells.map(cell => cell.dataset.value)")]


def sort_of(page, number):
    return page.locator(f"{CLAIMS} thead th:nth-child({number})").get_attribute("aria-sort")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_fault_and_every_figure_is_seen(open_report, scheme):
    page = open_report(color_scheme=scheme)
    widths = page.locator("figure img").evaluate_all("ones => ones.map(one => [one.naturalWidth, one.clientWidth])")
    assert len(widths) == 10 and all(natural > 0 and shown > 300 for natural, shown in widths)
    assert page.faults == []
    lightness = page.evaluate("getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)")
    assert (min(lightness) > 200) == (scheme == "light") and (max(lightness) < 60) == (scheme == "dark")
    assert page.locator(".card").first.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"


def test_a_table_is_sorted_by_its_heads_with_the_mouse_up_and_down(open_report):
    page = open_report()
    before = column(page, 1)
    assert sort_of(page, 2) is None
    page.get_by_role("button", name="Difference").first.click()
    assert values(page, 2) == sorted(values(page, 2)) and sort_of(page, 2) == "ascending"
    page.get_by_role("button", name="Difference").first.click()
    assert values(page, 2) == sorted(values(page, 2), reverse=True) and sort_of(page, 2) == "descending"
    page.get_by_role("button", name="Claim").first.click()
    assert column(page, 1) == sorted(before, key=str.lower) and sort_of(page, 1) == "ascending"
    assert sort_of(page, 2) is None
    assert page.faults == []


def test_a_table_is_sorted_from_the_keyboard(open_report):
    page = open_report()
    page.locator(f"{CLAIMS} thead button").nth(3).focus()
    page.keyboard.press("Enter")
    assert values(page, 4) == sorted(values(page, 4)) and sort_of(page, 4) == "ascending"
    page.keyboard.press("Space")
    assert values(page, 4) == sorted(values(page, 4), reverse=True)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Holds"


def test_the_first_stop_of_the_keyboard_leads_past_the_head_and_focus_is_seen(open_report):
    page = open_report()
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.inner_text() == "Skip to the answers" and skip.bounding_box()["x"] >= 0
    assert skip.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#answers') !== null")


def test_without_scripts_all_is_there_and_nothing_promises_to_sort(open_report):
    page = open_report(java_script_enabled=False)
    assert page.locator(f"{CLAIMS} tbody tr").count() == 23
    assert page.locator("button").count() == 0
    assert page.faults == []


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("size", [NARROW, PHONE, {"width": 768, "height": 1024}, {"width": 1440, "height": 900}])
def test_the_page_itself_does_not_scroll_sideways(open_report, size, opened):
    page = open_report(viewport=size)
    page.evaluate("opened => document.querySelectorAll('details').forEach(one => { one.open = opened })", opened)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= size["width"]
    wide = "ones => ones.filter(one => one.scrollWidth > one.clientWidth).map(one => one.tabIndex)"
    scrolled = page.locator(".scroll, .card").evaluate_all(wide)
    # What is wide can be reached and scrolled from the keyboard.
    assert (scrolled or size["width"] > 1000) and set(scrolled) <= {0}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(open_report, scheme, size):
    page = open_report(color_scheme=scheme, viewport=size)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], [node["html"][:80] for node in one["nodes"][:3]]) for one in found] == []


def test_a_name_and_a_difference_with_its_interval_stay_on_one_line(open_report):
    page = open_report(viewport=NARROW)
    heights = page.locator(".name:visible").evaluate_all("ones => ones.map(one => one.getClientRects().length)")
    assert len(heights) > 20 and set(heights) == {1}
    told = page.locator("#batch_ratio .told").inner_text()
    assert "\N{MINUS SIGN}0.0035\N{NO-BREAK SPACE}map\N{NO-BREAK SPACE}[" in told


def test_with_the_colours_of_the_system_a_verdict_has_a_border_and_figures_keep_their_white(open_report):
    page = open_report(forced_colors="active", color_scheme="dark")
    border = "one => getComputedStyle(one).borderTopStyle"
    assert page.locator(".verdict").first.evaluate(border) == "solid"
    assert page.locator(".card").first.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(255, 255, 255)"


def test_headings_come_in_order_and_landmarks_are_there(open_report):
    page = open_report()
    levels = page.locator("h1, h2, h3, h4").evaluate_all("ones => ones.map(one => Number(one.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1
    tables = page.locator("table").count()
    assert page.locator("table > caption").count() == tables
    assert page.locator("thead th:not([scope=col]), tbody th:not([scope=row])").count() == 0


def test_printed_all_is_open_and_no_figure_is_cut(open_report):
    page = open_report()
    assert page.pdf(format="A4", prefer_css_page_size=True).startswith(b"%PDF")
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 less its margins, at 96 dots an inch
    page.emulate_media(media="print")
    hidden = "ones => ones.filter(one => !one.checkVisibility()).length"
    assert page.locator("details tbody tr, details dd").evaluate_all(hidden) == 0
    inside = """ones => ones.every(one => {
        const box = one.getBoundingClientRect();
        return box.left >= 0 && box.right <= document.documentElement.clientWidth && box.height < 1000;
    })"""
    assert page.locator("figure img").evaluate_all(inside)
    assert page.locator("table").evaluate_all(inside.replace("&& box.height < 1000", ""))


def test_an_executed_notebook_opens_without_a_fault(reported, open_page):
    for path in sorted((reported[0] / "results/e5").glob("*.html")):
        page = open_page(path.as_uri(), offline=True)
        assert page.faults == [], path
        said = page.locator(".jp-RenderedImage img").evaluate_all("ones => ones.map(one => one.alt)")
        assert all(len(one) > 80 and "No description" not in one for one in said), path
        found = Axe().run(page).response["violations"] if path.stem != REPORT else []
        assert {one["id"] for one in found} <= {"empty-table-header"}, path  # the corner of a table
