"""No body or header within the limits costs much more than a plain one, and no member of a request is ambiguous."""

import contextlib
import functools
import json
import time
from collections.abc import Callable

import pytest

from app.errors import OperationTooExpensiveError
from app.execution.limits import MAX_VARIABLES_BYTES
from app.http.errors import HTTPError
from app.http.json_members import MAX_MEMBERS, parse_members
from app.http.params import MAX_BODY_BYTES, parse_params
from tests.conftest import Gateway

WORST_VALUES = {
    "lists": b"[],",
    "objects": b"{},",
    "numbers": b"1,",
    "long numbers": b"2.2250738585072011" + b"3" * 700 + b"e-308,",
    "escaped strings": b'"\\u0061",',
    "members of requests": b'{"query":1},',
    "nested lists": b"[" * 500 + b"]" * 500 + b",",
    "empty strings": b'"",',
}


def body_of(prefix: bytes, unit: bytes, suffix: bytes) -> bytes:
    """A body of almost MAX_BODY_BYTES with the unit as often as it fits."""
    count = (MAX_BODY_BYTES - len(prefix) - len(suffix)) // len(unit)
    return prefix + unit * count + suffix


def cpu_seconds(parse: Callable[[bytes], object], body: bytes) -> float:
    """The least CPU time of three attempts to parse the body."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        with contextlib.suppress(HTTPError, OperationTooExpensiveError):
            parse(body)
        seconds.append(time.process_time() - started)
    return min(seconds)


def relative_cost(body: bytes) -> float:
    """CPU time of `parse_params`, relative to that of the standard library for a body of the same size, of numbers."""
    plain = body_of(b"[", b"1,", b"1]")
    return cpu_seconds(functools.partial(parse_params, "POST"), body) / cpu_seconds(json.loads, plain)


@pytest.mark.parametrize("unit", WORST_VALUES.values(), ids=WORST_VALUES.keys())
@pytest.mark.parametrize("member", ["query", "variables", "extensions", "note"])
def test_body_costs_at_most_as_much_as_a_plain_one_for_any_values(member: str, unit: bytes) -> None:
    # An escaped member and a repeated one, so that a check for duplicates has to look at the whole body.
    prefix = b'{"i\\u0064": "query", "%b": {"a": ["\\u0061", "query", "query",' % member.encode()
    assert relative_cost(body_of(prefix, unit, b"0]}}")) < 1


@pytest.mark.parametrize(
    ("prefix", "unit", "suffix"),
    [
        (b'{"query": "', b"\\u0061", b'"}'),
        (b'{"query": "', b"\\n", b'"}'),
        (b'{"', b"\\u0061", b'": 1}'),
        (b'{"', b'\\"', b'": 1}'),
        (b'{"query"', b" ", b': "{ __typename }"}'),
        (b'{"query": ', b"1", b"}"),
        (b'{"query": 0.', b"1", b"}"),
        (b'{"a": 1', b', "a": 1', b"}"),
        (b'{"extensions": {"persistedQuery": {"a": 1', b', "a": 1', b"}}}"),
        (b"", b"[", b""),
        (b"", b'{"a":', b""),
    ],
    ids=lambda part: repr(part[:20]),
)
def test_body_costs_at_most_as_much_as_a_plain_one_for_any_form(prefix: bytes, unit: bytes, suffix: bytes) -> None:
    assert relative_cost(body_of(prefix, unit, suffix)) < 1


def test_body_costs_at_most_a_few_times_as_much_as_a_plain_one_for_any_number_of_members() -> None:
    members = b",".join(b'"\\u0061%d":1' % number for number in range(65_000))
    assert relative_cost(b'{"query": "{ __typename }", "variables": {%b}}' % members) < 1
    # Here 65 000 names are decoded before they are counted.
    assert relative_cost(b"{%b}" % members) < 4


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"a": 1, "a": 1}', "a"),
        ('{"a": 1, "a": 2}', "a"),
        ('{"a": 1, "a": 12}', "a"),
        ('{"a": 12, "a": 1}', "a"),
        ('{"a": 1.5, "a": 1}', "a"),
        ('{"a": {}, "b": 1, "a": {}}', "a"),
        ('{ "a" : "x" , "\\u0061" : "x" }', "a"),
        ('{"\\"": [1], "\\u0022": [1, 2]}', '"'),
        ('{"": 1, "": 1}', ""),
        ('{"a": "\\"a\\": 1, ", "b": 1, "b": 1}', "b"),
    ],
)
def test_duplicate_member_of_an_object_is_found(text: str, name: str) -> None:
    with pytest.raises(HTTPError) as refused:
        parse_members(text.encode(), "The body")
    assert refused.value.message == f"`{name}` must not occur twice."


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        " \n{\t}\r ",
        '{"a": 1, "b": 1, "A": 1, "": 1}',
        '{"a": {"a": {"a": 1}}, "b": ["a", "a"]}',
        '{"a": "\\"b\\": 1", "b": 1}',
        '{"a" : 1 ,\n"b"\t: [ ] , "\\u0063": "}", "d": "é😀\\\\"}',
        '{"a": -0.5e10, "b": -0.5e1, "c": true, "d": null}',
    ],
)
def test_members_of_an_object_are_the_texts_of_its_values(text: str) -> None:
    members = parse_members(text.encode(), "The body")
    assert {name: json.loads(value) for name, value in members.items()} == json.loads(text)


def test_object_has_a_limit_of_members() -> None:
    members = {str(number): number for number in range(MAX_MEMBERS)}
    assert len(parse_members(json.dumps(members).encode(), "The body")) == MAX_MEMBERS
    with pytest.raises(HTTPError, match=f"^The body has more than {MAX_MEMBERS} members.$"):
        parse_members(json.dumps(members | {"one more": 1}).encode(), "The body")


@pytest.mark.parametrize(
    "extensions",
    [
        '{"persistedQuery": {"version": 1, "sha256Hash": "a", "sha256Hash": "a"}}',
        '{"persistedQuery": {"version": 1, "sha256Hash": "a"}, "persistedQuery": null}',
        '{"persistedQuery": {"version": 1, "sha256Hash": "a", "sha256\\u0048ash": "b"}}',
    ],
)
async def test_duplicate_member_of_a_persisted_query_is_refused_by_post_and_get(
    gateway: Gateway, extensions: str
) -> None:
    headers = {"content-type": "application/json"}
    body = f'{{"extensions": {extensions}}}'
    for response in (
        await gateway.client.post("/graphql", content=body, headers=headers),
        await gateway.client.get("/graphql", params={"extensions": extensions}),
    ):
        assert response.status_code == 400
        assert response.json()["errors"][0]["message"].endswith("must not occur twice.")


async def test_variables_that_are_too_long_are_refused_before_they_are_decoded(gateway: Gateway) -> None:
    text = "\\u0061" * (MAX_VARIABLES_BYTES // 6)
    body = f'{{"query": "{{ __typename }}", "variables": {{"a": "{text}"}}}}'
    response = await gateway.client.post("/graphql", content=body, headers={"content-type": "application/json"})
    # A well-formed request has the status 200 in this media type.
    assert response.status_code == 200
    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "OPERATION_TOO_EXPENSIVE"
    assert error["extensions"]["limit"] == MAX_VARIABLES_BYTES
