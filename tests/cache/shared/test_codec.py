"""A session decodes to what was encoded, including malformed values; bytes that cannot be decoded are None."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache.shared import codec
from app.langsmith.v1 import V1
from app.sessions.fields import FACETS, STATS
from app.sessions.query import PageQuery
from app.sessions.row import Row, decode_rows
from tests.conftest import create_http_client

SESSION = "9bda0dc1-595e-41d2-8826-20c60df16fa7"
TENANT = "2896aeee-192e-4296-9d44-6baf36dac26e"
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(),
    st.just("2026-11-20T12:00:00"), st.just("0001-01-01T00:00:00+05:00"), st.just("longlived"), st.just(TENANT),
    st.lists(st.none() | st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def row_of(**values: Any) -> Row:
    [row] = decode_rows(json.dumps([{"id": SESSION, "tenant_id": TENANT, **values}]).encode())
    assert row is not None
    return row


def round_trip(row: Row, names: tuple[str, ...] = codec.STATISTICS) -> Row:
    columns = codec.decode_cell(codec.encode_cell(row, codec.COLUMNS), codec.COLUMNS)
    statistics = codec.decode_cell(codec.encode_cell(row, names), names)
    assert columns is not None
    assert statistics is not None
    read, fetched_at = codec.build_row(row.id, columns, [codec.StatsCell(7.0, statistics)])
    assert fetched_at == dict.fromkeys(names, 7.0)
    return read


def comparable(row: Row) -> list[Any]:
    """The values of a row by name, with opaque values as bytes."""
    return [(name, _comparable(getattr(row, name))) for name in row.__struct_fields__]


def _comparable(value: Any) -> Any:
    match value:
        case msgspec.Raw():
            return bytes(value)
        case dict():
            return {key: _comparable(each) for key, each in value.items()}
        case msgspec.Struct():
            return _comparable(getattr(value, "raw"))  # noqa: B009 - not every struct has one
        case _:
            return value


@given(values=st.fixed_dictionaries({}, optional=dict.fromkeys([*codec.COLUMNS[1:], *codec.STATISTICS], ODD)))
def test_generated_sessions_decode_to_what_was_encoded(values: dict[str, Any]) -> None:
    row = row_of(**values)
    assert comparable(round_trip(row)) == comparable(row)


async def test_sessions_of_the_emulator_decode_to_what_was_encoded(upstream_url: str) -> None:
    params = V1().params(PageQuery(statistics=STATS | FACETS))
    async with create_http_client(upstream_url, key="demo") as client:
        answer = await client.get("/sessions", params=[*params])
    for row in decode_rows(answer.content):
        assert row
        assert comparable(round_trip(row)) == comparable(row)


def test_feedback_that_was_parsed_is_encoded_as_it_was_received() -> None:
    row: Any = row_of(feedback_stats={"correctness": {"n": 3, "avg": 0.5, "comments": ["yes"]}, "odd": None})
    before = comparable(row)
    assert [stat.key for stat in row.feedback_stats_listed] == ["correctness", "odd"]
    assert comparable(round_trip(row)) == before


def test_row_has_the_youngest_value_of_each_statistic() -> None:
    columns = codec.decode_cell(codec.encode_cell(row_of(name="one"), codec.COLUMNS), codec.COLUMNS)
    assert columns is not None
    younger = codec.StatsCell(2.0, {"run_count": 2, "total_tokens": None})
    older = codec.StatsCell(1.0, {"run_count": 1, "error_rate": 0.5})
    row: Any
    for cells in ([younger, older], [older, younger]):
        row, fetched_at = codec.build_row(SESSION, columns, cells)
        assert (row.run_count, row.error_rate, row.total_tokens, row.name) == (2, 0.5, None, "one")
        assert fetched_at == {"run_count": 2.0, "error_rate": 1.0, "total_tokens": 2.0}


@pytest.mark.parametrize("names", [codec.COLUMNS, codec.STATISTICS, ("run_count",)])
def test_truncated_cell_is_not_decoded(names: tuple[str, ...]) -> None:
    text = codec.encode_cell(row_of(name="one", run_count=7), names)
    assert codec.decode_cell(text, names) is not None
    for length in range(len(text)):
        assert codec.decode_cell(text[:length], names) is None


@given(text=st.binary(max_size=40))
def test_malformed_bytes_are_not_decoded(text: bytes) -> None:
    assert codec.decode_cell(text, codec.STATISTICS) is None
    assert codec.decode_cell(b"[[99],1]", ("run_count",)) is None
    assert codec.decode_cell(b"[[],1,2]", ("run_count",)) is None
    assert codec.statistics_from_bits(text + b"x") is None


@given(names=st.sets(st.sampled_from(codec.STATISTICS), min_size=1))
def test_statistics_convert_to_bits_and_back(names: set[str]) -> None:
    found = codec.statistics_from_bits(f"{codec.statistics_to_bits(names):x}".encode())
    assert found == tuple(name for name in codec.STATISTICS if name in names)


def test_cell_holds_values_without_names() -> None:
    text = codec.encode_cell(row_of(run_count=7, total_cost="0.10", run_facets=[{"key": "k"}]), codec.STATISTICS)
    odd, *values = json.loads(text)
    assert odd == []
    assert dict(zip(codec.STATISTICS, values, strict=True)) == dict.fromkeys(codec.STATISTICS) | {
        "run_count": 7,
        "total_cost": "0.10",
        "run_facets": [{"key": "k"}],
    }
