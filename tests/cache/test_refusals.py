"""What LangSmith refuses is dropped from the cache: with the gateway's own key, only what was refused."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from app.emulator import Emulator, Fault, serving
from app.emulator.fault_injection import RecordedRequest, Response
from tests.conftest import Clock, Gateway, Serve, running_gateway
from tests.support.real_redis import RealRedis

PAGE = "{ sessions(first: 5) { nodes { id runCount } } }"
FILTERED = '{ sessions(first: 5, filter: {nameContains: "a"}) { nodes { id runCount } } }'
FILTERED_RUNS = '{ sessions(first: 3, stats: {filter: "eq(error, true)"}) { nodes { id runCount } } }'
BY_FEEDBACK = '{ sessions(first: 5, orderBy: {field: FEEDBACK, feedbackKey: "made-up"}) { nodes { id runCount } } }'
BY_ID = "query ($id: ID!) { session(id: $id) { name extra } }"
FORBIDDEN = Fault(status=403, body=b'{"detail": "Forbidden"}')
OWN_KEY: dict[str, Any] = {"auth": "server", "langsmith_api_key": "demo", "allow_anonymous": True}


@pytest.fixture(params=["memory", "redis"])
async def gateways(serve: Serve, redis: RealRedis, request: pytest.FixtureRequest) -> AsyncIterator[list[Gateway]]:
    """A gateway with a key of its own; or two that share a Redis."""
    values: dict[str, Any] = {**OWN_KEY, "cache_stale": 60, "upstream_retries": 0}
    if request.param == "memory":
        async with serve(**values) as one:
            yield [one, one]
    else:
        values["cache_url"] = redis.url
        async with serve(**values) as one, serve(**values) as other:
            yield [one, other]


async def cache_outcome(gateway: Gateway, query: str, variables: Any = None) -> str:
    body = await gateway.run(query, variables, key=None, **{"x-gateway-explain": "1"})
    (field,) = body["extensions"]["gateway"]["fields"].values()
    return str(field["cache"])


@pytest.mark.parametrize(
    "query",
    [FILTERED, FILTERED_RUNS, BY_FEEDBACK, BY_ID],
    ids=["filter", "filter of runs", "feedback key", "by id"],
)
async def test_refused_filter_leaves_the_pages_of_other_clients_of_the_gateways_own_key(
    gateways: list[Gateway], langsmith: Emulator, query: str
) -> None:
    for gateway in gateways:
        await gateway.data(PAGE, key=None)
    langsmith.faults.append(FORBIDDEN)
    variables = {"id": str(langsmith.workspaces["demo"].sessions[-1].id)} if "$id" in query else None
    assert await gateways[0].errors(query, variables, key=None)
    assert [await cache_outcome(gateway, PAGE) for gateway in gateways] == ["HIT", "HIT"]


async def test_firewall_that_refuses_a_request_leaves_the_pages_of_the_gateways_own_key(
    gateways: list[Gateway], langsmith: Emulator
) -> None:
    for gateway in gateways:
        await gateway.data(PAGE, key=None)
    langsmith.faults.append(Fault(status=403, body=b"<html>Blocked</html>", headers={"content-type": "text/html"}))
    assert await gateways[0].errors("{ sessions(first: 5, offset: 1) { nodes { id } } }", key=None)
    assert [await cache_outcome(gateway, PAGE) for gateway in gateways] == ["HIT", "HIT"]


async def test_refused_filter_drops_its_own_page_for_all_processes(
    gateways: list[Gateway], langsmith: Emulator
) -> None:
    await gateways[0].data(FILTERED, key=None)
    langsmith.faults += [FORBIDDEN, Fault(status=503, times=None)]
    body = await gateways[0].run(FILTERED, key=None, **{"cache-control": "no-cache"})
    assert body["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    for gateway in gateways:
        assert await gateway.errors(FILTERED, key=None)


@pytest.mark.parametrize(
    ("status", "query"), [(403, PAGE), (401, PAGE), (401, FILTERED)], ids=["403", "401", "401 of a filter"]
)
async def test_refused_key_drops_everything(
    gateways: list[Gateway], langsmith: Emulator, status: int, query: str
) -> None:
    one, other = gateways
    held = '{ sessions(first: 5, filter: {nameContains: "e"}) { nodes { id runCount } } }'
    for gateway in gateways:
        await gateway.data(held, key=None)
    langsmith.faults.append(replace(FORBIDDEN, status=status))
    assert await one.errors(query, key=None)
    assert await cache_outcome(one, held) == "MISS"
    # Another process notices when it looks in Redis.
    await cache_outcome(other, '{ sessions(first: 5, filter: {nameContains: "x"}) { nodes { id } } }')
    langsmith.faults.append(Fault(status=503, times=None))
    assert await other.errors(held.replace("5", "6"), key=None)


async def test_refused_filter_drops_everything_of_a_client_that_sends_its_own_key(
    serve: Serve, langsmith: Emulator
) -> None:
    async with serve(cache_stale=60) as gateway:
        await gateway.data(PAGE)
        langsmith.faults.append(FORBIDDEN)
        assert await gateway.errors(FILTERED)
        explained = await gateway.explain(PAGE)
        assert explained["fields"]["sessions"]["cache"] == "MISS"


async def test_page_that_was_requested_before_the_key_was_refused_is_not_kept(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve() as gateway, asyncio.TaskGroup() as group:
        go_on = langsmith.pause()
        requested = group.create_task(gateway.data(PAGE))
        await langsmith.wait_for_requests(1)
        langsmith.pause().set()  # for the requests to come
        clock.advance(1)
        langsmith.faults.append(Fault(status=401))
        assert await gateway.errors(FILTERED)
        go_on.set()
        await requested
        explained = await gateway.explain(PAGE)
    assert explained["fields"]["sessions"]["cache"] == "MISS"


class ChoosyLangSmith(Emulator):
    """It refuses each request for one session with a status."""

    refused = ("id", "")
    status = 403

    def respond(self, request: RecordedRequest) -> Response:
        return (
            Response(self.status, b'{"detail": "No."}') if self.refused in request.params else super().respond(request)
        )


@pytest.mark.parametrize("status", [400, 403, 422])
async def test_refused_lookup_leaves_the_lookups_of_other_clients_at_the_same_moment(clock: Clock, status: int) -> None:
    langsmith = ChoosyLangSmith(clock=clock.now)
    refused_id, other_id = (str(session.id) for session in langsmith.workspaces["demo"].sessions[:2])
    langsmith.refused, langsmith.status = ("id", refused_id), status
    async with (
        serving(langsmith) as url,
        running_gateway(url, clock, **OWN_KEY) as gateway,
        gateway.in_process() as both,
    ):
        refused, other = await asyncio.gather(
            *(both.run(BY_ID, {"id": each}, key=None) for each in (refused_id, other_id))
        )
    assert refused["errors"]
    assert other["data"]["session"]["name"] == langsmith.workspaces["demo"].sessions[1].name
    # The lookups of both together, and each by itself.
    assert sorted([text for name, text in request.params if name == "id"] for request in langsmith.requests) == sorted(
        [sorted([refused_id, other_id]), [refused_id], [other_id]]
    )
