"""Which rows a connection's arguments mean: Relay's cursors, forward and backward, over LangSmith's offsets."""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from app.errors import BadUserInputError
from app.sessions.query import MAX_LIMIT, PageQuery

MAX_FIRST: Final = 500
_CURSOR: Final = re.compile(r"v1:(0|[1-9]\d{0,8})")
"""Versioned, so that cursors of LangSmith's own, which its next API has, can be told apart."""


@dataclass(frozen=True)
class Slice:
    """`count` rows from `start` on, counted from 0."""

    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count

    def queries(self, page: PageQuery, *, one_more: bool) -> Iterator[PageQuery]:
        """The requests for these rows; with `one_more`, for the row after them too, where it needs no extra one."""
        end = self.end + (1 if one_more and self.count % MAX_LIMIT else 0)
        for offset in range(self.start, end, MAX_LIMIT):
            yield replace(page, offset=offset, limit=min(MAX_LIMIT, end - offset))


def parse_slice(*, first: int, after: str | None, offset: int | None, last: int | None, before: str | None) -> Slice:
    """Raises BadUserInput. `last`, where given, decides the length in place of `first`, which has a default."""
    _check_length("first", first)
    if last is None:
        if before is not None:
            raise BadUserInputError("Paging backward needs `last` beside it.", argument="before")
        if after is not None and offset is not None:
            raise BadUserInputError("Give either `after` or `offset`, not both.", argument="offset")
        if offset is not None and offset < 0:
            raise BadUserInputError("It must be 0 or more.", argument="offset")
        return Slice(offset or 0 if after is None else _position("after", after) + 1, first)
    _check_length("last", last)
    if before is None:
        raise BadUserInputError(
            "Paging backward needs `before` beside it: LangSmith does not know the end.", argument="last"
        )
    if after is not None or offset is not None:
        raise BadUserInputError("It goes with `before` only.", argument="last")
    end = _position("before", before)
    return Slice(max(0, end - last), min(last, end))


def cursor_of(position: int) -> str:
    return base64.urlsafe_b64encode(f"v1:{position}".encode()).decode().rstrip("=")


def _check_length(argument: str, length: int) -> None:
    if not 1 <= length <= MAX_FIRST:
        raise BadUserInputError(f"It must be from 1 to {MAX_FIRST}.", argument=argument)


def _position(argument: str, cursor: str) -> int:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (ValueError, binascii.Error):
        text = ""
    match = _CURSOR.fullmatch(text)
    # Only the very text that was handed out: another spelling of it is rubbish too.
    if match is None or cursor_of(int(match[1])) != cursor:
        raise BadUserInputError(
            "This is no cursor of this gateway: take it from `pageInfo` or an edge.", argument=argument
        )
    return int(match[1])
