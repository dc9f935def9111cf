"""The HTTP transport that LangSmith is asked over: httpx's interface, aiohttp's connections.

httpx's own transport loses a pool slot for each request that is cancelled; aiohttp's pool does not, and takes a fifth
of the CPU time. Requests go to the transport itself: `httpx.AsyncClient` would cost as much again as the transport, for
redirects, cookies, proxies and `~/.netrc`, none of which LangSmith is to be asked with.
"""

import functools
import ssl
from typing import Self

import aiohttp
import httpx
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport


def create_transport(concurrency: int) -> httpx.AsyncBaseTransport:
    """`concurrency`: requests that may be under way at once."""
    return AiohttpTransport(
        verify=_tls(),
        client=lambda: aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency + 8, ssl=_tls()),
            # A cookie set under one tenant's key must not be sent with another's.
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_ReasonlessResponse,
            max_line_size=16384,
            max_field_size=16384,
        ),
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading the authorities' certificates takes 15 ms, and they are the same for every client.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, for a LangSmith behind a private authority.
    """
    return httpx.create_ssl_context()


class _ReasonlessResponse(aiohttp.ClientResponse):
    """httpx-aiohttp raises, and loses the connection, where the words behind the status are not UTF-8."""

    async def start(self, connection: Connection) -> Self:
        await super().start(connection)
        self.reason = None
        return self
