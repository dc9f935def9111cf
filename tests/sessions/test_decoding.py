"""Malformed values from LangSmith fail the fields that show them, and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.emulator import Emulator, Fault
from app.errors import UpstreamMalformedError
from app.sessions.decoding import read_attribute, unknown_fields
from app.sessions.fields import FIELDS
from app.sessions.row import decode_rows
from tests.conftest import Clock, Gateway, Serve

ID, TENANT = "3c90c3cc-0d44-4b50-8888-8dd25736052a", "00000000-0000-4000-8000-000000000000"
OTHER_ID = "3c90c3cc-0d44-4b50-8888-8dd25736052b"
COMPOSITE = {"feedback_stats": " { key n avg stdev errors min max median values raw }"}
COMPOSITE["session_feedback_stats"] = COMPOSITE["feedback_stats"]
COMPOSITE["experiment_progress"] = " { expectedRunCount runProgress evaluators { key progress } }"


def camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


NAMES = {camel(name): name for name in FIELDS}
EVERYTHING = " ".join(camel(name) + COMPOSITE.get(name, "") for name in FIELDS)
MALFORMED: dict[str, Any] = {
    "start_time": "yesterday",
    "end_time": 5,
    "name": ["x"],
    "description": {"a": 1},
    "default_dataset_id": "not-a-uuid",
    "reference_dataset_id": 7,
    "trace_tier": 7,
    "type": ["PROJECT"],
    "longlived_ttl_days": "many",
    "last_run_start_time_live": "2026-11-20",
    "test_run_number": "1",
    "run_count": 1.5,
    "latency_p50": "fast",
    "latency_p99": True,
    "first_token_p50": [],
    "first_token_p99": {},
    "total_tokens": "12",
    "prompt_tokens": 1.25,
    "completion_tokens": True,
    "total_cost": "cheap",
    "prompt_cost": "NaN",
    "completion_cost": True,
    "last_run_start_time": "0001-01-01T00:00:00+05:00",
    "feedback_stats": [],
    "session_feedback_stats": "none",
    "run_facets": {"a": 1},
    "error_rate": "high",
    "streaming_rate": {},
}


def row(**values: Any) -> dict[str, Any]:
    return {"id": ID, "tenant_id": TENANT, "name": "n", "run_count": 3, "extra": {"a": 1}, **values}


async def shown(gateway: Gateway, langsmith: Emulator, body: object, fields: str = EVERYTHING) -> dict[str, Any]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    langsmith.faults.append(Fault(body=text))
    return await gateway.run(f"{{ sessions(first: 5) {{ nodes {{ {fields} }} }} }}")


def test_every_field_that_can_be_malformed_has_a_malformed_value() -> None:
    assert MALFORMED.keys() == FIELDS.keys() - {"id", "tenant_id", "extra", "experiment_progress"}


async def test_malformed_value_fails_its_field_only_if_it_is_selected(serve: Serve, langsmith: Emulator) -> None:
    async with serve(cache_ttl=0) as gateway:
        for name, value in MALFORMED.items():
            sent = [row(), row(id=OTHER_ID, **{name: value})]
            body = await shown(gateway, langsmith, sent)
            (error,) = body["errors"]
            assert error["path"] == ["sessions", "nodes", 1, camel(name)]
            assert error["extensions"] == {"code": "UPSTREAM_MALFORMED"}
            valid, malformed = body["data"]["sessions"]["nodes"]
            # Version 1 says what a session is by its reference dataset only.
            derived = {"type": "EXPERIMENT"} if name == "reference_dataset_id" else {}
            assert malformed == {**valid, **derived, "id": OTHER_ID, camel(name): None}, name
            others = " ".join(camel(each) + COMPOSITE.get(each, "") for each in FIELDS if each != name)
            assert "errors" not in await shown(gateway, langsmith, sent, others)


async def test_malformed_values_of_one_row_fail_only_their_fields(gateway: Gateway, langsmith: Emulator) -> None:
    body = await shown(gateway, langsmith, [row(**MALFORMED), row(id=OTHER_ID)])
    assert {error["path"][-1] for error in body["errors"]} == {camel(name) for name in MALFORMED}
    first, second = body["data"]["sessions"]["nodes"]
    assert (first["id"], first["tenantId"], first["extra"]) == (ID, TENANT, {"a": 1})
    assert (second["name"], second["runCount"]) == ("n", 3)


async def test_malformed_value_under_two_aliases_is_an_error_at_each(gateway: Gateway, langsmith: Emulator) -> None:
    body = await shown(gateway, langsmith, [row(run_count="x")], "a: runCount name b: runCount")
    assert [error["path"][-1] for error in body["errors"]] == ["a", "b"]
    assert body["data"]["sessions"]["nodes"] == [{"a": None, "name": "n", "b": None}]


async def test_malformed_statistic_of_a_window_fails_only_there(gateway: Gateway, langsmith: Emulator) -> None:
    def rewrite(found: list[dict[str, Any]]) -> None:
        found[0]["run_count"] = "x"

    langsmith.faults += [Fault(rewrite=lambda found: found), Fault(rewrite=rewrite)]
    body = await gateway.run('{ sessions(first: 1) { nodes { runCount stats(last: "P1D") { runCount errorRate } } } }')
    (error,) = body["errors"]
    assert error["path"] == ["sessions", "nodes", 0, "stats", "runCount"]
    node = body["data"]["sessions"]["nodes"][0]
    assert (node["runCount"] > 0, node["stats"]["errorRate"] is not None) == (True, True)


@pytest.mark.parametrize(
    "text",
    [
        *("9" * 5000, "1e400", "1e99999999999999999999", "NaN", "Infinity", "-Infinity", '"\\ud800"'),
        *('"' + "x" * 10 + '"', "[" * 5 + "]" * 5, "true", '{"a":NaN}', '"1e99999999999999999999"', '"sNaN"'),
    ],
    ids=lambda text: text[:24],
)
@pytest.mark.parametrize("field", ["latency_p50", "run_count", "total_cost", "start_time"])
def test_extreme_value_leaves_the_other_fields_of_its_row_intact(field: str, text: str) -> None:
    decoded: Any
    (decoded,) = decode_rows(f'[{{"id":"{ID}","tenant_id":"{TENANT}","{field}":{text},"name":"n"}}]'.encode())
    assert (decoded.id, decoded.name) == (ID, "n")


async def test_facets_with_a_null_are_malformed(gateway: Gateway, langsmith: Emulator) -> None:
    body = await shown(gateway, langsmith, [row(run_facets=[{"key": "a"}, None])], "name runFacets")
    assert [error["path"][-1] for error in body["errors"]] == ["runFacets"]
    assert body["data"]["sessions"]["nodes"] == [{"name": "n", "runFacets": None}]


async def test_large_numbers_stay_exact_beside_a_malformed_value(gateway: Gateway, langsmith: Emulator) -> None:
    sent = row(run_count="x", total_tokens=2**70, extra={"n": 2**90, "f": 0.1}, total_cost="0.10", run_facets=[1, "a"])
    body = await shown(gateway, langsmith, [sent], "totalTokens extra totalCost runFacets")
    assert body["data"]["sessions"]["nodes"] == [
        {"totalTokens": 2**70, "extra": {"n": 2**90, "f": 0.1}, "totalCost": "0.10", "runFacets": [1, "a"]}
    ]


async def test_absent_values_are_null(gateway: Gateway, langsmith: Emulator) -> None:
    body = await shown(gateway, langsmith, [{"id": ID, "tenant_id": TENANT}])
    assert "errors" not in body
    (node,) = body["data"]["sessions"]["nodes"]
    assert (node.pop("id"), node.pop("tenantId"), node.pop("type")) == (ID, TENANT, "PROJECT")
    assert set(map(str, node.values())) == {"None"}


async def test_unknown_fields_are_ignored(gateway: Gateway, langsmith: Emulator) -> None:
    body = await shown(
        gateway,
        langsmith,
        [row(experiment_progress={"a": [1]}, zzz=None), row(id=OTHER_ID, odd=1, run_count="x")],
        "name",
    )
    assert body["data"]["sessions"]["nodes"] == [{"name": "n"}] * 2
    assert "errors" not in body


@pytest.mark.parametrize("missing", [{"id": None}, {"id": "x"}, {"id": 5}, {"tenant_id": None}, {"tenant_id": "x"}])
async def test_row_without_id_or_workspace_is_dropped(
    missing: dict[str, Any], gateway: Gateway, langsmith: Emulator
) -> None:
    body = await shown(gateway, langsmith, [row(name="a"), row(**missing), row(id=OTHER_ID, name="b")], "name")
    assert [node["name"] for node in body["data"]["sessions"]["nodes"]] == ["a", "b"]
    (error,) = body["errors"]
    assert error["message"].startswith("1 of the sessions")


NOT_A_LIST_OF_OBJECTS = [
    *(b"", b"null", b"5", b"{}", b'{"items":[]}', b"[1]", b"[null]", b"[[]]", b"<html>oops</html>", b"[", b'"x"'),
    *(b"\xff\xfe", b"[" * 100_000, b'[{"id":"x"},', b'[{"id":"x"}]}'),
]


async def test_answer_that_is_not_a_list_of_objects_fails_the_page(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        for body in NOT_A_LIST_OF_OBJECTS:
            answer = await shown(gateway, langsmith, body, "name")
            assert [error["extensions"]["code"] for error in answer["errors"]] == ["UPSTREAM_MALFORMED"], body[:20]
            assert answer["data"] == {"sessions": None}


near_misses = ["2026-11-20T10:00:00", "9999-12-31T23:59:59-05:00", ID, "longlived", "0.5", "1E-7", "Infinity"]
scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False)),
    *(st.text(max_size=20), st.sampled_from(near_misses)),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
some_values = st.dictionaries(st.sampled_from(sorted(FIELDS)), anything, max_size=6)


@settings(max_examples=80)
@given(sent=st.lists(some_values, min_size=1, max_size=3))
async def test_any_values_in_a_row_leave_its_valid_fields_intact(
    sent: list[dict[str, Any]], gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    right: list[dict[str, Any]] = []

    def rewrite(found: list[dict[str, Any]]) -> None:
        right.extend(dict(each) for each in found)
        for each, values in zip(found, sent, strict=False):
            each.update(values)

    # Answers with malformed values are cached too, so let the cache expire.
    clock.advance(20)
    langsmith.faults.append(Fault(rewrite=rewrite))
    body = await gateway.run(f"{{ sessions(first: 3) {{ edges {{ cursor node {{ {EVERYTHING} }} }} }} }}")
    assert len(right) == 3
    errors = {tuple(error["path"][:5]): error["extensions"]["code"] for error in body.get("errors", ())}
    assert set(errors.values()) <= {"UPSTREAM_MALFORMED"}
    edges = body["data"]["sessions"]["edges"]
    dropped = 3 - len(edges)
    assert (("sessions",) in errors) is bool(dropped)
    assert dropped <= sum(not {"id", "tenant_id"}.isdisjoint(values) for values in sent)
    # If no row was dropped, each edge is at the place of its row.
    for place, edge in enumerate(edges if not dropped else ()):
        changed = sent[place] if place < len(sent) else {}
        for field in ("id", "name", "runCount", "latencyP50", "errorRate", "extra", "runFacets", "totalTokens"):
            name = NAMES[field]
            if name not in changed:
                assert edge["node"][field] == right[place][name]
            elif ("sessions", "edges", place, "node", field) in errors:
                assert edge["node"][field] is None
            elif name != "id":
                # A latency is a float, and a count an integer, however they were sent. The last digits may differ.
                shown, value = edge["node"][field], changed[name]
                is_number = type(value) in {int, float} and type(shown) is not type(value)
                assert shown == (pytest.approx(value, rel=1e-12) if is_number else value)
        untouched = {camel(each) for each in FIELDS if each not in changed}
        assert not any(path[2] == place and path[4] in untouched for path in errors if len(path) == 5)


@given(body=st.binary(max_size=60) | anything.map(lambda each: json.dumps(each).encode()))
def test_unknown_fields_can_be_searched_in_any_body(body: bytes) -> None:
    assert all(isinstance(name, str) for name in unknown_fields(body, FIELDS))


def test_unknown_fields_are_those_of_the_first_row() -> None:
    body = json.dumps([row(zeta=1, alpha={"x": 1}), row(beta=2)]).encode()
    assert list(unknown_fields(body, FIELDS)) == ["alpha", "zeta"]


_BYTES = st.binary(max_size=12) | st.text(max_size=12).map(str.encode)


@given(text=st.lists(_BYTES.map(lambda each: bytes(byte for byte in each if byte > 127)), max_size=4).map(b" a".join))
def test_invalid_utf_8_inside_an_opaque_value_costs_that_value(text: bytes) -> None:
    body = b'[{"id": "%b", "tenant_id": "%b", "extra": "%b", "name": "n"}]' % (ID.encode(), TENANT.encode(), text)
    [found] = decode_rows(body)
    assert (getattr(found, "id", None), getattr(found, "name", None)) == (ID, "n")
    try:
        text.decode()
    except UnicodeDecodeError:
        with pytest.raises(UpstreamMalformedError):
            read_attribute(found, "extra")
    else:
        assert bytes(read_attribute(found, "extra")) == b'"%b"' % text
