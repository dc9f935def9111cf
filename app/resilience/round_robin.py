"""The order in which callers of several tenants wait for the same resource: round robin, so that nobody's burst delays
another tenant by more than one turn for each of its own callers.
"""

from typing import Generic, TypeVar

T = TypeVar("T")


class RoundRobinQueue(Generic[T]):
    """Callers that wait, by tenant. It only knows their order; when a caller's turn comes is decided elsewhere."""

    def __init__(self) -> None:
        # The tenant whose turn is next is first.
        self._callers: dict[str, list[T]] = {}

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._callers)

    def join(self, tenant: str, caller: T) -> None:
        self._callers.setdefault(tenant, []).append(caller)

    def leave(self, tenant: str, caller: T) -> None:
        """Remove a caller. This was its tenant's turn, so that the other tenants go next."""
        callers = self._callers.pop(tenant)
        callers.remove(caller)
        if callers:
            self._callers[tenant] = callers

    def callers_before(self, tenant: str, caller: T) -> int:
        """Number of callers that go first; for one that does not wait yet, as if it joined now."""
        own = self._callers.get(tenant, [])
        rounds = own.index(caller) if caller in own else len(own)
        before = rounds
        is_later = False
        for other, callers in self._callers.items():
            if other == tenant:
                is_later = True
            else:
                before += min(len(callers), rounds if is_later else rounds + 1)
        return before
