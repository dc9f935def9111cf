"""A command is answered soon or raises RedisUnavailableError, and a Redis that has recovered is used again."""

import asyncio
import contextlib
import io
import socket
import tempfile
from pathlib import Path

import pytest

from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection
from tests.conftest import TIMEOUT_SECONDS, Clock
from tests.redis.probe import GET, Certificates, probing
from tests.support.real_redis import QUOTED, RealRedis, real_redis, real_sentinel, relayed


async def test_script_returns_its_answer(redis: RealRedis, clock: Clock) -> None:
    async with probing(redis.url, clock) as probe:
        assert await probe.put(b"\x00\xff")
        assert await probe.connection.script(GET, ["k"], []) == b"\x00\xff"
        assert await probe.connection.script("return {KEYS[1], ARGV[1], 7, false}", ["k"], [1]) == [b"k", b"1", 7, None]
        assert (probe.events, probe.failures, probe.is_up) == ([], {}, True)


async def test_connection_over_a_unix_socket(redis: RealRedis, clock: Clock) -> None:
    async with probing(redis.unix_url, clock) as probe:
        assert await probe.put()
    assert redis.keys() == [b"k"]


async def test_user_name_and_password_may_be_percent_encoded(redis: RealRedis, clock: Clock) -> None:
    with redis.client() as client:
        client.acl_setuser("é:@", enabled=True, passwords=["+#/?@:%"], categories=["+@all"], keys=["*"])
    who = "%C3%A9%3A%40:%23%2F%3F%40%3A%25"
    async with probing(f"redis://{who}@127.0.0.1:{redis.port}/3?client_name=gateway", clock) as probe:
        assert await probe.put()
    assert redis.keys() == [b"k"]


