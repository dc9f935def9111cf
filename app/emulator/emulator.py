"""The emulator: who may ask, what the paths answer, and the habits that tests may change."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from . import moment
from .fields import RUN_FIELDS
from .listing import filter_claim, matching, ordered
from .moment import DAY, HOUR
from .params import SessionParams, SessionsParams
from .refusal import RefusalError
from .session import Session
from .statistics import FACETS, STATISTICS, Statistics, Window
from .traffic import Answer, Recorded, Traffic
from .workspace import Workspace

WORKSPACES: Mapping[str, int] = {"demo": 240, "demo-2": 60}


class Emulator(Traffic):
    """A LangSmith of its own, whose data follows from `seed` and from what `clock` says first.

    `workspaces` gives for each key how many sessions its workspace has. The data is laid
    around the first moment; runs of the five days after it count once `clock` gets there.
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
        self._clock = clock
        self._statistics = Statistics()
        now = self.now()
        self.workspaces = {
            key: Workspace.made_up(key, seed=seed, size=size, now=now) for key, size in workspaces.items()
        }

    def now(self) -> int:
        return moment.from_datetime(self._clock())

    def answer(self, request: Recorded) -> Answer:
        try:
            return self._json(200, self._routed(request))
        except RefusalError as refusal:
            return self._json(refusal.status, {"detail": refusal.detail})

    def _routed(self, request: Recorded) -> Any:
        match request.method, request.path.removeprefix("/api/v1").split("/")[1:]:
            case "GET", ["info"]:
                return _INFO
            case "GET", ["sessions"]:
                return self._sessions(request)
            case "GET", ["sessions", identifier]:
                return self._session(request, identifier)
            case _, ["info"] | ["sessions"] | ["sessions", _]:
                raise RefusalError(405, "Method Not Allowed")
        raise RefusalError(404, "Not Found")

    def _sessions(self, request: Recorded) -> list[dict[str, Any]]:
        workspace = self._workspace(request.headers)
        params = SessionsParams.from_query(request.params)
        if params.stats_select and self.refuses_stats_select:
            reason, sent = "Extra inputs are not permitted", list(params.stats_select)
            raise RefusalError.of_parameter("stats_select", reason=reason, kind="extra_forbidden", value=sent)
        window = self._window(params.stats_start_time, params.stats_filter, approximate=params.use_approx_stats)
        found = ordered(matching(workspace.sessions, params), params, self._statistics, window)
        selected = (params.stats_select or STATISTICS) if params.include_stats else ()
        # Assumed: facets need no include_stats.
        wanted = [*selected, *(FACETS if params.facets else ())]
        leaves_out = self.leaves_out_unselected and params.include_stats
        return [
            self._row(session, window, wanted, leaves_out=leaves_out)
            for session in found[params.offset : params.offset + params.limit]
        ]

    def _session(self, request: Recorded, identifier: str) -> dict[str, Any]:
        workspace = self._workspace(request.headers)
        params = SessionParams.from_query(request.params)
        session = workspace.session(_path_identifier(identifier))
        if session is None:
            raise RefusalError(404, "Session not found")
        window = self._window(params.stats_start_time)
        return self._row(session, window, STATISTICS if params.include_stats else ())

    def _workspace(self, headers: Mapping[str, str]) -> Workspace:
        key, tenant = headers.get("x-api-key"), headers.get("x-tenant-id")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if key is None and scheme.lower() == "bearer":
            key = bearer
            # Assumed: an organisation stands for the one workspace that the key has here.
            if tenant is None and "x-organization-id" not in headers:
                raise RefusalError(403, "This credential spans workspaces: pick one with X-Tenant-ID")
        workspace = self.workspaces.get(key) if key else None
        if workspace is None:
            raise RefusalError(401, "Invalid token")
        if tenant is not None and _header_identifier(tenant) != workspace.tenant_id:
            raise RefusalError(403, "Forbidden")
        return workspace

    def _window(self, since: datetime | None, run_filter: str | None = None, *, approximate: bool = False) -> Window:
        now = self.now()
        begin = None if since is None else moment.from_datetime(since)
        # Assumed: an earlier start is refused rather than moved.
        if begin is not None and begin < now - 31 * DAY:
            reason, sent = "Must be at most 31 days back", str(since)
            raise RefusalError.of_parameter("stats_start_time", reason=reason, kind="value_error", value=sent)
        return Window(
            # Assumed: without a start, every run up to now counts.
            since=begin,
            # Assumed: approximate statistics are those of the last full hour.
            until=now // HOUR * HOUR if approximate else now,
            filter=run_filter,
            chosen=filter_claim("stats_filter", run_filter, RUN_FIELDS),
        )

    def _row(
        self, session: Session, window: Window, wanted: Collection[str], *, leaves_out: bool = False
    ) -> dict[str, Any]:
        row = session.columns(self.now())
        # Assumed: a statistic that was not asked for is null, and there.
        row |= {name: None for name in (*STATISTICS, *FACETS) if not (leaves_out and name in STATISTICS)}
        return row | self._statistics.of(session, window, wanted)

    def _json(self, status: int, body: Any) -> Answer:
        return Answer(status, orjson.dumps(body, default=self._encoded_cost))

    def _encoded_cost(self, cost: Decimal) -> float | str:
        return float(cost) if self.costs_as_numbers else format(cost, "f")


_INFO = {
    "version": "0.15.0",
    "license_expiration_time": None,
    "batch_ingest_config": {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 20_971_520},
    "instance_flags": {},
}


def _header_identifier(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise RefusalError(401, "UUID header value was not a valid UUID") from None


def _path_identifier(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        error = {"type": "uuid_parsing", "loc": ["path", "session_id"], "msg": "Input should be a valid UUID"}
        raise RefusalError(422, [error | {"input": text}]) from None
