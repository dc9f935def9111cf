"""What LangSmith says about a client's own filter expression reaches its author, and nothing else of any body does."""

import json
from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Clock, Gateway

KEY = "lsv2_pt_0123456789_abcdef"
MALFORMED = "Malformed filter: unexpected ')' at position 9."
EXPRESSION = '{ sessions(filter: {expression: "eq(name, )"}) { nodes { id } } }'
STATS_FILTER = '{ sessions(stats: {filter: "eq(name, )"}) { nodes { runCount } } }'
FURTHER_WINDOW = '{ sessions(first: 1) { nodes { stats(filter: "eq(name, )") { runCount } } } }'
WITHOUT = '{ sessions(filter: {nameContains: "a"}) { nodes { runCount } } }'


@pytest.fixture
def langsmith(clock: Clock) -> Emulator:
    return Emulator(clock=clock.now, workspaces={KEY: 3})


def item(parameter: str, message: str) -> dict[str, Any]:
    return {
        "type": "value_error",
        "loc": ["query", parameter],
        "msg": message,
        "input": "INPUT",
        "ctx": {"error": "CTX"},
    }


async def refusal_of(
    gateway: Gateway, langsmith: Emulator, query: str, detail: object, *, status: int = 422, workspace: str = ""
) -> Any:
    """The error of an operation which LangSmith refuses with this detail; of two requests, the second one."""
    body = json.dumps({"detail": detail, "title": "TITLE"}).encode()
    if query == FURTHER_WINDOW:
        langsmith.faults.append(Fault(rewrite=lambda _: None))
    langsmith.faults.append(Fault(status=status, body=body, headers={"x-other": "HEADER"}))
    headers = {"x-tenant-id": workspace} if workspace else {}
    (error,) = (await gateway.run(query, None, key=KEY, **headers))["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    for other in ("INPUT", "CTX", "TITLE", "HEADER"):
        assert other not in error["message"]
    return error


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("query", [EXPRESSION, STATS_FILTER, FURTHER_WINDOW])
async def test_author_of_a_filter_reads_what_langsmith_says_about_it(
    gateway: Gateway, langsmith: Emulator, query: str, status: int
) -> None:
    error = await refusal_of(gateway, langsmith, query, MALFORMED, status=status)
    assert error["message"].endswith(f" It says: {MALFORMED}")


@pytest.mark.parametrize(
    ("query", "parameter", "argument"),
    [(EXPRESSION, "filter", "filter.expression"), (STATS_FILTER, "stats_filter", "stats.filter")],
)
async def test_argument_and_all_messages_about_it_are_named(
    gateway: Gateway, langsmith: Emulator, query: str, parameter: str, argument: str
) -> None:
    detail = [item(parameter, "too short"), item("limit", "OTHER"), item(parameter, "no name")]
    error = await refusal_of(gateway, langsmith, query, detail)
    assert error["message"] == f"{argument}: LangSmith refused this value. It says: too short; no name"
    assert error["extensions"]["argument"] == argument


@pytest.mark.parametrize("detail", [MALFORMED, [MALFORMED], [item("filter", MALFORMED)], [item("limit", MALFORMED)]])
async def test_operation_without_a_filter_expression_reads_nothing_of_the_body(
    gateway: Gateway, langsmith: Emulator, detail: object
) -> None:
    assert MALFORMED not in (await refusal_of(gateway, langsmith, WITHOUT, detail))["message"]


@pytest.mark.parametrize("status", [401, 403, 404, 409, 413, 500])
async def test_other_statuses_are_not_quoted(gateway: Gateway, langsmith: Emulator, status: int) -> None:
    langsmith.faults.append(Fault(status=status, body=json.dumps({"detail": MALFORMED}).encode(), times=None))
    assert MALFORMED not in (await gateway.post(EXPRESSION)).text


async def test_quoted_text_is_one_short_line_without_control_characters(gateway: Gateway, langsmith: Emulator) -> None:
    detail = "a\r\n\0\x1b[31mb\u202e\u2028c" + "d e" * 100_000
    message = (await refusal_of(gateway, langsmith, EXPRESSION, detail))["message"]
    quoted = message.partition(" It says: ")[2]
    assert quoted.startswith("a [31mb c")
    assert quoted.isprintable()
    assert len(quoted) == 300


@pytest.mark.parametrize(
    "detail",
    [
        f"Invalid filter for {KEY}",
        "x" * 290 + KEY,
        "Invalid filter for lsv2_sk_of_somebody_else",
        "Authorization: Bearer abc",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "Workspace a-workspace has no such run",
    ],
)
async def test_text_that_holds_a_credential_is_not_quoted(gateway: Gateway, langsmith: Emulator, detail: str) -> None:
    error = await refusal_of(gateway, langsmith, EXPRESSION, detail, workspace="a-workspace")
    assert "It says" not in error["message"]
    assert KEY not in gateway.log.getvalue()


@pytest.mark.parametrize(
    "detail", [None, 7, {}, [], "", "  ", [None, 7, {}, {"loc": "filter", "msg": "a"}], [[MALFORMED]]]
)
async def test_detail_of_another_shape_is_not_quoted(gateway: Gateway, langsmith: Emulator, detail: object) -> None:
    assert "It says" not in (await refusal_of(gateway, langsmith, EXPRESSION, detail))["message"]
