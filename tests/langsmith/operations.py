"""Operations that each request one page of their own, and ways to read how they ended."""

import asyncio
import json
from typing import Any

from tests.conftest import Gateway

SECRET = "lsv2_pt_SECRET"
IMMEDIATELY = {"retry-after": "0"}
"""Headers with which the next try comes without a pause."""


def page(number: int = 0, fields: str = "id") -> str:
    """An operation for one page. Each number is another page, so that none is answered from the cache."""
    return f"{{ sessions(first: 1, offset: {number}) {{ nodes {{ {fields} }} }} }}"


async def code_of(gateway: Gateway, query: str, *, key: str = "demo") -> str | None:
    """The code of the operation's only error; None if it has no error."""
    errors = await gateway.errors(query, key=key)
    assert len(errors) <= 1
    return errors[0]["extensions"]["code"] if errors else None


async def attempts_at(gateway: Gateway, query: str) -> tuple[int, int | None]:
    """The number of times that the operation's only request was sent, and its last status."""
    requests = (await gateway.explain(query))["fields"]["sessions"]["requests"]
    assert len(requests) == 1
    return requests[0]["attempts"], requests[0]["status"]


async def run_wave(count: int, gateway: Gateway, first_page: int, *, key: str = "demo") -> list[dict[str, Any]]:
    """The responses of operations that run at the same time, each for a page of its own."""
    query = "query ($number: Int!) { sessions(first: 1, offset: $number) { nodes { id } } }"
    return await asyncio.gather(
        *(gateway.run(query, {"number": first_page + number}, key=key) for number in range(count))
    )


def count_successes(bodies: list[dict[str, Any]]) -> int:
    return sum("errors" not in body and body["data"]["sessions"]["nodes"] != [] for body in bodies)


def logged(gateway: Gateway, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == event]


async def metric(gateway: Gateway, name: str) -> float:
    lines = (await gateway.client.get("/metrics")).text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))
