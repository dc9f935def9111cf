"""What the embedded LangSmith promises to those who test against it."""

import asyncio
import gc
import statistics
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import langsmith as sdk
import orjson
import pytest

from app.emulator import Emulator, Fault, serving, serving_in_thread
from app.emulator.run import Run
from app.emulator.session import Session
from tests.conftest import PATIENCE, http_client

NOW = datetime(2026, 3, 10, 14, 37, 21, 123456, tzinfo=UTC)
STATISTICS = {
    *("run_count", "latency_p50", "latency_p99", "first_token_p50", "first_token_p99", "total_tokens"),
    *("prompt_tokens", "completion_tokens", "total_cost", "prompt_cost", "completion_cost", "last_run_start_time"),
    *("feedback_stats", "session_feedback_stats", "error_rate", "streaming_rate"),
}
COLUMNS = {
    *("id", "tenant_id", "start_time", "end_time", "extra", "name", "description", "default_dataset_id"),
    *("reference_dataset_id", "trace_tier", "last_run_start_time_live", "test_run_number"),
}

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1_000_000

Rows = list[dict[str, Any]]
Page = Callable[..., Awaitable[Rows]]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def langsmith(clock: Clock) -> Emulator:
    return Emulator(clock=clock)


@pytest.fixture
async def url(langsmith: Emulator) -> AsyncIterator[str]:
    async with serving(langsmith) as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(url, key="demo") as client:
        yield client


@pytest.fixture
def page(client: httpx.AsyncClient) -> Page:
    """A page of sessions, as rows."""

    async def page(**params: Any) -> Rows:
        response = await client.get("/api/v1/sessions", params=params)
        assert response.status_code == 200, response.text
        rows: Rows = response.json()
        return rows

    return page


@pytest.fixture
def every(page: Page) -> Page:
    """All rows, page by page."""

    async def every(**params: Any) -> Rows:
        rows: Rows = []
        while len(found := await page(**params, limit=100, offset=len(rows))) == 100:
            rows += found
        return rows + found

    return every


def sessions_of(langsmith: Emulator, key: str = "demo") -> tuple[Session, ...]:
    return langsmith.workspaces[key].sessions


def ids(sessions: Any) -> set[str]:
    return {str(session["id"] if isinstance(session, dict) else session.id) for session in sessions}


def counted(session: Session, since: datetime | None = None, until: datetime = NOW) -> list[Run]:
    return [run for run in session.runs.all if (since is None or run.start_time >= since) and run.start_time <= until]


def percentile(values: list[float], share: int) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def seconds(start: datetime, end: datetime) -> float:
    return (end - start) / timedelta(seconds=1)


