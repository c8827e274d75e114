"""The pictures of the README that `make pictures` writes: the explorer in JupyterLab, and the report of profile e5."""

import sys
import tempfile
from pathlib import Path

from chromium import CHROMIUM
from lab import panel, run_all, serving
from playwright.sync_api import Browser, expect, sync_playwright


def explorer(browser: Browser, path: Path) -> None:
    """Write the picture of the explorer's answers, five of each encoder, with the parameters of the notebook."""
    with tempfile.TemporaryDirectory() as home, serving(Path.cwd(), Path(home)) as address:
        page = browser.new_page(viewport={"width": 1400, "height": 2400})
        page.goto(f"{address}/lab/tree/notebooks/explorer.ipynb")
        run_all(page)
        shown = panel(page, "answer_panel")
        shown.get_by_label("passages").fill("5")
        shown.get_by_label("passages").press("Enter")
        expect(shown.locator("li")).to_have_count(5 * shown.locator("ol").count())
        shown.evaluate("one => one.scrollIntoView()")
        box, last = shown.bounding_box(), shown.locator("img").first.bounding_box()
        assert box and last
        height = last["y"] + last["height"] - box["y"]  # down to the ranks
        page.screenshot(path=path, clip={**box, "height": height})


def report(browser: Browser, path: Path) -> None:
    """Write the picture of the answers at the head of the report."""
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.goto((Path.cwd() / "results/e5/report.html").as_uri())
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": 1200, "height": 1500}, full_page=True)


if __name__ == "__main__":
    with sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=CHROMIUM or sys.exit("there is no Chromium"), args=["--no-sandbox"]
        )
        for draw in (report, explorer):
            draw(chromium, Path(f"docs/{draw.__name__}.png"))
