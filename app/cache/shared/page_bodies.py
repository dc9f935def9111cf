"""Pages as bytes for Redis: pure functions. A body that cannot be right is None, as if it were not cached.

A *body* is one answer about a page: all of its rows, with some statistics over one window, or with none. It is the JSON
array that LangSmith could have sent, so that the decoder of LangSmith's answers reads it; in front of it stand the
number of requested rows, the number of rows, and whether rows follow:

    100 100 - [{"id": ...}, ...]

One page is one call of msgspec, which takes a tenth of the time that its answer took to decode.
"""

import copy
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from app.cache.merging import merged
from app.errors import UpstreamMalformedError
from app.sessions.experiment_progress import ExperimentProgress
from app.sessions.feedback import FeedbackMap, FeedbackStat
from app.sessions.fields import FIELDS
from app.sessions.malformed import MALFORMED
from app.sessions.page import Page, WindowStats
from app.sessions.query import MAX_LIMIT, StatsWindow
from app.sessions.row import Row, decode_rows
from app.sessions.scalars import JSON

_HEAD: Final = re.compile(rb"(\d{1,3}) (\d{1,3}) ([-01]) ")
_HAS_MORE: Final[dict[bool | None, bytes]] = {None: b"-", False: b"0", True: b"1"}
_FROM_HAS_MORE: Final = {text: has_more for has_more, text in _HAS_MORE.items()}
_MALFORMED_AS: Final = [None]
"""JSON that has the wrong type for every field but those that are passed through: it decodes to MALFORMED."""
_PASSED_THROUGH: Final = tuple(
    name for name, field in FIELDS.items() if field.annotation in (JSON | None, ExperimentProgress | None)
)
_MAPS: Final = tuple(name for name, field in FIELDS.items() if field.annotation == (list[FeedbackStat] | None))
_ENCODER: Final = msgspec.json.Encoder(enc_hook=lambda _: _MALFORMED_AS)


@dataclass(frozen=True)
class PageBody:
    """A body that is not decoded yet.

    - `fetched_at`: in monotonic seconds.
    - `statistics`: those that the body makes known.
    - `limit`, `count`, `has_more`: see `Page`. `count` is the number of rows.
    """

    fetched_at: float
    statistics: tuple[str, ...]
    limit: int
    count: int
    has_more: bool | None
    text: bytes

    def holds_rows(self, limit: int) -> bool:
        """Whether the page has that many rows, or all rows that there are."""
        return self.count >= limit or self.count < self.limit

    def is_better_than(self, page: Page, window: StatsWindow) -> bool:
        """Whether it has statistics over the window that are younger than those of a younger page, or unknown there."""
        since = math.nextafter(self.fetched_at, -math.inf)
        is_older = self.fetched_at <= page.fetched_at
        return is_older and bool(page.missing_statistics(window, frozenset(self.statistics), since=since))

    def decode(self, window: StatsWindow) -> Page | None:
        """The page, with its statistics over the window; None if the text cannot be one."""
        try:
            rows = tuple(decode_rows(self.text))
        except UpstreamMalformedError:
            return None
        if len(rows) != self.count or None in rows:
            return None
        stats = {window: WindowStats(rows, dict.fromkeys(self.statistics, self.fetched_at))} if self.statistics else {}
        return Page(
            rows=rows,
            limit=self.limit,
            fetched_at=self.fetched_at,
            stats_by_window=stats,
            has_more=self.has_more,
            body_bytes=len(self.text),
        )


def encode_page(page: Page, window: StatsWindow) -> tuple[bytes, bytes]:
    """The page with its statistics over a window, as head and rows. No row of the page was dropped.

    Raises ValueError, OverflowError or TypeError for a value that JSON cannot hold.
    """
    rows = [_as_sent(row) for row in page.rows_in(window)]
    if any(getattr(row, name) is MALFORMED for row in rows for name in _PASSED_THROUGH):
        raise ValueError("No JSON is malformed for a field that is passed through.")
    return b"%d %d %s " % (page.limit, len(rows), _HAS_MORE[page.has_more]), _ENCODER.encode(rows)


def parse_body(text: bytes, fetched_at: float, statistics: tuple[str, ...]) -> PageBody | None:
    """The body, which is not decoded yet; None for a text that cannot be one."""
    head = _HEAD.match(text)
    if head is None:
        return None
    limit, count, has_more = int(head[1]), int(head[2]), _FROM_HAS_MORE[head[3]]
    is_possible = count <= limit <= MAX_LIMIT
    return PageBody(fetched_at, statistics, limit, count, has_more, text[head.end() :]) if is_possible else None


def pages_of(bodies: Iterable[PageBody], limit: int, window: StatsWindow) -> list[Page]:
    """The page that was fetched last, with the statistics that the others know better; empty if there is no page.

    One that has the rows of that limit goes before one that lacks some. After it come the pages whose better statistics
    it cannot have, because they show other rows.
    """
    pages: list[Page] = []
    for body in sorted(bodies, key=lambda each: (each.holds_rows(limit), each.fetched_at), reverse=True):
        # What is decoded in vain takes as long as an answer of LangSmith.
        if (pages and not body.is_better_than(pages[0], window)) or not (page := body.decode(window)):
            continue
        if pages:
            pages[0] = merged(page, pages[0])
        if not pages or body.is_better_than(pages[0], window):
            pages.append(page)
    return pages


def _as_sent(row: Row | None) -> Row | None:
    """The row with its feedback maps as LangSmith sent them."""
    sent = None
    for name in _MAPS:
        value = getattr(row, name)
        if isinstance(value, FeedbackMap):
            sent = sent or copy.copy(row)
            setattr(sent, name, value.raw)
    return sent or row
