"""The lookups of one operation are batched, and each failure is reported once."""

import asyncio
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Clock, Gateway, Serve, running_gateway, take_recorded_params

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def some_ids(langsmith: Emulator, count: int) -> list[str]:
    """Ids of sessions that are not in the cache."""
    return [str(session.id) for session in langsmith.workspaces["demo"].sessions[:count]]


def id_counts(requests: list[list[tuple[str, str]]]) -> list[int]:
    """The number of ids in each request."""
    return sorted(len([1 for name, _ in request if name == "id"]) for request in requests)


async def test_windows_are_requested_after_the_pages_of_all_root_fields(gateway: Gateway, langsmith: Emulator) -> None:
    # The page of the first root field is cached, and that of the second is not.
    await gateway.data("{ sessions(first: 2) { nodes { id } } }")
    langsmith.requests.clear()
    go_on = langsmith.pause()
    query = """{ a: sessions(first: 2) { nodes { stats(last: "P1D") { runCount } } }
        b: sessions(first: 120, offset: 2) { nodes { stats(last: "P1D") { runCount } } } }"""
    async with asyncio.TaskGroup() as group:
        group.create_task(gateway.data(query))
        await langsmith.wait_for_requests(2)
        go_on.set()
    assert id_counts(take_recorded_params(langsmith)) == [0, 0, 22, 100]


