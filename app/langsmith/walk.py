"""How a page is reached in a list that can only be walked forward, from one cursor of LangSmith to the next.

Version 2 of the API has no offsets. An answer brings a cursor for the rows after it, and the cursor belongs to all
parameters of its request: the next page has to be requested with the same statistics, window and page size. So a
`Position` remembers a cursor together with the query that it belongs to, and `plan` decides where to begin for a page:
at a position that is known already, or at the start of the list. Everything here is a value.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from app.errors import BadUserInputError
from app.sessions.query import MAX_LIMIT, PageQuery

MAX_REQUESTS: Final = 10
"""Requests to LangSmith for one page."""
POSITION_SECONDS: Final = 600.0
"""How long a position is used. How long LangSmith takes a cursor is unknown; one that it refuses is forgotten."""


class TooFarError(BadUserInputError):
    """A page cannot be reached with `MAX_REQUESTS` requests."""

    def __init__(self) -> None:
        super().__init__(
            f"LangSmith can only be read from one page to the next, and these rows are more than {MAX_REQUESTS} "
            "requests away. Page through the list with `after`, or narrow it with `filter`."
        )


@dataclass(frozen=True, slots=True)
class Walk:
    """How every page of a walk is requested: what its cursors belong to. A page of version 1 is a walk of one page.

    query: the list from its start (in version 1, from its offset), with the statistics and the window of the walk. Its
        limit is the page size.
    selects_statistics: whether the statistics are selected by name.
    """

    query: PageQuery
    selects_statistics: bool = True

    def requests_until(self, end: int, start: int = 0) -> int:
        """Number of requests for the rows from `start` to `end`, if every page is as long as requested."""
        return math.ceil((end - start) / self.query.limit)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the list from which a walk goes on.

    offset: number of rows before it.
    cursor: LangSmith's cursor; None at the start of the list.
    walk: what the cursor belongs to.
    walked_at: when the request that brought the cursor was sent, in monotonic seconds.
    """

    offset: int
    cursor: str | None
    walk: Walk
    walked_at: float

    @property
    def is_start(self) -> bool:
        return self.cursor is None


def plan(query: PageQuery, known: Iterable[Position], now: float, *, selects_statistics: bool) -> Position:
    """Where to begin for a page. Fewer requests are better, the statistics that have to be fetched later included.

    The first page is always requested anew, as the client wants it. A page that no known position leads to is reached
    from the start of the list without statistics: they would be computed for all rows on the way.

    Raises TooFarError.
    """
    end = query.offset + query.limit
    if query.offset == 0:
        return Position(0, None, Walk(_walked(query), selects_statistics), now)
    columns = replace(query.with_statistics(frozenset(), query.window), limit=MAX_LIMIT)
    candidates = [Position(0, None, Walk(_walked(columns), selects_statistics), now)]
    candidates += [
        each
        for each in known
        if each.offset <= query.offset
        and now - each.walked_at < POSITION_SECONDS
        and (each.walk.selects_statistics == selects_statistics or not each.walk.query.statistics)
    ]

    def rank(position: Position) -> tuple[int, bool, int, float]:
        walked = position.walk.query
        is_complete = not query.statistics or (walked.window == query.window and walked.requested >= query.statistics)
        requests = position.walk.requests_until(end, position.offset) + (0 if is_complete else 1)
        return requests, position.is_start, len(walked.requested - query.requested), -position.walked_at

    best = min(candidates, key=rank)
    if best.walk.requests_until(end, best.offset) > MAX_REQUESTS:
        raise TooFarError
    return best


def _walked(query: PageQuery) -> PageQuery:
    """The query of a walk whose first page is this one."""
    return replace(query, offset=0, statistics=query.requested, prefetch=frozenset())
