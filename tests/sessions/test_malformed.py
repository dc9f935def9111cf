"""An answer that does not decode as a whole is read row by row: an odd value costs one value, not the page."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UpstreamMalformedError
from app.sessions.malformed import MALFORMED
from app.sessions.row import decode_rows
from tests.conftest import Serve
from tests.langsmith.operations import logged
from tests.support.raw_upstream import raw_upstream, response, row

FIELDS = "{ sessions { nodes { id name %s } } }"
DEEP = b"[" * 100_000 + b"]" * 100_000
FEEDBACK = "feedbackStats { key n values }"


def page(**odd: bytes) -> bytes:
    """Three sessions; `odd` is JSON in place of values of the second one."""
    rows: list[dict[str, Any]] = [row(1), row(2, **{name: f"<{name}>" for name in odd}), row(3)]
    body = json.dumps(rows).encode()
    for name, text in odd.items():
        body = body.replace(f'"<{name}>"'.encode(), text)
    return body


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("extra", rb'{"text": "\ud800"}', "extra"),
        ("extra", rb'{"\udc00": 1}', "extra"),
        ("extra", b'{"text": "\xff"}', "extra"),
        ("extra", b'{"text": "\x01"}', "extra"),
        ("extra", DEEP, "extra"),
        ("extra", b'{"number": NaN}', "extra"),
        ("description", rb'"\ud83d"', "description"),
        ("feedback_stats", rb'{"helpful": {"n": 1, "values": {"\ud800": 1}}}', FEEDBACK),
        ("feedback_stats", rb'{"\ud800": {"n": 1}}', FEEDBACK),
        ("run_count", b"1e400", "runCount"),
        ("run_count", b"-Infinity", "runCount"),
    ],
)
async def test_odd_value_costs_only_itself_and_only_if_it_is_selected(
    serve: Serve, name: str, text: bytes, field: str
) -> None:
    async with (
        raw_upstream(response(page(**{name: text}))) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        nodes = (await gateway.data(FIELDS % "startTime"))["sessions"]["nodes"]
        assert [node["name"] for node in nodes] == ["session 1", "session 2", "session 3"]
        body = await gateway.run(FIELDS % f"odd: {field}")
        (error,) = body["errors"]
        assert error["path"][:4] == ["sessions", "nodes", 1, "odd"]
        assert error["extensions"] == {"code": "UPSTREAM_MALFORMED"}
        assert [node["id"] for node in body["data"]["sessions"]["nodes"]] == [node["id"] for node in nodes]


@pytest.mark.parametrize(
    ("text", "value"), [(b"12.0", 12), (b"1e6", 1_000_000), (b"-0.0", 0), (b"1.5E1", 15), (b"120e-1", 12)]
)
async def test_whole_number_is_read_as_integer_however_it_is_written(serve: Serve, text: bytes, value: int) -> None:
    body = page(run_count=text, feedback_stats=b'{"k": {"n": %b, "errors": %b}}' % (text, text))
    async with raw_upstream(response(body)) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        answer = await gateway.post(FIELDS % "runCount feedbackStats { n errors }")
    assert "errors" not in answer.json()
    assert f'"runCount":{value},"feedbackStats":[{{"n":{value},"errors":{value}}}]' in answer.text


@pytest.mark.parametrize("compiled", [True, False])
async def test_unknown_value_of_an_enumeration_is_null_counted_and_logged_once(serve: Serve, *, compiled: bool) -> None:
    bodies = [response(page(trace_tier=json.dumps(tier).encode())) for tier in ("glacier", "glacier", "x" * 5000)]
    async with raw_upstream(*bodies) as upstream, serve(langsmith_endpoint=upstream.url, compiled=compiled) as gateway:
        for number in range(3):
            data = await gateway.data(f"{{ sessions(offset: {number}) {{ nodes {{ name traceTier }} }} }}")
            assert [node["traceTier"] for node in data["sessions"]["nodes"]] == [None] * 3
        metrics = (await gateway.client.get("/metrics")).text
        assert 'gateway_upstream_unknown_values_total{field="trace_tier"} 3.0' in metrics
        first, second = logged(gateway, "upstream_unknown_value")
    assert (first["field"], first["value"]) == ("trace_tier", '"glacier"')
    assert len(second["value"]) == 100


async def test_unknown_values_are_logged_a_bounded_number_of_times(serve: Serve) -> None:
    rows = json.dumps([row(number, trace_tier=f"tier {number}") for number in range(1, 101)] * 3).encode()
    other = rows.replace(b"tier ", b"level ")
    async with (
        raw_upstream(response(rows), response(other)) as upstream,
        serve(langsmith_endpoint=upstream.url) as gateway,
    ):
        for offset in (0, 100):
            await gateway.data(f"{{ sessions(first: 100, offset: {offset}) {{ nodes {{ traceTier }} }} }}")
        assert len(logged(gateway, "upstream_unknown_value")) == 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(
    extras=st.lists(json_values, min_size=1, max_size=5),
    indent=st.sampled_from([None, 0, 2]),
    ascii_only=st.booleans(),
    odd=st.sampled_from([b"NaN", rb'"\ud800"', b"[[NaN], [{}]]"]),
)
def test_rows_around_a_broken_one_are_read_whatever_they_hold(
    extras: list[Any], indent: int | None, *, ascii_only: bool, odd: bytes
) -> None:
    rows = [row(number, extra=extra, name='{[\\"},{') for number, extra in enumerate(extras, 1)]
    rows.insert(1, row(99, extra="<odd>"))
    body = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode(errors="replace").replace(b'"<odd>"', odd)
    found: list[Any] = list(decode_rows(body))
    assert [each.id for each in found] == [each["id"] for each in rows]
    assert found.pop(1).extra is MALFORMED
    for each, extra in zip(found, extras, strict=True):
        assert each.name == '{[\\"},{'
        assert (each.extra if each.extra is None else json.loads(bytes(each.extra))) == extra


@given(
    cut=st.integers(min_value=1, max_value=300),
    odd=st.sampled_from([b"NaN", b"12.0", rb'"\ud800"']),
    junk=st.sampled_from([b"", b"]", b"}", b",", b'"', b"[]", b" x"]),
)
def test_body_that_is_cut_or_continued_is_refused(cut: int, odd: bytes, junk: bytes) -> None:
    body = page(run_count=odd)
    with pytest.raises(UpstreamMalformedError):
        decode_rows(body[:-cut] + (junk if junk not in (b"]", b"}") else b""))
    if junk:
        with pytest.raises(UpstreamMalformedError):
            decode_rows(body + junk)
