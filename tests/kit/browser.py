"""Debian's Chromium by Playwright, whose pages are watched: console, foreign requests, findings of axe."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install vreid[dev]")

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).parents[1] / "serve" / "axe.min.js"  # axe-core, MPL-2.0
SERIOUS = ("serious", "critical")
PATIENCE_MS = 60_000  # on a machine with much else to do


@contextmanager
def chromium() -> Iterator[playwright.Browser]:
    """The browser, without a window; the test is skipped where there is none."""
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}; apt install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page of a browser, and what it did that it should not: errors in the console, requests to another origin, failures."""

    page: playwright.Page
    origin: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"{self.page.url}: {error}"))
        self.page.on("request", self._requested)

    def _said(self, message: playwright.ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{self.page.url}: {message.text}")

    def _requested(self, request: playwright.Request) -> None:
        if urlsplit(request.url).scheme != "data" and not request.url.startswith(self.origin + "/"):
            self.faults.append(f"{self.page.url}: a request to {request.url}")

    def go(self, path: str) -> playwright.Page:
        """Open a path of the server."""
        self.page.goto(self.origin + path)
        return self.page

    def until(self, script: str) -> None:
        """Wait until a JavaScript expression is true; the policy of the pages bars Playwright's own way to do so."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(script):
            assert time.monotonic() < deadline, f"it never came to be that {script}"
            self.page.wait_for_timeout(50)

    def findings(self) -> list[str]:
        """What axe finds serious or critical on the page as it is."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [
            f"{self.page.url}: {one['id']}: {one['help']}: {node['html'][:200]}"
            for one in found
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]


@contextmanager
def watched(browser: playwright.Browser, origin: str, **settings: object) -> Iterator[Watched]:
    """A page of its own; `settings` are of a browser's context."""
    context = browser.new_context(**settings)  # type: ignore[arg-type]
    yield Watched(context.new_page(), origin)
    context.close()
