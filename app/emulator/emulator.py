"""The emulator: authentication, the routes of the API, and behaviour that tests can switch."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from app.emulator import timestamps
from app.emulator.errors import ApiError
from app.emulator.fault_injection import FaultInjectingApp, RecordedRequest, Response
from app.emulator.filter_fields import RUN_FIELDS
from app.emulator.listing import compile_parameter, filter_sessions, sort_sessions
from app.emulator.params import SessionParams, SessionsParams
from app.emulator.session import Session
from app.emulator.statistics import FACETS, STATISTICS, RunWindow, Statistics
from app.emulator.timestamps import DAY, HOUR
from app.emulator.workspace import Workspace

WORKSPACES: Mapping[str, int] = {"demo": 240, "demo-2": 60}
"""The default API keys, with the number of sessions in the workspace of each."""


class Emulator(FaultInjectingApp):
    """An embedded LangSmith with generated data, as an ASGI app.

    Args:
        seed: The same seed and the same first time of the clock generate the same data.
        clock: Returns the current time. The data is generated around its first result. Runs of the five days after it
            are generated too, and count as soon as the clock reaches them.
        workspaces: By API key, the number of sessions in its workspace.

    Attributes that tests set to emulate variants of the real API:
        refuses_stats_select: Answer 422 to the parameter `stats_select`.
        leaves_out_unselected: Leave unselected statistics out of the rows, instead of sending null.
        costs_as_numbers: Send costs as JSON numbers, instead of strings.
        sends_newer_fields: Send fields that are not in the published specification, and that the gateway does not know.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        workspaces: Mapping[str, int] = WORKSPACES,
    ) -> None:
        super().__init__()
        self.refuses_stats_select = False
        self.leaves_out_unselected = False
        self.costs_as_numbers = False
        self.sends_newer_fields = True
        self._clock = clock
        self._statistics = Statistics()
        now = self.now()
        self.workspaces = {
            key: Workspace.generate(key, seed=seed, size=size, now=now) for key, size in workspaces.items()
        }

    def now(self) -> int:
        """The current time as a timestamp."""
        return timestamps.from_datetime(self._clock())

    def respond(self, request: RecordedRequest) -> Response:
        try:
            return self._json_response(200, self._route(request))
        except ApiError as error:
            return self._json_response(error.status, {"detail": error.detail})

    def _route(self, request: RecordedRequest) -> Any:
        match request.method, request.path.removeprefix("/api/v1").split("/")[1:]:
            case "GET", ["info"]:
                return _INFO
            case "GET", ["sessions"]:
                return self._list_sessions(request)
            case "GET", ["sessions", identifier]:
                return self._get_session(request, identifier)
            case _, ["info"] | ["sessions"] | ["sessions", _]:
                raise ApiError(405, "Method Not Allowed")
        raise ApiError(404, "Not Found")

    def _list_sessions(self, request: RecordedRequest) -> list[dict[str, Any]]:
        workspace = self._authenticate(request.headers)
        params = SessionsParams.from_query(request.params)
        if params.stats_select and self.refuses_stats_select:
            raise ApiError.invalid_parameter(
                "stats_select",
                kind="extra_forbidden",
                message="Extra inputs are not permitted",
                value=list(params.stats_select),
            )
        window = self._window(params.stats_start_time, params.stats_filter, approximate=params.use_approx_stats)
        sessions = sort_sessions(filter_sessions(workspace.sessions, params), params, self._statistics, window)
        selected = (params.stats_select or STATISTICS) if params.include_stats else ()
        # Assumed: facets need no include_stats.
        names = [*selected, *(FACETS if params.facets else ())]
        leaves_out = self.leaves_out_unselected and params.include_stats
        return [
            self._row(session, window, names, leaves_out=leaves_out)
            for session in sessions[params.offset : params.offset + params.limit]
        ]

    def _get_session(self, request: RecordedRequest, identifier: str) -> dict[str, Any]:
        workspace = self._authenticate(request.headers)
        params = SessionParams.from_query(request.params)
        session = workspace.session(_parse_path_id(identifier))
        if session is None:
            raise ApiError(404, "Session not found")
        window = self._window(params.stats_start_time)
        return self._row(session, window, STATISTICS if params.include_stats else ())

    def _authenticate(self, headers: Mapping[str, str]) -> Workspace:
        key, tenant = headers.get("x-api-key"), headers.get("x-tenant-id")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if key is None and scheme.lower() == "bearer":
            key = bearer
            # Assumed: an organization id selects the only workspace that the key has in the emulator.
            if tenant is None and "x-organization-id" not in headers:
                raise ApiError(403, "This credential spans workspaces: pick one with X-Tenant-ID")
        workspace = self.workspaces.get(key) if key else None
        if workspace is None:
            raise ApiError(401, "Invalid token")
        if tenant is not None and _parse_header_id(tenant) != workspace.tenant_id:
            raise ApiError(403, "Forbidden")
        return workspace

    def _window(self, since: datetime | None, run_filter: str | None = None, *, approximate: bool = False) -> RunWindow:
        now = self.now()
        start = None if since is None else timestamps.from_datetime(since)
        # Assumed: a start that is too early is refused, not moved.
        if start is not None and start < now - 31 * DAY:
            raise ApiError.invalid_parameter(
                "stats_start_time", kind="value_error", message="Must be at most 31 days back", value=str(since)
            )
        return RunWindow(
            # Assumed: without a start, every run up to now counts.
            since=start,
            # Assumed: approximate statistics are those of the last full hour.
            until=now // HOUR * HOUR if approximate else now,
            filter=run_filter,
            matches=compile_parameter("stats_filter", run_filter, RUN_FIELDS),
        )

    def _row(
        self, session: Session, window: RunWindow, names: Collection[str], *, leaves_out: bool = False
    ) -> dict[str, Any]:
        """The row of a session with the statistics and facets in `names`."""
        row = session.columns(self.now())
        if self.sends_newer_fields:
            row |= session.newer_columns(self.now())
        # Assumed: an unselected statistic is in the row, and null.
        row |= {name: None for name in (*STATISTICS, *FACETS) if not (leaves_out and name in STATISTICS)}
        return row | self._statistics.compute(session, window, names)

    def _json_response(self, status: int, body: Any) -> Response:
        return Response(status, orjson.dumps(body, default=self._encode_cost))

    def _encode_cost(self, cost: Decimal) -> float | str:
        return float(cost) if self.costs_as_numbers else format(cost, "f")


_INFO = {
    "version": "0.15.0",
    "license_expiration_time": None,
    "batch_ingest_config": {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 20_971_520},
    "instance_flags": {},
}


def _parse_header_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ApiError(401, "UUID header value was not a valid UUID") from None


def _parse_path_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        error = {"type": "uuid_parsing", "loc": ["path", "session_id"], "msg": "Input should be a valid UUID"}
        raise ApiError(422, [error | {"input": text}]) from None
