"""Metrics as Prometheus scrapes them."""

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

from app.emulator import Emulator, Fault
from tests.conftest import TIMEOUT_SECONDS, Clock, Gateway, Serve
from tests.support.paths import APP
from tests.test_command_line import DEMO, UVICORN, Server, running

NAMES = "{ sessions(first: 1) { nodes { name } } }"
COUNTS = "{ sessions(first: 1) { nodes { runCount } } }"


async def scrape(gateway: Gateway, name: str) -> dict[str, float]:
    """Values of one metric, by label value; the key is empty for a metric without labels."""
    response = await gateway.client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = re.findall(rf'^{name}(?:{{\w+="(.*)"}})? (\S+)$', response.text, re.MULTILINE)
    return {label: float(value) for label, value in found}


async def test_operations_are_counted_by_outcome(gateway: Gateway) -> None:
    for query in ("{ __typename }", NAMES, "{", "{ nope }", "{ sessions(first: 0) { nodes { id } } }"):
        await gateway.run(query)
    await gateway.run(NAMES, key=None)
    await gateway.client.put("/graphql")
    assert await scrape(gateway, "gateway_operations_total") == {
        "ok": 2,
        "GRAPHQL_PARSE_FAILED": 1,
        "GRAPHQL_VALIDATION_FAILED": 1,
        "BAD_USER_INPUT": 2,
        "UNAUTHENTICATED": 1,
    }
    assert await scrape(gateway, "gateway_operation_seconds_count") == {"": 7}


async def test_cache_lookups_are_counted_by_outcome(gateway: Gateway) -> None:
    for query in (
        NAMES,
        f"query SameSelection {NAMES}",
        COUNTS,
        "{ a: sessions(first: 2) { nodes { id } } b: sessions(first: 2) { nodes { id } } }",
    ):
        await gateway.data(query)
    assert await scrape(gateway, "gateway_cache_lookups_total") == {"MISS": 2, "HIT": 1, "REFILL": 1, "COALESCED": 1}


