"""A response is cached as bytes, per credential and request, and served while its pages are fresh and unchanged."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from app.emulator import Emulator, Fault
from tests.conftest import TIMEOUT_SECONDS, Clock, Gateway, Serve, take_recorded_params

QUERY = "{ sessions(first: 5) { nodes { id name runCount } } }"


async def executions(gateway: Gateway) -> dict[str, int]:
    """Number of executions so far, by how the operation was executed."""
    text = (await gateway.client.get("/metrics")).text
    return {by: int(float(n)) for by, n in re.findall(r'gateway_executions_total\{by="(.*?)"\} (\S+)', text)}


async def test_repeated_request_gets_the_cached_bytes_and_etag(gateway: Gateway, langsmith: Emulator) -> None:
    first, second = [await gateway.post(QUERY) for _ in range(2)]
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
    assert await executions(gateway) == {"plan": 1, "kept": 1}
    assert len(take_recorded_params(langsmith)) == 1


async def test_cache_control_counts_down_the_seconds_until_the_page_expires(gateway: Gateway, clock: Clock) -> None:
    assert (await gateway.post(QUERY)).headers["cache-control"] == "private, max-age=15"
    clock.advance(6)
    assert (await gateway.post(QUERY)).headers["cache-control"] == "private, max-age=9"


async def test_request_whose_if_none_match_has_the_etag_gets_304_without_a_body(gateway: Gateway) -> None:
    etag = (await gateway.post(QUERY)).headers["etag"]
    for if_none_match in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        response = await gateway.post(QUERY, **{"if-none-match": if_none_match})
        assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", etag)
    assert (await gateway.post(QUERY, **{"if-none-match": '"other"'})).status_code == 200


async def test_if_none_match_works_with_get(gateway: Gateway) -> None:
    async def get(**headers: str) -> httpx.Response:
        return await gateway.client.get("/graphql", params={"query": QUERY}, headers={"x-api-key": "demo", **headers})

    etag = (await get()).headers["etag"]
    assert (await get(**{"if-none-match": etag})).status_code == 304


async def test_cached_response_expires_with_its_page(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    await gateway.post(QUERY)
    clock.advance(15.1)
    await gateway.post(QUERY)
    assert await executions(gateway) == {"plan": 2}
    assert len(take_recorded_params(langsmith)) == 2


async def test_cached_response_is_dropped_when_its_page_is_replaced(gateway: Gateway) -> None:
    await gateway.post(QUERY)
    await gateway.post("{ sessions(first: 6) { nodes { id } } }")
    await gateway.post(QUERY)
    assert await executions(gateway) == {"plan": 3}


async def test_cached_response_survives_a_refill_of_its_page(gateway: Gateway) -> None:
    await gateway.post(QUERY)
    await gateway.post("{ sessions(first: 5) { nodes { errorRate } } }")
    await gateway.post(QUERY)
    assert await executions(gateway) == {"plan": 2, "kept": 1}


async def test_cached_response_expires_with_its_oldest_statistic(gateway: Gateway, clock: Clock) -> None:
    query = "{ session(id: $id) { runCount totalCost } }"
    [node] = (await gateway.data("{ sessions(first: 1) { nodes { id } } }"))["sessions"]["nodes"]
    query = query.replace("$id", f'"{node["id"]}"')
    await gateway.data(query.replace("totalCost", ""))
    clock.advance(10)
    response = await gateway.post(query)
    assert response.headers["cache-control"] == "private, max-age=5"


async def test_cached_response_with_a_relative_window_expires_with_the_minute(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    # The test clock starts 30 seconds into a minute.
    clock.advance(25)
    query = '{ sessions(first: 3, stats: {last: "PT1H"}) { nodes { runCount } } }'
    assert (await gateway.post(query)).headers["cache-control"] == "private, max-age=5"
    clock.advance(6)
    take_recorded_params(langsmith)
    await gateway.post(query)
    [params] = take_recorded_params(langsmith)
    assert ("stats_start_time", "2026-11-20T11:01:00Z") in params


@pytest.mark.parametrize(
    "query",
    [
        '{ sessions(first: 5) { nodes { id } } bad: session(id: "rubbish") { id } }',
        "{ nope }",
        "{ sessions(first: 0) { nodes { id } } }",
    ],
)
async def test_response_with_errors_is_not_cached(gateway: Gateway, query: str) -> None:
    for _ in range(2):
        response = await gateway.post(query)
        assert "errors" in response.json()
        assert "etag" not in response.headers
        assert response.headers["cache-control"] == "no-store"
    assert "kept" not in await executions(gateway)


async def test_response_with_a_dropped_row_is_not_cached(gateway: Gateway, langsmith: Emulator) -> None:
    def lose_an_id(rows: list[dict[str, Any]]) -> None:
        rows[1]["id"] = None

    langsmith.faults.append(Fault(rewrite=lose_an_id))
    first, second = [await gateway.post(QUERY) for _ in range(2)]
    assert first.json() == second.json()
    assert len(first.json()["errors"]) == 1
    assert "kept" not in await executions(gateway)


async def test_responses_are_cached_per_credential(gateway: Gateway, langsmith: Emulator) -> None:
    answers = [(await gateway.post(QUERY, key=key)).json() for key in ("demo", "demo-2", "demo", "demo-2", "nobody")]
    assert answers[0] == answers[2] != answers[1] == answers[3]
    assert answers[4]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert await executions(gateway) == {"plan": 2, "kept": 2, "error": 1}


async def test_response_with_explain_is_not_cached(gateway: Gateway) -> None:
    await gateway.post(QUERY)
    response = await gateway.post(QUERY, **{"x-gateway-explain": "1"})
    assert response.json()["extensions"]["gateway"]["fields"]["sessions"]["cache"] == "HIT"
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers


async def test_cached_response_has_the_media_type_of_the_request(gateway: Gateway) -> None:
    accepted = "application/graphql-response+json"
    plain, typed = await gateway.post(QUERY), await gateway.post(QUERY, accept=accepted)
    assert plain.content == typed.content
    assert plain.headers["content-type"].startswith("application/json")
    assert typed.headers["content-type"].startswith(accepted)


async def test_operation_log_line_of_a_cached_response_equals_that_of_the_first_one(gateway: Gateway) -> None:
    for _ in range(2):
        await gateway.post(f"query Named {QUERY}")
    first, second = [line for line in gateway.log.getvalue().splitlines() if '"operation"' in line]
    for part in ('"name": "Named"', '"cost": 3', '"document": "'):
        assert part.replace(" ", "") in first.replace(" ", "")
        assert part.replace(" ", "") in second.replace(" ", "")


async def test_response_without_pages_is_not_cached(gateway: Gateway) -> None:
    for _ in range(2):
        response = await gateway.post("{ __typename }")
        assert response.headers["cache-control"] == "no-store"
    assert "kept" not in await executions(gateway)


async def test_response_cache_is_switched_off_by_a_size_of_zero(serve: Serve) -> None:
    async with serve(responses_max_bytes=0) as gateway:
        for _ in range(2):
            response = await gateway.post(QUERY)
            assert "etag" not in response.headers
        assert await executions(gateway) == {"plan": 2}


async def test_response_cache_stays_within_its_bound_in_bytes(serve: Serve) -> None:
    async with serve(responses_max_bytes=20_000) as gateway:
        for offset in range(30):
            await gateway.post(f"{{ sessions(first: 10, offset: {offset}) {{ nodes {{ id name }} }} }}")
            text = (await gateway.client.get("/metrics")).text
            match = re.search(r"^gateway_responses_bytes (\S+)$", text, re.MULTILINE)
            assert match
            assert 0 < float(match[1]) <= 20_000


async def test_response_to_a_long_request_is_not_cached(gateway: Gateway) -> None:
    for _ in range(2):
        assert "data" in (await gateway.post(QUERY + " " * 20_000)).json()
    assert await executions(gateway) == {"plan": 2}


async def test_minute_of_a_relative_window_begins_before_langsmith_answers(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    query = '{ sessions(first: 2, stats: {last: "PT1H"}) { nodes { runCount } } }'
    async with serve(cache_ttl=600) as gateway:
        release = langsmith.pause()
        request = asyncio.create_task(gateway.post(query))
        await asyncio.wait_for(langsmith.wait_for_requests(1), TIMEOUT_SECONDS)
        clock.advance(20)  # it is now ten seconds before the next minute
        release.set()
        assert (await request).headers["cache-control"] == "private, max-age=10"
