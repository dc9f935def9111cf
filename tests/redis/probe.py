"""A connection under test, with what it reports, and certificates for TLS in front of a Redis."""

import asyncio
import contextlib
import gc
import io
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.redis.connection import RedisConnection, RedisUnavailableError
from tests.conftest import TIMEOUT_SECONDS, Clock
from tests.support.real_redis import PASSWORD, QUOTED

ECHO = "return ARGV[1]"
PUT = "return redis.call('set', KEYS[1], ARGV[1])"
GET = "return redis.call('get', KEYS[1])"


@dataclass
class Probe:
    """A connection with what it reports: metrics, log lines and failures."""

    connection: RedisConnection
    metrics: Metrics = field(default_factory=Metrics)
    log: io.StringIO = field(default_factory=io.StringIO)

    async def echo(self, value: bytes = b"here") -> bool:
        """Whether the Redis answers a command that neither reads nor writes."""
        try:
            answer = await self.connection.script(ECHO, ["k"], [value])
        except RedisUnavailableError:
            return False
        assert answer == value
        return True

    async def put(self, value: bytes = b"v") -> bool:
        """Whether the Redis accepts a write."""
        try:
            await self.connection.script(PUT, ["k"], [value])
        except RedisUnavailableError:
            return False
        return True

    async def fail_until_unavailable(self) -> None:
        """Send commands, which have to fail, until the circuit breaker opens."""
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
async def probing(url: str, clock: Clock, timeout_seconds: float = TIMEOUT_SECONDS) -> AsyncIterator[Probe]:
    metrics, log = Metrics(), io.StringIO()
    structured = create_log("json", "debug", log)
    connection = RedisConnection(
        url, use="test", metrics=metrics, log=structured, clock=clock.monotonic, timeout_seconds=timeout_seconds
    )
    try:
        yield Probe(connection, metrics, log)
    finally:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await connection.aclose()
        assert PASSWORD not in log.getvalue()
        assert QUOTED not in log.getvalue()
        del connection
        gc.collect()  # What was left open warns when it is collected.


class Certificates:
    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.path = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.path))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self.context)
