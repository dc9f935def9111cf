"""Explain: what each root field cost upstream, for who asks to be told."""

import asyncio
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Clock, Gateway, Serve

NAMES = "{ sessions(first: 2) { nodes { name } } }"


async def test_each_root_field_says_which_requests_it_made(gateway: Gateway, clock: Clock) -> None:
    explained = await gateway.explain(
        "{ sessions(first: 2) { nodes { name } } ranked: sessions(first: 1, orderBy: {field: ERROR_RATE}) "
        "{ nodes { runCount errorRate } } __typename }"
    )
    request = {"path": "/api/v1/sessions", "status": 200, "attempts": 1}
    for field in explained["fields"].values():
        for each in field["requests"]:
            assert each.pop("ms") >= 0
    assert explained == {
        "cost": 4,
        "fields": {
            "sessions": {"cache": "MISS", "age": 0, "requests": [{**request, "params": {"limit": "2"}}]},
            "ranked": {
                "cache": "MISS",
                "age": 0,
                "requests": [
                    {
                        **request,
                        "params": {
                            "sort_by": "error_rate",
                            "limit": "1",
                            "include_stats": "true",
                            "stats_select": ["run_count", "error_rate"],
                        },
                    }
                ],
            },
        },
    }


async def outcome(gateway: Gateway, query: str, **headers: str) -> tuple[str, float, int]:
    """How the cache answered, how old the answer is, and how many requests were made."""
    field = (await gateway.explain(query))["fields"]["sessions"]
    return field["cache"], field["age"], len(field["requests"])


async def test_it_says_how_the_cache_answered_and_how_old_the_answer_is(gateway: Gateway, clock: Clock) -> None:
    assert await outcome(gateway, NAMES) == ("MISS", 0, 1)
    clock.forward(4.5)
    assert await outcome(gateway, NAMES) == ("HIT", 4.5, 0)
    assert await outcome(gateway, "{ sessions(first: 2) { nodes { name runCount } } }") == ("REFILL", 0, 1)
    assert await outcome(gateway, "{ sessions(first: 1) { nodes { runCount } } }") == ("HIT", 0, 0)
    clock.forward(15)
    assert (await outcome(gateway, NAMES))[0] == "MISS"


async def test_those_who_share_a_request_both_show_it(gateway: Gateway, langsmith: Emulator) -> None:
    gate = langsmith.pause()
    asking = [asyncio.create_task(gateway.explain(NAMES)) for _ in range(2)]
    await langsmith.wait_for_requests(1)
    gate.set()
    fields = [(await each)["fields"]["sessions"] for each in asking]
    assert sorted(field["cache"] for field in fields) == ["COALESCED", "MISS"]
    assert fields[0]["requests"] == fields[1]["requests"]
    assert len(langsmith.requests) == 1


async def test_it_shows_what_failed_and_how_often_it_was_tried(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=1) as gateway:
        langsmith.faults.append(Fault(status=503, headers={"retry-after": "0"}))
        (request,) = (await gateway.explain(NAMES))["fields"]["sessions"]["requests"]
        assert (request["status"], request["attempts"]) == (200, 2)
        langsmith.faults.append(Fault(hang_up=True, times=None))
        (request,) = (await gateway.explain("{ sessions { nodes { id } } }"))["fields"]["sessions"]["requests"]
        assert (request["status"], request["attempts"]) == (None, 2)


async def test_a_root_that_asked_for_nothing_shows_nothing(gateway: Gateway) -> None:
    assert await gateway.explain("{ __typename }") == {"cost": 0, "fields": {}}
    explained = await gateway.explain("{ sessions(first: 0) { nodes { id } } }")
    assert explained["fields"].get("sessions", {"requests": []})["requests"] == []


@pytest.mark.parametrize("headers", [{}, {"x-gateway-explain": "0"}, {"x-gateway-explain": ""}])
async def test_it_is_told_only_to_who_asks(gateway: Gateway, headers: dict[str, str]) -> None:
    body: dict[str, Any] = await gateway.run(NAMES, None, **headers)
    assert "extensions" not in body


async def test_it_can_be_switched_off(serve: Serve) -> None:
    async with serve(explain=False) as gateway:
        assert "extensions" not in await gateway.run(NAMES, None, **{"x-gateway-explain": "1"})


async def test_it_does_not_say_where_langsmith_is(serve: Serve, upstream_url: str) -> None:
    async with serve() as gateway:
        response = await gateway.post(NAMES, None, **{"x-gateway-explain": "1"})
    assert upstream_url.removeprefix("http://") not in response.text
