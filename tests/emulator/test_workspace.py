"""The generated data: reproducible, complete, and as odd as real data."""

from datetime import UTC, datetime, timedelta

import pytest

from app.emulator import Emulator
from tests.emulator.conftest import Clock
from tests.emulator.expected import NOW, STATISTICS, ListSessions, ids, sessions_of

COLUMNS = {
    *("id", "tenant_id", "start_time", "end_time", "extra", "name", "description", "default_dataset_id"),
    *("reference_dataset_id", "trace_tier", "last_run_start_time_live", "test_run_number"),
}


async def test_the_same_seed_generates_the_same_sessions(clock: Clock) -> None:
    one, other, third = Emulator(clock=clock), Emulator(clock=clock), Emulator(clock=clock, seed=8)
    assert ids(sessions_of(one)) == ids(sessions_of(other))
    assert [s.runs.all for s in sessions_of(one)[:5]] == [s.runs.all for s in sessions_of(other)[:5]]
    assert not ids(sessions_of(one)) & ids(sessions_of(third))


async def test_a_workspace_has_projects_and_experiments(all_rows: ListSessions) -> None:
    rows = await all_rows()
    experiments = [row for row in rows if row["reference_dataset_id"]]
    assert (len(rows), len(experiments)) == (240, 96)
    assert len({row["reference_dataset_id"] for row in experiments}) == 6
    assert {row["test_run_number"] for row in experiments} == set(range(1, 17))
    assert len({row["name"] for row in rows}) == 240


async def test_rows_have_every_published_field_and_newer_fields(page: ListSessions) -> None:
    (row,) = await page(limit=1)
    assert row.keys() == COLUMNS | STATISTICS | {"run_facets", "experiment_progress", "longlived_ttl_days"}


async def test_generated_data_contains_the_odd_values_of_real_data(all_rows: ListSessions) -> None:
    rows = await all_rows(include_stats=True)
    assert {row["trace_tier"] for row in rows} == {"longlived", "shortlived", None}
    assert any(row["run_count"] == 0 for row in rows)
    assert any(row["total_tokens"] > 2**31 for row in rows)
    assert any(not row["name"].isascii() for row in rows)
    assert {datetime.fromisoformat(row["start_time"]).tzinfo for row in rows} == {None, UTC}
    feedback = [stat for row in rows for stat in row["feedback_stats"].values()]
    assert any(stat["n"] == 0 and stat["avg"] is None and stat["values"] for stat in feedback)
    assert {type(source) for stat in feedback for source in stat["sources"]} == {str, dict}
    assert any(row["session_feedback_stats"] for row in rows)


@pytest.mark.parametrize(("hours", "share"), [(1, 0.4), (24, 0.5), (168, 0.6)])
async def test_many_projects_have_runs_in_an_hour_a_day_and_a_week(
    all_rows: ListSessions, hours: int, share: float
) -> None:
    since = (NOW - timedelta(hours=hours)).isoformat()
    rows = await all_rows(include_stats=True, stats_start_time=since, reference_free=True)
    assert sum(row["run_count"] > 0 for row in rows) / len(rows) > share
