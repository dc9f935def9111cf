"""Whoever asks a Redis is answered soon, or goes on without; and a Redis that is back is found."""

import asyncio
import contextlib
import gc
import io
import itertools
import json
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection, RedisUnavailableError
from tests.conftest import PATIENCE, Clock
from tests.support.real_redis import PASSWORD, QUOTED, RealRedis, between, real_cluster, real_redis, real_sentinel

ECHO = "return ARGV[1]"
PUT = "return redis.call('set', KEYS[1], ARGV[1])"
GET = "return redis.call('get', KEYS[1])"


@dataclass
class Asking:
    link: RedisConnection
    metrics: Metrics = field(default_factory=Metrics)
    log: io.StringIO = field(default_factory=io.StringIO)

    async def echo(self, value: bytes = b"here") -> bool:
        try:
            answer = await self.link.script(ECHO, ["k"], [value])
        except RedisUnavailableError:
            return False
        assert answer == value
        return True

    async def put(self, value: bytes = b"v") -> bool:
        try:
            await self.link.script(PUT, ["k"], [value])
        except RedisUnavailableError:
            return False
        return True

    async def until_away(self) -> None:
        for _ in range(3):
            assert self.is_up
            assert not await self.echo()
        assert not self.is_up

    @property
    def events(self) -> list[tuple[str, str | None]]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        assert {line["use"] for line in lines} <= {"test"}
        return [(line["event"], line.get("reason")) for line in lines]

    @property
    def is_up(self) -> bool:
        return self.metrics._registry.get_sample_value("gateway_redis_up", {"use": "test"}) == 1

    @property
    def failures(self) -> dict[str, int]:
        (family,) = self.metrics.redis_failures.collect()
        return {each.labels["kind"]: int(each.value) for each in family.samples if each.name.endswith("_total")}


@contextlib.asynccontextmanager
async def asking(url: str, clock: Clock, timeout_seconds: float = PATIENCE) -> AsyncIterator[Asking]:
    metrics, log = Metrics(), io.StringIO()
    structured = create_log("json", "debug", log)
    link = RedisConnection(
        url, use="test", metrics=metrics, log=structured, clock=clock.monotonic, timeout_seconds=timeout_seconds
    )
    try:
        yield Asking(link, metrics, log)
    finally:
        async with asyncio.timeout(PATIENCE):
            await link.aclose()
        assert PASSWORD not in log.getvalue()
        assert QUOTED not in log.getvalue()
        del link
        gc.collect()  # what was left open warns


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with real_cluster() as url:
        yield url


async def test_a_script_is_answered(redis: RealRedis, clock: Clock) -> None:
    async with asking(redis.url, clock) as over:
        assert await over.put(b"\x00\xff")
        assert await over.link.script(GET, ["k"], []) == b"\x00\xff"
        assert await over.link.script("return {KEYS[1], ARGV[1], 7, false}", ["k"], [1]) == [b"k", b"1", 7, None]
        assert (over.events, over.failures, over.is_up) == ([], {}, True)


async def test_over_a_unix_socket(redis: RealRedis, clock: Clock) -> None:
    async with asking(redis.unix_url, clock) as over:
        assert await over.put()
    assert redis.keys() == [b"k"]


async def test_with_a_user_whose_name_and_password_need_codes(redis: RealRedis, clock: Clock) -> None:
    with redis.client() as client:
        client.acl_setuser("é:@", enabled=True, passwords=["+#/?@:%"], categories=["+@all"], keys=["*"])
    who = "%C3%A9%3A%40:%23%2F%3F%40%3A%25"
    async with asking(f"redis://{who}@127.0.0.1:{redis.port}/3?client_name=gateway", clock) as over:
        assert await over.put()
    assert redis.keys() == [b"k"]


class Certificates:
    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.path = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.path))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.context)


