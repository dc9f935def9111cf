"""A circuit breaker for a service with many tenants: one tenant's failures do not stop the requests of another.

There are circuits on three levels. Each is judged by several sources of the level below, so that one source that always
fails does not open it:

- One variant of a request of one tenant, such as a list with this filter. It opens after failures in a row.
- One tenant. It opens after failures in a row of several shapes.
- All tenants. It opens after failures in a row of at least three tenants.

A source whose last request succeeded is not stopped by the circuit of the level above: it finds out by itself whether
the service is down. So a tenant whose requests work never pays for the failures of others.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from app.resilience.circuit_breaker import FAILURE_THRESHOLD, MAX_PAUSE_SECONDS, CircuitBreaker, Permit
from app.resilience.clock import Clock
from app.resilience.lru_cache import BoundedDict

Level = Literal["variant", "tenant", "all"]
"""What an open circuit stops: one variant of a tenant's requests, all requests of a tenant, or all requests."""

MAX_FAILURES_PER_SOURCE: Final = 2
"""Failures in a row that count of one shape in its tenant's circuit, and of one tenant in the circuit of all."""
ALL_TENANTS_THRESHOLD: Final = 6
"""Failures in a row that open the circuit of all tenants: of at least three tenants."""
_MAX_TRIALS: Final = 3
"""Trials at once in a circuit with several sources, so that one of them that hangs does not keep the circuit open."""
_MAX_CIRCUITS: Final = 1000
"""Circuits on one level. Only failures create them; the one that failed longest ago is forgotten first."""
_FORGET_SECONDS: Final = 5 * MAX_PAUSE_SECONDS
"""Time after its last failure at which a circuit is forgotten: its tenant has left, or does not repeat the request."""


@dataclass(frozen=True, slots=True)
class RequestSource:
    """Whose request it is, and which: `shape` without the values of its arguments, `variant` with them."""

    tenant: str
    shape: Hashable
    variant: Hashable


@dataclass(frozen=True, slots=True)
class TenantPermit:
    """Permission to send one request, from each circuit that it had to pass."""

    source: RequestSource
    permits: tuple[tuple[CircuitBreaker, Permit], ...]


class TenantCircuitBreaker:
    """The circuits of all levels.

    clock: monotonic seconds.
    on_change: called with a level and whether a circuit is open, when one opens or closes.
    """

    def __init__(self, clock: Clock, on_change: Callable[[Level, bool], None]) -> None:
        self._everybody = CircuitBreaker(
            clock,
            lambda is_open: on_change("all", is_open),
            failure_threshold=ALL_TENANTS_THRESHOLD,
            max_failures_per_source=MAX_FAILURES_PER_SOURCE,
            max_trials=_MAX_TRIALS,
        )
        self._tenants = _Circuits(
            clock,
            lambda: CircuitBreaker(
                clock,
                lambda is_open: on_change("tenant", is_open),
                failure_threshold=FAILURE_THRESHOLD,
                max_failures_per_source=MAX_FAILURES_PER_SOURCE,
                max_trials=_MAX_TRIALS,
            ),
        )
        self._variants = _Circuits(clock, lambda: CircuitBreaker(clock, lambda is_open: on_change("variant", is_open)))
        self._working_tenants: BoundedDict[Hashable, None] = BoundedDict()
        self._working_shapes: BoundedDict[Hashable, None] = BoundedDict()

    @property
    def is_open(self) -> bool:
        """Whether any circuit is open or half-open."""
        return self._everybody.is_open or self._tenants.is_any_open() or self._variants.is_any_open()

    def acquire(self, source: RequestSource) -> TenantPermit | None:
        """A permit for one request; None if an open circuit stops it.

        Each permit is given back by exactly one of `record_answer`, `record_refusal`, `record_failure` and `release`.
        """
        permits: list[tuple[CircuitBreaker, Permit]] = []
        for circuit, part in self._circuits_before(source):
            permit = circuit.acquire(part)
            if permit is None:
                _release(permits)
                return None
            permits.append((circuit, permit))
        return TenantPermit(source, tuple(permits))

    def record_answer(self, permit: TenantPermit) -> None:
        """Record that the request succeeded."""
        source = permit.source
        self._working_tenants[source.tenant] = None
        self._working_shapes[source.tenant, source.shape] = None
        self.record_refusal(permit)

    def record_refusal(self, permit: TenantPermit) -> None:
        """Record that the service works, although it refused this request."""
        source = permit.source
        _release(permit.permits)
        self._variants.close(_variant_key(source))
        self._tenants.close(source.tenant)
        self._everybody.record_success(Permit())

    def record_failure(self, permit: TenantPermit) -> None:
        """Record that the service failed."""
        source = permit.source
        self._working_tenants.pop(source.tenant, None)
        self._working_shapes.pop((source.tenant, source.shape), None)
        given = dict(permit.permits)
        for circuit, part in (
            (self._variants.for_failure(_variant_key(source)), None),
            (self._tenants.for_failure(source.tenant), source.shape),
            (self._everybody, source.tenant),
        ):
            circuit.record_failure(given.get(circuit) or Permit(source=part))

    def release(self, permit: TenantPermit) -> None:
        """Give the permit back without an outcome."""
        _release(permit.permits)

    def _circuits_before(self, source: RequestSource) -> Iterator[tuple[CircuitBreaker, Hashable]]:
        """The circuits that may stop the request, each with the source that it counts the request to."""
        if variant := self._variants.get(_variant_key(source)):
            yield variant, None
        if (source.tenant, source.shape) not in self._working_shapes and (tenant := self._tenants.get(source.tenant)):
            yield tenant, source.shape
        if source.tenant not in self._working_tenants:
            yield self._everybody, source.tenant


class _Circuits:
    """The circuits of one level by key, least recent failure first. A key without a circuit has no failures."""

    def __init__(self, clock: Clock, create: Callable[[], CircuitBreaker]) -> None:
        self._clock = clock
        self._create = create
        self._circuits: BoundedDict[Hashable, tuple[CircuitBreaker, float]] = BoundedDict(_MAX_CIRCUITS)

    def get(self, key: Hashable) -> CircuitBreaker | None:
        found = self._circuits.get(key)
        return found[0] if found else None

    def is_any_open(self) -> bool:
        self._forget_expired()
        return any(circuit.is_open for circuit, _ in self._circuits.values())

    def for_failure(self, key: Hashable) -> CircuitBreaker:
        """The circuit of a request that has failed, which is created if there is none."""
        self._forget_expired()
        circuit = self.get(key) or self._create()
        self._circuits[key] = circuit, self._clock()
        return circuit

    def close(self, key: Hashable) -> None:
        """Close the circuit and forget its failures."""
        if found := self._circuits.pop(key, None):
            found[0].record_success(Permit())

    def _forget_expired(self) -> None:
        limit = self._clock() - _FORGET_SECONDS
        while self._circuits and next(iter(self._circuits.values()))[1] < limit:
            self._circuits.popitem(last=False)


def _variant_key(source: RequestSource) -> Hashable:
    return source.tenant, source.variant


def _release(permits: "list[tuple[CircuitBreaker, Permit]] | tuple[tuple[CircuitBreaker, Permit], ...]") -> None:
    for circuit, permit in permits:
        circuit.release(permit)
