"""Whatever another program has written to Redis, answers are those without Redis, and the keys are good afterwards."""

import asyncio
import random
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis as redis_py

from app.cache.shared.redis_keys import KeyKind
from app.emulator import Emulator, Fault, serving
from app.http.persisted_queries import sha256_of
from tests.cache.shared.pair import BY_ID, PAGE, WIDER, redis_settings
from tests.cache.test_page_cache import SOME_IDS, TENANTS
from tests.conftest import NOON, Clock, Gateway, running_gateway, take_recorded_params
from tests.support.real_redis import RealRedis, real_redis

EVERY = (
    "{ sessions(first: 7) { nodes { id extra totalCost startTime feedbackStats { key avg } runFacets errorRate } } }"
)
UNKNOWN = "00000000-0000-4000-8000-000000000000"
CALLS: list[tuple[str, Any]] = [
    (PAGE, None),
    (WIDER, None),
    (EVERY, None),
    (BY_ID, {"id": SOME_IDS[0]}),
    (BY_ID, {"id": UNKNOWN}),
    ('{ sessions(first: 4) { nodes { id stats(last: "PT1H") { runCount } } } }', None),
]
PERSISTED = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256_of(PAGE)}}}
DEEP = b"[" * 100_000 + b"]" * 100_000
DIGITS = b"9" * 5000


def body(text: bytes) -> Callable[[bytes], bytes]:
    """Replace what follows the token and the time."""
    return lambda value: b" ".join([*value.split(b" ", 2)[:2], text])


def replaced(number: int, text: bytes) -> Callable[[bytes], bytes]:
    """Replace one of the words that a value begins with."""
    return lambda value: b" ".join(text if each == number else word for each, word in enumerate(value.split(b" ", 5)))


VALUES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "rubbish": lambda _: b"\x00\xff{}",
    "digits": lambda _: DIGITS,
    "infinity": lambda _: b"inf",
    "number": lambda _: b"1e300",
    "a lease": lambda _: b"ha1 1 100 ffffffff 0 1",
    "an error": lambda _: b'fa1 ["NONSENSE","x",null,1e300]',
    "cut": lambda value: value[: len(value) // 2],
    "large token": replaced(0, b"9" * 16),
    "huge token": replaced(0, DIGITS),
    "large time": replaced(1, b"9" * 16),
    "huge time": replaced(1, DIGITS),
    "null": body(b"null"),
    "nulls in a page": body(b"[5,[null,null]]"),
    "large page": body(b'[1000000000,["%s"]]' % SOME_IDS[0].encode()),
    "numbers in a page": body(b"[%s,[%s]]" % (DIGITS, DIGITS)),
    "deep": body(DEEP),
    "deep value": body(b"[[]," + DEEP + b"]"),
    "digits in a body": body(b"[[]," + DIGITS + b"]"),
    "digits everywhere": lambda value: value.replace(b"[[]", b"[[" + DIGITS + b"]"),
    "other decimals": lambda value: value.replace(b'"0.', b'"x'),
}
TYPES: dict[str, Callable[[redis_py.Redis, bytes], object]] = {
    "list": lambda client, key: client.rpush(key, *[b"x"] * 3),
    "numbers": lambda client, key: client.rpush(key, *[b"9" * 300] * 3),
    "hash": lambda client, key: client.hset(key, "columns", "x"),
    "set": lambda client, key: client.sadd(key, b"x"),
    "sorted set": lambda client, key: client.zadd(key, {b"x": 1}),
    "text": lambda client, key: client.set(key, b"x"),
}


MIXED = [f"mixed {number}" for number in range(6)]
OF_ANOTHER_KEY = "of another key"


def kind_of(key: bytes) -> KeyKind | None:
    """The kind of a key; None for one that is not the cache's."""
    text = key.decode().partition("}:")[2]
    kinds = [kind for kind in KeyKind if re.fullmatch(re.sub(r"\{\w+\}", ".+", kind), text)]
    return max(kinds, key=lambda kind: len(re.sub(r"\{\w+\}", "", kind)), default=None)