async def test_connection_over_tls_verifies_the_certificate(redis: RealRedis, clock: Clock, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with relayed(redis, certificates.context) as relay:
        url = f"rediss://:{QUOTED}@127.0.0.1:{relay.port}/3"
        async with probing(f"{url}?ssl_ca_certs={certificates.path}", clock) as probe:
            assert await probe.put()
        async with probing(url, clock) as probe:
            await probe.fail_until_unavailable()
            assert probe.events == [("redis_unavailable", "connection")]


async def test_sentinels_lead_to_the_new_master_after_a_failover(redis: RealRedis, clock: Clock) -> None:
    with real_sentinel(redis) as sentinel, real_redis() as other:
        async with probing(sentinel.url, clock) as probe:
            assert await probe.put()
            assert redis.keys() == [b"k"]
            redis.follow(other)
            sentinel.name(other)
            assert not await probe.put()
            assert probe.failures == {"readonly": 1}
            assert await probe.put()
            assert other.keys() == [b"k"]
            assert probe.events == []
        url = sentinel.url.replace("mymaster", "nobody")
        async with probing(url, clock) as probe:
            await probe.fail_until_unavailable()
            assert probe.events == [("redis_unavailable", "connection")]


async def test_cluster_is_used_although_one_of_its_hosts_is_unreachable(cluster: str, clock: Clock) -> None:
    host = cluster.rpartition("@")[2]
    async with probing(cluster.replace(host, f"127.0.0.1:1,{host}"), clock) as probe:
        assert await probe.put(b"\xff")
        assert await probe.connection.script(GET, ["k"], []) == b"\xff"
        assert all(await asyncio.gather(*(probe.echo(b"%d" % number) for number in range(100))))
        assert (probe.events, probe.failures) == ([], {})


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
async def test_hanging_host_leaves_time_to_ask_another(redis: RealRedis, cluster: str, clock: Clock, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging, contextlib.ExitStack() as others:
        url = cluster if kind == "cluster" else others.enter_context(real_sentinel(redis)).url
        _, _, hosts = url.rpartition("@")
        async with probing(url.replace(hosts, f"127.0.0.1:{hanging.getsockname()[1]},{hosts}"), clock, 1.5) as probe:
            assert await probe.put()


@pytest.mark.parametrize("kind", ["redis", "cluster", "sentinel"])
async def test_redis_that_starts_later_is_found(clock: Clock, kind: str) -> None:
    with real_redis() as redis:
        redis.kill()
        url = redis.url if kind == "redis" else f"redis+{kind}://:{QUOTED}@127.0.0.1:{redis.port}"
        async with probing(f"{url}/mymaster" if kind == "sentinel" else url, clock) as probe:
            await probe.fail_until_unavailable()
            assert not await probe.echo()
            assert probe.failures == {"connection": 3}
            assert probe.events == [("redis_unavailable", "connection")]
            if kind == "redis":
                redis.start()
                assert not await probe.echo()
                clock.advance(1)
                assert await probe.echo()
                assert probe.is_up
                assert probe.events[1:] == [("redis_available", None)]


async def test_restarted_redis_is_used_without_a_failure(redis: RealRedis, clock: Clock) -> None:
    async with probing(redis.url, clock) as probe:
        assert all(await asyncio.gather(*(probe.put() for _ in range(10))))
        redis.kill()
        redis.start()
        assert await probe.connection.script(GET, ["k"], []) is None
        assert all(await asyncio.gather(*(probe.put() for _ in range(10))))
        assert (probe.events, probe.failures) == ([], {})


@pytest.mark.parametrize("over_unix", [False, True])
async def test_killed_redis_is_used_again_after_its_restart(redis: RealRedis, clock: Clock, over_unix: bool) -> None:
    async with probing(redis.unix_url if over_unix else redis.url, clock) as probe:
        assert await probe.put()
        redis.kill()
        await probe.fail_until_unavailable()
        redis.start()
        clock.advance(1)
        assert await probe.put()
        assert probe.events == [("redis_unavailable", "connection"), ("redis_available", None)]


async def test_frozen_redis_costs_three_timeouts_and_then_nothing(redis: RealRedis, clock: Clock) -> None:
    async with probing(redis.url, clock, timeout_seconds=0.25) as probe:
        assert await probe.echo()
        redis.freeze()
        await probe.fail_until_unavailable()
        assert not any([await probe.echo() for _ in range(1000)])
        assert probe.failures == {"timeout": 3}
        clock.advance(1)
        assert not await probe.echo()
        assert probe.events == [("redis_unavailable", "timeout")]
        redis.thaw()
        probe.connection._timeout_seconds = TIMEOUT_SECONDS
        clock.advance(2)
        assert await probe.echo()
        assert probe.events[1:] == [("redis_available", None)]


async def test_single_timeout_does_not_make_the_redis_unavailable(redis: RealRedis, clock: Clock) -> None:
    async with probing(redis.url, clock, timeout_seconds=0.25) as probe:
        with redis.client() as client:
            client.client_pause(60_000, all=False)
            assert not await probe.put()
            client.execute_command("CLIENT UNPAUSE")
        probe.connection._timeout_seconds = TIMEOUT_SECONDS
        assert await probe.put()
        assert (probe.events, probe.failures) == ([], {"timeout": 1})


async def test_cancelled_trial_leaves_the_trial_to_the_next_command(redis: RealRedis, clock: Clock) -> None:
    async with probing(redis.url, clock, timeout_seconds=0.25) as probe:
        redis.freeze()
        await probe.fail_until_unavailable()
        probe.connection._timeout_seconds = TIMEOUT_SECONDS
        clock.advance(1)
        trial = asyncio.create_task(probe.echo())
        await asyncio.sleep(0)
        assert not await probe.echo()
        trial.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await trial
        redis.thaw()
        assert await probe.echo()


async def test_full_redis_answers_reads_and_is_logged_once(redis: RealRedis, clock: Clock) -> None:
    async with probing(redis.url, clock) as probe:
        assert await probe.put()
        redis.configure(maxmemory=1)
        for _ in range(10):
            assert not await probe.put()
            assert await probe.connection.script(GET, ["k"], []) == b"v"
            clock.advance(30)
        assert probe.is_up
        assert probe.events == [("redis_refuses_writes", "full")]
        assert probe.failures == {"full": 10}
        redis.configure(maxmemory=0)
        clock.advance(60)
        assert await probe.connection.script(GET, ["k"], []) == b"v"
        assert len(probe.events) == 1
        assert await probe.put()
        assert probe.events[1:] == [("redis_accepts_writes", None)]


async def test_redis_that_cannot_save_counts_as_one_that_refuses_writes(redis: RealRedis, clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as folder:
        redis.configure(dir=folder, save="3600 1000000")
    with redis.client() as client:
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            pass
    async with probing(redis.url, clock) as probe:
        assert [await probe.put() for _ in range(5)] == [False] * 5
        assert probe.is_up
        assert probe.events == [("redis_refuses_writes", "misconf")]


async def test_redis_that_is_loading_is_used_once_it_has_loaded(redis: RealRedis, clock: Clock, tmp_path: Path) -> None:
    redis.configure(rdbcompression="no")
    with redis.client() as client:
        client.execute_command("DEBUG POPULATE", 40, "key", 1_000_000)
        client.save()
    redis.kill()
    redis.spawn("--key-load-delay", "20000")
    async with probing(redis.url, clock) as probe:
        while not probe.failures.get("loading"):
            await probe.echo()
            clock.advance(10)
        while not await probe.echo():
            clock.advance(10)
        assert set(probe.failures) <= {"connection", "loading"}
        assert probe.events[-1] == ("redis_available", None)


@pytest.mark.parametrize(
    "url", ["redis://:wr0ng@127.0.0.1:{port}/3", "unix://:wr0ng@{path}", "redis://127.0.0.1:{port}"]
)
async def test_wrong_password_is_reported_as_an_auth_failure(redis: RealRedis, clock: Clock, url: str) -> None:
    path = redis.unix_url.partition("@")[2]
    async with probing(url.format(port=redis.port, path=path), clock) as probe:
        await probe.fail_until_unavailable()
        assert probe.events == [("redis_unavailable", "auth")]
        assert "wr0ng" not in probe.log.getvalue()


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"", "connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol"),
        (b"+PONG\r\n" * 9, "protocol"),
        (b"*many\r\n", "protocol"),
        (b"*1\r\n" * 5000, "protocol"),
        (b"$9\r\nfew\r\n", "connection"),
        (b"-ERR no such thing\r\n", "refused"),
        (b"\xff" * 1_000_000, "protocol"),
    ],
)
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_answer_that_is_not_resp_makes_the_redis_unavailable(
    clock: Clock, scheme: str, sent: bytes, kind: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(sent)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with probing(f"{scheme}://:{QUOTED}@127.0.0.1:{port}", clock) as probe:
            await probe.fail_until_unavailable()
            # The client of a cluster reports a node that does not describe the cluster only as such.
            assert probe.events[0] in [("redis_unavailable", kind), ("redis_unavailable", "cluster")]
            assert len(probe.events) == 1


@pytest.mark.parametrize("url", ["http://a", "redis://", "redis+cluster://a/1"])
def test_connection_refuses_an_invalid_url(clock: Clock, url: str) -> None:
    log = create_log("json", "debug", io.StringIO())
    with pytest.raises(ValueError, match=r"^a Redis such as redis"):
        RedisConnection(url, use="test", metrics=Metrics(), log=log, clock=clock.monotonic)
