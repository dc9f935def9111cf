"""Two gateways that share a Redis, and the operations that the tests run on them."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytest

from app.emulator import Fault
from tests.conftest import Gateway, Serve
from tests.support.real_redis import RealRedis

PAGE = "{ sessions(first: 5) { nodes { id name runCount latencyP50 } } }"
WIDER = "{ sessions(first: 5) { nodes { id name runCount errorRate } } }"
BY_ID = "query ($id: ID!) { session(id: $id) { name runCount } }"
DOWN = Fault(status=503, times=None)


@dataclass
class Pair:
    """Two gateways that share a Redis."""

    one: Gateway
    other: Gateway
    redis: RealRedis

    async def wait_written(self) -> None:
        """Waits until all leases are released, which happens after the results are written."""
        await self._until(lambda: not any(value.startswith(b"h") for value in self.values("*:lease:[ps]*")))

    async def wait_selection_written(self) -> None:
        """Waits until the selection of a page is written."""
        await self._until(lambda: any(re.fullmatch(rb"\d+ \d+ ", value) for value in self.values("*:selected:*")))

    async def wait_lease_attempts(self, count: int) -> None:
        """Waits until processes have tried this number of times to acquire leases."""
        await self._until(lambda: any(int(value) >= count for value in self.values("*:lease:fence")))

    def values(self, pattern: str) -> list[bytes]:
        """The values of texts, and of the fields of hashes."""
        with self.redis.client() as client:
            texts, hashes = (client.scan_iter(pattern, _type=kind) for kind in ("string", "hash"))
            return [*filter(None, map(client.get, texts)), *chain.from_iterable(map(client.hvals, hashes))]

    async def _until(self, holds: Callable[[], object]) -> None:
        while not holds():  # noqa: ASYNC110 - Redis notifies nobody
            await asyncio.sleep(0.002)


def redis_settings(redis: RealRedis) -> dict[str, Any]:
    return {"cache_url": redis.url, "cache_stale": 60, "upstream_retries": 0}


@pytest.fixture
async def pair(serve: Serve, redis: RealRedis) -> AsyncIterator[Pair]:
    async with serve(**redis_settings(redis)) as one, serve(**redis_settings(redis)) as other:
        yield Pair(one, other, redis)


async def outcome(gateway: Gateway, query: str, variables: Any = None, /, **headers: str) -> tuple[str, float, int]:
    """The cache outcome, the age in seconds, and the number of requests of the only root field."""
    body = await gateway.run(query, variables, **{"x-gateway-explain": "1", **headers})
    assert "errors" not in body, body["errors"]
    (field,) = body["extensions"]["gateway"]["fields"].values()
    return field["cache"], field["age"], len(field["requests"])
