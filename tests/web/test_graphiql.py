"""GraphiQL in a browser: queries to start from, what each run asks of LangSmith beside it, and no key kept."""

import asyncio
import json
from urllib.parse import quote

import pytest
from playwright.async_api import Locator, Page, expect

from tests.conftest import PATIENCE, Gateway, Serve
from tests.support.browser import browsing, needs_chromium

pytestmark = [pytest.mark.xdist_group("browser"), needs_chromium]

TABS = ["NewestProjects", "TwoWindows", "Experiments", "OneSession"]
SESSION = "002c552a-ed42-4330-8b0c-ef3638120ad1"
ALL_STORED = "[localStorage, sessionStorage].flatMap(Object.entries).flat().join() + document.cookie"
LINKED = "query Linked($first: Int!) { sessions(first: $first) { nodes { name } } }"


def editor(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name).locator(".graphiql-editor:not(.hidden)")


def operation(page: Page) -> Locator:
    return editor(page, "Operation Editor")


def tool(page: Page) -> Locator:
    """The editor of variables or headers, whichever is shown."""
    return page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden)")


def response(page: Page) -> Locator:
    return page.locator(".graphiql-response .view-lines")


def tabs(page: Page) -> Locator:
    return page.get_by_role("tab").locator(".graphiql-tab-button")


def upstream(page: Page) -> Locator:
    return page.get_by_role("region", name="Upstream")


async def write(page: Page, target: Locator, text: str) -> None:
    await target.locator(".view-lines").click()
    await page.keyboard.press("Control+a")
    await page.keyboard.press("Delete")
    await page.keyboard.insert_text(text)


async def run(page: Page) -> None:
    await page.get_by_role("button", name="Execute query").click()


async def stored(page: Page, *, when: str) -> str:
    """All that the browser keeps, as soon as `when` is in it. The page's policy forbids Playwright's own waiting."""
    async with asyncio.timeout(PATIENCE):
        while True:
            text: str = await page.evaluate(ALL_STORED)
            if when in text:
                return text


async def test_what_is_selected_is_what_langsmith_is_asked_for(gateway: Gateway) -> None:
    async with browsing(str(gateway.client.base_url)) as watched:
        page = watched.page
        await page.goto(f"{watched.origin}/graphql")
        await expect(tabs(page)).to_have_text(TABS)
        await expect(upstream(page)).to_contain_text("Run an operation")
        await expect(operation(page)).to_contain_text("query NewestProjects")

        # Without a key: the error, and how to give one.
        await run(page)
        await expect(response(page)).to_contain_text("UNAUTHENTICATED")
        await expect(tool(page)).to_contain_text('"X-API-Key": ""')
        await write(page, tool(page), '{"X-API-Key": "demo"}')

        await run(page)
        await expect(response(page)).to_contain_text("voice-concierge-staging")
        await expect(response(page)).not_to_contain_text("extensions")
        await expect(upstream(page).get_by_role("heading", name="sessions")).to_contain_text("MISS")
        table = upstream(page).get_by_role("table")
        await expect(table).to_contain_text("/api/v1/sessions")
        selected = table.get_by_role("row", name="stats_select").locator("code")
        await expect(selected).to_have_text(["run_count", "latency_p50", "latency_p99", "total_cost"])

        # One statistic more, by the explorer: just that one is fetched.
        await page.get_by_role("button", name="Show GraphiQL Explorer").click()
        await page.locator(".graphiql-explorer-root").get_by_text("errorRate", exact=True).click()
        await expect(operation(page)).to_contain_text("errorRate")
        await page.get_by_role("button", name="Show Upstream").click()
        await run(page)
        await expect(upstream(page)).to_contain_text("REFILL")
        await expect(selected).to_have_text(["error_rate"])
        await expect(upstream(page).get_by_role("row", name="id")).to_contain_text("11 ids")

        await run(page)
        await expect(upstream(page)).to_contain_text("HIT")
        await expect(upstream(page)).to_contain_text("LangSmith was asked nothing.")
        await expect(table).to_have_count(0)

        # The key counts in another tab, too.
        await page.get_by_role("tab", name="OneSession").click()
        await page.get_by_role("button", name="Variables").click()
        await write(page, tool(page), json.dumps({"id": SESSION}))
        await run(page)
        await expect(response(page)).to_contain_text("Release-Notes-eu")
        await expect(upstream(page)).to_contain_text("OneSession")

        # Tabs and history are kept; the key is nowhere.
        kept = await stored(page, when="graphiql:queries")
        assert "errorRate" in kept
        assert "demo" not in kept
        await page.reload()
        await expect(operation(page)).to_contain_text("OneSession")
        await expect(tool(page)).to_contain_text('"X-API-Key": ""')
        watched.assert_clean()


async def test_a_link_opens_a_tab_and_tells_the_server_nothing(serve: Serve) -> None:
    link = f"#query={quote(LINKED, safe='')}&variables={quote(json.dumps({'first': 2}), safe='')}"
    own = {"auth": "server", "langsmith_api_key": "demo", "allow_anonymous": True}
    async with serve(**own) as gateway, browsing(str(gateway.client.base_url), dark=True) as watched:
        page = watched.page
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.goto(f"{watched.origin}/graphql{link}")
        await expect(page.get_by_role("tab", name="Linked", selected=True)).to_be_visible()
        await expect(operation(page)).to_contain_text("$first: Int!")
        await expect(tool(page)).to_contain_text('"first": 2')
        assert page.url == f"{watched.origin}/graphql"
        await run(page)
        await expect(response(page)).to_contain_text("travel-planner-canary")
        await expect(response(page)).not_to_contain_text("email-drafter-dev")

        # One that is followed while the page is open.
        await page.evaluate("location.hash = 'query=' + encodeURIComponent('query Later { __typename }')")
        await expect(tabs(page)).to_have_text(["Linked", *TABS, "Later"])
        await expect(operation(page)).to_contain_text("query Later")
        await run(page)
        await expect(upstream(page)).to_contain_text("Later")

        # The same again is no further tab.
        await stored(page, when='"title":"Later"')
        await page.goto("about:blank")
        await page.goto(f"{watched.origin}/graphql{link}")
        await expect(tabs(page)).to_have_text(["Linked", *TABS, "Later"])
        await expect(page.get_by_role("tab", name="Linked", selected=True)).to_be_visible()
        assert not [url for url in asked if "Linked" in url or "query=" in url]

        # Dark, as the machine is; nobody is asked for a key.
        dark = await page.evaluate("getComputedStyle(document.querySelector('.graphiql-container')).backgroundColor")
        assert max(int(each) for each in dark.removeprefix("rgb(").removesuffix(")").split(",")) < 80
        await expect(page.locator("body")).not_to_contain_text("X-API-Key")
        watched.assert_clean()


async def test_it_works_without_the_schema_and_without_explain(serve: Serve) -> None:
    async with (
        serve(introspection=False, explain=False) as gateway,
        browsing(str(gateway.client.base_url)) as watched,
    ):
        page = watched.page
        await page.goto(f"{watched.origin}/graphql")
        await expect(page.get_by_text("Introspection is switched off here")).to_be_visible()
        await write(page, tool(page), '{"x-api-key": "demo"}')
        await run(page)
        await expect(response(page)).to_contain_text("voice-concierge-staging")
        await expect(page.get_by_role("button", name="Show GraphiQL Explorer")).to_have_count(0)
        await expect(page.get_by_role("button", name="Show Upstream")).to_have_count(0)
        watched.assert_clean()
