"""Deferred statistics are those of the rows that were shown, and all windows are requested at the same time."""

import asyncio
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import TIMEOUT_SECONDS, Gateway, Serve, take_recorded_params
from tests.support.incremental_client import DRAFT, OLD, merged, parts_of

DAY = 'day: stats(last: "PT24H") { runCount }'
WEEK = 'week: stats(last: "P7D") { runCount errorRate }'


async def answer(gateway: Gateway, query: str, accept: str = DRAFT, **headers: str) -> dict[str, Any]:
    """The whole answer, merged from its parts."""
    return merged(parts_of(await gateway.post(query, accept=accept, **headers)))


def selected(params: list[tuple[str, str]]) -> set[str]:
    return {value for name, value in params if name == "stats_select"}


def ids_in(params: list[tuple[str, str]]) -> int:
    return sum(name == "id" for name, _ in params)


@pytest.mark.parametrize("accept", [DRAFT, OLD])
@pytest.mark.parametrize("ttl", [0, 15])
async def test_statistics_are_those_of_the_rows_that_were_shown_although_the_list_moves(
    serve: Serve, langsmith: Emulator, accept: str, ttl: int
) -> None:
    query = f"{{ sessions(first: 3) {{ nodes {{ id ... @defer {{ name runCount {DAY} }} }} }} }}"
    async with serve(cache_ttl=ttl) as gateway:
        release = langsmith.pause_statistics()
        request = asyncio.create_task(answer(gateway, query, accept, **{"cache-control": "no-cache"}))
        await asyncio.wait_for(langsmith.wait_for_requests(3), TIMEOUT_SECONDS)
        langsmith.add_project("demo", "a newer one")
        # Another client makes the gateway cache the list as it is now.
        shown = (await gateway.run("{ sessions(first: 3) { nodes { id } } }", **{"cache-control": "no-cache"}))["data"]
        release.set()
        rows = (await request)["data"]["sessions"]["nodes"]
        whole = await gateway.data(f"{{ sessions(first: 3, offset: 1) {{ nodes {{ id name runCount {DAY} }} }} }}")
    assert [row["id"] for row in rows] != [row["id"] for row in shown["sessions"]["nodes"]]
    assert rows == whole["sessions"]["nodes"]


