"""A real Chromium (Debian's), driven by Playwright, which records errors of a page and its requests to other hosts."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import pytest
from playwright.async_api import ConsoleMessage, Page, Request, async_playwright, expect

from tests.conftest import TIMEOUT_SECONDS

CHROMIUM: Final = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed; `apt-get install chromium` installs it"
)
# Playwright's own 5 seconds are too few for the first load of GraphiQL on a busy machine.
expect.set_options(timeout=TIMEOUT_SECONDS * 1000)


@dataclass
class WatchedPage:
    """A page, the errors on its console, and the URLs that it requested from other hosts. `origin`: of the gateway."""

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)
    foreign_urls: list[str] = field(default_factory=list)

    def assert_clean(self) -> None:
        """Assert that there was no error, no violation of the page's policy, and no request to another host."""
        assert (self.errors, self.foreign_urls) == ([], [])

    def record_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def record_request(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.foreign_urls.append(request.url)


@contextlib.asynccontextmanager
async def browsing(origin: str, *, dark: bool = False) -> AsyncIterator[WatchedPage]:
    """Start a browser with an empty page. `origin`: scheme, host and port of the gateway."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(
            viewport={"width": 1400, "height": 900}, color_scheme="dark" if dark else "light"
        )
        page = await context.new_page()
        watched = WatchedPage(page, origin.rstrip("/"))
        page.on("console", watched.record_message)
        page.on("pageerror", lambda error: watched.errors.append(str(error)))
        page.on("request", watched.record_request)
        try:
            yield watched
        finally:
            await browser.close()
