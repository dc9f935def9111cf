"""Reads a page of a list that can only be walked, with as many requests as that takes.

Pages of one answer are read at the same time, and each begins where the one before it ends. So a page first waits for a
request in flight that will know its position.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from app.errors import BadUserInputError, UpstreamError, UpstreamMalformedError
from app.langsmith.known_positions import KnownPositions, has_usable_length
from app.langsmith.walk import MAX_REQUESTS, Position, TooFarError, Walk, plan
from app.resilience.clock import Clock
from app.sessions.page import Page
from app.sessions.query import PageQuery
from app.sessions.row import Row


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of LangSmith's list.

    rows: None stands for a row without id or workspace.
    next_cursor: where the next rows begin; None if there are none, and always in version 1.
    requested_at: when the request was sent, in monotonic seconds.
    body_bytes: size of the body.
    """

    rows: list[Row | None]
    next_cursor: str | None
    requested_at: float
    body_bytes: int


Ask = Callable[[Walk, str | None], Awaitable[Answer]]
"""Requests the page of a walk at a cursor. Raises a GatewayError."""


class Walker:
    """Reads pages of lists, from the positions that are known of them.

    positions: what is known, of all scopes.
    clock: monotonic seconds.
    """

    def __init__(self, positions: KnownPositions, clock: Clock) -> None:
        self._positions = positions
        self._clock = clock
        # Whether the list ended before the offset, for each offset where a page in flight ends.
        self._under_way: dict[tuple[str, str], dict[int, asyncio.Future[bool]]] = {}

    async def fetch(self, query: PageQuery, scope: str, ask: Ask, *, selects_statistics: bool) -> Page:
        """The page of the query. It may lack statistics, if the walk that led to it had others.

        Raises TooFarError, and what `ask` raises.
        """
        with self._announced(query, scope) as (earlier, ended):
            is_behind_end: bool = await asyncio.shield(earlier) if earlier else False
            if is_behind_end:
                ended.set_result(True)
                return _page_behind_the_end(query, self._clock())
            page = await self._fetch(query, scope, ask, selects_statistics=selects_statistics)
            ended.set_result(page.has_more is False)
            return page

    async def _fetch(self, query: PageQuery, scope: str, ask: Ask, *, selects_statistics: bool) -> Page:
        known = await self._positions.read(scope, query)
        start = plan(query, known, self._clock(), selects_statistics=selects_statistics)
        anew = functools.partial(plan, query, (), selects_statistics=selects_statistics)
        try:
            return await self._walk(query, scope, start, ask)
        except TooFarError:
            raise
        except BadUserInputError:
            # LangSmith may have forgotten the cursor, or a request line has no room for it.
            if start.is_start:
                raise
            await self._positions.forget(scope, query)
            return await self._walk(query, scope, anew(now=self._clock()), ask)
        except UpstreamError as failure:
            # LangSmith may fail on statistics of the walk that this client did not select. The cursor may still be
            # good, and pages that are far away can be reached from it alone.
            if start.is_start:
                raise
            try:
                return await self._walk(query, scope, anew(now=self._clock()), ask)
            except TooFarError:
                raise failure from None

    @contextmanager
    def _announced(
        self, query: PageQuery, scope: str
    ) -> Iterator[tuple[asyncio.Future[bool] | None, asyncio.Future[bool]]]:
        """Announce where this page will end: yield the future of the page that ends where it begins, and its own."""
        ends = self._under_way.setdefault((scope, query.list_key), {})
        earlier = ends.get(query.offset)
        end, ended = query.offset + query.limit, asyncio.get_running_loop().create_future()
        ends[end] = ended
        try:
            yield earlier, ended
        finally:
            if not ended.done():  # the page failed, which tells nothing of the list
                ended.set_result(False)
            if ends.get(end) is ended:
                del ends[end]
            if not ends:
                self._under_way.pop((scope, query.list_key), None)

    async def _walk(self, query: PageQuery, scope: str, start: Position, ask: Ask) -> Page:
        end = query.offset + query.limit
        rows: list[Row | None] = []
        position = start
        requested_at, body_bytes = float("inf"), 0
        for _ in range(MAX_REQUESTS):
            answer = await ask(position.walk, position.cursor)
            rows = _unique([*rows, *answer.rows])
            requested_at, body_bytes = min(requested_at, answer.requested_at), body_bytes + answer.body_bytes
            cursor = answer.next_cursor
            if cursor is not None and (cursor == position.cursor or not has_usable_length(cursor)):
                raise UpstreamMalformedError("LangSmith's list does not go on where its cursor points to.")
            offset = start.offset + len(rows)
            position = Position(offset, cursor, position.walk, answer.requested_at)
            if cursor is None:
                break
            if not query.ids:
                await self._positions.record(scope, query, position)
            if offset >= end:
                break
        else:
            raise TooFarError
        walked = position.walk.query
        found = rows[max(0, query.offset - start.offset) :]
        return Page.from_rows(
            found[: query.limit],
            replace(walked, offset=query.offset, limit=query.limit),
            statistics=walked.settled_statistics(select_statistics=position.walk.selects_statistics),
            at=requested_at,
            body_bytes=body_bytes,
            has_more=position.cursor is not None or len(found) > query.limit,
        )


def _page_behind_the_end(query: PageQuery, now: float) -> Page:
    """The empty page of rows that a list does not have."""
    statistics = query.settled_statistics()
    return Page.from_rows([], query, statistics=statistics, at=now, body_bytes=0, has_more=False)


def _unique(rows: Iterable[Row | None]) -> list[Row | None]:
    """The rows, and each session once: pages overlap when the list moves between two requests."""
    seen: set[str] = set()
    found: list[Row | None] = []
    for row in rows:
        if row is None or row.id not in seen:
            found.append(row)
            if row:
                seen.add(row.id)
    return found
