"""Scalars: how values are parsed from clients and formatted for them."""

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.emulator import Emulator, Fault
from app.errors import BadUserInputError
from app.sessions import scalars
from app.sessions.scalars import format_datetime, format_decimal, in_utc
from tests.conftest import Gateway, Serve

offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=offsets)  # noqa: DTZ001 - Hypothesis takes bounds without a zone


@given(instant=instants)
def test_time_is_formatted_in_utc_and_parsed_back(instant: datetime) -> None:
    text = format_datetime(instant)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", text)
    assert scalars.parse_datetime(text) == instant
    assert format_datetime(scalars.parse_datetime(text)) == text


@given(instant=instants)
def test_time_is_parsed_with_any_offset(instant: datetime) -> None:
    assert scalars.parse_datetime(instant.isoformat()) == instant


@given(naive=st.datetimes())
def test_time_of_langsmith_without_an_offset_is_utc(naive: datetime) -> None:
    assert format_datetime(in_utc(naive)) == naive.isoformat() + "Z"


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-11-20", "2026-11-20T10:00", "2026-11-20T10:00:00", "2026-11-20 10:00:00Z"),
        *("2026-13-01T00:00:00Z", "2026-11-20T10:00:60Z", "2026-11-20T24:00:01Z", "2026-11-20T10:00:00+24:00"),
        *(
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "2026-11-20T10:00:00Z\n",
            "\uff12\uff10\uff12\uff16-11-20T10:00:00Z",
        ),
    ],
)
def test_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(BadUserInputError, match="instant with its offset"):
        scalars.parse_datetime(text)


@given(
    number=st.decimals(allow_nan=False, allow_infinity=False, places=None).filter(
        lambda each: abs(each.adjusted()) < 200
    )
)
def test_decimal_is_formatted_exactly_and_without_exponent(number: Decimal) -> None:
    text = format_decimal(number)
    assert re.fullmatch(r"-?\d+(\.\d+)?", text)
    assert Decimal(text) == number
    assert scalars.parse_decimal(text) == number


@given(number=st.integers(-(2**200), 2**200))
def test_big_int_has_any_size(number: int) -> None:
    assert scalars.parse_big_int(number) == number
    assert scalars.parse_decimal(number) == number


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_invalid_big_int_is_refused(value: object) -> None:
    with pytest.raises(BadUserInputError, match="BigInt"):
        scalars.parse_big_int(value)


@pytest.mark.parametrize("value", [True, 0.1, "", "one", "NaN", "Infinity", "-inf", None, "1,5", []])
def test_invalid_decimal_is_refused(value: object) -> None:
    with pytest.raises(BadUserInputError, match="Decimal"):
        scalars.parse_decimal(value)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        *(("PT1H", 1), ("PT24H", 24), ("P1D", 24), ("P7D", 168), ("P1W", 168), ("P52W", 8736), ("PT90M", 1.5)),
        *(("PT1.5H", 1.5), ("PT1,5H", 1.5), ("P0,5D", 12), ("P1DT0,5H", 24.5), ("P0,5W", 84), ("P0.5W", 84)),
        *(("P1DT12H", 36), ("PT3600S", 1), ("PT0.5H", 0.5), ("PT1H30M", 1.5), ("-P1D", -24), ("PT0S", 0)),
    ],
)
def test_duration_is_parsed(text: str, hours: float) -> None:
    assert scalars.parse_duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1Y",
        "P1M",
        "P1Y2M",
        "1D",
        "24h",
        "P1W2D",
        " P1D",
        "P1D ",
        "P٣W",
        "P99999999999D",
        "P1D\n",
        "PT1,H",
        "PT,5H",
        "P1,5DT1H",
        "PT1,5,5H",
    ],
)
def test_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(BadUserInputError, match="Duration"):
        scalars.parse_duration(text)


@given(length=st.timedeltas(timedelta(), timedelta(days=10_000)))
def test_formatted_duration_is_parsed_back(length: timedelta) -> None:
    assert scalars.parse_duration(msgspec.to_builtins(length)) == length


@given(identifier=st.uuids())
def test_uuid_is_parsed_in_its_canonical_form_only(identifier: UUID) -> None:
    assert scalars.parse_uuid(str(identifier)) == scalars.parse_uuid(str(identifier).upper()) == identifier
    for text in (identifier.hex, f"{{{identifier}}}", identifier.urn, f"{identifier} "):
        with pytest.raises(BadUserInputError, match="UUID"):
            scalars.parse_uuid(text)


@given(text=st.text())
def test_any_text_is_parsed_or_refused_by_every_scalar(text: str) -> None:
    for parse in (scalars.parse_datetime, scalars.parse_duration, scalars.parse_uuid, scalars.parse_decimal):
        try:
            parse(text)
        except BadUserInputError:
            continue


async def shown(gateway: Gateway, langsmith: Emulator, fields: str, **values: Any) -> dict[str, Any]:
    """The fields of a session whose row has these values."""

    def rewrite(rows: list[dict[str, Any]]) -> None:
        rows[0].update(values)

    langsmith.faults.append(Fault(rewrite=rewrite))
    data = await gateway.data(f"{{ sessions(first: 1) {{ nodes {{ {fields} }} }} }}")
    found: dict[str, Any] = data["sessions"]["nodes"][0]
    return found


