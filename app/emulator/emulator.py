"""The emulator: authentication, and the routes of both versions of the API."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import UUID

import orjson

from app.emulator import gate, timestamps
from app.emulator.behaviour import Behaviour
from app.emulator.cursors import Cursor, fingerprint
from app.emulator.errors import ApiError, EdgeError
from app.emulator.fault_injection import FaultInjectingApp, RecordedRequest, Response, has_statistics
from app.emulator.listing import Ranked, filter_sessions, is_after, sort_sessions
from app.emulator.params import SessionParams, SessionsParams
from app.emulator.params_v2 import SessionParamsV2, SessionsParamsV2
from app.emulator.query import AGENTS, SessionsQuery, StatsQuery
from app.emulator.rows import render_row
from app.emulator.rows_v2 import render_row_v2
from app.emulator.session import Session
from app.emulator.statistics import STATISTICS, Statistics
from app.emulator.stats_selection import StatsSelection
from app.emulator.workspace import Workspace

WORKSPACES: Mapping[str, int] = {"demo": 240, "demo-2": 60}
"""The default API keys, with the number of sessions in the workspace of each."""

_MAX_PAGE_SIZE = 100


class Emulator(Behaviour, FaultInjectingApp):
    """An embedded LangSmith with generated data, as an ASGI app.

    Tests set the attributes of `Behaviour` to emulate variants of the real API, and those of `FaultInjectingApp` to
    see requests and to spoil responses.

    Args:
        seed: The same seed and the same first time of the clock generate the same data.
        clock: Returns the current time. The data is generated around its first result. Runs of the five days after it
            are generated too, and count as soon as the clock reaches them.
        workspaces: By API key, the number of sessions in its workspace.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        workspaces: Mapping[str, int] = WORKSPACES,
    ) -> None:
        Behaviour.__init__(self)
        FaultInjectingApp.__init__(self)
        self._clock = clock
        self._statistics = Statistics()
        self._rate_limit = gate.RateLimit()
        now = self.now()
        self.workspaces = {
            key: Workspace.generate(key, seed=seed, size=size, now=now) for key, size in workspaces.items()
        }

    def now(self) -> int:
        """The current time as a timestamp."""
        return timestamps.from_datetime(self._clock())

    def respond(self, request: RecordedRequest) -> Response:
        try:
            gate.check_edge(request, self)
            body = self._route(request)
        except EdgeError as edge:
            return Response(edge.status, edge.body, {"content-type": "text/html"})
        except ApiError as error:
            is_invalid = error.status == 422
            status = self.invalid_status if is_invalid and self._is_v2(request) else error.status
            if is_invalid and not self.names_refused_parameters:
                error = ApiError(422, "A parameter is invalid.")
            return self._error_response(request, status, error)
        encode_cost = _number if self.costs_as_numbers or self._is_v2(request) else _text
        return Response(200, orjson.dumps(body, default=encode_cost), self._announcement(request))

    def error_response(self, request: RecordedRequest, status: int) -> Response:
        return self._error_response(request, status, ApiError(status, HTTPStatus(status).phrase))

    def latency_of(self, request: RecordedRequest) -> float:
        return self.latency + (self.stats_latency if has_statistics(request) else 0.0)

    def pause_statistics(self) -> asyncio.Event:
        """Pause the requests for statistics that arrive from now on, until the event is set."""
        return self.pause(has_statistics)

    def add_project(self, key: str, name: str) -> Session:
        """Add a tracing project that starts now, and has no runs, to the workspace of an API key."""
        self.workspaces[key], session = self.workspaces[key].with_project(name, started=self.now())
        return session

    def delete_session(self, key: str, identifier: UUID) -> None:
        """Delete a session from the workspace of an API key."""
        self.workspaces[key] = self.workspaces[key].without(identifier)

    def _error_response(self, request: RecordedRequest, status: int, error: ApiError) -> Response:
        if not self._is_v2(request):
            body = orjson.dumps({"detail": error.detail})
            return Response(status, body, {**self._announcement(request), **error.headers})
        body = orjson.dumps(error.problem(status=status, instance=request.path))
        return Response(status, body, {**error.headers, "content-type": self.problem_content_type})

    def _announcement(self, request: RecordedRequest) -> Mapping[str, str]:
        """The headers that announce the end of version 1."""
        is_deprecated = self.deprecated and "/sessions" in request.path and not self._is_v2(request)
        return gate.DEPRECATION if is_deprecated else {}

    def _is_v2(self, request: RecordedRequest) -> bool:
        return self.has_v2 and request.path.startswith("/api/v2/")

    def _route(self, request: RecordedRequest) -> Any:
        match request.method, request.path.removeprefix("/api/v1").split("/")[1:]:
            case "GET", ["info"]:
                return _INFO
            case "GET", ["sessions"]:
                return self._list_sessions(request)
            case "GET", ["sessions", identifier]:
                return self._get_session(request, identifier)
            case "GET", ["api", "v2", "sessions"] if self.has_v2:
                return self._list_sessions_v2(request)
            case "GET", ["api", "v2", "sessions", identifier] if self.has_v2:
                return self._get_session_v2(request, identifier)
            case _, ["api", "v2", "sessions"] | ["api", "v2", "sessions", _] if self.has_v2:
                raise ApiError(405, "Method Not Allowed")
            case _, ["info"] | ["sessions"] | ["sessions", _]:
                raise ApiError(405, "Method Not Allowed")
        raise ApiError(404, "Not Found")

    def _list_sessions(self, request: RecordedRequest) -> list[dict[str, Any]]:
        workspace = self._enter_v1(request)
        params = SessionsParams.from_query(request.params)
        limit = self._page_size("limit", params.limit)
        if params.sort_by == "runs_count" and self.refuses_run_count_order:
            message = "Input should be 'name', 'start_time' or another column"
            raise ApiError.invalid_parameter("sort_by", kind="enum", message=message, value=params.sort_by)
        query = params.sessions_query()
        if params.reference_free and self.leaves_out_agents:
            query = replace(query, types=query.types - AGENTS)
        ranked, selection = self._find(workspace, query, params.stats_query())
        # One row too far back, as if a session had come on top of the list after the first page.
        start = params.offset - 1 if self.duplicates_across_pages and params.offset else params.offset
        now = self.now()
        return [
            render_row(session, selection.values(session), now, self) for _, session in ranked[start : start + limit]
        ]

    def _get_session(self, request: RecordedRequest, identifier: str) -> dict[str, Any]:
        workspace = self._enter_v1(request)
        params = SessionParams.from_query(request.params)
        session = _session_of(workspace, identifier)
        selection = StatsSelection(params.stats_query(), self._statistics, self.now(), self)
        return render_row(session, selection.values(session), self.now(), self)

    def _list_sessions_v2(self, request: RecordedRequest) -> dict[str, Any]:
        workspace = self._enter(request, needs_workspace=self.v2_needs_workspace)
        params = SessionsParamsV2.from_query(request.params)
        size = min(self._page_size("page_size", params.page_size), self.page_limit or _MAX_PAGE_SIZE)
        query, now = params.sessions_query(), self.now()
        ranked, selection = self._find(workspace, query, params.stats_query())
        request_id = fingerprint(str(workspace.tenant_id), request.params if self.binds_cursors else ())
        rest, page_number = ranked, 0
        if params.cursor is not None:
            cursor = Cursor.decode(params.cursor, request=request_id, now=now, lifetime=self.cursor_lifetime)
            page_number = cursor.page
            rest = [each for each in ranked if is_after(each, cursor.key, cursor.id, descending=query.descending)]
            if self.sends_empty_page and page_number == 1 and rest:
                return {"items": [], "next_cursor": cursor.next_page()}
            # A page of one row would never come to an end with a row of the page before.
            if self.duplicates_across_pages and size > 1:
                rest = [each for each in ranked if str(each.session.id) == cursor.id] + rest
        page = rest[:size]
        items = [render_row_v2(session, selection.values(session), now, self) for _, session in page]
        if len(rest) <= size:
            return {"items": items, "next_cursor": None}
        key, session = page[-1]
        cursor = Cursor(key=key, id=str(session.id), request=request_id, page=page_number + 1, issued=now)
        return {"items": items, "next_cursor": cursor.encode()}

    def _get_session_v2(self, request: RecordedRequest, identifier: str) -> dict[str, Any]:
        workspace = self._enter(request, needs_workspace=self.v2_needs_workspace)
        params = SessionParamsV2.from_query(request.params)
        session = _session_of(workspace, identifier)
        selection = StatsSelection(params.stats_query(), self._statistics, self.now(), self)
        return render_row_v2(session, selection.values(session), self.now(), self)

    def _enter_v1(self, request: RecordedRequest) -> Workspace:
        workspace = self._enter(request)
        if self.v1_status is not None:
            raise ApiError(self.v1_status, HTTPStatus(self.v1_status).phrase)
        return workspace

    def _enter(self, request: RecordedRequest, *, needs_workspace: bool = False) -> Workspace:
        """The workspace of a request's credential, after the request was counted."""
        key, workspace = gate.authenticate(request.headers, self.workspaces, needs_workspace=needs_workspace)
        self._rate_limit.count(key, self.now(), self)
        return workspace

    def _find(
        self, workspace: Workspace, query: SessionsQuery, stats: StatsQuery
    ) -> tuple[list[Ranked], StatsSelection]:
        """All sessions of the list in their order, and the statistics that their rows get."""
        selection = StatsSelection(stats, self._statistics, self.now(), self)
        # Assumed (sort-without-statistics): sorting by a statistic needs neither include_stats nor its name in
        # stats_select.
        if self.sorting_needs_stats and not stats.include and query.sort_by in (*STATISTICS, "feedback"):
            message = "Sorting by a statistic requires include_stats"
            raise ApiError.invalid_parameter("sort_by", kind="value_error", message=message, value=query.sort_by)
        sessions = filter_sessions(workspace.sessions, query, self)
        return sort_sessions(sessions, query, self._statistics, selection.window), selection

    def _page_size(self, name: str, size: int) -> int:
        if size <= _MAX_PAGE_SIZE or self.clamps_page_size:
            return min(size, _MAX_PAGE_SIZE)
        message = f"Input should be less than or equal to {_MAX_PAGE_SIZE}"
        raise ApiError.invalid_parameter(name, kind="less_than_equal", message=message, value=str(size))


_INFO = {
    "version": "0.15.0",
    "license_expiration_time": None,
    "batch_ingest_config": {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 20_971_520},
    "instance_flags": {},
}


def _session_of(workspace: Workspace, identifier: str) -> Session:
    try:
        session = workspace.session(UUID(identifier))
    except ValueError:
        error = {"type": "uuid_parsing", "loc": ["path", "session_id"], "msg": "Input should be a valid UUID"}
        raise ApiError(422, [error | {"input": identifier}]) from None
    if session is None:
        raise ApiError(404, "Session not found")
    return session


def _number(cost: Decimal) -> orjson.Fragment:
    return orjson.Fragment(_text(cost))


def _text(cost: Decimal) -> str:
    return format(cost, "f")
