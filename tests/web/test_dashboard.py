"""The dashboard in a browser: it shows the same figures as GraphQL, and keeps them while it reports a failure."""

import contextlib
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Locator, Page, Route, expect

from app.emulator import Emulator, Fault
from tests.conftest import NOON, Clock, Gateway, Serve, take_recorded_params
from tests.support.browser import WatchedPage, browsing, needs_chromium

pytestmark = [pytest.mark.xdist_group("browser"), needs_chromium]

ROWS = """
query ($first: Int!, $filter: SessionFilter, $order: SessionOrder, $window: Duration!, $twice: Duration!) {
  sessions(first: $first, filter: $filter, orderBy: $order, stats: { last: $window }) {
    nodes {
      name runCount latencyP50 latencyP99 errorRate totalTokens totalCost
      twice: stats(last: $twice) { runCount errorRate totalTokens totalCost }
    }
  }
}
"""
UNKNOWN, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
SECONDS = 1000
REFRESH = 15 * SECONDS


@contextlib.asynccontextmanager
async def dashboard(
    gateway: Gateway, fragment: str = "", *, key: str | None = "demo", dark: bool = False, stopped_clock: bool = False
) -> AsyncIterator[WatchedPage]:
    """Open the dashboard, and enter a key. `stopped_clock`: the page's clock moves only in `pass_time`."""
    async with browsing(str(gateway.client.base_url), dark=dark) as watched:
        if stopped_clock:
            await watched.page.clock.install(time=NOON)
            await watched.page.clock.pause_at(NOON + timedelta(seconds=1))
        await watched.page.goto(f"{watched.origin}/{fragment}")
        if key:
            await enter_key(watched.page, key)
            await wait_until_loaded(watched.page)
        yield watched


