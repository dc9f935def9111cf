"""Workspaces of many tenants, and a double of LangSmith that serves them in virtual time.

Rows are copies of rows of `app.emulator`, with ids and names per tenant. Their numbers are stamps: the time of the
request to LangSmith that returned them. So the age of an answer is measured without trusting the cache.
"""

import asyncio
import enum
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import msgspec

from app.credentials import Credential
from app.emulator import Emulator, RecordedRequest
from app.langsmith.call import UpstreamCall
from app.langsmith.v1 import V1
from app.sessions import row
from app.sessions.fields import FACETS, FIELDS, STATS, Kind
from app.sessions.page import Page
from app.sessions.query import PageQuery, StatsWindow
from app.sessions.row import Row

_NOON: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
_STATISTICS: Final = STATS | FACETS
_WHOLE: Final = ("run_count", "total_tokens", "prompt_tokens", "completion_tokens")
_FRACTIONS: Final = ("latency_p50", "latency_p99", "first_token_p50", "first_token_p99", "error_rate", "streaming_rate")
STAMPED: Final = frozenset((*_WHOLE, *_FRACTIONS))
"""Statistics whose values are stamps. Among the columns, `test_run_number` is one."""
_FASTEST, _MEDIAN, _SLOWEST, _SPREAD = 0.3, 0.6, 2.0, 0.5
"""Log-normal latency of LangSmith: limits and median in seconds, and the standard deviation of its logarithm."""

CAUSE: ContextVar[tuple[str, str]] = ContextVar("CAUSE")
"""Kind of the view and the step of it that sends a request. Tasks inherit it from the code that starts them."""


def oldest_stamp(row: Row, statistics: Iterable[str]) -> float:
    """Time of the request to LangSmith that returned the oldest value. Raises ValueError for a missing statistic."""
    stamps = ["test_run_number", *STAMPED.intersection(statistics)]
    values: list[float | None] = [getattr(row, name) for name in stamps]
    present = [value for value in values if value is not None]
    if len(present) < len(stamps):
        raise ValueError("A requested statistic is missing from the answer.")
    return min(value if name in _FRACTIONS else value / 1e6 for name, value in zip(stamps, present, strict=True))


