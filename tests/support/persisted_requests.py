"""Requests that name their document by a hash or an id instead of sending it."""

import hashlib
import json
from typing import Any, Final

import httpx

from tests.conftest import Gateway

RESPONSE_JSON: Final = "application/graphql-response+json"
NAMES: Final = "query Names($n: Int = 2) { sessions(first: $n) { nodes { name } } }"
COUNTS: Final = "query Counts { sessions(first: 2) { nodes { runCount } } }"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def by_hash(text: str) -> dict[str, Any]:
    """Members of a request that name this document in Apollo's protocol."""
    return persisted_query(version=1, sha256Hash=sha256(text))


def persisted_query(**members: object) -> dict[str, Any]:
    return {"extensions": {"persistedQuery": members}}


async def post(gateway: Gateway, body: dict[str, Any], **headers: str) -> httpx.Response:
    return await gateway.client.post("/graphql", json=body, headers={"x-api-key": "demo", **headers})


async def get(gateway: Gateway, body: dict[str, Any], **headers: str) -> httpx.Response:
    params = {name: each if isinstance(each, str) else json.dumps(each) for name, each in body.items()}
    return await gateway.client.get("/graphql", params=params, headers={"x-api-key": "demo", **headers})


async def refusal(gateway: Gateway, body: dict[str, Any]) -> tuple[int, str]:
    """Status and message of a request that is refused with BAD_USER_INPUT."""
    response = await post(gateway, body, accept=RESPONSE_JSON)
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "data" not in response.json()
    return response.status_code, error["message"]
