"""Whose turn it is to ask LangSmith, among processes that share a Redis: one asks, the others wait for what it finds.

A turn is a short lease, renewed while who has it lives: a process that dies costs the others no longer than that. With
it comes a fencing token, larger than those of all turns before, so that who comes late overwrites nothing newer. Who
waits looks again at random moments of a growing pause; what a turn ended with stays known for a while, a failure too.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from app.cache.shared import error_codec
from app.errors import GatewayError
from app.redis.connection import RedisUnavailableError

LEASE_SECONDS: Final = 3.0
"""Seconds that a turn lasts unless it is renewed."""
_RENEWALS: Final = 3
_REMEMBERED: Final = 2.0
"""Seconds that the end of a turn is known to those who waited for it."""
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.15


class ScriptRunner(Protocol):
    """Of a Redis: a Lua script with its keys and arguments. Raises Away."""

    async def script(self, text: str, keys: list[str], args: list[bytes | str | int]) -> object: ...


@dataclass(frozen=True)
class FetchClaim:
    """What a holder asks for: so many rows, and these statistics, as bits. `began`: when (microseconds of the day)."""

    limit: int
    statistics: int
    began: int

    def covers(self, other: Self) -> bool:
        return self.limit >= other.limit and self.statistics & other.statistics == other.statistics

    @property
    def key(self) -> str:
        return f"{self.limit}-{self.statistics:x}"

    def as_text(self) -> str:
        return f"{self.limit} {self.statistics:x} {self.began}"


@dataclass(frozen=True)
class LeaseHolder:
    """Who has the turn: its token, and what it asks for."""

    token: int
    claim: FetchClaim


@dataclass
class Lease:
    """`mine`: what it is this process's turn to ask for, by the keys of its leases; `others`: what somebody else asks.

    `ended`: those of mine for which another's turn has just ended, which may be there by now.
    """

    token: int
    acquired: dict[str, str] = field(default_factory=dict)
    held_by_others: dict[str, tuple[str, LeaseHolder]] = field(default_factory=dict)
    just_released: set[str] = field(default_factory=set)


class Leases:
    """`prefix` is that of all keys, which carry the scope as their hash tag, so that a cluster keeps them together."""

    def __init__(self, redis: ScriptRunner, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def acquire(
        self, scope: str, names: Collection[str], claim: FetchClaim, need: FetchClaim | None = None
    ) -> Lease:
        """A turn for those of the names that nobody asks for, or not as much of as is needed. Raises Away.

        `need`: where that is less than what is claimed.
        """
        need = need or claim
        turn = await self._take(scope, {name: self._key(scope, name) for name in names}, claim)
        short = [name for name, (_, holder) in turn.held_by_others.items() if not holder.claim.covers(need)]
        if short:
            keys = {name: self._key(scope, f"{name}+{need.key}") for name in short}
            more = await self._take(scope, keys, claim)
            turn.token = max(turn.token, more.token)
            turn.acquired |= more.acquired
            turn.just_released |= more.just_released
            for name in short:
                del turn.held_by_others[name]
            turn.held_by_others |= more.held_by_others
        return turn

    @contextlib.asynccontextmanager
    async def renewing(self, turn: Lease) -> AsyncIterator[None]:
        """Renews it meanwhile."""
        renewing = asyncio.create_task(self._renew(turn))
        try:
            yield
        finally:
            renewing.cancel()

    async def release(self, turn: Lease, failure: GatewayError | None = None, *, known: bool = True) -> None:
        """`known`: whether those who wait are to share the outcome; or else they ask for themselves."""
        outcome = (b"d" if failure is None else b"f" + error_codec.encode(failure)) if known else b""
        with contextlib.suppress(RedisUnavailableError):
            await self._redis.script(
                _END,
                [*turn.acquired.values()],
                [f"h{turn.token} ", outcome, round(_REMEMBERED * 1000), f"{turn.token} "],
            )

    async def wait_released(self, others: Mapping[str, tuple[str, LeaseHolder]]) -> None:
        """Waits until all these turns have ended, in whatever way but a failure, which is raised. Raises Away."""
        waiting = dict(others.values())
        pause = _FIRST_PAUSE
        while waiting:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret, and a simulation seeds it
            pause = min(2 * pause, _LONGEST_PAUSE)
            keys = [*waiting]
            values = await self._redis.script(_LOOK, keys, [])
            for key, value in zip(keys, values if isinstance(values, list) else [None] * len(keys), strict=True):
                token = waiting[key].token
                if _token_of(value) != token or value[:1] != b"h":
                    del waiting[key]
                if _token_of(value) == token and value[:1] == b"f":
                    raise error_codec.decode(value.partition(b" ")[2])

    async def _take(self, scope: str, keys: Mapping[str, str], claim: FetchClaim) -> Lease:
        answer = await self._redis.script(
            _TAKE, [self._key(scope, "fence"), *keys.values()], [round(LEASE_SECONDS * 1000), claim.as_text()]
        )
        token, *values = answer if isinstance(answer, list) else [0]
        turn = Lease(int(token))
        for (name, key), value in zip(keys.items(), values, strict=True):
            if value[:1] == b"h" and (holder := _holder(value)):
                turn.held_by_others[name] = key, holder
            else:
                turn.acquired[name] = key
                if value:
                    turn.just_released.add(name)
        return turn

    async def _renew(self, turn: Lease) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / _RENEWALS)
            with contextlib.suppress(RedisUnavailableError):
                await self._redis.script(
                    _RENEW, [*turn.acquired.values()], [f"h{turn.token} ", round(LEASE_SECONDS * 1000)]
                )

    def _key(self, scope: str, name: str) -> str:
        return f"{self._prefix}{{{scope}}}:turn:{name}"


def _token_of(value: object) -> int | None:
    """The token in what a key holds: `h<token> <claim>`, `d<token> ` or `f<token> <error>`."""
    token = value[1:].partition(b" ")[0] if isinstance(value, bytes) else b""
    return int(token) if token.isdigit() else None


def _holder(value: bytes) -> LeaseHolder | None:
    try:
        token, limit, statistics, began = value[1:].split()
        return LeaseHolder(int(token), FetchClaim(int(limit), int(statistics, 16), int(began)))
    except ValueError:
        return None


_TAKE: Final = """
local token = redis.pcall('INCR', KEYS[1])
if type(token) ~= 'number' then
  -- It cannot be read. The seconds of the day are more than all tokens before.
  token = tonumber(redis.call('TIME')[1])
  redis.call('SET', KEYS[1], string.format('%.0f', token))
end
redis.call('EXPIRE', KEYS[1], 86400)
local found = {token}
for i = 2, #KEYS do
  local before = redis.pcall('GET', KEYS[i])
  if type(before) ~= 'string' then before = nil end
  if not before or string.sub(before, 1, 1) ~= 'h' then
    redis.call('SET', KEYS[i], 'h' .. string.format('%.0f', token) .. ' ' .. ARGV[2], 'PX', ARGV[1])
  end
  found[i] = before or ''
end
return found
"""
_RENEW: Final = """
for i = 1, #KEYS do
  local held = redis.call('GET', KEYS[i])
  if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
end
"""
_END: Final = """
for i = 1, #KEYS do
  local held = redis.call('GET', KEYS[i])
  if held and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
    if ARGV[2] == '' then
      redis.call('DEL', KEYS[i])
    else
      redis.call('SET', KEYS[i], string.sub(ARGV[2], 1, 1) .. ARGV[4] .. string.sub(ARGV[2], 2), 'PX', ARGV[3])
    end
  end
end
"""
_LOOK: Final = "return redis.call('MGET', unpack(KEYS))"