async def test_over_tls(redis: RealRedis, clock: Clock, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with between(redis, certificates.context) as there:
        url = f"rediss://:{QUOTED}@127.0.0.1:{there.port}/3"
        async with asking(f"{url}?ssl_ca_certs={certificates.path}", clock) as over:
            assert await over.put()
        async with asking(url, clock) as over:
            await over.until_away()
            assert over.events == [("redis_unavailable", "connection")]


async def test_a_master_that_sentinels_name(redis: RealRedis, clock: Clock) -> None:
    with real_sentinel(redis) as sentinel, real_redis() as other:
        async with asking(sentinel.url, clock) as over:
            assert await over.put()
            assert redis.keys() == [b"k"]
            redis.follow(other)
            sentinel.name(other)
            assert not await over.put()
            assert over.failures == {"readonly": 1}
            assert await over.put()
            assert other.keys() == [b"k"]
            assert over.events == []
        url = sentinel.url.replace("mymaster", "nobody")
        async with asking(url, clock) as over:
            await over.until_away()
            assert over.events == [("redis_unavailable", "connection")]


async def test_a_cluster(cluster: str, clock: Clock) -> None:
    host = cluster.rpartition("@")[2]
    async with asking(cluster.replace(host, f"127.0.0.1:1,{host}"), clock) as over:
        assert await over.put(b"\xff")
        assert await over.link.script(GET, ["k"], []) == b"\xff"
        assert all(await asyncio.gather(*(over.echo(b"%d" % number) for number in range(100))))
        assert (over.events, over.failures) == ([], {})


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
async def test_where_one_of_several_hangs_another_is_asked(
    redis: RealRedis, cluster: str, clock: Clock, kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging, contextlib.ExitStack() as others:
        url = cluster if kind == "cluster" else others.enter_context(real_sentinel(redis)).url
        _, _, hosts = url.rpartition("@")
        async with asking(url.replace(hosts, f"127.0.0.1:{hanging.getsockname()[1]},{hosts}"), clock, 1.5) as over:
            assert await over.put()


@pytest.mark.parametrize("kind", ["redis", "cluster", "sentinel"])
async def test_one_that_is_not_there_yet(clock: Clock, kind: str) -> None:
    with real_redis() as redis:
        redis.kill()
        url = redis.url if kind == "redis" else f"redis+{kind}://:{QUOTED}@127.0.0.1:{redis.port}"
        async with asking(f"{url}/mymaster" if kind == "sentinel" else url, clock) as over:
            await over.until_away()
            assert not await over.echo()
            assert over.failures == {"connection": 3}
            assert over.events == [("redis_unavailable", "connection")]
            if kind == "redis":
                redis.start()
                assert not await over.echo()
                clock.forward(1)
                assert await over.echo()
                assert over.is_up
                assert over.events[1:] == [("redis_available", None)]


async def test_another_in_its_place_is_asked_at_once(redis: RealRedis, clock: Clock) -> None:
    async with asking(redis.url, clock) as over:
        assert all(await asyncio.gather(*(over.put() for _ in range(10))))
        redis.kill()
        redis.start()
        assert await over.link.script(GET, ["k"], []) is None
        assert all(await asyncio.gather(*(over.put() for _ in range(10))))
        assert (over.events, over.failures) == ([], {})


@pytest.mark.parametrize("over_unix", [False, True])
async def test_one_that_is_killed_and_started_again(redis: RealRedis, clock: Clock, over_unix: bool) -> None:
    async with asking(redis.unix_url if over_unix else redis.url, clock) as over:
        assert await over.put()
        redis.kill()
        await over.until_away()
        redis.start()
        clock.forward(1)
        assert await over.put()
        assert over.events == [("redis_unavailable", "connection"), ("redis_available", None)]


async def test_a_frozen_one_costs_a_moment_and_then_nothing(redis: RealRedis, clock: Clock) -> None:
    async with asking(redis.url, clock, timeout_seconds=0.25) as over:
        assert await over.echo()
        redis.freeze()
        await over.until_away()
        assert not any([await over.echo() for _ in range(1000)])
        assert over.failures == {"timeout": 3}
        clock.forward(1)
        assert not await over.echo()
        assert over.events == [("redis_unavailable", "timeout")]
        redis.thaw()
        over.link._timeout_seconds = PATIENCE
        clock.forward(2)
        assert await over.echo()
        assert over.events[1:] == [("redis_available", None)]


async def test_one_that_is_slow_once_is_not_away(redis: RealRedis, clock: Clock) -> None:
    async with asking(redis.url, clock, timeout_seconds=0.25) as over:
        with redis.client() as client:
            client.client_pause(60_000, all=False)
            assert not await over.put()
            client.execute_command("CLIENT UNPAUSE")
        over.link._timeout_seconds = PATIENCE
        assert await over.put()
        assert (over.events, over.failures) == ([], {"timeout": 1})


async def test_who_tries_and_hangs_up_leaves_the_next_to_try(redis: RealRedis, clock: Clock) -> None:
    async with asking(redis.url, clock, timeout_seconds=0.25) as over:
        redis.freeze()
        await over.until_away()
        over.link._timeout_seconds = PATIENCE
        clock.forward(1)
        trying = asyncio.create_task(over.echo())
        await asyncio.sleep(0)
        assert not await over.echo()
        trying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await trying
        redis.thaw()
        assert await over.echo()


async def test_connections_that_are_lost_unnoticed_are_found_to_be_so_together(redis: RealRedis, clock: Clock) -> None:
    async with between(redis) as there:
        url = redis.url.replace(str(redis.port), str(there.port))
        async with asking(url, clock, timeout_seconds=1) as over:
            assert all(await asyncio.gather(*(over.echo() for _ in range(20))))
            assert there.connections == 20
            there.lose()
            assert not await over.echo()
            assert await over.echo()
            assert over.failures == {"timeout": 1}


async def test_a_full_one_answers_what_reads_and_is_logged_once(redis: RealRedis, clock: Clock) -> None:
    async with asking(redis.url, clock) as over:
        assert await over.put()
        redis.configure(maxmemory=1)
        for _ in range(10):
            assert not await over.put()
            assert await over.link.script(GET, ["k"], []) == b"v"
            clock.forward(30)
        assert over.is_up
        assert over.events == [("redis_refuses_writes", "full")]
        assert over.failures == {"full": 10}
        redis.configure(maxmemory=0)
        clock.forward(60)
        assert await over.link.script(GET, ["k"], []) == b"v"
        assert len(over.events) == 1
        assert await over.put()
        assert over.events[1:] == [("redis_accepts_writes", None)]


async def test_one_that_cannot_save_is_like_a_full_one(redis: RealRedis, clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as folder:
        redis.configure(dir=folder, save="3600 1000000")
    with redis.client() as client:
        client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            pass
    async with asking(redis.url, clock) as over:
        assert [await over.put() for _ in range(5)] == [False] * 5
        assert over.is_up
        assert over.events == [("redis_refuses_writes", "misconf")]


async def test_after_a_failover_the_next_asks_the_new_master(redis: RealRedis, clock: Clock) -> None:
    async with between(redis) as there:
        url = redis.url.replace(str(redis.port), str(there.port))
        with real_redis() as other:
            async with asking(url, clock) as over:
                assert all(await asyncio.gather(*(over.put() for _ in range(5))))
                redis.follow(other)
                there.target = other
                assert not await over.put()
                assert all(await asyncio.gather(*(over.put() for _ in range(5))))
                assert other.keys() == [b"k"]
                assert (over.events, over.failures) == ([], {"readonly": 1})


async def test_one_that_is_still_loading(redis: RealRedis, clock: Clock, tmp_path: Path) -> None:
    redis.configure(rdbcompression="no")
    with redis.client() as client:
        client.execute_command("DEBUG POPULATE", 40, "key", 1_000_000)
        client.save()
    redis.kill()
    redis.spawn("--key-load-delay", "20000")
    async with asking(redis.url, clock) as over:
        while not over.failures.get("loading"):
            await over.echo()
            clock.forward(10)
        while not await over.echo():
            clock.forward(10)
        assert set(over.failures) <= {"connection", "loading"}
        assert over.events[-1] == ("redis_available", None)


@pytest.mark.parametrize(
    "url", ["redis://:wr0ng@127.0.0.1:{port}/3", "unix://:wr0ng@{path}", "redis://127.0.0.1:{port}"]
)
async def test_a_wrong_password_is_told_as_one(redis: RealRedis, clock: Clock, url: str) -> None:
    path = redis.unix_url.partition("@")[2]
    async with asking(url.format(port=redis.port, path=path), clock) as over:
        await over.until_away()
        assert over.events == [("redis_unavailable", "auth")]
        assert "wr0ng" not in over.log.getvalue()


@pytest.mark.parametrize(
    ("rubbish", "kind"),
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
async def test_rubbish_is_no_answer(clock: Clock, scheme: str, rubbish: bytes, kind: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(rubbish)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as there:
        port = there.sockets[0].getsockname()[1]
        async with asking(f"{scheme}://:{QUOTED}@127.0.0.1:{port}", clock) as over:
            await over.until_away()
            # Of a node that does not say what a cluster is, a cluster's client says no more than that.
            assert over.events[0] in [("redis_unavailable", kind), ("redis_unavailable", "cluster")]
            assert len(over.events) == 1


async def test_more_callers_than_connections_take_turns(redis: RealRedis, clock: Clock) -> None:
    async with asking(redis.url, clock) as over:
        assert all(await asyncio.gather(*(over.echo(b"%d" % number) for number in range(500))))
        with redis.client() as client:
            assert len(client.client_list()) <= 33


@pytest.mark.parametrize("over_cluster", [False, True])
async def test_callers_that_are_cancelled_leave_nothing_behind(
    redis: RealRedis, cluster: str, clock: Clock, over_cluster: bool
) -> None:
    async with asking(f"{cluster if over_cluster else redis.url}?max_connections=4", clock) as over:
        for rest in range(40):
            calls = [asyncio.create_task(over.echo(b"%d" % number)) for number in range(10)]
            for _ in range(rest):
                await asyncio.sleep(0)
            for call, times in zip(calls, itertools.cycle([1, 2, 0]), strict=False):
                for _ in range(times):
                    call.cancel()
                    await asyncio.sleep(0)
            # Each that is answered is answered with what it said.
            assert {each for each in await asyncio.gather(*calls, return_exceptions=True) if each is False} == set()
        assert all(await asyncio.gather(*(over.echo(b"%d" % number) for number in range(50))))
        assert (over.events, over.failures) == ([], {})
        if not over_cluster:
            assert not over.link.client.connection_pool._in_use_connections


async def test_the_end_waits_for_nobody(redis: RealRedis, clock: Clock, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with between(redis, certificates.context) as there:
        url = f"rediss://:{QUOTED}@127.0.0.1:{there.port}/3?ssl_ca_certs={certificates.path}"
        async with asking(url, clock, timeout_seconds=0.25) as over:
            over.link._timeout_seconds = PATIENCE
            assert all(await asyncio.gather(*(over.echo() for _ in range(5))))
            redis.freeze()
            async with asyncio.timeout(5):
                await over.link.aclose()


@pytest.mark.parametrize("url", ["http://a", "redis://", "redis+cluster://a/1"])
def test_an_address_that_is_none_is_refused(clock: Clock, url: str) -> None:
    log = create_log("json", "debug", io.StringIO())
    with pytest.raises(ValueError, match=r"^a Redis such as redis"):
        RedisConnection(url, use="test", metrics=Metrics(), log=log, clock=clock.monotonic)
