"""Arguments have a length at which the request line to LangSmith stays below what common proxies take."""

from typing import Any
from uuid import UUID

import pytest

from app.emulator import Emulator
from tests.conftest import Gateway

LIST = """query ($filter: SessionFilter, $order: SessionOrder, $stats: StatsOptions) {
    sessions(filter: $filter, orderBy: $order, stats: $stats) { nodes { runCount } } }"""
WINDOW = "query ($text: String) { sessions { nodes { stats(filter: $text) { runCount } } } }"
SESSION = f"""query ($stats: StatsOptions) {{
    session(id: "{UUID(int=1)}", stats: $stats) {{ runCount }} }}"""


def ids(count: int) -> list[str]:
    return [str(UUID(int=number)) for number in range(count)]


def by_feedback(key: str) -> dict[str, str]:
    return {"field": "FEEDBACK", "feedbackKey": key}


@pytest.mark.parametrize(
    ("query", "variables", "argument"),
    [
        (LIST, {"filter": {"name": "n" * 60_000}}, "filter.name"),
        (LIST, {"filter": {"name": "n" * 4097}}, "filter.name"),
        (LIST, {"filter": {"nameContains": "é" * 2049}}, "filter.nameContains"),
        (LIST, {"filter": {"datasetVersion": "v" * 4097}}, "filter.datasetVersion"),
        (LIST, {"filter": {"metadata": {"a": "b" * 4096}}}, "filter.metadata"),
        (LIST, {"filter": {"expression": "e" * 3073}}, "filter.expression"),
        (LIST, {"filter": {"ids": ids(101)}}, "filter.ids"),
        (LIST, {"filter": {"referenceDatasets": ids(101)}}, "filter.referenceDatasets"),
        (LIST, {"filter": {"tagValueIds": ids(101)}}, "filter.tagValueIds"),
        (LIST, {"order": by_feedback("k" * 4097)}, "orderBy.feedbackKey"),
        (LIST, {"stats": {"filter": "f" * 3073}}, "stats.filter"),
        (SESSION, {"stats": {"filter": "f" * 3073}}, "stats.filter"),
        (WINDOW, {"text": "f" * 3073}, "stats.filter"),
        # Each argument is short enough, but not encoded, or not with the others.
        (LIST, {"filter": {"name": "é" * 2000}}, "filter.name"),
        (LIST, {"filter": {"name": "n" * 3000, "nameContains": "c" * 4000, "ids": ids(10)}}, "filter.nameContains"),
        (LIST, {"filter": {"name": "n" * 3000, "ids": ids(99)}}, "filter.ids"),
        (LIST, {"filter": {"expression": "e" * 3000}, "stats": {"filter": '"' * 2000}}, "stats.filter"),
        (WINDOW, {"text": '"' * 3000}, "stats.filter"),
        (SESSION, {"stats": {"filter": "é" * 1500}}, "stats.filter"),
    ],
)
async def test_argument_that_is_too_long_is_bad_input_that_names_it(
    gateway: Gateway, langsmith: Emulator, query: str, variables: dict[str, Any], argument: str
) -> None:
    answer = await gateway.post(query, variables)
    (error,) = answer.json()["errors"]
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert len(error["message"]) < 200
    assert langsmith.requests == []


@pytest.mark.parametrize(
    "variables",
    [
        {"filter": {"name": "n" * 4096}},
        {"filter": {"nameContains": "é" * 1000}},
        {"filter": {"ids": ids(100)}},
        {"filter": {"referenceDatasets": ids(100)}},
        {"filter": {"ids": ids(40), "tagValueIds": ids(40), "name": "n" * 1000}},
        {"order": by_feedback("k" * 4096)},
    ],
)
async def test_longest_arguments_that_are_allowed_make_a_request_line_below_8_kib(
    gateway: Gateway, langsmith: Emulator, variables: dict[str, Any]
) -> None:
    await gateway.run(LIST, variables)
    (request,) = langsmith.requests
    line = "&".join(f"{name}={value}" for name, value in request.params)
    assert len(line.encode()) < 8 * 1024 - 200
