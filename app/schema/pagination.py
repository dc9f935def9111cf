"""Pagination: Relay's cursors, forward and backward, and numbered pages, over LangSmith's offsets."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from app.errors import BadUserInputError
from app.sessions.query import MAX_LIMIT, PageQuery

MAX_SESSIONS: Final = 500
"""Sessions in one connection, and ids in one call of `nodes`."""
DEFAULT_FIRST: Final = 20
"""Sessions in a connection whose length is not given."""
_CURSOR: Final = re.compile(r"v1:(0|[1-9]\d{0,8})")
"""A cursor, decoded: its version and an offset. The version tells it apart from cursors of LangSmith's v2 API."""


@dataclass(frozen=True)
class Slice:
    """The rows of a connection: `count` rows from the position `start` on, counted from 0."""

    start: int
    count: int

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
        return Slice(offset or 0 if after is None else _position("after", after) + 1, first)
    _check_length("last", last)
    if before is None:
        raise BadUserInputError(
            "`last` requires `before`, because LangSmith does not tell the length of the list.", argument="last"
        )
    if after is not None or offset is not None:
        raise BadUserInputError("Only allowed with `before`.", argument="last")
    end = _position("before", before)
    return Slice(max(0, end - last), min(last, end))


def cursor_of(position: int) -> str:
    """The cursor of the row at this position, counted from 0."""
    return base64.urlsafe_b64encode(f"v1:{position}".encode()).decode().rstrip("=")


def _check_length(argument: str, length: int) -> None:
    if not 1 <= length <= MAX_SESSIONS:
        raise BadUserInputError(f"It must be from 1 to {MAX_SESSIONS}.", argument=argument)


def _position(argument: str, cursor: str) -> int:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    match = _CURSOR.fullmatch(text)
    # Base64 has several spellings of one text. Only the spelling that `cursor_of` returns is a cursor.
    if match is None or cursor_of(int(match[1])) != cursor:
        raise BadUserInputError("The cursor is not valid: use one from `pageInfo` or from an edge.", argument=argument)
    return int(match[1])
