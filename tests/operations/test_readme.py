"""What the README shows is what happens: answers, requests and tables. Run as a module, it rewrites them."""

import asyncio
import json
import re
from urllib.parse import urlencode

import pytest
from strawberry.utils.str_converters import to_camel_case

from app.emulator import Emulator, serving
from app.langsmith.v1 import ARGUMENTS
from app.sessions.fields import FIELDS, Kind
from tests.conftest import Clock, asked, started
from tests.sessions.test_fields import SPEC
from tests.support.paths import README

EXAMPLE = re.compile(r"```graphql\n(.*?)```\n\n```json\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
PARAMETERS_HEAD = "| LangSmith | GraphQL |\n|---|---|\n"
FIELDS_HEAD = "| LangSmith | GraphQL | |\n|---|---|---|\n"
BY_SELECTION = {
    "id": "`filter.ids`; also `session(id:)`, `node(id:)` and `nodes(ids:)`",
    "include_stats": "sent when a statistic is selected",
    "stats_select": "the statistics that are selected",
    "facets": "sent when `runFacets` is selected",
    "stats_start_time": "`stats.since`, or `stats.last`; the same arguments on `Session.stats`",
    "limit": "`first` or `last`",
    "offset": "`offset`, `after` or `before`",
}


def parameters() -> str:
    names = [each["name"] for each in SPEC["params"]]
    return "\n".join(f"| `{name}` | {BY_SELECTION.get(name) or f'`{ARGUMENTS[name]}`'} |" for name in names)


def fields() -> str:
    kinds = {Kind.COLUMN: "column", Kind.STAT: "statistic", Kind.FACET: "statistic (`facets`)"}
    return "\n".join(
        f"| `{each.name}` | `{to_camel_case(each.name)}` | {kinds[each.kind]} |" for each in FIELDS.values()
    )


async def shown(query: str) -> tuple[str, str]:
    """What the demo answers, and the requests that reach LangSmith."""
    clock = Clock()
    langsmith = Emulator(clock=clock.now)
    async with serving(langsmith) as url, started(url, clock) as gateway:
        data = await gateway.data(query)
        requests = "".join(f"GET /api/v1/sessions?{urlencode(params)}\n" for params in asked(langsmith))
    return json.dumps({"data": data}, indent=2, ensure_ascii=False) + "\n", requests


EXAMPLES = [match.groups() for match in EXAMPLE.finditer(README.read_text())]


def test_there_are_four_examples() -> None:
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize(("query", "answer", "requests"), EXAMPLES, ids=["newest", "windows", "experiments", "one"])
async def test_an_example_shows_what_happens(query: str, answer: str, requests: str) -> None:
    assert await shown(query) == (answer, requests)


def test_the_tables_name_every_parameter_and_field() -> None:
    text = README.read_text()
    assert PARAMETERS_HEAD + parameters() + "\n\n" in text
    assert FIELDS_HEAD + fields() + "\n\n" in text


def rewritten(text: str) -> str:
    def example(match: re.Match[str]) -> str:
        answer, requests = asyncio.run(shown(match[1]))
        return f"```graphql\n{match[1]}```\n\n```json\n{answer}```\n\n```text\n{requests}```"

    text = EXAMPLE.sub(example, text)
    for head, rows in ((PARAMETERS_HEAD, parameters()), (FIELDS_HEAD, fields())):
        before, _, rest = text.partition(head)
        text = before + head + rows + "\n\n" + rest.partition("\n\n")[2]
    return text


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text()))
