"""Messages of errors are short, whatever the client sent."""

import json
from typing import Any

import pytest

from tests.conftest import Gateway

FIRST = "query ($n: Int) { sessions(first: $n) { nodes { id } } }"
ORDER = "query ($o: SessionOrder) { sessions(orderBy: $o) { nodes { id } } }"
IDS = "query ($f: SessionFilter) { sessions(filter: $f) { nodes { id } } }"


@pytest.mark.parametrize(
    "body",
    [
        {"query": "query A { __typename }", "operationName": "B" * 1024 * 1024},
        {"query": "query A { __typename }", "operationName": "B " * 500_000},
        {"query": "{ " + "x" * 60_000 + " }"},
        {"query": "{ sessions(first: " + "9" * 4000 + ") { nodes { id } } }"},
        {"query": '{ sessions(stats: {last: "' + "y" * 50_000 + '"}) { nodes { id } } }'},
        {"query": '{ sessions(stats: {last: "' + "y " * 25_000 + '"}) { nodes { id } } }'},
        {"query": '{ sessions(filter: {name: "' + "y " * 25_000 + '"}) { nodes { id } } }'},
        {"query": "{ sessions { ..." + "F" * 60_000 + " } }"},
        {"query": '{ sessions(after: "' + "a " * 20_000 + '") { nodes { id } } }'},
        {"query": '{ session(id: "' + "a " * 20_000 + '") { id } }'},
        {"query": FIRST, "variables": {"n": "q" * 60_000}},
        {"query": ORDER, "variables": {"o": {"z" * 60_000: 1}}},
        {"query": ORDER, "variables": {"o": {"field": "z " * 30_000}}},
        {"query": IDS, "variables": {"f": {"ids": ["z " * 30_000]}}},
    ],
)
async def test_message_quotes_only_a_short_part_of_what_the_client_sent(gateway: Gateway, body: dict[str, Any]) -> None:
    response = await gateway.client.post("/graphql", json=body, headers={"x-api-key": "demo"})
    for error in response.json()["errors"]:
        assert error["extensions"]["code"] in {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"}
        assert len(error["message"]) <= 400
        assert max(error["message"].count(each) for each in "Bx9yFaqz") <= 210


@pytest.mark.parametrize("digits", [5000, 65_000])
async def test_number_of_thousands_of_digits_is_refused_in_our_own_words(gateway: Gateway, digits: int) -> None:
    number = "9" * digits
    literal = f"{{ sessions(first: {number}) {{ nodes {{ id }} }} }}"
    bodies = [json.dumps({"query": literal}), f'{{"query": {json.dumps(FIRST)}, "variables": {{"n": {number}}}}}']
    for body in bodies:
        headers = {"x-api-key": "demo", "content-type": "application/json"}
        response = await gateway.client.post("/graphql", content=body, headers=headers)
        (error,) = response.json()["errors"]
        assert error["extensions"]["code"] in {"BAD_USER_INPUT", "GRAPHQL_PARSE_FAILED"}
        assert "limit (" not in error["message"]
        assert "sys." not in error["message"]
        assert len(error["message"]) < 200


async def test_short_message_is_shown_as_it_is(gateway: Gateway) -> None:
    (error,) = await gateway.errors("{ sessions(first: 99999999999) { nodes { id } } }")
    assert error["message"] == "Int cannot represent non 32-bit signed integer value: 99999999999"
