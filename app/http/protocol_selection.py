"""Selects uvicorn's HTTP protocol class: GatewayProtocol, or uvicorn's own if its internals are not as expected.

`serve` passes the class to uvicorn. With `uvicorn app.main:app`, the app gives it to the server that runs it.
"""

import asyncio
import importlib
import inspect
import signal
import threading
from collections.abc import Iterator
from typing import Final

import uvicorn
from structlog.typing import FilteringBoundLogger

UVICORN_DEFAULT: Final = "auto"
"""uvicorn's name for the protocol class that uvicorn selects itself."""
_MODULE: Final = "uvicorn.protocols.http.httptools_impl"
_METHODS: Final = {
    "data_received": ["self", "data"],
    "on_message_begin": ["self"],
    "on_headers_complete": ["self"],
    "on_body": ["self", "body"],
    "on_message_complete": ["self"],
    "on_response_complete": ["self"],
    "shutdown": ["self"],
    "timeout_keep_alive_handler": ["self"],
    "_start_asgi_task": ["self", "cycle", "app"],
    "_unset_keepalive_if_required": ["self"],
}
"""Methods of uvicorn's protocol that GatewayProtocol calls or overrides, with their parameters."""
_ATTRIBUTES: Final = {
    "HttpToolsProtocol": {
        "access_log",
        "app_state",
        "config",
        "connections",
        "cycle",
        "expect_100_continue",
        "flow",
        "headers",
        "limit_concurrency",
        "parser",
        "pipeline",
        "root_path",
        "scope",
        "server_state",
        "tasks",
        "timeout_keep_alive_task",
        "transport",
    },
    "RequestResponseCycle": {
        "chunked_encoding",
        "disconnected",
        "expected_content_length",
        "keep_alive",
        "message_event",
        "more_body",
        "on_response",
        "response_complete",
        "response_started",
        "waiting_for_100_continue",
    },
    "FlowControl": {"write_paused"},
    "ServerState": {"default_headers"},
}
"""Attributes that GatewayProtocol uses, by the class in uvicorn's module whose constructor must set them."""


def select_http_protocol(log: FilteringBoundLogger) -> type[asyncio.Protocol] | str:
    """Value for uvicorn's option `http`. Logs one warning if it is not GatewayProtocol."""
    if unexpected := sorted(_unexpected_internals()):
        log.warning("fast_path_disabled", uvicorn=uvicorn.__version__, unexpected=unexpected)
        return UVICORN_DEFAULT
    from app.http.uvicorn_protocol import GatewayProtocol  # noqa: PLC0415 - fails where uvicorn has no such base class

    return GatewayProtocol


def use_in_running_server(log: FilteringBoundLogger) -> None:
    """Let the uvicorn server that runs this app use the selected class for the connections to come.

    Nothing changes with another server, outside the main thread, or if uvicorn's options chose another class.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)  # uvicorn's handler is a method of its server
    if not isinstance(server, uvicorn.Server) or threading.current_thread() is not threading.main_thread():
        return
    selected = server.config.http_protocol_class
    if (selected.__module__, selected.__name__) == (_MODULE, "HttpToolsProtocol"):
        protocol = select_http_protocol(log)
        if not isinstance(protocol, str):
            server.config.http_protocol_class = protocol


def _unexpected_internals() -> Iterator[str]:
    """Names of what is missing in this version of uvicorn, or has another shape."""
    try:
        module = importlib.import_module(_MODULE)
    except ImportError:
        yield _MODULE
        return
    protocol = getattr(module, "HttpToolsProtocol", None)
    for name, parameters in _METHODS.items():
        method = getattr(protocol, name, None)
        if not inspect.isfunction(method) or [*inspect.signature(method).parameters] != parameters:
            yield f"HttpToolsProtocol.{name}"
    for class_name, attributes in _ATTRIBUTES.items():
        # The names that a constructor assigns are among the names in its code.
        code = getattr(getattr(getattr(module, class_name, None), "__init__", None), "__code__", None)
        yield from (f"{class_name}.{name}" for name in attributes.difference(code.co_names if code else ()))
