"""What is counted, as Prometheus reads it."""

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

import app
from app.emulator import Emulator, Fault
from tests.conftest import PATIENCE, Clock, Gateway, Serve
from tests.test_command_line import DEMO, UVICORN, Server, running

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


async def test_what_is_under_way_goes_up_and_down(serve: Serve, langsmith: Emulator) -> None:
    async def under_way(gateway: Gateway) -> tuple[float, float, float]:
        names = ("gateway_operations_under_way", "gateway_upstream_under_way", "gateway_upstream_waiting")
        found = [(await counted(gateway, name))[""] for name in names]
        return found[0], found[1], found[2]

    async with serve(upstream_concurrency=1) as gateway:
        assert await under_way(gateway) == (0, 0, 0)
        held = langsmith.pause()
        asking = [
            asyncio.create_task(gateway.run(f"{{ sessions(offset: {offset}) {{ nodes {{ name }} }} }}"))
            for offset in range(3)
        ]
        async with asyncio.timeout(PATIENCE):
            while await under_way(gateway) != (3, 1, 2):
                pass
        held.set()
        await asyncio.gather(*asking)
        assert await under_way(gateway) == (0, 0, 0)


async def test_a_retry_is_counted_as_one(gateway: Gateway, langsmith: Emulator) -> None:
    assert await counted(gateway, "gateway_upstream_retries_total") == {"": 0}
    langsmith.faults.append(Fault(status=503, headers={"retry-after": "0"}))
    await gateway.data(NAMES)
    assert await counted(gateway, "gateway_upstream_retries_total") == {"": 1}


async def test_how_operations_ran_is_counted(gateway: Gateway) -> None:
    for query in (NAMES, NAMES, "{ __schema { queryType { name } } }"):
        await gateway.data(query)
    ran = await counted(gateway, "gateway_executions_total")
    assert (ran.pop("plan"), ran.pop("kept"), sum(ran.values())) == (1, 1, 1)


def values(text: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)]


def eventually(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_up(server: Server) -> bool:
    with contextlib.suppress(httpx.ConnectError):
        return bool(server.metrics())
    return False


def asked(server: Server, offsets: range) -> None:
    with ThreadPoolExecutor(8) as clients:
        for response in clients.map(
            lambda each: server.post(f"{{ sessions(offset: {each}) {{ nodes {{ name }} }} }}"), offsets
        ):
            assert "errors" not in response.json()


def test_workers_show_what_all_of_them_count_and_hold(tmp_path: Path) -> None:
    with running(*DEMO, "--workers", "2", cwd=tmp_path, TMPDIR=str(tmp_path)) as server:
        asked(server, range(20))
        for _ in range(8):
            text = server.metrics()
            assert values(text, "gateway_operations_total") == [20]
            assert values(text, "gateway_operation_seconds_count") == [20]
            assert values(text, "gateway_upstream_breaker_open") == [0]
        assert "pid=" not in text
        # What the other one holds is seen a moment later, whichever answers.
        eventually(lambda: len({values(server.metrics(), "gateway_cache_bytes")[0] for _ in range(6)}) == 1)
        held = values(server.metrics(), "gateway_cache_bytes")[0]
        (directory,) = tmp_path.glob("sessions-gateway-*")
        workers = {int(path.stem.rpartition("_")[2]) for path in directory.glob("counter_*.db")}
        assert len(workers) == 2

        os.kill(min(workers), signal.SIGKILL)
        eventually(lambda: len([*directory.glob("counter_*.db")]) == 3)
        # What it counted stays, what it held is gone with it.
        asked(server, range(20, 24))
        text = server.metrics()
        assert values(text, "gateway_operations_total") == [24]
        assert not [*directory.glob(f"gauge_*_{min(workers)}.db")]
        assert held > 0
        server.stopped(by=signal.SIGTERM)
        assert not directory.exists()


def test_workers_of_uvicorn_count_together_where_they_are_told_to(tmp_path: Path) -> None:
    directory = str(tmp_path / "counts")
    with running(*UVICORN, "--workers", "2", cwd=tmp_path, PROMETHEUS_MULTIPROC_DIR=directory) as server:
        # uvicorn tells its address before anybody listens there.
        eventually(lambda: len([*Path(directory).glob("counter_*.db")]) == 2 and is_up(server))
        for _ in range(12):
            assert server.post("{ __typename }", **{"x-api-key": "k"}).json() == {"data": {"__typename": "Query"}}
        assert {values(server.metrics(), "gateway_operations_total")[0] for _ in range(8)} == {12}


async def test_the_dashboard_shows_everything_that_is_counted(gateway: Gateway) -> None:
    dashboard = json.loads((Path(app.__file__).parent / "grafana.json").read_text())
    text = (await gateway.client.get("/metrics")).text
    kinds = dict(re.findall(r"^# TYPE (gateway_\w+) (\w+)$", text, re.MULTILINE))
    kinds = {name: kind for name, kind in kinds.items() if not name.endswith("_created")}
    known = {
        name + ending
        for name, kind in kinds.items()
        for ending in (("_bucket", "_count", "_sum") if kind == "histogram" else ("",))
    }
    shown: set[str] = set()
    for panel in dashboard["panels"]:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert panel["datasource"] == target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            names = set(re.findall(r"gateway_\w+", target["expr"]))
            assert names
            shown |= names
            # A counter, and a bucket, says something only as a rate.
            for name in names:
                is_counter = name.endswith(("_total", "_bucket", "_count"))
                assert bool(re.search(rf"(rate|increase)\({name}\b", target["expr"])) is is_counter
    asked_for = {variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable}
    assert shown | set(re.findall(r"gateway_\w+", " ".join(asked_for))) <= known
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in shown} == set(kinds)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "job"]
