"""The circuits of several tenants: failures of one tenant do not stop another one."""

import tracemalloc
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from app.resilience.circuit_breaker import FAILURE_THRESHOLD, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS
from app.resilience.tenant_circuit_breaker import Level, RequestSource, TenantCircuitBreaker
from tests.conftest import Clock

TENANTS = "abcdef"
SHAPES = 8


@dataclass
class Service:
    """A service behind a breaker. `broken`: the pairs of a tenant and a shape that always fail."""

    broken: frozenset[tuple[str, int]] = frozenset()
    is_down: bool = False
    clock: Clock = field(default_factory=Clock)
    changes: list[tuple[Level, bool]] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.breaker = TenantCircuitBreaker(self.clock.monotonic, lambda *change: self.changes.append(change))

    def request(self, tenant: str, shape: int = 0, variant: int = 0) -> bool | None:
        """Whether the request succeeded; None if it was not sent."""
        permit = self.breaker.acquire(RequestSource(tenant, shape, (shape, variant)))
        if permit is None:
            return None
        self.asked += 1
        if self.is_down or (tenant, shape) in self.broken:
            self.breaker.record_failure(permit)
            return False
        self.breaker.record_answer(permit)
        return True


requests = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.integers(0, SHAPES - 1),
        st.integers(1, 12),
        st.sampled_from([0.0, 0.1, 1.0, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS]),
    ),
    max_size=80,
)
"""Tenant, shape, number of repetitions, and seconds that pass before."""


@given(requests)
def test_tenant_whose_requests_work_never_pays_for_one_other_tenant(
    steps: list[tuple[str, int, int, float]],
) -> None:
    service = Service(frozenset(("a", shape) for shape in range(SHAPES)))
    for tenant, shape, repetitions, seconds in steps:
        service.clock.advance(seconds)
        for number in range(repetitions):
            assert service.request(tenant, shape, number) is not None or tenant == "a"


@given(requests, st.frozensets(st.tuples(st.sampled_from(TENANTS), st.integers(0, SHAPES - 1))))
def test_tenant_whose_requests_work_is_not_stopped_after_a_success(
    steps: list[tuple[str, int, int, float]], broken: frozenset[tuple[str, int]]
) -> None:
    service = Service(broken)
    failing = {tenant for tenant, _ in broken}
    succeeded: set[str] = set()
    for tenant, shape, repetitions, seconds in steps:
        service.clock.advance(seconds)
        for number in range(repetitions):
            outcome = service.request(tenant, shape, number)
            if tenant not in failing:
                # A tenant that is new while three others fail may have to wait for a trial; never after a success.
                assert outcome or tenant not in succeeded
                if outcome:
                    succeeded.add(tenant)


@given(requests, st.integers(1, len(TENANTS)))
def test_service_that_is_down_for_all_is_asked_rarely(steps: list[tuple[str, int, int, float]], tenants: int) -> None:
    service = Service(is_down=True)
    for tenant, shape, repetitions, seconds in steps:
        service.clock.advance(seconds)
        for _ in range(repetitions):
            service.request(TENANTS[TENANTS.index(tenant) % tenants], shape)
    # Until the circuits are open, and three trials after each pause.
    pauses = sum(seconds >= FIRST_PAUSE_SECONDS for *_, seconds in steps)
    elapsed = sum(seconds for *_, seconds in steps)
    assert service.asked <= SHAPES * FAILURE_THRESHOLD + 3 * (pauses + elapsed / FIRST_PAUSE_SECONDS)


@given(requests)
def test_service_that_has_recovered_serves_every_tenant_after_one_success(
    steps: list[tuple[str, int, int, float]],
) -> None:
    service = Service(is_down=True)
    for tenant, shape, repetitions, seconds in steps:
        service.clock.advance(seconds)
        for number in range(repetitions):
            service.request(tenant, shape, number)
    service.is_down = False
    service.clock.advance(MAX_PAUSE_SECONDS)
    assert service.request("new")
    assert [service.request(tenant) for tenant in TENANTS] == [True] * len(TENANTS)


def test_two_tenants_do_not_stop_a_third() -> None:
    service = Service(is_down=True)
    for shape in range(SHAPES):
        for tenant in "ab":
            for _ in range(FAILURE_THRESHOLD):
                service.request(tenant, shape)
    assert ("all", True) not in service.changes
    assert service.request("c") is False


def test_shape_that_always_fails_does_not_stop_the_tenant() -> None:
    service = Service(frozenset({("a", 1), ("a", 2), ("a", 3), ("a", 4)}))
    for number in range(FAILURE_THRESHOLD):
        for shape in range(1, 5):
            assert service.request("a", shape, number) is False
    assert service.request("a", 0)


def test_failures_of_several_shapes_stop_the_only_tenant() -> None:
    service = Service(is_down=True)
    for shape in range(SHAPES):
        service.request("a", shape)
        service.request("a", shape)
    assert service.asked == FAILURE_THRESHOLD
    assert service.changes == [("tenant", True)]
    service.is_down = False
    service.clock.advance(FIRST_PAUSE_SECONDS)
    assert service.request("a")
    assert service.changes[-1] == ("tenant", False)
    assert not service.breaker.is_open


def test_memory_of_failures_and_successes_is_bounded() -> None:
    service = Service()
    acquired = [service.breaker.acquire(RequestSource(f"made up {number}", number, number)) for number in range(30_000)]
    tracemalloc.start()
    try:
        for permit in acquired[:15_000]:
            assert permit
            service.breaker.record_failure(permit)
        for permit in acquired[15_000:]:
            assert permit
            service.breaker.record_answer(permit)
        assert tracemalloc.get_traced_memory()[0] < 8 << 20
    finally:
        tracemalloc.stop()
