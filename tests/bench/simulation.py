"""A fleet of workers in virtual time: counts its requests to LangSmith and measures the age of its answers.

The cache is the gateway's own code; LangSmith, Redis, the clients and the time are doubles.
"""

import asyncio
import gc
import json
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final
from uuid import UUID

from app.cache.explain import Outcome
from app.cache.store import MemoryStore
from app.credentials import Credential
from app.sessions.page import Page
from app.sessions.query import PageQuery
from app.sessions.row import decode_rows

from . import virtual_time
from .dashboards import Request, trace
from .gateways import TTL, Answer, GatewayCaches, Gateways, PlainCaches, Sizes
from .workspaces import Cause, SimulatedLangSmith, Workspace, oldest_stamp

STALE: Final = 60.0
MAX_BYTES: Final = 268_435_456
BUSYNESS: Final = {"quiet": 0, "middling": 10, "busy": 60}
"""Classes of tenants, each with the smallest number of requests per minute that belongs to it."""


@dataclass(frozen=True)
class Contender:
    """A kind of cache. `max_age_seconds` limits the age of cached data when the request for it arrives."""

    name: str
    start: Callable[[SimulatedLangSmith, int], Gateways]
    max_age_seconds: float = TTL
    depends_on_workers: bool = True


PLAIN: Final = Contender("plain TTL", PlainCaches)
SHARED: Final = Contender(
    "plain TTL, shared", lambda langsmith, _: PlainCaches(langsmith, 1, shared=True), depends_on_workers=False
)
SHARED_JOINING: Final = Contender(
    "plain TTL, shared, joining",
    lambda langsmith, _: PlainCaches(langsmith, 1, shared=True, joins=True),
    depends_on_workers=False,
)
FRESH: Final = Contender("ours 15 + 0", lambda langsmith, workers: GatewayCaches(langsmith, workers, stale=0))
DEFAULT: Final = Contender(
    "ours 15 + 60",
    lambda langsmith, workers: GatewayCaches(langsmith, workers, stale=STALE),
    max_age_seconds=TTL + STALE,
)
CONTENDERS: Final = (SHARED, SHARED_JOINING, PLAIN, FRESH, DEFAULT)


@dataclass
class Figures:
    """What one contender did with the trace.

    `ages` are the seconds between LangSmith's data and the answer that shows it. `oldest` is the largest age in seconds
    that cached data had when the request for it arrived. `by_busyness` has upstream requests per request.
    """

    requests: int = 0
    upstream_by_cause: Counter[Cause] = field(default_factory=Counter)
    by_busyness: dict[str, float] = field(default_factory=dict)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    ages: list[float] = field(default_factory=list)
    oldest: float = 0.0
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def upstream(self) -> int:
        return self.upstream_by_cause.total()

    @property
    def per_request(self) -> float:
        return self.upstream / max(self.requests, 1)

    def share(self, outcome: Outcome) -> float:
        return self.outcomes[outcome] / max(self.requests, 1)

    def age(self, share: float) -> float:
        ages = sorted(self.ages)
        return ages[min(int(share * len(ages)), len(ages) - 1)]


