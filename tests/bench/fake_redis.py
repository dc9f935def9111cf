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
    WRITE_PAGE_SCRIPT,
    WRITE_SESSIONS_SCRIPT,
)

_MOST_BODIES: Final = 8
_MOST_FIELDS: Final = 16
_MOST_YOUNG_FIELDS: Final = 128
_DAY: Final = 86_400.0
_LEASE: Final = re.compile(rb"h[0-9a-f]+ \d+ \d+ [0-9a-f]+ [0-9a-f]+ \d+")
_BITS: Final = re.compile(rb"[0-9a-f]+")
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
            WRITE_PAGE_SCRIPT: self._write_page,
            WRITE_SESSIONS_SCRIPT: self._write_sessions,
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

    def _page(self, keys: list[str], args: list[bytes]) -> list[object]:
        dropped, page, selections, counter, lease = keys
        window, since, lifetime, owner, claim = args
        fields = self._hash(page)
        times = {name: int(found[2]) if (found := _HEAD.match(value)) else 0 for name, value in fields.items()}
        bodies = {name: value for name, value in fields.items() if name == b"columns" or name.startswith(window)}
        others = {name: value for name, value in fields.items() if name not in bodies}
        # Of two that were fetched at the same time, Redis may return either.
        youngest = max(others, key=times.__getitem__, default=None)
        returned: Hash = {}
        if any(times[name] > int(since) for name in bodies):
            returned = bodies
        elif youngest is not None and times[youngest] > int(since):
            returned = {youngest: others[youngest]}
        token = 0
        if not returned and owner and not self._is_held(lease, owner, lifetime):
            token = self._next_token(counter)
            self._set(lease, b"h%s %d %s" % (owner, token, claim), lifetime)
        return [self._text(dropped), _flat(self._hash(selections)), _flat(returned), token]

    def _want(self, keys: list[str], args: list[bytes]) -> None:
        lifetime, value, *names = args
        for key in keys:
            self._record_selection(key, lifetime, value, names)

    def _record_selection(self, key: str, lifetime: bytes, value: bytes, names: list[bytes]) -> None:
        expires_at = self._clock() + int(lifetime) / 1000
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

    def _write_page(self, keys: list[str], args: list[bytes]) -> None:
        page, selections, *leases = keys
        token, lifetime, fetched_at, latest, field, head, rows, length = args[:8]
        fields = self._hash(page)
        if not _is_newer(fields.get(field), token, fetched_at, latest):
            fields[field] = b"%s %s %s" % (token, fetched_at, head + rows)
            for other in [*fields] if int(length) else []:
                if other != field and _is_superseded(other, fields[other], field, int(length), int(fetched_at)):
                    del fields[other]
        if len(fields) > _MOST_BODIES:
            fields = _young(fields, fetched_at, lifetime)
            if len(fields) > _MOST_BODIES:
                fields = {name: value for name, value in fields.items() if name == field}
        self._set_hash(page, fields, lifetime)
        if names := args[13:]:
            self._record_selection(selections, args[8], args[9], names)
        self._end(leases, args[10:13])

    def _write_sessions(self, keys: list[str], args: list[bytes]) -> None:
        token, lifetime, fetched_at, latest, field, count = args[:6]
        head = b"%s %s " % (token, fetched_at)
        sessions, leases = keys[: int(count)], keys[int(count) :]
        for key, columns, statistics in zip(sessions, args[9::2], args[10::2], strict=True):
            fields = self._hash(key)
            if not _is_newer(fields.get(b"columns"), token, fetched_at, latest):
                fields[b"columns"] = head + columns
            if field and statistics and not _is_newer(fields.get(field), token, fetched_at, latest):
                fields[field] = head + statistics
            if len(fields) > _MOST_FIELDS:
                fields = _young(fields, fetched_at, lifetime)
                if len(fields) > _MOST_YOUNG_FIELDS:
                    fields = {name: value for name, value in fields.items() if name in {b"columns", field}}
            self._set_hash(key, fields, lifetime)
        self._end(leases, args[6:9])

    def _set_hash(self, key: str, fields: Hash, lifetime: bytes) -> None:
        if fields:
            self._entries[key] = Entry(fields, self._clock() + int(lifetime) / 1000)
        else:
            self._entries.pop(key, None)

    def _delete(self, keys: list[str], _: list[bytes]) -> None:
        for key in keys:
            self._entries.pop(key, None)

    def _take(self, keys: list[str], args: list[bytes]) -> list[object]:
        lifetime, owner, claim = args
        token = self._next_token(keys[0])
        answer: list[object] = [token]
        for key in keys[1:]:
            before = self._text(key) or b""
            if self._is_held(key, owner, lifetime):
                answer.append(before)
            else:
                self._set(key, b"h%s %d %s" % (owner, token, claim), lifetime)
                answer.append(before[:1])
        return answer

    def _next_token(self, counter: str) -> int:
        token = int(self._text(counter) or b"0") + 1
        self._entries[counter] = Entry(b"%d" % token, self._clock() + _DAY)
        return token

    def _is_held(self, key: str, owner: bytes, lifetime: bytes) -> bool:
        """Whether another owner holds a lease."""
        value = self._text(key) or b""
        is_lease = _LEASE.fullmatch(value) and self._entries[key].expires_at <= self._clock() + int(lifetime) / 1000
        return bool(is_lease) and not value.startswith(b"h%s " % owner)

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


def _is_newer(value: bytes | None, token: bytes, fetched_at: bytes, latest: bytes) -> bool:
    stored = _HEAD.match(value) if value else None
    return stored is not None and int(stored[1]) > int(token) and int(fetched_at) < int(stored[2]) <= int(latest)


def _young(fields: Hash, fetched_at: bytes, lifetime: bytes) -> Hash:
    """The fields that were fetched within the lifetime."""
    oldest = int(fetched_at) - int(lifetime) * 1000
    heads = {name: _HEAD.match(value) for name, value in fields.items()}
    return {name: fields[name] for name, found in heads.items() if found and int(found[2]) >= oldest}


def _is_superseded(other: bytes, value: bytes, field: bytes, length: int, fetched_at: int) -> bool:
    """Whether a body has no other statistics over the same window than one that was fetched later."""
    if other[:length] != field[:length] or not _BITS.fullmatch(other[length:]):
        return False
    if int(other[length:], 16) & ~int(field[length:], 16):
        return False
    head = _HEAD.match(value)
    return head is None or int(head[2]) <= fetched_at


def _flat(fields: Hash) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]


def _bytes(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
