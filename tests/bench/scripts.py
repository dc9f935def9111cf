"""The gateway's Lua scripts in Python, over a dict in place of a Redis: for workers that live in virtual time.

A test asks it and a real redis-server the same, and compares what they answer and what they hold then.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.cache.shared.leases import _END, _LOOK, _RENEW, _TAKE
from app.cache.shared.redis_records import _FORGET, _PAGE, _READ, _WANT, _WRITE

_MOST_FIELDS: Final = 16
_DAY: Final = 86_400.0
_HEAD: Final = re.compile(rb"(\d+) (\d+) ")

Hash = dict[bytes, bytes]


@dataclass
class Entry:
    """`until`: when it is gone, by the stand-in's clock."""

    value: bytes | Hash
    until: float


class Scripted:
    """`latency`: seconds there and back. Counts the calls, and the bytes of what they carry."""

    def __init__(self, clock: Callable[[], float], *, latency: float = 0.0) -> None:
        self._clock = clock
        self._way = latency / 2
        self._held: dict[str, Entry] = {}
        self._by_text: dict[str, Callable[[list[str], list[bytes]], object]] = {
            _LOOK: self._look,
            _PAGE: self._page,
            _WANT: self._want,
            _FORGET: self._forget,
            _READ: self._read,
            _WRITE: self._write,
            _TAKE: self._take,
            _RENEW: self._renew,
            _END: self._end,
        }
        self.calls = 0

    async def script(self, text: str, keys: list[str], args: list[bytes | str | int]) -> object:
        self.calls += 1
        if self._way:
            await asyncio.sleep(self._way)
        answer = self._by_text[text](keys, [_bytes(each) for each in args])
        if self._way:
            await asyncio.sleep(self._way)
        return answer

    @property
    def held(self) -> dict[str, Entry]:
        """What has not expired, by its key."""
        now = self._clock()
        return {key: each for key, each in self._held.items() if each.until > now}

    def _entry(self, key: str) -> Entry | None:
        entry = self._held.get(key)
        if entry and entry.until <= self._clock():
            del self._held[key]
            return None
        return entry

    def _text(self, key: str) -> bytes | None:
        entry = self._entry(key)
        return entry.value if entry and isinstance(entry.value, bytes) else None

    def _hash(self, key: str) -> Hash:
        entry = self._entry(key)
        return entry.value if entry and isinstance(entry.value, dict) else {}

    def _set(self, key: str, value: bytes, milliseconds: bytes) -> None:
        self._held[key] = Entry(value, self._clock() + int(milliseconds) / 1000)

    def _look(self, keys: list[str], _: list[bytes]) -> list[bytes | None]:
        return [self._text(key) for key in keys]

    def _page(self, keys: list[str], _: list[bytes]) -> list[object]:
        return [*self._look(keys[:2], []), _flat(self._hash(keys[2]))]

    def _want(self, keys: list[str], args: list[bytes]) -> None:
        lifetime, value, *names = args
        until = self._clock() + int(lifetime) / 1000
        for key in keys:
            known = self._hash(key)
            lasts = self._held[key].until if known else until
            if fields := known | dict.fromkeys(names, value):
                self._held[key] = Entry(fields, max(until, lasts))
            else:
                self._held.pop(key, None)

    def _forget(self, keys: list[str], args: list[bytes]) -> None:
        self._set(keys[0], args[0], args[1])

    def _read(self, keys: list[str], args: list[bytes]) -> list[object]:
        found: list[object] = [self._text(keys[0])]
        for key in keys[1:]:
            fields = self._hash(key)
            kept = [name for name in fields if name == b"columns" or name.startswith(args[0])]
            found.append(_flat({name: fields[name] for name in kept}))
        return found

    def _write(self, keys: list[str], args: list[bytes]) -> None:
        token, lifetime, asked, page, field, *cells = args
        head = b"%s %s " % (token, asked)

        def is_newer(value: bytes | None) -> bool:
            its = _HEAD.match(value) if value else None
            return its is not None and int(its[1]) > int(token) and int(its[2]) > int(asked)

        if page and not is_newer(self._text(keys[0])):
            self._set(keys[0], head + page, lifetime)
        oldest = int(asked) - int(lifetime) * 1000
        for key, columns, statistics in zip(keys[1:], cells[::2], cells[1::2], strict=True):
            fields = self._hash(key)
            if not is_newer(fields.get(b"columns")):
                fields[b"columns"] = head + columns
            if field and columns and not is_newer(fields.get(field)):
                fields[field] = head + statistics
            if len(fields) > _MOST_FIELDS:
                heads = {name: _HEAD.match(value) for name, value in fields.items()}
                fields = {name: fields[name] for name, its in heads.items() if its and int(its[2]) >= oldest}
            if fields:
                self._held[key] = Entry(fields, self._clock() + int(lifetime) / 1000)
            else:
                self._held.pop(key, None)

    def _take(self, keys: list[str], args: list[bytes]) -> list[object]:
        token = int(self._text(keys[0]) or b"0") + 1
        self._held[keys[0]] = Entry(b"%d" % token, self._clock() + _DAY)
        found: list[object] = [token]
        for key in keys[1:]:
            before = self._text(key)
            if before is None or before[:1] != b"h":
                self._set(key, b"h%d %s" % (token, args[1]), args[0])
            found.append(before or b"")
        return found

    def _renew(self, keys: list[str], args: list[bytes]) -> None:
        for key in keys:
            if (self._text(key) or b"").startswith(args[0]):
                self._held[key].until = self._clock() + int(args[1]) / 1000

    def _end(self, keys: list[str], args: list[bytes]) -> None:
        mine, outcome, milliseconds, head = args
        for key in keys:
            if (self._text(key) or b"").startswith(mine):
                if outcome:
                    self._set(key, outcome[:1] + head + outcome[1:], milliseconds)
                else:
                    del self._held[key]


def _flat(fields: Hash) -> list[bytes]:
    return [part for pair in fields.items() for part in pair]


def _bytes(value: bytes | str | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
