"""Explain: `extensions.gateway` reports cache outcomes and upstream requests to clients that send its header."""

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Clock, Gateway, Serve
from tests.support.incremental_client import DRAFT, OLD, merged, parts_of

ORDER = {"sort_by": "start_time", "sort_by_desc": "true"}
NAMES = "{ sessions(first: 2) { nodes { name } } }"


async def test_explain_lists_the_requests_of_each_root_field(gateway: Gateway, clock: Clock) -> None:
    explained = await gateway.explain(
        "{ sessions(first: 2) { nodes { name } } ranked: sessions(first: 1, orderBy: {field: ERROR_RATE}) "
        "{ nodes { runCount errorRate } } __typename }"
    )
    request = {"path": "/api/v1/sessions", "status": 200, "attempts": 1}
    for field in explained["fields"].values():
        for each in field["requests"]:
            assert each.pop("ms") >= 0
    assert explained == {
        "cost": 6,
        "fields": {
            "sessions": {"cache": "MISS", "age": 0, "requests": [{**request, "params": {**ORDER, "limit": "2"}}]},
            "ranked": {
                "cache": "MISS",
                "age": 0,
                "requests": [
                    {
                        **request,
                        "params": {
                            **ORDER,
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
    """The cache outcome, the age in seconds, and the number of requests of the only root field."""
    field = (await gateway.explain(query))["fields"]["sessions"]
    return field["cache"], field["age"], len(field["requests"])


async def test_explain_reports_cache_outcome_and_age(gateway: Gateway, clock: Clock) -> None:
    assert await outcome(gateway, NAMES) == ("MISS", 0, 1)
    clock.advance(4.5)
    assert await outcome(gateway, NAMES) == ("HIT", 4.5, 0)
    assert await outcome(gateway, "{ sessions(first: 2) { nodes { name runCount } } }") == ("REFILL", 0, 1)
    assert await outcome(gateway, "{ sessions(first: 1) { nodes { runCount } } }") == ("HIT", 0, 0)
    clock.advance(15)
    assert (await outcome(gateway, NAMES))[0] == "MISS"


async def test_explain_lists_a_shared_request_for_each_operation(gateway: Gateway, langsmith: Emulator) -> None:
    resume = langsmith.pause()
    operations = [asyncio.create_task(gateway.explain(NAMES)) for _ in range(2)]
    await langsmith.wait_for_requests(1)
    resume.set()
    fields = [(await each)["fields"]["sessions"] for each in operations]
    assert sorted(field["cache"] for field in fields) == ["COALESCED", "MISS"]
    assert fields[0]["requests"] == fields[1]["requests"]
    assert len(langsmith.requests) == 1


async def test_explain_reports_failed_requests_and_attempts(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=1) as gateway:
        langsmith.faults.append(Fault(status=503, headers={"retry-after": "0"}))
        (request,) = (await gateway.explain(NAMES))["fields"]["sessions"]["requests"]
        assert (request["status"], request["attempts"]) == (200, 2)
        langsmith.faults.append(Fault(hang_up=True, times=None))
        (request,) = (await gateway.explain("{ sessions { nodes { id } } }"))["fields"]["sessions"]["requests"]
        assert (request["status"], request["attempts"]) == (None, 2)


async def test_explain_lists_no_requests_for_a_root_field_without_any(gateway: Gateway) -> None:
    assert await gateway.explain("{ __typename }") == {"cost": 0, "fields": {}}
    explained = await gateway.explain("{ sessions(first: 0) { nodes { id } } }")
    assert explained["fields"].get("sessions", {"requests": []})["requests"] == []


@pytest.mark.parametrize("headers", [{}, {"x-gateway-explain": "0"}, {"x-gateway-explain": ""}])
async def test_explain_is_absent_without_its_request_header(gateway: Gateway, headers: dict[str, str]) -> None:
    body: dict[str, Any] = await gateway.run(NAMES, None, **headers)
    assert "extensions" not in body


async def test_explain_can_be_switched_off(serve: Serve) -> None:
    async with serve(explain=False) as gateway:
        assert "extensions" not in await gateway.run(NAMES, None, **{"x-gateway-explain": "1"})


async def test_explain_does_not_reveal_the_address_of_langsmith(serve: Serve, upstream_url: str) -> None:
    async with serve() as gateway:
        response = await gateway.post(NAMES, None, **{"x-gateway-explain": "1"})
    assert upstream_url.removeprefix("http://") not in response.text


@pytest.mark.parametrize("accept", [DRAFT, OLD])
async def test_each_part_of_an_answer_lists_all_requests_so_far(gateway: Gateway, accept: str) -> None:
    query = """{ sessions(first: 2) { nodes {
      name ... @defer { runCount } ... @defer { day: stats(last: "P1D") { errorRate } }
    } } }"""
    headers = {"accept": accept, "x-gateway-explain": "1"}
    payloads = parts_of(await gateway.post(query, **headers))
    assert all("extensions" not in entry for payload in payloads[1:] for entry in payload["incremental"])
    explained = [payload.pop("extensions") for payload in payloads]
    assert all(each.keys() == {"gateway"} and each["gateway"]["cost"] == 10 for each in explained)
    requests = [each["gateway"]["fields"]["sessions"]["requests"] for each in explained]
    statistics = [[each["params"].get("stats_select") for each in part] for part in requests]
    assert statistics[0] == [None]
    assert Counter(statistics[-1]) == Counter([None, "run_count", "error_rate"])
    for earlier, later in itertools.pairwise(statistics):
        assert later[: len(earlier)] == earlier
    assert merged(payloads) == await gateway.run(query.replace("@defer", ""))

    # The kept answer to other clients has no explanation.
    assert all("extensions" not in payload for payload in parts_of(await gateway.post(query, accept=accept)))
    (*_, last) = parts_of(await gateway.post(query, **headers))
    assert last["extensions"]["gateway"]["fields"]["sessions"]["cache"] == "HIT"
    assert last["extensions"]["gateway"]["fields"]["sessions"]["requests"] == []