async def enter_key(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.keyboard.press("Enter")


async def wait_until_loaded(page: Page) -> None:
    await expect(page.locator("main")).to_have_attribute("aria-busy", "false")
    await expect(page.get_by_role("table")).to_have_attribute("aria-busy", "false")


async def wait_until_request_is_over(page: Page) -> None:
    await expect(page.locator("main[data-has-request]")).to_have_count(0)


async def click(page: Page, target: Locator) -> None:
    await target.click()
    await wait_until_loaded(page)


async def pass_time(page: Page, clock: Clock, milliseconds: int = REFRESH) -> None:
    """Move the clock of the gateway, and then that of the page, which fires its timers.

    The page sets the timer of its next refresh when a request is over, so that a request in flight is waited for.
    """
    await wait_until_request_is_over(page)
    clock.advance(milliseconds / SECONDS + 1)
    await page.clock.fast_forward(milliseconds)


async def shown_names(page: Page) -> list[str]:
    return await page.locator("tbody th .name").all_text_contents()


async def shown_cards(page: Page) -> dict[str, list[str]]:
    """Value and change of each card, by its title."""
    texts = [await card.locator("dd").all_text_contents() for card in await page.locator(".card").all()]
    return dict(zip(await page.locator(".card dt").all_text_contents(), texts, strict=True))


async def expected_rows(gateway: Gateway, **variables: Any) -> list[dict[str, Any]]:
    """Rows of the gateway for the page's default view, with some variables changed."""
    defaults = {
        "first": 20,
        "filter": {"referenceFree": True},
        "order": {"field": "NAME", "direction": "ASC"},
        "window": "PT24H",
        "twice": "PT48H",
    }
    data = await gateway.data(ROWS, defaults | variables)
    nodes: list[dict[str, Any]] = data["sessions"]["nodes"]
    return nodes


def dollars(value: Decimal) -> str:
    places = Decimal("0.01") if value >= 1 else Decimal("0.0001")
    return f"${value.quantize(places, ROUND_HALF_UP):,}"


def percent(share: Decimal) -> str:
    return f"{(share * 100).quantize(Decimal('0.1'), ROUND_HALF_UP)}%"


def failed_runs(stats: dict[str, Any]) -> int:
    return round(Decimal(stats["runCount"]) * Decimal(stats["errorRate"] or 0))


def change(now: Decimal, before: Decimal) -> str:
    percents = (now - before) / before * 100
    if percents > 999:
        return f"{TIMES}{int((percents / 100).quantize(Decimal(1), ROUND_HALF_UP)) + 1}"
    places = Decimal("0.1") if abs(percents) < 10 else Decimal(1)
    return f"{percents.quantize(places, ROUND_HALF_UP):+}%".replace("-", MINUS)


async def test_the_dashboard_asks_for_a_key_and_stores_it_in_the_tab_only(gateway: Gateway) -> None:
    async with dashboard(gateway, key=None) as watched:
        page = watched.page
        form, table = page.get_by_label("API key"), page.get_by_role("table")
        await expect(form).to_be_focused()
        await expect(table).to_be_hidden()
        await enter_key(page, "wrong-key")
        await expect(page.get_by_role("alert")).to_contain_text("UNAUTHENTICATED")
        await expect(page.get_by_role("alert")).to_contain_text("Check the key")
        await expect(form).to_be_focused()
        await enter_key(page, "clé")
        await expect(page.get_by_role("alert")).to_contain_text("cannot be sent")

        await enter_key(page, "demo-2")
        await expect(table).to_be_visible()
        await wait_until_loaded(page)
        await expect(form).to_be_hidden()
        stored = await page.evaluate("[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]")
        assert "demo-2" in stored[0]
        assert (stored[1:], "demo-2" in await page.content(), "demo-2" in page.url) == (["{}", ""], False, False)
        assert "demo-2" not in await page.locator("input").evaluate_all("all => all.map(input => input.value)")

        await page.reload()
        await expect(page.locator("tbody th").first).to_be_visible()
        names = await shown_names(page)
        await page.get_by_role("button", name="Forget key").click()
        await expect(form).to_be_focused()
        assert await page.evaluate("sessionStorage.length") == 0
        assert names
        assert names[0] not in await page.content()
        watched.assert_clean()


async def test_the_dashboard_asks_for_a_token_only_if_the_gateway_requires_one(serve: Serve) -> None:
    own = {"auth": "server", "langsmith_api_key": "demo"}
    async with serve(**own, client_tokens="s3cret") as gateway, dashboard(gateway, key=None) as watched:
        page = watched.page
        await expect(page.get_by_label("Workspace ID")).to_be_hidden()
        await page.get_by_label("Token", exact=True).fill("other")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("UNAUTHENTICATED")
        assert [error for error in watched.errors if "401 (Unauthorized)" not in error] == []
        watched.errors.clear()
        await page.get_by_label("Token", exact=True).fill("s3cret")
        await page.keyboard.press("Enter")
        await expect(page.locator("tbody th")).to_have_count(20)
        watched.assert_clean()
    off = {"graphiql": False, "explain": False, "introspection": False}
    async with serve(**own, **off, allow_anonymous=True) as gateway, dashboard(gateway, key=None) as watched:
        page = watched.page
        await expect(page.locator("tbody th")).to_have_count(20)
        await expect(page.get_by_role("button", name="Forget")).to_have_count(0)
        await page.locator("summary").click()
        await expect(page.get_by_role("button", name="Explain")).to_be_hidden()
        assert await page.locator("a:visible").all_text_contents() == ["Metrics"]
        watched.assert_clean()


async def test_the_dashboard_shows_the_same_figures_as_graphql(gateway: Gateway) -> None:
    async with dashboard(gateway, "#sort=-p99") as watched:
        page = watched.page
        for label, window, twice, previous in (
            ("24 h", "PT24H", "PT48H", "24\u00a0h"),
            ("7 d", "P7D", "P14D", "7\u00a0d"),
            ("1 h", "PT1H", "PT2H", "hour"),
        ):
            await click(page, page.get_by_text(label, exact=True))
            nodes = await expected_rows(gateway, order={"field": "LATENCY_P99"}, window=window, twice=twice)
            assert await shown_names(page) == [node["name"] for node in nodes]

            runs = Decimal(sum(node["runCount"] for node in nodes))
            runs_before = Decimal(sum(node["twice"]["runCount"] for node in nodes)) - runs
            cost = sum((Decimal(node["totalCost"]) for node in nodes), Decimal())
            cost_before = sum((Decimal(node["twice"]["totalCost"]) for node in nodes), Decimal()) - cost
            failures = sum(failed_runs(node) for node in nodes)
            active = sum(node["runCount"] > 0 for node in nodes)
            cards = await shown_cards(page)
            assert cards["Active sessions"][0] == f"{active} of 20"
            assert cards["Runs"] == [f"{runs:,}", f"{change(runs, runs_before)} vs previous {previous}"]
            assert cards["Cost"] == [dollars(cost), f"{change(cost, cost_before)} vs previous {previous}"]
            assert cards["Error rate"][0] == percent(failures / runs)

            cells = await page.locator("tbody tr").first.locator("td .value").all_text_contents()
            first = nodes[0]
            assert (cells[0], cells[4], cells[5]) == (
                f"{first['runCount']:,}",
                f"{first['totalTokens']:,}",
                dollars(Decimal(first["totalCost"])),
            )
            assert cells[2] == f"{first['latencyP99']:.2f} s"
            chart = await page.get_by_role("img", name="p99 latency").get_attribute("aria-label")
            assert chart is not None
            assert chart.startswith(f"p99 latency: {first['name']} {cells[2]}, {nodes[1]['name']} ")
        notes = await page.locator("tbody tr").first.locator(".note").all_text_contents()
        assert notes[1:3] == [UNKNOWN, UNKNOWN]  # percentiles of the previous window are unknown

        await click(page, page.get_by_label("Compare"))
        await expect(page.locator("tbody .note").first).to_be_hidden()
        assert page.url.endswith("/#window=1h&sort=-p99&compare=no")
        watched.assert_clean()


async def test_the_dashboard_sorts_pages_and_searches_and_stores_the_view_in_its_url(
    gateway: Gateway, langsmith: Emulator
) -> None:
    async with dashboard(gateway) as watched:
        page = watched.page
        table = page.get_by_role("table")
        await click(page, page.get_by_role("button", name="Error rate"))
        await expect(table.get_by_role("columnheader", name="Error rate")).to_have_attribute("aria-sort", "descending")
        by_errors = await expected_rows(gateway, first=40, order={"field": "ERROR_RATE"})
        assert await shown_names(page) == [node["name"] for node in by_errors[:20]]
        await click(page, page.get_by_role("button", name="Next"))
        assert await shown_names(page) == [node["name"] for node in by_errors[20:]]
        await page.get_by_label("Rows").select_option("10")
        await wait_until_loaded(page)
        assert await shown_names(page) == [node["name"] for node in by_errors[:10]]

        # The keyboard sorts too, and the button keeps the focus.
        name = page.get_by_role("button", name="Name")
        await name.focus()
        await page.keyboard.press("Enter")
        await wait_until_loaded(page)
        await page.keyboard.press("Space")
        await wait_until_loaded(page)
        await expect(name).to_be_focused()
        await expect(table.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "descending")
        by_name = await expected_rows(gateway, first=10, order={"field": "NAME", "direction": "DESC"})
        assert await shown_names(page) == [node["name"] for node in by_name]

        # LangSmith cannot order by cost: the page sorts its rows without a request.
        take_recorded_params(langsmith)
        await page.get_by_role("button", name="Cost").click()
        costs = sorted((Decimal(node["totalCost"] or 0) for node in by_name), reverse=True)
        cells = page.locator("tbody td:nth-child(7) .value")
        await expect(cells.first).to_have_text(dollars(costs[0]))
        assert [text for text in await cells.all_text_contents() if text != UNKNOWN] == [
            dollars(cost) for cost in costs if cost
        ]
        assert take_recorded_params(langsmith) == []

        await page.get_by_role("searchbox").fill("eu")
        found = await expected_rows(
            gateway,
            first=10,
            filter={"referenceFree": True, "nameContains": "eu"},
            order={"field": "NAME", "direction": "DESC"},
        )
        await page.wait_for_url("**/#search=eu&**")
        await wait_until_loaded(page)
        names = await shown_names(page)
        assert sorted(names) == sorted(node["name"] for node in found)
        assert page.url.endswith("/#search=eu&sort=-name&local=-cost&size=10")
        await page.reload()
        await expect(page.locator("tbody th .name")).to_have_text(names)
        await expect(page.get_by_role("searchbox")).to_have_value("eu")

        await page.get_by_role("searchbox").fill("<b>nothing")
        await expect(page.get_by_text("No session has “<b>nothing” in its name.")).to_be_visible()
        assert (await shown_cards(page))["Cost"][0] == UNKNOWN
        await click(page, page.get_by_role("button", name="Show all"))
        await expect(page.locator("tbody th")).to_have_count(10)
        await page.go_back()
        await expect(page.locator("tbody th")).to_have_count(0)
        watched.assert_clean()


async def test_the_dashboard_refreshes_in_place_and_keeps_its_rows_while_langsmith_fails(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_retries=0) as gateway, dashboard(gateway, stopped_clock=True) as watched:
        page = watched.page
        alert, row = page.get_by_role("alert"), page.locator("tbody tr").first
        take_recorded_params(langsmith)
        await page.get_by_role("button", name="p99").focus()
        await row.evaluate("row => { row.isSameElement = true }")

        def set_run_counts(rows: list[dict[str, Any]]) -> None:
            for each in rows:
                each["run_count"] = 9_007_199

        langsmith.faults.append(Fault(rewrite=set_run_counts, times=3))  # the rows, and two windows
        await pass_time(page, clock)
        await expect(row.locator(".value").first).to_have_text("9,007,199")
        assert await row.evaluate("row => row.isSameElement")
        await expect(page.get_by_role("button", name="p99")).to_be_focused()
        names = await shown_names(page)

        langsmith.faults.append(Fault(status=503, times=None))
        await pass_time(page, clock)
        await expect(alert).to_contain_text("UPSTREAM_ERROR")
        await expect(alert).to_contain_text("Showing the last answer.")
        assert await shown_names(page) == names
        langsmith.faults.clear()

        async def answer_rate_limited(route: Route) -> None:
            extensions = {"code": "RATE_LIMITED", "retryAfter": 39.5}
            await route.fulfill(json={"errors": [{"message": "Too often.", "extensions": extensions}], "data": None})

        await page.route("**/graphql", answer_rate_limited)
        await pass_time(page, clock)
        await expect(alert).to_contain_text("Too often. Try again in 40 s. (RATE_LIMITED)")
        await page.unroute("**/graphql")
        take_recorded_params(langsmith)
        await pass_time(page, clock, 30 * SECONDS)
        await expect(alert).to_be_visible()
        assert take_recorded_params(langsmith) == []
        await pass_time(page, clock, 10 * SECONDS)
        await expect(alert).to_be_hidden()
        assert await row.evaluate("row => row.isSameElement")
        watched.assert_clean()


async def test_the_dashboard_sends_no_requests_while_it_is_paused_or_hidden(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    async with dashboard(gateway, stopped_clock=True) as watched:
        page = watched.page
        take_recorded_params(langsmith)
        await page.get_by_role("button", name="Pause").click()
        await pass_time(page, clock, 2 * REFRESH)
        assert take_recorded_params(langsmith) == []
        await page.get_by_role("button", name="Resume").click()
        await pass_time(page, clock, 1)
        await langsmith.wait_for_requests(2)
        await wait_until_request_is_over(page)

        async def set_hidden(hidden: str) -> None:
            await page.evaluate(f"""() => {{
              Object.defineProperty(document, "hidden", {{ value: {hidden}, configurable: true }});
              document.dispatchEvent(new Event("visibilitychange"));
            }}""")

        await set_hidden("true")
        take_recorded_params(langsmith)
        await pass_time(page, clock, 2 * REFRESH)
        assert take_recorded_params(langsmith) == []
        await set_hidden("false")
        await pass_time(page, clock, 1)
        await langsmith.wait_for_requests(1)
        watched.assert_clean()


async def test_the_first_load_shows_placeholders_while_it_waits_and_retries_after_a_failure(
    gateway: Gateway, langsmith: Emulator
) -> None:
    async with dashboard(gateway, key=None, stopped_clock=True) as watched:
        page = watched.page
        gate = langsmith.pause()
        await enter_key(page, "demo")
        await expect(page.locator("main")).to_have_attribute("aria-busy", "true")
        await expect(page.locator(".skeleton").first).to_be_visible()
        gate.set()
        await wait_until_loaded(page)
        await expect(page.locator(".skeleton")).to_have_count(0)

        async def answer_sign_in_page(route: Route) -> None:
            await route.fulfill(status=200, body="<h1>Sign in</h1>")

        await page.route("**/graphql", answer_sign_in_page)
        await page.reload()
        await expect(page.get_by_role("alert")).to_contain_text("The response (HTTP 200) did not come from the gateway")
        await expect(page.get_by_role("table")).to_be_hidden()
        await page.unroute("**/graphql")
        await page.clock.fast_forward(REFRESH)
        await expect(page.locator("tbody th")).to_have_count(20)
        await expect(page.get_by_role("alert")).to_be_hidden()
        watched.assert_clean()


async def test_the_dashboard_explains_its_requests_on_demand_and_links_its_operation_to_graphiql(
    gateway: Gateway, clock: Clock
) -> None:
    async with dashboard(gateway, "#search=eu&window=1h&sort=-p99", stopped_clock=True) as watched:
        page = watched.page
        explained, requests = page.locator("#explained"), page.locator("#requests li")
        await page.locator("summary").click()
        await expect(requests).to_have_count(0)
        await page.get_by_role("button", name="Explain").click()
        await expect(explained).to_contain_text("cache HIT")
        await expect(explained).to_contain_text("0 requests to LangSmith")
        await expect(page.get_by_role("button", name="Explain")).to_be_focused()
        clock.advance(REFRESH / SECONDS)
        await page.get_by_role("button", name="Explain").click()
        await expect(explained).to_contain_text("cache MISS")
        await expect(explained).to_contain_text("2 requests to LangSmith")
        await expect(requests).to_have_count(2)
        await expect(requests.first).to_contain_text("GET /api/v1/sessions?")
        link = page.get_by_role("link", name="Open in GraphiQL")
        url = urlsplit(await link.evaluate("link => link.href"))
        assert url.path == "/graphql"
        [query], [variables] = parse_qs(url.fragment).values()
        body = await gateway.run(query, json.loads(variables))
        assert [node["name"] for node in body["data"]["sessions"]["nodes"]] == await shown_names(page)
        await click(page, page.get_by_role("button", name="Name"))
        await expect(requests).to_have_count(0)  # they were of another operation
        watched.assert_clean()


async def test_the_dashboard_is_dark_fits_a_small_screen_and_names_its_controls(gateway: Gateway) -> None:
    async with dashboard(gateway, dark=True) as watched:
        page = watched.page
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(json.loads(background.replace("rgb(", "[").replace(")", "]"))) < 120
        await page.set_viewport_size({"width": 360, "height": 740})
        await page.locator("summary").click()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        # Every control has an accessible name.
        tree = await page.locator("body").aria_snapshot()
        roles = "button|radio|checkbox|searchbox|combobox|link|region|img|search|table|navigation"
        assert re.findall(rf'- (?:{roles})\b(?! ["/]).*', tree) == []
        assert len(re.findall(rf'- (?:{roles}) ["/].+', tree)) > 25
        watched.assert_clean()


async def test_the_dashboard_formats_figures_of_any_size(gateway: Gateway) -> None:
    async with dashboard(gateway) as watched:
        formatted = await watched.page.evaluate("""async () => {
          const { asMoney, asCount, change, minus, money } = await import("/assets/dashboard/assets/figures.js");
          const cents = (text) => asMoney(money(text));
          return [
            cents("90071992547409931234.565"), cents("0.0000001"), cents("0"), cents("0.30004"), cents("-2.5"),
            asMoney(money("0.3") - money("0.1")), asMoney(null), asCount(null), minus(null, 1), minus(1, 2),
            change(110, 100), change(95, 100), change(5, 0), change(0, 0), change(100.01, 100), change(null, 1),
          ];
        }""")
        assert formatted == [
            "$90,071,992,547,409,931,234.57", "<$0.0001", "$0.0000", "$0.3000", "-$2.50",
            "$0.2000", UNKNOWN, UNKNOWN, None, 0,
            "+10%", f"{MINUS}5.0%", "new", "±0%", "±0%", UNKNOWN,
        ]  # fmt: skip
        watched.assert_clean()
