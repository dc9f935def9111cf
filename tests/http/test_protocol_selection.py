"""The gateway's own protocol is used only on a uvicorn whose internals are as expected."""

import asyncio
import io
import json
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.emulator.server import serving_app
from app.http.protocol_selection import _ATTRIBUTES, UVICORN_DEFAULT, select_http_protocol
from app.http.uvicorn_protocol import GatewayProtocol
from app.main import create_app
from app.observability.log import create_log
from app.settings import Settings
from tests.conftest import create_http_client
from tests.http.test_request_framing import KEY, chunked
from tests.support.raw_client import BODY, Connection, request
from tests.test_command_line import STOPPED, UVICORN, running


def select() -> tuple[Any, list[dict[str, Any]]]:
    """The selected protocol, and the log lines of the selection."""
    out = io.StringIO()
    protocol = select_http_protocol(create_log("json", "debug", out))
    return protocol, [json.loads(line) for line in out.getvalue().splitlines()]


def test_protocol_of_the_gateway_is_selected_on_the_installed_uvicorn_without_a_warning() -> None:
    assert select() == (GatewayProtocol, [])


def _rename_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(HttpToolsProtocol, "_unset_keepalive_if_required")


def _add_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_response_complete(self: HttpToolsProtocol, status: int) -> None: ...

    monkeypatch.setattr(HttpToolsProtocol, "on_response_complete", on_response_complete)


def _drop_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(self: RequestResponseCycle) -> None: ...

    monkeypatch.setattr(RequestResponseCycle, "__init__", init)


def _drop_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(httptools_impl, "FlowControl")


def _drop_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn.protocols.http.httptools_impl", None)


CHANGES = [
    (_rename_method, ["HttpToolsProtocol._unset_keepalive_if_required"]),
    (_add_parameter, ["HttpToolsProtocol.on_response_complete"]),
    (_drop_attribute, sorted(f"RequestResponseCycle.{name}" for name in _ATTRIBUTES["RequestResponseCycle"])),
    (_drop_class, ["FlowControl.write_paused"]),
    (_drop_module, ["uvicorn.protocols.http.httptools_impl"]),
]


@pytest.mark.parametrize(("change", "unexpected"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_uvicorn_default_protocol_is_selected_with_one_warning_if_internals_changed(
    monkeypatch: pytest.MonkeyPatch, change: Any, unexpected: list[str]
) -> None:
    change(monkeypatch)
    protocol, lines = select()
    assert protocol == UVICORN_DEFAULT
    (line,) = lines
    assert (line["level"], line["event"]) == ("warning", "fast_path_disabled")
    assert (line["uvicorn"], line["unexpected"]) == (uvicorn.__version__, unexpected)


async def test_gateway_answers_repeated_requests_over_the_uvicorn_default_protocol(upstream_url: str) -> None:
    app = create_app(Settings.load(langsmith_endpoint=upstream_url), log=create_log("json", "debug", io.StringIO()))
    async with (
        app.router.lifespan_context(app) as state,
        serving_app(app, state, http=UVICORN_DEFAULT, ws="none") as url,
        create_http_client(url, "demo") as client,
    ):
        query = {"query": "{ sessions(first: 2) { nodes { id } } }"}
        answers = [await client.post("/graphql", json=query) for _ in range(4)]
        metrics = (await client.get("/metrics")).text
    assert len({answer.content for answer in answers}) == 1
    assert 'gateway_executions_total{by="kept"} 3.0' in metrics


UPGRADE = request(BODY, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")


@pytest.mark.parametrize(("options", "chunks_are_read"), [((), True), (("--http", "h11"), False)])
async def test_plain_uvicorn_uses_the_protocol_of_the_gateway_unless_its_options_choose_another(
    tmp_path: Path, upstream_url: str, options: tuple[str, ...], chunks_are_read: bool
) -> None:
    with running(*UVICORN, *options, cwd=tmp_path, LANGSMITH_ENDPOINT=upstream_url) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server.url).port)
        connection = Connection(reader, writer)
        answer = await asyncio.wait_for(connection.request(chunked(BODY, KEY)), STOPPED)
        assert answer.status == (b"HTTP/1.1 200 OK" if chunks_are_read else b"HTTP/1.1 411 Length Required")
        if chunks_are_read:
            assert b'"nodes"' in (await connection.request(UPGRADE)).body
        writer.close()


async def test_plain_uvicorn_has_a_line_in_its_access_log_for_each_request(tmp_path: Path, upstream_url: str) -> None:
    with running(*UVICORN, cwd=tmp_path, LANGSMITH_ENDPOINT=upstream_url) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(server.url).port)
        connection = Connection(reader, writer)
        for _ in range(5):
            assert (await asyncio.wait_for(connection.request(request()), STOPPED)).status == b"HTTP/1.1 200 OK"
        writer.close()
        _, printed = await asyncio.to_thread(server.stopped, signal.SIGTERM)
    assert printed.count('"POST /graphql HTTP/1.1" 200') == 5
