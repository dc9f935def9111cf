"""Answers that are kept as the bytes they were sent as, for whoever sends the same bytes with the same credential.

Each rests on held pages, and is served only while those are fresh and unchanged. Errors are never kept.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.bound import Bound
from app.trace import Use

_REQUEST_LENGTH: Final = 16 * 1024
"""Longer requests are not remembered."""
_OVERHEAD: Final = 1000
"""Bytes that an answer takes beside its body and its key, about."""


@dataclass(frozen=True)
class Kept:
    """`name` and `document` are for the log; `until`: in monotonic seconds, whatever the pages say."""

    body: bytes
    etag: str
    uses: Sequence[Use]
    until: float
    name: str | None
    document: str
    cost: int


class KeptResponses:
    def __init__(self, max_bytes: int) -> None:
        self._bound: Bound[str] = Bound(max_bytes)
        self._held: dict[str, Kept] = {}

    @property
    def held_bytes(self) -> int:
        return self._bound.held_bytes

    def key(self, scope: str, method: str, sent: bytes) -> str | None:
        """None where nothing is to be kept."""
        if not self._bound.fits(_OVERHEAD) or len(sent) > _REQUEST_LENGTH:
            return None
        return f"{scope}:{method}:{sent.decode('latin-1')}"

    def get(self, key: str) -> Kept | None:
        kept = self._held.get(key)
        if kept:
            self._bound.use(key)
        return kept

    def keep(self, key: str, kept: Kept) -> None:
        weight = len(kept.body) + len(key) + _OVERHEAD + 100 * len(kept.uses)
        if not self._bound.fits(weight):
            return
        self._held[key] = kept
        for evicted in self._bound.add(key, weight):
            del self._held[evicted]

    def drop(self, key: str) -> None:
        self._bound.forget(key)
        self._held.pop(key, None)


def etag_of(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:24]}"'


def matches(if_none_match: bytes, etag: str) -> bool:
    """Whether the client holds that very answer."""
    held = (each.strip().removeprefix("W/") for each in if_none_match.decode("latin-1").split(","))
    return any(each in {etag, "*"} for each in held)
