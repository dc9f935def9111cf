"""The layer below the one under test: each request meets the next scripted outcome, and the last outcome repeats."""

import asyncio

import httpx

from app.credentials import Credential
from app.langsmith.call import UpstreamCall
from app.langsmith.http_message import HttpUrl
from app.langsmith.transport import UpstreamRequest, UpstreamResponse
from app.langsmith.v1 import V1
from app.sessions.query import PageQuery

RESPONSE = UpstreamResponse(b"[]")


class Hanging:
    """An outcome: the request is in flight until it is cancelled."""


class ScriptedTransport:
    """Implements `UpstreamTransport`. Records the credential scope of each request that reaches it."""

    def __init__(self, *outcomes: UpstreamResponse | BaseException | Hanging) -> None:
        self.outcomes = list(outcomes) or [RESPONSE]
        self.scopes: list[str] = []
        self.arrived = asyncio.Event()

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        self.scopes.append(request.credential.scope)
        self.arrived.set()
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Hanging):
            await asyncio.Event().wait()
        if isinstance(outcome, BaseException):
            raise outcome
        assert isinstance(outcome, UpstreamResponse)
        return outcome


def upstream_request(scope: str = "a", *, seconds_left: float = 60.0) -> UpstreamRequest:
    """A request of this credential scope that may take so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds_left
    call = UpstreamCall("/api/v1/sessions", ())
    return UpstreamRequest(
        Credential(scope, {}),
        PageQuery(limit=1),
        V1(),
        HttpUrl.of(httpx.URL("http://langsmith/api/v1/sessions")),
        params=(),
        selected_statistics_count=0,
        deadline=deadline,
        call=call,
    )
