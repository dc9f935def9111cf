"""Leases in Redis: of several processes that need the same thing from LangSmith, one fetches it and the others wait.

**Lease.** A lease is an exclusive right for a limited time. A process acquires one by writing a key that expires after
`LEASE_SECONDS`, and extends it while it fetches. If the process dies, the key expires, and the next process may fetch;
a lock without an expiry would block everybody for ever. When a fetch ends, its holder replaces the lease by the
outcome, which is kept for a moment: waiting processes then read the result from Redis, or raise the same error.

**Owner.** Each attempt to acquire leases has a random name, which is part of the lease. Renewing and releasing compare
it, so that a late process leaves the lease of the next holder alone. A process knows the name before Redis has
answered, so that it can also release what it acquired by a command whose answer was lost, or that it was cancelled in.

**Claim.** The value of a lease says how many rows and which statistics are being fetched, which of them the holder
cannot do without, and since when. A process that needs more, or something younger, does not wait: it acquires a second
lease, whose key includes the larger claim. If that is held as well, it fetches without a lease.

**Fencing token.** A lease alone cannot prevent that two processes write: a holder that was paused (by the garbage
collector, or the network) goes on when its lease has expired and another process holds the next one. Each lease
therefore has a token from a counter in Redis. Results are written with their token, and a result with a lower token
never overwrites younger values with a higher one (the scripts that write, in `scripts.py`).

A key of the kind `lease` holds one of:

    h<owner> <token> <limit> <statistics> <required> <began>   a lease: its owner, token and claim
    d<owner>                                                   the fetch is done; the result can be read from Redis
    f<owner> <error>                                           the fetch failed with that error

Redis does not notify waiting processes. They poll at random moments, with pauses that grow.
"""

import asyncio
import contextlib
import random
import re
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from typing import Any, Final, Protocol

from app.cache.shared import error_codec
from app.cache.shared.background_writes import BackgroundWrites
from app.cache.shared.lease_values import AcquireCall, FetchClaim, Lease, LeaseHolder, ReleaseCall
from app.cache.shared.redis_keys import KeyKind, redis_key
from app.cache.shared.scripts import ACQUIRE_SCRIPT, READ_LEASES_SCRIPT, RELEASE_SCRIPT, RENEW_SCRIPT
from app.errors import GatewayError
from app.redis.connection import RedisUnavailableError

LEASE_SECONDS: Final = 1.0
"""Seconds after which a lease expires unless it is renewed. Nobody waits longer for a lease that nobody holds: its
holder was killed, or Redis ran the script that acquired it, but lost the answer and could not be told to release it."""
_RENEWAL_SECONDS: Final = LEASE_SECONDS / 3
_OUTCOME_SECONDS: Final = 2.0
"""Seconds for which the outcome of a fetch is kept for waiting processes."""
_LEASE_MS: Final = round(LEASE_SECONDS * 1000)
_OUTCOME_MS: Final = round(_OUTCOME_SECONDS * 1000)
_FIRST_PAUSE_SECONDS: Final = 0.01
_LONGEST_PAUSE_SECONDS: Final = 0.15
_HELD: Final = re.compile(rb"h([0-9a-f]+) (\d+) (\d+) ([0-9a-f]+) ([0-9a-f]+) (\d+)", re.IGNORECASE)


class ScriptRunner(Protocol):
    """A Redis that runs Lua scripts, each as one atomic step. `RedisConnection` is the real one."""

    async def script(self, text: str, keys: list[str], args: list[bytes | str | int]) -> object:
        """The result of the script. Raises RedisUnavailableError."""


Publish = Callable[[ReleaseCall], Coroutine[Any, Any, bool]]
"""Writes what was fetched under a lease and releases it, in one script. False if there is nothing to write."""