def time(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class TestData:
    async def test_the_same_seed_gives_the_same_sessions(self, clock: Clock) -> None:
        one, other, third = Emulator(clock=clock), Emulator(clock=clock), Emulator(clock=clock, seed=8)
        assert ids(sessions_of(one)) == ids(sessions_of(other))
        assert [s.runs.all for s in sessions_of(one)[:5]] == [s.runs.all for s in sessions_of(other)[:5]]
        assert not ids(sessions_of(one)) & ids(sessions_of(third))

    async def test_a_workspace_holds_projects_and_experiments(self, every: Page) -> None:
        rows = await every()
        experiments = [row for row in rows if row["reference_dataset_id"]]
        assert (len(rows), len(experiments)) == (240, 96)
        assert len({row["reference_dataset_id"] for row in experiments}) == 6
        assert {row["test_run_number"] for row in experiments} == set(range(1, 17))
        assert len({row["name"] for row in rows}) == 240

    async def test_rows_have_every_published_field_and_newer_ones(self, page: Page) -> None:
        (row,) = await page(limit=1)
        assert row.keys() == COLUMNS | STATISTICS | {"run_facets", "experiment_progress", "longlived_ttl_days"}

    async def test_the_data_has_the_oddities_of_the_field(self, every: Page) -> None:
        rows = await every(include_stats=True)
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
    async def test_a_good_share_of_the_projects_is_alive(self, every: Page, hours: int, share: float) -> None:
        since = (NOW - timedelta(hours=hours)).isoformat()
        rows = await every(include_stats=True, stats_start_time=since, reference_free=True)
        assert sum(row["run_count"] > 0 for row in rows) / len(rows) > share


class TestStatistics:
    async def test_every_statistic_follows_from_the_runs(self, langsmith: Emulator, page: Page) -> None:
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
            last = time(row["last_run_start_time"]) if row["last_run_start_time"] else None
            assert last == max((run.start_time for run in runs), default=None)
            errors = [run.error is not None for run in runs]
            streams = [run.streaming for run in runs]
            assert row["error_rate"] == (statistics.mean(errors) if runs else None)
            assert row["streaming_rate"] == (statistics.mean(streams) if runs else None)

    @pytest.mark.parametrize("field", ["feedback_stats", "session_feedback_stats"])
    async def test_feedback_follows_from_the_verdicts(self, langsmith: Emulator, page: Page, field: str) -> None:
        rows = {row["id"]: row for row in await page(include_stats=True)}
        for session in sessions_of(langsmith):
            if (row := rows.get(str(session.id))) is None:
                continue
            on_runs = [verdict for run in counted(session) for verdict in run.feedback]
            verdicts = on_runs if field == "feedback_stats" else list(session.feedback)
            assert row[field].keys() == {verdict.key for verdict in verdicts}
            for key, stat in row[field].items():
                mine = [verdict for verdict in verdicts if verdict.key == key]
                scores = [verdict.score for verdict in mine if verdict.score is not None]
                assert stat["n"] == len(scores)
                assert stat["errors"] == sum(verdict.failed for verdict in mine)
                assert stat["values"] == Counter(verdict.value for verdict in mine if verdict.value)
                assert stat["avg"] == (pytest.approx(statistics.mean(scores), abs=1e-6) if scores else None)
                assert stat["stdev"] == (pytest.approx(statistics.pstdev(scores), abs=1e-6) if scores else None)
                assert stat["median"] == (pytest.approx(statistics.median(scores), abs=1e-6) if scores else None)
                assert (stat["min"], stat["max"]) == (min(scores, default=None), max(scores, default=None))
                assert set(stat["comments"]) == {verdict.comment for verdict in mine if verdict.comment}

    async def test_without_include_stats_every_statistic_is_null(self, page: Page) -> None:
        for row in await page():
            assert {row[name] for name in STATISTICS} == {None}

    async def test_a_statistic_that_is_not_selected_is_null(self, page: Page) -> None:
        for row in await page(include_stats=True, stats_select=["run_count", "feedback_stats"]):
            assert {name for name in STATISTICS if row[name] is not None} == {"run_count", "feedback_stats"}

    async def test_a_statistic_that_is_not_selected_may_be_absent(self, langsmith: Emulator, page: Page) -> None:
        langsmith.leaves_out_unselected = True
        (row,) = await page(include_stats=True, stats_select="run_count", limit=1)
        assert row.keys() & STATISTICS == {"run_count"}
        (row,) = await page(limit=1)
        assert row.keys() >= STATISTICS

    async def test_stats_select_may_be_refused(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        langsmith.refuses_stats_select = True
        response = await client.get("/sessions", params={"include_stats": True, "stats_select": "run_count"})
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["query", "stats_select"]
        assert (await client.get("/sessions", params={"include_stats": True})).status_code == 200

    async def test_costs_are_exact_as_strings_and_as_numbers(
        self, langsmith: Emulator, client: httpx.AsyncClient
    ) -> None:
        params: dict[str, Any] = {"include_stats": True, "stats_select": "total_cost"}
        as_strings = (await client.get("/sessions", params=params)).json()
        langsmith.costs_as_numbers = True
        response = await client.get("/sessions", params=params)
        as_numbers = [row["total_cost"] for row in orjson.loads(response.content)]
        assert {type(cost) for cost in as_numbers} == {float, type(None)}
        assert as_numbers == [row["total_cost"] and float(row["total_cost"]) for row in as_strings]

    async def test_runs_count_from_the_moment_the_clock_reaches_them(
        self, langsmith: Emulator, clock: Clock, every: Page
    ) -> None:
        clock.now += timedelta(days=2)
        rows = {row["id"]: row["run_count"] for row in await every(include_stats=True)}
        assert rows == {str(s.id): len(counted(s, until=clock.now)) for s in sessions_of(langsmith)}
        assert sum(rows.values()) > sum(len(counted(session)) for session in sessions_of(langsmith))

    @pytest.mark.parametrize("hours", [1, 24, 168, 31 * 24])
    async def test_a_window_counts_its_own_runs(self, langsmith: Emulator, every: Page, hours: int) -> None:
        since = NOW - timedelta(hours=hours)
        for written in (since.isoformat(), since.replace(tzinfo=None).isoformat(), f"{since:%Y-%m-%dT%H:%M:%S.%fZ}"):
            rows = await every(include_stats=True, stats_select="run_count", stats_start_time=written)
            expected = {str(session.id): len(counted(session, since)) for session in sessions_of(langsmith)}
            assert {row["id"]: row["run_count"] for row in rows} == expected

    async def test_a_window_begins_at_most_31_days_back(self, client: httpx.AsyncClient) -> None:
        since = NOW - timedelta(days=31, seconds=1)
        response = await client.get("/sessions", params={"stats_start_time": since.isoformat()})
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["query", "stats_start_time"]

    async def test_approximate_statistics_are_those_of_the_last_full_hour(
        self, langsmith: Emulator, every: Page
    ) -> None:
        hour = NOW.replace(minute=0, second=0, microsecond=0)
        rows = await every(include_stats=True, use_approx_stats=True)
        expected = {str(session.id): len(counted(session, until=hour)) for session in sessions_of(langsmith)}
        assert {row["id"]: row["run_count"] for row in rows} == expected
        assert any(row["last_run_start_time"] != row["last_run_start_time_live"] for row in rows)

    async def test_the_live_time_of_the_last_run_needs_no_statistics(self, langsmith: Emulator, every: Page) -> None:
        rows = {row["id"]: row["last_run_start_time_live"] for row in await every()}
        for session in sessions_of(langsmith):
            last = max((run.start_time for run in counted(session)), default=None)
            assert (rows[str(session.id)] and time(rows[str(session.id)])) == last

    async def test_facets_come_with_or_without_statistics(self, langsmith: Emulator, page: Page) -> None:
        rows = await page(facets=True)
        assert all(isinstance(row["run_facets"], list) for row in rows)
        with_stats = await page(facets=True, include_stats=True)
        assert [row["run_facets"] for row in rows] == [row["run_facets"] for row in with_stats]
        session = next(s for s in sessions_of(langsmith) if str(s.id) == rows[0]["id"])
        names = {facet["value"]: facet["n"] for facet in rows[0]["run_facets"] if facet["key"] == "name"}
        assert names == Counter(run.name for run in counted(session))
        assert {row["run_facets"] for row in await page()} == {None}

    async def test_the_query_of_a_facet_finds_its_runs(self, langsmith: Emulator, page: Page) -> None:
        (row,) = await page(id=str(next(s for s in sessions_of(langsmith) if counted(s)).id), facets=True)
        assert {facet["key"] for facet in row["run_facets"]} >= {"name", "run_type"}
        for facet in row["run_facets"]:
            (found,) = await page(id=row["id"], include_stats=True, stats_filter=facet["query"])
            assert found["run_count"] == facet["n"]


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


@pytest.mark.parametrize(("expression", "chosen"), RUN_FILTERS, ids=[text for text, _ in RUN_FILTERS])
async def test_a_stats_filter_chooses_the_runs(
    langsmith: Emulator, page: Page, expression: str, chosen: Callable[[Run], bool]
) -> None:
    rows = await page(include_stats=True, stats_select=["run_count", "latency_p50"], stats_filter=expression)
    by_id = {str(session.id): session for session in sessions_of(langsmith)}
    for row in rows:
        runs = [run for run in counted(by_id[row["id"]]) if chosen(run)]
        assert row["run_count"] == len(runs)
        assert row["latency_p50"] == pytest.approx(percentile([run.latency / 1e6 for run in runs], 50), abs=1e-6)


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


class TestOrder:
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
    async def test_rows_come_sorted_with_nulls_last(
        self, langsmith: Emulator, every: Page, sort_by: str, descending: bool
    ) -> None:
        feedback = {"sort_by_feedback_key": "accuracy"} if sort_by == "feedback" else {}
        rows = await every(sort_by=sort_by, sort_by_desc=descending, **feedback)
        expected = values(langsmith, sort_by)
        found = [expected[row["id"]] for row in rows]
        known = [value for value in found if value not in (None, [])]
        assert len(rows) == 240
        assert found[: len(known)] == sorted(known, reverse=descending)

    async def test_the_youngest_come_first_unless_asked_otherwise(self, page: Page) -> None:
        times = [time(row["start_time"]) for row in await page()]
        assert times == sorted(times, reverse=True)

    async def test_equals_are_sorted_by_id(self, every: Page) -> None:
        for descending in (True, False):
            rows = await every(sort_by="error_rate", sort_by_desc=descending, include_stats=True)
            faultless = [row["id"] for row in rows if row["error_rate"] == 0]
            assert len(faultless) > 5
            assert faultless == sorted(faultless)

    async def test_a_statistic_sorts_as_the_options_compute_it(self, every: Page) -> None:
        options = {"stats_start_time": (NOW - timedelta(hours=24)).isoformat(), "stats_filter": 'eq(run_type, "llm")'}
        rows = await every(sort_by="latency_p99", include_stats=True, **options)
        known = [row["latency_p99"] for row in rows if row["latency_p99"] is not None]
        assert known == sorted(known, reverse=True)
        assert 10 < len(known) < 240
        assert [row["id"] for row in rows] == [row["id"] for row in await every(sort_by="latency_p99", **options)]
        assert [row["id"] for row in rows] != [row["id"] for row in await every(sort_by="latency_p99")]

    async def test_feedback_of_sessions_sorts_too(self, every: Page) -> None:
        rows = await every(
            sort_by="feedback", sort_by_feedback_key="overall", sort_by_feedback_source="session", include_stats=True
        )
        found = [row["session_feedback_stats"].get("overall", {}).get("avg") for row in rows]
        known = [avg for avg in found if avg is not None]
        assert found == sorted(known, reverse=True) + [None] * (len(found) - len(known))

    @pytest.mark.parametrize("limit", [1, 7, 100])
    async def test_pages_hold_every_session_once(self, page: Page, limit: int) -> None:
        asked = [page(limit=limit, offset=offset, sort_by="error_rate") for offset in range(0, 240, limit)]
        pages = [await asking for asking in asked]
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


class TestFilters:
    @pytest.mark.parametrize(("params", "chosen"), FILTERS, ids=[str(params) for params, _ in FILTERS])
    async def test_a_filter_leaves_what_meets_it(
        self, langsmith: Emulator, every: Page, params: dict[str, Any], chosen: Callable[[Session], bool]
    ) -> None:
        expected = ids(session for session in sessions_of(langsmith) if chosen(session))
        assert ids(await every(**params)) == expected
        assert expected or params.get("name") == "support"

    async def test_lists_are_repeated_keys(self, langsmith: Emulator, every: Page) -> None:
        wanted = sessions_of(langsmith)[10:15]
        found = await every(id=[*(str(session.id) for session in wanted), str(uuid4())])
        assert ids(found) == ids(wanted)

    async def test_experiments_are_found_by_their_datasets(self, langsmith: Emulator, every: Page) -> None:
        one, other, *_ = (dataset.id for dataset in langsmith.workspaces["demo"].datasets)
        assert {row["reference_dataset_id"] for row in await every(reference_dataset=[str(one)])} == {str(one)}
        assert len(await every(reference_dataset=[str(one), str(other)])) == 32

    async def test_tag_values_must_all_be_there(self, langsmith: Emulator, every: Page) -> None:
        one, other, *_ = langsmith.workspaces["demo"].tag_values
        carrying = [session for session in sessions_of(langsmith) if {one, other} <= session.tag_value_ids]
        assert carrying
        assert ids(await every(tag_value_id=[str(one), str(other)])) == ids(carrying)
        assert len(await every(tag_value_id=str(one))) > len(carrying)

    async def test_an_unknown_name_is_an_empty_list(self, page: Page) -> None:
        assert await page(name="nobody") == []


REFUSED = [
    ("limt=1", ["limt"], "extra_forbidden"),
    ("limit=1&limit=2", ["limit"], "int_type"),
    ("name=a&name=b", ["name"], "string_type"),
    ("include_stats=true&include_stats=true", ["include_stats"], "bool_type"),
    ("limit=0", ["limit"], "greater_than_equal"),
    ("limit=101", ["limit"], "less_than_equal"),
    ("limit=ten", ["limit"], "int_parsing"),
    ("offset=-1", ["offset"], "greater_than_equal"),
    ("include_stats=1", ["include_stats"], "bool_type"),
    ("include_stats=", ["include_stats"], "bool_type"),
    ("facets=yes", ["facets"], "bool_type"),
    ("id=1", ["id", 0], "uuid_parsing"),
    (f"id={UUID(int=1)}&id=1", ["id", 1], "uuid_parsing"),
    ("reference_dataset=x", ["reference_dataset", 0], "uuid_parsing"),
    ("tag_value_id=", ["tag_value_id", 0], "uuid_parsing"),
    ("sort_by=latency", ["sort_by"], "literal_error"),
    ("sort_by=START_TIME", ["sort_by"], "literal_error"),
    ("sort_by=feedback", ["sort_by_feedback_key"], "value_error"),
    ("sort_by_feedback_source=app", ["sort_by_feedback_source"], "literal_error"),
    ("metadata=x", ["metadata"], "value_error"),
    ("metadata=[1]", ["metadata"], "dict_type"),
    ("stats_select=runCount", ["stats_select", 0], "value_error"),
    ("stats_select=run_count,error_rate", ["stats_select", 0], "value_error"),
    ("stats_select=name", ["stats_select", 0], "value_error"),
    ("stats_start_time=yesterday", ["stats_start_time"], "datetime_from_date_parsing"),
]

UNREADABLE = [
    "",
    "name",
    '"x"',
    'eq(name, "x"',
    'eq(name, "x"))',
    'eq(name "x")',
    "eq(name, x)",
    'eq("x", name)',
    "eq(name)",
    'like(name, "x")',
    'eq(nme, "x")',
    'eq(name, "x',
    "and()",
    "and(name)",
    'in(name, "x")',
    "in(name, [name])",
    'gt(start_time, "soon")',
    "gt(start_time, null)",
    "gt(start_time, 5)",
    "eq(name, ?)",
    "not(" * 2000,
]


class TestStrictness:
    @pytest.mark.parametrize(("query", "place", "kind"), REFUSED, ids=[query for query, *_ in REFUSED])
    async def test_what_is_not_defined_is_refused(
        self, client: httpx.AsyncClient, query: str, place: list[str | int], kind: str
    ) -> None:
        response = await client.get(f"/api/v1/sessions?{query}")
        assert response.status_code == 422
        (error,) = response.json()["detail"]
        assert error.keys() >= {"type", "loc", "msg", "input"}
        assert error["loc"] == ["query", *place]
        assert error["type"] == kind

    @pytest.mark.parametrize("parameter", ["filter", "stats_filter"])
    @pytest.mark.parametrize("text", UNREADABLE, ids=[text[:20] for text in UNREADABLE])
    async def test_an_unreadable_filter_is_refused_with_a_reason(
        self, client: httpx.AsyncClient, parameter: str, text: str
    ) -> None:
        response = await client.get("/sessions", params={parameter: text})
        assert response.status_code == 422
        assert response.json()["detail"].startswith(f"Invalid {parameter}: ")

    @pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/api/v1", "/api/v1/runs", "/sessions/a/b"])
    async def test_an_unknown_path_is_not_found(self, client: httpx.AsyncClient, path: str) -> None:
        response = await client.get(path)
        assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})

    async def test_only_get_is_spoken(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/sessions", json={"name": "x"})
        assert (response.status_code, response.json()) == (405, {"detail": "Method Not Allowed"})


class TestOneSession:
    @pytest.mark.parametrize("prefix", ["", "/api/v1"])
    async def test_it_is_the_row_of_the_list(
        self, langsmith: Emulator, client: httpx.AsyncClient, page: Page, prefix: str
    ) -> None:
        identifier = str(sessions_of(langsmith)[3].id)
        for params in ({}, {"include_stats": True}):
            (row,) = await page(id=identifier, **params)
            assert (await client.get(f"{prefix}/sessions/{identifier}", params=params)).json() == row

    async def test_it_takes_no_stats_select(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        path = f"/sessions/{sessions_of(langsmith)[3].id}"
        assert (await client.get(path, params={"stats_start_time": NOW.isoformat()})).status_code == 200
        assert (await client.get(path, params={"stats_select": "run_count"})).status_code == 422

    async def test_an_unknown_id_is_not_found(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        for identifier in (uuid4(), sessions_of(langsmith, "demo-2")[0].id):
            response = await client.get(f"/sessions/{identifier}")
            assert (response.status_code, response.json()) == (404, {"detail": "Session not found"})
        assert (await client.get("/sessions/x")).json()["detail"][0]["loc"] == ["path", "session_id"]


class TestTenants:
    @pytest.fixture
    async def anonymous(self, url: str) -> AsyncIterator[httpx.AsyncClient]:
        async with http_client(url) as client:
            yield client

    async def test_each_key_sees_its_own_workspace(self, langsmith: Emulator, anonymous: httpx.AsyncClient) -> None:
        for key, size in (("demo", 100), ("demo-2", 60)):
            rows = (await anonymous.get("/sessions", headers={"X-API-Key": key})).json()
            assert len(rows) == size
            assert {row["tenant_id"] for row in rows} == {str(langsmith.workspaces[key].tenant_id)}
        assert not ids(sessions_of(langsmith)) & ids(sessions_of(langsmith, "demo-2"))

    @pytest.mark.parametrize(
        "headers", [{}, {"X-API-Key": "demo-3"}, {"X-API-Key": ""}, {"Authorization": "Basic demo"}]
    )
    async def test_nobody_else_is_let_in(self, anonymous: httpx.AsyncClient, headers: dict[str, str]) -> None:
        response = await anonymous.get("/sessions", headers=headers)
        assert (response.status_code, response.json()) == (401, {"detail": "Invalid token"})

    async def test_a_bearer_may_name_its_organisation(self, anonymous: httpx.AsyncClient) -> None:
        headers = {"Authorization": "Bearer demo-2", "X-Organization-Id": str(uuid4())}
        assert len((await anonymous.get("/sessions", headers=headers)).json()) == 60

    async def test_a_bearer_names_its_workspace(self, langsmith: Emulator, anonymous: httpx.AsyncClient) -> None:
        bearer = {"Authorization": "Bearer demo-2"}
        tenant = {"X-Tenant-Id": str(langsmith.workspaces["demo-2"].tenant_id)}
        assert len((await anonymous.get("/sessions", headers=bearer | tenant)).json()) == 60
        response = await anonymous.get("/sessions", headers=bearer)
        assert response.status_code == 403
        assert "X-Tenant-ID" in response.json()["detail"]

    async def test_the_workspace_must_be_the_key_s_own(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        async def asked(tenant: object) -> tuple[int, Any]:
            response = await client.get("/sessions?limit=1", headers={"X-Tenant-Id": str(tenant)})
            return response.status_code, response.json()

        assert (await asked(langsmith.workspaces["demo"].tenant_id))[0] == 200
        assert await asked(langsmith.workspaces["demo-2"].tenant_id) == (403, {"detail": "Forbidden"})
        assert await asked("default") == (401, {"detail": "UUID header value was not a valid UUID"})

    async def test_tenants_can_be_added(self, clock: Clock) -> None:
        langsmith = Emulator(clock=clock, workspaces={f"key-{number}": 20 for number in range(12)})
        workspaces = langsmith.workspaces.values()
        assert len({workspace.tenant_id for workspace in workspaces}) == 12
        assert len({session.id for workspace in workspaces for session in workspace.sessions}) == 240


class TestTraffic:
    async def test_requests_are_recorded_as_they_were_sent(
        self, langsmith: Emulator, client: httpx.AsyncClient
    ) -> None:
        await client.get("/api/v1/sessions?id=a&id=b&name=&name_contains=%C3%BC", headers={"X-Request-Id": "r-1"})
        await client.get("/info")
        first, second = langsmith.requests
        assert (first.path, first.status, second.path, second.status) == ("/api/v1/sessions", 422, "/info", 200)
        assert first.params == [("id", "a"), ("id", "b"), ("name", ""), ("name_contains", "ü")]
        assert first.headers["x-request-id"] == "r-1"

    async def test_a_fault_spoils_one_answer(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        langsmith.faults = [
            Fault(status=503, body=b"<html>", headers={"Content-Type": "text/html", "Retry-After": "2"}),
            Fault(status=429, times=2),
        ]
        first = await client.get("/sessions")
        assert (first.status_code, first.content) == (503, b"<html>")
        assert (first.headers["content-type"], first.headers["retry-after"]) == ("text/html", "2")
        rest = [(await client.get("/sessions")).status_code for _ in range(3)]
        assert rest == [429, 429, 200]
        assert [request.status for request in langsmith.requests] == [503, 429, 429, 200]

    async def test_a_sticky_fault_stays(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        langsmith.faults = [Fault(status=500, times=None)]
        assert [(await client.get("/sessions")).status_code for _ in range(3)] == [500] * 3
        langsmith.faults.clear()
        assert (await client.get("/sessions")).status_code == 200

    async def test_a_fault_rewrites_the_rows(self, langsmith: Emulator, client: httpx.AsyncClient, page: Page) -> None:
        def without_name(rows: Rows) -> None:
            rows[0]["feedback_stats"] = "odd"
            del rows[0]["name"]

        langsmith.faults = [Fault(rewrite=without_name), Fault(rewrite=lambda rows: {"items": rows})]
        (row,) = await page(limit=1, include_stats=True)
        assert "name" not in row
        assert (await client.get("/sessions?limit=1")).json().keys() == {"items"}
        (row,) = await page(limit=1, include_stats=True)
        assert isinstance(row["feedback_stats"], dict)

    async def test_a_fault_may_only_add_headers(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        langsmith.faults = [Fault(headers={"Deprecation": "true"})]
        response = await client.get("/sessions?limit=1")
        assert (response.status_code, response.headers["deprecation"], len(response.json())) == (200, "true", 1)

    @pytest.mark.parametrize("body", [None, b'[{"id": '])
    async def test_a_fault_may_hang_up(
        self, langsmith: Emulator, client: httpx.AsyncClient, body: bytes | None
    ) -> None:
        langsmith.faults = [Fault(hang_up=True, body=body)]
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.get("/sessions")
        assert (await client.get("/sessions")).status_code == 200
        assert [request.status for request in langsmith.requests] == [None, 200]

    async def test_a_gate_holds_requests_until_it_is_set(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        gate = langsmith.pause()
        asking = [asyncio.create_task(client.get("/sessions?limit=1")) for _ in range(3)]
        await langsmith.arrived(3)
        assert [request.status for request in langsmith.requests] == [None] * 3
        assert not any(task.done() for task in asking)
        gate.set()
        assert [response.status_code for response in await asyncio.gather(*asking)] == [200] * 3
        assert (await client.get("/sessions?limit=1")).status_code == 200

    async def test_a_client_that_hangs_up_is_counted(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        langsmith.pause()
        asking = asyncio.create_task(client.get("/sessions"))
        await langsmith.arrived(1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await langsmith.hung_up(1)
        assert langsmith.cancelled == 1
        assert langsmith.requests[0].status is None

    async def test_latency_comes_before_the_answer(self, langsmith: Emulator, client: httpx.AsyncClient) -> None:
        langsmith.latency = 30.0
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/sessions", timeout=httpx.Timeout(PATIENCE, read=0.05))
        await langsmith.hung_up(1)

    async def test_answers_are_compressed_for_those_who_ask(self, client: httpx.AsyncClient) -> None:
        plain = await client.get("/sessions", headers={"Accept-Encoding": "identity"})
        compressed = await client.get("/sessions", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in plain.headers
        assert compressed.headers["content-encoding"] == "gzip"
        assert int(compressed.headers["content-length"]) < len(plain.content) / 4
        assert plain.content == compressed.content
        assert plain.headers["content-type"] == compressed.headers["content-type"] == "application/json"


class TestServing:
    async def test_it_stops_with_connections_open_and_requests_held(self, langsmith: Emulator) -> None:
        async with http_client("", key="demo") as client:
            async with asyncio.timeout(PATIENCE), serving(langsmith) as url:
                await client.get(f"{url}/sessions?limit=1")
                langsmith.pause()
                asking = asyncio.create_task(client.get(f"{url}/sessions"))
                await langsmith.arrived(2)
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await asking
            with pytest.raises(httpx.ConnectError):
                await client.get(f"{url}/sessions")
        gc.collect()

    def test_a_thread_serves_it_too(self, langsmith: Emulator) -> None:
        with (
            serving_in_thread(langsmith) as url,
            httpx.Client(base_url=url, headers={"X-API-Key": "demo-2"}, trust_env=False, verify=False) as client,
        ):
            assert len(client.get("/api/v1/sessions").json()) == 60
        assert "emulator" not in {thread.name for thread in threading.enumerate()}


class TestVendorSdk:
    @pytest.fixture
    def vendor(self, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[sdk.Client]:
        for name in ("LANGSMITH_WORKSPACE_ID", "LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        vendor = sdk.Client(api_url=url, api_key="demo", auto_batch_tracing=False, disable_prompt_cache=True)
        yield vendor
        vendor.close()

    async def test_it_lists_projects_over_pages(self, langsmith: Emulator, vendor: sdk.Client) -> None:
        projects = await asyncio.to_thread(lambda: list(vendor.list_projects()))
        assert ids(projects) == ids(sessions_of(langsmith))
        assert len(await asyncio.to_thread(lambda: list(vendor.list_projects(limit=30)))) == 30

    async def test_it_filters_projects(self, langsmith: Emulator, vendor: sdk.Client) -> None:
        dataset = langsmith.workspaces["demo"].datasets[0].id
        found = await asyncio.to_thread(lambda: list(vendor.list_projects(reference_dataset_id=dataset)))
        assert {project.reference_dataset_id for project in found} == {dataset}
        found = await asyncio.to_thread(
            lambda: list(vendor.list_projects(reference_free=True, metadata={"env": "prod"}, include_stats=True))
        )
        assert {project.metadata["env"] for project in found} == {"prod"}

    async def test_it_reads_a_project_by_name_and_by_id(self, langsmith: Emulator, vendor: sdk.Client) -> None:
        session = next(session for session in sessions_of(langsmith) if session.name == "support-agent-prod")
        project = await asyncio.to_thread(
            lambda: vendor.read_project(project_name="support-agent-prod", include_stats=True)
        )
        assert (project.id, project.run_count) == (session.id, len(counted(session)))
        by_id = await asyncio.to_thread(lambda: vendor.read_project(project_id=str(session.id), include_stats=True))
        assert by_id == project
        assert (await asyncio.to_thread(lambda: vendor.info)).version
