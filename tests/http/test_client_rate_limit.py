"""Each client may send requests at a rate; further ones get 429 with the time to wait."""

import asyncio
import contextlib

import pytest

from app.emulator import Emulator
from app.errors import SettingsError
from app.resilience.rate import Rate
from app.settings import Settings
from tests.conftest import Clock, Gateway, Serve
from tests.observability.test_log import lines
from tests.support.raw_upstream import black_hole, raw_upstream
from tests.support.real_redis import RealRedis, real_cluster, real_sentinel

NAMES = "{ sessions(first: 1) { nodes { name } } }"
LIMITED = Rate(3, 3600)


async def statuses(gateway: Gateway, count: int, *, key: str | None = "demo", **headers: str) -> list[int]:
    return [(await gateway.post(NAMES, key=key, **headers)).status_code for _ in range(count)]


async def test_no_client_is_limited_without_a_rate(gateway: Gateway) -> None:
    assert await statuses(gateway, 20) == [200] * 20


async def test_request_beyond_the_client_rate_gets_429_with_the_time_to_wait(serve: Serve, langsmith: Emulator) -> None:
    async with serve(client_rate=LIMITED) as gateway:
        # Responses from the cache count like any others.
        assert await statuses(gateway, 3) == [200] * 3
        response = await gateway.post(NAMES)
    assert response.status_code == 429
    assert 1 <= int(response.headers["retry-after"]) <= 1200
    (error,) = response.json()["errors"]
    assert error["message"] == "You may send 3 requests in 3600 seconds. Try again later."
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert 0 < error["extensions"]["retryAfter"] <= 1200
    assert len(langsmith.requests) == 1


async def test_each_credential_has_its_own_client_rate(serve: Serve) -> None:
    async with serve(client_rate=LIMITED) as gateway:
        assert await statuses(gateway, 4) == [200, 200, 200, 429]
        assert await statuses(gateway, 4, key="demo-2") == [200, 200, 200, 429]


async def test_each_client_token_has_its_own_client_rate(serve: Serve) -> None:
    own = {"auth": "server", "langsmith_api_key": "demo", "client_tokens": ("one", "other")}
    async with serve(client_rate=LIMITED, **own) as gateway:
        for token in ("one", "other"):
            assert await statuses(gateway, 4, key=None, authorization=f"Bearer {token}") == [200, 200, 200, 429]


async def test_anonymous_clients_are_limited_by_their_address(serve: Serve) -> None:
    own = {"auth": "server", "langsmith_api_key": "demo", "allow_anonymous": True}
    async with serve(client_rate=LIMITED, **own) as gateway:
        assert await statuses(gateway, 4, key=None) == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("text", "rate"), [("100/10s", Rate(100, 10)), ("6/m", Rate(6, 60)), ("5/2h", Rate(5, 7200)), ("", None)]
)
def test_client_rate_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, rate: Rate | None
) -> None:
    monkeypatch.setenv("GATEWAY_CLIENT_RATE", text)
    assert Settings.load().client_rate == rate


@pytest.mark.parametrize("text", ["100", "0/s", "1.5/s", "1/0s", "1/d", "-1/s", "1 /s", "\u0661/s"])
def test_invalid_client_rate_stops_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GATEWAY_CLIENT_RATE", text)
    with pytest.raises(SettingsError, match=r"^GATEWAY_CLIENT_RATE: must be a number of requests and a time, such as"):
        Settings.load()


async def test_processes_with_one_redis_share_the_client_rate(serve: Serve, redis: RealRedis) -> None:
    both = {"client_rate": LIMITED, "client_rate_url": redis.url}
    async with serve(**both) as one, serve(**both) as other:
        assert await statuses(one, 2) == [200, 200]
        assert await statuses(other, 2) == [200, 429]
        assert await statuses(one, 1) == [429]
        assert await statuses(one, 1, key="demo-2") == [200]
    keys = redis.keys()
    assert len(keys) == 3  # of each client, and of the address from which both came
    assert all(key.startswith(b"sessions-gateway:rate:") and b"demo" not in key for key in keys)


@pytest.mark.parametrize("kind", ["sentinel", "cluster", "unix"])
async def test_processes_share_the_client_rate_over_each_kind_of_redis(
    serve: Serve, redis: RealRedis, kind: str
) -> None:
    with contextlib.ExitStack() as others:
        if kind == "sentinel":
            url = others.enter_context(real_sentinel(redis)).url
        else:
            url = others.enter_context(real_cluster()) if kind == "cluster" else redis.unix_url
        both = {"client_rate": LIMITED, "client_rate_url": url}
        async with serve(**both) as one, serve(**both) as other:
            assert await statuses(one, 2) == [200, 200]
            assert await statuses(other, 2) == [200, 429]
            assert "redis_" not in one.log.getvalue() + other.log.getvalue()


async def test_each_process_limits_clients_for_itself_while_the_redis_is_down(
    serve: Serve, redis: RealRedis, clock: Clock
) -> None:
    both = {"client_rate": LIMITED, "client_rate_url": redis.url}
    async with serve(**both) as one, serve(**both) as other:
        assert await statuses(one, 1) == [200]
        redis.kill()
        assert await statuses(one, 4) == [200, 200, 200, 429]
        assert await statuses(other, 4) == [200, 200, 200, 429]
        assert [line["use"] for line in lines(one, "redis_unavailable")] == ["client_rate"]
        redis.start()
        clock.advance(5)
        assert await statuses(one, 1) == [200]
        assert await statuses(other, 3) == [200, 200, 429]
        assert [line["use"] for line in lines(one, "redis_available")] == ["client_rate"]
        assert "p@ss" not in one.log.getvalue() + other.log.getvalue()


async def test_unreachable_redis_does_not_stop_the_client_rate(serve: Serve) -> None:
    url = "rediss://:secret@redis.invalid:1/0"
    async with serve(client_rate=LIMITED, client_rate_url=url) as gateway:
        assert await statuses(gateway, 4) == [200, 200, 200, 429]
        assert "secret" not in gateway.log.getvalue()


async def test_hanging_redis_delays_clients_only_briefly(serve: Serve) -> None:
    async with raw_upstream(black_hole) as hanging:
        url = hanging.url.replace("http:", "redis:")
        async with serve(client_rate=LIMITED, client_rate_url=url) as gateway:
            async with asyncio.timeout(5):
                assert await statuses(gateway, 4) == [200, 200, 200, 429]


@pytest.mark.parametrize("url", ["redis", "memory://x", "http://a", "redis://", "redis+sentinel://a"])
def test_invalid_client_rate_url_stops_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GATEWAY_CLIENT_RATE_URL", url)
    with pytest.raises(SettingsError, match=r"^GATEWAY_CLIENT_RATE_URL: must be memory://, or a Redis such as"):
        Settings.load()