def poison_key(client: Any, key: bytes, name: str) -> None:
    if name in TYPES:
        client.delete(key)
        TYPES[name](client, key)
    elif client.type(key) == b"hash":
        for each, value in client.hgetall(key).items():
            client.hset(key, each, VALUES[name](value))
    elif client.type(key) in {b"string", b"none"}:
        client.set(key, VALUES[name](client.get(key) or b""))
    else:
        client.delete(key)
        client.set(key, VALUES[name](b"1 1 1"))


def move_values(client: Any, keys: list[bytes]) -> None:
    """Give each key the value of the next one of its kind."""
    for kind in KeyKind:
        of_kind = [key for key in keys if kind_of(key) is kind and client.exists(key)]
        dumps = [client.dump(key) for key in of_kind]
        for key, dump in zip(of_kind[1:] + of_kind[:1], dumps, strict=True):
            client.restore(key, 60_000, dump, replace=True)


def poison(redis: RealRedis, name: str) -> None:
    """Overwrite every key, and write those of further kinds."""
    with redis.client() as client:
        keys: list[bytes] = sorted(client.keys("*"))
        # A kind of key that the traffic does not write would not be poisoned.
        assert {*map(kind_of, keys)} >= {*KeyKind}
        scopes = {key[: key.index(b"}:") + 2] for key in keys if b"}:" in key}
        keys += [scope + b"dropped" for scope in scopes if scope + b"dropped" not in keys]
        keys += [b"sessions-gateway:" + scope[scope.index(b"{") :] + b"stopped" for scope in scopes]
        if name == OF_ANOTHER_KEY:
            move_values(client, keys)
            return
        rng = random.Random(name)
        for key in keys:
            poison_key(client, key, rng.choice([*VALUES, *TYPES]) if name in MIXED else name)


async def answers(gateway: Gateway, calls: list[tuple[str, Any]]) -> list[Any]:
    found = await asyncio.gather(*(gateway.run(query, variables) for query, variables in calls))
    for members in ({"query": PAGE, **PERSISTED}, PERSISTED):
        found.append((await gateway.client.post("/graphql", json=members, headers={"x-api-key": "demo"})).json())
    return found


async def redis_failures(gateway: Gateway) -> set[str]:
    """The kinds of failures of Redis that the gateway has counted."""
    metrics = (await gateway.client.get("/metrics")).text
    return set(re.findall(r'^gateway_redis_failures_total\{.*kind="(\w+)".*\} [1-9]', metrics, re.MULTILINE))


@pytest.mark.parametrize("name", [*VALUES, *TYPES, *MIXED, OF_ANOTHER_KEY])
def test_answers_with_a_poisoned_redis_equal_those_without_and_repair_it(name: str) -> None:
    async def run() -> None:
        langsmith, clock = Emulator(clock=lambda: NOON, workspaces=TENANTS), Clock()
        calls = random.Random(name).sample(CALLS, len(CALLS))
        async with serving(langsmith) as url, AsyncExitStack() as stack:
            redis = stack.enter_context(real_redis())
            limits = {"client_rate": "500/10s", "client_rate_url": redis.url, "upstream_rate": "500/10s"}

            async def start(**values: Any) -> Gateway:
                return await stack.enter_async_context(running_gateway(url, clock, now=lambda: NOON, **values))

            expected = await answers(await start(), calls)
            shared = {**redis_settings(redis), **limits}
            async with running_gateway(url, clock, now=lambda: NOON, **shared) as first:
                assert await answers(first, calls) == expected
                langsmith.faults.append(Fault(status=401))
                assert await first.errors(PAGE, key="demo-2")
                # On a busy machine Redis may be given up for a while, and then gets not everything.
                if "timeout" in await redis_failures(first):
                    return
            poison(redis, name)
            async with running_gateway(url, clock, now=lambda: NOON, **shared) as second:
                assert await answers(second, calls) == expected
                failures = await redis_failures(second)
            take_recorded_params(langsmith)
            last = await start(**shared)
            assert await answers(last, calls) == expected
            failures |= await redis_failures(last)
            # On a busy machine Redis may be given up for a while, and is then not repaired.
            if "timeout" in failures:
                return
            assert failures == set()
            assert take_recorded_params(langsmith) == []
            # The document is stored again, too.
            named = await (await start(**shared)).client.post("/graphql", json=PERSISTED, headers={"x-api-key": "demo"})
            assert "errors" not in named.json()

    asyncio.run(run())
