"""Leases in Redis: of several processes that need the same thing from LangSmith, one fetches it and the others wait.

**Lease.** A lease is an exclusive right for a limited time. A process acquires one by writing a key that expires after
`LEASE_SECONDS`, and extends it while it fetches. If the process dies, the key expires, and the next process may fetch;
a lock without an expiry would block everybody for ever. When a fetch ends, its holder replaces the lease by the
outcome, which is kept for a moment: waiting processes then read the result from Redis, or raise the same error.

**Claim.** The value of a lease says how many rows and which statistics are being fetched. A process that needs more
than that does not wait: it acquires a second lease, whose key includes the larger claim.

**Fencing token.** A lease alone cannot prevent that two processes write: a holder that was paused (by the garbage
collector, or the network) goes on when its lease has expired and another process holds the next one. Each lease
therefore has a token from a counter in Redis. Results are written with their token, and a result with a lower token
never overwrites younger values with a higher one (`WRITE_SCRIPT` in `scripts.py`). Renewing and releasing also
compare the token, so that a late process leaves the lease of the next holder alone.

A key holds one of:

    h<token> <limit> <statistics> <began>   a lease: its token and claim
    d<token>                                the fetch is done; the result can be read from Redis
    f<token> <error>                        the fetch failed with that error

Redis does not notify waiting processes. They poll at random moments, with pauses that grow.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from app.cache.shared import error_codec
from app.cache.shared.scripts import ACQUIRE_SCRIPT, READ_LEASES_SCRIPT, RELEASE_SCRIPT, RENEW_SCRIPT
from app.errors import GatewayError
from app.redis.connection import RedisUnavailableError

LEASE_SECONDS: Final = 3.0
"""Seconds after which a lease expires unless it is renewed."""
_RENEWALS_PER_LEASE: Final = 3
_OUTCOME_SECONDS: Final = 2.0
"""Seconds for which the outcome of a fetch is kept for waiting processes."""
_FIRST_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.15


class ScriptRunner(Protocol):
    """A Redis that runs Lua scripts, each as one atomic step. `RedisConnection` is the real one."""

    async def script(self, text: str, keys: list[str], args: list[bytes | str | int]) -> object:
        """The result of the script. Raises RedisUnavailableError."""


@dataclass(frozen=True)
class FetchClaim:
    """What is fetched under a lease.

    - `limit`: number of rows.
    - `statistics`: bits of the statistics (`codec.statistics_to_bits`).
    - `began`: when the fetch began, in microseconds since the epoch.
    """

    limit: int
    statistics: int
    began: int

    def covers(self, other: Self) -> bool:
        """Whether a process that needs the other claim can wait for this one."""
        return self.limit >= other.limit and self.statistics & other.statistics == other.statistics

    @property
    def key(self) -> str:
        """Part of a lease's key: distinguishes claims that do not cover each other."""
        return f"{self.limit}-{self.statistics:x}"

    def as_text(self) -> str:
        return f"{self.limit} {self.statistics:x} {self.began}"


@dataclass(frozen=True)
class LeaseHolder:
    """Another process that holds a lease: the key of the lease, its fencing token, and what is being fetched."""

    key: str
    token: int
    claim: FetchClaim


@dataclass(frozen=True)
class Lease:
    """The result of an attempt to acquire leases for several names.

    - `token`: the fencing token, to be written with what is fetched.
    - `acquired`: keys of the leases that this process holds, by name.
    - `held_by_others`: the holders of the other names.
    - `just_released`: names among the acquired ones whose previous lease ended a moment ago. Their result may be in
      Redis already.
    """

    token: int
    acquired: Mapping[str, str] = field(default_factory=dict)
    held_by_others: Mapping[str, LeaseHolder] = field(default_factory=dict)
    just_released: frozenset[str] = frozenset()


