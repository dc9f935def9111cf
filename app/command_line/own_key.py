"""`serve --own-key`: the gateway's own key for whoever uses this machine, or for clients with a token.

Without tokens, every program that reaches the port gets the data of the key. So the port must be one of this machine,
and requests must be addressed to it by name: a web page whose DNS name points to 127.0.0.1 (DNS rebinding) is of the
same origin as the gateway for the browser, but its requests carry that name in `Host`.
"""

import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import SettingsError
from app.settings_errors import env_file_variables

_TOKENS: Final = "GATEWAY_CLIENT_TOKENS"
_LOOPBACK_ONLY: Final = "_SESSIONS_GATEWAY_LOOPBACK_ONLY"
"""Environment variable that tells worker processes to refuse other hosts."""


def is_loopback(host: str) -> bool:
    """Whether a host name or an IP address stands for this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@contextmanager
def own_key_environment(host: str) -> Iterator[None]:
    """Set the settings of `--own-key` in the environment, which worker processes inherit.

    `host`: the address that `serve` listens on. Raises SettingsError if other machines could use the key.
    """
    variables = {"GATEWAY_AUTH": "server"}
    if not {**env_file_variables(), **os.environ}.get(_TOKENS):
        if not is_loopback(host):
            raise SettingsError(
                f"--own-key: on the address {host}, other machines could use the key. Listen on 127.0.0.1, or set "
                f"{_TOKENS} to the tokens that clients must send."
            )
        variables |= {"GATEWAY_ALLOW_ANONYMOUS": "true", _LOOPBACK_ONLY: "1"}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def with_loopback_hosts_only(app: ASGIApp) -> ASGIApp:
    """The app, behind LoopbackHostMiddleware if `own_key_environment` is active without tokens."""
    return LoopbackHostMiddleware(app) if _LOOPBACK_ONLY in os.environ else app


class LoopbackHostMiddleware:
    """Refuses requests whose `Host` is not a name of this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_addressed_to_loopback(scope):
            refusal = PlainTextResponse("This gateway serves this machine only: open it as localhost.", 421)
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_addressed_to_loopback(scope: Scope) -> bool:
    hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    try:
        return len(hosts) == 1 and is_loopback(urlsplit(f"//{hosts[0]}").hostname or "")
    except ValueError:
        return False
