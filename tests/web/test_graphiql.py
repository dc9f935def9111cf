"""GraphiQL in a browser: example queries, a panel with the requests of each run to LangSmith, and no stored key."""

import asyncio
import json
from urllib.parse import quote

import pytest
from playwright.async_api import Locator, Page, Route, expect

from app.emulator import Emulator
from tests.conftest import TIMEOUT_SECONDS, Gateway, Serve
from tests.support.browser import browsing, needs_chromium

pytestmark = [pytest.mark.xdist_group("browser"), needs_chromium]

TABS = ["NewestProjects", "TwoWindows", "DeferredStatistics", "Experiments", "OneSession"]
SESSION = "002c552a-ed42-4330-8b0c-ef3638120ad1"
STORAGE = "[localStorage, sessionStorage].flatMap(Object.entries).flat().join() + document.cookie"
LINKED_QUERY = "query Linked($first: Int!) { sessions(first: $first) { nodes { name } } }"


def editor(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name).locator(".graphiql-editor:not(.hidden)")


def operation(page: Page) -> Locator:
    return editor(page, "Operation Editor")


def tool(page: Page) -> Locator:
    """The visible one of the editors for variables and headers."""
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


async def stored(page: Page, *, containing: str) -> str:
    """Wait until the browser has stored a text, and return everything that it stores for the page.

    Playwright's own `wait_for_function` does not work here, because the page's policy forbids `eval`.
    """
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            text: str = await page.evaluate(STORAGE)
            if containing in text:
                return text


async def test_graphiql_shows_the_statistics_that_each_run_requests_from_langsmith(gateway: Gateway) -> None:
    async with browsing(str(gateway.client.base_url)) as watched:
        page = watched.page
        await page.goto(f"{watched.origin}/graphql")
        await expect(tabs(page)).to_have_text(TABS)
        await expect(upstream(page)).to_contain_text("Run an operation")
        await expect(operation(page)).to_contain_text("query NewestProjects")

        # Without a key, the answer is an error, and the headers show where to enter a key.
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

        # After the explorer adds a statistic, a run fetches only that one.
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
        await expect(upstream(page)).to_contain_text("No requests to LangSmith.")
        await expect(table).to_have_count(0)

        # The key is used in other tabs, too.
        await page.get_by_role("tab", name="OneSession").click()
        await page.get_by_role("button", name="Variables").click()
        await write(page, tool(page), json.dumps({"id": SESSION}))
        await run(page)
        await expect(response(page)).to_contain_text("Release-Notes-eu")
        await expect(upstream(page)).to_contain_text("OneSession")

        # The browser stores tabs and history, but not the key.
        storage = await stored(page, containing="graphiql:queries")
        assert "errorRate" in storage
        assert "demo" not in storage
        await page.reload()
        await expect(operation(page)).to_contain_text("OneSession")
        await expect(tool(page)).to_contain_text('"X-API-Key": ""')
        watched.assert_clean()


async def test_graphiql_opens_a_tab_for_a_link_without_sending_its_query_to_the_server(serve: Serve) -> None:
    link = f"#query={quote(LINKED_QUERY, safe='')}&variables={quote(json.dumps({'first': 2}), safe='')}"
    own = {"auth": "server", "langsmith_api_key": "demo", "allow_anonymous": True}
    async with serve(**own) as gateway, browsing(str(gateway.client.base_url), dark=True) as watched:
        page = watched.page
        urls: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        await page.goto(f"{watched.origin}/graphql{link}")
        await expect(page.get_by_role("tab", name="Linked", selected=True)).to_be_visible()
        await expect(operation(page)).to_contain_text("$first: Int!")
        await expect(tool(page)).to_contain_text('"first": 2')
        assert page.url == f"{watched.origin}/graphql"
        await run(page)
        await expect(response(page)).to_contain_text("travel-planner-canary")
        await expect(response(page)).not_to_contain_text("email-drafter-dev")

        # The viewer follows another link while the page is open.
        await page.evaluate("location.hash = 'query=' + encodeURIComponent('query Later { __typename }')")
        await expect(tabs(page)).to_have_text(["Linked", *TABS, "Later"])
        await expect(operation(page)).to_contain_text("query Later")
        await run(page)
        await expect(upstream(page)).to_contain_text("Later")

        # The same link again opens no second tab.
        await stored(page, containing='"title":"Later"')
        await page.goto("about:blank")
        await page.goto(f"{watched.origin}/graphql{link}")
        await expect(tabs(page)).to_have_text(["Linked", *TABS, "Later"])
        await expect(page.get_by_role("tab", name="Linked", selected=True)).to_be_visible()
        assert not [url for url in urls if "Linked" in url or "query=" in url]

        # The page is dark like the system, and asks for no key, because the gateway has one.
        dark = await page.evaluate("getComputedStyle(document.querySelector('.graphiql-container')).backgroundColor")
        assert max(int(each) for each in dark.removeprefix("rgb(").removesuffix(")").split(",")) < 80
        await expect(page.locator("body")).not_to_contain_text("X-API-Key")
        watched.assert_clean()


