"""A replay needs the same bytes, and the cached response that it was recorded with."""

import io
from typing import Final

import pytest

from app.http.replay_cache import MAX_REQUEST_BYTES, ReplayCache, ReplayRecorder
from app.http.response_cache import CachedResponse, ResponseCache
from app.observability.log import create_log
from app.observability.metrics import Metrics
from app.observability.operation_log import OperationRecorder

REQUEST: Final = b"POST /graphql HTTP/1.1\r\nX-API-Key: secret\r\n\r\n{}"
HEADERS: Final = [(b"etag", b'"1"'), (b"cache-control", b"private, max-age=9")]


def cached_response(etag: str = '"1"') -> CachedResponse:
    return CachedResponse(b"body", etag, (), 100.0, None, "document", 1)


@pytest.fixture
def responses() -> ResponseCache:
    return ResponseCache(100_000, pages_expire_at=lambda _: 90.0, clock=lambda: 85.5)


@pytest.fixture
def replays(responses: ResponseCache) -> ReplayCache:
    return ReplayCache(responses, OperationRecorder(Metrics(), create_log("json", "info", io.StringIO())))


def record(replays: ReplayCache, cached: CachedResponse, request: bytes = REQUEST) -> None:
    recorder = ReplayRecorder(replays, request)
    recorder.use_cached_response("key", cached, None)
    recorder.start_response(200, HEADERS, b"id-1")


def test_replay_has_the_recorded_head_with_the_current_age_and_the_default_headers(
    responses: ResponseCache, replays: ReplayCache
) -> None:
    responses.set("key", cached_response())
    record(replays, cached_response())
    assert replays.get(REQUEST, [(b"date", b"today")]) == (
        (
            b'HTTP/1.1 200 OK\r\netag: "1"\r\ndate: today\r\n'
            b"cache-control: private, max-age=4\r\nx-request-id: id-1\r\n\r\n"
        ),
        b"body",
    )


def test_request_that_differs_in_one_byte_is_not_replayed(responses: ResponseCache, replays: ReplayCache) -> None:
    responses.set("key", cached_response())
    record(replays, cached_response())
    assert replays.get(REQUEST.replace(b"secret", b"Secret"), []) is None


def test_replay_ends_when_the_cached_response_has_another_etag(responses: ResponseCache, replays: ReplayCache) -> None:
    responses.set("key", cached_response())
    record(replays, cached_response())
    responses.set("key", cached_response('"2"'))
    assert replays.get(REQUEST, []) is None


def test_response_that_did_not_come_from_the_response_cache_is_not_recorded(
    responses: ResponseCache, replays: ReplayCache
) -> None:
    responses.set("key", cached_response())
    ReplayRecorder(replays, REQUEST).start_response(200, HEADERS, None)
    assert replays.get(REQUEST, []) is None


def test_long_request_is_not_replayed(responses: ResponseCache, replays: ReplayCache) -> None:
    request = REQUEST.ljust(MAX_REQUEST_BYTES + 1)
    responses.set("key", cached_response())
    record(replays, cached_response(), request)
    assert replays.get(request, []) is None
