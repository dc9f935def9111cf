"""Settings come from the environment and `.env`, and what cannot be used stops the start with one line."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.errors import SettingsError
from app.settings import Settings

DEFAULTS: dict[str, object] = {
    "LANGSMITH_ENDPOINT": "https://api.smith.langchain.com",
    "LANGSMITH_API_KEY": None,
    "LANGSMITH_WORKSPACE_ID": None,
    "GATEWAY_AUTH": "passthrough",
    "GATEWAY_CLIENT_TOKENS": (),
    "GATEWAY_ALLOW_ANONYMOUS": False,
    "GATEWAY_CACHE_URL": SecretStr("memory://"),
    "GATEWAY_CACHE_TTL": 15,
    "GATEWAY_CACHE_STALE": 60,
    "GATEWAY_CACHE_MAX_BYTES": 268_435_456,
    "GATEWAY_RESPONSES_MAX_BYTES": 67_108_864,
    "GATEWAY_UPSTREAM_TIMEOUT": 30,
    "GATEWAY_UPSTREAM_RETRIES": 2,
    "GATEWAY_UPSTREAM_CONCURRENCY": 32,
    "GATEWAY_UPSTREAM_RATE": None,
    "GATEWAY_CORS_ORIGINS": (),
    "GATEWAY_CLIENT_RATE": None,
    "GATEWAY_CLIENT_RATE_URL": SecretStr("memory://"),
    "GATEWAY_INTROSPECTION": True,
    "GATEWAY_GRAPHIQL": True,
    "GATEWAY_EXPLAIN": True,
    "GATEWAY_MAX_TOKENS": 2000,
    "GATEWAY_MAX_DEPTH": 12,
    "GATEWAY_MAX_ALIASES": 30,
    "GATEWAY_MAX_COST": 1000,
    "GATEWAY_TRUSTED_DOCUMENTS": None,
    "GATEWAY_LOG_FORMAT": "console",
    "GATEWAY_LOG_LEVEL": "info",
}
SECRET = "lsv2_pt_secret"
SERVER = {"GATEWAY_AUTH": "server", "LANGSMITH_API_KEY": SECRET}


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith(("GATEWAY_", "LANGSMITH_")):
            monkeypatch.delenv(name)


def loaded(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    with pytest.raises(SettingsError) as refused:
        loaded(monkeypatch, **environment)
    line = str(refused.value)
    assert "\n" not in line
    return line


def value_of(settings: Settings, variable: str) -> object:
    return getattr(settings, variable.lower().removeprefix("gateway_"))


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings.load()
    assert {name: value_of(settings, name) for name in DEFAULTS} == DEFAULTS
    assert len(Settings.model_fields) == len(DEFAULTS)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("LANGSMITH_ENDPOINT", "https://eu.api.smith.langchain.com/", "https://eu.api.smith.langchain.com"),
        ("LANGSMITH_ENDPOINT", "http://langsmith.internal:1980/api/v1", "http://langsmith.internal:1980/api/v1"),
        ("LANGSMITH_WORKSPACE_ID", "3c90c3cc-0d44-4b50-8888-8dd25736052a", "3c90c3cc-0d44-4b50-8888-8dd25736052a"),
        *((name, url, SecretStr(url))
          for name in ("GATEWAY_CACHE_URL", "GATEWAY_CLIENT_RATE_URL")
          for url in ("memory://", f"rediss://:{SECRET}@h:1/2", "redis+sentinel://a,b/m", "redis+cluster://a", "unix:///a")),
        ("GATEWAY_CACHE_TTL", "0", 0),
        ("GATEWAY_CACHE_TTL", "0.25", 0.25),
        ("GATEWAY_CACHE_STALE", "1.5", 1.5),
        ("GATEWAY_CACHE_MAX_BYTES", "0", 0),
        ("GATEWAY_RESPONSES_MAX_BYTES", "0", 0),
        ("GATEWAY_UPSTREAM_TIMEOUT", "2.5", 2.5),
        ("GATEWAY_UPSTREAM_RETRIES", "0", 0),
        ("GATEWAY_UPSTREAM_CONCURRENCY", "1", 1),
        ("GATEWAY_CORS_ORIGINS", "", ()),
        ("GATEWAY_CORS_ORIGINS", "*", ("*",)),
        ("GATEWAY_CORS_ORIGINS", " https://a.example , http://[::1]:3000, ", ("https://a.example", "http://[::1]:3000")),
        ("GATEWAY_INTROSPECTION", "false", False),
        ("GATEWAY_GRAPHIQL", "0", False),
        ("GATEWAY_EXPLAIN", "OFF", False),
        ("GATEWAY_MAX_TOKENS", "1", 1),
        ("GATEWAY_MAX_DEPTH", "20", 20),
        ("GATEWAY_MAX_ALIASES", "0", 0),
        ("GATEWAY_MAX_COST", "1", 1),
        ("GATEWAY_LOG_FORMAT", "json", "json"),
        ("GATEWAY_LOG_LEVEL", "debug", "debug"),
        ("gateway_max_depth", "7", 7),
    ],
)  # fmt: skip
def test_a_value_is_read_as_it_is_meant(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    assert value_of(loaded(monkeypatch, **{name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        *(("LANGSMITH_ENDPOINT", text, "must be an http(s) URL, such as https://eu.api.smith.langchain.com")
          for text in ("", "smith", "ftp://smith", "https://", "https://h?a=1", "https://h#a", "https://h:99999",
                       "https://[::1", "https://h/ a")),
        ("LANGSMITH_ENDPOINT", f"https://me:{SECRET}@h", "must hold no user name or password"),
        ("LANGSMITH_API_KEY", f"{SECRET}\n", "must be one line of visible ASCII, such as lsv2_pt_0123456789"),
        ("LANGSMITH_API_KEY", f"{SECRET}é", "must be one line of visible ASCII"),
        ("LANGSMITH_WORKSPACE_ID", f"{SECRET}\t", "must be one line of visible ASCII"),
        ("GATEWAY_AUTH", SECRET, "'passthrough' or 'server' (the default is passthrough)"),
        ("GATEWAY_CLIENT_TOKENS", f"a,{SECRET}\x7f", "must be one line of visible ASCII"),
        ("GATEWAY_ALLOW_ANONYMOUS", "perhaps", "boolean"),
        *((name, url, "must be memory://, or a Redis such as redis://:password@redis.example.com:6379/0: it begins")
          for name in ("GATEWAY_CACHE_URL", "GATEWAY_CLIENT_RATE_URL")
          for url in ("", "memory", "memory://x", f"http://:{SECRET}@h")),
        ("GATEWAY_CACHE_URL", f"redis://:{SECRET}/@h", "%2F %3F %23 and %40 (the default is memory://)"),
        ("GATEWAY_CLIENT_RATE_URL", f"redis+sentinel://:{SECRET}@h", "the name of a service follows the sentinels"),
        *(("GATEWAY_CACHE_TTL", text, "number") for text in ("", "soon", "15s", "nan", "inf")),
        ("GATEWAY_CACHE_TTL", "-1", "greater than or equal to 0 (the default is 15)"),
        ("GATEWAY_CACHE_STALE", "1e9", "less than or equal to 86400 (the default is 60)"),
        *(("GATEWAY_CACHE_MAX_BYTES", text, "(the default is 268435456)") for text in ("256MB", "1.5", "-1")),
        ("GATEWAY_RESPONSES_MAX_BYTES", "-1", "(the default is 67108864)"),
        *(("GATEWAY_UPSTREAM_TIMEOUT", text, "(the default is 30)") for text in ("0", "-1", "never")),
        *(("GATEWAY_UPSTREAM_RETRIES", text, "(the default is 2)") for text in ("-1", "11", "1.5")),
        *(("GATEWAY_UPSTREAM_CONCURRENCY", text, "(the default is 32)") for text in ("0", "1001")),
        *(("GATEWAY_CORS_ORIGINS", text, "must be origins such as https://dashboard.example.com, separated by commas")
          for text in ("dashboard", "https://a.example/path", "https://a.example/", "https://[::1", "ftp://a", "https://")),
        *((f"GATEWAY_{name}", text, "boolean, unable to interpret input (the default is true)")
          for name in ("INTROSPECTION", "GRAPHIQL", "EXPLAIN") for text in ("", "maybe")),
        ("GATEWAY_MAX_TOKENS", "0", "(the default is 2000)"),
        ("GATEWAY_MAX_DEPTH", "deep", "(the default is 12)"),
        ("GATEWAY_MAX_ALIASES", "-1", "(the default is 30)"),
        ("GATEWAY_MAX_COST", "0", "(the default is 1000)"),
        ("GATEWAY_LOG_FORMAT", "xml", "'console' or 'json' (the default is console)"),
        ("GATEWAY_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error' (the default is info)"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, wrong: str
) -> None:
    line = refusal(monkeypatch, **{name: text})
    assert line.startswith(f"{name}: ")
    assert wrong in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("GATEWAY_CACHE_TTLS", "GATEWAY_CACHE_TTL"),
        ("GATEWAY_MAX_ALIAS", "GATEWAY_MAX_ALIASES"),
        ("gateway_timeout_upstream", None),
        ("GATEWAY_LANGSMITH_API_KEY", "LANGSMITH_API_KEY"),
        ("GATEWAY_XYZ", None),
    ],
)
def test_an_unknown_name_is_refused_with_what_may_have_been_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, suggestion: str | None
) -> None:
    hint = f" Did you mean {suggestion}?" if suggestion else ""
    message = f"{name}: there is no such setting.{hint} The README lists them all."
    assert refusal(monkeypatch, **{name: SECRET}) == message
    monkeypatch.delenv(name)
    Path(".env").write_text(f"{name}={SECRET}\n")
    assert refusal(monkeypatch) == message


def test_other_variables_are_none_of_its_business(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("LANGSMITH_TRACING=true\nDATABASE_URL=x\n")
    assert loaded(monkeypatch, LANGSMITH_PROJECT="mine", LANGCHAIN_API_KEY="x", AUTH="server").auth == "passthrough"


def test_a_file_is_read_and_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("# for work\nGATEWAY_CACHE_TTL=3\nexport GATEWAY_MAX_DEPTH='5'\n")
    settings = loaded(monkeypatch, GATEWAY_CACHE_TTL="4")
    assert (settings.cache_ttl, settings.max_depth) == (4, 5)


def test_a_bad_value_in_a_file_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("GATEWAY_CACHE_TTL=soon\n")
    assert refusal(monkeypatch).startswith("GATEWAY_CACHE_TTL: ")
    Path(".env").write_bytes(b"GATEWAY_LOG_LEVEL=\xff\n")
    assert refusal(monkeypatch).startswith(".env: it cannot be read as UTF-8 text.")


def test_what_is_given_in_code_goes_before_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "https://environment.example")
    monkeypatch.setenv("LANGSMITH_API_KEY", SECRET)
    settings = Settings.load(langsmith_endpoint="https://code.example", langsmith_api_key=None)
    assert (settings.langsmith_endpoint, settings.langsmith_api_key) == ("https://code.example", None)


def test_a_key_of_its_own_needs_tokens_or_the_word_that_it_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, GATEWAY_AUTH="server") == "LANGSMITH_API_KEY: must be set with GATEWAY_AUTH=server"
    assert refusal(monkeypatch, LANGSMITH_API_KEY="").startswith("LANGSMITH_API_KEY: must be set")
    neither = refusal(monkeypatch, **SERVER)
    assert neither.startswith("GATEWAY_CLIENT_TOKENS: ")
    assert "GATEWAY_ALLOW_ANONYMOUS=true" in neither
    tokens = loaded(monkeypatch, GATEWAY_CLIENT_TOKENS=" one, two ,").client_tokens
    assert [token.get_secret_value() for token in tokens] == ["one", "two"]
    assert refusal(monkeypatch, GATEWAY_ALLOW_ANONYMOUS="true") == neither
    monkeypatch.delenv("GATEWAY_CLIENT_TOKENS")
    assert Settings.load().allow_anonymous


@pytest.mark.parametrize(("name", "text"), [("GATEWAY_CLIENT_TOKENS", SECRET), ("GATEWAY_ALLOW_ANONYMOUS", "true")])
def test_tokens_are_for_a_gateway_with_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    assert refusal(monkeypatch, **{name: text}) == f"{name}: goes with GATEWAY_AUTH=server only"


def test_a_key_without_a_use_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the vendor's variable, and often set for other programs."""
    assert loaded(monkeypatch, LANGSMITH_API_KEY=SECRET).auth == "passthrough"


def test_no_secret_is_printed_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {"GATEWAY_CACHE_URL": f"redis://:{SECRET}@h", "GATEWAY_CLIENT_RATE_URL": f"redis://:{SECRET}@h"}
    settings = loaded(monkeypatch, **SERVER, **urls, GATEWAY_CLIENT_TOKENS=f"{SECRET}2")
    for text in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.model_dump()}"):
        assert SECRET not in text