class Leases:
    """Acquires, renews and releases leases.

    - `prefix`: begins all keys.
    - `background`: runs the releases, which nobody waits for, and which go on when the caller is cancelled.
    """

    def __init__(self, redis: ScriptRunner, prefix: str, background: BackgroundWrites) -> None:
        self._redis = redis
        self._prefix = prefix
        self._background = background

    def acquire_call(self, scope: str, name: str, claim: FetchClaim) -> AcquireCall:
        """What a script needs to acquire a lease as a part of it."""
        keys = [self._key(scope, KeyKind.FENCE), self._key(scope, KeyKind.LEASE, name=name)]
        return AcquireCall(name, claim, keys, [_LEASE_MS, secrets.token_hex(8), claim.as_text()])

    def abandon(self, call: AcquireCall) -> None:
        """Releases, in the background, what Redis may have acquired although its answer was lost."""
        _, owner, _ = call.args
        self._background.start(self._replace(str(owner), call.keys[1:], b""))

    async def acquire(
        self,
        scope: str,
        names: Collection[str],
        claim: FetchClaim,
        *,
        began_after: int | None = None,
        owner: str | None = None,
    ) -> Lease:
        """Tries to acquire a lease for each name. Raises RedisUnavailableError.

        The process can wait for a holder whose claim covers its own, and that began after `began_after` (microseconds
        since the epoch; None for any time). `owner`: of a lease whose claim is to be replaced.
        """
        owner = owner or secrets.token_hex(8)
        keys = {name: self._key(scope, KeyKind.LEASE, name=name) for name in names}
        larger_keys = {name: self._key(scope, KeyKind.LEASE, name=f"{name}+{claim.key}") for name in names}

        def can_wait(holder: LeaseHolder) -> bool:
            return holder.claim.covers(claim) and (began_after is None or holder.claim.began > began_after)

        try:
            lease = await self._acquire_keys(owner, scope, keys, claim)
            others = {name: holder for name, holder in lease.held_by_others.items() if can_wait(holder)}
            short = lease.held_by_others.keys() - others.keys()
            if not short:
                return lease
            larger = await self._acquire_keys(owner, scope, {name: larger_keys[name] for name in short}, claim)
        except BaseException:
            # Cancelled, or the answer was lost: Redis may have run the script all the same.
            self._background.start(self._replace(owner, [*keys.values(), *larger_keys.values()], b""))
            raise
        others |= {name: holder for name, holder in larger.held_by_others.items() if can_wait(holder)}
        return Lease(
            owner,
            larger.token,
            {**lease.acquired, **larger.acquired},
            others,
            frozenset(larger.held_by_others.keys() - others.keys()),
            lease.just_released | larger.just_released,
        )

    @contextlib.asynccontextmanager
    async def renewing(self, lease: Lease) -> AsyncIterator[None]:
        """Renews a lease for as long as the context is open. It may be lost all the same, while Redis is unavailable.

        The fetch goes on then: the fencing token keeps its result from overwriting a younger one.
        """
        renewals: list[asyncio.Task[None]] = []
        # Most fetches end before the first renewal, and a timer costs less than a task.
        timer = asyncio.get_running_loop().call_later(
            _RENEWAL_SECONDS, lambda: renewals.append(asyncio.create_task(self._renew(lease)))
        )
        try:
            yield
        finally:
            timer.cancel()
            for renewal in renewals:
                renewal.cancel()

    def end(
        self,
        lease: Lease,
        failure: GatewayError | None = None,
        *,
        shares_outcome: bool = True,
        publish: Publish | None = None,
    ) -> None:
        """Releases a lease in the background, unless that has begun. See `release`.

        `publish` writes the result before. The lease is released without it if there is nothing to write.
        """
        if not lease.is_ended:
            lease.is_ended = True
            if publish:
                args: list[bytes | str | int] = [f"h{lease.owner} ", _done(lease), _OUTCOME_MS]
                work = publish(ReleaseCall([*lease.acquired.values()], args))
                self._background.start(self._release_after(work, lease))
            else:
                self._background.start(self.release(lease, failure, shares_outcome=shares_outcome))

    async def release(self, lease: Lease, failure: GatewayError | None = None, *, shares_outcome: bool = True) -> None:
        """Ends a lease: done, or failed. Does nothing while Redis is unavailable, since the lease expires by itself.

        `shares_outcome=False` deletes the lease without an outcome (the last client disconnected); waiting processes
        then fetch for themselves.
        """
        owner = lease.owner.encode()
        outcome = _done(lease) if failure is None else b"f%s %s" % (owner, error_codec.encode(failure))
        await self._replace(lease.owner, [*lease.acquired.values()], outcome if shares_outcome else b"")

    async def wait_released(self, holders: Collection[LeaseHolder], claim: FetchClaim) -> None:
        """Waits until all these leases have ended. Raises the error of the first that failed, if `claim` fails with it.

        A lease that expired, or that was released without an outcome, has ended too. Raises RedisUnavailableError.
        """
        waiting = {holder.key: holder for holder in holders}
        pause = _FIRST_PAUSE_SECONDS
        while waiting:
            # The jitter keeps waiting processes from asking at the same moments.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret, and a simulation seeds it
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            keys = [*waiting]
            values = await self._redis.script(READ_LEASES_SCRIPT, keys, [])
            for key, value in zip(keys, values if isinstance(values, list) else [None] * len(keys), strict=True):
                owner, _, error = value[1:].partition(b" ") if isinstance(value, bytes) else (b"", b"", b"")
                is_same_lease = owner == waiting[key].owner.encode()
                if is_same_lease and value[:1] == b"f" and claim.fails_with(waiting[key].claim):
                    raise error_codec.decode(error)
                if not is_same_lease or value[:1] != b"h":
                    del waiting[key]

    async def _acquire_keys(self, owner: str, scope: str, keys: Mapping[str, str], claim: FetchClaim) -> Lease:
        answer = await self._redis.script(
            ACQUIRE_SCRIPT,
            [self._key(scope, KeyKind.FENCE), *keys.values()],
            [_LEASE_MS, owner, claim.as_text()],
        )
        token, *values = answer if isinstance(answer, list) else [0]
        acquired, held_by_others, just_released = dict[str, str](), dict[str, LeaseHolder](), set[str]()
        for (name, key), value in zip(keys.items(), values, strict=True):
            holder = _holder(key, value)
            if holder:
                held_by_others[name] = holder
            else:
                acquired[name] = key
                if value == b"d":
                    just_released.add(name)
        return Lease(owner, int(token), acquired, held_by_others, just_released=frozenset(just_released))

    async def _renew(self, lease: Lease) -> None:
        while lease.acquired:
            with contextlib.suppress(RedisUnavailableError):
                await self._redis.script(RENEW_SCRIPT, [*lease.acquired.values()], [f"h{lease.owner} ", _LEASE_MS])
            # Also if Redis is unavailable, which may be known without waiting for it.
            await asyncio.sleep(_RENEWAL_SECONDS)

    async def _release_after(self, work: Coroutine[Any, Any, bool], lease: Lease) -> None:
        is_released = False
        with contextlib.suppress(RedisUnavailableError):
            is_released = await work
        if not is_released:
            await self.release(lease)

    async def _replace(self, owner: str, keys: list[str], outcome: bytes) -> None:
        if keys:
            with contextlib.suppress(RedisUnavailableError):
                await self._redis.script(RELEASE_SCRIPT, keys, [f"h{owner} ", outcome, _OUTCOME_MS])

    def _key(self, scope: str, kind: KeyKind, **parts: str) -> str:
        return redis_key(self._prefix, scope, kind, **parts)


def _done(lease: Lease) -> bytes:
    """The outcome of a fetch whose result can be read."""
    return b"d%s" % lease.owner.encode()


def _holder(key: str, value: bytes) -> LeaseHolder | None:
    found = _HELD.fullmatch(value)
    if found is None:
        return None
    owner, _, limit, statistics, required, began = found.groups()
    return LeaseHolder(key, owner.decode(), FetchClaim(int(limit), int(statistics, 16), int(required, 16), int(began)))
