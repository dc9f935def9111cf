"""Every field of either version of LangSmith's API is a field of `Session`, with the value that LangSmith sent."""

from typing import Any

import pytest

from app.emulator import Emulator, Fault
from app.schema.query import create_schema
from app.sessions.fields import FIELDS
from tests.conftest import Gateway, take_recorded_params
from tests.support.paths import v1_specification, v2_specification

SPEC_FIELDS: dict[str, dict[str, Any]] = {
    field["name"]: field for field in (*v1_specification()["fields"], *v2_specification()["fields"])
}
COMPOSITE = {
    "feedback_stats": "{ key }",
    "session_feedback_stats": "{ key }",
    "experiment_progress": "{ expectedRunCount runProgress evaluators { key progress } }",
}


def camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


ALL = " ".join(camel(each["name"]) + " " + COMPOSITE.get(each["name"], "") for each in SPEC_FIELDS.values())


@pytest.mark.parametrize("field", SPEC_FIELDS.values(), ids=lambda field: field["name"])
def test_every_field_of_the_specification_is_declared(field: dict[str, Any]) -> None:
    assert field["name"] in FIELDS, f"app/sessions/fields.py lacks a line for {field['name']}"
    assert FIELDS[field["name"]].kind.value == field["kind"]
    assert f"\n  {camel(field['name'])}" in create_schema().as_str()


def test_every_declared_field_is_in_the_specification() -> None:
    assert FIELDS.keys() == SPEC_FIELDS.keys()


async def test_all_fields_have_the_values_that_langsmith_sent(gateway: Gateway, langsmith: Emulator) -> None:
    sent: list[dict[str, Any]] = []
    langsmith.faults.append(Fault(rewrite=sent.extend))
    data = await gateway.data(f"{{ sessions(first: 50) {{ nodes {{ {ALL} }} }} }}")
    assert len(data["sessions"]["nodes"]) == len(sent) == 50
    for node, row in zip(data["sessions"]["nodes"], sent, strict=True):
        for name in ("id", "name", "run_count", "total_tokens", "latency_p99", "extra", "run_facets", "error_rate"):
            assert node[camel(name)] == row[name]
        assert node["feedbackStats"] == [{"key": key} for key in row["feedback_stats"] or ()]
        assert node["traceTier"] == (row["trace_tier"] and row["trace_tier"].upper())
    assert len(take_recorded_params(langsmith)) == 1
