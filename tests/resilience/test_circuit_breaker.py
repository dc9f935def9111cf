"""The state machine of the circuit breaker: closed, open, half-open."""

from app.resilience.circuit_breaker import CircuitBreaker, Permit
from tests.conftest import Clock


def opened_breaker(clock: Clock, changes: list[bool] | None = None) -> CircuitBreaker:
    """A breaker that has just opened after two failures, with pauses of 1 to 3 seconds."""
    on_change = (lambda _: None) if changes is None else changes.append
    breaker = CircuitBreaker(
        clock.monotonic, on_change, failure_threshold=2, first_pause_seconds=1, max_pause_seconds=3
    )
    for _ in range(2):
        assert breaker.acquire() == Permit()
        breaker.record_failure(Permit())
    assert breaker.is_open
    return breaker


def test_open_breaker_gives_no_permit_until_the_pause_ends(clock: Clock) -> None:
    breaker = opened_breaker(clock)
    clock.advance(0.5)
    assert breaker.acquire() is None
    clock.advance(0.5)
    assert breaker.acquire() == Permit(is_trial=True)


def test_half_open_breaker_gives_one_permit_at_a_time(clock: Clock) -> None:
    breaker = opened_breaker(clock)
    clock.advance(1)
    trial = breaker.acquire()
    assert trial
    assert breaker.acquire() is None
    breaker.release(trial)
    assert breaker.acquire() == trial


def test_failed_trials_double_the_pause_up_to_its_bound(clock: Clock) -> None:
    breaker = opened_breaker(clock)
    for pause in (1, 2, 3, 3):
        clock.advance(pause - 0.25)
        assert breaker.acquire() is None
        clock.advance(0.25)
        trial = breaker.acquire()
        assert trial
        breaker.record_failure(trial)


def test_successful_trial_closes_the_breaker_and_resets_the_pause(clock: Clock) -> None:
    changes: list[bool] = []
    breaker = opened_breaker(clock, changes)
    clock.advance(1)
    trial = breaker.acquire()
    assert trial
    breaker.record_success(trial)
    assert (breaker.is_open, breaker.acquire(), changes) == (False, Permit(), [True, False])


def test_failure_of_a_permit_from_before_the_opening_does_not_prolong_the_pause(clock: Clock) -> None:
    breaker = opened_breaker(clock)
    clock.advance(0.75)
    breaker.record_failure(Permit())
    clock.advance(0.25)
    assert breaker.acquire() == Permit(is_trial=True)