class Leases:
    """Acquires, renews and releases leases.

    `prefix` begins all keys. The scope is the hash tag of a key (`{scope}`), so that a Redis Cluster keeps all keys of
    a scope in one slot, and a script may use several of them.
    """

    def __init__(self, redis: ScriptRunner, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    async def acquire(
        self, scope: str, names: Collection[str], claim: FetchClaim, need: FetchClaim | None = None
    ) -> Lease:
        """Tries to acquire a lease for each name. Raises RedisUnavailableError.

        `claim` is what this process would fetch. `need` is the part of it that it cannot do without: it waits for a
        holder whose claim covers that, and competes with all others.
        """
        need = need or claim
        lease = await self._acquire_keys(scope, {name: self._key(scope, name) for name in names}, claim)
        short = [name for name, holder in lease.held_by_others.items() if not holder.claim.covers(need)]
        if not short:
            return lease
        larger = await self._acquire_keys(
            scope, {name: self._key(scope, f"{name}+{need.key}") for name in short}, claim
        )
        waited_for = {name: holder for name, holder in lease.held_by_others.items() if name not in short}
        return Lease(
            max(lease.token, larger.token),
            {**lease.acquired, **larger.acquired},
            {**waited_for, **larger.held_by_others},
            lease.just_released | larger.just_released,
        )

    @contextlib.asynccontextmanager
    async def renewing(self, lease: Lease) -> AsyncIterator[None]:
        """Renews a lease for as long as the context is open."""
        renewal = asyncio.create_task(self._renew(lease))
        try:
            yield
        finally:
            renewal.cancel()

    async def release(self, lease: Lease, failure: GatewayError | None = None, *, shares_outcome: bool = True) -> None:
        """Ends a lease: done, or failed. Does nothing while Redis is unavailable, since the lease expires by itself.

        Without `shares_outcome` the outcome is nobody else's (for example because the last client has disconnected),
        and waiting processes fetch for themselves.
        """
        outcome = b"" if not shares_outcome else b"d" if failure is None else b"f" + error_codec.encode(failure)
        with contextlib.suppress(RedisUnavailableError):
            await self._redis.script(
                RELEASE_SCRIPT,
                [*lease.acquired.values()],
                [f"h{lease.token} ", outcome, round(_OUTCOME_SECONDS * 1000), f"{lease.token} "],
            )

    async def wait_released(self, holders: Collection[LeaseHolder]) -> None:
        """Waits until all these leases have ended. Raises the error of the first that failed.

        A lease that expired, or that was released without an outcome, has ended too. Raises RedisUnavailableError.
        """
        tokens = {holder.key: holder.token for holder in holders}
        pause = _FIRST_PAUSE_SECONDS
        while tokens:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret, and a simulation seeds it
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            keys = [*tokens]
            values = await self._redis.script(READ_LEASES_SCRIPT, keys, [])
            for key, value in zip(keys, values if isinstance(values, list) else [None] * len(keys), strict=True):
                is_same_lease = _token_of(value) == tokens[key]
                if is_same_lease and value[:1] == b"f":
                    raise error_codec.decode(value.partition(b" ")[2])
                if not is_same_lease or value[:1] != b"h":
                    del tokens[key]

    async def _acquire_keys(self, scope: str, keys: Mapping[str, str], claim: FetchClaim) -> Lease:
        answer = await self._redis.script(
            ACQUIRE_SCRIPT, [self._key(scope, "fence"), *keys.values()], [round(LEASE_SECONDS * 1000), claim.as_text()]
        )
        token, *values = answer if isinstance(answer, list) else [0]
        acquired, held_by_others, just_released = dict[str, str](), dict[str, LeaseHolder](), set[str]()
        for (name, key), value in zip(keys.items(), values, strict=True):
            if value[:1] == b"h" and (holder := _holder(key, value)):
                held_by_others[name] = holder
            else:
                acquired[name] = key
                if value:
                    just_released.add(name)
        return Lease(int(token), acquired, held_by_others, frozenset(just_released))

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / _RENEWALS_PER_LEASE)
            with contextlib.suppress(RedisUnavailableError):
                await self._redis.script(
                    RENEW_SCRIPT, [*lease.acquired.values()], [f"h{lease.token} ", round(LEASE_SECONDS * 1000)]
                )

    def _key(self, scope: str, name: str) -> str:
        return f"{self._prefix}{{{scope}}}:lease:{name}"


def _token_of(value: object) -> int | None:
    token = value[1:].partition(b" ")[0] if isinstance(value, bytes) else b""
    return int(token) if token.isdigit() else None


def _holder(key: str, value: bytes) -> LeaseHolder | None:
    try:
        token, limit, statistics, began = value[1:].split()
        return LeaseHolder(key, int(token), FetchClaim(int(limit), int(statistics, 16), int(began)))
    except ValueError:
        return None
