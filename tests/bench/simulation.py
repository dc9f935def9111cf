"""Workers, tenants and dashboards in virtual time: how often LangSmith is asked, and how old the answers are.

The parts of the gateway are its own; what is made up is LangSmith, Redis, the clients and the time.
"""

import asyncio
import gc
import json
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

from . import clock
from .dashboards import Request, trace
from .gateways import TTL, Answer, Gateways, Ours, Plain, Sizes
from .workspaces import Cause, Langsmith, Workspace, asked_at

STALE: Final = 60.0
MOST_BYTES: Final = 268_435_456
BUSY: Final = {"quiet": 0, "middling": 10, "busy": 60}
"""A tenant's requests in a minute, from which on it counts as that."""


@dataclass(frozen=True)
class Contender:
    """`bound`: seconds that what it answers with may have been held when the client asked."""

    name: str
    start: Callable[[Langsmith, int], Gateways]
    bound: float = TTL
    depends_on_workers: bool = True


PLAIN: Final = Contender("plain TTL", Plain)
COMMON: Final = Contender(
    "plain TTL, shared", lambda langsmith, _: Plain(langsmith, 1, shared=True), depends_on_workers=False
)
JOINING: Final = Contender(
    "plain TTL, shared, joining",
    lambda langsmith, _: Plain(langsmith, 1, shared=True, joins=True),
    depends_on_workers=False,
)
FRESH: Final = Contender("ours 15 + 0", lambda langsmith, workers: Ours(langsmith, workers, stale=0))
DEFAULT: Final = Contender(
    "ours 15 + 60", lambda langsmith, workers: Ours(langsmith, workers, stale=STALE), bound=TTL + STALE
)
CONTENDERS: Final = (COMMON, JOINING, PLAIN, FRESH, DEFAULT)


@dataclass
class Figures:
    """What one contender did with the trace. Ages are in seconds: `ages` when it answered, `held` when it was asked."""

    requests: int = 0
    asked: Counter[Cause] = field(default_factory=Counter)
    by_busyness: dict[str, float] = field(default_factory=dict)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    ages: list[float] = field(default_factory=list)
    held: float = 0.0
    sizes: Sizes = field(default_factory=Sizes)

    @property
    def upstream(self) -> int:
        return self.asked.total()

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
    """The same for every contender: tenants, what they have, and what their viewers ask."""

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
        """By credential."""
        requests = Counter(each.tenant for each in self.trace)
        return {
            self.workspaces[tenant].credential.scope: [
                name for name, least in BUSY.items() if count / self.minutes >= least
            ][-1]
            for tenant, count in requests.items()
        }

    def measure(self, contender: Contender, workers: int) -> Figures:
        with _seeded(self.seed):
            return clock.run(self._measured(contender, workers))

    async def _measured(self, contender: Contender, workers: int) -> Figures:
        langsmith = Langsmith(self.workspaces.of, self.seed, ttl=TTL)
        gateways = contender.start(langsmith, workers)
        figures = Figures()
        now = asyncio.get_running_loop().time
        beginning = now()

        async def ask(request: Request, credential: Credential) -> None:
            arrived = now()
            figures.requests += 1
            try:
                answer = await gateways.answer(int(request.to * workers), request.view, credential)
                oldest = _oldest(answer)
            except Exception as exc:  # noqa: BLE001 - what is left can be measured all the same
                figures.failures[repr(exc)] += 1
                return
            figures.outcomes[answer.outcome] += 1
            if oldest is not None:
                figures.ages.append(now() - oldest)
                figures.held = max(figures.held, arrived - oldest)

        async with asyncio.TaskGroup() as group:
            for each in self.trace:
                await asyncio.sleep(beginning + each.at - now())
                group.create_task(ask(each, self.workspaces[each.tenant].credential))
        figures.sizes = gateways.sizes()
        await gateways.aclose()
        figures.asked = langsmith.asked
        figures.by_busyness = self._by_busyness(langsmith.asked_of)
        return figures

    def _by_busyness(self, asked_of: Mapping[str, int]) -> dict[str, float]:
        asked, requests = Counter[str](), Counter[str]()
        for each in self.trace:
            requests[self.busyness[self.workspaces[each.tenant].credential.scope]] += 1
        for scope, count in asked_of.items():
            asked[self.busyness[scope]] += count
        return {name: asked[name] / requests[name] for name in BUSY if requests[name]}


class Workspaces(Sequence[Workspace]):
    """Made when they are looked at."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed = seed
        self._made: list[Workspace | None] = [None] * count

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, number: int) -> Workspace:  # type: ignore[override]  # nobody asks for a part
        made = self._made[number]
        if made is None:
            made = self._made[number] = Workspace(self._seed, number)
        return made

    def of(self, scope: str) -> Workspace:
        return self[int(scope, 16)]


@dataclass(frozen=True)
class Memory:
    """Of a store that was given more than it may hold, in bytes."""

    given: int
    held: int
    grown: int


def fill(pages: int = 400, page_bytes: int = 1_000_000) -> Memory:
    """Pages of one megabyte each, of which a store keeps what its bound allows."""
    gc.collect()
    before = _resident()
    store = MemoryStore(MOST_BYTES)
    asyncio.run(_filled(store, pages, page_bytes))
    gc.collect()
    return Memory(pages * page_bytes, store.held_bytes, _resident() - before)


async def _filled(store: MemoryStore, pages: int, page_bytes: int) -> None:
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


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _oldest(answer: Answer) -> float | None:
    """When the oldest of it was asked for; None of an empty one. Raises ValueError where something is lacking."""
    return min((asked_at(row, statistics) for part, statistics in answer.parts for row in part if row), default=None)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """For those of the gateway's parts that choose at random."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
