"""The list is filtered, sorted and paged by its parameters."""

import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.emulator import Emulator
from app.emulator.session import Session
from tests.emulator.expected import NOW, ListSessions, counted, ids, parse_time, percentile, sessions_of

MARCH = datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1_000_000


def values(langsmith: Emulator, sort_by: str) -> dict[str, Any]:
    """What sessions are sorted by, from their runs."""

    def value(session: Session) -> Any:
        runs = counted(session)
        latencies = [run.latency / 1e6 for run in runs]
        scores = [v.score for run in runs for v in run.feedback if v.key == "accuracy" and v.score is not None]
        return {
            "name": session.name,
            "start_time": session.started,
            "last_run_start_time": max((run.start_time for run in runs), default=None),
            "latency_p50": latencies and percentile(latencies, 50),
            "latency_p99": latencies and percentile(latencies, 99),
            "error_rate": statistics.mean(run.error is not None for run in runs) if runs else None,
            "feedback": round(statistics.mean(scores), 6) if scores else None,
            "runs_count": len(runs),
        }[sort_by]

    return {str(session.id): value(session) for session in sessions_of(langsmith)}


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize(
    "sort_by",
    [
        "name",
        "start_time",
        "last_run_start_time",
        "latency_p50",
        "latency_p99",
        "error_rate",
        "runs_count",
        "feedback",
    ],
)
async def test_rows_are_sorted_with_nulls_last(
    langsmith: Emulator, all_rows: ListSessions, sort_by: str, descending: bool
) -> None:
    feedback = {"sort_by_feedback_key": "accuracy"} if sort_by == "feedback" else {}
    rows = await all_rows(sort_by=sort_by, sort_by_desc=descending, **feedback)
    expected = values(langsmith, sort_by)
    found = [expected[row["id"]] for row in rows]
    non_null = [value for value in found if value not in (None, [])]
    assert len(rows) == 240
    assert found[: len(non_null)] == sorted(non_null, reverse=descending)


async def test_the_newest_sessions_come_first_by_default(page: ListSessions) -> None:
    times = [parse_time(row["start_time"]) for row in await page()]
    assert times == sorted(times, reverse=True)


async def test_rows_with_equal_sort_keys_are_sorted_by_id(all_rows: ListSessions) -> None:
    for descending in (True, False):
        rows = await all_rows(sort_by="error_rate", sort_by_desc=descending, include_stats=True)
        faultless = [row["id"] for row in rows if row["error_rate"] == 0]
        assert len(faultless) > 5
        assert faultless == sorted(faultless)


async def test_sorting_by_a_statistic_uses_its_window_and_run_filter(all_rows: ListSessions) -> None:
    options = {"stats_start_time": (NOW - timedelta(hours=24)).isoformat(), "stats_filter": 'eq(run_type, "llm")'}
    rows = await all_rows(sort_by="latency_p99", include_stats=True, **options)
    non_null = [row["latency_p99"] for row in rows if row["latency_p99"] is not None]
    assert non_null == sorted(non_null, reverse=True)
    assert 10 < len(non_null) < 240
    assert [row["id"] for row in rows] == [row["id"] for row in await all_rows(sort_by="latency_p99", **options)]
    assert [row["id"] for row in rows] != [row["id"] for row in await all_rows(sort_by="latency_p99")]


async def test_rows_can_be_sorted_by_the_feedback_of_the_session(all_rows: ListSessions) -> None:
    rows = await all_rows(
        sort_by="feedback", sort_by_feedback_key="overall", sort_by_feedback_source="session", include_stats=True
    )
    found = [row["session_feedback_stats"].get("overall", {}).get("avg") for row in rows]
    non_null = [avg for avg in found if avg is not None]
    assert found == sorted(non_null, reverse=True) + [None] * (len(found) - len(non_null))


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_contain_every_session_once(page: ListSessions, limit: int) -> None:
    pages = [await page(limit=limit, offset=offset, sort_by="error_rate") for offset in range(0, 240, limit)]
    assert all(len(rows) == limit for rows in pages[:-1])
    found = [row["id"] for rows in pages for row in rows]
    assert (len(found), len(set(found))) == (240, 240)
    assert await page(limit=limit, offset=240) == []


