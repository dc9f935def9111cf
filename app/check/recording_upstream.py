"""A LangSmith that has as many sessions as it is asked for, and remembers what it was asked."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from app.check.report import CLOSE, OPEN, PlannedRequest, standing
from app.credentials import Credential
from app.langsmith import v1
from app.langsmith.call import UpstreamCall
from app.sessions.page import Page
from app.sessions.query import MAX_LIMIT, PageQuery

NOW: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""When operations run, so far off that an instant near it was reckoned from it."""
_NEAR: Final = datetime(8000, 1, 1, tzinfo=UTC)
MADE_UP: Final = uuid.UUID(int=0)
_ID: Final = "id"


class RecordingUpstream:
    """Stands where `Upstream` does; has as many sessions as it is asked for, and remembers what it was asked."""

    def __init__(self, url: str, stands: Mapping[str, str], clock: Callable[[], float]) -> None:
        self.asked: list[PlannedRequest] = []
        self._path = "/" + url.split("/", 3)[3]
        self._stands = stands
        self._clock = clock
        self._rows: set[str] = set()

    def is_near_limit(self, _scope: str) -> bool:
        return False

    async def fetch(self, query: PageQuery, _credential: Credential, calls: list[UpstreamCall]) -> Page:
        params = v1.params(query)
        calls.append(UpstreamCall(self._path, params, status=200, attempts=1))
        self.asked.append(PlannedRequest(self._path, tuple(self._shown(params))))
        # Others that ask at the same time find it under way.
        await asyncio.sleep(0.001)
        ids = query.ids
        if not ids:
            ids = [_made_up(query, query.offset + each) for each in range(query.limit)]
            self._rows.update(ids)
        body = json.dumps([{"id": each, "tenant_id": str(MADE_UP)} for each in ids[: query.limit]]).encode()
        return Page.from_rows(
            v1.parse_rows(body, query),
            query,
            statistics=query.settled_statistics(),
            at=self._clock(),
            body_bytes=len(body),
        )

    def _shown(self, params: v1.Params) -> Iterator[tuple[str, str]]:
        above = [pair for pair in params if pair[0] == _ID and pair[1] in self._rows]
        for pair in params:
            if pair not in above:
                yield pair[0], standing(_relative(pair[1]), self._stands)
            elif pair == above[0]:
                yield _ID, f"{OPEN}{self._above(len(above))}{CLOSE}"

    def _above(self, number: int) -> str:
        if number == 1:
            return "the row above"
        return f"{number} of the rows above" if len(self._rows) > MAX_LIMIT else f"the {number} rows above"


def _made_up(query: PageQuery, position: int) -> str:
    """The id of the session there; the same wherever the same sessions are asked for."""
    which = (query.arguments, query.window if query.sorted_by_stat else ())
    return str(uuid.uuid5(MADE_UP, f"{which}{position}"))


def _relative(value: str) -> str:
    """Of an instant that was reckoned from now, how long ago that is."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return value
    is_near = at.tzinfo is not None and at > _NEAR
    return f"{OPEN}now - {msgspec.to_builtins(NOW - at)}{CLOSE}" if is_near else value
