"""The dashboard shows rows at once and their statistics when LangSmith has computed them, and refreshes in place."""

from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from app.emulator import Emulator, Fault, RecordedRequest
from tests.conftest import Clock, Gateway, Serve, create_http_client
from tests.support.breakable_proxy import BreakableProxy
from tests.support.browser import needs_chromium
from tests.web.test_dashboard import (
    REFRESH,
    SECONDS,
    UNKNOWN,
    click,
    dashboard,
    enter_key,
    expected_rows,
    pass_time,
    shown_cards,
    shown_names,
    wait_until_loaded,
)

pytestmark = [pytest.mark.xdist_group("browser"), needs_chromium]

BOXES = """() => [...document.querySelectorAll(".card, figure, svg, thead th, tbody td, tbody th, nav")].map((node) => {
  const { x, y, width, height } = node.getBoundingClientRect();
  return [node.tagName, x, y, width, height].join(" ");
})"""


def is_lookup(request: RecordedRequest) -> bool:
    return any(name == "id" for name, _ in request.params)


def rewritten(run_count: int) -> Fault:
    """Lets every session have this number of runs."""

    def set_run_counts(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["run_count"] = run_count

    return Fault(rewrite=set_run_counts, times=None)


async def shown_values(page: Page) -> list[list[str]]:
    """The figures of each row, with their changes."""
    rows = await page.locator("tbody tr").all()
    return [await row.locator("td .value, td .note, time").all_text_contents() for row in rows]


async def test_rows_are_shown_while_langsmith_computes_their_statistics(gateway: Gateway, langsmith: Emulator) -> None:
    statistics = langsmith.pause_statistics()
    async with dashboard(gateway, key=None) as watched:
        page = watched.page
        table, first_row = page.get_by_role("table"), page.locator("tbody tr").first
        await enter_key(page, "demo")
        await expect(page.locator("tbody th .name")).to_have_count(20)
        await expect(page.locator("main")).to_have_attribute("aria-busy", "false")
        await expect(table).to_have_attribute("aria-busy", "true")
        await expect(page.get_by_role("status").first).to_have_text("20 sessions, page 1. Their statistics follow.")
        await expect(page.locator(".skeleton")).to_have_count(0)
        await expect(first_row.locator("td .value.is-pending")).to_have_count(6)
        names, boxes = await shown_names(page), await page.evaluate(BOXES)

        statistics.set()
        await wait_until_loaded(page)
        await expect(page.locator(".is-pending")).to_have_count(0)
        await expect(page.get_by_role("status").first).to_have_text("20 sessions, page 1.")
        rows = await expected_rows(gateway)
        assert names == await shown_names(page) == [row["name"] for row in rows]
        runs = page.locator("tbody td:nth-child(2) .value")
        assert await runs.all_text_contents() == [f"{row['runCount']:,}" for row in rows]
        assert await page.evaluate(BOXES) == boxes  # nothing moved
        watched.assert_clean()


async def test_the_comparison_fills_in_after_the_statistics(gateway: Gateway, langsmith: Emulator) -> None:
    comparison = langsmith.pause(is_lookup)
    async with dashboard(gateway, "#sort=-p99", key=None) as watched:
        page = watched.page
        await enter_key(page, "demo")
        rows = await expected_rows(gateway, order={"field": "LATENCY_P99"}, twice="PT24H")
        runs = page.locator("tbody td:nth-child(2)")
        await expect(runs.locator(".value").first).to_have_text(f"{rows[0]['runCount']:,}")
        await expect(runs.locator(".note.is-pending")).to_have_count(20)
        await expect(page.get_by_role("img", name="p99 latency")).to_contain_text(rows[0]["name"])
        total = sum(row["runCount"] for row in rows)
        assert (await shown_cards(page))["Runs"] == [f"{total:,}", ""]
        comparison.set()
        await wait_until_loaded(page)
        await expect(page.locator(".is-pending")).to_have_count(0)
        assert (await shown_cards(page))["Runs"][1].endswith("vs previous 24\u00a0h")
        watched.assert_clean()


async def test_a_refresh_keeps_all_figures_until_the_new_ones_come(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    async with dashboard(gateway, stopped_clock=True) as watched:
        page = watched.page
        rows = page.locator("tbody tr")
        before, cards = await shown_values(page), await shown_cards(page)
        await page.evaluate("""() => {
          window.rows = [...document.querySelectorAll("tbody tr")];
          window.pending = [];
          new MutationObserver(() => window.pending.push(...document.querySelectorAll(".is-pending, .skeleton")))
            .observe(document, { subtree: true, childList: true, attributes: true });
          scrollTo(0, 300);
          getSelection().selectAllChildren(window.rows[2].querySelector(".name"));
        }""")
        await page.get_by_role("button", name="p99").focus()
        place = "() => [scrollY, String(getSelection()), document.activeElement.dataset.column].join()"
        placed = await page.evaluate(place)

        statistics = langsmith.pause_statistics()
        langsmith.faults.append(rewritten(9_007_199))
        langsmith.requests.clear()
        await pass_time(page, clock)
        await langsmith.wait_for_requests(3)  # the rows, and two windows
        await expect(page.get_by_role("table")).to_have_attribute("aria-busy", "false")
        assert (await shown_values(page), await shown_cards(page)) == (before, cards)
        statistics.set()
        await expect(rows.first.locator(".value").first).to_have_text("9,007,199")
        assert await page.evaluate(place) == placed
        assert await page.evaluate(
            "window.rows.every((row, index) => row === document.querySelectorAll('tr')[index + 1])"
        )
        assert await page.evaluate("window.pending.length") == 0
        watched.assert_clean()


async def test_another_window_replaces_figures_by_placeholders_and_another_order_keeps_them(
    gateway: Gateway, langsmith: Emulator
) -> None:
    async with dashboard(gateway, "#search=café") as watched:
        page = watched.page
        values = page.locator("tbody td .value")
        count = await values.count()
        statistics = langsmith.pause_statistics()
        before = sorted(await shown_values(page))
        await page.get_by_role("button", name="Name").click()
        await expect(page.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "descending")
        await expect(page.locator("main")).to_have_attribute("aria-busy", "false")
        assert sorted(await shown_values(page)) == before
        await page.get_by_text("7 d", exact=True).click()
        await expect(page.locator("tbody .value.is-pending")).to_have_count(count)
        assert set(await values.all_text_contents()) == {""}
        statistics.set()
        await wait_until_loaded(page)
        assert await values.count() == count
        await expect(page.locator(".is-pending")).to_have_count(0)
        watched.assert_clean()


async def test_statistics_that_fail_leave_the_rows_and_the_next_refresh_repairs_them(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    langsmith.faults += [Fault(), Fault(status=503, times=None)]
    async with (
        serve(upstream_retries=0) as gateway,
        dashboard(gateway, "#compare=no", stopped_clock=True) as watched,
    ):
        page = watched.page
        alert, values = page.get_by_role("alert"), page.locator("tbody td .value")
        await expect(alert.get_by_text("UPSTREAM_ERROR")).to_have_count(1)
        await expect(alert).to_contain_text("The next refresh will try again.")
        assert len(await shown_names(page)) == 20
        assert set(await values.all_text_contents()) == {"failed"}
        assert (await shown_cards(page))["Runs"][0] == "failed"
        langsmith.faults.clear()
        await pass_time(page, clock)
        await expect(alert).to_be_hidden()
        await expect(page.locator(".is-failed")).to_have_count(0)
        figures = await values.all_text_contents()
        assert "failed" not in figures

        # In a refresh, the figures that are known stay, and are marked.
        langsmith.faults += [Fault(), Fault(status=503, times=None)]
        await pass_time(page, clock)
        await expect(alert).to_contain_text("Underlined figures are from an earlier answer.")
        await expect(page.locator("tbody td .value.is-outdated")).to_have_count(120)
        assert await values.all_text_contents() == figures
        langsmith.faults.clear()
        await pass_time(page, clock)
        await expect(page.locator(".is-failed")).to_have_count(0)
        await expect(alert).to_be_hidden()
        watched.assert_clean()


async def test_a_comparison_that_fails_leaves_the_statistics(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults += [Fault(), Fault(status=503, times=None)]
    async with serve(upstream_retries=0) as gateway, dashboard(gateway, "#sort=-p99") as watched:
        page = watched.page
        await expect(page.get_by_role("alert").get_by_text("UPSTREAM_ERROR")).to_have_count(1)
        await expect(page.locator("tbody .value.is-failed")).to_have_count(0)
        notes = page.locator("tbody tr").first.locator(".note")
        assert await notes.all_text_contents() == ["failed", UNKNOWN, UNKNOWN, "failed", "failed", "failed"]
        value, note = (await shown_cards(page))["Runs"]
        assert value.replace(",", "").isdigit()
        assert note == "failed"
        watched.assert_clean()


async def test_a_connection_that_breaks_leaves_what_has_come(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    statistics = langsmith.pause_statistics()
    async with (
        BreakableProxy(str(gateway.client.base_url)).serving() as proxy,
        create_http_client(proxy.url) as client,
        dashboard(replace(gateway, client=client), key=None, stopped_clock=True) as watched,
    ):
        page = watched.page
        alert, values = page.get_by_role("alert"), page.locator("tbody td .value")
        await enter_key(page, "demo")
        await expect(page.locator("tbody th .name")).to_have_count(20)
        await proxy.break_connections()
        await expect(alert).to_contain_text("The connection broke before the answer was complete.")
        await expect(page.get_by_role("table")).to_have_attribute("aria-busy", "false")
        assert len(await shown_names(page)) == 20
        assert set(await values.all_text_contents()) == {"failed"}
        assert [error for error in watched.errors if "net::ERR_" not in error] == []
        watched.errors.clear()

        statistics.set()
        await pass_time(page, clock)
        await expect(alert).to_be_hidden()
        await expect(page.locator(".is-failed, .is-pending")).to_have_count(0)
        watched.assert_clean()

        # In a refresh, the figures that are known stay, and are marked.
        figures = await values.all_text_contents()
        langsmith.pause_statistics()
        clock.advance(REFRESH / SECONDS)
        await page.get_by_role("button", name="Refresh").click()
        await expect(page.get_by_role("table")).to_have_attribute("aria-busy", "true")  # the rows have come
        await proxy.break_connections()
        await expect(alert).to_contain_text("Underlined figures are from an earlier answer.")
        assert await values.all_text_contents() == figures


async def test_an_answer_that_breaks_before_its_first_part_is_not_taken_for_one_of_another_server(
    gateway: Gateway,
) -> None:
    async with dashboard(gateway) as watched:
        page = watched.page

        async def answer_less_than_a_part(route: Route) -> None:
            part = '\r\n---\r\ncontent-type: application/json\r\n\r\n{"data":'
            await route.fulfill(content_type='multipart/mixed; boundary="-"; incrementalSpec=v0.2', body=part)

        await page.route("**/graphql", answer_less_than_a_part)
        await click(page, page.get_by_role("button", name="Refresh"))
        await expect(page.get_by_role("alert")).to_contain_text("The connection broke before the answer was complete.")
        await expect(page.get_by_role("alert")).to_contain_text("Showing the last answer.")
        await expect(page.locator(".is-failed")).to_have_count(0)
        watched.assert_clean()


async def test_the_whole_answer_is_read_if_it_does_not_come_in_parts(gateway: Gateway) -> None:
    async with dashboard(gateway, key=None) as watched:
        page = watched.page

        async def accept_json_only(route: Route) -> None:
            await route.continue_(headers={**route.request.headers, "accept": "application/json"})

        await page.route("**/graphql", accept_json_only)
        async with page.expect_response("**/graphql") as response:
            await enter_key(page, "demo")
        assert (await (await response.value).header_value("content-type") or "").startswith("application/json")
        await wait_until_loaded(page)
        rows = await expected_rows(gateway)
        runs = page.locator("tbody td:nth-child(2) .value")
        assert await runs.all_text_contents() == [f"{row['runCount']:,}" for row in rows]
        await expect(page.locator(".is-pending, .is-failed")).to_have_count(0)
        watched.assert_clean()


async def test_polling_takes_the_kept_answer_and_asks_for_no_explanation(gateway: Gateway) -> None:
    async with dashboard(gateway, stopped_clock=True) as watched:
        page = watched.page
        before = await shown_values(page)
        for status in (200, 304, 304):  # the first answer came in parts while LangSmith computed, and had no ETag
            async with page.expect_response("**/graphql") as response:
                await click(page, page.get_by_role("button", name="Refresh"))
            answer = await response.value
            headers = await answer.request.all_headers()
            assert "x-gateway-explain" not in headers
            assert (answer.status, "if-none-match" in headers) == (status, status == 304)
        assert await shown_values(page) == before
        watched.assert_clean()
