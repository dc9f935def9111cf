"""The replaying protocol is used only on a uvicorn whose internals are as expected."""

import io
import json
import sys
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.emulator.server import serving_app
from app.http.protocol_selection import _ATTRIBUTES, UVICORN_DEFAULT, select_http_protocol
from app.http.uvicorn_protocol import ReplayProtocol
from app.main import create_app
from app.observability.log import create_log
from app.settings import Settings
from tests.conftest import create_http_client


def select() -> tuple[Any, list[dict[str, Any]]]:
    """The selected protocol, and the log lines of the selection."""
    out = io.StringIO()
    protocol = select_http_protocol(create_log("json", "debug", out))
    return protocol, [json.loads(line) for line in out.getvalue().splitlines()]


def test_replay_protocol_is_selected_on_the_installed_uvicorn_without_a_warning() -> None:
    assert select() == (ReplayProtocol, [])


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
    assert (line["level"], line["event"]) == ("warning", "replay_cache_disabled")
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
