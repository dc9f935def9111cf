"""Settings are read from the environment and `.env`; an unknown name or an invalid value is refused in one line."""

import os
import re
from ipaddress import ip_network
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
    "GATEWAY_UPSTREAM_API": "auto",
    "GATEWAY_UPSTREAM_PROJECT_TYPES": ("PROJECT", "AGENT"),
    "GATEWAY_CORS_ORIGINS": (),
    "GATEWAY_CLIENT_RATE": None,
    "GATEWAY_CLIENT_RATE_URL": SecretStr("memory://"),
    "FORWARDED_ALLOW_IPS": (),
    "GATEWAY_INTROSPECTION": True,
    "GATEWAY_GRAPHIQL": True,
    "GATEWAY_EXPLAIN": True,
    "GATEWAY_FAST_PATH": True,
    "GATEWAY_MAX_TOKENS": 2000,
    "GATEWAY_MAX_DEPTH": 12,
    "GATEWAY_MAX_ALIASES": 30,
    "GATEWAY_MAX_COST": 150,
    "GATEWAY_TRUSTED_DOCUMENTS": None,
    "GATEWAY_LOG_FORMAT": "console",
    "GATEWAY_LOG_LEVEL": "info",
}
SECRET = "lsv2_pt_secret"
SERVER = {"GATEWAY_AUTH": "server", "LANGSMITH_API_KEY": SECRET}


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper().startswith(("GATEWAY_", "LANGSMITH_", "FORWARDED_")):
            monkeypatch.delenv(name)


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def load_error(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    with pytest.raises(SettingsError) as error:
        load(monkeypatch, **environment)
    line = str(error.value)
    assert "\n" not in line
    return line


def value_of(settings: Settings, variable: str) -> object:
    return getattr(settings, variable.lower().removeprefix("gateway_"))


def test_defaults_match_the_contract() -> None:
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
        ("GATEWAY_UPSTREAM_API", "V2", "v2"),
        ("GATEWAY_UPSTREAM_PROJECT_TYPES", "PROJECT", ("PROJECT",)),
        ("GATEWAY_UPSTREAM_PROJECT_TYPES", " PROJECT, AGENT,", ("PROJECT", "AGENT")),
        ("GATEWAY_CORS_ORIGINS", "", ()),
        ("GATEWAY_CORS_ORIGINS", "*", ("*",)),
        ("GATEWAY_CORS_ORIGINS", " https://a.example , http://[::1]:3000, ", ("https://a.example", "http://[::1]:3000")),
        ("GATEWAY_CORS_ORIGINS", "https://A.example:443,https://a.example/", ("https://a.example",)),
        ("FORWARDED_ALLOW_IPS", "", ()),
        ("FORWARDED_ALLOW_IPS", " 127.0.0.1, 10.1.2.3/8 ", (ip_network("127.0.0.1"), ip_network("10.0.0.0/8"))),
        ("FORWARDED_ALLOW_IPS", "::1", (ip_network("::1"),)),
        ("FORWARDED_ALLOW_IPS", "*", (ip_network("0.0.0.0/0"), ip_network("::/0"))),
        ("GATEWAY_INTROSPECTION", "false", False),
        ("GATEWAY_GRAPHIQL", "0", False),
        ("GATEWAY_EXPLAIN", "OFF", False),
        ("GATEWAY_MAX_TOKENS", "1", 1),
        ("GATEWAY_MAX_DEPTH", "20", 20),
        ("GATEWAY_MAX_ALIASES", "0", 0),
        ("GATEWAY_MAX_COST", "1", 1),
        ("GATEWAY_LOG_FORMAT", "json", "json"),
        ("GATEWAY_LOG_LEVEL", "debug", "debug"),
        ("GATEWAY_LOG_LEVEL", "WARNING", "warning"),
        ("GATEWAY_LOG_FORMAT", "JSON", "json"),
        ("GATEWAY_AUTH", "PassThrough", "passthrough"),
        ("gateway_max_depth", "7", 7),
    ],
)  # fmt: skip
def test_a_valid_value_is_parsed(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    assert value_of(load(monkeypatch, **{name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        *(("LANGSMITH_ENDPOINT", text, "must be an http(s) URL, such as https://eu.api.smith.langchain.com")
          for text in ("", "smith", "ftp://smith", "https://", "https://h?a=1", "https://h#a", "https://h:99999",
                       "https://[::1", "https://h/ a")),
        ("LANGSMITH_ENDPOINT", f"https://me:{SECRET}@h", "must not contain a user name or a password"),
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
        ("GATEWAY_CORS_ORIGINS", "ftp://a", "must be origins such as https://dashboard.example.com,"),
        ("GATEWAY_CORS_ORIGINS", f"*,https://me:{SECRET}@a", "must not contain a user name or a password"),
        ("GATEWAY_CORS_ORIGINS", "https://a, b.example/", "an origin begins with its scheme: write https://b.example"),
        *(("FORWARDED_ALLOW_IPS", text, "must be IP addresses or networks such as 10.0.0.0/8, separated by commas")
          for text in ("localhost", "10.0.0.0/33", "10.0.0.1;10.0.0.2", "unix:")),
        *((f"GATEWAY_{name}", text, "boolean, unable to interpret input (the default is true)")
          for name in ("INTROSPECTION", "GRAPHIQL", "EXPLAIN") for text in ("", "maybe")),
        ("GATEWAY_MAX_TOKENS", "0", "(the default is 2000)"),
        ("GATEWAY_MAX_DEPTH", "deep", "(the default is 12)"),
        ("GATEWAY_MAX_ALIASES", "-1", "(the default is 30)"),
        ("GATEWAY_MAX_COST", "0", "(the default is 150)"),
        ("GATEWAY_LOG_FORMAT", "xml", "'console' or 'json' (the default is console)"),
        ("GATEWAY_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error' (the default is info)"),
    ],
)  # fmt: skip
def test_an_invalid_value_is_reported_in_one_line_without_secrets(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, reason: str
) -> None:
    line = load_error(monkeypatch, **{name: text})
    assert line.startswith(f"{name}: ")
    assert reason in line
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
def test_an_unknown_name_is_refused_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, name: str, suggestion: str | None
) -> None:
    hint = f" Did you mean {suggestion}?" if suggestion else ""
    message = f"{name}: there is no such setting.{hint} `sessions-gateway settings` lists them all."
    assert load_error(monkeypatch, **{name: SECRET}) == message
    monkeypatch.delenv(name)
    Path(".env").write_text(f"{name}={SECRET}\n")
    assert load_error(monkeypatch) == message


@pytest.mark.parametrize("service", ["GATEWAY", "GATEWAY_CACHE", "GATEWAY_REDIS_7"])
def test_variables_that_kubernetes_sets_for_a_service_are_ignored(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    injected = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "8000",
        f"{service}_SERVICE_PORT_HTTP_METRICS": "9090",
        f"{service}_PORT": "tcp://10.0.0.1:8000",
        f"{service}_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        f"{service}_PORT_8000_TCP_ADDR": "10.0.0.1",
        f"{service}_PORT_8000_TCP_PORT": "8000",
        f"{service}_PORT_8000_TCP_PROTO": "tcp",
        f"{service}_PORT_53_UDP": "udp://10.0.0.1:53",
    }
    assert load(monkeypatch, **injected, GATEWAY_CACHE_TTL="3").cache_ttl == 3


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("GATEWAY_PORT", "8000", "this is an option of the command. Use `serve --port`."),
        ("GATEWAY_HOST", "0.0.0.0", "this is an option of the command. Use `serve --host`."),
        ("GATEWAY_WORKERS", "2", "this is an option of the command. Use `serve --workers`."),
        ("GATEWAY_SERVICE_PORT", "soon", "there is no such setting."),
        ("GATEWAY_SERVICE_HOSTS", "10.0.0.1", "there is no such setting."),
        ("GATEWAY_PORT_HTTP_TCP", "tcp://10.0.0.1:8000", "there is no such setting."),
        ("gateway_service_host", "10.0.0.1", "there is no such setting."),
        ("GATEWAY_SERVIC_HOST", "10.0.0.1", "there is no such setting."),
    ],
)
def test_names_that_only_resemble_those_of_kubernetes_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    assert load_error(monkeypatch, **{name: value}).startswith(f"{name}: {reason}")


