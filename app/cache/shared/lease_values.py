"""Leases as values: what is claimed, who holds a lease, and what other scripts need to acquire or release one.

`leases.py` explains the terms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self


@dataclass(frozen=True)
class FetchClaim:
    """What is fetched under a lease.

    - `limit`: number of rows.
    - `statistics`: bits of the statistics that LangSmith is asked for (`codec.statistics_to_bits`).
    - `required`: bits of those that the process cannot do without. If LangSmith fails, only these are asked for again,
      so that the outcome is theirs.
    - `began`: when the fetch began, in microseconds since the epoch.
    """

    limit: int
    statistics: int
    required: int
    began: int

    def covers(self, other: Self) -> bool:
        """Whether what is fetched includes what a process with the other claim requires."""
        return self.limit >= other.limit and self.statistics & other.required == other.required

    def fetches_as(self, other: Self) -> bool:
        """Whether the same is fetched under the other claim."""
        return (self.limit, self.statistics, self.required) == (other.limit, other.statistics, other.required)

    def fails_with(self, other: Self) -> bool:
        """Whether a failure of the other fetch is one of this fetch too: it requires nothing that this one does not."""
        return other.required & self.required == other.required

    @property
    def key(self) -> str:
        """Part of a lease's key: distinguishes claims that do not cover each other."""
        return f"{self.limit}-{self.required:x}"

    def as_text(self) -> str:
        return f"{self.limit} {self.statistics:x} {self.required:x} {self.began}"


@dataclass(frozen=True)
class LeaseHolder:
    """Another process that holds a lease: the key of the lease, its owner, and what is being fetched."""

    key: str
    owner: str
    claim: FetchClaim


@dataclass
class Lease:
    """The result of an attempt to acquire leases for several names.

    - `owner`: the name of this attempt in Redis.
    - `token`: the fencing token, to be written with what is fetched.
    - `acquired`: keys of the leases that this process holds, by name.
    - `held_by_others`: the holders of the names that this process can wait for.
    - `contended`: names that are held by holders that it cannot wait for. They are fetched without a lease.
    - `just_released`: names among the acquired ones whose previous lease ended a moment ago. Their result may be in
      Redis already.
    - `claim`: what is to be fetched under it; None if the process that acquired it fetches at once.
    - `is_used`: whether a caller has taken it for a fetch.
    - `is_ended`: whether its release has begun.
    """

    owner: str
    token: int
    acquired: Mapping[str, str] = field(default_factory=dict)
    held_by_others: Mapping[str, LeaseHolder] = field(default_factory=dict)
    contended: frozenset[str] = frozenset()
    just_released: frozenset[str] = frozenset()
    claim: FetchClaim | None = None
    is_used: bool = False
    is_ended: bool = False

    def take(self) -> Self | None:
        """The lease, for a fetch. None if another caller, who read Redis at the same time, has taken it."""
        if self.is_used:
            return None
        self.is_used = True
        return self


class AcquireCall(NamedTuple):
    """What a script needs to acquire a lease together with another command: its keys and arguments, and the outcome.

    - `name`: of the lease. `claim`: what is to be fetched.
    - `keys`: the counter and the lease. `args`: milliseconds, owner and claim.
    """

    name: str
    claim: FetchClaim
    keys: list[str]
    args: list[bytes | str | int]

    def lease(self, token: int) -> Lease | None:
        """The lease; None if the script returned the token 0, because it did not acquire one."""
        _, key = self.keys
        _, owner, _ = self.args
        return Lease(str(owner), token, {self.name: key}, claim=self.claim) if token else None


class ReleaseCall(NamedTuple):
    """What a script needs to release leases together with another command: its keys and arguments."""

    keys: list[str]
    args: list[bytes | str | int]
