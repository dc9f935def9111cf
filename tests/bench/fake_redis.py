"""A double of Redis for virtual time: the gateway's Lua scripts, written again in Python over a dict.

A test runs the same scripts here and on a real redis-server, and compares their answers and the stored entries.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.cache.shared.scripts import (
    ACQUIRE_SCRIPT,
    DELETE_SCRIPT,
    DROP_SCOPE_SCRIPT,
    READ_LEASES_SCRIPT,
    READ_PAGE_SCRIPT,
    READ_SESSIONS_SCRIPT,
    RECORD_SELECTION_SCRIPT,
    RELEASE_SCRIPT,
    RENEW_SCRIPT,
    WRITE_SCRIPT,
)

_MOST_FIELDS: Final = 16
_MOST_YOUNG_FIELDS: Final = 128
_DAY: Final = 86_400.0
_LEASE: Final = re.compile(rb"h[0-9a-f]+ \d+ \d+ [0-9a-f]+ [0-9a-f]+ \d+")
_HEAD: Final = re.compile(rb"(\d+) (\d+) ")

Hash = dict[bytes, bytes]


@dataclass
class Entry:
    """A stored value, which expires at a time of the clock in seconds."""

    value: bytes | Hash
    expires_at: float


class FakeRedis:
    """Runs the gateway's scripts. `latency`: seconds of a round trip."""

    def __init__(self, clock: Callable[[], float], *, latency: float = 0.0) -> None:
        self._clock = clock
        self._one_way_seconds = latency / 2
        self._entries: dict[str, Entry] = {}
        self._by_text: dict[str, Callable[[list[str], list[bytes]], object]] = {
            READ_LEASES_SCRIPT: self._look,
            READ_PAGE_SCRIPT: self._page,
            RECORD_SELECTION_SCRIPT: self._want,
            DROP_SCOPE_SCRIPT: self._forget,
            READ_SESSIONS_SCRIPT: self._read,
            WRITE_SCRIPT: self._write,
            DELETE_SCRIPT: self._delete,
            ACQUIRE_SCRIPT: self._take,
            RENEW_SCRIPT: self._renew,
            RELEASE_SCRIPT: self._end,
        }

    async def script(self, text: str, keys: list[str], args: list[bytes | str | int]) -> object:
        if self._one_way_seconds:
            await asyncio.sleep(self._one_way_seconds)
        answer = self._by_text[text](keys, [_bytes(arg) for arg in args])
        if self._one_way_seconds:
            await asyncio.sleep(self._one_way_seconds)
        return answer

    @property
    def entries(self) -> dict[str, Entry]:
        """The entries that have not expired, by key."""
        now = self._clock()
        return {key: entry for key, entry in self._entries.items() if entry.expires_at > now}

    def _entry(self, key: str) -> Entry | None:
        entry = self._entries.get(key)
        if entry and entry.expires_at <= self._clock():
            del self._entries[key]
            return None
        return entry

    def _text(self, key: str) -> bytes | None:
        entry = self._entry(key)
        return entry.value if entry and isinstance(entry.value, bytes) else None

    def _hash(self, key: str) -> Hash:
        entry = self._entry(key)
        return entry.value if entry and isinstance(entry.value, dict) else {}

    def _set(self, key: str, value: bytes, milliseconds: bytes) -> None:
        self._entries[key] = Entry(value, self._clock() + int(milliseconds) / 1000)

    def _look(self, keys: list[str], _: list[bytes]) -> list[bytes | None]:
        return [self._text(key) for key in keys]

    def _page(self, keys: list[str], _: list[bytes]) -> list[object]:
        return [*self._look(keys[:3], []), _flat(self._hash(keys[3]))]

    def _want(self, keys: list[str], args: list[bytes]) -> None:
        lifetime, value, *names = args
        expires_at = self._clock() + int(lifetime) / 1000
        for key in keys:
            stored = self._hash(key)
            stored_until = self._entries[key].expires_at if stored else expires_at
            new = dict.fromkeys(names, value) if len(stored) < _MOST_YOUNG_FIELDS else {}
            if fields := stored | new:
                self._entries[key] = Entry(fields, max(expires_at, stored_until))
            else:
                self._entries.pop(key, None)

    def _forget(self, keys: list[str], args: list[bytes]) -> None:
        self._set(keys[0], args[0], args[1])

    def _read(self, keys: list[str], args: list[bytes]) -> list[object]:
        answer: list[object] = [self._text(keys[0])]
        for key in keys[1:]:
            fields = self._hash(key)
            names = [name for name in fields if name == b"columns" or name.startswith(args[0])]
            answer.append(_flat({name: fields[name] for name in names}))
        return answer

    def _write(self, keys: list[str], args: list[bytes]) -> None:
        token, lifetime, fetched_at, latest, page, field, *cells = args
        head = b"%s %s " % (token, fetched_at)

        def is_newer(value: bytes | None) -> bool:
            stored = _HEAD.match(value) if value else None
            return (
                stored is not None and int(stored[1]) > int(token) and int(fetched_at) < int(stored[2]) <= int(latest)
            )

        if page and not is_newer(self._text(keys[0])):
            self._set(keys[0], head + page, lifetime)
        oldest = int(fetched_at) - int(lifetime) * 1000
        for key, columns, statistics in zip(keys[1:], cells[::2], cells[1::2], strict=True):
            fields = self._hash(key)
            if not is_newer(fields.get(b"columns")):
                fields[b"columns"] = head + columns
            if field and statistics and not is_newer(fields.get(field)):
                fields[field] = head + statistics
            if len(fields) > _MOST_FIELDS:
                heads = {name: _HEAD.match(value) for name, value in fields.items()}
                fields = {name: fields[name] for name, found in heads.items() if found and int(found[2]) >= oldest}
                if len(fields) > _MOST_YOUNG_FIELDS:
                    fields = {name: value for name, value in fields.items() if name in {b"columns", field}}
            if fields:
                self._entries[key] = Entry(fields, self._clock() + int(lifetime) / 1000)
            else:
                self._entries.pop(key, None)

    def _delete(self, keys: list[str], _: list[bytes]) -> None:
        for key in keys:
            self._entries.pop(key, None)

    def _take(self, keys: list[str], args: list[bytes]) -> list[object]:
        lifetime, owner, claim = args
        token = int(self._text(keys[0]) or b"0") + 1
        self._entries[keys[0]] = Entry(b"%d" % token, self._clock() + _DAY)
        answer: list[object] = [token]
        for key in keys[1:]:
            before = self._text(key) or b""
            if _LEASE.fullmatch(before) and self._entries[key].expires_at <= self._clock() + int(lifetime) / 1000:
                answer.append(before)
            else:
                self._set(key, b"h%s %d %s" % (owner, token, claim), lifetime)
                answer.append(before[:1])
        return answer

    def _renew(self, keys: list[str], args: list[bytes]) -> None:
        for key in keys:
            if (self._text(key) or b"").startswith(args[0]):
                self._entries[key].expires_at = self._clock() + int(args[1]) / 1000

    def _end(self, keys: list[str], args: list[bytes]) -> None:
        own_head, outcome, milliseconds = args
        for key in keys:
            if (self._text(key) or b"").startswith(own_head):
                if outcome:
                    self._set(key, outcome, milliseconds)
                else:
                    del self._entries[key]


def _flat(fields: Hash) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]


def _bytes(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
