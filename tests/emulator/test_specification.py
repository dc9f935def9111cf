"""Both versions of the emulated API take the parameters, and send the fields, of LangSmith's specifications."""

from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest

from app.emulator import Emulator
from app.emulator.params import SessionsParams
from app.emulator.params_v2 import SessionParamsV2, SessionsParamsV2
from tests.emulator.expected import NOW, sessions_of
from tests.support.paths import v1_specification, v2_specification

V1: dict[str, Any] = v1_specification()
V2: dict[str, Any] = v2_specification()
PATHS = {"v1": "/api/v1/sessions", "v2": "/api/v2/sessions"}
SPECIFIED = {"v1": V1["params"], "v2": V2["parameters"]}
DEFINED = {"v1": SessionsParams.model_fields, "v2": SessionsParamsV2.model_fields}
NEWER = {"experiment_progress", "longlived_ttl_days"}
EVERYTHING = {
    "v1": {"limit": 100, "include_stats": True, "facets": True},
    "v2": {"page_size": 100, "include_stats": True, "include_facets": True},
}
UUIDS = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"]
TEXTS = {
    "filter": 'eq(name, "x")',
    "stats_filter": 'eq(name, "x")',
    "metadata": '{"env": "prod"}',
    "dataset_version": "2025-06-01T12:30:00Z",
    "stats_select": ["run_count", "total_cost"],
}
SAMPLES: dict[str, list[Any]] = {
    "uuid[]": [UUIDS[0], UUIDS],
    "boolean": ["true", "false"],
    "integer": [1, 100],
    "date-time": [(NOW - timedelta(days=1)).isoformat(), "2026-03-09T12:00:00"],
}
COMPANIONS = {"sort_by_feedback_key": "accuracy", "reference_dataset_id": UUIDS[0], "reference_dataset": UUIDS[0]}


class Parameter(NamedTuple):
    version: str
    name: str
    kind: str
    values: list[str]

    def samples(self) -> list[Any]:
        """Values that the specification allows."""
        if self.name in TEXTS:
            return [TEXTS[self.name]]
        if self.kind.startswith("enum"):
            return [*self.values, self.values] if self.kind == "enum[]" else [*self.values]
        return SAMPLES.get(self.kind, ["text"])


PARAMETERS = [
    Parameter(version, each["name"], each["type"], each.get("values") or each.get("enum") or [])
    for version, parameters in SPECIFIED.items()
    for each in parameters
]


@pytest.mark.parametrize("version", PATHS)
def test_the_list_defines_the_parameters_of_the_specification(version: str) -> None:
    assert DEFINED[version].keys() == {each["name"] for each in SPECIFIED[version]}


@pytest.mark.parametrize(
    "parameter", [each for each in PARAMETERS if each.name != "cursor"], ids=lambda each: f"{each.version}-{each.name}"
)
async def test_a_specified_parameter_is_accepted_with_every_specified_value(
    client: httpx.AsyncClient, parameter: Parameter
) -> None:
    for sample in parameter.samples():
        needed = {name: text for name, text in COMPANIONS.items() if name in DEFINED[parameter.version]}
        params = needed | {parameter.name: sample}
        response = await client.get(PATHS[parameter.version], params=params)
        assert response.status_code == 200, (sample, response.text)


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda each: f"{each.version}-{each.name}")
async def test_only_lists_may_be_repeated_and_only_specified_values_are_accepted(
    client: httpx.AsyncClient, parameter: Parameter
) -> None:
    async def status(*values: Any) -> int:
        needed = [(name, text) for name, text in COMPANIONS.items() if name in DEFINED[parameter.version]]
        params = [*needed, *((parameter.name, value) for value in values)]
        return (await client.get(PATHS[parameter.version], params=params)).status_code

    refused = {"v1": 422, "v2": 400}[parameter.version]
    if not parameter.kind.endswith("[]"):
        assert await status("1", "1") == refused
    if parameter.kind.partition("[")[0] not in ("string", "uuid") and parameter.name != "stats_select":
        assert await status("nonsense") == refused
    if parameter.kind.startswith("enum"):
        swapped = [value.swapcase() for value in parameter.values]
        assert {await status(value) for value in swapped} == {refused}


