"""Rows hold the same text, whether or not all values of a field have the form in which LangSmith usually sends them."""

import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sessions.decoding import MALFORMED
from app.sessions.row import decode_rows
from tests.conftest import Serve
from tests.support.raw_upstream import raw_upstream, response, row

CANONICAL = "3c90c3cc-0d44-4b50-8888-8dd25736052a"
DATASET = "2896aeee-192e-4296-9d44-6baf36dac26e"
ODD_IDS = [
    CANONICAL.upper(),
    CANONICAL.replace("-", ""),
    CANONICAL + "\n" + DATASET,
    CANONICAL + "\n",
    "\n" + CANONICAL,
    "{" + CANONICAL + "}",
    CANONICAL[:-1],
    CANONICAL[:-1] + "g",
    "",
    "null",
]
NUMBERS = ["0", "-0", "0.10", "1.50", "12345678901234567890.123456789", "1e-7", "1E2", "0.0000001", "1e400", "-1.0e-2"]
ODD_COSTS = ["007.10", "+1", ".5", "5.", "1_000", " 1", "1\n2", "NaN", "-Infinity", "null", "", "9" * 95, "9" * 120]


def decoded(name: str, *values: str) -> list[Any]:
    """What the rows hold in this field, if LangSmith sends these values as JSON."""
    body = json.dumps([row(number, **{name: f"<{number}>"}) for number in range(len(values))])
    for number, value in enumerate(values):
        body = body.replace(f'"<{number}>"', value)
    return [getattr(each, name) for each in decode_rows(body.encode())]


def expected_uuid(text: str) -> Any:
    try:
        return str(msgspec.convert(text, UUID))
    except msgspec.ValidationError:
        return MALFORMED


def expected_cost(value: str) -> Any:
    try:
        number = msgspec.json.decode(value, type=Decimal)
    except msgspec.ValidationError:
        return MALFORMED
    return f"{number:f}" if number.is_finite() and abs(number.adjusted()) < 100 else MALFORMED


@pytest.mark.parametrize("text", ODD_IDS)
def test_uuid_of_another_form_is_read_as_before_beside_canonical_ones(text: str) -> None:
    values = decoded("reference_dataset_id", json.dumps(DATASET), "null", json.dumps(text))
    assert values == [DATASET, None, expected_uuid(text)]


@pytest.mark.parametrize("value", [*NUMBERS, *map(json.dumps, NUMBERS + ODD_COSTS), '"1\\u0030"', "true", "[]"])
def test_cost_of_any_form_is_read_as_the_same_number(value: str) -> None:
    values = decoded("total_cost", '"0.206485"', "null", "7.250", value)
    assert values == ["0.206485", None, "7.250", expected_cost(value)]


@given(values=st.lists(st.none() | st.uuids().map(str) | st.uuids().map(lambda each: each.hex) | st.text(max_size=40)))
def test_generated_uuids_are_read_one_by_one_or_together(values: list[str | None]) -> None:
    read = decoded("default_dataset_id", *map(json.dumps, values))
    assert read == [each if each is None else expected_uuid(each) for each in values]


@given(values=st.lists(st.decimals(allow_nan=False, allow_infinity=False).map(str)))
def test_generated_costs_are_read_one_by_one_or_together(values: list[str]) -> None:
    texts = [*map(json.dumps, values)]
    assert decoded("prompt_cost", *texts) == [*map(expected_cost, texts)]


@pytest.mark.parametrize("name", ["id", "tenant_id"])
@pytest.mark.parametrize(
    ("text", "is_kept"), [(ODD_IDS[0], True), (ODD_IDS[1], True), (ODD_IDS[2], False), ("x", False)]
)
def test_row_is_dropped_only_if_its_id_or_workspace_is_no_uuid(name: str, text: str, *, is_kept: bool) -> None:
    sent = [row(1), row(2, **{name: text}), row(3)]
    first, second, third = decode_rows(json.dumps(sent).encode())
    assert first is not None
    assert third is not None
    assert (second is not None) == is_kept
    if second is not None:
        assert getattr(second, name) == CANONICAL


async def test_uuids_and_costs_of_other_forms_are_shown_in_the_canonical_form(serve: Serve) -> None:
    odd = row(2, tenant_id=DATASET.upper(), reference_dataset_id=DATASET.replace("-", ""), total_cost="1E-7")
    body = json.dumps([row(1, total_cost="0.10"), odd]).encode()
    fields = "{ sessions { nodes { tenantId referenceDatasetId totalCost } } }"
    async with raw_upstream(response(body)) as upstream, serve(langsmith_endpoint=upstream.url) as gateway:
        first, second = (await gateway.data(fields))["sessions"]["nodes"]
    assert first["totalCost"] == "0.10"
    assert second == {"tenantId": DATASET, "referenceDatasetId": DATASET, "totalCost": "0.0000001"}


@pytest.mark.parametrize("value", ['"none"', "[]", "7", '{"k": {"n": "x", "avg": 0.5}}', '{"k": null}', "{}"])
def test_feedback_map_of_any_form_leaves_the_others_intact(value: str) -> None:
    first, odd, last = decoded("feedback_stats", '{"k": {"n": 1}}', value, "null")
    assert first.raw == msgspec.Raw(b'{"k": {"n": 1}}')
    assert (odd is MALFORMED) == (value[0] != "{")
    assert last is None
