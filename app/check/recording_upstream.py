"""The upstream of a dry run: it records requests, and answers each with as many empty sessions as it asks for."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from app.cache.explain import FieldTrace
from app.check.report import PLACEHOLDER_END, PLACEHOLDER_START, PlannedRequest, insert_placeholders
from app.credentials import Credential
from app.langsmith.api_version import ApiVersion, Params
from app.langsmith.call import UpstreamCall
from app.langsmith.upstream import Upstream
from app.sessions.page import Page
from app.sessions.query import MAX_LIMIT, PageQuery
from app.sessions.row import decode_rows

NOW: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""The time at which operations run. It is so far off that a time near it must have been computed from it."""
_NEAR_NOW: Final = datetime(8000, 1, 1, tzinfo=UTC)
_UUID_NAMESPACE: Final = uuid.UUID(int=0)
_TENANT_ID: Final = str(_UUID_NAMESPACE)
_ID_PARAM: Final = "id"


class RecordingUpstream(Upstream):
    """An `Upstream` without a network: records each request, and returns a full page of sessions.

    Args:
        api: The version of LangSmith's API.
        base_url: LangSmith's URL; only the path of a request is recorded.
        placeholders: By example value of a variable, the placeholder to record in its place.
        clock: Monotonic seconds.
    """

    tells_whether_rows_follow = False

    def __init__(
        self, api: ApiVersion, base_url: str, placeholders: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        self._recorded: list[tuple[UpstreamCall, PlannedRequest]] = []
        self._api = api
        self._path = api.url(base_url).path
        self._placeholders = placeholders
        self._clock = clock
        self._returned_ids: set[str] = set()

    @property
    def requests(self) -> tuple[PlannedRequest, ...]:
        """The requests so far, in the order in which they came."""
        return tuple(request for _, request in self._recorded)

    def requests_of(self, traces: Iterable[FieldTrace]) -> tuple[PlannedRequest, ...]:
        """Those of the requests that the root fields with these traces waited for."""
        calls = [call for trace in traces for call in trace.calls]
        return tuple(request for call, request in self._recorded if any(call is each for each in calls))

    def is_near_limit(self, _scope: str) -> bool:
        return False

    async def fetch(self, query: PageQuery, _credential: Credential, calls: list[UpstreamCall]) -> Page:
        self._api.check(query)
        params = self._api.params(query)
        call = UpstreamCall(self._path, params, status=200, attempts=1)
        calls.append(call)
        self._recorded.append((call, PlannedRequest(self._path, tuple(self._with_placeholders(params)))))
        # The request stays in flight for a moment, so that other fields of the operation join it as they would.
        await asyncio.sleep(0.001)
        ids = query.ids
        if not ids:
            ids = [_session_id(query, query.offset + row) for row in range(query.limit)]
            self._returned_ids.update(ids)
        body = json.dumps([{"id": each, "tenant_id": _TENANT_ID} for each in ids[: query.limit]]).encode()
        return Page.from_rows(
            decode_rows(body),
            query,
            statistics=query.settled_statistics(),
            at=self._clock(),
            body_bytes=len(body),
        )

    def _with_placeholders(self, params: Params) -> Iterator[tuple[str, str]]:
        """The parameters, with all ids of sessions that were returned before replaced by one placeholder."""
        row_ids = [pair for pair in params if pair[0] == _ID_PARAM and pair[1] in self._returned_ids]
        for pair in params:
            if pair not in row_ids:
                yield pair[0], insert_placeholders(_relative_to_now(pair[1]), self._placeholders)
            elif pair == row_ids[0]:
                yield _ID_PARAM, f"{PLACEHOLDER_START}{self._describe_rows(len(row_ids))}{PLACEHOLDER_END}"

    def _describe_rows(self, count: int) -> str:
        if count == 1:
            return "the row above"
        return f"{count} of the rows above" if len(self._returned_ids) > MAX_LIMIT else f"the {count} rows above"


def _session_id(query: PageQuery, position: int) -> str:
    """Id of the session at a position: queries that select the same sessions in the same order get the same ids."""
    selection = (query.arguments, query.window if query.sorted_by_stat else ())
    return str(uuid.uuid5(_UUID_NAMESPACE, f"{selection}{position}"))


def _relative_to_now(value: str) -> str:
    """A placeholder such as `<now - P1D>` for a time that was computed from now; other values as they are."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return value
    is_computed = at.tzinfo is not None and at > _NEAR_NOW
    return f"{PLACEHOLDER_START}now - {msgspec.to_builtins(NOW - at)}{PLACEHOLDER_END}" if is_computed else value
