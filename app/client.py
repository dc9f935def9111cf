"""The HTTP client that LangSmith is asked with: httpx, over a transport that survives cancelled requests.

httpx's own transport loses a pool slot for each request that is cancelled; aiohttp's pool does not. Proxy variables of
the environment and `~/.netrc` are not read, redirects not followed, cookies not kept.
"""

import functools
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, Self

import aiohttp
import httpx
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from app import __version__

_USER_AGENT: Final = f"sessions-gateway/{__version__}"


def create_client(concurrency: int) -> httpx.AsyncClient:
    """`concurrency`: requests that may be under way at once."""
    transport = AiohttpTransport(
        verify=_tls(),
        client=lambda: aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency + 8, ssl=_tls()),
            # A cookie set under one tenant's key must not be sent with another's.
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_WithoutReason,
            max_line_size=16384,
            max_field_size=16384,
        ),
    )
    return httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={"accept": "application/json", "accept-encoding": "gzip", "user-agent": _USER_AGENT},
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading the authorities' certificates takes 15 ms, and they are the same for every client.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, for a LangSmith behind a private authority.
    """
    return httpx.create_ssl_context()


class _WithoutReason(aiohttp.ClientResponse):
    """httpx-aiohttp raises, and loses the connection, where the words behind the status are not UTF-8."""

    async def start(self, connection: Connection) -> Self:
        await super().start(connection)
        self.reason = None
        return self
