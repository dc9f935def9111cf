"""An answer has 100 errors at most, however many values of LangSmith are malformed."""

import json
from typing import Any

import pytest

from tests.conftest import Clock, running_gateway
from tests.support.raw_upstream import Connection, raw_upstream, response, row

NODES = "nodes { id name }"


async def answers_with_malformed_names(connection: Connection) -> None:
    offset = int(dict(connection.request.params).get("offset", "0"))
    rows = [row(number, name=7, description=8 if number == 90 else None) for number in range(offset + 1, offset + 101)]
    await connection.send(response(json.dumps(rows).encode()))


async def run(query: str, *, compiled: bool) -> Any:
    async with (
        raw_upstream(answers_with_malformed_names) as upstream,
        running_gateway(upstream.url, Clock(), compiled=compiled) as gateway,
    ):
        return await gateway.run(query)


@pytest.mark.parametrize("compiled", [True, False])
async def test_hundred_errors_are_listed_and_the_last_one_says_how_many_are_not(compiled: bool) -> None:
    aliases = " ".join(f"{'a' * 200}{n}: sessions(first: 100) {{ {NODES} }}" for n in range(20))
    body = await run("{" + aliases + "}", compiled=compiled)
    assert len(body["errors"]) == 100
    assert {each["extensions"]["code"] for each in body["errors"]} == {"UPSTREAM_MALFORMED"}
    assert body["errors"][-1]["message"].endswith("(1900 more errors are not listed.)")
    assert not any("not listed" in each["message"] for each in body["errors"][:-1])
    assert all(node["name"] is None for connection in body["data"].values() for node in connection["nodes"])


@pytest.mark.parametrize("compiled", [True, False])
async def test_hundred_errors_are_listed_without_a_remark(compiled: bool) -> None:
    body = await run(f"{{ sessions(first: 100) {{ {NODES} }} }}", compiled=compiled)
    assert len(body["errors"]) == 100
    assert "not listed" not in body["errors"][-1]["message"]


@pytest.mark.parametrize("compiled", [True, False])
async def test_problem_that_comes_after_hundred_others_is_told(compiled: bool) -> None:
    query = f"{{ a: sessions(first: 300) {{ {NODES} }} b: sessions(first: 100) {{ nodes {{ description }} }} }}"
    errors = (await run(query, compiled=compiled))["errors"]
    assert len(errors) == 100
    assert [each["path"] for each in errors if "`description`" in each["message"]] == [
        ["b", "nodes", 89, "description"]
    ]
    assert errors[-1]["message"].endswith("(201 more errors are not listed.)")
