"""What is counted, as Prometheus reads it."""

import re

from app.emulator import Emulator, Fault
from tests.conftest import Clock, Gateway, Serve

NAMES = "{ sessions(first: 1) { nodes { name } } }"
COUNTS = "{ sessions(first: 1) { nodes { runCount } } }"


async def counted(gateway: Gateway, name: str) -> dict[str, float]:
    """The values of one metric by their label."""
    response = await gateway.client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = re.findall(rf'^{name}(?:{{\w+="(.*)"}})? (\S+)$', response.text, re.MULTILINE)
    return {label: float(value) for label, value in found}


async def test_operations_are_counted_by_outcome(gateway: Gateway) -> None:
    for query in ("{ __typename }", NAMES, "{", "{ nope }", "{ sessions(first: 0) { nodes { id } } }"):
        await gateway.run(query)
    await gateway.run(NAMES, key=None)
    await gateway.client.put("/graphql")
    assert await counted(gateway, "gateway_operations_total") == {
        "ok": 2,
        "GRAPHQL_PARSE_FAILED": 1,
        "GRAPHQL_VALIDATION_FAILED": 1,
        "BAD_USER_INPUT": 2,
        "UNAUTHENTICATED": 1,
    }
    assert await counted(gateway, "gateway_operation_seconds_count") == {"": 7}


async def test_lookups_in_the_cache_are_counted_by_outcome(gateway: Gateway) -> None:
    for query in (
        NAMES,
        f"query SpeltDifferently {NAMES}",
        COUNTS,
        "{ a: sessions(first: 2) { nodes { id } } b: sessions(first: 2) { nodes { id } } }",
    ):
        await gateway.data(query)
    assert await counted(gateway, "gateway_cache_lookups_total") == {"MISS": 2, "HIT": 1, "REFILL": 1, "COALESCED": 1}


async def test_requests_to_langsmith_are_counted_by_status_or_failure(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        for fault in (Fault(hang_up=True, times=None), Fault(status=503), Fault(status=422, body=b"{}"), Fault()):
            langsmith.faults[:] = [fault]
            await gateway.run(NAMES)
        requests = await counted(gateway, "gateway_upstream_requests_total")
        assert requests == {"connection": 1, "503": 1, "422": 1, "200": 1}
        assert await counted(gateway, "gateway_upstream_request_seconds_count") == {"": 4}


async def test_what_langsmith_changes_is_counted(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(headers={"Deprecation": "true"}))
    before = await counted(gateway, "gateway_upstream_unknown_fields_total")
    await gateway.data(NAMES)
    assert await counted(gateway, "gateway_upstream_deprecations_total") == {"": 1}
    assert (await counted(gateway, "gateway_upstream_unknown_fields_total"))[""] > before[""]


async def test_the_bytes_held_rise_and_stay_within_their_bound(serve: Serve, clock: Clock) -> None:
    async with serve(cache_max_bytes=20_000) as gateway:
        assert await counted(gateway, "gateway_cache_bytes") == {"": 0}
        held: list[float] = []
        for offset in range(20):
            await gateway.data(f"{{ sessions(first: 1, offset: {offset}) {{ nodes {{ name }} }} }}")
            held += (await counted(gateway, "gateway_cache_bytes")).values()
    assert 0 < held[0] < held[1]
    assert max(held) <= 20_000


async def test_no_client_can_make_up_a_label(gateway: Gateway) -> None:
    for number in range(20):
        body = {"query": f"query Q{number} {{ nope{number} }}", "operationName": f"Q{number}"}
        await gateway.client.post(f"/graphql?a={number}", json=body, headers={"x-request-id": f"r{number}"})
        await gateway.client.get(f"/nope{number}")
        await gateway.client.request("LOCK", "/graphql")
    text = (await gateway.client.get("/metrics")).text
    assert set(re.findall(r'{outcome="(\w+)"}', text)) == {"GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"}
    assert not re.search(r"nope\d|Q\d|r\d", text, re.IGNORECASE)
