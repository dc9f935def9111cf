"""Statistics over further windows: one request per window, and ids that tell windows apart."""

from typing import Any

import pytest

from app.emulator import Emulator, Fault
from tests.conftest import Clock, Gateway, Serve, take_recorded_params

DAY = ("stats_start_time", "2026-11-19T12:00:00Z")
HOUR = ("stats_start_time", "2026-11-20T11:00:00Z")
WINDOW = {"stats_start_time", "stats_filter", "use_approx_stats"}


def windows(langsmith: Emulator) -> list[tuple[int, set[tuple[str, str]], set[str]]]:
    """For each request by ids: the number of ids, the window, and the statistics."""
    found = []
    for request in take_recorded_params(langsmith):
        ids = [value for name, value in request if name == "id"]
        if ids:
            assert ("limit", str(len(ids))) in request
            window = {each for each in request if each[0] in WINDOW}
            found.append((len(ids), window, {value for name, value in request if name == "stats_select"}))
    return sorted(found, key=lambda each: (each[0], sorted(each[1])))


async def nodes(gateway: Gateway, operation: str) -> list[dict[str, Any]]:
    data = await gateway.data(operation)
    found: list[dict[str, Any]] = data["sessions"]["nodes"]
    return found


async def test_window_of_all_rows_is_one_request(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data('{ sessions { nodes { name runCount stats(last: "P1D") { runCount errorRate } } } }')
    assert windows(langsmith) == [(20, {DAY}, {"run_count", "error_rate"})]


async def test_each_distinct_window_is_one_request(gateway: Gateway, langsmith: Emulator) -> None:
    rows = await nodes(
        gateway,
        """{ sessions(first: 5) { nodes { runCount
            day: stats(last: "P1D") { runCount }
            hour: stats(last: "PT1H") { runCount }
            since: stats(since: "2026-11-18T00:00:00Z") { runCount }
            llm: stats(filter: "eq(run_type, \\"llm\\")") { runCount }
            roughly: stats(last: "P1D", approximate: true) { runCount }
        } } }""",
    )
    assert {(count, frozenset(window)) for count, window, _ in windows(langsmith)} == {
        (5, frozenset({DAY})),
        (5, frozenset({HOUR})),
        (5, frozenset({("stats_start_time", "2026-11-18T00:00:00Z")})),
        (5, frozenset({("stats_filter", 'eq(run_type, "llm")')})),
        (5, frozenset({DAY, ("use_approx_stats", "true")})),
    }
    assert all(row["hour"]["runCount"] <= row["day"]["runCount"] <= row["since"]["runCount"] for row in rows)
    assert all(row["llm"]["runCount"] <= row["runCount"] for row in rows)


async def test_aliases_of_one_window_share_a_request_for_their_statistics(
    gateway: Gateway, langsmith: Emulator
) -> None:
    (row,) = await nodes(
        gateway,
        """{ sessions(first: 1) { nodes {
            a: stats(last: "P1D") { runCount } b: stats(last: "PT24H") { errorRate ...More }
        } } }
        fragment More on SessionStats { totalTokens @skip(if: true) latencyP50 }""",
    )
    assert windows(langsmith) == [(1, {DAY}, {"run_count", "error_rate", "latency_p50"})]
    assert row["a"].keys() == {"runCount"}
    assert row["b"].keys() == {"errorRate", "latencyP50"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('last: "P1D"', 'last: "PT24H"'),
        ('last: "P1D"', 'last: "PT1440M", since: null, approximate: false'),
        ('since: "2026-11-18T02:00:00+02:00"', 'since: "2026-11-17T23:30:00-00:30"'),
        ('since: "2026-11-18T00:00:00Z"', 'since: "2026-11-18t00:00:00.000z"'),
        ('last: "P1D"', 'since: "2026-11-19T12:00:00Z"'),
    ],
)
async def test_equal_windows_written_differently_share_a_request(
    one: str, other: str, gateway: Gateway, langsmith: Emulator
) -> None:
    (row,) = await nodes(
        gateway,
        f"{{ sessions(first: 1) {{ nodes {{ a: stats({one}) {{ runCount }} b: stats({other}) {{ runCount }} }} }} }}",
    )
    assert row["a"] == row["b"]
    assert len(windows(langsmith)) == 1


