"""The signature that all layers of the upstream stack share: a request goes down, a response or an error comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.credentials import Credential
from app.langsmith.api_version import ApiVersion
from app.langsmith.call import UpstreamCall
from app.langsmith.http_message import HttpUrl
from app.sessions.query import PageQuery


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One request for a page, which a layer may send several times.

    credential: whose request it is.
    query: what is asked for, in the gateway's own terms.
    api: the version of the API that is asked.
    url: the list of sessions, without a query string.
    params: the query string, as the version spells it.
    selected_statistics_count: number of statistics that are selected by name.
    deadline: time of the event loop's clock, in seconds, at which the client cancels the request.
    call: the record of the request, which the layers update.
    """

    credential: Credential
    query: PageQuery
    api: ApiVersion
    url: HttpUrl
    params: Sequence[tuple[str, str]]
    selected_statistics_count: int
    deadline: float
    call: UpstreamCall

    @property
    def tenant(self) -> str:
        """Who is judged by the request, and shares the places with others: the client, or else its credential."""
        return self.credential.client or self.credential.scope


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A successful response. `body`: decompressed, at most 32 MiB."""

    body: bytes


class UpstreamTransport(Protocol):
    """One layer of the stack. A layer takes the next one in its constructor and adds one concern."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send the request and return the successful response.

        Raises FailedAttemptError if the attempt failed, a GatewayError if the gateway refuses the request or cannot
        read the answer, and StatsSelectRefusedError if LangSmith refuses to select statistics by name.
        """
