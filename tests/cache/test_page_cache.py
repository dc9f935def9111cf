"""Pages are cached, expire, are refilled by id, and are kept apart by credential; no answer changes by the cache."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.emulator import Emulator, Fault, serving
from tests.conftest import NOON, Clock, Gateway, Serve, running_gateway, take_recorded_params
from tests.support.generated_operations import Operation, operations

TENANTS = {"demo": 12, "demo-2": 12}
SOME_IDS = [str(each.id) for each in Emulator(clock=lambda: NOON, workspaces=TENANTS).workspaces["demo"].sessions[:4]]
THREE = "{ sessions(first: 5) { nodes { id runCount latencyP50 totalCost } } }"
TWO = "{ sessions(first: 5) { nodes { totalCost runCount } } }"
ERROR_RATE = "{ sessions(first: 5) { nodes { runCount errorRate } } }"


def ids_in(params: list[tuple[str, str]]) -> set[str]:
    return {value for name, value in params if name == "id"}


def without_ids(params: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in params if name != "id"]


async def outcome(gateway: Gateway, query: str) -> str:
    explained = await gateway.explain(query)
    [field] = explained["fields"].values()
    return str(field["cache"])


async def test_narrower_selection_is_a_hit_and_wider_one_fetches_missing_statistics_by_id(
    gateway: Gateway, langsmith: Emulator
) -> None:
    data = await gateway.data(THREE)
    assert take_recorded_params(langsmith) == [
        [
            ("limit", "5"),
            ("include_stats", "true"),
            ("stats_select", "run_count"),
            ("stats_select", "latency_p50"),
            ("stats_select", "total_cost"),
        ]
    ]
    await gateway.data(TWO)
    assert take_recorded_params(langsmith) == []

    await gateway.data(ERROR_RATE)
    [refill] = take_recorded_params(langsmith)
    assert without_ids(refill) == [("limit", "5"), ("include_stats", "true"), ("stats_select", "error_rate")]
    assert ids_in(refill) == {node["id"] for node in data["sessions"]["nodes"]}

    await gateway.data(ERROR_RATE)
    assert take_recorded_params(langsmith) == []


async def test_longer_page_serves_shorter_one(gateway: Gateway, langsmith: Emulator) -> None:
    long = await gateway.data("{ sessions(first: 30) { nodes { id runCount } } }")
    short = await gateway.data("{ sessions(first: 10) { nodes { id runCount } } }")
    assert short["sessions"]["nodes"] == long["sessions"]["nodes"][:10]
    assert len(take_recorded_params(langsmith)) == 1


async def test_last_page_of_the_list_serves_longer_one(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(offset: 235, first: 20) { nodes { id } } }")
    data = await gateway.data("{ sessions(offset: 235, first: 90) { nodes { id } } }")
    assert len(data["sessions"]["nodes"]) == 5
    assert len(take_recorded_params(langsmith)) == 1


async def test_refill_requests_only_the_selected_rows(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(first: 100) { nodes { id } } }")
    await gateway.data("{ sessions(first: 3) { nodes { runCount } } }")
    _, refill = take_recorded_params(langsmith)
    assert len(ids_in(refill)) == 3


async def test_statistic_that_langsmith_answered_with_null_is_not_requested_again(
    gateway: Gateway, langsmith: Emulator
) -> None:
    langsmith.leaves_out_unselected = True
    query = "{ sessions(first: 100) { nodes { firstTokenP50 totalCost } } }"
    data = await gateway.data(query)
    assert None in [node["firstTokenP50"] for node in data["sessions"]["nodes"]]
    assert await gateway.data(query) == data
    assert len(take_recorded_params(langsmith)) == 1


async def test_page_is_fetched_again_after_its_time_to_live(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    assert [await outcome(gateway, THREE), await outcome(gateway, THREE)] == ["MISS", "HIT"]
    clock.advance(14.9)
    assert await outcome(gateway, THREE) == "HIT"
    clock.advance(0.2)
    assert await outcome(gateway, THREE) == "MISS"
    assert len(take_recorded_params(langsmith)) == 2


async def test_refill_does_not_extend_the_time_to_live_of_a_page(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    await gateway.data(THREE)
    clock.advance(10)
    await gateway.data(ERROR_RATE)
    clock.advance(6)
    assert await outcome(gateway, ERROR_RATE) == "MISS"


async def test_statistic_expires_by_its_own_age_on_a_younger_page(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    await gateway.data('{ sessions(first: 5) { nodes { id stats(last: "PT24H") { runCount } } } }')
    clock.advance(10)
    # A longer page is fetched and replaces this one. The statistics of the window keep their age.
    await gateway.data("{ sessions(first: 6) { nodes { id } } }")
    take_recorded_params(langsmith)
    clock.advance(6)
    explained = await gateway.explain(
        '{ sessions(first: 5, stats: {since: "2026-11-19T12:00:00Z"}) { nodes { runCount } } }'
    )
    [params] = take_recorded_params(langsmith)
    assert ("stats_select", "run_count") in params
    assert explained["fields"]["sessions"]["cache"] == "REFILL"


async def test_empty_page_is_fetched_again_after_two_seconds(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    query = '{ sessions(filter: {name: "nobody-has-this-name"}) { nodes { id } } }'
    await gateway.data(query)
    clock.advance(1)
    assert await outcome(gateway, query) == "HIT"
    clock.advance(1.5)
    assert await outcome(gateway, query) == "MISS"


async def test_unknown_id_is_looked_up_again_after_two_seconds(
    gateway: Gateway, langsmith: Emulator, clock: Clock
) -> None:
    query = '{ session(id: "00000000-0000-4000-8000-000000000000") { id } }'
    assert await gateway.data(query) == {"session": None}
    assert await outcome(gateway, query) == "HIT"
    clock.advance(2.5)
    assert await outcome(gateway, query) == "MISS"


async def test_concurrent_refills_of_one_page_are_both_stored(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(first: 5) { nodes { id } } }")
    await asyncio.gather(
        gateway.data("{ sessions(first: 5) { nodes { runCount } } }"),
        gateway.data("{ sessions(first: 5) { nodes { totalCost } } }"),
    )
    take_recorded_params(langsmith)
    assert await outcome(gateway, "{ sessions(first: 5) { nodes { runCount totalCost } } }") == "HIT"
    assert take_recorded_params(langsmith) == []


async def test_refill_that_lacks_a_session_drops_the_page_and_fetches_it(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(first: 5) { nodes { id } } }")
    take_recorded_params(langsmith)

    def lose_the_first(rows: list[Any]) -> None:
        del rows[0]

    langsmith.faults.append(Fault(rewrite=lose_the_first))
    data = await gateway.data(ERROR_RATE)
    refill, full_page = take_recorded_params(langsmith)
    assert ids_in(refill)
    assert not ids_in(full_page)
    assert len(data["sessions"]["nodes"]) == 5


async def test_page_ordered_by_a_statistic_is_cached_per_window(gateway: Gateway, langsmith: Emulator) -> None:
    rows = "sessions(first: 5, orderBy: {field: LATENCY_P99}, stats: {last: $last}) { nodes { id } }"
    query = f"query ($last: Duration) {{ {rows} }}"
    week = await gateway.data(query, {"last": "P7D"})
    assert await gateway.data(query, {"last": "PT24H"}) != week
    assert [params[-1][0] for params in take_recorded_params(langsmith)] == ["stats_start_time", "stats_start_time"]


async def test_refill_does_not_reorder_a_page(gateway: Gateway, langsmith: Emulator) -> None:
    order = "sessions(first: 10, orderBy: {field: LATENCY_P99, direction: ASC})"
    before = await gateway.data(f"{{ {order} {{ nodes {{ id }} }} }}")
    after = await gateway.data(f"{{ {order} {{ nodes {{ id latencyP99 }} }} }}")
    assert [node["id"] for node in after["sessions"]["nodes"]] == [node["id"] for node in before["sessions"]["nodes"]]


async def test_another_window_of_a_cached_page_is_fetched_by_id(gateway: Gateway, langsmith: Emulator) -> None:
    await gateway.data("{ sessions(first: 5) { nodes { runCount } } }")
    take_recorded_params(langsmith)
    await gateway.data('{ sessions(first: 5, stats: {last: "PT24H"}) { nodes { runCount } } }')
    [params] = take_recorded_params(langsmith)
    assert len(ids_in(params)) == 5
    assert ("stats_start_time", "2026-11-19T12:00:00Z") in params


@pytest.mark.parametrize(
    "query",
    [
        THREE,
        "{ sessions(first: 5) { nodes { id stats { runCount } } } }",
        '{ sessions(first: 5) { nodes { id stats(last: "PT1H") { runCount } } } }',
    ],
)
async def test_credentials_never_see_rows_of_each_other(serve: Serve, clock: Clock, query: str) -> None:
    """Eight credentials run misses, hits, refills and shared requests at the same time."""
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
            lookups = [(key, next(iter(own[other]))) for key in keys for other in keys]
            found = await asyncio.gather(
                *(
                    gateway.data("query ($id: ID!) { session(id: $id) { id } }", {"id": each}, key=key)
                    for key, each in lookups
                )
            )
            for (key, each), data in zip(lookups, found, strict=True):
                assert data["session"] == ({"id": each} if each in own[key] else None)
        assert {request.headers["x-api-key"] for request in langsmith.requests} == set(keys)


async def test_same_key_with_another_workspace_header_is_another_scope(gateway: Gateway, langsmith: Emulator) -> None:
    mine = str(langsmith.workspaces["demo"].tenant_id)
    assert "errors" not in await gateway.run(THREE, **{"x-tenant-id": mine})
    body = await gateway.run(THREE, **{"x-tenant-id": str(langsmith.workspaces["demo-2"].tenant_id)})
    assert body["errors"][0]["extensions"]["code"] == "FORBIDDEN"


STEPS = st.lists(
    # The operations of a step run at the same time. The gateway's clock moves forward between steps.
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
@given(steps=STEPS, version=st.sampled_from(["v1", "v2"]))
def test_answers_with_cache_equal_those_without(
    steps: list[tuple[list[tuple[str, Operation]], float]], version: str
) -> None:
    """Concurrent operations of several clients get the answers that each gets alone from a gateway without a cache."""

    async def run() -> None:
        langsmith = Emulator(clock=lambda: NOON, workspaces=TENANTS)
        clock = Clock()
        async with serving(langsmith) as url, AsyncExitStack() as stack:
            with_cache, without = [
                await stack.enter_async_context(
                    running_gateway(url, clock, now=lambda: NOON, cache_ttl=ttl, upstream_api=version)
                )
                for ttl in (15, 0)
            ]
            for step, pause in steps:
                calls = [(each.query, each.variables, key) for key, each in step]
                together = await asyncio.gather(
                    *(with_cache.run(query, variables, key=key) for query, variables, key in calls)
                )
                alone = [await without.run(query, variables, key=key) for query, variables, key in calls]
                for with_others, plain, call in zip(together, alone, calls, strict=True):
                    assert with_others == plain, call
                clock.advance(pause)

    asyncio.run(run())
