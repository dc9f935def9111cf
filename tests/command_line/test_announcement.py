"""What `serve` says when it starts."""

import re
from pathlib import Path

import pytest

from app.command_line.announcement import announcement
from app.settings import Settings
from tests.test_command_line import DEMO, SERVE, printed_at_start

KEY = "lsv2_pt_secret"
OWN = {"GATEWAY_AUTH": "server", "LANGSMITH_API_KEY": KEY}


def lines(host: str = "127.0.0.1", **environment: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return "\n".join(announcement(host, 8000, Settings.load(), 1))


def test_start_names_the_pages_the_upstream_and_how_to_stop(tmp_path: Path) -> None:
    printed = printed_at_start(*SERVE, cwd=tmp_path, LANGSMITH_ENDPOINT="https://eu.api.smith.langchain.com")
    assert re.search(r"dashboard +http://127\.0\.0\.1:\d+/\n", printed)
    assert re.search(r"GraphQL +http://127\.0\.0\.1:\d+/graphql\n", printed)
    assert re.search(r"LangSmith +https://eu\.api\.smith\.langchain\.com\n", printed)
    assert re.search(r"API key +each client's own, in the header X-API-Key\n", printed)
    assert re.search(r"to stop +Ctrl\+C", printed)
    assert "LANGSMITH_API_KEY" not in printed


def test_start_of_the_demo_says_that_its_data_is_generated(tmp_path: Path) -> None:
    printed = printed_at_start(*DEMO, "--workers", "2", cwd=tmp_path, LANGSMITH_API_KEY=KEY)
    assert "2 workers" in printed
    assert re.search(r"LangSmith +none: generated data, as --demo asks\n", printed)
    assert re.search(r"API key +none needed\n", printed)
    assert "LANGSMITH_API_KEY" not in printed


def test_start_says_that_a_key_is_not_used_and_what_would_use_it(tmp_path: Path) -> None:
    printed = printed_at_start(*SERVE, cwd=tmp_path, LANGSMITH_API_KEY=KEY)
    [note] = [line for line in printed.splitlines() if line.startswith("LANGSMITH_API_KEY is set, but not used")]
    for way in ("--own-key", "GATEWAY_AUTH=server", "GATEWAY_CLIENT_TOKENS"):
        assert way in note
    assert KEY not in printed


def test_start_says_which_clients_use_the_gateways_key() -> None:
    assert "the gateway's (LANGSMITH_API_KEY), for every client" in lines(**OWN, GATEWAY_ALLOW_ANONYMOUS="true")
    with_tokens = lines(**OWN, GATEWAY_CLIENT_TOKENS="token-of-a-client")
    assert "the gateway's (LANGSMITH_API_KEY), for clients with a token of GATEWAY_CLIENT_TOKENS" in with_tokens
    assert "token-of-a-client" not in with_tokens
    assert "not used" not in with_tokens


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("gateway.internal", "http://gateway.internal:8000/"),
        ("0.0.0.0", "http://127.0.0.1:8000/ (on all addresses of this machine)"),
        ("::", "http://[::1]:8000/ (on all addresses of this machine)"),
    ],
)
def test_start_shows_a_url_that_a_browser_can_open(host: str, url: str) -> None:
    assert re.search(rf"dashboard +{re.escape(url)}$", lines(host), re.MULTILINE)