def metadata_of(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = session.extra.get("metadata", {})
    return found


FILTERS: list[tuple[dict[str, Any], Callable[[Session], bool]]] = [
    ({"reference_free": "true"}, lambda s: s.reference_dataset_id is None),
    ({"reference_free": "False"}, lambda s: s.reference_dataset_id is not None),
    ({"name_contains": "SUPPORT-a"}, lambda s: "support-a" in s.name.lower()),
    ({"name_contains": "客服"}, lambda s: "客服" in s.name),
    ({"name": "support-agent-prod"}, lambda s: s.name == "support-agent-prod"),
    ({"name": "support"}, lambda _: False),
    ({"metadata": '{"env": "prod"}'}, lambda s: metadata_of(s).get("env") == "prod"),
    ({"metadata": '{"git": {"branch": "main"}}'}, lambda s: metadata_of(s).get("git", {}).get("branch") == "main"),
    (
        {"metadata": '{"env": "prod", "revision": 28}'},
        lambda s: (metadata_of(s).get("env"), metadata_of(s).get("revision")) == ("prod", 28),
    ),
    ({"metadata": "{}"}, lambda _: True),
    (
        {"dataset_version": "2025-06-01T12:30:00+00:00"},
        lambda s: metadata_of(s).get("dataset_version") == "2025-06-01T12:30:00+00:00",
    ),
    ({"filter": 'eq(name, "support-agent-prod")'}, lambda s: s.name == "support-agent-prod"),
    ({"filter": 'neq(name, "support-agent-prod")'}, lambda s: s.name != "support-agent-prod"),
    ({"filter": 'search(name, "Agent")'}, lambda s: "agent" in s.name),
    ({"filter": 'search("chat widget")'}, lambda s: "chat widget" in (s.description or "")),
    ({"filter": "eq(description, null)"}, lambda s: s.description is None),
    ({"filter": 'gte(start_time, "2026-03-01T00:00:00Z")'}, lambda s: s.started >= MARCH),
    ({"filter": "eq(end_time, null)"}, lambda s: s.ended is None),
    ({"filter": 'lt(end_time, "2026-03-01")'}, lambda s: s.ended is not None and s.ended < MARCH),
    ({"filter": 'has(tags, "🔥 hot path")'}, lambda s: "🔥 hot path" in s.extra.get("tags", [])),
    ({"filter": 'in(trace_tier, ["longlived", null])'}, lambda s: s.trace_tier != "shortlived"),
    ({"filter": "eq(reference_dataset_id, null)"}, lambda s: s.reference_dataset_id is None),
    ({"filter": "gt(test_run_number, 10)"}, lambda s: (s.test_run_number or 0) > 10),
    (
        {"filter": 'and(eq(metadata_key, "team"), eq(metadata_value, "søk & språk"))'},
        lambda s: metadata_of(s).get("team") == "søk & språk",
    ),
    (
        {
            "filter": 'and(not(has(tags, "v2")), or(eq(trace_tier, "longlived"), eq(trace_tier, "shortlived")))',
            "reference_free": "true",
        },
        lambda s: "v2" not in s.extra.get("tags", []) and s.trace_tier is not None and s.reference_dataset_id is None,
    ),
]


@pytest.mark.parametrize(("params", "matches"), FILTERS, ids=[str(params) for params, _ in FILTERS])
async def test_a_filter_returns_the_sessions_that_meet_it(
    langsmith: Emulator, all_rows: ListSessions, params: dict[str, Any], matches: Callable[[Session], bool]
) -> None:
    expected = ids(session for session in sessions_of(langsmith) if matches(session))
    assert ids(await all_rows(**params)) == expected
    assert expected or params.get("name") == "support"


async def test_a_list_parameter_is_a_repeated_key(langsmith: Emulator, all_rows: ListSessions) -> None:
    requested = sessions_of(langsmith)[10:15]
    found = await all_rows(id=[*(str(session.id) for session in requested), str(uuid4())])
    assert ids(found) == ids(requested)


async def test_experiments_are_filtered_by_their_datasets(langsmith: Emulator, all_rows: ListSessions) -> None:
    one, other, *_ = (dataset.id for dataset in langsmith.workspaces["demo"].datasets)
    assert {row["reference_dataset_id"] for row in await all_rows(reference_dataset=[str(one)])} == {str(one)}
    assert len(await all_rows(reference_dataset=[str(one), str(other)])) == 32


async def test_a_session_must_have_all_given_tag_values(langsmith: Emulator, all_rows: ListSessions) -> None:
    one, other, *_ = langsmith.workspaces["demo"].tag_values
    carrying = [session for session in sessions_of(langsmith) if {one, other} <= session.tag_value_ids]
    assert carrying
    assert ids(await all_rows(tag_value_id=[str(one), str(other)])) == ids(carrying)
    assert len(await all_rows(tag_value_id=str(one))) > len(carrying)


async def test_an_unknown_session_name_returns_an_empty_list(page: ListSessions) -> None:
    assert await page(name="nobody") == []
