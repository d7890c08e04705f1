"""A real browser and a real dashboard for tests.

Belongs here: starting both, and what every view must satisfy. Does not belong here: expectations about one page.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

# Not a limit on speed: it ends a test that would otherwise hang.
PATIENCE_SECONDS = 300.0
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Streamlit looks for its server below the page's own address first, finds none, and looks at the root.
PROBES = ("/_stcore/health", "/_stcore/host-config")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium; `.ci/run` installs it where it is missing."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "these tests need a Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def served(home: Path, **settings: str) -> Iterator[str]:
    """`ops-pipeline dashboard` over a home; gives its address."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPS_PIPELINE_")} | settings
    program = [sys.executable, "-m", "ops_pipeline", "dashboard", "--port", str(port), "--home", str(home)]
    log = home.parent / f"dashboard-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(program, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_up(f"http://127.0.0.1:{port}/_stcore/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def _wait_until_up(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        try:
            with urllib.request.urlopen(address):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"the dashboard did not start: {log.read_text(encoding='utf-8')}")


@dataclass
class View:
    """One window of the browser, and what it complained of."""

    page: Page
    base: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        """Goes to a page and waits until it is drawn."""
        self.page.goto(f"{self.base}/{address}")
        self.drawn()

    def drawn(self) -> None:
        self.page.wait_for_selector(".op-head, .op-empty", timeout=PATIENCE_SECONDS * 1000)
        self.page.wait_for_function(
            "document.querySelector('.stApp')?.getAttribute('data-test-script-state') === 'notRunning'"
            " && !document.querySelector('[data-stale=true]')",
            timeout=PATIENCE_SECONDS * 1000,
        )

    @property
    def text(self) -> str:
        return self.page.inner_text(".stMain")

    def says(self, text: str) -> None:
        """Waits for a text on the page."""
        self.page.get_by_text(text).first.wait_for(timeout=PATIENCE_SECONDS * 1000)
        self.drawn()

    def check(self) -> None:
        """No exception, no error in the console, nothing fetched from elsewhere, nothing wider than the window."""
        assert self.page.locator(".stException").count() == 0, self.text
        assert self.errors == []
        assert self.foreign == []
        wide = self.page.evaluate("document.querySelector('.stMain').scrollWidth - document.querySelector('.stMain').clientWidth")
        assert wide <= 0, f"the page is {wide} px wider than the window"

    def check_accessible(self) -> None:
        """No finding of axe that is serious or worse in what is ours; Streamlit's own widgets are its own."""
        found = Axe().run(self.page, context={"include": [[".stMain"]]}, options={"resultTypes": ["violations"]})
        grave = [v for v in found.response["violations"] if v["impact"] in ("serious", "critical")]
        assert grave == [], [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in grave]


@contextmanager
def window(browser: Browser, base: str, width: int = 1440, scheme: Literal["light", "dark"] = "light") -> Iterator[View]:
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    page = context.new_page()
    view = View(page, base)
    page.on("console", lambda message: _note(view, message))
    page.on("pageerror", lambda error: view.errors.append(str(error)))
    page.on("request", lambda request: _note_foreign(view, request.url))
    try:
        yield view
    finally:
        context.close()


def _note(view: View, message: ConsoleMessage) -> None:
    place: Any = message.location
    if message.type == "error" and not str(place.get("url", "")).endswith(PROBES):
        view.errors.append(message.text)


def _note_foreign(view: View, address: str) -> None:
    if not address.startswith((view.base, view.base.replace("http", "ws"), "data:", "blob:")):
        view.foreign.append(address)
