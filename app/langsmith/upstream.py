"""What the cache needs of LangSmith, whatever version of its API answers."""

from typing import Protocol

from app.credentials import Credential
from app.langsmith.call import UpstreamCall
from app.sessions.page import Page
from app.sessions.query import PageQuery


class Upstream(Protocol):
    """Fetches pages of sessions. `LangSmithClient` is the real one; `check` has one that only records queries."""

    async def fetch(self, query: PageQuery, credential: Credential, calls: list[UpstreamCall]) -> Page:
        """The page that the query asks for.

        Each request is appended to `calls` when it is made, so that it can be told of while it is in flight, and also
        when it fails. Raises a GatewayError.
        """

    def is_near_limit(self, scope: str) -> bool:
        """Whether little is left of the requests that LangSmith accepts for this credential scope."""