async def test_failing_root_field_does_not_delay_the_windows_of_others(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        langsmith.faults.append(Fault(status=500))
        body = await gateway.run(
            """{ a: sessions(first: 2) { nodes { stats(last: "P1D") { runCount } } }
                b: sessions(first: 3, offset: 2) { nodes { stats(last: "P1D") { runCount } } } }"""
        )
    assert [(error["path"], error["extensions"]["code"]) for error in body["errors"]] == [(["a"], "UPSTREAM_ERROR")]
    assert body["data"]["a"] is None
    assert all(node["stats"]["runCount"] is not None for node in body["data"]["b"]["nodes"])
    assert id_counts(take_recorded_params(langsmith)) == [0, 0, 3]


async def test_lookups_of_all_root_fields_share_one_request_per_window(gateway: Gateway, langsmith: Emulator) -> None:
    a, b, c = some_ids(langsmith, 3)
    data = await gateway.data(
        """query ($a: ID!, $b: ID!, $all: [ID!]!) {
            one: session(id: $a) { runCount stats(last: "P1D") { runCount } }
            two: session(id: $b, stats: {last: "P1D"}) { runCount }
            three: node(id: $b) { ... on Session { errorRate stats(last: "P1D") { totalTokens } } }
            many: nodes(ids: $all) { ... on Session { name } } }""",
        {"a": a, "b": b, "all": [a, b, c]},
    )
    assert data["one"]["stats"]["runCount"] <= data["one"]["runCount"]
    assert [node["name"] is not None for node in data["many"]] == [True] * 3
    requests = take_recorded_params(langsmith)
    windows = [dict(request).get("stats_start_time") for request in requests]
    assert set(windows) == {None, "2026-11-19T12:00:00Z"}
    assert windows.count(None) == 1
    assert max(id_counts([request for request in requests if "stats_start_time" not in dict(request)])) == 3


async def test_explain_shows_a_shared_request_at_every_root_field(gateway: Gateway, langsmith: Emulator) -> None:
    a, b = some_ids(langsmith, 2)
    fields = (await gateway.explain(f'{{ one: session(id: "{a}") {{ name }} two: session(id: "{b}") {{ name }} }}'))[
        "fields"
    ]
    assert len(take_recorded_params(langsmith)) == 1
    assert fields["one"]["requests"] == fields["two"]["requests"]
    assert sorted(fields["one"]["requests"][0]["params"]["id"]) == sorted([a, b])


async def test_failed_lookup_is_an_error_at_each_root_field(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        langsmith.faults.append(Fault(status=429, headers={"retry-after": "7"}))
        body = await gateway.run(
            f'{{ a: session(id: "{UNKNOWN}") {{ id }} b: node(id: "{UNKNOWN}") {{ id }} c: __typename }}'
        )
    assert body["data"] == {"a": None, "b": None, "c": "Query"}
    assert {error["path"][0]: error["extensions"] for error in body["errors"]} == {
        root: {"code": "RATE_LIMITED", "retryAfter": 7} for root in "ab"
    }
    assert len(take_recorded_params(langsmith)) == 1


@pytest.mark.parametrize("compiled", [True, False])
async def test_failed_window_is_reported_once_by_each_root_field_that_shows_it(
    upstream_url: str, clock: Clock, langsmith: Emulator, *, compiled: bool
) -> None:
    a, b = some_ids(langsmith, 2)
    fields = 'stats(since: "2020-01-01T00:00:00Z") { runCount }'
    query = f"""{{
        a: session(id: "{a}") {{ name {fields} }}
        b: node(id: "{b}") {{ ... on Session {{ name {fields} }} }}
        c: sessions(first: 3) {{ nodes {{ name {fields} again: {fields} }} }}
        d: sessions(first: 3) {{ edges {{ node {{ name {fields} }} }} }} }}"""
    async with running_gateway(upstream_url, clock, compiled=compiled, upstream_retries=0) as gateway:
        body = await gateway.run(query)
    assert {error["extensions"]["code"] for error in body["errors"]} == {"BAD_USER_INPUT"}
    assert sorted([error["path"] for error in body["errors"]], key=str) == [
        ["a", "stats"],
        ["b", "stats"],
        ["c", "nodes", 0, "stats"],
        ["d", "edges", 0, "node", "stats"],
    ]
    data = body["data"]
    shown = [data["a"], data["b"], *data["c"]["nodes"], *(edge["node"] for edge in data["d"]["edges"])]
    assert all(session["name"] and session["stats"] is None for session in shown)
    # One request for each window that failed, whichever fields share it.
    failed = [request for request in take_recorded_params(langsmith) if "stats_start_time" in dict(request)]
    assert len(failed) <= 2


@pytest.mark.parametrize("compiled", [True, False])
async def test_failed_window_is_reported_by_each_root_field_that_shows_it_through_a_fragment(
    upstream_url: str, clock: Clock, langsmith: Emulator, *, compiled: bool
) -> None:
    a, b = some_ids(langsmith, 2)
    query = f"""query ($no: Boolean = false) {{
        none: session(id: "{UNKNOWN}") {{ ...F }}
        all: nodes(ids: ["{UNKNOWN}", "{a}", "{b}"]) {{ id ...F }}
        both: sessions(first: 2) {{ nodes {{ ...F }} edges {{ node {{ id ...F }} }} }}
        left: sessions(first: 2) {{ nodes {{ id ...F @include(if: $no) }} }}
        empty: sessions(first: 2, filter: {{name: "no such name"}}) {{ nodes {{ ...F }} }}
        }} fragment F on Session {{ day: stats(since: "2020-01-01T00:00:00Z") {{ runCount }} ...G }}
        fragment G on Session {{ other: stats(since: "2020-01-02T00:00:00Z") {{ runCount }} }}"""
    async with running_gateway(upstream_url, clock, compiled=compiled, upstream_retries=0) as gateway:
        body = await gateway.run(query)
    assert {error["extensions"]["code"] for error in body["errors"]} == {"BAD_USER_INPUT"}
    assert sorted([error["path"] for error in body["errors"]], key=str) == [
        *(["all", 1, window] for window in ("day", "other")),
        *(["both", "nodes", 0, window] for window in ("day", "other")),
    ]
    assert body["data"]["none"] is None
    assert [session and session["day"] for session in body["data"]["all"]] == [None] * 3


async def test_dropped_rows_of_a_lookup_are_one_error(gateway: Gateway, langsmith: Emulator) -> None:
    a, b, c = some_ids(langsmith, 3)

    def rewrite(rows: list[dict[str, Any]]) -> None:
        del rows[0]["tenant_id"], rows[1]["tenant_id"]

    langsmith.faults.append(Fault(rewrite=rewrite))
    body = await gateway.run(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Session { runCount } } }", {"ids": [a, b, c]}
    )
    assert sum(node is None for node in body["data"]["nodes"]) == 2
    (error,) = body["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["nodes"], "UPSTREAM_MALFORMED")


async def test_operation_that_exceeds_its_deadline_reports_a_timeout(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_timeout=0.05) as gateway:
        langsmith.pause()
        body = await gateway.run(
            f'{{ sessions {{ nodes {{ stats {{ runCount }} }} }} session(id: "{UNKNOWN}") {{ id }} }}'
        )
    assert body["data"] == {"sessions": None, "session": None}
    assert [error["extensions"]["code"] for error in body["errors"]] == ["UPSTREAM_TIMEOUT"] * 2


async def test_window_that_exceeds_the_deadline_leaves_the_page_intact(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_timeout=2) as gateway:
        go_on = langsmith.pause()
        query = '{ sessions(first: 2) { nodes { name stats(last: "P1D") { runCount } } } }'
        async with asyncio.TaskGroup() as group:
            running = group.create_task(gateway.run(query))
            await langsmith.wait_for_requests(1)
            # Hold every request that arrives from now on, and let the one before go.
            langsmith.pause()
            go_on.set()
    body = running.result()
    (error,) = body["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["sessions", "nodes", 0, "stats"], "UPSTREAM_TIMEOUT")
    assert all(node["name"] and node["stats"] is None for node in body["data"]["sessions"]["nodes"])
