"""Cursors of version 2: a position in the order of the list, for one request and its parameters only.

The position is the sort value and the id of the last row that was sent, not an offset: rows that appear, move or
vanish elsewhere in the list neither repeat other rows nor hide them.
"""

import base64
import hashlib
from collections.abc import Iterable

import msgspec

from app.emulator.errors import ApiError
from app.emulator.timestamps import SECOND

_REMEDY = "Request the first page again, without a cursor."


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a cursor.

    Args:
        key: Sort value of the last row that was sent.
        id: Id of that row.
        request: Fingerprint of the request that the cursor belongs to.
        page: Number of the page that follows, from 1.
        issued: Timestamp.
    """

    key: str | int | float | None
    id: str
    request: str
    page: int
    issued: int

    def encode(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    def next_page(self) -> str:
        """The cursor of the page after an empty one, which follows the same row."""
        return msgspec.structs.replace(self, page=self.page + 1).encode()

    @classmethod
    def decode(cls, text: str, *, request: str, now: int, lifetime: float | None) -> "Cursor":
        """The cursor of a request with this fingerprint. Raises ApiError with status 400."""
        try:
            encoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            cursor = msgspec.json.decode(encoded, type=cls)
        except ValueError:
            raise ApiError(400, "The cursor is invalid.", remedy=_REMEDY) from None
        if cursor.request != request:
            detail = "The cursor belongs to a request with other parameters."
            raise ApiError(400, detail, remedy="Repeat all parameters of that request, or omit the cursor.")
        # Assumed (cursor-expiry): an expired cursor is refused like any other cursor that is not accepted.
        if lifetime is not None and now - cursor.issued > lifetime * SECOND:
            raise ApiError(400, "The cursor has expired.", remedy=_REMEDY)
        return cursor


def fingerprint(workspace: str, params: Iterable[tuple[str, str]]) -> str:
    """What a cursor is bound to: the workspace, and every parameter but `cursor`, with its values in their order."""
    bound = sorted((pair for pair in params if pair[0] != "cursor"), key=lambda pair: pair[0])
    return hashlib.sha256(msgspec.json.encode([workspace, bound])).hexdigest()[:16]
