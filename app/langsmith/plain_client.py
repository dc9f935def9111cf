"""PlainClient: single requests whose answers are handed over as they are, for the probes of `app/doctor`.

Its requests have the User-Agent and the time-outs of those of the stack. But it has connections of its own, and none of
the layers: a probe wants to see the
status and the headers that the layers translate, and is sent once.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from app.errors import UpstreamTimeoutError
from app.langsmith.bounded_body import read_bounded_body
from app.langsmith.connection_pool import create_connection_pool
from app.langsmith.error_mapping import map_transport_error
from app.langsmith.failed_attempt import FailedAttemptError
from app.langsmith.http_message import HttpUrl
from app.langsmith.http_transport import create_request
from app.langsmith.retry_after import parse_retry_after
from app.resilience.clock import Clock

_HEADERS: Final = ("content-type", "deprecation", "sunset", "retry-after")


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """An answer of LangSmith, whatever its status.

    headers: those that say something about the API, by lower-case name.
    body: decompressed, at most 32 MiB; empty if a failure's body cannot be read.
    seconds: from sending the request to the end of the answer.
    retry_after: seconds that LangSmith asks to wait; None if it does not say.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    seconds: float
    retry_after: float | None


class PlainClient:
    """Sends requests.

    timeout_seconds: bound of a whole request.
    clock: monotonic seconds.
    """

    def __init__(self, *, timeout_seconds: float, clock: Clock) -> None:
        self._connections = create_connection_pool(1)
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    async def get(
        self, url: httpx.URL, params: Sequence[tuple[str, str]], credential_headers: Mapping[str, str]
    ) -> PlainAnswer:
        """Send one request, and read its answer.

        Raises FailedAttemptError if there is none, and UpstreamMalformedError for a body that cannot be read.
        """
        started_at = self._clock()
        try:
            request = create_request(HttpUrl.of(url), params, credential_headers, self._timeout_seconds)
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._connections.get(request)
                try:
                    body = await read_bounded_body(response)
                finally:
                    response.stream.close()
        except TimeoutError as exc:
            error = UpstreamTimeoutError("LangSmith took too long to answer.")
            raise FailedAttemptError(error, reason="timeout", is_transient=True) from exc
        except httpx.HTTPError as exc:
            raise map_transport_error(exc) from exc
        return PlainAnswer(
            response.status,
            {name: response.headers[name] for name in _HEADERS if name in response.headers},
            body,
            self._clock() - started_at,
            parse_retry_after(response.headers),
        )

    async def aclose(self) -> None:
        await self._connections.aclose()
