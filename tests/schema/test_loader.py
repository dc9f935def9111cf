"""One operation: what its root fields look up goes to LangSmith together, and what fails is told once."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import pytest

from app.cache.page_cache import PageCache
from app.emulator import Emulator, Fault
from app.errors import BadUserInputError
from app.schema.context import OperationContext
from app.sessions.arguments import StatsOptions
from app.sessions.query import StatsWindow
from tests.conftest import NOON, Gateway, Serve, asked

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def operation(now: datetime = NOON) -> OperationContext:
    return OperationContext(cast(PageCache, None), None, now, 0.0)


SINCE = datetime(2026, 11, 18, tzinfo=UTC)
EQUAL = [
    (StatsOptions(), StatsOptions(since=None, last=None, filter=None)),
    (StatsOptions(last=timedelta(days=1)), StatsOptions(last=timedelta(hours=24))),
    (StatsOptions(since=SINCE), StatsOptions(since=SINCE, approximate=False)),
]
DISTINCT = [
    StatsOptions(),
    StatsOptions(last=timedelta(days=1)),
    StatsOptions(last=timedelta(days=2)),
    StatsOptions(since=SINCE),
    StatsOptions(since=SINCE, filter="eq(error, true)"),
    StatsOptions(filter="eq(error, true)"),
    StatsOptions(filter=""),
    StatsOptions(approximate=True),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_options_have_the_same_window_and_label(one: StatsOptions, other: StatsOptions) -> None:
    assert operation().window(one) == operation().window(other)


def test_distinct_options_have_distinct_labels_that_are_the_same_in_every_operation() -> None:
    shared = operation()
    labels = [shared.window(each)[1] for each in DISTINCT]
    assert len(set(labels)) == len({shared.window(each)[0] for each in DISTINCT}) == len(DISTINCT)
    assert labels == [operation().window(each)[1] for each in DISTINCT]


def test_label_of_a_duration_stays_the_same_while_its_window_moves() -> None:
    last = StatsOptions(last=timedelta(days=1))
    before, after = operation().window(last), operation(NOON + timedelta(hours=1)).window(last)
    assert before[1] == after[1]
    assert (before[0], after[0]) == (
        StatsWindow((("stats.since", "2026-11-19T12:00:00Z"),)),
        StatsWindow((("stats.since", "2026-11-19T13:00:00Z"),)),
    )


@pytest.mark.parametrize("seconds", [0, 1, 29.9])
def test_duration_means_one_window_within_a_minute(seconds: float) -> None:
    moved = operation(NOON + timedelta(seconds=seconds))
    assert moved.window(StatsOptions(last=timedelta(hours=1))) == operation().window(
        StatsOptions(last=timedelta(hours=1))
    )


def test_zero_duration_is_refused_after_a_window_without_a_duration() -> None:
    shared = operation()
    shared.window(StatsOptions())
    with pytest.raises(BadUserInputError, match="longer than nothing"):
        shared.window(StatsOptions(last=timedelta()))


def test_offset_of_a_time_does_not_change_its_window() -> None:
    elsewhere = SINCE.astimezone(timezone(timedelta(hours=5)))
    assert operation().window(StatsOptions(since=elsewhere))[0] == operation().window(StatsOptions(since=SINCE))[0]


def some_ids(langsmith: Emulator, count: int) -> list[str]:
    """Of sessions that the gateway knows nothing of yet."""
    return [str(session.id) for session in langsmith.workspaces["demo"].sessions[:count]]


def wanted_ids(requests: list[list[tuple[str, str]]]) -> list[int]:
    """How many ids each request asks for."""
    return sorted(len([1 for name, _ in request if name == "id"]) for request in requests)


async def test_windows_are_requested_after_the_pages_of_all_root_fields(gateway: Gateway, langsmith: Emulator) -> None:
    # The first root's page is held already, the second's is still to come.
    await gateway.data("{ sessions(first: 2) { nodes { id } } }")
    langsmith.requests.clear()
    go_on = langsmith.pause()
    query = """{ a: sessions(first: 2) { nodes { stats(last: "P1D") { runCount } } }
        b: sessions(first: 120, offset: 2) { nodes { stats(last: "P1D") { runCount } } } }"""
    async with asyncio.TaskGroup() as group:
        group.create_task(gateway.data(query))
        await langsmith.wait_for_requests(2)
        go_on.set()
    assert wanted_ids(asked(langsmith)) == [0, 0, 22, 100]


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
    assert wanted_ids(asked(langsmith)) == [0, 0, 3]


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
    requests = asked(langsmith)
    windows = [dict(request).get("stats_start_time") for request in requests]
    assert set(windows) == {None, "2026-11-19T12:00:00Z"}
    assert windows.count(None) == 1
    assert max(wanted_ids([request for request in requests if "stats_start_time" not in dict(request)])) == 3


async def test_explain_shows_a_shared_request_at_every_root_field(gateway: Gateway, langsmith: Emulator) -> None:
    a, b = some_ids(langsmith, 2)
    fields = (await gateway.explain(f'{{ one: session(id: "{a}") {{ name }} two: session(id: "{b}") {{ name }} }}'))[
        "fields"
    ]
    assert len(asked(langsmith)) == 1
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
    assert len(asked(langsmith)) == 1


async def test_failed_window_of_several_lookups_is_reported_once(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        a, b = some_ids(langsmith, 2)
        fields = 'stats(since: "2020-01-01T00:00:00Z") { runCount }'
        body = await gateway.run(
            f"""{{ a: session(id: "{a}") {{ name {fields} }}
                b: node(id: "{b}") {{ ... on Session {{ name {fields} }} }} }}"""
        )
    (error,) = body["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["path"][1] == "stats"
    assert [body["data"][root]["stats"] for root in "ab"] == [None, None]
    assert all(body["data"][root]["name"] for root in "ab")


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
            # What arrives from now on is held for ever, what did before is let go.
            langsmith.pause()
            go_on.set()
    body = running.result()
    (error,) = body["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["sessions", "nodes", 0, "stats"], "UPSTREAM_TIMEOUT")
    assert all(node["name"] and node["stats"] is None for node in body["data"]["sessions"]["nodes"])
