"""A JupyterLab for tests in a browser, and for the picture of the explorer."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from playwright.sync_api import Locator, Page, expect

SLOW = 120_000  # milliseconds, for what computes
# All cells are in the page, also those that are not in sight, no file is changed, and nothing is asked of the network.
_SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


@contextmanager
def serving(folder: Path, home: Path) -> Iterator[str]:
    """Serve a folder by JupyterLab, and yield its address; all its processes end with the block.

    Args:
        folder: what is served.
        home: keeps the settings and the log of the server.
    """
    for name, values in _SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0, "ServerApp.root_dir": folder,
        "ServerApp.open_browser": False, "ServerApp.allow_root": True, "IdentityProvider.token": "",
        "LabApp.expose_app_in_browser": True, "LabApp.user_settings_dir": home / "settings",
        "LabApp.workspaces_dir": home / "workspaces",
    }  # fmt: skip
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(home / "config"), "JUPYTER_RUNTIME_DIR": str(home / "run")}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, process, home / "log")
        yield address
    finally:
        process.terminate()  # it ends its kernels, too
        process.wait(120)


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    """Wait until a server answers."""
    for _ in range(1200):
        if process.poll() is not None:
            raise RuntimeError(f"JupyterLab has ended: {log.read_text()[-2000:]}")
        try:
            if requests.get(f"{address}/api", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab does not answer: {log.read_text()[-2000:]}")


def run_all(page: Page) -> None:
    """Run all cells of the notebook that a page shows, and wait until they are done."""
    expect(page.locator(".jp-NotebookPanel .jp-CodeCell").first).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("button", name="| Idle")).to_be_visible(timeout=SLOW)
    for command in ("clear-all-cell-outputs", "run-all-cells"):
        page.evaluate("command => window.jupyterapp.commands.execute(`notebook:${command}`)", command)
    last = page.locator(".jp-CodeCell .jp-InputPrompt").last
    expect(last).to_have_text("[" + str(page.locator(".jp-CodeCell").count()) + "]:", timeout=SLOW)


def choose_theme(page: Page, name: str) -> None:
    """Choose a theme of JupyterLab."""
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
    light = "true" if "Light" in name else "false"
    expect(page.locator(f"body[data-jp-theme-light='{light}']")).to_be_attached(timeout=SLOW)


def panel(page: Page, call: str) -> Locator:
    """Return what a cell shows that calls a function."""
    return page.locator(".jp-CodeCell", has=page.get_by_text(call, exact=False)).locator(".jp-OutputArea").first
