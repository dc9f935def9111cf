"""A page is fetched with the statistics that were selected of it lately."""

import tracemalloc
from uuid import UUID

from app.cache.prefetch import RecentSelections
from app.emulator import Emulator, Fault
from app.sessions.fields import STATS
from app.sessions.query import StatsWindow
from tests.cache.test_page_cache import ERROR_RATE, THREE, TWO, outcome
from tests.conftest import Clock, Gateway, Serve, take_recorded_params


async def test_expired_page_is_fetched_with_recently_selected_statistics(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    def statistics() -> list[set[str]]:
        return [
            {value for name, value in params if name == "stats_select"} for params in take_recorded_params(langsmith)
        ]

    await gateway.data(THREE)
    await gateway.data(ERROR_RATE)
    assert statistics() == [{"run_count", "latency_p50", "total_cost"}, {"error_rate"}]
    clock.advance(20)
    await gateway.data(TWO)
    assert statistics() == [{"run_count", "latency_p50", "total_cost", "error_rate"}]
    assert [await outcome(gateway, query) for query in (THREE, ERROR_RATE)] == ["HIT", "HIT"]
    # A statistic that was not selected for three times the TTL is no longer prefetched.
    for _ in range(3):
        clock.advance(20)
        await gateway.data(TWO)
    assert statistics()[-1] == {"run_count", "total_cost"}
    # A client that selects no statistics does not wait for any.
    clock.advance(20)
    await gateway.data("{ sessions(first: 5) { nodes { id } } }")
    assert statistics() == [set()]


async def test_statistic_that_failed_is_not_prefetched(serve: Serve, langsmith: Emulator, clock: Clock) -> None:
    async with serve(upstream_retries=0) as gateway:
        await gateway.data(THREE)
        langsmith.faults.append(Fault(status=500))
        assert await gateway.errors(ERROR_RATE)
        clock.advance(20)
        take_recorded_params(langsmith)
        await gateway.data(THREE)
        assert ("stats_select", "error_rate") not in take_recorded_params(langsmith)[0]


async def test_failed_fetch_is_repeated_without_prefetched_statistics(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_retries=0) as gateway:
        await gateway.data(THREE)
        await gateway.data(ERROR_RATE)
        clock.advance(20)
        take_recorded_params(langsmith)
        langsmith.faults.append(Fault(status=500))
        assert len((await gateway.data(THREE))["sessions"]["nodes"]) == 5
        together, alone = take_recorded_params(langsmith)
        assert ("stats_select", "error_rate") in together
        assert ("stats_select", "error_rate") not in alone


def test_memory_of_recent_selections_is_bounded_in_bytes_whatever_clients_write() -> None:
    selections = RecentSelections(15, lambda: 0.0)
    tracemalloc.start()
    try:
        for number in range(5000):
            text = str(number)
            # Texts of one byte and of four bytes for each character, and no text.
            for length, letter in ((4000, "x"), (1000, "\U0001f600"), (0, "")):
                key, window = f"{text}{letter * length}", StatsWindow((("stats.filter", f"{text}{letter * length}"),))
                selections.record(key, window, STATS)
                selections.record(str(UUID(int=number)), StatsWindow(), frozenset({"run_count"}))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4.2 * 2**20
    assert selections.recent_statistics(key, window) == STATS