async def test_graphiql_shows_rows_first_and_deferred_statistics_later(gateway: Gateway, langsmith: Emulator) -> None:
    async with browsing(str(gateway.client.base_url)) as watched:
        page = watched.page
        await page.goto(f"{watched.origin}/graphql")
        await expect(operation(page)).to_contain_text("query NewestProjects")
        await page.get_by_role("tab", name="DeferredStatistics").click()
        await expect(operation(page)).to_contain_text("@defer")
        await write(page, tool(page), '{"X-API-Key": "demo"}')
        resume = langsmith.pause_statistics()
        await run(page)
        await expect(response(page)).to_contain_text("voice-concierge-staging")
        await expect(response(page)).not_to_contain_text("runCount")
        await expect(upstream(page)).to_contain_text("The deferred parts of the answer follow.")
        tables = upstream(page).get_by_role("table")
        await expect(tables).to_have_count(1)
        await expect(tables).not_to_contain_text("stats_select")

        await langsmith.wait_for_requests(3)
        resume.set()
        for text in ("voice-concierge-staging", "runCount", "errorRate"):
            await expect(response(page)).to_contain_text(text)
        for text in ("hasNext", "pending", "extensions"):
            await expect(response(page)).not_to_contain_text(text)
        await expect(tables).to_have_count(3)
        selected = tables.get_by_role("row", name="stats_select").locator("code")
        assert sorted(await selected.all_text_contents()) == ["error_rate", "latency_p99", "run_count"]
        await expect(upstream(page)).to_contain_text("ms, first part")
        await expect(upstream(page)).to_contain_text("ms in total")
        await expect(upstream(page)).not_to_contain_text("follow")

        # The explorer understands the query.
        await page.get_by_role("button", name="Show GraphiQL Explorer").click()
        await page.locator(".graphiql-explorer-root").get_by_text("description", exact=True).click()
        await expect(operation(page)).to_contain_text("description")
        watched.assert_clean()


async def test_graphiql_stops_the_requests_for_deferred_statistics(gateway: Gateway, langsmith: Emulator) -> None:
    link = quote("query Stopped { sessions(first: 2) { nodes { name ... @defer { runCount } } } }", safe="")
    async with browsing(str(gateway.client.base_url)) as watched:
        page = watched.page
        await page.goto(f"{watched.origin}/graphql#query={link}")
        await write(page, tool(page), '{"X-API-Key": "demo"}')
        langsmith.pause_statistics()
        await run(page)
        await expect(upstream(page)).to_contain_text("The deferred parts of the answer follow.")
        await page.get_by_role("button", name="Stop query").click()
        await langsmith.wait_for_disconnects(1)
        await expect(upstream(page)).not_to_contain_text("follow")
        await expect(response(page)).to_contain_text("voice-concierge-staging")
        await expect(response(page)).not_to_contain_text("errors")
        watched.assert_clean()


async def test_graphiql_keeps_the_parts_that_came_before_the_connection_broke(gateway: Gateway) -> None:
    async with browsing(str(gateway.client.base_url)) as watched:
        page = watched.page
        await page.route("**/graphql", answer_first_part)
        await page.goto(f"{watched.origin}/graphql")
        await expect(operation(page)).to_contain_text("query NewestProjects")
        await run(page)
        await expect(response(page)).to_contain_text("only-name")
        await expect(response(page)).to_contain_text("The connection broke before the answer was complete.")
        await expect(upstream(page)).not_to_contain_text("follow")
        watched.assert_clean()


async def answer_first_part(route: Route) -> None:
    """Answer an operation with the first of two parts only."""
    if route.request.method != "POST":
        await route.continue_()
        return
    part = "content-type: application/json\r\n\r\n" + json.dumps(
        {"data": {"name": "only-name"}, "pending": [{"id": "0", "path": []}], "hasNext": True}
    )
    body = f"\r\n---\r\n{part}\r\n---\r\n"
    await route.fulfill(content_type='multipart/mixed; boundary="-"; incrementalSpec=v0.2', body=body)


async def test_graphiql_runs_operations_without_introspection_and_explain(serve: Serve) -> None:
    async with (
        serve(introspection=False, explain=False) as gateway,
        browsing(str(gateway.client.base_url)) as watched,
    ):
        page = watched.page
        await page.goto(f"{watched.origin}/graphql")
        await expect(page.get_by_text("Introspection is switched off")).to_be_visible()
        await write(page, tool(page), '{"x-api-key": "demo"}')
        await run(page)
        await expect(response(page)).to_contain_text("voice-concierge-staging")
        await expect(page.get_by_role("button", name="Show GraphiQL Explorer")).to_have_count(0)
        await expect(page.get_by_role("button", name="Show Upstream")).to_have_count(0)
        watched.assert_clean()
