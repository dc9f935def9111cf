"""Pages are kept for a short while, refilled by id, shared under way; and no answer changes by it."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.emulator import Emulator, Fault, serving
from tests.conftest import NOON, Clock, Gateway, Serve, asked, started
from tests.support.generated_operations import Operation, operations

TENANTS = {"demo": 12, "demo-2": 12}
SOME_IDS = [str(each.id) for each in Emulator(clock=lambda: NOON, workspaces=TENANTS).workspaces["demo"].sessions[:4]]
THREE = "{ sessions(first: 5) { nodes { id runCount latencyP50 totalCost } } }"
TWO = "{ sessions(first: 5) { nodes { totalCost runCount } } }"
ONE_MORE = "{ sessions(first: 5) { nodes { runCount errorRate } } }"


def ids_in(params: list[tuple[str, str]]) -> set[str]:
    return {value for name, value in params if name == "id"}


def without_ids(params: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in params if name != "id"]


async def outcome(gateway: Gateway, query: str) -> str:
    explained = await gateway.explain(query)
    [field] = explained["fields"].values()
    return str(field["cache"])


async def test_a_narrower_selection_is_a_hit_and_a_wider_one_asks_for_the_rest_by_id(
    gateway: Gateway, langsmith: Emulator
) -> None:
    data = await gateway.data(THREE)
    assert asked(langsmith) == [
        [
            ("limit", "5"),
            ("include_stats", "true"),
            ("stats_select", "run_count"),
            ("stats_select", "latency_p50"),
            ("stats_select", "total_cost"),
        ]
    ]
    await gateway.data(TWO)
    assert asked(langsmith) == []

    await gateway.data(ONE_MORE)
    [refill] = asked(langsmith)
    assert without_ids(refill) == [("limit", "5"), ("include_stats", "true"), ("stats_select", "error_rate")]
    assert ids_in(refill) == {node["id"] for node in data["sessions"]["nodes"]}

    await gateway.data(ONE_MORE)
    assert asked(langsmith) == []


async def test_a_longer_page_serves_a_shorter_one(gateway: Gateway, langsmith: Emulator) -> None:
    long = await gateway.data("{ sessions(first: 30) { nodes { id runCount } } }")
    short = await gateway.data("{ sessions(first: 10) { nodes { id runCount } } }")
    assert short["sessions"]["nodes"] == long["sessions"]["nodes"][:10]
    assert len(asked(langsmith)) == 1


async def test_a_page_that_ends_the_list_serves_a_longer_one(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(offset: 235, first: 20) { nodes { id } } }")
    data = await gateway.data("{ sessions(offset: 235, first: 90) { nodes { id } } }")
    assert len(data["sessions"]["nodes"]) == 5
    assert len(asked(langsmith)) == 1


async def test_a_refill_asks_only_for_the_rows_that_are_wanted(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(first: 100) { nodes { id } } }")
    await gateway.data("{ sessions(first: 3) { nodes { runCount } } }")
    _, refill = asked(langsmith)
    assert len(ids_in(refill)) == 3


async def test_a_statistic_that_is_known_to_be_null_is_not_asked_for_again(
    gateway: Gateway, langsmith: Emulator
) -> None:
    langsmith.leaves_out_unselected = True
    query = "{ sessions(first: 100) { nodes { firstTokenP50 totalCost } } }"
    data = await gateway.data(query)
    assert None in [node["firstTokenP50"] for node in data["sessions"]["nodes"]]
    assert await gateway.data(query) == data
    assert len(asked(langsmith)) == 1


async def test_a_page_is_asked_for_anew_when_its_time_is_over(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    assert [await outcome(gateway, THREE), await outcome(gateway, THREE)] == ["MISS", "HIT"]
    clock.forward(14.9)
    assert await outcome(gateway, THREE) == "HIT"
    clock.forward(0.2)
    assert await outcome(gateway, THREE) == "MISS"
    assert len(asked(langsmith)) == 2


async def test_a_refill_does_not_make_a_page_younger(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    await gateway.data(THREE)
    clock.forward(10)
    await gateway.data(ONE_MORE)
    clock.forward(6)
    assert await outcome(gateway, ONE_MORE) == "MISS"


async def test_no_statistic_is_served_longer_than_its_own_time(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    await gateway.data('{ sessions(first: 5) { nodes { id stats(last: "PT24H") { runCount } } } }')
    clock.forward(10)
    # The page's time begins again, that of the window's statistics does not.
    await gateway.data("{ sessions(first: 6) { nodes { id } } }")
    asked(langsmith)
    clock.forward(6)
    explained = await gateway.explain(
        '{ sessions(first: 5, stats: {since: "2026-11-19T12:00:00Z"}) { nodes { runCount } } }'
    )
    [params] = asked(langsmith)
    assert ("stats_select", "run_count") in params
    assert explained["fields"]["sessions"]["cache"] == "REFILL"


async def test_what_expires_while_the_rest_is_fetched_is_served_with_it(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    session = langsmith.workspaces["demo"].sessions[0]
    query = f'{{ session(id: "{session.id}") {{ runCount totalCost }} }}'
    await gateway.data(query.replace("totalCost", ""))
    gate = langsmith.pause()
    clock.forward(14)
    asking = asyncio.create_task(gateway.data(query))
    await langsmith.wait_for_requests(2)
    clock.forward(5)
    gate.set()
    assert set((await asking)["session"]) == {"runCount", "totalCost"}
    assert len(asked(langsmith)) == 2


async def test_what_a_page_shows_of_a_session_is_known_wherever_it_is_wanted(
    gateway: Gateway, langsmith: Emulator
) -> None:
    page = '{ sessions(first: 5) { nodes { id name runCount stats(last: "PT1H") { totalCost } } } }'
    nodes = (await gateway.data(page))["sessions"]["nodes"]
    asked(langsmith)
    one = f'{{ session(id: "{nodes[1]["id"]}") {{ name runCount stats(last: "PT1H") {{ totalCost }} }} }}'
    data = await gateway.data(one)
    assert data["session"] == {key: nodes[1][key] for key in ("name", "runCount", "stats")}
    assert asked(langsmith) == []
    assert await outcome(gateway, one) == "HIT"
    search = "{ sessions(first: 5, filter: {ids: $ids}) { nodes { id $stats } } }"
    search = search.replace("$ids", "[" + ", ".join(f'"{node["id"]}"' for node in nodes) + "]")
    await gateway.data(search.replace("$stats", ""))
    asked(langsmith)
    assert len((await gateway.data(search.replace("$stats", "runCount")))["sessions"]["nodes"]) == 5
    assert asked(langsmith) == []


async def test_a_page_is_asked_for_anew_with_what_was_wanted_of_it_lately(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    def statistics() -> list[set[str]]:
        return [{value for name, value in params if name == "stats_select"} for params in asked(langsmith)]

    await gateway.data(THREE)
    await gateway.data(ONE_MORE)
    assert statistics() == [{"run_count", "latency_p50", "total_cost"}, {"error_rate"}]
    clock.forward(20)
    await gateway.data(TWO)
    assert statistics() == [{"run_count", "latency_p50", "total_cost", "error_rate"}]
    assert [await outcome(gateway, query) for query in (THREE, ONE_MORE)] == ["HIT", "HIT"]
    # What nobody wants any more is left out.
    for _ in range(3):
        clock.forward(20)
        await gateway.data(TWO)
    assert statistics()[-1] == {"run_count", "total_cost"}
    # Who waits for no statistics is not kept waiting for any.
    clock.forward(20)
    await gateway.data("{ sessions(first: 5) { nodes { id } } }")
    assert statistics() == [set()]


async def test_what_failed_is_not_asked_for_on_behalf_of_others(
    serve: Serve, langsmith: Emulator, clock: Clock
) -> None:
    async with serve(upstream_retries=0) as gateway:
        await gateway.data(THREE)
        langsmith.faults.append(Fault(status=500))
        assert await gateway.errors(ONE_MORE)
        clock.forward(20)
        asked(langsmith)
        await gateway.data(THREE)
        assert ("stats_select", "error_rate") not in asked(langsmith)[0]


async def test_nobody_fails_for_what_others_wanted(serve: Serve, langsmith: Emulator, clock: Clock) -> None:
    async with serve(upstream_retries=0) as gateway:
        await gateway.data(THREE)
        await gateway.data(ONE_MORE)
        clock.forward(20)
        asked(langsmith)
        langsmith.faults.append(Fault(status=500))
        assert len((await gateway.data(THREE))["sessions"]["nodes"]) == 5
        together, alone = asked(langsmith)
        assert ("stats_select", "error_rate") in together
        assert ("stats_select", "error_rate") not in alone


async def test_an_empty_page_is_believed_for_a_moment_only(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    query = '{ sessions(filter: {name: "nobody-has-this-name"}) { nodes { id } } }'
    await gateway.data(query)
    clock.forward(1)
    assert await outcome(gateway, query) == "HIT"
    clock.forward(1.5)
    assert await outcome(gateway, query) == "MISS"


async def test_an_unknown_id_is_believed_for_a_moment_only(gateway: Gateway, langsmith: Emulator, clock: Clock) -> None:
    query = '{ session(id: "00000000-0000-4000-8000-000000000000") { id } }'
    assert await gateway.data(query) == {"session": None}
    assert await outcome(gateway, query) == "HIT"
    clock.forward(2.5)
    assert await outcome(gateway, query) == "MISS"


async def test_without_a_time_to_live_nothing_is_kept_but_requests_are_shared(
    serve: Serve, langsmith: Emulator
) -> None:
    async with serve(cache_ttl=0) as gateway:
        await gateway.data(THREE)
        await gateway.data(THREE)
        assert len(asked(langsmith)) == 2
        async with gateway.in_process() as at_once:
            await asyncio.gather(*(at_once.data(THREE) for _ in range(10)))
        assert len(asked(langsmith)) == 1


async def test_a_hundred_equal_cold_queries_make_one_request(gateway: Gateway, langsmith: Emulator) -> None:
    answers = await asyncio.gather(*(gateway.data(THREE) for _ in range(100)))
    assert all(answer == answers[0] for answer in answers)
    assert len(asked(langsmith)) == 1


async def test_a_hundred_equal_cold_queries_share_one_failure(serve: Serve, langsmith: Emulator) -> None:
    langsmith.faults.append(Fault(status=503))
    async with serve(upstream_retries=0) as gateway:
        answers = await asyncio.gather(*(gateway.errors(THREE) for _ in range(100)))
        assert {error["extensions"]["code"] for errors in answers for error in errors} == {"UPSTREAM_ERROR"}
        assert all(len(errors) == 1 for errors in answers)
        assert len(asked(langsmith)) == 1
        # Nothing of a failure is kept.
        assert await outcome(gateway, THREE) == "MISS"


async def test_a_request_under_way_serves_a_narrower_selection(gateway: Gateway, langsmith: Emulator) -> None:
    gate = langsmith.pause()
    wide = asyncio.create_task(gateway.data(THREE))
    await langsmith.wait_for_requests(1)
    narrow = asyncio.create_task(gateway.explain(TWO))
    await asyncio.sleep(0)
    gate.set()
    await wide
    assert (await narrow)["fields"]["sessions"]["cache"] in {"COALESCED", "HIT"}
    assert len(asked(langsmith)) == 1


async def test_selections_of_one_moment_leave_as_one_request(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ a: sessions(first: 5) { nodes { runCount } } b: sessions(first: 7) { nodes { totalCost } } }")
    [params] = asked(langsmith)
    assert params == [
        ("limit", "7"),
        ("include_stats", "true"),
        ("stats_select", "run_count"),
        ("stats_select", "total_cost"),
    ]


async def test_selections_over_different_windows_fail_apart(serve: Serve, langsmith: Emulator) -> None:
    async with serve() as gateway:
        body = await gateway.run(
            "{ good: sessions(first: 5) { nodes { id } }"
            '  bad: sessions(first: 5, stats: {filter: "no such("}) { nodes { runCount } } }'
        )
    assert body["data"]["good"] is not None
    assert body["data"]["bad"] is None
    [error] = body["errors"]
    assert error["path"] == ["bad"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_each_window_has_its_own_numbers_even_at_the_same_time(serve: Serve, langsmith: Emulator) -> None:
    query = "query ($last: Duration) { sessions(first: 50, stats: {last: $last}) { nodes { runCount } } }"
    windows: list[str | None] = ["PT1H", "PT24H", None]
    async with serve(cache_ttl=0) as plain, serve() as gateway:
        alone = [await plain.data(query, {"last": last}) for last in windows]
        for _ in range(2):
            together = await asyncio.gather(*(gateway.data(query, {"last": last}) for last in windows))
            assert together == alone
    assert alone[0] != alone[1] != alone[2]


async def test_two_refills_of_one_page_at_the_same_time_are_both_kept(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(first: 5) { nodes { id } } }")
    await asyncio.gather(
        gateway.data("{ sessions(first: 5) { nodes { runCount } } }"),
        gateway.data("{ sessions(first: 5) { nodes { totalCost } } }"),
    )
    asked(langsmith)
    assert await outcome(gateway, "{ sessions(first: 5) { nodes { runCount totalCost } } }") == "HIT"
    assert asked(langsmith) == []


async def test_a_session_that_is_gone_at_the_refill_drops_the_page(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(first: 5) { nodes { id } } }")
    asked(langsmith)

    def lose_the_first(rows: list[Any]) -> None:
        del rows[0]

    langsmith.faults.append(Fault(rewrite=lose_the_first))
    data = await gateway.data(ONE_MORE)
    refill, anew = asked(langsmith)
    assert ids_in(refill)
    assert not ids_in(anew)
    assert len(data["sessions"]["nodes"]) == 5


async def test_a_page_ordered_by_a_statistic_belongs_to_its_window(gateway: Gateway, langsmith: Emulator) -> None:
    rows = "sessions(first: 5, orderBy: {field: LATENCY_P99}, stats: {last: $last}) { nodes { id } }"
    query = f"query ($last: Duration) {{ {rows} }}"
    week = await gateway.data(query, {"last": "P7D"})
    assert await gateway.data(query, {"last": "PT24H"}) != week
    assert [params[-1][0] for params in asked(langsmith)] == ["stats_start_time", "stats_start_time"]


async def test_a_refill_does_not_reorder_a_page(gateway: Gateway, langsmith: Emulator) -> None:
    order = "sessions(first: 10, orderBy: {field: LATENCY_P99, direction: ASC})"
    before = await gateway.data(f"{{ {order} {{ nodes {{ id }} }} }}")
    after = await gateway.data(f"{{ {order} {{ nodes {{ id latencyP99 }} }} }}")
    assert [node["id"] for node in after["sessions"]["nodes"]] == [node["id"] for node in before["sessions"]["nodes"]]


async def test_another_window_of_a_held_page_is_asked_for_by_id(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(first: 5) { nodes { runCount } } }")
    asked(langsmith)
    await gateway.data('{ sessions(first: 5, stats: {last: "PT24H"}) { nodes { runCount } } }')
    [params] = asked(langsmith)
    assert len(ids_in(params)) == 5
    assert ("stats_start_time", "2026-11-19T12:00:00Z") in params


async def test_one_who_leaves_ends_nothing_for_the_others(gateway: Gateway, langsmith: Emulator) -> None:
    gate = langsmith.pause()
    leaving = asyncio.create_task(gateway.data(THREE))
    await langsmith.wait_for_requests(1)
    staying = asyncio.create_task(gateway.data(THREE))
    for _ in range(20):
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    gate.set()
    assert len((await staying)["sessions"]["nodes"]) == 5
    assert langsmith.disconnects == 0
    assert len(asked(langsmith)) == 1


async def test_when_the_last_one_leaves_the_request_is_cancelled(gateway: Gateway, langsmith: Emulator) -> None:
    langsmith.pause()
    leaving = [asyncio.create_task(gateway.data(THREE)) for _ in range(3)]
    await langsmith.wait_for_requests(1)
    for each in leaving:
        each.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    await langsmith.wait_for_disconnects(1)
    assert langsmith.disconnects == 1


@pytest.mark.parametrize(
    "query",
    [
        THREE,
        "{ sessions(first: 5) { nodes { id stats { runCount } } } }",
        '{ sessions(first: 5) { nodes { id stats(last: "PT1H") { runCount } } } }',
    ],
)
async def test_no_two_credentials_see_each_others_rows(serve: Serve, clock: Clock, query: str) -> None:
    """On misses, hits, refills and shared requests, all at the same time."""
    keys = [f"tenant-{number}" for number in range(8)]
    langsmith = Emulator(clock=clock.now, workspaces=dict.fromkeys(keys, 8))
    own = {key: {str(session.id) for session in langsmith.workspaces[key].sessions} for key in keys}
    everything = query.replace("id ", "id tenantId ")
    wider = everything.replace("runCount", "runCount totalTokens errorRate")
    async with serving(langsmith) as url, serve(langsmith_endpoint=url) as gateway:
        for _ in range(2):
            asking = [(key, text) for text in (everything, wider, everything) for key in keys for _ in range(3)]
            answers = await asyncio.gather(*(gateway.data(text, key=key) for key, text in asking))
            for (key, _), data in zip(asking, answers, strict=True):
                nodes = data["sessions"]["nodes"]
                assert len(nodes) == 5
                assert {node["id"] for node in nodes} <= own[key]
                assert {node["tenantId"] for node in nodes} == {str(langsmith.workspaces[key].tenant_id)}
            some = [(key, next(iter(own[other]))) for key in keys for other in keys]
            found = await asyncio.gather(
                *(
                    gateway.data("query ($id: ID!) { session(id: $id) { id } }", {"id": each}, key=key)
                    for key, each in some
                )
            )
            for (key, each), data in zip(some, found, strict=True):
                assert data["session"] == ({"id": each} if each in own[key] else None)
        assert {request.headers["x-api-key"] for request in langsmith.requests} == set(keys)


async def test_the_same_key_with_another_workspace_header_is_another_tenant(
    gateway: Gateway, langsmith: Emulator
) -> None:
    mine = str(langsmith.workspaces["demo"].tenant_id)
    assert "errors" not in await gateway.run(THREE, **{"x-tenant-id": mine})
    body = await gateway.run(THREE, **{"x-tenant-id": str(langsmith.workspaces["demo-2"].tenant_id)})
    assert body["errors"][0]["extensions"]["code"] == "FORBIDDEN"


STEPS = st.lists(
    # Operations of one batch run at the same time; the gateway's clock goes on between batches.
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from(["demo", "demo-2", "nobody"]), operations(SOME_IDS)), min_size=1, max_size=4
        ),
        st.sampled_from([0.0, 1.0, 8.0]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(steps=STEPS)
def test_the_cache_changes_no_answer(steps: list[tuple[list[tuple[str, Operation]], float]]) -> None:
    """Operations of several clients, in any order and at the same time, are answered as one by one without a cache."""

    async def run() -> None:
        langsmith = Emulator(clock=lambda: NOON, workspaces=TENANTS)
        clock = Clock()
        async with serving(langsmith) as url, AsyncExitStack() as stack:
            with_cache, without = [
                await stack.enter_async_context(started(url, clock, now=lambda: NOON, cache_ttl=ttl)) for ttl in (15, 0)
            ]
            for batch, pause in steps:
                calls = [(each.query, each.variables, key) for key, each in batch]
                together = await asyncio.gather(
                    *(with_cache.run(query, variables, key=key) for query, variables, key in calls)
                )
                alone = [await without.run(query, variables, key=key) for query, variables, key in calls]
                for mine, plain, call in zip(together, alone, calls, strict=True):
                    assert mine == plain, call
                clock.forward(pause)

    asyncio.run(run())
