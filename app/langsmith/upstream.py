"""The interface between the cache and any version of LangSmith's API."""

from typing import Protocol

from app.credentials import Credential
from app.langsmith.call import UpstreamCall
from app.sessions.page import Page
from app.sessions.query import PageQuery


class Upstream(Protocol):
    """Fetches pages of sessions. `LangSmithClient` asks LangSmith; the one of `app/check` only records the queries."""

    @property
    def tells_whether_rows_follow(self) -> bool:
        """Whether an answer says by itself if the list goes on, so that nobody has to ask for one row more."""

    async def fetch(self, query: PageQuery, credential: Credential, calls: list[UpstreamCall]) -> Page:
        """The page that the query asks for.

        Each request for the page is appended to `calls` before it is sent, so that Explain shows it while it is in
        flight and after it failed; one that only looks for the other version, when it has ended. Raises a GatewayError.
        """

    def is_near_limit(self, scope: str) -> bool:
        """Whether the scope has to wait soon: it is paused, or less than a fifth of the rate is left."""