class Workspace:
    """The workspace of a tenant: tracing projects, and experiments on two datasets."""

    def __init__(self, seed: int, number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        self.credential = Credential(f"{number:032x}", {})
        self.projects = [_uuid(rng) for _ in range(rng.randint(8, 150))]
        self.experiments = {_uuid(rng): [_uuid(rng) for _ in range(rng.randint(3, 60))] for _ in range(2)}
        self._rows: dict[str, Row] = {}
        self._ids_by_arguments: dict[Any, list[str]] = {}
        self._tenant = UUID(_uuid(rng))

    def page(self, query: PageQuery, at: float) -> Page:
        ids = self._matching(query.arguments)[query.offset : query.offset + query.limit]
        statistics = query.settled_statistics()
        values = _stamps(statistics, at)
        rows: list[Row | None] = [self._row(each, statistics, values) for each in ids]
        return Page.from_rows(rows, query, statistics=statistics, at=at, body_bytes=_row_bytes(statistics) * len(rows))

    def _matching(self, arguments: Any) -> list[str]:
        """Ids of the sessions that the arguments of a query select, newest first."""
        if requested_ids := {value for name, value in arguments if name == "filter.ids"}:
            return [session_id for session_id in self._dataset_by_id if session_id in requested_ids]
        if arguments not in self._ids_by_arguments:
            ids = [session_id for session_id in self._dataset_by_id if all(self._conditions(session_id, arguments))]
            self._ids_by_arguments[arguments] = ids
        return self._ids_by_arguments[arguments]

    @cached_property
    def _dataset_by_id(self) -> dict[str, str]:
        """The dataset of each session ("" for a project), newest session first."""
        by_dataset = {"": self.projects, **self.experiments}
        return {session_id: dataset for dataset, ids in by_dataset.items() for session_id in ids}

    def _conditions(self, session_id: str, arguments: Any) -> Iterable[bool]:
        """For each argument, whether the session meets it."""
        dataset = self._dataset_by_id[session_id]
        for name, value in arguments:
            if name == "filter.referenceFree":
                yield (not dataset) == (value == "true")
            elif name == "filter.referenceDatasets":
                yield dataset == value
            elif name == "filter.nameContains":
                yield value in self._name(session_id)

    @staticmethod
    def _name(session_id: str) -> str:
        return f"project-{session_id[:8]}"

    def _row(self, session_id: str, statistics: frozenset[str], values: dict[str, Any]) -> Row:
        template = _TEMPLATES[int(session_id[:8], 16) % len(_TEMPLATES)]
        columns = self._rows.get(session_id)
        if columns is None:
            identity = {"id": session_id, "tenant_id": self._tenant, "name": self._name(session_id)}
            columns = msgspec.structs.replace(template, **(identity | dict.fromkeys(_STATISTICS)))
            self._rows[session_id] = columns
        unstamped = {name: getattr(template, name) for name in statistics if name not in STAMPED}
        row: Row = msgspec.structs.replace(columns, **(values | unstamped))
        return row


class When(enum.StrEnum):
    """When the same page, or all of the same sessions, were last requested from LangSmith over the same window."""

    FIRST = "first"
    """Never before."""
    LATER = "later"
    """Longer ago than the time to live."""
    SOONER = "sooner"
    """Within the time to live: that request could have returned everything that this one does."""


@dataclass(frozen=True)
class Cause:
    """The reason of a request to LangSmith: the kind of the view, the step of it that sent the request, and when."""

    kind: str
    step: str
    when: When


class SimulatedLangSmith:
    """A double of the client of LangSmith, which counts its requests.

    `workspaces` returns the workspace of a credential's scope. `ttl` is the time to live of a plain cache in seconds.
    """

    def __init__(self, workspaces: Callable[[str], Workspace], seed: int, *, ttl: float) -> None:
        self._workspaces = workspaces
        self._ttl = ttl
        self._random = random.Random(f"latency {seed}")
        self._now = asyncio.get_running_loop().time
        self._last_request: dict[tuple[str, str, StatsWindow], float] = {}
        self.requests_by_cause: Counter[Cause] = Counter()
        self.requests_by_scope: Counter[str] = Counter()

    async def fetch(self, query: PageQuery, credential: Credential, calls: list[UpstreamCall]) -> Page:
        call = UpstreamCall("/api/v1/sessions", V1().params(query), attempts=1)
        calls.append(call)
        kind, step = CAUSE.get()
        when = self._when(credential.scope, query.ids or [query.key], query.window)
        self.requests_by_cause[Cause(kind, "refill" if step == "page" and query.ids else step, when)] += 1
        self.requests_by_scope[credential.scope] += 1
        page = self._workspaces(credential.scope).page(query, self._now())
        self._record(credential.scope, [query.key, *(row.id for row in page.rows if row)], query.window)
        seconds = _MEDIAN * math.exp(self._random.gauss(0, _SPREAD))
        await asyncio.sleep(min(max(seconds, _FASTEST), _SLOWEST))
        call.status = 200
        call.milliseconds = seconds * 1000
        return page

    def is_near_limit(self, _scope: str) -> bool:
        return False

    def _record(self, scope: str, names: Sequence[str], window: StatsWindow) -> None:
        """Remember the time of a request, by page key and session id."""
        self._last_request |= {(scope, name, window): self._now() for name in names}

    def _when(self, scope: str, names: Sequence[str], window: StatsWindow) -> When:
        oldest = min(self._last_request.get((scope, name, window), -math.inf) for name in names)
        if oldest == -math.inf:
            return When.FIRST
        return When.SOONER if self._now() - oldest < self._ttl else When.LATER


def _stamps(statistics: frozenset[str], at: float) -> dict[str, Any]:
    micros = round(at * 1e6)
    stamps: dict[str, Any] = {"test_run_number": micros}
    stamps |= {name: micros for name in _WHOLE if name in statistics}
    stamps |= {name: at for name in _FRACTIONS if name in statistics}
    return stamps


def _row_bytes(statistics: frozenset[str]) -> int:
    """Mean bytes of a row in an answer of LangSmith with these statistics."""
    return sum(size for name, size in _SIZES.items() if name in statistics or FIELDS[name].kind is Kind.COLUMN)


def _uuid(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def _emulated_body() -> bytes:
    params = [("limit", "100"), ("include_stats", "true"), ("facets", "true")]
    request = RecordedRequest(path="/api/v1/sessions", params=params, headers={"x-api-key": "demo"})
    return Emulator(clock=lambda: _NOON).respond(request).body


_BODY: Final = _emulated_body()
_TEMPLATES: Final = [each for each in row.decode_rows(_BODY) if each]
_SIZES: Final = {
    name: sum(len(json.dumps({name: row.get(name)})) for row in json.loads(_BODY)) // len(_TEMPLATES) for name in FIELDS
}
