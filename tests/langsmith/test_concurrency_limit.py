"""A bounded number of requests is in flight, and tenants share the places fairly. The queue is bounded."""

import asyncio
from collections import Counter

import pytest

from app.emulator import Emulator, serving
from app.errors import RateLimitedError
from app.langsmith.concurrency_limit import ConcurrencyLimitTransport
from tests.conftest import Clock, Gateway, Serve
from tests.langsmith.operations import code_of, count_successes, page, run_wave
from tests.langsmith.scripted_transport import Hanging, ScriptedTransport, upstream_request
from tests.support.raw_upstream import Connection, listed, raw_upstream, row

EIGHT_WINDOWS = "".join(f'w{days}: stats(last: "P{days}D") {{ runCount }} ' for days in range(1, 9))


async def count_codes(gateway: Gateway, count: int, first_page: int, key: str) -> Counter[str | None]:
    """The error codes of operations that run at the same time, each for a page of its own."""
    operations = (code_of(gateway, page(first_page + number), key=key) for number in range(count))
    return Counter(await asyncio.gather(*operations))


async def test_full_queue_refuses_a_request_at_once_but_not_one_of_another_tenant(
    serve: Serve, langsmith: Emulator
) -> None:
    async with (
        serve(upstream_concurrency=2, max_cost=5) as gateway,
        gateway.in_process() as in_process,
    ):
        cached = await gateway.data(page(900))
        resume = langsmith.pause()
        # Two requests are in flight, and eight of this tenant wait.
        clients = asyncio.create_task(count_codes(in_process, 15, 0, "demo"))
        await langsmith.wait_for_requests(3)
        (error,) = await gateway.errors(page(100))
        assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfter": 1}
        # A cached page needs no place, and another tenant finds one.
        assert await gateway.data(page(900)) == cached
        other = asyncio.create_task(count_codes(in_process, 2, 200, "demo-2"))
        await asyncio.sleep(0)
        resume.set()
        assert await clients == {None: 10, "RATE_LIMITED": 5}
        assert await other == {None: 2}
        assert await code_of(gateway, page(101)) is None


async def test_cancelled_request_frees_its_place_in_the_queue(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_concurrency=1, max_cost=4) as gateway, gateway.in_process() as in_process:
        resume = langsmith.pause()
        clients = [asyncio.create_task(count_codes(in_process, 1, number, "demo")) for number in range(5)]
        await langsmith.wait_for_requests(1)
        assert await code_of(gateway, page(50)) == "RATE_LIMITED"
        clients[-1].cancel()
        await asyncio.wait([clients[-1]])
        late = asyncio.create_task(count_codes(in_process, 1, 60, "demo"))
        await asyncio.sleep(0)
        resume.set()
        assert await late == {None: 1}
        assert [await each for each in clients[:-1]] == [{None: 1}] * 4


async def test_tenant_without_requests_in_flight_goes_before_the_waiting_requests_of_another(
    serve: Serve, langsmith: Emulator
) -> None:
    async with serve(upstream_concurrency=4) as gateway, gateway.in_process() as in_process:
        resume = langsmith.pause()
        many = asyncio.create_task(count_codes(in_process, 40, 0, "demo"))
        await langsmith.wait_for_requests(3)
        # One of the four places is left to a tenant that holds none.
        few = asyncio.create_task(count_codes(in_process, 3, 0, "demo-2"))
        await langsmith.wait_for_requests(4)
        keys = [request.headers["x-api-key"] for request in langsmith.requests]
        assert keys == ["demo", "demo", "demo", "demo-2"]
        resume.set()
        assert await few == {None: 3}
        assert await many == {None: 40}
    keys = [request.headers["x-api-key"] for request in langsmith.requests]
    # The tenants take turns while both wait.
    assert keys[:12].count("demo-2") == 3


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_operation_may_make_more_requests_than_there_are_places(
    serve: Serve, clock: Clock, concurrency: int
) -> None:
    large = Emulator(clock=clock.now, workspaces={"demo": 450})
    async with (
        serving(large) as url,
        serve(langsmith_endpoint=url, upstream_concurrency=concurrency) as gateway,
    ):
        data = await gateway.data(f"{{ sessions(first: 500) {{ nodes {{ id {EIGHT_WINDOWS} }} }} }}")
    assert len(data["sessions"]["nodes"]) == 450
    assert len(large.requests) > 9 * concurrency


async def test_requests_in_flight_never_exceed_the_setting(serve: Serve) -> None:
    resume = asyncio.Event()

    async def answer_later(connection: Connection) -> None:
        await resume.wait()
        await connection.send(listed(row()))

    async with (
        raw_upstream(answer_later) as upstream,
        serve(langsmith_endpoint=upstream.url, upstream_concurrency=3) as gateway,
        serve(langsmith_endpoint=upstream.url) as other_gateway,
    ):
        clients = asyncio.create_task(run_wave(15, gateway, 0))
        await upstream.wait_for_requests(3)
        # Any further request of the gateway would have arrived before this one, which is sent later.
        later = asyncio.create_task(other_gateway.data(page()))
        await upstream.wait_for_requests(4)
        assert upstream.in_flight == 4
        resume.set()
        assert count_successes(await clients) == 15
        await later
        assert upstream.most_in_flight <= 4
        assert len(upstream.requests) == 16


async def test_concurrency_layer_counts_requests_in_flight_and_in_the_queue() -> None:
    following = ScriptedTransport(Hanging())
    layer = ConcurrencyLimitTransport(following, 1)
    tasks = [asyncio.create_task(layer.send(upstream_request("a"))) for _ in range(3)]
    await following.arrived.wait()
    assert (layer.in_flight, layer.waiting, following.scopes) == (1, 2, ["a"])
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (layer.in_flight, layer.waiting) == (0, 0)


async def test_concurrency_layer_bounds_the_queue_of_each_tenant_and_of_all() -> None:
    layer = ConcurrencyLimitTransport(ScriptedTransport(Hanging()), 1)
    tasks = [asyncio.create_task(layer.send(upstream_request("a"))) for _ in range(5)]
    await asyncio.sleep(0)
    assert layer.waiting == 4
    with pytest.raises(RateLimitedError):
        await layer.send(upstream_request("a"))
    tasks += [asyncio.create_task(layer.send(upstream_request(tenant))) for tenant in "bbbbccccdddd"]
    await asyncio.sleep(0)
    assert layer.waiting == 16
    # The queue is full. A tenant with a shorter queue takes the room of a longer one.
    late = asyncio.create_task(layer.send(upstream_request("late")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert layer.waiting == 16
    assert not late.done()
    assert isinstance(tasks[4].exception(), RateLimitedError)
    await cancel(late, *tasks)
    assert (layer.in_flight, layer.waiting) == (0, 0)


async def test_concurrency_layer_reserves_no_place_if_there_is_one_tenant() -> None:
    following = ScriptedTransport(Hanging())
    layer = ConcurrencyLimitTransport(following, 4, has_one_tenant=True)
    tasks = [asyncio.create_task(layer.send(upstream_request("a"))) for _ in range(5)]
    await asyncio.sleep(0)
    assert (layer.in_flight, layer.waiting) == (4, 1)
    await cancel(*tasks)


async def cancel(*tasks: "asyncio.Task[object]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