async def test_session_that_is_gone_meanwhile_has_nulls(gateway: Gateway, langsmith: Emulator) -> None:
    answers = iter([slice(None), slice(1, None), slice(1, None)])
    langsmith.faults.append(Fault(rewrite=lambda rows: rows[next(answers)], times=3))
    query = f"{{ sessions(first: 2) {{ nodes {{ name ... @defer {{ runCount {DAY} }} }} }} }}"
    first, second = (await answer(gateway, query))["data"]["sessions"]["nodes"]
    assert first["name"]
    assert (first["runCount"], first["day"]) == (None, None)
    assert second["day"]["runCount"] is not None


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an answer with one root field: a list, or one session."""
    (root,) = found["data"].values()
    rows: list[dict[str, Any]] = root.get("nodes", [root])
    return rows


ROOTS = ["sessions(first: 2{window}) {{ nodes {{ {fields} }} }}", 'session(id: "{id}"{window}) {{ {fields} }}']
"""Root fields with rows: a list, and one session."""


async def with_fields(gateway: Gateway, langsmith: Emulator, root: str, fields: str, window: str = "") -> str:
    """The query of a root field for these fields. Its rows are cached, and the requests for them are forgotten."""
    session, _ = (await gateway.data("{ sessions(first: 2) { nodes { id } } }"))["sessions"]["nodes"]
    langsmith.requests.clear()
    return f"{{ {root.format(id=session['id'], fields=fields, window=window)} }}"


@pytest.mark.parametrize("accept", [DRAFT, OLD])
@pytest.mark.parametrize("root", ROOTS)
async def test_window_that_was_shown_as_null_stays_null(
    serve: Serve, langsmith: Emulator, root: str, accept: str
) -> None:
    async with serve(upstream_retries=0) as gateway:
        fields = f'id {DAY} ... @defer {{ name day: stats(last: "PT24H") {{ errorRate }} }}'
        query = await with_fields(gateway, langsmith, root, fields)
        langsmith.faults.append(Fault(status=500))
        found = await answer(gateway, query, accept)
    assert [row["day"] for row in rows_of(found)] == [None] * len(rows_of(found))
    assert all(row["name"] for row in rows_of(found))
    assert [error["path"][-1] for error in found["errors"]] == ["day"]


@pytest.mark.parametrize("accept", [DRAFT, OLD])
@pytest.mark.parametrize("shown", ["id", "id errorRate", "errorRate"])
@pytest.mark.parametrize("window", ["", ', stats: {last: "PT24H"}'])
@pytest.mark.parametrize("root", ROOTS)
async def test_window_that_was_shown_stays_if_its_further_statistics_fail(
    serve: Serve, langsmith: Emulator, root: str, window: str, shown: str, accept: str
) -> None:
    fields = f'id day: stats(last: "PT24H") {{ {shown} }} ... @defer {{ {DAY} }}'
    async with serve(upstream_retries=0) as gateway:
        query = await with_fields(gateway, langsmith, root, fields, window)
        whole = await gateway.run(query.replace(DAY, "name"))
        langsmith.faults.append(Fault(status=500, times=None))
        found = await answer(gateway, query, accept)
    for row, other in zip(rows_of(found), rows_of(whole), strict=True):
        assert row["day"] == other["day"] | {"runCount": None}
    (error,) = found["errors"]
    assert error["extensions"]["code"] == "UPSTREAM_ERROR"
    assert "day" in error["path"]


@pytest.mark.parametrize("accept", [DRAFT, OLD])
@pytest.mark.parametrize("root", ROOTS)
async def test_statistics_of_a_window_that_were_shown_are_not_requested_again(
    serve: Serve, langsmith: Emulator, root: str, accept: str
) -> None:
    """Each answer of LangSmith has another number of feedback keys."""
    counts = iter(range(9, 0, -1))

    def shorten(rows: list[dict[str, Any]]) -> None:
        count = next(counts)
        for each in rows:
            each["feedback_stats"] = {f"key {n}": {"n": count} for n in range(count)}

    shown = "feedbackStats { key } errorRate"
    fields = f'id day: stats(last: "PT24H") {{ {shown} }} ... @defer {{ {DAY.replace("{", "{ feedbackStats { n }")} }}'
    async with serve(cache_ttl=0) as gateway:
        query = await with_fields(gateway, langsmith, root, fields)
        langsmith.faults.append(Fault(rewrite=shorten, times=None))
        rows = rows_of(await answer(gateway, query, accept))
    for row in rows:
        assert len({each["n"] for each in row["day"]["feedbackStats"]}) == 1
        assert row["day"]["runCount"] is not None
    windows = [selected(each) for each in take_recorded_params(langsmith) if selected(each)]
    assert windows == [{"feedback_stats", "error_rate"}, {"run_count"}]


@pytest.mark.parametrize("accept", [DRAFT, OLD])
async def test_failed_window_of_several_fragments_is_one_error(serve: Serve, langsmith: Emulator, accept: str) -> None:
    query = f"{{ sessions(first: 2) {{ nodes {{ id ... @defer {{ {DAY} }} ... @defer {{ name {DAY} }} }} }} }}"
    async with serve(upstream_retries=0) as gateway:
        await gateway.data("{ sessions(first: 2) { nodes { id } } }")
        langsmith.faults.append(Fault(status=500, times=None))
        found = await answer(gateway, query, accept)
    assert [error["path"] for error in found["errors"]] == [["sessions", "nodes", 0, "day"]]


@pytest.mark.parametrize("accept", [DRAFT, OLD])
async def test_fragment_adds_nothing_to_a_window_that_the_client_has_as_null(
    serve: Serve, langsmith: Emulator, accept: str
) -> None:
    query = f'{{ sessions(first: 2) {{ nodes {{ {DAY} ... @defer {{ name day: stats(last: "PT24H") {{ id }} }} }} }} }}'
    async with serve(upstream_retries=0) as gateway:
        await gateway.data("{ sessions(first: 2) { nodes { id } } }")
        langsmith.faults.append(Fault(status=500, times=None))
        found = await answer(gateway, query, accept)
    assert [(row["day"], bool(row["name"])) for row in found["data"]["sessions"]["nodes"]] == [(None, True)] * 2
    assert [error["path"] for error in found["errors"]] == [["sessions", "nodes", 0, "day"]]


async def test_list_that_is_ordered_by_a_statistic_brings_its_deferred_statistics(
    gateway: Gateway, langsmith: Emulator
) -> None:
    order = 'orderBy: {field: LATENCY_P99}, stats: {last: "P7D"}'
    fields = f'latencyP50 same: stats(last: "P7D") {{ errorRate }} {DAY}'
    query = f"{{ sessions(first: 2, {order}) {{ nodes {{ id ... @defer {{ {fields} }} }} }} }}"
    found = await answer(gateway, query)
    page, *windows = take_recorded_params(langsmith)
    assert {"latency_p50", "error_rate"} <= selected(page)
    assert [selected(each) for each in windows] == [{"run_count"}]
    assert found == await gateway.run(query)


@pytest.mark.parametrize(
    "root",
    [
        'nodes(ids: ["{0}", "00000000-0000-4000-8000-000000000000", "{1}", "no id"])',
        'session(id: "{1}", stats: {{last: "P7D"}})',
        'node(id: "{0}")',
    ],
)
async def test_statistics_of_a_lookup_are_deferred(gateway: Gateway, langsmith: Emulator, root: str) -> None:
    listed = await gateway.data("{ sessions(first: 2, offset: 5) { nodes { id } } }")
    root = root.format(*(row["id"] for row in listed["sessions"]["nodes"]))
    langsmith.requests.clear()
    query = f"{{ {root} {{ ... on Session {{ id ... @defer {{ name runCount errorRate {DAY} {WEEK} }} }} }} }}"
    found = await answer(gateway, query)
    requests = take_recorded_params(langsmith)
    with_statistics = [each for each in requests if selected(each)]
    assert len(requests) - len(with_statistics) <= 1
    assert {ids_in(each) for each in with_statistics} == {found["data"].get("nodes", [1]).count(None) or 1}
    assert len(with_statistics) == (2 if root.startswith("session(") else 3)
    assert found == await gateway.run(query)


async def test_two_fragments_share_one_request_for_each_window_and_hundred_rows(
    gateway: Gateway, langsmith: Emulator
) -> None:
    query = f"""{{ sessions(first: 150) {{ nodes {{ id ...A @defer(label: "a") ...B @defer(label: "b") }} }} }}
    fragment A on Session {{ runCount {WEEK} }}
    fragment B on Session {{ latencyP50 {WEEK.replace("errorRate", "latencyP99")} }}"""
    await answer(gateway, query)
    requests = take_recorded_params(langsmith)
    windows = [each for each in requests if selected(each)]
    assert len(requests) - len(windows) == 2
    own = [each for each in windows if selected(each) == {"run_count", "latency_p50"}]
    week = [each for each in windows if selected(each) == {"run_count", "error_rate", "latency_p99"}]
    assert [sorted(map(ids_in, each)) for each in (own, week)] == [[50, 100], [50, 100]]
    assert len(windows) == 4


async def test_fragment_of_columns_alone_asks_for_nothing_more(gateway: Gateway, langsmith: Emulator) -> None:
    query = "{ sessions(first: 2) { nodes { id ... @defer { name extra } } ... @defer { pageInfo { hasNextPage } } } }"
    found = await answer(gateway, query)
    [page] = take_recorded_params(langsmith)
    assert ("limit", "3") in page
    assert found == await gateway.run(query)


async def test_held_page_asks_for_its_missing_statistics_and_all_windows_at_the_same_time(
    gateway: Gateway, langsmith: Emulator
) -> None:
    await gateway.data("{ sessions(first: 3) { nodes { id } } }")
    langsmith.requests.clear()
    release = langsmith.pause_statistics()
    request = asyncio.create_task(gateway.data(f"{{ sessions(first: 3) {{ nodes {{ runCount {DAY} {WEEK} }} }} }}"))
    await asyncio.wait_for(langsmith.wait_for_requests(3), TIMEOUT_SECONDS)
    release.set()
    rows = (await request)["sessions"]["nodes"]
    assert all(None not in (row["runCount"], row["day"], row["week"]) for row in rows)
    assert [ids_in(each) for each in take_recorded_params(langsmith)] == [3, 3, 3]


@pytest.mark.parametrize("root", ROOTS)
async def test_windows_of_rows_that_cannot_be_read_are_not_requested_any_more(
    gateway: Gateway, langsmith: Emulator, root: str
) -> None:
    query = await with_fields(gateway, langsmith, root, f"runCount {DAY}", ', stats: {filter: "no such("}')
    langsmith.latency = 0.05
    langsmith.pause(lambda request: "stats_start_time" in dict(request.params))
    (error,) = await gateway.errors(query)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    unanswered = [each for each in langsmith.requests if each.status is None]
    await asyncio.wait_for(langsmith.wait_for_disconnects(len(unanswered)), TIMEOUT_SECONDS)


async def test_window_of_rows_that_cannot_be_read_is_requested_for_other_rows(
    gateway: Gateway, langsmith: Emulator
) -> None:
    """The rows of the first field fail while their window waits for the page of the second field."""
    await gateway.data("{ sessions(first: 3) { nodes { id } } }")
    langsmith.requests.clear()
    release = langsmith.pause(lambda request: "name_contains" in dict(request.params))
    query = f"""{{ a: sessions(first: 3, stats: {{filter: "no such("}}) {{ nodes {{ runCount {DAY} }} }}
    b: sessions(first: 3, filter: {{nameContains: "e"}}) {{ nodes {{ id {DAY} }} }} }}"""
    request = asyncio.create_task(gateway.run(query))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not any(each.status == 422 for each in langsmith.requests):
            await gateway.client.get("/healthz")
    release.set()
    body = await request
    assert [error["path"] for error in body["errors"]] == [["a"]]
    assert all(row["day"] for row in body["data"]["b"]["nodes"])


async def test_page_that_another_process_holds_asks_for_all_windows_at_the_same_time(
    serve: Serve, langsmith: Emulator, redis: Any
) -> None:
    async with serve(cache_url=redis.url) as one, serve(cache_url=redis.url) as other:
        await one.data("{ sessions(first: 3) { nodes { id } } }")
        langsmith.requests.clear()
        release = langsmith.pause_statistics()
        request = asyncio.create_task(other.data(f"{{ sessions(first: 3) {{ nodes {{ runCount {DAY} }} }} }}"))
        await asyncio.wait_for(langsmith.wait_for_requests(2), TIMEOUT_SECONDS)
        release.set()
        await request
    assert len(langsmith.requests) == 2


async def test_page_that_changes_while_its_windows_are_requested_has_the_windows_of_its_rows(
    gateway: Gateway, langsmith: Emulator
) -> None:
    """A session of the held page is gone, so that the page is read again and shows another session."""
    await gateway.data("{ sessions(first: 2) { nodes { id } } }")
    gone = (await gateway.data("{ sessions(first: 1) { nodes { id } } }"))["sessions"]["nodes"][0]["id"]
    langsmith.faults.append(Fault(rewrite=lambda rows: [row for row in rows if row["id"] != gone], times=None))
    query = f"{{ sessions(first: 2) {{ nodes {{ id runCount {DAY} }} }} }}"
    rows = (await gateway.data(query))["sessions"]["nodes"]
    assert gone not in {row["id"] for row in rows}
    assert all(row["day"]["runCount"] is not None for row in rows)


async def test_answers_in_parts_are_shared_by_processes(serve: Serve, langsmith: Emulator, redis: Any) -> None:
    query = f"{{ sessions(first: 3) {{ nodes {{ id ... @defer {{ runCount {DAY} }} }} }} }}"
    async with serve(cache_url=redis.url) as one, serve(cache_url=redis.url) as other:
        found = await answer(one, query)
        assert len(langsmith.requests) == 3
        assert await answer(other, query) == found
    assert len(langsmith.requests) == 3
