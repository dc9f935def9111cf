"""What the front page promises happens: its commands, its first query and what that costs, and the request by curl."""

import json
import re
import shlex
from importlib import import_module
from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from app.__main__ import main
from app.emulator import Emulator
from app.settings import Settings
from tests.conftest import Gateway, take_recorded_params
from tests.support.markdown import examples
from tests.support.paths import README, ROOT

TEXT = README.read_text()
FIRST = next(examples())
CURL = re.compile(r"^curl .*\\\n.*$", re.MULTILINE)


def commands_of(page: str) -> list[str]:
    """The lines of all `sh` blocks, without continuations and comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    return [line.partition("   #")[0].strip() for line in lines if line]


def test_front_page_has_the_two_commands_that_ci_runs() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    patterns = re.findall(r"command_of '?([\w -]+)'?\)", ci)
    assert patterns == ["serve --demo", "pytest"]
    for pattern in patterns:
        assert re.search(rf"^python3 -m venv .*{pattern}", TEXT, re.MULTILINE)


def test_front_page_uses_only_commands_and_modules_that_exist() -> None:
    pages = [TEXT, *((ROOT / name).read_text() for name in ("app/README.md", "tests/bench/README.md"))]
    found = [command for page in pages for line in commands_of(page) for command in re.split(r" && | > ", line)]
    for words in map(shlex.split, found):
        match [words[0].rpartition("/")[2], *words[1:]]:
            case ["sessions-gateway", *rest]:
                assert CliRunner().invoke(main, [*rest, "--help"]).exit_code == 0, words
            case ["python", "-m", module, *rest]:
                assert find_spec(module), words
                if module == "tests.bench":
                    bench = import_module("tests.bench.__main__").main
                    assert CliRunner().invoke(bench, [*rest, "--help"]).exit_code == 0, words


def test_front_page_sets_settings_to_valid_values(monkeypatch: pytest.MonkeyPatch) -> None:
    exported = dict(re.findall(r"^export (\w+)=(\S+)", TEXT, re.MULTILINE))
    names = {str(each.validation_alias or f"GATEWAY_{name.upper()}") for name, each in Settings.model_fields.items()}
    assert len(exported) == 5
    assert set(exported) <= names
    for name, value in exported.items():
        monkeypatch.setenv(name, value)
    Settings.load()


async def test_curl_request_of_the_front_page_is_answered(gateway: Gateway) -> None:
    [command] = CURL.findall(TEXT)
    words = shlex.split(command.replace("\\\n", ""))
    body = json.loads(words[words.index("-d") + 1])
    headers = dict(each.split(": ") for each in words if ": " in each and not each.startswith("{"))
    assert set(headers) == {"X-API-Key", "Content-Type"}
    answer = await gateway.post(body["query"], key="demo")
    assert len(answer.json()["data"]["sessions"]["nodes"]) == 3


async def test_first_query_sent_again_costs_no_upstream_request(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(FIRST.query)
    assert len(take_recorded_params(langsmith)) == 1
    await gateway.data(FIRST.query)
    await gateway.data(FIRST.query.replace("first: 2", "first: 1").replace("totalCost", ""))
    assert take_recorded_params(langsmith) == []


async def test_first_query_with_one_more_statistic_requests_just_that_one(
    gateway: Gateway, langsmith: Emulator
) -> None:
    await gateway.data(FIRST.query)
    take_recorded_params(langsmith)
    await gateway.data(FIRST.query.replace("totalCost", "totalCost errorRate"))
    [params] = take_recorded_params(langsmith)
    assert [value for name, value in params if name == "stats_select"] == ["error_rate"]
    assert [name for name, _ in params if name == "id"]
