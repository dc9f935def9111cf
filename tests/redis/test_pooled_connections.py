"""The pool of a Redis connection: its limit, cancelled callers, idle connections, and how it is closed."""

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis.asyncio import ConnectionPool

from app.redis.connection import drop_idle_connections
from tests.conftest import TIMEOUT_SECONDS, Clock
from tests.redis.probe import Certificates, probing
from tests.support.real_redis import QUOTED, RealRedis, real_redis, relayed


async def test_first_timeout_drops_all_idle_connections(redis: RealRedis, clock: Clock) -> None:
    async with relayed(redis) as relay:
        url = redis.url.replace(str(redis.port), str(relay.port))
        async with probing(url, clock, timeout_seconds=1) as probe:
            assert all(await asyncio.gather(*(probe.echo() for _ in range(20))))
            assert relay.connections == 20
            relay.lose()
            assert not await probe.echo()
            assert await probe.echo()
            assert probe.failures == {"timeout": 1}


async def test_next_command_after_a_failover_goes_to_the_new_master(redis: RealRedis, clock: Clock) -> None:
    async with relayed(redis) as relay:
        url = redis.url.replace(str(redis.port), str(relay.port))
        with real_redis() as other:
            async with probing(url, clock) as probe:
                assert all(await asyncio.gather(*(probe.put() for _ in range(5))))
                redis.follow(other)
                relay.target = other
                assert not await probe.put()
                assert all(await asyncio.gather(*(probe.put() for _ in range(5))))
                assert other.keys() == [b"k"]
                assert (probe.events, probe.failures) == ([], {"readonly": 1})


async def test_callers_beyond_the_connection_limit_wait_for_a_connection(redis: RealRedis, clock: Clock) -> None:
    async with probing(redis.url, clock) as probe:
        assert all(await asyncio.gather(*(probe.echo(b"%d" % number) for number in range(500))))
        with redis.client() as client:
            assert len(client.client_list()) <= 33


@pytest.mark.parametrize("over_cluster", [False, True])
async def test_cancelled_callers_leave_no_connection_in_use(
    redis: RealRedis, cluster: str, clock: Clock, over_cluster: bool
) -> None:
    async with probing(f"{cluster if over_cluster else redis.url}?max_connections=4", clock) as probe:
        for rest in range(40):
            calls = [asyncio.create_task(probe.echo(b"%d" % number)) for number in range(10)]
            for _ in range(rest):
                await asyncio.sleep(0)
            for call, times in zip(calls, itertools.cycle([1, 2, 0]), strict=False):
                for _ in range(times):
                    call.cancel()
                    await asyncio.sleep(0)
            # No caller reads the answer to another one, which `echo` asserts.
            assert {each for each in await asyncio.gather(*calls, return_exceptions=True) if each is False} == set()
        assert all(await asyncio.gather(*(probe.echo(b"%d" % number) for number in range(50))))
        assert (probe.events, probe.failures) == ([], {})
        if not over_cluster:
            assert not probe.connection.client.connection_pool._in_use_connections


async def test_closing_does_not_wait_for_a_frozen_redis(redis: RealRedis, clock: Clock, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with relayed(redis, certificates.context) as relay:
        url = f"rediss://:{QUOTED}@127.0.0.1:{relay.port}/3?ssl_ca_certs={certificates.path}"
        async with probing(url, clock, timeout_seconds=0.25) as probe:
            probe.connection._timeout_seconds = TIMEOUT_SECONDS
            assert all(await asyncio.gather(*(probe.echo() for _ in range(5))))
            redis.freeze()
            async with asyncio.timeout(5):
                await probe.connection.aclose()


async def test_pool_keeps_its_idle_connections_in_the_private_list(redis: RealRedis, clock: Clock) -> None:
    """If this fails after an update of redis-py, `drop_idle_connections` has fallen back to its slower way."""
    async with probing(redis.url, clock) as probe:
        assert await probe.echo()
        (connection,) = probe.connection.client.connection_pool._available_connections
        assert connection.is_connected
        await drop_idle_connections(probe.connection.client)
        assert not connection.is_connected


async def test_idle_connections_are_dropped_from_a_pool_without_the_private_list(
    redis: RealRedis, clock: Clock
) -> None:
    class LaterPool:
        """The pool of a later redis-py, with the public method only."""

        def __init__(self, pool: ConnectionPool) -> None:
            self.disconnect = pool.disconnect

    async with probing(redis.url, clock) as probe:
        assert await probe.echo()
        pool = probe.connection.client.connection_pool
        (connection,) = pool._available_connections
        await drop_idle_connections(SimpleNamespace(connection_pool=LaterPool(pool)))
        assert not connection.is_connected
