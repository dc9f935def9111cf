"""Monotonic times are shared between processes as microseconds since 1970."""

from app.resilience.clock import Clocks

CLOCKS = Clocks(monotonic=lambda: 100.0, wall=lambda: 1_700_000_000.0)


def test_a_monotonic_time_is_converted_to_microseconds_and_back() -> None:
    assert CLOCKS.as_micros(97.5) == 1_699_999_997_500_000
    assert CLOCKS.from_micros(1_699_999_997_500_000) == 97.5
    assert CLOCKS.now_as_micros() == 1_700_000_000_000_000


def test_a_time_from_a_host_whose_clock_is_ahead_is_now() -> None:
    assert CLOCKS.from_micros(1_700_000_005_000_000) == 100.0
