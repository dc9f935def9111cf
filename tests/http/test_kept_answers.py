"""An answer is kept at once, however many lookups it was made from, until a value that it used is replaced."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.cache.shared.pair import Pair
from tests.cache.shared.pair import pair as _pair
from tests.conftest import Clock, Gateway, Serve
from tests.http.test_response_cache import executions

pair = _pair
NO_CACHE = {"cache-control": "no-cache"}
DAY, WEEK = 'day: stats(last: "PT24H") { runCount }', 'week: stats(last: "P7D") { runCount }'
MONTH = 'month: stats(last: "P30D") { errorRate }'
LIST = f"{{ sessions(first: 50) {{ nodes {{ id name runCount {DAY} {WEEK} }} }} }}"
ANY = "{ sessions(first: 2) { nodes { id } } }"
FORMS = {
    "two windows": LIST,
    "two windows without statistics of its own": LIST.replace("runCount day", "day"),
    "three windows": LIST.replace("week:", f"{MONTH} week:"),
    "several pages": LIST.replace("50", "250"),
    "two root fields": f"""{{ a: sessions(first: 5) {{ nodes {{ name {DAY} }} }}
        b: sessions(first: 5) {{ nodes {{ runCount {WEEK} }} }} }}""",
    "two root fields of one session": f"""{{ a: session(id: "$1") {{ name {DAY} }}
        b: session(id: "$1") {{ id {WEEK} }} }}""",
    "a session": f'{{ session(id: "$1") {{ name runCount {DAY} {WEEK} {MONTH} }} }}',
    "sessions": f'{{ nodes(ids: ["$1", "$2"]) {{ ... on Session {{ name runCount {DAY} {WEEK} {MONTH} }} }} }}',
    "sessions and one that does not exist": f"""{{ nodes(ids: ["$1", "00000000-0000-4000-8000-000000000000"]) {{
        ... on Session {{ name {DAY} {WEEK} }} }} }}""",
}


def with_ids(query: str, body: dict[str, Any]) -> str:
    """The query, with the ids of the first sessions of an answer."""
    for number, node in enumerate(body["data"]["sessions"]["nodes"][:2], 1):
        query = query.replace(f"${number}", node["id"])
    return query


def changing(langsmith: Emulator) -> None:
    """From now on, every answer of LangSmith has other numbers than the one before, and a later last run."""
    counter: Iterator[int] = itertools.count(1)

    def change(rows: list[dict[str, Any]]) -> None:
        number = next(counter)
        for each in rows:
            each["last_run_start_time_live"] = f"2026-11-20T12:00:{number:02}Z"
            for name in ("run_count", "total_tokens"):
                if each.get(name) is not None:
                    each[name] = number

    langsmith.faults.append(Fault(rewrite=change, times=None))


async def assert_kept(gateway: Gateway, query: str, seconds: int = 15) -> None:
    first, second = [await gateway.post(query) for _ in range(2)]
    assert "errors" not in first.json()
    assert first.content == second.content
    assert first.headers["cache-control"] == second.headers["cache-control"] == f"private, max-age={seconds}"
    assert first.headers["etag"] == second.headers["etag"]
    assert (await executions(gateway))["kept"] == 1
    assert (await gateway.post(query, **{"if-none-match": first.headers["etag"]})).status_code == 304


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("form", FORMS)
async def test_first_answer_with_several_windows_is_kept(serve: Serve, api: str, form: str) -> None:
    async with serve() as other:
        query = with_ids(FORMS[form], await other.run(ANY))
    async with serve(upstream_api=api) as gateway:
        # That a session does not exist is believed for two seconds.
        await assert_kept(gateway, query, 2 if "does not exist" in form else 15)


@pytest.mark.parametrize("form", ["two windows", "three windows", "several pages"])
async def test_first_answer_is_kept_while_sessions_run(gateway: Gateway, langsmith: Emulator, form: str) -> None:
    changing(langsmith)
    await assert_kept(gateway, FORMS[form])


@pytest.mark.parametrize("form", ["two windows", "sessions"])
async def test_first_answer_after_a_refill_is_kept(gateway: Gateway, form: str) -> None:
    query = with_ids(FORMS[form], await gateway.run(ANY))
    await gateway.data(query.replace("runCount", "totalTokens"))
    await assert_kept(gateway, query)


async def test_first_answer_with_redis_is_kept(pair: Pair) -> None:
    await assert_kept(pair.one, LIST)
    await pair.wait_written()
    await assert_kept(pair.other, LIST)


@pytest.mark.parametrize(
    "other",
    [
        '{ sessions(first: 50) { nodes { month: stats(last: "P30D") { runCount } } } }',
        '{ sessions(first: 50) { nodes { totalTokens day: stats(last: "PT24H") { totalTokens } } } }',
        '{ session(id: "$1") { name totalTokens stats(last: "P7D") { totalTokens } } }',
        '{ sessions(first: 10, filter: {nameContains: "a"}) { nodes { runCount } } }',
    ],
)
async def test_kept_answer_outlives_values_that_are_added(gateway: Gateway, other: str) -> None:
    first = await gateway.post(LIST)
    await gateway.data(with_ids(other, first.json()))
    again = await gateway.post(LIST)
    assert again.content == first.content
    assert (await executions(gateway))["kept"] == 1


@pytest.mark.parametrize(
    "replacing",
    [
        "{ sessions(first: 50) { nodes { name } } }",
        "{ sessions(first: 50) { nodes { runCount } } }",
        '{ sessions(first: 50, stats: {last: "PT24H"}) { nodes { runCount } } }',
        '{ session(id: "$1") { stats(last: "P7D") { runCount } } }',
        '{ nodes(ids: ["$2"]) { ... on Session { day: stats(last: "PT24H") { runCount } } } }',
    ],
)
async def test_kept_answer_ends_when_a_value_that_it_used_is_replaced(
    gateway: Gateway, langsmith: Emulator, replacing: str
) -> None:
    first = await gateway.post(LIST)

    def change(rows: list[dict[str, Any]]) -> None:
        for each in rows:
            each["name"] = "renamed"
            if each.get("run_count") is not None:
                each["run_count"] += 1

    langsmith.faults.append(Fault(rewrite=change, times=None))
    await gateway.run(with_ids(replacing, first.json()), **NO_CACHE)
    langsmith.faults.clear()
    again = await gateway.post(LIST)
    assert "kept" not in await executions(gateway)
    if "stats: {" not in replacing:  # a window of the list is not that of its rows' fields
        assert again.content != first.content
        assert again.headers["etag"] != first.headers["etag"]


async def test_answer_is_not_kept_if_its_values_were_replaced_before_it_was_complete(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    query = f"{{ sessions(first: 5) {{ nodes {{ runCount {DAY} }} }} }}"
    gate = langsmith.pause()
    slow = asyncio.create_task(gateway.post(query))
    await langsmith.wait_for_requests(1)
    clock.advance(1)
    langsmith.pause().set()
    changing(langsmith)
    newer = await gateway.run("{ sessions(first: 5) { nodes { runCount } } }", **NO_CACHE)
    gate.set()
    response = await slow
    assert response.headers["cache-control"] == "no-store"
    again = (await gateway.data(query))["sessions"]["nodes"]
    assert [each["runCount"] for each in again] == [each["runCount"] for each in newer["data"]["sessions"]["nodes"]]