async def test_counts_can_exceed_32_and_64_bits(gateway: Gateway, langsmith: Emulator) -> None:
    row = await shown(gateway, langsmith, "totalTokens promptTokens runCount", total_tokens=14_162_275_774, run_count=0)
    assert (row["totalTokens"], row["runCount"]) == (14_162_275_774, 0)
    body = b'[{"id":"%s","tenant_id":"%s","run_count":%d}]' % (b"1" * 32, b"2" * 32, 2**80)
    langsmith.faults.append(Fault(body=body))
    data = await gateway.data("{ sessions(first: 1, offset: 1) { nodes { runCount } } }")
    assert data["sessions"]["nodes"] == [{"runCount": 2**80}]


async def test_large_token_counts_are_json_numbers(gateway: Gateway) -> None:
    data = await gateway.data("{ sessions(first: 240) { nodes { totalTokens promptTokens completionTokens } } }")
    rows = data["sessions"]["nodes"]
    assert max(row["totalTokens"] for row in rows) > 2**31
    assert all(row["totalTokens"] == row["promptTokens"] + row["completionTokens"] for row in rows)


async def test_costs_are_equal_whether_langsmith_sends_strings_or_numbers(serve: Serve, langsmith: Emulator) -> None:
    answers = []
    for langsmith.costs_as_numbers in (False, True):
        async with serve() as gateway:
            data = await gateway.data("{ sessions(first: 100) { nodes { totalCost promptCost completionCost } } }")
            answers.append([cost for node in data["sessions"]["nodes"] for cost in node.values()])
    assert sum(cost is not None for cost in answers[0]) > 100
    for one, other in zip(*answers, strict=True):
        assert one is None if other is None else Decimal(one) == Decimal(other)
        assert other is None or re.fullmatch(r"\d+(\.\d+)?", other)


COSTS = dict(
    [
        *(('"0.206485"', "0.206485"), ("0.206485", "0.206485"), ('"1E-7"', "0.0000001"), ("1e-7", "0.0000001")),
        *(("0.1", "0.1"), ("3", "3"), ("1E3", "1000"), ('"12.50"', "12.50"), ("null", None), ("0", "0")),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
    ]
)


async def test_cost_is_a_fixed_point_string(gateway: Gateway, langsmith: Emulator) -> None:
    rows = [f'{{"id":"{place:032}","tenant_id":"{"2" * 32}","total_cost":{sent}}}' for place, sent in enumerate(COSTS)]
    langsmith.faults.append(Fault(body=f"[{','.join(rows)}]".encode()))
    data = await gateway.data("{ sessions { nodes { totalCost } } }")
    assert [node["totalCost"] for node in data["sessions"]["nodes"]] == list(COSTS.values())


async def test_times_are_in_utc_whatever_offset_langsmith_sends(gateway: Gateway, langsmith: Emulator) -> None:
    row = await shown(
        gateway,
        langsmith,
        "startTime endTime lastRunStartTimeLive",
        start_time="2024-06-06T01:02:51.299960",
        end_time="2024-06-06T03:02:51.299960+02:00",
        last_run_start_time_live="2024-06-06T01:02:51Z",
    )
    assert row == {
        "startTime": "2024-06-06T01:02:51.299960Z",
        "endTime": "2024-06-06T01:02:51.299960Z",
        "lastRunStartTimeLive": "2024-06-06T01:02:51Z",
    }


async def test_every_time_of_every_row_ends_in_z(gateway: Gateway, langsmith: Emulator) -> None:
    sent: list[dict[str, Any]] = []
    langsmith.faults.append(Fault(rewrite=sent.extend, times=None))
    data = await gateway.data("{ sessions(first: 100) { nodes { startTime lastRunStartTime } } }")
    assert any(not row["start_time"].endswith("+00:00") for row in sent)
    for node, row in zip(data["sessions"]["nodes"], sent, strict=True):
        assert node["startTime"].endswith("Z")
        assert scalars.parse_datetime(node["startTime"]) == in_utc(datetime.fromisoformat(row["start_time"]))
        assert node["lastRunStartTime"] is None or node["lastRunStartTime"].endswith("Z")


async def test_json_is_passed_through_byte_for_byte(gateway: Gateway, langsmith: Emulator) -> None:
    extra = b'{"b":1.10,"a":[1e5,{"\\u00fc":null}],"a":12345678901234567890123}'
    body = b'[{"id":"%s","tenant_id":"%s","extra":%s}]' % (b"1" * 32, b"2" * 32, extra)
    langsmith.faults.append(Fault(body=body))
    response = await gateway.post("{ sessions(first: 1) { nodes { extra } } }")
    assert extra in response.content


def test_formatted_time_does_not_depend_on_the_local_time_zone() -> None:
    assert format_datetime(datetime(2026, 11, 20, 12, tzinfo=UTC)) == "2026-11-20T12:00:00Z"
