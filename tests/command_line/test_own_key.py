"""`serve --own-key` serves the gateway's key on this machine, and to nobody else."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from app.__main__ import main
from app.command_line.own_key import is_loopback
from app.emulator import Emulator, serving_in_thread
from tests.test_command_line import SERVE, STOPPED, running

OWN_KEY = (*SERVE, "--own-key")
NAMES = '{"query": "{ sessions(first: 2) { nodes { name } } }"}'


@pytest.fixture
def upstream() -> Iterator[dict[str, str]]:
    """The environment of a gateway that has a key of its own."""
    with serving_in_thread(Emulator()) as url:
        yield {"LANGSMITH_ENDPOINT": url, "LANGSMITH_API_KEY": "demo"}


def post(url: str, **headers: str) -> httpx.Response:
    content_type = {"content-type": "application/json"}
    return httpx.post(url, content=NAMES, headers=content_type | headers, trust_env=False, timeout=STOPPED)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_own_key_shows_the_projects_to_this_machine_without_a_key(
    tmp_path: Path, upstream: dict[str, str], workers: str
) -> None:
    with running(*OWN_KEY, "--workers", workers, cwd=tmp_path, **upstream) as server:
        for _ in range(4):
            assert len(post(server.url).json()["data"]["sessions"]["nodes"]) == 2
        page = httpx.get(server.url.removesuffix("graphql"), trust_env=False, timeout=STOPPED)
        assert page.status_code == 200


def test_own_key_refuses_pages_whose_name_leads_to_this_machine(tmp_path: Path, upstream: dict[str, str]) -> None:
    """A page of evil.example that points to 127.0.0.1 later is of the same origin as the gateway, for a browser."""
    with running(*OWN_KEY, cwd=tmp_path, **upstream) as server:
        port = server.url.split(":")[2].split("/")[0]
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
            for _ in range(4):  # also once the head is known
                assert post(server.url, host=host).status_code == 200
        for host in (f"evil.example:{port}", "evil.example", f"127.0.0.1.evil.example:{port}", "", "["):
            refused = post(server.url, host=host, origin=f"http://{host}")
            assert refused.status_code == 421
            assert "nodes" not in refused.text


def test_own_key_listens_for_other_machines_with_tokens_only(tmp_path: Path, upstream: dict[str, str]) -> None:
    command = ["serve", "--own-key", "--port", "0", "--host", "0.0.0.0"]
    refused = CliRunner().invoke(main, command, env=upstream)
    assert refused.exit_code == 2
    assert refused.output == (
        "--own-key: on the address 0.0.0.0, other machines could use the key. Listen on 127.0.0.1, or set "
        "GATEWAY_CLIENT_TOKENS to the tokens that clients must send.\n"
    )
    (tmp_path / ".env").write_text("GATEWAY_CLIENT_TOKENS=one,two\n")
    with running(*OWN_KEY, "--host", "0.0.0.0", cwd=tmp_path, **upstream) as server:
        assert post(server.url).json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        allowed = post(server.url, authorization="Bearer two", host="gateway.internal")
        assert len(allowed.json()["data"]["sessions"]["nodes"]) == 2


def test_own_key_needs_the_key_and_excludes_the_demo(tmp_path: Path) -> None:
    printed = CliRunner().invoke(main, ["serve", "--own-key", "--port", "0"])
    assert (printed.exit_code, printed.output) == (2, "LANGSMITH_API_KEY: must be set with GATEWAY_AUTH=server\n")
    printed = CliRunner().invoke(main, ["serve", "--own-key", "--demo"])
    assert printed.exit_code == 2
    assert "choose one" in printed.output


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.2", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_only_names_and_addresses_of_this_machine_are_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
