"""Each status of LangSmith becomes one error code, whatever its body says.

The body is not quoted; `test_filter_refusals.py` has the exception.
"""

import gzip
import json

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Gateway, Serve
from tests.langsmith.operations import SECRET, code_of, logged, page
from tests.support.raw_upstream import black_hole, listed, raw_upstream, response, row, says

CODES = {
    400: "BAD_USER_INPUT",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "UPSTREAM_ERROR",
    409: "UPSTREAM_ERROR",
    413: "BAD_USER_INPUT",
    422: "BAD_USER_INPUT",
    429: "RATE_LIMITED",
    500: "UPSTREAM_ERROR",
    502: "UPSTREAM_ERROR",
    204: "UPSTREAM_ERROR",
    301: "UPSTREAM_ERROR",
    302: "UPSTREAM_ERROR",
    307: "UPSTREAM_ERROR",
}


BODIES = [
    b'{"detail": "Invalid SECRET token"}',
    b'{"detail": [{"type": "value_error", "loc": ["query", "SECRET"], "msg": "SECRET", "input": "SECRET"}]}',
    b'{"detail": [{"loc": [null, 1, {"limit": "SECRET"}, ["limit"]]}, 7, null, {"loc": "limit"}, {"loc": {}}]}',
    b'{"error": "Forbidden SECRET"}',
    b'{"type": "SECRET", "title": "SECRET", "status": 400, "detail": {"SECRET": 1}}',
    b"<html><body><h1>SECRET Bad Gateway</h1></body></html>",
    b"",
    b"null",
    b'["SECRET"]',
    b"7",
    b"\xff\xfeSECRET",
    b'{"detail": ' + b"[" * 100_000,
]


@pytest.mark.parametrize("status", CODES)
async def test_each_status_has_its_error_code_whatever_the_body(serve: Serve, langsmith: Emulator, status: int) -> None:
    async with serve(upstream_retries=0) as gateway:
        for number, body in enumerate(BODIES if status != 204 else [b""]):
            headers = {"x-secret": "SECRET", "www-authenticate": "SECRET"}
            langsmith.faults.append(Fault(status=status, body=body, headers=headers))
            answer = await gateway.post(page(number), key=SECRET)
            (error,) = answer.json()["errors"]
            assert error["extensions"]["code"] == CODES[status], body
            assert error["path"] == ["sessions"]
            for quoted in ("SECRET", "127.0.0.1", "/api/v1", "Traceback"):
                assert quoted not in answer.text, body
        assert "SECRET" not in gateway.log.getvalue()
        assert not logged(gateway, "bug")


@pytest.mark.parametrize("encoded", [b"not gzip", gzip.compress(b'{"detail": "x"}')[:-12]], ids=["not gzip", "cut"])
async def test_refusal_with_an_unreadable_body_keeps_its_error_code(serve: Serve, encoded: bytes) -> None:
    answer = response(encoded, status=401, headers={"content-encoding": "gzip"})
    async with raw_upstream(answer) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        assert await code_of(gateway, page()) == "UNAUTHENTICATED"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(serve: Serve, status: int) -> None:
    async with (
        raw_upstream(listed(row())) as elsewhere,
        raw_upstream(black_hole) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        for number, location in enumerate(("/elsewhere", elsewhere.url, "http://[::", "")):
            upstream.acts = [says(response(b"", status=status, headers={"location": location}))]
            assert await code_of(gateway, page(number)) in {"UPSTREAM_ERROR", "UPSTREAM_MALFORMED"}
            assert len(upstream.requests) == number + 1
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("parameter", "argument"),
    [
        ("limit", "first"),
        ("offset", "offset"),
        ("name_contains", "filter.nameContains"),
        ("filter", "filter.expression"),
        ("metadata", "filter.metadata"),
        ("reference_dataset", "filter.referenceDatasets"),
        ("sort_by", "orderBy.field"),
        ("sort_by_feedback_key", "orderBy.feedbackKey"),
        ("stats_start_time", "stats.since"),
        ("stats_filter", "stats.filter"),
    ],
)
async def test_refused_parameter_is_named_as_the_graphql_argument(
    gateway: Gateway, langsmith: Emulator, parameter: str, argument: str
) -> None:
    detail = [{"type": "value_error", "loc": ["query", parameter, 0], "msg": "SECRET", "input": "SECRET"}]
    langsmith.faults.append(Fault(status=422, body=json.dumps({"detail": detail}).encode()))
    (error,) = await gateway.errors(page())
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert error["message"].startswith(f"{argument}: ")


async def test_argument_that_langsmith_refuses_is_named(gateway: Gateway) -> None:
    (error,) = await gateway.errors(
        '{ sessions(stats: {since: "2001-01-01T00:00:00Z"}) { nodes { runCount } } }',
    )
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "stats.since"}