def test_no_setting_has_a_name_that_kubernetes_could_set() -> None:
    kubernetes = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_\d.*)")
    assert [name for name in DEFAULTS if kubernetes.fullmatch(name)] == []


def test_variables_of_other_programs_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("LANGSMITH_TRACING=true\nDATABASE_URL=x\n")
    assert load(monkeypatch, LANGSMITH_PROJECT="mine", LANGCHAIN_API_KEY="x", AUTH="server").auth == "passthrough"


def test_the_environment_takes_precedence_over_the_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("# for work\nGATEWAY_CACHE_TTL=3\nexport GATEWAY_MAX_DEPTH='5'\n")
    settings = load(monkeypatch, GATEWAY_CACHE_TTL="4")
    assert (settings.cache_ttl, settings.max_depth) == (4, 5)


def test_an_invalid_value_in_the_env_file_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("GATEWAY_CACHE_TTL=soon\n")
    assert load_error(monkeypatch).startswith("GATEWAY_CACHE_TTL: ")
    Path(".env").write_bytes(b"GATEWAY_LOG_LEVEL=\xff\n")
    assert load_error(monkeypatch).startswith(".env: it cannot be read as UTF-8 text.")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("what is this\n", 1),
        ("GATEWAY_CACHE_TTL=3\n\n\n# a comment\n\n  =5\n", 6),
        ("\r\n\r\nGATEWAY_CACHE_TTL\r\n", 3),
        ("GATEWAY_CACHE_TTL=3\nGATEWAY_LOG_LEVEL: debug\n", 2),
        ('A="two\nlines"\nGATEWAY_LOG_FORMAT="json\nB=1\n', 3),
        ("DATABASE_URL\n", 1),
    ],
)
def test_a_line_of_the_env_file_that_is_no_variable_is_reported_with_its_number(
    monkeypatch: pytest.MonkeyPatch, text: str, line: int
) -> None:
    Path(".env").write_text(text)
    expected = f".env: line {line} is not a variable. Each line must look like GATEWAY_CACHE_TTL=15."
    assert load_error(monkeypatch) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_an_env_file_with_a_byte_order_mark_is_read(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    Path(".env").write_bytes("\ufeffGATEWAY_CACHE_TTL=3\r\nGATEWAY_MAX_DEPTH=5\r\n".encode(encoding))
    settings = load(monkeypatch)
    assert (settings.cache_ttl, settings.max_depth) == (3, 5)


def test_overrides_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_ENDPOINT", "https://environment.example")
    monkeypatch.setenv("LANGSMITH_API_KEY", SECRET)
    settings = Settings.load(langsmith_endpoint="https://code.example", langsmith_api_key=None)
    assert (settings.langsmith_endpoint, settings.langsmith_api_key) == ("https://code.example", None)


def test_server_auth_requires_an_api_key_and_either_tokens_or_anonymous_access(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_error(monkeypatch, GATEWAY_AUTH="server") == "LANGSMITH_API_KEY: must be set with GATEWAY_AUTH=server"
    assert load_error(monkeypatch, LANGSMITH_API_KEY="").startswith("LANGSMITH_API_KEY: must be set")
    neither = load_error(monkeypatch, **SERVER)
    assert neither.startswith("GATEWAY_CLIENT_TOKENS: ")
    assert "GATEWAY_ALLOW_ANONYMOUS=true" in neither
    tokens = load(monkeypatch, GATEWAY_CLIENT_TOKENS=" one, two ,").client_tokens
    assert [token.get_secret_value() for token in tokens] == ["one", "two"]
    assert load_error(monkeypatch, GATEWAY_ALLOW_ANONYMOUS="true") == neither
    monkeypatch.delenv("GATEWAY_CLIENT_TOKENS")
    assert Settings.load().allow_anonymous


@pytest.mark.parametrize(("name", "text"), [("GATEWAY_CLIENT_TOKENS", SECRET), ("GATEWAY_ALLOW_ANONYMOUS", "true")])
def test_tokens_and_anonymous_access_require_server_auth(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    assert load_error(monkeypatch, **{name: text}) == f"{name}: can only be set with GATEWAY_AUTH=server"


def test_an_unused_api_key_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable belongs to LangSmith's SDK, so it is often set for other programs."""
    assert load(monkeypatch, LANGSMITH_API_KEY=SECRET).auth == "passthrough"


def test_printed_settings_contain_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = {"GATEWAY_CACHE_URL": f"redis://:{SECRET}@h", "GATEWAY_CLIENT_RATE_URL": f"redis://:{SECRET}@h"}
    settings = load(monkeypatch, **SERVER, **urls, GATEWAY_CLIENT_TOKENS=f"{SECRET}2")
    for text in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.model_dump()}"):
        assert SECRET not in text


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description_for_the_reference(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert description.endswith(".")
    assert "|" not in description  # it is a cell of a Markdown table