async def test_requests_to_langsmith_are_counted_by_status_or_failure(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        for fault in (Fault(hang_up=True, times=None), Fault(status=503), Fault(status=422, body=b"{}"), Fault()):
            langsmith.faults[:] = [fault]
            await gateway.run(NAMES)
        requests = await scrape(gateway, "gateway_upstream_requests_total")
        assert requests == {"reset": 1, "503": 1, "422": 1, "200": 1}
        assert await scrape(gateway, "gateway_upstream_request_seconds_count") == {"": 4}


async def test_deprecations_and_unknown_fields_of_langsmith_are_counted(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(headers={"Deprecation": "true"}, rewrite=lambda rows: rows[0].update(brand_new=1)))
    before = await scrape(gateway, "gateway_upstream_unknown_fields_total")
    await gateway.data(NAMES)
    assert await scrape(gateway, "gateway_upstream_deprecations_total") == {"": 1}
    assert (await scrape(gateway, "gateway_upstream_unknown_fields_total"))[""] > before[""]


async def test_cached_bytes_rise_up_to_the_limit(serve: Serve, clock: Clock) -> None:
    async with serve(cache_max_bytes=20_000) as gateway:
        assert await scrape(gateway, "gateway_cache_bytes") == {"": 0}
        sizes: list[float] = []
        for offset in range(20):
            await gateway.data(f"{{ sessions(first: 1, offset: {offset}) {{ nodes {{ name }} }} }}")
            sizes += (await scrape(gateway, "gateway_cache_bytes")).values()
    assert 0 < sizes[0] < sizes[1]
    assert max(sizes) <= 20_000


async def test_clients_cannot_create_label_values(gateway: Gateway) -> None:
    for number in range(20):
        body = {"query": f"query Q{number} {{ nope{number} }}", "operationName": f"Q{number}"}
        await gateway.client.post(f"/graphql?a={number}", json=body, headers={"x-request-id": f"r{number}"})
        await gateway.client.get(f"/nope{number}")
        await gateway.client.request("LOCK", "/graphql")
    text = (await gateway.client.get("/metrics")).text
    assert set(re.findall(r'{outcome="(\w+)"}', text)) == {"GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"}
    assert not re.search(r"nope\d|Q\d|r\d", text, re.IGNORECASE)


async def test_gauges_follow_requests_in_flight_and_waiting(serve: Serve, langsmith: Emulator) -> None:
    async def in_flight(gateway: Gateway) -> tuple[float, float, float]:
        names = ("gateway_operations_under_way", "gateway_upstream_under_way", "gateway_upstream_waiting")
        found = [(await scrape(gateway, name))[""] for name in names]
        return found[0], found[1], found[2]

    async with serve(upstream_concurrency=1) as gateway:
        assert await in_flight(gateway) == (0, 0, 0)
        release = langsmith.pause()
        tasks = [
            asyncio.create_task(gateway.run(f"{{ sessions(offset: {offset}) {{ nodes {{ name }} }} }}"))
            for offset in range(3)
        ]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await in_flight(gateway) != (3, 1, 2):
                pass
        release.set()
        await asyncio.gather(*tasks)
        assert await in_flight(gateway) == (0, 0, 0)


async def test_retries_are_counted(gateway: Gateway, langsmith: Emulator) -> None:
    assert await scrape(gateway, "gateway_upstream_retries_total") == {"": 0}
    langsmith.faults.append(Fault(status=503, headers={"retry-after": "0"}))
    await gateway.data(NAMES)
    assert await scrape(gateway, "gateway_upstream_retries_total") == {"": 1}


async def test_executions_are_counted_by_how_they_ran(gateway: Gateway) -> None:
    for query in (NAMES, NAMES, "{ __schema { queryType { name } } }"):
        await gateway.data(query)
    executions = await scrape(gateway, "gateway_executions_total")
    assert (executions.pop("plan"), executions.pop("kept"), sum(executions.values())) == (1, 1, 1)


def values(text: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_up(server: Server) -> bool:
    with contextlib.suppress(httpx.ConnectError):
        return bool(server.metrics())
    return False


def send_operations(server: Server, offsets: range) -> None:
    with ThreadPoolExecutor(8) as clients:
        for response in clients.map(
            lambda each: server.post(f"{{ sessions(offset: {each}) {{ nodes {{ name }} }} }}"), offsets
        ):
            assert "errors" not in response.json()


def test_each_worker_shows_totals_that_include_counters_but_no_gauges_of_killed_workers(tmp_path: Path) -> None:
    with running(*DEMO, "--workers", "2", cwd=tmp_path, TMPDIR=str(tmp_path)) as server:
        send_operations(server, range(20))
        for _ in range(8):
            text = server.metrics()
            assert values(text, "gateway_operations_total") == [20]
            assert values(text, "gateway_operation_seconds_count") == [20]
            assert values(text, "gateway_upstream_breaker_open") == [0]
        assert "pid=" not in text
        # Gauges of the other worker arrive up to a second later.
        wait_until(lambda: len({values(server.metrics(), "gateway_cache_bytes")[0] for _ in range(6)}) == 1)
        cached = values(server.metrics(), "gateway_cache_bytes")[0]
        (directory,) = tmp_path.glob("sessions-gateway-*")
        workers = {int(path.stem.rpartition("_")[2]) for path in directory.glob("counter_*.db")}
        assert len(workers) == 2

        os.kill(min(workers), signal.SIGKILL)
        wait_until(lambda: len([*directory.glob("counter_*.db")]) == 3)
        # The counters of the killed worker stay in the totals; its gauges are removed.
        send_operations(server, range(20, 24))
        text = server.metrics()
        assert values(text, "gateway_operations_total") == [24]
        assert not [*directory.glob(f"gauge_*_{min(workers)}.db")]
        assert cached > 0
        server.stopped(by=signal.SIGTERM)
        assert not directory.exists()


def test_uvicorn_workers_share_metrics_if_the_directory_is_set(tmp_path: Path) -> None:
    directory = str(tmp_path / "counts")
    with running(*UVICORN, "--workers", "2", cwd=tmp_path, PROMETHEUS_MULTIPROC_DIR=directory) as server:
        # uvicorn prints its address before its workers listen.
        wait_until(lambda: len([*Path(directory).glob("counter_*.db")]) == 2 and is_up(server))
        for _ in range(12):
            assert server.post("{ __typename }", **{"x-api-key": "k"}).json() == {"data": {"__typename": "Query"}}
        assert {values(server.metrics(), "gateway_operations_total")[0] for _ in range(8)} == {12}


async def test_the_grafana_dashboard_shows_every_metric(gateway: Gateway) -> None:
    dashboard = json.loads((APP / "observability" / "grafana.json").read_text())
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
            # Counters and buckets only grow, so a panel shows their rate.
            for name in names:
                is_counter = name.endswith(("_total", "_bucket", "_count"))
                assert bool(re.search(rf"(rate|increase)\({name}\b", target["expr"])) is is_counter
    definitions = {variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable}
    assert shown | set(re.findall(r"gateway_\w+", " ".join(definitions))) <= known
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in shown} == set(kinds)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "job"]
