"""`sessions-gateway settings` prints what is in force and where it comes from."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.__main__ import main
from app.settings import Settings
from app.settings_errors import variable_names

SECRET = "s3cret"


def report(**environment: str) -> dict[str, list[str]]:
    """Value, default and source by setting."""
    printed = CliRunner().invoke(main, ["settings"], env=environment)
    assert (printed.exit_code, printed.stderr) == (0, "")
    assert SECRET not in printed.stdout
    title, *rows = [line.split() for line in printed.stdout.splitlines()]
    assert title == ["setting", "value", "default", "source"]
    return {name: cells for name, *cells in rows}


def test_settings_lists_every_setting_with_its_default() -> None:
    settings = report()
    assert list(settings) == list(variable_names(Settings))
    assert {source for _, _, source in settings.values()} == {"default"}
    assert {name for name, (value, default, _) in settings.items() if value != default} == set()
    assert settings["GATEWAY_CACHE_TTL"][0] == "15"
    assert settings["GATEWAY_EXPLAIN"][0] == "true"
    assert settings["GATEWAY_CLIENT_RATE"][0] == "-"


def test_settings_tells_where_a_value_comes_from() -> None:
    Path(".env").write_text("GATEWAY_CACHE_TTL=3\ngateway_max_depth=5\nLANGSMITH_ENDPOINT=https://file.example\n")
    settings = report(GATEWAY_CACHE_TTL="0.25", gateway_upstream_rate="900/10s", GATEWAY_CORS_ORIGINS="https://a, *")
    assert settings["GATEWAY_CACHE_TTL"] == ["0.25", "15", "environment"]
    assert settings["GATEWAY_UPSTREAM_RATE"] == ["900/10s", "-", "environment"]
    assert settings["GATEWAY_CORS_ORIGINS"] == ["https://a,*", "-", "environment"]
    assert settings["GATEWAY_MAX_DEPTH"] == ["5", "12", ".env"]
    assert settings["LANGSMITH_ENDPOINT"][::2] == ["https://file.example", ".env"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@redis.example.com:6379/0", "redis://***@redis.example.com:6379/0"),
        (f"rediss://{SECRET}:{SECRET}@h?db=2", "rediss://***@h?***"),
        (f"redis://h?password={SECRET}", "redis://h?***"),
        (f"redis+sentinel://:{SECRET}@a:1,b:2/mymaster", "redis+sentinel://***@a:1,b:2/mymaster"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("memory://", "memory://"),
    ],
)
def test_settings_hides_the_secrets_of_a_url(url: str, shown: str) -> None:
    assert report(GATEWAY_CACHE_URL=url)["GATEWAY_CACHE_URL"][0] == shown


def test_settings_hides_keys_and_tokens() -> None:
    settings = report(GATEWAY_AUTH="server", LANGSMITH_API_KEY=SECRET, GATEWAY_CLIENT_TOKENS=f"{SECRET}1,{SECRET}://2")
    assert settings["LANGSMITH_API_KEY"][0] == "***"
    assert settings["GATEWAY_CLIENT_TOKENS"][0] == "***,***"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("GATEWAY_CACHE_TTL=soon\n", "GATEWAY_CACHE_TTL: input should be a valid number"),
        ("GATEWAY_CASH_TTL=3\n", "GATEWAY_CASH_TTL: there is no such setting. Did you mean GATEWAY_CACHE_TTL?"),
        ("A=1\njunk\n", ".env: line 2 is not a variable."),
    ],
)
def test_settings_refuses_what_the_start_refuses(text: str, line: str) -> None:
    Path(".env").write_text(text)
    printed = {command: CliRunner().invoke(main, [command]) for command in ("settings", "serve")}
    assert {(each.exit_code, each.stdout) for each in printed.values()} == {(2, "")}
    assert printed["settings"].stderr == printed["serve"].stderr
    assert printed["settings"].stderr.startswith(line)


def test_settings_exits_with_2_if_the_manifest_cannot_be_read() -> None:
    printed = CliRunner().invoke(main, ["settings"], env={"GATEWAY_TRUSTED_DOCUMENTS": "nowhere.json"})
    assert (printed.exit_code, printed.stdout) == (2, "")
    assert printed.stderr == "GATEWAY_TRUSTED_DOCUMENTS: nowhere.json cannot be read: No such file or directory.\n"
