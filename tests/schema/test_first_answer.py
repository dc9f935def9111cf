"""Until LangSmith has answered an operation once, only a few of its requests are sent."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from app.emulator import Emulator, Fault
from app.schema.first_answer import MAX_BEFORE_ANSWER
from tests.conftest import Gateway, Serve

LIMITS: dict[str, Any] = {"max_cost": 10**6, "upstream_concurrency": 100, "upstream_retries": 0}
LISTS = "{" + " ".join(f"r{n}: sessions(first: 500, offset: {n}) {{ nodes {{ id }} }}" for n in range(20)) + "}"
LOOKUPS = "query ({}) {{ {} }}".format(
    " ".join(f"$i{n}: [ID!]!" for n in range(5)), " ".join(f"r{n}: nodes(ids: $i{n}) {{ id }}" for n in range(5))
)
IDS = {f"i{n}": [str(UUID(int=n * 1000 + each)) for each in range(500)] for n in range(5)}


@pytest.mark.parametrize(("query", "variables"), [(LISTS, {}), (LOOKUPS, IDS)], ids=["lists", "lookups"])
@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHENTICATED"), (403, "FORBIDDEN")])
async def test_refused_credential_ends_the_operation_after_a_few_requests(
    serve: Serve, langsmith: Emulator, query: str, variables: dict[str, Any], status: int, code: str
) -> None:
    langsmith.faults.append(Fault(status=status, body=b'{"detail": "Forbidden"}', times=None))
    async with serve(**LIMITS) as gateway:
        body = await gateway.run(query, variables)
    assert 1 <= len(langsmith.requests) <= MAX_BEFORE_ANSWER
    assert {error["extensions"]["code"] for error in body["errors"]} == {code}
    if query == LISTS:  # `nodes` is not nullable, so that its failure leaves no data
        assert sorted(error["path"][0] for error in body["errors"]) == sorted(body["data"])
    assert len({error["message"] for error in body["errors"]}) == 1


@pytest.mark.parametrize(("query", "variables"), [(LISTS, {}), (LOOKUPS, IDS)], ids=["lists", "lookups"])
async def test_requests_beyond_the_first_few_wait_for_an_answer_and_then_leave_together(
    serve: Serve, langsmith: Emulator, query: str, variables: dict[str, Any]
) -> None:
    go_on = langsmith.pause()
    async with serve(**LIMITS) as gateway, asyncio.TaskGroup() as group:
        running = group.create_task(gateway.run(query, variables))
        await langsmith.wait_for_requests(MAX_BEFORE_ANSWER)
        go_on.set()
        body = await running
    assert "errors" not in body
    assert len(langsmith.requests) == (100 if query == LISTS else 25)


async def test_failure_that_is_no_refusal_fails_only_its_own_root_fields(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=500, times=1))
    async with serve(**LIMITS) as gateway:
        body = await gateway.run(LISTS)
    assert len(body["errors"]) == 1
    assert sum(value is None for value in body["data"].values()) == 1


async def test_root_fields_that_wait_for_the_first_answer_keep_the_deadline(serve: Serve, langsmith: Emulator) -> None:
    langsmith.pause()
    async with serve(**LIMITS, upstream_timeout=0.05) as gateway:
        errors = await gateway.errors(LISTS)
    # After so many timeouts, the circuit breaker may stop the last ones.
    assert len(errors) == 20
    assert {error["extensions"]["code"] for error in errors} <= {"UPSTREAM_TIMEOUT", "UPSTREAM_ERROR"}


async def test_made_up_key_is_refused_the_same_way(gateway: Gateway, langsmith: Emulator) -> None:
    lists = "{" + " ".join(f"r{n}: sessions(first: 200, offset: {n}) {{ nodes {{ id }} }}" for n in range(14)) + "}"
    errors = await gateway.errors(lists, key="made-up")
    assert {error["extensions"]["code"] for error in errors} == {"UNAUTHENTICATED"}
    assert len(errors) == 14
    assert len(langsmith.requests) <= MAX_BEFORE_ANSWER


async def test_access_denied_to_one_field_leaves_the_others_with_the_gateways_own_key(
    serve: Serve, langsmith: Emulator
) -> None:
    langsmith.faults.append(Fault(status=403, body=b'{"detail": "Forbidden"}', times=1))
    own_key: dict[str, Any] = {"auth": "server", "langsmith_api_key": "demo", "allow_anonymous": True}
    lists = "{" + " ".join(f"r{n}: sessions(first: 2, offset: {n}) {{ nodes {{ id }} }}" for n in range(14)) + "}"
    async with serve(**LIMITS, **own_key) as gateway:
        body = await gateway.run(lists, key=None)
    assert len(body["errors"]) == 1
    assert sum(value is None for value in body["data"].values()) == 1
