"""`python -m tests.pictures [NAME …]` makes the named pictures, or all of them."""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from playwright.async_api import Page, expect

from app.emulator import Emulator, serving
from app.emulator.server import serving_app
from app.http.uvicorn_protocol import GatewayProtocol
from app.main import create_app
from app.observability.log import create_log
from app.settings import Settings
from tests.conftest import NOON, Clock
from tests.support.browser import browsing

FOLDER = Path(__file__).parent


class Picture(NamedTuple):
    """A screenshot. `steps` brings the loaded page into the state that the picture shows."""

    name: str
    path: str
    steps: Callable[[Page], Awaitable[None]]


async def graphiql(page: Page) -> None:
    upstream = page.get_by_role("region", name="Upstream")
    run = page.get_by_role("button", name="Execute query")
    # Wait for the editor: the first load of GraphiQL takes the longest.
    await expect(page.get_by_role("region", name="Operation Editor")).to_contain_text("query NewestProjects")
    await run.click()
    await expect(upstream).to_contain_text("NewestProjects")
    await page.get_by_role("tab", name="TwoWindows").click()
    await expect(page.get_by_role("region", name="Operation Editor")).to_contain_text("query TwoWindows")
    await run.click()
    await expect(upstream).to_contain_text("TwoWindows")
    await expect(page.locator(".graphiql-response .view-lines")).to_contain_text("hr-helpdesk-eu")


async def dashboard(page: Page) -> None:
    await page.clock.set_fixed_time(NOON)  # the page shows the age of the last runs
    await page.reload()
    await expect(page.locator("tbody th")).to_have_count(20)
    await expect(page.get_by_role("table")).to_have_attribute("aria-busy", "false")


PICTURES = [
    Picture("dashboard", "/#window=1h&sort=-runs", dashboard),
    Picture("graphiql", "/graphql", graphiql),
]


async def take(picture: Picture) -> None:
    """Take a picture of a gateway that has just started, with an empty cache."""
    clock = Clock()
    async with serving(Emulator(clock=clock.now)) as langsmith:
        settings = Settings.model_validate({"langsmith_endpoint": langsmith})
        app = create_app(settings, log=create_log("json", "error", io.StringIO()), now=clock.now, demo=True)
        async with (
            app.router.lifespan_context(app) as state,
            serving_app(app, state, http=GatewayProtocol, ws="none") as url,
            browsing(url) as watched,
        ):
            await watched.page.goto(f"{watched.origin}{picture.path}")
            await picture.steps(watched.page)
            # Move the pointer away, so that no element shows its hover style.
            await watched.page.mouse.move(0, 0)
            await watched.page.screenshot(path=FOLDER / f"{picture.name}.png", animations="disabled", caret="hide")
            watched.assert_clean()


if __name__ == "__main__":
    for each in PICTURES:
        if each.name in (sys.argv[1:] or [each.name]):
            asyncio.run(take(each))
