"""Statistics and facets are computed from the runs of a window."""

import statistics
from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import orjson
import pytest

from app.emulator import Emulator
from tests.emulator.conftest import Clock
from tests.emulator.expected import NOW, STATISTICS, ListSessions, counted, parse_time, percentile, sessions_of


def seconds(start: datetime, end: datetime) -> float:
    return (end - start) / timedelta(seconds=1)


async def test_every_statistic_is_computed_from_the_runs(langsmith: Emulator, page: ListSessions) -> None:
    rows = {row["id"]: row for row in await page(include_stats=True)}
    compared = [session for session in sessions_of(langsmith) if str(session.id) in rows]
    assert len(compared) == 100
    for session in compared:
        row, runs = rows[str(session.id)], counted(session)
        latencies = [seconds(run.start_time, run.end_time) for run in runs]
        first_tokens = [run.first_token / 1e6 for run in runs if run.first_token is not None]
        assert row["run_count"] == len(runs)
        assert row["latency_p50"] == pytest.approx(percentile(latencies, 50), abs=1e-6)
        assert row["latency_p99"] == pytest.approx(percentile(latencies, 99), abs=1e-6)
        assert row["first_token_p50"] == pytest.approx(percentile(first_tokens, 50), abs=1e-6)
        assert row["first_token_p99"] == pytest.approx(percentile(first_tokens, 99), abs=1e-6)
        assert row["prompt_tokens"] == sum(run.prompt_tokens for run in runs)
        assert row["completion_tokens"] == sum(run.completion_tokens for run in runs)
        assert row["total_tokens"] == row["prompt_tokens"] + row["completion_tokens"]
        prompt, completion = (
            sum((Decimal(getattr(run, part)) for run in runs), Decimal()).scaleb(-9)
            for part in ("prompt_cost", "completion_cost")
        )
        assert Decimal(row["prompt_cost"] or 0) == prompt
        assert Decimal(row["completion_cost"] or 0) == completion
        assert Decimal(row["total_cost"] or 0) == prompt + completion
        last = parse_time(row["last_run_start_time"]) if row["last_run_start_time"] else None
        assert last == max((run.start_time for run in runs), default=None)
        errors = [run.error is not None for run in runs]
        streams = [run.streaming for run in runs]
        assert row["error_rate"] == (statistics.mean(errors) if runs else None)
        assert row["streaming_rate"] == (statistics.mean(streams) if runs else None)


@pytest.mark.parametrize("field", ["feedback_stats", "session_feedback_stats"])
async def test_feedback_statistics_aggregate_the_feedback_of_runs_or_session(
    langsmith: Emulator, page: ListSessions, field: str
) -> None:
    rows = {row["id"]: row for row in await page(include_stats=True)}
    for session in sessions_of(langsmith):
        if (row := rows.get(str(session.id))) is None:
            continue
        of_runs = [each for run in counted(session) for each in run.feedback]
        all_feedback = of_runs if field == "feedback_stats" else list(session.feedback)
        assert row[field].keys() == {each.key for each in all_feedback}
        for key, stat in row[field].items():
            with_key = [each for each in all_feedback if each.key == key]
            scores = [each.score for each in with_key if each.score is not None]
            assert stat["n"] == len(scores)
            assert stat["errors"] == sum(each.failed for each in with_key)
            assert stat["values"] == Counter(each.value for each in with_key if each.value)
            assert stat["avg"] == (pytest.approx(statistics.mean(scores), abs=1e-6) if scores else None)
            assert stat["stdev"] == (pytest.approx(statistics.pstdev(scores), abs=1e-6) if scores else None)
            assert stat["median"] == (pytest.approx(statistics.median(scores), abs=1e-6) if scores else None)
            assert (stat["min"], stat["max"]) == (min(scores, default=None), max(scores, default=None))
            assert set(stat["comments"]) == {each.comment for each in with_key if each.comment}


async def test_statistics_are_null_without_include_stats(page: ListSessions) -> None:
    for row in await page():
        assert {row[name] for name in STATISTICS} == {None}


async def test_an_unselected_statistic_is_null(page: ListSessions) -> None:
    for row in await page(include_stats=True, stats_select=["run_count", "feedback_stats"]):
        assert {name for name in STATISTICS if row[name] is not None} == {"run_count", "feedback_stats"}


async def test_an_unselected_statistic_is_absent_if_a_test_says_so(langsmith: Emulator, page: ListSessions) -> None:
    langsmith.leaves_out_unselected = True
    (row,) = await page(include_stats=True, stats_select="run_count", limit=1)
    assert row.keys() & STATISTICS == {"run_count"}
    (row,) = await page(limit=1)
    assert row.keys() >= STATISTICS


