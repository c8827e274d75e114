"""Tests of the explorer in JupyterLab, in a real browser: what is chosen changes what is shown."""

from collections.abc import Iterator

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from lab import SLOW, choose_theme, panel, run_all, serving
from playwright.sync_api import Locator, Page, expect

from hybridlib.paths import notebook_path

# A project that takes seconds: four languages, of which one is written from right to left.
SMALL = """profile = "tiny"
languages = ["ar", "en", "sw", "zh"]
batch_languages = ["ar", "en", "sw"]
training = {"batch_size": 20, "steps": 5, "temperature": 0.05, "learning_rate": 0.005}"""


expect.set_options(timeout=SLOW)  # for what a crowded machine computes


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The explorer in JupyterLab, in a project of its own, with all cells run."""
    folder, home = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("home")
    for name in ("params", "notebooks"):
        (folder / name).mkdir()
    book = nbformat.read(notebook_path("explorer"), as_version=4)
    place = next(n for n, cell in enumerate(book.cells) if "parameters" in cell.metadata.get("tags", []))
    book.cells.insert(place + 1, nbformat.v4.new_code_cell(SMALL))
    nbformat.write(book, folder / "notebooks" / "explorer.ipynb")
    with serving(folder, home) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 1800})
        page.goto(f"{address}/lab/tree/notebooks/explorer.ipynb")
        run_all(page)
        yield page
        page.close()


@pytest.fixture
def answers(page: Page) -> Locator:
    shown = panel(page, "answer_panel")
    expect(shown.locator("ol")).to_have_count(4)
    return shown


def listed(shown: Locator) -> list[str]:
    return shown.locator("ol li").all_inner_texts()


def image_of(shown: Locator) -> str:
    return shown.locator("img").first.get_attribute("src")


def test_all_cells_run_and_no_cell_says_anything_is_wrong(page):
    expect(page.locator(".jp-RenderedText[data-mime-type*='stderr']")).to_have_count(0)
    expect(page.locator(".jp-OutputArea-output img")).not_to_have_count(0)


def test_each_encoder_has_a_list_of_ten_with_languages_and_directions(answers):
    assert [len(one.locator("li").all()) for one in answers.locator("ol").all()] == [10] * 4
    told = {(text.get_attribute("lang"), text.get_attribute("dir")) for text in answers.locator("ol [lang]").all()}
    assert told <= {("ar", "rtl"), ("en", "ltr"), ("sw", "ltr"), ("zh", "ltr")}


def test_choosing_a_language_asks_the_same_question_in_it_and_the_lists_and_pictures_change(answers):
    asked, before, picture = answers.locator("[lang]").first, listed(answers), image_of(answers)
    expect(asked).to_have_attribute("lang", "sw")
    answers.get_by_label("language").select_option(label="Arabic (ar)")
    expect(asked).to_have_attribute("lang", "ar")
    expect(asked).to_have_attribute("dir", "rtl")
    expect(asked).to_contain_text("ليما")  # Lima, as in Swahili
    assert listed(answers) != before and image_of(answers) != picture


def test_choosing_a_question_changes_the_lists(answers):
    before, asked = listed(answers), answers.locator("[lang]").first
    chosen = answers.get_by_label("question", exact=True)
    text = chosen.locator("option").nth(7).inner_text()
    chosen.select_option(index=7)
    expect(asked).to_have_text(text)
    assert listed(answers) != before


def test_a_typed_question_is_answered_without_stars_and_ranks(answers):
    answers.get_by_label("own question").fill("Money of Kenya <b>&amp;")
    answers.get_by_label("own question").press("Enter")
    expect(answers.locator("[lang]").first).to_have_text("Money of Kenya <b>&amp;")  # as it was typed
    expect(answers.get_by_role("img", name="relevant")).to_have_count(0)
    expect(answers.locator("img")).to_have_count(1)  # the languages alone
    expect(answers.get_by_text("of 10 are relevant")).to_have_count(0)
    answers.get_by_label("question", exact=True).select_option(index=3)  # it takes the place of the typed one
    expect(answers.locator("img")).to_have_count(2)
    expect(answers.get_by_label("own question")).to_have_value("")


@pytest.mark.parametrize(
    ("language", "text", "direction"), [("ar", "Money of Kenya", "ltr"), ("en", "عملة كينيا", "rtl")]
)
def test_a_typed_question_is_written_in_the_direction_of_its_own_letters(answers, language, text, direction):
    answers.get_by_label("language").select_option(label={"ar": "Arabic (ar)", "en": "English (en)"}[language])
    asked = answers.locator("[lang]").first
    expect(asked).to_have_attribute("lang", language)
    answers.get_by_label("own question").fill(text)
    answers.get_by_label("own question").press("Enter")
    expect(asked).to_have_text(text)
    assert asked.evaluate("one => getComputedStyle(one).direction") == direction
    answers.get_by_label("question", exact=True).select_option(index=4 if language == "ar" else 5)
    expect(answers.get_by_label("own question")).to_have_value("")


def test_a_long_word_leaves_the_columns_side_by_side(answers):
    answers.get_by_label("own question").fill("x" * 5000)
    answers.get_by_label("own question").press("Enter")
    expect(answers.locator("[lang]").first).to_have_text("x" * 5000)
    assert len({one.bounding_box()["y"] for one in answers.locator("ol").all()}) == 1
    answers.get_by_label("question", exact=True).select_option(index=2)
    expect(answers.get_by_label("own question")).to_have_value("")


def test_fewer_encoders_and_more_passages_may_be_compared(answers):
    answers.get_by_label("compare").select_option(["x-x", "hybrid"])
    expect(answers.locator("ol")).to_have_count(2)
    answers.get_by_label("compare").select_option(["x-x", "x-x-mono", "hybrid", "x-y"])
    expect(answers.locator("ol")).to_have_count(4)


def test_alpha_changes_the_batches_and_their_alternative_text(page):
    shown = panel(page, "batch_panel")
    expect(shown.get_by_alt_text("hybrid: of 8 batches, 4 are in one language")).to_be_visible()
    shown.get_by_label("alpha").fill("1")
    shown.get_by_label("alpha").press("Enter")
    expect(shown.get_by_alt_text("hybrid: of 8 batches, 8 are in one language")).to_be_visible()


def test_the_number_of_questions_changes_the_map_and_its_key(page):
    shown = panel(page, "meaning_panel")
    expect(shown.locator("ul li")).to_have_count(6)
    shown.get_by_label("questions").focus()
    shown.get_by_label("questions").press("ArrowUp")
    expect(shown.locator("ul li")).to_have_count(7)


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
@pytest.mark.parametrize("call", ["answer_panel", "meaning_panel", "batch_panel"])
def test_axe_finds_nothing_in_a_panel(page, call, theme):
    choose_theme(page, theme)
    panel(page, call).evaluate("(one, call) => { one.id = call }", call)
    found = Axe().run(page, context={"include": [[f"#{call}"]]}).response["violations"]
    assert [(one["id"], [node["html"][:80] for node in one["nodes"][:3]]) for one in found] == []


def test_in_a_narrow_window_nothing_is_cut(page):
    wide = page.viewport_size
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.set_viewport_size({"width": 700, "height": 1800})
    inside = """one => [...one.querySelectorAll('img, select, input, ol')].every(
        part => part.getBoundingClientRect().right <= one.getBoundingClientRect().right + 1)"""
    for call in ("answer_panel", "meaning_panel", "batch_panel"):
        assert panel(page, call).evaluate(inside), call
    page.set_viewport_size(wide)
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_the_lists_can_be_read_in_the_light_and_in_the_dark(page, answers, theme, tmp_path):
    choose_theme(page, theme)
    colour, behind = page.evaluate(
        """() => {
            const text = document.querySelector('.widget-html .explorer-answer li div');
            const behind = document.querySelector('.jp-Notebook');
            return [getComputedStyle(text).color, getComputedStyle(behind).backgroundColor];
        }"""
    )
    light = {"JupyterLab Light": False, "JupyterLab Dark": True}[theme]
    assert (brightness(colour) > 0.5) is light and (brightness(behind) > 0.5) is not light, (colour, behind)
    answers.screenshot(path=tmp_path / "answers.png")
    assert (tmp_path / "answers.png").stat().st_size > 10_000


def brightness(colour: str) -> float:
    """Return how bright a colour of CSS is, 0 to 1."""
    parts = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(parts) / 3 / 255