@dataclass(frozen=True)
class World:
    """Tenants, their workspaces and the requests of their viewers, the same for every contender."""

    seed: int
    tenants: int
    viewers: int
    minutes: float

    @cached_property
    def workspaces(self) -> "Workspaces":
        return Workspaces(self.seed, self.tenants)

    @cached_property
    def trace(self) -> Sequence[Request]:
        return trace(
            self.seed,
            tenants=self.tenants,
            viewers=self.viewers,
            minutes=self.minutes,
            workspaces=self.workspaces,
        )

    @cached_property
    def busyness(self) -> dict[str, str]:
        """Class of each tenant that sends requests, by the scope of its credential."""
        requests = Counter(each.tenant for each in self.trace)
        return {
            self.workspaces[tenant].credential.scope: [
                name for name, least in BUSYNESS.items() if count / self.minutes >= least
            ][-1]
            for tenant, count in requests.items()
        }

    def measure(self, contender: Contender, workers: int) -> Figures:
        with _seeded(self.seed):
            return virtual_time.run(self._replay(contender, workers))

    async def _replay(self, contender: Contender, workers: int) -> Figures:
        langsmith = SimulatedLangSmith(self.workspaces.of_scope, self.seed, ttl=TTL)
        gateways = contender.start(langsmith, workers)
        figures = Figures()
        now = asyncio.get_running_loop().time
        start = now()

        async def send(request: Request, credential: Credential) -> None:
            arrived = now()
            figures.requests += 1
            try:
                answer = await gateways.answer(int(request.balance * workers), request.view, credential)
                stamp = _oldest_stamp(answer)
            except Exception as exc:  # noqa: BLE001 - the other requests are measured all the same
                figures.failures[repr(exc)] += 1
                return
            figures.outcomes[answer.outcome] += 1
            if stamp is not None:
                figures.ages.append(now() - stamp)
                figures.oldest = max(figures.oldest, arrived - stamp)

        async with asyncio.TaskGroup() as group:
            for each in self.trace:
                await asyncio.sleep(start + each.at - now())
                group.create_task(send(each, self.workspaces[each.tenant].credential))
        figures.sizes = gateways.sizes()
        await gateways.aclose()
        figures.upstream_by_cause = langsmith.requests_by_cause
        figures.by_busyness = self._by_busyness(langsmith.requests_by_scope)
        return figures

    def _by_busyness(self, upstream_by_scope: Mapping[str, int]) -> dict[str, float]:
        upstream, requests = Counter[str](), Counter[str]()
        for each in self.trace:
            requests[self.busyness[self.workspaces[each.tenant].credential.scope]] += 1
        for scope, count in upstream_by_scope.items():
            upstream[self.busyness[scope]] += count
        return {name: upstream[name] / requests[name] for name in BUSYNESS if requests[name]}


class Workspaces(Sequence[Workspace]):
    """The workspaces of all tenants, each generated when it is first used."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed = seed
        self._generated: list[Workspace | None] = [None] * count

    def __len__(self) -> int:
        return len(self._generated)

    def __getitem__(self, number: int) -> Workspace:  # type: ignore[override]  # slices are not needed
        workspace = self._generated[number]
        if workspace is None:
            workspace = self._generated[number] = Workspace(self._seed, number)
        return workspace

    def of_scope(self, scope: str) -> Workspace:
        return self[int(scope, 16)]


@dataclass(frozen=True)
class Memory:
    """Bytes that were put into a store, that are stored in it, and by which the process grew."""

    given: int
    stored: int
    grown: int


def fill(pages: int = 400, page_bytes: int = 1_000_000) -> Memory:
    """Put more pages into a store than fit into it, and measure its memory."""
    gc.collect()
    before = _resident_bytes()
    store = MemoryStore(MAX_BYTES, lifetime_seconds=math.inf, clock=lambda: 0.0)
    asyncio.run(_fill(store, pages, page_bytes))
    gc.collect()
    return Memory(pages * page_bytes, store.held_bytes, _resident_bytes() - before)


async def _fill(store: MemoryStore, pages: int, page_bytes: int) -> None:
    for number in range(pages):
        body = _body(number, page_bytes)
        query = PageQuery(offset=100 * number)
        page = Page.from_rows(decode_rows(body), query, statistics=frozenset(), at=0.0, body_bytes=len(body))
        await store.set(f"scope:{query.key}", page)


def _body(number: int, size: int) -> bytes:
    rows_of_page = (
        {"id": str(UUID(int=100 * number + row)), "tenant_id": str(UUID(int=0)), "extra": {"text": "x" * (size // 100)}}
        for row in range(100)
    )
    return json.dumps([*rows_of_page]).encode()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _oldest_stamp(answer: Answer) -> float | None:
    """Time of the request to LangSmith that returned the oldest data of the answer; None for an answer without rows.

    Raises ValueError if a requested statistic is missing.
    """
    stamps = (oldest_stamp(row, statistics) for part, statistics in answer.parts for row in part if row)
    return min(stamps, default=None)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed Python's global random numbers, which the gateway uses for jitter, and restore their state afterwards."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
