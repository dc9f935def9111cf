"""Reads the rows of a connection from pages that belong together.

LangSmith's pages are offsets in a list that moves: a new project on top shifts all others down, and a deleted one
shifts them up (Reported). Two pages of different moments can therefore show a session twice, or skip one. The rows of
one answer come from pages of one moment; pages of different moments are read again together, once. Sessions that still
appear twice, because the list moved between two requests, are shown once, and the next rows complete the answer.
"""

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from app.cache.fetcher import FetchContext
from app.cache.page_cache import PageCache
from app.errors import RateLimitedError, UpstreamError, UpstreamMalformedError, UpstreamTimeoutError
from app.resilience.singleflight import gather_or_cancel
from app.schema.first_answer import FirstAnswerGate
from app.schema.pagination import Slice
from app.sessions.page import Page
from app.sessions.query import MAX_LIMIT, PageQuery
from app.sessions.row import Row

MOMENT_SECONDS: Final = 1.0
"""Pages that were requested within this time belong together. A request to LangSmith takes about as long."""
_LANGSMITH_FAILED: Final = (RateLimitedError, UpstreamError, UpstreamMalformedError, UpstreamTimeoutError)


@dataclass(frozen=True)
class ConnectionRows:
    """The rows of a connection, each with its position in the whole list.

    Args:
        rows: The rows. Each session is in it once.
        dropped_rows: Number of rows that are left out because they lacked an id or a workspace.
        next_position: The position after the last row that was read for the answer.
        has_more: Whether more rows follow those of the answer; None if that is not known.
        fetched_at: When the oldest of the pages was requested, in monotonic seconds; None if no page was needed.
    """

    rows: list[tuple[int, Row]]
    dropped_rows: int
    next_position: int
    has_more: bool | None
    fetched_at: float | None


class RowReader:
    """Reads the rows of one connection."""

    def __init__(self, cache: PageCache, context: FetchContext, gate: FirstAnswerGate) -> None:
        self._cache = cache
        self._gate = gate
        self._context = context
        self._began = cache.now()
        self._has_read_again = False

    async def read(self, queries: Sequence[PageQuery], requested: Slice) -> ConnectionRows:
        """The requested rows, which these queries return in their order. Raises GatewayError."""
        pages = await self._read_together(queries)
        found = unique_rows(queries, pages)
        duplicates = sum(min(len(page.rows), query.limit) for query, page in zip(queries, pages, strict=True)) - len(
            found
        )
        if duplicates and _continues(queries, pages) is not False:
            last = queries[-1]
            next_rows = replace(last, offset=last.offset + last.limit, limit=min(duplicates, MAX_LIMIT))
            with contextlib.suppress(*_LANGSMITH_FAILED):  # the answer is then shorter, and can be continued
                pages = await self._read_together((*queries, next_rows))
                queries = (*queries, next_rows)
                found = unique_rows(queries, pages)
        shown = found[: requested.count]
        rows = [(position, row) for position, row in shown if row]
        return ConnectionRows(
            rows=rows,
            dropped_rows=len(shown) - len(rows),
            next_position=shown[-1][0] + 1 if shown else requested.end,
            has_more=len(found) > requested.count or _continues(queries, pages),
            fetched_at=min((page.fetched_at for page in pages), default=None),
        )

    async def cached_ids(self, queries: Sequence[PageQuery], count: int) -> list[str] | None:
        """The ids of the first `count` rows, if all pages are cached and fresh; None if LangSmith is asked for one.

        The pages may lack statistics.
        """
        found: list[str] = []
        for query in queries:
            ids = await self._cache.cached_ids(query, self._context)
            if ids is None:
                return None
            found += ids
        return found[:count]

    async def exists(self, query: PageQuery, *, since: float | None) -> bool:
        """Whether the query has a row. An answer from before the time `since`, in monotonic seconds, is read again."""
        page = await self._get_page(query, self._context)
        if since is not None and page.fetched_at < since - MOMENT_SECONDS:
            with contextlib.suppress(*_LANGSMITH_FAILED):  # the older answer is then the best one that there is
                page = await self._get_page(query, replace(self._context, max_age=0))
        return bool(page.rows)

    async def _read_together(self, queries: Sequence[PageQuery]) -> Sequence[Page]:
        pages = await self._read(queries, self._context)
        if self._has_read_again or not must_read_again(pages, self._began):
            return pages
        self._has_read_again = True
        try:
            return await self._read(queries, replace(self._context, max_age=0))
        except _LANGSMITH_FAILED:
            return pages  # while LangSmith fails, cached pages are served as they are

    async def _read(self, queries: Sequence[PageQuery], context: FetchContext) -> Sequence[Page]:
        if len(queries) == 1 and (page := self._cache.get_fresh_page(queries[0], context)):
            return (page,)
        return await gather_or_cancel(*(self._get_page(each, context) for each in queries))

    async def _get_page(self, query: PageQuery, context: FetchContext) -> Page:
        return await self._gate.read(self._cache.get_page(query, context), context.deadline)


def must_read_again(pages: Sequence[Page], began: float) -> bool:
    """Whether the pages of one answer come from different moments.

    Pages that were all requested since the answer `began` (monotonic seconds) cannot be read any closer together.
    """
    if len(pages) < 2:
        return False
    times = [page.fetched_at for page in pages]
    if min(times) >= began:
        return False
    if max(times) - min(times) > MOMENT_SECONDS:
        return True
    ids = [page.ids for page in pages]
    return len(frozenset[str]().union(*ids)) < sum(map(len, ids))


def unique_rows(queries: Sequence[PageQuery], pages: Sequence[Page]) -> list[tuple[int, Row | None]]:
    """The rows of these pages with their positions in the list, and each session at its first position only.

    None takes the place of a row without an id.
    """
    found = [
        *itertools.chain.from_iterable(
            enumerate(page.rows_in(query.window)[: query.limit], query.offset)
            for query, page in zip(queries, pages, strict=True)
        )
    ]
    # Almost always each session appears once, which the ids of the pages tell sooner than their rows.
    ids = pages[0].ids if len(pages) == 1 else frozenset[str]().union(*(page.ids for page in pages))
    if len(ids) == sum(len(page.rows) for page in pages):
        return found
    first_positions: dict[str, int] = {}
    for position, row in found:
        if row is not None:
            first_positions.setdefault(row.id, position)
    return [(position, row) for position, row in found if row is None or first_positions[row.id] == position]


def _continues(queries: Sequence[PageQuery], pages: Sequence[Page]) -> bool | None:
    """Whether the list has rows after these pages; None if that is not known."""
    return pages[-1].continues_after(queries[-1].limit) if pages else None