@pytest.mark.parametrize("version", PATHS)
async def test_an_unspecified_parameter_is_refused(client: httpx.AsyncClient, version: str) -> None:
    others = {each["name"] for each in SPECIFIED[{"v1": "v2", "v2": "v1"}[version]]}
    for name in [*(others - DEFINED[version].keys()), "limt"]:
        assert (await client.get(PATHS[version], params={name: "1"})).status_code in (400, 422), name


async def rows_with_everything(client: httpx.AsyncClient, version: str) -> list[dict[str, Any]]:
    body = (await client.get(PATHS[version], params=EVERYTHING[version])).json()
    rows: list[dict[str, Any]] = body if version == "v1" else body["items"]
    return rows


TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "object[]": (list,),
    "boolean": (bool,),
}


def has_type(value: Any, kind: str) -> bool:
    if kind.startswith("map<string,"):
        return isinstance(value, dict) and all(type(part) is int or isinstance(part, dict) for part in value.values())
    return type(value) in TYPES.get(kind, (str,))


async def test_rows_of_v1_have_the_specified_fields(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    specified = {each["name"] for each in V1["fields"]}
    assert {frozenset(row) for row in await rows_with_everything(client, "v1")} == {frozenset(specified | NEWER)}
    langsmith.sends_newer_fields = False
    assert {frozenset(row) for row in await rows_with_everything(client, "v1")} == {frozenset(specified)}


async def test_rows_of_v2_have_the_specified_fields(client: httpx.AsyncClient) -> None:
    for row in await rows_with_everything(client, "v2"):
        assert row.keys() == {each["name"] for each in V2["fields"]}


@pytest.mark.parametrize("field", V2["fields"], ids=lambda field: field["name"])
async def test_a_field_of_v2_has_the_specified_type(client: httpx.AsyncClient, field: dict[str, Any]) -> None:
    values = [row[field["name"]] for row in await rows_with_everything(client, "v2")]
    assert any(value is not None for value in values)
    for value in values:
        assert field["nullable"] if value is None else has_type(value, field["type"])
        assert value is None or "enum" not in field or value in field["enum"]


async def test_entries_of_feedback_of_v2_have_every_required_part(client: httpx.AsyncClient) -> None:
    parts = {part["name"]: part for part in V2["types"]["SessionFeedbackStat"]}
    rows = await rows_with_everything(client, "v2")
    for column in ("feedback_stats", "session_feedback_stats"):
        entries = [entry for row in rows for entry in row[column].values()]
        assert entries
        for entry in entries:
            assert entry.keys() == parts.keys()
            for name, value in entry.items():
                kind = parts[name]["type"]
                assert parts[name]["nullable"] if value is None else has_type(value, kind)
                assert not kind.startswith("enum") or value in kind.removeprefix("enum ").split("|")
    assert {entry["type"] for row in rows for entry in row["session_feedback_stats"].values()} == {
        "PRIMARY",
        "COMPOSITE",
    }


async def test_progress_of_v2_has_the_specified_shape(client: httpx.AsyncClient) -> None:
    (shape,) = (field["shape"] for field in V2["fields"] if field["name"] == "experiment_progress")
    rows = await rows_with_everything(client, "v2")
    for row in rows:
        assert (row["experiment_progress"] is None) == (row["type"] != "EXPERIMENT")
        assert row["experiment_progress"] is None or row["experiment_progress"].keys() == shape.keys()


async def test_a_single_session_of_v2_takes_the_specified_parameters(
    langsmith: Emulator, client: httpx.AsyncClient
) -> None:
    assert SessionParamsV2.model_fields.keys() == {each["name"] for each in V2["retrieve"]["parameters"]}
    path = f"/api/v2/sessions/{sessions_of(langsmith)[0].id}"
    for name in V2["retrieve"]["absent"]:
        assert (await client.get(path, params={name: "true"})).status_code == 400
