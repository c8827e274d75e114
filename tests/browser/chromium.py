"""A real browser, Debian's Chromium, driven by Playwright; without one, these tests are skipped."""

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable[..., Page]]:
    """A function that opens an address in a new window, whose `faults` are what its console and its requests say.

    Options are those of `Browser.new_context`, such as `viewport`, `color_scheme` and `offline`.
    """
    contexts = []

    def opened(address: str, **options) -> Page:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.faults = []
        page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("requestfailed", lambda request: page.faults.append(f"{request.url}: {request.failure}"))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
