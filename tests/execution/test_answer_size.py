"""An answer has a bound, which holds while it is built, whichever executor builds it."""

import json
from typing import Any

import msgspec
import pytest

from app.emulator import Emulator, Fault
from app.errors import ResultTooLargeError
from app.execution.answer_size import MAX_BYTES, MAX_OBJECTS, AnswerEncoder
from tests.conftest import Clock, Gateway, Serve, running_gateway
from tests.support.raw_upstream import raw_upstream, response, row

ALIASES = " ".join(f"a{number}: extra" for number in range(19))
LIMITS: dict[str, Any] = {"max_cost": 10**6, "max_aliases": 1000}


def with_extra(size: int) -> Fault:
    """Rows whose `extra` is that large in the answers of LangSmith."""

    def rewrite(rows: list[dict[str, Any]]) -> None:
        for each in rows:
            each["extra"] = {"text": "x" * size}

    return Fault(rewrite=rewrite, times=None)


async def only_error(gateway: Gateway, query: str) -> dict[str, Any]:
    body = await gateway.run(query)
    assert body["data"] is None
    (error,) = body["errors"]
    return dict(error)


@pytest.mark.parametrize("compiled", [True, False])
async def test_answer_beyond_the_bound_is_one_error_that_says_how_to_ask_for_less(
    upstream_url: str, clock: Clock, langsmith: Emulator, *, compiled: bool
) -> None:
    langsmith.faults.append(with_extra(20_000))
    async with running_gateway(upstream_url, clock, compiled=compiled, **LIMITS) as gateway:
        error = await only_error(gateway, f"{{ sessions(first: 100) {{ nodes {{ {ALIASES} }} }} }}")
        assert error["extensions"] == {"code": "RESULT_TOO_LARGE", "limit": MAX_BYTES}
        assert "32 MiB" in error["message"]
        assert "Ask for fewer" in error["message"]
        data = await gateway.data("{ sessions(first: 100) { nodes { extra } } }")
        assert len(json.dumps(data)) > 2_000_000


@pytest.mark.parametrize("compiled", [True, False])
async def test_long_aliases_count_as_part_of_the_answer(upstream_url: str, clock: Clock, *, compiled: bool) -> None:
    lists = " ".join(f"s{number}: sessions(first: 100) {{ ...L }}" for number in range(16))
    query = f"{{ {lists} }} fragment L on SessionConnection {{ nodes {{ {'a' * 60_000}: id }} }}"
    async with running_gateway(upstream_url, clock, compiled=compiled, **LIMITS) as gateway:
        error = await only_error(gateway, query)
    assert error["extensions"]["code"] == "RESULT_TOO_LARGE"


@pytest.mark.parametrize("compiled", [True, False])
async def test_lists_with_more_objects_than_the_bound_are_not_completed(serve: Serve, *, compiled: bool) -> None:
    feedback: dict[str, object] = {str(number): {} for number in range(MAX_OBJECTS // 3)}
    page = json.dumps([row(feedback_stats=feedback)]).encode()
    async with (
        raw_upstream(response(page)) as upstream,
        serve(langsmith_endpoint=upstream.url, compiled=compiled) as gateway,
    ):
        error = await only_error(
            gateway, "{ sessions { nodes { " + " ".join(f"a{n}: feedbackStats {{ n }}" for n in range(4)) + "} } }"
        )
        assert error["extensions"] == {"code": "RESULT_TOO_LARGE", "limit": MAX_OBJECTS}
        assert await gateway.data("{ sessions { nodes { feedbackStats { n } } } }")


async def test_answer_too_large_is_neither_cached_nor_an_http_error(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(with_extra(20_000))
    query = f"{{ sessions(first: 100) {{ nodes {{ {ALIASES} }} }} }}"
    async with serve(**LIMITS) as gateway:
        for _ in range(2):
            answer = await gateway.post(query)
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "no-store"
        metrics = (await gateway.client.get("/metrics")).text
    assert 'gateway_operations_total{outcome="RESULT_TOO_LARGE"} 2.0' in metrics


def test_encoder_accepts_an_answer_of_exactly_the_bound_and_none_beyond() -> None:
    encoder = AnswerEncoder()
    text = "x" * (MAX_BYTES - 2)
    assert len(bytes(encoder.encode(text))) == MAX_BYTES
    with pytest.raises(ResultTooLargeError):
        encoder.encode(text + "x")
    with pytest.raises(ResultTooLargeError):
        encoder.encode([msgspec.Raw(b'"' + b"x" * 1_000_000 + b'"')] * 40)


@pytest.mark.parametrize("size", [0, 10, 250_000, 300_000, 5_000_000])
def test_encoder_encodes_as_msgspec_does_whatever_the_size(size: int) -> None:
    encoder = AnswerEncoder()
    for length in (10, size, 1, size):
        value = ["é" * length, length]
        assert bytes(encoder.encode(value)) == msgspec.json.encode(value)
        with pytest.raises(TypeError):
            encoder.encode(["x" * length, object()])