async def test_stats_select_is_refused_if_a_test_says_so(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    langsmith.refuses_stats_select = True
    response = await client.get("/sessions", params={"include_stats": True, "stats_select": "run_count"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "stats_select"]
    assert (await client.get("/sessions", params={"include_stats": True})).status_code == 200


async def test_costs_are_exact_as_strings_and_as_numbers(langsmith: Emulator, client: httpx.AsyncClient) -> None:
    params: dict[str, Any] = {"include_stats": True, "stats_select": "total_cost"}
    as_strings = (await client.get("/sessions", params=params)).json()
    langsmith.costs_as_numbers = True
    response = await client.get("/sessions", params=params)
    as_numbers = [row["total_cost"] for row in orjson.loads(response.content)]
    assert {type(cost) for cost in as_numbers} == {float, type(None)}
    assert as_numbers == [row["total_cost"] and float(row["total_cost"]) for row in as_strings]


async def test_runs_count_once_the_clock_reaches_their_start(
    langsmith: Emulator, clock: Clock, all_rows: ListSessions
) -> None:
    clock.now += timedelta(days=2)
    rows = {row["id"]: row["run_count"] for row in await all_rows(include_stats=True)}
    assert rows == {str(s.id): len(counted(s, until=clock.now)) for s in sessions_of(langsmith)}
    assert sum(rows.values()) > sum(len(counted(session)) for session in sessions_of(langsmith))


@pytest.mark.parametrize("hours", [1, 24, 168, 31 * 24])
async def test_a_window_counts_the_runs_since_its_start(
    langsmith: Emulator, all_rows: ListSessions, hours: int
) -> None:
    since = NOW - timedelta(hours=hours)
    for written in (since.isoformat(), since.replace(tzinfo=None).isoformat(), f"{since:%Y-%m-%dT%H:%M:%S.%fZ}"):
        rows = await all_rows(include_stats=True, stats_select="run_count", stats_start_time=written)
        expected = {str(session.id): len(counted(session, since)) for session in sessions_of(langsmith)}
        assert {row["id"]: row["run_count"] for row in rows} == expected


async def test_a_window_that_starts_more_than_31_days_back_is_refused(client: httpx.AsyncClient) -> None:
    since = NOW - timedelta(days=31, seconds=1)
    response = await client.get("/sessions", params={"stats_start_time": since.isoformat()})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "stats_start_time"]


async def test_approximate_statistics_are_those_of_the_last_full_hour(
    langsmith: Emulator, all_rows: ListSessions
) -> None:
    hour = NOW.replace(minute=0, second=0, microsecond=0)
    rows = await all_rows(include_stats=True, use_approx_stats=True)
    expected = {str(session.id): len(counted(session, until=hour)) for session in sessions_of(langsmith)}
    assert {row["id"]: row["run_count"] for row in rows} == expected
    assert any(row["last_run_start_time"] != row["last_run_start_time_live"] for row in rows)


async def test_the_live_time_of_the_last_run_is_there_without_statistics(
    langsmith: Emulator, all_rows: ListSessions
) -> None:
    rows = {row["id"]: row["last_run_start_time_live"] for row in await all_rows()}
    for session in sessions_of(langsmith):
        last = max((run.start_time for run in counted(session)), default=None)
        assert (rows[str(session.id)] and parse_time(rows[str(session.id)])) == last


async def test_facets_are_the_same_with_and_without_statistics(langsmith: Emulator, page: ListSessions) -> None:
    rows = await page(facets=True)
    assert all(isinstance(row["run_facets"], list) for row in rows)
    with_stats = await page(facets=True, include_stats=True)
    assert [row["run_facets"] for row in rows] == [row["run_facets"] for row in with_stats]
    session = next(s for s in sessions_of(langsmith) if str(s.id) == rows[0]["id"])
    names = {facet["value"]: facet["n"] for facet in rows[0]["run_facets"] if facet["key"] == "name"}
    assert names == Counter(run.name for run in counted(session))
    assert {row["run_facets"] for row in await page()} == {None}


async def test_the_query_of_a_facet_matches_its_runs(langsmith: Emulator, page: ListSessions) -> None:
    (row,) = await page(id=str(next(s for s in sessions_of(langsmith) if counted(s)).id), facets=True)
    assert {facet["key"] for facet in row["run_facets"]} >= {"name", "run_type"}
    for facet in row["run_facets"]:
        (found,) = await page(id=row["id"], include_stats=True, stats_filter=facet["query"])
        assert found["run_count"] == facet["n"]
