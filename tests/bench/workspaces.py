"""Workspaces of many tenants, and a LangSmith that answers about them in virtual time.

Rows are cut from those of `app.emulator`, with ids and names per tenant. The numbers of a row say when LangSmith
was asked for them, so that whoever gets one can tell its age, whatever the cache believes.
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
from app.langsmith import v1
from app.langsmith.call import UpstreamCall
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
"""The statistics that say when they were asked for; of the columns, the number of the experiment does."""
_FASTEST, _MEDIAN, _SLOWEST, _SPREAD = 0.3, 0.6, 2.0, 0.5

CAUSE: ContextVar[tuple[str, str]] = ContextVar("CAUSE")
"""What somebody looks at, and which step of it asks: work that is begun for it inherits this."""


def asked_at(row: Row, statistics: Iterable[str]) -> float:
    """When LangSmith was asked for the oldest of it. Raises ValueError where a statistic is lacking."""
    stamps = ["test_run_number", *STAMPED.intersection(statistics)]
    values: list[float | None] = [getattr(row, name) for name in stamps]
    known = [value for value in values if value is not None]
    if len(known) < len(stamps):
        raise ValueError("An answer lacks a statistic that was asked for.")
    return min(value if name in _FRACTIONS else value / 1e6 for name, value in zip(stamps, known, strict=True))


class Workspace:
    """A tenant's: tracing projects, and experiments on a few datasets."""

    def __init__(self, seed: int, number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        self.credential = Credential(f"{number:032x}", {})
        self.projects = [_uuid(rng) for _ in range(rng.randint(8, 150))]
        self.experiments = {_uuid(rng): [_uuid(rng) for _ in range(rng.randint(3, 60))] for _ in range(2)}
        self._rows: dict[str, Row] = {}
        self._found: dict[Any, list[str]] = {}
        self._tenant = UUID(_uuid(rng))

    def page(self, query: PageQuery, at: float) -> Page:
        ids = self._matching(query.arguments)[query.offset : query.offset + query.limit]
        statistics = query.settled_statistics()
        values = _stamps(statistics, at)
        rows: list[Row | None] = [self._row(each, statistics, values) for each in ids]
        return Page.from_rows(rows, query, statistics=statistics, at=at, body_bytes=_size(statistics) * len(rows))

    def _matching(self, where: Any) -> list[str]:
        if by_id := {value for name, value in where if name == "filter.ids"}:
            return [each for each in self._order if each in by_id]
        if where not in self._found:
            self._found[where] = [each for each in self._order if all(self._claims(each, where))]
        return self._found[where]

    @cached_property
    def _order(self) -> dict[str, str]:
        """The sessions, newest first, each with its dataset."""
        by_dataset = {"": self.projects, **self.experiments}
        return {each: dataset for dataset, ids in by_dataset.items() for each in ids}

    def _claims(self, session_id: str, where: Any) -> Iterable[bool]:
        dataset = self._order[session_id]
        for name, value in where:
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
        base = self._rows.get(session_id)
        if base is None:
            template = _TEMPLATES[int(session_id[:8], 16) % len(_TEMPLATES)]
            none = dict.fromkeys(_STATISTICS)
            own = {"id": session_id, "tenant_id": self._tenant, "name": self._name(session_id)}
            base = self._rows[session_id] = msgspec.structs.replace(template, **(own | none))
        full = _TEMPLATES[int(session_id[:8], 16) % len(_TEMPLATES)]
        others = {name: getattr(full, name) for name in statistics if name not in STAMPED}
        row: Row = msgspec.structs.replace(base, **(values | others))
        return row


class When(enum.StrEnum):
    """How long ago the same page, or all the same sessions, were asked for over the same window."""

    FIRST = "first"
    LATER = "later"
    SOONER = "sooner"
    """Within the time to live: all of it could have come with what was asked for then."""


@dataclass(frozen=True)
class Cause:
    """A request to LangSmith: what somebody looked at, the step of it that asked, and when."""

    kind: str
    step: str
    when: When


class Langsmith:
    """In place of `Upstream`. Counts its requests. `ttl`: seconds within which to ask again is too soon."""

    def __init__(self, workspaces: Callable[[str], Workspace], seed: int, *, ttl: float) -> None:
        self._workspaces = workspaces
        self._ttl = ttl
        self._random = random.Random(f"latency {seed}")
        self._now = asyncio.get_running_loop().time
        self._before: dict[tuple[str, str, StatsWindow], float] = {}
        self.asked: Counter[Cause] = Counter()
        self.asked_of: Counter[str] = Counter()

    async def fetch(self, query: PageQuery, credential: Credential, calls: list[UpstreamCall]) -> Page:
        call = UpstreamCall("/api/v1/sessions", v1.params(query), attempts=1)
        calls.append(call)
        kind, step = CAUSE.get()
        when = self._when(credential.scope, query.ids or [query.key], query.window)
        self.asked[Cause(kind, "refill" if step == "page" and query.ids else step, when)] += 1
        self.asked_of[credential.scope] += 1
        page = self._workspaces(credential.scope).page(query, self._now())
        self._note(credential.scope, [query.key, *(row.id for row in page.rows if row)], query.window)
        seconds = _MEDIAN * math.exp(self._random.gauss(0, _SPREAD))
        await asyncio.sleep(min(max(seconds, _FASTEST), _SLOWEST))
        call.status = 200
        call.milliseconds = seconds * 1000
        return page

    def is_near_limit(self, _scope: str) -> bool:
        return False

    def _note(self, scope: str, names: Sequence[str], window: StatsWindow) -> None:
        self._before |= {(scope, name, window): self._now() for name in names}

    def _when(self, scope: str, names: Sequence[str], window: StatsWindow) -> When:
        oldest = min(self._before.get((scope, name, window), -math.inf) for name in names)
        if oldest == -math.inf:
            return When.FIRST
        return When.SOONER if self._now() - oldest < self._ttl else When.LATER


def _stamps(statistics: frozenset[str], at: float) -> dict[str, Any]:
    micros = round(at * 1e6)
    stamps: dict[str, Any] = {"test_run_number": micros}
    stamps |= {name: micros for name in _WHOLE if name in statistics}
    stamps |= {name: at for name in _FRACTIONS if name in statistics}
    return stamps


def _size(statistics: frozenset[str]) -> int:
    """Bytes of a row in an answer."""
    return sum(size for name, size in _SIZES.items() if name in statistics or FIELDS[name].kind is Kind.COLUMN)


def _uuid(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def _recorded() -> bytes:
    params = [("limit", "100"), ("include_stats", "true"), ("facets", "true")]
    request = RecordedRequest(path="/api/v1/sessions", params=params, headers={"x-api-key": "demo"})
    return Emulator(clock=lambda: _NOON).respond(request).body


_BODY: Final = _recorded()
_TEMPLATES: Final = [each for each in row.decode_rows(_BODY) if each]
_SIZES: Final = {
    name: sum(len(json.dumps({name: row[name]})) for row in json.loads(_BODY)) // len(_TEMPLATES) for name in FIELDS
}
