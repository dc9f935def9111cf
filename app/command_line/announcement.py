"""What `serve` says at the start: where to look, whose data it shows, with whose key, and how to stop it."""

import ipaddress
from collections.abc import Iterator
from typing import Final

from app import __version__
from app.settings import Settings

_LABEL_WIDTH: Final = 11


def announcement(host: str, port: int, settings: Settings | None, workers: int) -> Iterator[str]:
    """Lines for people who start the gateway.

    Args:
        host: the address that the gateway listens on.
        port: its port.
        settings: the settings in force; None for the demo.
        workers: number of worker processes.
    """
    processes = f", {workers} workers" if workers > 1 else ""
    shown, is_every_address = _openable(host)
    base_url = f"http://{shown}:{port}"
    yield f"sessions-gateway {__version__}{processes}"
    for label, text in {
        "dashboard": f"{base_url}/" + (" (on all addresses of this machine)" if is_every_address else ""),
        "GraphQL": f"{base_url}/graphql",
        "LangSmith": settings.langsmith_endpoint if settings else "none: generated data, as --demo asks",
        "API key": _whose_key(settings),
        "to stop": "Ctrl+C, or SIGTERM",
    }.items():
        yield f"  {label:<{_LABEL_WIDTH}}{text}"
    if settings and settings.auth == "passthrough" and settings.langsmith_api_key:
        yield (
            "LANGSMITH_API_KEY is set, but not used: each client sends a key of its own. To serve with this key, start "
            "`serve --own-key` on this machine, or set GATEWAY_AUTH=server and GATEWAY_CLIENT_TOKENS."
        )


def _openable(host: str) -> tuple[str, bool]:
    """The host as a browser on this machine can open it, and whether it stands for all addresses of the machine."""
    try:
        address = ipaddress.ip_address(host or ipaddress.IPv4Address(0))
    except ValueError:
        return host, False  # a name
    if address.is_unspecified:
        return ("127.0.0.1" if address.version == 4 else "[::1]"), True
    return (host if address.version == 4 else f"[{host}]"), False


def _whose_key(settings: Settings | None) -> str:
    if settings is None:
        return "none needed"
    if settings.auth == "passthrough":
        return "each client's own, in the header X-API-Key"
    clients = "clients with a token of GATEWAY_CLIENT_TOKENS" if settings.client_tokens else "every client"
    return f"the gateway's (LANGSMITH_API_KEY), for {clients}"
