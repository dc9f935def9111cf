"""`Retry-After` is read as LangSmith means it, pauses whom it concerns, and never for long."""

import httpx
import pytest

from app.emulator import Emulator, Fault
from app.langsmith.retry_after import parse_retry_after
from tests.conftest import Clock, Gateway, Serve
from tests.langsmith.operations import code_of, page

DATE = "Fri, 20 Nov 2026 12:00:00 GMT"
PAUSED = Fault(status=429, headers={"retry-after": "3600"})
SERVER = {"auth": "server", "langsmith_api_key": "demo", "client_tokens": ("token-a", "token-b")}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": "86400"}, 60),
        # LangSmith's clock is half an hour, or years, away from ours.
        ({"retry-after": "Fri, 20 Nov 2026 12:00:02 GMT", "date": DATE}, 2),
        ({"retry-after": "Fri, 01 Jan 1999 00:00:02 GMT", "date": "Fri, 01 Jan 1999 00:00:00 GMT"}, 2),
        ({"retry-after": "Fri, 20 Nov 2026 11:59:00 GMT", "date": DATE}, 0),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:00 GMT", "date": DATE}, 60),
        # Without a date of its own, the answer is read by our clock.
        ({"retry-after": "Fri, 01 Jan 1999 00:00:02 GMT"}, 0),
        ({"retry-after": "Fri, 01 Jan 2100 00:00:02 GMT", "date": "yesterday"}, 60),
        ({"retry-after": "soon", "date": DATE}, None),
        ({}, None),
    ],
)
def test_date_is_read_by_the_clock_of_the_answer_and_every_wait_is_bounded(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert parse_retry_after(httpx.Headers(headers)) == seconds


async def code_with_token(gateway: Gateway, query: str, token: str) -> str | None:
    body = await gateway.run(query, key=None, authorization=f"Bearer {token}")
    return body["errors"][0]["extensions"]["code"] if "errors" in body else None


async def test_rate_limit_of_the_own_key_pauses_all_clients_for_a_minute_at_most(
    serve: Serve, langsmith: Emulator
) -> None:
    async with serve(**SERVER) as gateway:
        langsmith.faults.append(PAUSED)
        assert await code_with_token(gateway, page(0), "token-a") == "RATE_LIMITED"
        body = await gateway.run(page(1), key=None, authorization="Bearer token-b")
        (error,) = body["errors"]
        assert 0 < error["extensions"]["retryAfter"] <= 60
    assert len(langsmith.requests) == 1


async def test_cached_pages_are_served_while_the_own_key_is_paused(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(cache_stale=60, **SERVER) as gateway:
        for number in range(2):
            assert await code_with_token(gateway, page(number), "token-a") is None
        clock.advance(20)
        assert await code_with_token(gateway, page(2), "token-a") is None
        langsmith.faults.append(PAUSED)
        assert await code_with_token(gateway, page(3), "token-a") == "RATE_LIMITED"
        # Stale pages of before, and a fresh one.
        codes = [
            await code_with_token(gateway, page(number), token)
            for token in ("token-a", "token-b")
            for number in range(3)
        ]
        assert codes == [None] * 6
        assert len(langsmith.requests) == 4


async def test_rate_limit_of_a_client_credential_pauses_only_that_credential(serve: Serve, langsmith: Emulator) -> None:
    async with serve() as gateway:
        langsmith.faults.append(PAUSED)
        assert await code_of(gateway, page(0)) == "RATE_LIMITED"
        assert await code_of(gateway, page(1)) == "RATE_LIMITED"
        assert await code_of(gateway, page(0), key="demo-2") is None
    assert len(langsmith.requests) == 2
