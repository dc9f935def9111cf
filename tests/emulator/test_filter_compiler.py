"""Filter expressions select runs and sessions."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from app.emulator import Emulator
from app.emulator.run import Run
from tests.emulator.expected import ListSessions, counted, percentile, sessions_of

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


RUN_FILTERS: list[tuple[str, Callable[[Run], bool]]] = [
    ('eq(run_type, "llm")', lambda run: run.run_type == "llm"),
    ("neq(run_type, 'llm')", lambda run: run.run_type != "llm"),
    ('eq(name, "ChatOpenAI")', lambda run: run.name == "ChatOpenAI"),
    ("gt(latency, 2)", lambda run: run.latency > 2_000_000),
    ('lte(latency, "2s")', lambda run: run.latency <= 2_000_000),
    ("gte(total_tokens, 1500)", lambda run: run.total_tokens >= 1500),
    ("neq(error, null)", lambda run: run.error is not None),
    ("eq(error, false)", lambda run: run.error is None),
    ('search("rate")', lambda run: "ratelimit" in (run.error or "").lower() or "rate" in run.name.lower()),
    ('search(error, "TIMEOUT")', lambda run: "timeout" in (run.error or "").lower()),
    ('has(tags, "größe:xl")', lambda run: "größe:xl" in run.tags),
    ('in(run_type, ["tool", "chain"])', lambda run: run.run_type in {"tool", "chain"}),
    ('lt(start_time, "2026-03-10T12:00:00Z")', lambda run: run.start_time < NOON),
    ('gt(end_time, "2026-03-10T12:00:00")', lambda run: run.end_time > NOON),
    ('has(metadata, "{\\"region\\": \\"eu\\"}")', lambda run: run.metadata["region"] == "eu"),
    ('and(eq(metadata_key, "region"), eq(metadata_value, "eu"))', lambda run: run.metadata["region"] == "eu"),
    ('and(eq(metadata_key, "user"), eq(metadata_value, "eu"))', lambda _: False),
    (
        'and(eq(feedback_key, "accuracy"), gte(feedback_score, 1))',
        lambda run: any(v.key == "accuracy" and v.score == 1 for v in run.feedback),
    ),
    (
        'not(or(eq(run_type, "llm"), and(gt(latency, 1), lt(latency, 3))))',
        lambda run: run.run_type != "llm" and not 1_000_000 < run.latency < 3_000_000,
    ),
]


@pytest.mark.parametrize(("expression", "matches"), RUN_FILTERS, ids=[text for text, _ in RUN_FILTERS])
async def test_a_stats_filter_selects_the_runs_that_count(
    langsmith: Emulator, page: ListSessions, expression: str, matches: Callable[[Run], bool]
) -> None:
    rows = await page(include_stats=True, stats_select=["run_count", "latency_p50"], stats_filter=expression)
    by_id = {str(session.id): session for session in sessions_of(langsmith)}
    for row in rows:
        runs = [run for run in counted(by_id[row["id"]]) if matches(run)]
        assert row["run_count"] == len(runs)
        assert row["latency_p50"] == pytest.approx(percentile([run.latency / 1e6 for run in runs], 50), abs=1e-6)
