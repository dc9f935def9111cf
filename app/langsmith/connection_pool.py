"""The connection pool: aiohttp's connections behind the interface of an httpx transport.

httpx's own transport loses a pool slot with each cancelled request; aiohttp's pool does not, and takes a fifth of the
CPU time. Requests go to the transport directly. `httpx.AsyncClient` would cost as much again, and would add redirects,
cookies, proxies and `~/.netrc`, none of which may take part in a request to LangSmith.
"""

import functools
import ssl
from typing import Final, Self

import aiohttp
import httpx
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

_SPARE_CONNECTIONS: Final = 8
"""Connections beyond the concurrency limit, so that no request waits for the pool while another one is being closed."""
_MAX_HEADER_BYTES: Final = 16384


def create_connection_pool(concurrency: int) -> httpx.AsyncBaseTransport:
    """A pool for `concurrency` requests in flight. Certificates are verified."""
    return AiohttpTransport(
        verify=_tls_context(),
        client=lambda: aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency + _SPARE_CONNECTIONS, ssl=_tls_context()),
            # A cookie that was set under one tenant's key must not be sent with another's.
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=ReasonlessResponse,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
        ),
    )


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """One context for all pools of the process, because reading the certificate authorities takes 15 ms.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` name other authorities, for a LangSmith behind a private one.
    """
    return httpx.create_ssl_context()


class ReasonlessResponse(aiohttp.ClientResponse):
    """A response without its reason phrase.

    httpx-aiohttp raises an error, and loses the connection, if the phrase is not UTF-8. `start` is called by aiohttp
    itself and not documented for overriding, so pyproject.toml pins aiohttp's minor version. If aiohttp stops calling
    it, only responses with such a phrase fail, and a test says so.
    """

    async def start(self, connection: Connection) -> Self:
        await super().start(connection)
        self.reason = None
        return self
