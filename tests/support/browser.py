"""A real Chromium, Debian's, driven by Playwright; it reports whatever a page does that it should not."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import pytest
from playwright.async_api import ConsoleMessage, Page, Request, async_playwright

CHROMIUM: Final = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: apt-get install chromium, and these tests run"
)


@dataclass
class Watched:
    """A page, what it said on its console as an error, and what it asked of other machines."""

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def assert_clean(self) -> None:
        """No violation of its policy, no error, no request to anywhere else."""
        assert (self.errors, self.elsewhere) == ([], [])

    def heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def asked(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.elsewhere.append(request.url)


@contextlib.asynccontextmanager
async def browsing(origin: str, *, dark: bool = False) -> AsyncIterator[Watched]:
    """An empty page of a browser of its own. `origin`: of the gateway, without a path."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context(
            viewport={"width": 1400, "height": 900}, color_scheme="dark" if dark else "light"
        )
        page = await context.new_page()
        watched = Watched(page, origin.rstrip("/"))
        page.on("console", watched.heard)
        page.on("pageerror", lambda error: watched.errors.append(str(error)))
        page.on("request", watched.asked)
        try:
            yield watched
        finally:
            await browser.close()