async def test_root_fields_share_the_request_for_a_window(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data(
        """{ a: sessions(first: 3) { nodes { stats(last: "P1D") { runCount } } }
            b: sessions(first: 4, offset: 3) { nodes { stats(last: "P1D") { errorRate } } }
            c: sessions(first: 3, offset: 1) { edges { node { stats(last: "P1D") { errorRate } } } } }"""
    )
    assert windows(langsmith) == [(7, {DAY}, {"run_count", "error_rate"})]


async def test_window_of_many_rows_is_one_request_per_hundred(gateway: Gateway, langsmith: Emulator) -> None:
    rows = await nodes(gateway, '{ sessions(first: 240) { nodes { stats(last: "P1D") { runCount } } } }')
    assert len(rows) == 240
    assert [count for count, _, _ in windows(langsmith)] == [40, 100, 100]


async def test_id_of_a_window_sends_no_request(gateway: Gateway, langsmith: Emulator) -> None:
    rows = await nodes(gateway, '{ sessions(first: 2) { nodes { id stats(last: "P1D") { __typename id } } } }')
    assert take_recorded_params(langsmith) == [[("limit", "2")]]
    assert all(row["stats"]["id"].startswith(row["id"] + ":") for row in rows)


async def test_facets_are_requested_over_a_window(gateway: Gateway, langsmith: Emulator) -> None:
    (row,) = await nodes(gateway, '{ sessions(first: 1) { nodes { id stats(last: "P1D") { runFacets } } } }')
    request = take_recorded_params(langsmith)[1]
    assert dict(request) == {"id": row["id"], "limit": "1", "facets": "true", "stats_start_time": DAY[1]}
    assert row["stats"]["runFacets"]


async def test_window_of_the_page_needs_no_further_request(gateway: Gateway, langsmith: Emulator) -> None:
    (row,) = await nodes(
        gateway,
        """{ sessions(first: 1, stats: {last: "P1D"}) { nodes {
            runCount stats(last: "PT24H") { runCount errorRate } } } }""",
    )
    assert take_recorded_params(langsmith) == [
        [
            *[("limit", "1"), ("include_stats", "true"), ("stats_select", "run_count"), ("stats_select", "error_rate")],
            DAY,
        ]
    ]
    assert row["runCount"] == row["stats"]["runCount"]


async def test_stats_without_arguments_are_over_all_runs(gateway: Gateway, langsmith: Emulator) -> None:
    (row,) = await nodes(
        gateway,
        """{ sessions(first: 1, stats: {last: "PT1H"}) { nodes {
            runCount stats { runCount } own: stats(last: "PT1H") { id } } } }""",
    )
    assert windows(langsmith) == [(1, set(), {"run_count"})]
    assert row["stats"]["runCount"] > row["runCount"]


async def ids_of(gateway: Gateway, fields: str) -> dict[str, str]:
    (row,) = await nodes(gateway, f"{{ sessions(first: 1) {{ nodes {{ {fields} }} }} }}")
    return {alias: each["id"] for alias, each in row.items()}


async def test_ids_of_stats_differ_by_window_and_by_nothing_else(gateway: Gateway, clock: Clock) -> None:
    fields = """all: stats { id } day: stats(last: "P1D") { id } hour: stats(last: "PT1H") { id }
        since: stats(since: "2026-11-18T00:00:00Z") { id } llm: stats(filter: "eq(run_type, \\"llm\\")") { id }
        rough: stats(approximate: true) { id }"""
    before = await ids_of(gateway, fields)
    assert len(set(before.values())) == 6
    clock.advance(3600)
    assert await ids_of(gateway, fields) == before
    again = await ids_of(
        gateway,
        """all: stats(last: null) { id } day: stats(last: "PT24H") { id }
        since: stats(since: "2026-11-18T01:00:00+01:00") { id }""",
    )
    assert again == {alias: before[alias] for alias in ("all", "day", "since")}


async def test_ids_of_stats_differ_by_session(gateway: Gateway) -> None:
    rows = await nodes(gateway, "{ sessions(first: 50) { nodes { stats { id } } } }")
    assert len({row["stats"]["id"] for row in rows}) == 50


async def test_failed_window_is_one_error_and_leaves_the_page_intact(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        langsmith.faults += [Fault(rewrite=lambda rows: rows), Fault(status=503)]
        body = await gateway.run(
            """{ sessions(first: 5) { nodes {
                name runCount a: stats(last: "P1D") { runCount } b: stats(last: "P1D") { runCount } } } }"""
        )
    assert [(error["extensions"]["code"], error["path"]) for error in body["errors"]] == [
        ("UPSTREAM_ERROR", ["sessions", "nodes", 0, "a"])
    ]
    rows = body["data"]["sessions"]["nodes"]
    assert all(row["name"] and row["runCount"] is not None and row["a"] is None for row in rows)


async def test_failed_window_leaves_other_windows_intact(gateway: Gateway) -> None:
    body = await gateway.run(
        """{ sessions(first: 3) { nodes {
            tooFar: stats(since: "2020-01-01T00:00:00Z") { runCount } day: stats(last: "P1D") { runCount } } } }"""
    )
    (error,) = body["errors"]
    assert (error["extensions"]["code"], error["path"][-1]) == ("BAD_USER_INPUT", "tooFar")
    for row in body["data"]["sessions"]["nodes"]:
        assert row["tooFar"] is None
        assert row["day"]["runCount"] is not None


async def test_failed_window_of_two_root_fields_is_reported_at_each(serve: Serve, langsmith: Emulator) -> None:
    async with serve(upstream_retries=0) as gateway:
        langsmith.faults += [Fault(rewrite=lambda rows: rows, times=2), Fault(status=503, times=None)]
        body = await gateway.run(
            """{ a: sessions(first: 2) { nodes { stats(last: "P1D") { runCount } } }
                b: sessions(first: 2, offset: 5) { nodes { stats(last: "P1D") { runCount } } } }"""
        )
    assert [error["path"] for error in body["errors"]] == [[root, "nodes", 0, "stats"] for root in "ab"]
    assert body["data"] == {root: {"nodes": [{"stats": None}] * 2} for root in "ab"}


async def test_window_shows_the_values_that_langsmith_returned_for_it(gateway: Gateway, langsmith: Emulator) -> None:
    sent: list[list[dict[str, Any]]] = []
    langsmith.faults.append(Fault(rewrite=sent.append, times=None))
    rows = await nodes(
        gateway,
        """{ sessions(first: 40) { nodes { id runCount totalTokens stats(last: "P1D") {
            runCount totalTokens latencyP50 errorRate lastRunStartTime feedbackStats { key n } } } } }""",
    )
    page, window = sent
    assert [row["runCount"] for row in rows] == [each["run_count"] for each in page]
    by_id = {each["id"]: each for each in window}
    for row in rows:
        right, stats = by_id[row["id"]], row["stats"]
        for field, name in [("runCount", "run_count"), ("totalTokens", "total_tokens"), ("errorRate", "error_rate")]:
            assert stats[field] == right[name]
        assert stats["latencyP50"] == right["latency_p50"]
        assert {each["key"]: each["n"] for each in stats["feedbackStats"]} == {
            key: each["n"] for key, each in right["feedback_stats"].items()
        }
    assert any(row["runCount"] > row["stats"]["runCount"] for row in rows)


async def test_session_by_id_has_windows(gateway: Gateway, langsmith: Emulator) -> None:
    (row,) = await nodes(gateway, "{ sessions(first: 1) { nodes { id } } }")
    langsmith.requests.clear()
    data = await gateway.data(
        """query ($id: ID!) { session(id: $id, stats: {last: "PT1H"}) { runCount
            own: stats(last: "PT1H") { runCount } day: stats(last: "P1D") { runCount } } }""",
        {"id": row["id"]},
    )
    assert windows(langsmith) == [(1, {DAY}, {"run_count"}), (1, {HOUR}, {"run_count"})]
    assert data["session"]["own"]["runCount"] == data["session"]["runCount"] <= data["session"]["day"]["runCount"]


async def test_window_of_an_unknown_session_is_requested_at_most_once(gateway: Gateway, langsmith: Emulator) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    data = await gateway.data(f'{{ session(id: "{unknown}") {{ stats(last: "P1D") {{ runCount }} }} }}')
    assert data == {"session": None}
    assert len(take_recorded_params(langsmith)) <= 2


async def test_session_that_is_missing_from_its_window_has_null_stats(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.faults += [Fault(rewrite=lambda rows: rows), Fault(rewrite=lambda rows: rows[1:])]
    rows = await nodes(gateway, '{ sessions(first: 3) { nodes { name stats(last: "P1D") { runCount } } } }')
    assert sum(row["stats"] is None for row in rows) == 1
