"""Pagination: Relay's cursors, forward and backward, and numbered pages, over LangSmith's offsets."""

import base64
import binascii
import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from app.errors import BadUserInputError
from app.sessions.query import MAX_LIMIT, PageQuery

MAX_SESSIONS: Final = 500
"""Sessions in one connection, and ids in one call of `nodes`."""
DEFAULT_FIRST: Final = 20
"""Sessions in a connection whose length is not given."""
_CURSOR: Final = re.compile(r"v1:(0|[1-9]\d{0,8})(?:@([1-9]\d{0,8}))?")
"""A cursor, decoded: its version, an offset and, for a window that moves, when the walk began (minutes since 1970)."""


@dataclass(frozen=True)
class Slice:
    """The rows of a connection: `count` rows from the position `start` on, counted from 0.

    `began`: when the client began to page, if its cursor says so.
    """

    start: int
    count: int
    began: datetime | None = None

    @property
    def end(self) -> int:
        """The position after the last row."""
        return self.start + self.count

    def queries(self, page: PageQuery, *, one_more: bool) -> Iterator[PageQuery]:
        """The queries that return these rows, in order, made from a query for the list.

        With `one_more`, they return the row after them too, unless that would take a request of its own.
        """
        end = self.end + (1 if one_more and self.count % MAX_LIMIT else 0)
        for offset in range(self.start, end, MAX_LIMIT):
            yield replace(page, offset=offset, limit=min(MAX_LIMIT, end - offset))


def parse_slice(*, first: int, after: str | None, offset: int | None, last: int | None, before: str | None) -> Slice:
    """The rows that the paging arguments select.

    `last` takes precedence over `first`, which always has a value. Raises BadUserInputError for a length or cursor that
    is not valid, and for arguments that exclude each other.
    """
    _check_length("first", first)
    if last is None:
        if before is not None:
            raise BadUserInputError("`before` requires `last`.", argument="before")
        if after is not None and offset is not None:
            raise BadUserInputError("Give either `after` or `offset`, not both.", argument="offset")
        if offset is not None and offset < 0:
            raise BadUserInputError("It must be 0 or more.", argument="offset")
        if after is None:
            return Slice(offset or 0, first)
        position, began = _parse_cursor("after", after)
        return Slice(position + 1, first, began)
    _check_length("last", last)
    if before is None:
        raise BadUserInputError(
            "`last` requires `before`, because LangSmith does not tell the length of the list.", argument="last"
        )
    if after is not None or offset is not None:
        raise BadUserInputError("Only allowed with `before`.", argument="last")
    end, began = _parse_cursor("before", before)
    return Slice(max(0, end - last), min(last, end), began)


def start_of(arguments: Mapping[str, Any]) -> int:
    """Number of rows before those that the arguments of a connection select; 0 for arguments that are not valid."""
    names = ("after", "offset", "last", "before")
    given = {name: arguments.get(name) for name in names}
    with contextlib.suppress(BadUserInputError):
        return parse_slice(first=arguments.get("first") or DEFAULT_FIRST, **given).start
    return 0


def cursor_at(position: int, began: datetime | None = None) -> str:
    """The cursor of the row at this position, counted from 0.

    `began`: when the client began to page, in a list whose window moves. A cursor is exact to the minute.
    """
    walk = "" if began is None else f"@{began.timestamp() // 60:.0f}"
    return base64.urlsafe_b64encode(f"v1:{position}{walk}".encode()).decode().rstrip("=")


def _check_length(argument: str, length: int) -> None:
    if not 1 <= length <= MAX_SESSIONS:
        raise BadUserInputError(f"It must be from 1 to {MAX_SESSIONS}.", argument=argument)


def _parse_cursor(argument: str, cursor: str) -> tuple[int, datetime | None]:
    """The position that a cursor stands for, and when its walk began."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    match = _CURSOR.fullmatch(text)
    began = datetime.fromtimestamp(60 * int(match[2]), UTC) if match and match[2] else None
    # Base64 has several spellings of one text. Only the spelling that `cursor_at` returns is a cursor.
    if match is None or cursor_at(int(match[1]), began) != cursor:
        raise BadUserInputError("The cursor is not valid: use one from `pageInfo` or from an edge.", argument=argument)
    return int(match[1]), began
